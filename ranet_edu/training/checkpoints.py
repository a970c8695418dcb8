"""Checkpoints that are never half-written, and signals that wait for one."""

from __future__ import annotations

import os
import signal
import threading
import time
import warnings
from pathlib import Path
from types import FrameType
from typing import Any

import torch


class Checkpoints:
    """The last two states of a run, `checkpoint.pt` and `checkpoint-previous.pt` in `folder`.

    A state is written under another name, flushed to the disk and then renamed: whenever the process is killed, a whole
    checkpoint is there. Behind notebook 07's `train`.
    """

    def __init__(self, folder: Path) -> None:
        self.last = Path(folder) / "checkpoint.pt"
        self.previous = Path(folder) / "checkpoint-previous.pt"

    def save(self, state: dict[str, Any]) -> Path:
        """Writes `state` (tensors, numbers, strings and containers of them) and returns its path, or raises OSError."""
        temporary = self.last.with_name(f".{self.last.name}.part")
        try:
            with open(temporary, "wb") as file:
                torch.save(state, file)
                file.flush()
                os.fsync(file.fileno())
            if self.last.exists():
                os.replace(self.last, self.previous)
            os.replace(temporary, self.last)
        except RuntimeError as error:  # PyTorch's, where a write fails on the way
            reason = str(error).partition("\n")[0]
            raise OSError(f"{self.last} can't be written ({reason}): is the disk full?") from error
        finally:
            temporary.unlink(missing_ok=True)
        return self.last

    def load(self) -> dict[str, Any] | None:
        """The last state that can be read, on the CPU; None when there is none.

        Raises `ValueError` when there are checkpoints and none of them can be read.
        """
        present = [path for path in (self.last, self.previous) if path.exists()]
        for path in present:
            try:
                return torch.load(path, map_location="cpu", weights_only=True)
            except Exception as error:  # torch.load raises whatever a damaged file leads it to
                kind = type(error).__name__  # its text may be a page
                warnings.warn(f"{path} cannot be read ({kind}); trying the checkpoint before it", stacklevel=2)
        if present:
            raise ValueError(f"no checkpoint in {self.last.parent} can be read; delete them to start the run afresh")
        return None


class StopSignals:
    """Within this context Ctrl-C and SIGTERM only set `received`; a second one, a second later, acts as usual.

    (`torchrun` passes on the Ctrl-C that its processes have had from the terminal: one key arrives twice.) Outside the
    main thread, where Python allows no handlers, signals act as usual.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._since = 0.0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *exception: object) -> None:
        self._restore()

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.received is None:
            self.received, self._since = number, time.monotonic()
        elif time.monotonic() - self._since >= 1:
            self._restore()
            signal.raise_signal(number)

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}
