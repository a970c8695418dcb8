"""`make setup` with stand-ins for Python: what it installs, what it skips, and what it says when it can't."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace

import pytest

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="needs make")

# A Python whose `-m venv` puts a copy of itself into .venv and whose pip writes down what it was asked for.
STAND_IN = """#!/bin/sh
case "$*" in
  *version_info*) exit {unfit} ;;
  *ensurepip*) exit {no_venv} ;;
  --version) echo "Python 3.12.0" ;;
  "-m venv"*) mkdir -p .venv/bin && cp "$0" .venv/bin/python ;;
  "-m pip --version") ;;
  "-m pip install"*) echo "$*" >> pip.log; exit {pip_fails} ;;
esac
"""


@pytest.fixture
def clone(repository: Path, tmp_path: Path) -> Path:
    """A folder with only what `make setup` reads; blanks in its name."""
    folder = tmp_path / "a fresh clone"
    folder.mkdir()
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(repository / name, folder)
    return folder


def write_python(folder: Path, name: str = "python", *, unfit: int = 0, no_venv: int = 0, pip_fails: int = 0) -> None:
    python = folder / name
    python.write_text(STAND_IN.format(unfit=unfit, no_venv=no_venv, pip_fails=pip_fails))
    python.chmod(0o755)


def make(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    # What a surrounding make hands down would steer this one.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    command = ["make", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60)


def installations(folder: Path) -> list[str]:
    log = folder / "pip.log"
    return log.read_text().splitlines() if log.exists() else []


def test_a_second_run_skips_what_is_done(clone: Path) -> None:
    write_python(clone)
    assert make(clone, "setup", "PYTHON=./python").returncode == 0
    assert make(clone, "setup", "PYTHON=./python").returncode == 0
    assert len(installations(clone)) == 1


def test_all_extras_are_installed_so_that_the_tests_can_use_them(clone: Path) -> None:
    write_python(clone)
    make(clone, "setup", "PYTHON=./python")
    (command,) = installations(clone)
    extras = tomllib.loads((clone / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert f".[{','.join(sorted(extras))}]" in command


def test_a_changed_pyproject_is_installed_again(clone: Path) -> None:
    write_python(clone)
    make(clone, "setup", "PYTHON=./python")
    later = (clone / ".venv" / "installed").stat().st_mtime + 5
    os.utime(clone / "pyproject.toml", (later, later))
    make(clone, "setup", "PYTHON=./python")
    assert len(installations(clone)) == 2


def test_a_failed_installation_is_repeated(clone: Path) -> None:
    write_python(clone, pip_fails=1)
    assert make(clone, "setup", "PYTHON=./python").returncode != 0
    assert make(clone, "setup", "PYTHON=./python").returncode != 0
    assert len(installations(clone)) == 2


def test_torch_comes_first_from_the_index_that_was_chosen(clone: Path) -> None:
    write_python(clone)
    make(clone, "setup", "PYTHON=./python", "TORCH_INDEX=https://example.org/cpu")
    first, second = installations(clone)
    assert "--index-url https://example.org/cpu torch torchvision" in first
    assert "--editable" in second


def test_a_python_that_fits_is_found_beside_a_newer_one(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("python3.13", "python3.12", "python3.11", "python3"):
        write_python(clone, name, unfit=int(name != "python3.12"))
    monkeypatch.setenv("PATH", str(clone), prepend=os.pathsep)
    assert "Making .venv with Python 3.12.0" in make(clone, "setup").stdout


@pytest.mark.parametrize(("version", "status"), [((3, 10, 9), 1), ((3, 11, 0), 0), ((3, 13, 9), 0), ((3, 14, 0), 1)])
def test_which_pythons_fit(repository: Path, version: tuple[int, ...], status: int) -> None:
    condition = re.search(r"^FITS := import sys; (.*)$", (repository / "Makefile").read_text(), re.M)[1]
    with pytest.raises(SystemExit) as end:
        exec(condition, {"sys": SimpleNamespace(version_info=version, exit=sys.exit)})
    assert int(end.value.code) == status


def test_an_unfit_python_is_refused_with_what_to_install(clone: Path) -> None:
    write_python(clone, unfit=1)
    outcome = make(clone, "setup", "PYTHON=./python")
    assert outcome.returncode != 0
    assert "No Python 3.11, 3.12 or 3.13 found (./python)" in outcome.stdout and "apt install python3" in outcome.stdout
    assert not (clone / ".venv").exists()


def test_a_python_without_venv_names_the_debian_package(clone: Path) -> None:
    write_python(clone, no_venv=1)
    outcome = make(clone, "setup", "PYTHON=./python")
    assert outcome.returncode != 0
    assert "apt install python3-venv" in outcome.stdout
    assert not (clone / ".venv").exists()


def test_make_alone_lists_every_target(clone: Path) -> None:
    listed = make(clone).stdout
    assert [name for name in ("help", "setup", "lab", "demo", "test", "clean") if f"make {name}" not in listed] == []
