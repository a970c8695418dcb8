"""Masks: reading and writing DAVIS-style indexed PNG files, one plane per object, and overlays to look at.

A mask is a label map: uint8 (H, W), 0 = background, 1..N = objects. Explained in notebook 01 (the task and DAVIS);
several objects in notebook 10.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

LOSSLESS_FORMATS = ("PNG", "BMP", "TIFF")
GREY_LABELS = 32  # more levels than this, or larger ones beside 255, are no labels of a greyscale mask
UNREADABLE = (OSError, SyntaxError, Image.DecompressionBombError)
"""What Pillow raises for a file that is no image, is cut short, is damaged, or claims to be enormous."""


def _voc_palette() -> np.ndarray:
    """Colour of every label: the label's bits dealt out to R, G, B, highest colour bit first (Pascal VOC devkit)."""
    labels = np.arange(256)
    palette = np.zeros((256, 3), np.uint8)
    for place in range(8):
        for channel in range(3):
            bit = (labels >> (3 * place + channel)) & 1
            palette[:, channel] |= (bit << (7 - place)).astype(np.uint8)
    return palette


PALETTE = _voc_palette()
"""(256, 3) uint8: the palette of DAVIS and Pascal VOC annotation files."""

OBJECT_COLOURS = np.array(
    [
        (230, 159, 0),  # orange
        (86, 180, 233),  # sky blue
        (0, 158, 115),  # bluish green
        (240, 228, 66),  # yellow
        (0, 114, 178),  # blue
        (213, 94, 0),  # vermilion
        (204, 121, 167),  # reddish purple
    ],
    np.uint8,
)
"""(7, 3) uint8: the colours of Okabe and Ito, told apart with any colour vision. Object n has colour (n - 1) mod 7."""


@contextmanager
def atomic_path(path: str | os.PathLike) -> Iterator[Path]:
    """Yield a temporary name beside `path`; on success it replaces `path`, on an error it is removed.

    Missing parent folders are made. The temporary name keeps the suffix, because encoders choose their format by it.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{secrets.token_hex(4)}{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def read_mask(path: str | os.PathLike, merged: bool = False) -> np.ndarray:
    """Read a mask file as a label map, uint8 (H, W). Used from notebook 00 on; notebook 01 opens such a file by hand.

    | file | labels |
    | --- | --- |
    | palette (DAVIS 2017, VOC) | the indices as they are; 255, the void label of VOC, stays 255 |
    | palette that begins with white, nothing but black and white in use | 0 for black, 1 for white |
    | 1 bit | 0 and 1 |
    | greyscale holding nothing but 0 and 255 (DAVIS 2016) | 0 and 1 |
    | other 8-bit greyscale, see `check_grey_labels` | the grey values as they are |
    | RGB holding nothing but black and white (what a paint program saves) | 0 and 1 |

    An alpha channel that is opaque everywhere is dropped. Everything else is refused: colours, transparency and soft
    edges do not say which label they mean, JPEG and WebP blur the labels at every edge.

    merged: whether all labels will be one object, as in DAVIS 2016: then soft edges do no harm and are let pass.
    Raises FileNotFoundError, or ValueError naming the file and what to do.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no mask file at {path}")
    try:
        with Image.open(path) as image:
            kind, mode, values, palette = image.format, image.mode, np.array(image), image.getpalette()
    except (*UNREADABLE, ValueError) as error:
        raise ValueError(f"{path} can't be read as an image ({error}); save the mask as PNG again") from error
    if kind not in LOSSLESS_FORMATS:
        raise ValueError(f"{path} is {kind}, which doesn't keep labels exactly; save the mask as PNG")
    return _labels_of(values, mode, palette, path, merged)


def _labels_of(values: np.ndarray, mode: str, palette: list[int] | None, path: Path, merged: bool) -> np.ndarray:
    """Labels of a decoded image of Pillow's `mode`, after the table of read_mask."""
    if mode == "P":
        return _white_for_object(values, palette)
    if mode == "1":
        return values.astype(np.uint8)
    if mode in ("LA", "RGBA"):
        values = _drop_opaque_alpha(values, path)
    if mode in ("RGB", "RGBA"):
        values = _black_and_white(values, path)
    if values.ndim != 2 or values.dtype != np.uint8:
        raise ValueError(f"{path} is an image of mode {mode}; save the mask as 8-bit greyscale or indexed PNG")
    if np.all((values == 0) | (values == 255)):
        return values // 255
    if not merged:
        check_grey_labels(values, path)
    return values


def check_grey_labels(values: np.ndarray, path: str | os.PathLike) -> None:
    """Raise ValueError where a greyscale mask, uint8 (H, W), holds the shades of soft edges instead of labels.

    Label maps count from 1 on, with void (255) beside at most. Values between GREY_LABELS and 255 are therefore shades
    where 255 is among them, and where they are many.
    """
    levels = np.flatnonzero(np.bincount(values.ravel(), minlength=256))
    has_shades = np.any((levels > GREY_LABELS) & (levels < 255))
    if has_shades and (levels[-1] == 255 or len(levels) > GREY_LABELS):
        raise ValueError(
            f"{path} has {len(levels)} grey levels, as a soft or smoothed mask has; make it pure black and white "
            "(threshold at 128), or save labels 1, 2, ... as indexed PNG"
        )


