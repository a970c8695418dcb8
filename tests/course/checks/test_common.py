"""The helpers of the checks: what they let pass, and what they say."""

import contextlib

import numpy as np
import pytest
import torch
from IPython.core.interactiveshell import InteractiveShell

from ranet_edu.course.checks.common import CheckFailure, answer, count_operations, expect, expect_shape, passed, require


def message_of(function, *arguments, **options) -> str:
    with pytest.raises(CheckFailure) as failure:
        function(*arguments, **options)
    return str(failure.value)


@pytest.mark.parametrize(
    ("got", "expected"),
    [
        (1, 1.0),
        (np.float32(0.5), 0.5),
        ([1, 2], np.array([1, 2])),
        (torch.ones(2, 3, requires_grad=True), np.ones((2, 3))),
        (np.array([True, False]), [1, 0]),
        ([np.nan, 1], [np.nan, 1 + 1e-9]),
    ],
)
def test_equal_values_of_any_kind_pass(got, expected):
    expect("it", got, expected)


def test_a_wrong_number_is_shown_beside_the_right_one():
    assert message_of(expect, "jaccard of two squares", 0.25, 0.5) == "jaccard of two squares is 0.25, not 0.5"


def test_a_known_mistake_is_named():
    mistakes = {"you divide by the frame": 0.1, "you count the background": 0.9}
    assert message_of(expect, "J", 0.9, 0.5, mistakes=mistakes) == "J is 0.9, not 0.5: you count the background"
    assert message_of(expect, "J", 0.3, 0.5, mistakes=mistakes) == "J is 0.3, not 0.5"


def test_a_mistake_may_have_another_shape():
    mistakes = {"transposed": np.zeros((3, 2))}
    message = message_of(expect, "maps", np.zeros((3, 2)), np.zeros((2, 3)), mistakes=mistakes)
    assert message == "maps has shape (3, 2), not (2, 3): transposed"


def test_the_first_wrong_value_is_located():
    got, expected = np.zeros((2, 3)), np.zeros((2, 3))
    got[1, 1:] = 7
    message = message_of(expect, "maps", got, expected)
    assert message == "maps differs in 2 of 6 values, first at [1, 1], where it is 7 and not 0"


def test_what_is_no_number_is_named_by_its_type():
    assert message_of(expect, "J", {"a": 1}, 1.0) == "J is of type dict, not a number or an array of numbers"
    assert "of type list" in message_of(expect, "J", [[1], [1, 2]], 1.0)


def test_none_is_no_nan():
    assert "dice of the guess is None" in message_of(expect, "dice of the guess", None, 0.5)
    assert "is None" in message_of(expect, "dice of two empty masks", None, 1, mistakes={"0 / 0": np.nan})


def test_tolerance_is_absolute():
    expect("J", 0.5001, 0.5, tolerance=1e-3)
    assert message_of(expect, "J", 0.5001, 0.5)


def test_answer_passes_arguments_on():
    assert answer(lambda a, b, scale: (a + b) * scale, 1, 2, scale=3) == 9


def test_an_answer_that_is_not_written_or_returns_nothing_is_told_so():
    def stub():
        raise NotImplementedError()

    def forgets():
        """No return."""

    assert "stub is not written yet" in message_of(answer, stub)
    assert "forgets returns None" in message_of(answer, forgets)


@pytest.mark.parametrize("given", [np.ones(3), torch.ones(3), torch.ones(3, requires_grad=True) * 1])
def test_an_answer_that_writes_into_its_argument_is_told_so(given):
    def doubles(values):
        with torch.no_grad():
            values *= 2
        return values

    assert "doubles changes what it is given" in message_of(answer, doubles, given)


@pytest.mark.parametrize("given", [np.arange(3.0), torch.arange(3.0)])
def test_what_an_answer_wrote_into_its_argument_is_undone(given):
    """A check's constants serve its next run, too, by when the answer may be right."""

    def overwrites(values, ending):
        values[0] = -1.0
        if ending == "error":
            raise IndexError
        return values

    for ending in ("result", "error"):
        with contextlib.suppress(CheckFailure, IndexError):
            answer(overwrites, given, ending)
        assert given.tolist() == [0, 1, 2]


def test_an_answer_may_return_its_argument():
    given = np.array([1.0, np.nan])
    assert answer(lambda values, name: values, given, "unchanged") is given


def test_a_wrong_shape_is_explained_where_it_is_known():
    mistakes = {(3, 2): "rows and columns are swapped"}
    expect_shape("the map", torch.zeros(2, 3), (2, 3), mistakes)
    message = message_of(expect_shape, "the map", torch.zeros(3, 2), (2, 3), mistakes)
    assert message == "the map has shape (3, 2), not (2, 3): rows and columns are swapped"
    assert message_of(expect_shape, "the map", 5.0, (2, 3), mistakes) == "the map has shape (), not (2, 3)"


def test_operations_grow_with_a_loop_and_not_with_a_product():
    def loop(a, b):
        return torch.stack([row @ b for row in a])

    few, many = torch.ones(2, 4), torch.ones(20, 4)
    assert count_operations(torch.matmul, few, few.T) == count_operations(torch.matmul, many, many.T) > 0
    assert count_operations(loop, many, many.T) > count_operations(loop, few, few.T)


def test_other_errors_lead_to_the_student_s_line():
    with pytest.raises(ZeroDivisionError):
        answer(lambda: 1 / 0)


def test_require_and_passed(capsys):
    require(True, "never")
    assert message_of(require, False, "too large") == "too large"
    passed("jaccard: all right")
    assert capsys.readouterr().out == "✓ jaccard: all right\n"


def test_a_notebook_shows_the_message_alone(capsys):
    shell = InteractiveShell.instance()
    try:
        shell.run_cell("from ranet_edu.course.checks.common import fail\nfail('the maps are not normalised')")
    finally:
        InteractiveShell.clear_instance()
    shown = capsys.readouterr()
    assert "✗ the maps are not normalised" in shown.out + shown.err
    assert "Traceback" not in shown.out + shown.err and "common.py" not in shown.out + shown.err
