"""Figures of the notebooks and of README: arrays in, a matplotlib Figure out. Used from notebook 00 on.

Every comparison has one colour scale: viridis for maps, the colours of Okabe and Ito for objects (`video.masks`). The
figures don't go through pyplot, so that nothing pops up or piles up; in a notebook `%matplotlib inline` shows them.

    python -m ranet_edu.show.figures --out data/figures/overview.jpg     draws README's figure again
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator

from ranet_edu.video.masks import OBJECT_COLOURS, atomic_path, overlay

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage
    from torch import Tensor

    from ranet_edu.datasets.davis import DavisSequence
    from ranet_edu.model.baselines import MatchingBaseline
    from ranet_edu.model.ranet import RANet

MAP_COLOURS = "viridis"
WIDTH = 10.0
"""Inches; at 96 dots per inch a figure is as wide as a notebook's column."""
CHEEK = (200, 575)
"""(y, x) of the cat's cheek in frame 0 of the sample clip `cat-coffee`: the pixel of README's figure."""

Rows = Mapping[str, Sequence[np.ndarray]]
Pixel = tuple[int, int]


def object_colour(label: int) -> tuple[float, ...]:
    """Colour of object `label` = 1, 2, ... as RGB in [0, 1], the one that `overlay` paints it in."""
    return tuple(OBJECT_COLOURS[(label - 1) % len(OBJECT_COLOURS)] / 255)


def film_strip(
    frames: Sequence[np.ndarray],
    masks: Sequence[np.ndarray] | Rows | None = None,
    numbers: Sequence[int] | None = None,
    names: Sequence[str] = (),
) -> Figure:
    """Frames side by side in time, with their masks. Notebook 00.

    frames: uint8 RGB (H, W, 3), the whole clip. masks: label maps (H, W), one for each frame; or several such lists
    under the names that their rows get, such as {"true": ..., "predicted": ...}. numbers: which frames are shown,
    default six from first to last. names: of objects 1, 2, ..., for the legend.
    Raises ValueError where a list of masks has not one mask per frame.
    """
    rows = masks if isinstance(masks, Mapping) else {"": masks}
    _check_lengths(frames, rows)
    numbers = evenly_spaced(len(frames), 6) if numbers is None else numbers
    height, width = frames[0].shape[:2]
    panel = WIDTH / len(numbers)
    figure = Figure((WIDTH, len(rows) * panel * height / width + (0.6 if names else 0.3)), dpi=96, layout="compressed")
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0, hspace=0)
    axes = figure.subplots(len(rows), len(numbers), squeeze=False)
    for row, (name, labels) in zip(axes, rows.items(), strict=True):
        row[0].set_ylabel(name)
        for ax, number in zip(row, numbers, strict=True):
            _draw_frame(ax, frames[number], None if labels is None else labels[number], round(panel * 96))
    for ax, number in zip(axes[0], numbers, strict=True):
        ax.set_title(f"frame {number}", fontsize="medium")
    _add_legend(figure, names)
    return figure


def similarity_figure(
    template_frame: np.ndarray,
    frame: np.ndarray,
    maps: np.ndarray,
    pixels: Sequence[Pixel],
    limits: tuple[float, float] | None = None,
) -> Figure:
    """Template pixels marked in their frame; beside it, where another frame looks like each of them. Notebook 00.

    maps: (H0, W0, h, w), the similarity map of each template pixel over `frame`. pixels: (row, column) in the template
    grid. limits: cosines at both ends of the one colour scale; default: `map_limits` of the maps that are shown.
    Raises ValueError where `maps` has another number of axes, IndexError for a pixel outside of the grid.
    """
    if maps.ndim != 4:
        raise ValueError(f"maps have shape {maps.shape}, but (H0, W0, h, w) is needed: unflatten template pixels first")
    panel = (WIDTH - 1.6) / (len(pixels) + 1)  # labels and colour bar take the rest
    height = panel * frame.shape[0] / frame.shape[1] + 0.9
    figure = Figure((WIDTH, height), dpi=96, layout="compressed")
    first, *others = figure.subplots(1, len(pixels) + 1)
    draw_template(first, template_frame, maps.shape[:2], pixels)
    limits = limits or map_limits(np.stack([maps[pixel] for pixel in pixels]))
    for number, (ax, (row, column)) in enumerate(zip(others, pixels, strict=True), start=1):
        image = draw_map(ax, frame, maps[row, column], limits)
        title = f"similarity to pixel ({row}, {column})" if len(pixels) == 1 else f"{number}: pixel ({row}, {column})"
        ax.set(title=title, xlabel="column of the map", ylabel="row of the map")
    add_colour_bar(figure, image, others)
    return figure


