"""Similarity maps: every template pixel looked for all over the current frame (equation 1), and what they alone say.

Built in notebook 03; `matching_logits` in notebook 07.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

TEMPERATURE = 0.05  # of `matching_logits`: differences of cosines below it are a matter of opinion
LEAST_SHARE = 1e-30  # in place of 0, which has no logarithm; small against all ratios of likeness, at most e^40


def similarity_maps(template: Tensor, features: Tensor) -> Tensor:
    """Correlate each template pixel with the current frame: S_j = K_j * I^t (equation 1).

    template: (B, C, H0, W0), the template features I^1; read as H0*W0 kernels K_j of size C x 1 x 1.
    features: (B, C, H, W), the current frame's matching features I^t, unit vectors.
    Returns S: (B, H0*W0, H, W). A map is bright where the frame looks like template pixel j = y * W0 + x. Values are
    cosines where the template vectors have unit length; the network average-pools them, so they stay in [-1, 1].

    A 1x1 convolution whose kernels come from the template is a matrix product, and one for the whole batch.
    """
    kernels = template.flatten(2).transpose(1, 2)  # (B, H0*W0, C)
    maps = kernels @ features.flatten(2)  # (B, H0*W0, H*W)
    return maps.unflatten(2, features.shape[-2:])


def matching_logits(maps: Tensor, template_masks: Tensor, grid: tuple[int, int]) -> Tensor:
    """What the maps alone say, as logits (B, N, H, W): each location asks the template pixels that it resembles.

    maps: S, (B, H0*W0, H, W). template_masks: (B, N, h, w), in [0, 1], N objects. grid: (H0, W0).
    The probability is the mean of the template pixels' shares of the object, weighted by the softmax of S / 0.05: a
    smooth form of nearest matching. VideoMatch [19] learns from the means of the best matches instead.
    """
    shares = F.adaptive_avg_pool2d(template_masks.float(), grid).flatten(2)
    evidence = maps.float()[:, None] / TEMPERATURE  # (B, 1, H0*W0, H, W)
    priors = (share.clamp(min=LEAST_SHARE).log()[..., None, None] for share in (shares, 1 - shares))
    inside, outside = ((evidence + prior).logsumexp(2) for prior in priors)
    return inside - outside
