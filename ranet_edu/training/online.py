"""Online learning (RANet+): a copy of the network is fine-tuned on a video's first frame and then segments the rest.

The first frame is a photo with a mask, so the recipe is that of the still images (§3.5): two differently transformed
copies of it are template and current frame, its mask with mistakes is the previous mask. More iterations are better
and slower (Table 6). It trains, so it stands with the training, above the video loop that it prepares. Built in
notebook 12.
"""

from __future__ import annotations

import copy
import itertools
import math
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn
from torch.utils.data import Dataset
from tqdm import tqdm

from ranet_edu.datasets.augment import Placement, Pose, nearby_pose, random_pose
from ranet_edu.datasets.encounters import in_front, way_past
from ranet_edu.datasets.samples import (
    DISTRACTOR,
    STILLS_RECIPE,
    Layer,
    Recipe,
    Sample,
    Scene,
    check_counts,
    make_sample,
    scene_box,
)
from ranet_edu.model.ranet import RANet, RANetConfig
from ranet_edu.training.batches import StepSampler, load_batches, to_device
from ranet_edu.training.losses import RolloutLoss
from ranet_edu.training.precision import hasten_frozen_backbone
from ranet_edu.video.fast import precision_type
from ranet_edu.video.segmenter import VOID, VideoSegmenter

ITERATIONS = 50  # the most that was measured, and still better than 25 on minival; the paper gives times only
BATCH = 2  # pairs per iteration


@dataclass(frozen=True)
class Learning:
    """How a network learns a first frame.

    rate: Adam's. encoder: whether the encoder learns too. iou: the weight of the IoU loss beside BCE. passing: the
    share of pairs in which a piece of the background goes past before the objects.
    """

    rate: float
    encoder: bool
    iou: float
    passing: float


PAPER_LEARNING = Learning(rate=1e-6, encoder=True, iou=0.0, passing=0.0)  # §4.1
LITE_LEARNING = Learning(rate=1e-4, encoder=False, iou=1.0, passing=0.5)  # chosen on minival (notebook 12, model card)


def default_learning(model: RANet) -> Learning:
    """The paper's for its backbone, ours for others."""
    return PAPER_LEARNING if model.config.backbone == RANetConfig.backbone else LITE_LEARNING


class FirstFramePairs(Dataset):
    """Pairs of "frames" made of one frame, as `StillPairs` makes them of photos: `sample_sheet` draws them.

    frame: RGB uint8 (h, w, 3). masks: bool (N, h, w), its objects. void: bool (h, w) or None, where the truth is
    unknown. size: the canvas (H, W). passing: the share of pairs in which a piece of the frame's own background goes
    past before the objects; a network that has never seen that takes a tree for the ball behind it. Sample i, of any i
    from 0 on, depends on `seed` and i alone.
    """

    def __init__(
        self,
        frame: np.ndarray,
        masks: np.ndarray,
        size: tuple[int, int],
        void: np.ndarray | None = None,
        seed: int = 0,
        recipe: Recipe = STILLS_RECIPE,
        passing: float = 0.0,
    ) -> None:
        self.frame, self.masks, self.void = frame, masks.astype(np.uint8) * 255, void
        self.size, self.seed, self.recipe, self.passing = size, seed, recipe, passing

    def __getitem__(self, index: int) -> Sample:
        rng = np.random.default_rng([self.seed, index])
        template = random_pose(rng)
        current = template.towards(random_pose(rng), rng.uniform(0.2, 1.0))
        previous = nearby_pose(rng, current, rng.uniform(0.02, 0.25))
        first, *later = (self._scene(pose) for pose in (template, previous, current))
        if self.passing and rng.random() < self.passing:
            later = self._passed(rng, later)
        return make_sample(rng, first, later[0], later[1:], self.size, self.recipe)

    def _scene(self, pose: Pose) -> Scene:
        height, width = self.frame.shape[:2]
        middle = ((width - 1) / 2, (height - 1) / 2)
        placement = Placement(middle, middle, (width, height))
        layer = Layer(self.frame, self.masks, tuple(range(len(self.masks))), placement, pose, self.void)
        return Scene([layer], (height, width), len(self.masks))

    def _passed(self, rng: np.random.Generator, scenes: list[Scene]) -> list[Scene]:
        """The same moments with a piece of the background that goes past before the objects."""
        box = scene_box(scenes[-1])
        if box is None:
            return scenes
        piece = self._piece(rng, (box[2] - box[0], box[3] - box[1]))
        return [in_front(scene, piece, point) for scene, point in zip(scenes, way_past(rng, box), strict=False)]

    def _piece(self, rng: np.random.Generator, beside: tuple[float, float]) -> Layer:
        """A bent rectangle of the frame without its objects, about as large as what fills a box of (width, height)."""
        height, width = self.frame.shape[:2]
        extent = np.minimum(np.exp(rng.uniform(-1.0, 0.5, 2)) * beside, (width, height))
        middle = rng.uniform(extent / 2, (width, height) - extent / 2)
        (left, top), (right, bottom) = (middle - extent / 2).astype(int), (middle + extent / 2).astype(int) + 1
        mask = np.zeros((height, width), np.uint8)
        mask[top:bottom, left:right] = 255
        mask[self.masks.any(0)] = 0
        placement = Placement((0, 0), tuple(middle), tuple(np.maximum(extent, 1)))
        return Layer(self.frame, mask[None], (DISTRACTOR,), placement, random_pose(rng), cut_out=True)


