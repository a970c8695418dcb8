"""What students handed in: found in a folder, read whatever it is, and put into the notebook that they were given."""

from __future__ import annotations

import warnings
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_raw_cell

from ranet_edu.course.masters import marks

LARGEST = 50 * 2**20
"""Bytes of a submission; with outputs a notebook of ours has a hundredth of it."""

NEW_CELL = {"code": new_code_cell, "markdown": new_markdown_cell, "raw": new_raw_cell}


class UnreadableSubmission(ValueError):
    """What a student handed in can't be graded; the message says why, to the student."""


def find_submissions(folder: Path, assignments: list[str]) -> dict[str, dict[str, list[Path]]]:
    """Student -> assignment -> the files handed in for it, from a folder with one folder for each student.

    A file belongs to the assignment with whose name its own begins, at any depth, so that nbgrader's
    STUDENT/A1_masks_and_metrics/A1_masks_and_metrics.ipynb is found as well as STUDENT/A1_masks_and_metrics (1).ipynb.

    Raises FileNotFoundError where there is no such folder, or no student has handed in anything.
    """
    if not Path(folder).is_dir():
        raise FileNotFoundError(f"no folder of submissions at {folder}")
    students = sorted(path for path in Path(folder).iterdir() if path.is_dir() and not path.name.startswith("."))
    found = {student.name: {name: _files(student, name) for name in assignments} for student in students}
    if not any(files for student in found.values() for files in student.values()):
        raise FileNotFoundError(
            f"no submission in {folder}: it should hold a folder for each student, and in that {assignments[0]}.ipynb"
        )
    return found


def _files(student: Path, assignment: str) -> list[Path]:
    paths = (path for path in student.rglob("*") if path.is_file() and ".ipynb_checkpoints" not in path.parts)
    return sorted(path for path in paths if path.name.lower().startswith(assignment.lower()))


def read_submission(files: list[Path]) -> NotebookNode:
    """The one notebook among a student's files of an assignment. Raises UnreadableSubmission."""
    notebooks = [path for path in files if path.suffix.lower() == ".ipynb"]
    if not notebooks:
        raise UnreadableSubmission(f"{files[0].name} is not a notebook; hand in the .ipynb file")
    if len(notebooks) > 1:
        names = ", ".join(path.name for path in notebooks)
        raise UnreadableSubmission(f"there are {len(notebooks)} notebooks, keep one: {names}")
    return _read(notebooks[0])


def _read(path: Path) -> NotebookNode:
    if path.stat().st_size > LARGEST:
        raise UnreadableSubmission(f"{path.name} has more than {LARGEST // 2**20} MB; clear its outputs and save it")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a student's editor, which left out the cells' ids
            notebook = nbformat.read(path, as_version=4)
        complete = all(isinstance(cell.source, str) and cell.cell_type in NEW_CELL for cell in notebook.cells)
        _ = [cell.metadata.items() for cell in notebook.cells]
    except Exception as error:  # a file of any content, and nbformat raises nearly anything
        reason = (str(error).splitlines() or [""])[0][:100]
        raise UnreadableSubmission(
            f"{path.name} can't be read as a notebook ({type(error).__name__}: {reason})"
        ) from error
    if not complete:
        raise UnreadableSubmission(f"{path.name} has cells that Jupyter doesn't know; open it in Jupyter and save it")
    return notebook


def restore(released: NotebookNode, submitted: NotebookNode) -> tuple[NotebookNode, list[str]]:
    """A notebook in which only the answers are the student's, and remarks on what had to be restored.

    All cells that nbgrader handles come from the release, in its order, with its metadata: tests that were emptied,
    deleted, moved, copied or re-marked are as they were. Of the answers the source is taken. The student's own cells
    (and prose) stay behind the cell that they followed.

    nbgrader restores the source of locked cells itself, but a deleted test is not missed, one that is re-marked as an
    answer stops the grading, and one tagged `skip-execution` earns its points.
    """
    given = {marks(cell)["grade_id"]: cell for cell in released.cells if marks(cell)}
    answers, own = _sort(submitted, given)
    result = released.copy()
    result.cells = [_own_cell(cell) for cell in own[""]]
    for name, cell in given.items():
        result.cells += [_answered(cell, answers.get(name)), *map(_own_cell, own[name])]
    for number, cell in enumerate(result.cells):
        cell["id"] = f"cell-{number}"
    return result, _remarks(given, answers)


def _sort(
    submitted: NotebookNode, given: dict[str, NotebookNode]
) -> tuple[dict[str, NotebookNode], dict[str, list[NotebookNode]]]:
    """The student's version of each given cell, the first if it was copied; and the other cells by what they follow."""
    answers: dict[str, NotebookNode] = {}
    own: dict[str, list[NotebookNode]] = {name: [] for name in ("", *given)}
    before = ""
    for cell in submitted.cells:
        name = marks(cell).get("grade_id")
        if isinstance(name, str) and name in given and name not in answers:
            answers[name], before = cell, name
        else:
            own[before].append(cell)
    return answers, own


def _own_cell(cell: NotebookNode) -> NotebookNode:
    return NEW_CELL[cell.cell_type](cell.source)


def _answered(cell: NotebookNode, answer: NotebookNode | None) -> NotebookNode:
    result = NEW_CELL[cell.cell_type](cell.source, metadata=cell.metadata)
    if answer is not None and marks(cell)["solution"]:
        result.source = answer.source
    return result


def _remarks(given: dict[str, NotebookNode], answers: dict[str, NotebookNode]) -> list[str]:
    missing = [name for name in given if name not in answers]
    changed = [
        name
        for name, cell in given.items()
        if name in answers and not marks(cell)["solution"] and answers[name].source != cell.source
    ]
    marked = [name for name, cell in given.items() if name in answers and _changed_marks(cell, answers[name])]
    remarks = {"missing, put back": missing, "changed, restored": changed, "re-marked, restored": marked}
    return [f"{what}: {', '.join(names)}" for what, names in remarks.items() if names]


def _changed_marks(cell: NotebookNode, answer: NotebookNode) -> bool:
    """Whether the student's copy differs in what nbgrader goes by."""
    names = ("grade", "solution", "locked", "points")
    return cell.cell_type != answer.cell_type or any(marks(cell).get(n) != marks(answer).get(n) for n in names)
