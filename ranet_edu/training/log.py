"""The curve of a run: a CSV file that survives kills, and its figure."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class CsvLog:
    """Rows of numbers, the first column being the step. Behind notebook 07's `train`."""

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        self.path, self.columns = Path(path), tuple(columns)

    def append(self, *values: float) -> None:
        """Adds a row by one write of a whole line, so that no kill can leave half of it behind a whole one."""
        row = _line([f"{v:.6g}" if isinstance(v, float) else v for v in values])
        new = not self.path.exists()
        with open(self.path, "ab", buffering=0) as file:
            file.write((_line(self.columns) if new else b"") + row)

    def truncate(self, step: int) -> None:
        """Forgets the rows after `step`: a resumed run will write them again. No row left, no file."""
        if not self.path.exists():
            return
        lines = self.path.read_bytes().splitlines(keepends=True)
        kept = [line for line in lines[1:] if line.endswith(b"\n") and int(line.split(b",")[0]) <= step]
        if not kept:
            self.path.unlink()
            return
        temporary = self.path.with_name(f".{self.path.name}.part")
        temporary.write_bytes(_line(self.columns) + b"".join(kept))
        os.replace(temporary, self.path)


def _line(values: Sequence[object]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(values)
    return text.getvalue().encode()


def read_log(path: Path) -> dict[str, list[float]]:
    """The columns of a log, by name. Raises `ValueError` naming the file when it holds no rows."""
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    if not rows:
        raise ValueError(f"{path} holds no rows yet; train for a few more steps")
    return {name: [float(row[name]) for row in rows] for name in rows[0]}


def plot_log(log: Path, figure: Path, validation: Path | None = None) -> Path:
    """Draws the losses of `log` (and J&F of `validation`, where that file exists) over the steps into `figure`.

    The image is PNG, SVG or PDF after the name's ending. Behind notebook 07's `train`.
    """
    from matplotlib.figure import Figure

    columns = read_log(log)
    canvas = Figure(figsize=(7, 4), layout="constrained")
    axes = canvas.subplots()
    for name, colour in (("loss", "#000000"), ("bce", "#0072B2"), ("iou", "#D55E00")):
        axes.plot(columns["step"], columns[name], color=colour, linewidth=1, label=name)
    axes.set(xlabel="step", ylabel="loss", yscale="log", title=Path(log).parent.name)
    axes.legend(loc="lower left")
    if validation and Path(validation).exists():
        _plot_scores(axes.twinx(), read_log(validation))
    temporary = Path(figure).with_name(f".part.{Path(figure).name}")
    canvas.savefig(temporary, dpi=120)
    os.replace(temporary, figure)
    return Path(figure)


def _plot_scores(axes: Axes, columns: dict[str, list[float]]) -> None:
    axes.plot(columns["step"], columns["J&F"], color="#009E73", marker="o", label="J&F")
    axes.set(ylabel="J&F of the validation", ylim=(0, 1))
    axes.legend(loc="lower right")
