import pytest
from PIL import Image

from ranet_edu.training.log import CsvLog, plot_log, read_log


@pytest.fixture
def log(tmp_path):
    log = CsvLog(tmp_path / "log.csv", ["step", "loss", "bce", "iou"])
    for step in (10, 20, 30, 100):
        log.append(step, 1 / step, 0.5 / step, 0.25 / step)
    return log


def test_rows_come_back_as_columns(log):
    columns = read_log(log.path)
    assert columns["step"] == [10, 20, 30, 100]
    assert columns["loss"] == pytest.approx([0.1, 0.05, 1 / 30, 0.01], rel=1e-5)


def test_truncating_forgets_later_rows_and_half_rows_only(log):
    with open(log.path, "a") as file:
        file.write("2")
    log.truncate(30)
    log.append(40, 0.0, 0.0, 0.0)
    assert read_log(log.path)["step"] == [10, 20, 30, 40]


def test_truncating_to_nothing_leaves_no_file(log):
    log.truncate(0)
    assert not log.path.exists()
    log.append(10, 1.0, 0.5, 0.25)
    assert read_log(log.path)["step"] == [10]


def test_a_log_without_rows_is_named(log):
    log.path.write_text("step,loss,bce,iou\n")
    with pytest.raises(ValueError, match=r"log\.csv holds no rows"):
        read_log(log.path)


def test_the_figure_is_drawn_with_and_without_scores(log, tmp_path):
    scores = CsvLog(tmp_path / "validation.csv", ["step", "J&F"])
    plain = plot_log(log.path, tmp_path / "plain.png", scores.path)
    scores.append(50, 0.7)
    scored = plot_log(log.path, tmp_path / "scored.png", scores.path)
    with Image.open(plain) as one, Image.open(scored) as other:
        assert one.size == other.size and min(one.size) > 300
        assert one.tobytes() != other.tobytes()
