"""Visible checks of assignment A3, ranking attention, one for each exercise and named like its function.

A check runs the student's function on numbers that can be followed by eye. What a typical mistake gives there stands
beside the message that names it.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ranet_edu.course.checks.common import answer, count_operations, expect, expect_shape, fail, passed, require

Network = Callable[[Tensor], Tensor]
Selection = Callable[[Tensor, Tensor], Tensor]

SCORES = torch.tensor([0.3, 0.9, 0.1, 0.5, 0.7])
BEST_FIRST = [1, 4, 3, 0, 2]
FIVE_MAPS = torch.tensor([[0.1, 0.2], [0.4, 0.9], [-0.3, 0.5], [0.8, 0.6], [0.7, -0.1]]).view(5, 1, 2)
EXACT = 1e-5  # what rounding may change


def swap(function: Callable[[Tensor, tuple[int, int]], Tensor]) -> None:
    """Exercise 1: S (H0*W0, H, W) and the grid (H0, W0) -> S^ (H*W, H0, W0)."""
    j, y, x = torch.meshgrid(torch.arange(6), torch.arange(2), torch.arange(2), indexing="ij")
    maps = (100 * j + 10 * y + x).float()  # (6, 2, 2): the digits say where a number came from
    got = answer(function, maps, (2, 3))
    shapes = {
        (2, 2, 2, 3): "flatten the frame's rows and columns: they become the channels",
        (4, 3, 2): "the grid is (H0, W0), rows first",
        (6, 2, 2): "this is S as it was",
        (6, 4): "transpose, then unflatten the template pixels into the grid",
        (4, 6): "unflatten the template pixels into the grid",
    }
    expect_shape("S^", got, (4, 2, 3), shapes)
    right = maps.permute(1, 2, 0).reshape(4, 2, 3)
    mistakes = {
        "a reshape only cuts the same row of numbers anew; transpose before you unflatten": maps.reshape(4, 2, 3),
        "channel p is frame position y * W + x, but you count down the columns": (
            maps.permute(2, 1, 0).reshape(4, 2, 3)
        ),
        "template pixel j stands in row j // W0, column j % W0, but you count down the columns": (
            maps.permute(1, 2, 0).reshape(4, 3, 2).transpose(1, 2)
        ),
    }
    expect("S^ of maps whose digits are template pixel, row and column", got, right, mistakes=mistakes)
    passed("channels are frame positions, pixels are template pixels")


def ranking_scores(function: Callable[[Tensor, Tensor, Network], Tensor]) -> None:
    """Exercise 2: S^ (H*W, H0, W0), weights (H0, W0), network -> scores (H0*W0,)."""
    pixels = torch.tensor([[0.9, 0.1, -0.2], [0.4, 0.8, 0.2], [0.5, 0.5, 0.6], [-0.9, 0.3, -0.6]])
    swapped, weights = pixels.T.unflatten(1, (2, 2)), torch.tensor([[1.0, 0.5], [0.0, 1.0]])  # (3, 2, 2), (2, 2)
    got = answer(function, swapped, weights, _network)
    shapes = {
        (2, 2): "flatten R into the vector r",
        (3,): "one score per frame position: the maximum runs over dim 0, the frame's positions",
        (3, 2, 2): "take the maximum over dim 0, the frame's positions",
        (): "one score for everything: the maximum runs over dim 0 alone",
    }
    expect_shape("r", got, (4,), shapes)
    masked = swapped * weights
    highest, gate, raw = masked.amax(0), weights != 0, _network(masked)
    learned = 0.2 * raw.relu() * gate
    unmasked = 0.2 * _network(swapped).relu() * gate
    mistakes = {
        "a pixel of weight 0 has a learned score, as the network's bias lifts it: gate it with weights != 0": (
            highest + 0.2 * raw.relu()
        ),
        "the network sees the maps before they are weighted": highest + unmasked,
        "the maximum is taken before the maps are weighted": swapped.amax(0) + learned,
        "neither the network nor the maximum sees weighted maps": swapped.amax(0) + unmasked,
        "a negative network output lowers the score: ReLU before you add": highest + 0.2 * raw * gate,
        "the network's output counts 0.2 times": highest + raw.relu() * gate,
        "the network's output is missing": highest,
        "the maximum is missing": learned,
        "f_max is a maximum over the frame, not a mean": masked.mean(0) + learned,
        "the gate is 0 or 1: a weight of 0.5 lets the whole learned score through": (
            highest + 0.2 * raw.relu() * weights
        ),
    }
    mistakes = {message: scores.flatten() for message, scores in mistakes.items()}
    expect("r", got, (highest + learned).flatten(), mistakes=mistakes, tolerance=EXACT)
    passed("equation 2: what the network says and how well the pixel was found")


def rank(function: Callable[[Tensor, Tensor, int], Tensor]) -> None:
    """Exercise 3: maps (K, H, W), scores (K,), keep -> the best maps, padded with zeros, (keep, H, W)."""
    maps, ascending = FIVE_MAPS, SCORES.argsort()
    three, seven = "the result with keep = 3", "the result with keep = 7"
    got = answer(function, maps, SCORES, 3)
    require(hasattr(got, "shape"), f"rank returns {type(got).__name__}, not a tensor; torch.stack makes one of a list")
    expect_shape(three, got, (3, 1, 2), {(5, 1, 2): "discard the maps after the first 3", (3, 2): "keep H and W"})
    mistakes = {
        "these are the worst: the largest score comes first": maps[ascending[:3]],
        "you sorted all and kept the end": maps[BEST_FIRST[2:]],
        "nothing is sorted": maps[:3],
        "you discarded before you sorted": maps[[1, 0, 2]],
        "the best are chosen but stand in the template's order": maps[[1, 3, 4]],
        "you sorted the values at each place, which tears the maps apart": maps.sort(0, descending=True).values[:3],
        "you index with each map's rank; needed is, for each rank, its map": maps[[3, 0, 4]],
        "scores decide the order alone, but you multiplied by them": (maps * SCORES.view(5, 1, 1))[BEST_FIRST[:3]],
    }
    expect(three, got, maps[BEST_FIRST[:3]], mistakes=mistakes)
    got = answer(function, maps, SCORES, 7)
    expect_shape(seven, got, (7, 1, 2), {(5, 1, 2): "pad with maps of zeros: the decoder needs 7 channels"})
    zeros = torch.zeros(2, 1, 2)
    mistakes = {
        "the padding comes last": torch.cat([zeros, maps[BEST_FIRST]]),
        "pad with zeros, not with the worst map": maps[[*BEST_FIRST, 2, 2]],
    }
    expect(seven, got, torch.cat([maps[BEST_FIRST], zeros]), mistakes=mistakes)
    _expect_ties_in_order(function)
    passed("equation 3, with padding and discarding")


def _expect_ties_in_order(function: Callable[[Tensor, Tensor, int], Tensor]) -> None:
    scores = torch.tensor([0.5, 0.5, 0.9, 0.5, 0.5])
    got = answer(function, FIVE_MAPS, scores, 5)
    mistakes = {
        "an ascending sort read backwards turns ties around: sort with descending=True, stable=True": (
            FIVE_MAPS[[2, 4, 3, 1, 0]]
        ),
        "equal scores leave the template's order, as topk and a sort without stable=True may do": got,
    }
    expect("with four equal scores the result", got, FIVE_MAPS[[2, 0, 1, 3, 4]], mistakes=mistakes)


def largest_change(function: Callable[[Selection, Tensor, Tensor, Tensor], float]) -> None:
    """Exercise 4: a selection, maps (K, H, W), scores (K,), permutation (K,) -> how far the result moves."""
    maps, order = FIVE_MAPS, torch.tensor([4, 1, 0, 2, 3])
    inverse = order.argsort()
    got = answer(function, _best_two, maps, SCORES, order)
    kept = _best_two(maps, SCORES)
    mistakes = {
        "the maps are permuted and their scores stay: a score must travel with its map": (
            (_best_two(maps[order], SCORES) - kept).abs().max()
        ),
        "the scores are permuted and their maps stay: a map must travel with its score": (
            (_best_two(maps, SCORES[order]) - kept).abs().max()
        ),
        "maps and scores are permuted differently": (_best_two(maps[order], SCORES[inverse]) - kept).abs().max(),
    }
    expect("the change of the best two maps", got, 0, mistakes=mistakes, tolerance=EXACT)
    got = answer(function, _as_it_is, maps, SCORES, order)
    change = maps[order] - maps
    mistakes = {
        "nothing is permuted, or the permuted result is compared with itself": torch.tensor(0.0),
        "this is the mean change, and one map out of place would drown in it": change.abs().mean(),
        "this is the sum of all changes": change.abs().sum(),
        "a change can be negative: take absolute values before the maximum": change.max(),
        "you permute pixels, not maps": (maps[..., [1, 0]] - maps).abs().max(),
    }
    expect("the change of maps left as they are", got, change.abs().max(), mistakes=mistakes, tolerance=EXACT)
    passed("a property, turned into a number")


def without_ranking(function: Callable[[str, Tensor, Tensor], Tensor]) -> None:
    """Exercise 5: variant, maps (K, H, W), weights (K,) -> "none" (K, H, W), "maximum" and "average" (1, H, W)."""
    maps = torch.tensor([[[0.8, -0.6, -0.2]], [[0.4, 0.6, -0.8]], [[1.0, 1.0, 1.0]]])  # (3, 1, 3)
    weights = torch.tensor([1.0, 0.5, 0.0])
    weighted = maps * weights.view(3, 1, 1)
    _expect_none(function, maps, weights, weighted)
    _expect_maximum(function, maps, weights, weighted)
    _expect_average(function, maps, weights, weighted)
    _expect_value_error(function, maps, weights)
    passed("three ways to do without a ranking")


def _expect_value_error(function: Callable[[str, Tensor, Tensor], Tensor], maps: Tensor, weights: Tensor) -> None:
    try:
        got = function("median", maps, weights)
        outcome = "None comes back" if got is None else "a result comes back"
    except ValueError:
        return
    except Exception as error:
        outcome = f"it raises {type(error).__name__}"
    fail(f'variant "median" must raise ValueError, but {outcome}')


def _expect_none(
    function: Callable[[str, Tensor, Tensor], Tensor], maps: Tensor, weights: Tensor, right: Tensor
) -> None:
    got = answer(function, "none", maps, weights)
    expect_shape('"none"', got, (3, 1, 3), {(2, 1, 3): "maps of weight 0 stay in their place, as zeros"})
    mistakes = {
        "the maps are not weighted": maps,
        "a weight of 0.5 counts 0.5, not 1": maps * (weights > 0).view(3, 1, 1),
        "the maps keep the template's order": right.flip(0),
    }
    expect('"none"', got, right, mistakes=mistakes, tolerance=EXACT)


def _expect_maximum(
    function: Callable[[str, Tensor, Tensor], Tensor], maps: Tensor, weights: Tensor, weighted: Tensor
) -> None:
    got = answer(function, "maximum", maps, weights)
    shapes = {
        (1, 3): "keep the channel dimension: keepdim=True",
        (3,): "take the maximum over the maps (dim 0), not over the places",
        (3, 1, 1): "take the maximum over the maps (dim 0), not over the places",
        (): "take the maximum over dim 0 alone",
    }
    expect_shape('"maximum"', got, (1, 1, 3), shapes)
    mistakes = {
        "maps of the other class take part at full strength: weight them first": maps.amax(0, keepdim=True),
        "maps of weight 0 are zeros in S1 and take part, so nothing is below 0": weighted[:2].amax(0, keepdim=True),
        "a weight of 0.5 halves its map": (maps * (weights > 0).view(3, 1, 1)).amax(0, keepdim=True),
    }
    expect('"maximum"', got, weighted.amax(0, keepdim=True), mistakes=mistakes, tolerance=EXACT)


def _expect_average(
    function: Callable[[str, Tensor, Tensor], Tensor], maps: Tensor, weights: Tensor, weighted: Tensor
) -> None:
    got = answer(function, "average", maps, weights)
    shapes = {(1, 3): "keep the channel dimension", (3,): "average over the maps (dim 0), not over the places"}
    expect_shape('"average"', got, (1, 1, 3), shapes)
    total = weighted.sum(0, keepdim=True)
    mistakes = {
        "you divide by the number of maps, so a small object looks faint: divide by the sum of the weights": total / 3,
        "you divide by how many weights are not 0: divide by their sum": total / 2,
        "all maps count the same: weight them": maps.mean(0, keepdim=True),
        "maps of weight 0.5 count as much as those of weight 1": maps[:2].mean(0, keepdim=True),
        "this is the sum: divide by the sum of the weights": total,
    }
    expect('"average"', got, total / 1.5, mistakes=mistakes, tolerance=EXACT)
    lost = answer(function, "average", maps, torch.zeros(3))
    require(not torch.as_tensor(lost).isnan().any(), '"average" without any weight is 0 / 0: return zeros there')
    expect('"average" without any weight', lost, torch.zeros(1, 1, 3))


def rank_and_learn(function: Callable[[Tensor, Tensor, int, float], Tensor]) -> None:
    """Exercise 6: maps (B, K, H, W), scores (B, K), keep, temperature -> ranked (B, keep, H, W), with a gradient."""
    maps = torch.stack([FIVE_MAPS, FIVE_MAPS.flip(0) + 1]).requires_grad_()  # (2, 5, 1, 2)
    scores = torch.stack([SCORES, SCORES.roll(1)]).requires_grad_()
    got = answer(function, maps, scores, 3, 0.5)
    _expect_hard_sort(got, maps.detach(), scores.detach())
    _expect_gradients(got, maps, scores)
    maps, scores = maps.detach(), scores.detach()
    padded = answer(function, maps, scores, 7, 0.5)
    expect_shape("the result with keep = 7", padded, (2, 7, 1, 2), {(2, 5, 1, 2): "pad with maps of zeros"})
    expect("the result with keep = 7", padded, torch.cat([_hard_sort(maps, scores, 5), torch.zeros(2, 2, 1, 2)], 1))
    few = count_operations(function, maps, scores, 3, 0.5)
    many = count_operations(function, maps.repeat(8, 6, 1, 1), scores.repeat(8, 6), 3, 0.5)
    require(many <= few, f"a loop: {few} tensor operations for 2 samples, {many} for 16; index the whole batch at once")
    passed("the result of a hard sort, the gradient of a soft one")


def _expect_hard_sort(got: Tensor, maps: Tensor, scores: Tensor) -> None:
    shapes = {
        (2, 3, 1, 1): "gather returns the shape of its index: expand the order to H and W",
        (2, 5, 1, 2): "discard the maps after the first 3",
        (2, 2, 3, 1, 2): "maps[:, order] pairs every sample with every order: pair each with its own",
        (3, 1, 2): "the batch is gone",
    }
    expect_shape("the ranked batch", got, (2, 3, 1, 2), shapes)
    right, soft = _hard_sort(maps, scores, 3), _soft_order(scores)
    blended = torch.einsum("bkj,bjhw->bkhw", soft, maps)
    mistakes = {
        "the order of the first sample serves the whole batch, but each has its own": maps[:, BEST_FIRST[:3]],
        "this is the soft order, which blends maps; forwards the sort stays hard": blended,
        "the soft maps are added: subtract P.detach() from P before you multiply": right + blended,
        "this is the zero alone: add it to the ranked maps": 0 * right,
        "the maps are scaled by their scores": _hard_sort(maps * scores[..., None, None], scores, 3),
        "these are the worst: the largest score comes first": _hard_sort(maps, -scores, 3),
    }
    expect("the ranked batch", got, right, mistakes=mistakes)
    exact = torch.equal(got, right)
    require(exact, "the ranked batch differs from the hard sort in its last bits: multiply the maps by P - P.detach()")


def _expect_gradients(got: Tensor, maps: Tensor, scores: Tensor) -> None:
    upstream = torch.tensor([[1.0, -2.0], [3.0, 0.5], [-1.0, 4.0]]).view(3, 1, 2)  # d loss / d ranked
    require(got.requires_grad, "the result has no gradient at all: detach only the P that you subtract")
    to_maps, to_scores = torch.autograd.grad((got * upstream).sum(), (maps, scores), allow_unused=True)
    require(to_maps is not None, "no gradient reaches the maps, and the encoder would never learn")
    require(to_scores is not None, "no gradient reaches the scores: an order has none, P has one")
    hard = torch.autograd.grad((_hard_sort(maps, scores, 3) * upstream).sum(), maps)[0]
    soft = (_soft_order(scores.detach()).mT @ upstream.flatten(1))[:, :, None]  # (2, 5, 1, 2)
    mistakes = {"the soft order's maps have a gradient, too: multiply the maps by P - P.detach()": hard + soft}
    expect("the maps' gradient", to_maps, hard, mistakes=mistakes, tolerance=EXACT)

    def taught(soft: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        """The scores' gradient where P comes from the places' scores (2, 3, 1) and all scores (2, 1, 5)."""
        order = scores.argsort(1, descending=True)[:, :3]
        order_of_places = soft(scores.gather(1, order)[..., None], scores[:, None])
        ranked = torch.einsum("bkj,bjhw->bkhw", order_of_places, maps.detach())
        return torch.autograd.grad((ranked * upstream).sum(), scores)[0]

    mistakes = {
        "the softmax runs over the places: each place, a row of P, shares itself among the maps": (
            taught(lambda places, all_scores: ((places - all_scores).abs() / -0.5).softmax(1))
        ),
        "divide by the temperature": taught(lambda places, all_scores: ((places - all_scores).abs() * -0.5).softmax(2)),
        "the temperature is ignored": taught(lambda places, all_scores: (-(places - all_scores).abs()).softmax(2)),
        "the minus is missing: the closer two scores, the larger P": (
            taught(lambda places, all_scores: ((places - all_scores).abs() / 0.5).softmax(2))
        ),
        "absolute values are missing: a larger score is no closer than a smaller one": (
            taught(lambda places, all_scores: ((places - all_scores) / -0.5).softmax(2))
        ),
        "the difference is squared, not its absolute value": (
            taught(lambda places, all_scores: ((places - all_scores) ** 2 / -0.5).softmax(2))
        ),
        "the places' scores are detached, but they are scores as well": (
            taught(lambda places, all_scores: ((places.detach() - all_scores).abs() / -0.5).softmax(2))
        ),
        "each score scales its own map, which the decoder's instance norm undoes: use P": (
            (hard * maps.detach()).sum((2, 3))
        ),
    }
    right = taught(lambda places, all_scores: ((places - all_scores).abs() / -0.5).softmax(2))
    expect("the scores' gradient", to_scores, right, mistakes=mistakes, tolerance=EXACT)


def _network(swapped: Tensor) -> Tensor:
    """Stands for f_n: (H*W, H0, W0) -> (H0, W0), with a bias, as the real one has."""
    return 2 * swapped.sum(0) + 1


def _best_first(maps: Tensor, scores: Tensor) -> Tensor:
    return maps[scores.argsort(descending=True)]


def _best_two(maps: Tensor, scores: Tensor) -> Tensor:
    return _best_first(maps, scores)[:2]


def _as_it_is(maps: Tensor, scores: Tensor) -> Tensor:
    return maps


def _hard_sort(maps: Tensor, scores: Tensor, keep: int) -> Tensor:
    """Maps (B, K, H, W) by scores (B, K), sample by sample, without padding."""
    return torch.stack([_best_first(m, s)[:keep] for m, s in zip(maps, scores, strict=True)])


def _soft_order(scores: Tensor) -> Tensor:
    """P of exercise 6 for the best three of scores (B, K), at temperature 0.5: (B, 3, K)."""
    places = scores.sort(dim=1, descending=True).values[:, :3]
    return ((places[..., None] - scores[:, None]).abs() / -0.5).softmax(2)
