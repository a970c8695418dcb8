"""ranet_edu.video.fast: copies that compute the same, whatever the frame's size and the number of objects."""

from __future__ import annotations

import copy
import platform
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from ranet_edu.datasets.davis import DavisDataset
from ranet_edu.model import RANet, RANetConfig
from ranet_edu.model.baselines import MatchingBaseline
from ranet_edu.model.blocks import FEW_CHANNELS
from ranet_edu.model.decoder import MergeModule
from ranet_edu.model.encoder import TimmBackbone
from ranet_edu.video import convolutions
from ranet_edu.video.convolutions import PackedConv2d, WinogradConv2d
from ranet_edu.video.fast import (
    NonZeroMerge,
    RowwiseRanking,
    fast_copy,
    fold_batch_norms,
    hasten_backbone,
)
from ranet_edu.video.segmenter import VideoSegmenter

SMALL_RESNET = replace(RANetConfig(), backbone="resnet18", level_channels=(64, 64, 128, 256, 512), fixed_size=False)


@pytest.fixture(scope="module", params=["lite", "resnet"])
def network(request):
    torch.manual_seed(0)
    if request.param == "resnet":
        return RANet(SMALL_RESNET).eval()
    model = RANet.lite(weights=None)
    for norm in (module for module in model.modules() if isinstance(module, nn.BatchNorm2d)):
        for tensor in (
            norm.weight,
            norm.bias,
            norm.running_mean,
            norm.running_var,
        ):  # not the zeros and ones of a start
            tensor.data.copy_(0.5 + torch.rand_like(tensor))
    return model


def scene(size: tuple[int, int], count: int, batch: int = 1) -> tuple[torch.Tensor, ...]:
    """Template frame, frame, template masks, previous masks."""
    frames = (F.interpolate(torch.randn(batch, 3, 7, 9), size, mode="bicubic") for _ in range(2))
    return *frames, *(F.interpolate(torch.rand(batch, count, 4, 5), size).round() for _ in range(2))


@torch.no_grad()
def levels_and_template(model, template, *_):
    return [*model.encoder(template).levels, model.encode_template(template)]


@torch.no_grad()
def masks_of(model, features, frame, *masks):
    return model(frame, features, *masks)


@pytest.mark.parametrize(("size", "count"), [((64, 112), 1), ((64, 112), 3), ((33, 65), 2), ((112, 48), 1)])
def test_the_copy_computes_the_same(network, size, count):
    """In float64, where no two scores come so close that rounding swaps them, and the folded norms tell as well."""
    inputs = [tensor.double() for tensor in scene(size, count, batch=2)]
    exact = copy.deepcopy(network).double()
    fast = fast_copy(exact)
    for found, expected in zip(levels_and_template(fast, *inputs), levels_and_template(exact, *inputs), strict=True):
        torch.testing.assert_close(found, expected, atol=1e-8, rtol=1e-6)
    features = levels_and_template(exact, *inputs)[-1]
    torch.testing.assert_close(
        masks_of(fast, features, *inputs[1:]), masks_of(exact, features, *inputs[1:]), atol=1e-6, rtol=0
    )


@pytest.mark.parametrize("changes", [{"correlation": False}, {"ranking": "none"}, {"ranking": "maximum"}], ids=str)
def test_the_copy_of_an_ablated_network_computes_the_same(changes):
    """The variants of Tables 4 and 5; without correlation there is nothing to rank."""
    exact = RANet.lite(weights=None, **changes).double()
    fast = fast_copy(exact)
    template, *inputs = (tensor.double() for tensor in scene((64, 112), 2))
    features = levels_and_template(exact, template)[-1]
    torch.testing.assert_close(masks_of(fast, features, *inputs), masks_of(exact, features, *inputs), atol=1e-6, rtol=0)


@pytest.fixture(params=[True, False], ids=["winograd", "by pixel"])
def tried(request, monkeypatch):
    """Both ends of the trial that chooses how the copy convolves on this machine."""
    monkeypatch.setattr(convolutions, "winograd_pays", lambda: request.param)
    monkeypatch.setattr(convolutions, "WINOGRAD_CHANNELS", FEW_CHANNELS)
    return request.param


