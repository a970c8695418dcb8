"""Visible checks of assignment 4: decoder, loss, training, evaluation. Each takes the answer and names the mistake."""

from __future__ import annotations

import copy
import math
import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ranet_edu.course.checks.common import answer, expect, fail, passed, require
from ranet_edu.course.pairs import sample_pair, small_decoder
from ranet_edu.evaluation.metrics import region_similarity
from ranet_edu.model.blocks import ConvBlock, ResBlock

TOLERANCE = 1e-5  # float32 on another machine


# --- exercises 1 and 2: parts of the decoder


class Probe(nn.Module):
    """Stands where an answer has its layers: hands on what it is given, and remembers the sizes that it saw."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[int, int]] = []

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(tuple(x.shape[-2:]))
        return x


def merge_module(student: type[nn.Module]) -> None:
    """Check `MergeModule(kept_maps, first, inner, last)`: its weights, then what surrounds the layers."""
    module = _module(student, ("layers",), 5, 8, 4, 6)
    layers = nn.Sequential(ConvBlock(5, 8), ResBlock(8, 4), ConvBlock(8, 6))
    wanted, got = _shapes(layers), _shapes(module)
    require(got != wanted + wanted, "each stream has layers of its own; both must pass through the same ones (§3.1)")
    require(
        got == wanted,
        f"the weights of MergeModule(5, 8, 4, 6) are {_listed(got)}, not {_listed(wanted)}: "
        "Conv_Block 5 -> 8, Res_Block of 8 with 4 inside, Conv_Block 8 -> 6",
    )
    maps = torch.rand(2, 2, 5, 4, 6, generator=torch.Generator().manual_seed(0))
    probe = Probe()
    module.layers = nn.Sequential(probe, nn.Identity(), nn.Identity())  # three, for answers that index them
    merged = answer(module.forward, maps, (8, 12))
    require(bool(probe.seen), "forward does not use self.layers")
    require(set(probe.seen) == {(8, 12)}, f"the layers see maps of {probe.seen[0]}: upsample to `size` before them")
    large = _resize(maps.flatten(0, 1), (8, 12)).unflatten(0, (2, 2))  # (B, 2, K, h, w)
    mistakes = {
        "the maps were upsampled with align_corners=True; at this place the network doesn't align them": _resize(
            maps.flatten(0, 1), (8, 12), align_corners=True
        ).reshape(2, 10, 8, 12),
        "the maps were upsampled by repeating pixels; use mode='bilinear'": F.interpolate(
            maps.flatten(0, 1), (8, 12)
        ).reshape(2, 10, 8, 12),
        "the two streams are still apart; lay them side by side as channels": large,
        "the background comes first; the foreground stream does": large.flip(1).flatten(1, 2),
        "the streams were added; lay them side by side, so that the decoder can tell them apart": large.sum(1),
        "only one stream is there": large[:, 0],
        "samples and streams are mixed up: undo the batch exactly as you made it": large.transpose(0, 1).flatten(1, 2),
        "channels of the two streams alternate; all of the foreground comes first": large.transpose(1, 2).flatten(1, 2),
    }
    expect(
        "MergeModule's output, with its layers taken out",
        merged,
        large.flatten(1, 2),
        mistakes=mistakes,
        tolerance=TOLERANCE,
    )
    passed("MergeModule: one set of weights for both streams, upsampled before and side by side after")


def pyramid_step(student: type[nn.Module]) -> None:
    """Check `PyramidStep(in_channels, skip_channels, skip_width, out_channels)` with skip features of two scales."""
    step = _module(student, ("reduce", "refine"), 5, (7, 9), 3, 6)
    reduce = nn.ModuleList([ConvBlock(7, 3, kernel_size=1), ConvBlock(9, 3, kernel_size=1)])
    refine = nn.Sequential(ConvBlock(5 + 2 * 3, 6), ResBlock(6, 3))
    got, wanted = _shapes(step), _shapes(reduce) + _shapes(refine)
    require(
        got != _shapes(refine),
        "the weights of `reduce` are not among parameters(), so they would never learn: "
        "a Python list hides its modules, nn.ModuleList does not",
    )
    require(
        got == wanted,
        f"the weights of PyramidStep(5, (7, 9), 3, 6) are {_listed(got)}, not {_listed(wanted)}: "
        "Conv_Blocks 7 -> 3 and 9 -> 3 of kernel size 1, Conv_Block 5 + 3 + 3 -> 6, Res_Block of 6 with 3 inside",
    )
    x, skips = _step_inputs(torch.Generator().manual_seed(0))
    probes = [Probe() for _ in skips]
    refined = Probe()
    step.reduce, step.refine = nn.ModuleList(probes), nn.Sequential(refined, nn.Identity())
    grown = answer(step.forward, x, skips, (12, 16))
    for number, (probe, skip) in enumerate(zip(probes, skips, strict=True)):
        require(bool(probe.seen), f"forward does not use reduce[{number}]")
        require(
            probe.seen[0] == tuple(skip.shape[-2:]),
            f"reduce[{number}] sees {probe.seen[0]}: reduce first, on few pixels, and upsample after that",
        )
    require(bool(refined.seen), "forward does not use self.refine")
    require(refined.seen[0] != (12, 16), "refine sees the upsampled size (12, 16): refine first, then upsample")
    joined = torch.cat([skips[0], _aligned(skips[1], (6, 8)), x], dim=1)
    loose = torch.cat([skips[0], _resize(skips[1], (6, 8)), x], dim=1)
    mistakes = {
        "the result was not upsampled to `size`": joined,
        "x comes first; the skip features do": _aligned(torch.cat([x, joined[:, :16]], dim=1), (12, 16)),
        "everything was upsampled with align_corners=False; the pyramid aligns corners": _resize(loose, (12, 16)),
        "the skip features were upsampled with align_corners=False; the pyramid aligns corners": _aligned(
            loose, (12, 16)
        ),
        "the result was upsampled with align_corners=False; the pyramid aligns corners": _resize(joined, (12, 16)),
        "the coarse skip features come first; they are given, and joined, finest first": _aligned(
            torch.cat([joined[:, 7:16], skips[0], x], dim=1), (12, 16)
        ),
        "the skip features are missing": _aligned(x, (12, 16)),
    }
    expect(
        "PyramidStep's output, with its layers taken out",
        grown,
        _aligned(joined, (12, 16)),
        mistakes=mistakes,
        tolerance=TOLERANCE,
    )
    passed("PyramidStep: skip features reduced, upsampled and joined; refined, then upsampled")


def _step_inputs(generator: torch.Generator) -> tuple[Tensor, list[Tensor]]:
    shapes = ((2, 5, 6, 8), (2, 7, 6, 8), (2, 9, 3, 4))
    x, *skips = (torch.rand(shape, generator=generator) for shape in shapes)
    return x, skips


def _module(student: type[nn.Module], names: Sequence[str], *sizes: Any) -> nn.Module:
    """The student's module, whose layers have the names that the check replaces."""
    module = answer(student, *sizes)
    require(isinstance(module, nn.Module), f"{student.__name__} is not an nn.Module")
    for name in names:
        require(hasattr(module, name), f"{student.__name__} has no attribute `{name}`: keep the stub's names")
    return module


