"""ranet_edu.model.ranking: equations 2-3 against loops over maps, what ranking promises, and how its scores learn.

The loops follow the paper and the released network: weigh each map by its template pixel, score it, sort, cut, pad.
"""

from __future__ import annotations

import pytest
import torch

from ranet_edu.model.ranking import RankingAttention, background_weights, rank, soft_order

GRID = (3, 4)
CELLS = 12
SIZE = (6, 8)  # of the similarity maps


def attention(keep: int = 8, variant: str = "attention", joint: bool = False) -> RankingAttention:
    """Random weights, in float64 so that loops and tensors sort alike."""
    return RankingAttention(GRID, keep, variant, joint).double()


def silenced(module: RankingAttention) -> RankingAttention:
    """With a learned score of zero everywhere: the order is that of the maps' maxima."""
    last = module.network.layers[2].conv
    torch.nn.init.zeros_(last.weight)
    torch.nn.init.constant_(last.bias, -1)
    return module


@pytest.fixture
def maps():
    return 2 * torch.rand(2, CELLS, *SIZE, dtype=torch.float64) - 1


@pytest.fixture
def masks():
    """Two objects that share some cells with each other and with the background, and leave others alone."""
    shares = torch.tensor(
        [[[0, 0, 0.3, 1], [0, 0.5, 1, 1], [0, 0, 0, 0.05]], [[1, 1, 0, 0], [0.9, 0.4, 0, 0], [0.1, 0.11, 0.09, 0]]]
    ).double()
    return torch.stack([shares, shares.flip(0)])  # (B, N, H0, W0)


def learned_by_loops(module, maps):
    """f_n of equation 2 for one video's maps (H0*W0, H, W): pooled to the grid, roles swapped, through the network."""
    swapped = torch.zeros(CELLS, CELLS, dtype=maps.dtype)  # (frame position, template position)
    for template_pixel in range(CELLS):
        for position in range(CELLS):
            y, x = position // GRID[1], position % GRID[1]
            block = maps[template_pixel, 2 * y : 2 * y + 2, 2 * x : 2 * x + 2]
            swapped[position, template_pixel] = block.max()
    return module.network(swapped.view(1, CELLS, *GRID))[0]


def sorted_by_loops(candidates, scores, keep):
    """The `keep` best of a list of maps, and zero maps after them."""
    order = sorted(range(len(candidates)), key=lambda j: -scores[j])
    kept = [candidates[j] for j in order[:keep]]
    return torch.stack(kept + [torch.zeros(SIZE, dtype=torch.float64)] * (keep - len(kept)))


def one_stream_by_loops(module, maps, weights, keep):
    """One stream of one object on its own: maps (H0*W0, H, W), weights of the H0*W0 cells."""
    weighted = torch.stack([maps[j] * weights[j] for j in range(CELLS)])
    raw = learned_by_loops(module, weighted)
    scores = [weighted[j].max() + 0.2 * raw[j].clamp(min=0) * (weights[j] != 0) for j in range(CELLS)]
    return sorted_by_loops(weighted, scores, keep)


def joint_streams_by_loops(module, maps, masks, keep):
    """Both streams of each of N objects: an object's background is the image's background and all other objects."""
    owners = [(1 - masks.sum(0)).clamp(min=0).flatten(), *masks.flatten(1)]
    raw = learned_by_loops(module, maps)
    weighted = [[maps[j] * owner[j] for j in range(CELLS)] for owner in owners]
    scores = [[(maps[j].max() + 0.2 * raw[j].clamp(min=0)) * owner[j] for j in range(CELLS)] for owner in owners]
    streams = []
    for this in range(1, len(owners)):
        others = [k for k in range(len(owners)) if k != this]
        rivals = sum((weighted[k] for k in others), [])
        rival_scores = sum((scores[k] for k in others), [])
        pair = sorted_by_loops(weighted[this], scores[this], keep), sorted_by_loops(rivals, rival_scores, keep)
        streams.append(torch.stack(pair))
    return torch.stack(streams)


