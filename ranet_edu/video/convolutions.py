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

from ranet_edu.model.blocks import FEW_CHANNELS

WINOGRAD_CHANNELS = 60  # in * out / (in + out): what is saved grows as the first, what it costs as the second
WINOGRAD_STRIP = 2**21  # numbers; so many tiles are computed at once that they stay in the cache
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


@lru_cache(maxsize=1)
def multiplies_tiles() -> bool:
    """Whether this CPU has matrix multiplication in bfloat16 (AMX); False where PyTorch can't tell."""
    return getattr(torch.cpu, "get_capabilities", dict)().get("amx_bf16", False)


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
    """Change the wide 3x3 convolutions of `network`, in place, to such that need fewer multiplications, if that pays.

    All others read maps pixel by pixel, as these do and as the processor's library computes.
    """
    if winograd_pays():
        for conv in filter(_suits_winograd, own_convolutions(network)):
            use_winograd(conv)
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


@lru_cache(maxsize=1)
def winograd_pays() -> bool:
    """Whether Winograd's algorithm saves time on this machine: both are tried, for a tenth of a second."""
    direct = _trial_convolution(128)
    winograd = copy.deepcopy(direct)
    use_winograd(winograd)
    direct, x = (part.to(memory_format=torch.channels_last) for part in (direct, torch.zeros(1, 128, 60, 108)))
    trials = [(_seconds(direct, x), _seconds(winograd, x)) for _ in range(6)]
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


TILE = 4  # Lavin and Gray's F(4x4, 3x3); these are their B^T, G, and A^T for both directions
OF_INPUTS = torch.tensor(
    [
        [4.0, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ]
)
OF_KERNELS = torch.tensor([[6.0, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]]).double() / 24
OF_SUMS = torch.tensor([[1.0, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]])
OF_SUMS = torch.kron(OF_SUMS, OF_SUMS)  # (16, 36)
IN_ALL = 7  # the one of 36 sums that is added to each of the 16 outputs


class WinogradConv2d(nn.Conv2d):
    """A 3x3 convolution by Winograd's algorithm, with a quarter of the multiplications (Lavin and Gray, 2016).

    For 4x4 outputs, 6x6 inputs become 36 other numbers, and the kernel 36 as well. Multiplied one by one and summed
    over the channels, which for many tiles at once is 36 matrix products, they are what the outputs are sums of. These
    differ from those of `nn.Conv2d` by about 1e-5 of the largest. weight: (C_out, C_in, 6, 6), the kernels' numbers.
    """

    def _conv_forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        height, width = x.shape[-2:]
        down, across = -(-height // TILE), -(-width // TILE)
        kernels = weight.permute(3, 2, 1, 0).flatten(0, 1)  # (36, C_in, C_out)
        padded = x.new_zeros(len(x), TILE * down + 2, TILE * across + 2, x.shape[1], dtype=weight.dtype)
        padded[:, 1 : height + 1, 1 : width + 1] = x.permute(0, 2, 3, 1)
        windows = padded.unfold(1, TILE + 2, TILE).movedim(-1, 2)  # (B, down, 6, columns, C_in)
        tiles = padded.new_empty(len(x), down, TILE, across, TILE, len(weight))
        strips = -(-down * across * 36 * max(weight.shape[:2]) // WINOGRAD_STRIP)
        with torch.autocast("cpu", enabled=False):
            for image, its_tiles in zip(windows, tiles, strict=True):
                for rows, result in zip(image.tensor_split(strips), its_tiles.tensor_split(strips), strict=True):
                    _convolve_rows(rows, kernels, bias, result)
        return tiles.flatten(3, 4).flatten(1, 2)[:, :height, :width].permute(0, 3, 1, 2)


def _convolve_rows(rows: Tensor, kernels: Tensor, bias: Tensor | None, result: Tensor) -> None:
    """Fill `result`, (n, 4, across, 4, C_out), from n rows of tiles, (n, 6, columns, C_in)."""
    half = (OF_INPUTS @ rows.flatten(2)).view(rows.shape)
    windows = half.unfold(2, TILE + 2, TILE).permute(4, 1, 0, 2, 3)  # (6, 6, n, across, C_in)
    inputs = OF_INPUTS @ windows.reshape(len(OF_INPUTS), -1)
    sums = inputs.view(len(kernels), -1, kernels.shape[1]) @ kernels  # (36, n * across, C_out)
    if bias is not None:
        sums[IN_ALL] += bias
    outputs = OF_SUMS @ sums.flatten(1)  # (16, n * across * C_out)
    count, _, across, _, channels = result.shape
    result.copy_(outputs.view(TILE, TILE, count, across, channels).permute(2, 1, 3, 0, 4))


def use_winograd(conv: nn.Conv2d) -> None:
    """Change a 3x3 convolution, in place, to a `WinogradConv2d`."""
    kernels = OF_KERNELS @ conv.weight.detach().double() @ OF_KERNELS.t()
    in_order = kernels.permute(3, 2, 1, 0).to(conv.weight.dtype, memory_format=torch.contiguous_format)
    conv.weight = nn.Parameter(in_order.permute(3, 2, 1, 0), requires_grad=False)
    conv.__class__ = WinogradConv2d


def _suits_winograd(conv: nn.Conv2d) -> bool:
    inputs, outputs = conv.in_channels, conv.out_channels
    return _is_plain(conv) and inputs * outputs >= WINOGRAD_CHANNELS * (inputs + outputs)


def _is_plain(conv: nn.Conv2d) -> bool:
    """Whether it is 3x3, and gives a map of the same size."""
    one_by_one = conv.stride == conv.dilation == conv.padding == (1, 1) and conv.groups == 1
    return one_by_one and conv.kernel_size == (3, 3)


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