def _shapes(module: nn.Module) -> Counter[tuple[int, ...]]:
    return Counter(tuple(parameter.shape) for parameter in module.parameters())


def _listed(shapes: Counter[tuple[int, ...]]) -> str:
    return ", ".join("x".join(map(str, shape)) for shape in sorted(shapes.elements(), key=lambda s: (-len(s), s)))


def _resize(x: Tensor, size: tuple[int, int], align_corners: bool = False) -> Tensor:
    return F.interpolate(x, size, mode="bilinear", align_corners=align_corners)


def _aligned(x: Tensor, size: tuple[int, int]) -> Tensor:
    return _resize(x, size, align_corners=True)


# --- exercise 3: the loss


def balanced_bce(student: Callable) -> None:
    """Check `balanced_bce(logits, true, valid, object_weight) -> (B,)` on random samples, then at extremes."""
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(2, 4, 6, generator=generator)
    true = (torch.rand(2, 4, 6, generator=generator) > 0.7).float()
    valid = (torch.rand(2, 4, 6, generator=generator) > 0.3).float()
    got = answer(student, logits, true, valid, 3.0)
    require(
        isinstance(got, Tensor),
        f"balanced_bce returns {type(got).__name__}, not a tensor; torch.stack makes one of a list of tensors",
    )
    weights = valid * (1 + 2 * true)
    loss = F.binary_cross_entropy_with_logits(logits, true, reduction="none")
    expected = _mean(loss, weights)
    twice = F.binary_cross_entropy_with_logits(logits.sigmoid(), true, reduction="none")
    mistakes = {
        "that is one number for the batch; every sample has its own, (B,)": expected.mean(),
        "that is one mean over all pixels of the batch; every sample has its own, (B,)": (
            (loss * weights).sum() / weights.sum()
        ),
        "a sigmoid was applied to the logits before a loss that applies one itself": _mean(twice, weights),
        "void pixels count: multiply the weights by `valid`": _mean(loss, 1 + 2 * true),
        "void pixels are left out of the sum but not out of the weights that it is divided by": (loss * weights).sum(
            (1, 2)
        )
        / (1 + 2 * true).sum((1, 2)),
        "a weighted mean is divided by the sum of the weights, not by the number of pixels": (loss * weights).mean(
            (1, 2)
        ),
        "a weighted mean is divided by the sum of the weights, not by the number of valid pixels": (
            (loss * weights).sum((1, 2)) / valid.sum((1, 2))
        ),
        "`object_weight` has no effect": _mean(loss, valid),
        "the background got the weight of the object": _mean(loss, valid * (1 + 2 * (1 - true))),
        "that is the sum over the pixels; divide it by the sum of their weights": (loss * weights).sum((1, 2)),
        "the object's pixels weigh 1 + object_weight; they should weigh object_weight": _mean(
            loss, valid * (1 + 3 * true)
        ),
        "the sign is wrong: the log of a probability is negative, its loss is not": -expected,
    }
    expect("balanced_bce of two random samples", got, expected, mistakes=mistakes, tolerance=TOLERANCE)
    _at_extremes(student)
    passed("balanced_bce: a weighted mean over the valid pixels of each sample, finite at any logit")


