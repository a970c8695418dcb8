"""Scenes seen through the video loop's window, mixtures and sheets (ranet_edu/datasets/samples.py)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from ranet_edu.datasets import augment
from ranet_edu.datasets.augment import Placement, Pose, Window
from ranet_edu.datasets.samples import (
    DISTRACTOR,
    Layer,
    Mixture,
    Recipe,
    Sample,
    Scene,
    check_counts,
    make_sample,
    render,
    sample_sheet,
    scene_box,
)

SIZE, CANVAS = (120, 210), (64, 112)
PLAIN = Recipe(whole=0, whole_template=0, grow=(1.5, 1.5), empty=0, mistakes=0, colour=0, degrade=0)


@pytest.fixture
def scene(drawn: SimpleNamespace) -> Scene:
    """Two discs on a frame: label 1 is object 0, label 2 a distractor."""
    labels = drawn.discs(SIZE, (60, 60), (150, 60))
    masks = np.stack([labels == 1, labels == 2]).astype(np.uint8) * 255
    centre = ((SIZE[1] - 1) / 2, (SIZE[0] - 1) / 2)
    layer = Layer(drawn.picture_of(labels), masks, (0, DISTRACTOR), Placement(centre, centre, (210, 120)), Pose())
    return Scene([layer], SIZE, 1)


def pasted(scene: Scene, slot: int, at: tuple[float, float]) -> Scene:
    """The scene with a white square of 40 x 40 pixels pasted at a point, as object `slot`."""
    square = np.zeros((60, 60), np.uint8)
    square[10:50, 10:50] = 255
    cut = Layer(np.full((60, 60, 3), 255, np.uint8), square[None], (slot,), Placement(at, (29.5, 29.5), (40, 40)),
                Pose(), cut_out=True)
    return replace(scene, layers=[*scene.layers, cut])


class TestRender:
    def test_a_layer_as_it_is(self, scene: Scene, drawn: SimpleNamespace) -> None:
        view = render(scene, Window(0, 0, 210, 120), SIZE)
        np.testing.assert_array_equal(view.image, drawn.picture_of(view.masks[0] + 2 * view.distractor))
        assert view.masks.sum() > 1000 and view.distractor.sum() > 1000 and view.valid.all()

    def test_masks_alone_are_the_same_masks(self, scene: Scene) -> None:
        window = Window(10, 5, 105, 60)
        alone = render(scene, window, CANVAS, image=False)
        assert alone.image is None
        np.testing.assert_array_equal(alone.masks, render(scene, window, CANVAS).masks)

    def test_a_pasted_object_hides_what_lies_behind(self, scene: Scene) -> None:
        before = render(scene, Window(0, 0, 210, 120), SIZE)
        after = render(pasted(replace(scene, objects=2), 1, (59.5, 59.5)), Window(0, 0, 210, 120), SIZE)
        square = np.zeros(SIZE, bool)
        square[40:80, 40:80] = True
        assert (after.masks[1] != square).mean() < 0.002
        np.testing.assert_array_equal(after.masks[0], before.masks[0] & ~after.masks[1])
        assert (after.image[50:70, 50:70] == 255).all() and (after.image[:30] == before.image[:30]).all()

    def test_a_pasted_edge_is_feathered(self, scene: Scene) -> None:
        row = render(pasted(scene, 0, (110, 60)), Window(0, 0, 210, 120), SIZE).image[60, 84:96, 0].astype(int)
        assert (np.diff(row) >= 0).all() and len(np.unique(row)) >= 4

    def test_void_and_outside_are_not_valid(self, scene: Scene) -> None:
        void = np.zeros(SIZE, bool)
        void[:, :50] = True
        scene = replace(scene, layers=[replace(scene.layers[0], void=void)])
        valid = render(scene, Window(-10, 0, 210, 120), SIZE).valid
        assert not valid[:, :60].any() and valid[:, 60:].all()

    def test_box_in_scene_pixels(self, scene: Scene) -> None:
        assert scene_box(scene) == pytest.approx((38, 38, 83, 83), abs=3)
        assert scene_box(replace(scene, layers=[replace(scene.layers[0], slots=(DISTRACTOR, DISTRACTOR))])) is None


class TestMakeSample:
    def test_shapes_types_and_ranges(self, scene: Scene) -> None:
        sample = make_sample(np.random.default_rng(0), scene, scene, [scene] * 3, CANVAS, Recipe())
        assert [tuple(x.shape) for x in sample] == [
            (3, *CANVAS), (1, *CANVAS), (3, 3, *CANVAS), (1, *CANVAS), (3, 1, *CANVAS), (3, *CANVAS)
        ]
        assert [x.dtype for x in sample] == [torch.uint8, torch.float32, torch.uint8] + [torch.float32] * 3
        for masks in (sample.template_masks, sample.true_masks, sample.valid):
            assert set(masks.unique().tolist()) <= {0.0, 1.0}

    def test_the_plain_recipe_shows_the_loop_s_crop(self, scene: Scene) -> None:
        """The disc of 45 pixels times 1.5 fills the canvas's height; what is red is the object, exactly."""
        sample = make_sample(np.random.default_rng(0), scene, scene, [scene], CANVAS, PLAIN)
        height = sample.template_masks[0].any(1).sum().item()
        assert height == pytest.approx(64 / 1.5, abs=5)
        red = (sample.frames[0, 0] > 150).float()
        assert (red != sample.true_masks[0, 0]).float().mean() < 0.01
        assert (sample.previous_masks[0].round() == sample.true_masks[0, 0]).all()

    def test_the_frame_s_window_follows_the_previous_mask(self, scene: Scene) -> None:
        """The object jumps away between two frames: the window stays where it was before."""
        first, gone = (replace(scene, layers=[replace(scene.layers[0], pose=Pose(shift=(x, 0)))]) for x in (0.4, 0.25))
        sample = make_sample(np.random.default_rng(0), first, scene, [gone], CANVAS, PLAIN)
        columns = torch.arange(CANVAS[1])
        previous = columns[sample.previous_masks[0].any(0)].float().mean()
        assert previous == pytest.approx(CANVAS[1] / 2, abs=8)
        assert not sample.true_masks[0, 0, :, : CANVAS[1] // 2].any()

    def test_rate_of_empty_previous_masks_and_whole_frames(self, scene: Scene) -> None:
        recipe = replace(PLAIN, empty=0.3, whole=0.5)
        samples = [make_sample(np.random.default_rng(i), scene, scene, [scene], CANVAS, recipe) for i in range(150)]
        empty = np.array([not sample.previous_masks.any() for sample in samples])
        small = np.array([sample.true_masks[0].mean().item() < 0.1 for sample in samples])
        assert 0.18 < empty.mean() < 0.42
        assert 0.35 < small[~empty].mean() < 0.65

    def test_an_empty_previous_mask_leaves_the_window_near_the_object_and_larger(self, scene: Scene) -> None:
        """The loop looks where it lost the object, and wider with every frame."""
        samples = [make_sample(np.random.default_rng(i), scene, scene, [scene], CANVAS, replace(PLAIN, empty=1))
                   for i in range(40)]
        sizes = np.array([sample.true_masks[0].mean().item() for sample in samples])
        followed = make_sample(np.random.default_rng(0), scene, scene, [scene], CANVAS, PLAIN).true_masks[0].mean()
        whole = make_sample(np.random.default_rng(0), scene, scene, [scene], CANVAS, replace(PLAIN, whole=1))
        assert (sizes > 0).all() and np.median(sizes) < 0.7 * followed
        assert 0.1 < np.isclose(sizes, whole.true_masks[0].mean(), rtol=0.02).mean() < 0.6

    def test_a_hidden_object_leaves_the_window_where_it_is(self, scene: Scene) -> None:
        """A square hides the disc in the frame before, and has gone in the frame itself."""
        hidden = pasted(pasted(scene, DISTRACTOR, (60, 60)), DISTRACTOR, (75, 60))
        hidden = replace(hidden, layers=[replace(scene.layers[0], placement=replace(scene.layers[0].placement,
                                                                                 scale=0.5)), *hidden.layers[1:]])
        behind = replace(hidden, layers=hidden.layers[:1])
        assert scene_box(hidden) is None and scene_box(behind) is not None
        samples = [make_sample(np.random.default_rng(i), scene, hidden, [behind], CANVAS, PLAIN) for i in range(20)]
        assert not any(sample.previous_masks.any() for sample in samples)
        sizes = np.array([sample.true_masks[0].mean().item() for sample in samples])
        assert sizes.max() > 4 * sizes.min() > 0

    def test_objects_stay_disjoint_and_guesses_sum_to_one(self, scene: Scene) -> None:
        scene = pasted(replace(scene, objects=2), 1, (75, 60))
        for seed in range(10):
            sample = make_sample(np.random.default_rng(seed), scene, scene, [scene], CANVAS, replace(PLAIN, mistakes=2))
            assert sample.true_masks.sum(1).max() == 1 and sample.template_masks.sum(0).max() == 1
            assert sample.previous_masks.sum(0).max() <= 1 + 1e-6 and sample.previous_masks.min() >= 0

    def test_letterbox_has_the_fill_and_no_guess(self, scene: Scene) -> None:
        scene = replace(pasted(scene, 0, (95, 60)), size=(120, 100))  # it sticks out of the frame
        recipe = replace(PLAIN, whole=1, whole_template=1, colour=1, mistakes=2)
        fill = torch.tensor(augment.FILL, dtype=torch.uint8)[:, None, None]
        for seed in range(20):
            sample = make_sample(np.random.default_rng(seed), scene, scene, [scene], CANVAS, recipe)
            assert (sample.frames[0, ..., :20] == fill).all() and (sample.template[..., -20:] == fill).all()
            assert not sample.template_masks[..., -20:].any() and not sample.true_masks[..., -20:].any()
            assert not sample.valid[0, :, :20].any() and not sample.previous_masks[..., :20].any()

    def test_a_guess_may_fall_for_the_distractor(self, scene: Scene) -> None:
        recipe = replace(PLAIN, whole=1, mistakes=1)
        other = render(scene, augment.whole_window(SIZE, CANVAS), CANVAS).distractor
        rngs = map(np.random.default_rng, range(60))
        samples = [make_sample(rng, scene, scene, [scene], CANVAS, recipe) for rng in rngs]
        fallen = np.mean([sample.previous_masks[0].numpy()[other].mean() > 0.4 for sample in samples])
        assert 0.08 < fallen < 0.4


class Numbered(Dataset):
    """A stand-in that says which dataset and index a sample came from."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __getitem__(self, index: int) -> tuple[str, int]:
        return self.name, index


class TestMixture:
    def test_shares_and_indices(self) -> None:
        mixture = Mixture([(Numbered("a"), 1), (Numbered("b"), 3)], length=800, seed=1)
        drawn = [mixture[i] for i in range(len(mixture))]
        assert [index for _, index in drawn] == list(range(800))
        assert 0.19 < np.mean([name == "a" for name, _ in drawn]) < 0.31
        assert drawn == [mixture[i] for i in range(800)]

    def test_the_choice_says_nothing_about_the_sample(self) -> None:
        """A dataset's own first random number must not depend on having been chosen."""
        mixture = Mixture([(Numbered("a"), 1), (Numbered("b"), 1)], length=400)
        first = [np.random.default_rng([0, i]).random() for i in range(400) if mixture[i][0] == "a"]
        assert 0.42 < np.mean(first) < 0.58

    @pytest.mark.parametrize("weights", [[], [0.0, 0.0], [1.0, -1.0]])
    def test_bad_weights(self, weights: list[float]) -> None:
        with pytest.raises(ValueError, match="weight"):
            Mixture([(Numbered("x"), weight) for weight in weights], length=1)


class Repeated(Dataset):
    """One sample, again and again."""

    def __init__(self, sample: Sample) -> None:
        self.sample = sample

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> Sample:
        return self.sample


def test_default_collation_keeps_the_names(scene: Scene) -> None:
    sample = make_sample(np.random.default_rng(0), scene, scene, [scene], CANVAS, Recipe())
    batch = next(iter(DataLoader(Repeated(sample), batch_size=4)))
    assert isinstance(batch, Sample) and batch.true_masks.shape == (4, 1, 1, *CANVAS)


def test_sheet(scene: Scene, tmp_path: Path) -> None:
    sample = make_sample(np.random.default_rng(0), scene, scene, [scene] * 2, CANVAS, Recipe())
    sample_sheet(Repeated(sample), 3, tmp_path / "sheet.png")
    assert Image.open(tmp_path / "sheet.png").size == (4 * CANVAS[1], 3 * CANVAS[0])
    assert [path.name for path in tmp_path.iterdir()] == ["sheet.png"]
    with pytest.raises(ValueError, match="count must be at least 1"):
        sample_sheet(Repeated(sample), 0, tmp_path / "none.png")
    with pytest.raises(ValueError, match=r"the name is .*sheet; end it in \.png"):
        sample_sheet(Repeated(sample), 1, tmp_path / "sheet")


def test_counts() -> None:
    check_counts(objects=1, rollout=3)
    with pytest.raises(ValueError, match="rollout must be at least 1, got 0"):
        check_counts(objects=1, rollout=0)


def test_recoloured_samples_keep_one_world(scene: Scene) -> None:
    """All hues turned: template and frame in the same way, another one in each sample."""
    recipe = replace(PLAIN, recolour=1.0)
    discs = []
    for seed in range(8):
        sample = make_sample(np.random.default_rng(seed), scene, scene, [scene], CANVAS, recipe)
        template, frame = (picture[:, mask > 0].float().median(1).values for picture, mask in (
            (sample.template, sample.template_masks[0]), (sample.frames[0], sample.true_masks[0, 0])
        ))
        assert (template - frame).abs().max() < 5
        discs.append(template)
    discs = torch.stack(discs)
    assert (discs[:, None] - discs).abs().max() > 60
