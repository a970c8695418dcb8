"""Random geometry, random colour and plausible mistakes: what turns one photograph into many training samples.

Three spaces appear here. The *photo* is the file as it was read. The *scene* is the frame of an imagined video in
which the photo is placed, moved, turned and bent (`Placement`, `Pose`). The *canvas* is what the network sees: a
`Window` of the scene around the object, resized to a fixed size, as the video loop does. Each step is a function from
points to points, always backwards (canvas -> scene -> photo), so that their composition is one map and each photo is
resampled only once.

Points are (x, y) in pixels with pixel centres at integers, sizes are (height, width). Built in notebook 07.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import cv2
import numpy as np

FILL = (0, 0, 0)  # RGB outside of the scene, as `video.crop.cut` pads
GRID = 4  # control points along each side of the thin-plate spline
MAP_STEP = 16  # canvas pixels between two points of the coarse map; all warps here are smooth at this scale


Box = tuple[float, float, float, float]  # the edges left, top, right, bottom, in pixels


# --- thin-plate splines ---------------------------------------------------------------------------------------------


def control_points() -> np.ndarray:
    """The 16 control points in the unit square, row by row: (16, 2)."""
    line = np.linspace(0.0, 1.0, GRID)
    return np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 2)


def _kernel(points: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """r^2 log r for each pair of a point and a centre: (P, C)."""
    squared = ((points[:, None] - centres[None]) ** 2).sum(-1)
    return 0.5 * squared * np.log(np.maximum(squared, 1e-20))


def _spline_solver() -> np.ndarray:
    """The inverse of the thin-plate system, the same for every spline on these control points: (19, 16)."""
    centres = control_points()
    affine = np.hstack([np.ones((len(centres), 1)), centres])
    system = np.block([[_kernel(centres, centres), affine], [affine.T, np.zeros((3, 3))]])
    return np.linalg.inv(system)[:, : len(centres)]


_SOLVER = _spline_solver()


def bend(points: np.ndarray, displacements: np.ndarray) -> np.ndarray:
    """Moves points by the thin-plate spline that moves control point k by `displacements[k]`.

    points: (P, 2) in units of the image (the unit square is the image). displacements: (16, 2), the same units.
    Returns (P, 2). Far outside the unit square the spline grows without bound, so points are bent as the nearest point
    of a square twice as large is. Bookstein 1989; the paper's augmentation, section 3.5. Notebook 07.
    """
    inside = np.clip(points, -0.5, 1.5)
    basis = np.hstack([_kernel(inside, control_points()), np.ones((len(points), 1)), inside])
    return points + basis @ (_SOLVER @ displacements)


# --- poses ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PoseRange:
    """How far a random pose may go. The defaults are the paper's (section 3.5).

    rotation: degrees to either side. scale: smallest and largest factor. shift and bend: fractions of the image size,
    to either side. flip: probability of a mirrored pose.
    """

    rotation: float = 30.0
    scale: tuple[float, float] = (0.75, 1.25)
    shift: float = 0.15
    bend: float = 0.15
    flip: float = 0.5

    def times(self, factor: float) -> PoseRange:
        """The same range, `factor` times as wide around "no change"."""
        low, high = (value**factor for value in self.scale)
        return PoseRange(self.rotation * factor, (low, high), self.shift * factor, self.bend * factor, self.flip)


PAPER_RANGE = PoseRange()
CAMERA_RANGE = PoseRange(rotation=8, scale=(1.0, 1.3), shift=0.06, bend=0.05)  # of a mere background
MOTION_RANGE = PoseRange(shift=0.4)  # between neighbouring frames things are displaced more than they change


@dataclass(frozen=True)
class Pose:
    """One position of an image in the scene.

    rotation: degrees, clockwise on the screen. scale: above 1 is larger. shift: (right, down) in fractions of the
    image's size. bend: displacement of the control points, (16, 2), the same fractions. flip: mirrored left to right.
    """

    rotation: float = 0.0
    scale: float = 1.0
    shift: tuple[float, float] = (0.0, 0.0)
    bend: np.ndarray = field(default_factory=lambda: np.zeros((GRID * GRID, 2)))
    flip: bool = False

    def towards(self, other: Pose, amount: float) -> Pose:
        """The pose `amount` of the way from this one to `other` (0: this, 1: the other; mirrored as this one)."""

        rotation = self.rotation + amount * (other.rotation - self.rotation)
        scale = self.scale * (other.scale / self.scale) ** amount
        x, y = (a + amount * (b - a) for a, b in zip(self.shift, other.shift, strict=True))
        return Pose(rotation, scale, (x, y), self.bend + amount * (other.bend - self.bend), self.flip)


def random_pose(rng: np.random.Generator, limits: PoseRange = PAPER_RANGE) -> Pose:
    """A pose uniform within `limits` (scale: log-uniform; bend: with a random strength)."""
    low, high = np.log(limits.scale)
    strength = rng.uniform(0.2, 1.0) * limits.bend
    return Pose(
        rotation=rng.uniform(-limits.rotation, limits.rotation),
        scale=math.exp(rng.uniform(low, high)),
        shift=tuple(rng.uniform(-limits.shift, limits.shift, 2)),
        bend=rng.uniform(-strength, strength, (GRID * GRID, 2)),
        flip=bool(rng.random() < limits.flip),
    )


def nearby_pose(rng: np.random.Generator, pose: Pose, amount: float = 0.1) -> Pose:
    """A pose near `pose`, as things move between neighbouring frames; `amount` 1 would be the paper's whole range."""
    step = random_pose(rng, MOTION_RANGE.times(amount))
    shift = (pose.shift[0] + step.shift[0], pose.shift[1] + step.shift[1])
    return replace(pose, rotation=pose.rotation + step.rotation, scale=pose.scale * step.scale, shift=shift,
                   bend=pose.bend + step.bend)


