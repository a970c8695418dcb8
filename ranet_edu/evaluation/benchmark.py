"""A whole split: predictions in DAVIS's format, their scores, and a table beside the paper's (notebook 09).

The rules are those of the official semi-supervised evaluation of DAVIS 2017 (github.com/davisvideochallenge/
davis2017-evaluation), for both years; the toolkits of 2016 give the same figures:

- the first frame of a sequence is given and its last one left out, so frames 1 ... T - 2 count;
- its objects are the labels 1 ... n of the first annotation; DAVIS 2016 takes all labels as one object;
- an object that a prediction leaves out counts as an empty mask; a label above n is an error;
- the figures of a split are means over all its objects, so a sequence of three objects weighs three times.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from ranet_edu.datasets.davis import DavisDataset, DavisSequence
from ranet_edu.evaluation.metrics import boundary_accuracy, region_similarity, sequence_statistics
from ranet_edu.evaluation.published import DAVIS17_VAL, SOURCE, TABLE_1, TABLE_3, PublishedScore
from ranet_edu.video.beside import read_ahead, write_behind
from ranet_edu.video.masks import atomic_path, object_masks, read_mask, write_mask

MEASURES = ("J&F-Mean", "J-Mean", "J-Recall", "J-Decay", "F-Mean", "F-Recall", "F-Decay")
"""Columns of the CSV files, named as the official toolkit names them."""

HEADER = ("Method", "OL", "ms/frame", *(name.replace("-", " ") for name in MEASURES))
"""Columns of the text tables; OL is online learning."""

RUN_FILE = "run.json"

Segment = Callable[[Iterator[np.ndarray], np.ndarray], Iterable[np.ndarray]]
"""What segments a video: (frames, first mask) -> one label map (H, W) per frame, such as `VideoSegmenter.segment`."""


class Scores(NamedTuple):
    """The figures of one object, or the means over many, as fractions; in the order of MEASURES."""

    jf_mean: float
    j_mean: float
    j_recall: float
    j_decay: float
    f_mean: float
    f_recall: float
    f_decay: float


@dataclass(frozen=True, eq=False)
class ObjectResult:
    """J and F of one object in every scored frame: `region` and `boundary`, float64 (T - 2,), from frame 1 on."""

    sequence: str
    object_id: int
    region: np.ndarray
    boundary: np.ndarray

    @property
    def scores(self) -> Scores:
        """Their statistics; J&F is the mean of both means."""
        region, boundary = sequence_statistics(self.region), sequence_statistics(self.boundary)
        return Scores((region.mean + boundary.mean) / 2, *region, *boundary)


@dataclass(frozen=True, eq=False)
class Results:
    """The scores of a split: an ObjectResult for every object of every sequence."""

    year: str
    split: str
    objects: tuple[ObjectResult, ...]

    @property
    def per_object(self) -> dict[str, Scores]:
        """Scores by name: "bear" in DAVIS 2016, "bear_1" (its object 1) in DAVIS 2017."""
        suffixes = ("" if self.year == "2016" else f"_{item.object_id}" for item in self.objects)
        return {item.sequence + suffix: item.scores for item, suffix in zip(self.objects, suffixes, strict=True)}

    @property
    def overall(self) -> Scores:
        """Means over all objects."""
        return mean_scores(item.scores for item in self.objects)


def evaluate(
    dataset: DavisDataset,
    segment: Segment,
    out: str | Path,
    progress: bool = True,
    run: Mapping[str, Any] | None = None,
) -> Results:
    """Segment every sequence of `dataset` into the folder `out`, score it, and write the tables there. Notebook 09.

    Arguments and errors as in `predict` and `score_predictions`; what can't be scored is refused before it is
    segmented.
    """
    _check_scorable(dataset)
    predict(dataset, segment, out, progress, run)
    results = score_predictions(dataset, out, progress)
    write_results(results, out)
    return results


def predict(
    dataset: DavisDataset,
    segment: Segment,
    out: str | Path,
    progress: bool = True,
    run: Mapping[str, Any] | None = None,
) -> None:
    """Segment every sequence from its first annotation into `out/<sequence>/<frame>.png`, DAVIS's format. Notebook 09.

    Can be stopped and started again: sequences that are there whole and readable are left alone, one that was
    interrupted starts from its first frame, because each frame builds on the one before. `out/run.json` holds `run`,
    which says in JSON's types which weights and options made the predictions, beside what of `dataset` they depend on;
    another run in the same folder is refused.

    `segment` gets the frames, uint8 RGB (H, W, 3), as an iterator and the first mask, and gives one label map
    (H, W) per frame, the first included.

    Raises ValueError where `out` holds another run's predictions, or `segment` gives label maps of another number or
    size.
    """
    out = Path(out)
    _claim_folder(out, dataset, run or {})
    pending = [sequence for sequence in dataset if not _is_predicted(sequence, out)]
    total = sum(map(len, dataset))
    done = total - sum(map(len, pending))
    bar = tqdm(total=total, initial=done, desc="segmenting", unit="frame", disable=not progress)
    with bar, write_behind() as later:
        for sequence in pending:
            bar.set_postfix_str(sequence.name)
            _predict_sequence(sequence, segment, out, later, bar)


def _predict_sequence(
    sequence: DavisSequence, segment: Segment, out: Path, later: Callable[..., None], bar: tqdm
) -> None:
    paths, given = _prediction_paths(sequence, out), 0
    for labels in segment(read_ahead(sequence.frames()), sequence.read_annotation(0)):
        if given == len(paths) or labels.shape != sequence.size:
            raise ValueError(
                f"segment gave label map {given + 1} of sequence {sequence.name} with the shape {labels.shape}; "
                f"the sequence has {len(paths)} frames {sequence.size}"
            )
        later(write_mask, paths[given], labels.copy())  # a copy, because `segment` may use its array again
        given += 1
        bar.update()
    if given < len(paths):
        raise ValueError(f"segment gave {given} label maps for the {len(paths)} frames of {sequence.name}")


def _prediction_paths(sequence: DavisSequence, folder: Path) -> list[Path]:
    return [folder / sequence.name / f"{frame.stem}.png" for frame in sequence.frame_paths]


def _is_predicted(sequence: DavisSequence, out: Path) -> bool:
    """Whether every frame has a prediction that can be read."""
    try:
        return all(read_mask(path).shape == sequence.size for path in _prediction_paths(sequence, out))
    except (FileNotFoundError, ValueError):
        return False


def _claim_folder(out: Path, dataset: DavisDataset, run: Mapping[str, Any]) -> None:
    """Write `out/run.json`, or raise ValueError where the folder holds the predictions of another run.

    The record of a run that failed before its first prediction is replaced.
    """
    path = out / RUN_FILE
    record = {"year": dataset.year, "resolution": dataset.resolution, **run}
    if dataset.step != 1:
        record["every"] = dataset.step
    record = json.loads(json.dumps(record, default=str))  # as it will be read back: tuples are lists, paths are text
    if path.is_file() and any(out.glob("*/*.png")):
        _check_same_run(path, record)
        return
    for sequence in dataset:
        if any((out / sequence.name).glob("*")):
            raise ValueError(
                f"{out} holds predictions of {sequence.name} but no {RUN_FILE} to say what made them; "
                "choose another folder, or score what is there with --predictions"
            )
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def _check_same_run(path: Path, record: dict[str, Any]) -> None:
    try:
        earlier = dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path} is damaged; delete {path.parent}, or choose another folder") from error
    changed = [key for key in {**earlier, **record} if earlier.get(key) != record.get(key)]
    if changed:
        changes = ", ".join(f"{key} {earlier.get(key)!r}, now {record.get(key)!r}" for key in changed)
        raise ValueError(f"{path.parent} holds the predictions of another run ({changes}); choose another folder")


def score_predictions(dataset: DavisDataset, predictions_dir: str | Path, progress: bool = True) -> Results:
    """Score `predictions_dir/<sequence>/<frame>.png` against the annotations of `dataset`. Notebook 09.

    The rules are at the top of this module. Predictions are read as `read_mask` does: indexed, or black and white.

    Raises FileNotFoundError for a missing prediction or annotation; ValueError for one that can't be read, has
    another size or labels that the sequence hasn't, and for a sequence without a frame or an object to score.
    """
    folder = Path(predictions_dir)
    if not folder.is_dir():
        raise FileNotFoundError(f"no predictions at {folder}; name the folder that holds one folder per sequence")
    _check_scorable(dataset)
    objects: list[ObjectResult] = []
    total = sum(len(sequence) - 2 for sequence in dataset)
    with tqdm(total=total, desc="scoring", unit="frame", disable=not progress) as bar:
        for sequence in dataset:
            bar.set_postfix_str(sequence.name)
            objects += _score_sequence(sequence, folder, bar)
    return Results(dataset.year, dataset.split, tuple(objects))


def _check_scorable(dataset: DavisDataset) -> None:
    """Raise an error where a sequence is too short, or lacks an annotation or an object."""
    for sequence in dataset:
        if len(sequence) < 3:
            raise ValueError(f"sequence {sequence.name} has no frame to score: the first and the last don't count")
        for path in sequence.annotation_paths:
            if not path.is_file():
                raise FileNotFoundError(f"sequence {sequence.name} can't be scored: its annotation {path} is missing")
        sequence.object_count  # noqa: B018  raises where the first annotation shows no object


def _score_sequence(sequence: DavisSequence, folder: Path, bar: tqdm) -> list[ObjectResult]:
    paths, frames = _prediction_paths(sequence, folder), range(1, len(sequence) - 1)
    scores = np.empty((len(frames), sequence.object_count, 2))
    for row, index in enumerate(frames):
        predicted = _read_prediction(paths[index], sequence)
        scores[row] = score_frame(predicted, sequence.read_annotation(index), sequence.object_count)
        bar.update()
    return [
        ObjectResult(sequence.name, number + 1, region=scores[:, number, 0], boundary=scores[:, number, 1])
        for number in range(sequence.object_count)
    ]


def score_frame(predicted: np.ndarray, true: np.ndarray, count: int) -> np.ndarray:
    """J and F of the objects 1 ... `count` of one frame, from label maps (H, W): float64 (count, 2)."""
    pairs = zip(object_masks(predicted, count), object_masks(true, count), strict=True)
    return np.array([(region_similarity(*pair), boundary_accuracy(*pair)) for pair in pairs])


def _read_prediction(path: Path, sequence: DavisSequence) -> np.ndarray:
    """A predicted label map (H, W) of the sequence's size and labels; one object in DAVIS 2016."""
    if not path.is_file():
        raise FileNotFoundError(f"the prediction {path} is missing; every frame but the first and last needs one")
    labels = read_mask(path)
    if labels.shape != sequence.size:
        raise ValueError(
            f"{path} is {labels.shape[1]} x {labels.shape[0]}, but sequence {sequence.name} is "
            f"{sequence.size[1]} x {sequence.size[0]}; resize label maps with nearest neighbour"
        )
    if sequence.single_object:
        return (labels > 0).astype(np.uint8)
    if labels.max() > sequence.object_count:
        raise ValueError(
            f"{path} holds the label {labels.max()}, but sequence {sequence.name} has {sequence.object_count} objects"
        )
    return labels


