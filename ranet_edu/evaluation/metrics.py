"""J and F of one object in one frame, and their statistics over a sequence, as DAVIS defines them (notebooks 01, 09).

Definitions: Perazzi et al., A Benchmark Dataset and Evaluation Methodology for Video Object Segmentation, CVPR 2016.
The values equal those of the official toolkit (github.com/davisvideochallenge/davis2017-evaluation) to the last bit.
"""

from __future__ import annotations

from math import ceil, hypot, isqrt
from typing import NamedTuple

import cv2
import numpy as np

BOUNDARY_TOLERANCE = 0.008
"""How far boundaries may lie apart and still match, as a fraction of the frame's diagonal: 8 pixels at 480 x 854."""


class SequenceStatistics(NamedTuple):
    """What DAVIS reports of one measure over the frames of a sequence, as fractions."""

    mean: float
    recall: float
    decay: float


def region_similarity(predicted: np.ndarray, true: np.ndarray, void: np.ndarray | None = None) -> float:
    """J, the Jaccard index: the pixels in both masks / the pixels in either. Built in notebook 01.

    `predicted`, `true`: masks (H, W) of one object, any type, object where not zero. `void`: mask of pixels that do
    not count; semi-supervised DAVIS has none. Returns a value in [0, 1]; two empty masks agree: 1.

    Raises ValueError where a mask is not (H, W) or the sizes differ.
    """
    predicted, true = _comparable(predicted, true, void)
    total = cv2.countNonZero(predicted) + cv2.countNonZero(true)
    differing = int(cv2.norm(predicted, true, cv2.NORM_L1))
    # total = |both| + |either| and differing = |either| - |both|: exact integers, and no third mask in memory.
    both, either = (total - differing) // 2, (total + differing) // 2
    return both / either if either else 1.0


def boundary_accuracy(predicted: np.ndarray, true: np.ndarray, void: np.ndarray | None = None) -> float:
    """F, the F-measure of the boundary: do the two outlines run within a few pixels of each other? Notebook 01.

    Precision is the share of predicted boundary pixels with a true one within ceil(0.008 diagonal) pixels, recall the
    share of true ones with a predicted one; F = 2 precision recall / (precision + recall), in [0, 1]. A pixel belongs
    to the boundary where its right, lower or lower right neighbour differs, so the frame's own edge makes none: a
    full mask and an empty one have the same boundary, and F = 1.

    Arguments and errors as in `region_similarity`. Void pixels count as background in both masks, and the outline of
    the void is a boundary in both where it cuts through the object: so does the official toolkit.
    """
    radius = ceil(BOUNDARY_TOLERANCE * hypot(*np.shape(predicted)))
    predicted, true = _crop(*_comparable(predicted, true, void))
    stride = predicted.shape[1] + radius
    inside = _pack(np.ones_like(predicted), radius, cv2.BORDER_CONSTANT)
    predicted = _boundary(predicted, radius) & inside
    true = _boundary(true, radius) & inside
    if not predicted or not true:
        return float(predicted == true)
    precision = (predicted & _dilate(true, stride, radius)).bit_count() / predicted.bit_count()
    recall = (true & _dilate(predicted, stride, radius)).bit_count() / true.bit_count()
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def sequence_statistics(values: np.ndarray) -> SequenceStatistics:
    """Mean, recall and decay of one object's J or F over the scored frames of a sequence (n,). Notebook 01.

    recall: the share of frames above 0.5; a NaN is not above, and counts. decay: the mean of the first quarter of the
    frames minus that of the last, where neighbouring quarters share a frame; above 0 where quality is lost over time.
    Means leave NaNs out. No frames: NaN, NaN, NaN.

    The official toolkits hold the quarters' limits in 8 bits, so that from 257 frames on they wrap around and decay
    is NaN or taken from other frames. That is a bug, which we don't copy; no DAVIS clip is that long.

    Raises ValueError where `values` is not one-dimensional.
    """
    values = np.asarray(values, np.float64)
    if values.ndim != 1:
        raise ValueError(f"values must be (frames,), one object at a time, not {values.shape}")
    if not len(values):
        return SequenceStatistics(np.nan, np.nan, np.nan)
    limits = quarter_limits(len(values))
    first, last = values[: limits[1] + 1], values[limits[3] :]
    return SequenceStatistics(_mean(values), float(np.mean(values > 0.5)), _mean(first) - _mean(last))