@torch.inference_mode(False)  # a caller that only segments may have turned gradients off
def learn_online(
    model: RANet,
    frame: np.ndarray,
    mask: np.ndarray,
    iterations: int | None = ITERATIONS,
    seconds: float | None = None,
    learning_rate: float | None = None,
    batch: int = BATCH,
    seed: int = 0,
    progress: bool = False,
    *,
    canvas: tuple[int, int] | None = None,
    recipe: Recipe = STILLS_RECIPE,
    precision: str = "auto",
    workers: int = 0,
    clock: Callable[[], float] = time.monotonic,
) -> RANet:
    """A copy of `model`, in eval mode, fine-tuned on a first frame; `model` itself is left as it was. Notebook 12.

    frame: RGB uint8 (H, W, 3). mask: (H, W) integers, as `VideoSegmenter.segment` takes them; all its objects are
    learnt at once. iterations, seconds: what ends the learning, whichever comes first (None: no such limit); the time
    is looked at before each iteration. learning_rate: Adam's, default 1e-6 (the paper) for ResNet-101 and 1e-4
    otherwise. batch: pairs per iteration. seed: of the pairs. canvas: (H, W) of the pairs, default
    the model's. precision: as `fast_copy` takes it; in "bfloat16" the weights learn in float32 all the same. workers:
    processes that prepare pairs, for a GPU that would wait for them. clock: in seconds.
    With ResNet-101 all weights learn by BCE, as in the paper; otherwise all behind the encoder, by BCE and IoU loss.
    Batch norms keep their statistics, and parameters with `requires_grad=False` stay as they are.
    Raises ValueError for a limit, rate or batch that makes no sense, a model that can't learn, a frame or mask that
    does not fit; ArithmeticError where the loss is no longer a number.
    """
    end = math.inf if seconds is None else clock() + seconds
    check_learning(model, iterations, seconds, learning_rate, batch)
    pairs = first_frame_pairs(model, frame, mask, tuple(canvas or model.canvas), seed, recipe)
    networks = adapt(model, pairs, iterations, learning_rate, batch, precision, workers)
    adapted = next(networks)
    with tqdm(desc="learning", total=iterations, leave=False, disable=not progress) as bar:
        while clock() < end and next(networks, None):
            bar.update()
    return adapted.to(next(model.parameters()).dtype)


@torch.inference_mode(False)
def adapt(
    model: RANet,
    pairs: Dataset,
    iterations: int | None = None,
    learning_rate: float | None = None,
    batch: int = BATCH,
    precision: str = "auto",
    workers: int = 0,
) -> Iterator[RANet]:
    """A copy of `model` after 0, 1, 2, ... iterations on `pairs`: one and the same network, in float32 and eval mode.

    Each step is taken when it is asked for. Arguments and errors as in `learn_online`. Built in notebook 12.
    """
    how, dtype = default_learning(model), precision_type(model, precision)
    adapted = copy.deepcopy(model).float().eval()  # steps of 1e-6 would be lost in half precision
    if not how.encoder:
        adapted.encoder.requires_grad_(False)
        hasten_frozen_backbone(adapted)
    learning = [parameter for parameter in adapted.parameters() if parameter.requires_grad]
    optimiser = torch.optim.Adam(learning, how.rate if learning_rate is None else learning_rate)
    loss = RolloutLoss(adapted, iou=how.iou)
    yield adapted
    sampler = StepSampler(0, sys.maxsize if iterations is None else iterations, batch)
    for samples in load_batches(pairs, sampler, workers):
        _advance(loss, optimiser, samples, dtype)
        yield adapted


