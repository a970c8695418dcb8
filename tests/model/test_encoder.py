"""ranet_edu.model.encoder: five scales and matching features, the same weights for both frames, norms that stay put."""

from __future__ import annotations

import pytest
import torch
import torchvision
from torch import nn
from torch.nn import functional as F

from ranet_edu.model.encoder import (
    Encoder,
    ResNetBackbone,
    TimmBackbone,
    build_backbone,
    pool_template,
    unit_vectors,
)


@pytest.fixture(scope="module")
def resnet():
    """The paper's kind of backbone with 18 layers instead of 101."""
    torch.manual_seed(0)
    return ResNetBackbone("resnet18")


@pytest.fixture(scope="module")
def encoder(resnet):
    return Encoder(resnet, (64, 64, 128, 256, 512), (8, 12, 16), 20, matching_level=4)


def halved(size: int, times: int) -> int:
    for _ in range(times):
        size = (size + 1) // 2
    return size


@pytest.mark.parametrize("size", [(64, 96), (33, 65), (75, 41), (1, 1)])
def test_lite_has_five_scales_at_any_size(lite, size):
    with torch.no_grad():
        features = lite.encoder(torch.randn(1, 3, *size))
    channels = [level.shape[1] for level in features.levels]
    assert channels == list(lite.config.level_channels) == [16, 24, 40, 112, 320]
    for times, level in enumerate(features.levels, start=1):
        assert level.shape[2:] == (halved(size[0], times), halved(size[1], times))
    assert features.matching.shape == (1, 128, halved(size[0], 3), halved(size[1], 3))


@pytest.mark.parametrize("size", [(64, 96), (75, 41)])
def test_resnet_has_five_scales(encoder, size):
    with torch.no_grad():
        features = encoder(torch.randn(1, 3, *size))
    for times, (level, channels) in enumerate(zip(features.levels, (64, 64, 128, 256, 512), strict=True), start=1):
        assert level.shape == (1, channels, halved(size[0], times), halved(size[1], times))
    assert features.matching.shape == (1, 20, halved(size[0], 4), halved(size[1], 4))
    assert features.levels[0].min() == 0  # after the stem's ReLU, before its max-pool


@pytest.mark.parametrize("level", [3, 4, 5])
def test_matching_features_follow_their_definition(resnet, level):
    encoder = Encoder(resnet, (64, 64, 128, 256, 512), (8, 12, 16), 20, matching_level=level)
    with torch.no_grad():
        found = encoder(frames := torch.randn(2, 3, 64, 96))
        levels = resnet(frames)
        size = levels[level - 1].shape[2:]
        brought = []
        for index in (3, 4, 5):
            x = encoder.reduce[index - 3](levels[index - 1])
            if index < level:
                x = F.max_pool2d(x, 2 ** (level - index))
            elif index > level:
                x = F.interpolate(x, size, mode="bilinear", align_corners=False)
            brought.append(x / x.norm(dim=1, keepdim=True))
        merged = encoder.merge(torch.cat(brought, 1))
    torch.testing.assert_close(found.matching, merged / merged.norm(dim=1, keepdim=True))


def test_matching_features_have_unit_length(lite, encoder):
    for network in (lite.encoder, encoder):
        with torch.no_grad():
            matching = network(torch.randn(2, 3, 64, 96)).matching
        torch.testing.assert_close(matching.norm(dim=1), torch.ones_like(matching[:, 0]))


def test_siamese(lite):
    """Template and current frame go through the same weights: the template is the frame's features, pooled."""
    frame = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        pooled = F.adaptive_avg_pool2d(lite.encoder(frame).matching, (15, 27))
        torch.testing.assert_close(lite.encode_template(frame), pooled, rtol=0, atol=0)


def test_template_features_are_averages_of_two_by_two():
    matching = torch.randn(2, 4, 30, 54)
    expected = torch.stack([matching[..., y::2, x::2] for y in (0, 1) for x in (0, 1)]).mean(0)
    template = pool_template(matching, (15, 27))
    torch.testing.assert_close(template, expected)
    assert pool_template(F.normalize(matching, dim=1), (15, 27)).norm(dim=1).max() < 1  # not normalised again


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last])
def test_unit_vectors_have_the_length_1_or_stay_zero(dtype, order):
    features = (1000 * torch.randn(2, 8, 5, 7)).to(dtype).contiguous(memory_format=order)
    features[0, :, 2, 3] = 0
    units = unit_vectors(features)
    assert units.dtype == dtype and torch.equal(units[0, :, 2, 3], torch.zeros(8, dtype=dtype))
    lengths = units.double().norm(dim=1)
    lengths[0, 2, 3] = 1
    tolerance = 4 * torch.finfo(dtype).eps
    torch.testing.assert_close(lengths, torch.ones_like(lengths), atol=tolerance, rtol=0)
    expected = F.normalize(features.double(), dim=1)
    torch.testing.assert_close(units.double(), expected, atol=tolerance, rtol=0)


