"""Figures of merging and decoding: every shape at its arrow, one scale per comparison, boxes where they lie."""

from __future__ import annotations

import numpy as np
import pytest

from ranet_edu.model.ranet import RANet
from ranet_edu.show import decoder_figures
from ranet_edu.show.decoder_figures import (
    ARROWS,
    PLACES,
    cost_figure,
    crop_figure,
    decoder_diagram,
    features_figure,
    footprint_figure,
    levels_figure,
    line_figure,
    propagation_figure,
)


@pytest.fixture
def frame() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (45, 80, 3), np.uint8)


def random_maps(*names: str) -> dict[str, np.ndarray]:
    return {name: np.random.default_rng(number).random((4, 7)) for number, name in enumerate(names)}


def test_the_diagram_writes_every_shape_and_draws_every_arrow() -> None:
    shapes = {name: (number, 3, 5) for number, name in enumerate(PLACES, start=10)}
    (ax,) = decoder_diagram(shapes).axes
    words = [text.get_text() for text in ax.texts]
    assert sorted(word for word in words if word.endswith("×3×5")) == [f"{n}×3×5" for n in range(10, 10 + len(PLACES))]
    arrows = [text for text in ax.texts if getattr(text, "arrow_patch", None)]
    assert len(arrows) == len(ARROWS) + 1  # one leads to the logits


def test_the_diagram_s_boxes_and_shapes_keep_apart() -> None:
    """With the longest shapes there are, those of the paper's network."""
    figure = decoder_diagram(dict.fromkeys(PLACES, (256, 480, 864)))
    figure.draw_without_rendering()
    boxes = [text.get_bbox_patch().get_window_extent() for text in figure.axes[0].texts if text.get_bbox_patch()]
    assert len(boxes) == len(PLACES) + len(ARROWS) + 1
    assert not [1 for i, box in enumerate(boxes) for other in boxes[:i] if box.overlaps(other)]
    inside = figure.axes[0].get_figure().bbox
    assert all(inside.x0 <= box.x0 and box.x1 <= inside.x1 for box in boxes)


def test_the_diagram_s_parts_are_the_network_s() -> None:
    decoder = RANet.lite(weights=None).decoder
    assert {name for name in PLACES if name.startswith("level")} == {
        f"level {k + 1}" for k in range(len(decoder.levels))
    }
    assert {name for name in PLACES if name.startswith("skip")} == {f"skip {k + 1}" for k in range(len(decoder.skips))}


def test_a_missing_shape_is_named() -> None:
    with pytest.raises(KeyError, match="level 2"):
        decoder_diagram({name: (1, 1, 1) for name in PLACES if name != "level 2"})


def test_footprints_show_what_is_seen() -> None:
    left, right = footprint_figure({"a": np.diag([0.5, -1, 0]), "b": np.zeros((3, 3))}).axes
    np.testing.assert_array_equal(left.images[0].get_array(), np.diag([True, True, False]))
    assert not right.images[0].get_array().any()
    assert (left.get_title(), right.get_title()) == ("a", "b")


def test_features_share_one_scale(frame: np.ndarray) -> None:
    rows = {"before": random_maps("a", "b"), "after": {"c": np.full((3, 3), -2.0)}}
    figure = features_figure(frame, rows, "deviations")
    a, b, c, empty, bar = figure.axes
    largest = max(values.max() for values in rows["before"].values())
    assert {ax.images[-1].get_clim() for ax in (a, b, c)} == {(-2, largest)}
    assert [a.get_ylabel(), c.get_ylabel(), bar.get_ylabel()] == ["before", "after", "deviations"]
    assert not empty.axison
    np.testing.assert_array_equal(b.images[-1].get_array(), rows["before"]["b"])


def test_levels_tell_their_size() -> None:
    axes = levels_figure({"level 1": np.zeros((4, 7)), "level 2": np.ones((8, 14))}).axes
    assert [ax.get_title() for ax in axes] == ["level 1\n4 × 7", "level 2\n8 × 14"]


def test_costs_are_stacked_in_percent() -> None:
    (ax,) = cost_figure({"lite": {"encoder": 3, "decoder": 1}, "paper": {"encoder": 1, "decoder": 1}}).axes
    encoder, decoder = ax.containers
    assert [bar.get_width() for bar in encoder] == [75, 50]
    assert [bar.get_x() for bar in decoder] == [75, 50]
    assert [text.get_text() for text in ax.texts] == ["75", "50", "25", "50"]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["encoder", "decoder"]


def test_a_part_too_thin_for_its_number_has_none() -> None:
    (ax,) = cost_figure({"lite": {"encoder": 99, "decoder": 1}}).axes
    assert [text.get_text() for text in ax.texts] == ["99", ""]


def test_propagation_shows_told_above_found(frame: np.ndarray) -> None:
    told, found = random_maps("true", "none"), random_maps("x", "y")
    figure = propagation_figure(frame, told, dict(zip(told, found.values(), strict=True)))
    shown = [ax.images[-1] for ax in figure.axes[:4]]
    for image, expected in zip(shown, [*told.values(), *found.values()], strict=True):
        np.testing.assert_array_equal(image.get_array(), expected)
        assert image.get_clim() == (0, 1)
    assert [ax.get_title() for ax in figure.axes[:2]] == ["true", "none"]


@pytest.mark.parametrize("box", [(5, 10, 20, 35), (-10, -20, 65, 113)])
def test_the_crop_s_box_is_drawn_where_it_lies(frame: np.ndarray, box: tuple[int, ...]) -> None:
    figure = crop_figure(frame, box, frame[:20, :35], np.zeros((4, 7)), np.zeros((45, 80)))
    first = figure.axes[0]
    top, left, height, width = box
    assert {patch.get_bbox().bounds for patch in first.patches} == {(left, top, width, height)}
    (x0, x1), (y1, y0) = first.get_xlim(), first.get_ylim()
    assert x0 <= left and left + width <= x1 and y0 <= top and top + height <= y1
    assert [ax.get_title() for ax in figure.axes[:4]] == ["box", "cut", "found", "pasted"]


def test_lines_are_told_apart_by_more_than_colour() -> None:
    names = ("a", "b", "c", "d")
    (ax,) = line_figure({name: [1, 0.5] for name in names}, [20, 21], "J").axes
    assert len({line.get_linestyle() for line in ax.lines}) == 4
    assert [text.get_text() for text in ax.get_legend().get_texts()] == list(names)
    np.testing.assert_array_equal(ax.lines[3].get_xydata(), [(20, 1), (21, 0.5)])


def test_every_figure_function_is_tested_here() -> None:
    functions = {name for name in vars(decoder_figures) if name.endswith("_figure")}
    assert functions <= set(globals())
