"""What students hand in, whatever it is: found, read, and put back into the notebook that they were given."""

import copy

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from ranet_edu.course.submissions import UnreadableSubmission, find_submissions, read_submission, restore


def cell(name, source, kind="answer", points=None):
    meta = {"grade_id": name, "grade": points is not None, "solution": kind != "test", "locked": kind == "test"}
    meta |= {"schema_version": 3, "task": False} | ({} if points is None else {"points": points})
    make = new_markdown_cell if kind == "words" else new_code_cell
    return make(source, metadata={"nbgrader": meta})


@pytest.fixture
def released():
    return new_notebook(
        cells=[
            new_markdown_cell("# A1"),
            cell("e1_sum", "raise NotImplementedError()"),
            cell("e1_sum_check", "assert total == 4", "test", 1),
            new_markdown_cell("## Exercise 2"),
            cell("e2_words", "YOUR ANSWER HERE", "words", 2),
        ]
    )


@pytest.fixture
def submitted(released):
    notebook = copy.deepcopy(released)
    notebook.cells[1].source = "total = 2 + 2"
    notebook.cells[4].source = "Four."
    return notebook


def sources(notebook):
    return [item.source for item in notebook.cells]


def test_answers_are_taken_and_the_rest_is_as_it_was(released, submitted):
    restored, remarks = restore(released, submitted)
    assert sources(restored) == ["# A1", "total = 2 + 2", "assert total == 4", "## Exercise 2", "Four."]
    assert remarks == []
    assert [item.metadata for item in restored.cells] == [item.metadata for item in released.cells]
    nbformat.validate(restored)


def test_own_cells_stay_behind_what_they_followed(released, submitted):
    submitted.cells.insert(2, new_code_cell("two = 2", metadata={"tags": ["skip-execution"]}))
    submitted.cells.insert(0, new_code_cell("import math"))
    restored, remarks = restore(released, submitted)
    assert sources(restored)[:4] == ["import math", "# A1", "total = 2 + 2", "two = 2"]
    assert restored.cells[3].metadata == {} and remarks == []


def test_changed_tests_are_restored_and_remarked(released, submitted):
    submitted.cells[2].source = "pass"
    restored, remarks = restore(released, submitted)
    assert restored.cells[2].source == "assert total == 4"
    assert remarks == ["changed, restored: e1_sum_check"]


def test_deleted_tests_are_put_back_after_their_answer(released, submitted):
    del submitted.cells[2]
    restored, remarks = restore(released, submitted)
    assert sources(restored) == ["# A1", "total = 2 + 2", "## Exercise 2", "assert total == 4", "Four."]
    assert remarks == ["missing, put back: e1_sum_check"]


def test_metadata_of_a_test_does_not_come_from_the_student(released, submitted):
    submitted.cells[2].metadata.nbgrader.update(points=100, solution=True, locked=False)
    submitted.cells[2].metadata.tags = ["skip-execution"]
    restored, remarks = restore(released, submitted)
    assert restored.cells[2].metadata == released.cells[2].metadata
    assert remarks == ["re-marked, restored: e1_sum_check"]


def test_a_moved_test_comes_after_its_answer_again(released, submitted):
    submitted.cells.insert(0, submitted.cells.pop(2))
    restored, _ = restore(released, submitted)
    assert [name for item in restored.cells if (name := item.metadata.get("nbgrader", {}).get("grade_id"))] == [
        "e1_sum",
        "e1_sum_check",
        "e2_words",
    ]


def test_of_a_copied_answer_the_copy_is_the_student_s_own_cell(released, submitted):
    twin = copy.deepcopy(submitted.cells[1])
    twin.source = "total = 4"
    submitted.cells.insert(2, twin)
    restored, _ = restore(released, submitted)
    assert sources(restored)[1:4] == ["total = 2 + 2", "total = 4", "assert total == 4"]
    assert restored.cells[2].metadata == {}


def test_an_empty_notebook_is_a_blank_one(released):
    restored, remarks = restore(released, new_notebook())
    assert [item.source for item in restored.cells] == [
        "raise NotImplementedError()",
        "assert total == 4",
        "YOUR ANSWER HERE",
    ]
    assert remarks == ["missing, put back: e1_sum, e1_sum_check, e2_words"]


def test_cells_whose_marks_are_nonsense_are_own_cells(released, submitted):
    submitted.cells += [new_code_cell("x", metadata={"nbgrader": value}) for value in ("text", {"grade_id": ["list"]})]
    restored, _ = restore(released, submitted)
    assert sources(restored)[-2:] == ["x", "x"]


def write(path, text="{}"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_files_are_found_by_the_assignment_s_name(tmp_path):
    deep = write(tmp_path / "anna" / "A1_masks" / "A1_masks.ipynb")
    downloaded = write(tmp_path / "ben" / "a1_masks (1).ipynb")
    write(tmp_path / "ben" / ".ipynb_checkpoints" / "A1_masks-checkpoint.ipynb")
    write(tmp_path / "list.txt")
    (tmp_path / "cleo").mkdir()
    found = find_submissions(tmp_path, ["A1_masks", "A2_maps"])
    assert found == {
        "anna": {"A1_masks": [deep], "A2_maps": []},
        "ben": {"A1_masks": [downloaded], "A2_maps": []},
        "cleo": {"A1_masks": [], "A2_maps": []},
    }


def test_no_submissions_is_an_error_that_says_how_they_lie(tmp_path):
    with pytest.raises(FileNotFoundError, match="no folder of submissions"):
        find_submissions(tmp_path / "none", ["A1_masks"])
    write(tmp_path / "A1_masks.ipynb")
    with pytest.raises(FileNotFoundError, match="a folder for each student"):
        find_submissions(tmp_path, ["A1_masks"])


def notebook_text(cells):
    return f'{{"nbformat": 4, "nbformat_minor": 5, "metadata": {{}}, "cells": {cells}}}'


@pytest.mark.parametrize(
    "text",
    [
        "Dear professor,",
        "",
        "{}",
        "[1, 2]",
        notebook_text('"none"'),
        notebook_text('[{"cell_type": "code"}]'),
        notebook_text('[{"cell_type": "x", "source": "", "metadata": {}}]'),
        '{"nbformat": 99, "nbformat_minor": 0, "metadata": {}, "cells": []}',
    ],
)
def test_what_is_no_notebook_is_unreadable(tmp_path, text):
    with pytest.raises(UnreadableSubmission, match=r"A1_masks\.ipynb"):
        read_submission([write(tmp_path / "A1_masks.ipynb", text)])


def test_bytes_that_are_no_text_are_unreadable(tmp_path):
    path = tmp_path / "A1_masks.ipynb"
    path.write_bytes(bytes(range(256)))
    with pytest.raises(UnreadableSubmission, match="can't be read"):
        read_submission([path])


def test_another_kind_of_file_and_two_notebooks_are_refused(tmp_path):
    with pytest.raises(UnreadableSubmission, match=r"A1_masks\.pdf is not a notebook"):
        read_submission([write(tmp_path / "A1_masks.pdf")])
    paths = [write(tmp_path / name) for name in ("A1_masks.ipynb", "A1_masks (1).ipynb")]
    with pytest.raises(UnreadableSubmission, match="keep one"):
        read_submission(paths)


def test_a_notebook_beside_a_pdf_of_it_is_read(tmp_path, released):
    nbformat.write(released, tmp_path / "A1_masks.ipynb")
    assert len(read_submission([tmp_path / "A1_masks.ipynb", write(tmp_path / "A1_masks.pdf")]).cells) == 5
