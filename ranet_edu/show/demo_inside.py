"""What the demo shows of a run, and of the network's inside: arrays in, a matplotlib Figure out. Used in notebook 14.

The figures are narrow, so that they can be read on a phone too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from ranet_edu.model.ranet import RANet, Trace
from ranet_edu.show.demo_session import MAX_OBJECTS, Clip, Record
from ranet_edu.show.figures import Pixel, add_colour_bar, draw_map, draw_template, map_limits, object_colour
from ranet_edu.show.ranking_figures import point_out

NARROW = 7.0
"""Inches: a page's column; on a phone it is shown at half that."""


@dataclass(frozen=True)
class Inside:
    """One forward pass of a run, looked at for one object.

    label: the object's; position: which of the N it is. frame, template_frame: what the network saw of the frame and of
    the template, uint8 (*canvas, 3), cropped around the objects. previous: (*canvas) probabilities of the frame before.
    trace: of the pass; blind: of the same with an empty previous mask. grid: (H0, W0) of the template.
    """

    label: int
    position: int
    frame: np.ndarray
    template_frame: np.ndarray
    previous: np.ndarray
    trace: Trace
    blind: Trace
    grid: tuple[int, int]


@torch.inference_mode()
def look_inside(clip: Clip, index: int, label: int) -> Inside:
    """Repeat the pass that segmented frame `index`, and keep what it computed on the way.

    Raises ValueError for a frame that the network did not segment, a label that it does not hold, and a model without
    similarity maps.
    """
    clip.check_done(index)
    model = clip.segmenter.model
    if not isinstance(model, RANet) or model.ranking is None or model.config.ranking != "attention":
        raise ValueError(f"Only a RANet that ranks its maps can be looked into; this is a {type(model).__name__}.")
    if index in clip.given:
        raise ValueError(f"The mask of frame {index} was given, not predicted: choose a later frame.")
    given = max(number for number in clip.given if number < index)
    state = clip.segmenter.begin(clip.frame(given), clip.labels(given))
    labels = state.labels.tolist()
    if label not in labels:
        raise ValueError(f"Object {label} was not painted; the mask of frame {given} holds {labels}.")
    probabilities = torch.from_numpy(clip.probabilities(index - 1)).to(state.probabilities)
    inputs = clip.segmenter.network_inputs(replace(state, probabilities=probabilities), clip.frame(index))
    first = clip.segmenter.network_inputs(state, clip.frame(given))
    trace = model.trace(*inputs)
    blind = model.trace(*inputs[:3], torch.zeros_like(inputs.previous_masks))
    position = labels.index(label)
    previous = inputs.previous_masks[0, position].float().cpu().numpy()
    frames = (_picture(model, image) for image in (inputs.frames[0], first.frames[0]))
    return Inside(label, position, *frames, previous, trace, blind, tuple(model.config.template_grid))


