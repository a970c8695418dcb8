"""What `ranet-edu benchmark` measured: rows of a CSV file, and the tables that are made of them (notebook 13)."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import NamedTuple

from ranet_edu.evaluation.meters import PARTS
from ranet_edu.video.masks import atomic_path

SIZES = {"240p": (240, 432), "480p": (480, 864)}
PRESETS = ("lite", "paper")
PLAIN = "plain"
FRAME, VIDEO, SCORING = "frame", "video", "J and F"
"""Parts that are no part of the network: all of it; a video's frame, read and written; its scoring."""
FILE = "speed.csv"


class Case(NamedTuple):
    """What is timed: a preset on frames of a size, with so many objects."""

    preset: str
    size: str
    objects: int

    def __str__(self) -> str:
        height, width = SIZES[self.size]
        return f"{self.preset}, {height} x {width}, {self.objects} object{'s' * (self.objects > 1)}"


@dataclass(frozen=True)
class Row:
    """One line of `speed.csv`: one part of one case under one variant.

    milliseconds: median. times_plain: how many times faster than the plain formulation in the same run. gflop, gbyte:
    work of one frame and bytes moved (see `meters.part_work`). of_ceiling: share of the machine's best rate of matrix
    products or convolutions. megabytes: memory at the highest point beyond the weights. agreement: share of pixels
    whose mask is that of the plain formulation. first_seconds: the first call, compiling included. matmul,
    convolution, bandwidth: `Ceilings` under the variant's precision. None: not measured.
    """

    machine: str
    device: str
    threads: int
    torch: str
    preset: str
    size: str
    objects: int
    variant: str
    part: str
    repeats: int
    milliseconds: float
    times_plain: float | None = None
    gflop: float | None = None
    gbyte: float | None = None
    of_ceiling: float | None = None
    megabytes: float | None = None
    agreement: float | None = None
    first_seconds: float | None = None
    matmul: float | None = None
    convolution: float | None = None
    bandwidth: float | None = None

    @property
    def case(self) -> Case:
        """The case that it belongs to."""
        return Case(self.preset, self.size, self.objects)

    @property
    def run(self) -> tuple[object, ...]:
        """Rows of one run of one case have it in common; single frames and videos are separate runs."""
        return self.machine, self.device, self.threads, self.case, self.part in (VIDEO, SCORING)


def add_rows(path: Path, rows: Sequence[Row]) -> None:
    """Write rows to a CSV file, beside those of other cases that are in it; it changes whole or not at all."""
    earlier = read_rows(path) if path.exists() else []
    replaced = {row.run for row in rows}
    kept = [row for row in earlier if row.run not in replaced]
    ordered = sorted([*kept, *rows], key=lambda row: (row.preset, row.size, row.objects))
    names = [field.name for field in fields(Row)]
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: _written(value) for name, value in asdict(row).items()} for row in ordered)


def _written(value: object) -> object:
    return f"{value:.5g}" if isinstance(value, float) else value


def read_rows(path: str | Path) -> list[Row]:
    """The rows of a `speed.csv`. Raises FileNotFoundError, or ValueError for a file that is damaged or another's."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no measurements at {path}; `ranet-edu benchmark --out DIR` writes DIR/{FILE}")
    with path.open(newline="", encoding="utf-8") as file:
        header, *lines = [*csv.reader(file)] or [[]]
    names = [field.name for field in fields(Row)]
    if header != names:
        raise ValueError(f"{path} does not hold measurements of `ranet-edu benchmark`; choose another folder")
    try:
        return [Row(*(_read(*pair) for pair in zip(names, line, strict=True))) for line in lines]
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path} is damaged ({error}); delete it, or choose another folder") from error


def _read(name: str, text: str) -> str | int | float | None:
    if name in ("machine", "device", "torch", "preset", "size", "variant", "part"):
        return text
    if name in ("threads", "objects", "repeats"):
        return int(text)
    return float(text) if text else None


def frame_times(rows: Iterable[Row]) -> dict[str, dict[str, float]]:
    """{case: {variant: milliseconds of a frame}}, in the order of the rows."""
    times: dict[str, dict[str, float]] = {}
    for row in rows:
        if row.part == FRAME:
            times.setdefault(str(row.case), {})[row.variant] = row.milliseconds
    return times


def part_times(rows: Iterable[Row]) -> dict[str, dict[str, float]]:
    """{case and variant: {part: milliseconds}}, for each preset and size with the fewest objects measured."""
    times: dict[str, dict[str, float]] = {}
    for row in _fewest_objects(rows):
        if row.part in PARTS:
            times.setdefault(f"{row.case}: {row.variant}", {})[row.part] = row.milliseconds
    return times


def format_all(rows: Sequence[Row]) -> str:
    """All tables, one below the other."""
    tables = [format_machine, format_times, format_costs, format_parts, format_videos]
    return "\n\n".join(text for table in tables if (text := table(rows)))


def format_times(rows: Sequence[Row]) -> str:
    """Milliseconds of a frame as a Markdown table: a line for each case, a column for each variant."""
    variants = list(dict.fromkeys(row.variant for row in rows))
    lines = []
    for case, members in _by_case(rows, FRAME).items():
        cells = {row.variant: _number(row.milliseconds) + _times(row) for row in members}
        lines.append([case, *(cells.get(variant, "") for variant in variants)])
    return _markdown(["milliseconds a frame", *variants], lines)


def format_costs(rows: Sequence[Row]) -> str:
    """What else a frame costs, and whether its mask is the plain one's: a line for each case and variant."""
    header = ["", "variant", "ms", "GFLOP", "of ceiling", "MB", "same pixels", "first call"]
    lines = []
    for case, members in _by_case(rows, FRAME).items():
        for row in members:
            costs = [_number(row.gflop), _percent(row.of_ceiling), _number(row.megabytes)]
            lines.append([case, row.variant, _number(row.milliseconds), *costs])
            lines[-1] += [_percent(row.agreement, 3), _number(row.first_seconds) + " s"]
    return _markdown(header, lines)


