"""Frames of one video as training samples: template and current frame any distance apart, previous mask near by.

Stage 2 of the paper's training (section 3.5). Built in notebook 08.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from torch.utils.data import Dataset

from ranet_edu.datasets.augment import nearby_pose, random_pose
from ranet_edu.datasets.davis import DavisDataset, DavisSequence
from ranet_edu.datasets.encounters import Chances, Encounters
from ranet_edu.datasets.samples import VIDEO_RECIPE, Recipe, Sample, check_counts, make_sample, quiet_worker
from ranet_edu.datasets.stills import StillPairs, shuffled
from ranet_edu.datasets.video_scenes import VIDEO_RANGE, draw_template, video_scene

NOTHING_ELSE = Chances()


class Triplet(NamedTuple):
    """What a sample is made of: frames by their number in `video`, and the labels of the objects to segment."""

    video: DavisSequence
    template: int
    previous: int
    frames: list[int]
    objects: list[int]


class VideoTriplets(Dataset):
    """Template, previous mask and T consecutive frames of one video: a map-style dataset of `Sample`s.

    davis: a `DavisDataset` (or any sequence of `DavisSequence`s), or DAVIS's root folder, of which `split` of `year` is
    read. size: the canvas (H, W). objects: N; of a video with more, N are chosen at random and the rest are
    distractors, of one with fewer the last masks stay empty (but see `Chances`). rollout: T frames, 1 to 3 frames
    apart, forwards or backwards in time. max_interval: the previous mask is of a frame at most so many frames from the
    current one. chances, stills: what may happen that the videos don't show, and photos with masks for it. length:
    samples in one epoch (default: the number of frames); any index from 0 on is valid, and sample i depends on `seed`
    and i alone, whatever the number of workers. Raises ValueError for strangers without stills and
    for a video that shows no object, FileNotFoundError for a frame without annotation.
    """

    def __init__(self, davis: DavisDataset | Sequence[DavisSequence] | str | Path, split: str = "train",
                 size: tuple[int, int] = (256, 448), objects: int = 1, rollout: int = 1, max_interval: int = 5,
                 seed: int = 0, length: int | None = None, year: str = "2016", chances: Chances = NOTHING_ELSE,
                 stills: StillPairs | None = None, recipe: Recipe = VIDEO_RECIPE) -> None:
        check_counts(objects=objects, rollout=rollout, max_interval=max_interval)
        self.videos = DavisDataset(davis, year=year, split=split) if isinstance(davis, (str, Path)) else davis
        for video in self.videos:
            _check_annotated(video)
        self.moments = [(video, frame) for video in range(len(self.videos)) for frame in range(len(self.videos[video]))]
        self.size, self.objects, self.rollout, self.max_interval = size, objects, rollout, max_interval
        self.encounters = Encounters(chances, self.videos, objects, stills)
        self.seed, self.recipe = seed, recipe
        self.length = len(self.moments) if length is None else length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Sample:
        quiet_worker()
        rng = np.random.default_rng([self.seed, index])
        video, template, previous, frames, chosen = self._draw(rng, index)
        pose = random_pose(rng, VIDEO_RANGE)
        later = nearby_pose(rng, pose, 0.15)
        scenes = [video_scene(video, template, chosen, pose, self.objects),
                  video_scene(video, previous, chosen, later, self.objects, image=False),
                  *(video_scene(video, frame, chosen, later, self.objects) for frame in frames)]
        scenes = self.encounters.happen(rng, video, scenes)
        return make_sample(rng, scenes[0], scenes[1], scenes[2:], self.size, self.recipe)

    def triplet(self, index: int) -> Triplet:
        """Which frames sample `index` is made of. Notebook 08."""
        return self._draw(np.random.default_rng([self.seed, index]), index)

    def _draw(self, rng: np.random.Generator, index: int) -> Triplet:
        number, current = self.moments[shuffled(index, len(self.moments), self.seed)]
        video = self.videos[number]
        template, chosen = draw_template(rng, video, self.objects)
        previous, frames = self._times(rng, len(video), current)
        return Triplet(video, template, previous, frames, chosen)

    def _times(self, rng: np.random.Generator, count: int, current: int) -> tuple[int, list[int]]:
        """The previous mask's frame, and the rollout's; at the video's ends the last frame stands still."""
        direction = int(rng.choice([-1, 1]))
        interval = 1 + int(self.max_interval * rng.random() ** 2)  # the loop's own interval, 1, is drawn most often
        stride = int(rng.integers(1, 4))
        frames = [current + direction * stride * step for step in range(self.rollout)]
        previous = current - direction * interval
        if not 0 <= previous < count:
            previous = current + direction * interval
        return int(np.clip(previous, 0, count - 1)), np.clip(frames, 0, count - 1).tolist()


def _check_annotated(video: DavisSequence) -> None:
    """FileNotFoundError that names the first annotation that is missing: any frame may be drawn.

    ValueError where none shows an object that a template could: not in the middle of a run.
    """
    for path in video.annotation_paths:
        if not path.is_file():
            raise FileNotFoundError(f"sequence {video.name}: {path} is missing; training needs a mask for every frame")
    draw_template(np.random.default_rng(0), video, 1)
