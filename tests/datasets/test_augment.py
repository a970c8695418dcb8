"""Geometry, colour and mistakes of training samples (ranet_edu/datasets/augment.py)."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from scipy.interpolate import RBFInterpolator

from ranet_edu.datasets import augment
from ranet_edu.datasets.augment import Colour, Placement, Pose, PoseRange, Window
from ranet_edu.video.crop import object_box, whole_frame_box

CANVAS = (64, 112)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def centred(size: tuple[int, int]) -> Placement:
    centre = ((size[1] - 1) / 2, (size[0] - 1) / 2)
    return Placement(centre, centre, (size[1], size[0]))


def whole(size: tuple[int, int]) -> Window:
    return Window(0, 0, size[1], size[0])


class TestBend:
    def test_moves_control_points_as_told(self) -> None:
        moves = rng().uniform(-0.15, 0.15, (16, 2))
        points = augment.control_points()
        np.testing.assert_allclose(augment.bend(points, moves), points + moves, atol=1e-9)

    def test_agrees_with_scipy_between_them(self) -> None:
        moves = rng().uniform(-0.15, 0.15, (16, 2))
        points = rng(1).uniform(-0.4, 1.4, (50, 2))
        spline = RBFInterpolator(augment.control_points(), moves, kernel="thin_plate_spline", degree=1)
        np.testing.assert_allclose(augment.bend(points, moves), points + spline(points), atol=1e-8)

    def test_an_affine_motion_of_the_control_points_is_affine_everywhere(self) -> None:
        matrix, offset = np.array([[0.05, -0.1], [0.08, 0.02]]), np.array([0.01, 0.03])
        moves = augment.control_points() @ matrix + offset
        points = rng().uniform(0, 1, (20, 2))
        np.testing.assert_allclose(augment.bend(points, moves), points + points @ matrix + offset, atol=1e-9)


class TestPose:
    def test_stays_within_its_range(self) -> None:
        limits = PoseRange(rotation=30, scale=(0.75, 1.25), shift=0.1, bend=0.15, flip=0.5)
        poses = [augment.random_pose(rng(seed), limits) for seed in range(300)]
        assert all(abs(pose.rotation) <= 30 and 0.75 <= pose.scale <= 1.25 for pose in poses)
        assert all(np.abs(pose.shift).max() <= 0.1 and np.abs(pose.bend).max() <= 0.15 for pose in poses)
        assert max(pose.rotation for pose in poses) > 25 and min(pose.rotation for pose in poses) < -25
        assert max(pose.scale for pose in poses) > 1.2 and min(pose.scale for pose in poses) < 0.8
        assert max(np.abs(pose.bend).max() for pose in poses) > 0.13
        assert 0.4 < np.mean([pose.flip for pose in poses]) < 0.6

    def test_towards_reaches_both_ends_and_goes_on(self) -> None:
        a, b = Pose(rotation=10, scale=1.0, shift=(0, 0.1)), Pose(rotation=20, scale=1.2, shift=(0.2, 0.1))
        assert a.towards(b, 0).rotation == 10 and a.towards(b, 1).scale == pytest.approx(1.2)
        bent = Pose(bend=np.full((16, 2), 0.1))
        np.testing.assert_allclose(Pose().towards(bent, 2).bend, 0.2)
        assert a.towards(b, -1).rotation == 0 and a.towards(b, -1).scale == pytest.approx(1 / 1.2)

    def test_near_poses_are_near(self) -> None:
        pose = augment.random_pose(rng())
        near = augment.nearby_pose(rng(1), pose, 0.1)
        assert near.flip == pose.flip and abs(near.rotation - pose.rotation) <= 3
        assert np.abs(near.bend - pose.bend).max() <= 0.015 and abs(near.scale / pose.scale - 1) < 0.03

    def test_moves_a_dot_where_it_says(self) -> None:
        """A dot right of the centre: turned a quarter clockwise it is below, mirrored left, and scale and shift add."""
        size = (101, 101)
        photo = np.zeros(size, np.uint8)
        photo[50, 70] = 255

        def seen(pose: Pose) -> tuple[int, int]:
            dot = augment.warp_mask(photo, augment.sampling_map(whole(size), size, centred(size), pose))
            return np.unravel_index(dot.argmax(), size)

        assert seen(Pose()) == (50, 70)
        assert seen(Pose(rotation=90)) == (70, 50)
        assert seen(Pose(flip=True)) == (50, 30)
        assert seen(Pose(scale=2.0)) == (50, 90)
        assert seen(Pose(shift=(0.1, -0.2))) == pytest.approx((50 - 20.2, 70 + 10.1), abs=0.6)


    def test_shift_is_a_fraction_of_what_is_placed(self) -> None:
        """An object of 20 pixels at twice its size, shifted by half of it: 20 scene pixels to the right."""
        placement = Placement((100, 50), (30, 30), (20, 20), scale=2.0)
        points = placement.photo_points(np.array([[120.0, 50.0], [100.0, 50.0]]), Pose(shift=(0.5, 0)))
        np.testing.assert_allclose(points, [[30, 30], [20, 30]], atol=1e-9)


class TestWindow:
    def test_grows_the_box_and_keeps_the_aspect(self) -> None:
        window = augment.object_window((300, 200, 350, 300), 1.5, (480, 854), (256, 448))
        assert (window.height, window.width) == pytest.approx((150, 150 * 448 / 256))
        assert (window.left + window.width / 2, window.top + window.height / 2) == pytest.approx((325, 250))

    @pytest.mark.parametrize("box", [(300, 200, 350, 300), (800, 0, 854, 60), (0, 0, 854, 480), (10, 470, 12, 475),
                                     (100, 3, 130, 478), (2, 100, 850, 140)])
    @pytest.mark.parametrize("size", [(480, 854), (480, 500), (240, 854)])
    def test_is_the_video_loop_s_crop(self, box: tuple[int, ...], size: tuple[int, int]) -> None:
        left, top, right, bottom = np.minimum(box, (size[1], size[0], size[1], size[0])).tolist()
        mask = torch.zeros(1, *size)
        mask[:, top:bottom, left:right] = 1
        if mask.any():
            window = augment.object_window((left, top, right, bottom), 1.5, size, (256, 448))
            loop = object_box(mask, (256, 448), grow=1.5)
            assert (window.top, window.left, window.height, window.width) == pytest.approx(loop.tolist(), abs=1e-3)
            whole_frame = augment.whole_window(size, (256, 448))
            assert (whole_frame.top, whole_frame.left) == pytest.approx(whole_frame_box(size, (256, 448)).tolist()[:2])

    def test_is_shifted_inside_the_scene(self) -> None:
        window = augment.object_window((800, 0, 854, 60), 1.5, (480, 854), (256, 448))
        assert window.top == 0 and window.left + window.width == pytest.approx(854)

    def test_never_exceeds_the_letterboxed_scene(self) -> None:
        assert augment.object_window((0, 0, 854, 480), 1.5, (480, 854), (256, 448)) == augment.whole_window(
            (480, 854), (256, 448)
        )

    def test_whole_window_centres_a_tall_scene(self) -> None:
        window = augment.whole_window((400, 200), (256, 448))
        assert window.height == 400 and window.left == pytest.approx(100 - 350)

    def test_tiny_boxes_are_not_magnified_without_limit(self) -> None:
        assert augment.object_window((10, 10, 12, 12), 1.5, (480, 854), (256, 448)).height == 32

    def test_mask_box(self) -> None:
        mask = np.zeros((20, 30), bool)
        assert augment.mask_box(mask) is None
        mask[3:7, 10] = True
        assert augment.mask_box(mask) == (10, 3, 11, 7)

    @pytest.mark.parametrize("seed", range(5))
    def test_jitter_has_bounds(self, seed: int) -> None:
        left, top, right, bottom = augment.jittered_box(rng(seed), (100, 100, 200, 140), shift=0.1, stretch=0.15)
        assert abs((left + right) / 2 - 150) <= 10 and abs((top + bottom) / 2 - 120) <= 4
        assert 0.86 <= (right - left) / 100 <= 1.17 and 0.86 <= (bottom - top) / 40 <= 1.17


class TestSampling:
    def test_no_pose_and_the_whole_window_change_nothing(self) -> None:
        photo = rng().integers(0, 256, (*CANVAS, 3), dtype=np.uint8)
        points = augment.sampling_map(whole(CANVAS), CANVAS, centred(CANVAS), Pose())
        np.testing.assert_array_equal(augment.warp_image(photo, points), photo)

    def test_the_coarse_map_is_exact_enough(self) -> None:
        """Against the exact map at every canvas pixel, with the paper's bends: a fraction of a pixel."""
        size, window = (300, 400), Window(50, 40, 224, 128)
        pose = augment.random_pose(rng(3))
        fast = augment.sampling_map(window, (256, 448), centred(size), pose)
        y, x = np.mgrid[:256, :448]
        scene = np.stack([(x + 0.5) / 2 + 50 - 0.5, (y + 0.5) / 2 + 40 - 0.5], -1)
        exact = centred(size).photo_points(scene.reshape(-1, 2), pose).reshape(256, 448, 2)
        error = np.abs(fast - exact).max(-1)
        assert error.max() < 0.3 and error.mean() < 0.05

    def test_masks_stay_aligned_with_images(self) -> None:
        """An image that shows its own mask, in strong poses."""
        mask = np.zeros((240, 320), np.uint8)
        cv2.ellipse(mask, (150, 120), (80, 50), 30, 0, 360, 255, -1)
        image = np.repeat(mask[..., None], 3, -1)
        for seed in range(5):
            points = augment.sampling_map(Window(40, 20, 210, 120), CANVAS, centred(mask.shape),
                                          augment.random_pose(rng(seed), PoseRange(shift=0.05)))
            shown = augment.warp_image(image, points)[..., 0] > 127
            warped = augment.warp_mask(mask, points) > 127
            known = augment.inside_photo(points, mask.shape)
            assert warped.any() and (shown != warped)[known].mean() < 0.005

    def test_mirrored_border_is_not_inside_the_photo(self) -> None:
        points = augment.sampling_map(Window(-56, 0, 112, 64), CANVAS, centred(CANVAS), Pose())
        known = augment.inside_photo(points, CANVAS)
        assert not known[:, :56].any() and known[:, 56:].all()
        image = augment.warp_image(np.full((*CANVAS, 3), 200, np.uint8), points)
        assert (image == 200).all()

    def test_shrinking_does_not_alias(self) -> None:
        """Fine grain seen from afar is grey, as the mean of many of its pixels would be."""
        board = np.repeat(rng().integers(0, 2, (512, 896, 1), dtype=np.uint8) * 255, 3, -1)
        points = augment.sampling_map(whole((512, 896)), CANVAS, centred((512, 896)), Pose())
        assert augment.photo_pixels_per_canvas_pixel(points) == pytest.approx(8)
        assert augment.warp_image(board, points).std() < 25

    def test_inside_scene_is_the_letterbox(self) -> None:
        inside = augment.inside_scene(augment.whole_window((100, 100), (64, 128)), (64, 128), (100, 100))
        assert inside[:, 32:96].all() and not inside[:, :32].any() and not inside[:, 96:].any()