def test_the_trial_decides_how_the_copy_convolves(network, tried):
    levels = fast_copy(network).decoder.levels
    wide = [conv for conv in levels.modules() if isinstance(conv, nn.Conv2d) and conv.in_channels >= 2 * FEW_CHANNELS]
    square = [conv for conv in wide if conv.stride == conv.dilation == (1, 1) and conv.out_channels >= 2 * FEW_CHANNELS]
    assert square and all(isinstance(conv, WinogradConv2d) == (tried and conv.padding == (1, 1)) for conv in square)
    own = [conv for conv in wide if type(conv) is nn.Conv2d]
    assert own and all(conv.weight.is_contiguous(memory_format=torch.channels_last) for conv in own)


def test_the_copy_in_float32_differs_by_rounding(network, tried):
    inputs = scene((64, 112), 2)
    found, expected = (levels_and_template(model, *inputs) for model in (fast_copy(network), network))
    for ours, theirs in zip(found, expected, strict=True):
        assert (ours - theirs).abs().max() < 1e-3 * theirs.abs().max()


@pytest.mark.parametrize(("count", "batch"), [(1, 1), (1, 2), (3, 1), (2, 2)])
def test_the_decoder_s_copy_gives_the_same_mask_for_the_same_ranking(network, tried, count, batch):
    inputs = scene((64, 112), count, batch)
    inputs[2][:, -1] = 0
    inputs[2][:, -1, 8:24, 20:40] = 1  # a small object, most of whose maps are zero
    fast = fast_copy(network)
    with torch.no_grad():
        trace = network.trace(inputs[1], network.encode_template(inputs[0]), *inputs[2:])
        size = trace.features.levels[2].shape[-2:]
        merged = fast._merge(trace.ranked.maps, size)
        logits = fast.decoder(merged, trace.features.levels, inputs[3])
    assert 0 < (trace.ranked.maps[:, -1, 0].abs().amax((2, 3)) > 0).sum(1).max() < 40
    torch.testing.assert_close(logits.sigmoid(), trace.probabilities, atol=5e-4, rtol=0)


@pytest.mark.parametrize("pixels", [0, 1])
@pytest.mark.parametrize("size", [(1, 1), (3, 5), (40, 72)])
def test_smallest_frames_and_objects(network, size, pixels):
    if size == (1, 1) and not isinstance(network.encoder.backbone, TimmBackbone):
        pytest.skip("an image of one pixel has no five scales in torchvision's ResNet")
    template, frame, masks, previous = scene(size, 2)
    masks.zero_()[0, 0, 0, :pixels] = 1
    fast = fast_copy(network)
    with torch.no_grad():
        found = fast(frame, fast.encode_template(template), masks, previous)
    assert found.shape == masks.shape and found.isfinite().all()


def test_the_model_is_left_as_it_was(network):
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    modules = [type(module) for module in network.modules()]
    network.train()
    VideoSegmenter(network, precision="bfloat16")
    assert network.training and [type(module) for module in network.modules()] == modules
    network.eval()
    assert all(parameter.requires_grad for parameter in network.parameters())
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[name])
        assert tensor.dtype == before[name].dtype and tensor.is_contiguous()


def test_no_batch_norm_is_left():
    backbone = RANet.lite(weights=None).encoder.backbone
    fold_batch_norms(backbone)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in backbone.modules())


@pytest.mark.parametrize("zeros", ["none", "at the end", "between", "all"])
def test_a_merge_without_zero_maps_is_the_merge(zeros):
    merge = MergeModule(12, (8, 4, 6)).requires_grad_(False)
    maps = torch.randn(3, 12, 7, 9)
    if zeros == "all":
        maps.zero_()
    elif zeros != "none":
        maps[0, 5:], maps[1, 11:] = 0, 0
        maps[2, 3:9] *= zeros != "between"
    expected = merge(maps, (14, 20))
    merge.__class__ = NonZeroMerge
    torch.testing.assert_close(merge(maps, (14, 20)), expected, atol=1e-5, rtol=1e-5)


def test_without_packing_the_backbone_computes_the_same(network, monkeypatch):
    if not isinstance(network.encoder.backbone, TimmBackbone):
        pytest.skip("a ResNet's weights are not packed")
    twins = [copy.deepcopy(network.encoder.backbone) for _ in range(2)]
    hasten_backbone(twins[0], torch.float32)
    monkeypatch.setattr(convolutions, "can_pack", lambda: False)
    hasten_backbone(twins[1], torch.float32)
    assert not any(isinstance(module, PackedConv2d) for module in twins[1].modules())
    x = torch.randn(1, 3, 64, 112)
    with torch.no_grad():
        for packed, plain in zip(*(twin(x) for twin in twins), strict=True):
            torch.testing.assert_close(packed, plain, atol=1e-4 * plain.abs().max().item(), rtol=1e-4)


