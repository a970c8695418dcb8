"""Wrong answers to assignment 4, each with the message that it must get, and what whole wrong submissions score."""

from __future__ import annotations

from masters import Submission, WrongAnswer


def merge_module(forward: str, layers: str | None = None) -> str:
    """An answer to exercise 1 with this body of `forward`, and the right layers unless others are given."""
    right = "self.layers = nn.Sequential(ConvBlock(kept_maps, first), ResBlock(first, inner), ConvBlock(first, last))"
    return f"""
class MergeModule(nn.Module):
    def __init__(self, kept_maps, first, inner, last):
        super().__init__()
        {layers or right}

    def forward(self, ranked, size):
        {forward}
"""


def upsampled(options: str) -> str:
    return f"""maps = F.interpolate(ranked.flatten(0, 1), {options})
        return self.layers(maps).unflatten(0, ranked.shape[:2]).flatten(1, 2)"""


MERGE_TWICE = WrongAnswer(
    "e1_merge_module",
    merge_module(
        """large = [F.interpolate(stream, size, mode="bilinear") for stream in ranked.unbind(1)]
        return torch.cat([self.layers(large[0]), self.background(large[1])], dim=1)""",
        """make = lambda: nn.Sequential(ConvBlock(kept_maps, first), ResBlock(first, inner), ConvBlock(first, last))
        self.layers, self.background = make(), make()""",
    ),
    "layers of its own; both must pass through the same",
)
MERGE_ALIGNED = WrongAnswer(
    "e1_merge_module",
    merge_module(upsampled('size, mode="bilinear", align_corners=True')),
    "were upsampled with align_corners=True",
)
MERGE_NEAREST = WrongAnswer("e1_merge_module", merge_module(upsampled("size")), "use mode='bilinear'")
MERGE_LATE = WrongAnswer(
    "e1_merge_module",
    merge_module(
        """maps = self.layers(ranked.flatten(0, 1))
        maps = F.interpolate(maps, size, mode="bilinear")
        return maps.unflatten(0, ranked.shape[:2]).flatten(1, 2)"""
    ),
    r"the layers see maps of \(4, 6\): upsample",
)
MERGE_APART = WrongAnswer(
    "e1_merge_module",
    merge_module(
        """maps = F.interpolate(ranked.flatten(0, 1), size, mode="bilinear")
        return self.layers(maps).unflatten(0, ranked.shape[:2])"""
    ),
    "the two streams are still apart",
)
MERGE_MIXED = WrongAnswer(
    "e1_merge_module",
    merge_module(
        """maps = F.interpolate(torch.cat([ranked[:, 0], ranked[:, 1]]), size, mode="bilinear")
        maps = self.layers(maps)
        return maps.reshape(len(ranked), -1, *size)"""
    ),
    "samples and streams are mixed up",
)
MERGE_ADDED = WrongAnswer(
    "e1_merge_module",
    merge_module(
        """maps = F.interpolate(ranked.flatten(0, 1), size, mode="bilinear")
        return self.layers(maps).unflatten(0, ranked.shape[:2]).sum(1)"""
    ),
    "the streams were added",
)
MERGE_NARROW = WrongAnswer(
    "e1_merge_module",
    merge_module(
        upsampled('size, mode="bilinear"'),
        "self.layers = nn.Sequential(ConvBlock(kept_maps, last), ResBlock(last, inner))",
    ),
    "Conv_Block 5 -> 8, Res_Block of 8 with 4 inside",
)
MERGE_UNWRITTEN = WrongAnswer(
    "e1_merge_module", merge_module("raise NotImplementedError()"), "forward is not written yet"
)
MERGE_DOUBLE = WrongAnswer("e1_merge_module", merge_module(upsampled('scale_factor=2, mode="bilinear"')), None)


