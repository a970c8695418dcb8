"""Frames of one video as training samples: template and current frame any distance apart, previous mask near by.

Stage 2 of the paper's training (section 3.5). Built in notebook 08.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from torch.utils.data import Dataset

from ranet_edu.datasets.augment import (
    CAMERA_RANGE,
    Box,
    Placement,
    Pose,
    PoseRange,
    mask_box,
    nearby_pose,
    random_pose,
)
from ranet_edu.datasets.davis import DavisDataset, DavisSequence
from ranet_edu.datasets.samples import (
    DISTRACTOR,
    VIDEO_RECIPE,
    Layer,
    Recipe,
    Sample,
    Scene,
    check_counts,
    make_sample,
    quiet_worker,
    scene_box,
)
from ranet_edu.datasets.stills import StillPairs, cut_out, out_of_sight, photo_layer, shuffled

VIDEO_RANGE = PoseRange(rotation=15, scale=(0.85, 1.2), shift=0.05, bend=0.04)  # video moves enough by itself
SMALLEST = 0.0005  # of the frame: what a template must show of an object
DOUBLE = 0.6  # how often the object's double stands beside it in a transplanted scene
TWIN = 0.4  # how often what goes past looks like the object
KNOWN = 0.6  # how often the template shows it already, so that it may be an object or belong to one
MISTAKEN = 0.3  # how often the previous masks took it for what it isn't, where it and the object differ in looks
FIRST = slice(0, 1)  # the first object among a sample's
PART = 0.7  # how often what moves along with the first object is part of it
LARGER = (2.0, 8.0)  # how much larger than the objects what hides them is
NOT_YET = 0.4  # how often what hides the objects isn't there yet in the frame of the previous masks


@lru_cache(maxsize=128)
def read_labels(video: DavisSequence, frame: int) -> np.ndarray:
    """Annotation `frame` of a video, uint8 (H, W), from memory if it was read lately."""
    return video.read_annotation(frame)


class Triplet(NamedTuple):
    """What a sample is made of: frames by their number in `video`, and the labels of the objects to segment."""

    video: DavisSequence
    template: int
    previous: int
    frames: list[int]
    objects: list[int]


class VideoTriplets(Dataset):
    """Template, previous mask and T consecutive frames of one video: a map-style dataset of `Sample`s.

    davis: a `DavisDataset` (or any sequence of `DavisSequence`s), or DAVIS's root folder, of which `split` of `year` is
    read. size: the canvas (H, W). objects: N; of a video with more, N are chosen at random and the rest are
    distractors, of one with fewer the last masks stay empty (but see transplant). transplant: the probability that the
    objects are cut out and put before a frame of another video, whose own objects are distractors then, often with a
    double beside them, an object as well where there are fewer than N: a network that learned the few videos by heart
    is wrong there. vanish: the probability that the first of these is out of sight after the previous mask, for some
    frames or to the end. passing: the probability that something, often the object's double, goes past in front of the
    objects while the rollout lasts, and may hide them; where there are fewer than N it may be one itself, so that two
    objects cross each other's way. hide: the probability that something larger comes by, close to the camera, and hides
    the objects for some frames, as a passer-by does; it may not be there yet in the frame of the previous masks, and
    these may have taken it for the first object. companion: the probability that something touches the first object and
    moves along with it, as a bicycle with its rider; mostly it is part of the object. compound: the probability that a
    double, or what goes past, belongs to the first object, which then is two things that stand apart. stills,
    strangers: the probability that the surroundings of a transplanted object are a photo of `stills`, and that what
    goes past or along and is no double is one of their objects: the things and places of a few videos come again and
    again. rollout: T frames, 1 to 3 frames apart, forwards or backwards in time. max_interval: the previous mask is of
    a frame at most so many frames from the current one. length: samples in one epoch (default: the number of frames);
    any index from 0 on is valid, and sample i depends on `seed` and i alone, whatever the number of workers. Raises
    ValueError for strangers without stills.
    """

    def __init__(self, davis: DavisDataset | Sequence[DavisSequence] | str | Path, split: str = "train",
                 size: tuple[int, int] = (256, 448), objects: int = 1, rollout: int = 1, max_interval: int = 5,
                 seed: int = 0, length: int | None = None, year: str = "2016", transplant: float = 0.0,
                 passing: float = 0.0, compound: float = 0.0, stills: StillPairs | None = None, strangers: float = 0.0,
                 vanish: float = 0.0, companion: float = 0.0, hide: float = 0.0,
                 recipe: Recipe = VIDEO_RECIPE) -> None:
        check_counts(objects=objects, rollout=rollout, max_interval=max_interval)
        if strangers and stills is None:
            raise ValueError(f"strangers is {strangers}; they are things and places of stills, and there are none")
        self.videos = DavisDataset(davis, year=year, split=split) if isinstance(davis, (str, Path)) else davis
        self.moments = [(video, frame) for video in range(len(self.videos)) for frame in range(len(self.videos[video]))]
        self.size, self.objects, self.rollout, self.max_interval = size, objects, rollout, max_interval
        self.seed, self.transplant, self.passing, self.compound, self.recipe = (
            seed, transplant, passing, compound, recipe
        )
        self.stills, self.strangers, self.vanish, self.companion = stills, strangers, vanish, companion
        self.hide = hide
        self.length = len(self.moments) if length is None else length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Sample:
        quiet_worker()
        rng = np.random.default_rng([self.seed, index])
        video, template, previous, frames, chosen = self._draw(rng, index)
        pose = random_pose(rng, VIDEO_RANGE)
        later = nearby_pose(rng, pose, 0.15)
        scenes = [video_scene(video, template, chosen, pose, self.objects),
                  video_scene(video, previous, chosen, later, self.objects, image=False),
                  *(video_scene(video, frame, chosen, later, self.objects) for frame in frames)]
        if len(self.videos) > 1 and rng.random() < self.transplant:
            scenes = self._transplanted(rng, video, scenes)
        if self.companion and rng.random() < self.companion:
            scenes = self._accompanied(rng, video, scenes)
        if self.passing and rng.random() < self.passing:
            scenes = self._passed(rng, video, scenes)
        if self.hide and rng.random() < self.hide:
            scenes = self._hidden(rng, video, scenes)
        return make_sample(rng, scenes[0], scenes[1], scenes[2:], self.size, self.recipe)

    def triplet(self, index: int) -> Triplet:
        """Which frames sample `index` is made of. Notebook 08."""
        return self._draw(np.random.default_rng([self.seed, index]), index)

    def _draw(self, rng: np.random.Generator, index: int) -> Triplet:
        number, current = self.moments[shuffled(index, len(self.moments), self.seed)]
        video = self.videos[number]
        template, chosen = self._template(rng, video)
        previous, frames = self._times(rng, len(video), current)
        return Triplet(video, template, previous, frames, chosen)

    def _transplanted(self, rng: np.random.Generator, video: DavisSequence, scenes: list[Scene]) -> list[Scene]:
        """The same moments in other surroundings; the double, if there is one, behind the objects."""
        grounds = self._surroundings(rng, video, scenes[0].size)
        doubles = _doubles(rng, scenes[0], self._slot(rng, scenes[0])) if rng.random() < DOUBLE else [[], []]
        first, later = ([ground, *double] for ground, double in zip(grounds, doubles, strict=True))
        moved = [transplanted(scenes[0], first), *(transplanted(scene, later) for scene in scenes[1:])]
        if rng.random() < self.vanish:
            moved[2:] = out_of_sight(rng, moved[2:])
        return moved

    def _surroundings(self, rng: np.random.Generator, video: DavisSequence, size: tuple[int, int]) -> list[Layer]:
        """Two moments of another video, or of a photo, that fill a scene of `size`; their objects are distractors."""
        if rng.random() < self.strangers:
            photo = photo_layer(rng, self.stills.grounds[rng.integers(len(self.stills.grounds))], size)
            return [photo, replace(photo, pose=nearby_pose(rng, photo.pose, 0.3))]
        others = [number for number in range(len(self.videos)) if self.videos[number].name != video.name]
        ground = self.videos[rng.choice(others)]
        return [_filling_frame(rng, ground, size) for _ in range(2)]

    def _accompanied(self, rng: np.random.Generator, video: DavisSequence, scenes: list[Scene]) -> list[Scene]:
        """The same moments with something joined to the first object; it is out of sight when the object is."""
        boxes = [scene_box(scene, FIRST) for scene in scenes]
        if boxes[0] is None:
            return scenes
        thing, alike = self._thing(rng, video, scenes[0].size)
        part = rng.random() < PART
        thing = replace(_sized(rng, thing, boxes[0]), slots=(0 if part else DISTRACTOR,))
        moments = along(rng, thing, boxes)
        if not alike and moments[1] and rng.random() < MISTAKEN:  # the part was lost, or the stranger claimed
            moments[1] = replace(moments[1], slots=(DISTRACTOR if part else 0,))
        behind = rng.random() < 0.5
        return [with_thing(scene, moment, behind) if moment else scene
                for scene, moment in zip(scenes, moments, strict=True)]

    def _passed(self, rng: np.random.Generator, video: DavisSequence, scenes: list[Scene]) -> list[Scene]:
        """The same moments with something that goes past, before the objects, from the previous mask's frame on."""
        start, box = scene_box(scenes[0]), scene_box(scenes[1])
        if start is None or box is None:
            return scenes
        thing, alike = self._thing(rng, video, scenes[0].size)
        known = rng.random() < KNOWN
        slot = self._slot(rng, scenes[0]) if known else DISTRACTOR
        thing = replace(_sized(rng, thing, box), slots=(slot,))
        first = in_front(scenes[0], thing, _beside(rng, start)) if known else scenes[0]
        later = [in_front(scene, thing, point) for scene, point in zip(scenes[1:], way_past(rng, box), strict=False)]
        if not alike and slot != 0 and rng.random() < MISTAKEN:
            later[0] = mistaken(later[0])
        return [first, *later]

    def _hidden(self, rng: np.random.Generator, video: DavisSequence, scenes: list[Scene]) -> list[Scene]:
        """The same moments with something large that comes between the objects and the camera."""
        box = scene_box(scenes[1])
        if box is None:
            return scenes
        thing, alike = self._thing(rng, video, scenes[0].size)
        thing = replace(_sized(rng, thing, box, LARGER), slots=(DISTRACTOR,))
        before, *later = [in_front(scene, thing, point) for scene, point in
                          zip(scenes[1:], way_across(rng, box, thing.placement), strict=False)]
        if rng.random() < NOT_YET:
            before = scenes[1]
        elif not alike and rng.random() < MISTAKEN:
            before = mistaken(before)
        return [scenes[0], before, *later]

    def _thing(self, rng: np.random.Generator, video: DavisSequence, size: tuple[int, int]) -> tuple[Layer, bool]:
        """Something that may go past or along, cut out, and whether it is from the video itself."""
        twin = rng.random() < TWIN
        if not twin and rng.random() < self.strangers:
            subject = self.stills.subjects[rng.integers(len(self.stills.subjects))]
            return cut_out(rng, *subject, size, DISTRACTOR), False
        actor = video if twin else self.videos[int(rng.integers(len(self.videos)))]
        frame, (label, *_) = self._template(rng, actor)
        return _cut_out(video_scene(actor, frame, [label], random_pose(rng, VIDEO_RANGE), 1)), actor is video

    def _slot(self, rng: np.random.Generator, scene: Scene) -> int:
        """Which object one more thing is: part of the first, one of its own where there is room, or none."""
        if rng.random() < self.compound:
            return 0
        shown = {slot for layer in scene.layers for slot in layer.slots if slot != DISTRACTOR}
        return len(shown) if len(shown) < self.objects else DISTRACTOR

    def _template(self, rng: np.random.Generator, video: DavisSequence) -> tuple[int, list[int]]:
        """A frame that shows some object, and up to N of the objects it shows (some frames are empty)."""
        for frame in rng.permutation(len(video)).tolist():
            labels = read_labels(video, frame)
            counts = np.bincount(labels.ravel(), minlength=256)
            shown = [k for k in range(1, 256) if counts[k] >= SMALLEST * labels.size]
            if shown:
                return frame, rng.permutation(shown)[: self.objects].tolist()
        raise ValueError(f"{Path(video.annotation_paths[0]).parent}: no annotation shows an object")

    def _times(self, rng: np.random.Generator, count: int, current: int) -> tuple[int, list[int]]:
        """The previous mask's frame, and the rollout's; at the video's ends the last frame stands still."""
        direction = int(rng.choice([-1, 1]))
        interval = 1 + int(self.max_interval * rng.random() ** 2)  # the loop's own interval, 1, is drawn most often
        stride = int(rng.integers(1, 4))
        frames = [current + direction * stride * step for step in range(self.rollout)]
        previous = current - direction * interval
        if not 0 <= previous < count:
            previous = current + direction * interval
        return int(np.clip(previous, 0, count - 1)), np.clip(frames, 0, count - 1).tolist()


