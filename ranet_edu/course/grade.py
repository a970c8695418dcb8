"""`ranet-edu course grade`: a folder of submissions -> grades.csv and a page of feedback for each student."""

from __future__ import annotations

import csv
import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from html import escape
from pathlib import Path
from time import monotonic

import nbformat
from nbformat import NotebookNode
from tqdm import tqdm

from ranet_edu.course.execute import NOT_RUN, OUT_OF_TIME, Limits
from ranet_edu.course.folder import CourseFolder, GradingError
from ranet_edu.course.masters import MASTERS, by_number, exercise_of, find_masters, marks
from ranet_edu.course.submissions import UnreadableSubmission, find_submissions, read_submission, restore
from ranet_edu.video.masks import atomic_path

GRADED, MISSING, UNREADABLE, FAILED = "graded", "missing", "unreadable", "not graded"


@dataclass
class Grade:
    """What one student has for one assignment: a row of grades.csv.

    Attributes:
        status: "graded", "missing", "unreadable" (what was handed in is no notebook), or "not graded": our failure.
        points, out_of: those given so far, and those that there are.
        by_hand: points that wait for a person, of answers in words.
        exercises: "e1" -> points.
        seconds: what running and grading took.
        remarks: what was restored, ran out of time or can't be read.
    """

    student: str
    assignment: str
    status: str
    points: float = 0
    out_of: float = 0
    by_hand: float = 0
    exercises: dict[str, float] = field(default_factory=dict)
    seconds: float = 0
    remarks: str = ""


def grade(
    submissions: Path, out: Path, masters: Path = MASTERS, limits: Limits = Limits(), again: bool = False
) -> list[Grade]:
    """Grade every student's notebooks and write `out/grades.csv`, `out/feedback/STUDENT/A1_....html`, `out/course`.

    `submissions`: a folder of students' folders (`find_submissions`). `out`: new, or from an earlier run of the same
    course: then submissions that haven't changed are not run again (unless `again`), and points that a person gave in
    the gradebook, `out/course`, are kept and in the table. `limits`: seconds for a cell and for a notebook.

    A submission that is broken, endless, tampered with or no notebook gets its row and harms no other.

    Raises FileNotFoundError (no submissions, no masters), FileExistsError (`out` holds something else), ValueError (two
    students of one name), GradingError (a master changed after it was graded here). Where nbgrader fails on a
    submission its row says "not graded".
    """
    paths = {master.stem: master for master in find_masters(masters)}
    found = find_submissions(submissions, list(paths))
    _check_names(found)
    _check_out(out)
    grader = _Grader(Path(out), limits, again)
    handed_in = [name for name in paths if any(files[name] for files in found.values())]
    releases = {name: grader.course.add(paths[name]) for name in handed_in}
    pairs = [(student, name) for student in found for name in handed_in]
    grades = []
    for student, name in tqdm(pairs, desc="grading", unit="notebook"):
        grades.append(grader.grade(student, paths[name], releases[name], found[student][name]))
    write_grades(grades, Path(out) / "grades.csv")
    return grades


def _check_names(students: Iterable[str]) -> None:
    """ValueError where two students' names are the same to nbgrader."""
    names: dict[str, str] = {}
    for student in students:
        other = names.setdefault(_safe(student), student)
        if other != student:
            raise ValueError(f"nbgrader can't tell {other} and {student} apart; rename one of the folders")


def _check_out(out: Path) -> None:
    """FileExistsError where `out` holds something that an earlier run did not write."""
    used = Path(out).exists() and (not Path(out).is_dir() or any(Path(out).iterdir()))
    if used and not (Path(out) / "course" / "nbgrader_config.py").is_file():
        raise FileExistsError(f"{out} is not empty and not from an earlier `course grade`; choose a new folder")


