import itertools
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from ranet_edu.cli import main
from ranet_edu.datasets.samples import STILLS_RECIPE, Recipe
from ranet_edu.model import RANet
from ranet_edu.model.baselines import MatchingBaseline
from ranet_edu.training.losses import RolloutLoss
from ranet_edu.training.online import (
    LITE_LEARNING,
    PAPER_LEARNING,
    FirstFramePairs,
    OnlineSegmenter,
    default_learning,
    learn_online,
    pairs_recipe,
)
from ranet_edu.video.masks import read_mask, write_mask
from ranet_edu.video.segmenter import VideoSegmenter
from ranet_edu.weights import save_weights

CANVAS = (64, 96)
CLEAN = Recipe(colour=0, degrade=0)
FAST = {"iterations": 1, "batch": 1, "learning_rate": 1e-3}  # a rate that shows in the masks


@pytest.fixture(scope="module")
def network() -> RANet:
    """Shared by the tests, none of which may change it."""
    torch.manual_seed(0)
    return RANet.lite(weights="imagenet", canvas=CANVAS)


@pytest.fixture(scope="module")
def clip() -> tuple[list[np.ndarray], np.ndarray]:
    """Three frames in which a red and a green box move over noise, and the label map of the first: 2 red, 5 green."""
    frames, maps = [], []
    for moment in range(3):
        labels = np.zeros((72, 120), np.uint8)
        labels[20 : 20 + 30, 10 + 4 * moment :][:, :40] = 2
        labels[10:40, 80 - 4 * moment :][:, :25] = 5
        frame = np.random.default_rng(0).integers(0, 90, (72, 120, 3)).astype(np.uint8)
        frame[labels == 2] += np.array([160, 0, 0], np.uint8)
        frame[labels == 5] += np.array([0, 160, 0], np.uint8)
        frames.append(frame)
        maps.append(labels)
    return frames, maps[0]


def everything(model: torch.nn.Module) -> list:
    """All that a model holds: tensors (buffers that are not saved too), gradients, what learns, and modes."""
    named = [*model.named_parameters(), *model.named_buffers()]
    tensors = [(name, t.dtype, t.requires_grad, t.grad is None, t.detach().numpy().tobytes()) for name, t in named]
    return tensors + [(name, module.training) for name, module in model.named_modules()]


def differ(one: torch.nn.Module, other: torch.nn.Module) -> list[str]:
    """Names of the tensors that are not the same to the last bit."""
    theirs = dict(other.state_dict())
    return [name for name, tensor in one.state_dict().items() if not tensor.equal(theirs[name])]


def ticking(step: float = 1.0) -> SimpleNamespace:
    """A clock that is `step` seconds later whenever it is read."""
    ticks = itertools.count()
    return SimpleNamespace(read=lambda: step * next(ticks))


# --- the pairs


def test_pairs_show_every_object_and_follow_from_seed_and_index(clip):
    frames, labels = clip
    masks, void = np.stack([labels == 2, labels == 5]), np.zeros(labels.shape, bool)
    pairs = FirstFramePairs(frames[0], masks, CANVAS, void, seed=3)
    one, again = pairs[7], FirstFramePairs(frames[0], masks, CANVAS, seed=3)[7]
    assert all(torch.equal(a, b) for a, b in zip(one, again, strict=True))
    assert not torch.equal(one.template, pairs[8].template)
    assert not torch.equal(one.template, FirstFramePairs(frames[0], masks, CANVAS, seed=4)[7].template)
    assert one.template.shape == (3, *CANVAS) and one.true_masks.shape == (1, 2, *CANVAS)
    assert not torch.equal(one.template, one.frames[0])
    shown = sum(pairs[index].true_masks.amax((0, 2, 3)) for index in range(6))
    assert (shown >= 3).all()


def test_masks_of_pairs_lie_on_their_objects(clip):
    frames, labels = clip
    pairs = FirstFramePairs(frames[0], np.stack([labels == 2, labels == 5]), CANVAS)
    means = torch.zeros(2, 3)
    for index in range(8):
        sample = pairs[index]
        for n, mask in enumerate(sample.true_masks[0]):
            means[n] += (sample.frames[0] * mask).sum((1, 2)) / mask.sum().clamp(min=1)
    assert means[0].argmax() == 0 and means[1].argmax() == 1  # red, green


