"""Generated video clips with exact masks: photographed objects that move over a moving background.

No video with masks may be shipped with this repository, so it makes its own. Five objects, cut out of photographs in
the public domain, turn, bend, grow, swing in front of each other, leave the frame and come back; another photograph
behind them pans and zooms. Every pixel's true label is known. Where the pictures come from: datasets/assets/README.md.

    clip = synthetic_clip(seed=3, objects=2)
    frame, labels = clip[0]

Frame i depends on nothing but the arguments and i. `python -m ranet_edu.datasets.synthetic --out data/samples` writes
the repository's sample clips again, which the notebooks show from 00 on.
"""

from __future__ import annotations

import argparse
import math
import os
import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import as_file, files
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from scipy import ndimage
from tqdm import tqdm

from ranet_edu.video.masks import atomic_path, write_mask

OBJECTS = ("astronaut", "cat", "coffee", "rocket", "shuttle")
GROUNDS = ("brick", "grass", "gravel")
"""Backgrounds near enough behind the objects to catch their shadow."""
BACKGROUNDS = (*GROUNDS, "deep_field", "launch_pad")

SAMPLES = {
    "cat": {"seed": 32, "objects": 1},
    "cat-coffee": {"seed": 273, "objects": 2},
    "launch-pad": {"seed": 17, "objects": 3},
}
"""The clips in data/samples and the arguments they are made with."""

BEND = 0.06
"""The most that an object's points are displaced as it bends, as a part of its longer side."""
RIPPLES = 3
"""Number of waves that bend an object together."""


@cache
def _asset(kind: str, name: str) -> Image.Image:
    """A picture of datasets/assets: RGBA cut-outs in objects/, RGB in backgrounds/."""
    with as_file(files("ranet_edu.datasets") / "assets" / kind / f"{name}.webp") as path, Image.open(path) as image:
        return image.copy()


@dataclass(frozen=True)
class Sway:
    """A value that moves smoothly and is 0 at frame 0: a sum of sines (amplitude, period in frames, phase)."""

    waves: tuple[tuple[float, float, float], ...]

    def __call__(self, frame: int) -> float:
        """The value at frame number `frame`."""
        return sum(
            amplitude * (math.sin(math.tau * frame / period + phase) - math.sin(phase))
            for amplitude, period, phase in self.waves
        )


def _sway(rng: random.Random, amplitude: float, periods: tuple[float, float] = (60, 150)) -> Sway:
    """Two random sines, the second slower by a ratio that keeps the path from closing, together about `amplitude`."""
    period, first, second = rng.uniform(*periods), rng.uniform(0, math.tau), rng.uniform(0, math.tau)
    return Sway(((0.65 * amplitude, period, first), (0.35 * amplitude, 1.62 * period, second)))


@dataclass(frozen=True)
class Excursion:
    """Out of the frame and back, again and again: 0 at frame 0, `distance` pixels half a period later."""

    distance: float
    period: float

    def __call__(self, frame: int) -> float:
        """The way out at frame number `frame`, in pixels."""
        return self.distance * math.sin(math.pi * frame / self.period) ** 2


@dataclass(frozen=True)
class Scene:
    """What lies behind the objects: a photograph that the camera pans over.

    Attributes:
        picture: uint8 RGB, larger than the frame.
        size: (height, width) of a frame.
        across, down: the camera's way, in pixels. zoom, tilt: in natural logarithms and radians.
        light: brightness of the whole frame, in natural logarithms.
        shadows: whether the objects throw a shadow on it.
    """

    picture: np.ndarray
    size: tuple[int, int]
    across: Sway
    down: Sway
    zoom: Sway
    tilt: Sway
    light: Sway
    shadows: bool

    def background(self, frame: int) -> np.ndarray:
        """The photograph as the camera sees it at `frame`, uint8 RGB (H, W, 3)."""
        height, width = self.size
        matrix = _rotation(self.tilt(frame)) * math.exp(-self.zoom(frame))
        middle = np.array([(width - 1) / 2, (height - 1) / 2])
        target = np.array(self.picture.shape[1::-1]) / 2 - 0.5 + (self.across(frame), self.down(frame))
        matrix = np.column_stack([matrix, target - matrix @ middle])
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        return cv2.warpAffine(self.picture, matrix, (width, height), flags=flags, borderMode=cv2.BORDER_REFLECT_101)


