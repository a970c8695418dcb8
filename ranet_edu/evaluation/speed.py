"""`ranet-edu benchmark`: ours against the plain formulation, in one run, by turns (notebook 13).

What is timed is the network on one frame, template and masks given: real ones, from the sample clip. Every time is a
median of several calls, taken by turns so that a busy moment meets all alike. A whole video, read, segmented, written
and scored, has its own rows.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from ranet_edu.datasets.davis import SAMPLES, DavisDataset
from ranet_edu.evaluation import benchmark as davis
from ranet_edu.evaluation.meters import (
    PARTS,
    Ceilings,
    machine_name,
    measure_ceilings,
    part_seconds,
    part_work,
    peak_megabytes,
    seconds,
)
from ranet_edu.evaluation.plain import PlainRANet
from ranet_edu.evaluation.speed_table import FILE, FRAME, PLAIN, PRESETS, SCORING, SIZES, VIDEO, Case, Row, add_rows
from ranet_edu.model.ranet import RANet
from ranet_edu.video.fast import PRECISIONS, fast_copy
from ranet_edu.video.segmenter import VideoSegmenter

SAMPLE = "cat"
WARM_UPS = 3  # rounds before those that count: the first frames of a video wait for memory that later ones have at hand
Measure = TypeVar("Measure")


class Variant(NamedTuple):
    """How ours is run: the options of `fast_copy`, and so of `VideoSegmenter`."""

    precision: str
    compile: bool = False

    @property
    def dtype(self) -> torch.dtype:
        """What it computes in."""
        return PRECISIONS[self.precision]


VARIANTS = {
    "float32": Variant("float32"),
    "bfloat16": Variant("bfloat16"),
    "float16": Variant("float16"),
    "float16, compiled": Variant("float16", compile=True),
}


class Candidate(NamedTuple):
    """One way to compute a frame: its network, the call that is timed, its ceilings, and its segmenter for videos."""

    network: RANet | PlainRANet
    call: Callable[[], Tensor]
    ceilings: Ceilings
    compiled: bool
    segmenter: VideoSegmenter


def all_cases(
    presets: Iterable[str] = PRESETS, sizes: Iterable[str] = SIZES, objects: Iterable[int] = (1, 2, 4)
) -> list[Case]:
    """Every combination that exists: the paper's network takes 480 x 864 only. Raises ValueError where none is left."""
    sizes, objects = list(sizes), list(objects)
    if wrong := [count for count in objects if count < 1]:
        raise ValueError(f"objects must be 1 or more, not {wrong[0]}")
    cases = [Case(p, s, n) for p in presets for s in sizes for n in objects if p != "paper" or s == "480p"]
    if not cases:
        raise ValueError("the paper's network takes frames of 480 x 864 only: ask for --size 480p")
    return cases


def available_variants(device: torch.device) -> dict[str, Variant]:
    """Those of VARIANTS that make sense on this device."""
    cuda = device.type == "cuda"
    fits = {
        "float32": True,
        "bfloat16": cuda or (device.type == "cpu" and torch.ops.mkldnn._is_mkldnn_bf16_supported()),
        "float16": cuda,  # a CPU emulates it, some hundred times as slowly as float32
    }
    return {name: v for name, v in VARIANTS.items() if fits[v.precision] and (cuda or not v.compile)}


def run(
    cases: Sequence[Case],
    out: str | Path,
    device: str | torch.device = "cpu",
    *,
    variants: Sequence[str] | None = None,
    repeats: int = 7,
    threads: int | None = None,
    video_frames: int = 10,
    progress: bool = True,
) -> list[Row]:
    """Measure the cases, plain and under each variant, and write `out/speed.csv` after each of them. Notebook 13.

    variants: names of VARIANTS; default: all that the device has. repeats: calls of which the median is taken; 0: only
    videos. threads: of a CPU; default: as many as PyTorch takes. video_frames: of the sample clip; 0: no video.
    Rows of other cases in an earlier `speed.csv` stay, those of the same case on the same machine are replaced. Can be
    stopped: finished cases are written. Returns the new rows. Raises ValueError for a variant that isn't available.
    """
    device, out = torch.device(device), Path(out)
    if repeats < 0 or video_frames < 0 or not (repeats or video_frames):
        raise ValueError(f"repeats {repeats}, video_frames {video_frames}: neither below 0, and not both 0")
    chosen = _choose(variants, device)
    add_rows(out / FILE, [])  # what can't be written is refused before an hour of work
    measured: list[Row] = []
    with _threads(threads), tqdm(total=len(cases) * (2 * repeats + 1), unit="round", disable=not progress) as bar:
        ceilings = {v.dtype: measure_ceilings(device, v.dtype) for v in (VARIANTS["float32"], *chosen.values())}
        for case in cases:
            bar.set_description(str(case))
            rows = measure_case(case, device, chosen, ceilings, repeats, video_frames, bar.update)
            add_rows(out / FILE, rows)
            measured += rows
            bar.update()
    return measured


