import csv
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch

from ranet_edu.model import RANet
from ranet_edu.training.config import TrainingConfig
from ranet_edu.training.stages import build_model, build_samples, build_validation, make_config, train
from ranet_edu.weights import open_model, read_metadata, save_weights

MOVES = [(5 + index, 10 + 4 * index) for index in range(6)]


@pytest.fixture
def video_config(draw_davis, draw_stills, tmp_path) -> TrainingConfig:
    data = (draw_davis({"one": MOVES, "two": MOVES[::-1]}), draw_stills())
    small = {"size": (64, 96), "init": "none", "rollout": 1, "workers": 0, "cpu": True}
    return make_config("video", out=tmp_path / "run", data=data, **small)


def test_presets_differ_and_unknown_ones_are_refused():
    lite, paper = (make_config("stills", preset, out=Path("o"), data=("a",)) for preset in ("lite", "paper"))
    assert (lite.optimizer, lite.iou, paper.optimizer, paper.iou) == ("adamw", 1.0, "adam", 0.0)
    with pytest.raises(ValueError, match="no stage 'audio'"):
        make_config("audio", out=Path("o"), data=("a",))
    with pytest.raises(ValueError, match="preset 'huge'"):
        make_config("video", "huge", out=Path("o"), data=("a",))


def test_a_recipe_fits_what_is_chosen():
    """A short rollout leaves a frame to learn from, and what is chosen stays."""
    choose = partial(make_config, "video", out=Path("o"), data=("a",))
    assert [choose(rollout=frames).burn_in for frames in (1, 2, 3, 4)] == [0, 1, 2, 2]
    assert choose(rollout=3, burn_in=0).burn_in == 0 and choose("paper", rollout=3).burn_in == 0
    with pytest.raises(ValueError, match="rollout is 0; it must be at least 1"):
        choose(rollout=0)


def test_strangers_need_stills(video_config):
    davis = video_config.data[0]
    samples = build_samples(replace(video_config, data=(davis,), strangers=0.5))
    assert samples[0].frames.shape == (1, 3, 64, 96)


def test_data_that_the_stage_cannot_do_without(draw_davis, draw_stills, tmp_path):
    davis, stills = draw_davis({"one": MOVES}), draw_stills()
    with pytest.raises(ValueError, match="stills stage needs at least one folder"):
        build_samples(make_config("stills", out=tmp_path, data=(davis,)))
    with pytest.raises(ValueError, match="video stage needs a DAVIS root"):
        build_samples(make_config("video", out=tmp_path, data=(stills,)))
    with pytest.raises(ValueError, match="--data names 2 DAVIS roots"):
        build_samples(make_config("matching", out=tmp_path, data=(davis, davis)))
    for stage, folders in {"stills": (), "video": (), "matching": (davis, stills)}.items():
        with pytest.raises(FileNotFoundError, match="there is no folder .*nowhere"):
            build_samples(make_config(stage, out=tmp_path, data=(*folders, tmp_path / "nowhere")))


def test_the_video_stage_mixes_both_kinds_in_one_shape(video_config):
    config = replace(video_config, rollout=2, objects=2)
    samples = build_samples(config)
    shares = [type(samples.datasets[part]).__name__ for part in (0, 1)]
    assert shares == ["VideoTriplets", "StillPairs"] and samples.shares.tolist() == [0.5, 0.5]
    for index in range(6):
        assert samples[index].frames.shape == (2, 3, 64, 96)
        assert samples[index].true_masks.shape == (2, 2, 64, 96)


def test_further_videos_take_their_share_of_the_video_samples(video_config, draw_videos):
    further = draw_videos({"one": MOVES, "two": MOVES})
    config = replace(video_config, data=(*video_config.data, further), videos_share=0.2)
    davis, videos, stills = (samples := build_samples(config)).datasets
    assert type(stills).__name__ == "StillPairs" and samples.shares.tolist() == pytest.approx([0.4, 0.1, 0.5])
    assert {item.annotation_paths[0].parents[3].name for item in videos.videos} == {"videos"}
    assert [item.single_object for item in videos.videos] == [False, False], "each label of theirs is an object"
    assert all(item.single_object for item in davis.videos)
    only = build_samples(replace(config, videos_share=1.0)).datasets
    assert [part.seed for part in only] == [videos.seed, stills.seed]
    assert [part.seed for part in build_samples(video_config).datasets] == [davis.seed, stills.seed]


def test_further_videos_do_without_davis(video_config, draw_videos):
    further = draw_videos({"one": MOVES})
    (alone,) = build_samples(replace(video_config, data=(further,), stills_share=0.0, strangers=0.0)).datasets
    assert len(alone.videos) == 1 and build_validation(replace(video_config, data=(further,), validate_every=5)) is None


