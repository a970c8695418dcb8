"""ranet_edu.datasets.synthetic: masks say what the frames show, clips repeat by seed, the samples are such clips."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ranet_edu.datasets import synthetic
from ranet_edu.datasets.davis import DavisDataset
from ranet_edu.datasets.stills import StillPairs, find_stills
from ranet_edu.datasets.synthetic import (
    BACKGROUNDS,
    GROUNDS,
    OBJECTS,
    SAMPLES,
    Sway,
    SyntheticClip,
    synthetic_clip,
    write_clip,
    write_stills,
)
from ranet_edu.video.frames import read_image
from ranet_edu.video.masks import read_mask

SMALL = (120, 214)
DATA = Path(__file__).parents[2] / "data"
STILL = Sway(())


def small_clip(seed, objects=1, frames=60):
    return synthetic_clip(seed, objects, frames, SMALL)


# --- what a clip is


@pytest.mark.parametrize("objects", [1, 2, 3, 4])
def test_shapes_types_and_labels(objects):
    clip = small_clip(5, objects)
    frame, labels = clip[7]
    assert (frame.shape, frame.dtype, labels.shape, labels.dtype) == ((*SMALL, 3), np.uint8, SMALL, np.uint8)
    assert len(clip) == 60 and len(set(clip.names)) == objects and set(clip.names) <= set(OBJECTS)
    assert np.array_equal(clip.frame(7), frame) and np.array_equal(clip.mask(7), labels)


@pytest.mark.parametrize("objects", [1, 2, 3, 4])
def test_every_object_is_seen_in_the_first_frame_and_none_but_them(objects):
    for seed in range(12):
        areas = np.bincount(small_clip(seed, objects).mask(0).ravel(), minlength=objects + 1) / np.prod(SMALL)
        assert len(areas) == objects + 1, f"seed {seed} has other labels"
        assert areas[1:].min() > 0.005 and areas[0] > 0.5, f"seed {seed}: {areas}"


def test_all_objects_and_backgrounds_come_up():
    clips = [small_clip(seed, 2) for seed in range(30)]
    assert {name for clip in clips for name in clip.names} == set(OBJECTS)
    assert {clip.background for clip in clips} == set(BACKGROUNDS)


def test_equal_arguments_give_equal_clips_whatever_was_asked_before():
    first, second = small_clip(9, 3), small_clip(9, 3)
    backwards = {index: second[index] for index in (40, 20, 0)}
    for index in (0, 20, 40):
        assert all(np.array_equal(a, b) for a, b in zip(first[index], backwards[index], strict=True))
    assert not np.array_equal(first.frame(0), small_clip(10, 3).frame(0))
    assert np.array_equal(small_clip(np.int64(9), 3).frame(0), first.frame(0))


def test_a_longer_clip_begins_like_a_shorter_one():
    assert np.array_equal(small_clip(4, 2, frames=10).frame(9), small_clip(4, 2, frames=200).frame(9))


def test_another_size_shows_the_same_scene():
    small, large = small_clip(4, 3), synthetic_clip(4, 3, size=(360, 642))
    for index in (0, 30):
        shrunk = large.mask(index)[1::3, 1::3]
        assert np.mean(shrunk == small.mask(index)) > 0.98


def test_it_is_a_sequence_with_an_end():
    clip = small_clip(1, 1, frames=3)
    assert len(list(clip)) == 3
    assert np.array_equal(clip.frame(-1), clip.frame(2))
    with pytest.raises(IndexError, match=r"frames 0\.\.2"):
        clip[3]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"objects": 0}, "objects"),
        ({"objects": 5}, "objects"),
        ({"frames": 0}, "frames"),
        ({"size": (31, 200)}, "size"),
    ],
)
def test_arguments_out_of_range(arguments, words):
    with pytest.raises(ValueError, match=words):
        synthetic_clip(1, **arguments)


@pytest.mark.parametrize("size", [(32, 32), (33, 61), (200, 90)])
def test_any_size(size):
    frame, labels = synthetic_clip(3, 4, size=size)[11]
    assert frame.shape == (*size, 3) and labels.shape == size


# --- the masks are exact


def flat(clip, white):
    """The clip with object number `white` painted white and all else black, lit evenly."""
    actors = []
    for number, actor in enumerate(clip.actors, start=1):
        cutout = actor.cutout.copy()
        cutout[..., :3] = 255 * (number == white)
        actors.append(replace(actor, cutout=cutout))
    scene = replace(clip.scene, picture=np.zeros_like(clip.scene.picture), light=STILL)
    return SyntheticClip(scene, tuple(actors), clip.names, clip.background, len(clip))


@pytest.mark.parametrize("seed", [2, 3, 8])
def test_a_label_stands_where_its_object_shows(seed):
    """Objects and what covers them count from half a pixel on: own pixels are >= 1/2 x 1/2 white, others <= 1/2."""
    clip = small_clip(seed, 4)
    for number in range(1, 5):
        picture = flat(clip, number)
        for index in (0, 25, 50):
            white, own = picture.frame(index)[..., 0] / 255, clip.mask(index) == number
            assert white[own].min(initial=1) >= 0.24
            assert white[~own].max() <= 0.51


def test_later_objects_hide_earlier_ones():
    clip = synthetic_clip(**SAMPLES["cat-coffee"], size=SMALL)
    coffee, cat = clip.actors[0].layer(59, SMALL), clip.actors[1].layer(59, SMALL)
    covers = [np.zeros(SMALL, bool), np.zeros(SMALL, bool)]
    for cover, layer in zip(covers, (coffee, cat), strict=True):
        cover[layer.place] = layer.coverage >= 0.5
    labels = clip.mask(59)
    assert np.array_equal(labels == 2, covers[1])
    assert np.array_equal(labels == 1, covers[0] & ~covers[1])
    assert np.sum(labels == 1) < 0.5 * np.sum(covers[0])


@pytest.mark.parametrize("seed", range(6))
def test_the_rest_of_the_frame_is_background_darkened_by_shadows_at_most(seed):
    clip = small_clip(seed, 2)
    clip.scene = replace(clip.scene, light=STILL)
    background, frame = clip.scene.background(30).astype(int), clip.frame(30)
    free = np.ones(SMALL, bool)
    for layer in filter(None, clip._layers(30)):
        free[layer.place] &= layer.coverage == 0
    difference = (frame - background)[free]
    if clip.background in GROUNDS:
        assert difference.max() <= 0 and difference.min() < -5
    else:
        assert not difference.any()


# --- the movements


def whole(mask):
    """Whether an object lies inside the frame, so that its centroid is where it is."""
    return mask.any() and not np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]]).any()


@pytest.mark.parametrize("seed", range(8))
def test_objects_move_smoothly_but_do_move(seed):
    """Per frame at most a twentieth of the frame's height, which is 24 pixels at 480p."""
    clip = small_clip(seed)
    masks = [clip.mask(index) for index in range(60)]
    centres = np.array([np.argwhere(mask).mean(0) if whole(mask) else (np.nan, np.nan) for mask in masks])
    steps = np.hypot(*np.diff(centres, axis=0).T)
    assert np.isfinite(steps).sum() > 10 and np.nanmax(steps) < SMALL[0] / 20
    assert (np.nanmax(centres, axis=0) - np.nanmin(centres, axis=0)).max() > SMALL[0] / 20
    assert max(np.mean(a != b) for a, b in zip(masks, masks[1:], strict=False)) < 0.08


