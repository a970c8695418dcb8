"""Figures about similarity maps: what they measure by hand, what they show, and that they can be drawn."""

from __future__ import annotations

import io

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import ConnectionPatch
from PIL import Image

from ranet_edu.show import similarity_figures as figures
from ranet_edu.show.figures import object_colour

GRID, SIZE = (4, 6), (5, 8)  # of the template and of the maps
FRAME = np.full((45, 80, 3), 90, np.uint8)


@pytest.fixture
def maps() -> np.ndarray:
    return np.random.default_rng(0).random((*GRID, *SIZE))


def drawn(figure: Figure) -> np.ndarray:
    file = io.BytesIO()
    figure.savefig(file)
    with Image.open(file) as image:
        return np.array(image.convert("RGB"))


def values(figure: Figure, axes: int) -> np.ndarray:
    return np.asarray(figure.axes[axes].images[-1].get_array())


def titles(figure: Figure) -> list[str]:
    return [ax.get_title() for ax in figure.axes]


# --- measures


def test_bright_spots_are_the_largest_values(maps: np.ndarray) -> None:
    maps[2, 3, 4, 7] = 2
    spots = figures.bright_spots(maps)
    assert spots.shape == (*GRID, 2)
    assert spots[2, 3].tolist() == [4, 7]
    for pixel in np.ndindex(GRID):
        assert maps[pixel][tuple(spots[pixel])] == maps[pixel].max()


def test_labels_are_read_at_the_middle_of_each_place() -> None:
    labels = np.zeros((50, 80), np.uint8)
    labels[10:20, 70:80] = 3  # place (1, 7) of 5 x 8
    places = np.array([[1, 7], [1, 6], [2, 7], [0, 7]])
    np.testing.assert_array_equal(figures.labels_at(places, labels, SIZE), [3, 0, 0, 0])
    assert figures.labels_at((1, 7), labels, SIZE) == 3


def test_bright_share_counts_what_is_near_the_peak() -> None:
    flat, single = np.full(SIZE, 0.7), np.zeros(SIZE)
    single[1, 1] = 1
    near = np.where(np.arange(40).reshape(SIZE) < 10, 0.85, 0.5)
    near[4, 7] = 0.94
    np.testing.assert_allclose(figures.bright_share(np.stack([flat, single, near])), [1, 1 / 40, 11 / 40])


# --- notebook 03


def test_tiny_figure_writes_every_number_and_puts_maps_where_their_pixels_are() -> None:
    template, frame = np.eye(3)[:, :, None].repeat(2, 2).transpose(0, 2, 1), np.zeros((3, 3, 4))
    small = np.arange(72).reshape(6, 3, 4) / 100
    figure = figures.tiny_figure(template, frame, small)
    assert sorted(titles(figure)) == sorted(["template", "current frame", *(f"$S_{j}$" for j in range(6))])
    tables = {ax.get_title(): ax for ax in figure.axes}
    assert [text.get_text() for text in tables["$S_1$"].texts][:3] == ["0.12", "0.13", "0.14"]
    np.testing.assert_array_equal(tables["$S_5$"].images[0].get_array(), small[5])
    figure.draw_without_rendering()
    first, right, below = (tables[f"$S_{j}$"].get_position() for j in (0, 1, 3))
    assert right.x0 > first.x0 and right.y0 == pytest.approx(first.y0)
    assert below.y0 < first.y0 and below.x0 == pytest.approx(first.x0)


def test_bright_spot_strip_marks_the_brightest_place_of_each_frame(maps: np.ndarray) -> None:
    shown = {2: maps[0, 0], 5: maps[0, 1], 9: maps[0, 2]}
    figure = figures.bright_spot_strip(FRAME, dict.fromkeys(shown, FRAME), shown, GRID, (1, 2))
    assert titles(figure)[:4] == ["template pixel (1, 2)", "frame 2", "frame 5", "frame 9"]
    for ax, similarity in zip(figure.axes[1:4], shown.values(), strict=True):
        row, column = np.unravel_index(similarity.argmax(), SIZE)
        assert {(line.get_xdata()[0], line.get_ydata()[0]) for line in ax.lines} == {(column, row)}
    assert len({ax.images[-1].get_clim() for ax in figure.axes[1:4]}) == 1


def test_path_figure_shows_columns_and_rows_of_each_path() -> None:
    path = np.array([[0, 7], [2, 5], [4, 3]])
    columns, rows = figures.path_figure([0, 2, 4], {"spot": path, "centre": path + 0.5}, SIZE).axes
    np.testing.assert_array_equal(columns.lines[0].get_ydata(), [7, 5, 3])
    np.testing.assert_array_equal(rows.lines[1].get_ydata(), [0.5, 2.5, 4.5])
    assert (columns.get_ylim(), rows.get_ylim()) == ((-0.5, 7.5), (4.5, -0.5))


# --- notebook 04


def test_figure_four_shows_the_pixels_maps_and_scales_merged_channels_alike(maps: np.ndarray) -> None:
    merged = [maps[0, 0], 10 * maps[0, 0] + 3]
    figure = figures.figure_four(FRAME, FRAME, maps, [(0, 1), (3, 5)], merged, ["one", "two"])
    assert titles(figure)[:6] == ["template", "map of pixel 1", "map of pixel 2", "current frame", "one", "two"]
    np.testing.assert_array_equal(values(figure, 2), maps[3, 5])
    np.testing.assert_allclose(values(figure, 4), values(figure, 5))