def test_unit_vectors_have_a_gradient_even_at_zero():
    features = torch.randn(1, 4, 3, 3, dtype=torch.float64)
    features[..., 1, 1] = 0
    features.requires_grad_(True)
    unit_vectors(features).sum().backward()
    assert features.grad.isfinite().all()


def test_lite_norms_stay_frozen_when_training(lite):
    frames = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        before = lite.encoder.eval()(frames)
        state = {name: tensor.clone() for name, tensor in lite.encoder.state_dict().items()}
        after = lite.encoder.train()(frames)
        lite.encoder.eval()
    assert any("running_mean" in name for name in state)
    for name, tensor in lite.encoder.state_dict().items():
        assert torch.equal(tensor, state[name]), name
    for a, b in zip(before.levels, after.levels, strict=True):
        assert torch.equal(a, b)


def test_lite_norms_stay_frozen_in_a_model_that_is_trained():
    backbone = TimmBackbone("tf_efficientnet_lite0")
    nn.Sequential(backbone).train()
    norms = [module for module in backbone.modules() if isinstance(module, nn.BatchNorm2d)]
    assert len(norms) > 40 and not any(norm.training for norm in norms)
    assert backbone.training and all(p.requires_grad for norm in norms for p in norm.parameters())


def test_resnet_normalises_each_frame_by_itself(resnet):
    frames = torch.stack([torch.randn(3, 64, 96), 5 * torch.randn(3, 64, 96) + 2])
    with torch.no_grad():
        both = resnet.train()(frames)
        alone = resnet.eval()(frames[1:])
    for level, single in zip(both, alone, strict=True):
        torch.testing.assert_close(level[1:], single, rtol=1e-3, atol=1e-3)


def test_resnet_ignores_contrast(resnet):
    """An instance norm right after a bias-free convolution takes out any factor."""
    frame = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        for level, brighter in zip(resnet(frame), resnet(7 * frame), strict=True):
            torch.testing.assert_close(level, brighter, rtol=1e-2, atol=1e-2)


def test_resnet_has_torchvision_s_names_without_statistics(resnet):
    official = torchvision.models.resnet18().state_dict()
    kept = {
        name: tensor.shape
        for name, tensor in official.items()
        if "running" not in name and "tracked" not in name and not name.startswith("fc.")
    }
    assert {name: tensor.shape for name, tensor in resnet.state_dict().items()} == kept


def test_resnet_stem_and_stages_are_torchvision_s(resnet):
    """With the norms replaced in torchvision's own forward pass, its last stage is our fifth scale."""
    whole = torchvision.models.resnet18(norm_layer=lambda c: nn.InstanceNorm2d(c, affine=True))
    whole.load_state_dict(resnet.state_dict(), strict=False)
    seen = {}
    whole.layer4.register_forward_hook(lambda module, inputs, output: seen.update(fifth=output))
    frames = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        whole(frames)
        torch.testing.assert_close(resnet(frames)[4], seen["fifth"], atol=1e-4, rtol=1e-3)


def test_backbones_by_name():
    assert isinstance(build_backbone("resnet18"), ResNetBackbone)
    assert isinstance(build_backbone("timm/tf_efficientnet_lite0"), TimmBackbone)
    with pytest.raises(ValueError, match="resnet1801"):
        build_backbone("resnet1801")


@pytest.mark.parametrize("name", ["resnet18", "timm/tf_efficientnet_lite0"])
def test_stages_hold_every_parameter_once_and_lead_to_their_scale(name):
    backbone = build_backbone(name)
    stages = [nn.ModuleList(stage) for stage in backbone.stages()]
    assert len(stages) == 5
    owned = [id(parameter) for stage in stages for parameter in stage.parameters()]
    assert sorted(owned) == sorted(map(id, backbone.parameters()))
    for index, level in enumerate(backbone(torch.randn(1, 3, 64, 96))):
        backbone.zero_grad()
        level.sum().backward(retain_graph=True)
        learns = [any(p.grad is not None for p in stage.parameters()) for stage in stages]
        assert learns == [True] * (index + 1) + [False] * (4 - index)
