"""Figures of ranking attention: the right maps at the right ranks, with the scores and pixels that belong to them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from matplotlib.text import Text

from ranet_edu.model import ranking
from ranet_edu.model.ranet import RANet
from ranet_edu.model.ranking import background_weights
from ranet_edu.show import ranking_figures
from ranet_edu.show.ranking_figures import (
    Channel,
    channels_figure,
    count_figure,
    learning_figure,
    look,
    maximum_channel,
    occupancy_figure,
    ranked_channels,
    responses_figure,
    score_figure,
    step_figure,
    swapped_figure,
    tables_figure,
    template_channels,
)
from ranet_edu.video.segmenter import VideoSegmenter

GRID = (2, 3)


@pytest.fixture
def maps() -> np.ndarray:
    return np.random.default_rng(0).random((6, 4, 5)).astype(np.float32)


@pytest.fixture
def frames() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (2, 45, 80, 3), np.uint8)


def drawn(figure: Figure) -> list:
    """The axes that show something, after a real drawing."""
    figure.draw_without_rendering()
    return [ax for ax in figure.axes if ax.axison]


# --- looking at one frame


@pytest.fixture
def model() -> RANet:
    return RANet.lite(weights=None, canvas=(96, 160)).eval()


@pytest.fixture
def mask() -> np.ndarray:
    mask = np.zeros((45, 80), np.uint8)
    mask[10:30, 20:50] = 1
    return mask


def test_look_sees_what_the_video_loop_sees(model: RANet, frames: np.ndarray, mask: np.ndarray) -> None:
    """The loop's next mask comes from the same crops, templates and masks."""
    segmenter = VideoSegmenter(model)
    state = segmenter.begin(frames[0], mask)
    view = look(model, frames[0], mask, frames[1], mask)
    torch.testing.assert_close(view.template, state.template)
    torch.testing.assert_close(view.template_masks, state.template_masks)
    shown = []
    segmenter.network.register_forward_pre_hook(lambda _, arguments: shown.extend(arguments))
    segmenter.step(state, frames[1])
    for mine, theirs in zip((view.frames, view.template, view.template_masks, view.previous_masks), shown, strict=True):
        torch.testing.assert_close(mine, theirs)
    with torch.inference_mode():
        torch.testing.assert_close(view.trace.probabilities, model(*shown), atol=1e-3, rtol=0)  # the loop folds norms


def test_look_s_pictures_are_the_crops(model: RANet, frames: np.ndarray, mask: np.ndarray) -> None:
    view = look(model, frames[0], mask, frames[1], mask)
    for picture in (view.template_crop, view.frame_crop):
        assert (picture.shape, picture.dtype) == ((96, 160, 3), np.uint8)
    pixels = torch.from_numpy(view.frame_crop).permute(2, 0, 1) / 255
    torch.testing.assert_close(model.normalize(pixels)[None], view.frames, atol=1 / 100, rtol=0)


# --- channels


def test_ranked_channels_are_those_of_the_package(maps: np.ndarray, model: RANet, frames, mask) -> None:
    view = look(model, frames[0], mask, frames[1], mask)
    ranked, all_maps = view.trace.ranked, view.trace.maps[0].numpy()
    shares = torch.nn.functional.adaptive_avg_pool2d(view.template_masks, (15, 27))
    streams = (shares, ranked.foreground_scores), (background_weights(shares), ranked.background_scores)
    for stream, (weights, scores) in enumerate(streams):
        ranks = (0, 7, 31)
        shown = ranked_channels(all_maps, weights.flatten().numpy(), scores[0, 0].numpy(), ranks, (15, 27))
        for rank, channel in zip(ranks, shown, strict=True):
            expected = ranked.maps[0, 0, stream, rank].numpy()
            np.testing.assert_array_equal(np.zeros_like(expected) if channel.map is None else channel.map, expected)


