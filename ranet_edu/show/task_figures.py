"""Figures of the task and its scores: label files, masks compared, outlines matched, a curve and its statistics.

Arrays in, a matplotlib Figure out. Notebook 01.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from matplotlib.patheffects import withStroke
from scipy.ndimage import distance_transform_edt

from ranet_edu.evaluation.metrics import quarter_limits, sequence_statistics
from ranet_edu.show.figures import WIDTH
from ranet_edu.video.masks import OBJECT_COLOURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Window = tuple[slice, slice]

SKY, GREEN, BLUE, RED = OBJECT_COLOURS[[1, 2, 4, 5]] / 255  # of Okabe and Ito; red is their vermilion
PAPER = np.array([0.94, 0.94, 0.94])
FEW_CELLS = 40
"""Up to this many columns single cells are told apart, and get lines between them."""


def indexed_figure(labels: np.ndarray, palette: np.ndarray, window: Window) -> Figure:
    """A label file as a viewer shows it, the numbers that it holds, and the palette between the two. Notebook 01.

    labels: (H, W) uint8. palette: (256, 3) uint8, colour of each label. window: the part whose numbers are written out.
    """
    figure = Figure((WIDTH, 3.1), dpi=96, layout="compressed")
    whole, part, colours = figure.subplots(1, 3, width_ratios=(1.9, 1.6, 0.35))
    rows, columns = window
    whole.imshow(palette[labels])
    corner, size = (columns.start - 0.5, rows.start - 0.5), (columns.stop - columns.start, rows.stop - rows.start)
    whole.add_patch(Rectangle(corner, *size, fill=False, edgecolor="white", linewidth=1.5))
    whole.set(title="what a viewer shows", xticks=[], yticks=[])
    _write_numbers(part, labels[window], palette)
    part.set(title="the numbers in the white frame")
    shown = np.arange(labels.max() + 2)
    _write_numbers(colours, shown[:, None], palette)
    colours.set(title="palette")
    return figure


def comparison_figure(true: np.ndarray, predictions: Mapping[str, np.ndarray]) -> Figure:
    """Masks laid over the true one: what both have, what only one has, and how many pixels that is. Notebook 01.

    true: (H, W), object where not zero. predictions: masks of that size, under the titles that their panels get.
    Raises ValueError for a mask of another size.
    """
    panel = WIDTH / max(len(predictions), 2)
    size = panel * len(predictions), panel * true.shape[0] / true.shape[1] + 0.9
    figure = Figure(size, dpi=96, layout="compressed")
    axes = figure.subplots(1, len(predictions), squeeze=False)[0]
    for ax, (title, mask) in zip(axes, predictions.items(), strict=True):
        if mask.shape != true.shape:
            raise ValueError(f"mask {title!r} is {mask.shape} but true is {true.shape}; give masks of one size")
        _compare(ax, mask > 0, true > 0)
        ax.set(title=title)
    return figure


def outline_figure(edges: Mapping[str, np.ndarray], radius: float, window: Window | None = None) -> Figure:
    """Two outlines matched, once each way: dots have a partner within `radius` pixels, crosses have none. Notebook 01.

    edges: two boundary maps, bool (H, W), under their names. window: the part to draw; all pixels count.
    """
    (first, second), window = edges.items(), window or np.s_[:, :]
    height, width = next(iter(edges.values()))[window].shape
    figure = Figure((WIDTH, WIDTH / 2 * height / width + 0.9), dpi=96, layout="compressed")
    for ax, (name, edge), (other, partner) in zip(figure.subplots(1, 2), (first, second), (second, first), strict=True):
        near = distance_transform_edt(~partner) <= radius if partner.any() else partner
        _match(ax, edge[window], partner[window], near[window])
        found, every = np.count_nonzero(edge & near), np.count_nonzero(edge)
        ax.set(title=f"{found} of {every} {name} boundary pixels\nhave a partner on the {other} outline")
    handles = [_dot("o", GREEN, "has a partner"), _dot("X", RED, "has none")]
    handles += [Patch(color="0.55", label="other outline"), Patch(color="0.85", label=f"within {radius:g} of it")]
    figure.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False)
    return figure


def statistics_figure(values: Sequence[float], measure: str) -> Figure:
    """A score over a whole sequence, and what DAVIS reads from it: mean, recall and decay. Notebook 01.

    values: one score in [0, 1] per frame, first and last included; they are drawn hollow and don't count. At least
    three.
    """
    scored = np.asarray(values, float)[1:-1]
    frames, good = np.arange(1, len(scored) + 1), scored > 0.5
    figure = Figure((WIDTH, 3.4), dpi=96, layout="compressed")
    ax = figure.subplots()
    ax.plot(values, color="0.7", linewidth=1, zorder=1)
    ax.scatter([0, len(scored) + 1], [values[0], values[-1]], facecolor="white", edgecolor="0.5", label="left out")
    ax.scatter(frames[good], scored[good], s=22, color=BLUE, label="above 0.5")
    ax.scatter(frames[~good], scored[~good], s=26, marker="X", color=RED, linewidth=0, label="not above")
    ax.axhline(0.5, color="0.4", linewidth=1, linestyle=":")
    _draw_quarters(ax, scored)
    mean, recall, decay = sequence_statistics(scored)
    title = f"mean {mean:.3f}    recall {recall:.3f} = {good.sum()} of {good.size}    decay {decay:.3f}"
    ax.set(title=title, xlabel="frame", ylabel=measure, ylim=(-0.03, 1.05), xlim=(-1, len(scored) + 2))
    figure.legend(loc="outside right upper", frameon=False)
    return figure


def _write_numbers(ax: Axes, labels: np.ndarray, palette: np.ndarray) -> None:
    """A small label map with the number in each cell, in a colour that can be read on the label's own."""
    ax.imshow(palette[labels])
    for (row, column), label in np.ndenumerate(labels):
        colour = "black" if palette[label] @ (0.299, 0.587, 0.114) > 110 else "white"
        ax.text(column, row, str(label), ha="center", va="center", fontsize="small", color=colour)
    _rule_cells(ax, labels.shape, "0.35")


