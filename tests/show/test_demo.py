"""The demo as a program and as a person use it: every endpoint, every bad input, two visitors, and the page itself."""

from __future__ import annotations

import io
import os
import re
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, tzinfo
from pathlib import Path

import browser as support
import gradio as gr
import numpy as np
import pytest
import requests
import videos
from gradio import route_utils
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image
from selenium.common.exceptions import (
    ElementClickInterceptedException,
    ElementNotInteractableException,
    StaleElementReferenceException,
)
from selenium.webdriver import ActionChains, Chrome, Keys
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from ranet_edu import cli
from ranet_edu.model.ranet import RANet
from ranet_edu.show import demo, demo_session
from ranet_edu.video.frames import open_frames
from ranet_edu.video.masks import write_mask
from ranet_edu.weights import save_weights

PATIENCE = 300  # seconds; only where something is broken does a test wait for so long
FRAMES = 6


@pytest.fixture(scope="module")
def page() -> Iterator[gr.Blocks]:
    """The demo, served with a network that looks at small frames; clips have six frames at most."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo_session, "MAX_FRAMES", FRAMES)
        with demo.serving(RANet.lite(canvas=(64, 112))) as running:
            yield running


def visit(url: str) -> Client:
    return Client(url, verbose=False, httpx_kwargs={"timeout": PATIENCE})


@pytest.fixture
def client(page: gr.Blocks) -> Iterator[Client]:
    """A visitor."""
    visitor = visit(page.local_url)
    yield visitor
    visitor.close()


@pytest.fixture
def video(tmp_path: Path) -> Path:
    return videos.write_video(tmp_path / "holiday.mp4")


@pytest.fixture
def mask(tmp_path: Path) -> Path:
    write_mask(tmp_path / "first.png", videos.square(0))
    return tmp_path / "first.png"


def opened(client: Client, path: Path) -> str:
    """What the page says of a video that is uploaded."""
    return client.predict(handle_file(path), api_name="/open_video")[1]


def ready(client: Client, video: Path, mask: Path) -> None:
    opened(client, video)
    client.predict(handle_file(mask), api_name="/use_mask")


def run(client: Client, **options: object) -> list[str]:
    """The lines of progress of a run from the uploaded mask."""
    return [line for line, _ in client.submit(None, api_name="/segment", **options)]


def masks_in(path: str | io.BytesIO) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(path) as archive:
        return {name: np.array(Image.open(io.BytesIO(archive.read(name)))) for name in archive.namelist()}


def until(condition: Callable[[], object]) -> object:
    end = time.monotonic() + PATIENCE
    while not (result := condition()):
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.1)
    return result


# --- the right path


def test_every_step_is_an_endpoint(client: Client) -> None:
    names = set(client.view_api(return_format="dict", print_info=False)["named_endpoints"])
    steps = {"open_example", "open_video", "choose_frames", "use_mask", "use_true_mask", "clear_mask", "segment"}
    after = {"cancel", "results", "cut_outs", "correct_frame", "similarity", "look_inside"}
    assert names == {f"/{name}" for name in steps | after}


def test_a_video_from_upload_to_results(client: Client, video: Path, mask: Path) -> None:
    assert opened(client, video).startswith("**holiday**: 64 x 48, 6 frames, 25.0 a second.")
    client.predict(0, 4, 1, api_name="/choose_frames")
    editor, _ = client.predict(handle_file(mask), api_name="/use_mask")
    layer = np.array(Image.open(editor["layers"][0]))
    np.testing.assert_array_equal(demo_session.labels_of_layers([layer], videos.SIZE), videos.square(0))
    lines = run(client)
    assert lines[0] == "Beginning." and lines[-1].startswith("5 of 5 frames")
    summary, overlay, masks, cut_outs, curves, *_ = client.predict(api_name="/results")
    assert summary == "5 frames are segmented." and cut_outs is None
    assert len(list(open_frames(overlay["video"] if isinstance(overlay, dict) else overlay))) == 5
    labels = masks_in(masks)
    assert list(labels) == [f"holiday/{index:05d}.png" for index in range(5)]
    np.testing.assert_array_equal(labels["holiday/00000.png"], videos.square(0))
    assert Image.open(curves).width > 300
    assert list(masks_in(client.predict(api_name="/cut_outs"))) == list(labels)


def test_a_frame_is_corrected_and_segmentation_goes_on_from_there(client: Client, video: Path, mask: Path) -> None:
    ready(client, video, mask)
    run(client)
    before = masks_in(client.predict(api_name="/results")[2])
    _, info = client.predict(3, api_name="/correct_frame")
    assert "frame 3. **Segment** continues from it" in info
    corrected = np.zeros(videos.SIZE, np.uint8)
    corrected[5:20, 5:20] = 2
    write_mask(mask, corrected)
    client.predict(handle_file(mask), api_name="/use_mask")
    assert run(client)[1].startswith("4 of 6 frames")
    after = masks_in(client.predict(api_name="/results")[2])
    same = [np.array_equal(before[name], after[name]) for name in before]
    assert same[:3] == [True] * 3 and not same[3]
    np.testing.assert_array_equal(after["holiday/00003.png"], np.minimum(corrected, 1))  # counted from 1


def test_other_frames_bring_the_editor_back_to_the_first_of_them(client: Client, video: Path, mask: Path) -> None:
    def background(step: str, *arguments: int) -> str | None:
        editor = client.predict(*arguments, api_name=f"/{step}")[0]
        return Path(editor["background"]).name if editor.get("background") else None

    ready(client, video, mask)
    run(client)
    assert background("correct_frame", 3) == "frame-3.png"
    assert background("choose_frames", 0, 4, 1) == "frame-0.png"
    assert background("choose_frames", 0, 4, 2) is None, "what is painted on that frame stays"
    assert background("choose_frames", 2, 4, 1) == "frame-2.png"


def test_what_was_painted_is_what_is_segmented(client: Client, video: Path, tmp_path: Path) -> None:
    opened(client, video)
    painted = np.zeros(videos.SIZE, np.uint8)
    painted[12:32, 8:18], painted[12:32, 18:28] = 2, 4
    layer = tmp_path / "layer.png"
    Image.fromarray(demo_session.layer_of_labels(painted)).save(layer)
    list(client.submit([handle_file(layer)], api_name="/segment"))
    labels = masks_in(client.predict(api_name="/results")[2])
    np.testing.assert_array_equal(labels["holiday/00000.png"], painted)


def test_an_example_is_scored_and_looked_into(client: Client) -> None:
    client.predict("cat-coffee", api_name="/open_example")
    client.predict(0, 4, 2, api_name="/choose_frames")
    client.predict(api_name="/use_true_mask")
    run(client, size="small")
    summary = client.predict(api_name="/results")[0]
    assert "| object | J mean, % | F mean, % |" in summary and "\n| 2 sky blue | " in summary
    pictures = client.predict(1, 2, api_name="/look_inside")
    assert len(pictures) == 4 and all(Image.open(picture).width > 300 for picture in pictures)
    one, other = (client.predict(1, row, 20, api_name="/similarity") for row in (2, 12))
    assert Image.open(one).tobytes() != Image.open(other).tobytes()


def test_learning_first_is_announced_and_done(client: Client, video: Path, mask: Path) -> None:
    ready(client, video, mask)
    lines = run(client, learn=True, seconds=5)
    assert lines[0] == "Learning the painted frame for 5 s." and lines[-1].startswith("6 of 6 frames")


# --- bad input: words that help, and the page goes on


def no_video(path: Path) -> Path:
    return videos.write_text(path / "diary.mp4")


def only_sound(path: Path) -> Path:
    return videos.write_sound(path / "song.mp4")


def no_frame(path: Path) -> Path:
    return videos.write_empty(path / "nothing.avi")


def of_8k(path: Path) -> Path:
    return videos.write_video(path / "huge.avi", [np.zeros((4320, 7680, 3), np.uint8)], "mjpeg", "yuvj420p")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (no_video, r"diary\.mp4 is no video that can be read: give an MP4"),
        (only_sound, r"song\.mp4 has no picture .* give another file"),
        (no_frame, r"nothing\.avi .*"),
        (of_8k, r"huge\.avi is 7680 x 4320; at most 4096 pixels a side are taken: make it smaller"),
    ],
)
def test_videos_that_can_not_be_taken(
    client: Client, tmp_path: Path, make: Callable[[Path], Path], words: str, video: Path
) -> None:
    with pytest.raises(AppError, match=words) as error:
        opened(client, make(tmp_path))
    assert "/" not in str(error.value).replace("0/255", ""), "a server's folder is nobody's business"
    assert opened(client, video).startswith("**holiday**")


def variable_rate(path: Path) -> Path:
    return videos.write_video(path / "phone.mp4", times=[0, 1, 2, 9, 10, 20])


def held_upright(path: Path) -> Path:
    return videos.write_upright(path / "upright.mp4")


def odd_size(path: Path) -> Path:
    return videos.write_video(path / "odd.mp4", videos.frames(size=(47, 63)), pixels="yuv444p")


def with_alpha(path: Path) -> Path:
    images = [np.dstack([image, 255 * videos.square(0)]) for image in videos.frames()]
    return videos.write_video(path / "alpha.mov", images, "qtrle", "argb")


@pytest.mark.parametrize(
    ("make", "size"),
    [(variable_rate, (48, 64)), (held_upright, (64, 48)), (odd_size, (47, 63)), (with_alpha, (48, 64))],
)
def test_unusual_videos_are_segmented(
    client: Client, tmp_path: Path, make: Callable[[Path], Path], size: tuple[int, int]
) -> None:
    path = make(tmp_path)
    assert f": {size[1]} x {size[0]}, 6 frames" in opened(client, path)
    first = np.zeros(size, np.uint8)
    first[12:32, 8:28] = 1
    write_mask(tmp_path / "mask.png", first)
    client.predict(handle_file(tmp_path / "mask.png"), api_name="/use_mask")
    assert run(client)[-1].startswith("6 of 6 frames")
    labels = masks_in(client.predict(api_name="/results")[2])
    assert {plane.shape for plane in labels.values()} == {size}


def test_masks_that_can_not_be_used(client: Client, video: Path, tmp_path: Path) -> None:
    opened(client, video)
    with pytest.raises(AppError, match="The mask is empty. Paint over the object"):
        client.predict(None, api_name="/segment")
    with pytest.raises(AppError, match="The mask is empty"):
        client.predict([], api_name="/segment")
    (tmp_path / "layer.png").write_text("no picture")
    with pytest.raises(AppError, match=r"layer\.png is no painted layer"):
        client.predict([handle_file(tmp_path / "layer.png")], api_name="/segment")
    write_mask(tmp_path / "other.png", np.ones((10, 10), np.uint8))
    with pytest.raises(AppError, match=r"other\.png is 10 x 10, but the video is 64 x 48"):
        client.predict(handle_file(tmp_path / "other.png"), api_name="/use_mask")
    with pytest.raises(AppError, match="Only the examples have true masks"):
        client.predict(api_name="/use_true_mask")
    write_mask(tmp_path / "right.png", videos.square(0))
    client.predict(handle_file(tmp_path / "right.png"), api_name="/use_mask")
    assert run(client)[-1].startswith("6 of 6 frames")


def test_steps_out_of_order_say_what_comes_first(client: Client, video: Path) -> None:
    for step, arguments in (("segment", [None]), ("use_true_mask", []), ("look_inside", [1, 1]), ("cut_outs", [])):
        with pytest.raises(AppError, match="choose an example or upload a video first"):
            client.predict(*arguments, api_name=f"/{step}")
    assert client.predict(api_name="/results")[0].startswith("Nothing is segmented yet")
    opened(client, video)
    with pytest.raises(AppError, match="Press Segment first"):
        client.predict(1, 1, api_name="/look_inside")
    with pytest.raises(AppError, match="frames 0 to 5"):
        client.predict(5, 2, 1, api_name="/choose_frames")


def test_a_fault_of_ours_shows_nothing_of_the_inside(
    client: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr(demo_session, "open_example", fail)
    with pytest.raises(AppError, match="Choose the video anew") as error:
        client.predict("cat", api_name="/open_example")
    assert "secret" not in str(error.value) and "secret" in caplog.text
    monkeypatch.undo()
    client.predict("cat", api_name="/open_example")


def test_a_missing_file_is_the_visitor_s_doing_only_where_the_clip_was_closed(
    client: Client, video: Path, mask: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise FileNotFoundError("no image file")

    def close_and_fail(clip: demo_session.Clip, *_: object) -> None:
        clip.close()
        fail()

    ready(client, video, mask)
    run(client)
    for write, words in ((fail, "This should not have happened"), (close_and_fail, "The video is gone")):
        monkeypatch.setattr(demo_session, "write_mask_zip", write)
        with pytest.raises(AppError, match=words):
            client.predict(api_name="/results")


@pytest.mark.parametrize(("step", "write"), [("results", "write_mask_zip"), ("cut_outs", "write_cut_outs")])
def test_frames_stay_until_results_are_made_of_them(
    client: Client, video: Path, mask: Path, monkeypatch: pytest.MonkeyPatch, step: str, write: str
) -> None:
    begun, go_on = threading.Event(), threading.Event()
    original = getattr(demo_session, write)

    def write_slowly(*arguments: object) -> None:
        begun.set()
        assert go_on.wait(PATIENCE)
        original(*arguments)

    ready(client, video, mask)
    run(client)
    monkeypatch.setattr(demo_session, write, write_slowly)
    job = client.submit(api_name=f"/{step}")
    assert begun.wait(PATIENCE)
    for again, arguments in (("choose_frames", (0, 4, 1)), ("segment", (None,))):
        with pytest.raises(AppError, match="wait until they are there"):
            client.predict(*arguments, api_name=f"/{again}")
    go_on.set()
    made = job.result(timeout=PATIENCE)
    assert len(masks_in(made if step == "cut_outs" else made[2])) == 6


@pytest.mark.parametrize(("step", "arguments"), [("look_inside", (2, 1)), ("similarity", (2, 0, 0))])
def test_frames_stay_while_they_are_looked_into(
    client: Client, video: Path, mask: Path, monkeypatch: pytest.MonkeyPatch, step: str, arguments: tuple[int, ...]
) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def read_slowly(clip: demo_session.Clip, index: int, read: Callable = demo_session.Clip.frame) -> np.ndarray:
        begun.set()
        assert go_on.wait(PATIENCE)
        return read(clip, index)

    ready(client, video, mask)
    run(client)
    monkeypatch.setattr(demo_session.Clip, "frame", read_slowly)
    job = client.submit(*arguments, api_name=f"/{step}")
    assert begun.wait(PATIENCE)
    try:
        with pytest.raises(AppError, match="wait until they are there"):
            client.predict(0, 4, 1, api_name="/choose_frames")
    finally:
        go_on.set()
    assert job.result(timeout=PATIENCE)


# --- one machine, several visitors


def test_cancel_ends_a_run_after_the_frame_at_hand(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo_session, "MAX_FRAMES", 60)
    client.predict("cat", api_name="/open_example")
    client.predict(api_name="/use_true_mask")
    job = client.submit(None, api_name="/segment")
    until(lambda: len(job.outputs()) >= 2)
    assert client.predict(api_name="/cancel").startswith("Cancelled")
    last = job.result(timeout=PATIENCE)[0]
    assert not last.startswith("60 of")
    done = int(client.predict(api_name="/results")[0].split()[0])
    assert 1 <= done < 60
    assert client.predict(done - 1, api_name="/correct_frame")[1].startswith("**cat**"), "and the page goes on"


def test_cancel_ends_learning_too(client: Client, video: Path, mask: Path) -> None:
    ready(client, video, mask)
    job = client.submit(None, learn=True, seconds=120, api_name="/segment")
    until(job.outputs)
    client.predict(api_name="/cancel")
    job.result(timeout=60)
    assert client.predict(api_name="/results")[0].startswith("Nothing is segmented yet")


def test_one_thread_computes_all(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    threads = set()
    compute = RANet.trace

    def watched(*inputs: object) -> object:
        threads.add(threading.current_thread().name)
        return compute(*inputs)

    monkeypatch.setattr(RANet, "trace", watched)
    client.predict("cat", api_name="/open_example")
    client.predict(api_name="/use_true_mask")
    run(client)
    assert len(threads) == 1
    client.predict(1, 1, api_name="/look_inside")
    assert len(threads) == 1


def test_steps_of_a_handler_are_run_one_by_one_and_ended_where_they_are_computed() -> None:
    told = []

    @demo.in_network_thread
    def handler(count: int) -> Iterator[str]:
        try:
            for step in range(count):
                told.append(step)
                yield threading.current_thread().name
            raise ValueError("no more")
        finally:
            told.append(threading.current_thread().name)

    steps = handler(3)
    name = next(steps)
    assert name != threading.current_thread().name and told == [0]
    steps.close()
    assert told == [0, name]
    with pytest.raises(ValueError, match="no more"):
        list(handler(1))
    assert told == [0, name, 0, name]


def test_two_visitors_at_once_each_get_their_own(
    page: gr.Blocks, client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looking, most = threading.Semaphore(0), []
    forward = RANet.forward

    def watched(*arguments: object) -> object:
        looking.release()
        most.append(looking._value)
        try:
            return forward(*arguments)
        finally:
            looking.acquire()

    monkeypatch.setattr(RANet, "forward", watched)
    second = visit(page.local_url)
    visitors = {"one": client, "two": second}
    for number, (name, visitor) in enumerate(visitors.items(), start=1):
        write_mask(tmp_path / f"{name}.png", videos.square(4 * number))
        ready(visitor, videos.write_video(tmp_path / f"film-{name}.mp4"), tmp_path / f"{name}.png")
    jobs = [visitor.submit(None, api_name="/segment") for visitor in visitors.values()]
    assert [job.result(timeout=PATIENCE)[0][:11] for job in jobs] == ["6 of 6 fram"] * 2
    assert set(most) == {1}, "the network looks at one frame at a time"
    for number, (name, visitor) in enumerate(visitors.items(), start=1):
        labels = masks_in(visitor.predict(api_name="/results")[2])
        assert all(path.startswith(f"film-{name}/") for path in labels)
        np.testing.assert_array_equal(labels[f"film-{name}/00000.png"], videos.square(4 * number))
    second.close()


def uploaded(page: gr.Blocks, path: Path) -> str:
    """Where the server keeps the file, which nothing has been done with yet."""
    with open(path, "rb") as file:
        answer = requests.post(f"{page.local_url}gradio_api/upload", files={"files": file}, timeout=PATIENCE)
    return answer.json()[0]


def answer_to(page: gr.Blocks, path: str, session: str) -> str:
    """What the server says where a session asks for a file of its own to be opened: its events, as they come."""
    call = f"{page.local_url}gradio_api/call/open_video"
    data = {"data": [{"path": path, "meta": {"_type": "gradio.FileData"}}], "session_hash": session}
    event = requests.post(call, json=data, timeout=PATIENCE).json()["event_id"]
    return requests.get(f"{call}/{event}", timeout=PATIENCE).text


def test_two_visitors_may_upload_the_same_file(page: gr.Blocks, video: Path) -> None:
    paths = [uploaded(page, video) for _ in range(2)]
    assert paths[0] == paths[1], "Gradio has one file for both"
    for session in ("one", "two"):
        assert "event: complete" in answer_to(page, paths[0], session)


def test_an_upload_that_is_gone_is_asked_for_again(page: gr.Blocks, video: Path, client: Client) -> None:
    def vanish(upload: str, kept: Path) -> None:
        Path(upload).unlink()
        keep(upload, kept)

    keep = demo._keep
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo, "_keep", vanish)
        with pytest.raises(AppError, match=r"holiday\.mp4 is no longer there: upload it again"):
            opened(client, video)
    assert opened(client, video).startswith("**holiday**")


def test_where_files_can_t_be_linked_they_are_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError("no links here")

    (tmp_path / "film.mp4").write_text("film")
    monkeypatch.setattr(os, "link", refuse)
    demo._keep(tmp_path / "film.mp4", tmp_path / "kept.mp4")
    assert (tmp_path / "film.mp4").read_text() == (tmp_path / "kept.mp4").read_text() == "film"


def folders(page: gr.Blocks) -> list[Path]:
    """The visitors' folders."""
    return [path for path in Path(page.GRADIO_CACHE).glob("visitors-*/*") if path.is_dir()]


