"""ranet_edu.video.segmenter: a stream of frames in, a stream of label maps out, in constant memory."""

from __future__ import annotations

import gc
import itertools
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F

from ranet_edu.model import RANet
from ranet_edu.model.baselines import MatchingBaseline, PropagationBaseline
from ranet_edu.video.crop import cut, object_box, whole_frame_box, wider_box
from ranet_edu.video.segmenter import LEAST, WIDEN, VideoSegmenter, _fetch, combine_objects, without_specks

SIZE = (48, 84)
CANVAS = (32, 56)
RED, GREEN, BLUE, GREY = (220, 30, 30), (30, 220, 30), (30, 30, 220), (120, 120, 120)


class Colours(nn.Module):
    """A model that any eye can check: what has an object's mean colour in the template belongs to it.

    It remembers what it was shown last: `seen` is (frames, template, template masks, previous masks).
    """

    template_from = "first"
    crops = True

    def __init__(self, canvas: tuple[int, int] = CANVAS, certainty: float = 20.0) -> None:
        super().__init__()
        self.canvas = canvas
        self.certainty = nn.Parameter(torch.tensor(certainty))
        self.seen = ()

    def normalize(self, images):
        return images

    def encode_template(self, frames):
        return frames

    def forward(self, frames, template, template_masks, previous_masks):
        self.seen = frames, template, template_masks, previous_masks
        weights = template_masks[:, :, None]
        mean = (template[:, None] * weights).sum((3, 4)) / weights.sum((3, 4)).clamp(min=1)
        distance = (frames[:, None] - mean[..., None, None]).norm(dim=2)
        return (self.certainty * (0.3 - distance)).sigmoid()


def frame_with(*objects: tuple[tuple[int, int, int, int], tuple[int, int, int]], size=SIZE) -> np.ndarray:
    """A grey frame with rectangles (top, bottom, left, right) in colours."""
    frame = np.full((*size, 3), GREY, np.uint8)
    for (top, bottom, left, right), colour in objects:
        frame[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)] = colour
    return frame


