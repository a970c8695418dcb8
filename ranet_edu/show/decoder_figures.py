"""Figures about merging and decoding: what happens to the ranked maps, what it costs, and the crop (notebook 06).

As in `show.figures`: arrays in, a matplotlib Figure out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from ranet_edu.show.figures import MAP_COLOURS, WIDTH, draw_map, object_colour, shrink

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Shape = tuple[int, ...]

PLACES = {
    "foreground": (0, 3),
    "background": (0, 2),
    "previous mask": (0, 1),
    "merge": (1, 2.5),
    "level 1": (2, 2),
    "level 2": (3, 2),
    "level 3": (4, 2),
    "predict": (5, 2),
    "skip 1": (2, 0),
    "skip 2": (3, 0),
    "skip 3": (4, 0),
}
"""Where `decoder_diagram` draws each part: column, row counted from below."""
WORDS = {
    "foreground": "foreground\nmaps",
    "background": "background\nmaps",
    "previous mask": "previous\nmask",
    "merge": "merge\n(shared)",
    "level 1": "level 1\n1/8 → 1/4",
    "level 2": "level 2\n1/4 → 1/2",
    "level 3": "level 3\n1/2 → 1",
    "predict": "3×3 conv",
    "skip 1": "skip: 1/8,\n1/16, 1/32",
    "skip 2": "skip: 1/4,\n1/8, 1/16",
    "skip 3": "skip: 1/2,\n1/4, 1/8",
}
ARROWS = (
    ("foreground", "merge"),
    ("background", "merge"),
    ("previous mask", "level 1"),
    ("merge", "level 1"),
    ("level 1", "level 2"),
    ("level 2", "level 3"),
    ("level 3", "predict"),
    ("skip 1", "level 1"),
    ("skip 2", "level 2"),
    ("skip 3", "level 3"),
)


def decoder_diagram(shapes: Mapping[str, Shape]) -> Figure:
    """Merge module and pyramid as boxes, with what flows along each arrow, (C, H, W). Notebook 06.

    shapes: of each part's output, under the names in `PLACES`; "predict" is the logits. Raises KeyError for a part
    whose shape is missing.
    """
    figure = Figure((WIDTH, 4.6), dpi=96, layout="compressed")
    ax = figure.subplots()
    for name, (x, y) in PLACES.items():
        _draw_box(ax, x, y, WORDS[name], object_colour(2 if name.startswith("skip") else 1))
    for start, end in ARROWS:
        _draw_arrow(ax, PLACES[start], PLACES[end], shapes[start])
    x, y = PLACES["predict"]
    _draw_arrow(ax, (x, y), (x, y - 1), shapes["predict"])
    ax.text(x, y - 1, "logits", ha="center", va="center")
    ax.set(xlim=(-0.45, 5.5), ylim=(-0.4, 3.4))
    ax.set_axis_off()
    return figure


def footprint_figure(footprints: Mapping[str, np.ndarray]) -> Figure:
    """Which places a convolution sees: one small map (H, W) for each name, dark where it doesn't look. Notebook 06."""
    figure = Figure((WIDTH, 2.9), dpi=96, layout="compressed")
    for ax, (name, seen) in zip(figure.subplots(1, len(footprints)), footprints.items(), strict=True):
        ax.imshow(seen != 0, cmap=MAP_COLOURS, vmin=0, vmax=1)
        edges = np.arange(max(seen.shape) + 1) - 0.5
        ax.set_xticks(edges, minor=True)
        ax.set_yticks(edges, minor=True)
        ax.grid(which="minor", color="white", linewidth=0.3)
        ax.tick_params(which="both", length=0, labelbottom=False, labelleft=False)
        ax.set(title=name, xlim=(-0.5, seen.shape[1] - 0.5), ylim=(seen.shape[0] - 0.5, -0.5))
    return figure


def features_figure(frame: np.ndarray, rows: Mapping[str, Mapping[str, np.ndarray]], label: str) -> Figure:
    """Rows of maps (h, w) over a frame on one colour scale, from least to largest value. Notebook 06.

    rows: maps under their titles of one or two lines, under the rows' names. label: of the colour bar.
    """
    values = np.concatenate([picture.ravel() for row in rows.values() for picture in row.values()])
    columns = max(map(len, rows.values()))
    panel = (WIDTH - 1.2) / columns * frame.shape[0] / frame.shape[1]
    figure = Figure((WIDTH, len(rows) * (panel + 0.4)), dpi=96, layout="compressed")
    axes = figure.subplots(len(rows), columns, squeeze=False)
    for line, (name, row) in zip(axes, rows.items(), strict=True):
        line[0].set_ylabel(name)
        for ax, (title, picture) in zip(line, row.items(), strict=False):
            image = draw_map(ax, frame, picture, (float(values.min()), float(values.max())))
            ax.set_title(title, fontsize="small")
        for ax in line[len(row) :]:
            ax.set_axis_off()
    for ax in axes.flat:
        ax.set(xticks=[], yticks=[])
    figure.colorbar(image, ax=axes, label=label, aspect=15, pad=0.01)
    return figure


def levels_figure(pictures: Mapping[str, np.ndarray]) -> Figure:
    """Maps (h, w) of growing size, each in its own pixels and on its own colour scale. Notebook 06."""
    figure = Figure((WIDTH, 2), dpi=96, layout="compressed")
    for ax, (name, picture) in zip(figure.subplots(1, len(pictures)), pictures.items(), strict=True):
        ax.imshow(picture, cmap=MAP_COLOURS, interpolation="nearest")
        ax.set(xticks=[], yticks=[])
        ax.set_title(f"{name}\n{picture.shape[0]} × {picture.shape[1]}", fontsize="small")
    return figure