def _choose(names: Sequence[str] | None, device: torch.device) -> dict[str, Variant]:
    there = available_variants(device)
    for name in names or ():
        if name not in there:
            raise ValueError(f"no variant {name!r} on {device.type}; there is {', '.join(there)}")
    return {name: there[name] for name in names or there}


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    try:
        if count is not None:
            torch.set_num_threads(count)
        yield
    finally:
        torch.set_num_threads(before)


def measure_case(
    case: Case,
    device: torch.device,
    variants: Mapping[str, Variant],
    ceilings: Mapping[torch.dtype, Ceilings],
    repeats: int,
    video_frames: int,
    tick: Callable[[], object] = lambda: None,
) -> list[Row]:
    """All rows of one case. tick: called after each of 2 * repeats rounds."""
    torch.manual_seed(0)  # the paper's network has random weights, the same in every run
    model = (RANet.lite() if case.preset == "lite" else RANet.paper()).to(device)
    candidates = _candidates(model, case, variants, ceilings)
    common = {"machine": machine_name(device), "device": device.type, "threads": torch.get_num_threads()}
    common |= {"torch": torch.__version__, **case._asdict(), "repeats": repeats}
    rows = []
    if repeats:
        with torch.inference_mode():
            frames = _frame_rows(candidates, common, device, tick)
            rows = _with_work([*frames, *_part_rows(candidates, common, device, tick)])
    if video_frames and case.objects == 1:
        rows += _video_rows(candidates, common, video_frames)
    return rows


def _candidates(
    model: RANet, case: Case, variants: Mapping[str, Variant], ceilings: Mapping[torch.dtype, Ceilings]
) -> dict[str, Candidate]:
    """The plain formulation first, then the variants, each with a network of its own; all with the same inputs."""
    plain, canvas = PlainRANet(model), SIZES[case.size]
    segmenter = VideoSegmenter(plain, canvas=canvas)
    sequence = DavisDataset(SAMPLES, "2016")[SAMPLE]
    state = segmenter.begin(sequence.read_frame(0), strips(sequence.read_annotation(0), case.objects))
    inputs = segmenter.network_inputs(state, sequence.read_frame(1))
    candidates = {PLAIN: Candidate(plain, partial(plain, *inputs), ceilings[torch.float32], False, segmenter)}
    for name, variant in variants.items():
        network = fast_copy(model, variant.precision, variant.compile)
        own = [x.to(variant.dtype) for x in inputs[:2]] + list(inputs[2:])
        segmenter = VideoSegmenter(model, canvas=canvas, precision=variant.precision, compile=variant.compile)
        call = partial(network, *own)
        candidates[name] = Candidate(network, call, ceilings[variant.dtype], variant.compile, segmenter)
    return candidates


def strips(mask: np.ndarray, count: int) -> np.ndarray:
    """One object's mask (H, W) cut into `count` objects of about equal area, side by side: labels 1 ... count."""
    columns = np.nonzero(mask)[1]
    borders = np.quantile(columns, np.arange(1, count) / count)
    return np.where(mask, 1 + np.searchsorted(borders, np.arange(mask.shape[1])), 0)