def _picture(model: RANet, image: Tensor) -> np.ndarray:
    """A normalised frame (3, H, W) as uint8 (H, W, 3) again."""
    pixels = image.float() * model.image_std + model.image_mean
    return (pixels.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()


def pixel_figure(template_frame: np.ndarray, frame: np.ndarray, maps: np.ndarray, pixel: Pixel) -> Figure:
    """A pixel (row, column) of the template's grid, and where the frame looks like it. maps: (H0, W0, h, w)."""
    figure, axes = _panels(frame, rows=1, columns=2)
    draw_template(axes[0], template_frame, maps.shape[:2], [pixel])
    axes[0].set(title=f"template, pixel {pixel}", xlabel="", ylabel="")
    image = draw_map(axes[1], frame, maps[pixel], map_limits(maps[pixel]))
    axes[1].set_title("its similarity map")
    add_colour_bar(figure, image, axes[1:])
    return figure


def ranked_figure(inside: Inside, count: int = 5) -> Figure:
    """The best `count` similarity maps of the object, with their scores, and the template pixels they belong to.

    Drawn without their pixel's share of the object, which the decoder's first instance norm undoes.
    """
    ranked = inside.trace.ranked
    order = ranked.foreground_order[0, inside.position, :count].cpu()
    scores = ranked.foreground_scores[0, inside.position].cpu()[order]
    order = order[: max(1, int((scores > 0).sum()))] % (inside.grid[0] * inside.grid[1])  # no zero maps
    maps = inside.trace.maps[0, order].float().cpu().numpy()
    pixels = [divmod(int(pixel), inside.grid[1]) for pixel in order]
    figure, axes = _panels(inside.frame, rows=-(-(count + 1) // 2), columns=2)
    draw_template(axes[0], inside.template_frame, inside.grid, [])
    point_out(axes[0], dict(enumerate(pixels, start=1)))
    axes[0].set(title="template: the maps' pixels", xlabel="", ylabel="")
    limits = map_limits(maps)
    for number, (ax, similarity) in enumerate(zip(axes[1:], maps, strict=False), start=1):
        image = draw_map(ax, inside.frame, similarity, limits)
        ax.set_title(f"map {number}: score {scores[number - 1]:.2f}")
    for ax in axes[len(maps) + 1 :]:
        ax.set_visible(False)
    add_colour_bar(figure, image, axes[1:])
    return figure


def merged_figure(inside: Inside) -> Figure:
    """Foreground and background after the merge module: the mean over its channels, on one scale."""
    streams = inside.trace.merged[0, inside.position].float().mean(1).cpu().numpy()  # (2, h, w)
    figure, axes = _panels(inside.frame, rows=1, columns=2)
    for ax, name, stream in zip(axes, ("foreground", "background"), streams, strict=True):
        image = draw_map(ax, inside.frame, stream, (float(streams.min()), float(streams.max())))
        ax.set_title(f"{name}, merged")
    figure.colorbar(image, ax=axes, label="mean of the channels", aspect=15, pad=0.01)
    return figure


def previous_mask_figure(inside: Inside) -> Figure:
    """Left, the mask of the frame before and what is found with it; right, an empty one and what is found without."""
    found = [trace.probabilities[0, inside.position].float().cpu().numpy() for trace in (inside.trace, inside.blind)]
    shown = {
        "previous mask": inside.previous,
        "previous mask left out": np.zeros_like(inside.previous),
        "found with it": found[0],
        "found without it": found[1],
    }
    figure, axes = _panels(inside.frame, rows=2, columns=2)
    for ax, (title, probability) in zip(axes, shown.items(), strict=True):
        image = draw_map(ax, inside.frame, probability, (0, 1))
        ax.set_title(title)
    figure.colorbar(image, ax=axes, label="probability of the object", aspect=20, pad=0.01)
    return figure


def run_figure(records: Sequence[Record], given: Sequence[int] = ()) -> Figure:
    """Area and confidence of each object over the frames; J and F below where the true masks are known.

    given: frames whose mask came from a person, marked by a dotted line.
    """
    measures = [("area", "area,\n% of the frame", 100), ("confidence", "confidence", 1)]
    if any(record.region for record in records):
        measures += [("region", "J", 1), ("boundary", "F", 1)]
    figure = Figure((NARROW, 1.0 + 1.3 * len(measures)), dpi=96, layout="compressed")
    axes = figure.subplots(len(measures), 1, sharex=True)
    for ax, (measure, name, scale) in zip(axes, measures, strict=True):
        _draw_curves(ax, [getattr(record, measure) for record in records], scale)
        highest = 1.1 * ax.dataLim.y1 or 1
        ax.set(ylabel=name, ylim=(0, highest) if measure == "area" else (-0.03, 1.03))
        for index in given:
            ax.axvline(index, color="0.4", linestyle=":")
    axes[-1].set(xlabel="frame (dotted: its mask was given)")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=MAX_OBJECTS, frameon=False)
    return figure


def _draw_curves(ax: Axes, values: Sequence[dict[int, float]], scale: float) -> None:
    for label in sorted({label for value in values for label in value}):
        curve = [scale * value.get(label, np.nan) for value in values]
        ax.plot(curve, color=object_colour(label), linewidth=2, label=f"object {label}", marker="." * (len(curve) == 1))
    ax.grid(alpha=0.3)


def _panels(frame: np.ndarray, rows: int, columns: int) -> tuple[Figure, np.ndarray]:
    """A figure of panels that each hold a frame; ticks are left out."""
    panel = (NARROW - 1) / columns
    height = rows * (panel * frame.shape[0] / frame.shape[1] + 0.3) + 0.2
    figure = Figure((NARROW, height), dpi=96, layout="compressed")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for ax in axes:
        ax.tick_params(left=False, bottom=False, labelleft=False, labelbottom=False)
    return figure, axes