def moving(count: int, size=SIZE):
    """A red and a green square that go to the right and down, and the first mask: 1 red, 2 green."""
    for t in range(count):
        yield frame_with(((8, 20, 6 + t, 18 + t), RED), ((20 + t // 2, 34 + t // 2, 40, 56), GREEN), size=size)


def labelled(frame: np.ndarray, values=(1, 2)) -> np.ndarray:
    """The exact label map of a frame of squares."""
    labels = np.zeros(frame.shape[:2], np.uint8)
    for value, colour in zip(values, (RED, GREEN), strict=False):
        labels[(frame == colour).all(2)] = value
    return labels


def overlap(found: np.ndarray, true: np.ndarray) -> float:
    return (found & true).sum() / (found | true).sum()


@pytest.fixture
def frames():
    return list(moving(8))


@pytest.fixture
def first_mask(frames):
    return labelled(frames[0])


# The stream


def test_one_label_map_for_each_frame_and_the_first_is_the_mask(frames, first_mask):
    maps = list(VideoSegmenter(Colours()).segment(frames, first_mask))
    assert len(maps) == len(frames)
    assert np.array_equal(maps[0], first_mask)
    for frame, labels in zip(frames, maps, strict=True):
        assert labels.dtype == np.uint8 and labels.shape == SIZE
        for value in (1, 2):
            assert overlap(labels == value, labelled(frame) == value) > 0.85


def test_frames_are_pulled_one_by_one(first_mask):
    pulled = 0

    def stream():
        nonlocal pulled
        for frame in moving(1000):
            pulled += 1
            yield frame

    maps = VideoSegmenter(Colours()).segment(stream(), first_mask)
    assert pulled == 0
    for handed_out in range(1, 6):
        next(maps)
        assert pulled == handed_out
    maps.close()
    assert pulled == 5


def test_closing_early_closes_the_frames(first_mask):
    closed = []

    def stream():
        try:
            yield from moving(100)
        finally:
            closed.append(True)

    maps = VideoSegmenter(Colours()).segment(stream(), first_mask)
    next(maps), next(maps)
    maps.close()
    gc.collect()
    assert closed == [True] and list(maps) == []


def test_no_frames_give_no_masks(first_mask):
    assert list(VideoSegmenter(Colours()).segment([], first_mask)) == []


def test_the_frames_and_the_mask_are_left_as_they_were(frames, first_mask):
    copies, mask = [frame.copy() for frame in frames], first_mask.copy()
    for labels in VideoSegmenter(Colours()).segment(frames, first_mask):
        labels[:] = 7  # nor does it matter what the caller does with the result
    again = list(VideoSegmenter(Colours()).segment(copies, mask))
    assert np.array_equal(first_mask, mask) and all(map(np.array_equal, frames, copies))
    assert np.array_equal(again[0], mask) and set(np.unique(again[-1])) == {0, 1, 2}


@pytest.mark.filterwarnings("error")
def test_frames_that_may_not_be_written_are_taken_without_a_warning(frames, first_mask):
    pictures = [np.asarray(Image.fromarray(frame)) for frame in frames[:2]]
    assert not pictures[0].flags.writeable
    torch.set_warn_always(True)  # or else PyTorch warns once
    try:
        _, found = VideoSegmenter(Colours()).segment(pictures, first_mask)
    finally:
        torch.set_warn_always(False)
    assert found.any()


def test_videos_side_by_side_don_t_mix(frames, first_mask):
    segmenter = VideoSegmenter(Colours())
    mirrored = [np.ascontiguousarray(frame[::-1, ::-1]) for frame in frames]
    alone = list(segmenter.segment(frames, first_mask)), list(segmenter.segment(mirrored, first_mask[::-1, ::-1]))
    first, second = segmenter.segment(frames, first_mask), segmenter.segment(mirrored, first_mask[::-1, ::-1])
    together = [(next(first), next(second)) for _ in frames]
    for i, (a, b) in enumerate(together):
        assert np.array_equal(a, alone[0][i]) and np.array_equal(b, alone[1][i])


def test_begin_and_step_are_the_loop(frames, first_mask):
    segmenter = VideoSegmenter(Colours())
    maps = list(segmenter.segment(frames, first_mask))
    state = segmenter.begin(frames[0], first_mask)
    for frame, labels in zip(frames[1:], maps[1:], strict=True):
        state = segmenter.step(state, frame)
        assert np.array_equal(state.label_map.numpy(), labels)
        assert state.probabilities.shape == (2, *SIZE)
        assert state.probabilities.min() >= 0 and state.probabilities.sum(0).max() <= 1 + 1e-5
        assert torch.equal(state.hard_masks, torch.stack([state.label_map == value for value in (1, 2)]).float())


@pytest.mark.parametrize("template_from", ["first", "previous"])
def test_network_inputs_are_what_a_step_gives_the_model(frames, first_mask, template_from):
    model = Colours()
    model.template_from = template_from
    segmenter = VideoSegmenter(model)
    state = segmenter.step(segmenter.begin(frames[0], first_mask), frames[3])
    inputs = segmenter.network_inputs(state, frames[6])
    segmenter.step(state, frames[6])
    assert inputs._fields == ("frames", "template", "template_masks", "previous_masks")
    assert all(torch.equal(given, seen) for given, seen in zip(inputs, model.seen, strict=True))


def open_tensors() -> int:
    gc.collect()
    return sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects())


def resident_bytes() -> int:
    """Memory of this process; 0 on systems without /proc, where the open tensors alone are counted."""
    statm = Path("/proc/self/statm")
    return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if statm.exists() else 0


def test_memory_stays_constant_over_2000_frames():
    """Kept, the float32 masks of all frames alone would be 200 MB; every frame is a new array, as from a decoder."""
    size = (120, 216)
    source = itertools.islice(itertools.cycle(moving(60, size)), 2000)
    maps = VideoSegmenter(Colours()).segment((frame.copy() for frame in source), labelled(next(moving(1, size))))
    memory, tensors = {}, {}
    for index, _ in enumerate(maps):
        if index in (100, 1999):
            tensors[index], memory[index] = open_tensors(), resident_bytes()
    assert tensors[1999] == tensors[100]
    assert memory[1999] - memory[100] < 40e6


def test_the_network_s_state_does_not_grow(first_mask):
    segmenter = VideoSegmenter(RANet.lite(weights=None), canvas=CANVAS)
    tensors = {}
    for index, _ in enumerate(segmenter.segment(moving(30), first_mask)):
        if index in (2, 29):
            tensors[index] = open_tensors()
    assert tensors[29] == tensors[2]


# Labels


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.int32])
def test_label_values_are_kept(frames, dtype):
    for values in ((1, 3), (7, 2), (254, 1)):
        mask = labelled(frames[0], values).astype(dtype)
        maps = list(VideoSegmenter(Colours()).segment(frames, mask))
        assert np.array_equal(maps[0], mask)
        assert set(np.unique(maps[-1])) == {0, *values}
        for value, reference in zip(values, (1, 2), strict=True):
            assert overlap(maps[-1] == value, labelled(frames[-1]) == reference) > 0.85


