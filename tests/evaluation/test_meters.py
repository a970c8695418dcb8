"""Meters count what can be counted by hand."""

from __future__ import annotations

import time

import pytest
import torch
from torch import nn

from ranet_edu.evaluation import meters
from ranet_edu.evaluation.plain import PlainRANet
from ranet_edu.model.ranet import RANet
from ranet_edu.video.convolutions import can_pack, pack_weights

CPU = torch.device("cpu")


class FourParts(nn.Module):
    """A model with the parts that are metered; each adds its own number to `spent`."""

    def __init__(self):
        super().__init__()
        self.spent = 0
        for name, amount in (("encoder", 1), ("ranking", 10), ("merge", 100), ("decoder", 1000)):
            self.add_module(name, Spends(self, amount))

    def forward(self):
        self.encoder()
        self.spent += 10_000  # correlation
        self.ranking()
        self.merge()
        self.merge()
        self.spent += 100_000
        self.decoder()


class Spends(nn.Module):
    def __init__(self, owner, amount):
        super().__init__()
        self.owner, self.amount = [owner], amount

    def forward(self):
        self.owner[0].spent += self.amount


def test_a_reading_is_divided_among_the_parts():
    model = FourParts()
    with meters.amounts_by_part(model, lambda: model.spent) as amounts:
        model()
    wanted = {"encoder": 1, "correlation": 10_000, "ranking": 10, "merge": 200, "decoder": 1000, "other": 100_000}
    assert dict(amounts) == wanted and set(wanted) == set(meters.PARTS)
    model()  # no longer read
    assert sum(amounts.values()) == sum(wanted.values())


def test_parts_are_let_go_when_a_call_fails():
    model = FourParts()
    with pytest.raises(ZeroDivisionError), meters.amounts_by_part(model, lambda: 0.0):
        raise ZeroDivisionError
    assert not model.encoder._forward_hooks and not model.encoder._forward_pre_hooks


@pytest.mark.parametrize("kind", [RANet, PlainRANet])
@torch.inference_mode()
def test_work_of_a_frame_is_that_of_its_parts(kind):
    ours = RANet.lite(None)
    model = ours if kind is RANet else PlainRANet(ours)
    frames = torch.zeros(1, 3, 64, 96)
    masks = torch.ones(1, 1, 64, 96)
    template = model.encode_template(frames)
    operations, moved = meters.part_work(model, lambda: model(frames, template, masks, masks))
    assert operations["correlation"] == 2 * 405 * 128 * 8 * 12  # template pixels, channels, places of 1/8
    assert operations["other"] == 0 and min(operations[p] for p in meters.PARTS if p != "other") > 0
    maps = 405 * 8 * 12 * 4
    assert moved["correlation"] >= maps + template.nbytes + 128 * 8 * 12 * 4
    assert moved["correlation"] < 1.5 * moved["ranking"]


@pytest.mark.skipif(not can_pack(), reason="this PyTorch does not compute with packed weights")
@torch.inference_mode()
def test_a_packed_convolution_counts_as_what_it_computes():
    packed = nn.Sequential(nn.Conv2d(8, 16, 3, padding=1), nn.Conv2d(16, 16, 3, padding=1, groups=4))
    pack_weights(packed.requires_grad_(False))

    class Model(FourParts):
        def forward(self):
            self.encoder()
            packed(torch.rand(2, 8, 10, 12))
            self.ranking()

    model = Model()
    operations, _ = meters.part_work(model, model)
    assert operations["correlation"] == 2 * (16 * 8 + 16 * 4) * 9 * 2 * 10 * 12


def test_operations_are_sorted_by_kind():
    x, kernels = torch.rand(1, 8, 64, 64), torch.rand(8, 8, 3, 3)
    spent = meters.operation_seconds(lambda: nn.functional.instance_norm(nn.functional.conv2d(x, kernels)).relu_())
    assert min(spent[kind] for kind in ("convolution", "norm", "pointwise")) > 0
    assert spent["matrix product"] == 0 and list(spent) == [*meters.OPERATIONS, "other"]
    assert meters.operation_seconds(lambda: x[0, 0] @ x[0, 0])["matrix product"] > 0


def test_traffic_counts_what_is_read_and_written_but_no_views():
    x = torch.zeros(10, 10)
    with meters.Traffic() as traffic:
        x.t()
        x[:5].flatten()
    assert traffic.bytes == 0
    with meters.Traffic() as traffic:
        x + 1
    assert traffic.bytes == 2 * x.nbytes


def test_seconds_and_clock_go_forward():
    assert meters.seconds(lambda: time.sleep(0.01), CPU) >= 0.01
    assert meters.clock(CPU) < meters.clock(CPU)


def test_memory_is_what_a_call_needs_at_its_highest():
    needed = meters.peak_megabytes(lambda: torch.ones(25_000_000), CPU)
    if needed is None:
        pytest.skip("this system does not tell the peak of the resident set")
    assert 95 < needed < 150
    assert meters.peak_megabytes(lambda: None, CPU) < 50


def test_memory_that_cannot_be_told_is_none():
    assert meters.peak_megabytes(lambda: None, torch.device("meta")) is None


def test_ceilings_are_rates_and_half_precision_on_a_cpu_is_refused():
    ceilings = meters.measure_ceilings(CPU, torch.float32, tries=1)
    assert min(ceilings) > 0 and ceilings.compute == max(ceilings.matmul, ceilings.convolution)
    with pytest.raises(ValueError, match="bfloat16"):
        meters.measure_ceilings(CPU, torch.float16)


def test_the_machine_has_a_name():
    assert meters.machine_name(CPU).strip()
