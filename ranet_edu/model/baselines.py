"""The two frameworks that RANet joins: matching only and propagation only (figure 1, a and b).

Both look through an ImageNet backbone that never saw a mask, and work untrained: what they get right, features alone
get right; what they get wrong is what the rest of the network is for. They take RANet's place in the video loop.
Compared with it in notebook 01, and taken apart in notebook 04.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ranet_edu.model.correlation import matching_logits, similarity_maps
from ranet_edu.model.encoder import build_backbone, unit_vectors
from ranet_edu.model.ranet import LITE_CONFIG, RANet, RANetConfig, check_shape

MATCHINGS = ("nearest", "average")


class MatchingBaseline(nn.Module):
    """Matching only: a pixel belongs to what its best matches in the template belong to.

    matching: "nearest" compares the single best match in the object with the best one outside of it (as PML, [8]);
    "average" compares the means of the `neighbours` best (VideoMatch's soft matching, [19]). The previous mask is not
    used.
    Sees whole frames (`crops`): on minival J&F was 0.61, and 0.51 on crops, which lose the background's examples.
    level: the scale that is matched, 4 is 1/16. sharpness: how fast a difference of cosines becomes certainty.
    config: backbone, normalisation and canvas are taken from it.
    """

    template_from = "first"
    crops = False

    def __init__(
        self,
        matching: str = "nearest",
        *,
        level: int = 4,
        neighbours: int = 20,
        sharpness: float = 20.0,
        canvas: tuple[int, int] = (480, 864),
        config: RANetConfig = LITE_CONFIG,
    ) -> None:
        super().__init__()
        if matching not in MATCHINGS:
            raise ValueError(f"matching must be one of {', '.join(MATCHINGS)}, not {matching!r}")
        self.config, self.canvas, self.level = config, canvas, level
        self.neighbours = 1 if matching == "nearest" else neighbours
        self.sharpness = sharpness
        self.encoder = nn.Module()
        self.encoder.backbone = build_backbone(config.backbone)
        self.register_buffer("image_mean", torch.tensor(config.image_mean).view(3, 1, 1), persistent=False)
        self.register_buffer("image_std", torch.tensor(config.image_std).view(3, 1, 1), persistent=False)

    @classmethod
    def pretrained(cls, *arguments: object, **options: object) -> MatchingBaseline:
        """The baseline with ImageNet EfficientNet-Lite0 features, from an installed package: no download."""
        from ranet_edu.weights import load_imagenet

        model = cls(*arguments, **options)
        load_imagenet(model)
        return model.eval()

    def normalize(self, images: Tensor) -> Tensor:
        """RGB images (..., 3, H, W) in [0, 1] -> what the backbone was trained to see."""
        return (images - self.image_mean) / self.image_std

    def encode_template(self, frames: Tensor) -> Tensor:
        """Template frames (B, 3, H, W), normalised -> unit vectors (B, C, h, w), not pooled, unlike RANet's.

        h and w are those of `level`: H/16 and W/16 at level 4.
        """
        check_shape("frames", frames, ("B", 3, "H", "W"))
        return unit_vectors(self.encoder.backbone(frames)[self.level - 1])

    def forward(self, frames: Tensor, template: Tensor, template_masks: Tensor, previous_masks: Tensor) -> Tensor:
        """Probabilities (B, N, H, W), with the arguments of `RANet.forward`; `previous_masks` only tells N."""
        maps = similarity_maps(template, self.encode_template(frames))  # (B, K, h, w)
        hard = (template_masks >= 0.5).to(maps.dtype)
        masks = F.adaptive_avg_pool2d(hard, template.shape[-2:]).flatten(2)  # (B, N, K), shares of cells
        scores = [self._evidence(maps, mask) for mask in masks.unbind(1)]
        probabilities = torch.stack(scores, dim=1).mul(self.sharpness).sigmoid()
        return F.interpolate(probabilities, size=frames.shape[-2:], mode="bilinear")

    def _evidence(self, maps: Tensor, mask: Tensor) -> Tensor:
        """Cosine of the best matches inside minus outside of one object: (B, K, h, w), (B, K) -> (B, h, w)."""
        inside = mask >= mask.amax(1, keepdim=True).clamp(max=0.5)  # a small object keeps its fullest cell
        inside = inside & (mask > 0)  # an object that was lost has none
        return self._best(maps, inside) - self._best(maps, ~inside)

    def _best(self, maps: Tensor, chosen: Tensor) -> Tensor:
        """Mean of the (at most) `neighbours` best similarities among the chosen template cells; -1 without any."""
        candidates = maps.masked_fill(~chosen[:, :, None, None], -1.0)
        if self.neighbours == 1:
            return candidates.amax(1)
        best = candidates.topk(min(self.neighbours, maps.shape[1]), dim=1).values
        counted = (best > -1).sum(1)
        return torch.where(counted > 0, (best * (best > -1)).sum(1) / counted.clamp(min=1), -1.0)


class PropagationBaseline(MatchingBaseline):
    """Propagation only: the mask of the frame before, moved by matching within a few cells of the same place.

    Frame by frame the template is the last frame with its predicted mask, so that nothing remembers the first: errors
    stay and grow, the drift of propagation methods (§1). reach: how many cells of 16 pixels something may move in a
    frame.
    """

    template_from = "previous"

    def __init__(self, reach: int = 2, **options: object) -> None:
        super().__init__("nearest", **options)
        self.reach = reach

    def _best(self, maps: Tensor, chosen: Tensor) -> Tensor:
        near = _within_reach(*maps.shape[-2:], self.reach, maps.device)
        return super()._best(maps.masked_fill(~near, -1.0), chosen)


class MapsAlone(nn.Module):
    """A RANet's similarity maps without what follows them: no ranking, no decoder, no previous mask but for the crop.

    What its matching features can tell, and what stage "matching" of the training improves. Built in notebook 07.
    """

    template_from = "first"
    crops = True

    def __init__(self, network: RANet) -> None:
        super().__init__()
        self.network, self.canvas = network, network.canvas
        self.normalize, self.encode_template = network.normalize, network.encode_template

    def forward(self, frames: Tensor, template: Tensor, template_masks: Tensor, previous_masks: Tensor) -> Tensor:
        """Probabilities (B, N, H, W), with the arguments of `RANet.forward`; `previous_masks` is not used."""
        probabilities = self.logits(frames, template, template_masks).sigmoid()
        return F.interpolate(probabilities, size=frames.shape[-2:], mode="bilinear")

    def logits(self, frames: Tensor, template: Tensor, template_masks: Tensor) -> Tensor:
        """Logits (B, N, h, w) at the size of the matching features; see `matching_logits`."""
        maps = similarity_maps(template, self.network.encoder(frames).matching)
        return matching_logits(maps, template_masks, self.network.config.template_grid)


def _within_reach(height: int, width: int, reach: int, device: torch.device) -> Tensor:
    """(height * width, height, width), True where a template cell lies within `reach` of a frame cell."""
    rows = torch.arange(height, device=device)
    columns = torch.arange(width, device=device)
    vertical = (rows[:, None] - rows).abs() <= reach  # (h, h)
    horizontal = (columns[:, None] - columns).abs() <= reach  # (w, w)
    return (vertical[:, None, :, None] & horizontal[None, :, None, :]).flatten(0, 1)