def by_turns(
    measures: Mapping[str, Callable[[], Measure]], repeats: int, tick: Callable[[], object] = lambda: None
) -> dict[str, list[Measure]]:
    """What each of several measures gives, `repeats` times: a round of all of them, `tick`, then the next round."""
    found: dict[str, list[Measure]] = {name: [] for name in measures}
    for _ in range(repeats):
        for name, measure in measures.items():
            found[name].append(measure())
        tick()
    return found


def _frame_rows(
    candidates: Mapping[str, Candidate], common: Mapping[str, object], device: torch.device, tick: Callable[[], object]
) -> list[Row]:
    calls = {name: partial(seconds, c.call, device) for name, c in candidates.items()}
    first = {name: call() for name, call in calls.items()}
    by_turns(calls, WARM_UPS)
    times = by_turns(calls, common["repeats"], tick)
    medians = {name: 1000 * median(mine) for name, mine in times.items()}
    found: dict[str, Tensor] = {}
    memory = {
        name: peak_megabytes(lambda n=name, c=c: found.update({n: c.call() > 0.5}), device)
        for name, c in candidates.items()
    }
    return [
        Row(
            **common,
            **candidate.ceilings._asdict(),
            variant=name,
            part=FRAME,
            milliseconds=medians[name],
            times_plain=medians[PLAIN] / medians[name],
            megabytes=memory[name],
            agreement=(found[name] == found[PLAIN]).float().mean().item(),
            first_seconds=first[name],
        )
        for name, candidate in candidates.items()
    ]


def _part_rows(
    candidates: Mapping[str, Candidate], common: Mapping[str, object], device: torch.device, tick: Callable[[], object]
) -> list[Row]:
    """Time and work of each part; a compiled network has no parts any more."""
    whole = {name: (c.network, c.call) for name, c in candidates.items() if not c.compiled}
    times = by_turns({name: partial(part_seconds, *of, device) for name, of in whole.items()}, common["repeats"], tick)
    rows = []
    for name, of in whole.items():
        operations, moved = part_work(*of)
        about = {**common, **candidates[name].ceilings._asdict(), "variant": name}
        for part in PARTS:
            milliseconds = 1000 * median(mine[part] for mine in times[name])
            work = {"gflop": operations[part] / 1e9, "gbyte": moved[part] / 1e9}
            rows.append(Row(**about, part=part, milliseconds=milliseconds, **work))
    return rows


def _with_work(rows: Sequence[Row]) -> list[Row]:
    """A frame's work is that of its parts; what has a time and work has a share of the ceiling."""
    for name in dict.fromkeys(row.variant for row in rows if row.part in PARTS):
        mine = [row for row in rows if row.variant == name and row.part in PARTS]
        work = {"gflop": sum(row.gflop for row in mine), "gbyte": sum(row.gbyte for row in mine)}
        rows = [replace(row, **work) if (row.variant, row.part) == (name, FRAME) else row for row in rows]
    return [replace(row, of_ceiling=_share(row)) if row.gflop else row for row in rows]


def _share(row: Row) -> float | None:
    rate = row.gflop / (row.milliseconds / 1000) if row.milliseconds else None
    return rate and rate / max(row.matmul, row.convolution)


def _video_rows(candidates: Mapping[str, Candidate], common: Mapping[str, object], count: int) -> list[Row]:
    """Milliseconds of a frame of a video that is read, segmented and written, and of its scoring."""
    dataset = DavisDataset(SAMPLES, "2016")
    step = -(-len(dataset[SAMPLE]) // count)
    dataset = dataset.every(step)
    frames = len(dataset[SAMPLE])
    rows = []
    for name, candidate in candidates.items():
        with tempfile.TemporaryDirectory() as folder:
            segment, cpu = candidate.segmenter.segment, torch.device("cpu")
            whole = seconds(lambda s=segment, f=folder: davis.predict(dataset, s, f, progress=False), cpu)
            scoring = seconds(lambda f=folder: davis.score_predictions(dataset, f, progress=False), cpu)
        for part, time in ((VIDEO, whole), (SCORING, scoring)):
            rows.append(Row(**common | {"repeats": 1}, variant=name, part=part, milliseconds=1000 * time / frames))
    plain = rows[0].milliseconds
    return [replace(row, times_plain=plain / row.milliseconds) if row.part == VIDEO else row for row in rows]