def video_scene(video: DavisSequence, frame: int, chosen: list[int], pose: Pose, objects: int,
                image: bool = True) -> Scene:
    """One frame as a scene of a single layer: the chosen labels are objects 0, 1, ..., all others distractors."""
    labels = read_labels(video, frame)
    present = np.flatnonzero(np.bincount(labels.ravel(), minlength=256)).tolist()
    others = [k for k in present if k not in (0, *chosen)]
    masks = (labels == np.reshape([*chosen, *others], (-1, 1, 1))).astype(np.uint8) * 255
    slots = (*range(len(chosen)), *[DISTRACTOR] * len(others))
    height, width = labels.shape
    centre = ((width - 1) / 2, (height - 1) / 2)
    picture = video.read_frame(frame) if image else None
    layer = Layer(picture, masks, slots, Placement(centre, centre, (width, height)), pose)
    return Scene([layer], (height, width), objects)


def transplanted(scene: Scene, behind: Sequence[Layer]) -> Scene:
    """The objects of a `video_scene`, cut out of their frame, before other layers. Their distractors stay behind."""
    (layer,) = scene.layers
    kept = [number for number, slot in enumerate(layer.slots) if slot != DISTRACTOR]
    objects = [replace(layer, masks=_core(layer.masks[n])[None], slots=(layer.slots[n],), cut_out=True) for n in kept]
    return replace(scene, layers=[*behind, *objects])


