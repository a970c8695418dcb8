"""What may happen to a video's objects (ranet_edu/datasets/encounters.py)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

from ranet_edu.datasets import encounters as encounters_module
from ranet_edu.datasets.augment import Pose, Window
from ranet_edu.datasets.davis import DavisDataset
from ranet_edu.datasets.encounters import Chances
from ranet_edu.datasets.samples import DISTRACTOR, Sample, Scene, View, render
from ranet_edu.datasets.stills import StillPairs, find_stills, photo_layer
from ranet_edu.datasets.triplets import VideoTriplets
from ranet_edu.datasets.video_scenes import video_scene

CANVAS = (64, 112)


def same(a: Sample, b: Sample) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def triplets(root: Path, objects: int = 1, stills: StillPairs | None = None, **chances: float) -> VideoTriplets:
    return VideoTriplets(root, "train", CANVAS, objects, year="2017", chances=Chances(**chances), stills=stills)


def test_a_chance_is_a_probability() -> None:
    with pytest.raises(ValueError, match="hide is 1.5; it must lie between 0 and 1"):
        Chances(hide=1.5)


class TestTransplanted:
    def scenes(self, davis: Path, monkeypatch: pytest.MonkeyPatch, double: float) -> list[Scene]:
        """Three moments of the video with one disc, before the video with three."""
        monkeypatch.setattr(encounters_module, "DOUBLE", double)
        videos = triplets(davis)
        leaving = videos.videos["leaving"]
        scenes = [video_scene(leaving, frame, [1], Pose(), 1) for frame in (0, 7, 8)]
        return videos.encounters.transplanted(np.random.default_rng(2), leaving, scenes)

    @staticmethod
    def seen(scene: Scene) -> View:
        return render(scene, Window(0, 0, 175, 100), (100, 175))

    def test_the_other_videos_objects_are_distractors(self, davis: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for scene in self.scenes(davis, monkeypatch, double=0):
            view = self.seen(scene)
            disc = view.masks[0]
            assert 1000 < disc.sum() < np.pi * 22**2  # its outermost pixels are left behind
            colours = {tuple(np.round(view.image[view.distractor], -1)[i]) for i in range(0, view.distractor.sum(), 9)}
            assert view.distractor.sum() > 1000 and len(colours) >= 2

    def test_a_double_looks_like_the_object_and_moves_otherwise(
        self, davis: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        plain, doubled = (self.scenes(davis, monkeypatch, double) for double in (0, 1))
        places = []
        for before, scene in zip(plain, doubled, strict=True):
            (double,) = [layer for layer in scene.layers if layer.cut_out and layer.slots == (DISTRACTOR,)]
            assert len(scene.layers) == len(before.layers) + 1
            places.append((*double.pose.shift, double.pose.rotation))
            alone = self.seen(replace(scene, layers=[scene.layers[0], double]))
            red = np.abs(alone.image.astype(int) - (250, 40, 40)).sum(-1) < 20
            assert red[alone.distractor].sum() > 300
        assert places[0] != places[1] == places[2]

    def test_a_double_never_covers_the_object(self, davis: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        plain, doubled = (self.scenes(davis, monkeypatch, double) for double in (0, 1))
        for before, scene in zip(plain, doubled, strict=True):
            assert (self.seen(before).masks == self.seen(scene).masks).all()

    def test_a_double_is_the_object_that_a_video_lacks(self, davis: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(encounters_module, "DOUBLE", 1)
        videos = triplets(davis, objects=2)
        leaving = videos.videos["leaving"]
        scenes = [video_scene(leaving, frame, [1], Pose(), 2) for frame in (0, 7, 8)]
        seen = 0  # now and then it stands outside of the frame
        for seed in range(8):
            moved = videos.encounters.transplanted(np.random.default_rng(seed), leaving, scenes)
            assert [[layer.slots for layer in scene.layers if layer.cut_out] for scene in moved] == [[(1,), (0,)]] * 3
            for view in map(self.seen, moved):
                if view.masks[1].sum() > 300:
                    assert np.abs(np.median(view.image[view.masks[1]], axis=0) - (250, 40, 40)).max() < 20
                    seen += 1
        assert seen > 5

    def test_a_double_is_part_of_a_compound(self, davis: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(encounters_module, "DOUBLE", 1)
        videos = triplets(davis, objects=2, compound=1.0)
        leaving = videos.videos["leaving"]
        scenes = [video_scene(leaving, frame, [1], Pose(), 2) for frame in (0, 7, 8)]
        moved = videos.encounters.transplanted(np.random.default_rng(0), leaving, scenes)
        assert [[layer.slots for layer in scene.layers if layer.cut_out] for scene in moved] == [[(0,), (0,)]] * 3
        assert not any(self.seen(scene).masks[1].any() for scene in moved)

    @pytest.mark.parametrize("double", [0, 1])
    def test_it_may_vanish_after_the_previous_mask_and_come_back(
        self, davis: Path, monkeypatch: pytest.MonkeyPatch, double: int
    ) -> None:
        monkeypatch.setattr(encounters_module, "DOUBLE", double)
        videos = triplets(davis, vanish=1.0)
        leaving = videos.videos["leaving"]
        scenes = [video_scene(leaving, frame, [1], Pose(), 1) for frame in (0, 7, 8, 8)]
        ways = set()
        for seed in range(8):
            views = list(map(self.seen, videos.encounters.transplanted(np.random.default_rng(seed), leaving, scenes)))
            assert views[2].distractor.sum() > 1000  # what is left of the scene is left in it
            ways.add(tuple(bool(view.masks.any()) for view in views))
        assert ways == {(True, True, False, False), (True, True, False, True)}

    def test_videos_of_two_folders_may_have_the_same_name(self, drawn: SimpleNamespace, tmp_path: Path) -> None:
        frames = [drawn.discs((100, 175), (40 + 8 * t, 50)) for t in range(3)]
        roots = [drawn.save_davis(tmp_path / folder, {"disc": frames}) for folder in ("mine", "yours")]
        mine, yours = (DavisDataset(root, year="2017", split="train")[0] for root in roots)
        videos = VideoTriplets([mine, yours], size=CANVAS, chances=Chances(transplant=1.0)).encounters
        assert (videos._others(mine), videos._others(yours)) == ([1], [0])
        scenes = [video_scene(mine, frame, [1], Pose(), 1) for frame in (0, 1, 2)]
        moved = videos.happen(np.random.default_rng(0), mine, scenes)
        assert all(len(scene.layers) > 1 for scene in moved)

    def test_the_same_video_twice_is_no_other(self, davis: Path) -> None:
        twice = [DavisDataset(davis, year="2017", split="train")["leaving"] for _ in range(2)]
        VideoTriplets(twice, size=CANVAS, chances=Chances(transplant=1.0))[3]

    def test_one_video_stays_where_it_is(self, davis: Path) -> None:
        alone = [DavisDataset(davis, year="2017", split="train")["leaving"]]
        samples = [VideoTriplets(alone, size=CANVAS, chances=Chances(transplant=share))[3] for share in (0.0, 1.0)]
        assert same(*samples)

    def test_a_share_of_the_samples(self, davis: Path) -> None:
        """With share 0.5 each sample is that of share 0 or that of share 1, some of either kind."""
        half, none, every = (triplets(davis, transplant=share) for share in (0.5, 1e-9, 1.0))
        kinds = [(same(half[i], none[i]), same(half[i], every[i])) for i in range(12)]
        assert set(kinds) == {(True, False), (False, True)}


class TestPassing:
    @pytest.fixture
    def pairs(self, davis: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[View], list[View]]]:
        """What four frames of one disc show without and with something unknown that goes past; several draws."""
        return self.drawn(davis, monkeypatch, known=0, wrong=0)

    def drawn(self, davis: Path, monkeypatch: pytest.MonkeyPatch, known: float, wrong: float, objects: int = 1,
              compound: float = 0.0) -> list[tuple[list[View], list[View]]]:
        monkeypatch.setattr(encounters_module, "KNOWN", known)
        monkeypatch.setattr(encounters_module, "MISTAKEN", wrong)
        videos = triplets(davis, passing=1.0, objects=objects, compound=compound)
        leaving = videos.videos["leaving"]
        scenes = [video_scene(leaving, frame, [1], Pose(), objects) for frame in (0, 0, 1, 2, 3)]
        drawn = (videos.encounters.passed(np.random.default_rng(seed), leaving, scenes) for seed in range(12))
        return [(self.seen(scenes), self.seen(passed)) for passed in drawn]

    @staticmethod
    def seen(scenes: list[Scene]) -> list[View]:
        return [render(scene, Window(0, 0, 175, 100), (100, 175)) for scene in scenes]

    def test_the_template_shows_nothing_of_it(self, pairs: list) -> None:
        for before, after in pairs:
            assert np.array_equal(before[0].image, after[0].image) and not after[0].distractor.any()

    def test_it_hides_the_object_where_it_is_in_front(self, pairs: list) -> None:
        hidden = [[(a.masks & ~b.masks).sum() for a, b in zip(*pair, strict=True)] for pair in pairs]
        for before, after in pairs:
            for plain, passed in zip(before, after, strict=True):
                assert np.array_equal(passed.masks[0], plain.masks[0] & ~passed.distractor)
        assert sum(max(counts) > 100 for counts in hidden) > 3

    def test_it_moves(self, pairs: list) -> None:
        moving = 0
        for _, after in pairs:
            places = [np.argwhere(view.distractor).mean(0) for view in after[1:] if view.distractor.sum() > 300]
            moving += len(places) > 1 and np.abs(places[0] - places[-1]).max() > 2
        assert moving > 6

    def test_it_is_the_double_or_something_else(self, pairs: list) -> None:
        """The disc is red; the other video's discs are red, green and yellow."""
        reds = set()
        for _, after in pairs:
            inside = after[2].image[after[2].distractor]
            if len(inside) > 200:
                reds.add(bool(np.abs(np.median(inside, axis=0) - (250, 40, 40)).max() < 20))
        assert reds == {True, False}

    def test_the_template_may_know_it(self, davis: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for before, after in self.drawn(davis, monkeypatch, known=1, wrong=0):
            assert np.array_equal(after[0].masks[0], before[0].masks[0] & ~after[0].distractor)
            assert after[0].distractor.any()  # partly outside of the frame in some

    def test_where_there_is_room_it_is_an_object(self, davis: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        crossing = 0
        for before, after in self.drawn(davis, monkeypatch, known=1, wrong=0, objects=2):
            assert after[0].masks[1].any() and not any(view.distractor.any() for view in after)
            for plain, passed in zip(before, after, strict=True):
                assert np.array_equal(passed.masks[0], plain.masks[0] & ~passed.masks[1])
            crossing += max((a.masks[0] & ~b.masks[0]).sum() for a, b in zip(before, after, strict=True)) > 100
        assert crossing > 3

    def test_of_a_compound_it_is_a_part(self, davis: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for before, after in self.drawn(davis, monkeypatch, known=1, wrong=0, objects=2, compound=1):
            for plain, passed in zip(before, after, strict=True):
                assert not (plain.masks[0] & ~passed.masks[0]).any() and not passed.masks[1].any()
            assert (after[0].masks[0] & ~before[0].masks[0]).any()

    @pytest.mark.parametrize("known", [0, 1])
    def test_the_previous_masks_may_take_one_for_the_other(
        self, davis: Path, monkeypatch: pytest.MonkeyPatch, known: int
    ) -> None:
        right, wrong = (self.drawn(davis, monkeypatch, known, share, objects=2) for share in (0, 1))
        taken = 0
        for (_, rightly), (_, wrongly) in zip(right, wrong, strict=True):
            for now, then in zip(rightly[:1] + rightly[2:], wrongly[:1] + wrongly[2:], strict=True):
                assert np.array_equal(now.masks, then.masks)
            thing, left = (view.masks[1] if known else view.distractor for view in (rightly[1], wrongly[1]))
            if thing.any() and np.array_equal(wrongly[1].masks[0], thing):
                assert np.array_equal(left, rightly[1].masks[0])
                taken += 1
        assert 2 < taken < 12  # never where it is the object's double, which only the previous mask can tell from it

    def test_a_share_of_the_samples(self, davis: Path) -> None:
        half, none, every = (triplets(davis, passing=share) for share in (0.5, 1e-9, 1.0))
        kinds = {(same(half[i], none[i]), same(half[i], every[i])) for i in range(12)}
        assert {(True, False), (False, True)} <= kinds and (False, False) not in kinds  # both: it went past unseen

    def test_none_unless_asked_for(self, davis: Path) -> None:
        assert same(triplets(davis)[3], triplets(davis, passing=0.0)[3])

    def test_a_frame_without_the_object(self, davis: Path) -> None:
        videos = triplets(davis, passing=1.0)
        empty = [video_scene(videos.videos["leaving"], frame, [1], Pose(), 1) for frame in (0, 4, 5)]
        assert videos.encounters.passed(np.random.default_rng(0), videos.videos["leaving"], empty) == empty


class TestHide:
    def drawn(self, davis: Path, monkeypatch: pytest.MonkeyPatch, not_yet: float = 0, wrong: float = 0,
              frames: tuple[int, ...] = (0, 0, 1, 2, 3)) -> list[tuple[list[View], list[View]]]:
        """What frames of one disc show without and with something larger that comes in front; several draws."""
        for name, share in {"LARGE_TWIN": 0, "NOT_YET": not_yet, "MISTAKEN": wrong}.items():
            monkeypatch.setattr(encounters_module, name, share)
        videos = triplets(davis, hide=1.0)
        leaving = videos.videos["leaving"]
        scenes = [video_scene(leaving, frame, [1], Pose(), 1) for frame in frames]
        drawn = (videos.encounters.hidden(np.random.default_rng(seed), leaving, scenes) for seed in range(12))
        return [(TestPassing.seen(scenes), TestPassing.seen(hidden)) for hidden in drawn]

    def test_it_hides_what_is_behind_it_and_nothing_else(self, davis: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        whole = 0
        for before, after in self.drawn(davis, monkeypatch):
            assert np.array_equal(after[0].image, before[0].image)  # the template doesn't know it
            for plain, view in zip(before, after, strict=True):
                assert np.array_equal(view.masks[0], plain.masks[0] & ~view.distractor)
            whole += any(not view.masks.any() for view in after)
        assert whole > 3

    def test_it_is_larger_than_the_object(self, davis: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        sizes = [max(view.distractor.sum() for view in after) / before[0].masks.sum()
                 for before, after in self.drawn(davis, monkeypatch)]
        assert np.median(sizes) > 2

    def test_it_moves_across(self, davis: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """From either side; the object comes to light or goes out of sight while the rollout lasts."""
        changes = set()
        for _, after in self.drawn(davis, monkeypatch):
            first, last = after[1].masks.sum(), after[-1].masks.sum()
            changes.add(int(np.sign(int(last) - int(first))))
        assert {-1, 1} <= changes

    def test_it_may_not_be_there_yet(self, davis: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for before, after in self.drawn(davis, monkeypatch, not_yet=1):
            assert np.array_equal(after[1].masks, before[1].masks) and not after[1].distractor.any()
            assert any(view.distractor.any() for view in after[2:])

    def test_the_previous_masks_may_have_claimed_it(self, davis: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        right, wrong = (self.drawn(davis, monkeypatch, wrong=share) for share in (0, 1))
        claimed = 0
        for (_, rightly), (_, wrongly) in zip(right, wrong, strict=True):
            assert all(np.array_equal(a.masks, b.masks) for a, b in zip(rightly[2:], wrongly[2:], strict=True))
            claimed += bool(rightly[1].distractor.any()) and np.array_equal(wrongly[1].masks[0], rightly[1].distractor)
        assert 2 < claimed < 12  # never of the object's own video: it may look the same

    def test_a_frame_without_the_object(self, davis: Path) -> None:
        videos = triplets(davis, hide=1.0)
        empty = [video_scene(videos.videos["leaving"], frame, [1], Pose(), 1) for frame in (0, 4, 5)]
        assert videos.encounters.hidden(np.random.default_rng(0), videos.videos["leaving"], empty) == empty

    def test_a_share_of_the_samples(self, davis: Path) -> None:
        half, none, every = (triplets(davis, hide=share) for share in (0.5, 1e-9, 1.0))
        kinds = {(same(half[i], none[i]), same(half[i], every[i])) for i in range(12)}
        assert {(True, False), (False, True)} <= kinds


class TestCompanion:
    def drawn(self, davis: Path, monkeypatch: pytest.MonkeyPatch, part: float, wrong: float = 0.0,
              frames: tuple[int, ...] = (0, 0, 1, 2, 3)) -> list[tuple[list[View], list[View]]]:
        """What frames of one disc show without and with another disc that moves along; several draws."""
        for name, share in {"TWIN": 0, "PART": part, "MISTAKEN": wrong}.items():
            monkeypatch.setattr(encounters_module, name, share)
        videos = triplets(davis, companion=1.0)
        leaving = videos.videos["leaving"]
        scenes = [video_scene(leaving, frame, [1], Pose(), 1) for frame in frames]
        drawn = (videos.encounters.accompanied(np.random.default_rng(seed), leaving, scenes) for seed in range(12))
        return [(TestPassing.seen(scenes), TestPassing.seen(accompanied)) for accompanied in drawn]

    def test_it_is_part_of_the_object_or_the_object_is_what_it_was(
        self, davis: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for part in (0, 1):
            drawn = self.drawn(davis, monkeypatch, part)
            for plain, view in (pair for moments in drawn for pair in zip(*moments, strict=True)):
                if part:
                    assert (plain.masks[0] <= view.masks[0]).all() and not view.distractor.any()
                else:
                    assert np.array_equal(view.masks[0], plain.masks[0] & ~view.distractor) and view.distractor.any()

    def test_it_moves_along(self, davis: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The disc moves 24 pixels to the right, and turning moves a companion of its size by a few."""
        ways = []
        for _, views in self.drawn(davis, monkeypatch, part=0):
            first, last = (np.argwhere(view.distractor).mean(0) for view in (views[0], views[-1]))
            ways.append(last - first)
        assert np.abs(np.median(ways, axis=0) - (0, 24)).max() < 4

    def test_it_touches_the_object(self, davis: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        near = np.ones((41, 41), np.uint8)
        for _, views in self.drawn(davis, monkeypatch, part=0):
            for view in views:
                assert (cv2.dilate(view.masks[0].astype(np.uint8), near)[view.distractor] > 0).any()

    def test_it_leaves_with_the_object(self, davis: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The template shows the object, then it is gone for a frame; a template without it is left as it is."""
        for _, views in self.drawn(davis, monkeypatch, part=1, frames=(0, 3, 4, 6)):
            assert [view.masks[0].any() for view in views] == [True, True, False, True]
        for _, after in self.drawn(davis, monkeypatch, part=0, frames=(4, 3, 2)):
            assert not any(view.distractor.any() for view in after)

    @pytest.mark.parametrize("part", [0, 1])
    def test_the_previous_mask_may_have_lost_or_claimed_it(
        self, davis: Path, monkeypatch: pytest.MonkeyPatch, part: int
    ) -> None:
        right, wrong = (self.drawn(davis, monkeypatch, part, share) for share in (0, 1))
        taken = 0
        for (_, rightly), (_, wrongly) in zip(right, wrong, strict=True):
            assert all(np.array_equal(a.masks, b.masks) for a, b in zip(rightly[2:], wrongly[2:], strict=True))
            lost, claimed = (rightly[1], wrongly[1])[:: 1 if part else -1]
            taken += int(lost.masks.sum() > claimed.masks.sum() and claimed.distractor.any())
        assert 2 < taken < 12  # never of the object's own video: it may look the same

    def test_a_share_of_the_samples(self, davis: Path) -> None:
        half, none, every = (triplets(davis, companion=share) for share in (0.5, 1e-9, 1.0))
        kinds = {(same(half[i], none[i]), same(half[i], every[i])) for i in range(12)}
        assert {(True, False), (False, True)} <= kinds


class TestStrangers:
    """Stills of green squares on blue: nothing in the videos looks like them."""

    GREEN, BLUE, RED = (30, 200, 30), (20, 20, 220), (250, 40, 40)

    @pytest.fixture
    def folder(self, drawn: SimpleNamespace, tmp_path: Path) -> Path:
        for name, size in {"wide": (85, 200), "tall": (200, 85)}.items():
            labels = np.zeros(size, np.uint8)
            labels[size[0] // 2 - 15 : size[0] // 2 + 15, size[1] // 2 - 15 : size[1] // 2 + 15] = 1
            image = np.where(labels[..., None] == 1, self.GREEN, self.BLUE).astype(np.uint8)
            drawn.save_still(tmp_path, name, labels, image)
        return tmp_path

    def like(self, pixels: np.ndarray, colour: tuple[int, int, int]) -> bool:
        return np.abs(np.median(pixels.reshape(-1, 3), axis=0) - colour).max() < 20

    def test_a_transplanted_object_stands_before_a_photo(
        self, davis: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(encounters_module, "DOUBLE", 0)
        videos = triplets(davis, stills=StillPairs(folder), strangers=1.0)
        leaving = videos.videos["leaving"]
        scenes = [video_scene(leaving, frame, [1], Pose(), 1) for frame in (0, 7, 8)]
        squares = 0
        for seed in range(6):
            moved = [TestTransplanted.seen(scene) for scene in
                     videos.encounters.transplanted(np.random.default_rng(seed), leaving, scenes)]
            for view in moved:
                assert self.like(view.image[view.masks[0]], self.RED)
                assert self.like(view.image[~view.masks[0] & ~view.distractor], self.BLUE)
                if view.distractor.sum() > 200:
                    assert self.like(view.image[view.distractor], self.GREEN)
                    squares += 1
        assert squares > 6

    @pytest.mark.parametrize(("twin", "colour"), [(0, GREEN), (1, RED)])
    def test_what_goes_past_is_a_stills_object_or_the_double(
        self, davis: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, twin: int, colour: tuple[int, int, int]
    ) -> None:
        for name, share in {"TWIN": twin, "KNOWN": 1, "MISTAKEN": 0}.items():
            monkeypatch.setattr(encounters_module, name, share)
        videos = triplets(davis, stills=StillPairs(folder), strangers=1.0, passing=1.0, objects=2)
        leaving = videos.videos["leaving"]
        scenes = [video_scene(leaving, frame, [1], Pose(), 2) for frame in (0, 0, 1, 2)]
        seen = 0
        for seed in range(8):
            for view in TestPassing.seen(videos.encounters.passed(np.random.default_rng(seed), leaving, scenes)):
                if view.masks[1].sum() > 200:
                    assert self.like(view.image[view.masks[1]], colour)
                    seen += 1
        assert seen > 8

    def test_a_photo_fills_the_frame(self, folder: Path) -> None:
        rng = np.random.default_rng(0)
        for still in find_stills(folder):
            for size in ((100, 175), (175, 100)):
                layer = replace(photo_layer(rng, still, size), pose=Pose())
                view = render(Scene([layer], size, 1), Window(0, 0, size[1], size[0]), size)
                assert view.valid.all() and not view.masks.any()

    def test_a_share_of_the_samples(self, davis: Path, folder: Path) -> None:
        choices = {"transplant": 1.0, "stills": StillPairs(folder)}
        half, none, every = (triplets(davis, strangers=share, **choices) for share in (0.5, 0.0, 1.0))
        kinds = {(same(half[i], none[i]), same(half[i], every[i])) for i in range(12)}
        assert kinds == {(True, False), (False, True)}

    def test_there_must_be_stills(self, davis: Path) -> None:
        with pytest.raises(ValueError, match=r"strangers is 0.5; .* there are none"):
            triplets(davis, strangers=0.5)