@dataclass(frozen=True)
class Placement:
    """Where an image stands in the scene before its pose: a point of the photo upon a point of the scene.

    extent: (width, height) in photo pixels of what is posed, the whole photo or an object's box; shift and bend are
    fractions of it. scale: scene pixels per photo pixel.
    """

    scene_point: tuple[float, float]
    photo_point: tuple[float, float]
    extent: tuple[float, float]
    scale: float = 1.0

    def photo_points(self, points: np.ndarray, pose: Pose) -> np.ndarray:
        """Scene points (P, 2) -> the photo points (P, 2) seen there when the image is in `pose`."""
        extent = np.asarray(self.extent)
        offset = points - self.scene_point - np.asarray(pose.shift) * extent * self.scale
        cos, sin = math.cos(math.radians(pose.rotation)), math.sin(math.radians(pose.rotation))
        turned = offset @ np.array([[cos, -sin], [sin, cos]]) / (self.scale * pose.scale)
        if pose.flip:
            turned = turned * (-1, 1)
        unit = bend(turned / extent + 0.5, pose.bend)
        return (unit - 0.5) * extent + self.photo_point


# --- windows: the crop of the video loop ----------------------------------------------------------------------------


class Window(NamedTuple):
    """A rectangle of the scene that fills the canvas: left and top edge, width and height, in scene pixels."""

    left: float
    top: float
    width: float
    height: float


def whole_window(scene: tuple[int, int], canvas: tuple[int, int]) -> Window:
    """The smallest window with the canvas's aspect that holds the whole scene, centred (letterboxed)."""
    aspect = canvas[1] / canvas[0]
    height = max(scene[0], scene[1] / aspect)
    return _placed((scene[1] / 2, scene[0] / 2), height, aspect, scene)


def object_window(box: Box, grow: float, scene: tuple[int, int],
                  canvas: tuple[int, int], smallest: float = 32.0) -> Window:
    """The window around an object's box (left, top, right, bottom) as the video loop crops it (NETWORK.md).

    The box times `grow`, widened or heightened to the canvas's aspect, at least `smallest` pixels high and at most as
    large as the whole scene, and shifted inside the scene where it would stick out.
    """
    left, top, right, bottom = box
    aspect = canvas[1] / canvas[0]
    height = max((bottom - top) * grow, (right - left) * grow / aspect, smallest)
    height = min(height, whole_window(scene, canvas).height)
    return _placed(((left + right) / 2, (top + bottom) / 2), height, aspect, scene)


