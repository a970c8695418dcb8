"""The demo without its page: what is kept, what is refused with words that help, and what the files hold."""

from __future__ import annotations

import io
import math
import shutil
import threading
import weakref
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import videos
from PIL import Image

from ranet_edu.datasets.davis import SAMPLES, DavisDataset
from ranet_edu.evaluation.benchmark import score_predictions
from ranet_edu.model.ranet import RANet
from ranet_edu.show import demo_session
from ranet_edu.show.demo_session import (
    Clip,
    choose_frames,
    correct_frame,
    labels_of_layers,
    layer_of_labels,
    match_truth,
    open_clip,
    open_example,
    read_first_mask,
    read_layer,
    segment,
    true_mask,
    working_size,
    write_cut_outs,
    write_mask_zip,
    write_overlay,
)
from ranet_edu.video.frames import FrameSource, open_frames
from ranet_edu.video.masks import read_mask, write_mask
from ranet_edu.video.segmenter import VideoSegmenter


@pytest.fixture(scope="module")
def segmenter() -> VideoSegmenter:
    return VideoSegmenter(RANet.lite(canvas=(64, 112)))


@pytest.fixture
def clip(tmp_path: Path) -> Clip:
    return open_clip(videos.write_video(tmp_path / "my holiday (1).mp4"), tmp_path / "session")


@pytest.fixture
def example(tmp_path: Path) -> Clip:
    """Three frames of the clip with two objects."""
    clip = open_example("cat-coffee", tmp_path / "session")
    choose_frames(clip, 4, 12, 4)
    return clip


def run(clip: Clip, segmenter: VideoSegmenter, mask: np.ndarray | None = None, **options: object) -> list[int]:
    """The frames that were segmented."""
    mask = videos.square(0) if mask is None else mask
    return [progress.index for progress in segment(clip, segmenter, mask, **options)]


def files(clip: Clip) -> list[str]:
    return sorted(path.name for kind in ("frames", "masks", "soft") for path in (clip.folder / kind).iterdir())


def names_in(path: Path) -> list[str]:
    with zipfile.ZipFile(path) as archive:
        return archive.namelist()


# --- opening


def test_a_video_is_opened_with_nothing_decoded_ahead(clip: Clip) -> None:
    assert (clip.name, clip.length, clip.size, clip.fps) == ("my_holiday_1", 6, videos.SIZE, 25)
    assert clip.numbers == range(6) and clip.is_open and files(clip) == []
    first = next(clip.frames())
    assert np.abs(first.astype(int) - videos.frames()[0]).mean() < 15


@pytest.mark.parametrize("name", ["clip.webm", "clip.gif"])
def test_frames_are_counted_where_the_file_does_not_say(tmp_path: Path, name: str) -> None:
    codec = {"clip.webm": ("libvpx-vp9", "yuv420p"), "clip.gif": ("gif", "rgb8")}[name]
    path = videos.write_video(tmp_path / name, None, *codec)
    assert open_clip(path, tmp_path).length == 6


def test_large_frames_are_shrunk_and_huge_ones_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert working_size((2160, 3840)) == (720, 1280)
    assert working_size((1281, 3)) == (1280, 3)
    monkeypatch.setattr(demo_session, "WORKING_SIDE", 32)
    path = videos.write_video(tmp_path / "large.mp4")
    clip = open_clip(path, tmp_path)
    assert clip.size == (24, 32) and next(clip.frames()).shape == (24, 32, 3)
    monkeypatch.setattr(demo_session, "MAX_SIDE", 63)
    with pytest.raises(ValueError, match=r"large\.mp4 is 64 x 48; at most 63 .* smaller"):
        open_clip(path, tmp_path)


