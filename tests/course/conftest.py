"""The tests of the course share masters.py, and each assignment's wrong answers lie in a file of their own."""

import sys
from pathlib import Path

import nbformat
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from masters import MASTERS  # noqa: E402

from ranet_edu.course.build import build  # noqa: E402


@pytest.fixture(scope="session")
def built(tmp_path_factory):
    """What `course build` makes of all masters."""
    out = tmp_path_factory.mktemp("course") / "built"
    build(out)
    return out


@pytest.fixture(scope="session")
def releases(built):
    """Assignment -> the notebook that students are given."""
    folder = built / "release" / "notebooks" / "assignments"
    return {path.stem: nbformat.read(folder / path.name, as_version=4) for path in MASTERS}
