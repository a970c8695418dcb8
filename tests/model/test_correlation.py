"""ranet_edu.model.correlation: equation 1, against loops over all pixels and against the convolution it stands for."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from ranet_edu.model.correlation import similarity_maps


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