def quarter_limits(count: int) -> np.ndarray:
    """The five frames that bound the quarters of a sequence of `count` scored frames: ints (5,), 0 ... count - 1.

    Each quarter holds both of its limits, so neighbours share a frame. Used for decay; drawn in notebook 01.
    """
    # + 1e-10: numpy rounds halves to even, the toolkits round them up as Matlab does.
    return np.round(np.linspace(1, count, 5) + 1e-10).astype(int) - 1


def _mean(values: np.ndarray) -> float:
    """Mean without the NaNs; NaN, and no warning, where nothing is left."""
    return np.nan if np.isnan(values).all() else float(np.nanmean(values))


def _comparable(predicted: np.ndarray, true: np.ndarray, void: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Both masks as uint8 0/1 (H, W), empty where `void` is set."""
    predicted, true = _binary(predicted, "predicted"), _binary(true, "true")
    _check_size(predicted, true, "predicted")
    if void is None:
        return predicted, true
    void = _binary(void, "void")
    _check_size(void, true, "void")
    return predicted & (1 - void), true & (1 - void)


def _binary(mask: np.ndarray, name: str) -> np.ndarray:
    """`mask` as uint8 (H, W), 1 where it is not zero."""
    mask = np.asarray(mask)
    if mask.ndim != 2 or not mask.size:
        raise ValueError(f"{name} must be a mask (H, W), one object in one frame, not an array {mask.shape}")
    return np.ascontiguousarray(mask if mask.dtype == bool else mask != 0).view(np.uint8)


def _check_size(mask: np.ndarray, true: np.ndarray, name: str) -> None:
    """Raise ValueError unless both are of one size."""
    if mask.shape != true.shape:
        raise ValueError(f"{name} is {mask.shape} but true is {true.shape}; masks are compared at their original size")


def _crop(predicted: np.ndarray, true: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both masks cut to the part that holds all their boundary pixels: around their union, one pixel larger."""
    x, y, width, height = cv2.boundingRect(cv2.bitwise_or(predicted, true))
    part = np.s_[max(y - 1, 0) : y + height + 1, max(x - 1, 0) : x + width + 1]
    return predicted[part], true[part]


# Dilating by a disk is many shifts and ORs of a whole binary image. A Python integer is a row of bits of any length,
# so one `<<` moves eight pixels per byte: less than half the time of cv2.dilate, also where a bad prediction scatters
# pixels all over the frame. The first pixel is the highest bit; pixel (y, x) lies y * stride + x bits below it. The
# `radius` columns added on the right keep shifted rows from running into each other.


def _pack(mask: np.ndarray, radius: int, border: int) -> int:
    """uint8 0/1 (H, W) -> one integer of (H + 1) * (W + radius) bits, the added pixels as cv2's `border` says."""
    padded = cv2.copyMakeBorder(mask, 0, 1, 0, radius, border)
    return int.from_bytes(np.packbits(padded).tobytes(), "big")


def _boundary(mask: np.ndarray, radius: int) -> int:
    """Packed pixels whose right, lower or lower right neighbour differs; beyond the frame the edge pixel repeats."""
    bits, stride = _pack(mask, radius, cv2.BORDER_REPLICATE), mask.shape[1] + radius
    return (bits ^ bits << 1) | (bits ^ bits << stride) | (bits ^ bits << stride + 1)


def _dilate(bits: int, stride: int, radius: int) -> int:
    """Packed pixels within Euclidean distance `radius` of a set bit: the disk {dx^2 + dy^2 <= radius^2}.

    Rows of the disk from the outermost to the middle one, which only get wider: each reuses the one before.
    """
    dilated, row, half = 0, bits, 0
    for distance in range(radius, -1, -1):
        row, half = _widen(row, half, isqrt(radius * radius - distance * distance))
        dilated |= row << distance * stride | row >> distance * stride
    return dilated


def _widen(row: int, half: int, target: int) -> tuple[int, int]:
    """Grow runs of 2 half + 1 bits to 2 target + 1; steps up to a run's length leave no hole."""
    while half < target:
        step = min(2 * half + 1, target - half)
        row |= row << step | row >> step
        half += step
    return row, half