def test_the_mixtures_choice_says_nothing_about_the_still_that_is_chosen(video_config):
    """One seed for all parts would paste either all stills of the mixture or none: both draw the same first number."""
    mixture = build_samples(video_config)
    assert len({mixture.seed, *(part.seed for part in mixture.datasets)}) == 3


def test_the_seed_decides_the_weights_that_are_left_random(video_config):
    one = build_model(video_config).state_dict()
    torch.manual_seed(99)
    before = torch.random.get_rng_state()
    same, other = (build_model(config).state_dict() for config in (video_config, replace(video_config, seed=1)))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not all(torch.equal(one[name], other[name]) for name in one)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_no_share_of_stills_is_video_only(video_config):
    (videos,) = build_samples(replace(video_config, stills_share=0.0, strangers=0.0)).datasets
    assert type(videos).__name__ == "VideoTriplets" and videos.encounters.stills is None


def test_the_seed_decides_the_samples(video_config):
    first, again = (build_samples(video_config)[3] for _ in range(2))
    other = build_samples(replace(video_config, seed=1))[3]
    assert torch.equal(first.frames, again.frames) and not torch.equal(first.frames, other.frames)


def test_validation_needs_an_interval_and_davis(video_config, draw_stills):
    assert build_validation(video_config) is None
    assert len(build_validation(replace(video_config, validate_every=5)).sequences) == 2
    stills_only = replace(video_config, stage="stills", validate_every=5, data=(draw_stills(),))
    assert build_validation(stills_only) is None


def test_a_stage_starts_from_a_weights_file(video_config, tmp_path):
    save_weights(build_model(video_config), tmp_path / "start.safetensors", half=False)
    one, two = (build_model(replace(video_config, init=str(tmp_path / "start.safetensors"))) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), two.state_dict().values(), strict=True))


ABLATIONS = [{"ranking": "none"}, {"ranking": "maximum"}, {"correlation": False}, {"previous_mask": False}]


@pytest.mark.parametrize("changes", ABLATIONS)
def test_an_ablation_is_trained_and_opened_as_what_it_is(video_config, changes):
    weights = train(replace(video_config, steps=1, batch=1, **changes))
    assert all(getattr(open_model(weights).config, name) == value for name, value in changes.items())


def test_an_ablation_does_not_start_from_another_networks_weights(video_config, tmp_path):
    save_weights(build_model(video_config), tmp_path / "start.safetensors")
    with pytest.raises(ValueError, match="does not fit this model"):
        build_model(replace(video_config, init=str(tmp_path / "start.safetensors"), ranking="maximum"))


def test_a_whole_stage_from_files_to_weights_that_load(video_config):
    config = replace(video_config, steps=2, batch=2, rollout=2, log_every=1, validate_every=2, validation_frames=4)
    weights = train(config)
    assert read_metadata(weights)["step"] == "2"
    RANet.lite(weights=weights)
    RANet.lite(weights=config.out / "best.safetensors")
    with open(config.out / "validation.csv") as file:
        (row,) = csv.DictReader(file)
    assert row["step"] == "2" and 0 <= float(row["J&F"]) <= 1


def test_the_matching_stage_improves_the_maps_and_leaves_the_rest(video_config):
    config = replace(video_config, stage="matching", frozen_stages=5, steps=2, batch=2, warmup=0, average=0.0)
    before = build_model(config).state_dict()
    after = open_model(train(replace(config, validate_every=2, validation_frames=3))).state_dict()
    changed = {name for name in before if not torch.equal(before[name].half(), after[name].half())}
    assert changed and all(name.startswith(("encoder.reduce", "encoder.merge")) for name in changed)
    assert (config.out / "validation.csv").is_file()


def test_the_matching_stage_learns_from_stills_alone_as_well(video_config, draw_stills):
    samples = build_samples(replace(video_config, stage="matching", data=(draw_stills(),)))
    assert type(samples).__name__ == "StillPairs"


def test_strangers_in_the_videos_are_of_the_stills(video_config):
    video, stills = build_samples(replace(video_config, strangers=0.5)).datasets
    assert video.encounters.stills is stills and video.encounters.chances.strangers == 0.5
    (video,) = build_samples(replace(video_config, strangers=0.5, stills_share=0.0)).datasets
    assert len(video.encounters.stills) == len(stills)


def test_options_of_the_videos_reach_them(video_config):
    chosen = {"transplant": 0.1, "vanish": 0.2, "companion": 0.3, "passing": 0.4, "compound": 0.5, "hide": 0.6}
    videos, _ = build_samples(replace(video_config, **chosen)).datasets
    assert {name: getattr(videos.encounters.chances, name) for name in chosen} == chosen
