import math

import pytest
import torch
from scipy import ndimage
from tiny_run import SmallestSizeSamples, TinyNet, TinySamples
from torch.nn import functional as F
from torch.utils.data import default_collate

from ranet_edu.model import RANet
from ranet_edu.model.baselines import MapsAlone
from ranet_edu.training.losses import (
    MatchingLoss,
    RolloutLoss,
    binary_cross_entropy,
    boundary_weights,
    soft_jaccard_loss,
)


@pytest.fixture
def masks():
    logits = 3 * torch.randn(3, 2, 9, 11)
    true = (torch.rand(3, 2, 9, 11) > 0.6).float()
    valid = (torch.rand(3, 9, 11) > 0.3).float()
    return logits, true, valid


def test_bce_is_the_mean_of_valid_pixels_written_as_loops(masks):
    logits, true, valid = masks
    for sample, loss in enumerate(binary_cross_entropy(logits, true, valid)):
        values = []
        for n in range(2):
            for y in range(9):
                for x in range(11):
                    if valid[sample, y, x]:
                        p = 1 / (1 + math.exp(-logits[sample, n, y, x]))
                        values.append(-math.log(p if true[sample, n, y, x] else 1 - p))
        assert loss == pytest.approx(sum(values) / len(values), rel=1e-5)


def test_boundary_weights_are_dilation_minus_erosion():
    true = torch.zeros(1, 1, 40, 50)
    true[..., 10:30, 15:40] = 1
    square = torch.ones(9, 9).numpy()
    mask = true[0, 0].bool().numpy()
    band = ndimage.binary_dilation(mask, square) & ~ndimage.binary_erosion(mask, square)
    assert torch.equal(boundary_weights(true, 2.0)[0, 0], 1 + 2.0 * torch.from_numpy(band).float())


def test_boundary_counts_mistakes_at_the_contour_for_more():
    true = torch.zeros(2, 1, 40, 50)
    true[..., 10:30, 10:30] = 1
    logits = 8 * (2 * true - 1)
    logits[0, 0, 10, 10:30] *= -1  # the same number of wrong pixels: on the contour,
    logits[1, 0, 2, 30:50] *= -1  # and far from it
    valid = torch.ones(2, 40, 50)
    plain, weighted = binary_cross_entropy(logits, true, valid), binary_cross_entropy(logits, true, valid, boundary=3)
    assert plain[0] == pytest.approx(plain[1])
    assert weighted[0] > plain[0] and weighted[1] < plain[1]


def test_soft_jaccard_of_sure_predictions_is_the_jaccard_of_their_masks():
    predicted = torch.zeros(1, 2, 8, 8)
    predicted[0, 0, :4, :4] = 1
    true = torch.zeros(1, 2, 8, 8)
    true[0, 0, :4, 2:6] = 1  # intersection 8, union 24; the second object is absent and not predicted
    loss = soft_jaccard_loss(200 * (predicted - 0.5), true, torch.ones(1, 8, 8))
    assert loss.item() == pytest.approx(((1 - 9 / 25) + 0) / 2, abs=1e-6)


@pytest.mark.parametrize("loss", [binary_cross_entropy, soft_jaccard_loss])
def test_what_is_predicted_in_void_pixels_does_not_matter(loss, masks):
    logits, true, valid = masks
    void = valid.unsqueeze(1).expand_as(logits) == 0
    assert torch.equal(loss(logits, true, valid), loss(logits.masked_fill(void, 9), true.masked_fill(void, 1), valid))


@pytest.mark.parametrize("loss", [binary_cross_entropy, soft_jaccard_loss])
def test_samples_do_not_see_each_other_and_all_void_is_no_loss(loss, masks):
    logits, true, valid = masks
    whole = loss(logits, true, valid)
    for sample in range(3):
        alone = loss(logits[sample : sample + 1], true[sample : sample + 1], valid[sample : sample + 1])
        torch.testing.assert_close(alone[0], whole[sample])
    assert loss(logits, true, torch.zeros_like(valid)).tolist() == [0, 0, 0]


def test_a_rollout_feeds_each_frame_the_prediction_of_the_one_before():
    """Of two objects, each pixel's likelier one, as in a video."""
    model, batch = TinyNet(), default_collate([TinySamples(objects=2, rollout=3)[i] for i in range(2)])
    previous, losses = batch.previous_masks, []
    template = model.encode_template(batch.template / 255 - 0.5)
    for time in range(3):
        trace = model.trace(batch.frames[:, time] / 255 - 0.5, template, batch.template_masks, previous)
        losses.append(binary_cross_entropy(trace.logits, batch.true_masks[:, time], batch.valid[:, time]))
        likeliest = trace.probabilities.amax(1, keepdim=True)
        previous = torch.where(trace.probabilities == likeliest, likeliest, 0)
    terms = RolloutLoss(model, iou=0.5)(batch)
    torch.testing.assert_close(terms[:, 1], torch.stack(losses).mean(0))
    torch.testing.assert_close(terms[:, 0], terms[:, 1] + 0.5 * terms[:, 2])


