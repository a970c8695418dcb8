"""ranet_edu.video.masks: what goes into a file comes out of it, and what can't be a mask is refused by name."""

from __future__ import annotations

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from ranet_edu.video import masks
from ranet_edu.video.masks import OBJECT_COLOURS, PALETTE, label_map, object_masks, overlay, read_mask, write_mask

LABELS = np.array([[0, 1, 2, 3], [3, 2, 255, 0], [0, 0, 7, 1]], np.uint8)
BINARY = (LABELS > 0).astype(np.uint8)


def test_palette_begins_like_pascal_voc():
    expected = [(0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0), (0, 0, 128), (128, 0, 128), (0, 128, 128)]
    assert [tuple(colour) for colour in PALETTE[:7].tolist()] == expected
    assert PALETTE[255].tolist() == [224, 224, 192]
    assert len(np.unique(PALETTE, axis=0)) == 256


def test_palette_is_that_of_davis_files(shared_data):
    path = next((shared_data / "multi_object" / "Annotations" / "480p" / "dogs_jump").glob("*.png"))
    with Image.open(path) as image:
        assert np.array_equal(np.reshape(image.getpalette(), (-1, 3)), PALETTE)
    assert set(np.unique(read_mask(path))) == {0, 1, 2, 3}


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.int8, bool])
def test_round_trip(tmp_path, dtype):
    labels = (LABELS % 100).astype(dtype)
    write_mask(tmp_path / "new" / "mask.png", labels)
    assert np.array_equal(read_mask(tmp_path / "new" / "mask.png"), labels)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["mask.png"]


def test_written_file_is_an_indexed_png_that_keeps_void(tmp_path):
    write_mask(tmp_path / "mask.png", LABELS)
    with Image.open(tmp_path / "mask.png") as image:
        assert (image.format, image.mode) == ("PNG", "P")
        assert np.array_equal(np.reshape(image.getpalette(), (-1, 3)), PALETTE)
        assert np.array_equal(np.array(image.convert("RGB")), PALETTE[LABELS])
    assert np.array_equal(read_mask(tmp_path / "mask.png"), LABELS)


def test_a_non_contiguous_mask_is_written_as_it_looks(tmp_path):
    write_mask(tmp_path / "mask.png", LABELS.T[::-1])
    assert np.array_equal(read_mask(tmp_path / "mask.png"), LABELS.T[::-1])


def saved(folder, array, mode=None, name="mask.png"):
    image = Image.fromarray(array)
    image = image.convert(mode) if mode else image
    image.save(folder / name)
    return folder / name


def test_greyscale_0_255_is_one_object(tmp_path):
    labels = read_mask(saved(tmp_path, BINARY * 255))
    assert labels.dtype == np.uint8 and np.array_equal(labels, BINARY)


def test_all_white_is_one_object_and_all_black_none(tmp_path):
    assert np.all(read_mask(saved(tmp_path, np.full((4, 5), 255, np.uint8))) == 1)
    assert np.all(read_mask(saved(tmp_path, np.zeros((4, 5), np.uint8))) == 0)


def test_other_greyscale_is_indices(tmp_path):
    assert np.array_equal(read_mask(saved(tmp_path, LABELS)), LABELS)
    assert np.array_equal(read_mask(saved(tmp_path, BINARY)), BINARY)


def test_grey_labels_beside_void(tmp_path):
    labels = np.append(np.arange(33), 255).astype(np.uint8).reshape(2, 17)
    assert np.array_equal(read_mask(saved(tmp_path, labels)), labels)
    few = np.array([[0, 40, 80]], np.uint8)
    assert np.array_equal(read_mask(saved(tmp_path, few)), few)


def soft_ellipse(strongest=255):
    drawn = cv2.ellipse(np.zeros((48, 64), np.uint8), (32, 24), (20, 12), 0, 0, 360, strongest, -1)
    return np.array(Image.fromarray(drawn).resize((160, 120), Image.Resampling.LANCZOS))


@pytest.mark.parametrize("mode", ["L", "LA"])
@pytest.mark.parametrize(
    "array", [soft_ellipse(), soft_ellipse(200), np.array([[0, 128, 255]], np.uint8)], ids=["white", "grey", "one rim"]
)
def test_soft_edges_are_not_labels(tmp_path, array, mode):
    """Each shade would be an object, and the object itself, white, void."""
    path = saved(tmp_path, array, mode)
    with pytest.raises(ValueError, match=rf"has {len(np.unique(array))} grey levels, .*threshold at 128") as caught:
        read_mask(path)
    assert str(path) in str(caught.value)


def test_soft_shades_in_an_indexed_file_are_labels(tmp_path):
    array = soft_ellipse()
    write_mask(tmp_path / "mask.png", array)
    assert np.array_equal(read_mask(tmp_path / "mask.png"), array)