def score_curves(scores: Mapping[str, Sequence[float]], measure: str) -> Figure:
    """A score in [0, 1] of each object over the frames, in the objects' colours. Notebook 00.

    scores: one value per frame for each object, under its name, in the order of the labels. measure: "J" or "F", say.
    """
    figure = Figure((WIDTH, 2.6), dpi=96, layout="compressed")
    ax = figure.subplots()
    for label, (name, values) in enumerate(scores.items(), start=1):
        ax.plot(values, color=object_colour(label), linewidth=2, label=name)
    ax.set(xlabel="frame", ylabel=measure, ylim=(-0.03, 1.03))
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.grid(alpha=0.3)
    ax.legend(loc="lower left")
    return figure


def draw_map(ax: Axes, frame: np.ndarray, similarity: np.ndarray, limits: tuple[float, float]) -> AxesImage:
    """Lay a similarity map (h, w) over a greyed frame; axes count the map's cells. Returns what a colour bar needs."""
    grey = cv2.cvtColor(shrink(frame, 480), cv2.COLOR_RGB2GRAY)
    place = cell_extent(similarity.shape, frame.shape)
    ax.imshow(grey, cmap="gray", vmin=0, vmax=255, **place)
    scale = {"cmap": MAP_COLOURS, "vmin": limits[0], "vmax": limits[1]}
    return ax.imshow(similarity, alpha=0.65, interpolation="bilinear", **scale, **place)


def draw_template(ax: Axes, frame: np.ndarray, grid: tuple[int, int], pixels: Sequence[Pixel]) -> None:
    """The template frame, its axes counting template pixels, with the chosen ones marked and numbered."""
    ax.imshow(shrink(frame, 480), **cell_extent(grid, frame.shape))
    for number, (row, column) in enumerate(pixels, start=1):
        if not (0 <= row < grid[0] and 0 <= column < grid[1]):
            raise IndexError(f"template pixel ({row}, {column}) lies outside of the grid of {grid[0]} x {grid[1]}")
        mark_cell(ax, row, column)
        if len(pixels) > 1:
            style = {"color": "white", "weight": "bold", "path_effects": [withStroke(linewidth=2, foreground="black")]}
            ax.annotate(str(number), (column, row), (6, 4), textcoords="offset points", **style)
    ax.set(title="template", xlabel="template column", ylabel="template row")


def mark_cell(ax: Axes, row: int, column: int) -> None:
    """A white frame with a black rim around one cell: seen on any picture."""
    for colour, line in (("black", 4), ("white", 2)):
        ax.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, edgecolor=colour, linewidth=line))


def add_colour_bar(figure: Figure, image: AxesImage, axes: Sequence[Axes]) -> None:
    """Its arrow says that all below the scale has the darkest colour; behind it is a grey, as behind the maps."""
    bar = figure.colorbar(image, ax=axes, label="cosine similarity", extend="min", aspect=15, pad=0.01)
    bar.ax.set_facecolor("0.4")