def test_detach_stops_the_gradient_between_frames_but_not_the_values():
    batch = default_collate([TinySamples(rollout=2)[0]])
    values, gradients = [], []
    for detach in (True, False):
        model = TinyNet()
        total = RolloutLoss(model, detach=detach)(batch)[:, 0].mean()
        total.backward()
        values.append(total.item())
        gradients.append(model.head[0].weight.grad)
    assert values[0] == values[1]
    assert not torch.allclose(gradients[0], gradients[1])


def masks_after(model, batch, count):
    """The model's masks `count` frames after the sample's previous mask."""
    previous, template = batch.previous_masks, model.encode_template(batch.template / 255 - 0.5)
    for time in range(count):
        trace = model.trace(batch.frames[:, time] / 255 - 0.5, template, batch.template_masks, previous)
        previous = trace.probabilities.detach()
    return previous


def test_burn_in_looks_at_up_to_so_many_frames_and_learns_from_those_after_them():
    model, batch = TinyNet(), default_collate([TinySamples(rollout=4)[i] for i in range(2)])
    expected = []
    for start in range(3):
        of_frames = {name: getattr(batch, name)[:, start : start + 2] for name in ("frames", "true_masks", "valid")}
        rest = batch._replace(previous_masks=masks_after(model, batch, start), **of_frames)
        expected.append(RolloutLoss(model)(rest))
    drawn = set()
    for seed in range(12):
        torch.manual_seed(seed)
        terms = RolloutLoss(model, burn_in=2)(batch)
        drawn.add(next(start for start in range(3) if torch.allclose(terms, expected[start])))
    assert drawn == {0, 1, 2}


def test_no_gradient_comes_from_the_frames_that_are_only_looked_at(monkeypatch):
    batch, gradients = default_collate([TinySamples(rollout=2)[0]]), []
    monkeypatch.setattr(torch, "randint", lambda high, size: torch.tensor(high - 1))  # looks at as many as it may
    for burn_in in (0, 1):
        model = TinyNet()
        loss = RolloutLoss(model, detach=False, burn_in=burn_in)(batch)[:, 0].mean()
        loss.backward()
        gradients.append(model.head[0].weight.grad)
    model = TinyNet()
    last = {name: getattr(batch, name)[:, 1:] for name in ("frames", "true_masks", "valid")}
    RolloutLoss(model)(batch._replace(previous_masks=masks_after(model, batch, 1), **last))[:, 0].mean().backward()
    torch.testing.assert_close(gradients[1], model.head[0].weight.grad)
    assert not torch.allclose(gradients[0], gradients[1])


@pytest.fixture
def small_batch():
    return default_collate([SmallestSizeSamples(objects=2, rollout=2)[i] for i in range(2)])


def test_the_matching_loss_is_that_of_the_maps_masks_at_their_size(small_batch):
    model = RANet.lite(weights=None)
    terms = MatchingLoss(model, iou=0.5)(small_batch)
    maps, template = MapsAlone(model), model.encode_template(model.normalize(small_batch.template / 255))
    losses = []
    for time in range(2):
        frames = model.normalize(small_batch.frames[:, time] / 255)
        logits = maps.logits(frames, template, small_batch.template_masks)
        assert logits.shape == (2, 2, 8, 12)
        true = F.avg_pool2d(small_batch.true_masks[:, time], 8)
        losses.append(binary_cross_entropy(logits, true, torch.ones(2, 8, 12)))
    torch.testing.assert_close(terms[:, 1], torch.stack(losses).mean(0))
    torch.testing.assert_close(terms[:, 0], terms[:, 1] + 0.5 * terms[:, 2])


def test_the_matching_loss_does_not_count_void_pixels(small_batch):
    model = RANet.lite(weights=None)
    void = torch.zeros_like(small_batch.valid)
    void[..., 32:, :] = 1
    wrong = torch.where(void[:, :, None] > 0, 1 - small_batch.true_masks, small_batch.true_masks)
    known = small_batch._replace(valid=1 - void)
    loss = MatchingLoss(model, iou=1.0)
    torch.testing.assert_close(loss(known), loss(known._replace(true_masks=wrong)))


def test_the_matching_loss_teaches_features_to_tell_an_object_from_the_rest(small_batch):
    torch.manual_seed(0)
    model = RANet.lite(weights=None)
    loss = MatchingLoss(model)
    optimiser = torch.optim.Adam([*model.encoder.reduce.parameters(), *model.encoder.merge.parameters()], 3e-3)
    losses = []
    for _ in range(10):
        losses.append(loss(small_batch)[:, 0].mean())
        optimiser.zero_grad()
        losses[-1].backward()
        optimiser.step()
    assert losses[-1] < 0.8 * losses[0]


def test_without_burn_in_a_callers_random_state_is_left_alone():
    batch, before = default_collate([TinySamples(rollout=2)[0]]), torch.random.get_rng_state()
    model = TinyNet()
    torch.random.set_rng_state(before)
    RolloutLoss(model)(batch)
    assert torch.equal(torch.random.get_rng_state(), before)
