import json
import os
import signal
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_run import SmallestSizeSamples, TinyNet, TinySamples

from ranet_edu.model import RANet
from ranet_edu.model.encoder import TimmBackbone
from ranet_edu.training.checkpoints import Checkpoints
from ranet_edu.training.loop import TrainingDiverged, fit
from ranet_edu.weights import load_official, read_metadata


class OnePair(TinySamples):
    """The same sample for ever."""

    def __getitem__(self, index):
        return super().__getitem__(7)


class SignalAt(TinySamples):
    """Sends its own process a signal when sample `index` is asked for."""

    def __init__(self, index, number):
        super().__init__()
        self.index, self.number = index, number

    def __getitem__(self, index):
        if index == self.index:
            os.kill(os.getpid(), self.number)
        return super().__getitem__(index)


def same_weights(one, other):
    one, other = load_file(one), load_file(other)
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def has_rows(log: Path, count: int) -> bool:
    """Whether a log that another process is writing has so many rows: it is there before its first line is."""
    return log.exists() and log.read_bytes().count(b"\n") > count


def test_one_pair_is_learnt_by_heart(tiny_config, rows):
    config = tiny_config(steps=150, batch=1, iou=1.0)
    fit(config, TinyNet(), OnePair())
    losses = [row["loss"] for row in rows(config.out / "log.csv")]
    assert losses[-1] < losses[0] / 10


def test_a_checkpoint_opened_as_weights_says_where_the_weights_are(tiny_config):
    config = tiny_config(steps=1)
    fit(config, TinyNet(), TinySamples())
    with pytest.raises(ValueError, match=r"checkpoint\.pt is a checkpoint .*name the weights\.safetensors"):
        load_official(TinyNet(), config.out / "checkpoint.pt")


def test_a_finished_run_leaves_weights_logs_and_a_figure_and_does_not_start_again(tiny_config, rows):
    config = tiny_config()
    weights = fit(config, TinyNet(), TinySamples())
    assert {file.name for file in config.out.iterdir()} == {
        "weights.safetensors", "checkpoint.pt", "log.csv", "log.png", "config.json"
    }  # fmt: skip
    assert json.loads((config.out / "config.json").read_text())["seed"] == 0
    assert read_metadata(weights)["step"] == "12"
    assert str(config.out.parent) not in str(read_metadata(weights)), "paths of this machine are nobody's business"
    before = rows(config.out / "log.csv")
    assert [row["step"] for row in before] == [3, 6, 9, 12]
    assert fit(config, TinyNet(), TinySamples()) == weights
    assert rows(config.out / "log.csv") == before


def test_killed_and_continued_is_as_if_never_killed(tiny_config, rows, start):
    """SIGKILL while samples are being made; weights and curve equal an undisturbed run's to the bit."""
    killed = tiny_config("killed", steps=40, checkpoint_every=7, workers=1)
    process = start(killed, "--dropout", "0.3", TINY_SECONDS="0.03")
    log, deadline = killed.out / "log.csv", time.monotonic() + 60
    while not has_rows(log, 6):
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()[0]
        time.sleep(0.02)
    process.kill()
    process.wait()
    assert 14 <= Checkpoints(killed.out).load()["step"] < 40
    fit(killed, TinyNet(dropout=0.3), TinySamples())
    whole = tiny_config("whole", steps=40)
    fit(whole, TinyNet(dropout=0.3), TinySamples())
    assert same_weights(killed.out / "weights.safetensors", whole.out / "weights.safetensors")
    assert rows(log) == rows(whole.out / "log.csv")
    assert [row["step"] for row in rows(log)] == list(range(3, 41, 3))


@pytest.mark.parametrize("number, error", [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)])
def test_a_signal_ends_the_step_and_saves(tiny_config, rows, number, error):
    config = tiny_config("stopped", accumulation=2)
    with pytest.raises(error):
        fit(config, TinyNet(), SignalAt(4 * 4 + 1, number))  # while step 5 of 12 waits for its samples
    assert Checkpoints(config.out).load()["step"] == 5
    assert (config.out / "weights.safetensors").exists()
    fit(config, TinyNet(), TinySamples())
    whole = tiny_config("whole", accumulation=2)
    fit(whole, TinyNet(), TinySamples())
    assert same_weights(config.out / "weights.safetensors", whole.out / "weights.safetensors")
    assert rows(config.out / "log.csv") == rows(whole.out / "log.csv")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_all_processes_of_a_run_saves_too(tiny_config, start, number):
    """As a terminal sends Ctrl-C, and a batch system its notice: the workers that make samples get it as well."""
    config = tiny_config("stopped", steps=400, workers=2)
    process = start(config, TINY_SECONDS="0.02")
    log, deadline = config.out / "log.csv", time.monotonic() + 60
    while not has_rows(log, 2):
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()[0]
        time.sleep(0.02)
    os.killpg(process.pid, number)
    output = process.communicate(timeout=60)[0]
    assert "the same command continues" in output
    assert 6 <= Checkpoints(config.out).load()["step"] < 400


