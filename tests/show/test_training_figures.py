"""Figures of training: marks in photo and frame are the same places, curves and maps are the numbers given."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from ranet_edu.datasets.augment import Placement, Pose, control_points
from ranet_edu.datasets.samples import Sample
from ranet_edu.show.training_figures import (
    curve_figure,
    lattice,
    photo_place,
    pose_figure,
    probability_figure,
    running_mean,
    sample_figure,
    scene_place,
    spline_figure,
)

MOVES = np.random.default_rng(0).uniform(-0.15, 0.15, (16, 2))
POSE = Pose(rotation=25, scale=0.8, shift=(0.1, -0.05), bend=MOVES, flip=True)
PLACEMENT = Placement((40.0, 30.0), (33.0, 21.0), (64, 48), scale=1.5)
MASK = np.zeros((24, 40), bool)
MASK[6:18, 10:30] = True


def sample(height: int = 24, width: int = 40) -> Sample:
    frame = torch.full((3, height, width), 90, dtype=torch.uint8)
    masks = torch.zeros(1, height, width)
    masks[:, 6:18, 10:30] = 1
    valid = torch.ones(1, height, width)
    valid[:, :, -8:] = 0
    return Sample(frame, masks, frame[None], masks, masks[None], valid)


def drawn(figure: Figure) -> Figure:
    figure.draw_without_rendering()
    return figure


# --- places


def test_photo_and_scene_places_are_ends_of_one_map() -> None:
    """What the dataset reads for a scene place is the photo place that is drawn."""
    unit = np.random.default_rng(1).uniform(0, 1, (50, 2))
    read = PLACEMENT.photo_points(scene_place(unit, PLACEMENT, POSE), POSE)
    np.testing.assert_allclose(read, photo_place(unit, PLACEMENT, POSE), atol=1e-9)


def test_a_lattice_has_lines_both_ways_and_passes_through_the_control_points() -> None:
    lines = lattice(3)
    assert len(lines) == 8
    ends = {tuple(np.round(line[end], 6)) for line in lines for end in (0, -1)}
    rim = {tuple(np.round(p, 6)) for p in control_points() if {0.0, 1.0} & set(p)}
    assert ends == rim


def test_spline_figure_puts_control_points_where_they_are_told() -> None:
    plain, bent = drawn(spline_figure({"nothing": np.zeros((16, 2)), "random": MOVES})).axes
    for ax, moves in ((plain, 0), (bent, MOVES)):
        marks = next(line for line in ax.lines if line.get_marker() == "o")
        np.testing.assert_allclose(marks.get_xydata(), control_points() + moves)


def test_pose_figure_moves_picture_and_marks_together() -> None:
    """A white dot at a control point of the photo is found under the mark in the frame."""
    photo = np.zeros((96, 160, 3), np.uint8)
    photo[61:67, 51:57] = 255  # around control point (1/3, 2/3)
    figure = drawn(pose_figure(photo, {"still": Pose(), "turned": Pose(rotation=20, scale=1.2)}))
    for ax in figure.axes:
        marks = next(line for line in ax.lines if line.get_marker() == "o").get_xydata()
        x, y = np.round(marks[9]).astype(int)
        assert np.asarray(ax.images[0].get_array())[y, x].min() > 200


# --- pictures


def test_sample_figure_has_a_row_for_each_sample() -> None:
    axes = drawn(sample_figure({"plain": sample(), "again": sample()})).axes
    assert [ax.get_ylabel() for ax in axes] == ["plain", "again"]
    assert [label.get_text().split(",")[1] for label in axes[0].get_xticklabels()] == [
        " its mask", " previous mask", " true mask"
    ]
    picture = np.asarray(axes[0].images[0].get_array())
    assert picture.shape == (24, 120, 3)
    assert picture[0, -1, 0] == 30  # void is dark


def test_probability_figure_has_one_scale_and_hides_empty_places() -> None:
    maps = {f"step {n}": np.full(MASK.shape, n / 5) for n in range(5)}
    *panels, _ = drawn(probability_figure(maps, MASK, columns=3)).axes
    assert [ax.get_title() for ax in panels] == [*maps, ""]
    assert {ax.images[0].get_clim() for ax in panels[:5]} == {(0, 1)}
    assert not panels[5].axison
    np.testing.assert_array_equal(panels[2].images[0].get_array(), maps["step 2"])


# --- curves


def test_running_mean() -> None:
    np.testing.assert_allclose(running_mean(np.array([1.0, 2, 3, 6]), 3), [2, 11 / 3])
    np.testing.assert_allclose(running_mean(np.array([1.0, 3]), 9), [2])


def test_curve_figure_draws_rows_and_their_means() -> None:
    columns = {"step": [10, 20, 30], "bce": [3.0, 2, 1], "iou": [0.9, 0.6, 0.3], "learning_rate": [1.0, 2, 3]}
    losses, rate = drawn(curve_figure(columns, window=2)).axes
    assert [text.get_text() for text in losses.get_legend().get_texts()] == ["bce", "iou"]
    thick = [line for line in losses.lines if line.get_label() in columns]
    np.testing.assert_allclose(thick[0].get_xydata(), [(20, 2.5), (30, 1.5)])
    np.testing.assert_allclose(rate.lines[0].get_ydata(), [1, 2, 3])


@pytest.mark.parametrize("window", [1, 4])
def test_curve_figure_without_a_rate(window: int) -> None:
    (ax,) = drawn(curve_figure({"step": [1, 2], "bce": [2.0, 1.0]}, window)).axes
    assert ax.get_xlabel() == "step"