def _white_for_object(indices: np.ndarray, palette: list[int]) -> np.ndarray:
    """Indices (H, W) as they are, or, after a palette that begins with white and where no colour but black and white is
    in use, 1 for white and 0 for black.

    A program that makes a palette of the colours it finds may put either first.
    """
    colours = np.reshape(palette, (-1, 3))
    if indices.max() >= len(colours) or np.any(colours[0] != 255):
        return indices
    white, black = (np.all(colours == value, axis=1) for value in (255, 0))
    return white[indices].astype(np.uint8) if np.all((white | black)[indices]) else indices


def _drop_opaque_alpha(values: np.ndarray, path: Path) -> np.ndarray:
    """(H, W, C + 1) with opaque alpha -> (H, W, C), or (H, W) where C = 1."""
    if np.any(values[..., -1] != 255):
        raise ValueError(
            f"{path} has transparent pixels, which could mean either; flatten it: object white, rest black"
        )
    return values[..., 0] if values.shape[-1] == 2 else values[..., :-1]


def _black_and_white(values: np.ndarray, path: Path) -> np.ndarray:
    """(H, W, 3) holding only black and white -> its grey values (H, W)."""
    grey = values[..., 0]
    if np.any(values != grey[..., None]) or np.any((grey != 0) & (grey != 255)):
        raise ValueError(
            f"{path} is an RGB image, whose colours don't say which object they mean; "
            "save it as indexed PNG (0 background, 1..N objects), or pure black and white for one object"
        )
    return grey


def write_mask(path: str | os.PathLike, labels: np.ndarray) -> None:
    """Write a label map (H, W) as an indexed PNG with the DAVIS palette, which notebook 01 builds. Used in notebook 00.

    `labels`: integers 0..255, or bool for a single object. The file appears whole or not at all; missing folders are
    made. Raises ValueError for any other array, or a name that does not end in .png, OSError that names the file where
    it can't be written.
    """
    if Path(path).suffix.lower() != ".png":
        raise ValueError(f"masks are written as PNG, but the name is {path}; end it in .png")
    image = Image.fromarray(_checked_labels(labels))
    image.putpalette(PALETTE.tobytes())
    try:
        with atomic_path(path) as temporary:
            image.save(temporary)
    except OSError as error:
        raise OSError(f"{path} can't be written: {error.strerror or error}") from error


def _checked_labels(labels: np.ndarray) -> np.ndarray:
    """`labels` as contiguous uint8 (H, W), or ValueError."""
    labels = np.asarray(labels)
    if labels.dtype != bool and not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"labels must be integers, not {labels.dtype}; threshold or round first")
    if labels.ndim != 2 or labels.size == 0:
        raise ValueError(f"labels must have the shape (H, W), not {labels.shape}")
    if labels.min() < 0 or labels.max() > 255:
        raise ValueError(f"labels must lie in 0..255, not {labels.min()}..{labels.max()}")
    return np.ascontiguousarray(labels, np.uint8)


def overlay(frame: np.ndarray, labels: np.ndarray, alpha: float = 0.5, contour: bool = True) -> np.ndarray:
    """Tint every object of a frame in its colour and draw its contour. Used from notebook 00 on.

    `frame`: uint8 RGB (H, W, 3); `labels`: label map (H, W); `alpha`: 0 leaves the frame, 1 paints over it. The
    contour lies inside the object, in the full colour. Returns a new frame. Raises ValueError where the sizes differ.
    """
    labels = _checked_labels(labels)
    if frame.shape != (*labels.shape, 3):
        raise ValueError(f"frame {frame.shape} and labels {labels.shape} differ in size; resize one to the other")
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha must lie in 0..1, not {alpha}")
    colours = OBJECT_COLOURS[(np.arange(256) - 1) % len(OBJECT_COLOURS)]
    result = frame.copy()
    inside = labels > 0
    result[inside] = np.rint((1 - alpha) * frame[inside] + alpha * colours[labels[inside]])
    if contour:
        line = _contours(labels)
        result[line] = colours[labels[line]]
    return result


def _contours(labels: np.ndarray) -> np.ndarray:
    """bool (H, W): object pixels that see another label within a radius of 1/240 of the frame's shorter side."""
    radius = max(1, round(min(labels.shape) / 240))
    window = np.ones((2 * radius + 1, 2 * radius + 1), np.uint8)
    return (labels > 0) & (cv2.dilate(labels, window) != cv2.erode(labels, window))


def object_masks(labels: np.ndarray, count: int | None = None) -> np.ndarray:
    """Label map (H, W) -> bool (N, H, W), plane n - 1 holding object n. Built in notebook 10.

    N is `count`, or the largest label. Labels beyond `count` belong to no plane; a void label 255 is an object like
    any other unless `count` leaves it out.
    """
    labels = np.asarray(labels)
    count = int(labels.max(initial=0)) if count is None else count
    dtype = np.result_type(labels, np.min_scalar_type(count))  # the smallest that holds both is the fastest
    return labels.astype(dtype, copy=False) == np.arange(1, count + 1, dtype=dtype)[:, None, None]


def label_map(masks: np.ndarray) -> np.ndarray:
    """bool (N, H, W) -> label map uint8 (H, W); where objects overlap the later one lies on top. Built in notebook 10.

    Raises ValueError for another shape, for more than 255 objects, and for values that are not bool.
    """
    masks = np.asarray(masks)
    if masks.dtype != bool or masks.ndim != 3 or len(masks) > 255:
        raise ValueError(f"masks must be bool (N, H, W), N <= 255, not {masks.dtype} {masks.shape}; threshold first")
    labels = np.zeros(masks.shape[1:], np.uint8)
    for index, mask in enumerate(masks, start=1):
        labels[mask] = index
    return labels
