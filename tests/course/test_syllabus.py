"""The syllabus: what it links is there, and it leaves out no notebook, no assignment and no point."""

from __future__ import annotations

import re

import pytest
from masters import FOLDER, MASTERS, marks, read_master

SYLLABUS = (FOLDER / "SYLLABUS.md").read_text(encoding="utf-8")
BEFORE = SYLLABUS[SYLLABUS.index("## Before week 1") : SYLLABUS.index("## For instructors")]
WEEKS = SYLLABUS[SYLLABUS.index("### Week 1") : SYLLABUS.index("## What the assignments practise")]


def test_links_lead_to_files() -> None:
    targets = [target for target in re.findall(r"\]\(([^)]+)\)", SYLLABUS) if not target.startswith("https:")]
    assert targets
    assert [target for target in targets if not (FOLDER / target).is_file()] == []


def test_every_notebook_has_its_week() -> None:
    rows = "\n".join(line for line in WEEKS.splitlines() if line.startswith(("| notebooks", "Notebooks 12", "all are")))
    named = re.findall(r"\b(\d\d)(?=:| \()", BEFORE + rows)
    assert sorted(named) == [f"{number:02}" for number in range(15)]


def test_no_notebook_comes_before_one_that_it_needs() -> None:
    """By the links in the paragraph on its prerequisites."""
    order = re.findall(r"\b(\d\d)(?=:| \()", BEFORE + WEEKS)
    for number in order:
        (path,) = FOLDER.parent.glob(f"{number}_*.ipynb")
        prose = "\n\n".join(cell.source for cell in read_master(path).cells)
        needed = re.findall(r"\]\((\d\d)_", re.search(r"\*\*Prerequisites\.\*\*(.+?)(\n\n|$)", prose, re.S)[1])
        early = set(order[: order.index(number)])
        assert [other for other in needed if other not in early] == [], number


@pytest.mark.parametrize("path", MASTERS, ids=lambda path: path.stem)
def test_assignment_has_its_week_and_its_points(path) -> None:
    number = path.stem.split("_")[0]
    assert len(re.findall(rf"^\| assignment \| {number} ", WEEKS, re.M)) == 1
    row = re.search(rf"^\| {number} \|.*\| (.+) \| (\d+) \|$", SYLLABUS, re.M)
    assert row, f"no row of {number} among what the assignments practise"
    assert f"**Time.** {row[1]} hours" in read_master(path).cells[0].source
    assert int(row[2]) == sum(marks(cell).get("points", 0) for cell in read_master(path).cells)
