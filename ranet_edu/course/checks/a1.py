"""Visible checks of assignment 1: masks and metrics. Each takes the student's function and names the likely mistake."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from scipy.ndimage import binary_dilation

from ranet_edu.course.checks.common import answer, expect, passed, require
from ranet_edu.evaluation.metrics import boundary_accuracy, region_similarity, sequence_statistics

LabelMaps = Mapping[str, Sequence[np.ndarray]]


# --- exercise 1: one mask for each object


def object_masks(student: Callable) -> None:
    """Check `object_masks(labels, count) -> bool (N, H, W)` on a small map with void; object 3 is out of sight."""
    labels = np.array([[0, 0, 1, 1], [2, 255, 2, 0]], np.uint8)
    got = answer(student, labels.copy(), 3)
    expected = np.stack([labels == number for number in (1, 2, 3)])
    mistakes = {
        "there is a plane for each value that occurs, so background and void have one and an object that is out of "
        "sight has none; make one for each of 1 ... count": [labels == value for value in np.unique(labels)],
        "plane 0 is the background; the first plane belongs to object 1": [labels == k for k in range(3)],
        "there is a plane for the background too; objects begin at label 1": [labels == k for k in range(4)],
        "the objects come last; stack them along the first axis, (N, H, W)": np.moveaxis(expected, 0, -1),
        "a plane holds all labels from its own on, void included; compare with ==": [labels >= k for k in (1, 2, 3)],
        "the planes keep the labels; a mask says only true or false": [labels * (labels == k) for k in (1, 2, 3)],
    }
    expect("object_masks of a small label map", got, expected, mistakes=mistakes)
    _require_bool("object_masks", got)
    passed("object_masks: a plane for each object, also for one that is out of sight; void belongs to none")


def _require_bool(name: str, masks: Any) -> None:
    kind = getattr(masks, "dtype", type(masks).__name__)
    require(kind == "bool", f"{name} returns {kind}, not an array of dtype bool: a mask says only true or false")


# --- exercise 2: J


def jaccard(student: Callable) -> None:
    """Check `jaccard(predicted, true) -> (T,)` on an overlap, a perfect frame, two empty masks and a stray pixel."""
    predicted, true = np.zeros((2, 4, 4, 6), bool)
    predicted[0, 1:3, 0:2] = true[0, 1:3, 1:4] = True
    predicted[1, :2] = true[1, :2] = True
    predicted[3, 0, 0] = True
    got = answer(student, predicted.copy(), true.copy())
    expected = [region_similarity(p, t) for p, t in zip(predicted, true, strict=True)]
    both, either, size = (_count(masks) for masks in (predicted & true, predicted | true, np.ones_like(true)))
    mistakes = {
        "there is one value for the whole clip; sum over height and width only, and keep the frames": np.mean(expected),
        "the pixels of all frames are counted together; sum over height and width only": both.sum() / either.sum(),
        "that is the Dice coefficient; divide by the pixels that are in either mask, and count them once": _ratio(
            2 * both, _count(predicted) + _count(true)
        ),
        "you divide by the size of the frame; divide by the pixels that are in either mask": both / size,
        "you count the pixels on which the masks agree, background included": _count(predicted == true) / size,
        "you divide by the true mask alone, so that marking everything would be perfect": _ratio(both, _count(true)),
        "you divide by the predicted mask alone, so that a single right pixel would be perfect": _ratio(
            both, _count(predicted)
        ),
        "0 / 0 is not a number: two empty masks agree, and that scores 1": _ratio(both, either, empty=np.nan),
        "two empty masks agree: that scores 1, not 0": _ratio(both, either, empty=0),
    }
    _expect_exact("jaccard of four small frames", got, np.array(expected), mistakes)
    passed("jaccard: the four small frames score 1/4, 1, 1 and 0")


def _expect_exact(what: str, got: Any, expected: np.ndarray, mistakes: Mapping[str, Any]) -> None:
    """`expect` to nine digits, where a value that is right to four was changed on purpose."""
    expect(what, got, expected, mistakes=mistakes, tolerance=1e-4)
    added = "a small number is added to avoid 0 / 0, which changes every value: treat the empty frame by itself"
    kind = getattr(got, "dtype", None)
    require(kind is not None, f"{what} is of type {type(got).__name__}, not an array; np.array makes one of a list")
    require(kind == np.float64, f"{what} is {kind}; divide whole numbers, which gives float64")
    expect(what, got, expected, mistakes={added: got}, tolerance=1e-9)


def _count(masks: np.ndarray) -> np.ndarray:
    """Pixels of each mask (T, H, W) -> (T,)."""
    return masks.sum((1, 2))


def _ratio(part: np.ndarray, whole: np.ndarray, empty: float = 1) -> np.ndarray:
    """part / whole, and `empty` where the whole is 0."""
    return np.where(whole > 0, part / np.maximum(whole, 1), empty)


# --- exercise 3: the boundary


def boundary(student: Callable) -> None:
    """Check `boundary(mask) -> bool (H, W)` on shapes that touch the frame's sides, one with a corner."""
    mask = np.zeros((6, 8), bool)
    mask[2:, 3:6] = mask[4:, 3:] = mask[:1, :2] = True
    got = answer(student, mask.copy())
    eroded = cv2.erode(mask.astype(np.uint8), cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))) > 0
    repeated, empty = np.pad(mask, (0, 1), mode="edge"), np.pad(mask, (0, 1))
    before = np.pad(mask, (1, 0), mode="edge")
    mistakes = {
        "these are the pixels of the mask that touch the background; a boundary pixel may be of either kind, and "
        "differs from its right, lower or lower right neighbour": mask & ~eroded,
        "the diagonal is missing: compare with the lower right neighbour too": _differs(repeated, diagonal=False),
        "the last column is compared with the first, or the last row: np.roll wraps around": _wrapped(mask),
        "the frame's own edge became a boundary: repeat the last row and column, don't add zeros": _differs(empty),
        "you compare with the left and upper neighbours; compare with the right and lower ones": _differs(
            before[::-1, ::-1]
        )[::-1, ::-1],
        "the last row and column are lost: repeat them once before you compare": _differs(mask),
    }
    expect("boundary of a small mask", got, _differs(repeated), mistakes=mistakes)
    _require_bool("boundary", got)
    passed("boundary: half a pixel to the upper left of the outline, open at the frame's edge")


