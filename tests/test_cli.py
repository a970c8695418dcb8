"""The command line as a user meets it: files in, files out, one line for what went wrong."""

import csv
import shutil
import subprocess
import sys

import av
import numpy as np
import pytest
import torch
from PIL import Image

from ranet_edu import cli
from ranet_edu.datasets import download
from ranet_edu.datasets.davis import DavisDataset
from ranet_edu.model import RANet
from ranet_edu.video.frames import VideoWriter
from ranet_edu.video.masks import read_mask, write_mask
from ranet_edu.weights import fingerprint, read_metadata, save_weights

SMALL = ("--weights", "matching", "--canvas", "96", "160", "--device", "cpu")


@pytest.fixture
def davis(tmp_path, repository):
    """The first five frames of a sample clip, as a DAVIS folder of its own."""
    root = tmp_path / "DAVIS"
    samples = repository / "data" / "samples"
    for kind in ("JPEGImages", "Annotations"):
        folder = root / kind / "480p" / "cat"
        folder.mkdir(parents=True)
        for path in sorted((samples / kind / "480p" / "cat").iterdir())[:5]:
            shutil.copy(path, folder)
    lists = root / "ImageSets" / "2016"
    lists.mkdir(parents=True)
    (lists / "val.txt").write_text("cat\n")
    return root


def paths(davis):
    return davis / "JPEGImages" / "480p" / "cat", davis / "Annotations" / "480p" / "cat"


def run(*arguments):
    return cli.main([str(argument) for argument in arguments])


def test_threads_spin_briefly_unless_the_user_has_chosen():
    nothing, policy, count = {}, {"OMP_WAIT_POLICY": "active"}, {"GOMP_SPINCOUNT": "7"}
    for environment in (nothing, policy, count):
        cli.spin_briefly(environment)
    assert int(nothing["GOMP_SPINCOUNT"]) > 0
    assert policy == {"OMP_WAIT_POLICY": "active"} and count == {"GOMP_SPINCOUNT": "7"}


def test_pytorch_is_not_loaded_before_the_choice(repository):
    """OpenMP reads its settings when it is loaded."""
    code = "import sys, ranet_edu.cli; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=repository, check=True)


def test_segment_writes_masks_and_a_film_in_one_pass(davis, tmp_path, capsys):
    frames, annotations = paths(davis)
    masks, film = tmp_path / "masks", tmp_path / "film.mp4"
    assert run("segment", frames, "--mask", annotations / "00000.png", "--out", masks, film, *SMALL) == 0
    assert [path.name for path in sorted(masks.iterdir())] == [f"{index:05d}.png" for index in range(5)]
    np.testing.assert_array_equal(read_mask(masks / "00000.png"), read_mask(annotations / "00000.png"))
    found, true = read_mask(masks / "00004.png") > 0, read_mask(annotations / "00004.png") > 0
    assert (found & true).sum() > 0.7 * (found | true).sum()
    with av.open(str(film)) as container:
        assert sum(1 for _ in container.decode(video=0)) == 5
    assert str(film) in capsys.readouterr().out


def test_segment_names_a_mask_of_another_size_and_writes_nothing(davis, tmp_path, capsys):
    frames, _ = paths(davis)
    write_mask(tmp_path / "small.png", np.ones((48, 85), np.uint8))
    out = tmp_path / "masks"
    assert run("segment", frames, "--mask", tmp_path / "small.png", "--out", out, *SMALL) == 1
    message = capsys.readouterr().err
    assert "small.png is 85 x 48" in message and "854 x 480" in message and "Traceback" not in message
    assert not out.exists()


@pytest.fixture
def small(tmp_path):
    """Three frames in `frames` and in `clip.mp4`, the first one's mask in `masks/00000.png`, and no model to load."""
    write_mask(tmp_path / "masks" / "00000.png", np.eye(16, 24, dtype=np.uint8))
    (tmp_path / "frames").mkdir()
    with VideoWriter(tmp_path / "clip.mp4", 25) as video:
        for index in range(3):
            frame = np.full((16, 24, 3), 40 * index, np.uint8)
            Image.fromarray(frame).save(tmp_path / "frames" / f"{index:05d}.png")
            video.write(frame)
    return tmp_path


