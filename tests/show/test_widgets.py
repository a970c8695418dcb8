"""Explorers: a slider that moves changes the picture, and a page without a kernel shows one."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from IPython.core.formatters import DisplayFormatter
from PIL import Image

from ranet_edu.show.widgets import FigureExplorer, ranking_explorer, similarity_explorer


@pytest.fixture
def explorer() -> FigureExplorer:
    """Template pixel (row, column) looks like place (row, column) of the other frame, and like no other."""
    frames = np.full((2, 45, 80, 3), 128, np.uint8)
    maps = np.einsum("ik,jl->ijkl", np.eye(5), np.eye(8))
    return similarity_explorer(*frames, maps, (1, 2))


def picture(explorer: FigureExplorer) -> np.ndarray:
    with Image.open(io.BytesIO(explorer.image.value)) as image:
        return np.array(image.convert("RGB")).astype(int)


@pytest.mark.parametrize(("slider", "value"), [("row", 4), ("column", 7)])
def test_a_slider_that_moves_changes_the_picture(explorer: FigureExplorer, slider: str, value: int) -> None:
    before = picture(explorer)
    explorer.sliders[slider].value = value
    after = picture(explorer)
    assert after.shape == before.shape
    assert (abs(after - before) > 100).sum() > 100
    explorer.sliders[slider].value = {"row": 1, "column": 2}[slider]
    np.testing.assert_array_equal(picture(explorer), before)


def test_sliders_reach_every_template_pixel_and_no_other(explorer: FigureExplorer) -> None:
    limits = {name: (slider.min, slider.value, slider.max) for name, slider in explorer.sliders.items()}
    assert limits == {"row": (0, 1, 4), "column": (0, 2, 7)}
    assert explorer.children == (*explorer.sliders.values(), explorer.image)


def click(explorer: FigureExplorer, row: float, column: float) -> None:
    """A click on a point of the first axes, given in their coordinates."""
    figure = explorer.figure
    x, y = figure.transFigure.inverted().transform(figure.axes[0].transData.transform((column, row)))
    explorer.image.click = (x, 1 - y)


def test_a_click_into_the_template_chooses_the_pixel_there(
    explorer: FigureExplorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, drawings = picture(explorer), []
    draw = explorer.draw
    monkeypatch.setattr(explorer, "draw", lambda **values: drawings.append(values) or draw(**values))
    click(explorer, 3.4, 6.6)
    assert {name: slider.value for name, slider in explorer.sliders.items()} == {"row": 3, "column": 7}
    assert drawings == [{"row": 3, "column": 7}]
    assert (abs(picture(explorer) - before) > 100).sum() > 100


def test_a_click_at_the_edge_stays_inside(explorer: FigureExplorer) -> None:
    click(explorer, 4.49, -0.49)
    assert (explorer.sliders["row"].value, explorer.sliders["column"].value) == (4, 0)


def test_a_click_beside_the_template_changes_nothing(explorer: FigureExplorer) -> None:
    before = picture(explorer)
    explorer.image.click = (0.7, 0.5)  # on the map
    assert (explorer.sliders["row"].value, explorer.sliders["column"].value) == (1, 2)
    np.testing.assert_array_equal(picture(explorer), before)


def test_sliders_still_work_after_a_click(explorer: FigureExplorer) -> None:
    click(explorer, 3, 7)
    before = picture(explorer)
    explorer.sliders["row"].value = 0
    assert (abs(picture(explorer) - before) > 100).sum() > 100


def test_a_clip_gets_a_slider_of_its_frames() -> None:
    frames = {number: np.full((45, 80, 3), 128, np.uint8) for number in (5, 20)}
    identity = np.einsum("ik,jl->ijkl", np.eye(5), np.eye(8))
    explorer = similarity_explorer(frames[5], frames, {5: identity, 20: identity[::-1]}, (0, 0))
    before = picture(explorer)
    assert explorer.sliders["number"].options == (5, 20)
    explorer.sliders["number"].value = 20
    assert (abs(picture(explorer) - before) > 100).sum() > 100


def test_frames_of_a_clip_share_the_widest_scale() -> None:
    frames = dict.fromkeys((0, 1), np.zeros((9, 16, 3), np.uint8))
    low, high = np.full((2, 2, 3, 3), 0.25), np.full((2, 2, 3, 3), 0.75)
    explorer = similarity_explorer(frames[0], frames, {0: low, 1: high})
    assert explorer.figure.axes[1].images[-1].get_clim() == (0.25, 0.75)


def test_frames_without_maps_are_refused() -> None:
    frame, maps = np.zeros((9, 16, 3), np.uint8), np.zeros((2, 2, 3, 3))
    with pytest.raises(ValueError, match=r"numbered \[0, 4\], but maps \[0, 5\]"):
        similarity_explorer(frame, {0: frame, 4: frame}, {0: maps, 5: maps})


def test_the_explorer_begins_in_the_middle() -> None:
    explorer = similarity_explorer(*np.zeros((2, 9, 16, 3), np.uint8), np.zeros((5, 8, 5, 8)))
    assert [slider.value for slider in explorer.sliders.values()] == [2, 4]


def test_the_scale_stays_when_another_pixel_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = []
    original = FigureExplorer.redraw

    def remember(self: FigureExplorer, change: object = None) -> None:
        figure = self.draw(**{name: slider.value for name, slider in self.sliders.items()})
        limits.append(figure.axes[1].images[-1].get_clim())
        original(self, change)

    monkeypatch.setattr(FigureExplorer, "redraw", remember)
    maps = np.arange(2 * 2 * 3 * 3, dtype=float).reshape(2, 2, 3, 3)
    explorer = similarity_explorer(*np.zeros((2, 9, 16, 3), np.uint8), maps, (0, 0))
    explorer.sliders["row"].value = 1
    assert limits == [(np.median(maps), maps.max())] * 2


def test_without_a_kernel_the_last_picture_is_shown(explorer: FigureExplorer) -> None:
    explorer.sliders["row"].value = 3
    shown = explorer._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in shown
    assert base64.b64decode(shown["image/jpeg"]) == explorer.image.value


def test_a_notebook_stores_widget_and_picture(explorer: FigureExplorer) -> None:
    stored, _ = DisplayFormatter().format(explorer)
    assert {"application/vnd.jupyter.widget-view+json", "image/jpeg"} <= set(stored)


# --- ranking


@pytest.fixture
def ranking() -> FigureExplorer:
    """Six template pixels; the foreground is pixels 1 and 4, the background the others."""
    frames = np.random.default_rng(0).integers(0, 256, (2, 45, 80, 3), np.uint8)
    maps = np.random.default_rng(1).random((6, 4, 5))
    foreground = np.array([0.0, 1, 0, 0, 1, 0])
    streams = {
        name: (w, w * maps.max((1, 2))) for name, w in (("foreground", foreground), ("background", 1 - foreground))
    }
    return ranking_explorer(*frames, maps, streams, (2, 3), keep=6)


@pytest.mark.parametrize(("control", "value"), [("channel", 2), ("stream", "background")])
def test_ranking_s_controls_change_the_picture(ranking: FigureExplorer, control: str, value: object) -> None:
    before = picture(ranking)
    ranking.sliders[control].value = value
    after = picture(ranking)
    assert after.shape == before.shape
    assert (abs(after - before) > 100).sum() > 100


def test_ranking_shows_all_variants_of_the_chosen_channels(ranking: FigureExplorer) -> None:
    figure = ranking.draw(channel=1, stream="background")
    rows = {ax.get_ylabel(): position for position, ax in enumerate(figure.axes) if ax.get_ylabel()}
    assert list(rows)[:3] == ["attention", "none", "maximum"]
    titles = [ax.get_title() for ax in figure.axes]
    assert [title.partition(":")[0] for title in titles[1:5]] == [f"rank {k}" for k in (1, 2, 3, 4)]
    assert [title.partition(":")[0] for title in titles[6:10]] == [f"channel {k}" for k in (1, 2, 3, 4)]
    assert titles[11] == "largest of all maps"


def test_ranking_s_slider_ends_where_four_channels_are_left(ranking: FigureExplorer) -> None:
    assert (ranking.sliders["channel"].min, ranking.sliders["channel"].max) == (0, 2)
    assert ranking.sliders["stream"].options == ("foreground", "background")
