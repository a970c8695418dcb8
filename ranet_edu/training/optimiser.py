"""Which parameters learn, how fast, and when: the optimiser and its schedule."""

from __future__ import annotations

import math

import torch
from torch import nn

from ranet_edu.training.config import TrainingConfig

BACKBONE = "encoder.backbone."  # what ImageNet taught, and what is therefore taught more gently


def build_optimiser(model: nn.Module, config: TrainingConfig) -> torch.optim.Optimizer:
    """Adam (the paper's) or AdamW with two learning rates, one for the backbone and one for everything after it.

    Only convolution weights decay; biases and norms do not. Each group keeps its peak rate as `peak`.
    """
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            rate = config.backbone_learning_rate if name.startswith(BACKBONE) else config.learning_rate
            decay = config.weight_decay if parameter.ndim > 1 and config.optimizer == "adamw" else 0.0
            groups.setdefault((rate, decay), []).append(parameter)
    kind = torch.optim.AdamW if config.optimizer == "adamw" else torch.optim.Adam
    return kind([{"params": p, "lr": rate, "peak": rate, "weight_decay": decay} for (rate, decay), p in groups.items()])


def freeze(model: nn.Module, config: TrainingConfig) -> None:
    """Lets what the run does not train keep its weights, without a gradient.

    That is what `freeze_stages` says and, in stage "matching", all that follows the encoder.
    """
    freeze_stages(model, config.frozen_stages)
    if config.stage == "matching":
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(parameter.requires_grad and name.startswith("encoder."))


def freeze_stages(model: nn.Module, count: int) -> None:
    """Lets the first `count` scales of the encoder's backbone keep their weights; of 6, the matching features too."""
    if count > 5:
        model.encoder.requires_grad_(False)
    elif count:
        for module in (module for stage in model.encoder.backbone.stages()[:count] for module in stage):
            module.requires_grad_(False)


def rate_factor(step: int, config: TrainingConfig) -> float:
    """What the peak learning rates are multiplied with in step `step` (from 0), in (0, 1].

    A line up over `warmup` steps, then 1, or half a cosine wave down to 0 after the last step. A function of the step
    alone: there is no state to save.
    """
    warm = min(1.0, (step + 1) / (config.warmup + 1))
    if config.schedule == "constant":
        return warm
    progress = max(0, step - config.warmup) / max(1, config.steps - config.warmup)
    return warm * (1 + math.cos(math.pi * progress)) / 2


def set_rate(optimiser: torch.optim.Optimizer, factor: float) -> None:
    """Sets every group's learning rate to `factor` times its peak."""
    for group in optimiser.param_groups:
        group["lr"] = group["peak"] * factor
