"""ranet_edu.video.crop: boxes, and cutting and pasting them, against formulations for single pixels."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from ranet_edu.video.crop import cut, object_box, paste, whole_frame_box, wider_box

CANVAS = (16, 28)


def sampled(image: np.ndarray, y: float, x: float) -> float:
    """Bilinear value at a point whose pixel centres are whole numbers; the outside is zero."""
    top, left = int(np.floor(y)), int(np.floor(x))
    value = 0.0
    for row, down in ((top, 1 - (y - top)), (top + 1, y - top)):
        for column, across in ((left, 1 - (x - left)), (left + 1, x - left)):
            if 0 <= row < image.shape[0] and 0 <= column < image.shape[1]:
                value += down * across * image[row, column]
    return value


def cut_by_loops(image: np.ndarray, box: list[float], canvas: tuple[int, int]) -> np.ndarray:
    top, left, height, width = box
    rows = [top + (i + 0.5) * height / canvas[0] - 0.5 for i in range(canvas[0])]
    columns = [left + (j + 0.5) * width / canvas[1] - 0.5 for j in range(canvas[1])]
    return np.array([[sampled(image, y, x) for x in columns] for y in rows])


def paste_by_loops(crop: np.ndarray, box: list[float], size: tuple[int, int]) -> np.ndarray:
    top, left, height, width = box
    rows = [(i + 0.5 - top) * crop.shape[0] / height - 0.5 for i in range(size[0])]
    columns = [(j + 0.5 - left) * crop.shape[1] / width - 0.5 for j in range(size[1])]
    return np.array([[sampled(crop, y, x) for x in columns] for y in rows])


def box_by_hand(mask: np.ndarray, canvas: tuple[int, int], grow: float, smallest: float) -> list[float]:
    """Top, left, height, width, written down for one mask with ordinary numbers."""
    aspect = canvas[1] / canvas[0]
    whole_height = max(mask.shape[0], mask.shape[1] / aspect)
    rows, columns = np.nonzero(mask)
    middle = (rows.min() + rows.max() + 1) / 2, (columns.min() + columns.max() + 1) / 2
    height = max(smallest, grow * (rows.max() + 1 - rows.min()))
    width = max(smallest, grow * (columns.max() + 1 - columns.min()))
    height = min(max(height, width / aspect), whole_height)
    corner = []
    for centre, length, room in zip(middle, (height, height * aspect), mask.shape, strict=True):
        corner.append(min(max(centre - length / 2, 0), room - length) if room > length else (room - length) / 2)
    return [*corner, height, height * aspect]


def mask_of(size: tuple[int, int], *rectangles: tuple[int, int, int, int]) -> torch.Tensor:
    """One mask for each rectangle (top, bottom, left, right)."""
    masks = torch.zeros(len(rectangles), *size)
    for mask, (top, bottom, left, right) in zip(masks, rectangles, strict=True):
        mask[top:bottom, left:right] = 1
    return masks


BOXES = [[2.0, 3.0, 8.0, 14.0], [-3.5, 1.25, 20.0, 35.0], [4.3, 17.9, 3.2, 5.6], [0.0, 0.0, 20.0, 30.0]]


@pytest.mark.parametrize("box", BOXES)
def test_cut_equals_loops(box):
    image = torch.rand(3, 20, 30)
    found = cut(image, torch.tensor(box), CANVAS)
    assert found.shape == (3, *CANVAS)
    for channel, expected in zip(found, image, strict=True):
        np.testing.assert_allclose(channel, cut_by_loops(expected.numpy(), box, CANVAS), atol=1e-4)


@pytest.mark.parametrize("box", BOXES)
def test_paste_equals_loops(box):
    crops = torch.rand(2, *CANVAS)
    found = paste(crops, torch.tensor(box), (20, 30))
    assert found.shape == (2, 20, 30)
    for channel, expected in zip(found, crops, strict=True):
        np.testing.assert_allclose(channel, paste_by_loops(expected.numpy(), box, (20, 30)), atol=1e-4)


def test_pixel_for_pixel_paste_undoes_cut():
    image, box = torch.rand(3, 40, 60), torch.tensor([7.0, 11.0, *CANVAS])
    crop = cut(image, box, CANVAS)
    torch.testing.assert_close(crop, image[:, 7:23, 11:39], atol=1e-4, rtol=0)
    pasted = paste(crop, box, (40, 60))
    torch.testing.assert_close(pasted[:, 7:23, 11:39], image[:, 7:23, 11:39], atol=1e-4, rtol=0)
    pasted[:, 7:23, 11:39] = 0
    assert pasted.abs().max() < 1e-4  # nothing beside the box


def test_paste_undoes_cut_of_anything_smooth():
    rows, columns = torch.meshgrid(torch.arange(40.0), torch.arange(60.0), indexing="ij")
    image = torch.stack([rows / 40, columns / 60, (rows / 9).sin() * (columns / 7).cos()])
    box = torch.tensor([5.3, 8.8, 12.0, 21.0])
    pasted = paste(cut(image, box, (32, 56)), box, (40, 60))
    inside = (slice(None), slice(7, 16), slice(10, 29))
    torch.testing.assert_close(pasted[inside], image[inside], atol=0.01, rtol=0)


def test_a_mask_survives_cut_and_paste():
    masks = mask_of((90, 160), (30, 61, 50, 93))
    box = object_box(masks, (256, 448))
    pasted = paste(cut(masks, box, (256, 448)), box, (90, 160))
    assert torch.equal(pasted >= 0.5, masks >= 0.5)


def test_a_frame_of_the_canvas_size_is_shown_as_it_is():
    image = torch.rand(3, *CANVAS)
    box = whole_frame_box(CANVAS, CANVAS)
    assert box.tolist() == [0, 0, *CANVAS]
    torch.testing.assert_close(cut(image, box, CANVAS), image, atol=1e-5, rtol=0)
    torch.testing.assert_close(paste(image, box, CANVAS), image, atol=1e-5, rtol=0)


def test_a_davis_frame_is_centred_in_the_paper_s_canvas():
    box = whole_frame_box((480, 854), (480, 864))
    assert box.tolist() == [0, -5, 480, 864]
    image = torch.rand(3, 480, 854)
    canvas = cut(image, box, (480, 864))
    torch.testing.assert_close(canvas[:, :, 5:859], image, atol=1e-3, rtol=0)
    assert canvas[:, :, :4].abs().max() < 1e-3 and canvas[:, :, 860:].abs().max() < 1e-3


@pytest.mark.parametrize("size", [(32, 56), (48, 84)])
def test_resampling_is_opencv_s(size):
    """Same convention for pixel centres; enlarging differs in the half pixel at the border, where zeros come in."""
    image = torch.rand(3, *size)
    found = cut(image, whole_frame_box(size, CANVAS), CANVAS).permute(1, 2, 0).numpy()
    expected = cv2.resize(image.permute(1, 2, 0).numpy(), CANVAS[::-1], interpolation=cv2.INTER_LINEAR)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    larger = paste(image, whole_frame_box((96, 168), CANVAS), (96, 168)).permute(1, 2, 0).numpy()
    expected = cv2.resize(image.permute(1, 2, 0).numpy(), (168, 96), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_allclose(larger[2:-2, 2:-2], expected[2:-2, 2:-2], atol=1e-4)


@pytest.mark.parametrize("size", [(480, 854), (854, 480), (100, 100), (1, 1), (7, 400)])
def test_the_whole_frame_box_is_the_smallest_that_holds_it(size):
    top, left, height, width = whole_frame_box(size, CANVAS).tolist()
    assert width / height == pytest.approx(CANVAS[1] / CANVAS[0])
    assert top <= 0 and left <= 0 and top + height >= size[0] - 1e-3 and left + width >= size[1] - 1e-3
    assert top + height / 2 == pytest.approx(size[0] / 2) and left + width / 2 == pytest.approx(size[1] / 2)
    assert height == pytest.approx(size[0]) or width == pytest.approx(size[1])


@pytest.mark.parametrize("size", [(90, 160), (160, 90), (50, 50)])
@pytest.mark.parametrize("grow", [1.0, 1.5, 2.5])
def test_object_box_equals_its_definition(size, grow):
    random = np.random.default_rng(0)
    for _ in range(25):
        top, left = random.integers(0, size[0] - 4), random.integers(0, size[1] - 4)
        height, width = random.integers(3, size[0] - top + 1), random.integers(3, size[1] - left + 1)
        masks = mask_of(size, (top, top + height, left, left + width))
        found = object_box(masks, CANVAS, grow, smallest=12).tolist()
        assert found == pytest.approx(box_by_hand(masks[0].numpy(), CANVAS, grow, 12), abs=1e-3)
        assert found[3] / found[2] == pytest.approx(28 / 16)


def test_object_box_stays_inside_the_frame_where_it_fits():
    for rectangle in ((0, 9, 0, 9), (81, 90, 151, 160), (0, 9, 151, 160), (40, 50, 70, 90)):
        top, left, height, width = object_box(mask_of((90, 160), rectangle), CANVAS).tolist()
        assert top >= 0 and left >= 0 and top + height <= 90 + 1e-3 and left + width <= 160 + 1e-3
        assert top <= rectangle[0] and left <= rectangle[2]
        assert top + height >= rectangle[1] and left + width >= rectangle[3]


def test_a_wider_box_has_the_same_middle_and_ends_as_the_whole_frame():
    size, box = (90, 160), torch.tensor([30.0, 40.0, 16.0, 28.0])
    assert wider_box(box, 1.5, size, CANVAS).tolist() == pytest.approx([26, 33, 24, 42])
    top, left, height, width = wider_box(torch.tensor([2.0, 128.0, 16.0, 28.0]), 1.5, size, CANVAS).tolist()
    assert (top, left, height, width) == pytest.approx((0, 118, 24, 42))  # moved inside
    for factor in (5.8, 100.0):
        torch.testing.assert_close(wider_box(box, factor, size, CANVAS), whole_frame_box(size, CANVAS))


def test_without_an_object_another_box_may_be_given():
    other = torch.tensor([1.0, 2.0, 16.0, 28.0])
    assert torch.equal(object_box(torch.zeros(2, 90, 160), CANVAS, otherwise=other), other)
    masks = mask_of((90, 160), (30, 60, 40, 90))
    assert torch.equal(object_box(masks, CANVAS, otherwise=other), object_box(masks, CANVAS))


def test_object_box_is_centred_where_it_does_not_fit():
    top, left, height, width = object_box(mask_of((160, 90), (10, 60, 5, 85)), CANVAS).tolist()
    assert width > 90 and left + width / 2 == pytest.approx(45)
    assert top >= 0 and top + height <= 160


def test_object_box_grows_by_its_factor():
    masks = mask_of((900, 1600), (400, 464, 700, 812))  # 64 x 112, of the canvas' aspect
    assert object_box(masks, CANVAS, grow=1.5).tolist() == pytest.approx([384, 672, 96, 168])
    assert object_box(masks, CANVAS, grow=1.0).tolist() == pytest.approx([400, 700, 64, 112])


def test_object_box_has_a_smallest_side():
    box = object_box(mask_of((900, 1600), (400, 403, 700, 703)), CANVAS)
    assert box.tolist() == pytest.approx([401.5 - 16, 701.5 - 28, 32, 56])


def test_object_box_holds_all_objects_and_counts_from_a_half():
    masks = mask_of((90, 160), (10, 20, 10, 20), (60, 70, 120, 130))
    both = object_box(masks, CANVAS, grow=1)
    assert both.tolist() == pytest.approx(object_box(mask_of((90, 160), (10, 70, 10, 130)), CANVAS, grow=1).tolist())
    masks[1] *= 0.49
    assert object_box(masks, CANVAS).tolist() == object_box(masks[:1], CANVAS).tolist()
    assert object_box(masks >= 0.5, CANVAS).tolist() == object_box(masks[:1], CANVAS).tolist()


def test_an_empty_or_tiny_mask_gives_the_whole_frame():
    whole = whole_frame_box((90, 160), CANVAS).tolist()
    assert object_box(torch.zeros(2, 90, 160), CANVAS).tolist() == whole
    assert object_box(mask_of((90, 160), (40, 41, 50, 57)), CANVAS).tolist() == whole  # 7 pixels
    assert object_box(mask_of((90, 160), (40, 41, 50, 58)), CANVAS).tolist() != whole


def test_an_object_that_fills_the_frame_gives_the_whole_frame():
    torch.testing.assert_close(object_box(torch.ones(1, 90, 160), CANVAS), whole_frame_box((90, 160), CANVAS))
