"""ranet_edu.video.export: the ONNX file computes what the network does, says what it is, or is not written."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from ranet_edu import cli
from ranet_edu.datasets.davis import DavisDataset
from ranet_edu.model import RANet, RANetConfig
from ranet_edu.video import export
from ranet_edu.video.export import cell_pixels, export_onnx
from ranet_edu.weights import fingerprint

onnxruntime = pytest.importorskip("onnxruntime", reason="needs onnxruntime: pip install -e '.[onnx]'")
onnx = pytest.importorskip("onnx", reason="needs onnx: pip install -e '.[onnx]'")

SIZE = (96, 168)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """The shipped network for two objects, as the command line writes it."""
    path = tmp_path_factory.mktemp("onnx") / "new" / "ranet.onnx"
    assert cli.main(["weights", "export", "--onnx", str(path), "--size", *map(str, SIZE), "--objects", "2"]) == 0
    assert [found.name for found in path.parent.iterdir()] == ["ranet.onnx"]
    return path


@pytest.fixture(scope="module")
def session(file):
    return onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])


@pytest.fixture(scope="module")
def clip(request):
    """Frames (T, 1, 3, H, W) in [0, 1] and the first mask's objects (1, 2, H, W) of a sample clip, made small."""
    sequence = DavisDataset(request.config.rootpath / "data" / "samples", "2017")["cat-coffee"]
    frames = torch.from_numpy(np.stack([sequence.read_frame(index) for index in range(4)])).permute(0, 3, 1, 2) / 255
    labels = torch.from_numpy(sequence.read_annotation(0))
    masks = torch.stack([labels == 1, labels == 2])[None].float()
    small = F.interpolate(frames, SIZE, mode="area")
    return small[:, None].numpy(), F.adaptive_avg_pool2d(masks, SIZE).numpy()


def run(session, *inputs):
    return session.run(None, dict(zip(export.INPUTS, inputs, strict=True)))


def test_it_segments_as_the_network_does(session, clip):
    frames, masks = clip
    model = RANet.lite()
    nothing = np.zeros((1, 128, 15, 27), np.float32)
    template = run(session, frames[0], nothing, masks, masks)[1]
    with torch.inference_mode():
        expected = model.encode_template(model.normalize(torch.from_numpy(frames[0])))
        np.testing.assert_allclose(template, expected.numpy(), atol=1e-4)
        previous = torch.from_numpy(masks)
        for frame in frames[1:]:
            found, _ = run(session, frame, template, masks, previous.numpy())
            previous = model(model.normalize(torch.from_numpy(frame)), expected, torch.from_numpy(masks), previous)
            assert np.mean((found > 0.5) == (previous.numpy() > 0.5)) > 0.995


def test_a_place_for_an_object_may_stay_empty(session, clip):
    frames, masks = clip
    template = run(session, frames[0], np.zeros((1, 128, 15, 27), np.float32), masks, masks)[1]
    alone = masks.copy()
    alone[:, 1] = 0
    both, one = (run(session, frames[1], template, m, m)[0] for m in (masks, alone))
    np.testing.assert_allclose(one[:, 0], both[:, 0], atol=1e-5)


def test_it_says_what_it_is(session):
    shapes = {value.name: value.shape for value in (*session.get_inputs(), *session.get_outputs())}
    assert shapes == {
        "frame": [1, 3, *SIZE],
        "template": [1, 128, 15, 27],
        "template_masks": [1, 2, *SIZE],
        "previous_masks": [1, 2, *SIZE],
        "masks": [1, 2, *SIZE],
        "frame_template": [1, 128, 15, 27],
    }
    about = session.get_modelmeta()
    assert all(name in about.description for name in shapes)
    facts = about.custom_metadata_map
    assert facts["weights"] == "ranet-lite.safetensors" and facts["weights_sha256"] == fingerprint("default")
    assert json.loads(facts["config"])["template_grid"] == [15, 27]


def test_the_example_in_the_readme_runs(file, clip, repository, monkeypatch):
    readme = (repository / "README.md").read_text(encoding="utf-8")
    (example,) = [code for code in re.findall(r"```python\n(.*?)```", readme, re.S) if "onnxruntime" in code]
    monkeypatch.chdir(file.parent)
    (first, *frames), mask = clip
    names = {"first_frame": first, "frames": frames, "first_masks": mask}
    exec(example, names)
    assert names["masks"].shape == mask.shape and 0 <= names["masks"].min() < 0.1 < 0.5 < names["masks"].max() <= 1
    model, given = RANet.lite(), torch.from_numpy(mask)
    with torch.inference_mode():
        template, previous = model.encode_template(model.normalize(torch.from_numpy(first))), given
        for frame in frames:
            previous = model(model.normalize(torch.from_numpy(frame)), template, given, previous)
    assert np.mean((names["masks"] > 0.5) == (previous.numpy() > 0.5)) > 0.995


def test_objects_that_are_ranked_against_each_other(tmp_path):
    config = replace(RANetConfig(), backbone="resnet18", level_channels=(64, 64, 128, 256, 512), fixed_size=False)
    assert export_onnx(RANet(config), tmp_path / "joint.onnx", objects=2, size=(96, 160)).good


def test_a_file_that_computes_something_else_is_not_left(file, tmp_path, monkeypatch):
    class Program:
        """The shipped network, whichever was asked for."""

        model = type("Model", (), {"metadata_props": {}})

        def save(self, path, external_data):
            path.write_bytes(file.read_bytes())

    monkeypatch.setattr(torch.onnx, "export", lambda *_, **__: Program())
    path = tmp_path / "other.onnx"
    path.write_text("the file that was there")
    with pytest.raises(ValueError, match=r"other.onnx would not compute what PyTorch does \(Agreement\(template=0"):
        export_onnx(RANet.lite(weights=None), path, objects=2, size=SIZE)
    assert [found.read_text() for found in tmp_path.iterdir()] == ["the file that was there"]
    assert export_onnx(RANet.lite(), path, objects=2, size=SIZE).good


def test_what_is_missing_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert cli.main(["weights", "export", "--onnx", str(tmp_path / "x.onnx")]) == 1
    assert "needs onnxruntime" in (message := capsys.readouterr().err) and "pip install -e '.[onnx]'" in message


def test_what_cannot_be_exported_is_refused(tmp_path, capsys):
    with pytest.raises(ValueError, match="end it in .onnx"):
        export_onnx(RANet.lite(weights=None), tmp_path / "x.pt")
    with pytest.raises(ValueError, match="objects must be 1 or more, not 0"):
        export_onnx(RANet.lite(weights=None), tmp_path / "x.onnx", objects=0)
    with pytest.raises(ValueError, match=r"frames has shape .* but \(B, 3, 320, 560\) is needed"):
        export_onnx(RANet.lite(weights=None, fixed_size=True), tmp_path / "x.onnx", size=SIZE)
    assert cli.main(["weights", "export", "--onnx", str(tmp_path / "x.onnx"), "--weights", "matching"]) == 1
    assert "only a RANet is exported" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("cells", [1, 4, 15, 27])
def test_cells_hold_the_pixels_that_pytorch_pools(cells):
    for length in (1, 7, 14, 15, 32, 56, 60, 108):
        values = torch.randn(1, 1, length, 1)
        pooled = values[0, 0, cell_pixels(length, cells), 0].amax(1)
        assert torch.equal(pooled, F.adaptive_max_pool2d(values, (cells, 1)).flatten())
