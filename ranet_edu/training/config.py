"""Every choice of a training run, one field per command-line option."""

from __future__ import annotations

import argparse
import dataclasses
import typing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ranet_edu.training.recipes import recommended

SMALLEST = 16  # pixels of a canvas, high and wide


def _option(default: Any = dataclasses.MISSING, text: str = "", free: bool = False) -> Any:
    """A field with its help text; `free` ones may change when a run is resumed."""
    return dataclasses.field(default=default, metadata={"help": text, "free": free})


@dataclass(frozen=True)
class TrainingConfig:
    """What `ranet-edu train` was asked to do. `stages.make_config` fills in what a stage and a preset recommend.

    Raises `ValueError` where a number makes no sense.
    """

    stage: Literal["matching", "stills", "video"] = _option(text="what is trained, and on what")
    out: Path = _option(text="folder for checkpoints, logs and weights; a run begun there is continued", free=True)
    data: tuple[Path, ...] = _option(text="folders: DAVIS's root, further videos in its layout, stills")
    preset: Literal["lite", "paper"] = _option("lite", "network and recipe")
    init: str = _option("imagenet", "weights to start from: 'imagenet', 'none' or a weights file")
    ranking: Literal["attention", "none", "maximum"] = _option("attention", "which maps are decoded (Table 4)")
    correlation: bool = _option(True, "similarity maps, or else features side by side (Table 5)")
    previous_mask: bool = _option(True, "show the network the mask of the frame before (Table 5)")
    split: str = _option("train", "sequences of DAVIS to train on: a file of ImageSets")

    steps: int = _option(2000, "optimiser steps in total", free=True)
    batch: int = _option(4, "samples per step and process")
    accumulation: int = _option(1, "batches whose gradients are summed before a step")
    size: tuple[int, int] = _option((256, 448), "height and width of the canvas in pixels")
    objects: int = _option(1, "objects per sample")
    rollout: int = _option(1, "frames per sample, each fed the network's own mask of the one before")
    burn_in: int = _option(0, "largest number of first frames of a rollout that are not learned from")
    detach: bool = _option(True, "stop the gradient between the frames of a rollout")
    stills_share: float = _option(0.35, "share of stills in the video stage, 0 to 1")
    videos_share: float = _option(0.5, "share of the further videos among the video samples, beside DAVIS, 0 to 1")
    paste: float = _option(0.5, "share of stills whose object is pasted onto another photo, 0 to 1")
    compound: float = _option(0.0, "share of samples whose object is a union of two things or a part of one, 0 to 1")
    transplant: float = _option(0.0, "share of video samples whose objects are put before another video, 0 to 1")
    vanish: float = _option(0.1, "share of objects on strange ground that vanish after the previous mask, 0 to 1")
    passing: float = _option(0.0, "share of video samples in which something goes past before the objects, 0 to 1")
    hide: float = _option(0.0, "share of video samples in which something large hides the objects for a while, 0 to 1")
    companion: float = _option(0.0, "share of video samples in which something moves along with the object, 0 to 1")
    strangers: float = _option(0.0, "share of surroundings, and of what goes past or along, that is of --data's stills")
    recolour: float = _option(0.0, "share of samples whose hues are all turned by one random angle, 0 to 1")
    max_interval: int = _option(5, "previous mask at most this many frames away (video)")

    optimizer: Literal["adam", "adamw"] = _option("adamw", "optimiser")
    learning_rate: float = _option(1e-3, "peak learning rate")
    backbone_learning_rate: float = _option(1e-4, "peak learning rate of the ImageNet backbone")
    frozen_stages: int = _option(0, "first scales of the backbone that stay as they are; 6: and the matching features")
    weight_decay: float = _option(1e-4, "decay of convolution weights (adamw)")
    schedule: Literal["constant", "cosine"] = _option("cosine", "learning rate after the warm-up")
    warmup: int = _option(100, "steps in which the learning rate rises from 0")
    clip: float = _option(0.0, "largest gradient norm, 0 for no limit")
    iou: float = _option(1.0, "weight of the IoU loss beside BCE")
    boundary: float = _option(0.0, "extra weight of pixels next to a contour in BCE")
    average: float = _option(0.999, "decay of the exponential moving average of the weights, 0 for none")

    precision: Literal["no", "bf16", "fp16"] = _option("no", "mixed precision")
    channels_last: bool = _option(False, "memory layout of the convolutions", free=True)
    cpu: bool = _option(False, "use the CPU even where there is a GPU", free=True)
    seed: int = _option(0, "seed of samples and of everything random in the network")
    workers: int = _option(1, "processes that prepare samples", free=True)

    log_every: int = _option(10, "steps per row of log.csv")
    checkpoint_every: int = _option(500, "steps between checkpoints", free=True)
    checkpoint_seconds: float = _option(300.0, "seconds between checkpoints", free=True)
    time_limit: float = _option(0.0, "stop with a checkpoint after this many seconds, 0 for no limit", free=True)
    validate_every: int = _option(0, "steps between validations, 0 for none", free=True)
    validation_split: str = _option("minival", "sequences of DAVIS to validate on", free=True)
    validation_frames: int = _option(0, "only this many first frames of each sequence, 3 or more; 0 for all", free=True)

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "accumulation", "objects", "rollout", "log_every", "checkpoint_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")
        shares = ("stills_share", "videos_share", "paste", "compound", "transplant", "vanish", "companion", "passing")
        for name in (*shares, "hide", "strangers", "recolour", "average"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must lie between 0 and 1")
        if self.burn_in >= self.rollout:
            raise ValueError(f"burn_in is {self.burn_in}; it must be less than rollout, {self.rollout}")
        if self.stage == "matching" and not self.correlation:
            raise ValueError("the matching stage trains similarity maps, and without correlation there are none")
        if not 0 <= self.frozen_stages <= 6:
            raise ValueError(f"frozen_stages is {self.frozen_stages}; it must lie between 0 and 6")
        if self.stage == "matching" and self.frozen_stages == 6:
            raise ValueError("frozen_stages is 6; in the matching stage that leaves nothing to learn")
        if self.validation_frames != 0 and self.validation_frames < 3:
            few = f"validation_frames is {self.validation_frames}; it must be 0 (all) or at least 3"
            raise ValueError(f"{few}: the first and the last frame don't count")
        if min(self.size) < SMALLEST:
            height, width = self.size
            raise ValueError(f"size is {height} x {width}; a canvas has at least {SMALLEST} x {SMALLEST} pixels")
        rates = ("learning_rate", "backbone_learning_rate", "weight_decay", "warmup", "clip")
        times = ("time_limit", "checkpoint_seconds", "validate_every")
        for name in (*rates, *times, "iou", "boundary", "burn_in", "seed", "workers"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must not be negative")

    def to_json(self) -> dict[str, Any]:
        """Fields as numbers, strings and lists."""
        return {name: _plain(value) for name, value in vars(self).items()}

    def portable(self) -> dict[str, Any]:
        """The same with names instead of paths: what checkpoints and weights carry from machine to machine."""
        names = {"data": [Path(folder).name for folder in self.data], "init": Path(self.init).name}
        return self.to_json() | names | {"out": self.out.name}


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def check_same_run(saved: dict[str, Any], config: TrainingConfig) -> None:
    """Raises `ValueError`, naming the fields, when `config` is not the run that `saved` (a `portable`) began.

    Fields that do not change what is learnt may differ, and so may the number of steps (the learning rate is from then
    on that of a run of so many) and the data's place: only the folders' names count.
    A field that a run of an earlier version lacks had its default.
    """
    now = config.portable()
    fixed = [field for field in dataclasses.fields(config) if not field.metadata["free"]]
    saved = {field.name: _plain(field.default) for field in fixed} | saved
    changed = [field.name for field in fixed if saved[field.name] != now[field.name]]
    if changed:
        lines = "\n".join(f"  {name}: was {saved[name]}, now {now[name]}" for name in changed)
        raise ValueError(
            f"{config.out} holds a run with other options:\n{lines}\n"
            "Continue it with the options it was started with, or choose another folder with --out."
        )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """One option per field of `TrainingConfig` (except `stage`); options not given are absent from the namespace."""
    hints = typing.get_type_hints(TrainingConfig)
    for field in dataclasses.fields(TrainingConfig):
        if field.name == "stage":
            continue
        parser.add_argument(
            "--" + field.name.replace("_", "-"),
            required=field.default is dataclasses.MISSING,
            default=argparse.SUPPRESS,
            help=_help(field),
            **_argument(hints[field.name]),
        )


def _help(field: dataclasses.Field) -> str:
    """What an option is, and its value if it isn't given."""
    text = field.metadata["help"]
    return text if field.default is dataclasses.MISSING else f"{text} ({recommended(field.name, field.default)})"


def _argument(hint: Any) -> dict[str, Any]:
    """How argparse reads a value of this type."""
    items = typing.get_args(hint)
    if hint is bool:
        return {"action": argparse.BooleanOptionalAction}
    if typing.get_origin(hint) is Literal:
        return {"choices": items}
    if typing.get_origin(hint) is not tuple:
        return {"type": hint}
    if items[-1] is Ellipsis:
        return {"type": items[0], "nargs": "+", "metavar": "FOLDER"}
    return {"type": items[0], "nargs": len(items), "metavar": ("HEIGHT", "WIDTH")}
