"""Photographs with masks as training pairs: two differently transformed copies stand in for two frames of a video.

Stage 1 of the paper's training (section 3.5). Built in notebook 07.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
from PIL import ExifTags, Image
from torch.utils.data import Dataset

from ranet_edu.datasets.augment import (
    CAMERA_RANGE,
    PAPER_RANGE,
    Box,
    Placement,
    half_plane,
    mask_box,
    nearby_pose,
    random_pose,
)
from ranet_edu.datasets.samples import (
    DISTRACTOR,
    STILLS_RECIPE,
    Layer,
    Recipe,
    Sample,
    Scene,
    check_counts,
    make_sample,
    quiet_worker,
    scene_box,
)
from ranet_edu.video.frames import IMAGE_SUFFIXES, check_depth, read_image
from ranet_edu.video.masks import UNREADABLE, read_mask

VOID = 255  # the label of pixels whose truth is unknown
CUT_OUT_SUFFIXES = (".png", ".webp")
SMALLEST_CUT_OUT = 100  # pixels on its longer side: what is smaller would be shown enlarged and blurred
MARGIN = 4  # transparent pixels around a cut-out: it ends where it ends, its picture's border cuts nothing off
RIVALS = (0.4, 0.3, 0.3)  # how often a distractor is the object's double, one of its kind, and anything
SPLIT = 0.3  # how often a compound in its own photo is a part of an object rather than a union of two
KEPT, KEPT_BYTES = 32, 2**28  # photos, and bytes of them, that a process remembers (cut-outs too): one may have 36 MB
Picture = TypeVar("Picture", np.ndarray, tuple[np.ndarray, np.ndarray])


@dataclass(frozen=True)
class Still:
    """A photo, its mask and the labels of the objects in it that are large enough to learn from.

    Of a cut-out, a picture that is transparent around its one object, photo and mask are the same file.
    """

    image: Path
    mask: Path
    labels: tuple[int, ...]

    @property
    def is_cut_out(self) -> bool:
        """Whether it has no surroundings of its own."""
        return self.image == self.mask


def find_stills(folder: str | Path, smallest: float = 0.01) -> list[Still]:
    """The photos of `folder`/images with their masks in `folder`/masks (same name, .png), in order of name.

    Masks are binary (0 and 255, or 0 and 1) or indexed (an object each), with 255 = void in indexed ones; grey edges
    between 0 and 255 are refused. `labels` holds the objects that cover at least `smallest` of the photo; a photo
    without any still serves as background.
    A folder without images/ and masks/ may hold cut-outs instead, at any depth: .png or .webp files, transparent around
    one object each, and at least 100 pixels wide or high (others are passed over). Hidden files are passed over, too.
    Raises FileNotFoundError: no such folder, a photo without mask, a mask without photo. ValueError: no photos, two of
    one name, sizes that differ, unreadable files, masks with grey edges, or not one object in the whole folder.
    """
    folder = Path(folder)
    if not (folder / "images").is_dir() and (cut_outs := find_cut_outs(folder)):
        return cut_outs
    images, masks = _by_stem(folder / "images", IMAGE_SUFFIXES), _by_stem(folder / "masks", (".png",))
    for stem in sorted(images.keys() - masks.keys()):
        raise FileNotFoundError(f"{images[stem]} has no mask: expected {folder / 'masks' / stem}.png")
    for stem in sorted(masks.keys() - images.keys()):
        raise FileNotFoundError(f"{masks[stem]} has no image: expected {folder / 'images' / stem}.jpg (or .png)")
    stills = [_inspect(images[stem], masks[stem], smallest) for stem in sorted(images)]
    if not any(still.labels for still in stills):
        raise ValueError(f"{folder / 'masks'}: no mask holds an object of at least {smallest:.1%} of its photo")
    return stills


def find_cut_outs(folder: Path) -> list[Still]:
    """The pictures in `folder` and its subfolders that are transparent in part, in order of path."""
    found = (path for path in folder.rglob("*") if path.suffix.lower() in CUT_OUT_SUFFIXES)
    paths = sorted(path for path in found if not any(part[0] == "." for part in path.relative_to(folder).parts))
    return [Still(path, path, (1,)) for path in paths if _shows_cut_out(path)]


def _shows_cut_out(path: Path) -> bool:
    try:
        with Image.open(path) as image:
            if max(image.size) < SMALLEST_CUT_OUT or not image.has_transparency_data:
                return False
            low, high = image.convert("RGBA").getchannel("A").getextrema()
            return low < 128 <= high
    except UNREADABLE as error:
        raise ValueError(f"{path} can't be read as an image: {error}") from error


def _by_stem(folder: Path, suffixes: tuple[str, ...]) -> dict[str, Path]:
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is not a folder: stills are read from FOLDER/images and FOLDER/masks")
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in suffixes and path.name[0] != ".")
    if not paths:
        raise ValueError(f"{folder} holds no {' or '.join(suffixes)} file directly in it; subfolders are not read")
    files = {path.stem: path for path in paths}
    for path in paths:
        if files[path.stem] is not path:
            raise ValueError(f"{path} and {files[path.stem]} have the same name; rename or remove one of them")
    return files


def _inspect(image: Path, mask: Path, smallest: float) -> Still:
    labels = read_mask(mask)
    if labels.shape != (size := _photo_size(image)):
        sizes = f"{labels.shape[1]} x {labels.shape[0]}, its photo {image} is {size[1]} x {size[0]}"
        raise ValueError(f"{mask} is {sizes}: a mask has its photo's size")
    counts = np.bincount(labels.ravel(), minlength=256)
    return Still(image, mask, tuple(k for k in range(1, VOID) if counts[k] >= smallest * labels.size))


def _photo_size(path: Path) -> tuple[int, int]:
    """(height, width) from a photo's header, as it will be read: a camera held upright swaps them."""
    try:
        with Image.open(path) as image:
            check_depth(image)
            upright = image.getexif().get(ExifTags.Base.Orientation, 1) >= 5
            return image.size if upright else image.size[::-1]
    except (*UNREADABLE, ValueError) as error:
        raise ValueError(f"{path} can't be read as an image: {error}") from error


