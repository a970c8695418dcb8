"""Tiny runs: see tiny_run.py beside this file."""

from __future__ import annotations

import contextlib
import csv
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))  # so that tests and the script they start share tiny_run

from tiny_run import SIZE  # noqa: E402

from ranet_edu.training.stages import make_config  # noqa: E402

REPOSITORY = Path(__file__).resolve().parents[2]
SCRIPT = Path(__file__).parent / "tiny_run.py"


@pytest.fixture(autouse=True)
def one_thread():
    """The number of threads decides the order of sums, so runs that must be equal to the bit need the same one."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def tiny_config(tmp_path):
    """A `TrainingConfig` of a tiny run in `out` (a name below tmp_path), with changes."""

    def build(out: str = "run", **changes):
        options = {"steps": 12, "batch": 2, "size": SIZE, "workers": 0, "warmup": 2, "average": 0.9, "log_every": 3}
        options |= {"precision": "no", "learning_rate": 0.02, "backbone_learning_rate": 0.02, "cpu": True}
        return make_config("stills", out=tmp_path / out, data=("photos",), **(options | changes))

    return build


@pytest.fixture
def rows():
    """The rows of a CSV log without the columns that measure time."""

    def read(path: Path) -> list[dict[str, float]]:
        with open(path, newline="") as file:
            return [
                {name: float(value) for name, value in row.items() if name not in ("samples_per_s", "seconds")}
                for row in csv.DictReader(file)
            ]

    return read


@pytest.fixture
def start():
    """Starts a tiny run as a command with the options of a config: `start(config, launcher=[...], **environment)`."""
    running = []

    def begin(config, *extra: str, launcher: tuple[str, ...] = (sys.executable,), **environment: str):
        command = [*launcher, str(SCRIPT), config.stage, *_options(config), *extra]
        environment = {**_environment(), **environment}
        output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        process = subprocess.Popen(command, env=environment, start_new_session=True, **output)
        running.append(process)
        return process

    yield begin
    for process in running:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # with the processes it started
        process.communicate()


def _environment() -> dict[str, str]:
    path = os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")])
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}


def _options(config) -> list[str]:
    options: list[str] = []
    for name, value in config.to_json().items():
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            options.append(f"--{flag}" if value else f"--no-{flag}")
        elif name != "stage":
            options += [f"--{flag}", *map(str, value if isinstance(value, list) else [value])]
    return options
