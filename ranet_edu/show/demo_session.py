"""The demo without its page: from a video and a painted mask to masks, overlay and scores. Built in notebook 14.

    clip = open_clip("holiday.mp4", folder)                         # or open_example("cat", folder)
    for progress in segment(clip, VideoSegmenter(open_model()), read_first_mask("first.png", clip)):
        print(progress.text)
    write_overlay(clip, "overlay.mp4")
    write_mask_zip(clip, "masks.zip")

Frames, masks and probabilities lie on disk, in the clip's folder; in memory there is one frame, and a few numbers for
each of the others. `show/demo.py` puts a page in front of these functions.
"""

from __future__ import annotations

import itertools
import math
import re
import secrets
import shutil
import threading
import time
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from ranet_edu.datasets.davis import SAMPLES, DavisDataset, DavisSequence
from ranet_edu.evaluation.metrics import boundary_accuracy, region_similarity
from ranet_edu.video.frames import FrameSource, VideoWriter, count_frames, open_frames, read_image
from ranet_edu.video.masks import OBJECT_COLOURS, atomic_path, overlay, read_mask, write_mask
from ranet_edu.video.segmenter import VOID, VideoSegmenter, VideoState

MAX_OBJECTS = 4
MAX_FRAMES = 600
MAX_SIDE = 4096
"""Pixels; a larger video is refused before any of it is decoded."""
WORKING_SIDE = 1280
"""Pixels; larger frames are shrunk to it, and so are the results."""
BRUSH_ALPHA = 0.6
"""How opaque the editor paints: the frame stays visible under the mask."""
PAINTED = round(255 * BRUSH_ALPHA / 2)
"""A layer's alpha from which a pixel is part of the mask: half way up the brush's soft edge."""


class Record(NamedTuple):
    """What is known of one segmented frame, each value under the object's label.

    area: share of the frame, in [0, 1]. confidence: mean probability of the object's pixels, NaN where it has none.
    region, boundary: J and F, where the true mask is known.
    """

    area: dict[int, float]
    confidence: dict[int, float]
    region: dict[int, float]
    boundary: dict[int, float]


