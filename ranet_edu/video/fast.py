"""A copy of a network that only has to segment, and so may compute the same in less time.

Training needs the network as the paper draws it; a copy that never learns does not. Its batch norms, frozen, are a
scale and a shift that the convolution before them can take over. Its backbone's convolutions read their pixels in the
order that suits the processor, and on a CPU their weights lie in its order once for all; others multiply less. On a CPU
maps that are zero are left out, and objects are decoded one by one, so that what is at hand stays in the cache. Numbers
change by rounding alone, unless a shorter number format is asked for.
"""

from __future__ import annotations

import copy
import ctypes
import itertools
import platform
import warnings
from functools import lru_cache, reduce

import torch
from timm.layers import BatchNormAct2d
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from ranet_edu.model.blocks import FEW_CHANNELS, upsample
from ranet_edu.model.decoder import Decoder, MergeModule
from ranet_edu.model.encoder import TimmBackbone
from ranet_edu.model.ranet import RANet
from ranet_edu.model.ranking import RankingAttention
from ranet_edu.video.convolutions import (
    convolve_as_products,
    multiplies_tiles,
    multiply_less,
    own_convolutions,
    pack_weights,
    pad_less,
    read_by_pixel,
)

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
TRIM_THRESHOLD, MMAP_MAX, ARENA_MAX = -1, -4, -8  # glibc's malloc.h
MANY_CHANNELS = 64  # from which on convolutions by tiles (AMX) gain by maps whose channels lie side by side


def fast_copy(model: RANet, precision: str = "auto", compile: bool = False) -> RANet:
    """A copy of `model` that segments faster and can't be trained; `model` is left as it was.

    precision: "float32", "bfloat16" or "float16", what the copy computes in, or "auto", what the model is in.
        float16 is for GPUs: a CPU takes hundreds of times as long. bfloat16 is faster than float32 on a GPU and on CPUs
        that have it in hardware (AVX512_BF16, AMX); masks differ in about one pixel of a thousand.
    compile: have torch.compile write kernels for the GPU at hand, and replay them as a CUDA graph. The first frames
        take a minute. On a CPU it is refused: there that minute bought a tenth of a frame's time at most.
    Raises ValueError for a precision or a compilation that the model's device is not fit for.
    """
    dtype = precision_type(model, precision)
    device = model.image_mean.device.type
    if compile and device != "cuda":
        raise ValueError(f"compile is for CUDA; the model is on {device}, where it costs a minute and gains little")
    ready = copy.deepcopy(model).eval().requires_grad_(False)
    if isinstance(ready.encoder.backbone, TimmBackbone):
        hasten_backbone(ready.encoder.backbone, dtype)
        ready.encoder.to(memory_format=torch.channels_last)
    elif device == "cuda":
        ready.to(memory_format=torch.channels_last)
    if device == "cpu":
        move_less(ready)
        if dtype == torch.float32:
            multiply_less(ready)
        if dtype == torch.bfloat16:
            read_by_pixel(own_convolutions(ready), MANY_CHANNELS if multiplies_tiles() else FEW_CHANNELS)
    ready.to(dtype)
    if compile:
        ready.forward = _compiled(ready.forward)
    return ready


def precision_type(model: RANet, precision: str) -> torch.dtype:
    """What `precision` means for `model`, see `fast_copy`; raises ValueError where its device is not fit for it."""
    if precision == "auto":
        return model.image_mean.dtype
    if precision not in PRECISIONS:
        raise ValueError(f"precision must be one of auto, {', '.join(PRECISIONS)}, not {precision!r}")
    if precision == "float16" and model.image_mean.device.type == "cpu":
        raise ValueError("precision float16 takes hundreds of times as long on a CPU: choose float32 or bfloat16")
    return PRECISIONS[precision]


def _compiled(forward: object) -> object:
    from torch.utils._triton import has_triton

    if not has_triton():
        warnings.warn("going on without compile, which needs Triton: pip install triton", stacklevel=4)
        return forward
    return torch.compile(forward, mode="reduce-overhead", dynamic=False)


def hasten_backbone(backbone: TimmBackbone, dtype: torch.dtype) -> None:
    """Change `backbone`, in place, so that it computes the same sooner, in `dtype`, and can't be trained."""
    fold_batch_norms(backbone)
    backbone.to(dtype, memory_format=torch.channels_last)
    if next(backbone.parameters()).device.type == "cpu":
        pad_less(backbone)
        pack_weights(backbone)