def test_a_rank_tells_its_score_its_pixel_and_its_fate(maps: np.ndarray) -> None:
    weights = np.array([0, 1, 0.5, 0, 1, 1])
    scores = np.array([0, 1.5, 0.7, 0, 2, 1.25])
    first, third, last, zero = ranked_channels(maps, weights, scores, (0, 2, 3, 4), GRID, keep=3)
    assert (first.number, first.pixel) == (0, (1, 1))
    assert first.title == f"rank 0:\n2.00 = {maps[4].max():.2f} + {2 - maps[4].max():.2f}"
    assert third.pixel == (1, 2)
    assert last.title.startswith("rank 3, discarded:")
    np.testing.assert_array_equal(last.map, maps[2])  # without its weight
    assert zero == (4, "rank 4:\nzero map", None, None)


def test_template_channels_stay_in_place(maps: np.ndarray) -> None:
    first, last = template_channels(maps, np.array([1, 0, 0, 0, 0, 0.25]), (0, 5), GRID)
    np.testing.assert_array_equal(first.map, maps[0])
    np.testing.assert_array_equal(last.map, maps[5])  # without its weight
    assert (first.pixel, last.pixel) == ((0, 0), (1, 2))
    (zero,) = template_channels(maps, np.zeros(6), (3,), GRID)
    assert zero.map is None and "zero map" in zero.title


def test_the_maximum_is_taken_over_the_stream(maps: np.ndarray) -> None:
    channel = maximum_channel(maps, np.array([0, 1, 0, 0, 1, 0]))
    np.testing.assert_array_equal(channel.map, np.maximum(maps[1], maps[4]))


def test_channels_share_one_scale_and_leave_places_empty(maps: np.ndarray, frames: np.ndarray) -> None:
    rows = {
        "two": [Channel(0, "a", maps[0], (0, 1)), Channel(9, "b", maps[1], (1, 2))],
        "one": [Channel(0, "zero", None, (1, 0))],
    }
    figure = channels_figure(*frames, rows, GRID)
    template, a, b, second, zero, empty, _ = figure.axes
    figure.draw_without_rendering()
    assert [text.get_text() for text in template.texts] == ["0", "9"]
    assert [tuple(text.xy) for text in template.texts] == [(1, 0), (2, 1)]  # (column, row)
    assert (template.get_ylabel(), second.get_ylabel()) == ("two", "one")
    assert a.images[-1].get_clim() == b.images[-1].get_clim() == (np.median(maps[:2]), maps[:2].max())
    assert not zero.images and len(zero.patches) == 1
    assert not empty.axison


def test_the_numbers_stand_below_their_template(maps: np.ndarray, frames: np.ndarray) -> None:
    figure = channels_figure(*frames, {"": [Channel(k, "", maps[k], (0, k)) for k in range(3)]}, GRID)
    figure.draw_without_rendering()
    template = figure.axes[0]
    boxes = [Text.get_window_extent(text) for text in template.texts]  # without its line
    assert all(box.y1 <= template.bbox.y0 + 1 for box in boxes)
    assert all(left.x1 < right.x0 for left, right in zip(boxes, boxes[1:], strict=False))


# --- the other figures


def test_count_figure_draws_both_streams_in_the_clip_s_colour() -> None:
    (ax,) = count_figure([0, 10], {"cat": [100, 90], "cup": [30, 40]}, {"cat": [300, 310], "cup": [370, 365]}).axes
    cat, cat_background, cup, _, limit = ax.lines
    np.testing.assert_array_equal(cat_background.get_xydata(), [(0, 300), (10, 310)])
    assert cat.get_color() == cat_background.get_color() != cup.get_color()
    assert cat.get_linestyle() != cat_background.get_linestyle()
    assert set(limit.get_ydata()) == {256}


def test_occupancy_has_a_line_for_each_template() -> None:
    before = {"a": np.linspace(0, 1, 6), "b": np.zeros(6)}
    after = {"a": np.ones(4), "b": np.zeros(4)}
    left, right, bar = occupancy_figure(before, after).axes
    np.testing.assert_array_equal(left.images[0].get_array(), np.stack(list(before.values())))
    np.testing.assert_array_equal(right.images[0].get_array(), np.stack(list(after.values())))
    assert left.images[0].get_clim() == right.images[0].get_clim() == (0, 1)
    assert [label.get_text() for label in left.get_yticklabels()] == ["a", "b"]
    assert bar.get_ylabel() == "share of the object"


