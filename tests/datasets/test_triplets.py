"""Video samples (ranet_edu/datasets/triplets.py)."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from ranet_edu.datasets.augment import Pose
from ranet_edu.datasets.davis import DavisDataset
from ranet_edu.datasets.encounters import Chances
from ranet_edu.datasets.samples import DISTRACTOR, Recipe, Sample
from ranet_edu.datasets.triplets import VideoTriplets
from ranet_edu.datasets.video_scenes import draw_template, video_scene

CANVAS = (64, 112)
CLEAN = Recipe(colour=0, degrade=0, mistakes=0, empty=0, whole=0, whole_template=0)


def same(a: Sample, b: Sample) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def triplets(root: Path, **choices: object) -> VideoTriplets:
    return VideoTriplets(root, "train", CANVAS, year="2017", **choices)


def test_an_epoch_is_every_frame(davis: Path) -> None:
    assert len(triplets(davis)) == 16 and len(triplets(davis, length=1000)) == 1000


def test_takes_a_dataset_as_well_as_its_root(davis: Path) -> None:
    dataset = DavisDataset(davis, year="2017", split="train")
    assert same(VideoTriplets(dataset, size=CANVAS)[5], triplets(davis)[5])


def test_the_seed_and_the_index_decide(davis: Path) -> None:
    assert same(triplets(davis, seed=1)[100], triplets(davis, seed=1, length=7)[100])
    assert not same(triplets(davis, seed=1)[3], triplets(davis, seed=2)[3])


def test_workers_change_nothing(davis: Path) -> None:
    videos = triplets(davis, rollout=2, objects=2, length=6)
    alone, shared = (list(DataLoader(videos, batch_size=2, num_workers=workers)) for workers in (0, 2))
    assert len(alone) == 3 and all(same(a, b) for a, b in zip(alone, shared, strict=True))


def test_any_frame_that_shows_the_object_may_be_the_template(davis: Path) -> None:
    leaving = triplets(davis).videos["leaving"]
    frames = {draw_template(np.random.default_rng(seed), leaving, 1)[0] for seed in range(80)}
    assert frames == {0, 1, 2, 3, 6, 7, 8}


def test_shapes_with_a_rollout_and_objects(davis: Path) -> None:
    sample = triplets(davis, rollout=3, objects=2)[0]
    assert [tuple(x.shape) for x in sample] == [
        (3, *CANVAS), (2, *CANVAS), (3, 3, *CANVAS), (2, *CANVAS), (3, 2, *CANVAS), (3, *CANVAS)
    ]


def test_templates_always_show_the_object(davis: Path) -> None:
    """Also of the video whose object leaves."""
    videos = triplets(davis)
    assert all(videos[index].template_masks.sum() > 50 for index in range(32))


@pytest.mark.parametrize("transplant", [0.0, 1.0])
def test_masks_fit_what_the_picture_shows(davis: Path, transplant: float) -> None:
    """Labels have colours here: 1 red, 2 green, 3 yellow; object n of the template is object n of every frame."""
    videos = triplets(davis, objects=2, rollout=2, chances=Chances(transplant=transplant), recipe=CLEAN)
    compared = 0
    for index in range(24):
        sample = videos[index]
        for n in range(2):
            template = sample.template[:, sample.template_masks[n] > 0].float()
            for frame, masks in zip(sample.frames, sample.true_masks, strict=True):
                inside = frame[:, masks[n] > 0].float()
                if inside.shape[1] > 50 and template.shape[1] > 50:
                    assert (inside.median(1).values - template.median(1).values).abs().max() < 12
                    compared += 1
    assert compared > 30


def test_one_object_of_many_leaves_the_others_as_distractors(davis: Path) -> None:
    three = [DavisDataset(davis, year="2017", split="train")["three"]]
    videos = VideoTriplets(three, size=CANVAS, recipe=Recipe(colour=0, degrade=0, whole=1, whole_template=1))
    colours = set()
    for index in range(20):
        sample = videos[index]
        assert 0 < sample.template_masks.sum() < 0.2 * CANVAS[0] * CANVAS[1]
        colours.add(tuple((sample.template[:, sample.template_masks[0] > 0].float().median(1).values > 128).tolist()))
    assert len(colours) == 3
    layer = video_scene(three[0], 0, [2], Pose(), 1).layers[0]
    assert layer.slots == (0, DISTRACTOR, DISTRACTOR) and len(layer.masks) == 3


def test_objects_a_video_lacks_are_empty(davis: Path) -> None:
    leaving = [DavisDataset(davis, year="2017", split="train")["leaving"]]
    sample = VideoTriplets(leaving, size=CANVAS, objects=3)[0]
    assert sample.template_masks[0].any() and not sample.template_masks[1:].any() and not sample.true_masks[:, 1:].any()


def test_frames_chosen(davis: Path) -> None:
    videos = triplets(davis, rollout=3, max_interval=4)
    intervals, strides = set(), set()
    for seed in range(300):
        previous, frames = videos._times(np.random.default_rng(seed), 40, 20)
        assert frames[0] == 20 and len(frames) == 3
        steps = np.diff(frames)
        assert len(set(steps.tolist())) == 1 and np.sign(20 - previous) == np.sign(steps[0])
        intervals.add(abs(20 - previous))
        strides.add(abs(int(steps[0])))
    assert intervals == {1, 2, 3, 4} and strides == {1, 2, 3}


def test_a_triplet_says_what_its_sample_is_made_of(davis: Path) -> None:
    """The disc is away in two frames: where the triplet names one of them, the sample's mask is empty."""
    video = DavisDataset(davis, year="2017", split="train")["leaving"]
    videos = VideoTriplets([video], size=CANVAS, rollout=2, recipe=CLEAN)
    for index in range(9):
        triplet = videos.triplet(index)
        assert triplet.video is video and triplet.objects == [1] and len(triplet.frames) == 2
        assert video.read_annotation(triplet.template).any()
        sample = videos[index]
        for frame, masks in zip(triplet.frames, sample.true_masks, strict=True):
            assert video.read_annotation(frame).any() or not masks.any()
    assert sorted(videos.triplet(index).frames[0] for index in range(9)) == list(range(9))