def _mean(values: Tensor, weights: Tensor) -> Tensor:
    return (values * weights).sum((1, 2)) / weights.sum((1, 2))


def _at_extremes(student: Callable) -> None:
    logits, ones = torch.tensor([[[-300.0]], [[300.0]]]), torch.ones(2, 1, 1)
    sure = answer(student, logits, ones, ones, 1.0)
    advice = "work with the logits themselves, as F.binary_cross_entropy_with_logits does"
    require(
        bool(torch.isfinite(sure).all()),
        f"a logit of -300 for an object pixel gives {sure.tolist()}: the sigmoid "
        f"is 0 there and its logarithm infinite; {advice}",
    )
    mistakes = {
        f"F.binary_cross_entropy cuts logarithms off at -100, and with them the gradient; {advice}": [100.0, 0.0],
        f"a limit on the logits, or a small number in the logarithm, cuts the loss off, and its gradient; {advice}": (
            [float(sure[0].clamp(max=299)), 0.0]
        ),
    }
    what = "balanced_bce of the logits -300 and 300 for an object pixel"
    expect(what, sure, [300.0, 0.0], tolerance=1e-3, mistakes=mistakes)
    nothing = answer(student, logits, ones, torch.tensor([[[0.0]], [[1.0]]]), 1.0)
    require(
        not bool(torch.isnan(nothing).any()),
        "a sample without a valid pixel gives NaN, and one NaN ends a training run: nothing to learn is a loss of 0",
    )
    expect("balanced_bce of a sample without a valid pixel", nothing[0], 0.0)
    _require_gradient(student)


def _require_gradient(student: Callable) -> None:
    """Two samples, the first without a valid pixel."""
    logits, ones = torch.tensor([[[2.0]], [[-1.0]]], requires_grad=True), torch.ones(2, 1, 1)
    losses = answer(student, logits, ones, torch.tensor([[[0.0]], [[1.0]]]), 1.0)
    require(
        losses.requires_grad,
        "the loss has no gradient, so nothing can learn from it: stay with PyTorch's operations, without .item(), "
        "detach and torch.tensor(...) on the way",
    )
    losses.sum().backward()
    require(
        bool(torch.isfinite(logits.grad).all()),
        f"the gradient of a sample without a valid pixel is {logits.grad[0].item()}: to replace the NaN of 0 / 0 mends "
        "the loss and not its gradient, which still goes through the division; divide by something that is not 0",
    )


# --- exercise 4: a training step