@pytest.mark.parametrize("keep", [3, 8, CELLS, 20])
@pytest.mark.parametrize("joint", [False, True])
def test_one_object_equals_loops(maps, masks, keep, joint):
    module = attention(keep, joint=joint)
    ranked = module(maps, masks[:, :1]).maps
    assert ranked.shape == (2, 1, 2, keep, *SIZE)
    for video in range(2):
        foreground = masks[video, 0].flatten()
        background = torch.tensor([1.0 if 1 - share >= 0.9 else 0.0 for share in foreground], dtype=torch.float64)
        for stream, weights in enumerate((foreground, background)):
            expected = one_stream_by_loops(module, maps[video], weights, keep)
            torch.testing.assert_close(ranked[video, 0, stream], expected)


@pytest.mark.parametrize("keep", [5, CELLS, 30])
def test_objects_ranked_jointly_equal_loops(maps, masks, keep):
    module = attention(keep, joint=True)
    ranked = module(maps, masks).maps
    assert ranked.shape == (2, 2, 2, keep, *SIZE)
    for video in range(2):
        torch.testing.assert_close(ranked[video], joint_streams_by_loops(module, maps[video], masks[video], keep))


def test_three_objects_ranked_jointly_equal_loops(maps):
    module = attention(CELLS, joint=True)
    masks = torch.rand(2, 3, *GRID, dtype=torch.float64).softmax(1) * 0.8
    torch.testing.assert_close(module(maps, masks).maps[1], joint_streams_by_loops(module, maps[1], masks[1], CELLS))


def test_objects_ranked_alone_don_t_know_of_each_other(maps, masks):
    module = attention()
    both = module(maps, masks).maps
    for i in range(2):
        torch.testing.assert_close(both[:, i], module(maps, masks[:, i : i + 1]).maps[:, 0])
    assert not torch.allclose(both, attention(joint=True)(maps, masks).maps)


def test_the_learned_score_decides(maps, masks):
    """With it the order is another than without: otherwise the comparisons above would prove little."""
    loud = attention()
    with torch.no_grad():
        loud.network.layers[2].conv.weight.mul_(10)
    order = loud(maps, masks).foreground_order
    assert not torch.equal(order, silenced(loud)(maps, masks).foreground_order)


@pytest.mark.parametrize("joint", [False, True])
def test_scores_descend_and_belong_to_the_order(maps, masks, joint):
    ranked = attention(joint=joint)(maps, masks)
    for scores, order in (
        (ranked.foreground_scores, ranked.foreground_order),
        (ranked.background_scores, ranked.background_order),
    ):
        kept = scores.gather(2, order)
        assert (kept.diff(dim=2) <= 0).all()
        torch.testing.assert_close(kept, scores.sort(dim=2, descending=True).values[..., : kept.shape[2]])
        assert all(len(set(one.tolist())) == len(one) for one in order.flatten(0, 1))  # no candidate twice


def test_the_order_of_template_pixels_doesn_t_matter_to_ranking(maps, masks):
    """What §3.2 asks for: channel k means "the k-th best", whichever template pixel it came from."""
    shuffle = torch.randperm(CELLS)
    shuffled = masks.flatten(2)[..., shuffle].unflatten(2, GRID)
    ranking = silenced(attention())
    torch.testing.assert_close(ranking(maps[:, shuffle], shuffled).maps, ranking(maps, masks).maps)
    joint = silenced(attention(joint=True))
    torch.testing.assert_close(joint(maps[:, shuffle], shuffled).maps, joint(maps, masks).maps)
    without = attention(variant="none")
    assert not torch.allclose(without(maps[:, shuffle], shuffled).maps, without(maps, masks).maps)


def test_without_ranking_maps_stay_in_the_template_s_order(maps, masks):
    module = attention(variant="none")
    ranked = module(maps, masks)
    assert ranked.maps.shape == (2, 2, 2, module.out_channels, *SIZE) and module.out_channels == CELLS
    for j in range(CELLS):
        y, x = j // GRID[1], j % GRID[1]
        share = masks[:, :, y, x, None, None]
        torch.testing.assert_close(ranked.maps[:, :, 0, j], maps[:, None, j] * share)
        torch.testing.assert_close(ranked.maps[:, :, 1, j], maps[:, None, j] * (1 - share >= 0.9))
    assert ranked.foreground_order is None and not list(module.parameters())


