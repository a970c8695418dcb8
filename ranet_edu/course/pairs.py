"""One pair of frames as a decoder sees it, for assignment 4: features computed once, so that training takes seconds.

The backbone has its ImageNet weights, the matching head and the ranking network random ones, and what they make of the
two frames is stored. What learns is the part after them, a decoder of tens of thousands of weights. No trained weights
of ours are used.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ranet_edu.datasets.davis import SAMPLES, DavisDataset
from ranet_edu.model.decoder import Decoder, DecoderWidths, LevelWidths, MergeModule
from ranet_edu.model.ranet import LITE_CONFIG, RANet

CANVAS = (64, 112)
"""(H, W) of the frames."""
KEPT_MAPS = 64
"""K: ranked maps in each stream."""
LEVEL_CHANNELS = LITE_CONFIG.level_channels
"""C_l: channels of the encoder's five scales, finest first."""

WIDTHS = DecoderWidths(
    merge=(32, 16, 16),
    skips=(8, 4, 4),
    levels=(LevelWidths(24, 24, 16, 8), LevelWidths(24, 24, 16, 8), LevelWidths(16, 16, 16, 8)),
)


class Pair(NamedTuple):
    """A template frame and a current frame (batch of 1), and what comes before the decoder.

    ranked: (1, 2, K, H/8, W/8), the foreground stream, then the background stream. levels: the current frame's five
    scales, (1, C_l, H/2, W/2) to (1, C_l, H/32, W/32). previous: (1, H, W), the mask of an earlier frame; true: (1, H,
    W), that of the current one; both 0 or 1. template, frame: uint8 RGB (H, W, 3); template_mask: uint8 (H, W).
    """

    ranked: Tensor
    levels: tuple[Tensor, ...]
    previous: Tensor
    true: Tensor
    template: np.ndarray
    template_mask: np.ndarray
    frame: np.ndarray


@cache
def sample_pair(clip: str = "cat", label: int = 1, template: int = 0, frame: int = 30, gap: int = 3) -> Pair:
    """Object `label` of a sample clip in the frames `template` and `frame`, with the mask of `gap` frames before.

    The random weights, and with them the features, are the same in every call. Treat the result as constant.
    """
    sequence = DavisDataset(SAMPLES, year="2017", split="all")[clip]
    images = [_image(sequence.read_frame(number)) for number in (template, frame)]
    masks = [_mask(sequence.read_annotation(number) == label) for number in (template, frame - gap, frame)]
    first, current = (torch.from_numpy(image).permute(2, 0, 1)[None] / 255 for image in images)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        model = RANet.lite(weights="imagenet", kept_maps=KEPT_MAPS).eval()
        template_features = model.encode_template(model.normalize(first))
        trace = model.trace(model.normalize(current), template_features, masks[0][None], masks[1][None])
    return Pair(
        trace.ranked.maps[:, 0], trace.features.levels, masks[1], masks[2], images[0],
        masks[0][0].numpy().astype(np.uint8), images[1],
    )  # fmt: skip


def _image(frame: np.ndarray) -> np.ndarray:
    """A frame at the canvas' size, uint8 RGB."""
    pixels = torch.from_numpy(np.ascontiguousarray(frame)).permute(2, 0, 1)[None].float()
    small = F.interpolate(pixels, CANVAS, mode="area")[0].permute(1, 2, 0)
    return small.round().to(torch.uint8).numpy()


def _mask(mask: np.ndarray) -> Tensor:
    """A mask at the canvas' size: float (1, H, W), 0 or 1."""
    small = F.interpolate(torch.from_numpy(mask)[None, None].float(), CANVAS, mode="area")[0]
    return (small > 0.5).float()


class PairDecoder(nn.Module):
    """The package's merge module and pyramid decoder, made narrow: a `Pair` -> logits (1, H, W)."""

    def __init__(self) -> None:
        super().__init__()
        self.merge = MergeModule(KEPT_MAPS, WIDTHS.merge)
        self.decoder = Decoder(LEVEL_CHANNELS, WIDTHS.merge[2], WIDTHS)

    def forward(self, pair: Pair) -> Tensor:
        """Logits of the object in the pair's current frame."""
        merged = self.merge(pair.ranked.flatten(0, 1), pair.levels[2].shape[-2:]).unflatten(0, (1, 1, 2))
        return self.decoder(merged, pair.levels, pair.previous[:, None])[:, 0]


def small_decoder(seed: int = 0) -> PairDecoder:
    """An untrained `PairDecoder`; one seed, one set of weights. The global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return PairDecoder()
