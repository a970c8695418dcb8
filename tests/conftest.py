"""Fixtures that every test may use: the repository, the real data beside it, and a fixed seed."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from selenium.webdriver import Chrome

sys.path.insert(0, str(Path(__file__).parent))  # so that tests in every folder can import browser.py

from browser import MISSING, find_browser, open_browser  # noqa: E402

REPOSITORY = Path(__file__).resolve().parents[1]

# No window ever opens; set before matplotlib is imported.
os.environ.setdefault("MPLBACKEND", "agg")


@pytest.fixture(scope="session")
def repository() -> Path:
    """The folder with README.md and pyproject.toml."""
    return REPOSITORY


@pytest.fixture(scope="session")
def shared_data(repository: Path) -> Path:
    """Real clips and DAVIS sequences, never committed: ../shared/data, or the folder that RANET_EDU_SHARED names.

    Skips the test where there are none; a RANET_EDU_SHARED that does not exist is a mistake and fails.
    """
    chosen = os.environ.get("RANET_EDU_SHARED")
    folder = Path(chosen) if chosen else repository.parent / "shared" / "data"
    if chosen and not folder.is_dir():
        pytest.fail(f"RANET_EDU_SHARED={chosen} is not a folder")
    if not folder.is_dir():
        pytest.skip("needs real data: ../shared/data, or RANET_EDU_SHARED=folder")
    return folder


@pytest.fixture(autouse=True)
def fixed_seed() -> None:
    """Every test starts from the same random numbers, alone or in any order."""
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002  for libraries that draw from the global generator
    torch.manual_seed(0)


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """On frames of a few pixels a second thread only waits for the first."""
    torch.set_num_threads(1)


@pytest.fixture
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    """A headless Chromium with a clean profile, driven by selenium; skips the test where there is none."""
    if (found := find_browser()) is None:
        pytest.skip(MISSING)
    with open_browser(*found, tmp_path_factory.mktemp("profile")) as chrome:
        yield chrome


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Tests marked `gpu` run only where there is one."""
    if item.get_closest_marker("gpu") and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
