"""Figures about several objects: what each has of its own, what it costs, who wins a pixel, who is taken for whom.

As in `show.figures`: arrays in, a matplotlib Figure out. Notebook 10.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from ranet_edu.show.figures import MAP_COLOURS, WIDTH, add_colour_bar, cell_extent, object_colour
from ranet_edu.show.similarity_figures import draw_cells, draw_outline

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BACKGROUND = (0.75, 0.75, 0.75)
"""Light grey, for what belongs to no object."""
GREYS = ("0.35", "0.7")


def streams_figure(
    frame: np.ndarray, masks: np.ndarray, streams: np.ndarray, probabilities: np.ndarray, names: Sequence[str]
) -> Figure:
    """A row for each object: what its foreground maps and its background maps show, and what is decoded of them.

    frame: (H, W, 3). masks: the N true masks (N, H, W), drawn as outlines. streams: (N, 2, h, w), one map for each
    stream, foreground first, all on one scale. probabilities: (N, h', w') in [0, 1].
    """
    count = len(names)
    panel = (WIDTH - 2.6) / 3 * frame.shape[0] / frame.shape[1]
    figure = Figure((WIDTH, count * (panel + 0.1) + 0.7), dpi=96, layout="compressed")
    axes = figure.subplots(count, 3, squeeze=False)
    limits = (float(np.quantile(streams, 0.1)), float(streams.max()))
    for row, mask, pair, probability, name in zip(axes, masks, streams, probabilities, names, strict=True):
        for ax, values, scale in zip(row, (*pair, probability), (limits, limits, (0, 1)), strict=True):
            place = cell_extent(values.shape, frame.shape)
            ax.imshow(values, cmap=MAP_COLOURS, vmin=scale[0], vmax=scale[1], **place)
            draw_outline(ax, mask, values.shape)
            ax.set(xticks=[], yticks=[])
        row[0].set_ylabel(name)
    for ax, title in zip(axes[0], ("foreground stream", "background stream", "probability"), strict=True):
        ax.set_title(title)
    add_colour_bar(figure, axes[0, 0].images[0], axes[:, :2])
    figure.colorbar(axes[0, 2].images[0], ax=axes[:, 2], label="probability", aspect=15, pad=0.01)
    return figure


def cost_figure(shared: Sequence[float], own: Sequence[float]) -> Figure:
    """Seconds of a frame for 1, 2, ... objects, the shared part below; a line for as many passes of one object each.

    shared, own: seconds of what is computed once for a frame, and of what is computed for its objects; the first of
    each belongs to one object. Over each bar stands its ratio to one object.
    """
    counts, total = np.arange(1, len(shared) + 1), np.add(shared, own)
    figure = Figure((WIDTH * 0.7, 3.4), dpi=96, layout="compressed")
    ax = figure.subplots()
    below = ax.bar(counts, np.multiply(shared, 1000), 0.6, color=GREYS[0], label="once for the frame")
    ax.bar(counts, np.multiply(own, 1000), 0.6, bottom=np.multiply(shared, 1000), color=GREYS[1], label="for objects")
    ax.plot(counts, counts * total[0] * 1000, "o--", color=object_colour(6), label="one object after the other")
    for bar, seconds in zip(below, total, strict=True):
        middle = bar.get_x() + bar.get_width() / 2
        ax.annotate(
            f"{seconds / total[0]:.1f} x", (middle, seconds * 1000), (0, -13), textcoords="offset points", ha="center"
        )
    ax.set(xlabel="objects", ylabel="milliseconds a frame", xticks=counts)
    ax.legend(loc="upper left", frameon=False)
    return figure


def combination_figure(panels: Mapping[str, np.ndarray], pixels: Sequence[str], limit: str = "") -> Figure:
    """Probabilities of background and objects at a few pixels, a panel for each way of combining them.

    panels: {title: (1 + N, P)}, the background's row first, NaN where a way has none. pixels: the P pixels' names.
    limit: the panel that gets a line at 0.5, if any.
    """
    figure = Figure((WIDTH, 1.75 * len(panels) + 0.5), dpi=96, layout="compressed")
    for ax, (title, values) in zip(
        figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0], panels.items(), strict=True
    ):
        _draw_bars(ax, values)
        if title == limit:
            ax.axhline(0.5, color="0.4", linewidth=1, linestyle=":")
        ax.set(ylabel="probability", ylim=(0, 1.12), xticks=range(len(pixels)), xticklabels=pixels)
        ax.set_title(title, loc="left", fontsize="medium")
    _add_owner_legend(figure, [f"object {number}" for number in range(1, len(values))])
    return figure


def owners_figure(
    frame: np.ndarray, rows: Mapping[str, np.ndarray], objects: Sequence[int], names: Sequence[str]
) -> Figure:
    """Who stands in an object's background stream: kept template cells in their owner's colour.

    frame: the template frame. rows: {title: (P, 1 + N, H0, W0)}, for each of P objects the weights with which its
    background stream keeps a cell for each owner, the image's background first; 0 where it isn't kept. objects: the
    labels of these P. names: of all N objects.
    """
    panel = (WIDTH - 0.4) / len(objects) * frame.shape[0] / frame.shape[1]
    figure = Figure((WIDTH, len(rows) * (panel + 0.15) + 0.6), dpi=96, layout="compressed")
    axes = figure.subplots(len(rows), len(objects), squeeze=False)
    colours = np.array([BACKGROUND, *(object_colour(number) for number in range(1, len(names) + 1))])
    for row, (title, weights) in zip(axes, rows.items(), strict=True):
        for ax, owners in zip(row, weights, strict=True):
            cells = np.dstack([colours[owners.argmax(0)], owners.max(0) * 0.9])
            draw_cells(ax, frame, cells)
            ax.set(xticks=[], yticks=[])
        row[0].set_ylabel(title)
    for ax, label in zip(axes[0], objects, strict=True):
        ax.set_title(f"background stream of the {names[label - 1]}", fontsize="medium")
    _add_owner_legend(figure, names)
    return figure


def confusion(predicted: Sequence[np.ndarray], true: Sequence[np.ndarray], count: int) -> np.ndarray:
    """Who is taken for whom: of the pixels of true label i, the share that was given label j; (1 + N, 1 + N).

    predicted, true: label maps (H, W) of a clip. A label without pixels has a row of NaN. Labels above `count` are
    left out.
    """
    size = count + 1
    table = np.zeros((size, size))
    for mine, truth in zip(predicted, true, strict=True):
        known = (mine < size) & (truth < size)
        pairs = truth[known].astype(int) * size + mine[known]
        table += np.bincount(pairs, minlength=size**2).reshape(size, size)
    totals = table.sum(1, keepdims=True)
    return np.divide(table, totals, out=np.full_like(table, np.nan), where=totals > 0)


def confusion_figure(tables: Mapping[str, np.ndarray], names: Mapping[str, Sequence[str]]) -> Figure:
    """Tables of `confusion` side by side, rows the true label, columns the predicted one.

    tables: under the clips' names; names: their objects', the background is added.
    """
    figure = Figure((WIDTH, 3.7), dpi=96, layout="compressed")
    for ax, (clip, table) in zip(figure.subplots(1, len(tables), squeeze=False)[0], tables.items(), strict=True):
        ax.imshow(table, cmap=MAP_COLOURS, vmin=0, vmax=1)
        for (row, column), value in np.ndenumerate(table):
            colour = "black" if value > 0.6 else "white"
            ax.text(column, row, f"{value:.1%}", ha="center", va="center", color=colour)
        labels = ["background", *names[clip]]
        ax.set(title=clip, xlabel="predicted", ylabel="true", xticks=range(len(labels)), yticks=range(len(labels)))
        ax.set_xticklabels(labels)
        ax.set_yticklabels(labels)
    return figure


# --- parts


def _draw_bars(ax: Axes, values: np.ndarray) -> None:
    """Groups of bars, background in grey, with the number on each; the highest of a group is set in bold."""
    width = 0.8 / len(values)
    for row, line in enumerate(values):
        colour = BACKGROUND if row == 0 else object_colour(row)
        places = np.arange(len(line)) + (row - (len(values) - 1) / 2) * width
        shown = np.isfinite(line)
        ax.bar(places[shown], line[shown], width * 0.95, color=colour)
        for place, value, best in zip(places[shown], line[shown], np.nanmax(values, 0)[shown], strict=True):
            weight = "bold" if value == best else "normal"
            ax.text(place, value + 0.02, f"{value:.2f}", ha="center", va="bottom", fontsize="small", weight=weight)


def _add_owner_legend(figure: Figure, names: Sequence[str]) -> None:
    """Background and objects, each beside its colour, under the figure."""
    patches = [Patch(color=BACKGROUND, label="background")]
    patches += [Patch(color=object_colour(label), label=name) for label, name in enumerate(names, start=1)]
    figure.legend(handles=patches, loc="outside lower center", ncols=len(patches), frameon=False)