def _core(mask: np.ndarray) -> np.ndarray:
    """A mask without its outermost pixels, which are half background."""
    return cv2.erode(mask, np.ones((3, 3), np.uint8))


def _filling_frame(rng: np.random.Generator, video: DavisSequence, size: tuple[int, int]) -> Layer:
    """Some frame of a video as background that fills a scene of `size`; its objects are distractors."""
    scene = video_scene(video, int(rng.integers(len(video))), [], random_pose(rng, CAMERA_RANGE), 1)
    (layer,) = scene.layers
    scale = max(size[0] / scene.size[0], size[1] / scene.size[1])
    middle = ((size[1] - 1) / 2, (size[0] - 1) / 2)
    return replace(layer, placement=replace(layer.placement, scene_point=middle, scale=scale))


def _doubles(rng: np.random.Generator, scene: Scene, slot: int) -> list[list[Layer]]:
    """The first object of a `video_scene` once more, near its place: layers for this scene and for later ones."""
    (layer,) = scene.layers
    mask, around = _core(layer.masks[0]), scene_box(scene)
    box = mask_box(mask > 0)
    if box is None or around is None:
        return [[], []]
    extent = (box[2] - box[0], box[3] - box[1])
    placement = Placement(_beside(rng, around), ((box[0] + box[2] - 1) / 2, (box[1] + box[3] - 1) / 2), extent)
    double = replace(layer, masks=mask[None], slots=(slot,), placement=placement, cut_out=True)
    first = random_pose(rng, VIDEO_RANGE)
    return [[replace(double, pose=first)], [replace(double, pose=nearby_pose(rng, first, 0.3))]]


