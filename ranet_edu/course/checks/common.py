"""What the checks of all assignments share: a failure that is one line, and comparisons that name the mistake."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NoReturn

import numpy as np


class CheckFailure(AssertionError):
    """An answer is wrong. A notebook shows the message alone: the traceback would only lead into the check."""

    def _render_traceback_(self) -> list[str]:
        """Called by IPython in place of its own formatting."""
        return [f"✗ {self}"]


def fail(message: str) -> NoReturn:
    """Raise CheckFailure."""
    raise CheckFailure(message)


def require(condition: bool, message: str) -> None:
    """Raise CheckFailure with `message` unless `condition` holds."""
    if not condition:
        fail(message)


def passed(message: str) -> None:
    """Tell the student that a check has passed."""
    print(f"✓ {message}")


def answer(function: Callable, *arguments: Any, **options: Any) -> Any:
    """What the student's `function` returns for these arguments.

    An answer that is not written yet, returns nothing or writes into an array or tensor that it was given raises
    CheckFailure. What it wrote is undone, so that the next run of a check begins with the same numbers. Other errors
    pass through: their traceback leads to the student's own line.
    """
    name = getattr(function, "__name__", "the answer")
    before = [_copy(argument) for argument in arguments]
    try:
        result = function(*arguments, **options)
    except NotImplementedError:
        result = NotImplementedError
    finally:
        changed = [_put_back(argument, copy) for argument, copy in zip(arguments, before, strict=True)]
    if result is NotImplementedError:  # outside of the handler: the student is not shown two errors
        fail(f"{name} is not written yet: replace `raise NotImplementedError()` by your code")
    require(result is not None, f"{name} returns None: does it end with `return ...`?")
    advice = "work on a copy, without *= and the like on an argument"
    require(not any(changed), f"{name} changes what it is given: {advice}")
    return result


def expect(
    what: str, got: Any, expected: Any, *, mistakes: Mapping[str, Any] | None = None, tolerance: float = 1e-6
) -> None:
    """Raise CheckFailure unless `got` equals `expected` in shape and, up to `tolerance`, in every value.

    `what`: names the value at the beginning of the message: "jaccard of two empty masks". `got`, `expected`: numbers,
    arrays, tensors or lists of numbers. `mistakes`: message -> the value to which that mistake leads; where `got` is
    that value, the message says so: "jaccard of ... is 0.25, not 0.5: you divide by the area of the frame".
    """
    got, expected = _as_array(what, got), _as_array(what, expected)
    if _equal(got, expected, tolerance):
        return
    difference = _difference(got, expected, tolerance)
    for message, wrong in (mistakes or {}).items():
        if _equal(got, _as_array(what, wrong), tolerance):
            fail(f"{what} {difference}: {message}")
    fail(f"{what} {difference}")


def expect_shape(what: str, got: Any, shape: tuple[int, ...], mistakes: Mapping[tuple[int, ...], str]) -> None:
    """Raise CheckFailure unless `got` has this shape; `mistakes`: a wrong shape -> what leads to it."""
    have = _as_array(what, got).shape
    if have != shape:
        reason = mistakes.get(have)
        fail(f"{what} has shape {have}, not {shape}" + (f": {reason}" if reason else ""))


def count_operations(function: Callable, *arguments: Any) -> int:
    """How many tensor operations a call runs. A loop over pixels shows in it, and on any machine alike."""
    from ranet_edu.course.checks.operations import OperationCounter  # PyTorch, which not every assignment needs

    with OperationCounter() as counter:
        function(*arguments)
    return counter.count


def _copy(argument: Any) -> np.ndarray | None:
    """The values of an array or tensor; None for anything else."""
    if hasattr(argument, "detach"):
        argument = argument.detach().cpu().numpy()
    return argument.copy() if isinstance(argument, np.ndarray) else None


def _put_back(argument: Any, copy: np.ndarray | None) -> bool:
    """Give an array or tensor the values of its `copy` again; whether it had others."""
    if copy is None or np.array_equal(_copy(argument), copy, equal_nan=True):
        return False
    values = argument.detach().numpy() if hasattr(argument, "detach") else argument
    values[...] = copy
    return True


def _as_array(what: str, value: Any) -> np.ndarray:
    """Any number, array, tensor or list as a float64 array; CheckFailure where it is something else."""
    require(value is not None, f"{what} is None: does your function end with `return ...`?")  # NumPy makes it a NaN
    if hasattr(value, "detach"):
        value = value.detach().cpu().numpy()
    try:
        return np.asarray(value, np.float64)
    except (TypeError, ValueError):
        return fail(f"{what} is of type {type(value).__name__}, not a number or an array of numbers")


def _equal(got: np.ndarray, expected: np.ndarray, tolerance: float) -> bool:
    return got.shape == expected.shape and np.allclose(got, expected, rtol=0, atol=tolerance, equal_nan=True)


def _difference(got: np.ndarray, expected: np.ndarray, tolerance: float) -> str:
    """How two arrays that are not equal differ, as the predicate of a sentence."""
    if got.shape != expected.shape:
        return f"has shape {got.shape}, not {expected.shape}"
    if not got.ndim:
        return f"is {got:.6g}, not {expected:.6g}"
    wrong = ~np.isclose(got, expected, rtol=0, atol=tolerance, equal_nan=True)
    first = tuple(int(index) for index in np.argwhere(wrong)[0])
    return (
        f"differs in {wrong.sum()} of {wrong.size} values, first at {list(first)}, where it is {got[first]:.6g} "
        f"and not {expected[first]:.6g}"
    )