def test_soft_edges_do_no_harm_where_all_labels_are_merged(tmp_path):
    assert np.array_equal(read_mask(saved(tmp_path, soft_ellipse()), merged=True), soft_ellipse())


def test_one_bit(tmp_path):
    assert np.array_equal(read_mask(saved(tmp_path, BINARY * 255, "1")), BINARY)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA"])
def test_black_and_white_is_read_in_any_opaque_mode(tmp_path, mode):
    assert np.array_equal(read_mask(saved(tmp_path, BINARY * 255, mode)), BINARY)


@pytest.mark.parametrize("name", ["mask.bmp", "mask.tiff"])
def test_other_lossless_formats(tmp_path, name):
    assert np.array_equal(read_mask(saved(tmp_path, BINARY * 255, name=name)), BINARY)


def test_a_small_palette_as_davis_2016_files_have(tmp_path):
    image = Image.fromarray(BINARY)
    image.putpalette([0, 0, 0, 128, 0, 0])
    image.save(tmp_path / "mask.png", optimize=True)
    assert np.array_equal(read_mask(tmp_path / "mask.png"), BINARY)


BLACK, RED, WHITE = (0, 0, 0), (255, 0, 0), (255, 255, 255)


def indexed(folder, indices, *colours):
    image = Image.fromarray(indices)
    image.putpalette([value for colour in colours for value in colour])
    image.save(folder / "mask.png")
    return folder / "mask.png"


def test_white_is_the_object_whichever_colour_the_palette_begins_with(tmp_path):
    for path in (indexed(tmp_path, BINARY, BLACK, WHITE), indexed(tmp_path, 1 - BINARY, WHITE, BLACK)):
        assert np.array_equal(read_mask(path), BINARY)
    assert np.all(read_mask(indexed(tmp_path, BINARY * 0, WHITE, BLACK)) == 1)


@pytest.mark.parametrize("colours", [(WHITE, RED, BLACK), (BLACK, RED, WHITE), (BLACK, BLACK, BLACK)])
def test_other_palettes_do_not_change_the_indices(tmp_path, colours):
    labels = np.minimum(LABELS, 2)
    assert np.array_equal(read_mask(indexed(tmp_path, labels, *colours)), labels)
    assert np.all(read_mask(indexed(tmp_path, labels * 0 + 1, *colours)) == 1)


def test_an_indexed_file_that_lost_its_palette_keeps_its_indices(tmp_path):
    path = indexed(tmp_path, LABELS % 4, WHITE, BLACK, RED, RED)
    data = path.read_bytes()
    start = data.index(b"PLTE")
    size = int.from_bytes(data[start - 4 : start], "big")
    path.write_bytes(data[: start - 4] + data[start + 8 + size :])
    assert np.array_equal(read_mask(path), LABELS % 4)


def with_alpha(grey, alpha, channels):
    return np.dstack([grey] * channels + [alpha])


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (PALETTE[LABELS], "RGB image"),
        (np.dstack([LABELS] * 3), "RGB image"),
        (with_alpha(BINARY * 0, BINARY * 255, 3), "transparent"),
        (with_alpha(BINARY * 255, BINARY * 255, 1), "transparent"),
        (LABELS.astype(np.uint16), "I;16"),
        (LABELS.astype(np.float32), "mode F"),
    ],
)
def test_images_that_are_not_masks_are_refused(tmp_path, array, words):
    name = "mask.tiff" if array.dtype == np.float32 else "mask.png"
    path = saved(tmp_path, array, name=name)
    with pytest.raises(ValueError, match=words) as caught:
        read_mask(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("name", ["mask.jpg", "mask.webp"])
def test_lossy_files_are_refused(tmp_path, name):
    path = saved(tmp_path, BINARY * 255, name=name)
    with pytest.raises(ValueError, match="save the mask as PNG"):
        read_mask(path)


def test_missing_folder_text_and_truncated_files(tmp_path):
    with pytest.raises(FileNotFoundError, match="absent.png"):
        read_mask(tmp_path / "absent.png")
    with pytest.raises(FileNotFoundError):
        read_mask(tmp_path)
    (tmp_path / "text.png").write_text("not an image")
    with pytest.raises(ValueError, match="text.png"):
        read_mask(tmp_path / "text.png")
    whole = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 255, (64, 64)).astype(np.uint8)
    Image.fromarray(noise).save(whole, "PNG")
    for length in (20, 40, 2000):
        (tmp_path / "cut.png").write_bytes(whole.getvalue()[:length])
        with pytest.raises(ValueError, match="cut.png"):
            read_mask(tmp_path / "cut.png")


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (LABELS.astype(float), "integers"),
        (LABELS[None], r"\(H, W\)"),
        (np.zeros((0, 4), np.uint8), r"\(H, W\)"),
        (LABELS.astype(int) + 1, "0..255"),
        (LABELS.astype(int) - 1, "0..255"),
    ],
)
def test_arrays_that_are_not_labels_are_not_written(tmp_path, labels, words):
    with pytest.raises(ValueError, match=words):
        write_mask(tmp_path / "mask.png", labels)
    assert not list(tmp_path.iterdir())