def _rotation(angle: float) -> np.ndarray:
    """(2, 2) matrix that turns a vector (x, y) by `angle` radians."""
    return np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])


@dataclass(frozen=True)
class Ripple:
    """One wave of the smooth field that bends an object, in units of half its longer side."""

    push: tuple[float, float]
    waves: tuple[float, float]
    period: float
    phase: float

    def __call__(self, x: np.ndarray, y: np.ndarray, frame: int) -> tuple[np.ndarray, np.ndarray]:
        """How far the points (x, y) are pushed along x and y."""
        height = np.sin(self.waves[0] * x + self.waves[1] * y + math.tau * frame / self.period + self.phase)
        return self.push[0] * height, self.push[1] * height


@dataclass(frozen=True)
class Actor:
    """An object and how it moves.

    Attributes:
        cutout: uint8 RGBA (h, w, 4), at the size it has at frame 0.
        start: (x, y) of its centre at frame 0, in pixels.
        across, down: its way from there, in pixels; `leave` is added to `across`.
        angle: radians. zoom: natural logarithm of the size. turn: natural logarithm of the width, as if the object
            turned away from the camera.
        ripples: the waves that bend it.
    """

    cutout: np.ndarray
    start: tuple[float, float]
    across: Sway
    down: Sway
    leave: Excursion
    angle: Sway
    zoom: Sway
    turn: Sway
    ripples: tuple[Ripple, ...]

    def layer(self, frame: int, size: tuple[int, int]) -> Layer | None:
        """The object as it lies on the frame number `frame`; None where it is outside."""
        x = self.start[0] + self.across(frame) + self.leave(frame)
        y = self.start[1] + self.down(frame)
        stretch = np.exp([self.zoom(frame) + self.turn(frame), self.zoom(frame)])
        turned = _rotation(self.angle(frame))
        (left, top), (right, bottom) = self._box(np.array([x, y]), turned, stretch, size)
        if top >= bottom or left >= right:
            return None
        inverse = turned.T / stretch[:, None]
        columns, rows = np.meshgrid(np.arange(left, right) - x, np.arange(top, bottom) - y)
        across = inverse[0, 0] * columns + inverse[0, 1] * rows
        down = inverse[1, 0] * columns + inverse[1, 1] * rows
        return self._sampled(across, down, frame, (slice(top, bottom), slice(left, right)))

    def _box(self, centre: np.ndarray, turned: np.ndarray, stretch: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """The part of the frame that the object can reach: [[left, top], [right, bottom]], whole pixels."""
        sides = np.array(self.cutout.shape[1::-1])
        reach = np.abs(turned) @ (stretch * (sides / 2 + BEND * sides.max()))
        corners = np.array([np.floor(centre - reach), np.ceil(centre + reach)]).astype(int)
        return np.clip(corners, 0, size[::-1])

    def _sampled(self, x: np.ndarray, y: np.ndarray, frame: int, place: tuple[slice, slice]) -> Layer:
        """Look the cut-out up at the points (x, y) around its centre.

        The coverage decides the masks, so it is sampled in double precision, the same on every machine; colours may
        differ by a rounding and use the faster cv2.remap.
        """
        height, width = self.cutout.shape[:2]
        half = max(height, width) / 2
        pushes = [ripple(x / half, y / half, frame) for ripple in self.ripples]
        x = x + half * sum(push[0] for push in pushes) + (width - 1) / 2
        y = y + half * sum(push[1] for push in pushes) + (height - 1) / 2
        coverage = ndimage.map_coordinates(self.cutout[..., 3] / 255.0, (y, x), order=1, mode="constant")
        colours = cv2.remap(
            np.ascontiguousarray(self.cutout[..., :3]),
            x.astype(np.float32),
            y.astype(np.float32),
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )
        return Layer(place, colours, coverage)


@dataclass(frozen=True)
class Layer:
    """An object on one frame: where (rows, columns), its colours (h, w, 3) and coverage (h, w) in 0..1 there."""

    place: tuple[slice, slice]
    colours: np.ndarray
    coverage: np.ndarray

    def paint(self, frame: np.ndarray) -> None:
        """Lay the object on the frame, in place."""
        below = frame[self.place]
        coverage = self.coverage[..., None].astype(np.float32)
        below[:] = np.rint(below + coverage * (self.colours.astype(np.float32) - below))

    def shade(self, frame: np.ndarray) -> None:
        """Throw the object's soft shadow on the frame, in place: light comes from the upper left."""
        height, width = frame.shape[:2]
        offset, softness = height // 30, max(1, height // 60)
        margin = 3 * softness
        coverage = cv2.copyMakeBorder(self.coverage.astype(np.float32), *4 * [margin], cv2.BORDER_CONSTANT, value=0)
        shadow = 0.4 * cv2.GaussianBlur(coverage, (0, 0), softness)
        top, left = (side.start + offset - margin for side in self.place)
        rows = slice(max(0, top), max(0, min(height, top + shadow.shape[0])))
        columns = slice(max(0, left), max(0, min(width, left + shadow.shape[1])))
        visible = shadow[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
        frame[rows, columns] = np.rint(frame[rows, columns] * (1 - visible[..., None]))


class SyntheticClip(Sequence):
    """A generated clip. `clip[i]` is (frame, labels); nothing is computed before it is asked for.

    Attributes:
        names: the objects' names; object n of the masks is names[n - 1], later ones lie in front of earlier ones.
        background: the background's name.
        size: (height, width) of every frame.
    """

    def __init__(
        self, scene: Scene, actors: tuple[Actor, ...], names: tuple[str, ...], background: str, frames: int
    ) -> None:
        self.scene, self.actors, self.names, self.background = scene, actors, names, background
        self.size, self.frames = scene.size, frames

    def __len__(self) -> int:
        return self.frames

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Frame uint8 RGB (H, W, 3) and its labels uint8 (H, W)."""
        layers = self._layers(index)
        return self._painted(index, layers), self._labelled(layers)

    def frame(self, index: int) -> np.ndarray:
        """Frame `index`, uint8 RGB (H, W, 3)."""
        return self._painted(index, self._layers(index))

    def mask(self, index: int) -> np.ndarray:
        """Labels of frame `index`, uint8 (H, W): the foremost object that covers at least half of the pixel."""
        return self._labelled(self._layers(index))

    def _layers(self, index: int) -> list[Layer | None]:
        if not -self.frames <= index < self.frames:
            raise IndexError(f"the clip has frames 0..{self.frames - 1}, not {index}")
        return [actor.layer(index % self.frames, self.size) for actor in self.actors]

    def _painted(self, index: int, layers: list[Layer | None]) -> np.ndarray:
        index %= self.frames
        frame = self.scene.background(index)
        for layer in filter(None, layers):
            if self.scene.shadows:
                layer.shade(frame)
            layer.paint(frame)
        return cv2.convertScaleAbs(frame, alpha=math.exp(self.scene.light(index)))

    def _labelled(self, layers: list[Layer | None]) -> np.ndarray:
        labels = np.zeros(self.size, np.uint8)
        for number, layer in enumerate(layers, start=1):
            if layer is not None:
                labels[layer.place][layer.coverage >= 0.5] = number
        return labels


def synthetic_clip(seed: int, objects: int = 1, frames: int = 60, size: tuple[int, int] = (480, 854)) -> SyntheticClip:
    """A generated clip with exact masks; equal arguments give equal clips.

    Every object is seen in frame 0. A longer clip begins like a shorter one; another `size` shows the same scene.

    Args:
        seed: chooses objects, background and every movement.
        objects: 1..4, all different.
        frames: length of the clip.
        size: (height, width) of a frame, at least 32 pixels each.

    Raises:
        ValueError: arguments outside these ranges.
    """
    if not 1 <= objects <= 4:
        raise ValueError(f"objects must be 1..4, not {objects}")
    if frames < 1 or min(size) < 32:
        raise ValueError(f"frames must be at least 1 and size at least (32, 32), not {frames} and {size}")
    rng = random.Random(int(seed))
    background = rng.choice(BACKGROUNDS)
    scene = _scene(rng, background, size)
    names = tuple(rng.sample(OBJECTS, objects))
    slots = rng.sample(range(objects), objects)
    tint = scene.picture.reshape(-1, 3).mean(0)
    actors = tuple(_actor(rng, name, slot, objects, size, tint) for name, slot in zip(names, slots, strict=True))
    return SyntheticClip(scene, actors, names, background, frames)


def _scene(rng: random.Random, name: str, size: tuple[int, int]) -> Scene:
    """A random camera's way over the background `name`, which is a little out of focus."""
    height, width = size
    image = _asset("backgrounds", name)
    scale = 1.3 * max(height / image.height, width / image.width)
    picture = np.array(
        image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC)
    )
    picture = cv2.GaussianBlur(picture, (0, 0), rng.uniform(1, 3.5) * height / 480)
    return Scene(
        picture=picture[:, ::-1] if rng.random() < 0.5 else picture,
        size=size,
        across=_sway(rng, 0.08 * width, (80, 200)),
        down=_sway(rng, 0.06 * height, (80, 200)),
        zoom=_sway(rng, 0.05, (80, 200)),
        tilt=_sway(rng, 0.03, (80, 200)),
        light=_sway(rng, 0.08),
        shadows=name in GROUNDS,
    )


def _actor(rng: random.Random, name: str, slot: int, count: int, size: tuple[int, int], tint: np.ndarray) -> Actor:
    """The object `name` in the slot number `slot` of `count` beside each other, on random ways.

    `tint`: the background's mean colour, towards which the object is graded a little, as if in the same light.
    """
    height, width = size
    cutout = _cutout(rng, name, count, size, tint)
    reach = max(cutout.shape[:2]) / 2
    room = width / count
    start = (room * (slot + rng.uniform(0.4, 0.6)), height * rng.uniform(0.42, 0.58))
    leaves = slot in (0, count - 1) and rng.random() < 0.4
    swing = 0.12 * width if leaves else min(0.22 * width, room)
    return Actor(
        cutout=cutout,
        start=start,
        across=_sway(rng, swing),
        down=_sway(rng, 0.12 * height),
        leave=_excursion(rng, start[0], reach, size) if leaves else Excursion(0, 1),
        angle=_sway(rng, rng.uniform(0.1, 0.5)),
        zoom=_sway(rng, rng.uniform(0.05, 0.25)),
        turn=_sway(rng, rng.uniform(0.05, 0.25)),
        ripples=tuple(_ripple(rng) for _ in range(RIPPLES)),
    )


def _cutout(rng: random.Random, name: str, count: int, size: tuple[int, int], tint: np.ndarray) -> np.ndarray:
    """The object `name` as uint8 RGBA at a random size that leaves room for `count` objects, maybe mirrored."""
    height, width = size
    image = _asset("objects", name)
    area = np.mean(np.array(image.getchannel("A"))) / 255 * image.width * image.height
    wanted = rng.uniform(0.10, 0.16) / (1 + 0.6 * (count - 1)) * height * width
    fitting = min(0.8 * height / image.height, width / count / image.width, 1.2 * height / 480)
    scale = min(math.sqrt(wanted / area), fitting)
    shape = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    # One by one: together, Pillow would blacken the colours under transparent pixels, from which edges are mixed.
    planes = [plane.resize(shape, Image.Resampling.BICUBIC) for plane in (image.convert("RGB"), image.getchannel("A"))]
    cutout = np.dstack(planes)[:, :: -1 if rng.random() < 0.5 else 1]
    grade = np.clip((tint / cutout[..., :3].reshape(-1, 3).mean(0)) ** 0.15, 0.8, 1.2)
    colours = np.clip(np.rint(cutout[..., :3] * grade), 0, 255).astype(np.uint8)
    return np.dstack([colours, cutout[..., 3]])


def _excursion(rng: random.Random, x: float, reach: float, size: tuple[int, int]) -> Excursion:
    """From `x` out over the nearer side until an object of half-length `reach` has disappeared for a while."""
    height, width = size
    distance = 1.2 * (width - x + reach) if x > width / 2 else -1.2 * (x + reach)
    fastest = 0.04 * height
    return Excursion(distance, max(rng.uniform(50, 60), math.pi * abs(distance) / fastest))


def _ripple(rng: random.Random) -> Ripple:
    """A random wave of about half a length across the object; all together they stay within BEND."""
    heading, push = rng.uniform(0, math.tau), rng.uniform(0, math.tau)
    length, strength = rng.uniform(1.5, 3.5), rng.uniform(0.3, 1.0) * 2 * BEND / RIPPLES
    return Ripple(
        push=(strength * math.cos(push), strength * math.sin(push)),
        waves=(length * math.cos(heading), length * math.sin(heading)),
        period=rng.uniform(30, 80),
        phase=rng.uniform(0, math.tau),
    )


def write_clip(clip: SyntheticClip, root: str | os.PathLike, name: str, quality: int = 70) -> None:
    """Write a clip in the layout of DAVIS, as the sequence `name`: JPEG frames of `quality` and indexed PNG masks.

    They lie in JPEGImages/480p/<name> and Annotations/480p/<name>, whatever the clip's size: DAVIS's readers look
    there. Each file appears whole or not at all; files of the same names are replaced.
    """
    frames, masks = (Path(root) / kind / "480p" / name for kind in ("JPEGImages", "Annotations"))
    for index, (frame, labels) in enumerate(tqdm(clip, desc=name, unit="frame")):
        with atomic_path(frames / f"{index:05}.jpg") as temporary:
            Image.fromarray(frame).save(temporary, quality=quality, optimize=True, progressive=True)
        write_mask(masks / f"{index:05}.png", labels)


def write_stills(
    root: str | os.PathLike, count: int = 8, size: tuple[int, int] = (480, 854), quality: int = 90
) -> None:
    """Write `count` photographs with masks, as `stills.StillPairs` reads them: first frames of clips. Notebook 07.

    They lie in images/<number>.jpg and masks/<number>.png; one to three objects are in each. Equal arguments give equal
    photographs. Each file appears whole or not at all; files of the same names are replaced.
    """
    for number in range(count):
        frame, labels = synthetic_clip(seed=number, objects=1 + number % 3, size=size)[0]
        with atomic_path(Path(root) / "images" / f"{number:02}.jpg") as temporary:
            Image.fromarray(frame).save(temporary, quality=quality)
        write_mask(Path(root) / "masks" / f"{number:02}.png", labels)


def write_samples(root: str | os.PathLike) -> None:
    """Write the clips of SAMPLES and their splits: 2016 the one with a single object, 2017 all."""
    for name, arguments in SAMPLES.items():
        write_clip(synthetic_clip(**arguments), root, name)
    single = [name for name, arguments in SAMPLES.items() if arguments["objects"] == 1]
    for year, names in (("2016", single), ("2017", list(SAMPLES))):
        for split in ("all", "val"):
            with atomic_path(Path(root) / "ImageSets" / year / f"{split}.txt") as temporary:
                temporary.write_text("".join(f"{name}\n" for name in names))


def main() -> None:
    """`python -m ranet_edu.datasets.synthetic --out FOLDER`: write the sample clips."""
    parser = argparse.ArgumentParser(description="Write the repository's sample clips, in the layout of DAVIS.")
    parser.add_argument("--out", required=True, help="folder to write to, data/samples in the repository")
    write_samples(parser.parse_args().out)


if __name__ == "__main__":
    main()