def refused(folder, capsys, *out, video="clip.mp4", mask="masks/00000.png"):
    """What `segment` says where it refuses before it looks for the weights; no file may be changed or new."""
    files = contents(folder)
    arguments = ("segment", folder / video, "--mask", folder / mask, "--out", *(folder / name for name in out))
    assert run(*arguments, "--weights", "none.pth") == 1
    assert contents(folder) == files
    return capsys.readouterr().err


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_segment_never_replaces_its_input(small, capsys):
    (small / "link").symlink_to("frames")
    for video, out in (("frames", "frames"), ("frames", "link"), ("clip.mp4", "clip.mp4")):
        assert f"{out} is the input itself; name another" in refused(small, capsys, "other", out, video=video)
    for video in ("frames", "clip.mp4"):
        assert "masks would replace the mask 00000.png" in refused(small, capsys, "masks", video=video)


def test_segment_names_a_mask_without_an_object(small, capsys):
    write_mask(small / "empty.png", np.zeros((16, 24), np.uint8))
    assert "empty.png shows no object: paint it white" in refused(small, capsys, "new", mask="empty.png")


@pytest.mark.parametrize("name", ["film.avi", "film.WEBM", "m2.png"])
def test_segment_makes_no_folder_that_is_called_like_a_file(small, capsys, name):
    assert f"{name}: videos are written as .mp4, masks into a folder" in refused(small, capsys, name)


@pytest.mark.parametrize("name", ["file", "file/masks", "file/film.mp4"])
def test_segment_names_what_can_not_be_written_before_it_loads_the_model(small, capsys, name):
    (small / "file").write_text("no folder")
    message = refused(small, capsys, name)
    assert f"{name} can't be written: " in message or f"no masks can be written into {small / name}: " in message


def test_segment_warns_of_a_video_that_is_cut_off(small, capsys):
    with av.open(str(small / "clip.mp4")) as container:
        last = max(entry.pos for entry in container.streams.video[0].index_entries)
    (small / "cut.mp4").write_bytes((small / "clip.mp4").read_bytes()[:last])
    for video, count in (("clip.mp4", 3), ("cut.mp4", 2)):
        command = ("segment", small / video, "--mask", small / "masks" / "00000.png", "--out", small / video[:-4])
        assert run(*command, "--weights", "matching", "--canvas", 32, 48, "--device", "cpu") == 0
        assert len(list((small / video[:-4]).iterdir())) == count
        warned = "warning: " in capsys.readouterr().err
        assert warned == (video == "cut.mp4")


def test_segment_does_not_mix_its_masks_with_others(small, capsys):
    for name in ("00003.png", "photo.PNG"):
        write_mask(small / "earlier" / "00000.png", np.eye(16, 24, dtype=np.uint8))
        (small / "earlier" / name).write_bytes(b"of a longer video")
        for video in ("frames", "clip.mp4"):
            assert f"earlier holds {name}, which would stay" in refused(small, capsys, "earlier", video=video)
        (small / "earlier" / name).unlink()


@pytest.mark.parametrize("video", ["frames", "clip.mp4"])
def test_segment_replaces_the_masks_of_an_earlier_run(small, video):
    command = ("segment", small / video, "--mask", small / "masks" / "00000.png", "--out", small / "again")
    for _ in range(2):
        assert run(*command, "--weights", "matching", "--canvas", 32, 48, "--device", "cpu") == 0
        assert sorted(path.name for path in (small / "again").iterdir()) == ["00000.png", "00001.png", "00002.png"]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_segment_that_has_to_stop_leaves_whole_files_and_says_which_failed(davis, tmp_path, monkeypatch, capsys, error):
    frames, annotations = paths(davis)
    out, save = tmp_path / "masks", Image.Image.save

    def failing(image, path, *arguments):
        if "00002" in path.name:
            path.write_bytes(b"half")
            raise error
        save(image, path, *arguments)

    monkeypatch.setattr(Image.Image, "save", failing)
    status = run("segment", frames, "--mask", annotations / "00000.png", "--out", out, tmp_path / "film.mp4", *SMALL)
    message = capsys.readouterr().err
    if isinstance(error, OSError):
        assert status == 1 and "00002.png can't be written: No space left on device" in message
    else:
        assert status == 130 and "stopped" in message
    assert not (tmp_path / "film.mp4").exists() and not list(tmp_path.glob(".film*"))
    written = sorted(out.iterdir())
    assert [path.name for path in written[:2]] == ["00000.png", "00001.png"] and out / "00002.png" not in written
    assert all(read_mask(path).shape == (480, 854) for path in written)


