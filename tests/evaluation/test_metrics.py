"""J, F and their statistics: against pixel loops, and in every special case of the official toolkit."""

from __future__ import annotations

import math
import warnings

import cv2
import numpy as np
import pytest

from ranet_edu.evaluation.metrics import boundary_accuracy, region_similarity, sequence_statistics

EMPTY, FULL = np.zeros((40, 60), bool), np.ones((40, 60), bool)


def blob(rng, shape, threshold=0.1):
    """A random mask of smooth blobs, often cut by the frame."""
    noise = cv2.GaussianBlur(rng.standard_normal(shape), (0, 0), max(shape) / 15)
    return noise > threshold * noise.std()


def square(shape, top, left, size):
    mask = np.zeros(shape, bool)
    mask[top : top + size, left : left + size] = True
    return mask


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (2, 2), (3, 5), (40, 60), (75, 133), (150, 30)])
@pytest.mark.parametrize("seed", range(4))
def test_random_blobs_score_as_pixel_loops_do(naive, shape, seed):
    rng = np.random.default_rng(seed)
    predicted, true = blob(rng, shape), blob(rng, shape, threshold=0.3 * seed)
    assert region_similarity(predicted, true) == naive.region(predicted, true)
    assert boundary_accuracy(predicted, true) == naive.boundary(predicted, true)


@pytest.mark.parametrize("seed", range(3))
def test_scattered_pixels_score_as_pixel_loops_do(naive, seed):
    rng = np.random.default_rng(seed)
    predicted, true = rng.random((60, 110)) < 0.02, rng.random((60, 110)) < 0.02
    assert region_similarity(predicted, true) == naive.region(predicted, true)
    assert boundary_accuracy(predicted, true) == naive.boundary(predicted, true)


@pytest.mark.parametrize("top, left", [(0, 0), (0, 25), (30, 0), (30, 50), (15, 25)])
def test_boundary_is_open_where_the_object_touches_the_frame(naive, top, left):
    true = square((40, 60), top, left, 10)
    for shift in [(0, 1), (1, 0), (2, 2), (-3, 1)]:
        predicted = np.roll(true, shift, axis=(0, 1))
        assert boundary_accuracy(predicted, true) == naive.boundary(predicted, true)


def test_boundary_lies_half_a_pixel_towards_the_origin(naive):
    pixel = square((5, 5), 2, 2, 1)
    assert naive.edges(pixel) == [(1, 1), (1, 2), (2, 1), (2, 2)]
    # 0.008 of the diagonal rounds up to 1: the four edge pixels of one match those of its neighbour two pixels on
    # where they are neighbours themselves.
    assert boundary_accuracy(pixel, square((5, 5), 2, 4, 1)) == naive.boundary(pixel, square((5, 5), 2, 4, 1)) == 0.5


def test_match_means_euclidean_distance_of_at_most_eight_pixels_at_480p():
    """Two single-pixel objects at every offset: each has a boundary of 2 x 2 pixels."""
    true = square((480, 854), 200, 300, 1)
    edges = np.array([(0, 0), (0, 1), (1, 0), (1, 1)])
    for dy in range(-10, 11):
        for dx in range(-10, 11):
            differences = edges[:, None] + (dy, dx) - edges
            matched = ((differences**2).sum(axis=-1) <= 8**2).any(axis=0).mean()
            assert boundary_accuracy(square((480, 854), 200 + dy, 300 + dx, 1), true) == matched


def test_radius_follows_the_size_of_the_mask(naive):
    for shape, radius in [((480, 854), 8), ((480, 864), 8), ((1080, 1920), 18), ((240, 432), 4), ((2, 2), 1)]:
        assert math.ceil(0.008 * math.hypot(*shape)) == radius
    # Vertical lines across the whole frame: all boundary pixels match, or none does.
    for shape, radius in [((480, 854), 8), ((1080, 1920), 18), ((240, 432), 4)]:
        line = np.zeros(shape, bool)
        line[:, :100] = True
        within, beyond = np.roll(line, radius, axis=1), np.roll(line, radius + 1, axis=1)
        within[:, :100] = beyond[:, :100] = True
        assert boundary_accuracy(within, line) == 1
        assert boundary_accuracy(beyond, line) == 0


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (480, 854)])
def test_identical_masks_are_perfect(size):
    mask = blob(np.random.default_rng(1), size)
    assert region_similarity(mask, mask) == 1
    assert boundary_accuracy(mask, mask) == 1