def test_tables_write_their_numbers() -> None:
    first, second, third, empty = tables_figure(
        {"S": {"0": np.array([[0.25, 1], [0.5, 0]]), "1": np.eye(2)}, "kept": {"padding": None}}
    ).axes
    assert [text.get_text() for text in first.texts] == ["0.25", "1", "0.5", "0"]
    assert first.images[0].get_clim() == second.images[0].get_clim() == (0, 1)
    assert (first.get_ylabel(), third.get_ylabel()) == ("S", "kept")
    assert not third.images and not empty.axison


def test_swapped_shows_both_ends_of_the_same_number(frames: np.ndarray) -> None:
    maps = np.random.default_rng(0).random((2, 3, 4, 5))
    pixel, place = (1, 2), (3, 0)
    axes = swapped_figure(*frames, maps, pixel, place).axes
    forward, backward = axes[1].images[-1].get_array(), axes[3].images[-1].get_array()
    assert forward.shape == (4, 5) and backward.shape == (2, 3)
    assert forward[place] == backward[pixel] == maps[1, 2, 3, 0]
    assert axes[1].images[-1].get_clim() == axes[3].images[-1].get_clim()
    assert {patch.get_bbox().bounds for patch in axes[2].patches} == {(-0.5, 2.5, 1, 1)}


def test_scores_share_one_scale(frames: np.ndarray) -> None:
    scores = {"maximum": np.full(GRID, 0.5), "learned": np.arange(6.0).reshape(GRID)}
    _, *shown = score_figure(frames[0], scores).axes[:3]
    assert [ax.get_title() for ax in shown] == ["maximum", "learned"]
    assert {ax.images[0].get_clim() for ax in shown} == {(0, 5)}


def test_scores_of_zero_can_be_drawn(frames: np.ndarray) -> None:
    assert len(drawn(score_figure(frames[0], {"learned": np.zeros(GRID)}))) == 3


def test_responses_share_a_scale_within_their_group(frames: np.ndarray) -> None:
    pictures = np.random.default_rng(0).random((4, 3, 5))
    groups = {"x": {"a": pictures[0], "b": pictures[1]}, "y": {"a": pictures[2], "b": pictures[3]}}
    axes = [ax for ax in responses_figure(frames[0], groups).axes if ax.images]
    assert [ax.get_title() for ax in axes] == ["x: a", "x: b", "y: a", "y: b"]
    limits = [ax.images[0].get_clim() for ax in axes]
    assert limits[0] == limits[1] == (pictures[:2].min(), pictures[:2].max())
    assert limits[2] == limits[3] != limits[0]


def test_step_figure_draws_the_loss() -> None:
    (ax,) = step_figure(np.array([0, 1, 2]), [3, 3, 1]).axes
    np.testing.assert_array_equal(ax.lines[0].get_xydata(), [(0, 3), (1, 3), (2, 1)])


def test_learning_figure_dots_the_kept_maps() -> None:
    scores = [[0.5, 0.4, 0.3], [0.2, 0.4, 0.3]]
    left, right = learning_figure(scores, 2, ["a", "b", "c"], [1.0, 0.5]).axes
    kept = {line.get_label(): line.get_xdata().tolist() for line in left.lines if line.get_marker() == "o"}
    assert kept == {"a": [0], "b": [0, 1], "c": [1]}
    np.testing.assert_array_equal(right.lines[0].get_ydata(), [1, 0.5])


def test_learning_figure_keeps_the_one_of_equal_scores_that_the_ranking_keeps() -> None:
    scores = torch.tensor([0.4, 0.9, 0.8, 0.7, 0.5, 0.8])
    ones = torch.ones(1, 1, 6)
    order = ranking.rank(torch.zeros(1, 6, 2, 2), ones, scores[None, None], 0 * ones, keep=2)[1]
    left, _ = learning_figure([scores.tolist()], 2, list("012345"), [1.0]).axes
    kept = {int(line.get_label()) for line in left.lines if line.get_marker() == "o" and len(line.get_xdata())}
    assert kept == set(order.flatten().tolist())


def test_every_figure_function_is_tested_here() -> None:
    functions = {name for name in vars(ranking_figures) if name.endswith("_figure")}
    assert functions <= set(globals())