def kept(page: gr.Blocks) -> set[Path]:
    """The server's files, but for Gradio's empty ones."""
    files = {Path(folder, name) for folder, _, names in os.walk(page.GRADIO_CACHE) for name in names}
    return {path for path in files if not path.name.startswith("tmp")}


def let_an_hour_pass(page: gr.Blocks, patch: pytest.MonkeyPatch) -> None:
    """Remove what Gradio's ten-minutely round removes then."""

    class Later(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:
            return datetime.now(tz) + timedelta(hours=1)

    patch.setattr(route_utils, "datetime", Later)
    route_utils.delete_files_created_by_app(page, page.delete_cache[1])


def test_a_visitor_s_files_go_when_the_page_is_closed_and_what_was_painted_an_hour_later(
    page: gr.Blocks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    video, mask, layer = (tmp_path / f"private.{kind}" for kind in ("mp4", "mask.png", "layer.png"))
    videos.write_video(video)
    write_mask(mask, videos.square(0))
    Image.fromarray(demo_session.layer_of_labels(videos.square(0))).save(layer)
    before = kept(page)
    visitor = visit(page.local_url)
    ready(visitor, video, mask)
    list(visitor.submit([handle_file(layer)], api_name="/segment"))
    visitor.predict(api_name="/results")
    endings = {path.suffix for path in kept(page) - before}
    assert {".mp4", ".jpg", ".png", ".zip"} <= endings
    visitor.close()
    until(lambda: {path.name for path in kept(page) - before} == {"private.mask.png", "private.layer.png"})
    assert page.delete_cache == (600, 3600)
    let_an_hour_pass(page, monkeypatch)
    assert kept(page) - before == set()


def test_what_an_open_page_shows_stays_longer(
    page: gr.Blocks, client: Client, video: Path, mask: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = set(folders(page))
    ready(client, video, mask)
    run(client)
    client.predict(api_name="/results")
    (own,) = set(folders(page)) - before
    shown = [path for path in own.rglob("*") if path.is_file()]
    let_an_hour_pass(page, monkeypatch)
    assert {"overlay", "masks", "curves", "frame"} <= {path.name.split("-")[0] for path in shown}
    assert all(path.exists() for path in shown)
    for path in own.rglob("view/*"):
        assert requests.get(f"{page.local_url}gradio_api/file={path}", timeout=PATIENCE).ok


def test_the_video_goes_with_the_page_unless_another_visitor_has_uploaded_it_since(
    page: gr.Blocks, tmp_path: Path
) -> None:
    alone, shared = (videos.write_video(tmp_path / f"{name}.mp4") for name in ("alone", "shared"))
    before = set(folders(page))
    visitors = [visit(page.local_url) for _ in range(2)]
    for visitor, path in zip(visitors, (alone, shared), strict=True):
        opened(visitor, path)
    again = uploaded(page, shared)
    own = set(folders(page)) - before
    for visitor in visitors:
        visitor.close()
    until(lambda: not any(folder.exists() for folder in own))
    assert "alone.mp4" not in {path.name for path in kept(page)}
    assert "event: complete" in answer_to(page, again, "another")


def test_another_video_takes_the_place_of_the_first(
    page: gr.Blocks, client: Client, video: Path, tmp_path: Path
) -> None:
    before = set(folders(page))
    with pytest.raises(AppError):
        opened(client, no_video(tmp_path))
    opened(client, video)
    (own,) = set(folders(page)) - before
    assert [path.name for path in own.rglob("*.mp4")] == ["holiday.mp4"], "what was refused is gone"
    client.predict("cat", api_name="/open_example")
    assert len(list(own.glob("clip-*"))) == 1 and not any(own.rglob("*.mp4"))


# --- closed to everything else


def test_the_page_is_this_machine_s_own(page: gr.Blocks) -> None:
    assert page.local_url.startswith("http://127.0.0.1:")
    assert page.share_url is None and not page.analytics_enabled and not page.show_error and not page.run_history
    assert page.max_file_size == 200 * 1024**2


@pytest.mark.parametrize("file", ["/etc/hostname", __file__])
def test_no_path_outside_of_the_uploads_is_served(page: gr.Blocks, file: str) -> None:
    assert requests.get(f"{page.local_url}gradio_api/file={file}", timeout=PATIENCE).status_code == 403


def test_no_video_outside_of_the_uploads_is_opened(page: gr.Blocks, video: Path) -> None:
    answer = answer_to(page, str(video), "stranger")
    assert "event: error" in answer and "event: complete" not in answer
    assert video.exists()
    assert "event: complete" in answer_to(page, uploaded(page, video), "stranger"), "a video that can be opened"


def test_an_upload_above_the_cap_is_refused(page: gr.Blocks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "max_file_size", 1000)
    files = {"files": ("large.mp4", bytes(2000))}
    answer = requests.post(f"{page.local_url}gradio_api/upload", files=files, timeout=PATIENCE)
    assert answer.status_code == 413


def test_nothing_stays_when_the_server_ends(video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", "/nowhere")
    with demo.serving(RANet.lite(canvas=(64, 112))) as running:
        cache, url = Path(running.GRADIO_CACHE), running.local_url
        visitor = visit(url)
        opened(visitor, video)
        assert any(cache.rglob("*.mp4"))
        visitor.close()
    assert not cache.exists()
    with pytest.raises(requests.ConnectionError):
        requests.get(url, timeout=5)


def test_the_command_serves_until_it_is_told_to_end_and_leaves_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-u", "-m", "ranet_edu.cli", "demo", "--no-browser"]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as server:
        url = re.search(r"http://127\.0\.0\.1:\d+/", server.stdout.readline())[0]
        assert "Segment your own video" in requests.get(url, timeout=PATIENCE).text
        assert any(tmp_path.glob("ranet_edu-demo-*"))
        server.send_signal(signal.SIGTERM)
        assert server.wait(PATIENCE) == 143
    assert not any(tmp_path.glob("ranet_edu-demo-*"))


def test_a_model_without_an_inside_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["demo", "--weights", "matching", "--no-browser"]) == 1
    assert "a RANet, and matching is a MatchingBaseline" in capsys.readouterr().err


def test_a_network_without_maps_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_weights(RANet.lite(None, correlation=False), tmp_path / "no-maps.safetensors")
    assert cli.main(["demo", "--weights", str(tmp_path / "no-maps.safetensors"), "--no-browser"]) == 1
    assert "no-maps.safetensors has none" in capsys.readouterr().err


# --- the page, as a person uses it


NOT_YET = (StaleElementReferenceException, ElementClickInterceptedException, ElementNotInteractableException)


def patiently(chrome: Chrome) -> WebDriverWait:
    """Waits, and tries again where an element was drawn anew or covered while it was used."""
    return WebDriverWait(chrome, PATIENCE, ignored_exceptions=NOT_YET)


def see(chrome: Chrome, selector: str) -> WebElement:
    """The element, as soon as it is there."""
    return patiently(chrome).until(lambda _: chrome.find_elements(By.CSS_SELECTOR, selector))[0]


def read(chrome: Chrome, selector: str, text: str) -> str:
    """The element's text, as soon as it holds `text`."""
    return patiently(chrome).until(lambda _: (shown := see(chrome, selector).text) and text in shown and shown)


def press(chrome: Chrome, selector: str) -> None:
    places = []

    def pressed(_: Chrome) -> bool:
        button = see(chrome, selector)
        chrome.execute_script("arguments[0].scrollIntoView({block: 'center'})", button)
        places.append(button.rect)
        if places[-2:] != [button.rect] * 2:  # the page is still moving, and a click would go past it
            return False
        button.click()
        return True

    patiently(chrome).until(pressed)


def open_cat(chrome: Chrome, page: gr.Blocks) -> WebElement:
    """Open the page and choose an example; the canvas to paint on."""
    chrome.get(page.local_url)
    press(chrome, "input[type=radio][value=cat]")
    read(chrome, "#info", "854 x 480")
    return canvas_of(chrome, (854, 480))


STATE_OF_EDITOR = """
return [window.editor && editor.width, window.editor && editor.height,
    document.querySelector('#editor .zoom-number')?.innerText,
    [...document.querySelectorAll('#editor [data-testid=status-tracker]')].some(e => !e.classList.contains('hide'))]
"""


def canvas_of(chrome: Chrome, size: tuple[int, int]) -> WebElement:
    """The canvas, once the editor holds a frame of that size (width, height) and no longer zooms to it."""
    states = []

    def at_rest(_: Chrome) -> bool:
        states.append(chrome.execute_script(STATE_OF_EDITOR))
        return len(states) > 2 and states[-3] == states[-2] == states[-1] and states[-1][:2] == [*size]

    patiently(chrome).until(at_rest)
    canvas = see(chrome, "#editor canvas")
    chrome.execute_script("document.getElementById('editor').scrollIntoView()")
    return canvas


def paint(chrome: Chrome, canvas: WebElement, x: int = 0, y: int = 0, reach: int = 40) -> None:
    """A zigzag with the mouse around a point, seen from the middle of the frame; again where the page was not ready."""

    def painted(_: Chrome) -> bool:
        stroke = ActionChains(chrome).move_to_element_with_offset(canvas, x - reach, y - reach // 2).click_and_hold()
        for _ in range(2):
            stroke = stroke.move_by_offset(2 * reach, reach // 4).move_by_offset(-2 * reach, reach // 4)
        stroke.release().perform()
        return bool(chrome.find_elements(By.CSS_SELECTOR, "#editor button[title=Undo]:not([disabled])"))

    patiently(chrome).until(painted)


def segmented(chrome: Chrome, *, after: str = "") -> tuple[str, dict[str, np.ndarray]]:
    """Press Segment; where the masks are then, which is not where they were `after` the last run, and the masks. The
    frame at hand is on the page while the run goes on, which may be too short to be seen."""
    press(chrome, "#segment")
    links = "return [...document.querySelectorAll('#masks a')].map(link => link.href)"

    def found(_: Chrome) -> str | None:
        return next((link for link in chrome.execute_script(links) if link != after), None)

    link = patiently(chrome).until(found)
    return link, masks_in(io.BytesIO(requests.get(link, timeout=PATIENCE).content))


def uploads(chrome: Chrome) -> int:
    """How many files the page has uploaded since it was opened."""
    names = "return performance.getEntriesByType('resource').map(entry => entry.name)"
    return sum("/upload?" in name for name in chrome.execute_script(names))


def middle(mask: np.ndarray) -> list[int]:
    return [round(float(places.mean())) for places in np.nonzero(mask)]


@pytest.mark.browser
def test_a_person_paints_segments_corrects_and_looks_inside(page: gr.Blocks, browser: Chrome) -> None:
    paint(browser, open_cat(browser, page))
    link, labels = segmented(browser)
    summary = read(browser, "#summary", "frames are segmented")
    assert summary.startswith(f"{FRAMES} frames are segmented") and "J mean" in summary
    assert see(browser, "#video video").get_attribute("src").endswith(".mp4")
    first = labels["cat/00000.png"]
    assert set(np.unique(first)) == {0, 1} and 2000 < (first > 0).sum() < first.size / 4
    np.testing.assert_allclose(middle(first), [240, 427], atol=60)  # painted in the middle, found there

    assert uploads(browser) <= 3, "the editor's background, layer and whole, once a run"

    press(browser, "#correct")
    read(browser, "#info", "In the editor: frame 1.")
    paint(browser, canvas_of(browser, (854, 480)), x=-150, y=-80, reach=20)
    _, corrected = segmented(browser, after=link)
    np.testing.assert_array_equal(corrected["cat/00000.png"], first)
    added = (corrected["cat/00001.png"] > 0) & (labels["cat/00001.png"] == 0)
    np.testing.assert_allclose(middle(added), [107, 177], atol=60)
    assert ((corrected["cat/00001.png"] == 0) & (labels["cat/00001.png"] > 0)).mean() < 0.002, "what was found stays"

    press(browser, "#look")
    similar = see(browser, "#similar img").get_attribute("src")
    template = see(browser, "#template img")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", template)
    ActionChains(browser).move_to_element_with_offset(template, 80, 40).click().perform()  # not the middle: it is shown
    patiently(browser).until(lambda _: see(browser, "#similar img").get_attribute("src") != similar)
    assert see(browser, "#ranked img").get_attribute("alt")
    assert support.console_errors(browser) == []


@pytest.mark.browser
def test_a_phone_in_the_dark_shows_all_of_it(page: gr.Blocks, browser: Chrome) -> None:
    support.show_as(browser, support.PHONE, dark=True)
    canvas = open_cat(browser, page)
    assert 200 < canvas.size["width"] <= support.PHONE[0]
    paint(browser, canvas, reach=20)
    segmented(browser)
    read(browser, "#summary", f"{FRAMES} frames are segmented")
    width, inner = browser.execute_script("return [document.documentElement.scrollWidth, innerWidth]")
    assert width <= inner, "no scrolling to the side"
    background = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert max(map(int, background[4:-1].split(","))) < 60, background


CONTROLS = "button, input:not([type=hidden]), select, textarea, [role=button], [role=slider]"
NAMELESS = f"""
return [...document.querySelectorAll("{CONTROLS}")].filter(e => e.checkVisibility()).filter(e =>
    !(e.innerText || '').trim() && !e.ariaLabel && !e.title && !(e.labels && e.labels.length)
    && !e.getAttribute('aria-labelledby')).map(e => e.outerHTML.slice(0, 200))
"""


@pytest.mark.browser
def test_every_control_has_a_name_and_the_keyboard_reaches_it(page: gr.Blocks, browser: Chrome) -> None:
    open_cat(browser, page)
    assert browser.execute_script(NAMELESS) == []
    see(browser, "input[type=radio][value=cat-coffee]").send_keys(Keys.SPACE)
    read(browser, "#info", "cat-coffee")
    reached = set()
    for _ in range(60):
        ActionChains(browser).send_keys(Keys.TAB).perform()
        reached.add(browser.switch_to.active_element.get_attribute("id"))
    assert {"segment", "cancel", "clear", "truth"} <= reached
    canvas_of(browser, (854, 480))
    see(browser, "#truth").send_keys(Keys.ENTER)
    canvas_of(browser, (854, 480))
    see(browser, "#segment").send_keys(Keys.ENTER)
    read(browser, "#summary", "frames are segmented")


@pytest.mark.browser
def test_a_message_is_seen_and_the_page_goes_on(page: gr.Blocks, browser: Chrome, tmp_path: Path) -> None:
    browser.get(page.local_url)
    see(browser, "#upload input[type=file]").send_keys(str(videos.write_text(tmp_path / "diary.mp4")))
    assert "diary.mp4 is no video that can be read" in read(browser, "[data-testid=toast-body]", "diary.mp4")
    # What was refused makes room by itself, so that there is something to upload with again.
    see(browser, "#upload input[type=file]").send_keys(str(videos.write_video(tmp_path / "film.mp4")))
    read(browser, "#info", "film: 64 x 48, 6 frames")
