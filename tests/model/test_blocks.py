"""ranet_edu.model.blocks: each block against its definition, written with means, variances and single convolutions."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from ranet_edu.model.blocks import BAND, ConvBlock, InstanceNorm, MultiScaleBlock, ResBlock, upsample


def normalised(x):
    """Each channel of each image to mean 0 and variance 1."""
    centred = x - x.mean((2, 3), keepdim=True)
    return centred / (centred.square().mean((2, 3), keepdim=True) + 1e-5).sqrt()


@pytest.fixture
def x():
    return 3 * torch.randn(2, 4, 9, 14) + 1


@pytest.mark.parametrize("kernel_size", [1, 3])
def test_conv_block(x, kernel_size):
    block = ConvBlock(4, 6, kernel_size)
    expected = F.conv2d(normalised(x).clamp(min=0), block.conv.weight, block.conv.bias, padding=kernel_size // 2)
    assert block.conv.kernel_size == (kernel_size, kernel_size)
    torch.testing.assert_close(block(x), expected)
    assert block(x).shape == (2, 6, 9, 14)


@pytest.mark.parametrize("kernel_size", [1, 3])
def test_conv_block_of_shared_channels(x, kernel_size):
    """Two videos with three objects each: the same as with the shared channels repeated, gradients too."""
    block = ConvBlock(6, 5, kernel_size)
    own, wish = torch.randn(6, 2, 9, 14), torch.randn(6, 5, 9, 14)
    inputs = [tensor.requires_grad_() for tensor in (x, own)]
    expected = block(torch.cat([x.repeat_interleave(3, 0), own], 1))
    found = block.forward_shared(x, own)
    torch.testing.assert_close(found, expected)
    gradients = [torch.autograd.grad((y * wish).sum(), [*inputs, *block.parameters()]) for y in (found, expected)]
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("dilation", [1, 2])
def test_res_block(x, dilation):
    block = ResBlock(4, 3, dilation)
    inner = normalised(F.conv2d(x, block.conv1.weight)).clamp(min=0)
    inner = normalised(F.conv2d(inner, block.conv2.weight, padding=dilation, dilation=dilation)).clamp(min=0)
    expected = (x + normalised(F.conv2d(inner, block.conv3.weight))).clamp(min=0)
    torch.testing.assert_close(block(x), expected)
    assert [tuple(p.shape) for p in block.parameters()] == [(3, 4, 1, 1), (3, 3, 3, 3), (4, 3, 1, 1)]  # no biases


def test_multi_scale_block(x):
    block = MultiScaleBlock(4, 2)
    expected = sum(
        F.conv2d(x, branch.weight, padding=dilation, dilation=dilation)
        for branch, dilation in zip(block.branches, (1, 3, 6), strict=True)
    )
    torch.testing.assert_close(block(x), expected)


def test_multi_scale_block_sees_as_far_as_its_largest_dilation():
    block = MultiScaleBlock(1, 1)
    point = torch.zeros(1, 1, 15, 15)
    point[..., 7, 7] = 1
    rows = block(point)[0, 0].abs().sum(1).nonzero().flatten().tolist()
    assert rows == [1, 4, 6, 7, 8, 10, 13]  # 7, and 1, 3 and 6 to both sides


def test_norms_use_each_image_alone_and_track_nothing(x):
    block = ConvBlock(4, 6)
    before = block(x)
    block.train()(10 * x)
    torch.testing.assert_close(block.eval()(x), before, rtol=0, atol=0)
    torch.testing.assert_close(block(x[1:]), before[1:])
    assert list(block.state_dict()) == ["conv.weight", "conv.bias"]


@pytest.mark.parametrize("affine", [False, True])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_instance_norm_and_its_gradients(x, affine, layout):
    norm = InstanceNorm(4, affine=affine)
    gain, shift = torch.rand(2, 4, requires_grad=True)
    if affine:
        norm.weight.data, norm.bias.data = gain.detach().clone(), shift.detach().clone()
    wish = torch.randn_like(x)
    ours, theirs = (x.clone(memory_format=layout).requires_grad_() for _ in range(2))
    expected = normalised(theirs)
    if affine:
        expected = expected * gain[:, None, None] + shift[:, None, None]
    found = norm(ours)
    torch.testing.assert_close(found, expected)
    (found * wish).sum().backward()
    (expected * wish).sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("channels", [16, 20], ids=["whole vectors", "and a part of one"])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_instance_norm_in_bfloat16_differs_by_its_rounding(channels, layout):
    large = torch.randn(1, channels, 40, 30).bfloat16().contiguous(memory_format=layout)
    torch.testing.assert_close(InstanceNorm(channels)(large).float(), normalised(large.float()), atol=0.02, rtol=0.01)


@pytest.mark.parametrize("mode", [True, False])
def test_a_map_of_one_pixel_becomes_zero(mode):
    norm = InstanceNorm(3).train(mode)
    assert torch.equal(norm(torch.randn(2, 3, 1, 1)), torch.zeros(2, 3, 1, 1))
    assert norm(torch.randn(2, 3, 1, 2)).abs().min() > 0.9
    shifted = InstanceNorm(3, affine=True).train(mode)
    torch.nn.init.constant_(shifted.bias, 2)
    assert torch.equal(shifted(torch.randn(2, 3, 1, 1)), torch.full((2, 3, 1, 1), 2.0))


def test_upsample_returns_what_fits_already(x):
    assert upsample(x, (9, 14), align_corners=True) is x


def test_upsample_with_corners_aligned_keeps_them():
    x = torch.randn(1, 1, 3, 4)
    finer = upsample(x, (7, 10), align_corners=True)
    torch.testing.assert_close(finer[0, 0, ::3, ::3], x[0, 0])  # every third pixel is a pixel of the coarse map
    torch.testing.assert_close(finer[0, 0, 0, 1], (2 * x[0, 0, 0, 0] + x[0, 0, 0, 1]) / 3)


def test_upsample_without_corners_aligned_keeps_centres():
    line = upsample(torch.tensor([0.0, 1.0]).view(1, 1, 1, 2), (1, 4), align_corners=False)
    torch.testing.assert_close(line.flatten(), torch.tensor([0.0, 0.25, 0.75, 1.0]))


@pytest.mark.parametrize("columns", [16, BAND, 2 * BAND + 1], ids=["one band", "a whole one", "a column over"])
@pytest.mark.parametrize("align_corners", [True, False])
def test_upsampling_in_bfloat16_differs_by_its_rounding(align_corners, columns):
    """As the interpolation in float32 does, gradient included; a constant map stays one."""
    x = torch.randn(2, 3, 5, 8).bfloat16()
    wish = torch.randn(2, 3, 11, columns)
    found, exact = x.clone().requires_grad_(), x.float().requires_grad_()
    ours = upsample(found, (11, columns), align_corners)
    theirs = F.interpolate(exact, (11, columns), mode="bilinear", align_corners=align_corners)
    assert ours.dtype == torch.bfloat16
    torch.testing.assert_close(ours.float(), theirs, atol=0.03, rtol=0.02)
    (ours.float() * wish).sum().backward()
    (theirs * wish).sum().backward()
    torch.testing.assert_close(found.grad.float(), exact.grad, atol=0.1, rtol=0.02)
    constant = upsample(torch.full((1, 1, 4, 6), 3.0, dtype=torch.bfloat16), (9, 13), align_corners)
    assert (constant - 3).abs().max() <= 2**-6


def test_matrices_of_upsampling_serve_gradients_after_inference():
    with torch.inference_mode():
        upsample(torch.zeros(1, 1, 3, 3, dtype=torch.bfloat16), (7, 9), True)
    x = torch.zeros(1, 1, 3, 3, dtype=torch.bfloat16, requires_grad=True)
    upsample(x, (7, 9), True).sum().backward()
    assert x.grad.float().sum().item() == pytest.approx(63, abs=0.5)