def _differs(mask: np.ndarray, diagonal: bool = True) -> np.ndarray:
    """Which of all pixels but the last row and column differ from the right, lower or lower right one."""
    here, right, lower, both = mask[:-1, :-1], mask[:-1, 1:], mask[1:, :-1], mask[1:, 1:]
    return (here != right) | (here != lower) | ((here != both) & diagonal)


def _wrapped(mask: np.ndarray) -> np.ndarray:
    shifts = ((0, -1), (-1, 0), (-1, -1))
    return np.logical_or.reduce([mask != np.roll(mask, shift, (0, 1)) for shift in shifts])


# --- exercise 4: F


def boundary_f(student: Callable) -> None:
    """Check `boundary_f(predicted, true, radius) -> float` on small maps, with radius 2.5, then on empty maps."""
    predicted, true = np.zeros((2, 24, 32), bool)
    true[4:20, 10] = predicted[4:9, 13] = predicted[18:20, 11] = predicted[21:24, 12] = predicted[10, 25:30] = True
    got = answer(student, predicted.copy(), true.copy(), 3)
    precision, recall = _matched(predicted, true, 3)
    nearer, square = _matched(predicted, true, 3, strict=True), _matched(predicted, true, 3, square=True)
    y, x = np.ogrid[-3:4, -3:4]
    diamond, ellipse = abs(x) + abs(y) <= 3, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (7, 7))
    mistakes = {
        "pixels at exactly the radius must match too: distance <= radius": _f(*nearer),
        "the neighbourhood is a square; it is a disk, by Euclidean distance": _f(*square),
        "the neighbourhood is a diamond, rows and columns added up; it is a disk, by Euclidean distance": _f(
            *_matched_within(diamond, predicted, true)
        ),
        "the ellipse of cv2 is larger than the disk with x * x + y * y <= r * r": _f(
            *_matched_within(ellipse, predicted, true)
        ),
        "only pixels at the very same place match; those within the radius do": _f(*_matched(predicted, true, 0)),
        "that is the precision alone": precision,
        "that is the recall alone": recall,
        "F is the harmonic mean of precision and recall, not the plain one": (precision + recall) / 2,
        "that is precision times recall; F is twice that, divided by their sum": precision * recall,
    }
    expect("boundary_f of two maps three pixels apart", got, _f(precision, recall), mistakes=mistakes)
    _check_fractional_radius(student)
    _check_empty_maps(student, true)
    passed("boundary_f: a disk of the given radius, the harmonic mean, and empty maps")