def _placed(centre: tuple[float, float], height: float, aspect: float, scene: tuple[int, int]) -> Window:
    starts = []
    for middle, length, limit in zip(centre, (height * aspect, height), (scene[1], scene[0]), strict=True):
        room = limit - length
        starts.append(room / 2 if room < 0 else min(max(middle - length / 2, 0.0), room))
    return Window(starts[0], starts[1], height * aspect, height)


def mask_box(mask: np.ndarray) -> Box | None:
    """Edges (left, top, right, bottom) of the set pixels of a mask (H, W); None where there are none."""
    columns, rows = np.flatnonzero(mask.any(0)), np.flatnonzero(mask.any(1))
    if len(columns) == 0:
        return None
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)


def jittered_box(rng: np.random.Generator, box: Box, shift: float = 0.1,
                 stretch: float = 0.15) -> Box:
    """A box moved by up to `shift` of its size and resized by up to `stretch` along each side: a prediction's box."""
    left, top, right, bottom = box
    width, height = right - left, bottom - top
    x = (left + right) / 2 + rng.uniform(-shift, shift) * width
    y = (top + bottom) / 2 + rng.uniform(-shift, shift) * height
    width, height = (width, height) * np.exp(rng.uniform(-stretch, stretch, 2))
    return x - width / 2, y - height / 2, x + width / 2, y + height / 2


# --- sampling -------------------------------------------------------------------------------------------------------