def test_special_cases_of_the_toolkit():
    some = square(EMPTY.shape, 10, 10, 10)
    assert region_similarity(EMPTY, EMPTY) == 1
    assert boundary_accuracy(EMPTY, EMPTY) == 1
    # A full mask has no boundary: the frame's edge makes none.
    assert region_similarity(FULL, EMPTY) == 0
    assert boundary_accuracy(FULL, EMPTY) == 1
    for nothing in (EMPTY, FULL):
        assert boundary_accuracy(nothing, some) == boundary_accuracy(some, nothing) == 0
    assert region_similarity(EMPTY, some) == region_similarity(some, EMPTY) == 0
    assert region_similarity(~some, some) == 0
    assert boundary_accuracy(~some, some) == 1
    # Far apart: both boundaries exist, none of their pixels match.
    assert boundary_accuracy(square(EMPTY.shape, 0, 0, 5), square(EMPTY.shape, 30, 50, 5)) == 0


def test_single_pixel_frame_and_last_corner_have_no_boundary_mismatch():
    dot = np.ones((1, 1), bool)
    assert boundary_accuracy(dot, ~dot) == 1
    assert region_similarity(dot, ~dot) == 0
    # The lower right corner pixel itself is never boundary; its neighbours are.
    corner = square((40, 60), 39, 59, 1)
    assert boundary_accuracy(corner, EMPTY) == 0
    assert boundary_accuracy(corner, corner) == 1


def test_void_pixels_do_not_count(naive):
    rng = np.random.default_rng(3)
    predicted, true, void = blob(rng, (50, 70)), blob(rng, (50, 70)), blob(rng, (50, 70), 1.0)
    assert void.any()
    kept = predicted[~void], true[~void]
    assert region_similarity(predicted, true, void) == naive.region(*kept)
    assert boundary_accuracy(predicted, true, void) == naive.boundary(predicted & ~void, true & ~void)
    assert region_similarity(predicted, true, np.ones_like(void)) == 1
    assert boundary_accuracy(predicted, true, np.ones_like(void)) == 1
    assert region_similarity(predicted, true, np.zeros_like(void)) == region_similarity(predicted, true)


def test_both_are_symmetric_and_leave_their_arguments_alone():
    rng = np.random.default_rng(5)
    predicted, true, void = (blob(rng, (50, 70)) for _ in range(3))
    before = predicted.copy(), true.copy(), void.copy()
    for measure in (region_similarity, boundary_accuracy):
        assert measure(predicted, true, void) == measure(true, predicted, void)
    assert all(np.array_equal(a, b) for a, b in zip(before, (predicted, true, void), strict=True))


@pytest.mark.parametrize(
    "convert",
    [
        lambda mask: mask.astype(np.uint8),
        lambda mask: mask.astype(np.uint8) * 255,
        lambda mask: mask.astype(np.float64),
        lambda mask: mask.astype(np.int64) * 256,
        np.asfortranarray,
        lambda mask: np.repeat(mask, 2, axis=1)[:, ::2],
    ],
)
def test_any_type_and_memory_order_gives_the_same(convert):
    rng = np.random.default_rng(6)
    predicted, true = blob(rng, (50, 70)), blob(rng, (50, 70))
    for measure in (region_similarity, boundary_accuracy):
        assert measure(convert(predicted), convert(true)) == measure(predicted, true)


@pytest.mark.parametrize("measure", [region_similarity, boundary_accuracy])
@pytest.mark.parametrize(
    "predicted, true, void, named",
    [
        (np.ones((4, 5, 1)), np.ones((4, 5, 1)), None, "predicted"),
        (np.ones((4, 5)), np.ones((4, 5, 1)), None, "true"),
        (np.ones((0, 5)), np.ones((0, 5)), None, "predicted"),
        (np.ones((4, 5)), np.ones((5, 4)), None, "predicted"),
        (np.ones((4, 5)), np.ones((4, 5)), np.ones((5, 4)), "void"),
        (np.float64(1), np.ones((4, 5)), None, "predicted"),
    ],
)
def test_other_shapes_are_refused_by_name(measure, predicted, true, void, named):
    with pytest.raises(ValueError, match=named):
        measure(predicted, true, void)