def _cut_out(scene: Scene) -> Layer:
    """The first object of a `video_scene` as a layer of its own."""
    (layer,) = scene.layers
    left, top, right, bottom = mask_box(layer.masks[0] > 0)
    placement = Placement((0, 0), ((left + right - 1) / 2, (top + bottom - 1) / 2), (right - left, bottom - top))
    return replace(layer, masks=_core(layer.masks[0])[None], placement=placement, cut_out=True)


def _sized(rng: np.random.Generator, thing: Layer, beside: Box, size: tuple[float, float] = (0.5, 1.35)) -> Layer:
    """A cut-out about as large as what fills the box `beside`, times a factor in the range `size`."""
    scale = math.exp(rng.uniform(*np.log(size))) * _side(beside) / math.sqrt(math.prod(thing.placement.extent))
    return replace(thing, placement=replace(thing.placement, scale=scale))


def way_past(rng: np.random.Generator, box: Box) -> Iterator[tuple[float, float]]:
    """Points, one for each moment, on a straight way from somewhere at the box to somewhere beyond."""
    size = np.array([box[2] - box[0], box[3] - box[1]])
    point = np.array([box[0] + box[2], box[1] + box[3]]) / 2 + rng.uniform((-1.2, -0.4), (1.2, 0.4)) * size
    step = rng.uniform((-0.4, -0.1), (0.4, 0.1)) * size
    while True:
        yield tuple(point.tolist())
        point = point + step


