"""`ranet-edu course build`: the masters -> what students are given, and the solutions to read."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nbformat
from nbconvert import HTMLExporter
from tqdm import tqdm

from ranet_edu.course.execute import Limits, error_of, run_notebook
from ranet_edu.course.folder import CourseFolder
from ranet_edu.course.masters import MASTERS, REPOSITORY, find_masters, marks

GIVEN = (
    "ranet_edu",
    "data/samples",
    "data/weights",
    "data/benchmark",
    "data/experiments",
    "data/figures",
    "data/splits",
    "data/README.md",
    "notebooks",
    "pyproject.toml",
    "environment.yml",
    "Makefile",
    "LICENSE",
)
"""What students need of the repository: the package that the checks are in, the data and the walkthrough."""

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")

FOR_INSTRUCTORS = "\n## For instructors\n"
"""The heading at which the students' copy of the syllabus ends."""

STUDENTS_README = """# Assignments: video object segmentation with RANet

    make lab        (Windows, conda or no make: pip install -e ".[demo,course]", then jupyter lab)

installs everything into `.venv` the first time (Python 3.11-3.13, a few minutes and several GB; smaller without a
GPU: `make setup TORCH_INDEX=https://download.pytorch.org/whl/cpu` before) and opens JupyterLab. No network is needed
after that.

The assignments are in `notebooks/assignments/`:

{assignments}

`notebooks/assignments/SYLLABUS.md` says what to read in which week, and how it is graded.

The walkthrough is in `notebooks/`, with a glossary; each assignment says which of its notebooks to read before.

- Write your answers where it says `YOUR CODE HERE` or `YOUR ANSWER HERE`. The check below each one says what is wrong.
- `ranet-edu course check notebooks/assignments/{example}` (after `source .venv/bin/activate`)
  runs your notebook from top to bottom and shows the points of the visible checks. More tests are run when you hand in,
  on other inputs.
- Don't rename files or copy answer cells; own cells are welcome. Hand in the `.ipynb` file, nothing else.
"""


def build(out: Path, masters: Path = MASTERS, limits: Limits = Limits()) -> list[Path]:
    """Write `out/release`, a folder to give to students, and `out/solutions`, a page for each assignment.

    The release is a small checkout: the package, sample clips, weights, the walkthrough, and the assignments without
    solutions and hidden tests. Solutions are HTML, and PDF too where there is a Chromium or Chrome to print them. All
    solutions are run on the way: a master that fails its own tests is an error. `out` must be new or empty; it is there
    when everything is done, or not at all.

    Returns the files of the solutions. Raises FileExistsError, FileNotFoundError (no masters, no checkout), ValueError
    (a master's solution fails).
    """
    paths = find_masters(masters)
    with _new_folder(Path(out)) as folder:
        copy_set_up(folder / "release", [path.name for path in paths])
        with tempfile.TemporaryDirectory() as work:
            for master in tqdm(paths, desc="building", unit="assignment"):
                write_solution(master, folder / "solutions", limits)
                write_release(master, folder / "release" / "notebooks" / "assignments", Path(work))
    return sorted((Path(out) / "solutions").iterdir())


@contextmanager
def _new_folder(out: Path) -> Iterator[Path]:
    """A temporary folder beside `out` that takes its name when all went well; FileExistsError if that holds files."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FileExistsError(f"{out} is not empty; choose a new folder, or remove it")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as temporary:
        folder = Path(temporary) / out.name
        folder.mkdir()
        yield folder
        if out.exists():
            out.rmdir()
        folder.rename(out)


def copy_set_up(release: Path, assignments: list[str]) -> None:
    """What the assignments need to run, the syllabus, and a README for students."""
    for name in GIVEN:
        source, target = REPOSITORY / name, release / name
        if not source.exists():
            raise FileNotFoundError(f"{source} is missing; run from a complete checkout of the repository")
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", ".*", "assignments"))
        else:
            shutil.copyfile(source, target)
    listed = "\n".join(f"- {name}" for name in assignments)
    text = STUDENTS_README.format(assignments=listed, example=assignments[0])
    (release / "README.md").write_text(text, encoding="utf-8")
    write_syllabus(release / "notebooks" / "assignments")


def write_syllabus(folder: Path) -> None:
    """The syllabus without what it says to instructors, into `folder`."""
    text = (MASTERS / "SYLLABUS.md").read_text(encoding="utf-8").partition(FOR_INSTRUCTORS)[0]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "SYLLABUS.md").write_text(text.rstrip() + "\n", encoding="utf-8")


def write_release(master: Path, folder: Path, work: Path) -> None:
    """`master` without solutions and hidden tests, into `folder`; `work` is scratch space."""
    released = CourseFolder(work).add(master)
    folder.mkdir(parents=True, exist_ok=True)
    nbformat.write(released, folder / master.name)


def write_solution(master: Path, folder: Path, limits: Limits = Limits()) -> None:
    """`master` run with its solutions, as HTML and where possible as PDF. Raises ValueError where a cell fails."""
    notebook = nbformat.read(master, as_version=4)
    run_notebook(notebook, master.parent, limits)
    for cell in notebook.cells:
        if error_of(cell):
            name = marks(cell).get("grade_id") or cell.source.partition("\n")[0]
            raise ValueError(f"{master.name} fails with its own solutions, in {name}: {error_of(cell)}")
    html, _ = HTMLExporter().from_notebook_node(notebook, {"metadata": {"name": master.stem}})
    folder.mkdir(parents=True, exist_ok=True)
    page = folder / f"{master.stem}.html"
    page.write_text(html, encoding="utf-8")
    print_page(page, page.with_suffix(".pdf"))


def print_page(page: Path, pdf: Path) -> bool:
    """Print an HTML file by a headless browser; False where there is none, or it can't."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        return False
    with tempfile.TemporaryDirectory() as profile:
        options = (
            ["--no-sandbox"] if getattr(os, "geteuid", lambda: 1)() == 0 else []
        )  # root has none, and a page of ours
        options += ["--headless", "--disable-gpu", f"--user-data-dir={profile}", "--virtual-time-budget=20000"]
        command = [browser, *options, "--no-pdf-header-footer", f"--print-to-pdf={pdf}", page.resolve().as_uri()]
        try:
            subprocess.run(command, check=True, capture_output=True, timeout=120)
        except (OSError, subprocess.SubprocessError):
            pdf.unlink(missing_ok=True)
    return pdf.is_file()
