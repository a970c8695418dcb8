"""Figures of experiments: ablations beside the paper's (notebook 11), and what online learning gains (notebook 12).

Runs and published rows in, a matplotlib Figure out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from ranet_edu.evaluation.published import PublishedScore
from ranet_edu.show.figures import WIDTH, object_colour
from ranet_edu.training.ablations import VARIANTS, AblationRun
from ranet_edu.training.online_curve import CurvePoint

if TYPE_CHECKING:
    from matplotlib.axes import Axes

OURS, PAPER = object_colour(5), object_colour(6)  # blue, vermilion
RATES = [(object_colour(label), marker) for label, marker in ((5, "o"), (3, "s"), (1, "^"), (7, "v"))]
BASELINE = {"color": "0.4", "linewidth": 1, "linestyle": ":", "zorder": 0}


def ablation_figure(
    runs: Sequence[AblationRun], tables: Mapping[str, Sequence[PublishedScore]], variants: Mapping[str, Sequence[str]]
) -> Figure:
    """What J loses without a part, ours and the paper's, a panel for each table, all on one scale. Notebook 11.

    runs: of `read_ablations`, those of the full network among them. tables: the paper's rows, under the panels' titles.
    variants: those of each panel, by their names in `VARIANTS`. A dot is a run of ours, a bar their mean, the grey band
    the runs of the full network, a diamond the paper's figure; all as differences in points from the full network's
    mean. Raises ValueError where there is no run of the full network or of a variant.
    """
    full = _scores(runs, "full")
    band = full.min() - full.mean(), full.max() - full.mean()
    rows = max(map(len, variants.values()))
    figure = Figure((WIDTH, 1.6 + 0.5 * rows), dpi=96, layout="compressed")
    panels = figure.subplots(1, len(tables), sharex=True, squeeze=False)[0]
    for ax, (title, published) in zip(panels, tables.items(), strict=True):
        names = list(variants[title])
        ax.axvspan(*band, color="0.85", zorder=0, label="full network, its seeds")
        ax.axvline(0, **BASELINE)
        for row, name in enumerate(names):
            _draw_runs(ax, row, _scores(runs, name) - full.mean())
        _draw_published(ax, names, published)
        ax.set(title=title, ylim=(len(names) - 0.4, -0.6), xlabel="difference in J from the full network (points)")
        ax.set_yticks(range(len(names)), [VARIANTS[name].text for name in names])
        ax.grid(alpha=0.3, axis="x")
    panels[0].set_ylabel("without")
    handles, labels = panels[0].get_legend_handles_labels()
    once = dict(zip(labels, handles, strict=True))
    figure.legend(once.values(), once, loc="outside lower center", ncols=len(once), frameon=False)
    return figure


def _scores(runs: Sequence[AblationRun], variant: str) -> np.ndarray:
    """J of a variant's runs in percent, (seeds,)."""
    scores = np.array([100 * run.j for run in runs if run.variant == variant])
    if not len(scores):
        raise ValueError(f"there is no run of the variant {variant!r}")
    return scores


def _draw_runs(ax: Axes, row: int, differences: np.ndarray) -> None:
    ax.plot(differences, np.full(len(differences), row - 0.12), "o", color=OURS, alpha=0.6, label="a run of ours")
    ax.plot([differences.mean()] * 2, [row - 0.32, row + 0.08], color=OURS, linewidth=3, label="mean of our runs")


def _draw_published(ax: Axes, names: Sequence[str], published: Sequence[PublishedScore]) -> None:
    """Differences from the table's first row, which is the full network."""
    by_variant = {row.variant: row.j_mean for row in published if row.method == "RANet"}
    whole = next(iter(by_variant.values()))
    keys = [VARIANTS[name].published for name in names]
    places = [(by_variant[key[1]] - whole, row + 0.2) for row, key in enumerate(keys) if key and key[1] in by_variant]
    ax.plot(*np.array(places).reshape(-1, 2).T, "D", color=PAPER, label="the paper, on DAVIS 2016 val")