@dataclass(eq=False)
class Clip:
    """A video on its way through the demo.

    folder: holds all that is kept of it. source: where the frames come from. name: of the video. length: its frames.
    size: (height, width) that frames are worked on in. numbers: of the chosen frames in the source; frame i of the clip
    is frame numbers[i] of the source. truth: the true masks, of the examples. records: one for each frame that is done.
    given: frames whose mask came from a person. editing: the frame whose mask is being painted, where `segment` begins.
    mask: what is painted or uploaded for it, where that is known. segmenter: of the last run; its model may have learnt
    the clip. running: a run is going on. readers: how many results are being made of the frames that are done. stop:
    set it, and a run ends after the frame at hand. lock: held while frames are dropped, and while `readers` changes.
    """

    folder: Path
    source: FrameSource
    name: str
    length: int
    size: tuple[int, int]
    numbers: range
    truth: DavisSequence | None = None
    records: list[Record] = field(default_factory=list)
    given: list[int] = field(default_factory=list)
    editing: int = 0
    mask: np.ndarray | None = None
    segmenter: VideoSegmenter | None = None
    running: bool = False
    readers: int = 0
    stop: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def is_open(self) -> bool:
        """False from the moment its folder is removed."""
        return (self.folder / "open").exists()

    @property
    def ended(self) -> bool:
        """Whether a run has to end: it was cancelled, or the page was closed."""
        return self.stop.is_set() or not self.is_open

    @property
    def fps(self) -> float:
        """Frames per second of what is made of the chosen frames."""
        return self.source.fps / self.numbers.step

    def frames(self, begin: int = 0) -> Iterator[np.ndarray]:
        """The chosen frames from `begin` on, (*size, 3), read from the source one by one."""
        numbers = self.numbers[begin:]
        with named(self.source.path):
            for frame in itertools.islice(self.source, numbers.start, numbers.stop, numbers.step):
                yield _fit(frame, self.size)

    def frame(self, index: int) -> np.ndarray:
        """A frame that is done, as it was kept: (*size, 3), JPEG of high quality."""
        return read_image(self._path("frames", index, ".jpg"))

    def labels(self, index: int) -> np.ndarray:
        """The label map of a frame that is done, uint8 size."""
        return read_mask(self._path("masks", index, ".png"))

    def probabilities(self, index: int) -> np.ndarray:
        """Each object's probability in a frame that is done, float32 (N, *size), in steps of 1/255."""
        planes = sorted((self.folder / "soft").glob(f"{index:05d}-*.png"))
        return np.stack([cv2.imread(str(plane), cv2.IMREAD_GRAYSCALE) for plane in planes]) / np.float32(255)

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """While the block runs, no frame that is done is dropped: something is made of them."""
        with self.lock:
            self.readers += 1
        try:
            yield
        finally:
            with self.lock:
                self.readers -= 1
            if not self.is_open:
                self.close()  # removed while a file was being written

    def check_idle(self) -> None:
        """Raise ValueError while a run is going on, or something is made of its frames."""
        if self.running:
            raise ValueError("The clip is being segmented: wait until it is done, or press Cancel first.")
        if self.readers:
            raise ValueError("Results are being made of these frames: wait until they are there, then do this again.")

    def check_done(self, index: int) -> None:
        """Raise ValueError unless frame `index` is segmented."""
        if not 0 <= index < len(self.records):
            done = f"frames 0 to {len(self.records) - 1} are" if self.records else "no frame is"
            raise ValueError(f"Frame {index} is not segmented yet: {done}. Press Segment first.")

    def keep(self, index: int, frame: np.ndarray, state: VideoState) -> np.ndarray:
        """Store a frame with its result; returns its label map. Raises OSError where that can't be written."""
        labels = state.label_map.cpu().numpy()
        soft = np.rint(state.probabilities.cpu().numpy() * 255).astype(np.uint8)
        _write(self._path("frames", index, ".jpg"), frame[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])
        for label, plane in zip(state.labels.tolist(), soft, strict=True):
            _write(self._path("soft", index, f"-{label:03d}.png"), plane, [cv2.IMWRITE_PNG_COMPRESSION, 1])
        write_mask(self._path("masks", index, ".png"), labels)
        return labels

    def forget(self, begin: int) -> None:
        """Drop the results from frame `begin` on. Raises ValueError as `check_idle` does."""
        with self.lock:
            self.check_idle()
            for index in range(begin, len(self.records)):
                for path in self.folder.glob(f"[fms]*/{index:05d}[.-]*"):
                    path.unlink(missing_ok=True)
            del self.records[begin:]
            self.given = [index for index in self.given if index < begin]

    def new_file(self, name: str) -> Path:
        """A path for something to show, in the clip's folder; the one of the same name before it is removed."""
        stem, suffix = Path(name).stem, Path(name).suffix
        for old in (self.folder / "view").glob(f"{stem}-*{suffix}"):
            old.unlink(missing_ok=True)
        return self.folder / "view" / f"{stem}-{secrets.token_hex(4)}{suffix}"

    def close(self) -> None:
        """End a run and remove the folder."""
        self.stop.set()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _path(self, kind: str, index: int, ending: str) -> Path:
        return self.folder / kind / f"{index:05d}{ending}"


# --- opening


def open_clip(path: str | Path, folder: str | Path, truth: DavisSequence | None = None) -> Clip:
    """Open a video file or a folder of images; what becomes of it goes to a new folder inside of `folder`.

    Chosen are all frames, or the first MAX_FRAMES. Raises ValueError or FileNotFoundError where it can't be read, and
    for a video of more than MAX_SIDE pixels a side.
    """
    with named(path):
        source = open_frames(path, largest=MAX_SIDE)
        length = count_frames(source)
    name = truth.name if truth else re.sub(r"[^\w-]+", "_", Path(path).stem).strip("_") or "video"
    clip_folder = Path(folder) / f"clip-{secrets.token_hex(8)}"
    for kind in ("frames", "masks", "soft", "view"):
        (clip_folder / kind).mkdir(parents=True)
    (clip_folder / "open").touch()
    return Clip(clip_folder, source, name, length, working_size(source.size), range(min(length, MAX_FRAMES)), truth)


def examples() -> DavisDataset:
    """The committed sample clips, with true masks."""
    return DavisDataset(SAMPLES, year="2017", split="all")


def open_example(name: str, folder: str | Path) -> Clip:
    """Open a sample clip by its name. Raises ValueError for another name."""
    clips = examples()
    names = [sequence.name for sequence in clips]
    if name not in names:
        raise ValueError(f"There is no example {name!r}; choose one of {', '.join(names)}.")
    return open_clip(clips[name].frame_paths[0].parent, folder, clips[name])