def training_step(student: Callable) -> None:
    """Check `training_step(network, optimiser, batches, loss) -> float` on two weights that one can follow by hand."""
    generator = torch.Generator().manual_seed(0)
    batches = [(torch.randn(3, 2, generator=generator), torch.randn(3, 1, generator=generator)) for _ in range(2)]
    network, optimiser = _two_weights()
    start = network.weight.detach().clone()
    passes = Passes(network)
    first = answer(student, network, optimiser, batches, F.mse_loss)
    passes.stop()
    after = network.weight.detach().clone()
    gradients = [_gradient(start, batch) for batch in batches]
    expected = start - sum(gradients) / 4  # rate 0.5, mean of two
    mistakes = {
        "it did not move: optimiser.step() is missing, or the gradients were cleared before it": start,
        "the network stepped after every batch; add up all gradients, then step once": _steps(start, batches, 0.5),
        "the network stepped after every batch; step once, after the last": _steps(start, batches, 0.25),
        "the network stepped after every batch, with the gradients of the batches before": _steps(
            start, batches, 0.25, adding=True
        ),
        "the gradients were added up, not averaged: divide each loss by the number of batches": (
            start - sum(gradients) / 2
        ),
        "only the last batch counts: clear the gradients once, before the first": start - gradients[1] / 4,
        "only the last batch counts, in full: clear the gradients once, before the first": start - gradients[1] / 2,
        "only the first batch counts": start - gradients[0] / 2,
        "it moved uphill": start + sum(gradients) / 4,
    }
    expect("the weight after one step", after, expected, mistakes=mistakes, tolerance=TOLERANCE)
    _part_by_part(passes)
    _returned_loss(first, start, after, batches)
    answer(student, network, optimiser, batches, F.mse_loss)
    second = sum(_gradient(after, batch) for batch in batches) / 4
    expect(
        "the weight after a second step",
        network.weight,
        after - second,
        tolerance=TOLERANCE,
        mistakes={
            "the gradients of the first step are still in it: clear them with optimiser.zero_grad()": after
            - second
            - (start - after),
        },
    )
    passed("training_step: one step along the mean gradient of all batches, from a clean start")


