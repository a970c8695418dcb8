"""The pair of frames that assignment 4 trains on, and the small decoder that learns it."""

from math import ceil

import numpy as np
import torch

from ranet_edu.course import pairs
from ranet_edu.course.pairs import CANVAS, KEPT_MAPS, LEVEL_CHANNELS, sample_pair, small_decoder
from ranet_edu.datasets.davis import SAMPLES, DavisDataset


def test_a_pair_has_the_shapes_that_it_says():
    pair, (height, width) = sample_pair(), CANVAS
    assert pair.ranked.shape == (1, 2, KEPT_MAPS, height // 8, width // 8)
    scales = enumerate(LEVEL_CHANNELS, start=1)
    sizes = [(1, channels, ceil(height / 2**n), ceil(width / 2**n)) for n, channels in scales]
    assert [tuple(level.shape) for level in pair.levels] == sizes
    for mask in (pair.previous, pair.true):
        assert mask.shape == (1, height, width)
        assert mask.unique().tolist() == [0, 1]
    assert pair.template.shape == pair.frame.shape == (height, width, 3)
    assert pair.template.dtype == pair.frame.dtype == pair.template_mask.dtype == np.uint8


def test_masks_are_those_of_the_named_frames_and_label():
    clip = DavisDataset(SAMPLES, year="2017", split="all")["cat-coffee"]
    pair = sample_pair("cat-coffee", label=2, frame=12, gap=4)
    masks = (pair.template_mask, pair.previous[0].numpy(), pair.true[0].numpy())
    for number, mask in zip((0, 8, 12), masks, strict=True):
        share = (clip.read_annotation(number) == 2).mean()
        assert abs(mask.mean() - share) < 0.01


def test_a_pair_is_the_same_each_time_and_leaves_random_numbers_alone(monkeypatch):
    monkeypatch.setattr(pairs, "sample_pair", sample_pair.__wrapped__)  # without the cache
    before = torch.random.get_rng_state()
    first, second = pairs.sample_pair(), pairs.sample_pair()
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(first.ranked, second.ranked)


def test_a_pair_does_not_depend_on_the_shipped_weights(monkeypatch):
    def refuse(*_):
        raise AssertionError("read the shipped weights")

    monkeypatch.setattr("ranet_edu.weights.load_weights", refuse)
    assert sample_pair.__wrapped__().ranked.isfinite().all()


def test_one_seed_is_one_decoder_and_it_gives_logits():
    pair = sample_pair()
    one, same, other = (small_decoder(seed)(pair) for seed in (1, 1, 2))
    assert one.shape == pair.true.shape
    assert torch.equal(one, same)
    assert not torch.allclose(one, other)