def kept_in_memory(read: Callable[[Path], Picture]) -> Callable[[Path], Picture]:
    """`read`, which remembers the pictures asked for last: KEPT of them, or fewer, of KEPT_BYTES in all."""
    kept: dict[Path, Picture] = {}

    def look_up(path: Path) -> Picture:
        picture = kept.pop(path) if path in kept else read(path)
        kept[path] = picture  # the one asked for last stands last
        while len(kept) > KEPT or len(kept) > 1 and sum(map(_bytes_of, kept.values())) > KEPT_BYTES:
            del kept[next(iter(kept))]
        return picture

    return look_up


def _bytes_of(picture: np.ndarray | tuple[np.ndarray, ...]) -> int:
    return sum(array.nbytes for array in (picture if isinstance(picture, tuple) else (picture,)))


read_photo = kept_in_memory(read_image)


def read_still(still: Still) -> tuple[np.ndarray, np.ndarray]:
    """The picture, uint8 RGB (H, W, 3), and its label map, uint8 (H, W)."""
    if still.is_cut_out:
        return _read_cut_out(still.image)
    return read_photo(still.image), read_mask(still.mask)


@kept_in_memory
def _read_cut_out(path: Path) -> tuple[np.ndarray, np.ndarray]:
    with Image.open(path) as image:
        pixels = np.pad(np.array(image.convert("RGBA")), ((MARGIN, MARGIN), (MARGIN, MARGIN), (0, 0)))
    return np.ascontiguousarray(pixels[..., :3]), (pixels[..., 3] > 127).astype(np.uint8)


