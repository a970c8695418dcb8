"""Figures: what they show is what they were given, labelled, at any size; README's figure can be drawn again."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from ranet_edu.datasets.davis import DavisDataset
from ranet_edu.model.baselines import MatchingBaseline
from ranet_edu.model.ranet import RANet
from ranet_edu.show import figures
from ranet_edu.show.figures import film_strip, frame_similarity, score_curves, similarity_figure
from ranet_edu.video.masks import OBJECT_COLOURS


def clip(length: int = 7, size: tuple[int, int] = (48, 85)) -> list[np.ndarray]:
    """Grey frames, each of its own brightness."""
    return [np.full((*size, 3), 10 * number, np.uint8) for number in range(length)]


def square(label: int, size: tuple[int, int] = (48, 85)) -> np.ndarray:
    mask = np.zeros(size, np.uint8)
    mask[8:40, 8:40] = label
    return mask


def pictures(figure: Figure) -> list[np.ndarray]:
    return [ax.images[0].get_array() for ax in figure.axes if ax.images]


def drawn(figure: Figure) -> np.ndarray:
    """The figure as a file would show it, (H, W, 3)."""
    file = io.BytesIO()
    figure.savefig(file)
    with Image.open(file) as image:
        return np.array(image.convert("RGB"))


# --- film strips


def test_film_strip_shows_the_chosen_frames_in_order() -> None:
    figure = film_strip(clip(), numbers=[0, 2, 5])
    assert [ax.get_title() for ax in figure.axes] == ["frame 0", "frame 2", "frame 5"]
    assert [picture[0, 0, 0] for picture in pictures(figure)] == [0, 20, 50]


def test_film_strip_goes_from_the_first_frame_to_the_last() -> None:
    titles = [ax.get_title() for ax in film_strip(clip(20)).axes]
    assert len(titles) == 6
    assert (titles[0], titles[-1]) == ("frame 0", "frame 19")


def test_film_strip_of_few_frames_shows_each_once() -> None:
    assert [ax.get_title() for ax in film_strip(clip(2)).axes] == ["frame 0", "frame 1"]


def test_rows_are_labelled_and_painted_with_their_own_masks() -> None:
    rows = {"true": [square(1)] * 7, "predicted": [square(2)] * 7}
    figure = film_strip(clip(), rows, numbers=[3], names=("cup", "cat"))
    assert [ax.get_ylabel() for ax in figure.axes] == ["true", "predicted"]
    contours = [picture[8, 20] for picture in pictures(figure)]
    np.testing.assert_array_equal(contours, OBJECT_COLOURS[:2])


def test_legend_names_objects_in_their_colours() -> None:
    (legend,) = film_strip(clip(), [square(1)] * 7, names=("cup", "cat")).legends
    assert [text.get_text() for text in legend.get_texts()] == ["cup", "cat"]
    colours = [np.rint(np.multiply(patch.get_facecolor()[:3], 255)) for patch in legend.get_patches()]
    np.testing.assert_array_equal(colours, OBJECT_COLOURS[:2])


def test_a_mask_too_few_is_an_error_that_names_the_row() -> None:
    with pytest.raises(ValueError, match="'predicted': 6 for 7 frames"):
        film_strip(clip(), {"true": [square(1)] * 7, "predicted": [square(1)] * 6})


@pytest.mark.parametrize("size", [(1, 1), (37, 1001), (301, 23)])
def test_any_size_can_be_drawn(size: tuple[int, int]) -> None:
    masks = [np.ones(size, np.uint8)] * 3
    maps = np.random.default_rng(0).random((2, 3, 4, 5))
    for figure in (film_strip(clip(3, size), masks), similarity_figure(*clip(2, size), maps, [(1, 2)])):
        assert np.ptp(drawn(figure)) > 0


# --- similarity


def test_similarity_figure_shows_the_map_of_the_pixel() -> None:
    maps = np.random.default_rng(0).random((4, 6, 3, 5))
    template, shown, bar = similarity_figure(*clip(2), maps, [(2, 5)]).axes
    np.testing.assert_array_equal(shown.images[-1].get_array(), maps[2, 5])
    assert (template.get_xlabel(), template.get_ylabel()) == ("template column", "template row")
    assert (shown.get_xlabel(), shown.get_ylabel()) == ("column of the map", "row of the map")
    assert bar.get_ylabel() == "cosine similarity"


def test_the_pixel_is_marked_where_it_lies() -> None:
    template = similarity_figure(*clip(2), np.zeros((4, 6, 3, 5)), [(2, 5)]).axes[0]
    assert {patch.get_bbox().bounds for patch in template.patches} == {(4.5, 1.5, 1, 1)}
    assert template.get_xlim() == (-0.5, 5.5)
    assert template.get_ylim() == (3.5, -0.5)  # rows count downwards


def test_several_pixels_share_one_scale() -> None:
    maps = np.random.default_rng(0).random((4, 6, 3, 5))
    figure = similarity_figure(*clip(2), maps, [(0, 0), (2, 5), (3, 1)])
    limits = {ax.images[-1].get_clim() for ax in figure.axes[1:4]}
    shown = np.stack([maps[0, 0], maps[2, 5], maps[3, 1]])
    assert limits == {(np.median(shown), shown.max())}
    assert [text.get_text() for text in figure.axes[0].texts] == ["1", "2", "3"]


def test_the_scale_can_be_chosen() -> None:
    _, shown, _ = similarity_figure(*clip(2), np.zeros((4, 6, 3, 5)), [(0, 0)], limits=(-0.5, 0.25)).axes
    assert shown.images[-1].get_clim() == (-0.5, 0.25)


def test_the_picture_keeps_the_frame_s_aspect() -> None:
    figure = similarity_figure(*clip(2, (100, 300)), np.random.default_rng(0).random((5, 5, 8, 8)), [(0, 0)])
    figure.draw_without_rendering()
    for ax in figure.axes[:2]:
        assert ax.bbox.width / ax.bbox.height == pytest.approx(3, rel=0.01)


def test_flat_maps_and_pixels_outside_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(24, 3, 5\)"):
        similarity_figure(*clip(2), np.zeros((24, 3, 5)), [(0, 0)])
    with pytest.raises(IndexError, match=r"\(-1, 0\) lies outside of the grid of 4 x 6"):
        similarity_figure(*clip(2), np.zeros((4, 6, 3, 5)), [(-1, 0)])


def test_pixel_at_covers_the_point() -> None:
    points = [(0, 0), (11, 14), (12, 15), (47, 84)]  # of 48 x 85, in cells of 12 x 14.2
    pixels = [figures.pixel_at(point, clip()[0], np.zeros((4, 6, 1, 1))) for point in points]
    assert pixels == [(0, 0), (0, 0), (1, 1), (3, 5)]


def test_frame_similarity_finds_each_pixel_of_a_frame_in_itself() -> None:
    frame = np.random.default_rng(0).integers(0, 256, (60, 100, 3), np.uint8)
    model = MatchingBaseline(canvas=(64, 96)).eval()
    maps = frame_similarity(model, frame, frame)
    assert maps.shape == (4, 6, 4, 6)
    assert maps.dtype == np.float32
    at_home = np.einsum("ijij->ij", maps)
    np.testing.assert_allclose(at_home, 1, atol=1e-5)
    np.testing.assert_array_equal(at_home, maps.max((2, 3)))


def test_frame_similarity_of_ranet_is_finer_than_its_template() -> None:
    frames = np.random.default_rng(0).integers(0, 256, (2, 96, 160, 3), np.uint8)
    model = RANet.lite(weights=None, canvas=(96, 160))
    assert frame_similarity(model, *frames).shape == (15, 27, 12, 20)


def test_frame_similarity_goes_where_the_model_is() -> None:
    frames = np.random.default_rng(0).integers(0, 256, (2, 96, 160, 3), np.uint8)
    model = RANet.lite(weights=None, canvas=(96, 160))
    half = frame_similarity(model.bfloat16(), *frames)
    assert half.dtype == np.float32
    images, masks = figures.canvas_images(model.to("meta"), frames), figures.canvas_masks(model, frames[..., 0])
    assert {images.device.type, masks.device.type} == {"meta"}
    with pytest.raises(NotImplementedError, match="no data"):  # all was computed there; only fetching it fails on meta
        frame_similarity(model, *frames)


@pytest.mark.gpu
def test_frame_similarity_on_a_gpu_is_the_same() -> None:
    frames = np.random.default_rng(0).integers(0, 256, (2, 96, 160, 3), np.uint8)
    model = RANet.lite(weights=None, canvas=(96, 160))
    expected = frame_similarity(model, *frames)
    np.testing.assert_allclose(frame_similarity(model.cuda(), *frames), expected, atol=5e-3)


def test_canvas_images_are_whole_frames_normalised() -> None:
    model = RANet.lite(weights=None, canvas=(96, 160))
    images = figures.canvas_images(model, [np.full((45, 80, 3), value, np.uint8) for value in (0, 255)])
    assert images.shape == (2, 3, 96, 160)
    np.testing.assert_allclose(images[0], -127 / 128, rtol=1e-5)  # (x - 127) / 128
    np.testing.assert_allclose(images[1], 1, rtol=1e-5)


def test_canvas_masks_show_one_object_at_its_place() -> None:
    labels = np.zeros((48, 80), np.uint8)
    labels[:24, :40], labels[24:, 40:] = 1, 2
    model = RANet.lite(weights=None, canvas=(96, 160))
    first, second = (figures.canvas_masks(model, [labels, labels * 0], label) for label in (1, 2))
    assert first.shape == (2, 1, 96, 160)
    assert (first[0, 0, :40, :70] == 1).all() and (second[0, 0, 56:, 90:] == 1).all()
    assert first[0].mean().item() == pytest.approx(0.25, abs=0.01)
    assert not first[1].any() and not (first * second > 0.3).any()


# --- scores


def test_score_curves_are_named_and_coloured_as_the_objects() -> None:
    (ax,) = score_curves({"cup": [1, 0.5, 0.8], "cat": [1, 0, 1]}, "J").axes
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("frame", "J")
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["cup", "cat"]
    np.testing.assert_array_equal(ax.lines[1].get_ydata(), [1, 0, 1])
    np.testing.assert_allclose([line.get_color() for line in ax.lines], OBJECT_COLOURS[:2] / 255)
    low, high = ax.get_ylim()
    assert low < 0 < 1 < high  # lines at 0 and 1 are seen whole


# --- README's figure


def test_overview_shows_given_mask_predictions_and_maps(repository: Path) -> None:
    sequence = DavisDataset(repository / "data" / "samples", year="2017")["cat-coffee"]
    predicted = [sequence.read_annotation(0)] * len(sequence)
    maps = {number: np.random.default_rng(number).random((6, 8, 6, 8)) for number in (10, 59)}
    figure = figures.overview(sequence, predicted, maps, (2, 5), ("coffee cup", "cat"))
    titles = [ax.get_title() for ax in figure.axes]
    assert titles[:3] == ["frame 0: the mask is given", "frame 10", "frame 59"]
    np.testing.assert_array_equal(figure.axes[5].images[-1].get_array(), maps[59][2, 5])
    assert figure.axes[4].images[-1].get_clim() == figure.axes[5].images[-1].get_clim()


def test_the_command_draws_the_figure_small_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    untrained = MatchingBaseline(canvas=(64, 96)).eval()
    monkeypatch.setattr("ranet_edu.weights.open_model", {"matching": untrained}.__getitem__)
    out = tmp_path / "new" / "overview.jpg"
    figures.main(["--out", str(out), "--weights", "matching"])
    assert_fit_for_readme(out)
    assert list(out.parent.iterdir()) == [out]


def test_the_committed_figure_is_small_enough(repository: Path) -> None:
    assert_fit_for_readme(repository / "data" / "figures" / "overview.jpg")


def assert_fit_for_readme(path: Path) -> None:
    assert path.stat().st_size <= 250 * 1024
    with Image.open(path) as image:
        assert image.width == 1600
        assert image.height < 600