def test_maximum_is_the_largest_weighted_value_of_each_place(maps, masks):
    module = attention(variant="maximum")
    ranked = module(maps, masks).maps
    assert ranked.shape == (2, 2, 2, 1, *SIZE) and module.out_channels == 1
    every = attention(variant="none")(maps, masks).maps
    torch.testing.assert_close(ranked[:, :, :, 0], every.max(3).values)


def test_fewer_candidates_than_places_are_padded_with_zeros(maps, masks):
    ranked = attention(keep=20)(maps, masks)
    assert ranked.maps[:, :, :, CELLS:].eq(0).all()
    assert ranked.foreground_order.shape == (2, 2, CELLS)
    assert ranked.maps[:, :, 0, 0].ne(0).all()


@pytest.mark.parametrize("joint", [False, True])
def test_empty_full_and_one_cell_masks(maps, joint):
    module = attention(joint=joint)
    empty, full, one = torch.zeros(3, 2, 1, *GRID, dtype=torch.float64)
    full += 1
    one[..., 1, 2] = 1
    foreground, background = module(maps, empty).maps[:, 0].unbind(1)
    assert foreground.eq(0).all() and background.ne(0).any()
    foreground, background = module(maps, full).maps[:, 0].unbind(1)
    assert background.eq(0).all() and foreground.ne(0).any()
    ranked = module(maps, one)
    assert torch.equal(ranked.maps[:, 0, 0, 0], maps[:, 6]) and ranked.maps[:, 0, 0, 1:].eq(0).all()
    assert ranked.foreground_order[:, 0, 0].eq(6).all()
    assert module(maps, torch.cat([empty, one], 1)).maps.isfinite().all()


def test_background_is_what_is_background_to_nine_tenths():
    shares = torch.tensor([0, 0.0999, 0.11, 0.5, 1]).view(1, 1, 1, 5)
    assert background_weights(shares).flatten().tolist() == [1, 1, 0, 0, 0]


def test_maps_need_not_be_twice_the_grid(masks):
    """Any frame size: pooling to the grid adapts, down to a single pixel."""
    for size in [(1, 1), (2, 3), (5, 13)]:
        ranked = attention()(torch.randn(2, CELLS, *size, dtype=torch.float64), masks).maps
        assert ranked.shape == (2, 2, 2, 8, *size) and ranked.isfinite().all()


