from dataclasses import replace

import pytest
import torch
from tiny_run import TinyNet

from ranet_edu.model import RANet
from ranet_edu.training.optimiser import build_optimiser, freeze, freeze_stages, rate_factor, set_rate


def test_the_backbone_learns_at_its_own_rate_and_only_convolution_weights_decay(tiny_config):
    model = TinyNet()
    config = tiny_config(learning_rate=0.1, backbone_learning_rate=0.01, weight_decay=0.5)
    groups = build_optimiser(model, config).param_groups
    settings = {id(p): (group["lr"], group["weight_decay"]) for group in groups for p in group["params"]}
    assert len(settings) == len(list(model.parameters()))
    assert settings[id(model.encoder["backbone"].weight)] == (0.01, 0.5)
    assert settings[id(model.encoder["backbone"].bias)] == (0.01, 0)
    assert settings[id(model.head[3].weight)] == (0.1, 0.5)


def test_frozen_parameters_are_left_out(tiny_config):
    model = TinyNet()
    model.encoder.requires_grad_(False)
    parameters = [p for group in build_optimiser(model, tiny_config()).param_groups for p in group["params"]]
    assert {id(p) for p in parameters} == {id(p) for p in model.head.parameters()}


@pytest.mark.parametrize("count", [0, 2, 5])
def test_frozen_stages_get_no_gradient_and_the_others_do(count):
    model = RANet.lite(weights=None)
    freeze_stages(model, count)
    levels = model.encoder.backbone(torch.randn(1, 3, 64, 96))
    assert [level.requires_grad for level in levels] == [False] * count + [True] * (5 - count)
    assert all(p.requires_grad for name, p in model.named_parameters() if "backbone" not in name)


def test_six_frozen_stages_are_the_whole_encoder(tiny_config):
    model = RANet.lite(weights=None)
    freeze(model, tiny_config(frozen_stages=6))
    assert all(p.requires_grad != name.startswith("encoder.") for name, p in model.named_parameters())


def test_the_matching_stage_trains_the_encoder_only_as_far_as_it_is_not_frozen(tiny_config):
    model = RANet.lite(weights=None)
    freeze(model, replace(tiny_config(frozen_stages=5), stage="matching"))
    learning = {".".join(name.split(".")[:2]) for name, p in model.named_parameters() if p.requires_grad}
    assert learning == {"encoder.reduce", "encoder.merge"}


def test_the_rate_rises_then_falls_along_half_a_cosine(tiny_config):
    factors = [rate_factor(step, tiny_config(steps=100, warmup=10)) for step in range(100)]
    assert factors[:10] == sorted(factors[:10]) and factors[10:] == sorted(factors[10:], reverse=True)
    assert factors[0] == pytest.approx(1 / 11) and max(factors) == factors[10] == 1
    assert factors[55] == pytest.approx(0.5) and 0 < factors[99] < 0.001


def test_a_constant_rate_is_constant_after_the_warm_up(tiny_config):
    config = tiny_config(steps=100, warmup=4, schedule="constant")
    assert [rate_factor(step, config) for step in range(100)][4:] == [1.0] * 96


def test_setting_the_rate_twice_does_not_compound(tiny_config):
    optimiser = build_optimiser(TinyNet(), tiny_config(learning_rate=0.1, backbone_learning_rate=0.01))
    for _ in range(2):
        set_rate(optimiser, 0.5)
    assert {group["lr"] for group in optimiser.param_groups} == {0.05, 0.005}
