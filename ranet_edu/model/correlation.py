"""Similarity maps: every template pixel looked for all over the current frame (equation 1). Built in notebook 03."""

from __future__ import annotations

from torch import Tensor


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
