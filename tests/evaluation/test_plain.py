"""The plain formulation and ours are one network: what differs is how it is computed."""

from __future__ import annotations

import pytest
import torch

from ranet_edu.evaluation.plain import PlainRANet, correlate
from ranet_edu.model.ranet import RANet, RANetConfig

SIZE = (64, 96)
SMALL_PAPER = RANetConfig(
    backbone="resnet18", level_channels=(64, 64, 128, 256, 512), template_grid=(4, 6), canvas=SIZE, kept_maps=16
)


def inputs(model, objects):
    """A frame, a template and masks of `objects` blobs in double precision, in which no two scores nearly tie."""
    frames = torch.rand(2, 3, *SIZE, dtype=torch.float64)
    masks = torch.zeros(1, objects, *SIZE, dtype=torch.float64)
    for number in range(objects):
        masks[0, number, 8:40, 4 + 22 * number : 24 + 22 * number] = 1
    frames = model.normalize(frames)
    return frames[1:], model.encode_template(frames[:1]), masks, masks.roll(3, dims=-1)


@pytest.mark.parametrize("objects", [1, 3])
@pytest.mark.parametrize("preset", ["lite", "paper", "paper ranked independently"])
@torch.inference_mode()
def test_plain_and_ours_give_the_same_masks(preset, objects):
    if preset == "lite":
        model = RANet.lite()
    else:
        model = RANet(RANetConfig(**vars(SMALL_PAPER) | {"joint_ranking": preset == "paper"})).eval()
    model, plain = model.double(), PlainRANet(model.double())
    arguments = inputs(model, objects)
    ours = model(*arguments)
    assert ours.std() > 0
    torch.testing.assert_close(plain(*arguments), ours, rtol=0, atol=1e-8)
    torch.testing.assert_close(plain.encode_template(arguments[0]), model.encode_template(arguments[0]))


def test_plain_shares_the_weights():
    model = RANet.lite()
    plain = PlainRANet(model)
    ours = {tensor.data_ptr() for tensor in model.parameters()}
    assert {tensor.data_ptr() for tensor in plain.parameters()} == ours
    assert plain.canvas == model.canvas and plain.crops and plain.template_from == "first"


def test_correlation_is_the_dot_product_of_a_template_pixel_and_a_place():
    template, features = torch.rand(1, 5, 2, 3), torch.rand(1, 5, 4, 6)
    maps = correlate(template, features)
    assert maps.shape == (1, 6, 4, 6)
    torch.testing.assert_close(maps[0, 4, 3, 2], template[0, :, 1, 1] @ features[0, :, 3, 2])


def test_what_plain_does_not_compute_is_refused():
    with pytest.raises(ValueError, match="plain formulation"):
        PlainRANet(RANet.lite(None, ranking="maximum"))
    plain = PlainRANet(RANet.lite(None))
    with pytest.raises(ValueError, match="one frame at a time"):
        plain(torch.zeros(2, 3, *SIZE), torch.zeros(2, 128, 15, 27), torch.zeros(2, 1, *SIZE), torch.zeros(2, 1, *SIZE))