def test_void_beside_other_labels_is_background(frames):
    mask = labelled(frames[0], (3, 255))
    maps = list(VideoSegmenter(Colours()).segment(frames, mask))
    assert np.array_equal(maps[0], np.where(mask == 255, 0, mask))
    assert set(np.unique(maps[-1])) == {0, 3}


def test_255_alone_is_the_object_and_reported_as_1(frames):
    mask = labelled(frames[0], (255,))
    maps = list(VideoSegmenter(Colours()).segment(frames, mask))
    assert np.array_equal(maps[0], mask == 255)
    assert set(np.unique(maps[-1])) == {0, 1}


def test_truth_values_and_lists_are_masks_too(frames, first_mask):
    expected = list(VideoSegmenter(Colours()).segment(frames, (first_mask == 1).astype(np.uint8)))
    for mask in (first_mask == 1, (first_mask == 1).tolist()):
        maps = list(VideoSegmenter(Colours()).segment(frames, mask))
        assert all(map(np.array_equal, maps, expected))


def test_the_order_of_objects_is_that_of_their_values(frames, first_mask):
    model = Colours()
    segmenter = VideoSegmenter(model, template_crop=False)
    segmenter.step(segmenter.begin(frames[0], labelled(frames[0], (9, 4))), frames[1])
    red, green = (cut(torch.from_numpy(first_mask == v)[None].float(), whole(), CANVAS)[0] for v in (1, 2))
    torch.testing.assert_close(model.seen[2][0], torch.stack([green, red]))  # 4 comes before 9


# What is refused


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (np.zeros(SIZE, np.uint8), "first_mask holds no object"),
        (np.zeros((84, 48), np.uint8), r"first_mask has shape \(84, 48\), but \(48, 84\) is needed"),
        (np.zeros((*SIZE, 3), np.uint8), r"first_mask has shape \(48, 84, 3\)"),
        (np.ones(SIZE), "first_mask holds float64; labels are integers"),
        (np.full(SIZE, 300), "first_mask holds the label 300"),
        (np.full(SIZE, -1), "first_mask holds the label -1"),
    ],
)
def test_bad_first_masks(frames, mask, message):
    with pytest.raises(ValueError, match=message):
        next(VideoSegmenter(Colours()).segment(frames, mask))


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (np.zeros((40, 84, 3), np.uint8), r"frame 3: the frame has shape \(40, 84, 3\), but \(48, 84, 3\) is needed"),
        (np.zeros(SIZE, np.uint8), r"frame 3: the frame has shape \(48, 84\), but"),
        (np.zeros((*SIZE, 4), np.uint8), r"frame 3: the frame has shape \(48, 84, 4\), but"),
        (np.zeros((*SIZE, 3)), "frame 3: the frame holds float64"),
    ],
)
def test_a_bad_frame_is_named_and_the_masks_before_it_are_there(frames, first_mask, bad, message):
    maps = VideoSegmenter(Colours()).segment([*frames[:3], bad], first_mask)
    assert len([next(maps) for _ in range(3)]) == 3
    with pytest.raises(ValueError, match=message):
        next(maps)