def _advance(loss: nn.Module, optimiser: torch.optim.Optimizer, samples: Sample, dtype: torch.dtype) -> None:
    """One iteration, computed in `dtype` as far as that is safe; afterwards the parameters hold no gradient."""
    device = optimiser.param_groups[0]["params"][0].device
    with torch.autocast(device.type, torch.bfloat16, enabled=dtype != torch.float32):
        value = loss(to_device(samples, device))[:, 0].mean()
    if not value.isfinite():
        raise ArithmeticError(f"online learning diverged: the loss is {value.item()}; lower the learning rate")
    value.backward()
    optimiser.step()
    optimiser.zero_grad()


def first_frame_pairs(
    model: RANet,
    frame: np.ndarray,
    mask: np.ndarray,
    canvas: tuple[int, int],
    seed: int = 0,
    recipe: Recipe = STILLS_RECIPE,
) -> FirstFramePairs:
    """Pairs made of a first frame, whose objects are what the video loop takes them for; see `learn_online`."""
    state = VideoSegmenter(model, canvas=canvas).begin(frame, mask)
    objects = state.probabilities.cpu().numpy() > 0.5
    void = (np.asarray(mask) == VOID) & ~objects.any(0)
    return FirstFramePairs(frame, objects, canvas, void, seed, recipe, default_learning(model).passing)


def check_learning(
    model: nn.Module, iterations: int | None, seconds: float | None, learning_rate: float | None, batch: int
) -> None:
    """Raises ValueError for arguments of `learn_online` that make no sense; see there."""
    if not hasattr(model, "trace"):
        raise ValueError(f"online learning needs a RANet; a {type(model).__name__} has nothing to train")
    everything = default_learning(model).encoder
    names = (name for name, parameter in model.named_parameters() if parameter.requires_grad)
    if not any(everything or not name.startswith("encoder.") for name in names):
        raise ValueError("online learning has nothing to train: no parameter that it changes has requires_grad")
    if iterations is None and seconds is None:
        raise ValueError("say how long to learn: iterations, seconds or both")
    if iterations is not None and iterations < 0:
        raise ValueError(f"iterations is {iterations}; it must be 0 or more")
    if seconds is not None and not seconds >= 0:
        raise ValueError(f"seconds is {seconds}; it must be 0 or more")
    if learning_rate is not None and not learning_rate > 0:
        raise ValueError(f"learning_rate is {learning_rate}; it must be above 0")
    check_counts(batch=batch)


@dataclass(frozen=True)
class OnlineSegmenter:
    """A `VideoSegmenter` that learns each video's first frame before it segments the rest (RANet+). Notebook 12.

    segmenter: its options hold, and its model is left as it was: every video starts from there. The others are
    arguments of `learn_online`. Raises ValueError as `learn_online` does, before there is a video.
    """

    segmenter: VideoSegmenter
    iterations: int | None = ITERATIONS
    seconds: float | None = None
    learning_rate: float | None = None
    batch: int = BATCH
    seed: int = 0
    progress: bool = False

    def __post_init__(self) -> None:
        check_learning(self.segmenter.model, self.iterations, self.seconds, self.learning_rate, self.batch)

    def segment(self, frames: Iterable[np.ndarray], first_mask: np.ndarray) -> Iterator[np.ndarray]:
        """Yield one label map (H, W) uint8 for each frame, the first one after the learning; see `VideoSegmenter`."""
        later = iter(frames)
        for first in itertools.islice(later, 1):
            adapted = self.segmenter.with_model(self._learn(first, first_mask))
            yield from adapted.segment(itertools.chain([first], later), first_mask)

    def _learn(self, frame: np.ndarray, mask: np.ndarray) -> RANet:
        return learn_online(
            self.segmenter.model,
            frame,
            mask,
            self.iterations,
            self.seconds,
            self.learning_rate,
            self.batch,
            self.seed,
            self.progress,
            canvas=self.segmenter.canvas,
            recipe=pairs_recipe(self.segmenter),
            precision=self.segmenter.precision,
        )


def pairs_recipe(segmenter: VideoSegmenter) -> Recipe:
    """The stills recipe; where the segmenter doesn't crop, the pairs are shown whole too."""
    whole = {"whole": segmenter.frame_crop, "whole_template": segmenter.template_crop}
    return replace(STILLS_RECIPE, **{name: 1.0 for name, crops in whole.items() if not crops})
