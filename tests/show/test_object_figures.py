"""Figures about several objects: what they are given is what they draw, and who is taken for whom is counted right."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from ranet_edu.show import object_figures as figures
from ranet_edu.show.figures import object_colour

FRAME = np.full((48, 80, 3), 90, np.uint8)


def test_streams_figure_has_a_row_for_each_object_and_one_scale_for_both_streams() -> None:
    rng = np.random.default_rng(0)
    streams, probabilities = rng.random((2, 2, 6, 10)), rng.random((2, 12, 20))
    masks = np.zeros((2, 48, 80), bool)
    masks[0, 10:20, 10:20] = True
    figure = figures.streams_figure(FRAME, masks, streams, probabilities, ["cup", "cat"])
    panels = figure.axes[:6]
    assert [panels[0].get_ylabel(), panels[3].get_ylabel()] == ["cup", "cat"]
    np.testing.assert_array_equal(panels[4].images[0].get_array(), streams[1, 1])
    np.testing.assert_array_equal(panels[5].images[0].get_array(), probabilities[1])
    assert len({panels[number].images[0].get_clim() for number in (0, 1, 3, 4)}) == 1
    assert panels[2].images[0].get_clim() == panels[5].images[0].get_clim() == (0, 1)
    assert panels[0].lines and not panels[3].lines  # an empty mask has no outline
    figure.draw_without_rendering()


def test_cost_figure_stacks_the_parts_and_names_the_ratio() -> None:
    figure = figures.cost_figure([0.06, 0.06], [0.04, 0.09])
    (ax,) = figure.axes
    np.testing.assert_allclose([bar.get_height() for bar in ax.patches], [60, 60, 40, 90])
    np.testing.assert_allclose([bar.get_y() for bar in ax.patches], [0, 0, 60, 60])
    np.testing.assert_allclose(ax.lines[0].get_ydata(), [100, 200])
    assert [text.get_text() for text in ax.texts] == ["1.0 x", "1.5 x"]


def test_combination_figure_draws_bars_that_exist_and_prints_the_winner_bold() -> None:
    alone = np.array([[np.nan, np.nan], [0.9, 0.2], [0.6, 0.3]])
    together = np.array([[0.1, 0.7], [0.9, 0.0], [0.0, 0.3]])
    figure = figures.combination_figure({"alone": alone, "together": together}, ["A", "B"], limit="alone")
    first, second = figure.axes
    assert (len(first.patches), len(second.patches)) == (4, 6)
    assert to_rgb(first.patches[0].get_facecolor()) == pytest.approx(object_colour(1))
    assert {text.get_text() for text in second.texts if text.get_weight() == "bold"} == {"0.90", "0.70"}
    assert (len(first.lines), len(second.lines)) == (1, 0)


def test_owners_figure_colours_a_cell_by_its_owner_and_leaves_dropped_ones_clear() -> None:
    owners = np.zeros((1, 3, 1, 4))  # one object's stream: background, objects 1 and 2
    owners[0, 0, 0, 0], owners[0, 2, 0, 1], owners[0, 2, 0, 2] = 1, 1, 0.5
    figure = figures.owners_figure(FRAME, {"joint": owners}, [1], ["cup", "cat"])
    cells = np.asarray(figure.axes[0].images[-1].get_array())[0]
    np.testing.assert_allclose(cells[:, 3], [0.9, 0.9, 0.45, 0])
    np.testing.assert_allclose(cells[0, :3], figures.BACKGROUND)
    np.testing.assert_allclose(cells[1:3, :3], [object_colour(2)] * 2)
    assert figure.axes[0].get_title() == "background stream of the cup"


def test_confusion_counts_shares_of_the_true_label() -> None:
    true = np.array([[0, 0, 1, 1], [0, 0, 1, 1]], np.uint8)
    mine = np.array([[0, 2, 1, 2], [0, 0, 1, 1]], np.uint8)
    table = figures.confusion([mine, mine], [true, true], 2)
    np.testing.assert_allclose(table[:2], [[0.75, 0, 0.25], [0, 0.75, 0.25]])
    assert np.isnan(table[2]).all()


def test_confusion_leaves_out_void_and_refuses_lists_of_other_lengths() -> None:
    true, mine = np.array([[0, 255, 1]], np.uint8), np.array([[0, 1, 1]], np.uint8)
    np.testing.assert_allclose(figures.confusion([mine], [true], 1), np.eye(2))
    with pytest.raises(ValueError, match="zip"):
        figures.confusion([mine], [true, true], 1)


def test_confusion_figure_writes_every_share() -> None:
    table = np.array([[0.9, 0.1], [0.25, 0.75]])
    (ax,) = figures.confusion_figure({"clip": table}, {"clip": ["cat"]}).axes
    assert [text.get_text() for text in ax.texts] == ["90.0%", "10.0%", "25.0%", "75.0%"]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["background", "cat"]
    np.testing.assert_array_equal(ax.images[0].get_array(), table)
