"""Figures of speed: bars as long as their times, points under the machine's roof."""

from __future__ import annotations

import numpy as np
import pytest

from ranet_edu.show import speed_figures as figures


def test_times_figure_has_a_bar_for_each_time_and_its_ratio_to_the_first() -> None:
    figure = figures.times_figure({"small": {"plain": 100, "ours": 40}, "large": {"plain": 900}})
    (ax,) = figure.axes
    assert sorted(bar.get_width() for bar in ax.patches) == [40, 100, 900]
    assert [text.get_text().strip() for text in ax.texts] == ["100 ms", "900 ms", "40 ms, 2.5 x"]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["small", "large"]
    assert ax.get_xscale() == "log" and ax.get_xlim()[0] < 40
    figure.draw_without_rendering()


def test_nothing_to_draw_is_refused() -> None:
    with pytest.raises(ValueError, match="no times"):
        figures.times_figure({})


def test_parts_figure_lays_parts_end_to_end() -> None:
    parts = {"plain": {"encoder": 60, "decoder": 40}, "ours": {"encoder": 30, "decoder": 1}}
    (ax,) = figures.parts_figure(parts).axes
    assert [(bar.get_x(), bar.get_width()) for bar in ax.patches] == [(0, 60), (0, 30), (60, 40), (30, 1)]
    assert [text.get_text().strip() for text in ax.texts] == ["60", "30", "40", "100 ms", "31 ms"]


def test_parts_must_be_the_same_in_every_bar() -> None:
    with pytest.raises(ValueError, match="'ours' has the parts"):
        figures.parts_figure({"plain": {"encoder": 1}, "ours": {"decoder": 1}})


def test_roofline_rises_with_the_bandwidth_and_ends_at_the_highest_ceiling() -> None:
    points = {"ours": {"encoder": (20.0, 80.0), "ranking": (0.5, 4.0)}, "plain": {"encoder": (10.0, 50.0)}}
    figure = figures.roofline_figure({"matmul": 100, "convolution": 60}, 10, points)
    (ax,) = figure.axes
    roof, *lines = ax.lines
    x, y = roof.get_data()
    np.testing.assert_allclose(y, np.minimum(10 * x, 100))
    np.testing.assert_allclose([line.get_ydata()[0] for line in lines[:2]], [100, 60])
    places = {line.get_label(): (line.get_xdata()[0], line.get_ydata()[0]) for line in lines[2:]}
    assert places["ours: encoder"] == (20, 80) and places["plain: encoder"] == (10, 50)
    assert len({line.get_color() for line in lines[2:] if "encoder" in line.get_label()}) == 1
    figure.draw_without_rendering()
