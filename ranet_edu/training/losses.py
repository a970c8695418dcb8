"""What training minimises: how far the predicted masks are from the true ones, one number per sample.

Each loss is a mean within a sample, never over the batch. The mean over a batch of two processes is then the mean of
their means, so that two processes with batch B learn exactly what one process learns with batch 2B.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ranet_edu.datasets.samples import Sample
from ranet_edu.model.baselines import MapsAlone
from ranet_edu.model.ranet import RANet, Trace
from ranet_edu.video.segmenter import combine_objects

TERMS = ("loss", "bce", "iou")


def boundary_weights(true: Tensor, strength: float, radius: int = 4) -> Tensor:
    """Pixel weights `(B, N, H, W)`: 1 + `strength` within `radius` pixels of an object's contour, 1 elsewhere.

    `true` `(B, N, H, W)` in [0, 1]. The band is the mask dilated minus the mask eroded. Behind notebook 07's `train`.
    """
    dilated, eroded = _largest_around(true, radius), -_largest_around(-true, radius)
    return 1 + strength * (dilated - eroded)


def _largest_around(x: Tensor, radius: int) -> Tensor:
    """The largest value within `radius` rows and columns of each: rows first, which takes a fifth of the time."""
    side = 2 * radius + 1
    rows = F.max_pool2d(x, (side, 1), stride=1, padding=(radius, 0))
    return F.max_pool2d(rows, (1, side), stride=1, padding=(0, radius))


def binary_cross_entropy(logits: Tensor, true: Tensor, valid: Tensor, boundary: float = 0.0) -> Tensor:
    """The paper's loss (§3.5), `(B,)`: mean over the valid pixels and the objects of each sample.

    `logits`, `true` `(B, N, H, W)`; `valid` `(B, H, W)`, 0 where the truth is unknown. With `boundary` > 0 the pixels
    next to a contour weigh 1 + `boundary`. A sample without a valid pixel has loss 0. Built in notebook 07.
    """
    per_pixel = F.binary_cross_entropy_with_logits(logits, true, reduction="none")
    weights = valid.unsqueeze(1).expand_as(true)
    if boundary:
        weights = weights * boundary_weights(true, boundary)
    return (per_pixel * weights).sum((1, 2, 3)) / weights.sum((1, 2, 3)).clamp(min=1)


def soft_jaccard_loss(logits: Tensor, true: Tensor, valid: Tensor) -> Tensor:
    """One minus the Jaccard index of probabilities, `(B,)` in [0, 1]: the mean over the objects of each sample.

    Shapes as in `binary_cross_entropy`. It weighs a small object as much as a large one, as the DAVIS measure J does.
    One pixel is added to intersection and union: an object that is absent, and predicted absent, has loss 0.
    Built in notebook 07.
    """
    probabilities = logits.sigmoid() * valid.unsqueeze(1)
    true = true * valid.unsqueeze(1)
    intersection = (probabilities * true).sum((2, 3))
    union = (probabilities + true).sum((2, 3)) - intersection
    return (1 - (intersection + 1) / (union + 1)).mean(1)


class RolloutLoss(nn.Module):
    """The network and its loss as one module, so that `DistributedDataParallel` can wrap both.

    With T > 1 frames in a sample the network is fed its own probabilities as the next frame's previous mask, as it will
    be in a video, where objects compete; `detach` stops the gradient there. Of a rollout's first frames up to
    `burn_in`, how many is drawn anew each time, are only looked at, and the T - `burn_in` after them are learned from:
    the network meets the masks that it makes itself late in a video, at the price of early ones. Built in notebooks 07
    (T = 1) and 08 (rollouts).
    """

    def __init__(
        self, model: nn.Module, iou: float = 0.0, boundary: float = 0.0, detach: bool = True, burn_in: int = 0
    ) -> None:
        super().__init__()
        self.model, self.iou, self.boundary, self.detach, self.burn_in = model, iou, boundary, detach, burn_in

    def forward(self, batch: Sample) -> Tensor:
        """A batched `Sample` -> `(B, 3)`: total, BCE and IoU loss (`TERMS`) of each sample, means over its frames."""
        template = self.model.encode_template(self.model.normalize(batch.template / 255))
        start = int(torch.randint(self.burn_in + 1, ())) if self.burn_in else 0  # leaves a caller's random state alone
        previous, losses = self._look(batch, template, start), []
        for time in range(start, start + batch.frames.shape[1] - self.burn_in):
            trace = self._trace(batch, template, previous, time)
            masks = combine_objects(trace.probabilities, "maximum")
            previous = masks.detach() if self.detach else masks
            true, valid = batch.true_masks[:, time], batch.valid[:, time]
            losses.append(_terms(trace.logits.float(), true, valid, self.iou, self.boundary))
        return torch.stack(losses).mean(0)

    @torch.no_grad()
    def _look(self, batch: Sample, template: Tensor, count: int) -> Tensor:
        """The masks after the first `count` frames."""
        previous = batch.previous_masks
        for time in range(count):
            previous = combine_objects(self._trace(batch, template, previous, time).probabilities, "maximum")
        return previous

    def _trace(self, batch: Sample, template: Tensor, previous: Tensor, time: int) -> Trace:
        frames = self.model.normalize(batch.frames[:, time] / 255)
        return self.model.trace(frames, template, batch.template_masks, previous)


class MatchingLoss(nn.Module):
    """The loss of the similarity maps alone, by which the matching features learn what the decoder can't teach them.

    A gradient that comes back through decoder, merge module and ranking does them no good: within 200 steps it undid a
    third of what this loss had taught (data/experiments/training-runs.md, run 13). Behind notebook 07's `train`.
    """

    def __init__(self, model: RANet, iou: float = 0.0) -> None:
        super().__init__()
        self.maps, self.iou = MapsAlone(model), iou

    def forward(self, batch: Sample) -> Tensor:
        """A batched `Sample` -> `(B, 3)`, as `RolloutLoss` gives, of the masks at the size of the maps."""
        template = self.maps.encode_template(self.maps.normalize(batch.template / 255))
        losses = []
        for time in range(batch.frames.shape[1]):
            frames = self.maps.normalize(batch.frames[:, time] / 255)
            logits = self.maps.logits(frames, template, batch.template_masks)
            known = torch.cat([batch.true_masks[:, time], batch.valid[:, time, None]], dim=1).float()
            small = F.adaptive_avg_pool2d(known, logits.shape[-2:])
            losses.append(_terms(logits, small[:, :-1], small[:, -1], self.iou))
        return torch.stack(losses).mean(0)


def _terms(logits: Tensor, true: Tensor, valid: Tensor, iou: float, boundary: float = 0.0) -> Tensor:
    cross_entropy = binary_cross_entropy(logits, true, valid, boundary)
    jaccard = soft_jaccard_loss(logits, true, valid)
    return torch.stack([cross_entropy + iou * jaccard, cross_entropy, jaccard], dim=1)
