"""Every assignment graded as a course would be: right, wrong, blank, endless and tampered, to the exact point."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from pathlib import Path

import nbformat
import pytest
from masters import (
    MASTERS,
    answered,
    cells_by_id,
    exercises,
    hand_in,
    marks,
    points_of,
    read_master,
    tampered,
    write_sums,
    wrong_submissions,
)

from ranet_edu import cli
from ranet_edu.course import folder
from ranet_edu.course.execute import Limits
from ranet_edu.course.folder import CourseFolder
from ranet_edu.course.grade import FAILED, GRADED, MISSING, UNREADABLE, Grade, format_grades, grade, write_grades
from ranet_edu.course.masters import MASTERS as FOLDER
from ranet_edu.course.masters import exercise_of

EVERY_MASTER = pytest.mark.parametrize("path", MASTERS, ids=lambda path: path.stem)
A1 = MASTERS[0]
GENEROUS = Limits(240, 900)
LOOP = "while True:\n    pass\n"


def in_words(master) -> float:
    """Points of the answers in words."""
    graded = [cell for cell in master.cells if marks(cell).get("grade")]
    return sum(marks(cell)["points"] for cell in graded if cell.cell_type == "markdown")


@dataclass
class Course:
    """What students handed in, and what it was graded to."""

    submissions: Path
    out: Path
    rows: dict[tuple[str, str], Grade]


@pytest.fixture(scope="module")
def course(tmp_path_factory, releases) -> Course:
    """All submissions of all assignments, graded in one run."""
    root = tmp_path_factory.mktemp("graded")
    for path in MASTERS:
        master, released = read_master(path), releases[path.stem]
        kinds = {"right": answered(released, master), "blank": released, "tampered": tampered(released)}
        for name, wrong in wrong_submissions(path).items():
            kinds[name] = answered(released, master, {answer.exercise: answer.code for answer in wrong.answers})
        for name, notebook in kinds.items():
            hand_in(root / "submissions", name, notebook, path.stem)
    nonsense = root / "submissions" / "nonsense" / f"{A1.stem}.ipynb"
    nonsense.parent.mkdir()
    nonsense.write_text("Dear professor, <my> dog ate it")
    (root / "submissions" / "silent").mkdir()
    rows = grade(root / "submissions", root / "out", limits=GENEROUS)
    return Course(root / "submissions", root / "out", {(row.student, row.assignment): row for row in rows})


@pytest.fixture(scope="module")
def endless(tmp_path_factory, releases, course) -> dict[str, Grade]:
    """Assignment -> the grade of a submission whose first exercise never ends.

    The limit follows this machine and its load: a cell has twice the time that all cells of a right notebook took.
    """
    cell_seconds = max(10, 2 * max(course.rows["right", path.stem].seconds for path in MASTERS))
    limits = Limits(cell_seconds, 10 * cell_seconds)
    root = tmp_path_factory.mktemp("endless")
    for path in MASTERS:
        master = read_master(path)
        first = exercises(master)[0]
        loop = {first: LOOP + cells_by_id(master)[first].source}
        hand_in(root / "submissions", "endless", answered(releases[path.stem], master, loop), path.stem)
    return {row.assignment: row for row in grade(root / "submissions", root / "out", limits=limits)}


@EVERY_MASTER
def test_the_right_answers_get_all_points_but_those_in_words(course, path):
    row, master = course.rows["right", path.stem], read_master(path)
    assert row.status == GRADED and row.remarks == ""
    assert (row.points, row.by_hand, row.out_of) == (20 - in_words(master), in_words(master), 20)
    assert {name: row.exercises[name] for name in points_of(master)} == points_of(master)


@EVERY_MASTER
def test_wrong_answers_lose_exactly_their_points(course, path):
    master = read_master(path)
    for name, wrong in wrong_submissions(path).items():
        row = course.rows[name, path.stem]
        assert {key: row.exercises[key] for key in points_of(master)} == points_of(master) | wrong.points, name
        assert row.points == sum(row.exercises.values())


@EVERY_MASTER
def test_a_blank_notebook_gets_nothing_and_waits_for_nobody(course, path):
    row = course.rows["blank", path.stem]
    assert (row.status, row.points, row.by_hand, row.out_of, row.remarks) == (GRADED, 0, 0, 20, "")


@EVERY_MASTER
def test_tampered_tests_gain_nothing_and_are_remarked(course, path):
    row = course.rows["tampered", path.stem]
    assert (row.status, row.points, row.by_hand, row.out_of) == (GRADED, 0, 0, 20)
    assert all(what in row.remarks for what in ("missing, put back", "changed, restored", "re-marked, restored"))


@EVERY_MASTER
def test_an_endless_loop_costs_its_own_exercise(endless, path):
    row, master = endless[path.stem], read_master(path)
    first = exercises(master)[0]
    assert row.exercises[exercise_of(first)] == 0 and row.remarks == f"out of time: {first}"
    assert row.points == 20 - in_words(master) - points_of(master)[exercise_of(first)]


def test_what_is_no_notebook_and_what_is_missing_have_rows_too(course):
    assert course.rows["nonsense", A1.stem].status == UNREADABLE
    assert "can't be read" in course.rows["nonsense", A1.stem].remarks
    assert {course.rows["silent", path.stem].status for path in MASTERS} == {MISSING}


def test_grades_csv_has_a_row_for_everybody_and_a_column_for_each_exercise(course):
    with open(course.out / "grades.csv", newline="", encoding="utf-8") as file:
        rows = {(row["student"], row["assignment"]): row for row in csv.DictReader(file)}
    assert rows.keys() == course.rows.keys()
    right = rows["right", A1.stem]
    assert float(right["points"]) == 18 and float(right["by_hand"]) == 2
    assert [float(right[name]) for name in ("e1", "e2", "e3", "e4", "e5", "e6", "e7")] == [2, 3, 3, 4, 3, 3, 0]
    assert rows["silent", A1.stem]["e1"] == ""


def test_every_student_gets_a_page_of_feedback(course):
    pages = {(page.parent.name, page.stem) for page in (course.out / "feedback").glob("*/*.html")}
    assert pages == {key for key, row in course.rows.items() if row.status != MISSING}
    careless = (course.out / "feedback" / "careless" / f"{A1.stem}.html").read_text(encoding="utf-8")
    assert "np.roll wraps around" in careless and re.search(r"Score: 0.0 / 20.0", careless)
    assert re.search(r"e3_boundary_check</a> \(Score: 0.0 / 1.0\)", careless) and "Test cell" not in careless
    tampered_page = (course.out / "feedback" / "tampered" / f"{A1.stem}.html").read_text(encoding="utf-8")
    assert course.rows["tampered", A1.stem].remarks in tampered_page
    nonsense = (course.out / "feedback" / "nonsense" / f"{A1.stem}.html").read_text(encoding="utf-8")
    assert "Dear professor, &lt;my&gt; dog" in nonsense


def test_the_same_submissions_are_not_run_again_and_points_given_by_hand_count(course, monkeypatch):
    master = read_master(A1)
    words = next(name for name, cell in cells_by_id(master).items() if cell.cell_type == "markdown")
    with CourseFolder(course.out / "course")._gradebook() as gradebook:
        given = gradebook.find_grade(words, A1.stem, A1.stem, "right")
        given.manual_score, given.needs_manual_grade = 1.5, False
        gradebook.db.commit()
    monkeypatch.setattr(CourseFolder, "autograde", lambda *_: pytest.fail("a submission was run again"))
    rows = {(row.student, row.assignment): row for row in grade(course.submissions, course.out, limits=GENEROUS)}
    row = rows["right", A1.stem]
    assert (row.points, row.by_hand, row.exercises["e7"]) == (19.5, 0, 1.5)
    assert row.seconds == course.rows["right", A1.stem].seconds > 0
    assert rows["careless", A1.stem] == course.rows["careless", A1.stem]


# --- what can go wrong with grading itself: on one small assignment


@pytest.fixture
def small(tmp_path) -> Path:
    """A folder with one submission of A1 that is not run: nbgrader is told to fail, or never reached."""
    (tmp_path / "submissions" / "anna").mkdir(parents=True)
    nbformat.write(read_master(A1), tmp_path / "submissions" / "anna" / A1.name)
    return tmp_path


def test_what_an_answer_writes_to_stderr_costs_no_points(tmp_path):
    master = write_sums(tmp_path / "masters")
    hand_in(tmp_path / "submissions", "anna", read_master(master), master.stem)
    (row,) = grade(tmp_path / "submissions", tmp_path / "out", tmp_path / "masters")
    assert (row.status, row.exercises) == (GRADED, {"e1": 1, "e2": 0})


def test_where_grading_fails_the_row_says_so_and_the_command_too(small, monkeypatch, capsys):
    def broken(*_):
        raise folder.GradingError("nbgrader could not go on")

    monkeypatch.setattr(CourseFolder, "autograde", broken)
    hand_in(small / "submissions", "ben", read_master(A1), A1.stem)
    assert cli.main(["course", "grade", str(small / "submissions"), "--out", str(small / "out")]) == 1
    printed = capsys.readouterr()
    assert "grading failed for anna/A1" in printed.err and "Traceback" not in printed.err
    with open(small / "out" / "grades.csv", newline="", encoding="utf-8") as file:
        assert [row["status"] for row in csv.DictReader(file)] == [FAILED, FAILED]


def test_the_command_succeeds_whatever_a_student_did(small, capsys):
    (small / "submissions" / "anna" / A1.name).write_text("no notebook")
    assert cli.main(["course", "grade", str(small / "submissions"), "--out", str(small / "out")]) == 0
    assert re.search(r"anna +A1 +0/20 .* unreadable: ", capsys.readouterr().out)


def test_a_folder_of_other_things_is_left_alone(small):
    (small / "out").mkdir()
    (small / "out" / "thesis.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="not empty"):
        grade(small / "submissions", small / "out")
    assert [path.name for path in (small / "out").iterdir()] == ["thesis.txt"]


def test_two_students_whom_nbgrader_can_t_tell_apart_are_named(small):
    for name in ("b+n", "b*n"):
        hand_in(small / "submissions", name, read_master(A1), A1.stem)
    with pytest.raises(ValueError, match=r"b\*n and b\+n apart"):
        grade(small / "submissions", small / "out")
    assert not (small / "out").exists()


def test_nbgrader_s_own_error_is_in_the_message(tmp_path):
    broken = read_master(A1).copy()
    broken.cells = [cell.copy() for cell in broken.cells]
    broken.cells[-1] = nbformat.v4.new_code_cell("### BEGIN SOLUTION\n1\n### END SOLUTION")
    nbformat.write(broken, tmp_path / "A1_broken.ipynb")
    with pytest.raises(folder.GradingError, match=r"A1_broken \(RuntimeError: Solution region detected"):
        CourseFolder(tmp_path / "course").add(tmp_path / "A1_broken.ipynb")
    assert "Traceback" in (tmp_path / "course" / folder.LOG).read_text(encoding="utf-8")


def test_without_nbgrader_the_command_says_what_to_install(small, monkeypatch, capsys):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert cli.main(["course", "grade", str(small / "submissions"), "--out", str(small / "out")]) == 1
    assert 'pip install "ranet_edu[course]"' in capsys.readouterr().err


def test_limits_that_make_no_sense_are_refused(small, capsys):
    arguments = ["course", "grade", str(small / "submissions"), "--out", str(small / "out"), "--cell-seconds", "0"]
    assert cli.main(arguments) == 1
    assert "at least 1 s" in capsys.readouterr().err


def test_the_default_masters_are_those_of_the_repository():
    assert [path.parent for path in MASTERS] == [FOLDER] * len(MASTERS)


def test_tables_put_exercise_10_after_exercise_9(tmp_path):
    rows = [Grade("anna", "A1_x", GRADED, 3, 4, 1, {"e10": 1, "e9": 2}, 1.25, "out of time: e1_y")]
    write_grades(rows, tmp_path / "grades.csv")
    header = (tmp_path / "grades.csv").read_text().splitlines()[0]
    assert header == "student,assignment,status,points,out_of,by_hand,e9,e10,seconds,remarks"
    assert " ".join(format_grades(rows).splitlines()[1].split()) == "anna A1 3/4 1 1.2 graded: out of time: e1_y"