@pytest.mark.parametrize("joint", [False, True])
def test_recording_gradients_changes_no_bit(maps, masks, joint):
    module = attention(joint=joint).float()
    maps, masks = maps.float(), masks.float()
    with torch.no_grad():
        without = module(maps, masks)
    recorded = module(maps, masks)
    assert recorded.maps.requires_grad
    for a, b in zip(recorded, without, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("rivals", [1, 2])
def test_a_score_s_gradient_is_that_of_the_soft_order(maps, rivals):
    """Measured by differences, on the maps mixed as the soft order says; maps that were cut off learn as well."""
    shape = (2, 3, rivals * CELLS)
    weights, maxima = torch.rand(2, *shape, dtype=torch.float64)
    learned = torch.full(shape, 0.1, dtype=torch.float64, requires_grad=True)
    ranked, order = rank(maps, weights, maxima + learned, learned, keep=5)
    wish = torch.randn_like(ranked)
    (ranked * wish).sum().backward()

    def loss(scores):
        candidates = maps.repeat(1, rivals, 1, 1)[:, None] * weights[..., None, None]
        mixed = torch.einsum("bnkm,bnmhw->bnkhw", soft_order(scores, order), candidates)
        return (mixed * wish).sum()

    for video, object_, candidate in [(0, 0, 0), (0, 2, 7), (1, 1, CELLS * rivals - 1)]:
        step = torch.zeros(shape, dtype=torch.float64)
        step[video, object_, candidate] = 1e-6
        measured = (loss(maxima + 0.1 + step) - loss(maxima + 0.1 - step)).item() / 2e-6
        assert learned.grad[video, object_, candidate].item() == pytest.approx(measured, rel=1e-4, abs=1e-9)
    cut_off = torch.ones_like(learned, dtype=torch.bool).scatter(2, order, False)
    assert learned.grad[cut_off].ne(0).any()


def test_maps_learn_from_the_hard_order_alone(maps):
    maps.requires_grad_()
    learned = torch.zeros(2, 1, CELLS, dtype=torch.float64, requires_grad=True)
    scores = maps.detach().amax((2, 3))[:, None]
    ranked, order = rank(maps, torch.ones_like(learned), scores, learned, keep=5)
    ranked.sum().backward()
    kept = torch.zeros(2, CELLS, dtype=torch.float64).scatter(1, order[:, 0], 1)
    torch.testing.assert_close(maps.grad, kept[..., None, None].expand_as(maps))


def test_the_soft_order_is_the_hard_one_where_scores_are_far_apart():
    scores = torch.tensor([[[0.1, 0.9, 0.5, 0.89]]])
    order = scores.topk(3).indices
    far = soft_order(scores, order, temperature=1e-4)
    torch.testing.assert_close(far[0, 0], torch.eye(4)[order[0, 0]])
    near = soft_order(scores, order, temperature=0.02)[0, 0]
    torch.testing.assert_close(near.sum(1), torch.ones(3))
    assert near[0, 1] < 0.7 and near[0, 3] > 0.3  # candidates 1 and 3 are nearly equal, and share the first place
    assert near[2, 2] > 0.99


@pytest.fixture
def toy():
    """A ranking module, maps that each find their template pixel in a place of their own, and a mask of everything.

    All learned scores start above zero: below it the ReLU of equation 2 lets nothing learn.
    """
    module = RankingAttention(GRID, keep=8)
    torch.nn.init.constant_(module.network.layers[2].conv.bias, 1)
    maps = torch.zeros(1, CELLS, *SIZE)
    maps.flatten(2).diagonal(dim1=1, dim2=2).add_(0.8 + 0.1 * torch.rand(CELLS))
    return module, maps, torch.ones(1, 1, *GRID)


def train(module, maps, masks, wish):
    """Steps towards a decoder's wish (K, CELLS): by how much its loss falls where template pixel j has place k."""
    optimiser = torch.optim.Adam(module.parameters(), lr=0.003)
    for _ in range(30):
        optimiser.zero_grad()
        places = module(maps, masks).maps[0, 0, 0].flatten(1)[:, :CELLS]
        (-places * wish).sum().backward()
        optimiser.step()


def test_training_moves_the_weights_and_brings_a_wanted_map_to_the_front(toy):
    module, maps, masks = toy
    wanted = module(maps, masks).foreground_order[0, 0, 2]
    before = [parameter.clone() for parameter in module.parameters()]
    wish = torch.zeros(8, CELLS)
    wish[0, wanted] = 1
    train(*toy, wish)
    assert all(not torch.equal(old, new) for old, new in zip(before, module.parameters(), strict=True))
    assert module(maps, masks).foreground_order[0, 0, 0] == wanted


def test_training_drops_an_unwanted_map(toy):
    module, maps, masks = toy
    unwanted = module(maps, masks).foreground_order[0, 0, 5]
    train(*toy, torch.zeros(8, CELLS).index_fill(1, unwanted, -1))
    assert unwanted not in module(maps, masks).foreground_order[0, 0]


def test_training_fetches_a_map_that_was_cut_off(toy):
    module, maps, masks = toy
    order = module(maps, masks).foreground_scores[0, 0].argsort(descending=True)
    missed = order[8]
    train(*toy, torch.zeros(8, CELLS).index_fill(1, missed, 1))
    assert missed in module(maps, masks).foreground_order[0, 0]