class TestColour:
    def test_no_change(self) -> None:
        image = rng().integers(0, 256, (8, 8, 3), dtype=np.uint8)
        np.testing.assert_array_equal(Colour().apply(image), image)

    def test_saturation_zero_is_grey_and_hue_keeps_grey(self) -> None:
        image = rng().integers(0, 256, (8, 8, 3), dtype=np.uint8)
        grey = Colour(saturation=0).apply(image)
        assert np.ptp(grey, axis=-1).max() == 0
        np.testing.assert_array_equal(Colour(hue=40).apply(grey), grey)

    def test_a_third_of_a_turn_permutes_the_channels(self) -> None:
        image = rng().integers(0, 256, (8, 8, 3), dtype=np.uint8)
        turned = Colour(hue=120).apply(image)
        assert np.abs(turned.astype(int) - np.roll(image, 1, axis=-1)).max() <= 1

    def test_around_stays_near(self) -> None:
        base = augment.random_colour(rng())
        near = augment.random_colour(rng(1), 0.1, around=base)
        assert abs(near.brightness / base.brightness - 1) < 0.03 and abs(near.hue - base.hue) <= 1.5

    def test_motion_kernel_keeps_brightness(self) -> None:
        for length, angle in ((1, 0), (4.5, 30), (9, 135)):
            assert augment.motion_kernel(length, angle).sum() == pytest.approx(1)

    def test_degrade_off_and_on(self) -> None:
        image = rng().integers(0, 256, (32, 32, 3), dtype=np.uint8)
        assert augment.degrade(rng(), image, 0.0) is image
        worse = augment.degrade(rng(), image, 1.0)
        assert worse.shape == image.shape and worse.dtype == np.uint8 and (worse != image).any()