def cell_extent(grid: tuple[int, ...], frame: tuple[int, ...]) -> dict[str, object]:
    """`imshow` arguments that let axes count the cells of a grid laid over a frame, at the frame's aspect."""
    (rows, columns), (height, width) = grid[:2], frame[:2]
    return {"extent": (-0.5, columns - 0.5, rows - 0.5, -0.5), "aspect": (height / rows) / (width / columns)}


def shrink(frame: np.ndarray, width: int) -> np.ndarray:
    """The frame at most `width` pixels wide."""
    if frame.shape[1] <= width:
        return frame
    height = max(1, round(frame.shape[0] * width / frame.shape[1]))
    return cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA)


def map_limits(maps: np.ndarray) -> tuple[float, float]:
    """The ends of a colour scale that suits all of `maps`: median, so that only what is unusual shines, and maximum."""
    return float(np.median(maps)), float(np.max(maps))


def pixel_at(point: tuple[int, int], frame: np.ndarray, maps: np.ndarray) -> Pixel:
    """The template pixel (row, column) that covers a point (y, x) of its frame (H, W, 3). maps: (H0, W0, h, w)."""
    return point[0] * maps.shape[0] // frame.shape[0], point[1] * maps.shape[1] // frame.shape[1]


def evenly_spaced(length: int, count: int) -> list[int]:
    """`count` of the numbers 0 ... length - 1, from the first to the last; all of them where there are fewer."""
    return sorted({round(number) for number in np.linspace(0, length - 1, count)})


def canvas_images(model: RANet | MatchingBaseline, frames: Sequence[np.ndarray]) -> Tensor:
    """Whole frames as a model takes them: uint8 (H, W, 3) -> float (T, 3, *canvas), normalised. From notebook 03 on.

    They are on the model's device and in its precision.
    """
    import torch
    from torch.nn.functional import interpolate

    pixels = torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2) / 255
    images = interpolate(pixels, size=model.canvas, mode="bilinear", antialias=True)
    return model.normalize(images.to(model.image_mean))


def canvas_masks(model: RANet | MatchingBaseline, labels: Sequence[np.ndarray], label: int = 1) -> Tensor:
    """One object's masks beside `canvas_images`: label maps (H, W) -> float (T, 1, *canvas) in [0, 1]. Notebook 04."""
    import torch
    from torch.nn.functional import interpolate

    masks = torch.from_numpy(np.stack(labels) == label)[:, None].float()
    return interpolate(masks, size=model.canvas, mode="bilinear", antialias=True).to(model.image_mean)


def frame_similarity(model: RANet | MatchingBaseline, template_frame: np.ndarray, frame: np.ndarray) -> np.ndarray:
    """Similarity maps of every template pixel over another frame, as float32 (H0, W0, h, w). Notebook 00; built in 03.

    Both frames, uint8 (H, W, 3), are seen whole; the video loop crops them around the objects.
    """
    import torch

    from ranet_edu.model.correlation import similarity_maps

    with torch.inference_mode():
        first, later = canvas_images(model, [template_frame, frame]).split(1)  # (1, 3, *canvas)
        template = model.encode_template(first)  # (1, C, H0, W0)
        maps = similarity_maps(template, _matching_features(model, later))[0]  # (H0*W0, h, w)
    return maps.unflatten(0, template.shape[-2:]).float().cpu().numpy()


