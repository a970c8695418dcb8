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
from ranet_edu.datasets.samples import STILLS_RECIPE, Layer, Recipe, Sample, Scene, check_counts, make_sample
from ranet_edu.model.ranet import RANet, RANetConfig
from ranet_edu.training.batches import StepSampler, load_batches, to_device
from ranet_edu.training.losses import RolloutLoss
from ranet_edu.video.segmenter import VOID, VideoSegmenter

ITERATIONS = 50  # the most that was measured, and still better than 25 on minival; the paper gives times only
BATCH = 2  # pairs per iteration
PAPER_RATE = 1e-6  # the paper's, with Adam (§4.1)
LITE_RATE = 1e-4  # of 1e-5 and 1e-4 the better on minival, where it gains most within 50 iterations (notebook 12)


class FirstFramePairs(Dataset):
    """Pairs of "frames" made of one frame, as `StillPairs` makes them of photos: `sample_sheet` draws them.

    frame: RGB uint8 (h, w, 3). masks: bool (N, h, w), its objects. void: bool (h, w) or None, where the truth is
    unknown. size: the canvas (H, W). Sample i, of any i from 0 on, depends on `seed` and i alone.
    """

    def __init__(
        self,
        frame: np.ndarray,
        masks: np.ndarray,
        size: tuple[int, int],
        void: np.ndarray | None = None,
        seed: int = 0,
        recipe: Recipe = STILLS_RECIPE,
    ) -> None:
        self.frame, self.masks, self.void = frame, masks.astype(np.uint8) * 255, void
        self.size, self.seed, self.recipe = size, seed, recipe

    def __getitem__(self, index: int) -> Sample:
        rng = np.random.default_rng([self.seed, index])
        template = random_pose(rng)
        current = template.towards(random_pose(rng), rng.uniform(0.2, 1.0))
        previous = nearby_pose(rng, current, rng.uniform(0.02, 0.25))
        scenes = (self._scene(pose) for pose in (template, previous, current))
        return make_sample(rng, next(scenes), next(scenes), list(scenes), self.size, self.recipe)

    def _scene(self, pose: Pose) -> Scene:
        height, width = self.frame.shape[:2]
        middle = ((width - 1) / 2, (height - 1) / 2)
        placement = Placement(middle, middle, (width, height))
        layer = Layer(self.frame, self.masks, tuple(range(len(self.masks))), placement, pose, self.void)
        return Scene([layer], (height, width), len(self.masks))


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
    workers: int = 0,
    clock: Callable[[], float] = time.monotonic,
) -> RANet:
    """A copy of `model`, in eval mode, fine-tuned on a first frame; `model` itself is left as it was. Notebook 12.

    frame: RGB uint8 (H, W, 3). mask: (H, W) integers, as `VideoSegmenter.segment` takes them; all its objects are
    learnt at once. iterations, seconds: what ends the learning, whichever comes first (None: no such limit); the time
    is looked at before each iteration. learning_rate: Adam's, default 1e-6 (the paper) for ResNet-101 and 1e-4
    otherwise. batch: pairs per iteration. seed: of the pairs. canvas: (H, W) of the pairs, default
    the model's. workers: processes that prepare pairs, for a GPU that would wait for them. clock: in seconds.
    The loss is BCE. Batch norms keep their statistics, and parameters with `requires_grad=False` stay as they are.
    Raises ValueError for a limit, rate or batch that makes no sense, a model that can't learn, a frame or mask that
    does not fit; ArithmeticError where the loss is no longer a number.
    """
    end = math.inf if seconds is None else clock() + seconds
    check_learning(model, iterations, seconds, learning_rate, batch)
    pairs = first_frame_pairs(model, frame, mask, tuple(canvas or model.canvas), seed, recipe)
    networks = adapt(model, pairs, iterations, learning_rate, batch, workers)
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
    workers: int = 0,
) -> Iterator[RANet]:
    """A copy of `model` after 0, 1, 2, ... iterations on `pairs`: one and the same network, in float32 and eval mode.

    Each step is taken when it is asked for. Arguments and errors as in `learn_online`. Built in notebook 12.
    """
    adapted = copy.deepcopy(model).float().eval()  # steps of 1e-6 would be lost in half precision
    learning = [parameter for parameter in adapted.parameters() if parameter.requires_grad]
    optimiser = torch.optim.Adam(learning, default_rate(model) if learning_rate is None else learning_rate)
    loss = RolloutLoss(adapted)
    yield adapted
    sampler = StepSampler(0, sys.maxsize if iterations is None else iterations, batch)
    for samples in load_batches(pairs, sampler, workers):
        _advance(loss, optimiser, samples)
        yield adapted


def _advance(loss: nn.Module, optimiser: torch.optim.Optimizer, samples: Sample) -> None:
    """One iteration; afterwards the parameters hold no gradient."""
    device = optimiser.param_groups[0]["params"][0].device
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
    return FirstFramePairs(frame, objects, canvas, void, seed, recipe)


def default_rate(model: RANet) -> float:
    """The learning rate of `learn_online`: the paper's for its backbone, ours for others."""
    return PAPER_RATE if model.config.backbone == RANetConfig.backbone else LITE_RATE


def check_learning(
    model: nn.Module, iterations: int | None, seconds: float | None, learning_rate: float | None, batch: int
) -> None:
    """Raises ValueError for arguments of `learn_online` that make no sense; see there."""
    if not hasattr(model, "trace"):
        raise ValueError(f"online learning needs a RANet; a {type(model).__name__} has nothing to train")
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ValueError("online learning has nothing to train: no parameter of the model has requires_grad")
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
        )


def pairs_recipe(segmenter: VideoSegmenter) -> Recipe:
    """The stills recipe; where the segmenter doesn't crop, the pairs are shown whole too."""
    whole = {"whole": segmenter.frame_crop, "whole_template": segmenter.template_crop}
    return replace(STILLS_RECIPE, **{name: 1.0 for name, crops in whole.items() if not crops})