def test_errors_name_the_file_but_not_its_folder(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^diary\.mp4 is no video") as error:
        open_clip(videos.write_text(tmp_path / "diary.mp4"), tmp_path)
    assert str(tmp_path) not in str(error.value)


def test_an_example_knows_its_true_masks(example: Clip) -> None:
    assert (example.name, example.length, len(example.numbers)) == ("cat-coffee", 60, 3)
    np.testing.assert_array_equal(true_mask(example, 1), DavisDataset(SAMPLES, "2017")["cat-coffee"].read_annotation(8))
    with pytest.raises(ValueError, match="choose one of cat, cat-coffee, launch-pad"):
        open_example("dog", example.folder)


def test_own_videos_have_no_true_masks(clip: Clip) -> None:
    with pytest.raises(ValueError, match="paint the object"):
        true_mask(clip, 0)


@pytest.mark.parametrize("numbers", [(-1, 3, 1), (4, 3, 1), (0, 6, 1), (0, 5, 0)])
def test_frames_that_the_video_does_not_have(clip: Clip, numbers: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match=r"frames 0 to 5|Every 0"):
        choose_frames(clip, *numbers)
    assert clip.numbers == range(6)


def test_no_more_frames_than_the_limit(clip: Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo_session, "MAX_FRAMES", 2)
    choose_frames(clip, 1, 5, 2)
    assert list(clip.numbers) == [1, 3]


# --- masks


def test_what_was_painted_is_read_from_alpha_and_colour() -> None:
    labels = np.array([[0, 1, 2], [3, 4, 0]], np.uint8)
    layer = layer_of_labels(labels)
    np.testing.assert_array_equal(labels_of_layers([layer], (2, 3)), labels)
    layer[0, 0] = (230, 159, 0, 40)  # the soft rim of a stroke
    layer[1, 2] = (0, 0, 0, 0)
    np.testing.assert_array_equal(labels_of_layers([layer], (2, 3)), labels)


def test_colours_blurred_by_a_browser_are_still_the_same_object() -> None:
    labels = np.repeat(np.arange(1, 5, dtype=np.uint8), 50).reshape(4, 50)
    layer = layer_of_labels(labels).astype(int)
    layer[..., :3] += np.random.default_rng(0).integers(-12, 13, (4, 50, 3))
    np.testing.assert_array_equal(labels_of_layers([layer.clip(0, 255).astype(np.uint8)], (4, 50)), labels)


def test_later_layers_lie_on_top_and_no_layer_is_an_empty_mask() -> None:
    one, two = (layer_of_labels(np.full((1, 2), label, np.uint8)) for label in (1, 2))
    two[0, 0, 3] = 0
    assert labels_of_layers([one, two], (1, 2)).tolist() == [[1, 2]]
    assert not labels_of_layers([], (1, 2)).any()


def test_a_layer_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="3 x 2, but the frame is 4 x 2"):
        labels_of_layers([np.zeros((2, 3, 4), np.uint8)], (2, 4))


def test_a_layer_that_was_removed_while_it_waited_is_asked_for_again(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="press Segment again"):
        read_layer(tmp_path / "layer.png")


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        (np.zeros(videos.SIZE, np.uint8), "The mask is empty. Paint"),
        (np.ones((10, 12), np.uint8), "mask.png is 12 x 10, but the video is 64 x 48"),
        (np.arange(6, dtype=np.uint8).repeat(512).reshape(videos.SIZE), "5 objects, and this page takes 4"),
    ],
    ids=["empty", "another size", "five objects"],
)
def test_masks_that_can_not_be_used(clip: Clip, tmp_path: Path, mask: np.ndarray, words: str) -> None:
    write_mask(tmp_path / "mask.png", mask)
    with pytest.raises(ValueError, match=words):
        read_first_mask(tmp_path / "mask.png", clip)


def test_a_mask_is_counted_from_one_and_may_have_the_size_of_a_shrunk_video(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo_session, "WORKING_SIDE", 32)
    clip = open_clip(videos.write_video(tmp_path / "large.mp4"), tmp_path)
    labels = videos.square(0) * 9
    labels[40:, :8] = 3
    labels[0] = 255  # void
    write_mask(tmp_path / "mask.png", labels)
    read = read_first_mask(tmp_path / "mask.png", clip)
    assert read.shape == (24, 32) and (read[21, 1], read[8, 8], read[0, 0]) == (1, 2, 0)
    write_mask(tmp_path / "small.png", read)
    np.testing.assert_array_equal(read_first_mask(tmp_path / "small.png", clip), read)


# --- segmenting