def test_selection_figure_tells_the_streams_apart() -> None:
    foreground = np.array([[0, 0.05, 0.5, 1.0]])
    background = np.array([[1, 1, 0, 0.0]])
    figure = figures.selection_figure(FRAME, foreground, background)
    np.testing.assert_array_equal(values(figure, 0), foreground)
    np.testing.assert_array_equal(values(figure, 1), background)
    streams = values(figure, 2)[0]
    assert streams[0, 3] == 0  # background alone stays clear
    for cell, colour in zip(streams[1:], (figures.MISS, figures.HIT, figures.HIT), strict=True):
        np.testing.assert_allclose(cell[:3], colour)


def test_ambiguity_figure_has_a_point_for_each_pixel() -> None:
    peaks, shares = np.array([0.9, 0.8, 0.7]), np.array([0.01, 0.1, 0.5])
    kinds = {"wall": np.array([True, False, True]), "cat": np.array([False, True, False])}
    (ax,) = figures.ambiguity_figure(peaks, shares, kinds).axes
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["wall", "cat"]
    np.testing.assert_allclose(ax.collections[0].get_offsets(), [[0.01, 0.9], [0.5, 0.7]])
    np.testing.assert_allclose(ax.collections[1].get_offsets(), [[0.1, 0.8]])


def test_match_figure_draws_hits_and_misses_differently() -> None:
    figure = figures.match_figure(FRAME, FRAME, (GRID, SIZE), [(0, 1), (3, 5)], [(4, 7), (2, 2)], [True, False])
    hit, miss = (artist for artist in figure.artists if isinstance(artist, ConnectionPatch))
    assert (hit.xy1, hit.xy2, miss.xy1, miss.xy2) == ((1, 0), (7, 4), (5, 3), (2, 2))
    assert to_rgb(hit.get_edgecolor()) == pytest.approx(object_colour(2))
    assert to_rgb(miss.get_edgecolor()) == pytest.approx(object_colour(1))
    assert hit.get_linestyle() != miss.get_linestyle()


def test_object_curves_have_a_panel_for_each_measure() -> None:
    panels = {"area": {"cat": [1, 0.5], "cup": [1, 1]}, "peak": {"cat": [0.9, np.nan], "cup": [0.8, 0.7]}}
    area, peak = figures.object_curves([0, 3], panels).axes
    assert (area.get_ylabel(), peak.get_ylabel(), peak.get_xlabel()) == ("area", "peak", "frame")
    np.testing.assert_array_equal(area.lines[0].get_xdata(), [0, 3])
    np.testing.assert_allclose(peak.lines[1].get_color(), object_colour(2))


def test_evidence_figure_shows_both_sides_and_their_difference() -> None:
    object_, background = np.full(SIZE, 0.75), np.full(SIZE, 0.5)
    mask = np.zeros((45, 80), np.uint8)
    mask[9:27, 20:50] = 1  # rows 1 to 2, columns 2 to 4 of the map
    figure = figures.evidence_figure(FRAME, mask, {"mean": (object_, background), "maximum": (background, object_)})
    np.testing.assert_array_equal(values(figure, 2), 0.25)
    np.testing.assert_array_equal(values(figure, 5), -0.25)
    low, high = figure.axes[2].images[0].get_clim()
    assert low == -high
    outline = figure.axes[0].lines[0].get_xydata()
    np.testing.assert_allclose(outline.min(0), (1.5, 0.5), atol=0.1)
    np.testing.assert_allclose(outline.max(0), (4.5, 2.5), atol=0.1)


def test_an_empty_mask_has_no_outline() -> None:
    evidence = {"mean": (np.full(SIZE, 0.5), np.full(SIZE, 0.25))}
    assert not figures.evidence_figure(FRAME, np.zeros((45, 80), np.uint8), evidence).axes[0].lines


def test_answer_figure_gives_a_place_the_colour_of_the_pixel_that_answers() -> None:
    mask = np.zeros(GRID, bool)
    mask[1:3, 1:5] = True
    answers = np.broadcast_to([2, 4], (*SIZE, 2))
    figure = figures.answer_figure(FRAME, mask, FRAME, answers, answers)
    template = values(figure, 0)
    np.testing.assert_allclose(values(figure, 1)[..., :3], np.broadcast_to(template[2, 4, :3], (*SIZE, 3)))
    assert (template[..., 3] > 0).tolist() == mask.tolist()
    inside = template[mask][:, :3]
    assert len(np.unique(inside.round(6), axis=0)) == mask.sum()  # no two pixels share a colour


# --- all of them


def test_all_figures_can_be_drawn(maps: np.ndarray) -> None:
    weights, mask = maps[..., 0, 0], np.pad(np.ones((20, 30), np.uint8), ((5, 20), (10, 40)))
    numbered = {3: maps[0, 0]}
    answers = np.zeros((*SIZE, 2), int)
    for figure in (
        figures.tiny_figure(np.ones((3, 2, 3)), np.ones((3, 3, 4)), np.ones((6, 3, 4))),
        figures.bright_spot_strip(FRAME, {3: FRAME}, numbered, GRID, (0, 0)),
        figures.path_figure([0, 1], {"spot": np.ones((2, 2))}, SIZE),
        figures.figure_four(FRAME, FRAME, maps, [(0, 0)], [maps[0, 0]], ["one"]),
        figures.selection_figure(FRAME, weights, 1 - weights),
        figures.ambiguity_figure(weights, weights, {"all": weights > 0}),
        figures.match_figure(FRAME, FRAME, (GRID, SIZE), [(0, 0)], [(0, 0)], [True]),
        figures.object_curves([0, 1], {"area": {"cat": [0, 1]}}),
        figures.evidence_figure(FRAME, mask, {"maximum": (maps[0, 0], maps[1, 1])}),
        figures.answer_figure(FRAME, weights > 0, FRAME, answers, answers),
    ):
        assert np.ptp(drawn(figure)) > 0
