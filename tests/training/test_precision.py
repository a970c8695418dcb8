import copy

import pytest
import torch
from torch import nn

from ranet_edu.model import RANet
from ranet_edu.training.precision import (
    FrozenBackbone,
    hasten_frozen_backbone,
    keep_depthwise_in_float32,
    only_weights_change,
)
from ranet_edu.video.segmenter import VideoSegmenter


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(4, 8, 1), nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.Conv2d(8, 2, 1))


def dtypes(model: nn.Module) -> list[torch.dtype]:
    seen = []
    hooks = [layer.register_forward_hook(lambda layer, x, out: seen.append(out.dtype)) for layer in model]
    with torch.autocast("cpu", torch.bfloat16):
        model(torch.randn(1, 4, 6, 6))
    for hook in hooks:
        hook.remove()
    return seen


def test_only_depthwise_convolutions_leave_mixed_precision(model):
    keep_depthwise_in_float32(model)
    assert dtypes(model) == [torch.bfloat16, torch.float32, torch.bfloat16]


def test_depthwise_convolutions_that_do_not_learn_stay_in_it(model):
    model.requires_grad_(False)
    keep_depthwise_in_float32(model)
    assert dtypes(model) == [torch.bfloat16] * 3


def test_without_autocast_nothing_changes(model):
    x = torch.randn(1, 4, 6, 6)
    before, names = model(x), list(model.state_dict())
    keep_depthwise_in_float32(model)
    assert torch.equal(model(x), before) and list(model.state_dict()) == names


def test_a_copy_computes_with_its_own_weights(model):
    """As the moving average of the weights does."""
    keep_depthwise_in_float32(model)
    twin = copy.deepcopy(model)
    nn.init.zeros_(twin[1].weight)
    nn.init.zeros_(twin[1].bias)
    x = torch.randn(1, 8, 6, 6)
    assert not twin[1](x).any() and model[1](x).any()


def test_what_a_run_does_to_a_model_is_undone_even_if_it_fails(model):
    model[0].requires_grad_(False)
    with pytest.raises(KeyboardInterrupt), only_weights_change(model):
        keep_depthwise_in_float32(model)
        model.requires_grad_(False)
        raise KeyboardInterrupt
    assert [layer.weight.requires_grad for layer in model] == [False, True, True]
    assert dtypes(model) == [torch.bfloat16] * 3


def test_what_was_done_to_a_model_before_stays(model):
    keep_depthwise_in_float32(model)
    with only_weights_change(model):
        keep_depthwise_in_float32(model)
    assert dtypes(model) == [torch.bfloat16, torch.float32, torch.bfloat16]


@pytest.fixture(scope="module")
def network():
    network = RANet.lite(weights="imagenet").train()
    network.encoder.backbone.requires_grad_(False)
    return network


class TestFrozenBackbone:
    @pytest.fixture
    def hastened(self, network):
        twin = copy.deepcopy(network)
        hasten_frozen_backbone(twin)
        assert type(twin.encoder.backbone) is FrozenBackbone
        return twin

    def test_computes_the_same_maps(self, network, hastened):
        frames = torch.randn(2, 3, 64, 96)
        for found, expected in zip(hastened.encoder.backbone(frames), network.encoder.backbone(frames), strict=True):
            torch.testing.assert_close(found, expected, atol=1e-4 * expected.abs().max().item(), rtol=1e-4)

    def test_in_the_type_of_autocast(self, network, hastened):
        frames = torch.randn(1, 3, 64, 96)
        exact = network.encoder.backbone(frames)
        with torch.autocast("cpu", torch.bfloat16):
            mixed = hastened.encoder.backbone(frames)
        for found, expected in zip(mixed, exact, strict=True):
            assert found.dtype == torch.bfloat16
            assert (found - expected).abs().mean() < 0.1 * expected.abs().mean()
        assert hastened.encoder.backbone(frames)[0].dtype == torch.float32

    def test_what_follows_learns(self, hastened):
        hastened.encoder(torch.randn(1, 3, 64, 96)).matching.square().mean().backward()
        learning = {name.split(".")[1] for name, p in hastened.named_parameters() if p.grad is not None}
        assert learning == {"reduce", "merge"}

    def test_names_weights_and_copies_are_the_network_s(self, network, hastened):
        hastened.encoder.backbone(torch.randn(1, 3, 64, 96))
        twin = copy.deepcopy(hastened)
        assert list(twin.state_dict()) == list(network.state_dict())
        for parameter in twin.encoder.backbone.parameters():
            nn.init.zeros_(parameter)
        assert not twin.encoder.backbone(torch.randn(1, 3, 64, 96))[-1].any()

    def test_other_weights_loaded_later_are_seen(self, network, hastened):
        frames = torch.randn(1, 3, 64, 96)
        hastened.encoder.backbone(frames)
        hastened.load_state_dict({name: torch.zeros_like(tensor) for name, tensor in network.state_dict().items()})
        assert not hastened.encoder.backbone(frames)[-1].any()

    def test_segments_as_before(self, network, hastened):
        """A validation takes the network in training as it is."""
        frame = torch.randint(0, 256, (64, 96, 3), dtype=torch.uint8).numpy()
        mask = torch.zeros(64, 96, dtype=torch.uint8).numpy()
        mask[20:40, 30:60] = 1
        hastened.encoder.backbone(torch.randn(1, 3, 64, 96))
        found, expected = (
            list(VideoSegmenter(model, canvas=(64, 96)).segment([frame, frame], mask))[1]
            for model in (hastened, network)
        )
        assert (found == expected).mean() > 0.99

    def test_a_backbone_that_learns_is_left_alone(self):
        network = RANet.lite(weights=None)
        hasten_frozen_backbone(network)
        assert type(network.encoder.backbone) is not FrozenBackbone