def test_segment_names_weights_that_are_not_there(davis, tmp_path, capsys):
    frames, annotations = paths(davis)
    weights = ("--weights", tmp_path / "missing.safetensors")
    assert run("segment", frames, "--mask", annotations / "00000.png", "--out", tmp_path / "m", *weights) == 1
    assert "missing.safetensors" in capsys.readouterr().err


def test_evaluate_writes_predictions_and_tables_and_resumes(davis, tmp_path, capsys):
    out = tmp_path / "run"
    command = ("evaluate", "--davis", davis, "--out", out, *SMALL)
    assert run(*command) == 0
    table = capsys.readouterr().out
    assert "J&F Mean" in table and "RANet" in table
    with open(out / "global.csv", newline="") as file:
        first = next(csv.DictReader(file))
    assert 0.5 < float(first["J-Mean"]) < 1

    kept = (out / "cat" / "00003.png").stat().st_mtime_ns
    assert run(*command) == 0
    assert (out / "cat" / "00003.png").stat().st_mtime_ns == kept
    assert run(*command, "--previous", "hard") == 1
    assert "another run" in capsys.readouterr().err


def test_evaluate_does_not_go_on_with_other_weights_of_the_same_name(davis, tmp_path, capsys):
    weights, out = tmp_path / "weights.safetensors", tmp_path / "run"
    small = ("--canvas", "64", "96", "--device", "cpu")
    command = ("evaluate", "--davis", davis, "--out", out, "--weights", weights, *small)
    save_weights(RANet.lite(weights=None), weights)
    assert run(*command) == 0
    save_weights(RANet.lite(weights=None), weights, metadata={"trained": "longer"})
    assert run(*command) == 1
    assert "weights_sha256" in capsys.readouterr().err


def test_evaluate_scores_masks_made_elsewhere(davis, tmp_path):
    out = tmp_path / "scores"
    assert run("evaluate", "--davis", davis, "--predictions", davis / "Annotations" / "480p", "--out", out) == 0
    with open(out / "global.csv", newline="") as file:
        perfect = next(csv.DictReader(file))
    assert float(perfect["J&F-Mean"]) == 1


def test_evaluate_asks_where_to_write(davis, capsys):
    assert run("evaluate", "--davis", davis) == 1
    assert "--out" in capsys.readouterr().err


def test_sheet_draws_samples_of_a_video(davis, tmp_path):
    out = tmp_path / "sheet.png"
    assert run("data", "sheet", davis, "--split", "val", "--count", "2", "--out", out) == 0
    with Image.open(out) as sheet:  # the recipe's rollout: a template, a previous mask, and four frames
        assert sheet.size == (6 * 560, 2 * 320)


def test_davis_without_network_is_one_line(tmp_path, monkeypatch, capsys):
    nowhere = download.Archive("http://127.0.0.1:9/DAVIS-data.zip", None)
    monkeypatch.setitem(download.ARCHIVES, "2016", nowhere)
    assert run("data", "davis", "--root", tmp_path) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "DAVIS-data.zip" in line
    assert not (tmp_path / "DAVIS-2016").exists()