def test_frames_stay_in_the_video(davis: Path) -> None:
    videos = triplets(davis, rollout=3)
    for seed in range(100):
        for current in (0, 1, 5, 6):
            previous, frames = videos._times(np.random.default_rng(seed), 7, current)
            assert 0 <= previous < 7 and all(0 <= frame < 7 for frame in frames) and frames[0] == current
            assert abs(previous - current) <= 5


def test_a_video_without_objects_is_named_before_the_first_sample(drawn: SimpleNamespace, tmp_path: Path) -> None:
    disc, nothing = [drawn.discs((50, 80), (40, 25))] * 4, [np.zeros((50, 80), np.uint8)] * 2
    root = drawn.save_davis(tmp_path, {"disc": disc, "nothing": nothing})
    with pytest.raises(ValueError, match="nothing.*no annotation shows an object of at least 0.05% of the frame"):
        triplets(root)


def test_a_frame_without_annotation_is_named_before_the_first_sample(drawn: SimpleNamespace, tmp_path: Path) -> None:
    root = drawn.save_davis(tmp_path, {"disc": [drawn.discs((50, 80), (40, 25))] * 4})
    for number in (2, 3):
        (root / "Annotations" / "480p" / "disc" / f"{number:05d}.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"disc: .*00002\.png is missing; training needs a mask for every"):
        triplets(root)


def test_bad_counts(davis: Path) -> None:
    with pytest.raises(ValueError, match="max_interval must be at least 1, got 0"):
        triplets(davis, max_interval=0)


def test_real_videos(shared_data: Path) -> None:
    videos = VideoTriplets(shared_data / "DAVIS", "minival", rollout=2)
    for index in range(3):
        sample = videos[index]
        assert sample.template.float().std() > 10 and sample.template_masks.any()
    dogs = VideoTriplets(shared_data / "multi_object", "all", objects=3, year="2017")
    assert (dogs[0].template_masks.flatten(1).sum(1) > 0).sum() >= 2