@rc_context({"font.size": 14, "axes.titlesize": "medium"})  # README shows it at half its size
def overview(
    sequence: DavisSequence,
    predicted: Sequence[np.ndarray],
    maps: Mapping[int, np.ndarray],
    pixel: Pixel,
    names: Sequence[str],
) -> Figure:
    """README's figure: above, a clip with its predicted masks; below, where each frame looks like one template pixel.

    predicted: label maps of the whole clip. maps: {frame number: (H0, W0, h, w)} of the frames to show after the first.
    """
    numbers = [0, *maps]
    limits = map_limits(np.stack([every[pixel] for every in maps.values()]))
    panels = 2 * 14.7 / len(numbers) * sequence.size[0] / sequence.size[1]
    figure = Figure((16, panels + 0.95), dpi=100, layout="compressed")
    above, below = figure.subplots(2, len(numbers))
    for ax, number in zip(above, numbers, strict=True):
        _draw_frame(ax, sequence.read_frame(number), predicted[number], 400)
        ax.set_title(f"frame {number}" if number else "frame 0: the mask is given")
    draw_template(below[0], sequence.read_frame(0), maps[numbers[1]].shape[:2], [pixel])
    for ax, (number, every) in zip(below[1:], maps.items(), strict=True):
        image = draw_map(ax, sequence.read_frame(number), every[pixel], limits)
    for ax in below:
        ax.set(xticks=[], yticks=[], xlabel="", ylabel="", title="similarity to that pixel")
    below[0].set_title("one pixel of frame 0")
    add_colour_bar(figure, image, below)
    _add_legend(figure, names)
    return figure


def main(arguments: Sequence[str] | None = None) -> None:
    """Segment a committed clip and write README's figure."""
    from tqdm import tqdm

    from ranet_edu.datasets.davis import SAMPLES, DavisDataset
    from ranet_edu.video.segmenter import VideoSegmenter
    from ranet_edu.weights import open_model

    parser = argparse.ArgumentParser(prog="python -m ranet_edu.show.figures", description="Draw README's figure.")
    parser.add_argument("--out", type=Path, required=True, help="a .jpg or .png")
    parser.add_argument("--weights", default="default", help="as in ranet-edu segment")
    options = parser.parse_args(arguments)
    model, sequence = open_model(options.weights), DavisDataset(SAMPLES, year="2017")["cat-coffee"]
    frames = tqdm(sequence.frames(), total=len(sequence), desc="segmenting", unit="frame")
    predicted = list(VideoSegmenter(model).segment(frames, sequence.read_annotation(0)))
    first = sequence.read_frame(0)
    maps = {number: frame_similarity(model, first, sequence.read_frame(number)) for number in (14, 30, 46, 54)}
    pixel = pixel_at(CHEEK, first, maps[14])
    figure = overview(sequence, predicted, maps, pixel, ("coffee cup", "cat"))
    with atomic_path(options.out) as temporary:
        figure.savefig(temporary, pil_kwargs={"quality": 88})
    print(f"wrote {options.out}")


def _draw_frame(ax: Axes, frame: np.ndarray, labels: np.ndarray | None, width: int) -> None:
    """A frame shrunk to `width` pixels first, so that the masks' contours stay visible."""
    small = shrink(frame, width)
    if labels is not None:
        small = overlay(small, cv2.resize(labels, small.shape[1::-1], interpolation=cv2.INTER_NEAREST))
    ax.imshow(small)
    ax.set(xticks=[], yticks=[])


def _add_legend(figure: Figure, names: Sequence[str]) -> None:
    """Objects' names under the figure, each beside its colour."""
    if names:
        patches = [Patch(color=object_colour(label), label=name) for label, name in enumerate(names, start=1)]
        figure.legend(handles=patches, loc="outside lower center", ncols=len(patches), frameon=False)


def _check_lengths(frames: Sequence[np.ndarray], rows: Mapping[str, Sequence[np.ndarray] | None]) -> None:
    for name, labels in rows.items():
        if labels is not None and len(labels) != len(frames):
            raise ValueError(f"masks {name!r}: {len(labels)} for {len(frames)} frames; give one mask per frame")


def _matching_features(model: RANet | MatchingBaseline, frames: Tensor) -> Tensor:
    """What templates are compared with: in RANet finer than the template, in a baseline of the same size."""
    from ranet_edu.model import RANet

    return model.encoder(frames).matching if isinstance(model, RANet) else model.encode_template(frames)


if __name__ == "__main__":
    main()