class StillPairs(Dataset):
    """Pairs of "frames" made of one photo: a map-style dataset of `Sample`s.

    folders: one or several folders as `find_stills` reads them; a folder named twice is shown twice as often. size: the
    canvas (H, W). objects: N. paste: the probability that the objects are cut out and put on another photo (those that
    come as cut-outs always are). distractor: the probability of one more pasted
    object, in both frames, that is not to be segmented; often it is a double of the object itself or of its folder:
    only the previous mask tells a double from the object, and that has to be learned. vanish: the probability that a
    pasted object is out of sight after the previous mask, where only an empty mask is right; for the whole rollout or
    for its first frames, so that it has to be found again. compound: the
    probability that the object is put together of two things that have nothing in common, or is a part of one, whose
    rest is a distractor then: what belongs to an object is what the template's mask says, not what usually belongs
    together. rollout: T, frames of one smooth motion. length: how many samples one epoch has (default: one per object
    in the folders); any index from 0 on is valid, and sample i depends on `seed` and i alone, whatever the number of
    workers. Errors: see `find_stills`, and ValueError for cut-outs without a photo to put them on.
    """

    def __init__(self, folders: str | Path | Sequence[str | Path], size: tuple[int, int] = (256, 448), objects: int = 1,
                 paste: float = 0.5, seed: int = 0, length: int | None = None, rollout: int = 1,
                 distractor: float = 0.6, vanish: float = 0.1, compound: float = 0.0,
                 recipe: Recipe = STILLS_RECIPE) -> None:
        check_counts(objects=objects, rollout=rollout)
        folders = [folders] if isinstance(folders, (str, Path)) else folders
        self.stills = [still for folder in folders for still in find_stills(folder)]
        self.grounds = [still for still in self.stills if not still.is_cut_out]
        if not self.grounds:
            raise ValueError(f"{folders[0]} holds cut-outs alone: name a folder of photos too, to put them on")
        self.subjects = [(still, label) for still in self.stills for label in still.labels]
        self.size, self.objects, self.paste, self.seed, self.rollout = size, objects, paste, seed, rollout
        self.distractor, self.vanish, self.compound, self.recipe = distractor, vanish, compound, recipe
        self.kinds: dict[Path, list[tuple[Still, int]]] = {}
        for still, label in self.subjects:
            self.kinds.setdefault(still.mask.parent, []).append((still, label))
        self.length = len(self.subjects) if length is None else length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Sample:
        quiet_worker()
        rng = np.random.default_rng([self.seed, index])
        still, label = self.subjects[shuffled(index, len(self.subjects), self.seed)]
        pasted = rng.random() < self.paste or still.is_cut_out
        layers, size = self._pasted(rng, still, label) if pasted else self._in_place(rng, still, label)
        if self.compound and rng.random() < self.compound:
            layers = self._compounded(rng, layers, size)
        moments = [_moments(rng, layer, self.rollout) for layer in layers]
        template, previous, *frames = (Scene(layers, size, self.objects) for layers in zip(*moments, strict=True))
        if pasted and rng.random() < self.vanish:
            frames = out_of_sight(rng, frames)
        return make_sample(rng, template, previous, frames, self.size, self.recipe)

    def _in_place(self, rng: np.random.Generator, still: Still, label: int) -> tuple[list[Layer], tuple[int, int]]:
        """The photo as it is, with its own objects; more from other photos where it has too few."""
        labels = read_mask(still.mask)
        others = [other for other in still.labels if other != label]
        chosen = [label, *rng.permutation(others).tolist()][: self.objects]
        size, placement = scene_in_photo(rng, labels.shape, mask_box(labels == label))
        ground = Layer(read_photo(still.image), _as_255(labels == np.reshape(chosen, (-1, 1, 1))),
                       tuple(range(len(chosen))), placement, random_pose(rng), labels == VOID)
        return [ground, *self._cut_outs(rng, (still, label), size, range(len(chosen), self.objects))], size

    def _pasted(self, rng: np.random.Generator, still: Still, label: int) -> tuple[list[Layer], tuple[int, int]]:
        """The object cut out and put on another photo, among other cut-outs in random order."""
        image = read_photo(self.grounds[rng.integers(len(self.grounds))].image)
        size, placement = scene_in_photo(rng, image.shape[:2])
        nothing = np.zeros((0, *image.shape[:2]), np.uint8)
        ground = Layer(image, nothing, (), placement, random_pose(rng, CAMERA_RANGE))
        layers = [cut_out(rng, still, label, size, 0)]
        layers += self._cut_outs(rng, (still, label), size, range(1, self.objects))
        return [ground, *(layers[i] for i in rng.permutation(len(layers)))], size

    def _cut_outs(self, rng: np.random.Generator, subject: tuple[Still, int], size: tuple[int, int],
                  slots: Sequence[int]) -> list[Layer]:
        """Random objects for the given slots beside `subject`, and sometimes a distractor."""
        objects = [self.subjects[rng.integers(len(self.subjects))] for _ in slots]
        layers = [cut_out(rng, *other, size, slot) for other, slot in zip(objects, slots, strict=True)]
        if rng.random() < self.distractor:
            layers.append(cut_out(rng, *self._rival(rng, subject), size, DISTRACTOR))
        return layers

    def _compounded(self, rng: np.random.Generator, layers: list[Layer], size: tuple[int, int]) -> list[Layer]:
        """The same layers, the first object being only a part of what it was, or having another thing joined to it."""
        place = next(place for place, layer in enumerate(layers) if 0 in layer.slots)
        if place == 0 and rng.random() < SPLIT:
            return [split(rng, layers[0]), *layers[1:]]
        other = cut_out(rng, *self.subjects[rng.integers(len(self.subjects))], size, 0)
        piece = joined(rng, Scene([layers[place]], size, self.objects), other)
        above = max(1, place + int(rng.integers(2)))  # a photo's own object is part of the ground and can't be in front
        return [*layers[:above], piece, *layers[above:]]

    def _rival(self, rng: np.random.Generator, subject: tuple[Still, int]) -> tuple[Still, int]:
        """The object's double, an object of the same folder, or any other."""
        pools = [[subject], self.kinds[subject[0].mask.parent], self.subjects]
        pool = pools[rng.choice(3, p=RIVALS)]
        return pool[rng.integers(len(pool))]


