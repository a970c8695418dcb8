import copy

import pytest
import torch
from torch import nn

from ranet_edu.training.precision import keep_depthwise_in_float32


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
