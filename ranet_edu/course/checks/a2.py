"""Visible checks of assignment A2, correlation and similarity, one for each exercise and named like its function.

A check runs the student's function on a tensor small enough to work out on paper. What a typical mistake gives there
stands beside the message that names it. Cosines in here are plain numbers: the vectors point along (1, 0), (0, 1),
(0.6, 0.8) or (-0.8, 0.6), forwards or backwards, and have different lengths.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from matplotlib import colormaps
from torch import Tensor
from torch.nn import functional as F

from ranet_edu.course.checks.common import answer, count_operations, expect, expect_shape, fail, passed, require

TEMPLATE = torch.tensor([[[5.0, 0.0, 3.0], [-8.0, 6.0, -3.0]], [[0.0, 2.0, 4.0], [6.0, 8.0, 0.0]]])  # (2, 2, 3)
FRAME = torch.tensor([[[10.0, 0.6], [0.0, -4.0], [3.0, 0.0]], [[0.0, 0.8], [7.0, 3.0], [4.0, -2.0]]])  # (2, 3, 2)
EXACT = 1e-5  # what rounding may change in a cosine


def similarity_map(function: Callable[[Tensor, Tensor, int, int], Tensor]) -> None:
    """Exercise 1: template (C, H0, W0), frame (C, H, W), row, column -> cosines (H, W) of one template pixel."""
    what = "the map of template pixel (0, 1)"
    got = answer(function, TEMPLATE, FRAME, 0, 1)
    expect_shape(what, got, (3, 2), {(2, 3): "a map has the frame's rows and columns, in this order"})
    cosines, lengths = _cosines(TEMPLATE[None], FRAME[None])[0], FRAME.norm(dim=0)  # (6, 3, 2), (3, 2)
    mistakes = {
        "you divide by the template vector's length alone; the frame's vectors have lengths, too": cosines[1] * lengths,
        "you divide by the frame vectors' lengths alone; the template's vector has one, too": cosines[1] * 2,
        "you divide by squared lengths: take their roots": cosines[1] / (lengths * 2),
        "this is the map of template pixel (1, 0): row and column are swapped": cosines[3],
        "negative cosines are gone, but the opposite direction has cosine -1": cosines[1].clamp(min=0),
        "signs are gone, but the opposite direction has cosine -1": cosines[1].abs(),
        **_not_normalised(got),
    }
    expect(what, got, cosines[1], mistakes=mistakes, tolerance=EXACT)
    empty = answer(function, TEMPLATE, FRAME * torch.tensor([0.0, 1.0]), 0, 1)
    require(not torch.as_tensor(empty).isnan().any(), "0 / 0: where the frame's vector is zero, let the cosine be 0")
    expect(f"{what} over a frame with zeros", empty, cosines[1] * torch.tensor([0.0, 1.0]), tolerance=EXACT)
    passed("one template pixel, looked for all over the frame")


def similarity_maps(function: Callable[[Tensor, Tensor], Tensor]) -> None:
    """Exercise 2: template (B, C, H0, W0), frame (B, C, H, W) -> S (B, H0*W0, H, W), without a loop."""
    template = torch.stack([TEMPLATE, TEMPLATE.flip(2)])  # (2, 2, 2, 3)
    frame = torch.stack([FRAME, 3 * FRAME.flip(1)])  # (2, 2, 3, 2)
    got = answer(function, template, frame)
    shapes = {
        (2, 6, 6): "unflatten the last dimension into rows and columns",
        (2, 6, 2, 3): "frame pixels come before template pixels: transpose one factor of the product less or more",
        (2, 2, 3, 3, 2): "flatten the template's rows and columns into one dimension",
        (6, 3, 2): "the batch is gone; each of its templates belongs to one frame",
    }
    expect_shape("S", got, (2, 6, 3, 2), shapes)
    right = _cosines(template, frame)
    kernels, units = F.normalize(template, dim=1), F.normalize(frame, dim=1).flatten(2)
    mistakes = {
        "you divide by the template vectors' lengths alone": right * frame.norm(dim=1)[:, None],
        "you divide by the frame vectors' lengths alone": right * template.flatten(2).norm(dim=1)[..., None, None],
        "a reshape mixes channels and pixels: flatten the pixels first, then transpose": (
            (kernels.reshape(2, 6, 2) @ units).unflatten(2, (3, 2))
        ),
        "each channel has length 1 over the pixels, but each pixel needs it over the channels: normalise over dim 1": (
            F.normalize(template.flatten(2), dim=2).mT @ F.normalize(frame.flatten(2), dim=2)
        ).unflatten(2, (3, 2)),
        "map j belongs to template pixel row * W0 + column, but you count down the columns": (
            _cosines(template.transpose(2, 3), frame)
        ),
        "the first template is used for the whole batch": _cosines(template[:1].expand(2, -1, -1, -1), frame),
        **_not_normalised(got),
    }
    expect("S", got, right, mistakes=mistakes, tolerance=EXACT)
    few, many = (
        count_operations(function, template.repeat(n, 1, n, n), frame.repeat(n, 1, 1, 1)) for n in (1, 4)
    )
    amounts = f"{few} tensor operations for 2 templates of 6 pixels, {many} for 8 of 96"
    require(many <= few, f"a loop over the pixels or the batch: {amounts}; one product does all")
    passed("all maps in one matrix product")


def best_matches(function: Callable[[Tensor], Tensor]) -> None:
    """Exercise 3: maps (K, H, W) -> integers (K, 2), row and column of each map's largest value."""
    first = [[0.1, 0.2, 0.0, 0.3], [-0.5, 0.4, 0.6, 0.9]]
    second = [[0.3, -0.9, 0.8, 0.2], [0.1, 0.0, 0.2, 0.7]]
    third = [[-0.7, -0.6, -0.4, -0.8], [-0.1, -0.9, -0.3, -0.2]]
    got = answer(function, torch.tensor([first, second, third]))
    shapes = {
        (3,): "one flat index per map; with W it tells the row (index // W) and the column (index % W)",
        (2, 3): "transposed: one line per map, its row and its column in it",
        (2,): "one match for all maps together, but each map has its own",
    }
    expect_shape("the table of matches", got, (3, 2), shapes)
    mistakes = {
        "row and column are swapped": [[3, 1], [2, 0], [0, 1]],
        "you divide the flat index by H, but a row is W numbers long": [[3, 1], [1, 0], [2, 0]],
        "these are the smallest values": [[1, 0], [0, 1], [1, 1]],
        "these are the largest absolute values, but -0.9 is no good match": [[1, 3], [0, 1], [1, 1]],
        "rows and columns count from 0": [[2, 4], [1, 3], [2, 1]],
        "/ leaves fractions: divide by // to get whole rows": [[1.75, 3], [0.5, 2], [1, 0]],
    }
    expect("the table of matches", got, [[1, 3], [0, 2], [1, 0]], mistakes=mistakes)
    kind = str(got.dtype if isinstance(got, Tensor) else np.asarray(got).dtype)
    require("int" in kind, f"the matches are {kind}; whole numbers (torch.int64) can index a map")
    passed("each template pixel's new position")


