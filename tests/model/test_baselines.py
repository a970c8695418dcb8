"""ranet_edu.model.baselines: matching against loops over cells, and what each framework can and can't see."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from ranet_edu.model.baselines import MapsAlone, MatchingBaseline, PropagationBaseline
from ranet_edu.model.correlation import matching_logits
from ranet_edu.model.ranet import RANet
from ranet_edu.video.segmenter import VideoSegmenter

SIZE = (64, 96)
CELLS = (4, 6)  # at 1/16


class Patches(nn.Module):
    """A backbone that sees the mean colour of each 16 x 16 patch, so that tests can tell what matches what."""

    def forward(self, frames):
        return (frames,) * 3 + (F.avg_pool2d(frames, 16),) * 2


def colours(cells: torch.Tensor) -> torch.Tensor:
    """Cells (3, h, w) as a frame of patches (1, 3, 16 h, 16 w)."""
    return cells.repeat_interleave(16, 1).repeat_interleave(16, 2)[None]


def build(kind=MatchingBaseline, *arguments, **options):
    model = kind(*arguments, **options)
    model.encoder.backbone = Patches()
    return model


def best_by_loops(similarities, chosen, neighbours):
    """Mean of the best of the chosen cells' similarities; -1 where nothing is chosen."""
    values = sorted((s for s, c in zip(similarities, chosen, strict=True) if c), reverse=True)[:neighbours]
    return sum(values) / len(values) if values else -1.0


def matching_by_loops(frame, template, mask, neighbours, reach=None):
    """Probability of one object in each cell: frame and template (3, h, w), mask (h, w) shares."""
    height, width = mask.shape
    inside = [bool(mask[y, x] >= 0.5) for y in range(height) for x in range(width)]
    result = torch.zeros(height, width)
    for y in range(height):
        for x in range(width):
            similarities = []
            for y0 in range(height):
                for x0 in range(width):
                    a, b = frame[:, y, x], template[:, y0, x0]
                    near = reach is None or max(abs(y - y0), abs(x - x0)) <= reach
                    similarities.append((a @ b / (a.norm() * b.norm())).item() if near else -1.0)
            best_inside = best_by_loops(similarities, inside, neighbours)
            best_outside = best_by_loops(similarities, [not chosen for chosen in inside], neighbours)
            result[y, x] = 1 / (1 + math.exp(-20 * (best_inside - best_outside)))
    return result


@pytest.fixture
def scene():
    """frame and template cells (3, h, w), and two objects' masks in whole cells (2, h, w)."""
    masks = torch.zeros(2, *CELLS)
    masks[0, 1:3, 1:4] = 1
    masks[1, 0, 4:] = 1
    return torch.randn(3, *CELLS), torch.randn(3, *CELLS), masks


def cellwise(model, frame, template, masks):
    """What the model finds, one value per cell: the upsampling undone at the cells' centres."""
    with torch.no_grad():
        encoded = model.encode_template(colours(template))
        large = masks.repeat_interleave(16, 1).repeat_interleave(16, 2)[None]
        found = model(colours(frame), encoded, large, torch.zeros_like(large))
    assert found.shape == large.shape
    return F.interpolate(found, CELLS, mode="bilinear")[0]


def upsampled_and_back(cells):
    large = F.interpolate(cells[None], SIZE, mode="bilinear")
    return F.interpolate(large, CELLS, mode="bilinear")[0]


@pytest.mark.parametrize(("matching", "neighbours"), [("nearest", 1), ("average", 3), ("average", 20)])
def test_matching_equals_loops(scene, matching, neighbours):
    frame, template, masks = scene
    found = cellwise(build(MatchingBaseline, matching, neighbours=neighbours), *scene)
    expected = torch.stack([matching_by_loops(frame, template, mask, neighbours) for mask in masks])
    torch.testing.assert_close(found, upsampled_and_back(expected), atol=1e-4, rtol=1e-3)


def test_nearest_ignores_the_number_of_neighbours(scene):
    few, many = (cellwise(build(MatchingBaseline, "nearest", neighbours=k), *scene) for k in (1, 20))
    assert torch.equal(few, many)


@pytest.mark.parametrize("reach", [0, 1, 2])
def test_propagation_equals_loops(scene, reach):
    frame, template, masks = scene
    found = cellwise(build(PropagationBaseline, reach), *scene)
    expected = torch.stack([matching_by_loops(frame, template, mask, 1, reach) for mask in masks])
    torch.testing.assert_close(found, upsampled_and_back(expected), atol=1e-4, rtol=1e-3)


def test_propagation_doesn_t_follow_beyond_its_reach():
    """An object that jumps three cells: matching finds it again, propagation with a reach of two does not."""
    template, mask = torch.zeros(3, *CELLS), torch.zeros(1, *CELLS)
    template[1] = 1
    frame = template.clone()
    template[:, 1, 0] = frame[:, 1, 3] = torch.tensor([1.0, 0, 0])
    mask[0, 1, 0] = 1
    place = cellwise(build(), frame, template, mask)[0] > 0.5
    assert place.nonzero().tolist() == [[1, 3]]
    assert not (cellwise(build(PropagationBaseline, 2), frame, template, mask)[0] > 0.5).any()
    place = cellwise(build(PropagationBaseline, 3), frame, template, mask)[0] > 0.5
    assert place.nonzero().tolist() == [[1, 3]]


