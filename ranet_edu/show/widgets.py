"""Figures that answer to sliders, for notebooks. Used from notebook 00 on."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable

import ipywidgets
import numpy as np
from matplotlib.figure import Figure

from ranet_edu.show.figures import Pixel, map_limits, similarity_figure


class FigureExplorer(ipywidgets.VBox):
    """Sliders above a figure that is drawn anew when one of them moves.

    draw: takes the sliders' values under their names, returns a Figure. sliders: by those names; `explorer.sliders`
    holds them, `explorer.image` the picture. Where no kernel runs, as on GitHub, the last picture is shown.
    """

    def __init__(self, draw: Callable[..., Figure], **sliders: ipywidgets.IntSlider) -> None:
        self.draw, self.sliders, self.image = draw, sliders, ipywidgets.Image(format="jpeg")
        super().__init__([*sliders.values(), self.image])
        for slider in sliders.values():
            slider.observe(self.redraw, "value")
        self.redraw()

    def redraw(self, change: object = None) -> None:
        """Draw the figure at the sliders' values."""
        picture = io.BytesIO()
        figure = self.draw(**{name: slider.value for name, slider in self.sliders.items()})
        figure.savefig(picture, format="jpeg", pil_kwargs={"quality": 90})  # a photograph as PNG is five times as large
        self.image.value = picture.getvalue()

    def _repr_mimebundle_(self, **kwargs: object) -> dict[str, object]:
        picture = base64.b64encode(self.image.value).decode()
        return {**super()._repr_mimebundle_(**kwargs), "image/jpeg": picture}


def similarity_explorer(
    template_frame: np.ndarray, frame: np.ndarray, maps: np.ndarray, pixel: Pixel | None = None
) -> FigureExplorer:
    """Choose a template pixel with two sliders and see where `frame` looks like it. Notebook 00.

    template_frame, frame: uint8 RGB (H, W, 3). maps: (H0, W0, h, w), the similarity map of each template pixel. pixel:
    (row, column) to begin with; default: the middle. All pixels share one colour scale, so that maps can be compared.
    """
    limits = map_limits(maps)
    row, column = pixel or (maps.shape[0] // 2, maps.shape[1] // 2)

    def draw(row: int, column: int) -> Figure:
        return similarity_figure(template_frame, frame, maps, [(row, column)], limits)

    return FigureExplorer(
        draw,
        row=_slider("template row", row, maps.shape[0]),
        column=_slider("template column", column, maps.shape[1]),
    )


def _slider(name: str, value: int, count: int) -> ipywidgets.IntSlider:
    style, layout = {"description_width": "8em"}, {"width": "32em"}
    return ipywidgets.IntSlider(value, 0, count - 1, description=name, style=style, layout=layout)
