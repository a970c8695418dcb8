import math

import pytest
import torch
from scipy import ndimage
from tiny_run import TinyNet, TinySamples
from torch.utils.data import default_collate

from ranet_edu.training.losses import RolloutLoss, binary_cross_entropy, boundary_weights, soft_jaccard_loss


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
    model, batch = TinyNet(), default_collate([TinySamples(objects=2, rollout=3)[i] for i in range(2)])
    previous, losses = batch.previous_masks, []
    template = model.encode_template(batch.template / 255 - 0.5)
    for time in range(3):
        trace = model.trace(batch.frames[:, time] / 255 - 0.5, template, batch.template_masks, previous)
        losses.append(binary_cross_entropy(trace.logits, batch.true_masks[:, time], batch.valid[:, time]))
        previous = trace.probabilities
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