def coarse_points(window: Window, canvas: tuple[int, int]) -> np.ndarray:
    """Scene points (rows, columns, 2) of a grid, MAP_STEP canvas pixels apart, one step beyond each edge."""
    rows, columns = (-(-size // MAP_STEP) for size in canvas)
    y = ((np.arange(-1, rows + 1) + 0.5) * MAP_STEP) / canvas[0] * window.height + window.top
    x = ((np.arange(-1, columns + 1) + 0.5) * MAP_STEP) / canvas[1] * window.width + window.left
    return np.stack(np.meshgrid(x, y), axis=-1) - 0.5


def sampling_map(window: Window, canvas: tuple[int, int], placement: Placement, pose: Pose) -> np.ndarray:
    """For each canvas pixel the photo point to read: (H, W, 2) float32, ready for `cv2.remap`.

    The exact map is computed every MAP_STEP pixels and interpolated: the warps are far smoother than that.
    """
    points = coarse_points(window, canvas)
    coarse = placement.photo_points(points.reshape(-1, 2), pose).reshape(points.shape).astype(np.float32)
    height, width = (size * MAP_STEP for size in coarse.shape[:2])
    fine = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.ascontiguousarray(fine[MAP_STEP : MAP_STEP + canvas[0], MAP_STEP : MAP_STEP + canvas[1]])


def photo_pixels_per_canvas_pixel(points: np.ndarray) -> float:
    """How much a map (H, W, 2) shrinks the photo, in the middle of the canvas; above 1 plain sampling would alias."""
    y, x = points.shape[0] // 2, points.shape[1] // 2
    along_x, along_y = points[y, x + 1] - points[y, x - 1], points[y + 1, x] - points[y - 1, x]
    return 0.5 * math.sqrt(abs(along_x[0] * along_y[1] - along_x[1] * along_y[0]))


def warp_image(image: np.ndarray, points: np.ndarray) -> np.ndarray:
    """The image (h, w, 3) read at `points` (H, W, 2): (H, W, 3); mirrored beyond its border.

    Where it shrinks more than twofold it is blurred first. Up to that the video loop samples as plainly.
    """
    shrink = photo_pixels_per_canvas_pixel(points)
    if shrink > 2:
        image = cv2.GaussianBlur(image, (0, 0), 0.5 * math.sqrt(shrink**2 - 1))
    return cv2.remap(image, points, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)


def warp_mask(mask: np.ndarray, points: np.ndarray) -> np.ndarray:
    """A mask (h, w) of 0 and 255 read at `points` (H, W, 2): (H, W) 0..255, soft at the edges, 0 outside the photo."""
    return cv2.remap(mask, points, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=0)


def inside_photo(points: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Which of `points` (H, W, 2) lie on a photo of `size`: bool (H, W)."""
    x, y = points[..., 0], points[..., 1]
    return (x >= -0.5) & (y >= -0.5) & (x < size[1] - 0.5) & (y < size[0] - 0.5)


def inside_scene(window: Window, canvas: tuple[int, int], scene: tuple[int, int]) -> np.ndarray:
    """Which canvas pixels lie inside the scene, the rest being letterbox: bool (H, W)."""
    y = (np.arange(canvas[0]) + 0.5) / canvas[0] * window.height + window.top
    x = (np.arange(canvas[1]) + 0.5) / canvas[1] * window.width + window.left
    return ((y >= 0) & (y < scene[0]))[:, None] & ((x >= 0) & (x < scene[1]))[None]


# --- colour ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Colour:
    """One way a camera may see: brightness, contrast, saturation (factors), hue (degrees)."""

    brightness: float = 1.0
    contrast: float = 1.0
    saturation: float = 1.0
    hue: float = 0.0

    def apply(self, image: np.ndarray) -> np.ndarray:
        """The image (H, W, 3) uint8 RGB in these colours. Hue turns and saturation scales around the grey axis."""
        angle = math.radians(self.hue)
        cos, sin = math.cos(angle), math.sin(angle)
        grey = np.full((3, 3), 1 / 3)
        cross = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / math.sqrt(3)
        turn = cos * (np.eye(3) - grey) + sin * cross
        matrix = self.contrast * self.brightness * (grey + self.saturation * turn)
        offset = np.full((3, 1), (1 - self.contrast) * self.brightness * 112.0)
        return cv2.transform(image, np.hstack([matrix, offset]))


TRUE_COLOUR = Colour()


def random_colour(rng: np.random.Generator, amount: float = 1.0, around: Colour = TRUE_COLOUR) -> Colour:
    """Random colours around others; `amount` 1 for different cameras, about 0.3 for two moments of one video."""

    def factor(spread: float) -> float:
        return math.exp(rng.uniform(-spread, spread) * amount)

    return Colour(around.brightness * factor(0.25), around.contrast * factor(0.2), around.saturation * factor(0.4),
                  around.hue + rng.uniform(-15, 15) * amount)


def degrade(rng: np.random.Generator, image: np.ndarray, probability: float = 0.15) -> np.ndarray:
    """The image (H, W, 3) uint8 as a poor camera sees it: each with `probability`, blurred, noisy, compressed."""
    if rng.random() < probability:
        image = cv2.filter2D(image, -1, motion_kernel(rng.uniform(1, 9), rng.uniform(0, 180)))
    if rng.random() < probability:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 1.5))
    if rng.random() < probability:
        noise = rng.standard_normal(image.shape, dtype=np.float32) * rng.uniform(2, 10)
        image = np.clip(image + noise, 0, 255).astype(np.uint8)
    if rng.random() < probability:
        quality = int(rng.integers(30, 90))
        image = cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_COLOR)
    return image


def motion_kernel(length: float, angle: float) -> np.ndarray:
    """A line of `length` pixels at `angle` degrees as a convolution kernel that sums to 1."""
    size = 2 * int(math.ceil(length / 2)) + 1
    kernel = np.zeros((size, size), np.float32)
    along = np.array([math.cos(math.radians(angle)), math.sin(math.radians(angle))]) * length / 2
    start, end = (tuple(np.round(size // 2 + sign * along).astype(int).tolist()) for sign in (-1, 1))
    cv2.line(kernel, start, end, 1.0)
    return kernel / kernel.sum()


# --- previous masks: the mistakes of a prediction -------------------------------------------------------------------


def smooth_noise(rng: np.random.Generator, size: tuple[int, int], cell: float) -> np.ndarray:
    """Smooth random values (H, W) of variance about 1, changing over `cell` pixels."""
    rows, columns = (max(2, math.ceil(length / cell) + 1) for length in size)
    coarse = rng.standard_normal((rows, columns), dtype=np.float32)
    return cv2.resize(coarse, (size[1], size[0]), interpolation=cv2.INTER_CUBIC)


def signed_distance(mask: np.ndarray) -> np.ndarray:
    """Distance in pixels (H, W) to a mask's edge, positive inside."""
    mask = mask.astype(np.uint8)
    inside = cv2.distanceTransform(mask, cv2.DIST_L2, 3)
    return inside - cv2.distanceTransform(1 - mask, cv2.DIST_L2, 3)


def predicted_mask(rng: np.random.Generator, mask: np.ndarray, strength: float = 1.0,
                   distractor: np.ndarray | None = None) -> np.ndarray:
    """What a network may have predicted where `mask` (H, W) bool is true: float32 (H, W) in [0, 1].

    The border wanders in and out, parts are cut off or filled, blobs appear and vanish (sometimes on the
    `distractor`, another object's bool mask), and half of the results are soft at the border like a probability, the
    others thresholded. `strength` scales the size and the rate of the mistakes. Notebook 07.
    """
    if not mask.any():
        return mask.astype(np.float32)
    size = math.sqrt(mask.sum())
    distance = signed_distance(mask)
    if rng.random() < 0.15 * strength:
        distance = np.minimum(distance, half_plane(rng, mask))
    if rng.random() < 0.25 * strength:
        distance = np.minimum(distance, -_blob(rng, mask, size * rng.uniform(0.05, 0.25), inside=True))
    if rng.random() < 0.25 * strength:
        distance = np.maximum(distance, _blob(rng, mask, size * rng.uniform(0.05, 0.3), inside=False))
    if distractor is not None and distractor.any() and rng.random() < 0.25 * strength:
        distance = np.maximum(distance, np.minimum(signed_distance(distractor), half_plane(rng, distractor)))
    wander = smooth_noise(rng, mask.shape, max(6.0, size * rng.uniform(0.1, 0.5))) * abs(rng.normal(0, 0.025))
    distance += strength * size * (wander + rng.normal(0, 0.012))
    if rng.random() < 0.5:
        return (distance > 0).astype(np.float32)
    softness = rng.uniform(0.5, 3.0)
    return (1 / (1 + np.exp(-np.clip(distance / softness, -20, 20)))).astype(np.float32)


def half_plane(rng: np.random.Generator, mask: np.ndarray, share: tuple[float, float] = (0.05, 0.4)) -> np.ndarray:
    """Signed distance (H, W) to a random line that cuts off some share of the mask (H, W) bool, negative there."""
    angle = rng.uniform(0, 2 * math.pi)
    y, x = np.mgrid[: mask.shape[0], : mask.shape[1]].astype(np.float32)
    along = x * math.cos(angle) + y * math.sin(angle)
    return along - np.quantile(along[mask], rng.uniform(*share))


def _blob(rng: np.random.Generator, mask: np.ndarray, radius: float, inside: bool) -> np.ndarray:
    """Signed distance (H, W) to a random ellipse centred in the mask, or anywhere on the canvas."""
    if inside:
        rows, columns = np.nonzero(mask)
        pick = rng.integers(len(rows))
        centre = columns[pick], rows[pick]
    else:
        centre = rng.uniform(0, mask.shape[1]), rng.uniform(0, mask.shape[0])
    stretch, angle = rng.uniform(0.6, 1.6), rng.uniform(0, math.pi)
    y, x = np.mgrid[: mask.shape[0], : mask.shape[1]].astype(np.float32)
    dx, dy = x - centre[0], y - centre[1]
    u = (dx * math.cos(angle) + dy * math.sin(angle)) / stretch
    v = (dy * math.cos(angle) - dx * math.sin(angle)) * stretch
    return radius - np.sqrt(u * u + v * v)