def test_void_is_not_learnt(clip):
    frames, labels = clip
    void = labels == 5
    with_void = FirstFramePairs(frames[0], (labels == 2)[None], CANVAS, void)
    without = FirstFramePairs(frames[0], (labels == 2)[None], CANVAS)
    unknown = [without[index].valid.sum() - with_void[index].valid.sum() for index in range(4)]
    assert min(unknown) >= 0 and max(unknown) > 0


def test_a_piece_of_the_background_goes_past(clip):
    """It hides parts of the objects now and then, is never one itself, and the template does not show it."""
    frames, labels = clip
    masks = np.stack([labels == 2, labels == 5])
    plain, passed = (FirstFramePairs(frames[0], masks, CANVAS, recipe=CLEAN, passing=share) for share in (0.0, 1.0))
    before, after = zip(*((plain[index], passed[index]) for index in range(12)), strict=True)
    hidden = [int((a.true_masks - b.true_masks).sum()) for a, b in zip(before, after, strict=True)]
    assert max(hidden) > 200
    for sample in after:
        seen = sample.frames[0][:, sample.true_masks[0].amax(0) > 0].float()
        assert seen.numel() == 0 or (seen.amax(0) > 120).float().mean() > 0.9  # bright boxes; the background is dark
        shown = sample.template[:, sample.template_masks.amax(0) > 0].float()
        assert (shown.amax(0) > 120).float().mean() > 0.9


# --- the learning


@pytest.mark.parametrize("training", [False, True])
def test_the_model_given_is_left_as_it_was(network, clip, training):
    frames, labels = clip
    given = RANet.lite(weights=None, canvas=CANVAS)
    given.load_state_dict(network.state_dict())
    given.decoder.requires_grad_(False)
    given.train(training)
    before = everything(given)
    adapted = learn_online(given, frames[0], labels, **FAST)
    assert everything(given) == before
    changed = differ(adapted, given)
    assert any(name.startswith("ranking") for name in changed) and any(name.startswith("merge") for name in changed)
    assert not any(name.startswith(("decoder", "encoder")) for name in changed)  # told not to learn; never does
    assert not any(module.training for module in adapted.modules())
    assert all(parameter.grad is None for parameter in adapted.parameters())


def test_the_papers_network_learns_as_a_whole_and_keeps_the_statistics_of_its_norms(network, clip, monkeypatch):
    frames, labels = clip
    monkeypatch.setattr("ranet_edu.training.online.default_learning", lambda _: PAPER_LEARNING)
    changed = differ(learn_online(network, frames[0], labels, **FAST), network)
    assert any(name.startswith("encoder.backbone") for name in changed)
    assert not any("running_" in name or "num_batches" in name for name in changed)


@pytest.mark.parametrize("precision", ["auto", "bfloat16"])
def test_the_loss_on_the_first_frame_falls(network, clip, precision):
    frames, labels = clip
    adapted = learn_online(network, frames[0], labels, iterations=8, learning_rate=2e-3, batch=1, precision=precision)
    assert {parameter.dtype for parameter in adapted.parameters()} == {torch.float32}
    unseen = FirstFramePairs(frames[0], np.stack([labels == 2, labels == 5]), CANVAS, seed=99)
    samples = torch.utils.data.default_collate([unseen[index] for index in range(6)])
    with torch.inference_mode():
        before, after = (RolloutLoss(model)(samples)[:, 0].mean() for model in (network, adapted))
    assert after < 0.8 * before


def test_the_same_seed_learns_the_same_and_another_seed_something_else(network, clip):
    frames, labels = clip
    options = {**FAST, "iterations": 2}
    first = learn_online(network, frames[0], labels, **options, seed=1)
    torch.manual_seed(123)
    assert differ(first, learn_online(network, frames[0], labels, **options, seed=1, workers=1)) == []
    assert differ(first, learn_online(network, frames[0], labels, **options, seed=2))


def test_it_learns_where_the_caller_has_turned_gradients_off(network, clip):
    frames, labels = clip
    expected = learn_online(network, frames[0], labels, **FAST)
    for off in (torch.no_grad(), torch.inference_mode()):
        with off:
            assert differ(expected, learn_online(network, frames[0], labels, **FAST)) == []