def test_only_png_names_are_written(tmp_path):
    with pytest.raises(ValueError, match=r"\.png"):
        write_mask(tmp_path / "mask.jpg", LABELS)


def test_a_failed_write_keeps_the_old_file_and_leaves_nothing(tmp_path, monkeypatch):
    write_mask(tmp_path / "mask.png", LABELS)

    def half_written(self, path, *args, **kwargs):
        path.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(masks.Image.Image, "save", half_written)
    with pytest.raises(OSError, match="disk full"):
        write_mask(tmp_path / "mask.png", BINARY)
    monkeypatch.undo()
    assert np.array_equal(read_mask(tmp_path / "mask.png"), LABELS)
    assert [path.name for path in tmp_path.iterdir()] == ["mask.png"]


def frame_and_square(label=1):
    frame = np.random.default_rng(0).integers(0, 256, (60, 80, 3)).astype(np.uint8)
    labels = np.zeros((60, 80), np.uint8)
    labels[20:40, 30:60] = label
    return frame, labels


def test_overlay_tints_the_inside_draws_the_contour_and_leaves_the_rest():
    frame, labels = frame_and_square()
    frame_before, labels_before = frame.copy(), labels.copy()
    result = overlay(frame, labels, alpha=0.25)
    assert np.array_equal(result[labels == 0], frame[labels == 0])
    assert np.all(result[20, 30:60] == OBJECT_COLOURS[0]) and np.all(result[20:40, 59] == OBJECT_COLOURS[0])
    inner = (slice(22, 38), slice(32, 58))
    expected = 0.75 * frame[inner] + 0.25 * OBJECT_COLOURS[0]
    assert np.abs(result[inner] - expected).max() <= 0.5
    assert np.array_equal(frame, frame_before) and np.array_equal(labels, labels_before)


def test_overlay_without_contour_and_at_both_ends_of_alpha():
    frame, labels = frame_and_square()
    assert np.array_equal(overlay(frame, labels, alpha=0, contour=False), frame)
    assert np.all(overlay(frame, labels, alpha=1, contour=False)[labels == 1] == OBJECT_COLOURS[0])


def test_overlay_has_no_contour_along_the_frame_border():
    frame = np.zeros((60, 80, 3), np.uint8)
    assert np.all(overlay(frame, np.ones((60, 80), np.uint8)) == np.rint(OBJECT_COLOURS[0] / 2))


def test_overlay_gives_neighbouring_labels_other_colours_and_cycles():
    frame = np.zeros((2, 255, 3), np.uint8)
    labels = np.tile(np.arange(1, 256, dtype=np.uint8), (2, 1))
    colours = overlay(frame, labels, alpha=1)[0]
    assert np.all(np.any(colours[1:] != colours[:-1], axis=1))
    assert np.array_equal(colours[7], colours[0]) and len(np.unique(colours, axis=0)) == 7


def test_overlay_refuses_other_sizes_and_alphas():
    frame, labels = frame_and_square()
    with pytest.raises(ValueError, match="differ in size"):
        overlay(frame, labels[:-1])
    with pytest.raises(ValueError, match="alpha"):
        overlay(frame, labels, alpha=1.5)


def test_object_masks_and_label_map_are_inverse():
    labels = LABELS % 8
    planes = object_masks(labels)
    assert planes.shape == (7, 3, 4) and planes.dtype == bool
    assert all(np.array_equal(planes[n - 1], labels == n) for n in range(1, 8))
    assert np.array_equal(label_map(planes), labels)


def test_object_masks_with_a_count():
    assert object_masks(LABELS, count=2).sum() == np.sum((LABELS == 1) | (LABELS == 2))
    assert object_masks(BINARY, count=3).shape == (3, 3, 4) and not object_masks(BINARY, count=3)[1:].any()
    assert object_masks(BINARY * 0).shape == (0, 3, 4)
    assert object_masks(LABELS).shape == (255, 3, 4)


@pytest.mark.parametrize(("dtype", "count"), [(bool, 3), (np.int8, 300), (np.uint8, 300)])
def test_object_masks_with_a_count_that_the_labels_type_does_not_hold(dtype, count):
    planes = object_masks(BINARY.astype(dtype), count)
    assert planes.shape == (count, 3, 4) and np.array_equal(planes[0], BINARY) and not planes[1:].any()


def test_label_map_puts_later_objects_on_top_and_refuses_other_arrays():
    planes = np.ones((2, 3, 4), bool)
    assert np.all(label_map(planes) == 2)
    assert np.all(label_map(planes[:0]) == 0)
    for wrong in (planes[0], planes.astype(float), np.zeros((256, 1, 1), bool)):
        with pytest.raises(ValueError, match="threshold"):
            label_map(wrong)
