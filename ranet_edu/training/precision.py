"""Mixed precision where a processor's convolutions are uneven."""

from __future__ import annotations

from types import MethodType

import torch
from torch import Tensor, nn


def keep_depthwise_in_float32(model: nn.Module) -> None:
    """Lets every depthwise convolution of `model` compute in float32, whatever autocast says elsewhere.

    The gradient of a 5 x 5 depthwise convolution in bfloat16 takes a CPU three to seven times as long as in float32
    (oneDNN, AVX-512), and half of a training step of `RANet.lite`. Survives `copy.deepcopy`; names and weights stay.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d) and module.groups == module.in_channels > 1:
            module.forward = MethodType(_forward_in_float32, module)


def _forward_in_float32(module: nn.Conv2d, x: Tensor) -> Tensor:
    with torch.autocast(x.device.type, enabled=False):
        return type(module).forward(module, x.float())