def test_a_model_in_half_precision_learns_in_full(network, clip):
    frames, labels = clip
    half = RANet.lite(weights=None, canvas=CANVAS)
    half.load_state_dict(network.state_dict())
    adapted = learn_online(half.to(torch.bfloat16), frames[0], labels, **FAST)
    assert {parameter.dtype for parameter in adapted.parameters()} == {torch.bfloat16}
    assert differ(adapted, half)


def test_the_papers_backbone_learns_as_in_the_paper(network):
    assert default_learning(network) == LITE_LEARNING and not LITE_LEARNING.encoder
    paper = default_learning(SimpleNamespace(config=SimpleNamespace(backbone="resnet101")))
    assert (paper.rate, paper.encoder, paper.iou, paper.passing) == (1e-6, True, 0, 0)


def test_time_ends_the_learning_before_the_iterations_do(network, clip, monkeypatch):
    frames, labels = clip
    done = []
    monkeypatch.setattr("ranet_edu.training.online._advance", lambda *_: done.append(1))
    # The clock is read once at the start, at 0 s, and before each iteration: at 1, 2 and 3 s there is time, at 4 s not.
    learn_online(network, frames[0], labels, iterations=50, seconds=3.5, batch=1, clock=ticking().read)
    assert len(done) == 3
    learn_online(network, frames[0], labels, iterations=None, seconds=2.5, batch=1, clock=ticking().read)
    assert len(done) == 3 + 2
    learn_online(network, frames[0], labels, iterations=1, seconds=1e9, batch=1, clock=ticking().read)
    assert len(done) == 3 + 2 + 1
    learn_online(network, frames[0], labels, seconds=0, batch=1, clock=ticking().read)
    assert len(done) == 3 + 2 + 1


# --- the whole video


@pytest.mark.parametrize("segmenter_options", [{}, {"template_crop": False, "frame_crop": False, "combine": "maximum"}])
def test_no_iterations_give_the_masks_of_the_model_itself(network, clip, segmenter_options):
    frames, labels = clip
    plain = VideoSegmenter(network, **segmenter_options)
    online = OnlineSegmenter(plain, iterations=0)
    expected, found = (list(segmenter.segment(iter(frames), labels)) for segmenter in (plain, online))
    assert len(found) == 3 and set(np.unique(found[0])) == {0, 2, 5}
    assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))


def test_each_video_is_segmented_by_its_own_copy(network, clip):
    frames, labels = clip
    before = everything(network)
    plain = VideoSegmenter(network, template_crop=False)
    online = OnlineSegmenter(plain, **FAST)
    adapted = learn_online(network, frames[0], labels, **FAST, recipe=pairs_recipe(plain))
    expected = list(VideoSegmenter(adapted, template_crop=False).segment(frames, labels))
    assert not np.array_equal(expected[1], list(plain.segment(frames, labels))[1])
    for _ in range(2):  # the second video starts from the model given, not from what the first left
        found = list(online.segment(iter(frames), labels))
        assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))
    assert plain.model is network and everything(network) == before


def test_frames_are_read_one_by_one(network, clip):
    frames, labels = clip
    read = []
    source = (read.append(index) or frame for index, frame in enumerate(frames))
    maps = OnlineSegmenter(VideoSegmenter(network), iterations=0).segment(source, labels)
    assert np.array_equal(next(maps), labels) and read == [0]
    assert list(OnlineSegmenter(VideoSegmenter(network)).segment([], labels)) == []


def test_pairs_are_cropped_where_the_segmenter_crops(network):
    assert pairs_recipe(VideoSegmenter(network)) == STILLS_RECIPE
    whole = pairs_recipe(VideoSegmenter(network, template_crop=False, frame_crop=False))
    assert (whole.whole, whole.whole_template, whole.grow) == (1.0, 1.0, STILLS_RECIPE.grow)


# --- errors


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"iterations": None}, "how long to learn"),
        ({"iterations": -1}, "iterations is -1"),
        ({"seconds": -0.5}, "seconds is -0.5"),
        ({"seconds": float("nan")}, "seconds is nan"),
        ({"learning_rate": 0.0}, "learning_rate is 0.0"),
        ({"batch": 0}, "batch must be at least 1"),
    ],
)
def test_arguments_that_make_no_sense_are_named_before_there_is_a_video(network, clip, options, message):
    with pytest.raises(ValueError, match=message):
        OnlineSegmenter(VideoSegmenter(network), **options)
    with pytest.raises(ValueError, match=message):
        learn_online(network, clip[0][0], clip[1], **options)


