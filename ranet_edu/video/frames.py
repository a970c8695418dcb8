"""Frames: reading videos and folders of images as a stream, and writing videos that browsers play.

A frame is uint8 RGB (H, W, 3). Used from notebook 00 on; the demo's uploads (notebook 14) come through here too.
"""

from __future__ import annotations

import os
import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
from PIL import Image, ImageOps

from ranet_edu.video.masks import UNREADABLE, atomic_path

if TYPE_CHECKING:
    import av

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov", ".webm", ".mkv", ".avi", ".gif", ".mpg", ".mpeg", ".ogv", ".flv", ".wmv")
FOLDER_FPS = 24.0
"""Frames per second of a folder of images, which can't say: the rate of DAVIS."""

VIDEO_FORMATS = ("mov", "matroska", "avi", "gif", "mpeg", "mpegts", "ogg", "flv", "asf")
"""FFmpeg's names of the containers we open: MP4/MOV, WebM/MKV, AVI, GIF, ... Playlists are not among them: they would
let an uploaded file read other files of the machine."""


class FrameSource(ABC):
    """Frames in order, as often as one iterates; only the frame at hand is in memory.

    Attributes:
        path: the video file or the folder.
        size: (height, width) of every frame after rotation. Its pixels are taken for square: a video that players
            stretch by its pixel aspect ratio (DV, DVDs) comes unstretched, and so must its mask be.
        fps: frames per second. Where the rate varies (phones, screen recordings) it is the average; the frames come
            as they are stored, none dropped or doubled.
        count: number of frames, None where the file doesn't say (WebM, GIF). A damaged, trimmed or fragmented video
            may hold another number than its header states: for a progress bar, not for an array's length.
        names: the images' names without suffix for a folder, None for a video.
    """

    path: Path
    size: tuple[int, int]
    fps: float
    count: int | None
    names: list[str] | None

    @abstractmethod
    def __iter__(self) -> Iterator[np.ndarray]:
        """Frames uint8 RGB (H, W, 3) from the first on. Raises ValueError naming the frame that can't be read."""


def open_frames(path: str | os.PathLike, largest: int | None = None) -> FrameSource:
    """Open a video file (MP4, MOV, WebM, MKV, AVI, GIF, ...) or a folder of images. Used from notebook 00 on.

    largest: a video with a longer side, in pixels, is refused before any of it is decoded. Default: any size.

    A video is shown upright as its rotation flag asks; an image as its EXIF orientation asks; transparent pixels
    as white. Images (.jpg .jpeg .png .bmp .webp) come in natural order: frame2 before frame10.

    Raises FileNotFoundError where nothing is at `path`, ValueError where it holds no frames, each saying what to do.
    """
    path = Path(path)
    if path.is_dir():
        return FolderFrames(path)
    if path.is_file():
        return VideoFrames(path, largest)
    raise FileNotFoundError(f"no video or folder of images at {path}")


