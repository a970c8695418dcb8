"""Training samples: what the network sees of a scene at two moments, as the video loop would show it.

A scene is a list of layers: a photo or a video frame at the bottom, objects cut out of other photos upon it. Layers are
composed on the canvas directly, through the window that the video loop would choose. Built in notebook 07.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset, get_worker_info

from ranet_edu.datasets import augment
from ranet_edu.datasets.augment import Box, Colour, Placement, Pose, Window
from ranet_edu.video.masks import atomic_path, label_map, overlay

DISTRACTOR = -1  # the slot of an object that is in the picture but not to be segmented
LOST = (1.5, 6.0)  # how much larger than the objects' box the loop's window is, soon or late after it lost them


class Sample(NamedTuple):
    """One training sample, CPU tensors on a canvas of one size (H, W), with N objects and a rollout of T frames.

    template (3, H, W) and frames (T, 3, H, W): uint8 RGB. template_masks (N, H, W) and true_masks (T, N, H, W): float32
    0 or 1, disjoint. previous_masks (N, H, W): float32 in [0, 1], what a network may have predicted on the frame before
    frames[0], in the same window. valid (T, H, W): float32, 0 where the truth is unknown (void) or outside the image.
    An object that the scene does not have is an empty mask. `DataLoader`'s collation stacks samples into a `Sample`
    with a leading batch axis.
    """

    template: torch.Tensor
    template_masks: torch.Tensor
    frames: torch.Tensor
    previous_masks: torch.Tensor
    true_masks: torch.Tensor
    valid: torch.Tensor


@dataclass(frozen=True)
class Layer:
    """An image (h, w, 3) uint8 in the scene, in a pose; the image may be None where only masks will be rendered.

    masks (K, h, w) uint8 0 or 255, one for each object of the image that matters; slots: which of the sample's objects
    each of them is (or DISTRACTOR). void (h, w) bool or None: where the image's truth is unknown. cut_out: only the
    image's first object is pasted, not its background.
    """

    image: np.ndarray | None
    masks: np.ndarray
    slots: tuple[int, ...]
    placement: Placement
    pose: Pose
    void: np.ndarray | None = None
    cut_out: bool = False


@dataclass(frozen=True)
class Scene:
    """What a camera could see at one moment: layers from back to front, the frame's `size` (h, w), N `objects`."""

    layers: Sequence[Layer]
    size: tuple[int, int]
    objects: int


class View(NamedTuple):
    """A scene through a window: image (H, W, 3) uint8 or None, masks (N, H, W), distractor and valid (H, W) bool."""

    image: np.ndarray | None
    masks: np.ndarray
    distractor: np.ndarray
    valid: np.ndarray


def render(scene: Scene, window: Window, canvas: tuple[int, int], image: bool = True) -> View:
    """Composes a scene's layers through `window` on a canvas (H, W).

    With `image=False` only the masks are rendered, which is all that a previous mask needs.
    """
    masks = np.zeros((scene.objects + 1, *canvas), bool)  # the last one, index DISTRACTOR, collects the distractors
    inside = augment.inside_scene(window, canvas, scene.size)
    picture, valid = None, inside.copy()
    for layer in scene.layers:
        points = augment.sampling_map(window, canvas, layer.placement, layer.pose)
        covers = [augment.warp_mask(mask, points) for mask in layer.masks]
        if image:
            picture = _paint(picture, layer, points, covers)
        if not layer.cut_out:
            valid &= _known(layer, points)
        for slot, cover in zip(layer.slots, covers, strict=True):
            masks &= cover <= 127
            masks[slot] |= cover > 127
    masks &= inside
    return View(picture, masks[: scene.objects], masks[DISTRACTOR], valid)


def _paint(picture: np.ndarray | None, layer: Layer, points: np.ndarray, covers: list[np.ndarray]) -> np.ndarray:
    """The picture with one more layer on it; a cut-out's edge is feathered so that it leaves no hard seam to learn."""
    image = augment.warp_image(layer.image, points)
    if not layer.cut_out:
        return image
    alpha = cv2.GaussianBlur(covers[0], (0, 0), 1.0)[..., None].astype(np.float32) / 255
    return (picture + alpha * (image.astype(np.float32) - picture) + 0.5).astype(np.uint8)