class Passes:
    """Watches the passes through a network: how many samples each has, and how many graphs are in memory before it."""

    def __init__(self, network: nn.Module) -> None:
        self.samples: list[int] = []
        self.graphs: list[int] = []
        self._in_memory: weakref.WeakSet[Graph] = weakref.WeakSet()
        self._hooks = [network.register_forward_pre_hook(self._before), network.register_forward_hook(self._after)]

    def stop(self) -> None:
        """Let the network go."""
        for hook in self._hooks:
            hook.remove()

    def _before(self, network: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self.samples.append(len(inputs[0]))
        self.graphs.append(sum(not graph.used for graph in self._in_memory))

    def _after(self, network: nn.Module, inputs: tuple[Tensor, ...], outputs: Tensor) -> None:
        if outputs.requires_grad:
            graph = Graph()
            self._in_memory.add(graph)
            outputs.register_hook(graph)  # lives as long as the graph does


class Graph:
    """Hook of a pass's outputs: learns whether a gradient has gone back, after which little of the graph is left."""

    def __init__(self) -> None:
        self.used = False

    def __call__(self, gradient: Tensor) -> None:
        self.used = True


def _part_by_part(passes: Passes) -> None:
    require(
        all(samples <= 3 for samples in passes.samples),
        "the parts go through the network as one batch, which is what did not fit into memory",
    )
    require(not any(passes.graphs), "all graphs are kept until the end: call backward() for each part")


def _returned_loss(got: Any, start: Tensor, after: Tensor, batches: list[tuple[Tensor, Tensor]]) -> None:
    require(
        not isinstance(got, Tensor),
        "training_step returns a tensor, which keeps the whole graph of this step in "
        "memory as long as somebody keeps the loss; .item() makes it a float",
    )
    before, later = ([F.mse_loss(x @ w.T, y) for x, y in batches] for w in (start, after))
    expect(
        "the loss that training_step returns",
        got,
        sum(before) / 2,
        tolerance=TOLERANCE,
        mistakes={
            "that is the sum over the batches, not their mean": sum(before),
            "that is the loss of the last batch alone": before[-1],
            "that is half of the last batch's loss: add up the losses of all batches": before[-1] / 2,
            "that is the loss after the step; the one before it comes for free": sum(later) / 2,
        },
    )


def _two_weights() -> tuple[nn.Module, torch.optim.Optimizer]:
    network = nn.Linear(2, 1, bias=False)
    with torch.no_grad():
        network.weight.copy_(torch.tensor([[1.0, -2.0]]))
    return network, torch.optim.SGD(network.parameters(), lr=0.5)


def _gradient(weight: Tensor, batch: tuple[Tensor, Tensor]) -> Tensor:
    x, y = batch
    return 2 * (x @ weight.T - y).T @ x / len(x)


def _steps(weight: Tensor, batches: list[tuple[Tensor, Tensor]], rate: float, adding: bool = False) -> Tensor:
    """A step after each batch, along its gradient alone or with those before added."""
    total = torch.zeros_like(weight)
    for batch in batches:
        total = total * adding + _gradient(weight, batch)
        weight = weight - rate * total
    return weight


# --- exercise 5: overfit one pair


def overfit(student: Callable, steps: int = 40) -> None:
    """Check `overfit(network, pair, steps)` on the cat: the losses, then what the network has learned."""
    network, pair = small_decoder(), sample_pair()
    weights = copy.deepcopy(network.state_dict())
    before = F.binary_cross_entropy_with_logits(network(pair), pair.true).item()
    losses = answer(student, network, pair, steps)
    _check_losses(losses, steps, before)
    unchanged = all(torch.equal(weights[name], value) for name, value in network.state_dict().items())
    require(
        not unchanged,
        "the network is the one from before: is the optimiser given network.parameters(), and does "
        "the loop call backward() and step()?",
    )
    after = F.binary_cross_entropy_with_logits(network(pair), pair.true).item()
    require(math.isfinite(after), "the loss is no longer a number: the learning rate is far too high")
    found, score = network(pair)[0] > 0, _overlap(network(pair), pair.true)
    copied = region_similarity(found.numpy(), pair.previous[0].numpy())
    require(
        copied <= max(score, 0.8),
        f"the network learned the mask of the *previous* frame (J {copied:.2f}), not "
        "that of the current one: the loss compares with pair.true",
    )
    require(
        after < before,
        f"the loss rose from {before:.3f} to {after:.3f}: the learning rate is too high, or the loss is maximised",
    )
    way = f"the loss went from {before:.3f} to {after:.3f} in {steps} steps and J of the pair is {score:.2f}"
    require(
        score >= 0.9,
        f"{way}, not yet 0.9: with the learning rate that you chose the steps are too small or too "
        "large; try ten times more, and ten times less",
    )
    passed(f"overfit: {way}")


def _check_losses(losses: Any, steps: int, before: float) -> None:
    require(isinstance(losses, (list, tuple)), f"overfit returns {type(losses).__name__}, not a list of losses")
    require(len(losses) == steps, f"overfit returns {len(losses)} losses for {steps} steps")
    require(not any(isinstance(loss, Tensor) for loss in losses), "the losses are tensors; .item() makes a float")
    require(
        abs(losses[0] - before) < 1e-4,
        f"the first loss is {losses[0]:.4f}, but that of the network as it was "
        f"given is {before:.4f}: binary cross-entropy of network(pair) and pair.true, recorded before the step",
    )


def _overlap(logits: Tensor, true: Tensor) -> float:
    return region_similarity((logits[0] > 0).numpy(), true[0].numpy())


# --- exercise 6: an evaluation


Sequences = Mapping[str, tuple[list[np.ndarray], list[np.ndarray]]]


class ScriptedSegmenter:
    """Returns predictions made beforehand, and remembers the masks that it was given."""

    def __init__(self, predictions: Mapping[str, list[np.ndarray]]) -> None:
        self.predictions = predictions
        self.first_masks: list[Any] = []
        self.frame_counts: list[int] = []

    def __call__(self, frames: Iterable[np.ndarray], first_mask: np.ndarray) -> Iterator[np.ndarray]:
        frames = list(frames)
        self.first_masks.append(first_mask)
        self.frame_counts.append(len(frames))
        name = list(self.predictions)[int(frames[0][0, 0, 0])]  # the sequence's number is painted in its frames
        yield from self.predictions[name]


def evaluate(student: Callable) -> None:
    """Check `evaluate(segment, sequences) -> dict` on two made-up sequences with one and with two objects."""
    sequences, predictions = _made_up_sequences()
    segmenter = ScriptedSegmenter(predictions)
    scores = answer(student, segmenter, sequences)
    _check_what_was_given(segmenter, sequences)
    expected = _scores(sequences, predictions)
    _check_names(scores, set(expected))
    variants = {
        "the first frame counts, whose mask was given": _scores(sequences, predictions, frames=slice(0, -1)),
        "the last frame counts; DAVIS leaves it out": _scores(sequences, predictions, frames=slice(1, None)),
        "first and last frame count; DAVIS leaves both out": _scores(sequences, predictions, frames=slice(None)),
        "all labels are taken as one object: compare with `== label`": _scores(sequences, predictions, merged=True),
        "frames in which the object is out of sight are left out; an empty mask is right there and scores 1": _scores(
            sequences, predictions, absent=False
        ),
    }
    for name in sorted(set(expected) - {"mean"}):
        mistakes = {why: wrong[name] for why, wrong in variants.items()}
        expect(f"J of {name}", scores[name], expected[name], mistakes=mistakes)
    by_sequence = np.mean([expected["one_1"], (expected["two_1"] + expected["two_2"]) / 2])
    expect(
        "the mean",
        scores["mean"],
        expected["mean"],
        mistakes={
            "that is a mean over sequences of means over their objects; every object weighs the same": by_sequence,
        },
    )
    passed("evaluate: the frames between first and last, every object of the first annotation, a mean over objects")


def _check_what_was_given(segmenter: ScriptedSegmenter, sequences: Sequences) -> None:
    require(
        len(segmenter.first_masks) == len(sequences),
        f"segment was called {len(segmenter.first_masks)} times for {len(sequences)} sequences",
    )
    for mask, (name, (_, true)) in zip(segmenter.first_masks, sequences.items(), strict=True):
        require(
            np.shape(mask) == true[0].shape,
            f"segment was given masks of shape {np.shape(mask)} for {name}: the "
            "true masks of later frames are the answer; it may see annotation 0 only",
        )
        require(np.array_equal(mask, true[0]), f"segment was not given annotation 0 of {name} as its first mask")
    short = [
        count
        for count, (frames, _) in zip(segmenter.frame_counts, sequences.values(), strict=True)
        if count != len(frames)
    ]
    require(not short, "segment was not given all frames; leave frames out when you score, not when you segment")


def _check_names(scores: Any, wanted: set[str]) -> None:
    require(isinstance(scores, Mapping), f"evaluate returns {type(scores).__name__}, not a dict")
    missing, extra = sorted(wanted - set(scores)), sorted(map(str, set(scores) - wanted))
    if "two_2" in missing:
        fail(
            "there is no score of two_2: the prediction never shows object 2, but the first annotation does, and it "
            "counts as missed"
        )
    require(not any(name.endswith("_0") for name in extra), "the background, label 0, is scored like an object")
    require("one_2" not in extra, "one_2 is scored: label 2 comes up later, the first annotation has only 1")
    require(not missing and not extra, f"the scores are called {sorted(map(str, scores))}, not {sorted(wanted)}")


def _made_up_sequences() -> tuple[Sequences, dict[str, list[np.ndarray]]]:
    """Frames, annotations and predictions of two sequences.

    "one": an object, out of sight once; later prediction and annotation have a label that the first annotation doesn't.
    "two": two objects, the second missed.
    """
    size, count = (8, 12), 6
    annotations = {name: [np.zeros(size, np.uint8) for _ in range(count)] for name in ("one", "two")}
    predictions = {name: [np.zeros(size, np.uint8) for _ in range(count)] for name in ("one", "two")}
    for time in range(count):
        if time != 2:
            annotations["one"][time][2:6, time : time + 4] = 1
            predictions["one"][time][2:6, time : time + 4 - (0, 1, 0, 2, 1, 3)[time]] = 1
        predictions["one"][time][7, 11] = 2 * (time == 3)
        annotations["one"][time][0, 0] = 2 * (time == 4)
        annotations["two"][time][0:4, 0:6] = 1
        annotations["two"][time][5:8, 2 : 6 + time] = 2
        predictions["two"][time][0:4, 0 : 6 - time] = 1
    predictions["one"][0], predictions["two"][0] = annotations["one"][0].copy(), (annotations["two"][0] == 1) * 1
    sequences = {
        name: ([np.full((*size, 3), number, np.uint8)] * count, annotations[name])
        for number, name in enumerate(annotations)
    }
    return sequences, predictions


def _scores(
    sequences: Sequences,
    predictions: Mapping[str, list[np.ndarray]],
    frames: slice = slice(1, -1),
    merged: bool = False,
    absent: bool = True,
) -> dict[str, float]:
    """What `evaluate` must return, and, with other options, what typical mistakes return."""
    scores = {}
    for name, (_, true) in sequences.items():
        pairs = list(zip(predictions[name], true, strict=True))[frames]
        for label in range(1, int(true[0].max()) + 1):
            masks = [(p > 0, t > 0) if merged else (p == label, t == label) for p, t in pairs]
            scores[f"{name}_{label}"] = float(np.mean([region_similarity(p, t) for p, t in masks if absent or t.any()]))
    return {**scores, "mean": float(np.mean(list(scores.values())))}
