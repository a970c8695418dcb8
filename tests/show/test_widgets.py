"""Explorers: a slider that moves changes the picture, and a page without a kernel shows one."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from IPython.core.formatters import DisplayFormatter
from PIL import Image

from ranet_edu.show.widgets import FigureExplorer, similarity_explorer


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
