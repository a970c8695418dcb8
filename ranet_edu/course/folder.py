"""An nbgrader course on disk, driven through nbgrader's converters. Needs nbgrader; imported where that is there."""

from __future__ import annotations

import logging
import os
import re
import shutil
import sysconfig
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from nbgrader.api import Gradebook
from nbgrader.converters import Autograde, GenerateAssignment, GenerateFeedback
from nbgrader.converters.base import BaseConverter, NbGraderException
from nbgrader.coursedir import CourseDirectory
from nbgrader.preprocessors import Execute
from traitlets.config import Config

from ranet_edu.course.execute import IGNORE_STDERR, ExecuteWithinLimits, Limits
from ranet_edu.video.masks import atomic_path

LOG = "nbgrader.log"
SETTINGS = """c = get_config()  # noqa: F821
c.CourseDirectory.course_id = "ranet_edu"
c.IgnorePattern.enabled = True
c.IgnorePattern.pattern = ".*"
"""


@contextmanager
def _scripts_on_path() -> Iterator[None]:
    """nbgrader starts `alembic` by its name, which fails where the environment was not activated."""
    before = os.environ.get("PATH", os.defpath)
    os.environ["PATH"] = os.pathsep.join([sysconfig.get_path("scripts"), before])
    try:
        yield
    finally:
        os.environ["PATH"] = before


class GradingError(ValueError):
    """Grading itself failed, not a student's work; the message says where the details are."""


@dataclass(frozen=True)
class CellPoints:
    """A graded cell: what the tests gave or, where there are any, a person's points; `by_hand` waits for a person."""

    points: float
    out_of: float
    by_hand: bool


class CourseFolder:
    """source, release, submitted, autograded, feedback and gradebook.db below `root`, as nbgrader lays them out.

    Work with it by nbgrader's own commands or formgrader too: it is a course of theirs. What nbgrader says on the way
    goes to `root/nbgrader.log`.
    """

    def __init__(self, root: Path, limits: Limits = Limits()) -> None:
        self.root = Path(root).resolve()
        self.root.mkdir(parents=True, exist_ok=True)
        with atomic_path(self.root / "nbgrader_config.py") as path:
            path.write_text(SETTINGS, encoding="utf-8")
        self._config = Config(IGNORE_STDERR)
        self._config.CourseDirectory.root = str(self.root)
        self._config.CourseDirectory.course_id = "ranet_edu"
        self._config.ExecuteWithinLimits.cell_seconds = limits.cell
        self._config.ExecuteWithinLimits.notebook_seconds = limits.notebook

    def notebook_path(self, step: str, assignment: str, student: str = ".") -> Path:
        """Where a notebook lies in `step`: "source", "release", "submitted" or "autograded"."""
        return self.root / step / student / assignment / f"{assignment}.ipynb"

    def add(self, master: Path) -> NotebookNode:
        """Make `master` an assignment, unless it is one already, and return its release, which students are given.

        Raises GradingError where nbgrader does not take it, or another version of it was graded here.
        """
        source, release = self.notebook_path("source", master.stem), self.notebook_path("release", master.stem)
        if not (release.is_file() and source.is_file() and source.read_bytes() == master.read_bytes()):
            source.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(master, source)
            try:
                self._convert(GenerateAssignment, master.stem)
            except GradingError:
                source.unlink()
                raise
        return nbformat.read(release, as_version=4)

    def autograde(self, assignment: str, student: str, notebook: NotebookNode) -> NotebookNode:
        """Run a student's notebook, write its points to the gradebook, and return it with its outputs."""
        path = self.notebook_path("submitted", assignment, student)
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as temporary:
            nbformat.write(notebook, temporary)
        self._convert(Autograde, assignment, student)
        return nbformat.read(self.notebook_path("autograded", assignment, student), as_version=4)

    def write_feedback(self, assignment: str, student: str, out: Path, remarks: str = "") -> None:
        """The graded notebook as HTML with its points, comments and our `remarks`, to the file `out`."""
        self._convert(GenerateFeedback, assignment, student)
        html = (self.root / "feedback" / student / assignment / f"{assignment}.html").read_text(encoding="utf-8")
        html = re.sub(r'(<a href="#(\w+)">)Test cell</a>', r"\1\2</a>", html)  # which of the test cells
        html = html.replace('<div id="toc">', f'<p>{escape(remarks)}</p><div id="toc">', 1)
        with atomic_path(out) as temporary:
            temporary.write_text(html, encoding="utf-8")

    def points(self, assignment: str, student: str) -> dict[str, CellPoints]:
        """grade_id -> points, in the gradebook's words: a person's points take the place of the tests'."""
        with self._gradebook() as gradebook:
            submission = gradebook.find_submission(assignment, student)
            grades = [grade for notebook in submission.notebooks for grade in notebook.grades]
            return {g.name: CellPoints(g.score, g.max_score, g.needs_manual_grade) for g in grades}

    def out_of(self, assignment: str) -> dict[str, float]:
        """grade_id -> the points that there are."""
        with self._gradebook() as gradebook:
            (notebook,) = gradebook.find_assignment(assignment).notebooks
            return {cell.name: cell.max_score for cell in notebook.grade_cells}

    def _gradebook(self) -> Gradebook:
        return Gradebook(f"sqlite:///{self.root / 'gradebook.db'}")

    def _convert(self, kind: type[BaseConverter], assignment: str, student: str = "*") -> None:
        course = CourseDirectory(config=self._config, assignment_id=assignment, student_id=student)
        with self._log() as log:
            converter = kind(coursedir=course, config=self._config, log=log, force=True)
            if isinstance(converter, Autograde):
                steps = converter.autograde_preprocessors
                converter.autograde_preprocessors = [ExecuteWithinLimits if s is Execute else s for s in steps]
            try:
                with _scripts_on_path(), warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # of SQLAlchemy, about nbgrader's own code
                    converter.start()
            except (NbGraderException, RuntimeError) as error:
                raise GradingError(self._what_went_wrong(assignment)) from error

    def _what_went_wrong(self, assignment: str) -> str:
        """nbgrader logs the error that stopped it and raises another one, which only says that there was one."""
        lines = (self.root / LOG).read_text(encoding="utf-8").splitlines()
        errors = [line for line in lines if re.match(r"[\w.]*(Error|Exception)\b", line)]
        reason = errors[-1] if errors else "no reason given"
        return f"nbgrader could not go on with {assignment} ({reason}); details in {self.root / LOG}"

    @contextmanager
    def _log(self) -> Iterator[logging.Logger]:
        """A logger that writes to the log file and nowhere else."""
        log = logging.Logger("ranet_edu.course", logging.INFO)
        handler = logging.FileHandler(self.root / LOG, encoding="utf-8")
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        log.addHandler(handler)
        try:
            yield log
        finally:
            handler.close()
