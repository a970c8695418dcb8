"""`ranet-edu course check`: a student runs their own notebook and sees the points of its visible checks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from nbformat import NotebookNode
from nbgrader.preprocessors import IgnorePattern
from nbgrader.utils import determine_grade

from ranet_edu.course.execute import IGNORE_STDERR, Limits, error_of, run_notebook
from ranet_edu.course.masters import exercise_of, marks
from ranet_edu.course.submissions import UnreadableSubmission, read_submission


@dataclass(frozen=True)
class CheckResult:
    """A graded cell of a student's notebook.

    Attributes:
        grade_id: its name: "e2_jaccard_check".
        points, out_of: what it gave, and could; `points` is None where that is seen only when it is handed in.
        message: what went wrong, or why it is not seen yet; empty where nothing did.
    """

    grade_id: str
    points: float | None
    out_of: float
    message: str = ""


def check(path: Path, limits: Limits = Limits()) -> list[CheckResult]:
    """Run a notebook in its folder, leaving the file as it is, and say what each graded cell gives.

    Raises FileNotFoundError, or ValueError for a file that is no notebook or one without graded cells.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no notebook at {path}")
    notebook = read_submission([path])
    if not any(marks(cell).get("grade") for cell in notebook.cells):
        raise UnreadableSubmission(f"{path.name} has no graded cells; name the notebook of an assignment")
    run_notebook(notebook, path.parent, limits)
    notebook, _ = IgnorePattern(config=IGNORE_STDERR)(notebook, {})
    answers = {exercise_of(marks(cell)["grade_id"]): cell for cell in notebook.cells if marks(cell).get("solution")}
    return [_result(cell, answers) for cell in notebook.cells if marks(cell).get("grade")]


def _result(cell: NotebookNode, answers: dict[str, NotebookNode]) -> CheckResult:
    name, out_of = marks(cell)["grade_id"], float(marks(cell)["points"])
    if marks(cell).get("solution"):
        return CheckResult(name, None, out_of, "graded by hand")
    if not any(line.strip() and not line.startswith("#") for line in cell.source.splitlines()):
        return CheckResult(name, None, out_of, "hidden tests")
    points, _ = determine_grade(cell)
    message, answer = error_of(cell) or "", answers.get(exercise_of(name))
    if message.startswith("NameError") and answer and error_of(answer):  # after a SyntaxError there is no function
        message = f"your answer's cell ends with {error_of(answer)}"
    return CheckResult(name, points, out_of, message)


def format_results(results: list[CheckResult]) -> str:
    """The results as a table with the points of the visible checks below."""
    width = max(len(result.grade_id) for result in results)
    lines = []
    for result in results:
        sign = " " if result.points is None else "✓" if result.points == result.out_of else "✗"
        points = f"{'-' if result.points is None else f'{result.points:g}'}/{result.out_of:g}"
        lines.append(f"{sign} {result.grade_id:{width}}  {points:>5}  {result.message}".rstrip())
    seen = [result for result in results if result.points is not None]
    points, visible = sum(result.points for result in seen), sum(result.out_of for result in seen)
    later = sum(result.out_of for result in results) - visible
    return "\n".join(
        [*lines, f"{points:g} of {visible:g} points of the visible checks; {later:g} more when you hand in"]
    )