def _compare(ax: Axes, predicted: np.ndarray, true: np.ndarray) -> None:
    """Colours: both, only predicted, only true; a legend below that counts them."""
    parts = {
        "both": (predicted & true, GREEN),
        "only predicted": (predicted & ~true, RED),
        "only true": (true & ~predicted, SKY),
    }
    picture = np.broadcast_to(PAPER, (*true.shape, 3)).copy()
    for where, colour in parts.values():
        picture[where] = colour
    ax.imshow(picture, interpolation="nearest")
    _rule_cells(ax, true.shape, "white")
    handles = [
        Patch(color=colour, label=f"{name}: {np.count_nonzero(where)}") for name, (where, colour) in parts.items()
    ]
    place = {"loc": "upper center", "bbox_to_anchor": (0.5, 0.0), "ncols": 3, "frameon": False}
    ax.legend(handles=handles, fontsize="small", handlelength=1, columnspacing=1, **place)


def _match(ax: Axes, edge: np.ndarray, partner: np.ndarray, near: np.ndarray) -> None:
    """One outline as dots and crosses over the other one, in grey, and all that lies near it, in a lighter grey."""
    picture = np.where(partner, 0.55, np.where(near, 0.85, 1.0))
    ax.imshow(picture, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    size = 90 if edge.shape[1] <= FEW_CELLS else 12
    for chosen, marker, colour in ((edge & near, "o", GREEN), (edge & ~near, "X", RED)):
        rows, columns = np.nonzero(chosen)
        ax.scatter(columns, rows, s=size, marker=marker, color=colour, linewidth=0)
    _rule_cells(ax, edge.shape, "0.93")


def _rule_cells(ax: Axes, shape: tuple[int, ...], colour: str) -> None:
    """Lines between the cells of a small array; no ticks."""
    ax.set(xticks=[], yticks=[])
    if shape[1] <= FEW_CELLS:
        ax.set_xticks(np.arange(shape[1] + 1) - 0.5, minor=True)
        ax.set_yticks(np.arange(shape[0] + 1) - 0.5, minor=True)
        ax.grid(which="minor", color=colour, linewidth=0.8)
        ax.tick_params(which="both", length=0)


def _dot(marker: str, colour: np.ndarray, label: str) -> Line2D:
    return Line2D([], [], marker=marker, color=colour, linestyle="none", markersize=8, label=label)


def _draw_quarters(ax: Axes, scored: np.ndarray) -> None:
    """The first and the last quarter of the scored frames, which count from 1, with their means: decay is the drop."""
    limits = quarter_limits(len(scored))
    for start, stop, name in ((limits[0], limits[1], "first quarter"), (limits[3], limits[4], "last quarter")):
        mean = float(np.mean(scored[start : stop + 1]))
        ax.axvspan(start + 0.5, stop + 1.5, color="0.92", zorder=0)
        ax.hlines(mean, start + 0.5, stop + 1.5, color="black", linewidth=2)
        place = {"ha": "center", "xytext": (0, 5), "textcoords": "offset points", "fontsize": "small"}
        place["path_effects"] = [withStroke(linewidth=3, foreground="white")]
        ax.annotate(f"{name}: {mean:.3f}", ((start + stop) / 2 + 1, mean), **place)
