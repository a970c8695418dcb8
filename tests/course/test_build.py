"""What students are given, and what instructors read: complete, and without what it must not hold."""

import re
import shutil
import subprocess
import sys

import nbformat
import pytest
from masters import MASTERS, cells_by_id, is_test, marks, read_master, write_master

from ranet_edu.course.build import build, copy_set_up, print_page

EVERY_MASTER = pytest.mark.parametrize("path", MASTERS, ids=lambda path: path.stem)


@EVERY_MASTER
def test_the_release_holds_no_solution_and_no_hidden_test(path, releases):
    text = nbformat.writes(releases[path.stem])
    assert not re.search("(BEGIN|END) (SOLUTION|HIDDEN TESTS)", text)
    master = cells_by_id(read_master(path))
    for name, cell in cells_by_id(releases[path.stem]).items():
        if marks(cell)["solution"]:
            assert ("NotImplementedError" if cell.cell_type == "code" else "YOUR ANSWER HERE") in cell.source
            assert cell.source != master[name].source
        elif name.endswith("_hidden"):
            assert all(line.startswith("#") for line in cell.source.splitlines() if line.strip()), name
        else:
            assert cell.source == master[name].source


@EVERY_MASTER
def test_the_release_is_locked_and_without_outputs(path, releases):
    for cell in releases[path.stem].cells:
        assert not cell.get("outputs")
        if is_test(cell):
            assert cell.metadata.editable is False and cell.metadata.deletable is False


@EVERY_MASTER
def test_the_solutions_show_answers_and_outputs(path, built):
    html = (built / "solutions" / f"{path.stem}.html").read_text(encoding="utf-8")
    assert "BEGIN SOLUTION" in html and "BEGIN HIDDEN TESTS" in html
    assert "✓" in html and "NotImplementedError" not in html


def test_the_release_brings_what_it_needs(built):
    """The package is imported from the release alone, and finds the clips and the weights there."""
    code = (
        "import ranet_edu\nfrom ranet_edu.datasets.davis import SAMPLES, DavisDataset\n"
        "from ranet_edu.weights import open_model\n"
        "print(len(DavisDataset(SAMPLES, '2017', 'all')), open_model().config.ranking, ranet_edu.__file__)"
    )
    release = built / "release"
    run = subprocess.run([sys.executable, "-Bc", code], cwd=release, env={}, capture_output=True, text=True, check=True)
    assert run.stdout.split()[:2] == ["3", "attention"] and str(release) in run.stdout


def prose_and_code(path):
    if path.suffix == ".md":
        return path.read_text(encoding="utf-8")
    return "\n\n".join(cell.source for cell in nbformat.read(path, as_version=4).cells)


def links_in(text):
    """Where the links and images of a text lead within the repository."""
    prose = re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.S)
    targets = (target.split("#")[0] for target in re.findall(r"\]\(([^)\s]*[./][^)\s]*)\)", prose))
    return {target for target in targets if not re.match(r"https?:", target)}


def data_in(text):
    """Paths below data/ but for downloads, written as data/weights/x.csv or as DATA / "weights" / "x.csv"."""
    written = re.findall(r"(?<![\w/])data/[\w./-]*\w", text)
    joined = re.findall(r'(?:DATA|"data")((?: / "[\w.-]+")+)', text)
    paths = [*written, *("data" + parts.replace(" / ", "/").replace('"', "") for parts in joined)]
    return {path for path in paths if not path.startswith("data/cache")}


def test_links_and_paths_are_found():
    text = "[a](../data/x.md#top) ![b](y.png) [c](https://d.org/) `[no](code.py)` data/w/z.csv. data/cache/d"
    assert links_in(text) == {"../data/x.md", "y.png"} and data_in(text) == {"data/w/z.csv"}
    assert data_in('read(DATA / "w" / "z.csv"), root / "data" / "v.csv"') == {"data/w/z.csv", "data/v.csv"}


def test_what_the_release_reads_and_links_to_is_in_it(tmp_path):
    copy_set_up(tmp_path, [path.name for path in MASTERS])
    texts = [(path.parent, prose_and_code(path)) for kind in ("ipynb", "md") for path in tmp_path.rglob(f"*.{kind}")]
    assignments = tmp_path / "notebooks" / "assignments"
    texts += [(assignments, prose_and_code(path)) for path in MASTERS]
    links = {(folder, target) for folder, text in texts for target in links_in(text)}
    assert [link for folder, link in sorted(links) if not (folder / link).exists()] == []
    data = {path for _, text in texts for path in data_in(text)}
    assert {path for path in data if not (tmp_path / path).exists()} == set()
    assert {"data/experiments/online.csv", "data/benchmark/xeon-2-cores.csv"} <= data


def test_the_release_leaves_out_masters_tests_and_caches(built):
    release = built / "release"
    assert not (release / "tests").exists() and not list(release.rglob("__pycache__"))
    given = {path.name for path in (release / "notebooks" / "assignments").iterdir()}
    assert given == {"SYLLABUS.md", *(path.name for path in MASTERS)}
    readme = (release / "README.md").read_text(encoding="utf-8")
    assert all(path.name in readme for path in MASTERS) and "{" not in readme
    assert (release / "notebooks" / "00_start_here.ipynb").is_file()


def test_students_get_the_syllabus_without_what_it_says_to_instructors(tmp_path):
    copy_set_up(tmp_path, ["A1_masks_and_metrics.ipynb"])
    text = (tmp_path / "notebooks" / "assignments" / "SYLLABUS.md").read_text(encoding="utf-8")
    assert "### Week 4" in text and "## Grading" in text and "## Before week 1" in text
    assert "nstructor" not in text and "README.md" not in text
    assert "notebooks/assignments/SYLLABUS.md" in (tmp_path / "README.md").read_text(encoding="utf-8")


def test_nothing_is_overwritten(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="not empty"):
        build(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_master_that_fails_its_own_tests_is_named_and_nothing_is_left(tmp_path):
    masters = tmp_path / "masters"
    answer, test = "total = 2 + 2", "assert total == 5, 'two and two are not five'"
    write_master(masters / "A9_sums.ipynb", {"e1_sum": (answer, test)})
    with pytest.raises(ValueError, match=r"A9_sums.ipynb fails .* in e1_sum_check: two and two are not five"):
        build(tmp_path / "out", masters)
    assert [path.name for path in tmp_path.iterdir()] == ["masters"]


def test_no_masters_is_an_error_that_says_where(tmp_path):
    with pytest.raises(FileNotFoundError, match="--masters"):
        build(tmp_path / "out", tmp_path)
    assert not (tmp_path / "out").exists()


@pytest.mark.browser
@pytest.mark.skipif(not shutil.which("chromium"), reason="needs Chromium")
def test_a_page_is_printed_where_there_is_a_browser(tmp_path):
    page = tmp_path / "page.html"
    page.write_text("<h1>Solutions</h1>")
    assert print_page(page, tmp_path / "page.pdf")
    assert (tmp_path / "page.pdf").read_bytes().startswith(b"%PDF")


def test_without_a_browser_there_is_no_pdf(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not print_page(tmp_path / "page.html", tmp_path / "page.pdf")