def pyramid_step(forward: str, reduce: str = "nn.ModuleList(blocks)") -> str:
    """An answer to exercise 2 with this body of `forward`, in which `fit` upsamples with aligned corners."""
    return f"""
def fit(maps, size, align_corners=True):
    return F.interpolate(maps, size, mode="bilinear", align_corners=align_corners)


class PyramidStep(nn.Module):
    def __init__(self, in_channels, skip_channels, skip_width, out_channels):
        super().__init__()
        blocks = [ConvBlock(channels, skip_width, kernel_size=1) for channels in skip_channels]
        self.reduce = {reduce}
        joined = in_channels + skip_width * len(skip_channels)
        self.refine = nn.Sequential(ConvBlock(joined, out_channels), ResBlock(out_channels, out_channels // 2))

    def forward(self, x, skips, size):
        near = x.shape[-2:]
        {forward}
"""


REDUCED = "reduced = [reduce(skip) for reduce, skip in zip(self.reduce, skips)]\n        "
STEP_LIST = WrongAnswer(
    "e2_pyramid_step",
    pyramid_step(
        REDUCED + "return fit(self.refine(torch.cat([*(fit(r, near) for r in reduced), x], 1)), size)", "blocks"
    ),
    "a Python list hides its modules",
)
STEP_X_FIRST = WrongAnswer(
    "e2_pyramid_step",
    pyramid_step(REDUCED + "return fit(self.refine(torch.cat([x, *(fit(r, near) for r in reduced)], 1)), size)"),
    "x comes first",
)
STEP_LOOSE = WrongAnswer(
    "e2_pyramid_step",
    pyramid_step(
        REDUCED + "joined = torch.cat([*(fit(r, near, False) for r in reduced), x], 1)\n"
        "        return fit(self.refine(joined), size, False)"
    ),
    "everything was upsampled with align_corners=False",
)
STEP_LOOSE_SKIPS = WrongAnswer(
    "e2_pyramid_step",
    pyramid_step(REDUCED + "return fit(self.refine(torch.cat([*(fit(r, near, False) for r in reduced), x], 1)), size)"),
    "the skip features were upsampled with align_corners=False",
)
STEP_SMALL = WrongAnswer(
    "e2_pyramid_step",
    pyramid_step(REDUCED + "return self.refine(torch.cat([*(fit(r, near) for r in reduced), x], 1))"),
    "the result was not upsampled to `size`",
)
STEP_EARLY = WrongAnswer(
    "e2_pyramid_step",
    pyramid_step(REDUCED + "return self.refine(torch.cat([*(fit(r, size) for r in reduced), fit(x, size)], 1))"),
    "refine first, then upsample",
)
STEP_SKIPS_EARLY = WrongAnswer(
    "e2_pyramid_step",
    pyramid_step(
        "reduced = [reduce(fit(skip, near)) for reduce, skip in zip(self.reduce, skips)]\n"
        "        return fit(self.refine(torch.cat([*reduced, x], 1)), size)"
    ),
    r"reduce\[1\] sees \(6, 8\): reduce first",
)
STEP_DOUBLE = WrongAnswer(
    "e2_pyramid_step",
    pyramid_step(
        REDUCED + "refined = self.refine(torch.cat([*(fit(r, near) for r in reduced), x], 1))\n"
        '        return F.interpolate(refined, scale_factor=2, mode="bilinear", align_corners=True)'
    ),
    None,
)


def balanced_bce(body: str) -> str:
    """An answer to exercise 3, in which `weights` and `losses` are right."""
    return f"""
def balanced_bce(logits, true, valid, object_weight):
    weights = valid * (1 + (object_weight - 1) * true)
    losses = F.binary_cross_entropy_with_logits(logits, true, reduction="none")
    {body}
"""


