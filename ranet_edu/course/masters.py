"""The assignments' masters: where they lie, and how their cells are told apart (notebooks/assignments/README.md)."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

from ranet_edu.datasets.davis import DATA

REPOSITORY = DATA.parent
MASTERS = REPOSITORY / "notebooks" / "assignments"
"""Where the masters lie in a checkout."""


def require_nbgrader() -> None:
    """Raise ModuleNotFoundError that says how to install what the course needs, where that is missing."""
    if importlib.util.find_spec("nbgrader") is None:
        raise ModuleNotFoundError(
            'the course needs nbgrader: pip install "ranet_edu[course]", in a checkout ".[course]"'
        )


def find_masters(folder: Path = MASTERS) -> list[Path]:
    """The masters in a folder, A1_... first. Raises FileNotFoundError where there are none."""
    masters = sorted(Path(folder).glob("A[0-9]*_*.ipynb"))
    if not masters:
        raise FileNotFoundError(
            f"no assignment A1_....ipynb in {folder}; run from a checkout of the repository, or name the folder of the "
            "masters with --masters"
        )
    return masters


def marks(cell: dict) -> dict:
    """A cell's nbgrader metadata; empty where nbgrader has nothing to do with it."""
    found = cell["metadata"].get("nbgrader")
    return found if isinstance(found, dict) and "grade_id" in found else {}


def exercise_of(grade_id: str) -> str:
    """`e2_jaccard_check` -> `e2`."""
    return grade_id.split("_")[0]


def by_number(exercise: str) -> tuple[int, str]:
    """Key that sorts e2 before e10."""
    digits = re.sub(r"\D", "", exercise)
    return int(digits or 0), exercise
