import os
import signal

import pytest
import torch

from ranet_edu.training import checkpoints
from ranet_edu.training.checkpoints import Checkpoints, StopSignals


def state(step):
    return {"step": step, "weights": torch.full((1000,), float(step))}


def test_the_last_two_are_kept(tmp_path):
    kept = Checkpoints(tmp_path)
    assert kept.load() is None
    for step in (1, 2, 3):
        kept.save(state(step))
    assert kept.load()["step"] == 3
    assert torch.load(kept.previous)["step"] == 2
    assert sorted(os.listdir(tmp_path)) == ["checkpoint-previous.pt", "checkpoint.pt"]


def test_dying_while_writing_leaves_the_checkpoints_before(tmp_path, monkeypatch):
    kept = Checkpoints(tmp_path)
    kept.save(state(1))

    def half(content, file):
        file.write(b"half a checkpoint")
        raise OSError("no space left on device")

    monkeypatch.setattr(checkpoints.torch, "save", half)
    with pytest.raises(OSError, match="no space"):
        kept.save(state(2))
    assert kept.load()["step"] == 1
    assert os.listdir(tmp_path) == ["checkpoint.pt"]


def test_a_full_disk_is_an_error_of_the_system(tmp_path, monkeypatch):
    def half(*_):
        raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 917824 vs 917720")

    monkeypatch.setattr(checkpoints.torch, "save", half)
    with pytest.raises(OSError, match=r"checkpoint\.pt can't be written \(.*\): is the disk full"):
        Checkpoints(tmp_path).save(state(1))
    assert os.listdir(tmp_path) == []


def test_what_a_killed_process_left_half_written_is_not_looked_at(tmp_path):
    kept = Checkpoints(tmp_path)
    kept.save(state(1))
    (tmp_path / ".checkpoint.pt.part").write_bytes(kept.last.read_bytes()[:500])
    assert kept.load()["step"] == 1
    kept.save(state(2))
    assert sorted(os.listdir(tmp_path)) == ["checkpoint-previous.pt", "checkpoint.pt"]


def test_dying_between_the_two_renames_loses_nothing(tmp_path):
    kept = Checkpoints(tmp_path)
    kept.save(state(1))
    os.replace(kept.last, kept.previous)
    assert kept.load()["step"] == 1


def test_a_damaged_checkpoint_falls_back_to_the_one_before(tmp_path):
    kept = Checkpoints(tmp_path)
    kept.save(state(1))
    kept.save(state(2))
    kept.last.write_bytes(kept.last.read_bytes()[:500])
    with pytest.warns(UserWarning, match=r"checkpoint\.pt cannot be read"):
        assert kept.load()["step"] == 1
    kept.previous.write_bytes(b"")
    with pytest.warns(UserWarning), pytest.raises(ValueError, match=str(tmp_path)):
        kept.load()


@pytest.fixture
def interruptible():
    """Ctrl-C as in a terminal: what a shell runs in the background has it ignored."""
    inherited = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, inherited)


@pytest.mark.usefixtures("interruptible")
def test_the_first_signal_waits_and_the_second_does_not(monkeypatch):
    before, now = signal.getsignal(signal.SIGINT), 100.0
    monkeypatch.setattr(checkpoints.time, "monotonic", lambda: now)
    with StopSignals() as stop:
        assert stop.received is None
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)  # the same wish, passed on by torchrun
        assert stop.received == signal.SIGTERM
        now += 2
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_handlers_are_given_back_when_nothing_happened():
    before = signal.getsignal(signal.SIGTERM)
    with StopSignals():
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before
