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
import time
import warnings
from collections.abc import Callable
from functools import lru_cache, reduce

import torch
from timm.layers import BatchNormAct2d, Conv2dSame
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from ranet_edu.model.blocks import FEW_CHANNELS, upsample
from ranet_edu.model.decoder import Decoder, MergeModule
from ranet_edu.model.encoder import TimmBackbone
from ranet_edu.model.ranet import RANet
from ranet_edu.model.ranking import RankingAttention

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
MALLOPT_TRIM_THRESHOLD, MALLOPT_MMAP_THRESHOLD = -1, -3  # glibc's malloc.h
LARGEST_KEPT = 32 * 2**20  # bytes; glibc allows no more
WINOGRAD_CHANNELS = 8  # convolutions of fewer are bound by memory, not by arithmetic
WIDE_CHANNELS = 128  # convolutions of so many save more by it, so they are tried by themselves
WINOGRAD_PIXELS = 1024  # on smaller maps Winograd's algorithm transforms weights most of the time
WINOGRAD_SAVES = 0.1  # of the time, if it is to be chosen: where both take as long, the convolution itself is
MANY_CHANNELS = 64  # from which on convolutions in bfloat16 gain by maps whose channels lie side by side
PACKED_TYPES = (torch.float32, torch.bfloat16)  # that oneDNN computes in on a CPU
NARROW_CHANNELS = 64  # 1x1 convolutions of no more are faster as a matrix product


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
            read_by_pixel(_convolutions(ready), MANY_CHANNELS)
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
    network.ranking.__class__ = RowwiseRanking
    network.decoder.__class__ = ObjectByObject
    network.merge.__class__ = NonZeroMerge
    if network.decoder.predict.out_channels == 1:
        network.decoder.predict.__class__ = OneChannelConv2d
    for module in (*network.merge.modules(), *network.decoder.modules()):
        if type(module) is nn.Conv2d and _is_narrow(module):
            module.__class__ = NarrowConv2d


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


class NarrowConv2d(nn.Conv2d):
    """A 1x1 convolution without bias as the matrix product that it is: no pixel is brought into another order."""

    def forward(self, x: Tensor) -> Tensor:
        return (self.weight.flatten(1) @ x.flatten(2)).unflatten(2, x.shape[-2:])


def _is_narrow(conv: nn.Conv2d) -> bool:
    plain = conv.kernel_size == conv.stride == (1, 1) and conv.groups == 1 and conv.bias is None
    return plain and max(conv.in_channels, conv.out_channels) <= NARROW_CHANNELS


def pad_less(backbone: nn.Module) -> None:
    """Change convolutions of `backbone`, in place, so that no padded copy of their input is needed."""
    for module in backbone.modules():
        if type(module) is Conv2dSame and module.stride == (2, 2) and module.kernel_size in ((3, 3), (5, 5)):
            module.__class__ = UnpaddedConv2d
            wide = F.pad(module.weight, (1, 0, 1, 0)).contiguous(memory_format=torch.channels_last)
            module.register_buffer("wide", wide, persistent=False)


