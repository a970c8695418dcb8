"""Figures of speed: a frame's time under each variant, its parts, and the machine's roofline.

As in `show.figures`: numbers in, a matplotlib Figure out. `ranet-edu benchmark` and notebook 13.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from ranet_edu.show.figures import WIDTH, object_colour

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

FIRST = "0.45"
"""Dark grey, for what the others are compared with."""
LUMINANCE = (0.2126, 0.7152, 0.0722)
"""How bright red, green and blue look (Rec. 709)."""
SMALL_SHARE = 0.06
"""Parts of a bar below it are not labelled."""


def times_figure(times: Mapping[str, Mapping[str, float]]) -> Figure:
    """Milliseconds of a frame, a group of bars for each case, on a log axis; beside a bar its ratio to the first.

    times: {case: {variant: milliseconds}}; the first variant is what the others are compared with. A case may lack a
    variant. Raises ValueError where there is nothing to draw.
    """
    variants = list(dict.fromkeys(name for mine in times.values() for name in mine))
    if not variants:
        raise ValueError("no times to draw: give {case: {variant: milliseconds}}")
    figure = Figure((WIDTH, 1.3 + 0.21 * len(times) * (len(variants) + 1)), dpi=96, layout="compressed")
    ax = figure.subplots()
    for number, name in enumerate(variants):
        places = [y + (number + 0.5) / (len(variants) + 1) for y, mine in enumerate(times.values()) if name in mine]
        values = [mine[name] for mine in times.values() if name in mine]
        ax.barh(places, values, 0.95 / (len(variants) + 1), color=_colour(number), label=name)
        firsts = [mine[variants[0]] for mine in times.values() if name in mine]
        for place, value, first in zip(places, values, firsts, strict=True):
            text = f" {value:.0f}" + (f" ms, {first / value:.1f} x" if number else " ms")
            ax.text(value, place, text, va="center", fontsize="small")
    every = [value for mine in times.values() for value in mine.values()]
    limits = (min(every) / 3, max(every) * 2)
    ax.set(xscale="log", xlabel="milliseconds a frame (log scale)", ylim=(len(times), -0.1), xlim=limits)
    ax.set_yticks([y + len(variants) / 2 / (len(variants) + 1) for y in range(len(times))], list(times))
    _label_log_axis(ax.xaxis)
    ax.grid(alpha=0.3, axis="x")
    figure.legend(loc="outside lower center", ncols=min(len(variants), 6), frameon=False)
    return figure


def parts_figure(times: Mapping[str, Mapping[str, float]]) -> Figure:
    """Where a frame's milliseconds go: a bar for each way to compute it, made of its parts.

    times: {name: {part: milliseconds}}, all with the same parts. Raises ValueError where they differ.
    """
    parts = list(next(iter(times.values())))
    for name, mine in times.items():
        if list(mine) != parts:
            raise ValueError(f"{name!r} has the parts {list(mine)}, not {parts}")
    figure = Figure((WIDTH, 1.2 + 0.45 * len(times)), dpi=96, layout="compressed")
    ax = figure.subplots()
    longest = max(sum(mine.values()) for mine in times.values())
    left = np.zeros(len(times))
    for number, part in enumerate(parts, start=1):
        values = np.array([mine[part] for mine in times.values()])
        ax.barh(range(len(times)), values, 0.7, left=left, color=object_colour(number), label=part, edgecolor="white")
        ink = "white" if np.dot(object_colour(number), LUMINANCE) < 0.45 else "black"
        for y, (value, start) in enumerate(zip(values, left, strict=True)):
            if value > SMALL_SHARE * longest:
                ax.text(start + value / 2, y, f"{value:.0f}", ha="center", va="center", fontsize="small", color=ink)
        left += values
    for y, total in enumerate(left):
        ax.text(total, y, f" {total:.0f} ms", va="center")
    ax.set(xlabel="milliseconds a frame", xlim=(0, 1.12 * longest), ylim=(len(times) - 0.5, -0.5))
    ax.set_yticks(range(len(times)), list(times))
    figure.legend(loc="outside lower center", ncols=len(parts), frameon=False)
    return figure


def roofline_figure(
    ceilings: Mapping[str, float], bandwidth: float, points: Mapping[str, Mapping[str, tuple[float, float]]]
) -> Figure:
    """Rates that parts reach against how much they compute for each byte, under the roof of the machine.

    ceilings: {name: GFLOP/s}, horizontal lines. bandwidth: GB/s, the slope on the left. points: {name: {part:
    (FLOP per byte, GFLOP/s)}}, a marker for each name, a colour for each part. Both axes are logarithmic.
    """
    figure = Figure((WIDTH, 4.6), dpi=96, layout="compressed")
    ax = figure.subplots()
    every = np.array([place for mine in points.values() for place in mine.values()])
    ridge = max(ceilings.values()) / bandwidth
    low, high = 0.5 * min(every[:, 0].min(), ridge / 4), 3 * max(every[:, 0].max(), ridge)
    intensity = np.geomspace(low, high, 200)
    _draw_roof(ax, ceilings, bandwidth, intensity)
    parts = list(dict.fromkeys(part for mine in points.values() for part in mine))
    for marker, (name, mine) in zip("oDs^v", points.items(), strict=False):
        for part, place in mine.items():
            colour = object_colour(1 + parts.index(part))
            ax.plot(*place, marker, color=colour, markersize=9, markeredgecolor="black", label=f"{name}: {part}")
    ax.set(xscale="log", yscale="log", xlim=(low, high), ylim=(0.4 * every[:, 1].min(), 2 * max(ceilings.values())))
    ax.set(xlabel="arithmetic intensity: FLOP for each byte moved (log scale)", ylabel="GFLOP/s (log scale)")
    for axis in (ax.xaxis, ax.yaxis):
        _label_log_axis(axis)
    ax.grid(alpha=0.3)
    figure.legend(loc="outside right upper", frameon=False, fontsize="small")
    return figure


def _draw_roof(ax: Axes, ceilings: Mapping[str, float], bandwidth: float, intensity: np.ndarray) -> None:
    roof = max(ceilings.values())
    ax.plot(intensity, np.minimum(intensity * bandwidth, roof), color="black", linewidth=2)
    for name, rate in ceilings.items():
        ax.plot([rate / bandwidth, intensity[-1]], [rate, rate], color="black", linewidth=1, linestyle="--")
        shift, side = ((-4, 3), "bottom") if rate == roof else ((-4, -3), "top")
        text = {"textcoords": "offset points", "ha": "right", "va": side}
        ax.annotate(f"{name}, {rate:.0f} GFLOP/s", (intensity[-1], rate), shift, **text)
    x = 1.3 * intensity[0]
    slope = {"rotation": np.degrees(np.arctan(bandwidth)), "transform_rotates_text": True, "rotation_mode": "anchor"}
    ax.text(x, 1.12 * x * bandwidth, f"copying, {bandwidth:.0f} GB/s", **slope)


def _label_log_axis(axis: Axis) -> None:
    """Plain numbers at 1, 2 and 5 of each decade."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(StrMethodFormatter("{x:,g}"))
    axis.set_minor_formatter(NullFormatter())


def _colour(number: int) -> str | tuple[float, ...]:
    return FIRST if number == 0 else object_colour(number)