def fold_batch_norms(backbone: nn.Module) -> None:
    """Put each frozen batch norm into the convolution before it, in place; its activation stays where it was.

    A frozen norm computes a x + b for each channel: the convolution's weights times a, its bias times a plus b.
    """
    for block in list(backbone.modules()):
        for (conv_name, conv), (norm_name, norm) in itertools.pairwise(list(block.named_children())):
            if isinstance(conv, nn.Conv2d) and isinstance(norm, BatchNormAct2d):
                setattr(block, conv_name, fuse_conv_bn_eval(conv, norm))
                setattr(block, norm_name, norm.act)


def move_less(network: RANet) -> None:
    """Change `network`, in place, so that less goes to and from memory, which a CPU waits for."""
    if network.ranking is not None:  # as it is without correlation
        network.ranking.__class__ = RowwiseRanking
    network.decoder.__class__ = ObjectByObject
    network.merge.__class__ = NonZeroMerge
    convolve_as_products(network.merge)
    convolve_as_products(network.decoder)


class RowwiseRanking(RankingAttention):
    """Ranking attention whose maps are swapped first and pooled then: the maxima are those of whole rows of numbers.

    PyTorch's own adaptive pooling visits every window of every map, and remembers where its maximum was.
    """

    def _swap(self, maps: Tensor) -> Tensor:
        size = maps.shape[-2:]
        swapped = maps.flatten(2).transpose(1, 2).contiguous().unflatten(1, size)  # (B, H, W, H0*W0)
        for axis, places in enumerate(_windows(old, new) for old, new in zip(size, self.grid, strict=True)):
            swapped = reduce(torch.maximum, (swapped.index_select(1 + axis, place) for place in places))
        return swapped.flatten(1, 2).unflatten(2, self.grid)


@lru_cache(maxsize=64)
def _windows(old: int, new: int) -> list[Tensor]:
    """Where the `new` windows of adaptive pooling over `old` places begin, their second places, their third, ..."""
    edges = [(i * old // new, -(-(i + 1) * old // new)) for i in range(new)]
    longest = max(end - start for start, end in edges)
    return [torch.tensor([min(start + k, end - 1) for start, end in edges]) for k in range(longest)]


class ObjectByObject(Decoder):
    """The decoder with one object after the other: the maps of all of them would not fit the cache."""

    def climb(self, x: Tensor, skips: list[Tensor], sizes: list[tuple[int, int]]) -> Tensor:
        count = len(x) // len(skips[0])
        if count == 1:
            return super().climb(x, skips, sizes)
        firsts = [level.conv1 for level in self.levels]
        shared = [first.part(skip, 0, first.conv.bias) for first, skip in zip(firsts, skips, strict=True)]
        found = []
        for number, maps in enumerate(x.split(1)):
            for level, skip, once, size in zip(self.levels, skips, shared, sizes, strict=True):
                own = level.conv1.part(maps, skip.shape[1])
                maps = level.refine(own.add_(once[number // count]), size)
            found.append(self.predict(maps))
        return torch.cat(found)


class NonZeroMerge(MergeModule):
    """The merge module without the maps that are zero: of the 256, a small object's stream holds as many as it has
    template cells.

    A norm leaves them zero, and a convolution adds nothing.
    """

    def forward(self, maps: Tensor, size: tuple[int, int]) -> Tensor:
        first, *others = self.layers
        places = torch.arange(1, maps.shape[1] + 1)
        counts = ((torch.linalg.vector_norm(maps, dim=(2, 3)) > 0) * places).amax(1).clamp(min=1).tolist()
        streams = [upsample(maps[i : i + 1, :count], size, align_corners=False) for i, count in enumerate(counts)]
        x = torch.cat([first.part(stream, 0, first.conv.bias) for stream in streams])
        for layer in others:
            x = layer(x)
        return x


def keep_freed_memory() -> None:
    """Let this process keep the memory that it frees, for the next frame to use (glibc; elsewhere nothing happens).

    By default glibc gives large blocks back to the system, which hands them out again page by page and zeroed: for
    half a gigabyte of maps a frame that took up to a third of the time. The process then stays as large as it was at
    its largest. New threads share this memory, where none was at work before; each would give its own back.
    """
    if platform.libc_ver()[0] == "glibc":
        for option, value in ((TRIM_THRESHOLD, 2**31 - 1), (MMAP_MAX, 0), (ARENA_MAX, 1)):
            ctypes.CDLL(None).mallopt(option, value)
