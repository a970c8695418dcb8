"""Every exercise of every master: the solution passes, and each typical mistake is named by the visible check."""

from __future__ import annotations

from collections import Counter

import pytest
from masters import (
    MASTERS,
    WrongAnswer,
    cells_by_id,
    execute,
    exercises,
    is_test,
    read_master,
    run_answers,
    wrong_answers,
    wrong_submissions,
)

from ranet_edu.course.checks.common import CheckFailure

WRONG = [(path, answer) for path in MASTERS for answer in wrong_answers(path)]


def identifier(value: object) -> str:
    return value.exercise if isinstance(value, WrongAnswer) else value.stem.split("_")[0]


@pytest.mark.parametrize("path", MASTERS, ids=identifier)
def test_the_master_s_solutions_pass_all_tests(path) -> None:
    master = read_master(path)
    variables = run_answers(master)
    tests = [cell for cell in master.cells if is_test(cell)]
    for cell in tests:
        execute(cell.source, variables)
    assert tests


@pytest.mark.parametrize("path", MASTERS, ids=identifier)
def test_a_master_runs_from_top_to_bottom(path) -> None:
    """With the cells to play with, which nothing grades."""
    variables = {"__name__": "__main__"}
    for cell in read_master(path).cells:
        if cell.cell_type == "code":
            execute(cell.source, variables)


@pytest.mark.parametrize(("path", "answer"), WRONG, ids=identifier)
def test_a_wrong_answer_is_told_what_is_wrong(path, answer) -> None:
    master = read_master(path)
    variables = run_answers(master, {answer.exercise: answer.code})
    cells = cells_by_id(master)
    if answer.message is None:
        execute(cells[f"{answer.exercise}_check"].source, variables)
        with pytest.raises(AssertionError):
            execute(cells[f"{answer.exercise}_hidden"].source, variables)
    else:
        with pytest.raises(CheckFailure, match=answer.message):
            execute(cells[f"{answer.exercise}_check"].source, variables)


@pytest.mark.parametrize("path", MASTERS, ids=identifier)
def test_every_exercise_has_enough_wrong_answers(path) -> None:
    """At least three whose mistake is named, with three different messages, and one that only looks right."""
    master = read_master(path)
    assert {answer.exercise for answer in wrong_answers(path)} == set(exercises(master))
    named = {(answer.exercise, answer.message) for answer in wrong_answers(path) if answer.message}
    counts = Counter(exercise for exercise, _ in named)
    assert {name: counts[name] for name in exercises(master) if counts[name] < 3} == {}
    assert {answer.exercise for answer in wrong_answers(path) if answer.message is None} == set(exercises(master))


@pytest.mark.parametrize("path", MASTERS, ids=identifier)
def test_submissions_answer_each_exercise_once(path) -> None:
    for submission in wrong_submissions(path).values():
        names = [answer.exercise for answer in submission.answers]
        assert names and len(names) == len(set(names))
        assert {name.split("_")[0] for name in names} == submission.points.keys()


@pytest.mark.parametrize("path", MASTERS, ids=identifier)
def test_a_mistake_costs_its_own_exercise_only(path) -> None:
    """No exercise's tests use the answer to another."""
    master = read_master(path)
    for missing in exercises(master):
        variables = run_answers(master, {missing: ""})
        for name, cell in cells_by_id(master).items():
            if is_test(cell) and not name.startswith(missing.split("_")[0] + "_"):
                execute(cell.source, variables)