def split_maps(function: Callable[..., tuple[Tensor, Tensor]]) -> None:
    """Exercise 4: maps (H0*W0, H, W), mask (h, w), grid, share -> foreground and background, each (H0*W0, H, W)."""
    shares = torch.tensor([[1.0, 0.75, 0.0], [0.25, 0.0625, 0.0]])  # of cells of 4 x 4 pixels
    mask = torch.zeros(8, 12)
    mask[:4, :4], mask[1:4, 4:8], mask[4:8, 1], mask[6, 6] = 1, 1, 1, 1
    maps = torch.arange(1.0, 13.0).view(6, 1, 2)
    pair = answer(function, maps, mask, (2, 3), 0.9)
    require(len(pair) == 2, f"{len(pair)} results, but two are needed: return foreground, background")
    shapes = {(count, 1, 2): "maps of the other class stay in their place, as zeros" for count in range(6)}
    for name, part in zip(("foreground", "background"), pair, strict=True):
        expect_shape(f"the {name}", part, (6, 1, 2), shapes)
    _expect_foreground(pair[0], maps, mask, shares)
    _expect_background(pair[1], maps, shares)
    passed("the maps of the object and those of everything else")


def _expect_foreground(got: Tensor, maps: Tensor, mask: Tensor, shares: Tensor) -> None:
    blurred = F.interpolate(mask[None, None], size=(2, 3), mode="bilinear")[0, 0]
    mistakes = {
        "this is the background: the two are swapped": _weighted(maps, shares <= 0.1),
        "one pixel of each cell decides for all 16: average-pool the mask to the grid": _weighted(maps, mask[::4, ::4]),
        "interpolation reads 4 of the 16 pixels of a cell: average-pool the mask": _weighted(maps, blurred),
        "a cell touched by the object counts in full: use the mean over its pixels, not the maximum": (
            _weighted(maps, shares > 0)
        ),
        "the weights are rounded, but a cell that is 75 % object weighs 0.75": _weighted(maps, shares >= 0.5),
        "map j belongs to cell row * W0 + column, but you count down the columns": _weighted(maps, shares.T),
        "the foreground's maps are not weighted at all": maps,
    }
    expect("the foreground", got, _weighted(maps, shares), mistakes=mistakes, tolerance=EXACT)


