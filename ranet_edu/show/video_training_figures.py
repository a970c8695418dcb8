"""Figures about training on video: which frames a triplet takes, how stale a mask grows, samples with a rollout.

As in `show.figures`: arrays in, a matplotlib Figure out. Notebook 08.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ranet_edu.datasets.samples import Sample, sheet_row
from ranet_edu.datasets.triplets import Triplet
from ranet_edu.evaluation.metrics import region_similarity
from ranet_edu.show.figures import WIDTH, object_colour

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ROLES = {"template": ("s", 1), "previous mask": ("D", 3), "frames to segment": ("o", 2)}  # marker, colour
DASHES = ("-", "--", ":")


def timeline_figure(triplets: Sequence[Triplet]) -> Figure:
    """Where in their video the frames of some triplets lie: a line for each, a mark for each frame. Notebook 08."""
    figure = Figure((WIDTH, 0.34 * len(triplets) + 1.3), dpi=96, layout="compressed")
    ax = figure.subplots()
    for row, triplet in enumerate(triplets):
        ax.hlines(row, 0, len(triplet.video) - 1, color="0.85", zorder=1)
        places = [[triplet.template], [triplet.previous], triplet.frames]
        for (marker, colour), frames in zip(ROLES.values(), places, strict=True):
            style = {"color": object_colour(colour), "edgecolor": "black", "linewidth": 0.6, "zorder": 2}
            ax.scatter(frames, [row] * len(frames), s=55, marker=marker, **style)
    names = [f"sample {row}: {triplet.video.name}" for row, triplet in enumerate(triplets)]
    ax.set_yticks(range(len(triplets)), names)
    ax.set(xlabel="frame")
    ax.invert_yaxis()
    handles = [_mark(name, *style) for name, style in ROLES.items()]
    figure.legend(handles=handles, loc="outside upper center", ncols=3, frameon=False)
    return figure


def triplet_figure(samples: Mapping[str, Sample]) -> Figure:
    """Samples of T frames, a row for each under its name: template, previous mask, then every true mask. Notebook 08.

    The previous mask is laid over the first frame, as the network gets it; void and letterbox are dark. Raises
    ValueError where the samples differ in T.
    """
    lengths = {len(sample.frames) for sample in samples.values()}
    if len(lengths) != 1:
        raise ValueError(f"samples of {sorted(lengths)} frames; give samples of one rollout")
    titles = ["template, its mask", "frame 1, previous mask"]
    titles += [f"frame {time}, true mask" for time in range(1, lengths.pop() + 1)]
    rows = [sheet_row(sample) for sample in samples.values()]
    height, width = rows[0].shape[:2]
    figure = Figure((WIDTH, len(rows) * (WIDTH - 0.3) * height / width + 0.4), dpi=96, layout="compressed")
    axes = figure.subplots(len(rows), 1, squeeze=False)[:, 0]
    for ax, name, row in zip(axes, samples, rows, strict=True):
        ax.imshow(row)
        ax.set(xticks=[], yticks=[], ylabel=name)
        for border in range(1, len(titles)):
            ax.axvline(border * width / len(titles) - 0.5, color="white", linewidth=2)
    axes[0].xaxis.tick_top()
    axes[0].tick_params(length=0)
    axes[0].set_xticks([width * (place + 0.5) / len(titles) for place in range(len(titles))], titles)
    return figure


def interval_figure(intervals: Sequence[int], expected: Sequence[float]) -> Figure:
    """How often each interval 1, 2, ... was drawn, and the probability that it has. Notebook 08.

    intervals: those that were drawn. expected: the probability of 1, of 2, ...
    """
    figure = Figure((0.6 * WIDTH, 2.7), dpi=96, layout="compressed")
    ax = figure.subplots()
    places = np.arange(1, len(expected) + 1)
    shares = [np.mean(np.asarray(intervals) == place) for place in places]
    ax.bar(places, shares, color=object_colour(2), label=f"drawn, {len(intervals)} samples")
    ax.plot(places, expected, "_", markersize=40, markeredgewidth=2.5, color="black", label="probability")
    ax.set(xlabel="interval: frames between previous mask and current frame", ylabel="share", xticks=places)
    ax.legend(frameon=False, markerscale=0.4)
    return figure


def staleness(labels: Sequence[np.ndarray], interval: int) -> np.ndarray:
    """J between each mask and the one `interval` frames earlier: label maps (H, W) -> (T - interval,). Notebook 08."""
    masks = [mask > 0 for mask in labels]
    return np.array([region_similarity(old, new) for old, new in zip(masks, masks[interval:], strict=False)])


def staleness_figure(clips: Mapping[str, Sequence[np.ndarray]], intervals: Sequence[int]) -> Figure:
    """J of masks that are so many frames old: each clip's mean over time, and its quarter of worst frames. Notebook 08.

    clips: all label maps (H, W) of a clip, under its name.
    """
    figure = Figure((0.8 * WIDTH, 3), dpi=96, layout="compressed")
    ax = figure.subplots()
    for number, (name, labels) in enumerate(clips.items(), start=1):
        scores = [staleness(labels, interval) for interval in intervals]
        colour = object_colour(number)
        ax.plot(intervals, [score.mean() for score in scores], "o-", color=colour, label=name)
        worst = [np.sort(score)[: max(1, len(score) // 4)].mean() for score in scores]
        ax.plot(intervals, worst, "o:", color=colour, markerfacecolor="white")
    ax.plot([], [], "o:", color="0.4", markerfacecolor="white", label="mean of the worst quarter")
    ax.set(xlabel="age of the mask in frames", ylabel="J to the present mask", ylim=(0, 1.03), xticks=intervals)
    ax.grid(alpha=0.3)
    figure.legend(loc="outside right upper", frameon=False)
    return figure


def curves_figure(panels: Mapping[str, Mapping[str, Sequence[float]]], ylabel: str, limit: float = 1.03) -> Figure:
    """Lines over the frames, a panel for each group of them, on one scale. Notebook 08.

    panels: the curves under their names, under the titles of their panels. limit: where the scale ends; it begins at 0.
    """
    figure = Figure((WIDTH, 3), dpi=96, layout="compressed")
    axes = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
    for ax, (title, curves) in zip(axes, panels.items(), strict=True):
        for number, (name, values) in enumerate(curves.items(), start=1):
            ax.plot(values, DASHES[(number - 1) % 3], color=object_colour(number), linewidth=2, label=name)
        _label(ax, title, limit)
    axes[0].set_ylabel(ylabel)
    return figure


def _label(ax: Axes, title: str, limit: float) -> None:
    ax.set(title=title, xlabel="frame", ylim=(-0.03 * limit, limit))
    ax.grid(alpha=0.3)
    ax.legend(fontsize="small")


def _mark(name: str, marker: str, colour: int) -> Line2D:
    style = {"linestyle": "none", "markersize": 8, "markeredgecolor": "black", "color": object_colour(colour)}
    return Line2D([], [], marker=marker, label=name, **style)
