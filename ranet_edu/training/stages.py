"""The stages of training, each a set of defaults for the same loop.

§4.1 has two, still images first, then video. Ours begins with "matching": the matching features alone, on both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import Dataset

from ranet_edu.datasets.davis import DavisDataset, DavisSequence
from ranet_edu.datasets.encounters import Chances
from ranet_edu.datasets.samples import STILLS_RECIPE, VIDEO_RECIPE, Mixture
from ranet_edu.datasets.stills import StillPairs
from ranet_edu.datasets.triplets import VideoTriplets
from ranet_edu.model import RANet
from ranet_edu.model.baselines import MapsAlone
from ranet_edu.training.config import TrainingConfig
from ranet_edu.training.loop import Validate, fit
from ranet_edu.training.recipes import recipe
from ranet_edu.training.validation import DavisValidation


def make_config(stage: str, preset: str = "lite", **choices: Any) -> TrainingConfig:
    """The recipe of `stage` ("matching", "stills" or "video") for `preset` ("lite" or "paper"), with `choices` on top.

    Of a rollout shorter than the recipe's at least one frame is learned from. Raises `ValueError` for an unknown stage,
    preset or a choice that makes no sense.
    """
    choices = {name: tuple(value) if isinstance(value, list) else value for name, value in choices.items()}
    recommended = recipe(stage, preset)
    if "rollout" in choices and "burn_in" in recommended:
        recommended["burn_in"] = max(min(recommended["burn_in"], choices["rollout"] - 1), 0)
    return TrainingConfig(**{"stage": stage, "preset": preset} | recommended | choices)


def train(config: TrainingConfig) -> Path:
    """Trains as `config` says and returns the path of the weights: `fit` with the stage's network, data and validation.

    Raises what `fit` and the datasets raise, and `ValueError` when `data` lacks what the stage needs.
    """
    return fit(config, build_model(config), build_samples(config), build_validation(config))


def build_model(config: TrainingConfig) -> RANet:
    """The preset's network, or an ablation of it, with the weights to start from.

    What these leave random follows from the seed. Raises `ValueError` where they are another network's.
    """
    switches = {name: getattr(config, name) for name in ("ranking", "correlation", "previous_mask")}
    build = {"lite": RANet.lite, "paper": RANet.paper}[config.preset]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return build(weights=None if config.init == "none" else config.init, **switches)


def build_samples(config: TrainingConfig) -> Dataset:
    """The stage's samples: pairs made of stills, or those and triplets of video frames, where given, in one mixture.

    Each part draws from its own seed, so that the mixture's choice says nothing about the sample chosen.
    """
    data = split_data(config)
    mixing, *seeds = np.random.SeedSequence(config.seed).generate_state(4).tolist()
    if config.stage == "stills" or not (data.davis or data.videos):
        return _still_pairs(config, data.stills, seeds[0])
    stills_wanted = data.stills and (config.stills_share or config.strangers)
    pairs = _still_pairs(config, data.stills, seeds[0]) if stills_wanted else None
    kinds = zip(_videos(config, data), _video_shares(config, data), seeds[1:], strict=True)
    parts: list[tuple[Dataset, float]] = [
        (_video_triplets(config, videos, seed, pairs), share * (1 - config.stills_share))
        for videos, share, seed in kinds if share
    ]
    if pairs and config.stills_share:
        parts.append((pairs, config.stills_share))
    return Mixture(parts, length=config.steps, seed=mixing)


def _videos(config: TrainingConfig, data: Data) -> tuple[Sequence[DavisSequence], Sequence[DavisSequence]]:
    """DAVIS's sequences, all labels one object, and those of the further folders, where each label is one."""
    davis = DavisDataset(data.davis, split=config.split) if data.davis else []
    return davis, [video for folder in data.videos for video in DavisDataset(folder, "2017", "all")]


def _video_shares(config: TrainingConfig, data: Data) -> tuple[float, float]:
    """Which share of the video samples is DAVIS's, and which the further folders'."""
    if not (data.davis and data.videos):
        return float(data.davis is not None), float(data.davis is None)
    return 1 - config.videos_share, config.videos_share


def _still_pairs(config: TrainingConfig, folders: list[Path], seed: int) -> StillPairs:
    return StillPairs(
        folders, config.size, objects=config.objects, paste=config.paste, seed=seed, rollout=config.rollout,
        compound=config.compound, vanish=config.vanish, recipe=replace(STILLS_RECIPE, recolour=config.recolour),
    )


def _video_triplets(config: TrainingConfig, videos: Sequence[DavisSequence], seed: int,
                    stills: StillPairs | None) -> VideoTriplets:
    return VideoTriplets(
        videos,
        size=config.size,
        objects=config.objects,
        rollout=config.rollout,
        max_interval=config.max_interval,
        seed=seed,
        chances=_chances(config) if stills else replace(_chances(config), strangers=0.0),
        stills=stills,
        recipe=replace(VIDEO_RECIPE, recolour=config.recolour),
    )


def _chances(config: TrainingConfig) -> Chances:
    """The options that are named as they are."""
    return Chances(**{field.name: getattr(config, field.name) for field in fields(Chances)})


class Data(NamedTuple):
    """The folders of `--data` by what they hold: DAVIS (or None), further videos in its layout, stills."""

    davis: Path | None
    videos: list[Path]
    stills: list[Path]


def split_data(config: TrainingConfig) -> Data:
    """Tells the folders apart: DAVIS has `ImageSets` inside, further videos `JPEGImages` alone, stills neither.

    Raises FileNotFoundError for one that is not there, `ValueError` when the stage's own data is not among them, or
    DAVIS twice.
    """
    folders = [Path(folder) for folder in config.data]
    for folder in folders:
        if not folder.is_dir():
            raise FileNotFoundError(f"there is no folder {folder}; correct the names of the data")
    davis = [folder for folder in folders if (folder / "ImageSets").is_dir()]
    videos = [folder for folder in folders if (folder / "JPEGImages").is_dir() and folder not in davis]
    stills = [folder for folder in folders if folder not in [*davis, *videos]]
    if len(davis) > 1:
        raise ValueError(f"--data names {len(davis)} DAVIS roots (folders with ImageSets inside); name one. Further "
                         "videos in its layout come from folders without ImageSets")
    if config.stage == "video" and not davis and not videos:
        raise ValueError("the video stage needs a DAVIS root (a folder with ImageSets inside), or videos in its layout "
                         "(JPEGImages/480p, Annotations/480p), in --data")
    if config.stage == "stills" and not stills:
        raise ValueError("the stills stage needs at least one folder of stills in --data")
    return Data(davis[0] if davis else None, videos, stills)


def build_validation(config: TrainingConfig) -> Validate | None:
    """J and F on the validation split, where DAVIS is among the data and validation is asked for.

    In stage "matching" they are those of the similarity maps alone.
    """
    davis = split_data(config).davis
    if not davis or not config.validate_every:
        return None
    validation = DavisValidation(davis, config.validation_split, config.validation_frames, canvas=config.size)
    return (lambda model: validation(MapsAlone(model))) if config.stage == "matching" else validation
