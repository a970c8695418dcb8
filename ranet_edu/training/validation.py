"""J and F of the network that is being trained, on sequences it does not see."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from torch import nn
from tqdm import tqdm

from ranet_edu.datasets.davis import DavisDataset, DavisSequence
from ranet_edu.evaluation.benchmark import score_frame
from ranet_edu.video.segmenter import VideoSegmenter


class DavisValidation:
    """A DAVIS split, or the first `frames` frames of each of its sequences (0: all), to score a network on.

    canvas: (height, width) of what the network sees, default: the network's own. As in DAVIS, the first and the last
    frame count for nothing, and each object counts the same. For tables use `ranet_edu.evaluation`. Raises what
    `DavisDataset` does, and ValueError for a sequence without a frame that counts. Behind notebook 07's `train`.
    """

    def __init__(
        self,
        root: Path,
        split: str = "minival",
        frames: int = 0,
        year: str = "2016",
        canvas: tuple[int, int] | None = None,
    ) -> None:
        self.sequences = DavisDataset(root, year=year, split=split)
        self.frames, self.canvas = frames, canvas
        for sequence in self.sequences:
            _count_shown(sequence, frames)

    def __call__(self, model: nn.Module) -> dict[str, float]:
        """Segments every sequence; {"J&F", "J", "F"}, each in [0, 1]."""
        sequences = tqdm(self.sequences, desc="validation", leave=False)
        segmenter = VideoSegmenter(model, canvas=self.canvas)
        objects = np.concatenate([score_video(segmenter, sequence, self.frames) for sequence in sequences])
        region, boundary = objects.mean(0).tolist()
        return {"J&F": (region + boundary) / 2, "J": region, "F": boundary}


def score_video(segmenter: VideoSegmenter, sequence: DavisSequence, frames: int = 0) -> np.ndarray:
    """J and F of each object of a sequence, or of its first `frames` frames (0: all), means over them: (N, 2).

    Raises ValueError where these are fewer than three.
    """
    count = _count_shown(sequence, frames)
    shown = (sequence.read_frame(index) for index in range(count))
    scores = [
        score_frame(predicted, sequence.read_annotation(index), sequence.object_count)
        for index, predicted in enumerate(segmenter.segment(shown, sequence.read_annotation(0)))
        if 0 < index < count - 1
    ]
    return np.mean(scores, axis=0)


def _count_shown(sequence: DavisSequence, frames: int) -> int:
    """How many frames are shown to the network, or ValueError where none of them counts."""
    count = min(frames or len(sequence), len(sequence))
    if count < 3:
        raise ValueError(f"sequence {sequence.name} has no frame to score among {count}: first and last don't count")
    return count