def test_every_frame_is_segmented_and_kept_on_disk(clip: Clip, segmenter: VideoSegmenter) -> None:
    assert run(clip, segmenter) == list(range(6))
    expected = list(segmenter.segment(clip.source, videos.square(0)))
    assert all(np.array_equal(clip.labels(index), labels) for index, labels in enumerate(expected))
    assert len(files(clip)) == 18 and len(clip.records) == 6 and clip.given == [0]
    for index, record in enumerate(clip.records):
        soft = clip.probabilities(index)
        assert soft.shape == (1, *videos.SIZE)
        mask = clip.labels(index) == 1
        assert record.area[1] == pytest.approx(mask.mean())
        confidence = soft[0][mask].mean() if mask.any() else math.nan
        assert record.confidence[1] == pytest.approx(confidence, abs=0.01, nan_ok=True)
        assert record.region == {}


def test_progress_says_how_far_and_how_long(clip: Clip, segmenter: VideoSegmenter) -> None:
    texts = [progress.text for progress in segment(clip, segmenter, videos.square(0))]
    assert texts[0] == "1 of 6 frames"
    assert texts[-1].startswith("6 of 6 frames · ") and texts[-1].endswith(" frames per second")


def test_the_right_frames_are_scored_against_the_right_truth(example: Clip, segmenter: VideoSegmenter) -> None:
    run(example, segmenter, true_mask(example, 0))
    first = example.records[0]
    assert first.region == first.boundary == {1: 1.0, 2: 1.0}
    for index in (1, 2):
        true = DavisDataset(SAMPLES, "2017")["cat-coffee"].read_annotation(4 + 4 * index)
        masks = [(example.labels(index) == label, true == label) for label in (1, 2)]
        expected = [(a & b).sum() / (a | b).sum() for a, b in masks]
        assert list(example.records[index].region.values()) == pytest.approx(expected)
    for label, scores in demo_session.mean_scores(example).items():  # without the given and the last, as DAVIS counts
        assert scores == pytest.approx((example.records[1].region[label], example.records[1].boundary[label]))


def test_scores_are_those_of_the_command(tmp_path: Path, segmenter: VideoSegmenter) -> None:
    clip = open_example("cat", tmp_path / "session")
    run(clip, segmenter, true_mask(clip, 0))
    demo_session.write_mask_zip(clip, tmp_path / "masks.zip")
    with zipfile.ZipFile(tmp_path / "masks.zip") as archive:
        archive.extractall(tmp_path / "masks")
    (tmp_path / "cat.txt").write_text("cat\n")
    scores = score_predictions(DavisDataset(SAMPLES, "2017", tmp_path / "cat.txt"), tmp_path / "masks").overall
    assert demo_session.mean_scores(clip)[1] == pytest.approx((scores.j_mean, scores.f_mean))


def test_objects_painted_in_other_colours_are_matched_by_overlap() -> None:
    true = np.zeros((4, 6), np.uint8)
    true[:, :3], true[:, 3:5] = 1, 2
    mask = np.zeros((4, 6), np.uint8)
    mask[1:3, 1:3], mask[:, 3:] = 4, 3
    mask[0, 5] = 2
    assert match_truth(mask, true) == {4: 1, 3: 2}


def test_a_stopped_run_keeps_what_is_done(clip: Clip, segmenter: VideoSegmenter) -> None:
    done = []
    for progress in segment(clip, segmenter, videos.square(0)):
        done.append(progress.index)
        if progress.index == 2:
            clip.stop.set()
    assert done == [0, 1, 2] and len(clip.records) == 3
    assert run(clip, segmenter) == list(range(6)), "a later run is not stopped"


def test_a_corrected_frame_is_the_first_one_of_what_follows(clip: Clip, segmenter: VideoSegmenter) -> None:
    run(clip, segmenter)
    before = [clip.labels(index) for index in range(6)]
    correct_frame(clip, 3)
    np.testing.assert_array_equal(clip.mask, before[3])
    corrected = np.zeros(videos.SIZE, np.uint8)
    corrected[30:44, 2:20] = 2
    assert run(clip, segmenter, corrected) == [3, 4, 5]
    assert clip.given == [0, 3] and len(clip.records) == 6
    assert all(np.array_equal(clip.labels(index), before[index]) for index in range(3))
    np.testing.assert_array_equal(clip.labels(3), corrected)
    assert set(clip.records[3].area) == {2}
    later = list(segmenter.segment(list(clip.source)[3:], corrected))
    np.testing.assert_array_equal(clip.labels(5), later[2])