def _expect_background(got: Tensor, maps: Tensor, shares: Tensor) -> None:
    mistakes = {
        "1 - share is a soft weight; the background takes whole cells, those with 1 - share >= 0.9": (
            _weighted(maps, 1 - shares)
        ),
        "a cell that is 75 % object counts as background: compare 1 - share with 0.9": (_weighted(maps, shares <= 0.9)),
        "a cell with a single object pixel still counts: its 1 - share is 0.9375": _weighted(maps, shares == 0),
        "the threshold is 0.5, not the argument background_share": _weighted(maps, shares <= 0.5),
    }
    expect("the background", got, _weighted(maps, shares <= 0.1), mistakes=mistakes, tolerance=EXACT)


def combine(function: Callable[[Tensor, Tensor, int], Tensor]) -> None:
    """Exercise 5: maps (K, H, W), chosen (K,), best -> at each place the mean of the `best` largest, (H, W)."""
    maps = torch.tensor([[[0.9, 0.1, -0.4]], [[0.2, 0.7, -0.2]], [[1.0, 1.0, 1.0]], [[0.5, -0.6, -0.8]]])  # (4, 1, 3)
    chosen = torch.tensor([True, True, False, True])
    got = answer(function, maps, chosen, 2)
    shapes = {
        (2, 1, 3): "average over the maps, dim 0",
        (3,): "average over the maps, dim 0, and keep the places",
        (2,): "average over the maps, dim 0, and keep the places",
        (4,): "average over the maps, dim 0, and keep the places",
        (): "one number for everything, but each place has its own",
    }
    expect_shape("the best 2 together", got, (1, 3), shapes)
    largest = maps[chosen].topk(2, dim=0).values
    zeroed = (maps * chosen[:, None, None]).topk(2, dim=0).values
    mistakes = {
        "maps that are not chosen take part": maps.topk(2, dim=0).values.mean(0),
        "maps that are not chosen take part as zeros, and 0 beats every negative cosine": zeroed.mean(0),
        "all chosen maps are averaged, not the best 2": maps[chosen].mean(0),
        "the same 2 maps serve all places, but each place has its own best": maps[:2].mean(0),
        "this is the largest alone, which is right for best = 1": largest[0],
        "this is the second largest alone": largest[1],
        "this is a sum: divide by how many were added": largest.sum(0),
    }
    expect("the best 2 together", got, largest.mean(0), mistakes=mistakes, tolerance=EXACT)
    _expect_few_and_none(function, maps, chosen)
    passed("from one similarity to the mean of all")


def _expect_few_and_none(function: Callable[[Tensor, Tensor, int], Tensor], maps: Tensor, chosen: Tensor) -> None:
    """Fewer chosen maps than `best`, and none."""
    few, none = "best = 20 of 3 chosen maps", "without any chosen map the result"
    got = _or_fail(few, "take no more than there are", function, maps, chosen, 20)
    mistakes = {"divide by the 3 that there are": maps[chosen].sum(0) / 20}
    expect(few, got, maps[chosen].mean(0), mistakes=mistakes, tolerance=EXACT)
    got = _or_fail(none, "return -1 everywhere before you sort", function, maps, torch.zeros(4, dtype=torch.bool), 2)
    mistakes = {
        "0 / 0 is not a number; no map is no evidence, and -1 is the worst cosine": torch.full((1, 3), torch.nan),
        "0 is a better match than many; no map is no evidence, and -1 is the worst cosine": torch.zeros(1, 3),
    }
    expect(none, got, torch.full((1, 3), -1.0), mistakes=mistakes)


