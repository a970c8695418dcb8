"""J and F against the seconds of online learning (Table 6): `ranet-edu online`, drawn in notebook 12.

One learning passes 10, 25, 50, ... iterations on its way, so a curve costs as much as its last point; the clip is
segmented anew at each of them.
"""

from __future__ import annotations

import csv
import dataclasses
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from tqdm import tqdm

from ranet_edu.datasets.davis import DavisSequence
from ranet_edu.training.online import BATCH, adapt, check_learning, first_frame_pairs, pairs_recipe
from ranet_edu.training.validation import score_video
from ranet_edu.video.masks import atomic_path
from ranet_edu.video.segmenter import VideoSegmenter


@dataclass(frozen=True)
class CurvePoint:
    """A clip segmented after so many iterations; a row of the CSV file.

    clip, frames: the sequence, and how many of its first frames were segmented. iterations, batch, seed,
    learning_rate (0 without learning): what was learnt. cpu_seconds: of the learning, over all threads; wall_seconds:
    by the clock, longer where the machine has other work. threads: PyTorch's. weights: the model's fingerprint.
    j, f: means over frames and objects, in [0, 1]. canvas: HEIGHTxWIDTH of what the network saw, empty for its own.
    """

    weights: str
    clip: str
    frames: int
    iterations: int
    batch: int
    seed: int
    learning_rate: float
    cpu_seconds: float
    wall_seconds: float
    threads: int
    j: float
    f: float
    canvas: str = ""

    @property
    def jf(self) -> float:
        """The mean of J and F, in [0, 1]."""
        return (self.j + self.f) / 2


def learning_curve(
    segmenter: VideoSegmenter,
    sequence: DavisSequence,
    iterations: Iterable[int],
    learning_rate: float,
    batch: int = BATCH,
    seed: int = 0,
    frames: int = 0,
    weights: str = "",
) -> Iterator[CurvePoint]:
    """A point for each number of `iterations`, in rising order, as soon as it is measured. Notebook 12.

    segmenter: its options hold and its model is left as it was. frames: only so many first ones (0: all). The other
    arguments, and the errors, are those of `learn_online`.
    """
    wanted = sorted(set(iterations))
    check_learning(segmenter.model, wanted[0] if wanted else None, None, learning_rate, batch)
    count = min(frames or len(sequence), len(sequence))
    networks = _timed_networks(segmenter, sequence, wanted[-1], learning_rate, batch, seed)
    for number, (network, cpu, wall) in enumerate(networks):
        if number in wanted:
            j, f = score_video(segmenter.with_model(network), sequence, frames).mean(0).tolist()
            learnt = (number, batch, seed, learning_rate * bool(number))
            cost = (round(cpu, 2), round(wall, 2), torch.get_num_threads())
            yield CurvePoint(weights, sequence.name, count, *learnt, *cost, j, f, _canvas(segmenter))


def _canvas(segmenter: VideoSegmenter) -> str:
    """As a `CurvePoint` names it."""
    height, width = segmenter.canvas
    return "" if segmenter.canvas == tuple(segmenter.model.canvas) else f"{height}x{width}"


def _timed_networks(
    segmenter: VideoSegmenter, sequence: DavisSequence, iterations: int, learning_rate: float, batch: int, seed: int
) -> Iterator[tuple]:
    """The network after 0, 1, ... iterations, with the CPU seconds and the seconds that they took."""
    first, mask = sequence.read_frame(0), sequence.read_annotation(0)
    recipe = pairs_recipe(segmenter)
    pairs = first_frame_pairs(segmenter.model, first, mask, segmenter.canvas, seed, recipe)
    networks = adapt(segmenter.model, pairs, iterations, learning_rate, batch, segmenter.precision)
    yield next(networks), 0.0, 0.0
    cpu = wall = 0.0
    for _ in range(iterations):
        cpu, wall = cpu - time.process_time(), wall - time.perf_counter()
        network = next(networks)
        cpu, wall = cpu + time.process_time(), wall + time.perf_counter()
        yield network, cpu, wall


def measure_curves(
    segmenter: VideoSegmenter,
    sequences: Sequence[DavisSequence],
    out: str | Path,
    iterations: Sequence[int],
    learning_rates: Sequence[float],
    batch: int = BATCH,
    seed: int = 0,
    frames: int = 0,
    weights: str = "",
) -> list[CurvePoint]:
    """The curves of all sequences and rates, appended to the CSV file `out` point by point; returns all its points.

    Points that the file has are not measured again, so a run that was stopped goes on.
    """
    out = Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    if out.exists():
        _write(out, read_curves(out))  # what is appended needs all columns
    curves = [(sequence, rate) for sequence in sequences for rate in learning_rates]
    for sequence, rate in tqdm(curves, "curves", disable=None):
        done = {_key(point) for point in read_curves(out)} if out.exists() else set()
        count = min(frames or len(sequence), len(sequence))
        asked = {n: (weights, sequence.name, count, n, batch, seed, rate * bool(n)) for n in iterations}
        missing = [n for n, key in asked.items() if (*key, _canvas(segmenter)) not in done]
        if missing:
            for point in learning_curve(segmenter, sequence, missing, rate, batch, seed, frames, weights):
                _append(out, point)
    return read_curves(out)


def _key(point: CurvePoint) -> tuple:
    return (*dataclasses.astuple(point)[:7], point.canvas)


def _append(path: Path, point: CurvePoint) -> None:
    if not path.exists():
        _write(path, [])
    with path.open("a", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerow(_cells(point))


def _write(path: Path, points: Sequence[CurvePoint]) -> None:
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([field.name for field in dataclasses.fields(CurvePoint)])
        writer.writerows(map(_cells, points))


def _cells(point: CurvePoint) -> list[object]:
    return [f"{value:.6g}" if isinstance(value, float) else value for value in dataclasses.astuple(point)]


def read_curves(path: str | Path) -> list[CurvePoint]:
    """The points of a file of `measure_curves`; without a column `canvas` they are of the network's own.

    Raises ValueError naming the file where it holds something else.
    """
    kinds = {"weights": str, "clip": str, "canvas": str}
    whole = dict.fromkeys(("frames", "iterations", "batch", "seed", "threads"), int)
    with Path(path).open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    try:
        return [CurvePoint(**{name: (kinds | whole).get(name, float)(row[name]) for name in row}) for row in rows]
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path} does not hold curves of `ranet-edu online` ({error})") from error
