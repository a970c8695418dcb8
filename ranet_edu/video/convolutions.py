"""Convolutions that compute what PyTorch's own do, in less time, on a CPU; `video/fast.py` puts them into its copies.

Libraries' convolutions are made for many channels, many pixels and weights that change. A network that only segments
has layers of one channel and of few pixels, and its weights stay as they are: these want other algorithms, other orders
of pixels in memory, and weights that lie in the library's order once for all. What was changed can't be trained.
"""

from __future__ import annotations

import copy
import itertools
import time
from collections.abc import Callable, Iterable
from functools import lru_cache

import torch
from timm.layers import Conv2dSame
from torch import Tensor, nn
from torch.nn import functional as F

from ranet_edu.model.blocks import FEW_CHANNELS, multiplies_tiles

WINOGRAD_CHANNELS = 8  # convolutions of fewer are bound by memory, not by arithmetic
WIDE_CHANNELS = 128  # convolutions of so many save more by it, so they are tried by themselves
WINOGRAD_PIXELS = 1024  # on smaller maps Winograd's algorithm transforms weights most of the time
WINOGRAD_SAVES = 0.1  # of the time, if it is to be chosen: where both take as long, the convolution itself is
PACKED_TYPES = (torch.float32, torch.bfloat16)  # that oneDNN computes in on a CPU
NARROW_CHANNELS = 64  # 1x1 convolutions of no more are faster as a matrix product


def convolve_as_products(network: nn.Module) -> None:
    """Change the convolutions of `network`, in place, to matrix products where these take less time."""
    for conv in own_convolutions(network):
        if _is_narrow(conv):
            conv.__class__ = NarrowConv2d
        elif _finds_one_channel(conv):
            conv.__class__ = OneChannelConv2d


class NarrowConv2d(nn.Conv2d):
    """A 1x1 convolution without bias as the matrix product that it is: no pixel is brought into another order."""

    def forward(self, x: Tensor) -> Tensor:
        return (self.weight.flatten(1) @ x.flatten(2)).unflatten(2, x.shape[-2:])


def _is_narrow(conv: nn.Conv2d) -> bool:
    plain = conv.kernel_size == conv.stride == (1, 1) and conv.groups == 1 and conv.bias is None
    return plain and max(conv.in_channels, conv.out_channels) <= NARROW_CHANNELS


def _finds_one_channel(conv: nn.Conv2d) -> bool:
    return _is_plain(conv) and conv.out_channels == 1 and conv.bias is not None


class OneChannelConv2d(nn.Conv2d):
    """A 3x3 convolution to one channel as a matrix product: what a pixel adds to each of its neighbours, then summed.

    Libraries compute 8 or 16 channels at once, and would throw all but one away. Where the processor multiplies whole
    tiles (bfloat16 on Intel Xeons of today) that is still less work than the sum.
    """

    def forward(self, x: Tensor) -> Tensor:
        if x.dtype == torch.bfloat16 and multiplies_tiles():
            return super().forward(x)
        height, width = x.shape[-2:]
        products = self.weight[0].flatten(1).t() @ x.flatten(2)  # (B, 9, H*W)
        padded = F.pad(products.unflatten(2, (height, width)), (1, 1, 1, 1))
        shifted = (padded[:, 3 * i + j, i : i + height, j : j + width] for i in range(3) for j in range(3))
        return sum(shifted)[:, None] + self.bias


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


def multiply_less(network: nn.Module) -> None:
    """Change the 3x3 convolutions of `network`, in place, to such that need fewer multiplications, where that pays.

    Where it pays for wide ones alone, all others read maps pixel by pixel, as the processor's library computes.
    """
    for conv in filter(_suits_winograd, own_convolutions(network)):
        if winograd_pays(_width(conv) >= WIDE_CHANNELS):
            conv.__class__ = WinogradConv2d
    if not winograd_pays(False):
        read_by_pixel(own_convolutions(network), FEW_CHANNELS)


def own_convolutions(network: nn.Module) -> list[nn.Conv2d]:
    """Those that are still PyTorch's own."""
    return [module for module in network.modules() if type(module) is nn.Conv2d]


def read_by_pixel(convolutions: Iterable[nn.Conv2d], channels: int) -> None:
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
    return _is_plain(conv) and _width(conv) >= WINOGRAD_CHANNELS


def _is_plain(conv: nn.Conv2d) -> bool:
    """Whether it is 3x3, and gives a map of the same size."""
    one_by_one = conv.stride == conv.dilation == conv.padding == (1, 1) and conv.groups == 1
    return one_by_one and conv.kernel_size == (3, 3)


def _width(conv: nn.Conv2d) -> int:
    return min(conv.in_channels, conv.out_channels)


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
