"""A whole video, one frame at a time, in constant memory: template, crop, previous mask, next mask (§4.1).

The loop around the network. It keeps what the next frame needs, and nothing else: the template's features, its masks,
and the masks of the frame before. Used from notebook 00 on; taken apart in notebook 06.
"""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import starmap
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ranet_edu.model.ranet import RANet
from ranet_edu.video.crop import cut, object_box, paste, whole_frame_box, wider_box
from ranet_edu.video.fast import fast_copy, keep_freed_memory

VOID = 255
LEAST = 0.02  # of its first size: what is found of an object that is out of sight is less
WIDEN = 1.1  # by how much, from frame to frame, the view widens around the place where the objects were lost


class FrameModel(Protocol):
    """What the loop needs of a model: `RANet` has it, and so have the baselines.

    canvas: (height, width) of the frames it sees. template_from: "first", or "previous" for models that follow the
    frame before instead of the first frame. crops: whether it does better on crops around the objects than on whole
    frames. The methods are those of `RANet`.
    """

    canvas: tuple[int, int]
    template_from: str
    crops: bool

    def normalize(self, images: Tensor) -> Tensor: ...

    def parameters(self) -> Iterator[Tensor]: ...

    def encode_template(self, frames: Tensor) -> Tensor: ...

    def __call__(self, frames: Tensor, template: Tensor, template_masks: Tensor, previous_masks: Tensor) -> Tensor: ...


@dataclass
class VideoState:
    """What one video's segmentation remembers between two frames.

    labels: the N label values of the first mask. template: (1, C, H0, W0). template_masks: (1, N, *canvas).
    probabilities: (N, H, W), the objects in the last frame. box: (4,), where it was looked for them. first_sizes: (N,),
    the objects' pixels in the first mask. frame: (3, H, W), the last frame, where the model follows it.
    """

    labels: Tensor
    template: Tensor
    template_masks: Tensor
    probabilities: Tensor
    box: Tensor
    first_sizes: Tensor
    frame: Tensor | None = None

    @property
    def label_map(self) -> Tensor:
        """(H, W) uint8: each pixel's most probable label, or 0 where background is more probable than any object."""
        best, index = self.probabilities.max(0)
        return torch.where(best > self._background, self.labels[index], 0).to(torch.uint8)

    @property
    def hard_masks(self) -> Tensor:
        """(N, H, W) of 0 and 1: `label_map`, object by object."""
        best, index = self.probabilities.max(0)
        objects = torch.arange(len(self.labels), device=index.device)[:, None, None]
        return ((index == objects) & (best > self._background)).float()

    @property
    def _background(self) -> Tensor:
        return 1 - self.probabilities.sum(0)


class NetworkInputs(NamedTuple):
    """What the model is given for one frame, in the order of its arguments, a batch of one: see `RANet.forward`."""

    frames: Tensor
    template: Tensor
    template_masks: Tensor
    previous_masks: Tensor


