"""Figures of features: vectors and their angles, five scales as colours, channels, receptive fields. Notebook 02.

Arrays in, a matplotlib Figure out. Features are (C, h, w), one vector of C numbers per location.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Rectangle

from ranet_edu.show.figures import MAP_COLOURS, WIDTH, cell_extent, draw_map, object_colour, shrink

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Vector = tuple[float, float]


def cosine_figure(vectors: Mapping[str, Vector], reference: str) -> Figure:
    """Vectors in the plane as they are, and divided by their lengths: what a dot product and a cosine see. Notebook 02.

    vectors: (x, y), not zero, under their names. reference: the name of the one that the others are compared with.
    """
    figure = Figure((WIDTH, 4.2), dpi=96, layout="compressed")
    plain, unit = figure.subplots(1, 2)
    units = {name: np.divide(vector, np.hypot(*vector)) for name, vector in vectors.items()}
    _draw_arrows(plain, vectors, reference, "dot product with {}: {:.2f}")
    _draw_arrows(unit, units, reference, "cosine to {}: {:.2f}")
    unit.add_patch(Circle((0, 0), 1, fill=False, color="0.6", linestyle=":"))
    plain.set(title="as they are")
    unit.set(title="divided by their lengths")
    return figure


def pca_colours(*features: np.ndarray) -> list[np.ndarray]:
    """Features (C, h, w) as RGB (h, w, 3) in [0, 1]: their first three principal components. Notebook 02.

    The components, and the range of values that the colours span, are those of the first features given; all others
    are seen with the same eyes, so that equal vectors get equal colours. Raises ValueError for different numbers of
    channels.
    """
    channels = len(features[0])
    if any(len(other) != channels for other in features):
        raise ValueError(f"features have {[len(other) for other in features]} channels; one basis needs equal numbers")
    points = features[0].reshape(channels, -1).T  # (h*w, C)
    mean = points.mean(0)
    axes = np.linalg.svd(points - mean, full_matrices=False)[2][:3]  # (3, C), strongest first
    axes = axes * np.where(axes.sum(1, keepdims=True) < 0, -1, 1)  # the sign of an axis is arbitrary
    low, high = np.percentile((points - mean) @ axes.T, (2, 98), axis=0)
    return [_project(other, mean, axes, low, high) for other in features]


def picture_row(pictures: Mapping[str, np.ndarray]) -> Figure:
    """Pictures (h, w, 3) under their titles, side by side at one size, their pixels as squares. Notebook 02."""
    (height, width), count = next(iter(pictures.values())).shape[:2], len(pictures)
    figure = Figure((WIDTH, WIDTH / count * height / width + 0.35), dpi=96, layout="compressed")
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0, hspace=0)
    for ax, (title, picture) in zip(figure.subplots(1, count, squeeze=False)[0], pictures.items(), strict=True):
        ax.imshow(shrink(picture, 480), interpolation="nearest", **cell_extent((height, width), (height, width)))
        ax.set_title(title, fontsize="medium")
        ax.set(xticks=[], yticks=[])
    return figure


def channel_figure(levels: Mapping[str, np.ndarray], count: int = 8) -> Figure:
    """A row per level: the `count` channels that vary most over the frame, one colour scale per row. Notebook 02.

    levels: features (C, h, w) under their names; C at least `count`.
    """
    height, width = next(iter(levels.values())).shape[1:]
    figure = Figure((WIDTH, len(levels) * WIDTH / count * height / width + 0.2), dpi=96, layout="compressed")
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0, hspace=0)
    for row, (name, features) in zip(figure.subplots(len(levels), count, squeeze=False), levels.items(), strict=True):
        chosen = np.sort(np.argsort(-features.std((1, 2)))[:count])
        low, high = np.percentile(features[chosen], (1, 99))
        for ax, channel in zip(row, chosen, strict=True):
            ax.imshow(features[channel], cmap=MAP_COLOURS, vmin=low, vmax=high, interpolation="nearest")
            ax.set_xlabel(f"channel {channel}", fontsize="x-small", labelpad=1)
            ax.set(xticks=[], yticks=[])
        row[0].set_ylabel(name)
    return figure


def receptive_figure(frame: np.ndarray, gradients: Mapping[str, np.ndarray]) -> Figure:
    """How much each pixel moves one feature vector, and a box around all that move it at all. Notebook 02.

    frame: uint8 RGB (h, w, 3). gradients: absolute gradients (H, W) at the network's input under their titles, drawn as
    square roots of their share of the largest, so that faint ones are seen.
    """
    figure = Figure((WIDTH, 2 * WIDTH / 3 * frame.shape[0] / frame.shape[1] + 0.8), dpi=96, layout="compressed")
    axes = figure.subplots(-(-len(gradients) // 3), min(len(gradients), 3), squeeze=False).ravel()
    for ax, (title, gradient) in zip(axes, gradients.items(), strict=False):
        image = draw_map(ax, frame, np.sqrt(gradient / gradient.max()), (0, 1))
        rows, columns = np.nonzero(gradient)
        corner, size = (columns.min() - 0.5, rows.min() - 0.5), (np.ptp(columns) + 1, np.ptp(rows) + 1)
        for colour, line in (("black", 3), ("white", 1.5)):
            ax.add_patch(Rectangle(corner, *size, fill=False, edgecolor=colour, linewidth=line))
        ax.set(title=f"{title}: {size[0]} x {size[1]} pixels", xticks=[], yticks=[])
    for ax in axes[len(gradients) :]:
        ax.set_axis_off()
    figure.colorbar(image, ax=axes, label="gradient / largest\n(square root)", aspect=30, pad=0.01)
    return figure


def map_figure(frame: np.ndarray, maps: Mapping[str, np.ndarray], label: str) -> Figure:
    """Maps (h, w) laid over one frame, under their titles and on one colour scale from lowest to highest. Notebook 02.

    frame: uint8 RGB (H, W, 3). label: what the values are, beside the colour bar.
    """
    limits = min(values.min() for values in maps.values()), max(values.max() for values in maps.values())
    panel = (WIDTH - 1) / max(len(maps), 2)
    figure = Figure((WIDTH, panel * frame.shape[0] / frame.shape[1] + 0.5), dpi=96, layout="compressed")
    axes = figure.subplots(1, len(maps), squeeze=False)[0]
    for ax, (title, values) in zip(axes, maps.items(), strict=True):
        image = draw_map(ax, frame, values, limits)
        ax.set(title=title, xticks=[], yticks=[])
    figure.colorbar(image, ax=axes, label=label, aspect=20, pad=0.01)
    return figure


def _draw_arrows(ax: Axes, vectors: Mapping[str, Sequence[float]], reference: str, product: str) -> None:
    """Arrows from the origin; in the legend each one's product with the reference."""
    for number, (name, vector) in enumerate(vectors.items(), start=1):
        value = float(np.dot(vector, vectors[reference]))
        style = {"color": object_colour(number), "angles": "xy", "scale_units": "xy", "scale": 1, "width": 0.012}
        ax.quiver(0, 0, *vector, label=f"{name}   {product.format(reference, value)}", **style)
    x, y = zip(*vectors.values(), strict=True)
    margin = 0.12 * max(np.ptp([0, *x]), np.ptp([0, *y]))
    ax.set(xlim=(min(0, *x) - margin, max(0, *x) + margin), ylim=(min(0, *y) - margin, max(0, *y) + margin))
    ax.set_aspect("equal")
    ax.grid(alpha=0.3)
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.1), frameon=False)


def _project(
    features: np.ndarray, mean: np.ndarray, axes: np.ndarray, low: np.ndarray, high: np.ndarray
) -> np.ndarray:
    """Features (C, h, w) -> (h, w, 3): coordinates on three axes, `low` to `high` as 0 to 1."""
    coordinates = (features.reshape(len(features), -1).T - mean) @ axes.T
    scaled = (coordinates - low) / np.maximum(high - low, 1e-12)
    return np.clip(scaled, 0, 1).reshape(*features.shape[1:], 3)
