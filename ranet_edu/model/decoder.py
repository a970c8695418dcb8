"""Merge module and pyramid decoder: from ranked similarity maps to a mask (supplementary, figures 1-2; notebook 06)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ranet_edu.model.blocks import ConvBlock, MultiScaleBlock, ResBlock, upsample


class LevelWidths(NamedTuple):
    """Channels of one pyramid level: two Conv_Blocks, the MS_Block, and the inside of the Res_Block."""

    conv1: int
    conv2: int
    multi_scale: int
    inner: int


class DecoderWidths(NamedTuple):
    """Channels of merge module and decoder; the defaults of `RANetConfig` are the paper's.

    merge: Conv_Block, inside of the Res_Block, second Conv_Block. skips: from the level's own scale, the next coarser,
    and the one after. levels: at 1/8, 1/4 and 1/2.
    """

    merge: tuple[int, int, int]
    skips: tuple[int, int, int]
    levels: tuple[LevelWidths, LevelWidths, LevelWidths]


class MergeModule(nn.Module):
    """Refines one stream of ranked maps; foreground and background share its weights.

    (B, K, H, W) -> (B, M, h, w), where (h, w) is the size of the 1/8 level. Figure 4, right, shows what comes out.
    """

    def __init__(self, in_channels: int, widths: tuple[int, int, int]) -> None:
        super().__init__()
        first, inner, last = widths
        self.layers = nn.Sequential(ConvBlock(in_channels, first), ResBlock(first, inner), ConvBlock(first, last))

    def forward(self, maps: Tensor, size: tuple[int, int]) -> Tensor:
        return self.layers(upsample(maps, size, align_corners=False))


class SkipFeatures(nn.Module):
    """Reduces three neighbouring scales by 1x1 Conv_Blocks and stacks them at the size of the finest.

    Three maps (B, C_l, H_l, W_l), finest first -> (B, sum(widths), H_1, W_1). Shared by all objects of a frame.
    """

    def __init__(self, channels: tuple[int, ...], widths: tuple[int, int, int]) -> None:
        super().__init__()
        self.reduce = nn.ModuleList(ConvBlock(c, w, kernel_size=1) for c, w in zip(channels, widths, strict=True))

    def forward(self, levels: tuple[Tensor, ...]) -> Tensor:
        size = levels[0].shape[-2:]
        reduced = [reduce(level) for reduce, level in zip(self.reduce, levels, strict=True)]
        return torch.cat([upsample(x, size, align_corners=True) for x in reduced], dim=1)


class PyramidLevel(nn.Module):
    """Two Conv_Blocks, an MS_Block and a Res_Block; (B, C_in, H, W) -> (B, C_out, *size).

    The last level upsamples before its Res_Block, so that it refines at full resolution; the others after it.
    """

    def __init__(self, in_channels: int, widths: LevelWidths, upsample_first: bool = False) -> None:
        super().__init__()
        self.upsample_first = upsample_first
        self.conv1 = ConvBlock(in_channels, widths.conv1)
        self.conv2 = ConvBlock(widths.conv1, widths.conv2)
        self.multi_scale = MultiScaleBlock(widths.conv2, widths.multi_scale)
        self.residual = ResBlock(widths.multi_scale, widths.inner)

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        return self.refine(self.conv1(x), size)

    def forward_shared(self, skip: Tensor, x: Tensor, size: tuple[int, int]) -> Tensor:
        """`forward` of N objects' maps x (B*N, C, H, W), each behind the same skip features (B, C_s, H, W)."""
        return self.refine(self.conv1.forward_shared(skip, x), size)

    def refine(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        """What follows the first Conv_Block."""
        x = self.multi_scale(self.conv2(x))
        if self.upsample_first:
            return self.residual(upsample(x, size, align_corners=True))
        return upsample(self.residual(x), size, align_corners=True)


class Decoder(nn.Module):
    """Pyramid of three levels, 1/8 -> 1/4 -> 1/2 -> 1.

    merged: (B, N, 2, M, h, w), both streams of N objects. levels: the encoder's five scales, each (B, C_l, H_l, W_l).
    previous_masks: (B, N, H, W) in [0, 1]. Returns logits (B, N, H, W). N objects are decoded as one batch.
    """

    def __init__(self, level_channels: tuple[int, ...], merged_channels: int, widths: DecoderWidths) -> None:
        super().__init__()
        self.skips = nn.ModuleList(SkipFeatures(level_channels[i : i + 3], widths.skips) for i in (2, 1, 0))
        inputs = (2 * merged_channels + 1, widths.levels[0].multi_scale, widths.levels[1].multi_scale)
        self.levels = nn.ModuleList(
            PyramidLevel(channels + sum(widths.skips), level, upsample_first=i == 2)
            for i, (channels, level) in enumerate(zip(inputs, widths.levels, strict=True))
        )
        self.predict = nn.Conv2d(widths.levels[2].multi_scale, 1, 3, padding=1)

    def forward(self, merged: Tensor, levels: tuple[Tensor, ...], previous_masks: Tensor) -> Tensor:
        skips = [skip(levels[i : i + 3]) for skip, i in zip(self.skips, (2, 1, 0), strict=True)]
        previous = F.adaptive_avg_pool2d(previous_masks.flatten(0, 1)[:, None], skips[0].shape[-2:])
        sizes = [skips[1].shape[-2:], skips[2].shape[-2:], previous_masks.shape[-2:]]
        x = torch.cat([merged.flatten(2, 3).flatten(0, 1), previous], dim=1)  # (B*N, C, h, w)
        return self.climb(x, skips, sizes).unflatten(0, (-1, previous_masks.shape[1])).squeeze(2)

    def climb(self, x: Tensor, skips: list[Tensor], sizes: list[tuple[int, int]]) -> Tensor:
        """All levels and the prediction: x (B*N, C, h, w) -> logits (B*N, 1, H, W).

        skips: of each level, (B, C_s, ...). sizes: of each level's result.
        """
        alone = len(x) == len(skips[0])
        for level, skip, size in zip(self.levels, skips, sizes, strict=True):
            x = level(torch.cat([skip, x], dim=1), size) if alone else level.forward_shared(skip, x, size)
        return self.predict(x)
