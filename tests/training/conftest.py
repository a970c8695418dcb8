"""Tiny runs: see tiny_run.py beside this file."""

from __future__ import annotations

import contextlib
import csv
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent))  # so that tests and the script they start share tiny_run

from tiny_run import SIZE  # noqa: E402

from ranet_edu.training.stages import make_config  # noqa: E402
from ranet_edu.video.masks import write_mask  # noqa: E402

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
        options |= {"rollout": 1, "boundary": 0.0}  # samples of one frame
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


@pytest.fixture
def draw_davis(tmp_path):
    """Writes a DAVIS root whose sequences show a bright box: {name: [(top, left) of the box in each frame]}."""

    def draw(sequences: dict[str, list[tuple[int, int]]]) -> Path:
        root = _draw_videos(tmp_path / "DAVIS", sequences)
        for split in ("train", "minival"):
            (root / "ImageSets/2016").mkdir(parents=True, exist_ok=True)
            (root / f"ImageSets/2016/{split}.txt").write_text("\n".join(sequences) + "\n")
        return root

    return draw


@pytest.fixture
def draw_videos(tmp_path):
    """Writes the same without `ImageSets`: a folder of further videos."""
    return lambda sequences: _draw_videos(tmp_path / "videos", sequences)


@pytest.fixture
def draw_stills(tmp_path):
    """Writes a folder of three photos of a bright box with their masks."""

    def draw() -> Path:
        for index in range(3):
            _draw_box(tmp_path / f"boxes/images/{index}.jpg", tmp_path / "boxes/masks", (10, 20 * index))
        return tmp_path / "boxes"

    return draw


def _draw_videos(root: Path, sequences: dict[str, list[tuple[int, int]]]) -> Path:
    for name, places in sequences.items():
        for index, place in enumerate(places):
            _draw_box(root / f"JPEGImages/480p/{name}/{index:05d}.jpg", root / f"Annotations/480p/{name}", place)
    return root


def _draw_box(image: Path, masks: Path, place: tuple[int, int]) -> None:
    mask = np.zeros((60, 100), np.uint8)
    mask[place[0] : place[0] + 20, place[1] : place[1] + 30] = 1
    picture = np.random.default_rng(0).integers(0, 90, (60, 100, 3)).astype(np.uint8) + 150 * mask[..., None]
    for folder in (image.parent, masks):
        folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(image)
    write_mask(masks / f"{image.stem}.png", mask)