def test_objects_turn_grow_and_bend():
    clip = small_clip(32)
    for part, still in (("angle", STILL), ("zoom", STILL), ("turn", STILL), ("ripples", ())):
        stiff = SyntheticClip(clip.scene, (replace(clip.actors[0], **{part: still}),), clip.names, clip.background, 60)
        overlaps = [np.sum(clip.mask(i) & stiff.mask(i)) / np.sum(clip.mask(i) | stiff.mask(i)) for i in (20, 45)]
        assert 0.5 < min(overlaps) < 0.985, f"{part} changes nothing, or too much: {overlaps}"


def test_bending_stays_within_the_box_it_is_computed_in():
    for seed in range(10):
        clip = small_clip(seed, 2)
        for index in (15, 45):
            for layer in filter(None, clip._layers(index)):
                rows, columns = layer.place
                sides = {
                    "top": rows.start > 0 and layer.coverage[0].any(),
                    "bottom": rows.stop < SMALL[0] and layer.coverage[-1].any(),
                    "left": columns.start > 0 and layer.coverage[:, 0].any(),
                    "right": columns.stop < SMALL[1] and layer.coverage[:, -1].any(),
                }
                assert not any(sides.values()), f"seed {seed}, frame {index}: cut off at {sides}"


def test_the_camera_moves():
    clip = small_clip(2)
    seen = [clip.scene.background(index).astype(int) for index in (0, 1, 30)]
    near, far = np.abs(seen[1] - seen[0]).mean(), np.abs(seen[2] - seen[0]).mean()
    assert 0 < near < far


