"""Runs a notebook cell by cell within limits; whatever a student's code does, every cell ends with an outcome.

Needs nbgrader, and is imported only where that is there.
"""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from subprocess import DEVNULL
from time import monotonic

from nbclient.exceptions import CellTimeoutError, DeadKernelError
from nbformat import NotebookNode
from nbformat.v4 import new_output
from nbgrader.preprocessors import Execute
from traitlets import Dict, Float, Integer
from traitlets.config import Config

from ranet_edu.course.masters import marks

OUT_OF_TIME = "CellTimeoutError"
"""Name of the error with which a cell ends that was stopped at its limit."""
STOPPED = "it ran out of time, and was stopped"
NOT_RUN = "NotRun"
"""Name of the error in a cell that came after the notebook had to be given up; its value says why."""
IGNORE_STDERR = Config(IgnorePattern={"enabled": True, "pattern": ".*"})
"""nbgrader takes whatever a test cell writes to stderr for a failure: with these settings a progress bar or a log of an
answer costs no points. A cell that fails has an error among its outputs, too."""


@dataclass(frozen=True)
class Limits:
    """Seconds that a cell, and a whole notebook, may run."""

    cell: float = 60
    notebook: float = 600

    def __post_init__(self) -> None:
        if not 1 <= self.cell <= self.notebook:
            raise ValueError(f"a cell may run at least 1 s, and not longer than its notebook: {self}")


class ExecuteWithinLimits(Execute):
    """nbgrader's Execute, which interrupts a cell at its limit and goes on with the next one; and which gives up

    - where the kernel does not let itself be interrupted, or has died,
    - where the notebook's time is used up.

    Then the cells that were not run get an error as their output: nbgrader would give a test cell without any its
    points. Set-up cells, which hold none of the student's code, have the notebook's limit as their own.
    """

    cell_seconds = Float(60, help="Seconds for one cell.").tag(config=True)
    notebook_seconds = Float(600, help="Seconds for all cells.").tag(config=True)
    iopub_timeout = Integer(6, help="Seconds that an interrupted kernel has to answer.").tag(config=True)

    error_on_timeout = Dict({"ename": OUT_OF_TIME, "evalue": STOPPED, "traceback": [f"{OUT_OF_TIME}: {STOPPED}"]})

    def preprocess(
        self, nb: NotebookNode, resources: dict | None = None, km: object | None = None
    ) -> tuple[NotebookNode, dict]:
        self._deadline = monotonic() + self.notebook_seconds
        self._given_up = ""
        return super().preprocess(nb, resources, km)

    def setup_kernel(self, **options: object) -> AbstractContextManager[None]:
        """Start the kernel; what its process says beside the cells' outputs doesn't belong into our terminal."""
        return super().setup_kernel(stdout=DEVNULL, stderr=DEVNULL, **options)

    def preprocess_cell(self, cell: NotebookNode, resources: dict, index: int) -> tuple[NotebookNode, dict]:
        if cell.cell_type == "code" and not self._given_up:
            self._run(cell, resources, index)
        elif cell.cell_type == "code":
            cell.outputs.append(_error(NOT_RUN, self._given_up))
        return cell, resources

    def _run(self, cell: NotebookNode, resources: dict, index: int) -> None:
        try:
            super().preprocess_cell(cell, resources, index)
        except DeadKernelError:
            self._give_up(cell, "the kernel died: out of memory, or ended by the code")
        except CellTimeoutError:  # not at the limit, but when the interrupted kernel doesn't answer
            self._give_up(cell, "a cell ran out of time and could not be stopped")
        if monotonic() >= self._deadline:
            self._given_up = self._given_up or f"the notebook's {self.notebook_seconds:g} seconds are used up"

    def _give_up(self, cell: NotebookNode, reason: str) -> None:
        self._given_up = reason
        cell.outputs.append(_error(NOT_RUN, reason))

    def _get_timeout(self, cell: NotebookNode | None) -> float:
        """Called by nbclient: seconds for a cell, or for a question to the kernel."""
        if cell is None:
            return self.iopub_timeout
        left = max(1, self._deadline - monotonic())
        return left if _is_set_up(cell) else min(self.cell_seconds, left)


def run_notebook(notebook: NotebookNode, folder: Path, limits: Limits) -> None:
    """Run a notebook in `folder`, its outputs written into it; errors are outputs too."""
    silent = logging.Logger("ranet_edu.course")
    silent.addHandler(logging.NullHandler())  # without any handler Python writes warnings to the terminal
    execute = ExecuteWithinLimits(cell_seconds=limits.cell, notebook_seconds=limits.notebook, log=silent)
    execute.preprocess(notebook, {"metadata": {"path": str(folder.resolve())}})


def _is_set_up(cell: NotebookNode) -> bool:
    return bool(marks(cell).get("locked")) and not marks(cell).get("grade")


def _error(name: str, value: str) -> NotebookNode:
    return new_output("error", ename=name, evalue=value, traceback=[f"{name}: {value}"])


def error_of(cell: NotebookNode) -> str | None:
    """What went wrong in a code cell, in one line: its last error, or what it wrote to stderr; None if nothing."""
    errors = [output for output in cell.get("outputs", []) if output.output_type == "error"]
    if errors:
        return _in_one_line(errors[-1])
    streams = [output.text for output in cell.get("outputs", []) if output.get("name") == "stderr"]
    return (streams[-1].strip() or "it wrote to stderr").splitlines()[-1] if streams else None


def _in_one_line(error: NotebookNode) -> str:
    """A test's message as it is; of another error its kind, too: "KeyError: 'maximum'"."""
    message = (error.evalue.strip() or error.ename).splitlines()[0]
    told = error.ename in (message, "CheckFailure", "AssertionError", OUT_OF_TIME, NOT_RUN)
    return message if told else f"{error.ename}: {message}"
