"""The ranking attention module: score the similarity maps, rank them, keep the best 256 (§3.2, equations 2-3).

How many template pixels belong to the object differs from video to video, and a convolution needs a fixed number of
channels in a fixed meaning. Ranking gives both: channel 0 is always the most important map, whichever template pixel it
came from. Built in notebook 05; the variants of Table 4 are compared in notebook 11.

**How the scores learn.** Scores decide the order only, and an order has no gradient: the released network computes a
hard sort, and without more its ranking network would stay at its first weights for ever. Nor does it help to let a
score scale its own map, because the decoder begins with an instance norm, which undoes every scale. What the decoder
can feel is *which* map stands in a channel. While gradients are recorded, the order is therefore accompanied by a soft
one: row k of a matrix P (`soft_order`) says how nearly each candidate would have taken place k. `P - P.detach()` is
exactly zero, so the result is that of the hard sort to the last bit; its derivative is that of P, so that score j
rises where the loss would fall if map j stood nearer to the front, and sinks where it would fall if it stood further
back or were cut off. Maps that were cut off learn too.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ranet_edu.model.blocks import ConvBlock, ResBlock

LEARNED_SCALE = 0.2  # weight of the learned score beside the maximum (released network)
BACKGROUND_THRESHOLD = 0.9  # a template cell counts as background where at least this share of it is
TEMPERATURE = 0.02  # of `soft_order`: differences of scores below it are a matter of opinion; maxima differ by as much


class Ranked(NamedTuple):
    """What the module hands to the decoder, and what it decided on the way.

    maps: (B, N, 2, K, H, W), foreground stream then background stream of N objects, best map first, padded with zeros.
    foreground_scores: (B, N, M), one score for each candidate map; background_scores: (B, N, M').
    foreground_order, background_order: (B, N, min(K, M)) and (B, N, min(K, M')), the candidates that were kept, best
        first. Candidate c is template pixel c mod H0*W0. The variants without ranking leave scores and orders None.
    """

    maps: Tensor
    foreground_scores: Tensor | None = None
    background_scores: Tensor | None = None
    foreground_order: Tensor | None = None
    background_order: Tensor | None = None


class RankingNetwork(nn.Module):
    """f_n of equation 2: looks at all maps at once, from each template pixel's point of view.

    (B, H*W, H0, W0) -> (B, H0*W0), a raw score for each template pixel before ReLU and scaling. The input's channels
    are positions in the current frame, its pixels are positions in the template: neighbouring template pixels can
    compare notes.
    """

    def __init__(self, positions: int, channels: int = 128, inner_channels: int = 32) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            ConvBlock(positions, channels), ResBlock(channels, inner_channels, dilation=2), ConvBlock(channels, 1)
        )
        nn.init.ones_(self.layers[2].conv.bias)  # most raw scores begin above zero, where the ReLU lets them learn

    def forward(self, swapped: Tensor) -> Tensor:
        return self.layers(swapped).flatten(1)


class RankingAttention(nn.Module):
    """Filter by the template's mask, score, rank and select.

    grid: (H0, W0) of the template. keep: how many maps each stream hands on (the paper's 256).
    variant: "attention"; "none", all maps in the template's order; "maximum", one map, the largest value (Table 4).
    joint: how several objects are ranked (see `_joint_streams`); one object is ranked the same way under both.
    channels: of the ranking network, and inside of its Res_Block.
    """

    def __init__(
        self,
        grid: tuple[int, int],
        keep: int = 256,
        variant: str = "attention",
        joint: bool = False,
        channels: tuple[int, int] = (128, 32),
    ) -> None:
        super().__init__()
        self.grid, self.keep, self.variant, self.joint = grid, keep, variant, joint
        if variant == "attention":
            self.network = RankingNetwork(grid[0] * grid[1], *channels)

    @property
    def out_channels(self) -> int:
        """Maps in each stream: K of `Ranked.maps`."""
        return {"attention": self.keep, "none": self.grid[0] * self.grid[1], "maximum": 1}[self.variant]

    def forward(self, maps: Tensor, masks: Tensor) -> Ranked:
        """maps: S, (B, H0*W0, H, W). masks: (B, N, H0, W0), each object's share of each template cell, in [0, 1]."""
        if self.variant == "attention":
            streams = self._joint_streams if self.joint and masks.shape[1] > 1 else self._independent_streams
            return streams(maps, masks)
        weights = torch.stack([masks.flatten(2), background_weights(masks).flatten(2)], dim=2)  # (B, N, 2, H0*W0)
        if self.variant == "none":
            return Ranked(maps[:, None, None] * weights[..., None, None])
        strongest = [_maximum(maps, w) for w in weights.flatten(1, 2).unbind(1)]
        return Ranked(torch.stack(strongest, dim=1).unflatten(1, (-1, 2)))

    def _independent_streams(self, maps: Tensor, masks: Tensor) -> Ranked:
        """Each object against everything else, as in the single-object network (§3.2); all streams are one batch."""
        weights = torch.stack([masks.flatten(2), background_weights(masks).flatten(2)], dim=2)  # (B, N, 2, H0*W0)
        swapped = self._swap(maps)
        masked = swapped[:, None, None] * weights.unflatten(3, self.grid)[:, :, :, None]
        raw = self.network(masked.flatten(0, 2)).unflatten(0, weights.shape[:3])
        learned = LEARNED_SCALE * F.relu(raw) * (weights != 0)
        scores = learned + _maxima(swapped)[:, None, None] * weights
        foreground, foreground_order = rank(maps, weights[:, :, 0], scores[:, :, 0], learned[:, :, 0], self.keep)
        background, background_order = rank(maps, weights[:, :, 1], scores[:, :, 1], learned[:, :, 1], self.keep)
        ranked = torch.stack([foreground, background], dim=2)
        return Ranked(ranked, scores[:, :, 0], scores[:, :, 1], foreground_order, background_order)

    def _joint_streams(self, maps: Tensor, masks: Tensor) -> Ranked:
        """All objects against each other, as in the released multi-object network (§3.3).

        The ranking network looks once at the unmasked maps. The background of object i is the image's background *and*
        every other object: N * H0*W0 candidates, of which the best are kept.
        """
        owners = torch.cat([(1 - masks.sum(1, keepdim=True)).clamp(min=0), masks], dim=1).flatten(2)  # (B, 1+N, H0*W0)
        swapped = self._swap(maps)
        raw = self.network(swapped)[:, None]
        learned = LEARNED_SCALE * F.relu(raw) * owners
        scores = learned + _maxima(swapped)[:, None] * owners
        foreground, foreground_order = rank(maps, owners[:, 1:], scores[:, 1:], learned[:, 1:], self.keep)
        weights, rivals, lessons = (_all_others(x) for x in (owners, scores, learned))  # (B, N, N*H0*W0)
        background, background_order = rank(maps, weights, rivals, lessons, self.keep)
        ranked = torch.stack([foreground, background], dim=2)
        return Ranked(ranked, scores[:, 1:], rivals, foreground_order, background_order)

    def _swap(self, maps: Tensor) -> Tensor:
        """S -> S^ of the paper: maps (B, H0*W0, H, W), max-pooled to the grid, with template and frame swapped."""
        pooled = F.adaptive_max_pool2d(maps, self.grid)
        swapped = pooled.flatten(2).transpose(1, 2).contiguous()  # norms are 6 to 20 times as fast on such maps
        return swapped.unflatten(2, self.grid)


def _maxima(swapped: Tensor) -> Tensor:
    """The largest value of each map, (B, H0*W0), of the maps swapped: pooling has kept it."""
    return swapped.amax(1).flatten(1)


def _all_others(x: Tensor) -> Tensor:
    """(B, 1 + N, M), the background's first -> (B, N, N*M): for each object all but its own."""
    return torch.stack([torch.cat([x[:, :i], x[:, i + 1 :]], dim=1) for i in range(1, x.shape[1])], dim=1).flatten(2)


def background_weights(masks: Tensor) -> Tensor:
    """(B, N, H0, W0) shares of an object -> 1 where the cell is background for it, 0 elsewhere (released network)."""
    return (1 - masks >= BACKGROUND_THRESHOLD).to(masks.dtype)


def rank(maps: Tensor, weights: Tensor, scores: Tensor, learned: Tensor, keep: int) -> tuple[Tensor, Tensor]:
    """Sort candidate maps by score, best first, and keep `keep` of them (equation 3).

    maps: (B, H0*W0, H, W). weights, scores, learned: (B, N, M) for M candidates; candidate c is map c mod H0*W0 times
    weights[..., c]. Returns the ranked maps (B, N, keep, H, W), padded with zero maps where M < keep, and the order
    (B, N, min(keep, M)). `learned`, the part of the scores that learns, receives the gradient of a soft order (see the
    module's text).
    """
    order = scores.topk(min(keep, scores.shape[2]), dim=2).indices
    batch = torch.arange(len(maps), device=maps.device)[:, None, None]
    ranked = maps[batch, order % maps.shape[1]] * weights.gather(2, order)[..., None, None]
    if torch.is_grad_enabled() and learned.requires_grad:
        ranked = ranked + _zero_that_teaches(maps, weights, learned + (scores - learned).detach(), order)
    padding = keep - order.shape[2]
    return (F.pad(ranked, (0, 0, 0, 0, 0, padding)) if padding else ranked), order


def soft_order(scores: Tensor, order: Tensor, temperature: float = TEMPERATURE) -> Tensor:
    """How nearly each candidate takes each place (SoftSort; Prillo and Eisenschlos, 2020).

    scores: (B, N, M). order: (B, N, K), the best K, best first. Returns P, (B, N, K, M): rows sum to 1 and lie around
    the candidate that has the place; the closer two scores, the more they share it.
    """
    places = scores.gather(2, order)
    return ((places[..., None] - scores[:, :, None]).abs() / -temperature).softmax(3)


def _zero_that_teaches(maps: Tensor, weights: Tensor, scores: Tensor, order: Tensor) -> Tensor:
    """(B, N, K, H, W) of zeros, with the derivative of the softly ranked maps with respect to the scores."""
    places = soft_order(scores, order)
    repeats = scores.shape[2] // maps.shape[1]  # candidates are the maps, once for each rival that owns pixels
    change = ((places - places.detach()) * weights[:, :, None]).unflatten(3, (repeats, -1)).sum(3)
    return torch.einsum("bnkm,bmhw->bnkhw", change, maps.detach())


def _maximum(maps: Tensor, weights: Tensor) -> Tensor:
    """Channel-wise maximum of the weighted maps (Table 4, "Maximum"): (B, M, H, W), (B, M) -> (B, 1, H, W)."""
    return (maps * weights[..., None, None]).amax(1, keepdim=True)
