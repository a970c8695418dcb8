"""Which samples a step sees, and how they become a batch: functions of the step's number alone.

Nothing here has a state. A run that was killed at step 700 therefore continues with exactly the samples that step 701
would have seen, and P processes share out the samples that one process would have taken.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from ranet_edu.datasets.samples import Sample


class Batch(NamedTuple):
    """B samples stacked; T is the longest rollout among them. Fields as in `Sample`, with a leading B."""

    template: Tensor  # uint8 (B, 3, H, W)
    template_masks: Tensor  # (B, N, H, W)
    frames: Tensor  # uint8 (B, T, 3, H, W)
    previous_masks: Tensor  # (B, N, H, W)
    true_masks: Tensor  # (B, T, N, H, W)
    valid: Tensor  # (B, T, H, W)
    lengths: list[int]  # frames of each sample; what lies behind them is padding

    def to(self, device: torch.device | str) -> Batch:
        """The batch on `device`, the copy not waited for."""
        return Batch(*(field.to(device, non_blocking=True) for field in self[:-1]), self.lengths)


def collate(samples: Sequence[Sample]) -> Batch:
    """Stacks samples; shorter rollouts (stills have one frame) are padded with zeros at their end."""
    lengths = [len(sample.frames) for sample in samples]
    fields = []
    for name, tensors in zip(Sample._fields, zip(*samples, strict=True), strict=True):
        over_time = name in ("frames", "true_masks", "valid")
        fields.append(torch.stack([_pad(t, max(lengths)) for t in tensors] if over_time else tensors))
    return Batch(*fields, lengths)


def _pad(tensor: Tensor, length: int) -> Tensor:
    missing = length - len(tensor)
    return F.pad(tensor, (0, 0) * (tensor.ndim - 1) + (0, missing)) if missing else tensor


class StepSampler(Sampler[list[int]]):
    """Indices of process `process`, a list of `batch` per micro-batch, for the steps `first` to `last` - 1.

    Step s takes the samples s * G ... (s + 1) * G - 1, where G = `batch` * `accumulation` * `processes`.
    """

    def __init__(
        self, first: int, last: int, batch: int, accumulation: int = 1, process: int = 0, processes: int = 1
    ) -> None:
        self.steps = range(first, last)
        self.batch, self.accumulation, self.process, self.processes = batch, accumulation, process, processes

    def __len__(self) -> int:
        return len(self.steps) * self.accumulation

    def __iter__(self) -> Iterator[list[int]]:
        for micro in range(self.steps.start * self.accumulation, self.steps.stop * self.accumulation):
            start = (micro * self.processes + self.process) * self.batch
            yield list(range(start, start + self.batch))


def load_batches(samples: Dataset, sampler: StepSampler, workers: int, pin_memory: bool = False) -> DataLoader:
    """A loader of `Batch`es in the sampler's order, whatever the number of workers."""
    return DataLoader(
        samples,
        batch_sampler=sampler,
        num_workers=workers,
        collate_fn=collate,
        pin_memory=pin_memory,
        worker_init_fn=_ignore_interrupts,
    )


def _ignore_interrupts(worker: int) -> None:
    """Ctrl-C reaches the workers too; they must outlive it so that the running step can end and be saved."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