def choose_frames(clip: Clip, first: int, last: int, every: int = 1) -> None:
    """Work on frames `first` to `last` of the video, each `every`-th one, at most MAX_FRAMES; forgets all results.

    Raises ValueError for numbers outside of the video.
    """
    if not 0 <= first <= last < clip.length:
        raise ValueError(
            f"Frames {first} to {last} can't be chosen: the video has frames 0 to {clip.length - 1}, and the last one "
            "must not lie before the first."
        )
    if every < 1:
        raise ValueError(f"Every {every}-th frame makes no sense; choose 1 for all frames, 2 for half of them.")
    clip.forget(0)
    clip.numbers, clip.editing, clip.mask = range(first, last + 1, every)[:MAX_FRAMES], 0, None


def correct_frame(clip: Clip, index: int) -> None:
    """Make frame `index` the one whose mask is corrected, from what was predicted; `segment` goes on from there."""
    clip.check_idle()
    clip.check_done(index)
    clip.editing, clip.mask = index, clip.labels(index)


def working_size(size: tuple[int, int]) -> tuple[int, int]:
    """(height, width) at most WORKING_SIDE, in the same proportions."""
    scale = min(1, WORKING_SIDE / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


@contextmanager
def named(path: str | Path) -> Iterator[None]:
    """Errors speak of the file's name; the folder that a server keeps it in concerns nobody."""
    try:
        yield
    except (ValueError, OSError) as error:
        kind = ValueError if isinstance(error, ValueError) else FileNotFoundError
        raise kind(str(error).replace(str(path), Path(path).name)) from error


def _write(path: Path, picture: np.ndarray, parameters: list[int]) -> None:
    """OpenCV's imwrite, which only returns False where it fails: raises OSError that names the file."""
    if not cv2.imwrite(str(path), picture, parameters):
        raise OSError(f"{path} can't be written: is the disk full, or the folder not writable?")


def _fit(frame: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return frame if frame.shape[:2] == size else cv2.resize(frame, size[::-1], interpolation=cv2.INTER_AREA)


# --- masks


def labels_of_layers(layers: Iterable[np.ndarray], size: tuple[int, int]) -> np.ndarray:
    """What a person painted, as a label map: uint8 `size`, 1 to 4 by the brush's colour, 0 where nothing is painted.

    layers: uint8 RGBA (H, W, 4) as the image editor gives them, later ones on top. Alpha says whether a pixel is
    painted, so that black hair under a brush is no hole. Raises ValueError for a layer of another shape.
    """
    labels = np.zeros(size, np.uint8)
    for layer in layers:
        if layer.shape != (*size, 4):
            raise ValueError(
                f"The painted layer is {layer.shape[1]} x {layer.shape[0]}, but the frame is {size[1]} x {size[0]}. "
                "Press Clear and paint on the frame itself."
            )
        colours = layer[..., None, :3].astype(int) - OBJECT_COLOURS[:MAX_OBJECTS]  # (H, W, 4, 3)
        nearest = (colours**2).sum(-1).argmin(-1)
        labels = np.where(layer[..., 3] >= PAINTED, nearest + 1, labels)
    return labels.astype(np.uint8)


def read_layer(path: str | Path) -> np.ndarray:
    """A painted layer from a file, uint8 RGBA (H, W, 4). Raises ValueError where it is no picture, or gone."""
    try:
        with Image.open(path) as picture:
            return np.array(picture.convert("RGBA"))
    except FileNotFoundError as error:
        raise ValueError("What was painted had to wait too long and was removed: press Segment again.") from error
    except (UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise ValueError(f"{Path(path).name} is no painted layer: paint anew, and press Segment.") from error


def layer_of_labels(labels: np.ndarray) -> np.ndarray:
    """The inverse of `labels_of_layers`: a label map (H, W) as a painted layer, uint8 (H, W, 4)."""
    colours = np.concatenate([[[0, 0, 0]], OBJECT_COLOURS[:MAX_OBJECTS]])
    alpha = np.where(labels > 0, round(255 * BRUSH_ALPHA), 0)
    return np.dstack([colours[labels], alpha]).astype(np.uint8)


def read_first_mask(path: str | Path, clip: Clip) -> np.ndarray:
    """A mask file for the clip: at the video's size or at the one it is worked on; labels are counted from 1 on.

    Raises ValueError for a mask that can't be read, of another size, empty, or of more than MAX_OBJECTS objects.
    """
    with named(path):
        labels = read_mask(path)
    if labels.shape not in (tuple(clip.source.size), clip.size):
        height, width = clip.source.size
        raise ValueError(
            f"The mask {Path(path).name} is {labels.shape[1]} x {labels.shape[0]}, but the video is {width} x "
            f"{height}. Draw it on a frame of the video, at its own size."
        )
    if labels.shape != clip.size:
        labels = cv2.resize(labels, clip.size[::-1], interpolation=cv2.INTER_NEAREST)
    values = [value for value in np.unique(labels) if value not in (0, VOID)]
    if len(values) > MAX_OBJECTS:
        raise ValueError(
            f"The mask {Path(path).name} holds {len(values)} objects, and this page takes {MAX_OBJECTS} at most. "
            "Any number: ranet-edu segment, on the command line."
        )
    counted = sum((labels == value) * number for number, value in enumerate(values, start=1))
    return check_mask(np.zeros(clip.size, np.uint8) + np.uint8(counted))


def true_mask(clip: Clip, index: int) -> np.ndarray:
    """The true label map of the clip's frame `index`. Raises ValueError where it is not known."""
    if clip.truth is None:
        raise ValueError("Only the examples have true masks: paint the object, or upload a mask.")
    return clip.truth.read_annotation(clip.numbers[index])


def check_mask(labels: np.ndarray) -> np.ndarray:
    """`labels`, or ValueError where they show no object."""
    if not labels.any():
        raise ValueError(
            "The mask is empty. Paint over the object in the frame, one colour for each object, or upload a mask; then "
            "press Segment."
        )
    return labels


# --- segmenting


class Progress(NamedTuple):
    """Where a run is. index: the frame just done, of `count`. seconds: since it began, `done` frames ago."""

    index: int
    count: int
    done: int
    seconds: float
    frame: np.ndarray
    labels: np.ndarray

    @property
    def text(self) -> str:
        """For a person who waits."""
        text = f"{self.index + 1} of {self.count} frames"
        if self.done > 1:
            rate = (self.done - 1) / self.seconds
            text += f" · {rate:.1f} frames per second"
            left = (self.count - self.index - 1) / rate
            text += f" · {left:.0f} s left" if left else ""
        return text


def segment(
    clip: Clip, segmenter: VideoSegmenter, mask: np.ndarray, learn_seconds: float = 0, begin: int | None = None
) -> Iterator[Progress]:
    """Segment the clip from frame `begin` on (default: the frame in the editor), where the objects are `mask`.

    Results are kept in the clip's folder, frame by frame; those of frames before `begin` stay, later ones are made
    anew. learn_seconds: learn the given frame for so long first (RANet+). Ends early where `clip.stop` is set or the
    clip is closed, after the frame at hand. Raises ValueError for an empty mask, where a frame can't be read, and while
    the clip is in use; OSError where a result can't be written.
    """
    begin = clip.editing if begin is None else begin
    check_mask(mask)
    clip.forget(begin)
    clip.stop.clear()
    clip.running = True
    try:
        yield from _segment(clip, segmenter, mask, learn_seconds, begin)
    finally:
        clip.running = False
        if not clip.is_open:
            clip.close()  # removed while a frame was being written


def _segment(
    clip: Clip, segmenter: VideoSegmenter, mask: np.ndarray, learn_seconds: float, begin: int
) -> Iterator[Progress]:
    frames = clip.frames(begin)
    first = next(frames, None)
    if first is None:
        raise ValueError(f"The video ends before frame {clip.numbers[begin]}; choose frames that it has.")
    clip.segmenter = _learnt(clip, segmenter, first, mask, learn_seconds)
    matches = match_truth(mask, true_mask(clip, begin)) if clip.truth else {}
    clip.given.append(begin)
    state, start = None, time.monotonic()
    for index, frame in enumerate(itertools.chain([first], frames), start=begin):
        if clip.ended:
            return
        state = clip.segmenter.begin(frame, mask) if state is None else clip.segmenter.step(state, frame)
        try:
            labels = clip.keep(index, frame, state)
        except OSError:
            if clip.is_open:
                raise
            return  # its folder was removed meanwhile
        clip.records.append(make_record(state, labels, matches, true_mask(clip, index) if clip.truth else None))
        seconds = time.monotonic() - start
        yield Progress(index, len(clip.numbers), index - begin + 1, seconds, frame, labels)


def _learnt(
    clip: Clip, segmenter: VideoSegmenter, frame: np.ndarray, mask: np.ndarray, seconds: float
) -> VideoSegmenter:
    """A segmenter whose model has learnt the frame for so many seconds, or fewer where the clip's run is stopped."""
    if not seconds:
        return segmenter
    from ranet_edu.training.online import learn_online

    def clock() -> float:
        return math.inf if clip.ended else time.monotonic()

    model = learn_online(
        segmenter.model, frame, mask, iterations=None, seconds=seconds, canvas=segmenter.canvas, clock=clock
    )
    return VideoSegmenter(model, canvas=segmenter.canvas)


def make_record(
    state: VideoState, labels: np.ndarray, matches: dict[int, int], true: np.ndarray | None = None
) -> Record:
    """Area and confidence of each object, and J and F where `true` is given. matches: label -> true label."""
    soft = dict(zip(state.labels.tolist(), state.probabilities.cpu().numpy(), strict=True))
    masks = {label: labels == label for label in soft}
    area = {label: float(mask.mean()) for label, mask in masks.items()}
    confidence = {label: float(soft[label][mask].mean()) if mask.any() else math.nan for label, mask in masks.items()}
    pairs = {label: (masks[label], true == match) for label, match in matches.items()}
    region = {label: region_similarity(*pair) for label, pair in pairs.items()}
    return Record(area, confidence, region, {label: boundary_accuracy(*pair) for label, pair in pairs.items()})


def match_truth(mask: np.ndarray, true: np.ndarray) -> dict[int, int]:
    """Which true object each painted one is meant to be: label -> the true label it overlaps best; none, no entry."""
    matches = {}
    for label in np.unique(mask[mask > 0]).tolist():
        candidates = np.unique(true[(mask == label) & (true > 0)]).tolist()
        if candidates:
            matches[label] = max(candidates, key=lambda match: region_similarity(mask == label, true == match))
    return matches


def mean_scores(clip: Clip) -> dict[int, tuple[float, float]]:
    """Mean J and F of each object over the frames that were predicted, not given, but the last, which DAVIS leaves out
    (and `ranet-edu evaluate`). Empty where no frame counts."""
    left_out = {*clip.given, len(clip.numbers) - 1}
    records = [record for index, record in enumerate(clip.records) if index not in left_out]
    labels = sorted({label for record in records for label in record.region})
    return {label: (_mean(records, "region", label), _mean(records, "boundary", label)) for label in labels}


def _mean(records: list[Record], measure: str, label: int) -> float:
    values = [getattr(record, measure)[label] for record in records if label in getattr(record, measure)]
    return float(np.mean(values))


# --- results


def write_overlay(clip: Clip, path: str | Path, indices: Iterable[int] | None = None) -> None:
    """The frames that are done, their objects tinted, as MP4. indices: of those; default all, for a progress bar."""
    with VideoWriter(path, clip.fps) as writer:
        for index in indices or range(len(clip.records)):
            writer.write(overlay(clip.frame(index), clip.labels(index)))


def write_mask_zip(clip: Clip, path: str | Path) -> None:
    """The masks as indexed PNG in the layout that `ranet-edu evaluate --predictions` reads: name/00000.png ..."""
    with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for index in range(len(clip.records)):
            archive.write(clip.folder / "masks" / f"{index:05d}.png", f"{clip.name}/{frame_name(clip, index)}.png")


def write_cut_outs(clip: Clip, path: str | Path, indices: Iterable[int] | None = None) -> None:
    """The objects on a transparent background: a ZIP with one RGBA PNG for each frame that is done."""
    with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for index in indices or range(len(clip.records)):
            opaque = np.where(clip.labels(index) > 0, 255, 0).astype(np.uint8)
            picture = BytesIO()
            Image.fromarray(np.dstack([clip.frame(index), opaque])).save(picture, "png", compress_level=3)
            archive.writestr(f"{clip.name}/{frame_name(clip, index)}.png", picture.getvalue())


def frame_name(clip: Clip, index: int) -> str:
    """What the source calls the frame: an image's name, or the number in the video."""
    number = clip.numbers[index]
    return clip.source.names[number] if clip.source.names else f"{number:05d}"