@pytest.mark.parametrize("size", [(32, 56), (15, 27), (4, 7), (1, 1)])
def test_pooling_by_rows_is_adaptive_pooling(size):
    ranking = RANet.lite(weights=None).ranking
    maps = torch.randn(2, 405, *size)
    expected = ranking._swap(maps)
    ranking.__class__ = RowwiseRanking
    assert torch.equal(ranking._swap(maps), expected)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_resnet_s_maps_come_pixel_by_pixel(monkeypatch, precision):
    """From the stem on: to bring each map into the other order and back took half of a frame's time in bfloat16."""
    monkeypatch.setattr(convolutions, "winograd_pays", lambda: False)
    copied = fast_copy(RANet(SMALL_RESNET).eval(), precision)
    frame = scene((128, 224), 1)[0].to(copied.image_mean.dtype)
    with torch.no_grad():
        levels = copied.encoder(frame).levels[:2]
    assert all(level.is_contiguous(memory_format=torch.channels_last) for level in levels)


def test_precision_is_that_of_the_copy_alone(network):
    segmenter = VideoSegmenter(network, precision="bfloat16", canvas=(64, 112))
    frames = torch.randint(0, 256, (3, 64, 112, 3), dtype=torch.uint8).numpy()
    mask = torch.zeros(64, 112, dtype=torch.uint8)
    mask[20:40, 30:60] = 1
    state = segmenter.step(segmenter.begin(frames[0], mask.numpy()), frames[1])
    assert state.template.dtype == torch.bfloat16 and state.probabilities.dtype == torch.float32
    inputs = segmenter.network_inputs(state, frames[2])
    assert inputs.frames.dtype == inputs.template.dtype == torch.float32
    with torch.no_grad():
        assert network.trace(*inputs).probabilities.isfinite().all()


def test_what_the_device_is_not_fit_for_is_refused(network):
    with pytest.raises(ValueError, match="precision must be one of auto, float32, bfloat16, float16, not 'half'"):
        VideoSegmenter(network, precision="half")
    with pytest.raises(ValueError, match="float16 takes hundreds of times as long on a CPU"):
        VideoSegmenter(network, precision="float16")
    with pytest.raises(ValueError, match="compile is for CUDA; the model is on cpu"):
        VideoSegmenter(network, compile=True)
    with pytest.raises(ValueError, match="precision and compile are for a RANet"):
        VideoSegmenter(MatchingBaseline(), precision="bfloat16")


NEW_PAGES = """
import resource
from concurrent.futures import ThreadPoolExecutor

import torch

from ranet_edu.video.fast import keep_freed_memory


def new_pages():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.empty(48 * 2**20, dtype=torch.uint8).fill_(1)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


keep_freed_memory()
with ThreadPoolExecutor(1) as thread:
    print(*(new_pages() for _ in range(12)), *(thread.submit(new_pages).result() for _ in range(12)))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="elsewhere nothing is promised")
def test_memory_that_is_kept_serves_the_next_frame():
    """Most later blocks of the same size need no new pages, in a new thread's hands either."""
    done = subprocess.run([sys.executable, "-c", NEW_PAGES], capture_output=True, text=True, check=True)
    pages = [int(count) for count in done.stdout.split()]
    assert np.median(pages[:12]) < 1000 and np.median(pages[12:]) < 1000, f"{pages} of 12288"


@pytest.mark.gpu
@pytest.mark.parametrize("options", [{"precision": "float16"}, {"precision": "bfloat16"}, {"compile": True}])
def test_half_precision_and_compiled_on_a_gpu(repository, options):
    clip = DavisDataset(repository / "data" / "samples", "2017")["cat"]
    frames, mask, model = [clip.read_frame(index) for index in range(4)], clip.read_annotation(0), RANet.lite().cuda()
    expected, found = (list(VideoSegmenter(model, **kind).segment(frames, mask)) for kind in ({}, options))
    assert np.mean(expected[-1] == found[-1]) > 0.99


def test_bfloat16_changes_few_pixels(repository):
    clip = DavisDataset(repository / "data" / "samples", "2017")["cat"]
    frames, mask, model = [clip.read_frame(index) for index in range(3)], clip.read_annotation(0), RANet.lite()
    expected, found = (list(VideoSegmenter(model, precision=p).segment(frames, mask)) for p in ("float32", "bfloat16"))
    assert np.mean(expected[-1] == found[-1]) > 0.995