def gain_figure(curves: Mapping[str, Sequence[CurvePoint]], published: Sequence[PublishedScore] = ()) -> Figure:
    """What J&F gains against the seconds of learning for each frame: ours, and the paper's Table 6. Notebook 12.

    curves: points of the same clips, under the names of their lines. Each line is the mean over its clips, as a
    difference in points from no learning at all; seconds are CPU seconds of the learning, divided by the frames.
    published: rows of Table 6, the first without learning; drawn in grey. Raises ValueError as `mean_gain` does.
    """
    figure = Figure((WIDTH, 3.8), dpi=96, layout="compressed")
    ax = figure.subplots()
    ax.axhline(0, **BASELINE)
    for (name, points), (colour, marker) in zip(curves.items(), RATES, strict=False):
        ax.plot(*mean_gain(points).T, marker=marker, color=colour, linewidth=2, label=name)
    if published:
        first = published[0]
        lines = [((row.milliseconds - first.milliseconds) / 1000, row.jf_mean - first.jf_mean) for row in published]
        ax.plot(*np.array(lines).T, "D--", color="0.5", label="the paper, Table 6 (its network, GPU and split)")
    ax.set_xscale("symlog", linthresh=0.1, linscale=0.4)
    ax.set_xlim(-0.01, None)
    ax.set_xticks([0, 0.1, 0.3, 1, 3], ["0", "0.1", "0.3", "1", "3"])
    ax.set(xlabel="seconds of learning for each frame of the clip (log scale from 0.1)", ylabel="gain in J&F (points)")
    ax.grid(alpha=0.3)
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    return figure


def mean_gain(points: Sequence[CurvePoint]) -> np.ndarray:
    """(counts, 2): seconds for each frame and gain in points of J&F, means over the clips.

    There is a row for each number of iterations after which all clips were segmented; others are left out. Raises
    ValueError where one of them is not 0, the clip as it was before.
    """
    by_count: dict[int, dict[str, CurvePoint]] = {}
    for point in points:
        by_count.setdefault(point.iterations, {})[point.clip] = point
    clips, before = {point.clip for point in points}, by_count.get(0, {})
    if before.keys() != clips:
        raise ValueError(f"there is no point without learning for the clips {sorted(clips - before.keys())}")
    complete = {count: members for count, members in by_count.items() if members.keys() == clips}
    return np.array(
        [
            (
                np.mean([point.cpu_seconds / point.frames for point in members.values()]),
                np.mean([100 * (point.jf - before[clip].jf) for clip, point in members.items()]),
            )
            for _, members in sorted(complete.items())
        ]
    )


def clip_curves_figure(curves: Mapping[str, Sequence[CurvePoint]], columns: int = 3) -> Figure:
    """J&F of each clip after more and more iterations, a panel for each clip and a line for each name. Notebook 12.

    The dotted line is where the clip starts: what lies below it is harm. All panels span the same number of points.
    """
    clips = list(dict.fromkeys(point.clip for points in curves.values() for point in points))
    rows = -(-len(clips) // columns)
    figure = Figure((WIDTH, 0.6 + 2.1 * rows), dpi=96, layout="compressed")
    panels = figure.subplots(rows, columns, sharex=True, squeeze=False).ravel()
    lines = {clip: {name: _line(points, clip) for name, points in curves.items()} for clip in clips}
    span = max(np.ptp(np.concatenate(list(parts.values()))[:, 1]) for parts in lines.values())
    for ax, (clip, parts) in zip(panels, lines.items(), strict=False):
        for (name, line), (colour, marker) in zip(parts.items(), RATES, strict=False):
            ax.plot(*line.T, marker=marker, color=colour, label=name)
        values = np.concatenate(list(parts.values()))[:, 1]
        middle = min((values.min() + values.max()) / 2, 103 - 0.55 * span)  # nothing lies above 100 %
        ax.axhline(next(iter(parts.values()))[0, 1], **BASELINE)
        ax.set(title=clip, ylim=(middle - 0.55 * span, middle + 0.55 * span))
        ax.grid(alpha=0.3)
    for ax in panels[len(clips) :]:
        ax.set_axis_off()
    figure.supxlabel("iterations of online learning", fontsize="medium")
    figure.supylabel("J&F (%)", fontsize="medium")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=len(curves), frameon=False)
    return figure


def _line(points: Sequence[CurvePoint], clip: str) -> np.ndarray:
    """(points, 2): iterations and J&F in percent of one clip, in order."""
    return np.array(sorted((point.iterations, 100 * point.jf) for point in points if point.clip == clip))