def test_train_names_data_that_does_not_fit(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert run("train", "video", "--data", tmp_path / "empty", "--out", tmp_path / "run", "--init", "none") == 1
    assert "DAVIS" in capsys.readouterr().err


def test_an_unknown_command_is_explained(capsys):
    with pytest.raises(SystemExit) as stop:
        run("segmnt")
    assert stop.value.code == 2 and "segment" in capsys.readouterr().err


@pytest.mark.parametrize(
    "command",
    [
        ("segment", "clip.mp4", "--mask", "first.png", "--out", "masks", "--canvas", "0", "0"),
        ("evaluate", "--davis", "DAVIS", "--canvas", "-64", "96"),
        ("benchmark", "--out", "speed", "--threads", "0"),
        ("benchmark", "--out", "speed", "--objects", "1", "0"),
        ("weights", "export", "--onnx", "x.onnx", "--size", "64", "0"),
        ("data", "sheet", "DAVIS", "--out", "sheet.png", "--count", "few"),
    ],
)
def test_sizes_and_counts_are_whole_numbers_from_1_on(command, capsys):
    with pytest.raises(SystemExit):
        run(*command)
    problem = capsys.readouterr().err.splitlines()[-1]
    assert "argument --" in problem and "is not a whole number from 1 on" in problem


@pytest.mark.parametrize(
    "command",
    [
        ("segment", "clip.mp4", "--mask", "masks/00000.png", "--out", "new"),
        ("benchmark", "--quick", "--out", "speed"),
        ("demo", "--no-browser"),
    ],
)
def test_a_device_that_is_not_there_is_one_line(small, capsys, command, monkeypatch):
    monkeypatch.chdir(small)
    for device in ("gpu", "cuda:99"):
        assert run(*command, "--device", device) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert f"--device {device} can't be used here" in line and line.endswith("try cpu")
    assert not (small / "new").exists() and not (small / "speed").exists()


def gpu_is_full(*_):
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has ...")


@pytest.mark.parametrize(
    ("allocate", "words"),
    [
        (gpu_is_full, "CUDA out of memory"),
        (lambda _: torch.empty(2**60), "memory: you tried to allocate 4611686018427387904 bytes"),
        (lambda _: np.empty(2**50), "Unable to allocate 8.00 PiB"),
    ],
)
def test_memory_that_is_full_is_one_line_with_a_hint(small, capsys, monkeypatch, allocate, words):
    monkeypatch.setattr(cli, "build_segmenter", allocate)
    assert run("segment", small / "frames", "--mask", small / "masks" / "00000.png", "--out", small / "new") == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert words in line and ": smaller frames (--canvas" in line


def test_segment_says_that_the_video_comes_first(capsys):
    with pytest.raises(SystemExit):
        run("segment", "--mask", "first.png", "--out", "masks", "clip.mp4")
    usage, problem = capsys.readouterr().err.splitlines()
    assert "segment video --mask" in usage and "video first" in usage and problem.endswith("required: video")


def test_pairs_keep_frames_beside_their_masks():
    """Also where masks come one frame late, as on a GPU."""

    class Late:
        def segment(self, frames, first_mask):
            earlier = None
            for frame in frames:
                if earlier is not None:
                    yield earlier[..., 0]
                earlier = frame
            yield earlier[..., 0]

    source = [np.full((2, 3, 3), value, np.uint8) for value in range(5)]
    pairs = list(cli._pairs(Late(), source, source[0][..., 0]))
    assert [(frame[0, 0, 0], labels[0, 0]) for frame, labels in pairs] == [(v, v) for v in range(5)]


def test_every_sequence_of_the_samples_is_readable(repository):
    names = [sequence.name for sequence in DavisDataset(repository / "data" / "samples", "2017", "all")]
    assert names == ["cat", "cat-coffee", "launch-pad"]


def test_a_mean_of_weights_says_what_it_is_made_of(tmp_path, capsys):
    files = [tmp_path / "a.safetensors", tmp_path / "b.safetensors"]
    for step, file in enumerate(files):
        save_weights(RANet.lite(weights=None), file, metadata={"step": str(step)})
    out = tmp_path / "mean.safetensors"
    assert run("weights", "average", *files, "--shares", 3, 1, "--out", out) == 0
    assert capsys.readouterr().out == f"wrote {out}\n"
    assert read_metadata(out)["step"] == "1" and read_metadata(out)["mean_of"] == " + ".join(
        f"{share} x {file.name} ({fingerprint(file)})" for share, file in zip((3, 1), files, strict=True)
    )
    assert run("weights", "average", files[0], "--out", out) == 1
    assert "at least two files" in capsys.readouterr().err
