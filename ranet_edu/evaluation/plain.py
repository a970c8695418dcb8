"""RANet as it is written down, step after step: what the speed of ours is measured against (notebook 13).

Nothing is shared or batched that the text does not share: similarity maps by a convolution with 405 kernels, a whole
sort and a selection of whole maps, foreground and background and the objects one after the other, every norm and
activation an operation of its own. It computes what `RANet` does, from the same weights; a test holds the two together.
"""

from __future__ import annotations

from functools import partial

import timm
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F

from ranet_edu.model.blocks import upsample
from ranet_edu.model.encoder import FrameFeatures
from ranet_edu.model.ranet import RANet
from ranet_edu.model.ranking import BACKGROUND_THRESHOLD, LEARNED_SCALE


class PlainRANet(nn.Module):
    """The plain formulation of `model`: same arguments, same result, same weights (the tensors are shared).

    Takes the model's place in `VideoSegmenter`. Raises ValueError for the variants of Tables 4 and 5.
    """

    template_from = "first"
    crops = True

    def __init__(self, model: RANet) -> None:
        super().__init__()
        self.config = model.config
        if not (self.config.correlation and self.config.ranking == "attention"):
            raise ValueError("only the network with correlation and ranking attention has a plain formulation")
        self.canvas, self.normalize = model.canvas, model.normalize
        self.encoder = PlainEncoder(model)
        self.ranking = PlainRanking(model)
        self.merge = PlainMerge(model)
        self.decoder = PlainDecoder(model)

    def encode_template(self, frames: Tensor) -> Tensor:
        return F.adaptive_avg_pool2d(self.encoder(frames).matching, self.config.template_grid)

    def forward(self, frames: Tensor, template: Tensor, template_masks: Tensor, previous_masks: Tensor) -> Tensor:
        """Probabilities (1, N, H, W); see `RANet.forward`. Raises ValueError for more than one frame."""
        if len(frames) != 1:
            raise ValueError(f"the plain formulation takes one frame at a time, not {len(frames)}")
        features = self.encoder(frames)
        maps = correlate(template, features.matching)  # (1, H0*W0, H, W)
        masks = F.adaptive_avg_pool2d(template_masks.to(frames.dtype), self.config.template_grid)
        previous = previous_masks.to(frames.dtype) * self.config.previous_mask
        found = []
        for number, (foreground, background) in enumerate(self.ranking(maps, masks)):
            size = features.levels[2].shape[-2:]
            streams = [self.merge(foreground, size), self.merge(background, size)]
            found.append(self.decoder(streams, features.levels, previous[:, number : number + 1]))
        return torch.cat(found, dim=1).sigmoid()


class PlainEncoder(nn.Module):
    """Backbone and matching features (§3.1, §3.4)."""

    def __init__(self, model: RANet) -> None:
        super().__init__()
        self.backbone = _backbone(model.config.backbone, model.encoder.backbone.state_dict())
        self.matching_level = model.config.matching_level
        self.reduce = nn.ModuleList(block.conv for block in model.encoder.reduce)
        self.merge = model.encoder.merge.conv

    def forward(self, frames: Tensor) -> FrameFeatures:
        levels = self.backbone(frames)
        size = levels[self.matching_level - 1].shape[-2:]
        vectors = []
        for convolution, level in zip(self.reduce, levels[2:], strict=True):
            reduced = conv_block(convolution, level)
            larger = reduced.shape[-1] > size[-1]
            reduced = F.adaptive_max_pool2d(reduced, size) if larger else upsample(reduced, size, align_corners=False)
            vectors.append(F.normalize(reduced, dim=1, eps=1e-12))
        return FrameFeatures(levels, F.normalize(conv_block(self.merge, torch.cat(vectors, dim=1)), dim=1, eps=1e-12))


class PlainRanking(nn.Module):
    """Filter, score, sort, select, for one stream of one object after the other (§3.2, §3.3, equations 2-3)."""

    def __init__(self, model: RANet) -> None:
        super().__init__()
        self.grid, self.keep, self.joint = model.ranking.grid, model.ranking.keep, model.ranking.joint
        self.first, self.block, self.last = model.ranking.network.layers

    def forward(self, maps: Tensor, masks: Tensor) -> list[tuple[Tensor, Tensor]]:
        """maps: S, (1, H0*W0, H, W). masks: (1, N, H0, W0). Returns N pairs of ranked maps (1, K, H, W)."""
        objects = list(masks.flatten(2).unbind(1))  # N times (1, H0*W0)
        if self.joint and len(objects) > 1:
            return self._jointly(maps, objects)
        pairs = []
        for mask in objects:
            background = (1 - mask >= BACKGROUND_THRESHOLD).to(mask.dtype)
            pairs.append((self._stream(maps, mask), self._stream(maps, background)))
        return pairs

    def _stream(self, maps: Tensor, weights: Tensor) -> Tensor:
        filtered = maps * weights[:, :, None, None]
        learned = self._raw_scores(filtered) * (weights != 0)
        return self._select(filtered, filtered.amax((2, 3)) + learned)

    def _jointly(self, maps: Tensor, objects: list[Tensor]) -> list[tuple[Tensor, Tensor]]:
        owners = [(1 - sum(objects)).clamp(min=0), *objects]  # the image's background, then the objects
        raw = self._raw_scores(maps)
        filtered = [maps * owner[:, :, None, None] for owner in owners]
        scores = [mine.amax((2, 3)) + raw * owner for mine, owner in zip(filtered, owners, strict=True)]
        pairs = []
        for i in range(1, len(owners)):
            foreground = self._select(filtered[i], scores[i])
            rivals = torch.cat(filtered[:i] + filtered[i + 1 :], dim=1)  # (1, N*H0*W0, H, W)
            pairs.append((foreground, self._select(rivals, torch.cat(scores[:i] + scores[i + 1 :], dim=1))))
        return pairs

    def _raw_scores(self, maps: Tensor) -> Tensor:
        """What the ranking network says of each map, (1, H0*W0), 0 or more."""
        pooled = F.adaptive_max_pool2d(maps, self.grid)
        swapped = pooled.flatten(2).transpose(1, 2).unflatten(2, self.grid)
        x = res_block(self.block, conv_block(self.first.conv, swapped), dilation=2)
        return LEARNED_SCALE * F.relu(conv_block(self.last.conv, x)).flatten(1)

    def _select(self, maps: Tensor, scores: Tensor) -> Tensor:
        order = scores[0].sort(descending=True).indices[: self.keep]
        return maps.index_select(1, order)


