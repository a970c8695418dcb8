"""Whatever a cell does, each one ends with an outcome, in bounded time."""

import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from ranet_edu.course.execute import NOT_RUN, OUT_OF_TIME, Limits, error_of, run_notebook

STUBBORN = """
import time
while True:
    try:
        time.sleep(60)
    except KeyboardInterrupt:
        pass
"""
SET_UP = {"nbgrader": {"grade_id": "setup", "locked": True, "grade": False, "solution": False}}


def run(tmp_path, *sources, limits=Limits(2, 60), metadata=None):  # noqa: B008
    cells = [new_code_cell(source) for source in sources]
    cells[0].metadata.update(metadata or {})
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    notebook = new_notebook(cells=cells, metadata=kernel)
    run_notebook(notebook, tmp_path, limits)
    return notebook.cells


def outcomes(cells):
    return [["ran", *(output.ename for output in cell.outputs if "ename" in output)][-1] for cell in cells]


def test_an_endless_cell_is_interrupted_and_the_others_run(tmp_path, capfd):
    cells = run(tmp_path, "a = 1", "while True: pass", "print(a)")
    assert outcomes(cells) == ["ran", OUT_OF_TIME, "ran"]
    assert cells[2].outputs[0].text == "1\n" and "ran out of time" in error_of(cells[1])
    assert capfd.readouterr().err == ""


def test_an_error_does_not_stop_the_others(tmp_path):
    cells = run(tmp_path, "1 / 0", "print('after')")
    assert outcomes(cells) == ["ZeroDivisionError", "ran"]
    assert error_of(cells[0]) == "ZeroDivisionError: division by zero" and error_of(cells[1]) is None


def test_a_cell_that_catches_the_interrupt_ends_the_notebook(tmp_path):
    cells = run(tmp_path, STUBBORN, "print('never')")
    assert outcomes(cells) == [NOT_RUN, NOT_RUN]
    assert "could not be stopped" in error_of(cells[1])


@pytest.mark.parametrize("end", ["import os; os._exit(0)", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"])
def test_a_dead_kernel_gives_no_points_away(tmp_path, end):
    cells = run(tmp_path, "print('before')", end, "print('a test that never ran')")
    assert outcomes(cells) == ["ran", NOT_RUN, NOT_RUN]
    assert "kernel died" in error_of(cells[2])


def test_a_notebook_has_a_limit_too(tmp_path):
    cells = run(tmp_path, *["import time; time.sleep(0.8)"] * 6, limits=Limits(2, 2))
    assert outcomes(cells)[0] == "ran" and outcomes(cells)[-1] == NOT_RUN
    assert "2 seconds are used up" in error_of(cells[-1])


def test_a_set_up_cell_may_take_longer_than_an_answer(tmp_path):
    assert outcomes(run(tmp_path, "import time; time.sleep(3)", limits=Limits(1, 60), metadata=SET_UP)) == ["ran"]


def test_the_notebook_runs_in_its_folder(tmp_path):
    cells = run(tmp_path, "import os; print(os.getcwd())")
    assert cells[0].outputs[0].text.strip() == str(tmp_path.resolve())


def test_the_kernel_s_own_words_stay_out_of_the_terminal(tmp_path, capfd):
    run(tmp_path, "import os; os.write(2, b'noise')")
    assert capfd.readouterr().err == ""


def test_stderr_is_reported_as_what_went_wrong(tmp_path):
    cells = run(tmp_path, "import sys; print('careful', file=sys.stderr)")
    assert error_of(cells[0]) == "careful"


def test_prose_has_no_error():
    assert error_of(new_markdown_cell("text")) is None


@pytest.mark.parametrize(("cell", "notebook"), [(0, 10), (-1, 10), (20, 10)])
def test_impossible_limits_are_refused(cell, notebook):
    with pytest.raises(ValueError, match="a cell may run"):
        Limits(cell, notebook)