def test_results_that_no_longer_hold_are_dropped(clip: Clip, segmenter: VideoSegmenter) -> None:
    run(clip, segmenter)
    correct_frame(clip, 2)
    next(segment(clip, segmenter, videos.square(2)))
    assert len(clip.records) == 3 and len(files(clip)) == 9
    choose_frames(clip, 0, 3)
    assert files(clip) == [] and clip.records == clip.given == [] and clip.editing == 0


def test_only_segmented_frames_can_be_corrected(clip: Clip, segmenter: VideoSegmenter) -> None:
    with pytest.raises(ValueError, match="no frame is. Press Segment first"):
        correct_frame(clip, 0)
    run(clip, segmenter)
    with pytest.raises(ValueError, match="Frame 6 is not segmented yet: frames 0 to 5 are"):
        correct_frame(clip, 6)


def test_one_run_at_a_time(clip: Clip, segmenter: VideoSegmenter) -> None:
    going = segment(clip, segmenter, videos.square(0))
    next(going)
    for interfere in (lambda: run(clip, segmenter), lambda: choose_frames(clip, 0, 2), lambda: correct_frame(clip, 0)):
        with pytest.raises(ValueError, match="press Cancel first"):
            interfere()
    going.close()
    assert run(clip, segmenter) == list(range(6))


def test_an_empty_mask_changes_nothing(clip: Clip, segmenter: VideoSegmenter) -> None:
    run(clip, segmenter)
    with pytest.raises(ValueError, match="The mask is empty"):
        run(clip, segmenter, np.zeros(videos.SIZE, np.uint8))
    assert len(clip.records) == 6


def test_a_video_that_breaks_off_keeps_what_came_before(clip: Clip, segmenter: VideoSegmenter, tmp_path: Path) -> None:
    clip.numbers = range(9)  # as a header may promise
    assert run(clip, segmenter) == list(range(6))
    clip.editing = 7
    with pytest.raises(ValueError, match="ends before frame 7"):
        run(clip, segmenter)


def test_online_learning_makes_a_model_of_its_own(clip: Clip, segmenter: VideoSegmenter) -> None:
    before = {name: value.clone() for name, value in segmenter.model.state_dict().items()}
    run(clip, segmenter, learn_seconds=0.5)
    after = segmenter.model.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert clip.segmenter.model is not segmenter.model and clip.segmenter.canvas == segmenter.canvas


@pytest.mark.parametrize("end", [lambda clip: clip.stop.set(), lambda clip: shutil.rmtree(clip.folder)])
def test_learning_ends_when_it_is_cancelled_or_the_page_closed(
    clip: Clip, segmenter: VideoSegmenter, end: Callable[[Clip], None]
) -> None:
    timer = threading.Timer(0.5, end, [clip])
    timer.start()
    assert run(clip, segmenter, learn_seconds=3600) == []
    timer.join()