def format_parts(rows: Sequence[Row]) -> str:
    """Where the time goes with the fewest objects: a line for each part, time and share of the ceiling by variant."""
    chosen = [row for row in _fewest_objects(rows) if row.part in PARTS]
    tables = []
    for case, members in _group(chosen, lambda row: str(row.case)).items():
        by_variant = _group(members, lambda row: row.variant)
        lines = []
        for part in PARTS:
            cells = [row for mine in by_variant.values() for row in mine if row.part == part]
            lines.append([part, _number(cells[0].gflop), *(_rate(row) for row in cells)])
        tables.append(_markdown([f"{case}: ms", "GFLOP", *by_variant], lines))
    return "\n\n".join(tables)


def format_videos(rows: Sequence[Row]) -> str:
    """A video's milliseconds a frame, reading and writing included, beside the network alone; the share of scoring."""
    lines = []
    for case, members in _group(rows, lambda row: str(row.case)).items():
        for variant, mine in _group(members, lambda row: row.variant).items():
            time = {row.part: row.milliseconds for row in mine}
            if VIDEO in time:
                share = time[SCORING] / (time[SCORING] + time[VIDEO])
                lines.append([case, variant, *(_number(time.get(p)) for p in (FRAME, VIDEO, SCORING)), _percent(share)])
    if not lines:
        return ""
    return _markdown(["milliseconds a frame", "variant", "network", "video", "scoring", "of an evaluation"], lines)


def format_machine(rows: Sequence[Row]) -> str:
    """On what it was measured, and that machine's ceilings, under each variant's precision."""
    machines = dict.fromkeys(f"{row.machine}, {row.threads} threads, PyTorch {row.torch}" for row in rows)
    lines = []
    for variant, members in _group([row for row in rows if row.part == FRAME], lambda row: row.variant).items():
        best = [max(getattr(row, name) for row in members) for name in ("matmul", "convolution", "bandwidth")]
        lines.append([variant, *map(_number, best)])
    table = _markdown(["ceilings", "matmul GFLOP/s", "convolution GFLOP/s", "copy GB/s"], lines)
    return "; ".join(machines) + "\n\n" + table


def _fewest_objects(rows: Iterable[Row]) -> list[Row]:
    groups = _group(rows, lambda row: f"{row.preset} {row.size}").values()
    return [row for group in groups for row in group if row.objects == min(other.objects for other in group)]


def _by_case(rows: Iterable[Row], part: str) -> dict[str, list[Row]]:
    return _group([row for row in rows if row.part == part], lambda row: str(row.case))


def _group(rows: Iterable[Row], key: Callable[[Row], str]) -> dict[str, list[Row]]:
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(key(row), []).append(row)
    return groups


def _number(value: float | None) -> str:
    """Three digits or all before the point; a dash for what wasn't measured."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _times(row: Row) -> str:
    return "" if row.variant == PLAIN or row.times_plain is None else f" ({row.times_plain:.2f} x)"


def _percent(share: float | None, digits: int = 0) -> str:
    return "-" if share is None else f"{100 * share:.{digits}f} %"


def _rate(row: Row) -> str:
    return f"{_number(row.milliseconds)} ({_percent(row.of_ceiling)})" if row.gflop else _number(row.milliseconds)


def _markdown(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A Markdown table that is also aligned as text: the first column to the left, others to the right."""
    widths = [max(map(len, column)) for column in zip(header, *lines, strict=True)]
    rule = ["-" * max(width, 3) for width in widths]
    rule[1:] = [dashes[:-1] + ":" for dashes in rule[1:]]
    return "\n".join(
        "| " + " | ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]) + " |"
        for line in (header, rule, *lines)
    )
