"""The weights in data/weights: what `RANet.lite()`, the notebooks and `ranet-edu segment` use by default."""

import numpy as np
import pytest
import torch

from ranet_edu.datasets.davis import DavisDataset
from ranet_edu.evaluation.metrics import region_similarity
from ranet_edu.model import RANet
from ranet_edu.video.segmenter import VideoSegmenter
from ranet_edu.weights import DEFAULT, open_model, read_metadata

FRAMES = 12


@pytest.fixture(scope="module")
def network():
    return RANet.lite()


def test_the_file_is_small_and_says_where_it_comes_from(repository):
    assert DEFAULT.stat().st_size <= 16e6
    facts = read_metadata(DEFAULT)
    assert {"config", "training", "step"} <= set(facts)
    assert not any(place in str(facts) for place in ("/home/", "/root/", "/tmp/", "/work/"))
    card = (repository / "data" / "weights" / "README.md").read_text(encoding="utf-8")
    assert DEFAULT.name in card and "CC BY-NC" in card


def test_the_default_by_name_is_the_preset_s_default(network):
    opened = open_model("default")
    assert opened.config == network.config
    for (name, ours), (_, theirs) in zip(
        network.state_dict().items(), opened.state_dict().items(), strict=True
    ):
        assert torch.equal(ours, theirs), name


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
