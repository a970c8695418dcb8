"""The masters in a course of nbgrader's own, driven by its own commands."""

import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from masters import MASTERS, answered, is_test, points_of, read_master
from nbgrader.api import Gradebook

A1 = MASTERS[0]


def nbgrader(folder: Path, *arguments: str) -> None:
    scripts = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    command = [sys.executable, "-m", "nbgrader", *arguments]
    run = subprocess.run(command, cwd=folder, env=os.environ | {"PATH": scripts}, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


@pytest.fixture(scope="module")
def gradebook(tmp_path_factory):
    """A1 generated and autograded, for a student who is right and one who emptied the tests."""
    root = tmp_path_factory.mktemp("plain")
    (root / "nbgrader_config.py").write_text("c = get_config()\nc.CourseDirectory.course_id = 'vos'\n")
    (root / "source" / A1.stem).mkdir(parents=True)
    nbformat.write(read_master(A1), root / "source" / A1.stem / A1.name)
    nbgrader(root, "generate_assignment", A1.stem)
    released = nbformat.read(root / "release" / A1.stem / A1.name, as_version=4)
    emptied = released.copy()
    for cell in emptied.cells:
        if is_test(cell):
            cell.source = "pass"
    fresh = nbformat.read(root / "release" / A1.stem / A1.name, as_version=4)
    for student, notebook in {"right": answered(fresh, read_master(A1)), "emptied": emptied}.items():
        (root / "submitted" / student / A1.stem).mkdir(parents=True)
        nbformat.write(notebook, root / "submitted" / student / A1.stem / A1.name)
    nbgrader(root, "autograde", A1.stem, "--ExecutePreprocessor.timeout=240")
    with Gradebook(f"sqlite:///{root / 'gradebook.db'}") as book:
        yield book


def test_right_answers_get_their_points(gradebook):
    submission = gradebook.find_submission(A1.stem, "right")
    assert submission.score == sum(points_of(read_master(A1)).values())
    assert submission.max_score == 20 and submission.needs_manual_grade


def test_emptied_tests_are_restored_from_the_database(gradebook):
    assert gradebook.find_submission(A1.stem, "emptied").score == 0
