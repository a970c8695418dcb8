"""Figures of the task: counts are right, marks lie on their pixels, frames that are left out are not counted."""

from __future__ import annotations

import io

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from ranet_edu.evaluation.metrics import sequence_statistics
from ranet_edu.show.task_figures import (
    GREEN,
    RED,
    SKY,
    comparison_figure,
    indexed_figure,
    outline_figure,
    statistics_figure,
)
from ranet_edu.video.masks import PALETTE


def rectangle(rows: slice, columns: slice, size: tuple[int, int] = (8, 10)) -> np.ndarray:
    mask = np.zeros(size, bool)
    mask[rows, columns] = True
    return mask


TRUE, GUESS = rectangle(np.s_[2:6], np.s_[2:8]), rectangle(np.s_[1:5], np.s_[4:9])


def marks(ax: object) -> dict[tuple[float, ...], set[tuple[int, int]]]:
    """(row, column) of the marks of each colour."""
    found = {}
    for collection in ax.collections:
        places = {(int(y), int(x)) for x, y in np.asarray(collection.get_offsets())}
        if places:
            found[to_rgb(collection.get_facecolor()[0])] = places
    return found


# --- label files


def test_indexed_figure_writes_the_numbers_of_the_window() -> None:
    labels = np.arange(20, dtype=np.uint8).reshape(4, 5) % 3
    whole, part, colours = indexed_figure(labels, PALETTE, np.s_[1:3, 2:5]).axes
    np.testing.assert_array_equal(whole.images[0].get_array(), PALETTE[labels])
    assert [text.get_text() for text in part.texts] == [str(label) for label in labels[1:3, 2:5].ravel()]
    assert whole.patches[0].get_bbox().bounds == (1.5, 0.5, 3, 2)
    assert [text.get_text() for text in colours.texts] == ["0", "1", "2", "3"]


# --- masks compared


def test_comparison_colours_and_counts_each_kind_of_pixel() -> None:
    (ax,) = comparison_figure(TRUE, {"a guess": GUESS}).axes
    picture = ax.images[0].get_array()
    for place, colour in (((3, 5), GREEN), ((1, 5), RED), ((3, 2), SKY)):
        np.testing.assert_allclose(picture[place], colour)
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == ["both: 12", "only predicted: 8", "only true: 12"]
    assert ax.get_title() == "a guess"


def test_comparison_takes_labels_and_several_masks() -> None:
    figure = comparison_figure(TRUE * 255, {"equal": TRUE * 2, "empty": np.zeros_like(TRUE)})
    counts = [[text.get_text() for text in ax.get_legend().get_texts()] for ax in figure.axes]
    assert counts[0] == ["both: 24", "only predicted: 0", "only true: 0"]
    assert counts[1] == ["both: 0", "only predicted: 0", "only true: 24"]


def test_comparison_refuses_another_size() -> None:
    with pytest.raises(ValueError, match=r"'wide' is \(8, 11\) but true is \(8, 10\)"):
        comparison_figure(TRUE, {"wide": rectangle(np.s_[:], np.s_[:], (8, 11))})


# --- outlines matched


def test_outline_marks_those_with_a_partner_and_those_without() -> None:
    first, second = np.zeros((2, 6, 9), bool)
    first[2, 2:7] = True
    second[3, 2:5] = True
    left, right = outline_figure({"mine": first, "yours": second}, radius=1).axes
    assert marks(left) == {to_rgb(GREEN): {(2, 2), (2, 3), (2, 4)}, to_rgb(RED): {(2, 5), (2, 6)}}
    assert marks(right) == {to_rgb(GREEN): {(3, 2), (3, 3), (3, 4)}}
    assert left.get_title() == "3 of 5 mine boundary pixels\nhave a partner on the yours outline"
    assert right.get_title().startswith("3 of 3 yours boundary pixels")


def test_outline_s_rim_still_counts_and_its_window_changes_no_count() -> None:
    first, second = np.zeros((2, 60, 60), bool)
    first[10, 10] = first[50, 50] = True
    second[13, 14] = True  # 5 away
    for radius, count in ((5, 1), (4.99, 0)):
        left, _ = outline_figure({"a": first, "b": second}, radius, np.s_[5:20, 5:25]).axes
        assert left.get_title().startswith(f"{count} of 2 a")
        assert marks(left) == {to_rgb(GREEN if count else RED): {(5, 5)}}


def test_an_empty_outline_is_no_one_s_partner() -> None:
    left, right = outline_figure({"a": TRUE, "b": np.zeros_like(TRUE)}, 3).axes
    assert left.get_title().startswith("0 of 24 a")
    assert right.get_title().startswith("0 of 0 b")


# --- a curve and its statistics


def test_statistics_figure_leaves_out_both_ends_and_names_the_toolkit_s_numbers() -> None:
    values = [0.0, 1.0, 0.9, 0.6, 0.5, 0.4, 0.2, 0.0]
    (ax,) = statistics_figure(values, "J").axes
    mean, recall, decay = sequence_statistics(values[1:-1])
    assert ax.get_title() == f"mean {mean:.3f}    recall {recall:.3f} = 3 of 6    decay {decay:.3f}"
    hollow, good, bad = (np.asarray(marks.get_offsets()) for marks in ax.collections[:3])
    np.testing.assert_array_equal(hollow, [[0, 0], [7, 0]])
    np.testing.assert_array_equal(good[:, 0], [1, 2, 3])
    np.testing.assert_array_equal(bad[:, 0], [4, 5, 6])  # 0.5 is not above 0.5


def test_statistics_figure_draws_decay_as_the_drop_between_two_means() -> None:
    values = np.random.default_rng(0).random(40)
    (ax,) = statistics_figure(values, "F").axes
    first, last = (float(text.get_text().split(": ")[1]) for text in ax.texts)
    assert first - last == pytest.approx(sequence_statistics(values[1:-1]).decay, abs=1.1e-3)
    assert ax.get_ylabel() == "F"


@pytest.mark.parametrize(
    "figure",
    [
        indexed_figure(np.zeros((3, 3), np.uint8), PALETTE, np.s_[0:1, 0:1]),
        comparison_figure(np.zeros((1, 1)), {"": np.zeros((1, 1))}),
        outline_figure({"a": np.zeros((50, 20), bool), "b": np.ones((50, 20), bool)}, 3),
        statistics_figure([1, 1, 1], "J"),
    ],
    ids=["indexed", "comparison", "outline", "statistics"],
)
def test_smallest_input_can_be_drawn(figure: Figure) -> None:
    file = io.BytesIO()
    figure.savefig(file)
    assert file.tell() > 1000
