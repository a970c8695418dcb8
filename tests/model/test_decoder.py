"""ranet_edu.model.decoder: merge module, skips and pyramid against their definition in single operations."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from ranet_edu.model.decoder import Decoder, DecoderWidths, LevelWidths, MergeModule, PyramidLevel, SkipFeatures

CHANNELS = (4, 5, 6, 7, 8)  # of the encoder's five scales
WIDTHS = DecoderWidths(
    merge=(10, 4, 6),
    skips=(3, 2, 1),
    levels=(LevelWidths(12, 10, 8, 4), LevelWidths(8, 7, 6, 3), LevelWidths(6, 5, 4, 2)),
)


@pytest.fixture
def decoder():
    return Decoder(CHANNELS, WIDTHS.merge[2], WIDTHS)


def five_levels(size: tuple[int, int], batch: int = 1) -> tuple[torch.Tensor, ...]:
    levels = []
    for channels in CHANNELS:
        size = ((size[0] + 1) // 2, (size[1] + 1) // 2)
        levels.append(torch.randn(batch, channels, *size))
    return tuple(levels)


def resized(x, size, align_corners):
    return F.interpolate(x, size, mode="bilinear", align_corners=align_corners)


def test_merge_module_upsamples_then_convolves():
    merge = MergeModule(9, WIDTHS.merge)
    maps = torch.randn(2, 9, 6, 7)
    first, residual, last = merge.layers
    expected = last(residual(first(resized(maps, (12, 14), False))))
    torch.testing.assert_close(merge(maps, (12, 14)), expected)
    assert expected.shape == (2, 6, 12, 14)


def test_skips_stack_three_scales_at_the_finest():
    skip = SkipFeatures((4, 5, 6), (3, 2, 1))
    levels = [torch.randn(2, c, *size) for c, size in ((4, (12, 16)), (5, (6, 8)), (6, (3, 4)))]
    parts = [resized(reduce(level), (12, 16), True) for reduce, level in zip(skip.reduce, levels, strict=True)]
    torch.testing.assert_close(skip(tuple(levels)), torch.cat(parts, 1))
    assert all(reduce.conv.kernel_size == (1, 1) for reduce in skip.reduce)


@pytest.mark.parametrize("upsample_first", [False, True])
def test_pyramid_level(upsample_first):
    level = PyramidLevel(9, WIDTHS.levels[0], upsample_first)
    x = torch.randn(1, 9, 5, 6)
    y = level.multi_scale(level.conv2(level.conv1(x)))
    if upsample_first:
        expected = level.residual(resized(y, (9, 12), True))
    else:
        expected = resized(level.residual(y), (9, 12), True)
    torch.testing.assert_close(level(x, (9, 12)), expected)
    assert expected.shape == (1, 8, 9, 12)


def test_decoder_follows_its_definition(decoder):
    """One object: maps and previous mask join at 1/8, skips at every level, one logit per pixel comes out."""
    decoder = decoder.double()  # small differences grow through fifteen norms
    levels = [level.double() for level in five_levels((48, 64))]
    merged = torch.randn(1, 1, 2, 6, 6, 8, dtype=torch.float64)
    previous = torch.rand(1, 1, 48, 64, dtype=torch.float64)
    skips = [decoder.skips[0](levels[2:5]), decoder.skips[1](levels[1:4]), decoder.skips[2](levels[0:3])]
    mask = previous.unflatten(2, (6, 8)).unflatten(4, (8, 8)).mean((3, 5))  # average of each 8 x 8 block
    x = torch.cat([skips[0], merged[:, 0, 0], merged[:, 0, 1], mask], 1)
    x = decoder.levels[0](x, (12, 16))
    x = decoder.levels[1](torch.cat([skips[1], x], 1), (24, 32))
    x = decoder.levels[2](torch.cat([skips[2], x], 1), (48, 64))
    expected = F.conv2d(x, decoder.predict.weight, decoder.predict.bias, padding=1)
    torch.testing.assert_close(decoder(merged, levels, previous), expected)


def test_only_the_last_level_refines_at_full_size(decoder):
    assert [level.upsample_first for level in decoder.levels] == [False, False, True]


@pytest.mark.parametrize("size", [(48, 64), (33, 65), (65, 33), (3, 5), (1, 1)])
def test_logits_have_the_frame_s_size(decoder, size):
    levels = five_levels(size, batch=2)
    merged = torch.randn(2, 3, 2, 6, *levels[2].shape[2:])
    logits = decoder(merged, levels, torch.rand(2, 3, *size))
    assert logits.shape == (2, 3, *size) and logits.isfinite().all()


def test_objects_and_videos_of_a_batch_don_t_mix(decoder):
    levels = five_levels((32, 48), batch=2)
    merged, previous = torch.randn(2, 3, 2, 6, 4, 6), torch.rand(2, 3, 32, 48)
    together = decoder(merged, levels, previous)
    for video in range(2):
        for i in range(3):
            one = (slice(video, video + 1), slice(i, i + 1))
            alone = decoder(merged[one], tuple(level[video : video + 1] for level in levels), previous[one])
            torch.testing.assert_close(together[one], alone, atol=1e-4, rtol=1e-3)


def test_every_input_matters(decoder):
    levels = five_levels((32, 48))
    merged, previous = torch.randn(1, 1, 2, 6, 4, 6), torch.rand(1, 1, 32, 48)
    inputs = [merged, previous, *levels]
    for tensor in inputs:
        tensor.requires_grad_()
    decoder(merged, levels, previous).square().sum().backward()
    assert all(tensor.grad.abs().sum() > 0 for tensor in inputs)
    assert merged.grad[:, :, 0].abs().sum() > 0 and merged.grad[:, :, 1].abs().sum() > 0
