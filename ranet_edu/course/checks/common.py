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

    An answer that is not written yet, or returns nothing, raises CheckFailure. Other errors pass through: their
    traceback leads to the student's own line.
    """
    name = getattr(function, "__name__", "the answer")
    try:
        result = function(*arguments, **options)
    except NotImplementedError:
        result = NotImplementedError
    if result is NotImplementedError:  # outside of the handler: the student is not shown two errors
        fail(f"{name} is not written yet: replace `raise NotImplementedError()` by your code")
    require(result is not None, f"{name} returns None: does it end with `return ...`?")
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


def _as_array(what: str, value: Any) -> np.ndarray:
    """Any number, array, tensor or list as a float64 array; CheckFailure where it is something else."""
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
