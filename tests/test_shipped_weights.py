"""The weights in data/weights: what `RANet.lite()`, the notebooks and `ranet-edu segment` use by default."""

import json

import numpy as np
import pytest
import torch

from ranet_edu.datasets.davis import DavisDataset
from ranet_edu.evaluation.metrics import region_similarity
from ranet_edu.model import RANet
from ranet_edu.video.segmenter import VideoSegmenter
from ranet_edu.weights import DEFAULT, MINITRAIN, facts, open_model, read_metadata

FRAMES = 12


@pytest.fixture(scope="module")
def network():
    return RANet.lite()


@pytest.mark.parametrize(("path", "split"), [(DEFAULT, "train"), (MINITRAIN, "minitrain")])
def test_a_file_is_small_and_says_where_it_comes_from(repository, path, split):
    assert path.stat().st_size <= 16e6
    noted = read_metadata(path)
    assert {"config", "training", "step"} <= set(noted)
    assert json.loads(noted["training"])["split"] == split
    assert not any(place in str(noted) for place in ("/home/", "/root/", "/tmp/", "/work/"))
    card = (repository / "data" / "weights" / "README.md").read_text(encoding="utf-8")
    assert path.name in card and "CC BY-NC" in card


@pytest.mark.parametrize(("name", "path"), [("default", DEFAULT), ("minitrain", MINITRAIN)])
def test_a_name_stands_for_its_file(name, path):
    expected = open_model(path)
    for opened in (open_model(name), RANet.lite(weights=name)):
        assert opened.config == expected.config
        for key, tensor in opened.state_dict().items():
            assert torch.equal(tensor, expected.state_dict()[key]), key
    assert facts(name) == facts(path) and facts(name)["weights"] == path.name


def test_the_preset_has_the_default_s_weights(network):
    for key, tensor in open_model("default").state_dict().items():
        assert torch.equal(network.state_dict()[key], tensor), key


@pytest.mark.parametrize("name", ["cat", "launch-pad"])
def test_it_follows_the_objects_of_a_sample_clip(network, repository, name):
    """Clips that it never saw: generated, from photographs that are not in its training data."""
    clip = DavisDataset(repository / "data" / "samples", "2017")[name]
    frames = (clip.read_frame(index) for index in range(FRAMES))
    *_, last = VideoSegmenter(network).segment(frames, clip.read_annotation(0))
    true = clip.read_annotation(FRAMES - 1)
    scores = [region_similarity(last == label, true == label) for label in range(1, clip.object_count + 1)]
    assert np.mean(scores) > 0.7, scores


def test_the_previous_mask_and_the_template_both_matter(network, repository):
    """Without the template's objects nothing is found, and without the previous mask something changes."""
    clip = DavisDataset(repository / "data" / "samples", "2017")["cat"]
    images = np.stack([clip.read_frame(0), clip.read_frame(3)])[:, 112:368, 200:648]
    frames = network.normalize(torch.from_numpy(images).permute(0, 3, 1, 2) / 255)
    masks = torch.from_numpy(clip.read_annotation(0)[112:368, 200:648].astype(np.float32))[None, None]
    nothing = torch.zeros_like(masks)
    with torch.inference_mode():
        template = network.encode_template(frames[:1])
        both = network(frames[1:], template, masks, masks)
        alone = network(frames[1:], template, masks, nothing)
        neither = network(frames[1:], template, nothing, nothing)
    assert (both > 0.5).float().mean() > 0.05
    assert (both - alone).abs().mean() > 1e-3
    assert (neither > 0.5).float().mean() < 0.5 * (both > 0.5).float().mean()