def _check_fractional_radius(student: Callable) -> None:
    """Four pairs of pixels, 0 and 2 pixels apart and the roots of 5 and of 8, with a radius of 2.5."""
    predicted, true = np.zeros((2, 12, 48), bool)
    true[4, 4::12] = predicted[4, [4, 18]] = predicted[5, 30] = predicted[6, 42] = True
    y, x = np.ogrid[-2.5:3.5, -2.5:3.5]
    mistakes = {
        "a radius need not be whole, while the disk's offsets are: take those from -n to n, n = int(radius)": _f(
            *_matched_within(x * x + y * y <= 2.5 * 2.5, predicted, true)
        ),
        "the radius is rounded down; it need not be whole": _f(*_matched(predicted, true, 2)),
        "the radius is rounded up; it need not be whole": _f(*_matched(predicted, true, 3)),
    }
    got = answer(student, predicted, true, 2.5)
    expect("boundary_f with a radius of 2.5", got, _f(*_matched(predicted, true, 2.5)), mistakes=mistakes)


def _check_empty_maps(student: Callable, edges: np.ndarray) -> None:
    nothing = np.zeros_like(edges)
    divided = {"0 / 0 is not a number; look at the counts before you divide": np.nan}
    neither = {**divided, "nothing is missing and nothing is wrong": 0}
    expect("boundary_f of two empty maps", answer(student, nothing, nothing, 3), 1, mistakes=neither)
    for what, pair in (("only a true boundary", (nothing, edges)), ("only a predicted boundary", (edges, nothing))):
        got = answer(student, *pair, 3)
        expect(f"boundary_f of {what}", got, 0, mistakes={**divided, "nothing matches": 1})


def _matched(
    predicted: np.ndarray, true: np.ndarray, radius: float, strict: bool = False, square: bool = False
) -> tuple[float, float]:
    """(precision, recall) of boundary maps that are not empty."""
    near_true, near_predicted = _near(true, radius, strict, square), _near(predicted, radius, strict, square)
    return near_true[predicted].mean(), near_predicted[true].mean()


def _matched_within(neighbourhood: np.ndarray, predicted: np.ndarray, true: np.ndarray) -> tuple[float, float]:
    """(precision, recall) where pixels of this neighbourhood, a small mask, match its centre."""
    near_true, near_predicted = (binary_dilation(edges, neighbourhood) for edges in (true, predicted))
    return near_true[predicted].mean(), near_predicted[true].mean()


def _near(edges: np.ndarray, radius: float, strict: bool, square: bool) -> np.ndarray:
    metric = cv2.DIST_C if square else cv2.DIST_L2
    distance = cv2.distanceTransform(1 - edges.astype(np.uint8), metric, cv2.DIST_MASK_PRECISE)
    return distance < radius if strict else distance <= radius


def _f(precision: float, recall: float) -> float:
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


# --- exercise 5: mean, recall, decay


def statistics(student: Callable) -> None:
    """Check `statistics(values) -> (mean, recall, decay)` on seven frames, one of them at exactly one half."""
    values = np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.2])
    got = answer(student, values.copy())
    require(len(_as_tuple(got)) == 3, "statistics must return three values: mean, recall, decay")
    mean, recall, decay = _as_tuple(got)
    expected = sequence_statistics(values)
    expect("the mean of seven frames", mean, expected.mean)
    recalls = {
        "a frame at exactly 0.5 is not above it: use >": (values >= 0.5).mean(),
        "recall is a share of the frames, from 0 to 1; divide by their number": (values > 0.5).sum(),
        "that is the mean of the frames above 0.5; count them": values[values > 0.5].mean(),
    }
    expect("the recall of seven frames", recall, expected.recall, mistakes=recalls)
    expect("the decay of seven frames", decay, expected.decay, mistakes=_wrong_decays(values))
    passed("statistics: mean 0.586, recall 4/7, decay 0.5")


def _as_tuple(value: Any) -> tuple:
    """A sequence's items; nothing where `value` is a single number."""
    return tuple(value) if np.ndim(value) == 1 or isinstance(value, tuple | list) else ()


