"""What each stage of training recommends for each preset, where it differs from `TrainingConfig`'s own defaults."""

from __future__ import annotations

from typing import Any

# The paper (§3.5, §4.1) says: Adam, 1e-5, BCE, 480 x 864. Batch and steps are not in it.
PAPER: dict[str, Any] = {
    "size": (480, 864),
    "optimizer": "adam",
    "learning_rate": 1e-5,
    "backbone_learning_rate": 1e-5,
    "weight_decay": 0.0,
    "schedule": "constant",
    "warmup": 0,
    "iou": 0.0,
    "average": 0.0,
    "stills_share": 0.0,
    "paste": 0.0,
}
# An instance norm of a map without contrast multiplies gradients a hundredfold, and Adam's memory of one such sample
# would hold a layer still for a thousand steps: hence the clipping.
LITE: dict[str, Any] = {"precision": "bf16", "clip": 5.0}
PRESETS = {"lite": LITE, "paper": PAPER}
# What the shipped weights were trained with, the last stage's being "video" (model card), and run 33, of stills alone.
SCENES: dict[str, Any] = {"paste": 0.7, "compound": 0.3}
ROLLOUTS: dict[str, Any] = {"rollout": 4, "burn_in": 2, "boundary": 1.0}
LITE_STAGES: dict[str, dict[str, Any]] = {
    "matching": SCENES | {"frozen_stages": 5, "learning_rate": 2e-3, "weight_decay": 0.01, "stills_share": 0.5,
                          "transplant": 0.3},
    "stills": SCENES | ROLLOUTS,
    "video": SCENES | ROLLOUTS | {"size": (320, 560), "stills_share": 0.5, "transplant": 0.4, "vanish": 0.15,
                                  "passing": 0.3, "hide": 0.25, "strangers": 0.5},
}
STAGES = {"lite": LITE_STAGES, "paper": {"matching": {"frozen_stages": 5}, "stills": {}, "video": {}}}


def recipe(stage: str, preset: str) -> dict[str, Any]:
    """Options of `TrainingConfig` by name. Raises `ValueError` for an unknown stage or preset."""
    if preset not in PRESETS or stage not in STAGES[preset]:
        stages = list(LITE_STAGES)
        raise ValueError(f"no stage {stage!r} with preset {preset!r}; stages: {stages}, presets: {list(PRESETS)}")
    return PRESETS[preset] | STAGES[preset][stage]


def recommended(name: str, default: Any) -> str:
    """The values of an option as a help text: "0.1; lite video 0.15", `default` and where a recipe says otherwise."""
    values = [_written(default)]
    for preset, stages in STAGES.items():
        own = {stage: recipe(stage, preset).get(name, default) for stage in stages}
        if len(set(own.values())) == 1:
            own = {"": own["video"]}
        values += [f"{preset} {stage} ".replace("  ", " ") + _written(value)
                   for stage, value in own.items() if value != default]
    return "; ".join(values)


def _written(value: Any) -> str:
    """A value as it is typed on the command line."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return " ".join(map(str, value)) if isinstance(value, tuple) else f"{value}"