def _or_fail(what: str, advice: str, function: Callable, *arguments: object) -> Tensor:
    """The answer; an error of PyTorch becomes a failure that says which case it was and what to do."""
    try:
        return answer(function, *arguments)
    except (RuntimeError, IndexError) as error:
        problem = str(error).splitlines()[0]
    fail(f"{what} ends in an error ({problem}): {advice}")


def overlay_map(function: Callable[[np.ndarray, np.ndarray, tuple[float, float]], np.ndarray]) -> None:
    """Exercise 6: frame uint8 (H, W, 3), map (h, w), limits -> the map in colours over the grey frame, like frame."""
    frame = np.array([[[0, 0, 0], [90, 120, 150]], [[255, 255, 255], [30, 60, 0]]], dtype=np.uint8)
    similarity = np.array([[0.2, 0.4], [0.6, 0.3]], dtype=np.float32)
    got = answer(function, frame, similarity, (0.0, 0.8))
    shapes = {(2, 2, 4): "a colour map returns RGBA: keep three channels", (2, 2): "give the map colours first"}
    expect_shape("the overlay", got, (2, 2, 3), shapes)
    grey, heat = frame.mean(2, keepdims=True), _viridis(similarity / 0.8)
    stretched = _viridis((similarity - 0.2) / 0.4)
    mistakes = {
        "you stretch the map to its own range, so no two maps can be compared: use the limits": _mix(grey, stretched),
        "the limits are ignored": _mix(grey, _viridis(similarity)),
        "the frame is missing: 0.35 of the grey frame, 0.65 of the colours": heat,
        "0.65 is for the colours and 0.35 for the frame": _mix(heat, grey),
        "the frame keeps its colours, which then look like similarity: make it grey": _mix(frame, heat),
        "the map's colours go from 0 to 1 and the frame's from 0 to 255: multiply by 255": _mix(grey, heat / 255),
        "pixels go from 0 to 255, not from 0 to 1": _mix(grey, heat) / 255,
    }
    expect("the overlay", got, _mix(grey, heat), mistakes=mistakes, tolerance=1.5)
    require(got.dtype == np.uint8, f"the overlay is {got.dtype}; pictures are uint8: round, then .astype(np.uint8)")
    _expect_enlarged(function)
    passed("one colour scale for all maps")


def _expect_enlarged(function: Callable[[np.ndarray, np.ndarray, tuple[float, float]], np.ndarray]) -> None:
    """A map smaller than its frame, and another shape than square."""
    similarity = np.zeros((4, 6), dtype=np.float32)
    similarity[1, 4] = 1
    got = answer(function, np.zeros((40, 90, 3), dtype=np.uint8), similarity, (0.0, 1.0))
    shapes = {(90, 40, 3): "cv2.resize takes (width, height)", (4, 6, 3): "enlarge the map to the frame"}
    expect_shape("the overlay of a 4 x 6 map on 40 x 90 pixels", got, (40, 90, 3), shapes)
    row, column = np.unravel_index(got.sum(2, dtype=int).argmax(), (40, 90))
    inside = 10 <= row < 20 and 60 <= column < 75
    require(inside, f"cell (1, 4) of 4 x 6 covers rows 10-19 and columns 60-74, but ({row}, {column}) is the brightest")


def _cosines(template: Tensor, frame: Tensor) -> Tensor:
    """All cosines by broadcasting: (B, C, H0, W0), (B, C, H, W) -> (B, H0*W0, H, W)."""
    pairs = F.cosine_similarity(template.flatten(2)[..., None], frame.flatten(2)[:, :, None], dim=1)
    return pairs.unflatten(2, frame.shape[2:])


def _not_normalised(maps: Tensor) -> dict[str, Tensor]:
    """Maps with a value above 1, as a mistake of their own."""
    largest = float(torch.as_tensor(maps).max())
    message = f"your maps are not normalised: the largest value is {largest:.1f}, and a cosine can't pass 1"
    return {message: maps} if largest > 1 + EXACT else {}


def _weighted(maps: Tensor, weights: Tensor) -> Tensor:
    """(H0*W0, H, W) times (H0, W0)."""
    return maps * weights.flatten()[:, None, None]


def _viridis(values: np.ndarray) -> np.ndarray:
    """(h, w) in [0, 1] -> RGB in [0, 255]."""
    return 255 * colormaps["viridis"](values)[..., :3]


def _mix(grey: np.ndarray, heat: np.ndarray) -> np.ndarray:
    return 0.35 * grey + 0.65 * heat