def test_real_masks_score_as_a_plain_toolkit_does(shared_data):
    """cv2.dilate with the disk over whole frames, as the official toolkit does it, on pairs of true masks."""
    from ranet_edu.video.masks import read_mask

    offsets = np.arange(-8, 9)
    disk = (offsets[:, None] ** 2 + offsets**2 <= 64).astype(np.uint8)

    def edges(mask):
        padded = np.pad(mask, ((0, 1), (0, 1)), mode="edge")
        return (mask != padded[:-1, 1:]) | (mask != padded[1:, :-1]) | (mask != padded[1:, 1:])

    for sequence in ("bmx-bumps", "kite-walk", "dance-jump", "train"):
        folder = shared_data / "DAVIS" / "Annotations" / "480p" / sequence
        predicted, true = (read_mask(folder / f"{number:05d}.png") > 0 for number in (7, 10))
        first, second = edges(predicted), edges(true)
        precision = (first & (cv2.dilate(second.view(np.uint8), disk) > 0)).sum() / first.sum()
        recall = (second & (cv2.dilate(first.view(np.uint8), disk) > 0)).sum() / second.sum()
        assert boundary_accuracy(predicted, true) == 2 * precision * recall / (precision + recall)
        assert region_similarity(predicted, true) == (predicted & true).sum() / (predicted | true).sum()


def round_half_up(value):
    return math.floor(value + 0.5)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 6, 7, 11, 38, 102, 256, 257, 301, 1000])
def test_decay_is_first_quarter_minus_last_sharing_frames(count):
    values = np.random.default_rng(count).random(count)
    limits = [round_half_up(1 + (count - 1) * quarter / 4) - 1 for quarter in range(5)]
    first, last = values[limits[0] : limits[1] + 1], values[limits[3] : limits[4] + 1]
    statistics = sequence_statistics(values)
    assert statistics.decay == pytest.approx(first.mean() - last.mean(), abs=1e-15)
    assert statistics.mean == pytest.approx(sum(values) / count)
    assert statistics.recall == sum(value > 0.5 for value in values) / count


def test_quarters_of_38_frames():
    """[0, 9, 19, 28, 37]: frames 0-9 and 28-37, ends included."""
    values = np.zeros(38)
    values[[9, 28]] = 1.0
    assert sequence_statistics(values).decay == 0
    values[28] = 0
    assert sequence_statistics(values).decay == pytest.approx(0.1)
    values[10] = values[27] = 1
    assert sequence_statistics(values).decay == pytest.approx(0.1)


def test_long_sequences_do_not_wrap_at_256_frames():
    """The toolkits' uint8 limits of 301 frames, [0, 75, 150, 225, 44], make decay NaN."""
    values = np.concatenate([np.full(150, 0.9), np.full(151, 0.4)])
    assert sequence_statistics(values).decay == pytest.approx(0.5)


def test_recall_is_strictly_above_one_half():
    assert sequence_statistics(np.array([0.5, 0.5, 0.6, 0.4])).recall == 0.25


def test_nan_stays_in_the_denominator_of_recall_only():
    statistics = sequence_statistics(np.array([np.nan, 1.0, 0.2, 0.8, np.nan]))
    assert statistics.mean == pytest.approx(2 / 3)
    assert statistics.recall == 2 / 5
    assert statistics.decay == pytest.approx(1.0 - 0.8)


def test_short_and_empty_sequences_are_quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert sequence_statistics(np.array([0.7])) == (0.7, 1.0, 0.0)
        assert all(math.isnan(value) for value in sequence_statistics(np.array([])))
        mean, recall, decay = sequence_statistics(np.full(6, np.nan))
    assert math.isnan(mean) and recall == 0 and math.isnan(decay)


def test_statistics_want_one_object_at_a_time():
    with pytest.raises(ValueError, match="one object"):
        sequence_statistics(np.zeros((2, 5)))
