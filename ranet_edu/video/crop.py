"""Crops: the network looks at a canvas of fixed size, and the canvas follows the object (§4.1; released test code).

A box is a tensor of four numbers in pixels of the frame, (top, left, height, width), and may reach outside of the
frame. Everything here stays on the device that the masks are on, so that the frame loop never waits for the GPU.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

TINY = 8  # objects of fewer pixels than this don't say where to look


def whole_frame_box(size: tuple[int, int], canvas: tuple[int, int], device: torch.device | str = "cpu") -> Tensor:
    """The smallest box of the canvas' aspect that holds a whole frame of `size` (height, width), centred."""
    height, width = size
    box_height = max(height, width * canvas[0] / canvas[1])
    box_width = box_height * canvas[1] / canvas[0]
    box = [(height - box_height) / 2, (width - box_width) / 2, box_height, box_width]
    return torch.stack([torch.full((), float(number), device=device) for number in box])  # made there, not copied there


def object_box(masks: Tensor, canvas: tuple[int, int], grow: float = 1.5, smallest: float = 32,
               otherwise: Tensor | None = None) -> Tensor:
    """The box around all objects, grown by `grow`, at least `smallest` pixels, with the canvas' aspect.

    masks: (N, H, W), probabilities or 0/1; a pixel counts from 0.5. The box is moved inside the frame where it fits
    there. Fewer than `TINY` pixels give the box `otherwise`, by default the whole frame.
    """
    found = (masks >= 0.5).any(0)
    (top, bottom), (left, right) = _extent(found.any(1)), _extent(found.any(0))
    height = ((bottom - top) * grow).clamp(min=smallest)
    width = ((right - left) * grow).clamp(min=smallest)
    height = torch.maximum(height, width * canvas[0] / canvas[1])
    box = _box_inside(torch.stack([top + bottom, left + right]) / 2, height, tuple(found.shape), canvas)
    if otherwise is None:
        otherwise = whole_frame_box(tuple(found.shape), canvas, masks.device)
    return torch.where(found.sum() < TINY, otherwise, box)


def wider_box(box: Tensor, factor: float, size: tuple[int, int], canvas: tuple[int, int]) -> Tensor:
    """A box times `factor`, at most the whole frame of `size`, around the same middle where it fits into the frame."""
    return _box_inside(box[:2] + box[2:] / 2, box[2] * factor, size, canvas)


def _box_inside(middle: Tensor, height: Tensor, size: tuple[int, int], canvas: tuple[int, int]) -> Tensor:
    """The box of the canvas' aspect around `middle` (y, x), at most the whole frame, moved inside where it fits."""
    height = height.minimum(whole_frame_box(size, canvas, height.device)[2])
    extent = torch.stack([height, height * canvas[1] / canvas[0]])
    room = torch.stack([size[0] - extent[0], size[1] - extent[1]])
    inside = torch.where(room > 0, (middle - extent / 2).clamp(min=0).minimum(room), room / 2)
    return torch.cat([inside, extent])


def cut(images: Tensor, box: Tensor, canvas: tuple[int, int], mode: str = "bilinear") -> Tensor:
    """Resample a box of (C, H, W) to (C, *canvas); what lies outside of the frame is zero."""
    height, width = images.shape[-2:]
    top, left, box_height, box_width = box.unbind()
    scale = torch.stack([box_width / width, box_height / height])
    shift = torch.stack([(2 * left + box_width) / width - 1, (2 * top + box_height) / height - 1])
    return _sample(images, scale, shift, canvas, mode)


def paste(crops: Tensor, box: Tensor, size: tuple[int, int]) -> Tensor:
    """The inverse of `cut`: crops (C, h, w) of a box, put back into a frame (C, *size) of zeros."""
    height, width = size
    top, left, box_height, box_width = box.unbind()
    scale = torch.stack([width / box_width, height / box_height])
    shift = torch.stack([(width - 2 * left) / box_width - 1, (height - 2 * top) / box_height - 1])
    return _sample(crops, scale, shift, size, "bilinear")


def _extent(occupied: Tensor) -> tuple[Tensor, Tensor]:
    """First index and one past the last index that is True, as floats; an empty line gives (length, 0)."""
    positions = torch.arange(len(occupied), device=occupied.device)
    first = torch.where(occupied, positions, len(occupied)).amin()
    last = torch.where(occupied, positions + 1, 0).amax()
    return first.float(), last.float()


def _sample(images: Tensor, scale: Tensor, shift: Tensor, size: tuple[int, int], mode: str) -> Tensor:
    """Bilinear sampling on the affine grid x -> scale * x + shift, in coordinates where the image spans [-1, 1]."""
    theta = torch.cat([torch.diag(scale), shift[:, None]], dim=1).to(images.dtype)
    grid = F.affine_grid(theta[None], [1, 1, *size], align_corners=False)
    return F.grid_sample(images[None], grid, mode=mode, padding_mode="zeros", align_corners=False)[0]
