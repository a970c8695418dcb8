"""Figures of an evaluation: accuracy against speed, objects in order of their scores, scores by attribute.

Numbers in, a matplotlib Figure out. Notebook 09.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import StrMethodFormatter
from matplotlib.transforms import Bbox

from ranet_edu.evaluation.published import PublishedScore
from ranet_edu.show.figures import WIDTH, object_colour

if TYPE_CHECKING:
    from matplotlib.axes import Axes

OFFLINE, ONLINE, OURS = object_colour(5), object_colour(6), object_colour(3)  # blue, vermilion, green
MARKERS = "osD^v"
REAL_TIME = 40.0
"""Milliseconds between two frames of a film of 25 frames a second."""
LINEAR_BELOW = 0.01
"""Where the log axes of attributes turn linear, so that 0 has a place on them."""
MANY = 8
"""More groups than this get no legend: their colours repeat."""


class _Place(NamedTuple):
    """Where a label stands beside its point: offset in points, and which of its own edges lies there."""

    offset: tuple[float, float]
    horizontal: str
    vertical: str


PLACES = [
    _Place((x * reach, y * reach), horizontal, vertical)
    for reach in (7.0, 14.0)
    for x, y, horizontal, vertical in (
        (1, 0, "left", "center"),
        (0, 1, "center", "bottom"),
        (0, -1, "center", "top"),
        (-1, 0, "right", "center"),
        (0.7, 0.7, "left", "bottom"),
        (0.7, -0.7, "left", "top"),
        (-0.7, 0.7, "right", "bottom"),
        (-0.7, -0.7, "right", "top"),
    )
]


def speed_figure(
    published: Sequence[PublishedScore], measured: Mapping[str, tuple[float, float]] | None = None
) -> Figure:
    """J&F against the time for a frame, on a log axis: the paper's figure 6 from its Table 1. Notebook 09.

    published: rows of a table; those without J&F or without a time are left out. measured: {name: (milliseconds, J&F
    in percent)}, drawn as stars. Labels cover neither each other nor a point. Raises ValueError where nothing is left.
    """
    rows = [row for row in published if row.milliseconds is not None and row.jf_mean is not None]
    kinds = {
        "with online learning": ([row for row in rows if row.online_learning], "s", ONLINE),
        "without": ([row for row in rows if not row.online_learning], "o", OFFLINE),
    }
    points = {row.method: (row.milliseconds, row.jf_mean) for row in rows} | dict(measured or {})
    if not points:
        raise ValueError("no row has both a time and J&F; give rows of Table 1")
    figure = Figure((WIDTH, 5.0), dpi=96, layout="compressed")
    ax = figure.subplots()
    for name, (members, marker, colour) in kinds.items():
        ax.plot(*_columns((m.milliseconds, m.jf_mean) for m in members), marker, color=colour, label=name)
    if measured:
        ax.plot(*_columns(measured.values()), "*", color=OURS, markersize=12, label="measured here")
    ax.axvline(REAL_TIME, color="0.5", linestyle=":", linewidth=1.2, zorder=0, label="25 frames a second")
    ax.set(xscale="log", xlabel="milliseconds per frame (log scale)", ylabel="J&F mean (%)")
    ax.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    ax.margins(0.12, 0.1)
    ax.grid(alpha=0.3)
    ax.legend(loc="lower right")
    _label_points(ax, points)
    return figure


def score_order_figure(scores: Mapping[str, Mapping[str, float]], measure: str) -> Figure:
    """One line for each object, from the best to the worst of the first method, a mark for each method. Notebook 09.

    scores: {method: {object: score in [0, 1]}}, all methods with the same objects. Raises ValueError where they differ.
    """
    first, *_ = scores.values()
    order = sorted(first, key=first.__getitem__)  # drawn from the bottom up
    figure = Figure((WIDTH, 1.1 + 0.28 * len(order)), dpi=96, layout="compressed")
    ax = figure.subplots()
    for number, (method, values) in enumerate(scores.items()):
        if values.keys() != first.keys():
            raise ValueError(f"method {method!r} has the objects {sorted(values)}, not {sorted(first)}")
        style = {"color": object_colour((5, 1, 3)[number % 3]), "markersize": 9 - number}
        line = [values[name] for name in order]
        ax.plot(line, range(len(order)), MARKERS[number % len(MARKERS)], label=method, **style)
    ax.set(xlabel=measure, xlim=(-0.03, 1.03), ylim=(-0.6, len(order) - 0.4))
    ax.set_yticks(range(len(order)), order)
    ax.grid(alpha=0.3)
    figure.legend(loc="outside right upper", frameon=False)
    return figure


def attribute_figure(
    attributes: Mapping[str, Sequence[float]], scores: Sequence[float], groups: Sequence[str], measure: str
) -> Figure:
    """Scores of single frames against attributes of the true masks; black: the mean of each third. Notebook 09.

    Axes are logarithmic from 0.01 on, for attributes that are 0 or more.

    attributes: {axis label: one value per frame}; NaN, where a frame has no such value, is not drawn and not counted.
    scores, groups: each frame's score in [0, 1], and the object it is of, which gives the dot its colour.
    Raises ValueError where the lengths differ.
    """
    scores, names = np.asarray(scores, float), list(dict.fromkeys(groups))
    figure = Figure((WIDTH, 3.6), dpi=96, layout="compressed")
    panels = figure.subplots(1, len(attributes), sharey=True, squeeze=False)[0]
    for ax, (label, values) in zip(panels, attributes.items(), strict=True):
        if not len(values) == len(scores) == len(groups):
            raise ValueError(f"{label!r} has {len(values)} values for {len(scores)} scores of {len(groups)} groups")
        values = np.asarray(values, float)
        for number, name in enumerate(names, start=1):
            chosen = np.asarray(groups) == name
            ax.scatter(values[chosen], scores[chosen], s=18, color=object_colour(number), alpha=0.8, label=name)
        _draw_thirds(ax, values, scores)
        ax.set(xlabel=label, ylim=(-0.05, 1.08))
        ax.set_xscale("symlog", linthresh=LINEAR_BELOW, linscale=0.3)
        ax.set_xlim(-LINEAR_BELOW / 5, 1.2 * max(np.nanmax(values, initial=0), LINEAR_BELOW))
        ax.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        ax.grid(alpha=0.3)
    panels[0].set_ylabel(measure)
    if len(names) <= MANY:
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right upper", frameon=False)
    return figure


def thirds(values: np.ndarray, scores: np.ndarray) -> list[tuple[float, float, float]]:
    """(smallest value, largest value, mean score) of the frames in each third of `values`, without NaNs."""
    counted = np.flatnonzero(~np.isnan(values))
    parts = np.array_split(counted[np.argsort(values[counted], kind="stable")], 3)
    return [(values[p].min(), values[p].max(), float(scores[p].mean())) for p in parts if len(p)]


def _draw_thirds(ax: Axes, values: np.ndarray, scores: np.ndarray) -> None:
    for low, high, mean in thirds(values, scores):
        ax.hlines(mean, low, high, color="white", linewidth=5, zorder=3)
        ax.hlines(mean, low, high, color="black", linewidth=2.5, zorder=3)


def _columns(points: object) -> np.ndarray:
    """Pairs (x, y) as two arrays."""
    return np.array(list(points), float).reshape(-1, 2).T


def _label_points(ax: Axes, points: Mapping[str, tuple[float, float]]) -> None:
    """Write each name beside its point, where it covers no point and no other name."""
    ax.figure.draw_without_rendering()  # so that axes and legend have their places
    ax.figure.set_layout_engine("none")
    marks = ax.transData.transform(np.array(list(points.values())))
    taken = [Bbox.from_extents(x - 6, y - 6, x + 6, y + 6) for x, y in marks]
    taken.append(ax.get_legend().get_window_extent())
    for name, point in sorted(points.items(), key=lambda item: item[1]):
        taken.append(_label_point(ax, name, point, taken))


def _label_point(ax: Axes, name: str, point: tuple[float, float], taken: Sequence[Bbox]) -> Bbox:
    """The box of the label in its first free place, or in the one that covers least."""
    halo = [withStroke(linewidth=3, foreground="white")]
    text = ax.annotate(name, point, PLACES[0].offset, textcoords="offset points", fontsize="small", path_effects=halo)

    def cost(place: _Place) -> float:
        text.set(position=place.offset, ha=place.horizontal, va=place.vertical)
        box = text.get_window_extent()
        outside = box.width * box.height - _shared(box, ax.bbox)
        return sum(_shared(box, other) for other in taken) + outside

    best = min(PLACES, key=cost)  # the first of equals
    text.set(position=best.offset, ha=best.horizontal, va=best.vertical)
    return text.get_window_extent()


def _shared(one: Bbox, other: Bbox) -> float:
    """Area of the overlap of two boxes, in square pixels."""
    both = Bbox.intersection(one, other)
    return both.width * both.height if both else 0.0