def way_across(rng: np.random.Generator, box: Box, thing: Placement) -> Iterator[tuple[float, float]]:
    """Points, one for each moment, of the middle of a thing that comes in front of what fills the box, from a side.

    Where it is larger than the box, its middle may be anywhere between the places where it touches the box and where
    it has passed the box's middle; then it goes on by a part of the box's width, or of its own, each moment.
    """
    half = np.array([box[2] - box[0], box[3] - box[1]]) / 2
    reach = np.array(thing.extent) / 2 * thing.scale
    side = rng.choice([-1, 1])
    point = np.array([box[0] + box[2], box[1] + box[3]]) / 2
    point += (side * rng.uniform(0, reach[0] + half[0]), rng.uniform(-0.5, 0.5) * reach[1])
    step = np.array([-side * rng.uniform(0.1, 0.6) * rng.choice([half[0], reach[0]]), rng.uniform(-0.1, 0.1) * half[1]])
    while True:
        yield tuple(point.tolist())
        point = point + step


def along(rng: np.random.Generator, thing: Layer, boxes: Sequence[Box | None]) -> list[Layer | None]:
    """The thing at each moment as it moves with what fills `boxes`, one for each moment; None where the box is."""
    place, goal = rng.uniform(-0.1, 1.1, 2), nearby_pose(rng, thing.pose, 0.3)
    poses = [thing.pose.towards(goal, step / len(boxes)) for step in range(len(boxes))]
    first = _side(boxes[0])
    return [box and _joined(replace(thing, pose=pose), box, place, _side(box) / first)
            for box, pose in zip(boxes, poses, strict=True)]


def _joined(thing: Layer, box: Box, place: np.ndarray, growth: float) -> Layer:
    """The thing at a place of a box ((0, 0): its upper left corner, (1, 1): the other), larger as the box is."""
    point = np.array(box[:2]) + place * (box[2] - box[0], box[3] - box[1])
    scale = thing.placement.scale * growth
    return replace(thing, placement=replace(thing.placement, scene_point=tuple(point.tolist()), scale=scale))


def _side(box: Box) -> float:
    """The side of the square of a box's area."""
    return math.sqrt((box[2] - box[0]) * (box[3] - box[1]))


def with_thing(scene: Scene, thing: Layer, behind: bool) -> Scene:
    """The scene with one more thing in front of all others, or else behind all that is cut out."""
    place = 1 if behind else len(scene.layers)
    return replace(scene, layers=[*scene.layers[:place], thing, *scene.layers[place:]])


def in_front(scene: Scene, thing: Layer, point: tuple[float, float]) -> Scene:
    """The scene with one more thing in front of all others, its middle at `point`."""
    placed = replace(thing, placement=replace(thing.placement, scene_point=point))
    return with_thing(scene, placed, behind=False)


def mistaken(scene: Scene) -> Scene:
    """The scene with the thing in front of all others taken for the first object, and that object for it."""
    *layers, thing = scene.layers
    (slot,) = thing.slots
    others = [replace(layer, slots=tuple(slot if own == 0 else own for own in layer.slots)) for layer in layers]
    return replace(scene, layers=[*others, replace(thing, slots=(0,))])


def _beside(rng: np.random.Generator, box: Box) -> tuple[float, float]:
    """The middle (x, y) of something next to what fills a box: mostly beside it, sometimes touching."""
    middle, size = np.array([box[0] + box[2], box[1] + box[3]]) / 2, np.array([box[2] - box[0], box[3] - box[1]])
    step = np.array([rng.choice([-1, 1]) * rng.uniform(0.6, 1.4), rng.uniform(-0.4, 0.4)])
    return tuple((middle + step * size).tolist())