def cost_figure(costs: Mapping[str, Mapping[str, float]]) -> Figure:
    """How a whole divides into parts: a stacked bar for each name, in percent. Notebook 06.

    costs: the cost of each part under the bars' names; all bars have the same parts.
    """
    figure = Figure((WIDTH, 0.5 * len(costs) + 1), dpi=96, layout="compressed")
    ax = figure.subplots()
    start = np.zeros(len(costs))
    for number, part in enumerate(next(iter(costs.values())), start=1):
        shares = np.array([100 * parts[part] / sum(parts.values()) for parts in costs.values()])
        bars = ax.barh(list(costs), shares, left=start, color=object_colour(number), label=part)
        ax.bar_label(bars, [f"{share:.0f}" if share >= 4 else "" for share in shares], label_type="center")
        start += shares
    ax.set(xlabel="percent", xlim=(0, 100))
    ax.invert_yaxis()
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=5, frameon=False)
    return figure


def propagation_figure(
    frame: np.ndarray, previous: Mapping[str, np.ndarray], probabilities: Mapping[str, np.ndarray]
) -> Figure:
    """Above, previous masks that a network was told; below, what it then found; from 0 to 1. Notebook 06.

    previous, probabilities: (h, w) over the frame, under the same names.
    """
    figure = Figure((WIDTH, 3), dpi=96, layout="compressed")
    axes = figure.subplots(2, len(previous))
    for line, label, pictures in zip(axes, ("told", "found"), (previous, probabilities), strict=True):
        line[0].set_ylabel(label)
        for ax, picture in zip(line, pictures.values(), strict=True):
            image = draw_map(ax, frame, picture, (0, 1))
            ax.set(xticks=[], yticks=[])
    for ax, name in zip(axes[0], previous, strict=True):
        ax.set_title(name, fontsize="small")
    figure.colorbar(image, ax=axes, label="probability", aspect=15, pad=0.01)
    return figure


def crop_figure(
    frame: np.ndarray,
    box: Sequence[float],
    crop: np.ndarray,
    found: np.ndarray,
    pasted: np.ndarray,
) -> Figure:
    """The way of one frame: a box in it, its crop, what is found in the crop, and that put back. Notebook 06.

    frame: (H, W, 3). box: (top, left, height, width) in its pixels. crop: (h, w, 3). found: (h, w), pasted: (H, W),
    probabilities.
    """
    figure = Figure((WIDTH, 1.9), dpi=96, layout="compressed")
    axes = figure.subplots(1, 4)
    _draw_with_box(axes[0], frame, box)
    axes[1].imshow(crop)
    draw_map(axes[2], crop, found, (0, 1))
    image = draw_map(axes[3], frame, pasted, (0, 1))
    for ax, title in zip(axes, ("box", "cut", "found", "pasted"), strict=True):
        ax.set(xticks=[], yticks=[])
        ax.set_title(title, fontsize="medium")
    figure.colorbar(image, ax=axes, label="probability", aspect=12, pad=0.01)
    return figure


def line_figure(lines: Mapping[str, Sequence[float]], numbers: Sequence[int], measure: str) -> Figure:
    """A score in [0, 1] over the frames of a clip, one line for each way of computing it. Notebook 06."""
    figure = Figure((WIDTH, 2.6), dpi=96, layout="compressed")
    ax = figure.subplots()
    for number, ((name, values), style) in enumerate(zip(lines.items(), ("-", "--", "-.", ":"), strict=False), start=1):
        ax.plot(numbers, values, style, color=object_colour(number), linewidth=2, label=name)
    ax.set(xlabel="frame", ylabel=measure, ylim=(-0.03, 1.03))
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.grid(alpha=0.3)
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    return figure


def _draw_box(ax: Axes, x: float, y: float, words: str, colour: tuple[float, ...]) -> None:
    style = {"boxstyle": "round,pad=0.4", "facecolor": (*colour[:3], 0.3), "edgecolor": colour, "linewidth": 1.5}
    ax.text(x, y, words, ha="center", va="center", fontsize="small", bbox=style, zorder=3)


def _draw_arrow(ax: Axes, start: tuple[float, float], end: tuple[float, float], shape: Shape) -> None:
    """From one box to the next, sideways where the other is in another column, with the shape beside it."""
    sideways = end[0] != start[0]
    edge = np.array((0.26, 0) if sideways else (0, np.sign(end[1] - start[1]) * 0.25))
    arrow = {"arrowstyle": "-|>", "color": "0.3", "linewidth": 1.5, "shrinkA": 0, "shrinkB": 0}
    ax.annotate("", np.array(end) - edge, np.array(start) + edge, arrowprops=arrow)
    offset = (0 if sideways else 0.05, 0.13 if end[1] == start[1] else 0)  # above a level arrow, on a slanting one
    place = (np.array(start) + end) / 2 + offset
    white = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}
    style = {"ha": "center" if sideways else "left", "va": "center", "fontsize": "x-small", "bbox": white, "zorder": 4}
    ax.text(*place, "×".join(map(str, shape)), **style)


def _draw_with_box(ax: Axes, frame: np.ndarray, box: Sequence[float]) -> None:
    height, width = frame.shape[:2]
    ax.imshow(shrink(frame, 480), extent=(0, width, height, 0))
    top, left, box_height, box_width = map(float, box)
    for colour, line in (("black", 4), ("white", 2)):
        ax.add_patch(Rectangle((left, top), box_width, box_height, fill=False, edgecolor=colour, linewidth=line))
    ax.set(xlim=(min(0, left), max(width, left + box_width)), ylim=(max(height, top + box_height), min(0, top)))
