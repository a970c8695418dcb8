"""Figures about ranking attention: which maps there are, how they are scored, and what is handed on (notebook 05).

As in `show.figures`: arrays in, a matplotlib Figure out. A template of H0 x W0 pixels has M = H0*W0 maps (M, h, w); map
j belongs to template pixel (j // W0, j % W0).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from ranet_edu.show.figures import (
    MAP_COLOURS,
    WIDTH,
    Pixel,
    add_colour_bar,
    cell_extent,
    draw_map,
    draw_template,
    map_limits,
    mark_cell,
    object_colour,
    shrink,
)
from ranet_edu.video.crop import cut, object_box

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from torch import Tensor

    from ranet_edu.model.ranet import RANet, Trace

ABSENT = "0.85"
"""Grey of what is not there: a zero map, a channel that a variant has not."""


class Look(NamedTuple):
    """One frame as the video loop shows it to the network, and what the network makes of it. Notebooks 05 and 06.

    template_crop, frame_crop: the pictures, uint8 RGB (h, w, 3) at the canvas' size. frames, template, template_masks,
    previous_masks: the arguments that `trace` was called with, for one object. trace: its result.
    """

    template_crop: np.ndarray
    frame_crop: np.ndarray
    frames: Tensor
    template: Tensor
    template_masks: Tensor
    previous_masks: Tensor
    trace: Trace


def look(
    model: RANet, template_frame: np.ndarray, template_mask: np.ndarray, frame: np.ndarray, previous_mask: np.ndarray
) -> Look:
    """Look inside the network at one frame, both frames cropped around their masks. Notebooks 05 and 06.

    template_frame, frame: uint8 RGB (H, W, 3). template_mask, previous_mask: (H, W), True or 1 on the one object.
    """
    template_crop, first, template_masks = crop_around(model, template_frame, template_mask)
    frame_crop, frames, previous_masks = crop_around(model, frame, previous_mask)
    with torch.no_grad():
        template = model.encode_template(first)
        trace = model.trace(frames, template, template_masks, previous_masks)
    return Look(template_crop, frame_crop, frames, template, template_masks, previous_masks, trace)


def crop_around(model: RANet, frame: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, Tensor, Tensor]:
    """What the video loop shows of a frame (H, W, 3) whose object has the mask (H, W). Notebooks 05 and 06.

    Returns the picture, uint8 (h, w, 3); the same normalised, (1, 3, h, w); and the mask, (1, 1, h, w).
    """
    masks = torch.from_numpy(mask.astype(np.float32))[None]
    box = object_box(masks, model.canvas)
    image = cut(torch.from_numpy(frame).permute(2, 0, 1) / 255, box, model.canvas)
    picture = image.mul(255).round().byte().permute(1, 2, 0).numpy()
    return picture, model.normalize(image)[None], cut(masks, box, model.canvas)[None]


class Channel(NamedTuple):
    """A map that is shown: its number in the stream, a title, the map (h, w) or None for a zero map, its pixel."""

    number: int
    title: str
    map: np.ndarray | None
    pixel: Pixel | None = None


def ranked_channels(
    maps: np.ndarray,
    weights: np.ndarray,
    scores: np.ndarray,
    ranks: Sequence[int],
    grid: tuple[int, int],
    keep: int = 256,
) -> list[Channel]:
    """The maps at some ranks of a stream, with their scores; rank 0 is the best. Notebook 05.

    maps: S, (M, h, w). weights: (M,) of the stream's template pixels, scores: (M,). From rank `keep` on a map is
    discarded. A map of weight 0 belongs to the other stream and is a zero map here. The others are drawn without their
    weight, which dims the maps of edge cells, and which the decoder's first instance norm undoes.
    """
    order = np.argsort(-scores, kind="stable")
    return [_ranked_channel(maps, weights, scores, rank, order[rank], grid, keep) for rank in ranks]


def template_channels(
    maps: np.ndarray, weights: np.ndarray, numbers: Sequence[int], grid: tuple[int, int]
) -> list[Channel]:
    """Table 4's "w/o Ranking": channel j is the map of template pixel j, a zero map where j is not in the stream.

    Drawn without weights, as `ranked_channels` does.
    """
    pixels = [divmod(number, grid[1]) for number in numbers]
    return [
        Channel(number, f"channel {number}", maps[number], pixel)
        if weights[number]
        else Channel(number, f"channel {number}:\nzero map", None, pixel)
        for number, pixel in zip(numbers, pixels, strict=True)
    ]


def maximum_channel(maps: np.ndarray, weights: np.ndarray) -> Channel:
    """Table 4's "Maximum": one channel, at each place the largest value of all the stream's maps."""
    return Channel(0, "largest of all maps", (maps * weights[:, None, None]).max(0))


def channels_figure(
    template_frame: np.ndarray,
    frame: np.ndarray,
    rows: Mapping[str, Sequence[Channel]],
    grid: tuple[int, int],
    limits: tuple[float, float] | None = None,
) -> Figure:
    """Rows of maps over a frame, each row beside the template, where their pixels have the maps' numbers. Notebook 05.

    rows: channels under each row's name; a shorter row leaves its last places empty. limits: cosines at both ends of
    the one colour scale, default `map_limits` of the maps that are shown.
    """
    columns = 1 + max(map(len, rows.values()))
    shown = [channel.map for channels in rows.values() for channel in channels if channel.map is not None]
    limits = limits or map_limits(np.stack(shown))
    panel = (WIDTH - 1.2) / columns * frame.shape[0] / frame.shape[1]
    figure = Figure((WIDTH, len(rows) * (panel + 0.55)), dpi=96, layout="compressed")
    axes = figure.subplots(len(rows), columns, squeeze=False)
    for line, (name, channels) in zip(axes, rows.items(), strict=True):
        draw_template(line[0], template_frame, grid, [])
        point_out(line[0], {channel.number: channel.pixel for channel in channels if channel.pixel})
        line[0].set(title="template", ylabel=name)
        for ax, channel in zip(line[1:], channels, strict=False):
            _draw_channel(ax, frame, channel, limits)
        for ax in line[1 + len(channels) :]:
            ax.set_axis_off()
    for ax in axes.flat:
        ax.set(xticks=[], yticks=[], xlabel="")
        ax.title.set_fontsize("small")
    _add_scale(figure, limits, axes)
    return figure


def count_figure(
    numbers: Sequence[int],
    foreground: Mapping[str, Sequence[int]],
    background: Mapping[str, Sequence[int]],
    keep: int = 256,
) -> Figure:
    """How many maps each stream has, over the frame that is the template; a line where the channels end. Notebook 05.

    numbers: of the frames. foreground, background: one count for each of them, under the clips' names.
    """
    figure = Figure((WIDTH, 3), dpi=96, layout="compressed")
    ax = figure.subplots()
    for number, name in enumerate(foreground, start=1):
        style = {"color": object_colour(number), "linewidth": 2}
        ax.plot(numbers, foreground[name], "o-", label=f"{name}: object", **style)
        ax.plot(numbers, background[name], "o--", label=f"{name}: background", **style)
    ax.axhline(keep, color="black", linewidth=1)
    ax.annotate(f"{keep} channels: discard above, pad below", (numbers[0], keep), (0, 4), textcoords="offset points")
    ax.set(xlabel="frame that is taken as the template", ylabel="maps in the stream", ylim=(0, None))
    ax.grid(alpha=0.3)
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, handlelength=4)
    return figure


def occupancy_figure(before: Mapping[str, np.ndarray], after: Mapping[str, np.ndarray]) -> Figure:
    """Which channels hold a map of the stream: one line per template, in the template's order and ranked. Notebook 05.

    before, after: the weight of each channel, (M,) and (K,), in [0, 1], under the templates' names.
    """
    figure = Figure((WIDTH, 0.4 * len(before) + 1.2), dpi=96, layout="compressed")
    axes = figure.subplots(1, 2, sharey=True, width_ratios=[len(next(iter(side.values()))) for side in (before, after)])
    for ax, side, title in zip(axes, (before, after), ("in the template's order", "ranked"), strict=True):
        lines = np.stack(list(side.values()))
        image = ax.imshow(lines, cmap=MAP_COLOURS, vmin=0, vmax=1, aspect="auto", interpolation="nearest")
        ax.set(title=title, xlabel="channel")
        ax.hlines(np.arange(len(lines) - 1) + 0.5, -0.5, lines.shape[1] - 0.5, color="white", linewidth=2)
    axes[0].set_yticks(range(len(before)), list(before))
    figure.colorbar(image, ax=axes, label="share of the object", pad=0.01, aspect=10)
    return figure


def tables_figure(rows: Mapping[str, Mapping[str, np.ndarray | None]]) -> Figure:
    """Small maps with their numbers written into them; None is drawn as an empty place. Notebook 05.

    rows: maps (h, w) under their titles, under the rows' names. All share one colour scale.
    """
    columns = max(map(len, rows.values()))
    limits = 0, max(float(values.max()) for row in rows.values() for values in row.values() if values is not None)
    figure = Figure((WIDTH, 1.55 * len(rows)), dpi=96, layout="compressed")
    for line, (name, row) in zip(figure.subplots(len(rows), columns, squeeze=False), rows.items(), strict=True):
        for ax, (title, values) in zip(line, row.items(), strict=False):
            _draw_table(ax, title, values, limits)
        line[0].set_ylabel(name)
        for ax in line[len(row) :]:
            ax.set_axis_off()
    return figure


def swapped_figure(
    template_frame: np.ndarray, frame: np.ndarray, maps: np.ndarray, pixel: Pixel, place: Pixel
) -> Figure:
    """The same similarities from both ends: a template pixel over the frame, a place of the frame over the template.

    maps: (H0, W0, h, w). pixel: (row, column) in the template's grid, place: in the maps'. Notebook 05.
    """
    grid, size = maps.shape[:2], maps.shape[2:]
    forward, backward = maps[pixel], maps[:, :, place[0], place[1]]
    limits = map_limits(np.concatenate([forward.flat, backward.flat]))
    figure = Figure((WIDTH, 1.9), dpi=96, layout="compressed")
    axes = figure.subplots(1, 4)
    draw_template(axes[0], template_frame, grid, [pixel])
    axes[0].set_title(f"a template pixel, {pixel} ...")
    draw_map(axes[1], frame, forward, limits)
    axes[1].set_title("... over the frame: S")
    axes[2].imshow(shrink(frame, 480), **cell_extent(size, frame.shape))
    mark_cell(axes[2], *place)
    axes[2].set_title(f"a place in the frame, {place} ...")
    draw_map(axes[3], template_frame, backward, limits)
    axes[3].set_title("... over the template: Ŝ")
    for ax in axes:
        ax.set(xticks=[], yticks=[], xlabel="", ylabel="")
        ax.title.set_fontsize("small")
    _add_scale(figure, limits, axes)
    return figure


def score_figure(template_frame: np.ndarray, scores: Mapping[str, np.ndarray]) -> Figure:
    """Scores laid over the template, one value for each of its pixels, (H0, W0) under each name. Notebook 05."""
    limits = 0, max(float(values.max()) for values in scores.values())
    figure = Figure((WIDTH, 2.3), dpi=96, layout="compressed")
    axes = figure.subplots(1, len(scores) + 1)
    draw_template(axes[0], template_frame, next(iter(scores.values())).shape, [])
    axes[0].set_ylabel("")
    for ax, (name, values) in zip(axes[1:], scores.items(), strict=True):
        image = ax.imshow(values, cmap=MAP_COLOURS, vmin=limits[0], vmax=limits[1], **_extent(values, template_frame))
        ax.set_title(name)
    for ax in axes:
        ax.set(xticks=[], yticks=[], xlabel="")
    figure.colorbar(image, ax=axes, label="score", aspect=15, pad=0.01)
    return figure


def responses_figure(frame: np.ndarray, pairs: Mapping[str, Mapping[str, np.ndarray]]) -> Figure:
    """Answers of a convolution, (h, w), side by side in groups; each group has one colour scale. Notebook 05."""
    figure = Figure((WIDTH, 2), dpi=96, layout="compressed")
    axes = figure.subplots(1, sum(map(len, pairs.values())))
    places = iter(axes)
    for name, pictures in pairs.items():
        values = np.stack(list(pictures.values()))
        group = [next(places) for _ in pictures]
        for ax, (title, picture) in zip(group, pictures.items(), strict=True):
            scale = {"cmap": MAP_COLOURS, "vmin": values.min(), "vmax": values.max()}
            image = ax.imshow(picture, **scale, **_extent(picture, frame))
            ax.set(title=f"{name}: {title}", xticks=[], yticks=[])
            ax.title.set_fontsize("small")
        bar = figure.colorbar(image, ax=group, label="response", location="bottom", aspect=40, pad=0.03)
        bar.ax.xaxis.set_major_locator(MaxNLocator(5))
    return figure


def step_figure(scores: np.ndarray, losses: np.ndarray) -> Figure:
    """A loss as one score grows: flat but for jumps, where the order changes. Notebook 05."""
    figure = Figure((WIDTH / 2, 2.6), dpi=96, layout="compressed")
    ax = figure.subplots()
    ax.plot(scores, losses, color=object_colour(2), linewidth=2)
    ax.set(xlabel="score of the map", ylabel="loss", ylim=(0, None))
    ax.grid(alpha=0.3)
    return figure


def learning_figure(
    scores: Sequence[Sequence[float]], keep: int, names: Sequence[str], losses: Sequence[float]
) -> Figure:
    """Scores of a few maps while they learn, and the loss; a dot is a map that is kept. Notebook 05.

    scores: (steps, M). losses: one for each step. Of equal scores the one is kept that `topk` keeps, as in the ranking.
    """
    figure = Figure((WIDTH, 3), dpi=96, layout="compressed")
    left, right = figure.subplots(1, 2)
    scores = np.asarray(scores, np.float32)
    chosen = torch.from_numpy(scores).topk(keep, dim=1).indices.numpy()  # (steps, keep)
    for number, name in enumerate(names):
        colour = object_colour(number + 1)
        kept = np.flatnonzero((chosen == number).any(1))
        left.plot(scores[:, number], color=colour, linestyle=":", linewidth=1.5)
        left.plot(kept, scores[kept, number], "o", color=colour, markersize=5, label=name)
    left.set(xlabel="step", ylabel="score")
    left.legend(fontsize="small", loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    right.plot(losses, color="black", linewidth=2)
    right.set(xlabel="step", ylabel="loss", ylim=(0, None))
    for ax in (left, right):
        ax.grid(alpha=0.3)
    return figure


def point_out(ax: Axes, pixels: Mapping[int, Pixel]) -> None:
    """Numbers below a template, and a line from each to its pixel (row, column): readable also for neighbours."""
    for place, (number, (row, column)) in enumerate(pixels.items()):
        below = ((place + 0.5) / len(pixels), -0.03)
        line = {"arrowstyle": "-", "color": "white", "shrinkA": 0, "shrinkB": 0}
        style = {"ha": "center", "va": "top", "fontsize": "small", "arrowprops": line}
        ax.annotate(str(number), (column, row), below, textcoords="axes fraction", **style)
        ax.plot(column, row, "o", markersize=4, color="white", markeredgecolor="black")


def _ranked_channel(
    maps: np.ndarray, weights: np.ndarray, scores: np.ndarray, rank: int, number: int, grid: tuple[int, int], keep: int
) -> Channel:
    if not weights[number]:
        return Channel(rank, f"rank {rank}:\nzero map", None)
    shown, pixel = maps[number], divmod(int(number), grid[1])
    largest = weights[number] * shown.max()
    parts = f"{scores[number]:.2f} = {largest:.2f} + {abs(scores[number] - largest):.2f}"
    return Channel(rank, f"rank {rank}{', discarded' if rank >= keep else ''}:\n{parts}", shown, pixel)


def _draw_channel(ax: Axes, frame: np.ndarray, channel: Channel, limits: tuple[float, float]) -> None:
    ax.set_title(channel.title)
    if channel.map is not None:
        draw_map(ax, frame, channel.map, limits)
        return
    ax.set(xlim=(0, 1), ylim=(0, 1), box_aspect=frame.shape[0] / frame.shape[1])
    ax.add_patch(Rectangle((0, 0), 1, 1, facecolor=ABSENT, hatch="//", edgecolor="white"))


def _draw_table(ax: Axes, title: str, values: np.ndarray | None, limits: tuple[float, float]) -> None:
    ax.set(title=title, xticks=[], yticks=[], box_aspect=1)
    ax.title.set_fontsize("medium")
    if values is None:
        ax.add_patch(Rectangle((0, 0), 1, 1, facecolor=ABSENT, hatch="//", edgecolor="white"))
        return
    ax.imshow(values, cmap=MAP_COLOURS, vmin=limits[0], vmax=limits[1])
    for (row, column), value in np.ndenumerate(values):
        light = value > (limits[0] + limits[1]) / 2
        ax.text(column, row, f"{value:.2g}", ha="center", va="center", color="black" if light else "white")


def _add_scale(figure: Figure, limits: tuple[float, float], axes: np.ndarray) -> None:
    """The colour bar of maps that `draw_map` drew, whichever panels they are in."""
    image = next(image for ax in axes.flat for image in ax.images if image.get_clim() == limits)
    add_colour_bar(figure, image, list(axes.flat))


def _extent(values: np.ndarray, frame: np.ndarray) -> dict[str, object]:
    return cell_extent(values.shape, frame.shape)