class PlainMerge(nn.Module):
    """The merge module on one stream (supplementary, figure 1)."""

    def __init__(self, model: RANet) -> None:
        super().__init__()
        self.first, self.block, self.last = model.merge.layers

    def forward(self, maps: Tensor, size: tuple[int, int]) -> Tensor:
        x = conv_block(self.first.conv, upsample(maps, size, align_corners=False))
        return conv_block(self.last.conv, res_block(self.block, x))


class PlainDecoder(nn.Module):
    """The pyramid decoder, for one object (supplementary, figures 1-2)."""

    def __init__(self, model: RANet) -> None:
        super().__init__()
        self.skips = nn.ModuleList(nn.ModuleList(b.conv for b in skip.reduce) for skip in model.decoder.skips)
        self.levels, self.predict = model.decoder.levels, model.decoder.predict

    def forward(self, streams: list[Tensor], levels: tuple[Tensor, ...], previous: Tensor) -> Tensor:
        """streams: foreground and background, (1, M, h, w). previous: (1, 1, H, W). Returns logits (1, 1, H, W)."""
        skips = [self._skip(number, levels[first : first + 3]) for number, first in enumerate((2, 1, 0))]
        sizes = [skips[1].shape[-2:], skips[2].shape[-2:], previous.shape[-2:]]
        x = torch.cat([skips[0], *streams, F.adaptive_avg_pool2d(previous, skips[0].shape[-2:])], dim=1)
        for number, (level, size) in enumerate(zip(self.levels, sizes, strict=True)):
            x = torch.cat([skips[number], x], dim=1) if number else x
            x = conv_block(level.conv2.conv, conv_block(level.conv1.conv, x))
            x = sum(branch(x) for branch in level.multi_scale.branches)
            if number == 2:  # the last level refines at full resolution
                x = res_block(level.residual, upsample(x, size, align_corners=True))
            else:
                x = upsample(res_block(level.residual, x), size, align_corners=True)
        return self.predict(x)

    def _skip(self, number: int, levels: tuple[Tensor, ...]) -> Tensor:
        reduced = [conv_block(conv, level) for conv, level in zip(self.skips[number], levels, strict=True)]
        return torch.cat([upsample(x, levels[0].shape[-2:], align_corners=True) for x in reduced], dim=1)


def correlate(template: Tensor, features: Tensor) -> Tensor:
    """Every template pixel as a 1x1 kernel over the frame's features (equation 1): (1, H0*W0, H, W)."""
    kernels = template[0].flatten(1).t()[:, :, None, None]  # (H0*W0, C, 1, 1)
    return F.conv2d(features, kernels)


def conv_block(convolution: nn.Conv2d, x: Tensor) -> Tensor:
    """Instance norm, ReLU, convolution, one after the other."""
    return F.conv2d(F.relu(F.instance_norm(x)), convolution.weight, convolution.bias, padding=convolution.padding)


def res_block(block: nn.Module, x: Tensor, dilation: int = 1) -> Tensor:
    """The bottleneck of 1x1, 3x3 and 1x1 around an identity; `block` holds the three convolutions."""
    inner = F.relu(F.instance_norm(F.conv2d(x, block.conv1.weight)))
    inner = F.conv2d(inner, block.conv2.weight, padding=dilation, dilation=dilation)
    inner = F.relu(F.instance_norm(inner))
    return F.relu(x + F.instance_norm(F.conv2d(inner, block.conv3.weight)))


class _ResNet(nn.Module):
    """torchvision's ResNet with affine instance norms, at five scales."""

    def __init__(self, name: str) -> None:
        super().__init__()
        norm = partial(nn.InstanceNorm2d, affine=True)
        whole = torchvision.models.get_model(name, weights=None, norm_layer=norm)
        names = ("conv1", "bn1", "maxpool", "layer1", "layer2", "layer3", "layer4")
        for name in names:
            self.add_module(name, getattr(whole, name))

    def forward(self, frames: Tensor) -> tuple[Tensor, ...]:
        levels = [F.relu(self.bn1(self.conv1(frames)))]
        x = self.maxpool(levels[0])
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = layer(x)
            levels.append(x)
        return tuple(levels)


def _backbone(name: str, weights: dict[str, Tensor]) -> nn.Module:
    if name.startswith("timm/"):
        backbone = timm.create_model(name.removeprefix("timm/"), features_only=True, pretrained=False)
        weights = {key.removeprefix("body."): tensor for key, tensor in weights.items()}
    else:
        backbone = _ResNet(name)
    backbone.load_state_dict(weights, assign=True)
    return backbone.eval()