def _known(layer: Layer, points: np.ndarray) -> np.ndarray:
    known = augment.inside_photo(points, layer.masks.shape[1:])
    if layer.void is not None:
        known &= cv2.remap(layer.void.astype(np.uint8), points, None, cv2.INTER_NEAREST) == 0
    return known


def scene_box(scene: Scene, slots: slice = slice(None)) -> Box | None:
    """The box around a scene's objects (or only some), in scene pixels, to within a few; None where none is seen."""
    height, width = scene.size
    canvas = (96, max(16, round(96 * width / height)))
    box = augment.mask_box(render(scene, Window(0, 0, width, height), canvas, image=False).masks[slots].any(0))
    if box is None:
        return None
    across, down = width / canvas[1], height / canvas[0]
    return box[0] * across, box[1] * down, box[2] * across, box[3] * down


@dataclass(frozen=True)
class Recipe:
    """How scenes become samples.

    whole, whole_template: probability that the current frame (the template) is shown whole instead of cropped.
    grow: range of the factor between the object's box and its crop. empty: probability of an empty previous mask; the
    crop is larger then (`LOST`), and so it is where the objects are hidden.
    mistakes: strength of `predicted_mask`. colour: how different samples look (template and frames of one sample
    differ by 0.3 of it). recolour: probability that all hues of a sample are turned by one random angle, so that an
    object can't be known by its colours. degrade: probability of each kind of poor picture.
    """

    whole: float = 0.15
    whole_template: float = 0.05
    grow: tuple[float, float] = (1.3, 2.0)
    empty: float = 0.05
    mistakes: float = 1.0
    colour: float = 1.0
    recolour: float = 0.0
    degrade: float = 0.15


STILLS_RECIPE = Recipe()
VIDEO_RECIPE = Recipe(mistakes=0.7)  # its previous masks are already some frames old


def make_sample(rng: np.random.Generator, template: Scene, previous: Scene, frames: Sequence[Scene],
                canvas: tuple[int, int], recipe: Recipe) -> Sample:
    """Shows a scene as the video loop would: cropped, in some camera's colours, after a prediction with mistakes.

    template, previous and each of frames are the same scene at different moments. The frames' window follows the
    previous mask, because that is all the loop knows when it crops; where that is empty, the place where the objects
    were lost.
    """
    empty = rng.random() < recipe.empty
    template_window = _window(rng, template, canvas, recipe.whole_template, recipe.grow, jitter=0.04)
    lost = empty or scene_box(previous) is None
    window = (_window(rng, _unhidden(previous), canvas, recipe.whole, LOST, jitter=0.5) if lost else
              _window(rng, previous, canvas, recipe.whole, recipe.grow, jitter=0.12))
    before = render(previous, window, canvas, image=False)
    guesses = np.zeros(before.masks.shape, np.float32) if empty else _guesses(rng, before, recipe.mistakes)
    guesses *= augment.inside_scene(window, canvas, previous.size)  # mistakes don't reach the letterbox either
    colour = _camera(rng, recipe)
    shown = _shown(rng, template, template_window, canvas, colour, recipe)
    colour = augment.random_colour(rng, 0.3 * recipe.colour, around=colour)
    views = [_shown(rng, frame, window, canvas, colour, recipe) for frame in frames]
    return Sample(
        torch.from_numpy(np.ascontiguousarray(shown.image.transpose(2, 0, 1))),
        torch.from_numpy(shown.masks.astype(np.float32)),
        torch.from_numpy(np.stack([view.image.transpose(2, 0, 1) for view in views])),
        torch.from_numpy(guesses),
        torch.from_numpy(np.stack([view.masks for view in views]).astype(np.float32)),
        torch.from_numpy(np.stack([view.valid for view in views]).astype(np.float32)),
    )


def _camera(rng: np.random.Generator, recipe: Recipe) -> Colour:
    """The colours of one sample: a camera's, or another world's."""
    colour = augment.random_colour(rng, recipe.colour)
    if recipe.recolour and rng.random() < recipe.recolour:
        return replace(colour, hue=rng.uniform(-180, 180))
    return colour


