"""Figures about training: splines with their control points, samples, masks on their way, curves. Notebook 07.

As in `show.figures`: arrays in, a matplotlib Figure out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from ranet_edu.datasets.augment import (
    GRID,
    Placement,
    Pose,
    Window,
    bend,
    control_points,
    sampling_map,
    warp_image,
)
from ranet_edu.datasets.samples import Sample, sheet_row
from ranet_edu.show.figures import MAP_COLOURS, WIDTH, object_colour
from ranet_edu.show.similarity_figures import draw_outline

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TERM_COLOURS = {"loss": "black", "bce": object_colour(2), "iou": object_colour(1)}
LINE_POINTS = 60  # along each line of a lattice


def spline_figure(displacements: Mapping[str, np.ndarray]) -> Figure:
    """The unit square's lattice before (grey) and after it is bent; an arrow for each control point. Notebook 07.

    displacements: (16, 2) under their titles, as `bend` takes them.
    """
    figure = Figure((WIDTH, 4.4), dpi=96, layout="compressed")
    axes = figure.subplots(1, len(displacements), squeeze=False, sharex=True, sharey=True)[0]
    points = control_points()
    for ax, (title, moves) in zip(axes, displacements.items(), strict=True):
        for line in lattice(4 * (GRID - 1)):
            ax.plot(*line.T, color="0.85", linewidth=0.8)
            ax.plot(*bend(line, moves).T, color=object_colour(2), linewidth=1)
        moved = points + moves
        style = {"angles": "xy", "scale_units": "xy", "scale": 1, "width": 0.008, "color": "black", "zorder": 3}
        ax.quiver(*points.T, *moves.T, **style)
        ax.plot(*moved.T, "o", color=object_colour(1), markeredgecolor="black")
        ax.set(title=title, aspect="equal", xlabel="x, in widths of the image")
    axes[0].invert_yaxis()
    axes[0].set_ylabel("y, in heights of the image")
    return figure


def pose_figure(photo: np.ndarray, poses: Mapping[str, Pose]) -> Figure:
    """A photo in several poses, a column for each: where it is read (above), and what that gives (below). Notebook 07.

    photo: uint8 RGB (H, W, 3). In both pictures of a column the lattice and the 16 control points mark the same places.
    """
    height, width = photo.shape[:2]
    panel = WIDTH / len(poses) * height / width
    figure = Figure((WIDTH, 2 * panel + 0.5), dpi=96, layout="compressed")
    above, below = figure.subplots(2, len(poses), squeeze=False)
    middle = ((width - 1) / 2, (height - 1) / 2)
    placement, window = Placement(middle, middle, (width, height)), Window(0, 0, width, height)
    for read, seen, (title, pose) in zip(above, below, poses.items(), strict=True):
        read.imshow(photo)
        seen.imshow(warp_image(photo, sampling_map(window, (height, width), placement, pose)))
        for unit in lattice(GRID - 1):
            _draw_both(read, seen, unit, placement, pose, "-", linewidth=1.2)
        _draw_both(read, seen, control_points(), placement, pose, "o", markersize=5, markeredgecolor="black")
        read.set_title(title)
        for ax in (read, seen):
            ax.set(xticks=[], yticks=[], xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))
    above[0].set_ylabel("photo")
    below[0].set_ylabel("frame")
    return figure


def sample_figure(samples: Mapping[str, Sample]) -> Figure:
    """Training samples of one frame each, a row for each under its name. Notebook 07.

    Template with its mask, current frame with the previous mask, the same with the true mask, void and letterbox dark.
    """
    rows = [sheet_row(sample) for sample in samples.values()]
    height, width = rows[0].shape[:2]
    figure = Figure((WIDTH, len(rows) * (WIDTH - 0.3) * height / width + 0.4), dpi=96, layout="compressed")
    axes = figure.subplots(len(rows), 1, squeeze=False)[:, 0]
    for ax, name, row in zip(axes, samples, rows, strict=True):
        ax.imshow(row)
        ax.set(xticks=[], yticks=[], ylabel=name)
        for border in (1, 2):
            ax.axvline(border * width / 3 - 0.5, color="white", linewidth=2)
    axes[0].xaxis.tick_top()
    axes[0].tick_params(length=0)
    titles = ["template, its mask", "current frame, previous mask", "current frame, true mask"]
    axes[0].set_xticks([width * (2 * place + 1) / 6 for place in range(3)], titles, fontsize="large")
    return figure


def probability_figure(maps: Mapping[str, np.ndarray], true: np.ndarray, columns: int = 4) -> Figure:
    """Maps of probabilities (H, W) under their titles, with the outline of a true mask (H, W). Notebook 07."""
    height, width = true.shape
    lines = -(-len(maps) // columns)
    panel = (WIDTH - 0.8) / columns * height / width
    figure = Figure((WIDTH, lines * (panel + 0.3)), dpi=96, layout="compressed")
    axes = figure.subplots(lines, columns, squeeze=False).ravel()
    for ax, (title, values) in zip(axes, maps.items(), strict=False):
        image = ax.imshow(values, cmap=MAP_COLOURS, vmin=0, vmax=1)
        draw_outline(ax, true, true.shape)
        ax.set(xticks=[], yticks=[], xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))
        ax.set_title(title, fontsize="medium")
    for ax in axes[len(maps) :]:
        ax.set_axis_off()
    figure.colorbar(image, ax=axes, label="probability", aspect=20, pad=0.01)
    return figure


def curve_figure(columns: Mapping[str, Sequence[float]], window: int = 1) -> Figure:
    """The losses of a run over its steps; below them the learning rate, where the log has one. Notebook 07.

    columns: as `training.log.read_log` gives them. window: each thick line is the mean of so many rows, the thin ones
    behind are the rows themselves.
    """
    rate = columns.get("learning_rate")
    figure = Figure((WIDTH, 4.2 if rate else 2.8), dpi=96, layout="compressed")
    ratios = (3, 1) if rate else (1,)
    axes = figure.subplots(len(ratios), 1, squeeze=False, sharex=True, height_ratios=ratios)[:, 0]
    step = np.asarray(columns["step"])
    for name in (name for name in TERM_COLOURS if name in columns):
        if window > 1:
            axes[0].plot(step, columns[name], color=TERM_COLOURS[name], linewidth=0.8, alpha=0.35)
        smooth = running_mean(np.asarray(columns[name]), window)
        axes[0].plot(step[len(step) - len(smooth) :], smooth, color=TERM_COLOURS[name], linewidth=2, label=name)
    axes[0].set(ylabel="loss", yscale="log")
    axes[0].legend()
    if rate:
        axes[1].plot(step, rate, color="black")
        axes[1].set_ylabel("learning rate")
    for ax in axes:
        ax.grid(alpha=0.3)
    axes[-1].set_xlabel("step")
    return figure


# --- parts


def lattice(cells: int) -> list[np.ndarray]:
    """The lines of a lattice of `cells` x `cells` over the unit square, each (LINE_POINTS, 2)."""
    along = np.linspace(0, 1, LINE_POINTS)
    across = [np.full(LINE_POINTS, value) for value in np.linspace(0, 1, cells + 1)]
    return [np.stack(pair, axis=1) for value in across for pair in ((value, along), (along, value))]


def running_mean(values: np.ndarray, window: int) -> np.ndarray:
    """Means of `window` neighbours, shorter than `values` by window - 1; of all of them where there are fewer."""
    window = min(window, len(values))
    return np.convolve(values, np.full(window, 1 / window), mode="valid")


def photo_place(unit: np.ndarray, placement: Placement, pose: Pose) -> np.ndarray:
    """Where points (P, 2) of the spline's unit square are read in the photo: bent, (P, 2) in pixels."""
    return (bend(unit, pose.bend) - 0.5) * placement.extent + placement.photo_point


def scene_place(unit: np.ndarray, placement: Placement, pose: Pose) -> np.ndarray:
    """Where the same points appear in the scene: turned, scaled and shifted, (P, 2) in pixels.

    The inverse of the affine part of `Placement.photo_points`.
    """
    angle = np.radians(pose.rotation)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    offset = (unit - 0.5) * placement.extent * ((-1, 1) if pose.flip else (1, 1))
    shift = np.asarray(pose.shift) * placement.extent * placement.scale
    return offset @ turn * (placement.scale * pose.scale) + shift + placement.scene_point


def _draw_both(
    read: Axes, seen: Axes, unit: np.ndarray, placement: Placement, pose: Pose, style: str, **looks: object
) -> None:
    """The same points of the unit square in the photo and in the frame."""
    for ax, place in ((read, photo_place), (seen, scene_place)):
        ax.plot(*place(unit, placement, pose).T, style, color="white" if style == "-" else object_colour(1), **looks)