def read_image(path: str | os.PathLike) -> np.ndarray:
    """Read one image as uint8 RGB (H, W, 3), turned as its EXIF orientation asks, transparent pixels as white.

    Raises FileNotFoundError, or ValueError naming a file that can't be decoded.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no image file at {path}")
    try:
        with Image.open(path) as image:
            image = ImageOps.exif_transpose(image)
            check_depth(image)
            if not image.has_transparency_data:
                return np.array(image.convert("RGB"))
            return _on_white(np.array(image.convert("RGBA")))
    except (*UNREADABLE, ValueError) as error:
        raise ValueError(f"{path} can't be read as an image ({error}); save it again as 8-bit JPEG or PNG") from error


def check_depth(image: Image.Image) -> None:
    """Raise ValueError where Pillow would not convert an image to 8 bits, but cut its values off."""
    if image.mode.startswith(("I", "F")):
        raise ValueError("more than 8 bits per channel")


def _on_white(rgba: np.ndarray) -> np.ndarray:
    """uint8 (H, W, 4) -> the colours seen on white paper, uint8 (H, W, 3)."""
    opacity = rgba[..., 3:] / np.float32(255)
    return np.rint(rgba[..., :3] * opacity + 255 * (1 - opacity)).astype(np.uint8)


def natural_key(path: Path) -> tuple[list[str | int], str]:
    """Sorting key under which frame2 stands before frame10, as it should without leading zeros."""
    parts = re.split(r"(\d+)", path.stem.casefold())
    return [int(part) if part.isdecimal() else part for part in parts], path.name


class FolderFrames(FrameSource):
    """A folder of images; see open_frames and FrameSource."""

    def __init__(self, path: Path) -> None:
        images = [item for item in path.iterdir() if item.suffix.lower() in IMAGE_SUFFIXES and item.name[0] != "."]
        if not images:
            raise ValueError(f"{path} holds no images ({' '.join(IMAGE_SUFFIXES)}); name the folder the frames lie in")
        self.path, self.images = path, sorted(images, key=natural_key)
        self.names = [image.stem for image in self.images]
        self._refuse_doubled_names()
        self.size = read_image(self.images[0]).shape[:2]
        self.fps, self.count = FOLDER_FPS, len(self.images)

    def _refuse_doubled_names(self) -> None:
        """Frames and masks thrown together (00000.jpg, 00000.png) would make a video that flickers between them."""
        doubled = [name for name, count in Counter(self.names).items() if count > 1]
        if doubled:
            raise ValueError(
                f"{self.path} holds several images called {doubled[0]}; keep the frames in their own folder"
            )

    def __iter__(self) -> Iterator[np.ndarray]:
        for path in self.images:
            frame = read_image(path)
            if frame.shape[:2] != self.size:
                (height, width), (first_height, first_width) = frame.shape[:2], self.size
                raise ValueError(
                    f"{path} is {width} x {height}, but {self.images[0].name} is {first_width} x {first_height}; "
                    "the frames of a video must all have one size"
                )
            yield frame


class VideoFrames(FrameSource):
    """A video file, decoded by FFmpeg through PyAV; see open_frames and FrameSource."""

    names = None

    def __init__(self, path: Path, largest: int | None = None) -> None:
        self.path = path
        with ExitStack() as stack:
            stream = stack.enter_context(_opened(path)).streams.video[0]
            if largest and max(stream.width, stream.height) > largest:
                raise ValueError(
                    f"{path} is {stream.width} x {stream.height}; at most {largest} pixels a side are taken: make it "
                    "smaller first, ffmpeg -i VIDEO -vf scale=1280:-2 smaller.mp4"
                )
            self.fps = float(stream.average_rate or _measured_rate(path) or FOLDER_FPS)
            self.count = stream.frames or None
        first = next(iter(self), None)
        if first is None:
            raise ValueError(f"{path} holds a video stream without a single frame; record or convert it again")
        self.size = first.shape[:2]

    def __iter__(self) -> Iterator[np.ndarray]:
        import av

        number = 0
        with _opened(self.path) as container:
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            try:
                for frame in container.decode(stream):
                    yield _upright_rgb(frame, stream.width, stream.height)
                    number += 1
            except av.FFmpegError as error:
                raise ValueError(
                    f"{self.path} is damaged and can't be decoded after {number} frames: copy or download it again, or "
                    "convert what can be read of it, ffmpeg -i VIDEO converted.mp4"
                ) from error


def count_frames(source: FrameSource) -> int:
    """How many frames a source has: its own count, or where the file doesn't say, the packets of its video stream.

    The whole file is read for that, but nothing decoded: a second or so per gigabyte.
    """
    return count_packets(source.path) if source.count is None else source.count


def count_packets(video: Path) -> int:
    """How many packets the stream of a video file has: in most containers one for each frame, in none fewer."""
    with _opened(video) as container:
        return sum(packet.size > 0 for packet in container.demux(container.streams.video[0]))


def is_cut_off(source: FrameSource) -> bool:
    """Whether a video's file ends before the place where it says that it ends: half a download does.

    MP4, MOV, AVI, MKV and WebM say it, unless they were written as a stream, without going back; False for others.
    """
    if source.names:
        return False
    size = source.path.stat().st_size
    with _opened(source.path) as container:
        beyond = any(entry.pos + entry.size > size for entry in container.streams.video[0].index_entries)
    return beyond or _stated_size(source.path) > size


def _stated_size(video: Path) -> int:
    """How many bytes an AVI, MKV or WebM file says at its beginning that it has; 0 where it doesn't."""
    with video.open("rb") as file:
        kind = file.read(4)
        if kind == b"RIFF":
            size = int.from_bytes(file.read(4), "little")
            return 8 + size if size < 2**32 - 1 else 0
        if kind != b"\x1aE\xdf\xa3":  # the header of MKV and WebM; all else is in the element after it
            return 0
        file.seek(_ebml_size(file), os.SEEK_CUR)
        return _ebml_size(file) + file.tell() if file.read(4) == b"\x18S\x80g" else 0


def _ebml_size(file: BinaryIO) -> int:
    """The length of an element of an MKV, read where it stands; 0 where it was not known when it was written.

    The first bit that is set says how many bytes the number has; all later ones set, that it is not known.
    """
    first = file.read(1)
    count = 9 - first[0].bit_length()
    size, unknown = int.from_bytes(first + file.read(count - 1)) - (1 << 7 * count), (1 << 7 * count) - 1
    return size if size < unknown else 0


def _measured_rate(video: Path) -> float | None:
    """Frames per second from the first frame to the last, as recordings of a screen need it, which tell no rate."""
    import av

    times = []
    with _opened(video) as container, suppress(av.FFmpegError):  # who reads the frames is told
        for packet in container.demux(video=0):
            if packet.pts is not None:
                times.append(packet.pts * packet.time_base)
    span = max(times, default=0) - min(times, default=0)
    return (len(times) - 1) / span if span else None


