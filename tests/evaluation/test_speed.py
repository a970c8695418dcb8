"""The benchmark: what it runs, what it writes, and what it refuses. How fast anything is, no test says."""

from __future__ import annotations

import csv
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from ranet_edu import cli
from ranet_edu.evaluation import speed, speed_table
from ranet_edu.evaluation.meters import PARTS
from ranet_edu.evaluation.speed_table import FRAME, PLAIN, SCORING, VIDEO, Case, add_rows, read_rows

CPU = torch.device("cpu")
TINY = {"240p": (64, 96), "480p": (96, 160)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What two runs of the command leave, the second one for a second case."""
    out = tmp_path_factory.mktemp("speed")
    with pytest.MonkeyPatch.context() as patch:
        for size, shape in TINY.items():
            patch.setitem(speed.SIZES, size, shape)
        command = ["benchmark", "--preset", "lite", "--variants", "float32", "--repeats", "2", "--device", "cpu"]
        command += ["--threads", "1", "--video-frames", "3", "--out", str(out)]
        assert cli.main([*command, "--size", "480p", "--objects", "2"]) == 0
        assert cli.main([*command, "--size", "240p", "--objects", "1"]) == 0
    return out


@pytest.fixture(scope="module")
def rows(folder):
    return read_rows(folder / "speed.csv")


def part(rows, **wanted):
    (found,) = (row for row in rows if all(getattr(row, name) == value for name, value in wanted.items()))
    return found


def test_every_case_has_a_frame_and_its_parts_for_plain_and_ours(rows):
    assert list(dict.fromkeys(row.case for row in rows)) == [Case("lite", "240p", 1), Case("lite", "480p", 2)]
    for case in (Case("lite", "240p", 1), Case("lite", "480p", 2)):
        for variant in (PLAIN, "float32"):
            mine = [row.part for row in rows if (row.case, row.variant) == (case, variant)]
            videos = [VIDEO, SCORING] if case.objects == 1 else []
            assert sorted(mine) == sorted([FRAME, *PARTS, *videos])


def test_figures_of_a_row_belong_together(rows):
    for row in rows:
        assert math.isfinite(row.milliseconds) and row.milliseconds > 0 or row.part == "other"
        assert (row.threads, row.device, row.torch) == (1, "cpu", torch.__version__)
    for variant in (PLAIN, "float32"):
        mine = [row for row in rows if row.variant == variant and row.objects == 1]
        frame = part(mine, part=FRAME)
        parts = [part(mine, part=name) for name in PARTS]
        assert frame.gflop == pytest.approx(sum(row.gflop for row in parts), rel=1e-3)
        assert frame.of_ceiling == pytest.approx(
            frame.gflop / frame.milliseconds * 1000 / max(frame.matmul, frame.convolution), rel=1e-3
        )
        assert frame.repeats == 2 and frame.bandwidth > 0 and frame.first_seconds > 0
    plain, ours = (part(rows, variant=name, part=FRAME, objects=2) for name in (PLAIN, "float32"))
    assert plain.times_plain == 1
    assert ours.times_plain == pytest.approx(plain.milliseconds / ours.milliseconds, rel=1e-3)


def test_masks_of_ours_are_those_of_plain(rows):
    assert part(rows, variant=PLAIN, part=FRAME, objects=1).agreement == 1
    assert all(row.agreement > 0.999 for row in rows if row.part == FRAME)


def test_the_command_leaves_pictures_and_nothing_half_written(folder):
    assert sorted(path.name for path in folder.iterdir()) == ["parts.png", "speed.csv", "times.png"]
    assert all(path.stat().st_size > 1000 for path in folder.iterdir())


def test_tables_show_what_was_measured(rows):
    text = speed_table.format_all(rows)
    ours = part(rows, variant="float32", part=FRAME, objects=2)
    assert f"{ours.times_plain:.2f} x" in text
    assert "lite, 240 x 432, 1 object" in text and "decoder" in text and "of an evaluation" in text
    lines = speed_table.format_times(rows).splitlines()
    assert len({len(line) for line in lines}) == 1 and len(lines) == 4


def test_what_was_not_measured_is_a_dash(rows):
    frame = replace(part(rows, variant="float32", part=FRAME, objects=1), gflop=None, of_ceiling=None, megabytes=None)
    line = speed_table.format_costs([frame]).splitlines()[-1]
    assert [cell.strip() for cell in line.split("|")[4:7]] == ["-", "-", "-"]
    assert speed_table.format_videos([frame]) == ""


def test_rows_of_a_case_are_replaced_and_others_kept(rows, tmp_path):
    path = tmp_path / "speed.csv"
    add_rows(path, rows)
    assert read_rows(path) == rows
    again = [replace(row, milliseconds=1.0) for row in rows if row.objects == 2 and row.variant == PLAIN]
    add_rows(path, again)
    kept = read_rows(path)
    assert {row.milliseconds for row in kept if row.objects == 2} == {1.0}
    assert [row for row in kept if row.objects == 1] == [row for row in rows if row.objects == 1]
    videos = [replace(row, milliseconds=2.0) for row in kept if row.part == VIDEO]
    add_rows(path, videos)  # a run of videos alone leaves the single frames
    assert part(read_rows(path), part=FRAME, objects=1, variant="float32") == part(
        rows, part=FRAME, objects=1, variant="float32"
    )
    assert {row.milliseconds for row in read_rows(path) if row.part == VIDEO} == {2.0}
    elsewhere = [replace(row, machine="another") for row in again]
    add_rows(path, elsewhere)
    assert {row.machine for row in read_rows(path)} == {"another", rows[0].machine}


@pytest.mark.parametrize(
    ("text", "message"),
    [("Sequence,J\nbear,1\n", "does not hold measurements"), ("", "does not hold measurements"), (None, "damaged")],
)
def test_a_file_that_is_not_ours_is_refused_before_anything_is_measured(rows, tmp_path, text, message):
    path = tmp_path / "speed.csv"
    if text is None:
        add_rows(path, rows)
        text = path.read_text().replace(",lite,", ",lite,480p,")
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        speed.run([Case("lite", "240p", 1)], tmp_path, progress=False)
    assert path.read_text() == text


def test_a_missing_file_says_which_command_writes_it(tmp_path):
    with pytest.raises(FileNotFoundError, match="ranet-edu benchmark --out"):
        read_rows(tmp_path / "speed.csv")


def test_a_stopped_run_has_written_its_finished_cases(rows, tmp_path, monkeypatch):
    def measure(case, *arguments):
        if case.objects == 2:
            raise KeyboardInterrupt
        return [row for row in rows if row.case == case]

    monkeypatch.setattr(speed, "measure_case", measure)
    monkeypatch.setattr(speed, "measure_ceilings", lambda *_: None)
    out = str(tmp_path)
    arguments = ["--size", "240p", "--preset", "lite", "--objects", "1", "2", "--out", out, "--device", "cpu"]
    assert cli.main(["benchmark", *arguments]) == 130
    with (tmp_path / "speed.csv").open(newline="") as file:
        assert {line["objects"] for line in csv.DictReader(file)} == {"1"}


def test_cases_are_all_combinations_that_exist():
    assert [str(case) for case in speed.all_cases(objects=(1, 4))] == [
        "lite, 240 x 432, 1 object",
        "lite, 240 x 432, 4 objects",
        "lite, 480 x 864, 1 object",
        "lite, 480 x 864, 4 objects",
        "paper, 480 x 864, 1 object",
        "paper, 480 x 864, 4 objects",
    ]
    with pytest.raises(ValueError, match="480p"):
        speed.all_cases(presets=["paper"], sizes=["240p"])
    with pytest.raises(ValueError, match="1 or more, not 0"):
        speed.all_cases(objects=[1, 0])


def test_wrong_options_are_one_line(tmp_path, capsys):
    command = ["benchmark", "--out", str(tmp_path), "--device", "cpu"]
    assert cli.main([*command, "--variants", "warp"]) == 1
    assert "no variant 'warp' on cpu; there is float32" in capsys.readouterr().err
    assert cli.main([*command, "--repeats", "0", "--video-frames", "0"]) == 1
    assert "not both 0" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_half_precision_is_never_chosen_on_a_cpu():
    assert not [name for name, variant in speed.available_variants(CPU).items() if variant.dtype == torch.float16]
    on_gpu = speed.available_variants(torch.device("cuda"))
    assert on_gpu["float16"].dtype == torch.float16


def test_nothing_is_compiled_on_a_cpu():
    assert not any(variant.compile for variant in speed.available_variants(CPU).values())
    assert any(variant.compile for variant in speed.available_variants(torch.device("cuda")).values())


def test_strips_are_objects_of_equal_area():
    labels = speed.strips(np.ones((2, 12), bool), 4)
    assert np.bincount(labels.ravel()).tolist() == [0, 6, 6, 6, 6]
    mask = np.zeros((4, 8), bool)
    mask[1:3, 2:6] = True
    np.testing.assert_array_equal(speed.strips(mask, 1), mask)


def test_measures_take_turns():
    order = []
    measures = {name: lambda name=name: order.append(name) or name for name in "ab"}
    assert speed.by_turns(measures, 2, lambda: order.append("|")) == {"a": ["a", "a"], "b": ["b", "b"]}
    assert "".join(order) == "ab|ab|"


def test_readme_shows_the_committed_measurements(repository):
    data = repository / "data"
    epyc, xeon = (read_rows(data / "benchmark" / f"{name}-2-cores.csv") for name in ("epyc", "xeon"))
    readme = (repository / "README.md").read_text(encoding="utf-8")
    assert speed_table.format_times(xeon) in readme
    assert speed_table.format_videos(xeon) in readme
    assert speed_table.format_times(epyc) in (data / "README.md").read_text(encoding="utf-8")