class _Grader:
    """Grades one submission after the other into `out`, and remembers those that are done."""

    def __init__(self, out: Path, limits: Limits, again: bool) -> None:
        self.out, self.limits, self.again = out, limits, again
        self.course = CourseFolder(out / "course", limits)
        self._done_path = out / "course" / "done.json"
        self._done = json.loads(self._done_path.read_text("utf-8")) if self._done_path.is_file() else {}

    def grade(self, student: str, master: Path, release: NotebookNode, files: list[Path]) -> Grade:
        assignment, page = master.stem, self.out / "feedback" / student / f"{master.stem}.html"
        row = Grade(student, assignment, GRADED, out_of=sum(self.course.out_of(assignment).values()))
        try:
            if files:
                notebook, remarks = restore(release, read_submission(files))
                self._run(row, master, notebook, remarks)
                self.course.write_feedback(assignment, _safe(student), page, row.remarks)
            else:
                row.status = MISSING
        except UnreadableSubmission as error:
            row.status, row.remarks = UNREADABLE, str(error)
            write_unreadable(page, row)
        except GradingError as error:
            row.status, row.remarks = FAILED, str(error)
        return row

    def _run(self, row: Grade, master: Path, notebook: NotebookNode, remarks: list[str]) -> None:
        """Run and grade a restored submission, unless that was done, and fill in the row."""
        key, digest = f"{row.student}/{row.assignment}", self._digest(master, notebook)
        done = self._done.get(key, {})
        if self.again or done.get("digest") != digest:
            start = monotonic()
            graded = self.course.autograde(row.assignment, _safe(row.student), notebook)
            done = {"digest": digest, "seconds": round(monotonic() - start, 1)}
            done["remarks"] = "; ".join([*remarks, *_stops(graded)])
            self._remember(key, done)
        row.seconds, row.remarks = done["seconds"], done["remarks"]
        for name, cell in self.course.points(row.assignment, _safe(row.student)).items():
            exercise = exercise_of(name)
            row.exercises[exercise] = row.exercises.get(exercise, 0) + cell.points
            row.points += cell.points
            row.by_hand += cell.out_of if cell.by_hand else 0

    def _digest(self, master: Path, notebook: NotebookNode) -> str:
        content = [master.read_bytes(), nbformat.writes(notebook).encode(), repr(self.limits).encode()]
        return hashlib.sha256(b"\0".join(content)).hexdigest()

    def _remember(self, key: str, done: dict) -> None:
        self._done[key] = done
        with atomic_path(self._done_path) as path:
            path.write_text(json.dumps(self._done, indent=1), encoding="utf-8")


def _safe(student: str) -> str:
    """A folder's name as nbgrader takes it for a student: it reads brackets, stars and plus signs as patterns."""
    return re.sub(r"[^\w .@-]", "_", student)


def _stops(graded: NotebookNode) -> Iterator[str]:
    """Remarks on where a notebook was stopped when it was run."""
    errors = [(_name(cell), output) for cell in graded.cells for output in cell.get("outputs", []) if "ename" in output]
    late = [name for name, output in errors if output.ename == OUT_OF_TIME]
    if late:
        yield f"out of time: {', '.join(late)}"
    not_run = [(name, output.evalue) for name, output in errors if output.ename == NOT_RUN]
    if not_run:
        name, reason = not_run[0]
        yield f"not run from {name} on: {reason}"


def _name(cell: NotebookNode) -> str:
    return marks(cell).get("grade_id") or "a cell of the student's own"


def write_unreadable(page: Path, row: Grade) -> None:
    """The feedback of a submission that can't be read: what was wrong with it."""
    title = escape(f"{row.assignment}: not graded")
    text = f"<!DOCTYPE html><meta charset='utf-8'><title>{title}</title><h1>{title}</h1><p>{escape(row.remarks)}.</p>\n"
    with atomic_path(page) as path:
        path.write_text(text, encoding="utf-8")


def write_grades(grades: Sequence[Grade], path: Path) -> None:
    """grades.csv: a row for each student and assignment, a column for each exercise."""
    exercises = sorted({exercise for row in grades for exercise in row.exercises}, key=by_number)
    columns = ["student", "assignment", "status", "points", "out_of", "by_hand", *exercises, "seconds", "remarks"]
    with atomic_path(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, columns, extrasaction="ignore")
        table.writeheader()
        table.writerows({**asdict(row), **row.exercises} for row in grades)


def format_grades(grades: Sequence[Grade]) -> str:
    """The grades as a table to read in a terminal."""
    width = max([len("student"), *(len(row.student) for row in grades)])
    lines = [f"{'student':{width}}  assignment  points  by hand  seconds  status"]
    for row in grades:
        points, status = f"{row.points:g}/{row.out_of:g}", ": ".join(filter(None, (row.status, row.remarks)))
        short = row.assignment.split("_")[0]
        lines.append(f"{row.student:{width}}  {short:10}  {points:>6}  {row.by_hand:7g}  {row.seconds:7.1f}  {status}")
    return "\n".join(lines)
