"""Ablations: each variant differs in what its name says and in nothing else, and a run is never repeated."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ranet_edu.cli import main
from ranet_edu.datasets.stills import StillPairs
from ranet_edu.evaluation.published import TABLE_4, TABLE_5
from ranet_edu.training import ablations
from ranet_edu.training.ablations import VARIANTS, ablation_config, read_ablations, run_ablations
from ranet_edu.training.stages import build_model, build_samples
from ranet_edu.weights import open_model

SMALL = {"size": (64, 96), "cpu": True, "batch": 1, "validation_frames": 3, "precision": "no", "split": "train"}
MOVES = [(5, 10 + 4 * index) for index in range(4)]


@pytest.fixture
def data(draw_davis, draw_stills) -> list[Path]:
    return [draw_davis({"one": MOVES}), draw_stills()]


def test_a_variant_differs_in_its_own_options_only(data, tmp_path):
    full = ablation_config("full", 3, data, tmp_path)
    for name, variant in VARIANTS.items():
        config = ablation_config(name, 3, data, tmp_path)
        changes = {**variant.changes, "stage": variant.stage}
        if "steps" in changes:
            changes |= {"validate_every": changes["steps"], "log_every": 1}
        assert replace(full, **changes) == config
        assert config.validate_every == config.steps


def test_switches_reach_the_network_and_the_samples(data, tmp_path):
    def model(name):
        return build_model(ablation_config(name, 0, data, tmp_path)).config

    assert model("full").ranking == "attention" and model("maximum").ranking == "maximum"
    assert not model("no-correlation").correlation and not model("no-previous-mask").previous_mask
    parts = [build_samples(ablation_config(name, 0, data, tmp_path, split="train")) for name in ("full", "no-stills")]
    assert [len(samples.datasets) for samples in parts] == [2, 1]
    assert isinstance(build_samples(ablation_config("no-video", 0, data, tmp_path)), StillPairs)


def test_published_rows_exist():
    rows = {(row.table, row.variant) for row in TABLE_4 + TABLE_5 if row.method == "RANet"}
    assert {variant.published for variant in VARIANTS.values() if variant.published} <= rows


def test_untrained_weights_stay_as_they_were(data, tmp_path):
    (row,) = run_ablations(data, tmp_path, ["untrained"], [0], **SMALL)
    assert row.steps == 1 and 0 <= row.jf <= 1
    before = build_model(ablation_config("untrained", 0, data, tmp_path)).half().float()
    after = open_model(tmp_path / "untrained-0" / "weights.safetensors")
    assert all(a.equal(b) for a, b in zip(before.parameters(), after.parameters(), strict=True))


def test_a_network_without_correlation_is_trained_and_scored(data, tmp_path):
    (row,) = run_ablations(data, tmp_path, ["no-correlation"], [0], steps=1, **SMALL)
    assert (row.variant, row.steps) == ("no-correlation", 1) and 0 <= row.jf <= 1
    assert not open_model(tmp_path / "no-correlation-0" / "weights.safetensors").config.correlation


def test_a_table_is_continued_and_no_run_repeated(data, tmp_path, monkeypatch):
    trained = []
    train = ablations.train
    monkeypatch.setattr(ablations, "train", lambda config: trained.append(config.out.name) or train(config))
    run_ablations(data, tmp_path, ["full"], [0], steps=1, **SMALL)
    rows = run_ablations(data, tmp_path, ["full", "no-video"], [0], steps=1, **SMALL)
    assert trained == ["full-0", "no-video-0"]
    assert [(row.variant, row.seed, row.steps) for row in rows] == [("full", 0, 1), ("no-video", 0, 1)]
    for read, row in zip(read_ablations(tmp_path / "ablations.csv"), rows, strict=True):
        assert read.jf == pytest.approx(row.jf, abs=1e-5) and read.loss == pytest.approx(row.loss, rel=1e-5)


def test_a_table_of_longer_runs_is_refused_before_anything_is_trained(data, tmp_path, monkeypatch):
    (tmp_path / "ablations.csv").write_text("variant,seed,steps,j,f,loss,seconds\nfull,0,10,0.5,0.5,0.1,60\n")
    monkeypatch.setattr(ablations, "train", lambda config: pytest.fail(f"trained {config.out.name}"))
    with pytest.raises(ValueError, match=r"ablations\.csv holds runs of 10 steps \(full, seed 0\), and 2 are asked"):
        run_ablations(data, tmp_path, ["no-video", "full"], [0], steps=2, **SMALL)


def test_the_command_names_the_variants(data, tmp_path, capsys):
    arguments = ["ablate", "--data", *data, "--out", tmp_path / "out", "--variants", "no-decoder"]
    assert main([*map(str, arguments)]) == 1
    assert "no variant 'no-decoder'; there are full, no-ranking, maximum" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_another_file_is_named(tmp_path):
    (tmp_path / "ablations.csv").write_text("step,loss\n1,0.5\n")
    with pytest.raises(ValueError, match=r"ablations\.csv does not hold runs"):
        read_ablations(tmp_path / "ablations.csv")