def _wrong_decays(values: np.ndarray) -> dict[str, float]:
    first, *_, last = np.array_split(values, 4)
    gain = values[5:].mean() - values[:3].mean()
    return {
        "the sign is wrong: decay is what is lost, the first quarter minus the last": gain,
        "the quarters share a frame: each goes up to its last limit, inclusive": values[:2].mean() - values[5:6].mean(),
        "np.array_split makes quarters that share no frame; take the limits above": first.mean() - last.mean(),
        "numpy rounds 4.5 to 4; halves are rounded up here": values[:3].mean() - values[4:].mean(),
        "the first quarter ends a frame too early: its last limit belongs to it, and halves are rounded up (numpy "
        "makes 2 of 2.5, where points count from 1)": values[:2].mean() - values[5:].mean(),
        "the points are cut off; round them": values[:2].mean() - values[4:].mean(),
        "that compares the first frame with the last; take the means of whole quarters": values[0] - values[-1],
        "that compares halves; take the first and the last quarter": values[:4].mean() - values[3:].mean(),
    }


# --- exercise 6: the protocol


def davis_scores(student: Callable) -> None:
    """Check `davis_scores(predicted, true) -> (J, F)` on two sequences with one and two objects."""
    predicted, true = _two_sequences()
    got = answer(student, predicted, true)
    require(len(_as_tuple(got)) == 2, "davis_scores must return two values: J and F")
    mistakes = {
        "the first frame counts; it is given, so leave it out": _protocol(predicted, true, slice(0, -1)),
        "the last frame counts; DAVIS leaves it out like the first": _protocol(predicted, true, slice(1, None)),
        "all frames count; DAVIS leaves out the first and the last": _protocol(predicted, true, slice(None)),
        "you average within each sequence first; every object counts the same, whatever its sequence": _protocol(
            predicted, true, pool="sequences"
        ),
        "you average all frames of all objects at once, so that long sequences count more; average the frames of each "
        "object first": _protocol(predicted, true, pool="frames"),
        "all objects are scored as one; score each label by itself": _protocol(*map(_merged, (predicted, true))),
        "a label that the first map doesn't have is no object, and isn't scored": _protocol(
            predicted, true, objects=_latest(true)
        ),
        "only objects that were predicted are scored; a missed one counts, and scores 0 wherever it is": _protocol(
            predicted, true, objects=predicted
        ),
        "J and F have changed places": _protocol(predicted, true)[::-1],
    }
    expect("(J, F) of two small sequences", got, _protocol(predicted, true), mistakes=mistakes)
    passed("davis_scores: two sequences, three objects, without the first and the last frame")


def _two_sequences() -> tuple[LabelMaps, LabelMaps]:
    """A square that is followed worse and worse, with a stray label; two squares of which one is never found."""
    one, two = np.zeros((5, 12, 16), np.uint8), np.zeros((7, 12, 16), np.uint8)
    one[:, 2:9, 3:10] = 1
    one[3, 0, 0] = 2
    two[:, 1:5, 1:6], two[:, 6:11, 8:15] = 1, 2
    followed, missed = np.zeros_like(one), np.where(two == 1, two, 0)
    for number, labels in enumerate(followed):
        labels[2 + number : 9, 3:10] = 1
    missed[0], missed[-1, :, 3:] = two[0], 0
    return {"one": list(followed), "two": list(missed)}, {"one": list(one), "two": list(two)}


def _merged(sequences: LabelMaps) -> LabelMaps:
    return {name: [(labels > 0).astype(np.uint8) for labels in maps] for name, maps in sequences.items()}


def _latest(sequences: LabelMaps) -> LabelMaps:
    """The largest label of all maps in each of them."""
    return {name: [np.max(maps, keepdims=True)] * len(maps) for name, maps in sequences.items()}


def _protocol(
    predicted: LabelMaps,
    true: LabelMaps,
    frames: slice = slice(1, -1),
    pool: str = "objects",
    objects: LabelMaps | None = None,
) -> np.ndarray:
    """(J, F) of sequences of label maps; the options are ways to get it wrong."""
    scored = {}
    for name, maps in true.items():
        labels = range(1, int((objects or true)[name][1 if objects else 0].max()) + 1)
        pairs = list(zip(predicted[name][frames], maps[frames], strict=True))
        scored[name] = [[_frame_scores(p == label, t == label) for p, t in pairs] for label in labels]
    if pool == "frames":
        return np.concatenate([frames for objects in scored.values() for frames in objects]).mean(0)
    if pool == "sequences":
        return np.mean([np.mean(objects, axis=(0, 1)) for objects in scored.values()], axis=0)
    return np.mean([np.mean(frames, axis=0) for objects in scored.values() for frames in objects], axis=0)


def _frame_scores(predicted: np.ndarray, true: np.ndarray) -> tuple[float, float]:
    return region_similarity(predicted, true), boundary_accuracy(predicted, true)