def _window(rng: np.random.Generator, scene: Scene, canvas: tuple[int, int], whole: float, grow: tuple[float, float],
            jitter: float) -> Window:
    """The window around a scene's objects, not quite at their box; with probability `whole` the whole frame."""
    box = scene_box(scene)
    if box is None or rng.random() < whole:
        return augment.whole_window(scene.size, canvas)
    box = augment.jittered_box(rng, box, shift=jitter, stretch=jitter)
    return augment.object_window(box, math.exp(rng.uniform(*np.log(grow))), scene.size, canvas)


def _unhidden(scene: Scene) -> Scene:
    """The scene without the layers that are mere distractors: its objects are seen where they are hidden."""
    return replace(scene, layers=[layer for layer in scene.layers if {*layer.slots} != {DISTRACTOR}])


def _guesses(rng: np.random.Generator, view: View, strength: float) -> np.ndarray:
    """Predictions of all objects: float32 (N, H, W) whose sum is at most 1."""
    everything = view.masks.any(0) | view.distractor
    guesses = np.stack([augment.predicted_mask(rng, mask, strength, everything & ~mask) for mask in view.masks])
    return (guesses / np.maximum(guesses.sum(0), 1.0)).astype(np.float32)


def _shown(rng: np.random.Generator, scene: Scene, window: Window, canvas: tuple[int, int], colour: Colour,
           recipe: Recipe) -> View:
    """A scene through a camera: a view whose image has its colours and faults, and the letterbox's fill."""
    view = render(scene, window, canvas)
    image = augment.degrade(rng, colour.apply(view.image), recipe.degrade)
    image[~augment.inside_scene(window, canvas, scene.size)] = augment.FILL
    return view._replace(image=image)


def check_counts(**counts: int) -> None:
    """Raises ValueError for a number of objects, frames, ... below 1."""
    for name, count in counts.items():
        if count < 1:
            raise ValueError(f"{name} must be at least 1, got {count}")


def quiet_worker() -> None:
    """Keeps OpenCV to one thread inside a DataLoader worker: the workers are the parallelism."""
    if get_worker_info() is not None:
        cv2.setNumThreads(0)


class Mixture(Dataset):
    """Draws each sample from one of several datasets: `Mixture([(stills, 0.35), (video, 0.65)], length=10_000)`.

    Sample i depends on `seed` and i alone: it is sample i of the dataset chosen for i.
    """

    def __init__(self, parts: Sequence[tuple[Dataset, float]], length: int, seed: int = 0) -> None:
        weights = np.array([weight for _, weight in parts], float)
        if len(weights) == 0 or (weights < 0).any() or weights.sum() == 0:
            raise ValueError(f"Mixture needs parts of weight 0 or more, not all 0; got weights {weights.tolist()}")
        self.datasets = [dataset for dataset, _ in parts]
        self.shares = weights / weights.sum()
        self.length, self.seed = length, seed

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Sample:
        rng = np.random.default_rng([self.seed, index, 2])  # not the stream of the sample itself
        return self.datasets[rng.choice(len(self.datasets), p=self.shares)][index]


def sample_sheet(dataset: Dataset, count: int, path: str | Path) -> None:
    """Writes a picture of the first `count` samples: a row each, template, frame with previous mask, with true mask.

    Void and letterbox are darkened in the last column; a rollout adds a column per frame. Atomic: the file is there
    complete, or not at all. Raises ValueError for a name that does not end in .png.
    """
    check_counts(count=count)
    if Path(path).suffix.lower() != ".png":
        raise ValueError(f"a sheet is written as PNG, but the name is {path}; end it in .png")
    rows = np.concatenate([sheet_row(dataset[index]) for index in range(count)])
    with atomic_path(path) as temporary:
        Image.fromarray(rows).save(temporary)


def sheet_row(sample: Sample) -> np.ndarray:
    """One sample as a picture (H, (2 + T) W, 3) uint8: a row of `sample_sheet`."""
    first = _picture(sample.template, sample.template_masks)
    cells = [first, _picture(sample.frames[0], sample.previous_masks)]
    for frame, masks, valid in zip(sample.frames, sample.true_masks, sample.valid, strict=True):
        cell = _picture(frame, masks)
        cells.append(np.where(valid.numpy()[..., None] > 0, cell, cell // 3))
    return np.concatenate(cells, axis=1)


def _picture(image: torch.Tensor, masks: torch.Tensor) -> np.ndarray:
    return overlay(np.ascontiguousarray(image.numpy().transpose(1, 2, 0)), label_map(masks.numpy() > 0.5))
