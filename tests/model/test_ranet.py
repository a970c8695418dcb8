"""ranet_edu.model.ranet: any number of objects, any frame size, every variant, and what is refused.

What the paper's preset computes, and its shapes: test_parity.py.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from ranet_edu.model import RANet, RANetConfig

SIZE = (64, 112)
VARIANTS = {
    "no ranking": {"ranking": "none"},
    "maximum": {"ranking": "maximum"},
    "no correlation": {"correlation": False},
    "no previous mask": {"previous_mask": False},
    "joint ranking": {"joint_ranking": True},
    "16 maps": {"kept_maps": 16},
}
SMALL_RESNET = replace(
    RANetConfig(), backbone="resnet18", level_channels=(64, 64, 128, 256, 512), fixed_size=False, kept_maps=32
)


def random_masks(count: int, size: tuple[int, int] = SIZE, batch: int = 1) -> torch.Tensor:
    """Soft blobs rather than noise, so that pooled masks differ from cell to cell."""
    return F.interpolate(torch.rand(batch, count, 4, 5), size, mode="bicubic").clamp(0, 1)


@pytest.fixture
def scene(lite):
    """frames, template, template masks and previous masks: two videos with three objects each."""
    with torch.no_grad():
        template = lite.encode_template(torch.randn(2, 3, *SIZE))
    return torch.randn(2, 3, *SIZE), template, random_masks(3, batch=2), random_masks(3, batch=2)


@pytest.fixture(scope="module")
def paper():
    return RANet.paper()


@torch.no_grad()
def run(model, *inputs):
    return model(*inputs)


def test_lite_shapes(lite, scene):
    with torch.no_grad():
        trace = lite.trace(*scene)
    assert scene[1].shape == (2, 128, 15, 27)
    assert trace.features.matching.shape == (2, 128, 8, 14)
    assert trace.maps.shape == (2, 405, 8, 14)
    assert trace.ranked.maps.shape == (2, 3, 2, 256, 8, 14)
    assert trace.merged.shape == (2, 3, 2, 32, 8, 14)
    assert trace.logits.shape == trace.probabilities.shape == (2, 3, *SIZE)
    assert lite.canvas == (320, 560) and not lite.training


def test_paper_has_64_million_parameters(paper):
    """64.5 M with the authors' second merge module and their `rank_A`, which their network never uses."""
    ours = sum(parameter.numel() for parameter in paper.parameters())
    unused = (256 * 256 * 9 + 256) + (2 * 256 * 128 + 128 * 128 * 9) + (128 * 256 * 9 + 128) + (16 + 8 + 1 + 8 + 1)
    assert round((ours + unused) / 1e6, 1) == 64.5


def test_forward_is_trace(lite, scene):
    with torch.no_grad():
        trace = lite.trace(*scene)
    assert torch.equal(run(lite, *scene), trace.probabilities)
    torch.testing.assert_close(trace.probabilities, 1 / (1 + (-trace.logits).exp()))
    assert trace.probabilities.min() >= 0 and trace.probabilities.max() <= 1


def test_objects_in_one_call_equal_one_call_each(lite, scene):
    frames, template, masks, previous = scene
    together = run(lite, *scene)
    for i in range(3):
        alone = run(lite, frames, template, masks[:, i : i + 1], previous[:, i : i + 1])
        torch.testing.assert_close(together[:, i : i + 1], alone, atol=1e-5, rtol=1e-4)
    assert not torch.allclose(together[:, 0], together[:, 1], atol=1e-3)


def test_videos_in_one_call_equal_one_call_each(lite, scene):
    together = run(lite, *scene)
    for video in range(2):
        alone = run(lite, *(tensor[video : video + 1] for tensor in scene))
        torch.testing.assert_close(together[video : video + 1], alone, atol=1e-5, rtol=1e-4)


def test_objects_keep_their_order(lite, scene):
    frames, template, masks, previous = scene
    flipped = run(lite, frames, template, masks.flip(1), previous.flip(1)).flip(1)
    torch.testing.assert_close(run(lite, *scene), flipped, atol=1e-5, rtol=1e-4)


def test_joint_ranking_is_for_several_objects(lite, scene):
    joint = RANet.lite(weights=None, joint_ranking=True)
    joint.load_state_dict(lite.state_dict())
    frames, template, masks, previous = scene
    one = frames, template, masks[:, :1], previous[:, :1]
    assert torch.equal(run(joint, *one), run(lite, *one))
    assert not torch.allclose(run(joint, *scene), run(lite, *scene), atol=1e-4)