def test_an_object_smaller_than_a_cell_keeps_its_fullest_cell():
    template = torch.zeros(3, *CELLS)
    template[1] = 1
    template[:, 2, 2] = torch.tensor([1.0, 0, 0])
    model = build()
    mask = torch.zeros(1, 1, *SIZE)
    mask[..., 32:36, 33:37] = 1  # 16 pixels of cell (2, 2)
    mask[..., 32:34, 30:32] = 1  # 4 pixels of its neighbour
    with torch.no_grad():
        found = model(colours(template), model.encode_template(colours(template)), mask, mask)[0, 0]
    assert found[40, 40] > 0.9 and found[40, 24] < 0.1


def test_no_background_is_all_object(scene):
    found = cellwise(build(), *scene[:2], torch.ones(1, *CELLS))
    assert found.min() > 0.5


@pytest.mark.parametrize("certainty", [0, 0.2])  # an object that was lost may leave a faint trace
@pytest.mark.parametrize(
    "arguments", [(MatchingBaseline, "nearest"), (MatchingBaseline, "average"), (PropagationBaseline,)]
)
def test_an_object_that_is_not_in_the_template_is_nowhere(scene, arguments, certainty):
    found = cellwise(build(*arguments), *scene[:2], certainty * scene[2])
    assert found.max() < 0.1


def test_the_previous_mask_only_says_how_many_objects(scene):
    frame, template, masks = scene
    model = build()
    large = masks.repeat_interleave(16, 1).repeat_interleave(16, 2)[None]
    with torch.no_grad():
        encoded = model.encode_template(colours(template))
        a, b = (model(colours(frame), encoded, large, previous) for previous in (large, 1 - large))
    assert torch.equal(a, b)


def test_objects_and_videos_don_t_mix(scene):
    frame, template, masks = scene
    model = build(MatchingBaseline, "average", neighbours=4)
    frames, templates = torch.cat([colours(frame), colours(template)]), torch.cat([colours(template), colours(frame)])
    large = torch.stack([masks, masks.flip(0)]).repeat_interleave(16, 2).repeat_interleave(16, 3)
    with torch.no_grad():
        encoded = model.encode_template(templates)
        together = model(frames, encoded, large, large)
        alone = model(frames[1:], encoded[1:], large[1:, :1], large[1:, :1])
    torch.testing.assert_close(together[1:, :1], alone)


def test_sharper_is_more_certain(scene):
    soft, sharp = (cellwise(build(sharpness=s), *scene) for s in (5.0, 40.0))
    assert ((sharp - 0.5).abs() >= (soft - 0.5).abs() - 1e-3).all()
    assert (sharp - 0.5).abs().mean() > (soft - 0.5).abs().mean()


@pytest.mark.parametrize("size", [(1, 1), (33, 65), (65, 33)])
@pytest.mark.parametrize("kind", [MatchingBaseline, PropagationBaseline])
def test_any_size_with_the_real_backbone(kind, size):
    model = kind()
    frames = torch.randn(1, 3, *size)
    masks = (torch.rand(1, 2, *size) > 0.5).float()
    with torch.no_grad():
        found = model.eval()(frames, model.encode_template(frames), masks, masks)
    assert found.shape == masks.shape and found.min() >= 0 and found.max() <= 1


def test_mistakes_are_named():
    with pytest.raises(ValueError, match="matching must be one of nearest, average, not 'best'"):
        MatchingBaseline("best")
    with pytest.raises(ValueError, match=r"frames has shape \(3, 64, 96\), but \(B, 3, H, W\) is needed"):
        MatchingBaseline().encode_template(torch.zeros(3, *SIZE))


def test_maps_alone_say_what_the_networks_own_maps_say():
    network = RANet.lite(weights=None).eval()
    frames, masks = torch.randn(2, 3, *SIZE), torch.rand(2, 2, *SIZE)
    with torch.inference_mode():
        template = network.encode_template(frames)
        maps = network.trace(frames, template, masks, masks).maps
        said = MapsAlone(network)(frames, template, masks, masks)
    logits = matching_logits(maps, masks, network.config.template_grid)
    assert said.shape == masks.shape
    torch.testing.assert_close(said, F.interpolate(logits.sigmoid(), size=SIZE, mode="bilinear"))


def test_maps_alone_take_the_networks_place_in_the_video_loop():
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (3, 40, 60, 3), dtype="uint8")
    mask = rng.integers(0, 2, (40, 60), dtype="uint8")
    found = list(VideoSegmenter(MapsAlone(RANet.lite(weights=None, canvas=SIZE).eval())).segment(frames, mask))
    assert [m.shape for m in found] == [(40, 60)] * 3 and set(found[2].ravel().tolist()) <= {0, 1}