SAFE = "weights.sum((1, 2)).clamp(min=1e-6)"
LOSS_SCALAR = WrongAnswer(
    "e3_balanced_bce", balanced_bce("return (losses * weights).sum() / weights.sum()"), "one mean over all pixels"
)
LOSS_TWICE = WrongAnswer(
    "e3_balanced_bce",
    balanced_bce(
        'losses = F.binary_cross_entropy_with_logits(logits.sigmoid(), true, reduction="none")\n'
        f"    return (losses * weights).sum((1, 2)) / {SAFE}"
    ),
    "a sigmoid was applied to the logits before a loss that applies one",
)
LOSS_VOID = WrongAnswer(
    "e3_balanced_bce",
    balanced_bce("w = 1 + (object_weight - 1) * true\n    return (losses * w).sum((1, 2)) / w.sum((1, 2))"),
    "void pixels count",
)
LOSS_PIXELS = WrongAnswer(
    "e3_balanced_bce",
    balanced_bce("return (losses * weights).mean((1, 2))"),
    "by the sum of the weights, not by the number of pixels",
)
LOSS_VALID_PIXELS = WrongAnswer(
    "e3_balanced_bce",
    balanced_bce("return (losses * weights).sum((1, 2)) / valid.sum((1, 2)).clamp(min=1)"),
    "by the sum of the weights, not by the number of valid pixels",
)
LOSS_SWAPPED = WrongAnswer(
    "e3_balanced_bce",
    balanced_bce(
        f"weights = valid * (1 + (object_weight - 1) * (1 - true))\n    return (losses * weights).sum((1, 2)) / {SAFE}"
    ),
    "the background got the weight of the object",
)
LOSS_INFINITE = WrongAnswer(
    "e3_balanced_bce",
    balanced_bce(
        "p = logits.sigmoid()\n    losses = -torch.where(true > 0, p.log(), (1 - p).log())\n"
        f"    return (losses * weights).sum((1, 2)) / {SAFE}"
    ),
    "the sigmoid is 0 there and its logarithm infinite",
)
LOSS_CUT_OFF = WrongAnswer(
    "e3_balanced_bce",
    balanced_bce(
        'losses = F.binary_cross_entropy(logits.sigmoid(), true, reduction="none")\n'
        f"    return (losses * weights).sum((1, 2)) / {SAFE}"
    ),
    "cuts logarithms off at -100",
)
LOSS_NAN = WrongAnswer(
    "e3_balanced_bce",
    balanced_bce("return (losses * weights).sum((1, 2)) / weights.sum((1, 2))"),
    "a sample without a valid pixel gives NaN",
)
LOSS_NAN_GRADIENT = WrongAnswer(
    "e3_balanced_bce",
    balanced_bce("return ((losses * weights).sum((1, 2)) / weights.sum((1, 2))).nan_to_num()"),
    "the gradient of a sample without a valid pixel is nan",
)
LOSS_NUMBERS = WrongAnswer(
    "e3_balanced_bce",
    balanced_bce(f"return torch.tensor(((losses * weights).sum((1, 2)) / {SAFE}).tolist())"),
    "the loss has no gradient, so nothing can learn from it",
)
LOSS_LIST = WrongAnswer(
    "e3_balanced_bce",
    balanced_bce(f"return list((losses * weights).sum((1, 2)) / {SAFE})"),
    "returns list, not a tensor; torch.stack",
)
LOSS_LOGARITHM = WrongAnswer(
    "e3_balanced_bce",
    balanced_bce(
        "p = logits.sigmoid()\n"
        "    losses = -true * (p + 1e-7).log() - (1 - true) * (1 - p + 1e-7).log()\n"
        f"    return (losses * weights).sum((1, 2)) / {SAFE}"
    ),
    "a small number in the logarithm",
)
LOSS_DIVIDED_BY_ONE = WrongAnswer(
    "e3_balanced_bce",
    balanced_bce("return (losses * weights).sum((1, 2)) / weights.sum((1, 2)).clamp(min=1)"),
    None,
)
LOSS_CONSTANT_WEIGHT = WrongAnswer(
    "e3_balanced_bce",
    balanced_bce(f"weights = valid * (1 + 2 * true)\n    return (losses * weights).sum((1, 2)) / {SAFE}"),
    None,
)


def training_step(body: str) -> str:
    lines = "\n    ".join(body.strip().splitlines())
    return f"def training_step(network, optimiser, batches, loss):\n    {lines}\n"