def write_results(results: Results, out: str | Path) -> None:
    """Write `per_sequence.csv`, a row for each object, and `global.csv`, a single row, into the folder `out`.

    Names and columns are those of the official toolkit, J&F first in both. Values are fractions with six digits; the
    toolkit writes three.
    """
    rows = [[name, *_digits(scores)] for name, scores in results.per_object.items()]
    _write_csv(Path(out) / "per_sequence.csv", [["Sequence", *MEASURES], *rows])
    _write_csv(Path(out) / "global.csv", [MEASURES, _digits(results.overall)])


def _percent(scores: Scores) -> list[str]:
    return [f"{100 * value:.1f}" for value in scores]


def _digits(scores: Scores) -> list[str]:
    return [f"{value:.6f}" for value in scores]


def _write_csv(path: Path, rows: Iterable[Iterable[str]]) -> None:
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)


def read_scores(path: str | Path) -> dict[str, Scores]:
    """The rows of a `per_sequence.csv`: figures as fractions, by object. Notebook 09.

    Raises FileNotFoundError where there is none, ValueError for one that is damaged or of another format.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no scores at {path}; `ranet-edu evaluate --out DIR` writes DIR/per_sequence.csv")
    with path.open(newline="", encoding="utf-8") as file:
        header, *rows = [*csv.reader(file)] or [[]]
    if header != ["Sequence", *MEASURES] or not rows:
        raise ValueError(f"{path} does not hold scores: below the names Sequence, {', '.join(MEASURES)} come rows")
    try:
        return {name: Scores(*map(float, figures)) for name, *figures in rows}
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path} is damaged, each row needs a name and {len(MEASURES)} numbers") from error


def mean_scores(scores: Iterable[Scores]) -> Scores:
    """What a split scores: the means over its objects; J&F is the mean of the means of J and F."""
    means = Scores(*np.mean(list(scores), axis=0).tolist())
    return means._replace(jf_mean=(means.j_mean + means.f_mean) / 2)


def comparison_table(published: Sequence[PublishedScore], measured: Mapping[str, Scores]) -> str:
    """One of the paper's tables and, below a line, what was measured here, in percent. Notebook 09.

    published: rows of one table. measured: figures as fractions, under names that say what was segmented. Columns that
    the paper's table lacks are left out.
    """
    theirs = [_published_row(score) for score in published]
    ours = [(name, "", "", *_percent(scores)) for name, scores in measured.items()]
    kept = [column for column, cells in enumerate(zip(*theirs, strict=True)) if set(cells) != {"-"}]
    lines = _aligned([tuple(row[column] for column in kept) for row in (HEADER, *theirs, *ours)])
    rule = "-" * len(lines[0])
    first = published[0]
    source = f"{SOURCE}, Table {first.table}, as published, on {first.dataset}."
    below = [f"Percent. {source}"]
    if ours:
        below = [rule, *lines[1 + len(theirs) :], f"Percent. Above the line: {source} Below: measured here."]
    return "\n".join([lines[0], rule, *lines[1 : 1 + len(theirs)], *below])


def format_table(results: Results, published: bool = True) -> str:
    """The split's figures in percent as a text table, below the paper's own rows where `published`. Notebook 09.

    The paper's rows are Table 1 for DAVIS 2016, and the val columns of Table 3 for DAVIS 2017, which has no more.
    """
    here = f"DAVIS-{results.year} {Path(results.split).name}"
    rows = [HEADER]
    theirs = _published_rows(results.year) if published else ()
    rows += [_published_row(score) for score in theirs]
    rows.append((f"this run, {here}", "", "", *_percent(results.overall)))
    lines = _aligned(rows)
    lines.insert(1, "-" * len(lines[0]))
    lines.append(f"Percent; means over {len(results.objects)} objects. Decay: lower is better.")
    if theirs:
        same = "" if here == theirs[0].dataset else ", another split than this run"
        lines.append(f"Other rows: {SOURCE}, Table {theirs[0].table}, as published, on {theirs[0].dataset}{same}.")
    return "\n".join(lines)


def _published_rows(year: str) -> tuple[PublishedScore, ...]:
    return TABLE_1 if year == "2016" else tuple(score for score in TABLE_3 if score.dataset == DAVIS17_VAL)


def _published_row(score: PublishedScore) -> tuple[str, ...]:
    figures = (getattr(score, name) for name in Scores._fields)
    milliseconds = "-" if score.milliseconds is None else f"{score.milliseconds:g}"
    learning = {True: "yes", False: "no", None: "-"}[score.online_learning]
    return score.method, learning, milliseconds, *("-" if figure is None else f"{figure:.1f}" for figure in figures)


def _aligned(rows: list[tuple[str, ...]]) -> list[str]:
    """Lines of a table: the first column to the left, figures to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        )
        for row in rows
    ]
