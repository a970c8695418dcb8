"""Figures of an evaluation: each point lies at its numbers, labels are readable, means are of the frames they span."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from ranet_edu.evaluation.published import TABLE_1, TABLE_2
from ranet_edu.show.evaluation_figures import attribute_figure, score_order_figure, speed_figure, thirds

# --- accuracy against speed


def test_speed_figure_draws_every_row_that_has_both_numbers() -> None:
    (ax,) = speed_figure(TABLE_1).axes
    drawn = {tuple(point) for line in ax.lines[:2] for point in line.get_xydata()}
    assert drawn == {(row.milliseconds, row.jf_mean) for row in TABLE_1 if row.jf_mean is not None}
    assert ax.get_xscale() == "log"
    assert {text.get_text() for text in ax.texts} == {row.method for row in TABLE_1} - {"VideoMatch"}


def test_online_learning_has_a_mark_of_its_own() -> None:
    (ax,) = speed_figure(TABLE_1).axes
    online, offline = ax.lines[:2]
    assert (4000, 87.1) in map(tuple, online.get_xydata()) and (33, 85.5) in map(tuple, offline.get_xydata())
    assert online.get_marker() != offline.get_marker()
    assert [text.get_text() for text in ax.get_legend().get_texts()][:2] == ["with online learning", "without"]


def test_measured_points_are_stars() -> None:
    (ax,) = speed_figure(TABLE_1, {"ours": (200, 60)}).axes
    (star,) = [line for line in ax.lines if line.get_marker() == "*"]
    np.testing.assert_array_equal(star.get_xydata(), [[200, 60]])
    assert "ours" in {text.get_text() for text in ax.texts}


@pytest.mark.parametrize("measured", [{}, {"ours": (35, 85), "ours, whole frames": (30, 86)}], ids=["paper", "ours"])
def test_labels_cover_neither_each_other_nor_a_point(measured: dict) -> None:
    figure = speed_figure(TABLE_1, measured)
    figure.draw_without_rendering()
    (ax,) = figure.axes
    boxes = {text.get_text(): text.get_window_extent() for text in ax.texts}
    assert [pair for pair in combinations(boxes, 2) if boxes[pair[0]].overlaps(boxes[pair[1]])] == []
    points = ax.transData.transform(np.concatenate([line.get_xydata() for line in ax.lines[:2]]))
    assert [name for name, box in boxes.items() for point in points if box.contains(*point)] == []
    assert all(ax.bbox.contains(*box.min) and ax.bbox.contains(*box.max) for box in boxes.values())


def test_rows_without_times_can_not_be_drawn() -> None:
    with pytest.raises(ValueError, match="no row has both a time and J&F"):
        speed_figure(TABLE_2)


# --- objects in order


def test_objects_stand_in_the_order_of_the_first_method() -> None:
    scores = {"RANet": {"cat": 0.5, "dog": 0.9, "cow": 0.1}, "matching": {"cow": 0.7, "dog": 0.2, "cat": 0.3}}
    (ax,) = score_order_figure(scores, "J&F").axes
    assert [label.get_text() for label in ax.get_yticklabels()] == ["cow", "cat", "dog"]
    np.testing.assert_array_equal(ax.lines[0].get_xdata(), [0.1, 0.5, 0.9])
    np.testing.assert_array_equal(ax.lines[1].get_xdata(), [0.7, 0.3, 0.2])


def test_methods_need_the_same_objects() -> None:
    with pytest.raises(ValueError, match=r"method 'b' has the objects \['dog'\], not \['cat'\]"):
        score_order_figure({"a": {"cat": 1.0}, "b": {"dog": 1.0}}, "J")


# --- attributes


def test_thirds_hold_equally_many_frames_and_leave_out_nan() -> None:
    values, scores = np.array([6, 1, np.nan, 2, 5, 4, 3]), np.array([0.6, 0.0, 9, 0.2, 0.4, 1, 0])
    np.testing.assert_allclose(thirds(values, scores), [(1, 2, 0.1), (3, 4, 0.5), (5, 6, 0.5)])
    assert thirds(np.array([np.nan]), np.array([1.0])) == []


def test_attribute_figure_colours_objects_and_leaves_out_frames_without_a_value() -> None:
    attributes = {"size": [1.0, 2.0, 3.0, 4.0], "motion": [np.nan, 0.1, np.nan, 0.2]}
    figure = attribute_figure(attributes, [0.1, 0.2, 0.3, 0.4], ["a", "b", "a", "b"], "J")
    size, motion = figure.axes
    offsets = [dots.get_offsets().compressed().reshape(-1, 2) for dots in motion.collections[:2]]
    drawn = {tuple(point) for point in np.concatenate(offsets)}
    assert drawn == {(0.1, 0.2), (0.2, 0.4)}
    first, second = (tuple(dots.get_facecolor()[0]) for dots in size.collections[:2])
    assert first != second
    for ax, largest in ((size, 4), (motion, 0.2)):
        left, right = ax.get_xlim()
        assert -0.01 < left < 0 and right > largest
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a", "b"]


def test_many_objects_get_no_legend() -> None:
    names = [str(number) for number in range(9)]
    assert not attribute_figure({"size": range(9)}, np.ones(9), names, "J").legends


def test_lengths_must_agree() -> None:
    with pytest.raises(ValueError, match="'size' has 2 values for 3 scores of 3 groups"):
        attribute_figure({"size": [1, 2]}, [1, 1, 1], ["a"] * 3, "J")
