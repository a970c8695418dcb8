"""The assignments' masters as tests use them: found, read, run in this process, and answered wrongly on purpose."""

from __future__ import annotations

import contextlib
import copy
import importlib
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_notebook

FOLDER = Path(__file__).resolve().parents[2] / "notebooks" / "assignments"
MASTERS = sorted(FOLDER.glob("A*.ipynb"))


@dataclass(frozen=True)
class WrongAnswer:
    """A wrong answer to one exercise.

    Attributes:
        exercise: grade_id of the solution cell that `code` replaces.
        code: the whole cell as the student would leave it.
        message: regular expression that the visible check's message must match; None for an answer that passes the
            visible check and that only the hidden tests find out.
    """

    exercise: str
    code: str
    message: str | None


@dataclass(frozen=True)
class Submission:
    """What a student hands in: the master's solutions but for some wrong answers, and the points that it must get.

    Attributes:
        answers: the wrong answers, at most one of an exercise.
        points: number of an exercise ("e1") -> its points; exercises not named here get all that grade themselves.
    """

    answers: list[WrongAnswer]
    points: dict[str, float] = field(default_factory=dict)


def changes_of(exercise: str, right: str) -> Callable[[str, str, str | None], WrongAnswer]:
    """Makes wrong answers to an exercise from a right one: (what is changed, into what, message)."""

    def changed(change: str, by: str, message: str | None) -> WrongAnswer:
        assert change in right
        return WrongAnswer(exercise, right.replace(change, by), message)

    return changed


@cache
def read_master(path: Path) -> NotebookNode:
    """A master; treat as constant."""
    return nbformat.read(path, as_version=4)


def write_master(path: Path, exercises: Mapping[str, tuple[str, str]]) -> None:
    """A small master: grade_id -> its answer and its visible check, which gives a point."""
    solution = {"grade": False, "solution": True, "locked": False, "schema_version": 3, "task": False}
    check = {**solution, "grade": True, "solution": False, "locked": True, "points": 1}
    cells = []
    for name, (answer, test) in exercises.items():
        source = f"### BEGIN SOLUTION\n{answer}\n### END SOLUTION"
        cells.append(new_code_cell(source, metadata={"nbgrader": {**solution, "grade_id": name}}))
        cells.append(new_code_cell(test, metadata={"nbgrader": {**check, "grade_id": f"{name}_check"}}))
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    path.parent.mkdir(parents=True)
    nbformat.write(new_notebook(cells=cells, metadata=kernel), path)


TALKATIVE = """import sys
def {name}(a, b):
    print("adding", file=sys.stderr)
    return {result}"""


def write_sums(folder: Path) -> Path:
    """Two small exercises, of which the answers write to stderr; the second answer is wrong."""
    exercises = {"e1_sum": ("sum_of", "a + b"), "e2_total": ("total", "a - b")}
    texts = {
        key: (TALKATIVE.format(name=name, result=result), f"assert {name}(2, 2) == 4, 'two and two are four'")
        for key, (name, result) in exercises.items()
    }
    write_master(folder / "A9_sums.ipynb", texts)
    return folder / "A9_sums.ipynb"


def wrong_answers(path: Path) -> list[WrongAnswer]:
    """`WRONG_ANSWERS` of the file that belongs to a master: wrong_a1.py to A1_....ipynb."""
    return _wrong_module(path).WRONG_ANSWERS


def wrong_submissions(path: Path) -> dict[str, Submission]:
    """`SUBMISSIONS` of the file that belongs to a master: name -> what is handed in."""
    return _wrong_module(path).SUBMISSIONS


def _wrong_module(path: Path):
    return importlib.import_module(f"wrong_{path.stem.split('_')[0].lower()}")


def marks(cell: NotebookNode) -> dict:
    """A cell's nbgrader metadata; empty where nbgrader has nothing to do with it."""
    return cell.metadata.get("nbgrader", {})


def cells_by_id(master: NotebookNode) -> dict[str, NotebookNode]:
    """grade_id -> cell."""
    return {marks(cell)["grade_id"]: cell for cell in master.cells if marks(cell)}


def is_test(cell: NotebookNode) -> bool:
    """Whether a cell holds the tests of an exercise, visible or hidden."""
    return bool(marks(cell).get("grade")) and not marks(cell)["solution"]


def exercises(master: NotebookNode) -> list[str]:
    """grade_ids of the solution cells that are graded by tests."""
    return [name for name, cell in cells_by_id(master).items() if marks(cell)["solution"] and cell.cell_type == "code"]


def points_of(master: NotebookNode) -> dict[str, float]:
    """Number of an exercise ("e1") -> the points that its tests give."""
    points: dict[str, float] = {}
    for name, cell in cells_by_id(master).items():
        if is_test(cell):
            number = name.split("_")[0]
            points[number] = points.get(number, 0) + marks(cell)["points"]
    return points


def run_answers(master: NotebookNode, replaced: Mapping[str, str] | None = None) -> dict:
    """The variables after the given code and the answers have run, the answers of some grade_ids `replaced`."""
    variables = {"__name__": "__main__"}
    for name, cell in cells_by_id(master).items():
        if cell.cell_type == "code" and not is_test(cell):
            execute((replaced or {}).get(name, cell.source), variables)
    return variables


def execute(source: str, variables: dict) -> str:
    """Run a cell's source without IPython (`%matplotlib inline` and other magics are left out); what it printed."""
    lines = ["pass" if line.startswith("%") else line for line in source.splitlines()]
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec("\n".join(lines), variables)
    return printed.getvalue()


def hand_in(folder: Path, student: str, notebook: NotebookNode, assignment: str) -> None:
    """Write a notebook as a student's submission."""
    path = folder / student / f"{assignment}.ipynb"
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, path)


def answered(released: NotebookNode, master: NotebookNode, replaced: Mapping[str, str] | None = None) -> NotebookNode:
    """The release with the master's answers in it, those of some grade_ids `replaced`."""
    result, solutions = copy.deepcopy(released), cells_by_id(master)
    for name, cell in cells_by_id(result).items():
        if marks(cell)["solution"]:
            cell.source = (replaced or {}).get(name, solutions[name].source)
    return result


def tampered(released: NotebookNode) -> NotebookNode:
    """Nothing answered, but tests emptied, deleted, skipped, re-marked as answers and worth more."""
    result = copy.deepcopy(released)
    tests = [cell for cell in result.cells if is_test(cell)]
    for number, cell in enumerate(tests):
        cell.source = "pass" if number else "100"
        cell.metadata.tags = ["skip-execution"]
        marks(cell).update(points=100, solution=number % 3 == 1)
    result.cells = [cell for cell in result.cells if cell not in tests[2::3]]
    return result