def test_models_that_cannot_learn_are_refused(network, clip):
    with pytest.raises(ValueError, match="MatchingBaseline has nothing to train"):
        OnlineSegmenter(VideoSegmenter(MatchingBaseline(canvas=CANVAS)))
    frozen = RANet.lite(weights=None, canvas=CANVAS).requires_grad_(False)
    with pytest.raises(ValueError, match="no parameter that it changes has requires_grad"):
        learn_online(frozen, clip[0][0], clip[1])
    frozen.encoder.requires_grad_(True)  # which stays as it is
    with pytest.raises(ValueError, match="no parameter that it changes has requires_grad"):
        learn_online(frozen, clip[0][0], clip[1])


def test_frames_and_masks_that_do_not_fit_are_named(network, clip):
    frames, labels = clip
    with pytest.raises(ValueError, match=r"the frame has shape \(72, 120\)"):
        learn_online(network, frames[0][..., 0], labels)
    with pytest.raises(ValueError, match="first_mask has shape"):
        next(OnlineSegmenter(VideoSegmenter(network)).segment(frames, labels[:-1]))
    with pytest.raises(ValueError, match="holds no object"):
        learn_online(network, frames[0], np.zeros_like(labels))


def test_a_loss_that_is_no_number_is_an_error(network, clip):
    with pytest.raises(ArithmeticError, match="lower the learning rate"):
        learn_online(network, clip[0][0], clip[1], iterations=4, batch=1, learning_rate=1e30)


# --- the command line


@pytest.fixture(scope="module")
def command(network, clip, tmp_path_factory):
    """`ranet-edu segment` on the clip: command(name of the output folder, options) -> (exit status, last mask)."""
    folder = tmp_path_factory.mktemp("clip")
    save_weights(network, folder / "weights.safetensors", half=False)
    (folder / "frames").mkdir()
    for index, frame in enumerate(clip[0]):
        Image.fromarray(frame).save(folder / "frames" / f"{index}.png")
    write_mask(folder / "mask.png", clip[1])
    arguments = [
        "segment",
        folder / "frames",
        "--mask",
        folder / "mask.png",
        "--weights",
        folder / "weights.safetensors",
    ]

    def run(out: str, *options: str) -> tuple[int, np.ndarray | None]:
        status = main([*map(str, [*arguments, "--out", folder / out, "--device", "cpu"]), *options])
        return status, None if status else read_mask(folder / out / "2.png")

    return run


def test_the_command_learns_as_it_is_told(command, network, clip):
    online = OnlineSegmenter(VideoSegmenter(network), iterations=1, learning_rate=1e-3)
    expected = list(online.segment(*clip))[2]
    learning = ("--online-iterations", "1", "--online-learning-rate", "1e-3")
    status, found = command("online", *learning, "--online-seconds", "1000")
    assert status == 0 and np.array_equal(found, expected)
    assert not np.array_equal(command("plain")[1], expected)


def test_the_command_refuses_what_makes_no_sense(command, capsys):
    assert command("a", "--online-iterations", "-3")[0] == 1
    assert command("b", "--online-learning-rate", "1e-4")[0] == 1
    assert command("c", "--online-iterations", "1", "--weights", "matching")[0] == 1
    errors = capsys.readouterr().err
    assert "iterations is -3" in errors and "--online-seconds or both" in errors and "nothing to train" in errors


def test_evaluate_records_the_learning(network, draw_davis, tmp_path):
    save_weights(network, tmp_path / "weights.safetensors")
    davis = draw_davis({"box": [(10, 10 + 4 * index) for index in range(3)]})
    arguments = ["evaluate", "--davis", davis, "--weights", tmp_path / "weights.safetensors", "--out", tmp_path / "out"]
    options = ["--split", "minival", "--device", "cpu", "--online-seconds", "0"]
    assert main([*map(str, arguments), *options]) == 0
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert (record["online_iterations"], record["online_seconds"], record["online_learning_rate"]) == (None, 0.0, None)