def test_the_time_limit_stops_with_a_checkpoint(tiny_config, monkeypatch, capsys):
    monkeypatch.setenv("TINY_SECONDS", "0.05")
    config = tiny_config(steps=500, time_limit=0.5)
    fit(config, TinyNet(), TinySamples())
    step = Checkpoints(config.out).load()["step"]
    assert 1 <= step < 20
    assert f"stopped at step {step} of 500; the same command continues" in capsys.readouterr().err


def test_a_run_killed_before_its_first_checkpoint_may_be_stopped_before_its_first_row(tiny_config):
    config = tiny_config(time_limit=1e-6)
    config.out.mkdir()
    (config.out / "log.csv").write_text("step,loss,bce,iou\n3,1,1,1\n")  # all that a kill left behind
    fit(config, TinyNet(), TinySamples())
    assert not (config.out / "log.csv").exists() and (config.out / "weights.safetensors").exists()


def test_the_real_network_resumes_to_the_bit(tiny_config):
    changes = {"steps": 3, "batch": 1, "size": (64, 96), "learning_rate": 1e-3, "precision": "bf16"}
    changes["validate_every"] = 2
    torch.manual_seed(0)
    start = RANet.lite(weights=None).state_dict()

    def network():
        model = RANet.lite(weights=None)
        model.load_state_dict(start)
        return model

    def interrupt(model):
        os.kill(os.getpid(), signal.SIGINT)
        return {"J&F": 0.5, "J": 0.5, "F": 0.5}

    stopped, whole = tiny_config("stopped", **changes), tiny_config("whole", **changes)
    with pytest.raises(KeyboardInterrupt):
        fit(stopped, network(), SmallestSizeSamples(), interrupt)
    assert Checkpoints(stopped.out).load()["step"] == 2
    resumed = fit(stopped, network(), SmallestSizeSamples())
    assert same_weights(resumed, fit(whole, network(), SmallestSizeSamples()))


class BadFile(TinySamples):
    """Samples of which the third can't be read."""

    def __getitem__(self, index):
        if index == 2:
            raise ValueError("a.png: it is no image")
        return super().__getitem__(index)


def test_a_worker_s_error_in_a_file_is_one_line(tiny_config):
    with pytest.raises(ValueError, match=r"^a\.png: it is no image$"):
        fit(tiny_config(workers=1), TinyNet(), BadFile())


def test_a_model_can_be_trained_on_after_a_run_that_froze_parts_of_it(tiny_config):
    model = RANet.lite(weights=None)
    config = tiny_config(steps=1, batch=1, size=(64, 96), frozen_stages=6)
    fit(config, model, SmallestSizeSamples())
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert type(model.encoder.backbone) is TimmBackbone
    assert not any("forward" in vars(module) or "copies" in vars(module) for module in model.modules())


@pytest.mark.parametrize("launcher", ["torchrun", "accelerate"])
def test_two_processes_learn_what_one_with_twice_the_batch_learns(tiny_config, rows, start, launcher):
    """CPUs are found unasked where there is no GPU."""
    shared = tiny_config("two", accumulation=2, log_every=1, cpu=torch.accelerator.is_available())
    commands = {
        "torchrun": ("torch.distributed.run", "--standalone", "--nproc-per-node=2"),
        "accelerate": ("accelerate.commands.launch", "--multi_gpu", "--num_processes=2", "--main_process_port=0"),
    }
    process = start(shared, launcher=(sys.executable, "-m", *commands[launcher]))
    output, _ = process.communicate(timeout=90)
    assert process.returncode == 0, output
    alone = tiny_config("one", accumulation=2, batch=4, log_every=1)
    fit(alone, TinyNet(), TinySamples())
    two, one = rows(shared.out / "log.csv"), rows(alone.out / "log.csv")
    assert len(two) == len(one) == 12
    for row, expected in zip(two, one, strict=True):
        assert row == pytest.approx(expected, rel=1e-4)
    with pytest.raises(ValueError, match="a run of 2 processes, and this one has 1"):
        fit(shared, TinyNet(), TinySamples())