class TestPredictedMask:
    @pytest.fixture
    def mask(self) -> np.ndarray:
        mask = np.zeros((128, 224), np.uint8)
        cv2.ellipse(mask, (110, 64), (50, 35), 0, 0, 360, 1, -1)
        return mask.astype(bool)

    def test_resembles_the_truth_without_being_it(self, mask: np.ndarray) -> None:
        overlaps = []
        for seed in range(60):
            guess = augment.predicted_mask(rng(seed), mask) > 0.5
            overlaps.append((guess & mask).sum() / (guess | mask).sum())
        assert 0.75 < np.mean(overlaps) < 0.97 and min(overlaps) > 0.3

    def test_both_kinds_and_the_range(self, mask: np.ndarray) -> None:
        guesses = [augment.predicted_mask(rng(seed), mask) for seed in range(40)]
        assert all(guess.dtype == np.float32 and guess.min() >= 0 and guess.max() <= 1 for guess in guesses)
        soft = np.mean([((guess > 0.05) & (guess < 0.95)).any() for guess in guesses])
        assert 0.3 < soft < 0.7

    def test_strength_zero_is_the_truth(self, mask: np.ndarray) -> None:
        for seed in range(10):
            assert ((augment.predicted_mask(rng(seed), mask, strength=0) > 0.5) == mask).all()

    def test_sometimes_takes_the_distractor_for_the_object(self, mask: np.ndarray) -> None:
        other = np.zeros_like(mask)
        other[:40, :40] = True
        leaks = [(augment.predicted_mask(rng(seed), mask, distractor=other) > 0.5)[other].mean() for seed in range(80)]
        assert 0.1 < np.mean(np.array(leaks) > 0.4) < 0.4

    def test_nothing_stays_nothing(self) -> None:
        guess = augment.predicted_mask(rng(), np.zeros((16, 16), bool))
        assert guess.dtype == np.float32 and not guess.any()

    def test_signed_distance(self) -> None:
        mask = np.zeros((21, 21), bool)
        mask[5:16, 5:16] = True
        distance = augment.signed_distance(mask)
        assert ((distance > 0) == mask).all() and distance[10, 10] == pytest.approx(6, abs=0.3)
