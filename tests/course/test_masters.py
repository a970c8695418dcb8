"""What every master keeps to: notebooks/assignments/README.md says why."""

from __future__ import annotations

import re

import nbformat
import pytest
from masters import MASTERS, cells_by_id, is_test, marks, read_master

EVERY_MASTER = pytest.mark.parametrize("path", MASTERS, ids=lambda path: path.stem)
GRADE_ID = re.compile(r"setup|given_[a-z0-9_]+|e\d+_[a-z0-9_]+")


@EVERY_MASTER
def test_master_is_a_valid_notebook_without_outputs(path) -> None:
    nbformat.validate(nbformat.read(path, as_version=nbformat.NO_CONVERT))
    master = read_master(path)
    assert master.metadata.kernelspec.name == "python3"
    code = [cell for cell in master.cells if cell.cell_type == "code"]
    assert [cell.source for cell in code if cell.outputs or cell.execution_count] == []


@EVERY_MASTER
def test_grade_ids_are_unique_and_say_what_a_cell_is(path) -> None:
    marked = [cell for cell in read_master(path).cells if marks(cell)]
    names = [marks(cell)["grade_id"] for cell in marked]
    assert len(set(names)) == len(names)
    assert [name for name in names if not GRADE_ID.fullmatch(name)] == []
    assert {marks(cell)["schema_version"] for cell in marked} == {3}
    assert names[0] == "setup"


@EVERY_MASTER
def test_every_exercise_is_an_answer_a_visible_and_a_hidden_test(path) -> None:
    cells = cells_by_id(read_master(path))
    answers = [name for name, cell in cells.items() if marks(cell)["solution"] and cell.cell_type == "code"]
    tests = [name for name, cell in cells.items() if is_test(cell)]
    assert 3 <= len(answers) <= 7
    assert tests == [f"{name}_{kind}" for name in answers for kind in ("check", "hidden")]
    numbers = [int(name.split("_")[0][1:]) for name, cell in cells.items() if marks(cell)["solution"]]
    assert numbers == list(range(1, len(numbers) + 1))


@EVERY_MASTER
def test_solutions_and_hidden_tests_are_marked(path) -> None:
    for name, cell in cells_by_id(read_master(path)).items():
        answered = marks(cell)["solution"] and cell.cell_type == "code"
        for region, wanted in (("SOLUTION", answered), ("HIDDEN TESTS", name.endswith("_hidden"))):
            assert cell.source.count(f"### BEGIN {region}") == cell.source.count(f"### END {region}"), name
            assert (f"### BEGIN {region}" in cell.source) == wanted, name
        assert marks(cell)["locked"] == (not marks(cell)["solution"]), name
        assert marks(cell)["grade"] == ("points" in marks(cell)), name


@EVERY_MASTER
def test_hidden_cells_show_nothing_but_a_comment(path) -> None:
    for name, cell in cells_by_id(read_master(path)).items():
        if name.endswith("_hidden"):
            rest = re.sub(r"### BEGIN HIDDEN TESTS.*### END HIDDEN TESTS", "", cell.source, flags=re.S)
            assert [line for line in rest.splitlines() if line.strip() and not line.startswith("#")] == [], name


@EVERY_MASTER
def test_an_assignment_has_twenty_points_and_one_answer_in_words(path) -> None:
    graded = {name: cell for name, cell in cells_by_id(read_master(path)).items() if marks(cell)["grade"]}
    assert sum(marks(cell)["points"] for cell in graded.values()) == 20
    assert len([cell for cell in graded.values() if cell.cell_type == "markdown"]) == 1


@EVERY_MASTER
def test_the_first_cell_prepares_the_student(path) -> None:
    opening = read_master(path).cells[0].source
    wanted = {
        "title": r"\A# \S",
        "objectives": r"(?i)objectives",
        "time": r"(?i)hours?",
        "before": r"(?i)prerequisites",
    }
    assert [what for what, pattern in wanted.items() if not re.search(pattern, opening)] == []


@EVERY_MASTER
def test_the_minutes_of_the_exercises_add_up_to_the_hours(path) -> None:
    master = read_master(path)
    hours = re.search(r"\*\*Time\.\*\* ([\d.]+)(?: to ([\d.]+))? hours", master.cells[0].source)
    prose = "\n".join(cell.source for cell in master.cells if cell.cell_type == "markdown")
    minutes = [int(found) for found in re.findall(r"^## Exercise \d.*?(\d+) minutes", prose, re.M)]
    assert len(minutes) == prose.count("## Exercise")
    assert 60 * float(hours[1]) <= sum(minutes) <= 60 * float(hours[2] or hours[1])


@EVERY_MASTER
def test_hints_are_folded(path) -> None:
    prose = "\n".join(cell.source for cell in read_master(path).cells if cell.cell_type == "markdown")
    assert prose.count("<details>") == prose.count("</details>") >= 3
    assert "<summary>Hint" in prose
