"""Figures of training on video: marks lie on their frames, ages and shares are counted right, rows have titles."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from ranet_edu.datasets.davis import DavisSequence
from ranet_edu.datasets.samples import Sample
from ranet_edu.datasets.triplets import Triplet
from ranet_edu.show.figures import object_colour
from ranet_edu.show.video_training_figures import (
    curves_figure,
    interval_figure,
    staleness,
    staleness_figure,
    timeline_figure,
    triplet_figure,
)


def moving(frames: int) -> list[np.ndarray]:
    """A square of 4 x 4 that moves right by one pixel in each frame, as label maps."""
    labels = np.zeros((frames, 6, 4 + frames), np.uint8)
    for time in range(frames):
        labels[time, 1:5, time : time + 4] = 2
    return list(labels)


def sample(frames: int) -> Sample:
    size = (8, 12)
    masks = torch.zeros(frames, 1, *size)
    masks[:, :, 2:6, 2:6] = 1
    grey = torch.full((frames, 3, *size), 100, dtype=torch.uint8)
    return Sample(grey[0], masks[0], grey, torch.zeros(1, *size), masks, torch.ones(frames, *size))


def drawn(figure: Figure) -> Figure:
    figure.canvas.draw()
    return figure


def test_timeline_marks_each_frame_on_the_line_of_its_sample() -> None:
    video = DavisSequence("bear", (Path("0.jpg"),) * 20, (Path("0.png"),) * 20, True)
    (ax,) = drawn(timeline_figure([Triplet(video, 3, 9, [10, 12], [1]), Triplet(video, 0, 19, [18], [1])])).axes
    marks = [np.asarray(part.get_offsets()).tolist() for part in ax.collections if len(part.get_offsets())]
    places = [place for place in marks if place != [[0, 0]]]
    assert [[3, 0]] in places and [[9, 0]] in places and [[10, 0], [12, 0]] in places and [[19, 1]] in places
    assert [label.get_text() for label in ax.get_yticklabels()] == ["sample 0: bear", "sample 1: bear"]


def test_triplets_get_a_column_for_each_frame() -> None:
    axes = drawn(triplet_figure({"first": sample(3), "second": sample(3)})).axes
    assert [ax.get_ylabel() for ax in axes] == ["first", "second"]
    titles = [label.get_text() for label in axes[0].get_xticklabels()]
    assert titles == [
        "template, its mask", "frame 1, previous mask", "frame 1, true mask", "frame 2, true mask", "frame 3, true mask"
    ]  # fmt: skip
    row = axes[0].images[0].get_array()
    assert row.shape == (8, 5 * 12, 3)
    assert (row[:, 12:24] == 100).all(), "the previous mask is empty, so nothing is tinted"
    assert (row[:, 24:36] != 100).any()


def test_triplets_of_several_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match=r"samples of \[1, 2\] frames"):
        triplet_figure({"one": sample(1), "two": sample(2)})


def test_intervals_are_counted() -> None:
    (ax,) = drawn(interval_figure([1, 1, 3, 2], [0.4, 0.4, 0.2])).axes
    assert [bar.get_height() for bar in ax.patches] == [0.5, 0.25, 0.25]
    assert ax.lines[0].get_ydata().tolist() == [0.4, 0.4, 0.2]


@pytest.mark.parametrize(("interval", "score"), [(1, 3 / 5), (2, 2 / 6), (4, 0)])
def test_staleness_is_the_overlap_with_an_earlier_mask(interval: int, score: float) -> None:
    np.testing.assert_allclose(staleness(moving(7), interval), [score] * (7 - interval))


def test_staleness_figure_shows_mean_and_worst_quarter() -> None:
    labels = [*moving(7), *[moving(7)[-1]] * 2]  # it stands still at the end
    (ax,) = drawn(staleness_figure({"square": labels}, [1, 2])).axes
    mean, worst = ax.lines[:2]
    np.testing.assert_allclose(mean.get_ydata(), [staleness(labels, 1).mean(), staleness(labels, 2).mean()])
    np.testing.assert_allclose(worst.get_ydata(), [3 / 5, 2 / 6])
    assert mean.get_color() == object_colour(1)


def test_curves_share_a_scale_and_differ_in_colour_and_dash() -> None:
    axes = drawn(curves_figure({"a": {"x": [0, 1], "y": [1, 0]}, "b": {"x": [0.5, 0.5]}}, "J", limit=2)).axes
    assert axes[0].get_ylim() == axes[1].get_ylim() == (-0.06, 2)
    assert [ax.get_title() for ax in axes] == ["a", "b"] and axes[0].get_ylabel() == "J"
    one, two = axes[0].lines
    assert one.get_linestyle() != two.get_linestyle() and one.get_color() != two.get_color()
    assert two.get_ydata().tolist() == [1, 0]
