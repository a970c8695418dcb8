"""Figures that answer to sliders and clicks, for notebooks. Used from notebook 00 on."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping

import anywidget
import ipywidgets
import numpy as np
import traitlets
from matplotlib.figure import Figure

from ranet_edu.show.figures import Pixel, map_limits, similarity_figure
from ranet_edu.show.ranking_figures import channels_figure, maximum_channel, ranked_channels, template_channels

Control = ipywidgets.IntSlider | ipywidgets.SelectionSlider | ipywidgets.ToggleButtons


class ClickableImage(anywidget.AnyWidget):
    """A JPEG that says where it was clicked; `ipywidgets.Image` doesn't.

    value: the file's bytes. click: (x, y) in shares of width and height, from the upper left corner. alt: what it
    shows, for those who can't see it.
    """

    value = traitlets.Bytes().tag(sync=True)
    click = traitlets.Tuple(traitlets.Float(), traitlets.Float(), default_value=(0.0, 0.0)).tag(sync=True)
    alt = traitlets.Unicode("A figure; the sliders above it choose what it shows.").tag(sync=True)

    _esm = """
    function render({ model, el }) {
      const image = document.createElement("img");
      image.alt = model.get("alt");
      image.style.maxWidth = "100%";
      const show = () => {
        URL.revokeObjectURL(image.src);
        image.src = URL.createObjectURL(new Blob([model.get("value")], { type: "image/jpeg" }));
      };
      image.addEventListener("click", (event) => {
        const box = image.getBoundingClientRect();
        model.set("click", [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height]);
        model.save_changes();
      });
      model.on("change:value", show);
      el.appendChild(image);
      show();
      return () => {
        model.off("change:value", show);
        URL.revokeObjectURL(image.src);
      };
    }
    export default { render };
    """


class FigureExplorer(ipywidgets.VBox):
    """Sliders above a figure that is drawn anew when one of them moves.

    draw: takes the sliders' values under their names, returns a Figure. sliders: by those names; `explorer.sliders`
    holds them, `explorer.image` the picture. click: names of the two sliders that a click into the figure's first axes
    sets, to its x and its y there. Where no kernel runs, as on GitHub, the last picture is shown.
    """

    def __init__(self, draw: Callable[..., Figure], click: tuple[str, str] | None = None, **sliders: Control) -> None:
        self.draw, self.sliders, self.image = draw, sliders, ClickableImage()
        super().__init__([*sliders.values(), self.image])
        self._observe(True)
        if click:
            self.image.observe(lambda change: self._choose(click, change.new), "click")
        self.redraw()

    def redraw(self, change: object = None) -> None:
        """Draw the figure at the sliders' values."""
        picture = io.BytesIO()
        self.figure = self.draw(**{name: slider.value for name, slider in self.sliders.items()})
        self.figure.savefig(
            picture, format="jpeg", pil_kwargs={"quality": 90}
        )  # a photograph as PNG is 5 times as large
        self.image.value = picture.getvalue()

    def _choose(self, names: tuple[str, str], place: tuple[float, float]) -> None:
        """Set two sliders to the point of the first axes that lies at a place in the picture; elsewhere do nothing."""
        axes = self.figure.axes[0]
        point = self.figure.transFigure.transform((place[0], 1 - place[1]))
        if not axes.bbox.contains(*point):
            return
        self._observe(False)  # one drawing for both
        for name, value in zip(names, axes.transData.inverted().transform(point), strict=True):
            slider = self.sliders[name]
            slider.value = int(np.clip(round(value), slider.min, slider.max))
        self._observe(True)
        self.redraw()

    def _observe(self, really: bool) -> None:
        for slider in self.sliders.values():
            (slider.observe if really else slider.unobserve)(self.redraw, "value")

    def _repr_mimebundle_(self, **kwargs: object) -> dict[str, object]:
        picture = base64.b64encode(self.image.value).decode()
        return {**super()._repr_mimebundle_(**kwargs), "image/jpeg": picture}


def similarity_explorer(
    template_frame: np.ndarray,
    frame: np.ndarray | Mapping[int, np.ndarray],
    maps: np.ndarray | Mapping[int, np.ndarray],
    pixel: Pixel | None = None,
) -> FigureExplorer:
    """Choose a template pixel, by sliders or by a click into the template, and see where `frame` looks like it.

    template_frame, frame: uint8 RGB (H, W, 3). maps: (H0, W0, h, w), the similarity map of each template pixel. pixel:
    (row, column) to begin with; default: the middle. Notebook 00. Several frames and their maps, each under the frame's
    number, get a third slider; notebook 03. All pixels and frames share one colour scale, so that maps can be compared.
    Raises ValueError where frames and maps have different numbers.
    """
    frames = frame if isinstance(frame, Mapping) else {0: frame}
    every = maps if isinstance(maps, Mapping) else {0: maps}
    if list(frames) != list(every):
        raise ValueError(f"frames are numbered {list(frames)}, but maps {list(every)}; give each frame its maps")
    first = next(iter(every.values()))
    limits = _common_limits(every)
    row, column = pixel or (first.shape[0] // 2, first.shape[1] // 2)

    def draw(row: int, column: int, number: int = next(iter(frames))) -> Figure:
        return similarity_figure(template_frame, frames[number], every[number], [(row, column)], limits)

    sliders: dict[str, Control] = {
        "row": _slider("template row", row, first.shape[0]),
        "column": _slider("template column", column, first.shape[1]),
    }
    if len(frames) > 1:
        sliders["number"] = _choice("frame", list(frames))
    return FigureExplorer(draw, click=("column", "row"), **sliders)


def ranking_explorer(
    template_frame: np.ndarray,
    frame: np.ndarray,
    maps: np.ndarray,
    streams: Mapping[str, tuple[np.ndarray, np.ndarray]],
    grid: Pixel,
    keep: int = 256,
) -> FigureExplorer:
    """Four channels of a stream, as ranking attention, no ranking and the maximum hand them on. Notebook 05.

    maps: S, (H0*W0, h, w). streams: weights and scores, (H0*W0,) each, under the streams' names. keep: channels of the
    ranked stream. All channels share one colour scale.
    """
    limits, shown = map_limits(maps), 4

    def draw(channel: int, stream: str) -> Figure:
        weights, scores = streams[stream]
        numbers = range(channel, channel + shown)
        rows = {
            "attention": ranked_channels(maps, weights, scores, numbers, grid, keep),
            "none": template_channels(maps, weights, numbers, grid),
            "maximum": [maximum_channel(maps, weights)],
        }
        return channels_figure(template_frame, frame, rows, grid, limits)

    slider = _slider("first channel", 0, min(keep, len(maps)) - shown + 1)
    return FigureExplorer(draw, channel=slider, stream=ipywidgets.ToggleButtons(options=list(streams)))


def _common_limits(every: Mapping[int, np.ndarray]) -> tuple[float, float]:
    """The widest of the maps' own colour scales."""
    low, high = zip(*map(map_limits, every.values()), strict=True)
    return min(low), max(high)


STYLE, LAYOUT = {"description_width": "9em"}, {"width": "33em"}


def _slider(name: str, value: int, count: int) -> ipywidgets.IntSlider:
    return ipywidgets.IntSlider(value, 0, count - 1, description=name, style=STYLE, layout=LAYOUT)


def _choice(name: str, values: list[int]) -> ipywidgets.SelectionSlider:
    return ipywidgets.SelectionSlider(options=values, description=name, style=STYLE, layout=LAYOUT)
