"""ranet_edu.model.correlation: equation 1, against loops over all pixels and against the convolution it stands for."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from ranet_edu.model.correlation import matching_logits, similarity_maps


@pytest.fixture
def template():
    return torch.randn(2, 5, 2, 3)  # two videos, a grid of 2 x 3


@pytest.fixture
def features():
    return F.normalize(torch.randn(2, 5, 4, 7), dim=1)


def test_equals_loops_over_template_and_frame_pixels(template, features):
    maps = similarity_maps(template, features)
    assert maps.shape == (2, 6, 4, 7)
    for video in range(2):
        for y0 in range(2):
            for x0 in range(3):
                for y in range(4):
                    for x in range(7):
                        cosine = sum(template[video, c, y0, x0] * features[video, c, y, x] for c in range(5))
                        assert maps[video, y0 * 3 + x0, y, x] == pytest.approx(cosine.item(), abs=1e-5)


def test_equals_a_convolution_with_1x1_kernels(template, features):
    maps = similarity_maps(template, features)
    for video in range(2):
        kernels = template[video].flatten(1).t()[:, :, None, None]  # (H0*W0, C, 1, 1)
        torch.testing.assert_close(maps[video], F.conv2d(features[video], kernels))


def test_a_pixel_finds_itself(features):
    maps = similarity_maps(features, features)
    assert maps.max() <= 1 + 1e-6
    assert torch.equal(maps.flatten(2).argmax(2), torch.arange(28).expand(2, -1))
    torch.testing.assert_close(maps.flatten(2).diagonal(dim1=1, dim2=2), torch.ones(2, 28))


def test_both_sides_learn(template, features):
    template.requires_grad_(), features.requires_grad_()
    similarity_maps(template, features).square().sum().backward()
    assert template.grad.abs().sum() > 0 and features.grad.abs().sum() > 0


def test_a_location_asks_the_template_pixels_that_it_resembles():
    maps = 2 * torch.rand(2, 6, 4, 5) - 1
    masks = torch.zeros(2, 3, 8, 12)  # a template pixel is 4 x 4 of these
    masks[:, 0, :4, :4] = 1  # template pixel 0, all of it
    masks[:, 1, 2:6, 8:] = 1  # half of the pixels 2 and 5; the third object is absent
    found = matching_logits(maps, masks, (2, 3)).sigmoid()
    for video in range(2):
        for y in range(4):
            for x in range(5):
                votes = [math.exp(cosine / 0.05) for cosine in maps[video, :, y, x].tolist()]
                answers = [votes[0] / sum(votes), (votes[2] + votes[5]) / 2 / sum(votes), 0]
                assert found[video, :, y, x].tolist() == pytest.approx(answers, abs=1e-5)


def test_what_maps_say_does_not_depend_on_the_order_of_template_pixels():
    maps, masks, order = 2 * torch.rand(1, 6, 4, 5) - 1, torch.rand(1, 2, 2, 3), torch.randperm(6)
    reordered = masks.flatten(2)[:, :, order].view_as(masks)
    found = matching_logits(maps, masks, (2, 3))
    torch.testing.assert_close(matching_logits(maps[:, order], reordered, (2, 3)), found, atol=1e-4, rtol=1e-4)


def test_a_place_that_is_surely_wrong_still_learns():
    maps = torch.tensor([1.0, -1.0]).view(1, 2, 1, 1).requires_grad_()
    masks = torch.tensor([1.0, 0.0]).view(1, 1, 1, 2)  # all evidence is for the object, and the truth is background
    F.binary_cross_entropy_with_logits(matching_logits(maps, masks, (1, 2)), torch.zeros(1, 1, 1, 1)).backward()
    assert maps.grad.flatten().tolist() == pytest.approx([20, -20])


def test_an_object_that_fills_the_template_or_is_not_in_it_has_finite_logits():
    maps = 2 * torch.rand(1, 6, 4, 5) - 1
    logits = matching_logits(maps, torch.stack([torch.ones(1, 2, 3), torch.zeros(1, 2, 3)], dim=1), (2, 3))
    assert logits.isfinite().all() and (logits[:, 0] > 40).all() and (logits[:, 1] < -40).all()
