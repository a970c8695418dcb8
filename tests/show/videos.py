"""Small videos as people have them: of a bright square that moves over noise, and files that only look like videos."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from pathlib import Path

import av
import numpy as np

SIZE = (48, 64)


def square(index: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    """The mask of frame `index`: uint8 0 and 1."""
    mask = np.zeros(size, np.uint8)
    mask[12:32, 8 + 2 * index : 28 + 2 * index] = 1
    return mask


def frames(count: int = 6, size: tuple[int, int] = SIZE) -> list[np.ndarray]:
    noise = np.random.default_rng(0).integers(0, 80, (*size, 3)).astype(np.uint8)
    return [np.where(square(index, size)[..., None], np.uint8(220), noise) for index in range(count)]


def write_video(
    path: Path,
    images: Iterable[np.ndarray] | None = None,
    codec: str = "libx264",
    pixels: str = "yuv420p",
    times: Iterable[int] | None = None,
) -> Path:
    """times: of the frames, in units of 1/25 s; default 0, 1, 2 ..."""
    images = frames() if images is None else list(images)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, 25)
        stream.height, stream.width, stream.pix_fmt = *images[0].shape[:2], pixels
        for time, image in zip(times or range(len(images)), images, strict=True):
            picture = av.VideoFrame.from_ndarray(image, format="rgba" if image.shape[2] == 4 else "rgb24")
            picture = picture.reformat(format=pixels)
            picture.pts = time
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return path


def write_upright(path: Path) -> Path:
    """A film of a phone held upright: rows and columns as the sensor has them, and a flag in the track's header."""
    write_video(path)
    identity, quarter = _matrix(1, 0, 0, 0, 1, 0), _matrix(0, 1, 0, -1, 0, 0)
    film, track, rest = path.read_bytes().split(identity)
    path.write_bytes(film + identity + track + quarter + rest)
    return path


def _matrix(*numbers: int) -> bytes:
    return struct.pack(">9i", *(65536 * number for number in numbers), 0, 0, 1 << 30)


def write_sound(path: Path) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", 16000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        sound.sample_rate = 16000
        container.mux(stream.encode(sound))
        container.mux(stream.encode())
    return path


def write_empty(path: Path) -> Path:
    """A video stream without a frame: the pictures of a good file cut off."""
    write_video(path, codec="mpeg4")
    path.write_bytes(path.read_bytes().replace(b"idx1", b"JUNK"))
    data = path.read_bytes()
    path.write_bytes(data[: data.index(b"movi") + 4])
    return path


def write_text(path: Path) -> Path:
    path.write_text("Dear diary, this is no video.\n" * 100)
    return path