def _opened(path: Path) -> av.container.InputContainer:
    """The container of a video file that has a picture, or ValueError."""
    import av

    try:
        # absolute, because FFmpeg takes what stands before a colon for a protocol: 12:30.mp4
        container = av.open(str(path.absolute()), options={"format_whitelist": ",".join(VIDEO_FORMATS)})
    except PermissionError:
        raise  # it says which file may not be read
    except (av.FFmpegError, UnicodeError) as error:
        raise ValueError(
            f"{path} is no video that can be read: give an MP4, MOV, WebM, MKV, AVI or GIF file. If it is one, it is "
            "damaged or incomplete: copy or download it again, or convert it, ffmpeg -i VIDEO converted.mp4"
        ) from error
    if not container.streams.video or container.streams.video[0].codec_context is None:
        container.close()
        raise ValueError(
            f"{path} has no picture that can be decoded (sound only, or an unknown codec): give another file, or "
            "convert it, ffmpeg -i VIDEO converted.mp4"
        )
    return container


def _upright_rgb(frame: av.VideoFrame, width: int, height: int) -> np.ndarray:
    """A decoded frame as uint8 RGB (H, W, 3): transparency on white, turned counter-clockwise by its rotation flag.

    `width`, `height`: what a stream that changes its size on the way is scaled to.
    """
    if any(component.is_alpha for component in frame.format.components):
        image = _on_white(frame.to_ndarray(format="rgba", width=width, height=height))
    else:
        image = frame.to_ndarray(format="rgb24", width=width, height=height)
    return np.ascontiguousarray(np.rot90(image, round(frame.rotation / 90)))


class VideoWriter:
    """Write frames to an MP4 that browsers play: H.264, yuv420p, the index before the pictures (faststart).

    Used from notebook 00 on. A context manager: the file appears at `path` when the block ends, and not at all where
    it ends by an exception. An odd height or width is made even by doubling the last row or column, which yuv420p
    needs.

    `fps`: frames per second. `quality`: x264's CRF, 0 (lossless) ... 51, about 6 more halve the size.

    Raises ValueError for a name that does not end in .mp4, for frames that are not uint8 (H, W, 3) of one size, and
    where no frame was written; OSError that names the file where it can't be written, when the block begins if it is
    known then.
    """

    def __init__(self, path: str | os.PathLike, fps: float, quality: int = 20) -> None:
        if Path(path).suffix.lower() != ".mp4":
            raise ValueError(f"videos are written as MP4, but the name is {path}; end it in .mp4")
        if not 0 < fps < float("inf"):
            raise ValueError(f"fps must be positive, not {fps}")
        self.path, self.quality = Path(path), quality
        self.rate = Fraction(fps).limit_denominator(1001)
        self._stream: av.VideoStream | None = None

    def __enter__(self) -> VideoWriter:
        with self._errors_named(), ExitStack() as stack:
            if self.path.is_dir():
                raise IsADirectoryError("there is a folder of that name")
            self._temporary = stack.enter_context(atomic_path(self.path))
            self._temporary.touch()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error_info: object) -> None:
        if error_info[0] is not None:
            with self._errors_named():
                self._stack.__exit__(*error_info)
            return
        with self._errors_named(), self._stack:
            if self._stream is None:
                raise ValueError(f"no frame was written, so there is no video for {self.path}")
            self._container.mux(self._stream.encode())

    @contextmanager
    def _errors_named(self) -> Iterator[None]:
        """The system's errors, with the video's name instead of that of the unfinished file."""
        try:
            yield
        except OSError as error:
            raise OSError(f"{self.path} can't be written: {error.strerror or error}") from error

    def write(self, frame: np.ndarray) -> None:
        """Append one frame, uint8 RGB (H, W, 3)."""
        import av

        if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3 or frame.size == 0:
            raise ValueError(f"a frame must be uint8 (H, W, 3), not {frame.dtype} {frame.shape}")
        if self._stream is None:
            with self._errors_named():
                self._start(frame.shape)
        if frame.shape != self._shape:
            raise ValueError(f"all frames must have the first one's shape {self._shape}, not {frame.shape}")
        height, width = frame.shape[:2]
        even = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(even), format="rgb24")
        picture = picture.reformat(format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG")
        with self._errors_named():
            self._container.mux(self._stream.encode(picture))

    def _start(self, shape: tuple[int, ...]) -> None:
        """Open the file once the first frame tells its size. Colours are marked as BT.709, as players assume for HD."""
        import av
        from av.video.reformatter import ColorRange, Colorspace

        self._shape = shape
        container = av.open(str(self._temporary.absolute()), "w", options={"movflags": "+faststart"})
        self._container = self._stack.enter_context(container)
        self._stream = container.add_stream("libx264", self.rate, options={"crf": str(self.quality), "preset": "fast"})
        self._stream.height, self._stream.width = (side + side % 2 for side in shape[:2])
        self._stream.pix_fmt = "yuv420p"
        self._stream.colorspace = Colorspace.ITU709
        self._stream.color_range = ColorRange.MPEG
