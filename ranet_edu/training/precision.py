"""Mixed precision where a processor's convolutions are uneven, and a backbone that does not learn."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn

from ranet_edu.model.encoder import TimmBackbone
from ranet_edu.model.ranet import RANet
from ranet_edu.video.fast import hasten_backbone


def keep_depthwise_in_float32(model: nn.Module) -> None:
    """Lets every depthwise convolution of `model` that learns compute in float32, whatever autocast says elsewhere.

    The gradient of a 5 x 5 depthwise convolution in bfloat16 takes a CPU three to seven times as long as in float32
    (oneDNN, AVX-512), and half of a training step of `RANet.lite`. Survives `copy.deepcopy`; names and weights stay.
    """
    for module in model.modules():
        depthwise = isinstance(module, nn.Conv2d) and module.groups == module.in_channels > 1
        if depthwise and module.weight.requires_grad:
            module.forward = MethodType(_forward_in_float32, module)


def _forward_in_float32(module: nn.Conv2d, x: Tensor) -> Tensor:
    with torch.autocast(x.device.type, enabled=False):
        return type(module).forward(module, x.float())


def hasten_frozen_backbone(model: RANet) -> None:
    """Lets the backbone of `model` compute as a copy that can't learn does, where nothing of it is to learn.

    Names and weights stay. In mixed precision the encoder of `RANet.lite` takes half of its time on a CPU.
    """
    backbone = model.encoder.backbone
    if type(backbone) is TimmBackbone and not any(parameter.requires_grad for parameter in backbone.parameters()):
        backbone.__class__ = FrozenBackbone


class FrozenBackbone(TimmBackbone):
    """A backbone whose maps a hastened copy computes, made at the first use: in the type that autocast asks for."""

    def forward(self, frames: Tensor) -> tuple[Tensor, ...]:
        device = frames.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else frames.dtype
        with torch.no_grad(), torch.autocast(device, enabled=False):
            return self._copy(frames.device, dtype)(frames.to(dtype))

    def _copy(self, *kind: object) -> TimmBackbone:
        copies = self.__dict__.setdefault("copies", {})  # no part of the network: neither saved nor moved with it
        if kind not in copies:
            copies[kind] = copy.deepcopy(self).eval()
            copies[kind].__class__ = TimmBackbone
            hasten_backbone(copies[kind], kind[-1])
        return copies[kind]

    def _load_from_state_dict(self, *arguments: Any) -> None:
        """What `load_state_dict` of any network around it calls: the copies hold the weights of before."""
        self.__dict__.pop("copies", None)
        super()._load_from_state_dict(*arguments)

    def __getstate__(self) -> dict[str, Any]:
        """For `copy.deepcopy` and pickle: all but the copies."""
        return {name: value for name, value in self.__dict__.items() if name != "copies"}


@contextlib.contextmanager
def only_weights_change(model: nn.Module) -> Iterator[None]:
    """Afterwards what learns in `model`, and how its modules compute, is as it was before, whatever was done to it."""
    learning = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    computing = [(module, type(module), vars(module).get("forward")) for module in model.modules()]
    try:
        yield
    finally:
        for parameter, learns in learning:
            parameter.requires_grad_(learns)
        for module, kind, forward in computing:
            _compute_as(module, kind, forward)


def _compute_as(module: nn.Module, kind: type, forward: MethodType | None) -> None:
    """Undoes `keep_depthwise_in_float32` and `hasten_frozen_backbone`."""
    if type(module) is not kind:
        module.__class__ = kind
    for name in ("forward", "copies"):
        vars(module).pop(name, None)
    if forward:
        module.forward = forward