def test_streams_share_the_merge_module(lite, scene):
    with torch.no_grad():
        trace = lite.trace(*scene)
        for stream in (0, 1):
            alone = lite.merge(trace.ranked.maps[:, 1, stream], trace.features.levels[2].shape[2:])
            torch.testing.assert_close(trace.merged[:, 1, stream], alone, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (33, 65), (65, 33), (112, 64), (17, 200)])
def test_lite_takes_any_size(lite, size):
    with torch.no_grad():
        template = lite.encode_template(torch.randn(1, 3, *size))
    found = run(lite, torch.randn(1, 3, *size), template, random_masks(2, size), random_masks(2, size))
    assert template.shape == (1, 128, 15, 27)
    assert found.shape == (1, 2, *size) and found.isfinite().all()


def test_the_template_may_come_from_a_frame_of_another_size(lite):
    with torch.no_grad():
        template = lite.encode_template(torch.randn(1, 3, 97, 50))
    assert run(lite, torch.randn(1, 3, *SIZE), template, random_masks(1), random_masks(1)).isfinite().all()


@pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS)
def test_variants_learn_and_stay_finite(changes):
    assert_learns(RANet.lite(weights=None, **changes))


@pytest.mark.parametrize("changes", [{}, {"ranking": "none"}, {"correlation": False}], ids=str)
def test_resnet_variants_learn_and_stay_finite(changes):
    assert_learns(RANet(replace(SMALL_RESNET, **changes)))


def assert_learns(model):
    """One backward pass through template and frame: each parameter gets a finite gradient, convolutions not zero."""
    model.train()
    masks = random_masks(2)
    template = model.encode_template(torch.randn(1, 3, *SIZE))
    found = model(torch.randn(1, 3, *SIZE), template, masks, random_masks(2))
    assert found.shape == masks.shape and found.isfinite().all()
    F.binary_cross_entropy(found, (masks > 0.5).float()).backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    assert [name for name, gradient in gradients.items() if gradient is None] == []
    assert [name for name, gradient in gradients.items() if not gradient.isfinite().all()] == []
    weights = [name for name in gradients if name.endswith("conv.weight") or ".branches." in name]
    assert [name for name in weights if not gradients[name].any()] == []


def test_variants_are_built_as_table_4_and_5_say():
    channels = {name: merge_channels(RANet.lite(weights=None, **changes)) for name, changes in VARIANTS.items()}
    assert channels["no ranking"] == 405 and channels["maximum"] == 1 and channels["16 maps"] == 16
    assert channels["no correlation"] == 2 * 128
    assert channels["no previous mask"] == channels["joint ranking"] == 256
    without = RANet.lite(weights=None, correlation=False)
    assert without.ranking is None


def merge_channels(model):
    return model.merge.layers[0].conv.in_channels


def test_without_correlation_each_stream_sees_frame_and_masked_template(lite):
    model = RANet.lite(weights=None, correlation=False)
    frames, masks = torch.randn(1, 3, *SIZE), random_masks(2)
    with torch.no_grad():
        template = model.encode_template(torch.randn(1, 3, *SIZE))
        trace = model.trace(frames, template, masks, random_masks(2))
        pooled = F.adaptive_avg_pool2d(masks, (15, 27))
    assert trace.maps is None
    for i in range(2):
        for stream, weights in enumerate((pooled[:, i : i + 1], (1 - pooled[:, i : i + 1] >= 0.9).float())):
            masked = F.interpolate(template * weights, (8, 14), mode="bilinear")
            torch.testing.assert_close(trace.ranked.maps[:, i, stream], torch.cat([trace.features.matching, masked], 1))


def test_the_previous_mask_counts_unless_it_is_switched_off(lite, scene):
    frames, template, masks, previous = scene
    assert not torch.allclose(run(lite, *scene), run(lite, frames, template, masks, 1 - previous), atol=1e-4)
    without = RANet.lite(weights=None, previous_mask=False)
    without.load_state_dict(lite.state_dict())
    found = run(without, *scene)
    assert torch.equal(found, run(without, frames, template, masks, 1 - previous))
    assert torch.equal(found, run(lite, frames, template, masks, torch.zeros_like(previous)))


