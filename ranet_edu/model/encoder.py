"""The Siamese encoder: one frame in, five scales of features and one matching feature per location out (§3.1, §3.4).

"Siamese" means that the template frame and the current frame go through the same weights, so that their features can be
compared by a dot product. Built in notebook 02.
"""

from __future__ import annotations

from typing import NamedTuple

import timm
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F

from ranet_edu.model.blocks import ConvBlock, InstanceNorm, upsample

SHORTEST = 1e-12  # length of a vector that is divided by it: shorter ones are divided by this


class FrameFeatures(NamedTuple):
    """What the encoder sees in a frame.

    levels: five maps of features, at 1/2, 1/4, 1/8, 1/16 and 1/32 of the frame, finest first: the decoder's skip
    features.
    matching: (B, C, H, W), one vector of unit length per location: what templates are correlated with.
    """

    levels: tuple[Tensor, ...]
    matching: Tensor


class ResNetBackbone(nn.Module):
    """torchvision's ResNet with every batch norm replaced by an affine instance norm (§3.4).

    (B, 3, H, W) -> maps at 1/2 (the stem after its ReLU), 1/4, 1/8, 1/16 and 1/32. An instance norm tracks no
    statistics: each frame is normalised by its own, when training and when testing.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        resnet = torchvision.models.get_model(name, weights=None, norm_layer=affine_instance_norm)
        self.conv1, self.bn1, self.maxpool = resnet.conv1, resnet.bn1, resnet.maxpool
        self.layer1, self.layer2, self.layer3, self.layer4 = resnet.layer1, resnet.layer2, resnet.layer3, resnet.layer4

    def stages(self) -> list[list[nn.Module]]:
        """The modules that lead to each of the five scales, finest first."""
        return [[self.conv1, self.bn1], [self.layer1], [self.layer2], [self.layer3], [self.layer4]]

    def forward(self, frames: Tensor) -> tuple[Tensor, ...]:
        half = F.relu(self.bn1(self.conv1(frames)))
        quarter = self.layer1(self.maxpool(half))
        eighth = self.layer2(quarter)
        sixteenth = self.layer3(eighth)
        return half, quarter, eighth, sixteenth, self.layer4(sixteenth)


class TimmBackbone(nn.Module):
    """A timm backbone that returns its five scales, with batch norms frozen at their ImageNet statistics.

    (B, 3, H, W) -> maps at 1/2 ... 1/32. Training with a few frames a batch would ruin batch statistics; frozen, the
    network computes the same in training and in use.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self.body = timm.create_model(name, features_only=True, pretrained=False)

    def train(self, mode: bool = True) -> TimmBackbone:
        super().train(mode)
        for module in self.body.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self

    def stages(self) -> list[list[nn.Module]]:
        """The modules that lead to each of the five scales, finest first."""
        ends = [int(info["module"].removeprefix("blocks.")) + 1 for info in self.body.feature_info.get_dicts()]
        stages = [list(self.body.blocks[start:end]) for start, end in zip([0, *ends], ends, strict=False)]
        return [[self.body.conv_stem, self.body.bn1, *stages[0]], *stages[1:]]

    def forward(self, frames: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.body(frames))


class Encoder(nn.Module):
    """Backbone and matching head: frames (B, 3, H, W), normalised -> `FrameFeatures`.

    The last three scales are reduced to `matching_channels`, l2-normalised over channels, brought to the size of level
    `matching_level` (4 is 1/16, 3 is 1/8), concatenated, reduced to `template_channels` and normalised again (§3.4).
    """

    def __init__(
        self,
        backbone: nn.Module,
        level_channels: tuple[int, ...],
        matching_channels: tuple[int, int, int],
        template_channels: int,
        matching_level: int,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.matching_level = matching_level
        self.reduce = nn.ModuleList(
            ConvBlock(channels, reduced)
            for channels, reduced in zip(level_channels[2:], matching_channels, strict=True)
        )
        self.merge = ConvBlock(sum(matching_channels), template_channels)

    def forward(self, frames: Tensor) -> FrameFeatures:
        levels = self.backbone(frames)
        size = levels[self.matching_level - 1].shape[-2:]
        reduced = [_fit(reduce(level), size) for reduce, level in zip(self.reduce, levels[2:], strict=True)]
        merged = self.merge(_concatenate_unit_vectors(reduced))
        return FrameFeatures(levels, unit_vectors(merged))


def affine_instance_norm(channels: int) -> InstanceNorm:
    """The encoder's norm: instance norm whose weight and bias start as those of ImageNet's batch norm."""
    return InstanceNorm(channels, affine=True)


def build_backbone(name: str) -> nn.Module:
    """A five-scale backbone by name: torchvision's ("resnet101") or timm's ("timm/tf_efficientnet_lite0")."""
    return TimmBackbone(name.removeprefix("timm/")) if name.startswith("timm/") else ResNetBackbone(name)


def pool_template(matching: Tensor, grid: tuple[int, int]) -> Tensor:
    """Matching features (B, C, H, W) -> template features (B, C, H0, W0), average-pooled and not normalised again."""
    return F.adaptive_avg_pool2d(matching, grid)


def _fit(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Finer maps are max-pooled to `size`, coarser ones upsampled."""
    if x.shape[-2] > size[0] or x.shape[-1] > size[1]:
        return F.adaptive_max_pool2d(x, size)
    return upsample(x, size, align_corners=False)


def _concatenate_unit_vectors(maps: list[Tensor]) -> Tensor:
    return torch.cat([unit_vectors(x) for x in maps], dim=1)


def unit_vectors(features: Tensor) -> Tensor:
    """Features (B, C, H, W), those of each pixel divided by their length: l2-normalised (§3.4). Zeros stay zeros."""
    shortest = max(SHORTEST, torch.finfo(features.dtype).tiny)
    if features.requires_grad or features.device.type != "cpu" or features.dtype == torch.float16:
        return F.normalize(features, dim=1, eps=shortest)
    # On a CPU PyTorch's length of vectors that lie across memory takes ten times as long. (Where a gradient is needed,
    # the root of zero has none, and in float16 squares overflow.)
    return features / features.square().sum(1, keepdim=True).sqrt_().clamp_min_(shortest)