def out_of_sight(rng: np.random.Generator, frames: Sequence[Scene]) -> list[Scene]:
    """The frames of a rollout without their first object; in the last ones it may be back."""
    gone = 1 + int(rng.integers(len(frames)))
    return [*map(_without_first_object, frames[:gone]), *frames[gone:]]


def _without_first_object(scene: Scene) -> Scene:
    return replace(scene, layers=[layer for layer in scene.layers if 0 not in layer.slots])


def split(rng: np.random.Generator, layer: Layer) -> Layer:
    """The layer with its first object cut in two by a line: one part stays the object, the other is a distractor."""
    whole = layer.masks[0]
    beyond = half_plane(rng, whole > 0, share=(0.3, 0.6)) < 0
    parts = np.stack([np.where(beyond, 0, whole), np.where(beyond, whole, 0)])
    return replace(layer, masks=np.concatenate([parts, layer.masks[1:]]), slots=(0, DISTRACTOR, *layer.slots[1:]))


def joined(rng: np.random.Generator, scene: Scene, other: Layer) -> Layer:
    """A cut-out moved to where it touches or overlaps the scene's objects, as a person and a bicycle do."""
    box = scene_box(scene)
    if box is None:
        return other
    point = rng.uniform(box[:2], box[2:])
    return replace(other, placement=replace(other.placement, scene_point=tuple(point.tolist())))


def shuffled(index: int, count: int, seed: int) -> int:
    """Which of `count` items sample `index` shows: every pass over them is a new random order."""
    number, place = divmod(index, count)
    return int(np.random.default_rng([seed, number, 1]).permutation(count)[place])


def _as_255(masks: np.ndarray) -> np.ndarray:
    return masks.astype(np.uint8) * 255


def _moments(rng: np.random.Generator, layer: Layer, rollout: int) -> list[Layer]:
    """The layer in the template, on the frame before, and on each of `rollout` frames of one smooth motion."""
    camera = not layer.slots  # a mere background moves with the camera, and less than things do
    goal = random_pose(rng, CAMERA_RANGE if camera else PAPER_RANGE)
    current = layer.pose.towards(goal, rng.uniform(0.2, 1.0))
    amount = math.exp(rng.uniform(math.log(0.02), math.log(0.25))) * (0.3 if camera else 1.0)
    following = nearby_pose(rng, current, amount)
    poses = [layer.pose, *(current.towards(following, t) for t in range(-1, rollout))]
    return [replace(layer, pose=pose) for pose in poses]