STEP_DIRTY = WrongAnswer(
    "e4_training_step",
    training_step("""
total = 0
for x, y in batches:
    part = loss(network(x), y) / len(batches)
    part.backward()
    total += part.item()
optimiser.step()
return total
"""),
    "the gradients of the first step are still in it",
)
STEP_SUM = WrongAnswer(
    "e4_training_step",
    training_step("""
optimiser.zero_grad()
total = sum(loss(network(x), y) for x, y in batches)
total.backward()
optimiser.step()
return total.item() / len(batches)
"""),
    "the gradients were added up, not averaged",
)
STEP_EACH = WrongAnswer(
    "e4_training_step",
    training_step("""
total = 0
for x, y in batches:
    optimiser.zero_grad()
    part = loss(network(x), y)
    part.backward()
    optimiser.step()
    total += part.item()
return total / len(batches)
"""),
    "the network stepped after every batch; add up",
)
STEP_LAST = WrongAnswer(
    "e4_training_step",
    training_step("""
total = 0
for x, y in batches:
    optimiser.zero_grad()
    part = loss(network(x), y) / len(batches)
    part.backward()
    total += part.item()
optimiser.step()
return total
"""),
    "only the last batch counts: clear the gradients once",
)
STEP_CLEARED = WrongAnswer(
    "e4_training_step",
    training_step("""
total = sum(loss(network(x), y) for x, y in batches) / len(batches)
total.backward()
optimiser.zero_grad()
optimiser.step()
return total.item()
"""),
    "it did not move",
)
STEP_TENSOR = WrongAnswer(
    "e4_training_step",
    training_step("""
optimiser.zero_grad()
total = 0
for x, y in batches:
    part = loss(network(x), y) / len(batches)
    part.backward()
    total += part
optimiser.step()
return total
"""),
    "returns a tensor, which keeps the whole graph",
)
STEP_RETURNS_LAST = WrongAnswer(
    "e4_training_step",
    training_step("""
optimiser.zero_grad()
for x, y in batches:
    part = loss(network(x), y)
    (part / len(batches)).backward()
optimiser.step()
return part.item()
"""),
    "the loss of the last batch alone",
)
STEP_AT_ONCE = WrongAnswer(
    "e4_training_step",
    training_step("""
optimiser.zero_grad()
inputs, true = (torch.cat(tensors) for tensors in zip(*batches))
total = loss(network(inputs), true)
total.backward()
optimiser.step()
return total.item()
"""),
    "as one batch, which is what did not fit",
)
STEP_KEEPS_GRAPHS = WrongAnswer(
    "e4_training_step",
    training_step("""
optimiser.zero_grad()
total = sum(loss(network(x), y) for x, y in batches) / len(batches)
total.backward()
optimiser.step()
return total.item()
"""),
    r"all graphs are kept until the end: call backward\(\) for each part",
)
STEP_OF_TWO = WrongAnswer(
    "e4_training_step",
    training_step("""
optimiser.zero_grad()
total = 0
for x, y in batches:
    part = loss(network(x), y) / 2
    part.backward()
    total += part.item()
optimiser.step()
return total
"""),
    None,
)


def overfit(
    optimiser: str = "torch.optim.Adam(network.parameters(), lr=3e-3)",
    true: str = "pair.true",
    update: str = "optimiser.zero_grad(); loss.backward(); optimiser.step()",
    record: str = "loss.item()",
) -> str:
    """An answer to exercise 5, right but for what is given."""
    return f"""
def overfit(network, pair, steps):
    optimiser = {optimiser}
    losses = []
    for _ in range(steps):
        loss = F.binary_cross_entropy_with_logits(network(pair), {true})
        {update}
        losses.append({record})
    return losses
"""


OVERFIT_SLOW = WrongAnswer(
    "e5_overfit", overfit("torch.optim.Adam(network.parameters(), lr=1e-5)"), "not yet 0.9: with the learning rate"
)
OVERFIT_UNCHANGED = WrongAnswer(
    "e5_overfit", overfit(update="loss.backward()"), "the network is the one from before: is the optimiser given"
)
OVERFIT_PREVIOUS = WrongAnswer(
    "e5_overfit",
    overfit(update="losses or None; lesson = F.binary_cross_entropy_with_logits(network(pair), pair.previous); "
            "optimiser.zero_grad(); lesson.backward(); optimiser.step()"),
    r"learned the mask of the \*previous\* frame",
)  # fmt: skip
OVERFIT_UPHILL = WrongAnswer(
    "e5_overfit", overfit(update="optimiser.zero_grad(); (-loss).backward(); optimiser.step()"), "the loss rose from"
)
OVERFIT_TENSORS = WrongAnswer("e5_overfit", overfit(record="loss.detach()"), "the losses are tensors")
OVERFIT_OTHER_LOSS = WrongAnswer(
    "e5_overfit", overfit(true="pair.previous"), "the first loss is .*: binary cross-entropy of network"
)
OVERFIT_ONE_PAIR = WrongAnswer("e5_overfit", overfit().replace("network(pair), pair", "network(cat), cat"), None)