class Event:
    """Stands for torch.cuda.Event where there is no GPU."""

    def record(self):
        self.recorded = True

    def synchronize(self):
        assert self.recorded


@pytest.mark.parametrize("cuda", [False, True])
def test_on_a_gpu_too_the_masks_before_an_error_are_there(monkeypatch, cuda):
    def label_maps(count, error=None):
        yield from (torch.full(SIZE, value, dtype=torch.uint8) for value in range(count))
        if error:
            raise error

    monkeypatch.setattr(torch.cuda, "Event", Event)
    for count in (0, 1, 3):
        fetched = _fetch(label_maps(count, ValueError("frame 3")), cuda)
        assert [next(fetched)[0, 0] for _ in range(count)] == list(range(count))
        with pytest.raises(ValueError, match="frame 3"):
            next(fetched)
        assert [labels[0, 0] for labels in _fetch(label_maps(count), cuda)] == list(range(count))
    fetched = _fetch(label_maps(3), cuda)
    next(fetched)
    fetched.close()


def test_a_bad_first_frame(first_mask):
    with pytest.raises(ValueError, match=r"frame 0: the frame has shape \(48, 84\), but \(H, W, 3\) is needed"):
        next(VideoSegmenter(Colours()).segment([np.zeros(SIZE, np.uint8)], first_mask))


def test_bad_options():
    with pytest.raises(ValueError, match="combine must be one of maximum, softmax, not 'mean'"):
        VideoSegmenter(Colours(), combine="mean")
    with pytest.raises(ValueError, match="previous must be one of soft, hard, not 'none'"):
        VideoSegmenter(Colours(), previous="none")


# What the model is shown


def whole() -> torch.Tensor:
    return whole_frame_box(SIZE, CANVAS)