@pytest.mark.parametrize("when", ["between frames", "before a frame is written", "while a frame is written"])
def test_a_closed_clip_ends_its_run_and_leaves_nothing(
    clip: Clip, segmenter: VideoSegmenter, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    keep = Clip.keep

    def keep_late(*arguments: object) -> np.ndarray:
        clip.close()
        return keep(*arguments)

    def write_late(path: Path, labels: np.ndarray) -> None:
        clip.close()
        write_mask(path, labels)  # makes the folder again

    going = segment(clip, segmenter, videos.square(0))
    next(going)
    if when == "between frames":
        clip.close()
    elif when == "before a frame is written":
        monkeypatch.setattr(Clip, "keep", keep_late)
    else:
        monkeypatch.setattr(demo_session, "write_mask", write_late)
    assert len(list(going)) <= 1
    assert not clip.folder.exists()


def test_a_full_disk_ends_a_run_with_the_name_of_the_file(
    clip: Clip, segmenter: VideoSegmenter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo_session.cv2, "imwrite", lambda *_: False)
    with pytest.raises(OSError, match=r"00000\.jpg can't be written: is the disk full"):
        run(clip, segmenter)
    assert not clip.running and clip.records == []


def test_frames_in_use_are_not_dropped(clip: Clip, segmenter: VideoSegmenter) -> None:
    run(clip, segmenter)
    kept = files(clip)
    with clip.in_use(), clip.in_use():
        for drop in (lambda: run(clip, segmenter), lambda: choose_frames(clip, 0, 2), lambda: correct_frame(clip, 0)):
            with pytest.raises(ValueError, match="wait until they are there"):
                drop()
    assert files(clip) == kept and len(clip.records) == 6
    choose_frames(clip, 0, 2)
    assert files(clip) == []


def test_what_is_written_into_a_closed_clip_goes_too(clip: Clip) -> None:
    with clip.in_use():
        clip.close()
        write_mask(clip.folder / "view" / "late.png", videos.square(0))
    assert not clip.folder.exists()


# --- results


def test_masks_load_in_evaluate(example: Clip, tmp_path: Path) -> None:
    choose_frames(example, 0, 59)
    for index in range(60):  # segmenting them all would take long
        write_mask(example.folder / "masks" / f"{index:05d}.png", true_mask(example, index))
        example.records.append(demo_session.Record({}, {}, {}, {}))
    write_mask_zip(example, tmp_path / "masks.zip")
    with zipfile.ZipFile(tmp_path / "masks.zip") as archive:
        archive.extractall(tmp_path / "predictions")
    (tmp_path / "one.txt").write_text("cat-coffee\n")
    results = score_predictions(DavisDataset(SAMPLES, "2017", tmp_path / "one.txt"), tmp_path / "predictions")
    assert [float(result.region.mean()) for result in results.objects] == [1, 1]


def test_files_hold_every_frame(clip: Clip, segmenter: VideoSegmenter, tmp_path: Path) -> None:
    choose_frames(clip, 1, 5, 2)
    run(clip, segmenter)
    for write, name in ((write_overlay, "o.mp4"), (write_mask_zip, "m.zip"), (write_cut_outs, "c.zip")):
        write(clip, tmp_path / name)
    film = open_frames(tmp_path / "o.mp4")
    assert (len(list(film)), film.size, film.fps) == (3, videos.SIZE, 12.5)
    expected = [f"my_holiday_1/0000{number}.png" for number in (1, 3, 5)]
    assert names_in(tmp_path / "m.zip") == names_in(tmp_path / "c.zip") == expected
    with zipfile.ZipFile(tmp_path / "m.zip") as archive:
        archive.extractall(tmp_path)
    np.testing.assert_array_equal(read_mask(tmp_path / expected[0]), videos.square(0))


def test_cut_outs_are_transparent_but_for_the_object(clip: Clip, segmenter: VideoSegmenter, tmp_path: Path) -> None:
    run(clip, segmenter)
    write_cut_outs(clip, tmp_path / "c.zip")
    with zipfile.ZipFile(tmp_path / "c.zip") as archive:
        image = np.array(Image.open(io.BytesIO(archive.read("my_holiday_1/00000.png"))))
    np.testing.assert_array_equal(image[..., 3], videos.square(0) * 255)
    np.testing.assert_array_equal(image[..., :3], clip.frame(0))


def test_of_each_thing_shown_only_the_last_file_stays(clip: Clip) -> None:
    first, other = clip.new_file("curves.png"), clip.new_file("ranked.png")
    first.touch(), other.touch()
    second = clip.new_file("curves.png")
    assert second != first and second.parent == first.parent
    assert not first.exists() and other.exists()


class Watched(FrameSource):
    """Frames whose life can be watched."""

    path, size, fps, count, names = Path("watched"), videos.SIZE, 25, 20, None

    def __init__(self) -> None:
        self.given: list[weakref.ref] = []

    def __iter__(self) -> Iterator[np.ndarray]:
        for image in (videos.frames(1)[0].copy() for _ in range(20)):
            self.given.append(weakref.ref(image))
            yield image

    @property
    def alive(self) -> int:
        return sum(frame() is not None for frame in self.given)


def test_memory_does_not_grow_with_the_clip(clip: Clip, segmenter: VideoSegmenter) -> None:
    clip.source, clip.numbers = Watched(), range(20)
    alive = []
    for progress in segment(clip, segmenter, videos.square(0)):
        alive.append(clip.source.alive)
        del progress
    assert len(alive) == 20 and max(alive) <= 3