# --- files


def test_a_written_clip_is_a_davis_sequence(tmp_path):
    clip = small_clip(6, 2, frames=3)
    write_clip(clip, tmp_path, "small", quality=95)
    (sequence,) = DavisDataset(tmp_path, year="2017", split="all")
    assert (sequence.name, len(sequence), sequence.size, sequence.object_count) == ("small", 3, SMALL, 2)
    for index in range(3):
        assert np.array_equal(sequence.read_annotation(index), clip.mask(index))
        assert np.abs(sequence.read_frame(index).astype(int) - clip.frame(index)).mean() < 3


@pytest.mark.parametrize("name", SAMPLES)
def test_the_committed_samples_are_what_the_generator_makes(name):
    clip = synthetic_clip(**SAMPLES[name])
    sequence = DavisDataset(DATA / "samples", year="2017")[name]
    assert (len(sequence), sequence.size, sequence.object_count) == (60, clip.size, len(clip.names))
    for index in (0, 31, 59):
        frame, labels = clip[index]
        assert np.array_equal(sequence.read_annotation(index), labels)
        assert np.abs(sequence.read_frame(index).astype(int) - frame).mean() < 2.5


def test_the_samples_splits_and_size():
    names = {"2016": ["cat"], "2017": list(SAMPLES)}
    for year, expected in names.items():
        for split in ("val", "all"):
            path = DATA / "samples" / "ImageSets" / year / f"{split}.txt"
            assert path.read_text().split() == expected
    files = [path for path in (DATA / "samples").rglob("*") if path.is_file()]
    assert len(files) == 3 * 60 * 2 + 4
    assert sum(path.stat().st_size for path in files) <= 6e6


def test_a_sample_shows_what_the_readme_says():
    clip = synthetic_clip(**SAMPLES["cat-coffee"], size=SMALL)
    cat = np.array([np.sum(clip.mask(index) == 2) for index in range(60)])
    assert cat[0] > 0 and cat[-1] > cat[0] and np.sum(cat == 0) > 10
    assert "leaves the frame, comes back" in (DATA / "README.md").read_text()


def test_the_command_writes_the_samples(tmp_path, monkeypatch):
    monkeypatch.setattr(synthetic, "SAMPLES", {"one": {"seed": 1, "objects": 1, "frames": 2, "size": SMALL}})
    monkeypatch.setattr("sys.argv", ["synthetic", "--out", str(tmp_path / "made")])
    synthetic.main()
    assert [sequence.name for sequence in DavisDataset(tmp_path / "made", year="2016")] == ["one"]


def test_every_asset_has_its_origin_and_terms():
    folder = Path(synthetic.__file__).parent / "assets"
    listed = (folder / "README.md").read_text()
    files = [path.relative_to(folder).as_posix() for path in folder.rglob("*.webp")]
    assert sorted(files) == sorted(
        [f"objects/{n}.webp" for n in OBJECTS] + [f"backgrounds/{n}.webp" for n in BACKGROUNDS]
    )
    assert all(f"`{file}`" in listed for file in files)


# --- photographs with masks


def test_stills_are_what_still_pairs_reads(tmp_path):
    write_stills(tmp_path, count=3, size=SMALL)
    stills = find_stills(tmp_path)
    assert [still.labels for still in stills] == [(1,), (1, 2), (1, 2, 3)]
    frame, labels = synthetic_clip(seed=1, objects=2, size=SMALL)[0]
    assert np.array_equal(read_mask(stills[1].mask), labels)
    assert np.abs(read_image(stills[1].image).astype(int) - frame).mean() < 8  # JPEG
    assert StillPairs(tmp_path, (64, 112))[0].template.shape == (3, 64, 112)


def test_stills_repeat(tmp_path):
    for name in ("first", "second"):
        write_stills(tmp_path / name, count=2, size=SMALL)
    for path in (tmp_path / "first").rglob("*.*"):
        assert path.read_bytes() == (tmp_path / "second" / path.relative_to(tmp_path / "first")).read_bytes()