def tensor(frame: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(frame).permute(2, 0, 1).float() / 255


def shown(frames, first_mask, **options):
    """(frames, template, template masks, previous masks) of the third frame; the states after the first and second."""
    model = Colours()
    segmenter = VideoSegmenter(model, **options)
    first = segmenter.begin(frames[0], first_mask)
    second = segmenter.step(first, frames[1])
    segmenter.step(second, frames[2])
    return [seen[0] for seen in model.seen], first, second


def test_template_and_frame_are_cropped_around_the_objects(frames, first_mask):
    (frame, template, template_masks, previous), first, second = shown(frames, first_mask)
    box = object_box(first.probabilities, CANVAS)
    torch.testing.assert_close(template, cut(tensor(frames[0]), box, CANVAS))
    torch.testing.assert_close(template_masks, cut(first.probabilities, box, CANVAS))
    box = object_box(second.probabilities, CANVAS)
    torch.testing.assert_close(frame, cut(tensor(frames[2]), box, CANVAS))
    torch.testing.assert_close(previous, cut(second.probabilities, box, CANVAS))


def test_the_view_widens_around_the_place_where_the_object_was_lost():
    """A red square leaves; meanwhile the view grows to the whole frame, and finds the square where it comes back."""
    there, nothing = frame_with(((8, 14, 10, 18), RED)), frame_with()
    back = frame_with(((30, 38, 60, 70), RED))
    segmenter = VideoSegmenter(Colours())
    state = segmenter.begin(there, labelled(there))
    state = segmenter.step(state, there)
    boxes = [object_box(state.probabilities, CANVAS)]
    for _ in range(5):
        state = segmenter.step(state, nothing)
        assert not state.probabilities.any()
        torch.testing.assert_close(state.box, boxes[-1])
        boxes.append(wider_box(boxes[-1], WIDEN, SIZE, CANVAS))
    assert boxes[2][2] > boxes[1][2] == boxes[0][2] * WIDEN and torch.equal(boxes[-1], whole())
    state = segmenter.step(state, back)
    assert overlap(state.label_map.numpy() == 1, labelled(back) == 1) > 0.6


def test_a_speck_is_no_object(first_mask):
    """What is left of an object, or looks like it, below a fiftieth of its first size; without crops all counts."""
    large = frame_with(((4, 44, 10, 70), RED))
    speck = frame_with(((20, 23, 20, 24), RED))
    counts = []
    for crop in (True, False):
        segmenter = VideoSegmenter(Colours(), frame_crop=crop)
        counts.append((segmenter.step(segmenter.begin(large, labelled(large)), speck).label_map > 0).sum())
    assert counts[0] == 0 < counts[1] < LEAST * (labelled(large) > 0).sum()
    segmenter = VideoSegmenter(Colours())  # where the object is small, what is left of it may be, too
    small = frame_with(((18, 26, 18, 28), RED))
    assert (segmenter.step(segmenter.begin(small, labelled(small)), speck).label_map > 0).sum() > 5


def test_specks_are_counted_object_by_object():
    probabilities = torch.zeros(3, 10, 10)
    probabilities[0, :2, :5], probabilities[1, 5, :5], probabilities[2, 8, :3] = 0.5, 0.9, 0.4
    kept = without_specks(probabilities, torch.tensor([10.0, 5.5, 0.1]))
    assert torch.equal(kept[0], probabilities[0]) and not kept[1:].any()


def test_without_crops_whole_frames_are_shown(frames, first_mask):
    options = {"template_crop": False, "frame_crop": False}
    (frame, template, template_masks, previous), first, second = shown(frames, first_mask, **options)
    torch.testing.assert_close(template, cut(tensor(frames[0]), whole(), CANVAS))
    torch.testing.assert_close(template_masks, cut(first.probabilities, whole(), CANVAS))
    torch.testing.assert_close(frame, cut(tensor(frames[2]), whole(), CANVAS))
    torch.testing.assert_close(previous, cut(second.probabilities, whole(), CANVAS))


def test_crops_are_switched_one_by_one(frames, first_mask):
    (frame, template, *_), first, _ = shown(frames, first_mask, frame_crop=False)
    torch.testing.assert_close(template, cut(tensor(frames[0]), object_box(first.probabilities, CANVAS), CANVAS))
    torch.testing.assert_close(frame, cut(tensor(frames[2]), whole(), CANVAS))


def test_grow_and_canvas(frames, first_mask):
    one = (first_mask == 1).astype(np.uint8)
    (frame, template, *_), first, second = shown(frames, one, grow=3.0, canvas=(16, 24))
    assert frame.shape == template.shape == (3, 16, 24)
    box = object_box(first.probabilities, (16, 24), grow=3.0)
    torch.testing.assert_close(template, cut(tensor(frames[0]), box, (16, 24)))
    box = object_box(second.probabilities, (16, 24), grow=3.0)
    torch.testing.assert_close(frame, cut(tensor(frames[2]), box, (16, 24)))


def test_the_previous_mask_is_soft_or_hard(frames, first_mask):
    whole_frames = {"template_crop": False, "frame_crop": False}
    soft, _, second = shown(frames, first_mask, previous="soft", **whole_frames)
    torch.testing.assert_close(soft[3], cut(second.probabilities, whole(), CANVAS))
    hard, _, second = shown(frames, first_mask, previous="hard", **whole_frames)
    masks = torch.from_numpy(np.stack([second.label_map.numpy() == value for value in (1, 2)])).float()
    torch.testing.assert_close(hard[3], cut(masks, whole(), CANVAS))
    assert not torch.allclose(soft[3], hard[3], atol=1e-3)


def test_a_model_may_follow_the_frame_before(frames, first_mask):
    model = Colours()
    model.template_from = "previous"
    segmenter = VideoSegmenter(model, frame_crop=False)
    second = segmenter.step(segmenter.begin(frames[0], first_mask), frames[1])
    segmenter.step(second, frames[2])
    torch.testing.assert_close(model.seen[1][0], cut(tensor(frames[1]), whole(), CANVAS))
    torch.testing.assert_close(model.seen[2][0], cut(second.probabilities, whole(), CANVAS))


def test_only_models_that_follow_the_frame_before_keep_it(frames, first_mask):
    segmenter = VideoSegmenter(Colours())
    assert segmenter.step(segmenter.begin(frames[0], first_mask), frames[1]).frame is None


def test_frames_far_above_the_canvas_are_found_in_the_right_place():
    """They are averaged down first; boxes are still in the pixels of the frame."""
    size, moved = (400, 700), (96, 240, 84, 228)
    first, second = frame_with(((84, 228, 72, 216), RED), size=size), frame_with((moved, RED), size=size)
    _, found = VideoSegmenter(Colours()).segment([first, second], labelled(first))
    true = np.zeros(size, bool)
    true[moved[0] : moved[1], moved[2] : moved[3]] = True
    assert overlap(found == 1, true) > 0.95


# How objects compete


def test_softmax_over_objects_and_background():
    probabilities = torch.rand(3, 4, 5)
    logits = np.log(probabilities.numpy() / (1 - probabilities.numpy()))
    expected = np.exp(logits) / (1 + np.exp(logits).sum(0))
    np.testing.assert_allclose(combine_objects(probabilities, "softmax"), expected, rtol=1e-4)


def test_maximum_keeps_one_object_for_each_pixel():
    probabilities = torch.rand(3, 4, 5)
    probabilities[:, 0, 0] = 0.4  # of equal ones the first
    combined = combine_objects(probabilities, "maximum")
    for y, x in itertools.product(range(4), range(5)):
        values = probabilities[:, y, x].tolist()
        best = values.index(max(values))
        assert combined[:, y, x].tolist() == [value if i == best else 0 for i, value in enumerate(values)]


@pytest.mark.parametrize("how", ["softmax", "maximum"])
def test_each_video_of_a_batch_competes_by_itself(how):
    probabilities = torch.rand(2, 3, 4, 5)
    combined = combine_objects(probabilities, how)
    torch.testing.assert_close(combined, torch.stack([combine_objects(one, how) for one in probabilities]))


@pytest.mark.parametrize("how", ["softmax", "maximum"])
def test_one_object_competes_with_nobody(how):
    probabilities = torch.rand(1, 4, 5)
    assert torch.equal(combine_objects(probabilities, how), probabilities)


@pytest.mark.parametrize("how", ["softmax", "maximum"])
def test_certainty_is_no_trouble(how):
    """All pairs of impossible, undecided and certain."""
    probabilities = torch.tensor(list(itertools.product((0, 0.5, 1), repeat=2))).t()[:, None].float()
    combined = combine_objects(probabilities, how)
    assert combined.isfinite().all() and combined.min() >= 0 and combined.sum(0).max() <= 1 + 1e-6


class Fixed(Colours):
    """Says the same everywhere: `probabilities`, one for each object."""

    def __init__(self, *probabilities: float) -> None:
        super().__init__()
        self.probabilities = torch.tensor(probabilities)

    def forward(self, frames, template, template_masks, previous_masks):
        return self.probabilities[None, :, None, None].expand(1, -1, *frames.shape[2:])


@pytest.mark.parametrize(
    ("probabilities", "softmax", "maximum"),
    [
        ((0.9, 0.6), 1, 1),
        ((0.6, 0.9), 2, 2),
        ((0.4, 0.3), 0, 0),  # each less likely than not
        ((0.45, 0.45), 0, 0),
        ((0.2, 0.7), 2, 2),
        ((0.6, 0.55), 1, 1),  # odds of 1.5, 1.2 and 1: less than a half, and more than any other
    ],
)
def test_a_pixel_goes_to_the_best_object_or_to_background(frames, first_mask, probabilities, softmax, maximum):
    for how, expected in (("softmax", softmax), ("maximum", maximum)):
        segmenter = VideoSegmenter(Fixed(*probabilities), combine=how, frame_crop=False)
        *_, labels = segmenter.segment(frames[:2], first_mask)
        assert set(np.unique(labels[2:-2, 2:-2])) == {expected}


def test_combine_is_used(frames, first_mask):
    segmenters = [VideoSegmenter(Fixed(0.9, 0.8), combine=how, frame_crop=False) for how in ("softmax", "maximum")]
    states = [segmenter.step(segmenter.begin(frames[0], first_mask), frames[1]) for segmenter in segmenters]
    middle = [state.probabilities[:, 20, 40].tolist() for state in states]
    assert middle[0] == pytest.approx([9 / 14, 4 / 14], abs=1e-4)  # odds of 9, 4 and 1
    assert middle[1] == pytest.approx([0.9, 0])


# Objects that leave, and videos of other shapes


def test_an_object_that_leaves_is_gone_and_found_when_it_comes_back():
    def where(t):
        return (10, 24, 60 + 6 * t, 74 + 6 * t) if t < 5 else (20, 34, 10, 24)

    frames = [frame_with((where(t), RED)) for t in range(5)] + [frame_with()] * 3 + [frame_with((where(9), RED))] * 2
    model = Colours()
    maps = []
    for labels in VideoSegmenter(model).segment(frames, labelled(frames[0])):
        maps.append(labels)
        if len(maps) == 8:  # frame 7 is searched as a whole, for the mask of frame 6 is empty
            torch.testing.assert_close(model.seen[0][0], cut(tensor(frames[7]), whole(), CANVAS))
    assert not any(labels.any() for labels in maps[5:8])
    assert overlap(maps[-1] == 1, labelled(frames[-1]) == 1) > 0.85


def test_propagation_of_a_lost_object_stays_empty():
    """Nothing remembers the first frame, so nothing is found again, and nothing else is taken for it."""
    model = PropagationBaseline.pretrained(canvas=(64, 112))
    frames = [frame_with(((10, 34, 50, 74), RED))] + [frame_with()] * 6
    maps = list(VideoSegmenter(model, frame_crop=False).segment(frames, labelled(frames[0])))
    assert not maps[-1].any()


@pytest.mark.parametrize("size", [(84, 48), (60, 60), (40, 150), (9, 9)])
def test_videos_of_any_shape(size):
    square = size[0] // 3, size[0] // 3 + 6, 1, 7
    frames = [frame_with((square[:2] + (1 + t, 7 + t), RED), size=size) for t in range(3)]
    maps = list(VideoSegmenter(Colours()).segment(frames, labelled(frames[0])))
    assert all(labels.shape == size for labels in maps)
    assert overlap(maps[-1] == 1, labelled(frames[-1]) == 1) > 0.8


@pytest.mark.parametrize("size", [(84, 48), (33, 65), (5, 3), (1, 1)])
def test_the_network_takes_videos_of_any_shape(size):
    frames = np.random.default_rng(0).integers(0, 256, (3, *size, 3), dtype=np.uint8)
    mask = np.ones(size, np.uint8)
    mask[: size[0] // 2] = 2 if size[0] > 1 else 1
    maps = list(VideoSegmenter(RANet.lite(weights=None), canvas=CANVAS).segment(frames, mask))
    assert [labels.shape for labels in maps] == [size] * 3
    assert set(np.unique(maps)) <= {0, 1, 2}


def test_the_network_takes_a_first_mask_of_one_pixel(frames):
    mask = np.zeros(SIZE, np.uint8)
    mask[20, 30] = 1
    assert len(list(VideoSegmenter(RANet.lite(weights=None), canvas=CANVAS).segment(frames[:3], mask))) == 3


# Real models


def textured_scene(count: int = 6, size: tuple[int, int] = (120, 210)):
    """A smooth-noise square moving over smooth noise, and its mask in each frame."""
    random = torch.Generator().manual_seed(3)
    background, patch = (
        F.interpolate(torch.rand(1, 3, rows, columns, generator=random), shape, mode="bicubic").clamp(0, 1)[0]
        for rows, columns, shape in ((20, 35, size), (9, 9, (48, 48)))
    )
    for t in range(count):
        frame, mask = (0.6 * background).clone(), torch.zeros(size, dtype=torch.uint8)
        place = slice(20 + 4 * t, 68 + 4 * t), slice(30 + 8 * t, 78 + 8 * t)
        frame[:, *place] = 0.4 + 0.6 * patch
        mask[place] = 1
        yield (frame * 255).byte().permute(1, 2, 0).numpy(), mask.numpy()


def scores_of(model) -> list[float]:
    frames, masks = zip(*textured_scene(), strict=True)
    segmenter = VideoSegmenter(model, template_crop=True, frame_crop=True)  # the square is small, and so is the canvas
    maps = list(segmenter.segment(frames, masks[0]))
    return [overlap(labels == 1, mask == 1) for labels, mask in zip(maps[1:], masks[1:], strict=True)]


@pytest.mark.parametrize("crops", [True, False])
def test_cropping_is_the_model_s_choice_unless_the_caller_s(crops):
    model = Fixed(0.9)
    model.crops = crops
    assert (VideoSegmenter(model).template_crop, VideoSegmenter(model).frame_crop) == (crops, crops)
    chosen = VideoSegmenter(model, template_crop=not crops, frame_crop=not crops)
    assert (chosen.template_crop, chosen.frame_crop) == (not crops, not crops)


@pytest.mark.parametrize("matching", ["nearest", "average"])
def test_matching_follows_a_moving_square_untrained(matching):
    assert min(scores_of(MatchingBaseline.pretrained(matching, neighbours=3, canvas=(128, 224)))) > 0.6


def test_propagation_follows_it_too_and_drifts():
    scores = scores_of(PropagationBaseline.pretrained(reach=3, canvas=(128, 224)))
    assert scores[0] > 0.7 and scores[-1] > 0.25
    assert scores[-1] < scores[0] - 0.1


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_a_model_of_another_precision(frames, first_mask, dtype):
    model = RANet.lite(weights=None)
    expected = list(VideoSegmenter(model, canvas=CANVAS).segment(frames[:3], first_mask))
    found = list(VideoSegmenter(model.to(dtype), canvas=CANVAS).segment(frames[:3], first_mask))
    assert [labels.shape for labels in found] == [SIZE] * 3
    if dtype == torch.float64:  # scores that differ by rounding may swap, and random weights make much of it
        assert np.mean(found[-1] == expected[-1]) > 0.9


def test_probabilities_of_few_bits_give_no_nans(frames, first_mask):
    """They saturate at 1 early, where the logit of the softmax is infinite."""

    class Rounded(Colours):
        def forward(self, *inputs):
            return super().forward(*inputs).bfloat16()

    maps = list(VideoSegmenter(Rounded(certainty=200.0)).segment(frames, first_mask))
    assert overlap(maps[-1] == 1, labelled(frames[-1]) == 1) > 0.8
    with torch.autocast("cpu", torch.bfloat16):
        state = VideoSegmenter(RANet.lite(weights=None), canvas=CANVAS).begin(frames[0], first_mask)
        state = VideoSegmenter(RANet.lite(weights=None), canvas=CANVAS).step(state, frames[1])
    assert state.probabilities.isfinite().all() and state.probabilities.dtype == torch.float32


@pytest.mark.gpu
@pytest.mark.parametrize("joint", [False, True])
def test_a_step_never_waits_for_the_gpu(frames, first_mask, joint):
    segmenter = VideoSegmenter(RANet.lite(weights=None, joint_ranking=joint).cuda(), canvas=CANVAS)
    state = segmenter.step(segmenter.begin(frames[0], first_mask), frames[1])
    torch.cuda.set_sync_debug_mode("error")
    try:
        state = segmenter.step(state, frames[2])
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert state.label_map.shape == SIZE


@pytest.mark.gpu
def test_the_gpu_finds_the_same(frames, first_mask):
    here = list(VideoSegmenter(Colours()).segment(frames, first_mask))
    there = list(VideoSegmenter(Colours().cuda()).segment(frames, first_mask))
    assert len(here) == len(there) and all(np.mean(a == b) > 0.99 for a, b in zip(here, there, strict=True))
