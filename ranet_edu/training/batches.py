"""Which samples a step sees: a function of the step's number alone.

Nothing here has a state. A run that was killed at step 700 therefore continues with exactly the samples that step 701
would have seen, and P processes share out the samples that one process would have taken.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from ranet_edu.datasets.samples import Sample

GRACE = 20  # seconds, longer than most steps


class StepSampler(Sampler[list[int]]):
    """Indices for process `process`, a list of `batch` for each micro-batch of the steps `first` to `last` - 1.

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
    """A loader of `Sample`s with a leading batch axis, in the sampler's order, whatever the number of workers."""
    return DataLoader(
        samples,
        batch_sampler=sampler,
        num_workers=workers,
        pin_memory=pin_memory,
        worker_init_fn=_outlive_signals,
    )


def without_tracebacks(batches: Iterator[Sample]) -> Iterator[Sample]:
    """The same batches; an error in a file that a worker met is raised as if it had been met here, in one line.

    PyTorch raises an error of a worker with its whole traceback as the message.
    """
    try:
        yield from batches
    except (ValueError, OSError) as error:
        lines = str(error).splitlines()
        if len(lines) > 1 and lines[0].startswith("Caught ") and "DataLoader worker" in lines[0]:
            raise type(error)(lines[-1].partition(": ")[2]) from error
        raise


def _outlive_signals(worker: int) -> None:
    """Ctrl-C and a SIGTERM to the process group reach the workers too; the step that runs must end and be saved.

    A worker that was told to end is gone `GRACE` seconds later all the same: Python waits for it when it exits.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, frame: signal.alarm(GRACE))


def to_device(batch: Sample, device: torch.device) -> Sample:
    """The batch on `device`; the copy is not waited for."""
    return Sample(*(field.to(device, non_blocking=True) for field in batch))
