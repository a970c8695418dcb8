"""ranet_edu.video.convolutions: each gives what PyTorch's own convolution gives."""

from __future__ import annotations

import copy

import pytest
import torch
from timm.layers import Conv2dSame
from torch import nn

from ranet_edu.model import RANet
from ranet_edu.model.blocks import ConvBlock
from ranet_edu.video import convolutions
from ranet_edu.video.convolutions import (
    NarrowConv2d,
    OneChannelConv2d,
    PackedConv2d,
    PackedUnpaddedConv2d,
    UnpaddedConv2d,
    WinogradConv2d,
    can_pack,
    convolve_as_products,
    multiply_less,
    pack_weights,
    pad_less,
    winograd_pays,
)


@pytest.mark.parametrize("pays", [True, False])
def test_wide_convolutions_multiply_less_if_that_pays(monkeypatch, pays):
    monkeypatch.setattr(convolutions, "winograd_pays", lambda: pays)
    network = nn.Sequential(nn.Conv2d(160, 128, 3, padding=1), nn.Conv2d(128, 64, 3, padding=1), nn.Conv2d(64, 16, 1))
    network.requires_grad_(False)
    x = torch.rand(2, 160, 40, 50)
    expected = network(x)
    multiply_less(network)
    wide, narrow, last = network
    assert type(wide) is (WinogradConv2d if pays else nn.Conv2d) and type(narrow) is type(last) is nn.Conv2d
    assert all(conv.weight.is_contiguous(memory_format=torch.channels_last) for conv in (narrow, last))
    torch.testing.assert_close(network(x.contiguous(memory_format=torch.channels_last)), expected, atol=1e-4, rtol=1e-4)


def test_winograd_is_chosen_where_it_takes_less_time(monkeypatch):
    for slower in (WinogradConv2d, nn.Conv2d):
        monkeypatch.setattr(convolutions, "_seconds", lambda conv, x, slower=slower: 1.0 + (type(conv) is slower))
        winograd_pays.cache_clear()
        assert winograd_pays() == (slower is nn.Conv2d)
    winograd_pays.cache_clear()


def test_trials_leave_the_random_state_alone():
    for trial in (winograd_pays, can_pack):
        trial.cache_clear()
    before = torch.get_rng_state()
    winograd_pays(), can_pack()
    assert torch.equal(torch.get_rng_state(), before)


def winograd_of(conv: nn.Conv2d) -> WinogradConv2d:
    changed = copy.deepcopy(conv)
    convolutions.use_winograd(changed)
    assert type(changed) is WinogradConv2d
    return changed


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("size", [(1, 1), (4, 8), (7, 30), (33, 38)])
def test_winograd_is_a_convolution(monkeypatch, bias, batch, size):
    monkeypatch.setattr(convolutions, "WINOGRAD_STRIP", 36 * 96 * 20)  # several strips, the last of them shorter
    plain = nn.Conv2d(64, 96, 3, padding=1, bias=bias)
    x = torch.randn(batch, 64, *size)
    with torch.no_grad():
        torch.testing.assert_close(winograd_of(plain)(x), plain(x), atol=1e-4, rtol=1e-4)


def test_winograd_of_some_channels_is_what_these_add():
    """As merge module and decoder ask for it: without maps that are zero, skip features once for all objects."""
    block = ConvBlock(12, 8)
    changed = copy.deepcopy(block)
    changed.conv = winograd_of(block.conv)
    x = torch.randn(1, 5, 9, 10)
    with torch.no_grad():
        for first, bias in ((0, block.conv.bias), (4, None), (7, None)):
            expected = block.part(x, first, bias)
            torch.testing.assert_close(changed.part(x, first, bias), expected, atol=1e-5, rtol=1e-5)


def test_winograd_computes_in_float32_whatever_autocast_says():
    plain, x = nn.Conv2d(16, 16, 3, padding=1), torch.randn(1, 16, 12, 12)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        found = winograd_of(plain)(x)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, plain(x).detach(), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("size", [(8, 12), (7, 12), (9, 11), (2, 2), (1, 1)])
def test_a_wider_kernel_replaces_padding_on_one_side(kernel, size):
    network = RANet.lite(weights=None)
    padded = next(m for m in network.modules() if isinstance(m, Conv2dSame) and m.kernel_size == (kernel, kernel))
    x = torch.randn(2, padded.in_channels, *size)
    with torch.no_grad():
        expected = padded(x)
        pad_less(network.encoder.backbone)
        assert type(padded) is UnpaddedConv2d
        torch.testing.assert_close(padded(x), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", [Conv2dSame, nn.Conv2d])
@pytest.mark.parametrize("size", [(8, 12), (7, 12), (1, 1)])
def test_packed_weights_and_the_relu6_are_what_they_were(kind, size):
    if not can_pack():
        pytest.skip("this PyTorch has no packed convolutions")
    plain = nn.Sequential(kind(4, 16, 3, stride=2, padding=0 if kind is Conv2dSame else 1), nn.ReLU6())
    packed = copy.deepcopy(plain)
    pad_less(packed)
    pack_weights(packed)
    assert type(packed[0]) is (PackedUnpaddedConv2d if kind is Conv2dSame else PackedConv2d)
    assert type(packed[1]) is nn.Identity
    with torch.no_grad():
        for x in (20 * torch.randn(2, 4, *size), 20 * torch.randn(1, 4, 6, 8)):  # packed anew for another size
            expected = plain(x)
            assert expected.min() == 0 and expected.max() == 6
            torch.testing.assert_close(packed(x), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("size", [(1, 1), (1, 5), (7, 30)])
@pytest.mark.parametrize(
    ("plain", "product"),
    [(nn.Conv2d(6, 1, 3, padding=1), OneChannelConv2d), (nn.Conv2d(6, 4, 1, bias=False), NarrowConv2d)],
)
def test_a_matrix_product_is_a_convolution(plain, product, size):
    changed = copy.deepcopy(plain)
    convolve_as_products(changed)
    assert type(changed) is product
    x = torch.randn(2, 6, *size)
    with torch.no_grad():
        torch.testing.assert_close(changed(x), plain(x), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv2d(6, 4, 1),
        nn.Conv2d(65, 4, 1, bias=False),
        nn.Conv2d(6, 1, 3),
        nn.Conv2d(6, 1, 3, padding=2, dilation=2),
    ],
    ids=["bias", "wide", "unpadded", "dilated"],
)
def test_what_no_product_can_replace_stays_a_convolution(conv):
    convolve_as_products(conv)
    assert type(conv) is nn.Conv2d
