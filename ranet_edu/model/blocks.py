"""The convolution blocks that encoder, ranking network and decoder are made of (supplementary, figure 2).

Every block normalises, activates and then convolves, in this order, so that a block can be fed with anything:
similarity maps, skip features or the output of another block. Built in notebook 06.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F

FEW_PIXELS = 1024  # PyTorch normalises smaller channels_last maps in another way, in bfloat16 10 to 40 times as slow
FEW_CHANNELS = 16  # and those of fewer channels, which don't fill a vector
VECTOR = 16  # channels in bfloat16: where the last ones don't fill a vector, 3 to 20 times as slow
BAND = 64  # rows or columns that are interpolated at once: with more of them more is multiplied with zeros


class InstanceNorm(nn.InstanceNorm2d):
    """Instance norm without running statistics, by default without affine parameters; (B, C, H, W) -> (B, C, H, W).

    Differs from `torch.nn.InstanceNorm2d` in one point: a map of a single pixel, which has no variance, counts as
    zero instead of raising an error, so that very small frames pass through the network.
    """

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[-2:].numel() == 1:
            x = torch.zeros_like(x)
            return x if self.bias is None else x + self.bias[:, None, None]
        if x.device.type != "cpu":
            return super().forward(x)
        # Groups of one channel are instances: the same numbers, which PyTorch computes 4 to 10 times as fast on a CPU.
        small = x.shape[-2:].numel() < FEW_PIXELS or x.shape[1] < FEW_CHANNELS
        if small or x.requires_grad or (x.dtype == torch.bfloat16 and x.shape[1] % VECTOR):
            x = x.contiguous()  # a channel's pixels side by side: then the gradient is 5 to 20 times as fast, too
        return F.group_norm(x, x.shape[1], self.weight, self.bias, self.eps)


class ConvBlock(nn.Module):
    """Conv_Block of the paper: instance norm -> ReLU -> convolution with bias; (B, C_in, H, W) -> (B, C_out, H, W)."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int = 3) -> None:
        super().__init__()
        self.norm = InstanceNorm(in_channels)
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.relu(self.norm(x), inplace=True))

    def forward_shared(self, shared: Tensor, own: Tensor) -> Tensor:
        """`forward` of N objects' maps that begin with the same channels, which are convolved once for all of them.

        shared: (B, C_s, H, W). own: (B*N, C_in - C_s, H, W). Returns (B*N, C_out, H, W), what `forward` gives for the
        two concatenated: a norm looks at one channel, and a convolution is a sum over channels.
        """
        once = self.part(shared, 0, self.conv.bias)
        each = self.part(own, shared.shape[1])
        return (each.unflatten(0, (len(shared), -1)) + once[:, None]).flatten(0, 1)

    def part(self, x: Tensor, first: int = 0, bias: Tensor | None = None) -> Tensor:
        """What the input's channels `first`, `first + 1`, ... of which x, (B, C, H, W), has C, add to the output."""
        kernels = self.conv.weight[:, first : first + x.shape[1]]
        return self.conv._conv_forward(F.relu(self.norm(x), inplace=True), kernels, bias)


class ResBlock(nn.Module):
    """Res_Block of the paper: a bottleneck of 1x1, 3x3 and 1x1 bias-free convolutions around an identity.

    (B, C, H, W) -> (B, C, H, W), non-negative. An instance norm follows each convolution, a ReLU the first two and the
    sum.
    """

    def __init__(self, channels: int, inner_channels: int, dilation: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, inner_channels, 1, bias=False)
        self.conv2 = nn.Conv2d(inner_channels, inner_channels, 3, padding=dilation, dilation=dilation, bias=False)
        self.conv3 = nn.Conv2d(inner_channels, channels, 1, bias=False)
        self.norm1, self.norm2 = InstanceNorm(inner_channels), InstanceNorm(inner_channels)
        self.norm3 = InstanceNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        inner = F.relu(self.norm1(self.conv1(x)), inplace=True)
        inner = F.relu(self.norm2(self.conv2(inner)), inplace=True)
        return F.relu(x + self.norm3(self.conv3(inner)), inplace=True)


class MultiScaleBlock(nn.Module):
    """MS_Block of the paper: three parallel bias-free 3x3 convolutions, dilated by 1, 3 and 6, summed.

    (B, C_in, H, W) -> (B, C_out, H, W). The supplementary's text says 1, 6, 9; its figure and the released network say
    1, 3, 6, and so do we.
    """

    def __init__(self, in_channels: int, out_channels: int, dilations: tuple[int, ...] = (1, 3, 6)) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Conv2d(in_channels, out_channels, 3, padding=d, dilation=d, bias=False) for d in dilations
        )

    def forward(self, x: Tensor) -> Tensor:
        return sum(branch(x) for branch in self.branches)


def upsample(x: Tensor, size: torch.Size | tuple[int, int], align_corners: bool) -> Tensor:
    """Bilinear upsampling of (B, C, h, w) to (B, C, *size); a map that has the size already is returned as it is.

    The pyramid aligns corners; matching features and similarity maps do not (released network, and so its weights).
    """
    if tuple(x.shape[-2:]) == tuple(size):
        return x
    if x.dtype == torch.bfloat16 and x.device.type == "cpu":
        # On maps in the usual order PyTorch takes two to eight times as long in this type as these matrix products.
        to_rows, to_columns = (_bands(old, new, align_corners) for old, new in zip(x.shape[-2:], size, strict=True))
        x = torch.cat([x[..., band] @ shares.t() for band, shares in to_columns], dim=-1)
        return torch.cat([shares @ x[..., band, :] for band, shares in to_rows], dim=-2)
    return F.interpolate(x, size=tuple(size), mode="bilinear", align_corners=align_corners)


@lru_cache(maxsize=64)
@torch.inference_mode(False)  # what is kept must serve gradients, too
def _bands(old: int, new: int, align_corners: bool) -> list[tuple[slice, Tensor]]:
    """How `old` values are interpolated to `new`, `BAND` of these at a time.

    Of each band: which of the old values it needs, and their shares in its values, (BAND, how many), in bfloat16.
    """
    matrix = F.interpolate(torch.eye(old)[None], size=new, mode="linear", align_corners=align_corners)[0].t()
    bands = []
    for rows in matrix.split(BAND):
        needed = rows.any(0).nonzero()
        band = slice(int(needed[0]), int(needed[-1]) + 1)
        bands.append((band, rows[:, band].bfloat16().contiguous()))
    return bands
