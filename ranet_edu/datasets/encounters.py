"""What may happen to a video's objects that the few videos at hand don't show: other places, doubles, passers-by.

Each function and method takes a sample's scenes (template, frame of the previous masks, frames of the rollout) and puts
the same thing into all of them, at the place where it is at that moment. Built in notebook 08.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace

import cv2
import numpy as np

from ranet_edu.datasets.augment import CAMERA_RANGE, Box, Placement, mask_box, nearby_pose, random_pose
from ranet_edu.datasets.davis import DavisSequence
from ranet_edu.datasets.samples import DISTRACTOR, Layer, Scene, scene_box
from ranet_edu.datasets.stills import StillPairs, cut_out, out_of_sight, photo_layer
from ranet_edu.datasets.video_scenes import VIDEO_RANGE, draw_template, video_scene

DOUBLE = 0.6  # how often the object's double stands beside it in a transplanted scene
TWIN = 0.4  # how often what goes past looks like the object
LARGE_TWIN = 0.1  # the same of what hides it: next to a camera that follows an object there is seldom another like it
KNOWN = 0.6  # how often the template shows it already, so that it may be an object or belong to one
MISTAKEN = 0.3  # how often the previous masks took it for what it isn't, where it and the object differ in looks
FIRST = slice(0, 1)  # the first object among a sample's
PART = 0.7  # how often what moves along with the first object is part of it
LARGER = (2.0, 8.0)  # how much larger than the objects what hides them is
NOT_YET = 0.4  # how often what hides the objects isn't there yet in the frame of the previous masks


@dataclass(frozen=True)
class Chances:
    """How often something happens in a sample of a video, each a probability.

    transplant: the objects are cut out and put before a frame of another video, whose own objects are distractors then,
    often with a double beside them, an object as well where there are fewer than N: a network that learned the few
    videos by heart is wrong there. vanish: the first of these is out of sight after the previous mask, for some frames
    or to the end. companion: something touches the first object and moves along with it, as a bicycle with its rider;
    mostly it is part of the object. passing: something, often the object's double, goes past in front of the objects
    while the rollout lasts, and may hide them; where there are fewer than N it may be one itself, so that two objects
    cross each other's way. hide: something larger comes by, close to the camera, and hides the objects for some frames,
    as a passer-by does; it may not be there yet in the frame of the previous masks, and these may have taken it for the
    first object. compound: a double, or what goes past, belongs to the first object, which then is two things that
    stand apart. strangers: the surroundings of a transplanted object are a photo of the stills, and what goes past or
    along and is no double is one of their objects: the things and places of a few videos come again and again.
    """

    transplant: float = 0.0
    vanish: float = 0.0
    companion: float = 0.0
    passing: float = 0.0
    hide: float = 0.0
    compound: float = 0.0
    strangers: float = 0.0

    def __post_init__(self) -> None:
        for name in (field.name for field in fields(self)):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must lie between 0 and 1")


class Encounters:
    """What happens to the objects of `videos`, by `chances`.

    objects: N of a sample. stills: where strangers come from. Raises ValueError for strangers without stills.
    """

    def __init__(self, chances: Chances, videos: Sequence[DavisSequence], objects: int,
                 stills: StillPairs | None = None) -> None:
        if chances.strangers and stills is None:
            needed = "they are things and places of stills, and there are none"
            raise ValueError(f"strangers is {chances.strangers}; {needed}")
        self.chances, self.videos, self.objects, self.stills = chances, videos, objects, stills

    def happen(self, rng: np.random.Generator, video: DavisSequence, scenes: list[Scene]) -> list[Scene]:
        """The scenes of a sample of `video` after whatever chance brings; with all chances 0 they stay as they are."""
        if self._others(video) and rng.random() < self.chances.transplant:
            scenes = self.transplanted(rng, video, scenes)
        if rng.random() < self.chances.companion:
            scenes = self.accompanied(rng, video, scenes)
        if rng.random() < self.chances.passing:
            scenes = self.passed(rng, video, scenes)
        if rng.random() < self.chances.hide:
            scenes = self.hidden(rng, video, scenes)
        return scenes

    def transplanted(self, rng: np.random.Generator, video: DavisSequence, scenes: list[Scene]) -> list[Scene]:
        """The same moments in other surroundings; the double, if there is one, behind the objects."""
        grounds = self._surroundings(rng, video, scenes[0].size)
        doubles = _doubles(rng, scenes[0], self._slot(rng, scenes[0])) if rng.random() < DOUBLE else [[], []]
        first, later = ([ground, *double] for ground, double in zip(grounds, doubles, strict=True))
        moved = [on_other_ground(scenes[0], first), *(on_other_ground(scene, later) for scene in scenes[1:])]
        if rng.random() < self.chances.vanish:
            moved[2:] = out_of_sight(rng, moved[2:])
        return moved

    def _surroundings(self, rng: np.random.Generator, video: DavisSequence, size: tuple[int, int]) -> list[Layer]:
        """Two moments of another video, or of a photo, that fill a scene of `size`; their objects are distractors."""
        if rng.random() < self.chances.strangers:
            photo = photo_layer(rng, self.stills.grounds[rng.integers(len(self.stills.grounds))], size)
            return [photo, replace(photo, pose=nearby_pose(rng, photo.pose, 0.3))]
        ground = self.videos[rng.choice(self._others(video))]
        return [_filling_frame(rng, ground, size) for _ in range(2)]

    def _others(self, video: DavisSequence) -> list[int]:
        """Which of the videos are not this one; of two folders, each may have one of the same name."""
        return [number for number, other in enumerate(self.videos) if other.frame_paths != video.frame_paths]

    def accompanied(self, rng: np.random.Generator, video: DavisSequence, scenes: list[Scene]) -> list[Scene]:
        """The same moments with something joined to the first object; it is out of sight when the object is."""
        boxes = [scene_box(scene, FIRST) for scene in scenes]
        if boxes[0] is None:
            return scenes
        thing, alike = self._thing(rng, video, scenes[0].size, TWIN)
        part = rng.random() < PART
        thing = replace(_sized(rng, thing, boxes[0]), slots=(0 if part else DISTRACTOR,))
        moments = along(rng, thing, boxes)
        if not alike and moments[1] and rng.random() < MISTAKEN:  # the part was lost, or the stranger claimed
            moments[1] = replace(moments[1], slots=(DISTRACTOR if part else 0,))
        behind = rng.random() < 0.5
        return [with_thing(scene, moment, behind) if moment else scene
                for scene, moment in zip(scenes, moments, strict=True)]

    def passed(self, rng: np.random.Generator, video: DavisSequence, scenes: list[Scene]) -> list[Scene]:
        """The same moments with something that goes past, before the objects, from the previous mask's frame on."""
        start, box = scene_box(scenes[0]), scene_box(scenes[1])
        if start is None or box is None:
            return scenes
        thing, alike = self._thing(rng, video, scenes[0].size, TWIN)
        known = rng.random() < KNOWN
        slot = self._slot(rng, scenes[0]) if known else DISTRACTOR
        thing = replace(_sized(rng, thing, box), slots=(slot,))
        first = in_front(scenes[0], thing, _beside(rng, start)) if known else scenes[0]
        later = [in_front(scene, thing, point) for scene, point in zip(scenes[1:], way_past(rng, box), strict=False)]
        if not alike and slot != 0 and rng.random() < MISTAKEN:
            later[0] = mistaken(later[0])
        return [first, *later]

    def hidden(self, rng: np.random.Generator, video: DavisSequence, scenes: list[Scene]) -> list[Scene]:
        """The same moments with something large that comes between the objects and the camera."""
        box = scene_box(scenes[1])
        if box is None:
            return scenes
        thing, alike = self._thing(rng, video, scenes[0].size, LARGE_TWIN)
        thing = replace(_sized(rng, thing, box, LARGER), slots=(DISTRACTOR,))
        before, *later = [in_front(scene, thing, point) for scene, point in
                          zip(scenes[1:], way_across(rng, box, thing.placement), strict=False)]
        if rng.random() < NOT_YET:
            before = scenes[1]
        elif not alike and rng.random() < MISTAKEN:
            before = mistaken(before)
        return [scenes[0], before, *later]

    def _thing(self, rng: np.random.Generator, video: DavisSequence, size: tuple[int, int],
               twin: float) -> tuple[Layer, bool]:
        """Something that may go past or along, cut out, and whether it is from the video itself: `twin` says how
        often, at least."""
        alike = rng.random() < twin
        if not alike and rng.random() < self.chances.strangers:
            subject = self.stills.subjects[rng.integers(len(self.stills.subjects))]
            return cut_out(rng, *subject, size, DISTRACTOR), False
        actor = video if alike else self.videos[int(rng.integers(len(self.videos)))]
        frame, (label, *_) = draw_template(rng, actor, 1)
        return _cut_out(video_scene(actor, frame, [label], random_pose(rng, VIDEO_RANGE), 1)), actor is video

    def _slot(self, rng: np.random.Generator, scene: Scene) -> int:
        """Which object one more thing is: part of the first, one of its own where there is room, or none."""
        if rng.random() < self.chances.compound:
            return 0
        shown = {slot for layer in scene.layers for slot in layer.slots if slot != DISTRACTOR}
        return len(shown) if len(shown) < self.objects else DISTRACTOR


def on_other_ground(scene: Scene, behind: Sequence[Layer]) -> Scene:
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
