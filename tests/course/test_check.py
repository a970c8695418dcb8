"""What a student sees of their own notebook before handing it in."""

import nbformat
import pytest
from masters import (
    MASTERS,
    answered,
    cells_by_id,
    exercises,
    hand_in,
    marks,
    read_master,
    write_master,
    write_sums,
    wrong_submissions,
)

from ranet_edu import cli
from ranet_edu.course.check import check, format_results

A1 = MASTERS[0]


@pytest.fixture(scope="module")
def results(tmp_path_factory, releases):
    """The careless submission of A1, checked by its student."""
    folder = tmp_path_factory.mktemp("check")
    wrong = {answer.exercise: answer.code for answer in wrong_submissions(A1)["careless"].answers}
    del wrong[exercises(read_master(A1))[0]]
    hand_in(folder, "me", answered(releases[A1.stem], read_master(A1), wrong), A1.stem)
    before = (folder / "me" / A1.name).read_bytes()
    found = check(folder / "me" / A1.name)
    assert (folder / "me" / A1.name).read_bytes() == before, "the student's file was changed"
    return {result.grade_id: result for result in found}


def test_visible_checks_give_their_points_or_say_what_is_wrong(results):
    first, second = exercises(read_master(A1))[:2]
    assert (results[f"{first}_check"].points, results[f"{first}_check"].message) == (1, "")
    assert results[f"{second}_check"].points == 0
    assert "0 / 0 is not a number" in results[f"{second}_check"].message


def test_hidden_tests_and_words_are_not_claimed_as_points(results):
    later = {name: result.message for name, result in results.items() if result.points is None}
    graded = {name: cell for name, cell in cells_by_id(read_master(A1)).items() if marks(cell)["grade"]}
    assert later == {name: "hidden tests" for name in graded if name.endswith("_hidden")} | {
        name: "graded by hand" for name, cell in graded.items() if cell.cell_type == "markdown"
    }


def test_what_an_answer_writes_to_stderr_costs_no_points(tmp_path):
    right, wrong = check(write_sums(tmp_path / "mine"))
    assert (right.points, right.message) == (1, "")
    assert (wrong.points, wrong.message) == (0, "two and two are four")


def test_an_answer_that_python_cannot_read_is_said_to_be_that(tmp_path):
    write_master(tmp_path / "mine" / "A9.ipynb", {"e1_sum": ("def sum_of(a, b):\n    return a +", "sum_of(2, 2)")})
    (result,) = check(tmp_path / "mine" / "A9.ipynb")
    assert result.points == 0 and "your answer's cell ends with SyntaxError: invalid syntax" in result.message


def test_the_table_adds_up(results):
    lines = format_results(list(results.values())).splitlines()
    assert lines[-1] == "1 of 6 points of the visible checks; 14 more when you hand in"
    assert lines[0].startswith("✓ e1_object_masks_check") and lines[2].startswith("✗ e2_jaccard_check")


@pytest.mark.parametrize(
    ("text", "message"), [(None, "no notebook at"), ("no", "can't be read"), ("empty", "has no graded cells")]
)
def test_other_files_are_refused_with_a_reason(tmp_path, capsys, text, message):
    path = tmp_path / "A1.ipynb"
    if text == "empty":
        nbformat.write(nbformat.v4.new_notebook(), path)
    elif text:
        path.write_text(text)
    assert cli.main(["course", "check", str(path)]) == 1
    assert message in capsys.readouterr().err