class VideoSegmenter:
    """Segments the objects of a first mask in all later frames.

    model: a `RANet` or a baseline, on any device; it is left as it is. Of a `RANet` a faster copy is made now, which
        does not notice later changes.
    template_crop, frame_crop: crop the first frame around the objects, each later one around the last prediction. The
        released code does both; the paper says that it crops the template. Default: what the model does better with.
    grow: how much larger than the objects' box a crop is.
    combine: "maximum", each object by itself, the highest probability wins (released code), or "softmax" over the
        objects and the background (the paper). One object is the same under both. J&F on our only real sequence of
        several objects (dogs_jump, 3) was 67.4 and 64.2 with the first weights, on the sample clips 78.9 and 78.9.
    previous: what is propagated: "soft" probabilities, or the "hard" mask of the released code.
    canvas: frame size that the model sees, (height, width); default: the model's.
    precision, compile: of the copy, see `fast_copy`. The default keeps the masks as the model itself finds them. A
        model that was compiled already (`model.compile()`) is not copied.

    network: the copy, or the model itself.
    """

    def __init__(
        self,
        model: FrameModel,
        *,
        template_crop: bool | None = None,
        frame_crop: bool | None = None,
        grow: float = 1.5,
        combine: str = "maximum",
        previous: str = "soft",
        canvas: tuple[int, int] | None = None,
        precision: str = "auto",
        compile: bool = False,
    ) -> None:
        _check_choice("combine", combine, ("maximum", "softmax"))
        _check_choice("previous", previous, ("soft", "hard"))
        self.precision, self.compile = precision, compile
        self._use(model)
        self.template_crop = model.crops if template_crop is None else template_crop
        self.frame_crop = model.crops if frame_crop is None else frame_crop
        self.grow = grow
        self.combine, self.previous = combine, previous
        self.canvas = tuple(canvas or model.canvas)

    def with_model(self, model: FrameModel) -> VideoSegmenter:
        """A segmenter with the same options for another model of the same kind."""
        other = copy.copy(self)
        other._use(model)
        return other

    def _use(self, model: FrameModel) -> None:
        self.model = self.network = model
        if isinstance(model, RANet) and model._compiled_call_impl is None:  # what `Module.compile` did is not copied
            self.network = fast_copy(model, self.precision, self.compile)
        elif self.precision != "auto" or self.compile:
            raise ValueError("precision and compile are for a RANet that is not compiled; this model is used as it is")
        self.device, self.dtype = _place(self.network)
        if self.device.type == "cpu":
            keep_freed_memory()

    def segment(self, frames: Iterable[np.ndarray], first_mask: np.ndarray) -> Iterator[np.ndarray]:
        """Yield one label map (H, W) uint8 for each frame, as frames arrive; the first one is the first mask.

        frames: RGB uint8 (H, W, 3), all of one size; any iterable, read one by one. first_mask: (H, W) integers, 0 is
        background, 255 beside other labels is void and counts as background; alone it is the object, reported as 1.
        Raises ValueError for an empty or misshapen first mask and for a frame of another size, naming it.
        On CUDA each mask is handed out while the next frame is computed, so the loop runs one frame ahead.
        """
        return _fetch(self._label_maps(frames, first_mask), cuda=self.device.type == "cuda")

    def begin(self, frame: np.ndarray, mask: np.ndarray) -> VideoState:
        """Remember the objects of `mask` in `frame`; `step` then finds them in later frames."""
        _check_frame(frame)
        mask = np.asarray(mask)
        values, labels = _split(mask, frame.shape[:2])
        masks = torch.from_numpy(np.stack([mask == value for value in values])).to(self.device).float()
        image = self._to_device(frame)
        box = self._box(masks, self.template_crop)
        with torch.inference_mode():
            template, template_masks = self._encode(image, masks, box)
        kept = image if self.model.template_from == "previous" else None
        labels, box = torch.tensor(labels, device=self.device), self._box(masks, self.frame_crop)
        return VideoState(labels, template, template_masks, masks, box, masks.sum((-2, -1)), kept)

    @torch.inference_mode()
    def step(self, state: VideoState, frame: np.ndarray) -> VideoState:
        """The state after one more frame; `state.label_map` and `state.probabilities` are its result."""
        inputs, box, image = self._look(state, frame)
        found = self.network(*inputs)[0]
        size = state.probabilities.shape[-2:]
        probabilities = paste(combine_objects(found.float(), self.combine), box, size)
        if self.frame_crop:
            probabilities = without_specks(probabilities, LEAST * state.first_sizes)
        kept = image if state.frame is not None else None
        return replace(state, probabilities=probabilities, box=box, frame=kept)

    @torch.inference_mode()
    def network_inputs(self, state: VideoState, frame: np.ndarray) -> NetworkInputs:
        """What `step` gives the model for this frame: to look inside with `RANet.trace`, as the demo does."""
        inputs = self._look(state, frame)[0]
        dtype = _place(self.model)[1]
        return inputs._replace(frames=inputs.frames.to(dtype), template=inputs.template.to(dtype))

    def _look(self, state: VideoState, frame: np.ndarray) -> tuple[NetworkInputs, Tensor, Tensor]:
        """The model's inputs, the box of the frame that they show, and the frame on the device."""
        size = state.probabilities.shape[-2:]
        _check_frame(frame, tuple(size))
        image = self._to_device(frame)
        previous = state.probabilities if self.previous == "soft" else state.hard_masks
        box = self._box(previous, self.frame_crop, wider_box(state.box, WIDEN, tuple(size), self.canvas))
        template, template_masks = state.template, state.template_masks
        if state.frame is not None:
            template, template_masks = self._encode(state.frame, previous, box)
        shown = self._show(image, box, size)
        return NetworkInputs(shown, template, template_masks, cut(previous, box, self.canvas)[None]), box, image

    def _label_maps(self, frames: Iterable[np.ndarray], first_mask: np.ndarray) -> Iterator[Tensor]:
        state = None
        for index, frame in enumerate(frames):
            try:
                state = self.begin(frame, first_mask) if state is None else self.step(state, frame)
            except FrameError as error:
                raise ValueError(f"frame {index}: {error}") from error
            yield state.label_map

    def _encode(self, image: Tensor, masks: Tensor, box: Tensor) -> tuple[Tensor, Tensor]:
        template = self.network.encode_template(self._show(image, box, masks.shape[-2:]))
        return template, cut(masks, box, self.canvas)[None]

    def _box(self, masks: Tensor, crop: bool, lost: Tensor | None = None) -> Tensor:
        """Where to look for `masks`; `lost`: where nothing of them is left."""
        if crop:
            return object_box(masks, self.canvas, self.grow, otherwise=lost)
        return whole_frame_box(tuple(masks.shape[-2:]), self.canvas, self.device)

    def _to_device(self, frame: np.ndarray) -> Tensor:
        """uint8 (H, W, 3) -> float (3, h, w) in [0, 1], shrunk by a whole factor where it is far above the canvas."""
        writable = np.require(frame, requirements=("C", "W"))  # PyTorch warns of others, such as Pillow's
        pixels = torch.from_numpy(writable).to(self.device, non_blocking=True)
        image = pixels.permute(2, 0, 1).float() / 255
        factor = min(frame.shape[0] // self.canvas[0], frame.shape[1] // self.canvas[1]) // 2
        return F.avg_pool2d(image, factor) if factor > 1 else image

    def _show(self, image: Tensor, box: Tensor, size: tuple[int, int]) -> Tensor:
        """What the model sees of `image`, (1, 3, *canvas). `box` is in pixels of the frame of `size`, which `image` may
        be a smaller copy of."""
        down, across = image.shape[-2] / size[0], image.shape[-1] / size[1]
        top, left, height, width = box.unbind()
        box = torch.stack([top * down, left * across, height * down, width * across])
        return self.model.normalize(cut(image, box, self.canvas)).to(self.dtype)[None]


def _place(model: FrameModel) -> tuple[torch.device, torch.dtype]:
    parameter = next(iter(model.parameters()))
    return parameter.device, parameter.dtype


class FrameError(ValueError):
    """A frame that doesn't fit; the loop adds its number."""


def combine_objects(probabilities: Tensor, how: str) -> Tensor:
    """Let N objects compete for each pixel: (..., N, H, W) in [0, 1], one by one -> the same, of a sum of at most 1.

    "softmax" is the softmax over the objects' logits and a background of logit 0 (§3.3). "maximum" keeps the highest of
    the objects' probabilities, of equal ones the first, and sets the others to zero (released code).
    """
    if probabilities.shape[-3] == 1:
        return probabilities
    if how == "maximum":
        best = probabilities.argmax(-3, keepdim=True)
        return torch.zeros_like(probabilities).scatter(-3, best, probabilities.gather(-3, best))
    logits = torch.logit(probabilities, eps=1e-6)
    return F.pad(logits, (0, 0, 0, 0, 1, 0)).softmax(-3)[..., 1:, :, :]


def without_specks(probabilities: Tensor, least: Tensor) -> Tensor:
    """The probabilities (N, H, W) of N objects, zero for one that is found (from 0.5 on) in fewer than `least` pixels.

    least: (N,). Of an object that is out of sight, specks of others that look alike are often found, and then followed.
    """
    found = (probabilities >= 0.5).sum((-2, -1))
    return probabilities * (found >= least)[:, None, None]


def _fetch(label_maps: Iterator[Tensor], cuda: bool) -> Iterator[np.ndarray]:
    """Label maps as arrays; on CUDA one behind, so that copying a mask runs beside the next frame's computation.

    What is behind is handed out before an error of the next frame is raised.
    """
    copying: deque[tuple[Tensor, torch.cuda.Event]] = deque()
    try:
        for labels in label_maps:
            if not cuda:
                yield labels.cpu().numpy()
                continue
            event = torch.cuda.Event()
            copying.append((labels.to("cpu", non_blocking=True), event))
            event.record()
            if len(copying) > 1:
                yield _when_copied(*copying.popleft())
    except Exception:
        yield from starmap(_when_copied, copying)
        raise
    yield from starmap(_when_copied, copying)


def _when_copied(labels: Tensor, event: torch.cuda.Event) -> np.ndarray:
    event.synchronize()
    return labels.numpy()


def _split(mask: np.ndarray, size: tuple[int, int]) -> tuple[list[int], list[int]]:
    """Values of a first mask that are objects, and the labels they get in the result."""
    if mask.shape != size:
        raise ValueError(f"first_mask has shape {mask.shape}, but {size} is needed, as the first frame has: resize it")
    if mask.dtype.kind not in "biu":
        raise ValueError(f"first_mask holds {mask.dtype}; labels are integers, 0 for background, 1, 2, ... for objects")
    values = [int(value) for value in np.unique(mask) if value != 0]
    if not values:
        raise ValueError("first_mask holds no object: every pixel is background")
    if values == [VOID]:
        return values, [1]
    values = [value for value in values if value != VOID]
    if values[0] < 0 or values[-1] > VOID:
        wrong = values[0] if values[0] < 0 else values[-1]
        raise ValueError(f"first_mask holds the label {wrong}; labels are 1 to 254")
    return values, values


def _check_frame(frame: np.ndarray, size: tuple[int, int] | None = None) -> None:
    needed = f"({size[0]}, {size[1]}, 3)" if size else "(H, W, 3)"
    if frame.ndim != 3 or frame.shape[2] != 3 or (size and frame.shape[:2] != size):
        raise FrameError(f"the frame has shape {frame.shape}, but {needed} is needed: RGB, and all frames of one size")
    if frame.dtype != np.uint8:
        raise FrameError(f"the frame holds {frame.dtype}; frames are uint8, 0 to 255")


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, not {value!r}")
