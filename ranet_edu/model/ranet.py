"""RANet, assembled: encoder, correlation, ranking attention, merge module and decoder (§3.1, figure 2).

The five steps of `RANet.trace` are the network; the rest of this file is its configuration. Assembled in notebook 06.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ranet_edu.model.correlation import similarity_maps
from ranet_edu.model.decoder import Decoder, DecoderWidths, LevelWidths, MergeModule
from ranet_edu.model.encoder import Encoder, FrameFeatures, build_backbone, pool_template
from ranet_edu.model.ranking import Ranked, RankingAttention, background_weights

PAPER_DECODER = DecoderWidths(
    merge=(256, 128, 128),
    skips=(32, 16, 16),
    levels=(LevelWidths(256, 256, 128, 64), LevelWidths(128, 64, 32, 16), LevelWidths(64, 32, 16, 8)),
)
LITE_DECODER = DecoderWidths(
    merge=(64, 32, 32),
    skips=(16, 8, 8),
    levels=(LevelWidths(80, 64, 48, 24), LevelWidths(40, 32, 24, 12), LevelWidths(20, 16, 12, 6)),
)


@dataclass(frozen=True)
class RANetConfig:
    """Everything that distinguishes one RANet from another; the defaults are the paper's network.

    backbone: torchvision's "resnet101" or "timm/..."; level_channels: channels of its five scales, finest first.
    image_mean, image_std: of RGB in [0, 1], what the backbone was trained with.
    matching_channels: the last three scales reduced; template_channels: C; matching_level: 4 is 1/16, 3 is 1/8.
    template_grid: (H0, W0). canvas: the frame size the video loop crops to, (height, width).
    fixed_size: refuse other sizes than the canvas.
    ranking: "attention", "none" or "maximum" (Table 4); kept_maps: the 256 of §3.2.
    ranking_channels: of the ranking network, and inside of its Res_Block.
    joint_ranking: rank several objects against each other (released multi-object network) or each by itself.
    correlation, previous_mask: switches of Table 5 (-CL, -PM).
    """

    backbone: str = "resnet101"
    level_channels: tuple[int, ...] = (64, 256, 512, 1024, 2048)
    image_mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    image_std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    matching_channels: tuple[int, int, int] = (128, 256, 512)
    template_channels: int = 512
    matching_level: int = 4
    template_grid: tuple[int, int] = (15, 27)
    canvas: tuple[int, int] = (480, 864)
    fixed_size: bool = True
    ranking: str = "attention"
    kept_maps: int = 256
    ranking_channels: tuple[int, int] = (128, 32)
    joint_ranking: bool = True
    correlation: bool = True
    previous_mask: bool = True
    decoder: DecoderWidths = PAPER_DECODER

    def __post_init__(self) -> None:
        if self.ranking not in ("attention", "none", "maximum"):
            raise ValueError(f'ranking must be "attention", "none" or "maximum", not {self.ranking!r}')


LITE_CONFIG = RANetConfig(
    backbone="timm/tf_efficientnet_lite0",
    level_channels=(16, 24, 40, 112, 320),
    image_mean=(127 / 255,) * 3,
    image_std=(128 / 255,) * 3,
    matching_channels=(48, 80, 64),
    template_channels=128,
    matching_level=3,
    canvas=(320, 560),
    fixed_size=False,
    ranking_channels=(64, 16),
    joint_ranking=False,
    decoder=LITE_DECODER,
)


class Trace(NamedTuple):
    """Every stage of one forward pass, for looking at the inside (notebooks 04-06).

    features: the current frame's. maps: S, (B, H0*W0, H, W), None without correlation. ranked: see `Ranked`.
    merged: (B, N, 2, M, h, w). logits: (B, N, H, W).
    """

    features: FrameFeatures
    maps: Tensor | None
    ranked: Ranked
    merged: Tensor
    logits: Tensor

    @property
    def probabilities(self) -> Tensor:
        """(B, N, H, W) in [0, 1]: each object by itself (sigmoid); objects compete in the video loop."""
        return self.logits.sigmoid()


class RANet(nn.Module):
    """Segments a frame, given a template frame with its masks and the masks of the frame before.

    Frames are float (B, 3, H, W), RGB, normalised by `normalize`. Masks are (B, N, H, W) in [0, 1], one for each of N
    objects. The template is the video's first frame (`template_from`). Build one with `RANet.paper()` or
    `RANet.lite()`; a `RANetConfig` changes any part.
    """

    def __init__(self, config: RANetConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(
            build_backbone(config.backbone),
            config.level_channels,
            config.matching_channels,
            config.template_channels,
            config.matching_level,
        )
        self.ranking = RankingAttention(
            config.template_grid, config.kept_maps, config.ranking, config.joint_ranking, config.ranking_channels
        )
        stream_channels = self.ranking.out_channels if config.correlation else 2 * config.template_channels
        if not config.correlation:
            self.ranking = None
        self.merge = MergeModule(stream_channels, config.decoder.merge)
        self.decoder = Decoder(config.level_channels, config.decoder.merge[2], config.decoder)
        self.register_buffer("image_mean", torch.tensor(config.image_mean).view(3, 1, 1), persistent=False)
        self.register_buffer("image_std", torch.tensor(config.image_std).view(3, 1, 1), persistent=False)

    @classmethod
    def paper(cls, weights: str | Path | None = None, **changes: object) -> RANet:
        """The paper's network: ResNet-101, 480 x 864, 64.5 M parameters with the authors' unused ones.

        weights: None (random), "imagenet" (torchvision's, downloaded), or a file: ours or one of the authors'
        checkpoints.
        changes: fields of `RANetConfig`, such as `ranking="maximum"`.
        """
        from ranet_edu.weights import initialise

        return initialise(cls(replace(RANetConfig(), **changes)), weights)

    @classmethod
    def lite(cls, weights: str | Path | None = "default", **changes: object) -> RANet:
        """The small network of the notebooks and the demo: EfficientNet-Lite0, any input size.

        weights: "default" or "minitrain" (shipped, see `open_model`), "imagenet" (encoder only, the rest random), None
            (random), or a file.
        """
        from ranet_edu.weights import initialise

        return initialise(cls(replace(LITE_CONFIG, **changes)), weights)

    @property
    def canvas(self) -> tuple[int, int]:
        """(height, width) of the frames that the video loop shows this network."""
        return self.config.canvas

    template_from = "first"
    crops = True

    def normalize(self, images: Tensor) -> Tensor:
        """RGB images (..., 3, H, W) in [0, 1] -> what the network was trained to see."""
        return (images - self.image_mean) / self.image_std

    def encode_template(self, frames: Tensor) -> Tensor:
        """Template frames (B, 3, H, W), normalised -> template features (B, C, H0, W0)."""
        self._check_frames(frames)
        return pool_template(self.encoder(frames).matching, self.config.template_grid)

    def forward(self, frames: Tensor, template: Tensor, template_masks: Tensor, previous_masks: Tensor) -> Tensor:
        """Probabilities (B, N, H, W) in [0, 1] of N objects in the current frames.

        frames: (B, 3, H, W), normalised. template: (B, C, H0, W0) of `encode_template`.
        template_masks: (B, N, H, W), the objects in the template frame, in the order that the result has.
        previous_masks: (B, N, H, W), the objects in the frame before, zeros where unknown.
        Raises ValueError that names the argument, the shape it has and the shape it needs.
        """
        return self.trace(frames, template, template_masks, previous_masks).probabilities

    def trace(self, frames: Tensor, template: Tensor, template_masks: Tensor, previous_masks: Tensor) -> Trace:
        """`forward`, with every intermediate result named."""
        self._check_inputs(frames, template, template_masks, previous_masks)
        masks = F.adaptive_avg_pool2d(template_masks.to(frames.dtype), self.config.template_grid)
        previous = previous_masks.to(frames.dtype) * self.config.previous_mask
        features = self.encoder(frames)  # §3.1
        maps = similarity_maps(template, features.matching) if self.config.correlation else None  # equation 1
        ranked = self._rank(maps, masks, template, features)  # equations 2-3
        merged = self._merge(ranked.maps, features.levels[2].shape[-2:])  # figure 4, right
        return Trace(features, maps, ranked, merged, self.decoder(merged, features.levels, previous))

    def _rank(self, maps: Tensor | None, masks: Tensor, template: Tensor, features: FrameFeatures) -> Ranked:
        if maps is not None:
            return self.ranking(maps, masks)
        return Ranked(concatenate_instead_of_correlating(template, masks, features.matching))

    def _merge(self, ranked: Tensor, size: tuple[int, int]) -> Tensor:
        """Both streams of all objects as one batch: (B, N, 2, K, H, W) -> (B, N, 2, M, h, w)."""
        return self.merge(ranked.flatten(0, 2), size).unflatten(0, ranked.shape[:3])

    def _check_frames(self, frames: Tensor) -> None:
        size = self.config.canvas if self.config.fixed_size else ("H", "W")
        check_shape("frames", frames, ("B", 3, *size))
        if not frames.is_floating_point():
            raise ValueError(f"frames are {frames.dtype}; normalise them first: model.normalize(frames / 255)")

    def _check_inputs(self, frames: Tensor, template: Tensor, template_masks: Tensor, previous_masks: Tensor) -> None:
        self._check_frames(frames)
        batch, _, height, width = frames.shape
        check_shape("template", template, (batch, self.config.template_channels, *self.config.template_grid))
        check_shape("template_masks", template_masks, (batch, "N", height, width))
        check_shape("previous_masks", previous_masks, (batch, template_masks.shape[1], height, width))


def concatenate_instead_of_correlating(template: Tensor, masks: Tensor, features: Tensor) -> Tensor:
    """The variant "-CL" of Table 5: each stream is the current features beside the template's masked ones.

    template: (B, C, H0, W0). masks: (B, N, H0, W0). features: (B, C, H, W). Returns (B, N, 2, 2C, H, W).
    """
    weights = torch.stack([masks, background_weights(masks)], dim=2)  # (B, N, 2, H0, W0)
    masked = (template[:, None, None] * weights[:, :, :, None]).flatten(0, 2)
    masked = F.interpolate(masked, size=features.shape[-2:], mode="bilinear").unflatten(0, weights.shape[:3])
    current = features[:, None, None].expand(-1, *weights.shape[1:3], -1, -1, -1)
    return torch.cat([current, masked], dim=3)


def check_shape(name: str, tensor: Tensor, wanted: tuple[int | str, ...]) -> None:
    """Raise ValueError unless the shape fits; a letter in `wanted` stands for any size of at least 1."""
    shape = tuple(tensor.shape)
    fits = len(shape) == len(wanted) and all(
        have == want if isinstance(want, int) else have > 0 for have, want in zip(shape, wanted, strict=True)
    )
    if not fits:
        needed = ", ".join(str(size) for size in wanted)
        raise ValueError(f"{name} has shape {shape}, but ({needed}) is needed")