def test_gradients_of_accumulated_batches_are_those_of_one_large_batch(tiny_config, rows):
    many, one = tiny_config("many", batch=1, accumulation=4), tiny_config("one", batch=4)
    for config in (many, one):
        fit(config, TinyNet(), TinySamples())
    for row, expected in zip(rows(many.out / "log.csv"), rows(one.out / "log.csv"), strict=True):
        assert row == pytest.approx(expected, rel=1e-4)


def test_a_loss_that_is_not_a_number_names_its_step_and_sample_and_keeps_the_checkpoint(tiny_config):
    config = tiny_config(checkpoint_every=4, log_every=5)
    with pytest.raises(TrainingDiverged, match=r"loss of step 7 is not finite, in the samples \[13\]"):
        fit(config, TinyNet(), TinySamples(bad=13))
    state = Checkpoints(config.out).load()
    assert state["step"] == 4
    assert all(tensor.isfinite().all() for tensor in state["model"].values())
    assert not (config.out / "weights.safetensors").exists()


def test_a_gradient_that_is_not_a_number_names_all_samples_of_its_step(tiny_config):
    class RootOfZero(TinyNet):
        """Finite values, infinite slope: what a square root at 0 does."""

        def trace(self, *inputs):
            trace = super().trace(*inputs)
            trace.logits = trace.logits + (0 * trace.logits).abs().sqrt()
            return trace

    with pytest.raises(TrainingDiverged, match=r"gradient of step 1 is not finite, in the samples \[0, 1\]"):
        fit(tiny_config(), RootOfZero(), TinySamples())


def test_another_run_in_the_same_folder_is_refused_and_untouched(tiny_config):
    config = tiny_config()
    fit(config, TinyNet(), TinySamples())
    before = {file: file.read_bytes() for file in config.out.iterdir()}
    with pytest.raises(ValueError, match="seed: was 0, now 1"):
        fit(tiny_config(seed=1), TinyNet(), TinySamples())
    assert {file: file.read_bytes() for file in config.out.iterdir()} == before


def test_the_best_scores_weights_are_kept_and_the_average_is_what_is_scored(tiny_config, rows):
    config = tiny_config(validate_every=4, steps=14)
    seen, results = [], iter([0.2, 0.6, 0.4, 0.5])

    def validate(model):
        assert not model.training
        seen.append({name: tensor.half() for name, tensor in model.state_dict().items()})
        score = next(results)
        return {"J&F": score, "J": score, "F": score}

    last = fit(config, TinyNet(), TinySamples(), validate)
    assert [(row["step"], row["J&F"]) for row in rows(config.out / "validation.csv")] == [
        (4, 0.2), (8, 0.6), (12, 0.4), (14, 0.5)
    ]  # fmt: skip
    best = config.out / "best.safetensors"
    assert (read_metadata(best)["step"], read_metadata(best)["J&F"]) == ("8", "0.6")
    assert all(torch.equal(tensor, load_file(best)[name]) for name, tensor in seen[1].items())
    assert all(torch.equal(tensor, load_file(last)[name]) for name, tensor in seen[3].items())
    current = Checkpoints(config.out).load()["model"]
    assert not all(torch.equal(tensor.half(), load_file(last)[name]) for name, tensor in current.items())


def test_rollouts_of_several_objects_train(tiny_config, rows):
    config = tiny_config(objects=2, rollout=3, steps=30, iou=1.0, boundary=2.0, detach=False)
    fit(config, TinyNet(), TinySamples(objects=2, rollout=3))
    losses = [row["loss"] for row in rows(config.out / "log.csv")]
    assert losses[-1] < 0.8 * losses[0]


def test_other_precision_in_the_same_session(tiny_config):
    """Accelerate keeps a global state that refuses this by itself."""
    for out, precision in (("first", "bf16"), ("second", "no"), ("third", "bf16")):
        fit(tiny_config(out, steps=1, precision=precision), TinyNet(), TinySamples())


@pytest.mark.gpu
def test_half_precision_on_a_gpu(tiny_config, rows):
    config = tiny_config(steps=60, batch=1, cpu=False, precision="fp16", iou=1.0)
    fit(config, TinyNet(), OnePair())
    losses = [row["loss"] for row in rows(config.out / "log.csv")]
    assert losses[-1] < losses[0] / 3
