"""Image/mask folders and the pairs made of them (ranet_edu/datasets/stills.py)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from ranet_edu.datasets import stills
from ranet_edu.datasets.augment import mask_box
from ranet_edu.datasets.samples import DISTRACTOR, Recipe, Sample, Scene, scene_box
from ranet_edu.datasets.stills import (
    StillPairs,
    _moments,
    cut_out,
    find_stills,
    joined,
    kept_in_memory,
    read_still,
    scene_in_photo,
    shuffled,
    split,
)

CANVAS = (64, 112)
CLEAN = Recipe(colour=0, degrade=0)


@pytest.fixture(scope="module")
def folder(drawn: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four photos: one object, three objects, one with void around it, and one too small to count."""
    folder = tmp_path_factory.mktemp("stills")
    drawn.save_still(folder, "one", drawn.discs((120, 160), (80, 60)))
    drawn.save_still(folder, "three", drawn.discs((120, 200), (40, 60), (100, 60), (160, 60)))
    voided = drawn.discs((200, 120), (60, 100), radius=30)
    voided[60:140, :20] = 255
    drawn.save_still(folder, "void", voided)
    drawn.save_still(folder, "tiny", drawn.discs((120, 160), (80, 60), radius=3))
    return folder


@pytest.fixture(scope="module")
def stickers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two cut-outs, and what is none: an opaque picture, a tiny one, one that shows nothing."""
    folder = tmp_path_factory.mktemp("stickers")
    (folder / "birds").mkdir()
    sticker((250, 40, 40)).save(folder / "birds" / "red.png")
    sticker((40, 230, 60)).save(folder / "green.webp", lossless=True)
    sticker((40, 230, 60)).convert("RGB").save(folder / "opaque.png")
    sticker((40, 230, 60)).resize((60, 50)).save(folder / "tiny.png")
    Image.new("RGBA", (120, 100)).save(folder / "nothing.png")
    return folder


def sticker(colour: tuple[int, int, int]) -> Image.Image:
    """A picture of 120 x 100 pixels, opaque on 80 x 60 of them, up to its right border."""
    picture = Image.new("RGBA", (120, 100), (0, 0, 0, 0))
    picture.paste((*colour, 255), (40, 20, 120, 80))
    return picture


def same(a: Sample, b: Sample) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


class TestFindStills:
    def test_objects_large_enough(self, folder: Path) -> None:
        assert {still.image.stem: still.labels for still in find_stills(folder)} == {
            "one": (1,), "three": (1, 2, 3), "tiny": (), "void": (1,)
        }

    def test_binary_masks_of_0_and_255(self, tmp_path: Path, drawn: SimpleNamespace) -> None:
        drawn.save_still(tmp_path, "a", drawn.discs((60, 60), (30, 30)))
        Image.fromarray(drawn.discs((60, 60), (30, 30)) * 255).save(tmp_path / "masks" / "a.png")
        assert find_stills(tmp_path)[0].labels == (1,)

    def test_masks_with_grey_edges(self, tmp_path: Path, drawn: SimpleNamespace) -> None:
        """Each grey would be an object, and the object itself void."""
        drawn.save_still(tmp_path, "a", drawn.discs((60, 60), (30, 30)))
        soft = cv2.GaussianBlur(drawn.discs((60, 60), (30, 30)) * 255, (7, 7), 0)
        Image.fromarray(soft).save(tmp_path / "masks" / "a.png")
        with pytest.raises(ValueError, match=r"masks/a\.png has \d+ grey levels"):
            find_stills(tmp_path)

    def test_photos_held_upright(self, tmp_path: Path, drawn: SimpleNamespace) -> None:
        """An EXIF orientation turns the photo when it is read: its mask has the turned size."""
        drawn.save_still(tmp_path, "a", drawn.discs((80, 60), (30, 40)))
        exif = Image.Exif()
        exif[0x0112] = 6
        Image.fromarray(np.zeros((60, 80, 3), np.uint8)).save(tmp_path / "images" / "a.png", exif=exif)
        assert find_stills(tmp_path)[0].labels == (1,)

    def test_no_folder(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError, match="images is not a folder"):
            find_stills(tmp_path / "nowhere")

    def test_empty_folder(self, tmp_path: Path) -> None:
        (tmp_path / "images").mkdir()
        with pytest.raises(ValueError, match=r"images holds no \.jpg or .* directly in it"):
            find_stills(tmp_path)

    def test_photos_in_subfolders(self, tmp_path: Path, drawn: SimpleNamespace) -> None:
        drawn.save_still(tmp_path, "a", drawn.discs((60, 60), (30, 30)))
        (tmp_path / "images" / "more").mkdir()
        (tmp_path / "images" / "a.png").rename(tmp_path / "images" / "more" / "a.png")
        with pytest.raises(ValueError, match="images holds no .* directly in it; subfolders are not read"):
            find_stills(tmp_path)

    def test_two_photos_of_one_name(self, tmp_path: Path, drawn: SimpleNamespace) -> None:
        drawn.save_still(tmp_path, "a", drawn.discs((60, 60), (30, 30)))
        Image.new("RGB", (60, 60)).save(tmp_path / "images" / "a.jpg")
        with pytest.raises(ValueError, match=r"images/a\.jpg and .*images/a\.png have the same name"):
            find_stills(tmp_path)

    def test_hidden_files(self, tmp_path: Path, drawn: SimpleNamespace) -> None:
        drawn.save_still(tmp_path, "a", drawn.discs((60, 60), (30, 30)))
        for kind in ("images", "masks"):
            (tmp_path / kind / "._a.png").write_bytes(b"what macOS leaves behind")
        assert [still.image.name for still in find_stills(tmp_path)] == ["a.png"]

    def test_photo_without_mask(self, tmp_path: Path, drawn: SimpleNamespace) -> None:
        for name in ("a", "b"):
            drawn.save_still(tmp_path, name, drawn.discs((60, 60), (30, 30)))
        (tmp_path / "masks" / "b.png").unlink()
        with pytest.raises(FileNotFoundError, match=r"b\.png has no mask"):
            find_stills(tmp_path)

    def test_mask_without_photo(self, tmp_path: Path, drawn: SimpleNamespace) -> None:
        for name in ("a", "b"):
            drawn.save_still(tmp_path, name, drawn.discs((60, 60), (30, 30)))
        (tmp_path / "images" / "b.png").unlink()
        with pytest.raises(FileNotFoundError, match=r"masks/b\.png has no image"):
            find_stills(tmp_path)

    def test_sizes_differ(self, tmp_path: Path, drawn: SimpleNamespace) -> None:
        drawn.save_still(tmp_path, "a", drawn.discs((60, 60), (30, 30)), np.zeros((60, 80, 3), np.uint8))
        with pytest.raises(ValueError, match=r"a\.png is 60 x 60, its photo .*a\.png is 80 x 60"):
            find_stills(tmp_path)

    def test_unreadable_photo(self, tmp_path: Path, drawn: SimpleNamespace) -> None:
        drawn.save_still(tmp_path, "a", drawn.discs((60, 60), (30, 30)))
        (tmp_path / "images" / "a.png").write_bytes(b"not an image")
        with pytest.raises(ValueError, match=r"images/a\.png can't be read"):
            find_stills(tmp_path)

    def test_a_photo_of_16_bits_is_found_before_training_begins(self, tmp_path: Path, drawn: SimpleNamespace) -> None:
        drawn.save_still(tmp_path, "a", drawn.discs((60, 60), (30, 30)))
        Image.fromarray(np.zeros((60, 60), np.uint16)).save(tmp_path / "images" / "a.png")
        with pytest.raises(ValueError, match=r"images/a\.png can't be read as an image: more than 8 bits"):
            find_stills(tmp_path)

    def test_a_photo_that_claims_to_be_enormous(
        self, tmp_path: Path, drawn: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        drawn.save_still(tmp_path, "a", drawn.discs((60, 60), (30, 30)))
        Image.new("RGB", (600, 600)).save(tmp_path / "images" / "a.png")
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 60 * 60)
        with pytest.raises(ValueError, match=r"images/a\.png can't be read as an image: .*decompression bomb"):
            find_stills(tmp_path)

    def test_no_object_anywhere(self, tmp_path: Path, drawn: SimpleNamespace) -> None:
        drawn.save_still(tmp_path, "a", np.zeros((60, 60), np.uint8))
        with pytest.raises(ValueError, match="no mask holds an object of at least 1.0%"):
            find_stills(tmp_path)


class TestCutOuts:
    def test_found_at_any_depth_unless_opaque_tiny_or_empty(self, stickers: Path) -> None:
        found = find_stills(stickers)
        assert [str(still.image.relative_to(stickers)) for still in found] == ["birds/red.png", "green.webp"]
        assert all(still.is_cut_out and still.labels == (1,) for still in found)

    def test_hidden_files_and_folders_are_passed_over(self, tmp_path: Path) -> None:
        for name in ("__MACOSX/._red.png", ".ipynb_checkpoints/red.png"):
            (tmp_path / name).parent.mkdir()
            (tmp_path / name).write_bytes(b"no picture")
        sticker((250, 40, 40)).save(tmp_path / "red.png")
        assert [still.image for still in find_stills(tmp_path)] == [tmp_path / "red.png"]

    def test_photos_with_masks_are_no_cut_outs(self, folder: Path, stickers: Path) -> None:
        """Transparent pictures beside images/ and masks/ are not looked for."""
        assert not any(still.is_cut_out for still in find_stills(folder))

    def test_the_mask_is_where_the_picture_is_opaque(self, stickers: Path) -> None:
        image, labels = read_still(find_stills(stickers)[0])
        assert image.shape[:2] == labels.shape and set(np.unique(labels)) == {0, 1}
        assert (image[labels > 0] == (250, 40, 40)).all() and (labels > 0).sum() == 80 * 60
        assert not (labels[0].any() or labels[-1].any() or labels[:, 0].any() or labels[:, -1].any())

    def test_always_put_on_a_photo(self, folder: Path, stickers: Path) -> None:
        pairs = StillPairs([stickers, folder], CANVAS, paste=0, distractor=0, vanish=0, recipe=CLEAN)
        assert len(pairs) == 7
        reds = [shuffled(index, 7, pairs.seed) for index in range(7)].index(0)
        sample = pairs[reds]
        inside = sample.frames[0][:, sample.true_masks[0, 0] > 0].float().median(1).values
        assert torch.allclose(inside, torch.tensor([250.0, 40, 40]), atol=10)
        assert not all(still.is_cut_out for still in pairs.grounds)

    def test_a_folder_named_twice_counts_twice(self, folder: Path, stickers: Path) -> None:
        assert len(StillPairs([stickers, folder, stickers], CANVAS)) == 9

    def test_nothing_to_put_them_on(self, stickers: Path) -> None:
        with pytest.raises(ValueError, match="stickers.* holds cut-outs alone: name a folder of photos too"):
            StillPairs(stickers, CANVAS)

    def test_unreadable(self, stickers: Path, tmp_path: Path) -> None:
        (tmp_path / "broken.png").write_bytes(b"not an image")
        with pytest.raises(ValueError, match=r"broken\.png can't be read as an image"):
            find_stills(tmp_path)


class TestKeptInMemory:
    @pytest.fixture
    def read(self) -> Callable[[Path], np.ndarray]:
        """Makes arrays of as many bytes as the path says, and notes what it was asked for."""

        def make(path: Path) -> np.ndarray:
            make.asked.append(str(path))
            return np.zeros(int(path.stem), np.uint8)

        make.asked = []
        return make

    def test_what_was_read_last_is_not_read_again(self, read: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(stills, "KEPT", 2)
        look_up = kept_in_memory(read)
        for name in ("1", "2", "1", "3", "1", "2"):
            assert look_up(Path(name)).size == int(name)
        assert read.asked == ["1", "2", "3", "2"]

    def test_large_pictures_take_no_more_than_so_many_bytes(
        self, read: Callable, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(stills, "KEPT_BYTES", 100)
        look_up = kept_in_memory(read)
        for name in ("40", "50", "40", "60", "40", "50", "200", "200"):
            look_up(Path(name))
        assert read.asked == ["40", "50", "60", "50", "200"]


class TestStillPairs:
    def test_an_epoch_shows_every_object_once(self, folder: Path) -> None:
        pairs = StillPairs(folder, CANVAS)
        assert len(pairs) == 5
        for number in range(3):
            assert Counter(shuffled(5 * number + i, 5, seed=3) for i in range(5)) == Counter(range(5))
        orders = {tuple(shuffled(5 * number + i, 5, seed=3) for i in range(5)) for number in range(6)}
        assert len(orders) > 1

    def test_length_is_virtual(self, folder: Path) -> None:
        pairs = StillPairs(folder, CANVAS, length=2)
        assert len(pairs) == 2 and same(pairs[1000], StillPairs(folder, CANVAS)[1000])

    def test_the_seed_and_the_index_decide(self, folder: Path) -> None:
        a, b = StillPairs(folder, CANVAS, seed=1), StillPairs(folder, CANVAS, seed=1)
        b[7]
        assert same(a[3], b[3])
        assert not same(a[3], a[4]) and not same(a[3], StillPairs(folder, CANVAS, seed=2)[3])

    def test_one_object_never_looks_the_same_twice(self, tmp_path: Path, drawn: SimpleNamespace) -> None:
        drawn.save_still(tmp_path, "a", drawn.discs((120, 160), (80, 60)))
        pairs = StillPairs(tmp_path, CANVAS)
        assert not any(same(pairs[3], pairs[index]) for index in (4, 1003, 2**16 + 3))

    def test_workers_change_nothing(self, folder: Path) -> None:
        pairs = StillPairs(folder, CANVAS, objects=2, length=6)
        alone = list(DataLoader(pairs, batch_size=2))
        shared = list(DataLoader(pairs, batch_size=2, num_workers=2))
        assert len(alone) == 3 and all(same(a, b) for a, b in zip(alone, shared, strict=True))

    @pytest.mark.parametrize("paste", [0.0, 1.0])
    def test_masks_fit_what_the_picture_shows(self, folder: Path, paste: float) -> None:
        """Each object has a colour of its own here: where the mask is 1 no other colour may dominate, in every view."""
        pairs = StillPairs(folder, CANVAS, paste=paste, distractor=0, vanish=0, recipe=CLEAN, rollout=2)
        for index in range(8):
            sample = pairs[index]
            views = [(sample.template, sample.template_masks), *zip(sample.frames, sample.true_masks, strict=True)]
            for image, masks in views:
                inside = image[:, masks[0] > 0].float().T
                assert len(inside) > 0
                median = inside.median(0).values
                assert ((inside - median).abs().max(1).values < 60).float().mean() > 0.85
                assert min((median - torch.tensor(c)).abs().max() for c in
                           [(250.0, 40, 40), (40.0, 230, 60), (240.0, 230, 40)]) < 10

    def test_several_objects_are_disjoint_and_of_different_colours(self, folder: Path) -> None:
        pairs = StillPairs(folder, CANVAS, objects=3, distractor=0)  # one in front may hide an object
        for index in range(8):
            sample = pairs[index]
            assert sample.true_masks.shape == (1, 3, *CANVAS) and sample.true_masks.sum(1).max() == 1
            assert (sample.template_masks.flatten(1).sum(1) > 0).sum() >= 2

    def test_void_is_masked_out(self, tmp_path: Path, drawn: SimpleNamespace) -> None:
        """A photo whose void has its own light grey: where the grey is seen, the loss is masked."""
        labels = drawn.discs((120, 210), (105, 60), radius=30)
        labels[:, 70:74] = 255
        drawn.save_still(tmp_path, "a", labels)
        pairs = StillPairs(tmp_path, CANVAS, paste=0, distractor=0, recipe=CLEAN)
        grey = 0
        for index in range(6):
            sample = pairs[index]
            seen = (sample.frames[0] > 190).all(0)
            grey += int(seen.sum())
            assert sample.valid[0][seen].float().mean() < 0.1 if seen.any() else True
            assert sample.valid.mean() > 0.3
        assert grey > 100

    def test_previous_masks_are_sometimes_empty(self, folder: Path) -> None:
        pairs = StillPairs(folder, (32, 56), recipe=Recipe(empty=0.25))
        empty = np.mean([not pairs[index].previous_masks.any() for index in range(120)])
        assert 0.12 < empty < 0.4

    def test_previous_masks_are_displaced_but_near(self, folder: Path) -> None:
        pairs = StillPairs(folder, CANVAS, distractor=0, recipe=Recipe(empty=0))
        overlaps = []
        for index in range(40):
            sample = pairs[index]
            guess, true = sample.previous_masks[0] > 0.5, sample.true_masks[0, 0] > 0
            overlaps.append(((guess & true).sum() / (guess | true).sum().clamp(min=1)).item())
        assert 0.5 < np.mean(overlaps) < 0.95

    def test_a_distractor_is_in_the_picture_and_not_in_the_mask(self, folder: Path) -> None:
        with_one, without = (StillPairs(folder, CANVAS, paste=1, distractor=p) for p in (1.0, 0.0))
        still, label = with_one.subjects[0]
        layers, _ = with_one._pasted(np.random.default_rng(0), still, label)
        assert sorted(layer.slots for layer in layers) == [(), (DISTRACTOR,), (0,)]
        layers, _ = without._pasted(np.random.default_rng(0), still, label)
        assert sorted(layer.slots for layer in layers) == [(), (0,)]

    def test_distractors_are_doubles_of_the_same_kind_or_anything(
        self, tmp_path: Path, drawn: SimpleNamespace
    ) -> None:
        for name, count in (("birds", 2), ("boats", 8)):
            for number in range(count):
                drawn.save_still(tmp_path / name, f"{number}", drawn.discs((120, 160), (80, 60)))
        pairs = StillPairs([tmp_path / "birds", tmp_path / "boats"], CANVAS)
        bird, other_bird = pairs.subjects[:2]
        rng = np.random.default_rng(0)
        rivals = [pairs._rival(rng, bird) for _ in range(400)]
        assert rivals.count(bird) / 400 == pytest.approx(0.4 + 0.3 / 2 + 0.3 / 10, abs=0.08)
        assert rivals.count(other_bird) / 400 == pytest.approx(0.3 / 2 + 0.3 / 10, abs=0.06)

    def test_a_pasted_object_may_vanish_and_come_back(self, folder: Path) -> None:
        pairs = StillPairs(folder, CANVAS, paste=1, vanish=1, rollout=3, recipe=CLEAN)
        ways = set()
        for index in range(12):
            sample = pairs[index]
            shown = sample.true_masks.flatten(1).any(1).tolist()
            assert sample.template_masks.any() and sample.valid.any() and shown == sorted(shown) and not shown[0]
            ways.add(sum(shown))
        assert ways == {0, 1, 2}
        alone = StillPairs(folder, CANVAS, paste=1, vanish=1, recipe=CLEAN)
        assert not any(alone[index].true_masks.any() for index in range(6))
        assert all(x.true_masks.any() for x in map(StillPairs(folder, CANVAS, paste=1, vanish=0).__getitem__, range(6)))

    def test_a_compound_in_its_photo_is_a_union_or_a_part(self, folder: Path) -> None:
        pairs = StillPairs(folder, CANVAS, paste=0, distractor=0, compound=1)
        (ground,), size = pairs._in_place(rng := np.random.default_rng(0), *pairs.subjects[0])
        kinds = Counter()
        for _ in range(60):
            first, *pieces = pairs._compounded(rng, [ground], size)
            kinds[first.slots, *(piece.slots for piece in pieces)] += 1
        assert set(kinds) == {((0, DISTRACTOR),), ((0,), (0,))}
        assert kinds[((0, DISTRACTOR),)] / 60 == pytest.approx(0.3, abs=0.2)

    def test_a_pasted_compound_has_its_second_thing_above_or_below(self, folder: Path) -> None:
        pairs = StillPairs(folder, CANVAS, paste=1, distractor=1)
        rng = np.random.default_rng(0)
        layers, size = pairs._pasted(rng, *pairs.subjects[0])
        for _ in range(8):
            ground, *others = pairs._compounded(rng, layers, size)
            assert ground is layers[0]
            assert sorted(layer.slots for layer in others) == [(DISTRACTOR,), (0,), (0,)]

    def test_a_sample_without_compounds_is_the_same_as_ever(self, folder: Path) -> None:
        plain, compounds = StillPairs(folder, CANVAS), StillPairs(folder, CANVAS, compound=1)
        assert same(plain[0], StillPairs(folder, CANVAS, compound=0)[0]) and not same(plain[0], compounds[0])

    def test_bad_counts(self, folder: Path) -> None:
        with pytest.raises(ValueError, match="objects must be at least 1"):
            StillPairs(folder, objects=0)


class TestScenes:
    def test_splitting_makes_an_object_and_a_distractor_of_one(self, folder: Path) -> None:
        pairs = StillPairs(folder, CANVAS, objects=2, distractor=0)
        three = next(subject for subject in pairs.subjects if len(subject[0].labels) == 3)
        rng = np.random.default_rng(0)
        (ground,), _ = pairs._in_place(rng, *three)
        for _ in range(8):
            parts = split(rng, ground)
            assert parts.slots == (0, DISTRACTOR, 1)
            kept, rest, other = parts.masks > 0
            assert not (kept & rest).any() and np.array_equal(kept | rest, ground.masks[0] > 0)
            assert 0.35 < kept.sum() / (kept | rest).sum() < 0.75
            assert np.array_equal(other, ground.masks[1] > 0)

    def test_joining_moves_a_cut_out_onto_the_box_of_the_object(self, folder: Path) -> None:
        pairs = StillPairs(folder, CANVAS, paste=0, distractor=0)
        rng = np.random.default_rng(0)
        for subject in pairs.subjects:
            (ground,), size = pairs._in_place(rng, *subject)
            scene = Scene([ground], size, 1)
            x, y = joined(rng, scene, cut_out(rng, *subject, size, 0)).placement.scene_point
            left, top, right, bottom = scene_box(scene)
            assert left <= x <= right and top <= y <= bottom

    def test_what_joins_nothing_stays_where_it_was(self, folder: Path) -> None:
        pairs = StillPairs(folder, CANVAS)
        rng = np.random.default_rng(0)
        other = cut_out(rng, *pairs.subjects[0], (60, 100), 0)
        assert joined(rng, Scene([], (60, 100), 1), other) is other

    def test_moments_are_one_smooth_motion(self, folder: Path) -> None:
        """Mirrored alike; the frame before and two rollout frames are evenly spaced, and nearer than the template."""
        still, steps, leaps = find_stills(folder)[0], [], []
        for seed in range(20):
            layer = cut_out(np.random.default_rng(seed), still, 1, (100, 170), 0)
            template, previous, first, second = (x.pose for x in _moments(np.random.default_rng(seed), layer, 2))
            assert template == layer.pose and len({x.flip for x in (template, previous, first, second)}) == 1
            assert second.rotation - first.rotation == pytest.approx(first.rotation - previous.rotation)
            np.testing.assert_allclose(second.bend - first.bend, first.bend - previous.bend)
            steps.append(abs(second.rotation - first.rotation))
            leaps.append(abs(first.rotation - template.rotation))
        assert 0 < np.mean(steps) < 0.3 * np.mean(leaps)

    @pytest.mark.parametrize("photo", [(400, 264), (300, 400), (225, 400), (183, 276)])
    def test_pasting_scenes_are_wide_and_inside_the_photo(self, photo: tuple[int, int]) -> None:
        for seed in range(20):
            (height, width), placement = scene_in_photo(np.random.default_rng(seed), photo)
            assert 1.4 < width / height < 2 and height <= photo[0] and width == photo[1]
            top = placement.photo_point[1] + 0.5 - height / 2
            assert -0.5 <= top <= photo[0] - height + 0.5

    def test_strips_show_the_object(self) -> None:
        for seed in range(40):
            size, placement = scene_in_photo(np.random.default_rng(seed), (400, 264), box=(100, 300, 150, 390))
            top = placement.photo_point[1] + 0.5 - size[0] / 2
            assert top < 390 and top + size[0] > 300

    def test_cut_outs_lie_in_the_scene(self, folder: Path) -> None:
        still = find_stills(folder)[0]
        for seed in range(20):
            layer = cut_out(np.random.default_rng(seed), still, 1, (100, 170), 0)
            x, y = layer.placement.scene_point
            assert 0 < x < 170 and 0 < y < 100 and layer.cut_out and layer.slots == (0,)

    def test_what_the_photo_s_border_cuts_stays_at_the_border(self, tmp_path: Path, drawn: SimpleNamespace) -> None:
        labels = np.zeros((100, 100), np.uint8)
        labels[50:, 30:70] = 1
        drawn.save_still(tmp_path, "a", labels)
        for seed in range(10):
            placement = cut_out(np.random.default_rng(seed), find_stills(tmp_path)[0], 1, (100, 170), 0).placement
            assert placement.scene_point[1] + placement.scale * 50 / 2 > 100


@pytest.mark.parametrize("name", ["ccp", "coco128", "human300", "voc44", "weizmann_horses"])
def test_real_folders(shared_data: Path, name: str) -> None:
    still = find_stills(shared_data / "stills" / name)
    assert len(still) >= 44 and sum(bool(s.labels) for s in still) > 0.8 * len(still)
    sample = StillPairs.__getitem__(pairs := StillPairs(shared_data / "stills" / name), 0)
    assert sample.template.shape == (3, *pairs.size) and mask_box(sample.template_masks[0].numpy() > 0) is not None
