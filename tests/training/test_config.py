import argparse
from pathlib import Path

import pytest

from ranet_edu.training.config import TrainingConfig, add_arguments, check_same_run
from ranet_edu.training.stages import make_config


def parse(*options):
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return vars(parser.parse_args(["--data", "a", "b", "--out", "o", *options]))


def test_options_not_given_keep_the_recipe_of_the_preset():
    assert set(parse()) == {"data", "out"}
    config = make_config("stills", **parse("--preset", "paper"))
    assert (config.optimizer, config.learning_rate, config.size, config.iou) == ("adam", 1e-5, (480, 864), 0)


def test_options_given_win():
    config = make_config("video", **parse("--size", "64", "96", "--no-detach", "--iou", "0.5", "--optimizer", "adam"))
    assert (config.size, config.detach, config.iou, config.optimizer) == ((64, 96), False, 0.5, "adam")
    assert (config.data, config.out) == ((Path("a"), Path("b")), Path("o"))


WRONG = {"steps": 0, "batch": 0, "stills_share": 1.5, "learning_rate": -1.0, "seed": -1, "validate_every": -1}


@pytest.mark.parametrize("wrong", [{name: value} for name, value in WRONG.items()] + [{"size": (0, 96)}])
def test_numbers_without_sense_are_refused_by_name(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        make_config("stills", out=Path("o"), data=(), **wrong)


@pytest.mark.parametrize("frames", [-1, 1, 2])
def test_a_validation_needs_a_frame_that_counts(frames):
    with pytest.raises(ValueError, match=f"validation_frames is {frames}; it must be 0 .all. or at least 3"):
        make_config("video", out=Path("o"), data=(), validation_frames=frames)
    assert make_config("video", out=Path("o"), data=(), validation_frames=3).validation_frames == 3


def test_choices_that_leave_nothing_to_learn_are_refused():
    with pytest.raises(ValueError, match="burn_in is 2; it must be less than rollout, 2"):
        make_config("video", out=Path("o"), data=(), rollout=2, burn_in=2)
    with pytest.raises(ValueError, match="matching stage .* without correlation"):
        make_config("matching", out=Path("o"), data=(), correlation=False)
    with pytest.raises(ValueError, match="frozen_stages is 6; .* nothing to learn"):
        make_config("matching", out=Path("o"), data=(), frozen_stages=6)


def test_a_run_may_be_continued_longer_and_elsewhere():
    before = make_config("stills", out=Path("o"), data=("/here/ccp", "/here/horses")).portable()
    check_same_run(before, make_config("stills", out=Path("p"), data=("/there/ccp", "/there/horses"), steps=9))


def test_a_run_with_other_options_is_refused_with_all_their_names():
    before = make_config("stills", out=Path("o"), data=("ccp", "horses")).portable()
    with pytest.raises(ValueError) as refusal:
        check_same_run(before, make_config("stills", out=Path("o"), data=("ccp",), seed=3, batch=8))
    message = str(refusal.value)
    assert "seed: was 0, now 3" in message and "batch: was 4, now 8" in message and "data" in message
    assert "learning_rate" not in message


def test_a_run_begun_before_there_was_an_option_had_its_default():
    before = make_config("stills", out=Path("o"), data=("ccp",)).portable()
    del before["ranking"], before["correlation"]
    check_same_run(before, make_config("stills", out=Path("o"), data=("ccp",)))
    with pytest.raises(ValueError, match="ranking: was attention, now none"):
        check_same_run(before, make_config("stills", out=Path("o"), data=("ccp",), ranking="none"))


def test_help_says_what_an_option_is_if_it_is_not_given():
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    said = {action.dest: action.help for action in parser._actions}
    for preset in ("lite", "paper"):
        for stage in ("matching", "stills", "video"):
            config = make_config(stage, preset, out=Path("o"), data=())
            assert f"({TrainingConfig.seed}" in said["seed"] and said["data"][-1] != ")"
            if config.transplant:
                assert f"{preset} {stage} {config.transplant}" in said["transplant"]
    assert said["size"].endswith("(256 448; lite video 320 560; paper 480 864)")
    assert said["precision"].endswith("(no; lite bf16)")
    assert said["channels_last"].endswith("(no)")
