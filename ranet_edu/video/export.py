"""The network as an ONNX file, for runtimes other than PyTorch.

One file serves a whole video. It holds one frame of the loop in `segmenter.py`: what the network is given, what it
gives. The loop itself stays with who calls it: cutting frames to size (`crop.py`), remembering masks, letting several
objects compete (`combine_objects`).
"""

from __future__ import annotations

import copy
import importlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ranet_edu.model.encoder import pool_template
from ranet_edu.model.ranet import RANet
from ranet_edu.video.masks import atomic_path

INPUTS = ("frame", "template", "template_masks", "previous_masks")
OUTPUTS = ("masks", "frame_template")
PACKAGES = ("onnx", "onnxscript", "onnxruntime")
SCENES = 3  # that a new file is tried on
DESCRIPTION = """RANet on one frame of a video: which pixels belong to the objects of an earlier frame, the template.
Inputs, all float32:
  frame           (1, 3, H, W)    RGB in [0, 1], not normalised
  template        (1, C, H0, W0)  `frame_template` as given for the template frame; zeros where there is none yet
  template_masks  (1, N, H, W)    the objects in the template frame, in [0, 1]
  previous_masks  (1, N, H, W)    the objects in the frame before, in [0, 1]
Outputs, float32:
  masks           (1, N, H, W)    probabilities in [0, 1], each object by itself
  frame_template  (1, C, H0, W0)  what this frame is as a template
The template frame goes first, with zeros as `template`, and its `masks` mean nothing then."""


class Agreement(NamedTuple):
    """How near the file's results are to PyTorch's, over all scenes.

    template: largest difference of template features, which are at most 1. pixels: share of pixels on the same side of
    0.5. masks: mean difference of probabilities. A mean, because two template pixels with equal ranking scores may
    swap by rounding, and then single pixels differ by more.
    """

    template: float
    pixels: float
    masks: float

    @property
    def good(self) -> bool:
        """Whether that is rounding: the bounds are ten times what was seen."""
        return self.template < 1e-3 and self.pixels > 0.995 and self.masks < 1e-3


class FrameNetwork(nn.Module):
    """What the file computes: a frame's masks, and the frame as a template."""

    def __init__(self, model: RANet) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, frame: Tensor, template: Tensor, template_masks: Tensor, previous_masks: Tensor
    ) -> tuple[Tensor, Tensor]:
        trace = self.model.trace(self.model.normalize(frame), template, template_masks, previous_masks)
        return trace.probabilities, pool_template(trace.features.matching, self.model.config.template_grid)


def export_onnx(
    model: RANet,
    path: str | os.PathLike,
    objects: int = 1,
    size: tuple[int, int] | None = None,
    facts: Mapping[str, str] | None = None,
) -> Agreement:
    """Write `model` as an ONNX file for frames of one size and a number of objects; returns how well it agrees.

    size: (H, W); default: the model's canvas. objects: N; what is not needed in a video may stay zero.
    facts: kept in the file (`session.get_modelmeta().custom_metadata_map`) beside the network's configuration.
    The new file is run with onnxruntime on a few made-up scenes and is only put in place where it agrees with PyTorch.
    Raises ValueError for a name that does not end in .onnx, a size that the model does not take, missing packages (the
    extra `onnx`), and where the file computes something else.
    """
    if Path(path).suffix.lower() != ".onnx":
        raise ValueError(f"networks are written as ONNX, but the name is {path}; end it in .onnx")
    if objects < 1:
        raise ValueError(f"objects must be 1 or more, not {objects}")
    require_packages()
    network = FrameNetwork(copy.deepcopy(model).cpu().float()).eval().requires_grad_(False)
    scenes = [scene(network, objects, size or model.canvas, seed) for seed in range(SCENES)]
    program = torch.onnx.export(
        network,
        scenes[0],
        input_names=INPUTS,
        output_names=OUTPUTS,
        dynamo=True,
        verbose=False,
        custom_translation_table={torch.ops.aten.adaptive_max_pool2d.default: adaptive_max_pool},
    )
    program.model.doc_string = DESCRIPTION
    program.model.metadata_props.update({"config": json.dumps(asdict(model.config)), **(facts or {})})
    with atomic_path(path) as unfinished:
        program.save(unfinished, external_data=False)
        found = compare(network, unfinished, scenes)
        if not found.good:
            raise ValueError(f"{path} would not compute what PyTorch does ({found}), so it was not written")
    return found


def require_packages() -> None:
    """Raise ValueError that names the extra, unless ONNX and its runtime are installed."""
    for name in PACKAGES:
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as error:
            raise ValueError(f"ONNX needs {error.name}, which is not installed: pip install -e '.[onnx]'") from error


def adaptive_max_pool(x: object, output_size: Sequence[int]) -> tuple[object, object]:
    """`F.adaptive_max_pool2d` of (B, C, H, W) in the operators of ONNX, which has none such; the exporter calls it.

    The pixels of every cell are gathered in an axis of their own, rows first. The second result, in PyTorch the
    maximum's place, is used nowhere.
    """
    import onnx
    from onnxscript import opset18 as op

    for axis, length, cells in zip((2, 3), x.shape[2:], output_size, strict=True):
        pixels = op.Constant(value=onnx.numpy_helper.from_array(cell_pixels(length, cells)))
        x = op.ReduceMax(op.Gather(x, pixels, axis=axis), op.Constant(value_ints=[axis + 1]), keepdims=0)
    return x, x


def cell_pixels(length: int, cells: int) -> np.ndarray:
    """(cells, n) int64: which of `length` pixels each cell pools; a cell with fewer than n repeats its last one."""
    starts = np.arange(cells) * length // cells
    ends = -(-(np.arange(cells) + 1) * length // cells)
    return np.minimum(starts[:, None] + np.arange((ends - starts).max()), ends[:, None] - 1)


@torch.inference_mode()
def scene(network: FrameNetwork, objects: int, size: tuple[int, int], seed: int) -> tuple[Tensor, ...]:
    """Inputs of the network: soft colours, rectangles as objects side by side, the second frame like the first."""
    random = torch.Generator().manual_seed(seed)
    first = F.interpolate(torch.rand(1, 3, 9, 16, generator=random), size, mode="bicubic").clamp(0, 1)
    second = (first + 0.1 * torch.rand(1, 3, *size, generator=random)).clamp(0, 1)
    masks = torch.zeros(1, objects, *size)
    for number, mask in enumerate(masks[0]):
        left, right = (size[1] * (number + share) for share in (0.2, 0.8))
        mask[size[0] // 4 : size[0] * 3 // 4, int(left / objects) : int(right / objects) + 1] = 1
    template = network.model.encode_template(network.model.normalize(first))
    return second, template, masks, masks.roll(size[1] // 20, 3)


@torch.inference_mode()
def compare(network: FrameNetwork, path: Path, scenes: list[tuple[Tensor, ...]]) -> Agreement:
    """The file's results beside the network's, the worst of all scenes."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    found = []
    for inputs in scenes:
        masks, template = network(*inputs)
        named = {name: value.numpy() for name, value in zip(INPUTS, inputs, strict=True)}
        their_masks, their_template = (torch.from_numpy(output) for output in session.run(OUTPUTS, named))
        same = ((masks > 0.5) == (their_masks > 0.5)).double().mean()
        differences = (template - their_template).abs().amax(), same, (masks - their_masks).abs().mean()
        found.append([value.item() for value in differences])
    templates, pixels, mean = zip(*found, strict=True)
    return Agreement(max(templates), min(pixels), max(mean))