def evaluate(
    values: str = "region_similarity(p == label, t == label) for p, t in pairs",
    frames: str = "[1:-1]",
    given: str = "annotations[0]",
    labels: str = "range(1, annotations[0].max() + 1)",
    mean: str = "np.mean(list(scores.values()))",
) -> str:
    """An answer to exercise 6, right but for what is given."""
    return f"""
def evaluate(segment, sequences):
    scores = {{}}
    for name, (frames, annotations) in sequences.items():
        predicted = list(segment(frames, {given}))
        pairs = list(zip(predicted, annotations)){frames}
        for label in {labels}:
            scores[f"{{name}}_{{label}}"] = float(np.mean([{values}]))
    return {{**scores, "mean": float({mean})}}
"""


EVALUATE_FIRST = WrongAnswer("e6_evaluate", evaluate(frames="[:-1]"), "the first frame counts, whose mask was given")
EVALUATE_LAST = WrongAnswer("e6_evaluate", evaluate(frames="[1:]"), "the last frame counts; DAVIS leaves it out")
EVALUATE_ALL = WrongAnswer("e6_evaluate", evaluate(frames=""), "first and last frame count; DAVIS leaves both out")
EVALUATE_MERGED = WrongAnswer(
    "e6_evaluate",
    evaluate("region_similarity(p > 0, t > 0) for p, t in pairs"),
    "all labels are taken as one object",
)
EVALUATE_SEEN_ONLY = WrongAnswer(
    "e6_evaluate",
    evaluate("region_similarity(p == label, t == label) for p, t in pairs if (t == label).any()"),
    "frames in which the object is out of sight are left out",
)
EVALUATE_PREDICTED = WrongAnswer(
    "e6_evaluate",
    evaluate(labels="[k for k in np.unique(predicted) if 0 < k <= annotations[0].max()]"),
    "there is no score of two_2",
)
EVALUATE_INVENTED = WrongAnswer(
    "e6_evaluate", evaluate(labels="range(1, np.max([predicted, annotations]) + 1)"), "the first annotation has only 1"
)
EVALUATE_ALL_LABELS = WrongAnswer(
    "e6_evaluate", evaluate(labels="range(1, np.max(annotations) + 1)"), "the first annotation has only 1"
)
EVALUATE_CHEATS = WrongAnswer("e6_evaluate", evaluate(given="np.stack(annotations)"), "may see annotation 0 only")
EVALUATE_BY_SEQUENCE = WrongAnswer(
    "e6_evaluate",
    evaluate(
        mean="np.mean([np.mean([v for k, v in scores.items() if k.rsplit('_', 1)[0] == name]) for name in sequences])"
    ),
    "every object weighs the same",
)
EVALUATE_LAST_LABELS = WrongAnswer("e6_evaluate", evaluate(labels="range(1, annotations[-1].max() + 1)"), None)

WRONG_ANSWERS = [value for value in globals().values() if isinstance(value, WrongAnswer)]

SUBMISSIONS = {
    # Each looks right on the visible case: one point for the check, none for the hidden tests.
    "hard-coded": Submission(
        [MERGE_DOUBLE, STEP_DOUBLE, LOSS_CONSTANT_WEIGHT, STEP_OF_TWO, OVERFIT_ONE_PAIR, EVALUATE_LAST_LABELS],
        {f"e{number}": 1 for number in range(1, 7)},
    ),
    "mistaken": Submission(
        [MERGE_MIXED, STEP_LIST, LOSS_INFINITE, STEP_DIRTY, OVERFIT_UNCHANGED, EVALUATE_ALL],
        {f"e{number}": 0 for number in range(1, 7)},
    ),
    "half": Submission([STEP_X_FIRST, STEP_SUM, EVALUATE_BY_SEQUENCE], {"e2": 0, "e4": 0, "e6": 0}),
}
