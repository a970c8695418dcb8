"""Figures about similarity maps: how they are computed (notebook 03), and what they tell and hide (notebook 04).

As in `show.figures`: arrays in, a matplotlib Figure out. Maps are (..., h, w); a place in them is (row, column).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import cv2
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import ConnectionPatch, Patch
from matplotlib.patheffects import withStroke
from matplotlib.ticker import NullLocator, PercentFormatter

from ranet_edu.show.figures import (
    MAP_COLOURS,
    WIDTH,
    Pixel,
    add_colour_bar,
    cell_extent,
    draw_map,
    draw_template,
    map_limits,
    object_colour,
    shrink,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage

HIT, MISS = object_colour(2), object_colour(1)
"""Blue for a match on the object, orange for one elsewhere."""
RIM = [withStroke(linewidth=2, foreground="black")]
DIFFERENCES = "PuOr"
"""From orange over white to violet: told apart by the colour-blind; for values on both sides of zero."""


# --- what is measured on maps


def bright_spots(maps: np.ndarray) -> np.ndarray:
    """The place (row, column) of the largest value in each map: (..., h, w) -> integers (..., 2). Notebook 03."""
    flat = maps.reshape(*maps.shape[:-2], -1).argmax(-1)
    return np.stack(np.unravel_index(flat, maps.shape[-2:]), axis=-1)


def labels_at(places: np.ndarray, labels: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """The label under the middle of each place (..., 2) of a grid (h, w) laid over a label map (H, W). Notebook 03."""
    points = (np.asarray(places) + 0.5) * (np.array(labels.shape) / grid)
    rows, columns = np.moveaxis(points.astype(int), -1, 0)
    return labels[rows, columns]


def bright_share(maps: np.ndarray, below: float = 0.1) -> np.ndarray:
    """Ambiguity: the share of each map (..., h, w) that lies within `below` of its largest value. Notebook 04.

    1 / (h * w) is a single bright place, 1 a map without any contrast.
    """
    peaks = maps.max((-2, -1), keepdims=True)
    return (maps >= peaks - below).mean((-2, -1))


# --- notebook 03


def tiny_figure(template: np.ndarray, frame: np.ndarray, maps: np.ndarray) -> Figure:
    """Every number of a small correlation: features of three channels as colours, each map as a table. Notebook 03.

    template: (3, H0, W0). frame: (3, H, W). maps: (H0*W0, H, W), map j drawn where template pixel j = y * W0 + x lies.
    """
    rows, columns = template.shape[1:]
    figure = Figure((WIDTH, 1.6 * rows + 0.3), dpi=96, layout="constrained")
    axes = figure.subplot_mosaic(
        [["template", "frame", *(row * columns + column for column in range(columns))] for row in range(rows)]
    )
    _draw_colours(axes["template"], template, "template")
    for (row, column), number in np.ndenumerate(np.arange(rows * columns).reshape(rows, columns)):
        axes["template"].text(column, row, f"$K_{number}$", ha="center", va="center", color="white", path_effects=RIM)
    _draw_colours(axes["frame"], frame, "current frame")
    for number, values in enumerate(maps):
        _draw_table(axes[number], values, f"$S_{number}$")
    return figure


def bright_spot_strip(
    template_frame: np.ndarray,
    frames: Mapping[int, np.ndarray],
    maps: Mapping[int, np.ndarray],
    grid: tuple[int, int],
    pixel: Pixel,
) -> Figure:
    """One template pixel's map over several frames, with a cross on the brightest place of each. Notebook 03.

    frames, maps: frames (H, W, 3) and maps (h, w) under the frames' numbers. grid: (H0, W0) of the template.
    """
    columns = 3
    panels = len(frames) + 1
    rows = -(-panels // columns)
    height = (WIDTH - 1.4) / columns * template_frame.shape[0] / template_frame.shape[1] + 0.35
    figure = Figure((WIDTH, rows * height), dpi=96, layout="compressed")
    first, *others = figure.subplots(rows, columns).flat
    draw_template(first, template_frame, grid, [pixel])
    first.set(title=f"template pixel {pixel}", xlabel="", ylabel="")
    limits = map_limits(np.stack(list(maps.values())))
    for ax, (number, frame) in zip(others, frames.items(), strict=False):
        image = draw_map(ax, frame, maps[number], limits)
        draw_cross(ax, bright_spots(maps[number]))
        ax.set_title(f"frame {number}")
    for ax in (first, *others):
        ax.set(xticks=[], yticks=[])
    for ax in others[len(frames) :]:
        ax.set_axis_off()
    add_colour_bar(figure, image, [first, *others])
    return figure


def path_figure(numbers: Sequence[int], paths: Mapping[str, np.ndarray], grid: tuple[int, int]) -> Figure:
    """Where places of a grid (h, w) go in time: their row and column over the frames. Notebook 03.

    numbers: of the frames. paths: (T, 2) under each name, (row, column); NaN where there is no place.
    """
    figure = Figure((WIDTH, 2.8), dpi=96, layout="compressed")
    for ax, axis, name in zip(figure.subplots(1, 2), (1, 0), ("column", "row"), strict=True):
        for label, (path, places) in enumerate(paths.items(), start=1):
            style = "o-" if label == 1 else "--"
            ax.plot(numbers, places[:, axis], style, color=object_colour(label), markersize=4, linewidth=2, label=path)
        ax.set(xlabel="frame", ylabel=f"{name} of the map", ylim=(-0.5, grid[axis] - 0.5))
        ax.grid(alpha=0.3)
    figure.axes[1].invert_yaxis()  # rows count downwards, as in the picture
    figure.axes[0].legend(loc="best")
    return figure


# --- notebook 04


def figure_four(
    template_frame: np.ndarray,
    frame: np.ndarray,
    maps: np.ndarray,
    pixels: Sequence[Pixel],
    merged: Sequence[np.ndarray],
    names: Sequence[str],
) -> Figure:
    """The paper's figure 4: frames, similarity maps of template pixels, and features after merging. Notebook 04.

    maps: (H0, W0, h, w). merged: channels of the merge module, any (h, w), drawn in standard deviations from their
    medians; names: their titles.
    """
    columns = 1 + max(len(pixels), len(merged))
    panel = (WIDTH - 1.2) / columns * frame.shape[0] / frame.shape[1]
    figure = Figure((WIDTH, 2 * panel + 0.75), dpi=96, layout="compressed")
    axes = figure.subplots(2, columns)
    draw_template(axes[0, 0], template_frame, maps.shape[:2], pixels)
    draw_frame(axes[1, 0], frame, "current frame")
    limits = map_limits(np.stack([maps[pixel] for pixel in pixels]))
    for number, (ax, pixel) in enumerate(zip(axes[0, 1:], pixels, strict=False), start=1):
        similarity = draw_map(ax, frame, maps[pixel], limits)
        ax.set_title(f"map of pixel {number}")
    for ax, channel, name in zip(axes[1, 1:], merged, names, strict=False):
        shown = (channel - np.median(channel)) / channel.std()
        after = ax.imshow(shown, cmap="cividis", vmin=-3, vmax=3, **cell_extent(channel.shape, frame.shape))
        ax.set_title(name)
    for ax in axes.flat:
        ax.set(xticks=[], yticks=[], xlabel="", ylabel="")
    add_colour_bar(figure, similarity, axes[0])
    figure.colorbar(after, ax=axes[1], label="standard deviations", extend="both", aspect=15, pad=0.01)
    return figure


def selection_figure(frame: np.ndarray, foreground: np.ndarray, background: np.ndarray) -> Figure:
    """The weights (H0, W0) that choose foreground and background maps, over the template frame. Notebook 04.

    The third panel shows which stream each template pixel's map goes to: one, both or none.
    """
    figure = Figure((WIDTH, (WIDTH - 1.2) / 3 * frame.shape[0] / frame.shape[1] + 0.95), dpi=96, layout="compressed")
    axes = figure.subplots(1, 3)
    for ax, weights, title in zip(
        axes, (foreground, background), ("foreground weight", "background weight"), strict=False
    ):
        image = draw_cells(ax, frame, weights, cmap=MAP_COLOURS, vmin=0, vmax=1)
        ax.set(title=title, xlabel="template column")
    streams = np.stack([foreground > 0, background > 0], axis=-1)
    colours = {(True, False): (*HIT, 0.75), (False, True): (0, 0, 0, 0), (True, True): (*MISS, 0.9)}
    picture = np.array([[colours[tuple(cell)] for cell in row] for row in streams.tolist()])
    draw_cells(axes[2], frame, picture)
    axes[2].set(title="in which stream", xlabel="template column")
    axes[0].set_ylabel("template row")
    patches = [Patch(color=HIT, label="foreground alone"), Patch(color=MISS, label="both")]
    axes[2].legend(handles=patches, loc="lower right", fontsize="small")
    figure.colorbar(image, ax=axes[:2], label="weight", aspect=15, pad=0.02)
    return figure


def ambiguity_figure(peaks: np.ndarray, shares: np.ndarray, kinds: Mapping[str, np.ndarray]) -> Figure:
    """How high and how wide the maps' peaks are: a point for each template pixel, coloured by kind. Notebook 04.

    peaks: largest value of each map. shares: `bright_share`. kinds: masks of the same shape under their names.
    """
    figure = Figure((WIDTH, 3.6), dpi=96, layout="compressed")
    ax = figure.subplots()
    colours, markers = ("0.55", object_colour(1), object_colour(2), object_colour(3)), "os^D"
    for (name, chosen), colour, marker in zip(kinds.items(), colours, markers, strict=False):
        style = {"color": colour, "marker": marker, "s": 22, "alpha": 0.8, "linewidths": 0}
        ax.scatter(shares[chosen], peaks[chosen], label=name, **style)
    ax.set(xscale="log", xlabel="share of the map within 0.1 of its peak", ylabel="height of the peak")
    ax.set_xticks([0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1])
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(PercentFormatter(1))
    ax.set_xlim(0.8 * shares.min(), min(1.1, 1.3 * shares.max()))
    ax.grid(alpha=0.3)
    ax.legend(loc="best")
    return figure


def match_figure(
    template_frame: np.ndarray,
    frame: np.ndarray,
    grids: tuple[tuple[int, int], tuple[int, int]],
    pixels: Sequence[Pixel],
    places: Sequence[Pixel],
    hits: Sequence[bool],
) -> Figure:
    """A line from each template pixel to the brightest place of its map: blue on its object, orange elsewhere.

    grids: (H0, W0) of the template and (h, w) of the maps. Notebook 04.
    """
    figure = Figure((WIDTH, WIDTH / 2 * frame.shape[0] / frame.shape[1] + 0.5), dpi=96, layout="compressed")
    left, right = figure.subplots(1, 2)
    for ax, picture, grid, title in (
        (left, template_frame, grids[0], "template"),
        (right, frame, grids[1], "current frame"),
    ):
        draw_frame(ax, picture, title, **cell_extent(grid, picture.shape))
    for (row, column), (y, x), hit in zip(pixels, places, hits, strict=True):
        colour = HIT if hit else MISS
        line = ConnectionPatch((column, row), (x, y), "data", "data", axesA=left, axesB=right, color=colour)
        line.set(linewidth=1.6 if hit else 1.2, linestyle="-" if hit else (0, (4, 2)))
        figure.add_artist(line)
        left.plot(column, row, "o", color=colour, markersize=4, markeredgecolor="black", markeredgewidth=0.5)
        right.plot(x, y, "o" if hit else "X", color=colour, markersize=6, markeredgecolor="black", markeredgewidth=0.5)
    return figure


def object_curves(numbers: Sequence[int], panels: Mapping[str, Mapping[str, Sequence[float]]]) -> Figure:
    """Values of each object over the frames, a panel for each kind of value, in the objects' colours. Notebook 04.

    panels: {what is drawn: {object's name: one value per frame, NaN where there is none}}.
    """
    figure = Figure((WIDTH, 1.6 * len(panels) + 0.5), dpi=96, layout="compressed")
    for ax, (title, curves) in zip(
        figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0], panels.items(), strict=True
    ):
        for label, (name, values) in enumerate(curves.items(), start=1):
            ax.plot(numbers, values, "o-", markersize=3, color=object_colour(label), linewidth=2, label=name)
        ax.set_ylabel(title)
        ax.grid(alpha=0.3)
    ax.set_xlabel("frame")
    figure.axes[0].legend(loc="best")
    return figure


def evidence_figure(
    frame: np.ndarray, mask: np.ndarray, evidence: Mapping[str, tuple[np.ndarray, np.ndarray]]
) -> Figure:
    """Ways of making two maps of many: evidence for the object, for the background, and their difference. Notebook 04.

    mask: the object's true mask (H, W), drawn as outline. evidence: {name: (foreground, background)}, each (h, w).
    Foreground and background share one scale, the differences another, white where the two are equal.
    """
    panel = (WIDTH - 2.2) / 3 * frame.shape[0] / frame.shape[1]
    figure = Figure((WIDTH, len(evidence) * (panel + 0.3)), dpi=96, layout="compressed")
    axes = figure.subplots(len(evidence), 3, squeeze=False)
    pairs = np.array(list(evidence.values()))
    limits = (np.quantile(pairs, 0.1), pairs.max())
    largest = max(np.abs(np.subtract(*pair)).max() for pair in evidence.values())
    for row, (name, (foreground, background)) in zip(axes, evidence.items(), strict=True):
        for ax, values in zip(row, (foreground, background), strict=False):
            similarity = ax.imshow(
                values, cmap=MAP_COLOURS, vmin=limits[0], vmax=limits[1], **cell_extent(values.shape, frame.shape)
            )
        place = cell_extent(foreground.shape, frame.shape)
        difference = row[2].imshow(foreground - background, cmap=DIFFERENCES, vmin=-largest, vmax=largest, **place)
        for ax in row:
            draw_outline(ax, mask, foreground.shape)
            ax.set(xticks=[], yticks=[])
        row[0].set_ylabel(name)
    for ax, title in zip(axes[0], ("object", "background", "object - background"), strict=True):
        ax.set_title(title)
    add_colour_bar(figure, similarity, axes[:, :2])
    figure.colorbar(difference, ax=axes[:, 2], label="difference", aspect=15, pad=0.02)
    return figure


def answer_figure(
    template_frame: np.ndarray, template_mask: np.ndarray, frame: np.ndarray, answers: np.ndarray, shuffled: np.ndarray
) -> Figure:
    """Who answers: each place of a frame in the colour of the template pixel that is most like it. Notebook 04.

    template_mask: which template pixels (H0, W0) may answer. answers, shuffled: (h, w, 2), the (row, column) of the one
    that does, in the maps and in maps whose values were exchanged at every place.
    """
    figure = Figure((WIDTH, (WIDTH - 0.3) / 3 * frame.shape[0] / frame.shape[1] + 0.5), dpi=96, layout="compressed")
    axes = figure.subplots(1, 3)
    places = np.stack(np.indices(template_mask.shape), axis=-1)
    code = place_colours(places, template_mask)
    draw_cells(axes[0], template_frame, np.dstack([code, 0.85 * template_mask]))
    for ax, shown in zip(axes[1:], (answers, shuffled), strict=True):
        draw_cells(ax, frame, np.dstack([place_colours(shown, template_mask), np.full(shown.shape[:2], 0.85)]))
    for ax, title in zip(axes, ("template pixels", "who answers", "the same, shuffled"), strict=True):
        ax.set(title=title, xticks=[], yticks=[])
    return figure


def place_colours(places: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """A colour for each place (..., 2) of a grid: yellow to blue from left to right, darker further down.

    The colours span the part of the grid where `mask` is True. Returns RGB in [0, 1], (..., 3).
    """
    from matplotlib import colormaps

    found = np.argwhere(mask)
    low, high = found.min(0), found.max(0)
    down, across = np.moveaxis(((places - low) / np.maximum(high - low, 1)).clip(0, 1), -1, 0)
    return colormaps["cividis_r"](across)[..., :3] * (1 - 0.65 * down[..., None])


# --- parts


def draw_cross(ax: Axes, place: Sequence[int]) -> None:
    """A white cross with a black rim on a place (row, column)."""
    for colour, width in (("black", 4.5), ("white", 2)):
        ax.plot(place[1], place[0], "x", color=colour, markersize=11, markeredgewidth=width)


def draw_frame(ax: Axes, frame: np.ndarray, title: str, **place: object) -> None:
    """A frame without ticks."""
    ax.imshow(shrink(frame, 480), **place)
    ax.set(title=title, xticks=[], yticks=[])


def draw_cells(ax: Axes, frame: np.ndarray, values: np.ndarray, **scale: object) -> AxesImage:
    """Cells (H0, W0), or their colours (H0, W0, 4), over a greyed frame; each cell is seen as a square."""
    place = cell_extent(values.shape, frame.shape)
    ax.imshow(cv2.cvtColor(shrink(frame, 480), cv2.COLOR_RGB2GRAY), cmap="gray", vmin=0, vmax=255, **place)
    alpha = 0.75 if values.ndim == 2 else None
    return ax.imshow(values, alpha=alpha, interpolation="nearest", **scale, **place)


def draw_outline(ax: Axes, mask: np.ndarray, grid: tuple[int, int]) -> None:
    """The outline of a mask (H, W) in axes that count the cells of a grid (h, w); nothing for an empty mask."""
    contours, _ = cv2.findContours((mask > 0).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    scale = np.array(grid[::-1]) / mask.shape[::-1]
    for contour in contours:
        points = (np.vstack([contour, contour[:1]])[:, 0] + 0.5) * scale - 0.5
        for colour, width in (("black", 3), ("white", 1.4)):
            ax.plot(*points.T, color=colour, linewidth=width)


def _draw_colours(ax: Axes, features: np.ndarray, title: str) -> None:
    """Features (3, H, W) of values in [0, 1] as RGB, a square for each vector."""
    ax.imshow(np.moveaxis(features, 0, -1))
    ax.set(title=title, xticks=range(features.shape[2]), yticks=range(features.shape[1]))


def _draw_table(ax: Axes, values: np.ndarray, title: str) -> None:
    """A small map (H, W) with every value written into its cell."""
    ax.imshow(values, cmap=MAP_COLOURS, vmin=0, vmax=1)
    for (row, column), value in np.ndenumerate(values):
        text = f"{value:.2f}".rstrip("0").rstrip(".")
        ax.text(
            column, row, text, ha="center", va="center", fontsize="small", color="black" if value > 0.6 else "white"
        )
    ax.set(title=title, xticks=[], yticks=[])