def scene_in_photo(rng: np.random.Generator, photo: tuple[int, int],
                   box: Box | None = None) -> tuple[tuple[int, int], Placement]:
    """Chooses the part of a photo that plays the video's frame: its size (h, w), and the photo's place in it.

    Videos are wide and photos mostly are not. So a wide strip of the photo is shown: over the object's `box`, where
    there is one, else anywhere. A photo with an object may instead be widened by mirroring or stay as tall as it is.
    """
    height, width = photo
    aspect, kind = rng.uniform(1.5, 1.8), rng.random()
    size, middle = (height, width), height / 2
    if width >= 0.95 * aspect * height:
        pass  # wide enough as it is
    elif box is None or kind < 0.6:
        size = (round(width / aspect), width)
        low, high = (0, height) if box is None else (box[1], box[3])
        middle = float(np.clip(rng.uniform(low, high), size[0] / 2, height - size[0] / 2))
    elif kind < 0.8:
        size = (height, round(height * aspect))
    return size, Placement(((size[1] - 1) / 2, (size[0] - 1) / 2), ((width - 1) / 2, middle - 0.5), (width, height))


def cut_out(rng: np.random.Generator, still: Still, label: int, size: tuple[int, int], slot: int) -> Layer:
    """One object of a photo as a layer somewhere in a scene of `size` (h, w), at a random scale.

    Where the photo's border cuts the object, it is placed at the same border of the scene: a person without legs
    belongs at the bottom of the frame. The mask's outermost pixels, half background in truth, are left behind.
    """
    image, labels = read_still(still)
    mask = labels == label
    left, top, right, bottom = mask_box(mask)
    extent = (right - left, bottom - top)
    share = math.exp(rng.uniform(math.log(0.35), math.log(1.0)))  # of the scene's height or width
    scale = share * min(size[1] / extent[0], size[0] / extent[1])
    point = (_place(rng, left, right, mask.shape[1], size[1], scale),
             _place(rng, top, bottom, mask.shape[0], size[0], scale))
    placement = Placement(point, ((left + right - 1) / 2, (top + bottom - 1) / 2), extent, scale)
    core = cv2.erode(_as_255(mask), np.ones((3, 3), np.uint8))
    return Layer(image, core[None], (slot,), placement, random_pose(rng), cut_out=True)


def photo_layer(rng: np.random.Generator, still: Still, size: tuple[int, int]) -> Layer:
    """A photo as the background of a scene of `size` (h, w), which it fills; its own objects are distractors."""
    photo, labels = read_still(still)
    height, width = labels.shape
    scale = max(size[0] / height, size[1] / width)
    room = np.maximum([scale * width - size[1], scale * height - size[0]], 0) / 2  # not a rounding error below 0
    point = np.array([size[1] - 1, size[0] - 1]) / 2 + rng.uniform(-room, room)
    placement = Placement(tuple(point.tolist()), ((width - 1) / 2, (height - 1) / 2), (width, height), scale)
    masks = _as_255(labels == np.reshape(still.labels, (-1, 1, 1)))
    slots = (DISTRACTOR,) * len(still.labels)
    return Layer(photo, masks, slots, placement, random_pose(rng, CAMERA_RANGE), labels == VOID)


def _place(rng: np.random.Generator, start: float, end: float, limit: int, length: int, scale: float) -> float:
    """Where along one axis the middle of an object goes: at the scene's border if the photo's border cuts it there."""
    half = (end - start) * scale / 2
    if end >= limit - 2 and start > 2:
        return length - 0.85 * half
    if start <= 2 and end < limit - 2:
        return 0.85 * half
    room = max(length / 2 - 0.8 * half, 0.0)
    return length / 2 + rng.uniform(-room, room)