def test_the_template_s_mask_counts(lite, scene):
    frames, template, masks, previous = scene
    assert not torch.allclose(run(lite, *scene), run(lite, frames, template, 1 - masks, previous), atol=1e-4)


@pytest.mark.parametrize("pixels", [0, 1])
@pytest.mark.parametrize("ranking", ["attention", "none", "maximum"])
def test_masks_of_no_or_one_pixel(pixels, ranking):
    model = RANet.lite(weights=None, ranking=ranking, joint_ranking=True)
    masks = torch.zeros(1, 2, *SIZE)
    masks[0, 0, 20, 30 : 30 + pixels] = 1
    template = model.encode_template(torch.randn(1, 3, *SIZE))
    found = model(torch.randn(1, 3, *SIZE), template, masks, torch.zeros(1, 2, *SIZE))
    assert found.isfinite().all()
    found.sum().backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int64, torch.float64])
def test_masks_may_be_of_any_type(lite, scene, dtype):
    frames, template, masks, previous = scene
    hard = (masks > 0.5).float(), (previous > 0.5).float()
    found = run(lite, frames, template, *(mask.to(dtype) for mask in hard))
    assert torch.equal(found, run(lite, frames, template, *hard))


def test_normalize(lite, paper):
    image = torch.rand(2, 3, 4, 5)
    torch.testing.assert_close(lite.normalize(image), (255 * image - 127) / 128)
    grey = paper.normalize(torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1).expand(3, 4, 5))
    assert grey.abs().max() < 1e-6
    white = paper.normalize(torch.ones(3, 1, 1)).flatten()
    torch.testing.assert_close(white, torch.tensor([2.2489, 2.4286, 2.64]), atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("argument", "shape", "needed"),
    [
        ("frames", (2, 64, 112), "(B, 3, H, W)"),
        ("frames", (2, 1, 64, 112), "(B, 3, H, W)"),
        ("frames", (2, 64, 112, 3), "(B, 3, H, W)"),
        ("template", (2, 512, 15, 27), "(2, 128, 15, 27)"),
        ("template", (1, 128, 15, 27), "(2, 128, 15, 27)"),
        ("template", (2, 128, 30, 54), "(2, 128, 15, 27)"),
        ("template_masks", (2, 64, 112), "(2, N, 64, 112)"),
        ("template_masks", (2, 0, 64, 112), "(2, N, 64, 112)"),
        ("template_masks", (2, 3, 15, 27), "(2, N, 64, 112)"),
        ("previous_masks", (2, 2, 64, 112), "(2, 3, 64, 112)"),
        ("previous_masks", (2, 3, 112, 64), "(2, 3, 64, 112)"),
    ],
)
def test_misshapen_inputs_are_named(lite, scene, argument, shape, needed):
    inputs = dict(zip(("frames", "template", "template_masks", "previous_masks"), scene, strict=True))
    with pytest.raises(ValueError) as error:
        lite(**(inputs | {argument: torch.zeros(shape)}))
    assert str(error.value) == f"{argument} has shape {shape}, but {needed} is needed"


def test_frames_that_are_not_normalised_are_refused(lite, scene):
    with pytest.raises(ValueError, match="uint8.*normalize"):
        lite(scene[0].to(torch.uint8), *scene[1:])
    with pytest.raises(ValueError, match="uint8.*normalize"):
        lite.encode_template(scene[0].to(torch.uint8))


def test_paper_takes_its_own_size_only(paper):
    with pytest.raises(ValueError, match=r"frames has shape \(1, 3, 480, 854\), but \(B, 3, 480, 864\) is needed"):
        paper.encode_template(torch.zeros(1, 3, 480, 854))


def test_unknown_options_are_refused():
    with pytest.raises(ValueError, match="'average'"):
        RANet.lite(weights=None, ranking="average")
    with pytest.raises(TypeError, match="rankng"):
        RANet.lite(weights=None, rankng="none")


def test_presets_differ_in_configuration_alone(lite, paper):
    assert type(lite) is type(paper) is RANet
    assert paper.config == RANetConfig()
    rebuilt = RANet(lite.config)
    rebuilt.load_state_dict(lite.state_dict())
    frame = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(rebuilt.eval().encode_template(frame), lite.encode_template(frame))
