"""Curves of online learning: every point is what learning so long gives, and a file is never measured twice."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ranet_edu.cli import main
from ranet_edu.datasets.davis import DavisDataset
from ranet_edu.model import RANet
from ranet_edu.training import online_curve
from ranet_edu.training.online import OnlineSegmenter
from ranet_edu.training.online_curve import learning_curve, measure_curves, read_curves
from ranet_edu.training.validation import score_video
from ranet_edu.video.segmenter import VideoSegmenter
from ranet_edu.weights import save_weights

MOVES = [(5, 10 + 4 * index) for index in range(4)]


@pytest.fixture(scope="module")
def segmenter() -> VideoSegmenter:
    torch.manual_seed(0)
    return VideoSegmenter(RANet.lite(weights="imagenet", canvas=(64, 96)))


@pytest.fixture
def davis(draw_davis) -> DavisDataset:
    return DavisDataset(draw_davis({"one": MOVES, "two": MOVES[::-1]}), split="minival")


def test_a_point_scores_what_learning_so_long_gives(segmenter, davis):
    points = list(learning_curve(segmenter, davis[0], [2, 0], learning_rate=1e-3, batch=1, frames=3))
    assert [(point.iterations, point.learning_rate, point.frames) for point in points] == [(0, 0, 3), (2, 1e-3, 3)]
    for point in points:
        online = OnlineSegmenter(segmenter, point.iterations, learning_rate=1e-3, batch=1)
        assert np.allclose([point.j, point.f], score_video(online, davis[0], frames=3)[0])
    assert points[0].j != points[1].j


def test_only_learning_is_timed(segmenter, davis, monkeypatch):
    slow = iter(range(0, 10**6, 100))  # each scoring takes 100 s by this clock, learning none
    now = [0.0]
    monkeypatch.setattr(online_curve.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(online_curve, "score_video", lambda *_: now.__setitem__(0, next(slow)) or np.zeros((1, 2)))
    points = list(learning_curve(segmenter, davis[0], [0, 1, 2], 1e-3, batch=1))
    assert [point.wall_seconds for point in points] == [0, 0, 0]
    assert points[0].cpu_seconds == 0 < points[1].cpu_seconds < points[2].cpu_seconds


def test_a_file_is_continued_and_no_point_measured_twice(segmenter, davis, tmp_path, monkeypatch):
    out = tmp_path / "curves" / "online.csv"
    options = {"iterations": [0, 1], "batch": 1, "frames": 3}
    first = measure_curves(segmenter, davis[:1], out, learning_rates=[1e-3], **options)
    text = out.read_text()
    assert read_curves(out) == first and [point.clip for point in first] == ["one", "one"]
    measured = []
    monkeypatch.setattr(online_curve, "score_video", lambda *_: measured.append(1) or np.zeros((1, 2)))
    every = measure_curves(segmenter, list(davis), out, learning_rates=[1e-3, 2e-3], **options)
    # One: a new rate. Two: both rates; without learning the rate makes no difference.
    assert len(measured) == 1 + 3 and len(every) == 2 + 4
    assert out.read_text().startswith(text)


def test_another_canvas_is_another_curve(segmenter, davis, tmp_path, monkeypatch):
    out = tmp_path / "online.csv"
    monkeypatch.setattr(online_curve, "score_video", lambda *_: np.zeros((1, 2)))
    options = {"iterations": [0], "learning_rates": [1e-3], "frames": 3}
    measure_curves(segmenter, davis[:1], out, **options)
    smaller = VideoSegmenter(segmenter.model, canvas=(32, 48))
    for _ in range(2):
        points = measure_curves(smaller, davis[:1], out, **options)
        assert [point.canvas for point in points] == ["", "32x48"]


def test_a_file_without_canvas_is_of_the_network_s_own_and_is_continued(segmenter, davis, tmp_path, monkeypatch):
    out = tmp_path / "online.csv"
    monkeypatch.setattr(online_curve, "score_video", lambda *_: np.zeros((1, 2)))
    options = {"learning_rates": [1e-3], "frames": 3, "batch": 1}
    (first,) = measure_curves(segmenter, davis[:1], out, iterations=[0], **options)
    out.write_text(out.read_text().replace(",canvas\n", "\n").replace(",\n", "\n"))
    assert read_curves(out) == [first] and "canvas" not in out.read_text()
    points = measure_curves(segmenter, davis[:1], out, iterations=[0, 1], **options)
    assert points[0] == first and [point.iterations for point in points] == [0, 1]


def test_the_committed_curves_are_read(repository):
    points = read_curves(repository / "data" / "experiments" / "online.csv")
    assert len(points) > 30 and {point.canvas for point in points} == {""}


def test_the_command_writes_curves_of_a_split(segmenter, davis, draw_davis, tmp_path):
    save_weights(segmenter.model, tmp_path / "weights.safetensors")
    arguments = ["online", "--davis", davis.root, "--split", "minival", "--out", tmp_path / "online.csv"]
    arguments += ["--weights", tmp_path / "weights.safetensors", "--device", "cpu", "--frames", 3]
    arguments += ["--iterations", 0, 1, "--learning-rates", 1e-3, "--batch", 1, "--canvas", 64, 96]
    assert main([*map(str, arguments)]) == 0
    points = read_curves(tmp_path / "online.csv")
    assert [(point.clip, point.iterations) for point in points] == [("one", 0), ("one", 1), ("two", 0), ("two", 1)]
    assert len({point.weights for point in points}) == 1 and len(points[0].weights) == 12


def test_another_file_is_named(tmp_path):
    (tmp_path / "log.csv").write_text("step,loss\n1,0.5\n")
    with pytest.raises(ValueError, match=r"log\.csv does not hold curves"):
        read_curves(tmp_path / "log.csv")


def test_iterations_below_zero_are_refused(segmenter, davis):
    with pytest.raises(ValueError, match="iterations is -1"):
        list(learning_curve(segmenter, davis[0], [-1, 2], 1e-3))