class UnpaddedConv2d(Conv2dSame):
    """A convolution of stride 2 that is padded as in TensorFlow, at the right and at the bottom first.

    An image of even sides would need a copy that is one pixel larger. A kernel that is one pixel larger, zero at its
    left and top, with the same padding all around, sees the same.
    """

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[-2] % 2 or x.shape[-1] % 2:
            return super().forward(x)
        return F.conv2d(x, self.wide, self.bias, self.stride, self.kernel_size[0] // 2, groups=self.groups)


def multiply_less(network: RANet) -> None:
    """Change the 3x3 convolutions of `network`, in place, to such that need fewer multiplications, where that pays.

    Where it pays for wide ones alone, all others read maps pixel by pixel, as the processor's library computes.
    """
    for conv in filter(_suits_winograd, _convolutions(network)):
        if winograd_pays(_width(conv) >= WIDE_CHANNELS):
            conv.__class__ = WinogradConv2d
    if not winograd_pays(False):
        read_by_pixel(_convolutions(network), FEW_CHANNELS)


def _convolutions(network: nn.Module) -> list[nn.Conv2d]:
    """Those that are still PyTorch's own."""
    return [module for module in network.modules() if type(module) is nn.Conv2d]


def read_by_pixel(convolutions: list[nn.Conv2d], channels: int) -> None:
    """Have convolutions from or to so many channels, in place, take and give maps whose channels lie side by side.

    Processors' libraries compute in that order, and bring maps in the usual one into it and back: in bfloat16 that took
    half of the time of a ResNet on an Intel Xeon with AMX.
    """
    for conv in convolutions:
        if max(conv.in_channels, conv.out_channels) >= channels:
            conv.to(memory_format=torch.channels_last)


@lru_cache(maxsize=2)
def winograd_pays(wide: bool) -> bool:
    """Whether Winograd's algorithm saves time on this machine: both are tried, for a tenth of a second.

    On an AMD EPYC it saved a quarter to a half on convolutions of 128 channels and more, where maps were large or the
    channels many, and a little or nothing on narrower ones; on an Intel Xeon it lost time on as many as it saved.
    """
    if not torch._nnpack_available():  # also makes it ready
        return False
    channels = WIDE_CHANNELS if wide else 64
    direct = _trial_convolution(channels)
    winograd = copy.deepcopy(direct)
    winograd.__class__ = WinogradConv2d
    direct, x = (part.to(memory_format=torch.channels_last) for part in (direct, torch.zeros(1, channels, 64, 112)))
    trials = [(_seconds(direct, x), _seconds(winograd, x.contiguous())) for _ in range(6)]
    alone, with_winograd = map(min, zip(*trials, strict=True))
    return with_winograd < (1 - WINOGRAD_SAVES) * alone


def _trial_convolution(channels: int) -> nn.Conv2d:
    """A 3x3 convolution that can't be trained; leaves a caller's random state alone."""
    with torch.random.fork_rng(devices=[]):
        return nn.Conv2d(channels, channels, 3, padding=1).requires_grad_(False)


def _seconds(compute: Callable[[Tensor], Tensor], x: Tensor) -> float:
    began = time.perf_counter()
    compute(x)
    return time.perf_counter() - began


class PackedConv2d(nn.Conv2d):
    """A convolution with its weights in oneDNN's order, and with the ReLU6 that follows it, if one does.

    PyTorch would bring them into that order in every call, which for the small maps of a deep layer takes longer than
    the convolution. Which order is best depends on the map's size: they are packed for the first that comes, and anew
    for another. margin: its padding. then: what follows.
    """

    def forward(self, x: Tensor) -> Tensor:
        return _packed_convolution(self, x)


class PackedUnpaddedConv2d(UnpaddedConv2d):
    """An `UnpaddedConv2d` with packed weights; see `PackedConv2d`."""

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[-2] % 2 or x.shape[-1] % 2:
            x = super().forward(x)
            return F.relu6(x) if self.then == RELU6 else x
        return _packed_convolution(self, x)


NOTHING, RELU6 = ("none", []), ("hardtanh", [0.0, 6.0])  # as oneDNN calls them, with their parameters


def _packed_convolution(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """What torch.compile makes of a convolution on CPUs; there is no public function for it."""
    x = x.contiguous(memory_format=torch.channels_last)
    shape = conv.margin, conv.stride, conv.dilation, conv.groups
    if conv.packed_for != x.shape:
        weight = conv.wide if isinstance(conv, UnpaddedConv2d) else conv.weight
        conv.packed = torch.ops.mkldnn._reorder_convolution_weight(weight, *shape, x.shape)
        conv.packed_for = x.shape
    return torch.ops.mkldnn._convolution_pointwise(x, conv.packed, conv.bias, *shape, *conv.then, "")


def pack_weights(backbone: nn.Module) -> None:
    """Pack the weights of the convolutions of `backbone`, in place, and put each ReLU6 into the one before it.

    In the types that oneDNN computes in, where it is at hand; else nothing changes.
    """
    if next(backbone.parameters()).dtype not in PACKED_TYPES or not can_pack():
        return
    for block in list(backbone.modules()):
        children = list(block.named_children())
        for (_, conv), (name, after) in itertools.zip_longest(children, children[1:], fillvalue=("", None)):
            if type(conv) in (nn.Conv2d, UnpaddedConv2d):
                joined = isinstance(after, nn.ReLU6)
                _pack(conv, RELU6 if joined else NOTHING)
                if joined:
                    setattr(block, name, nn.Identity())


def _pack(conv: nn.Conv2d, then: tuple[str, list[float]]) -> None:
    unpadded = type(conv) is UnpaddedConv2d
    conv.margin = [conv.kernel_size[0] // 2] * 2 if unpadded else list(conv.padding)
    conv.then, conv.packed_for = then, None
    conv.__class__ = PackedUnpaddedConv2d if unpadded else PackedConv2d


@lru_cache(maxsize=1)
def can_pack() -> bool:
    """Whether this PyTorch computes with packed weights and gets the same: not all do, and what does isn't public."""
    conv, x = _trial_convolution(8), torch.linspace(-1, 1, 8 * 16).view(1, 8, 4, 4)
    expected = conv(x)
    try:
        _pack(conv, NOTHING)
        return torch.allclose(conv(x), expected, atol=1e-4)
    except (AttributeError, NotImplementedError, RuntimeError, TypeError):
        return False


class WinogradConv2d(nn.Conv2d):
    """A 3x3 convolution by Winograd's algorithm, which needs a fifth of the multiplications (Lavin and Gray, 2016).

    The result differs from that of `nn.Conv2d` by about 1e-5 of its largest value. Computed by NNPACK, which PyTorch
    comes with on most CPUs.
    """

    def _conv_forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        x, weight = x.contiguous(), weight.contiguous()
        if x.dtype != torch.float32 or x.shape[-2:].numel() < WINOGRAD_PIXELS:  # autocast; small maps
            return super()._conv_forward(x, weight, bias)
        images = x.split(1)  # NNPACK is slow on a batch of several
        results = [torch._nnpack_spatial_convolution(one, weight, bias, 1) for one in images]
        return torch.cat(results) if len(results) > 1 else results[0]


def _suits_winograd(conv: nn.Conv2d) -> bool:
    plain = conv.stride == conv.dilation == conv.padding == (1, 1) and conv.groups == 1
    return plain and conv.kernel_size == (3, 3) and _width(conv) >= WINOGRAD_CHANNELS


def _width(conv: nn.Conv2d) -> int:
    return min(conv.in_channels, conv.out_channels)


class OneChannelConv2d(nn.Conv2d):
    """A 3x3 convolution to one channel as a matrix product: what a pixel adds to each of its neighbours, then summed.

    Libraries compute 8 or 16 channels at once, and would throw all but one away.
    """

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        products = self.weight[0].flatten(1).t() @ x.flatten(2)  # (B, 9, H*W)
        padded = F.pad(products.unflatten(2, (height, width)), (1, 1, 1, 1))
        shifted = (padded[:, 3 * i + j, i : i + height, j : j + width] for i in range(3) for j in range(3))
        return sum(shifted)[:, None] + self.bias


def keep_freed_memory() -> None:
    """Let this process keep the memory that it frees, for the next frame to use (glibc; elsewhere nothing happens).

    By default glibc gives large blocks back to the system, which hands them out again page by page and zeroed: for
    half a gigabyte of maps a frame that took up to a third of the time. The process then stays as large as it was at
    its largest.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(MALLOPT_TRIM_THRESHOLD, 2**31 - 1)
        libc.mallopt(MALLOPT_MMAP_THRESHOLD, LARGEST_KEPT)
