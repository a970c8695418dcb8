"""A moment of a video as a scene, into which other things may be put.

Built in notebook 08.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np

from ranet_edu.datasets.augment import Placement, Pose, PoseRange
from ranet_edu.datasets.davis import DavisSequence
from ranet_edu.datasets.samples import DISTRACTOR, Layer, Scene

VIDEO_RANGE = PoseRange(rotation=15, scale=(0.85, 1.2), shift=0.05, bend=0.04)  # video moves enough by itself
SMALLEST = 0.0005  # of the frame: what a template must show of an object


@lru_cache(maxsize=128)
def read_labels(video: DavisSequence, frame: int) -> np.ndarray:
    """Annotation `frame` of a video, uint8 (H, W), from memory if it was read lately."""
    return video.read_annotation(frame)


def draw_template(rng: np.random.Generator, video: DavisSequence, objects: int) -> tuple[int, list[int]]:
    """A random frame that shows some object, and up to so many of the objects it shows (some frames are empty)."""
    for frame in rng.permutation(len(video)).tolist():
        labels = read_labels(video, frame)
        counts = np.bincount(labels.ravel(), minlength=256)
        shown = [k for k in range(1, 256) if counts[k] >= SMALLEST * labels.size]
        if shown:
            return frame, rng.permutation(shown)[:objects].tolist()
    folder, needed = Path(video.annotation_paths[0]).parent, f"of at least {SMALLEST:.2%} of the frame"
    raise ValueError(f"{folder}: no annotation shows an object {needed}; leave the video out")


def video_scene(video: DavisSequence, frame: int, chosen: list[int], pose: Pose, objects: int,
                image: bool = True) -> Scene:
    """One frame as a scene of a single layer: the chosen labels are objects 0, 1, ..., all others distractors."""
    labels = read_labels(video, frame)
    present = np.flatnonzero(np.bincount(labels.ravel(), minlength=256)).tolist()
    others = [k for k in present if k not in (0, *chosen)]
    masks = (labels == np.reshape([*chosen, *others], (-1, 1, 1))).astype(np.uint8) * 255
    slots = (*range(len(chosen)), *[DISTRACTOR] * len(others))
    height, width = labels.shape
    centre = ((width - 1) / 2, (height - 1) / 2)
    picture = video.read_frame(frame) if image else None
    layer = Layer(picture, masks, slots, Placement(centre, centre, (width, height)), pose)
    return Scene([layer], (height, width), objects)
