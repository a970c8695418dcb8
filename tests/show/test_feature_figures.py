"""Figures of features: equal vectors get equal colours, numbers in legends and titles are those of the arrays."""

from __future__ import annotations

import io

import numpy as np
import pytest
from matplotlib.figure import Figure

from ranet_edu.show.feature_figures import (
    channel_figure,
    cosine_figure,
    map_figure,
    pca_colours,
    picture_row,
    receptive_figure,
)

FRAME = np.full((48, 85, 3), 128, np.uint8)


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape)


# --- vectors


def test_cosine_figure_gives_products_before_and_cosines_after_normalising() -> None:
    plain, unit = cosine_figure({"a": (3, 4), "b": (8, 6), "c": (-4, 3)}, reference="a").axes
    legends = [[text.get_text().split(": ")[1] for text in ax.get_legend().get_texts()] for ax in (plain, unit)]
    assert legends == [["25.00", "48.00", "0.00"], ["1.00", "0.96", "0.00"]]
    arrows = [(float(arrow.U[0]), float(arrow.V[0])) for arrow in unit.collections]
    np.testing.assert_allclose(arrows, [(0.6, 0.8), (0.8, 0.6), (-0.8, 0.6)])


# --- principal components as colours


def test_pca_colours_show_what_varies_most() -> None:
    features = 0.01 * noise(6, 8, 9)
    features[4] += np.linspace(-1, 1, 9)  # by far the strongest: from left to right
    (colours,) = pca_colours(features)
    assert colours.shape == (8, 9, 3)
    assert (colours.min(), colours.max()) == (0, 1)
    assert abs(np.corrcoef(colours[..., 0].ravel(), features[4].ravel())[0, 1]) > 0.99


def test_equal_vectors_get_equal_colours_in_every_map() -> None:
    first = noise(5, 6, 7)
    moved = np.roll(first, (1, 2), axis=(1, 2))
    colours = pca_colours(first, moved, moved[::-1])
    np.testing.assert_allclose(np.roll(colours[0], (1, 2), axis=(0, 1)), colours[1], atol=1e-12)
    assert np.abs(colours[1] - colours[2]).mean() > 0.05


def test_pca_colours_do_not_depend_on_an_axis_s_sign_or_the_others() -> None:
    first, other = noise(2, 5, 6, 7)
    np.testing.assert_array_equal(pca_colours(first)[0], pca_colours(first, other)[0])


def test_pca_colours_of_constant_features_are_finite() -> None:
    assert np.isfinite(pca_colours(np.ones((4, 3, 3)))[0]).all()


def test_pca_colours_refuse_other_channels() -> None:
    with pytest.raises(ValueError, match=r"\[5, 4\] channels"):
        pca_colours(noise(5, 2, 2), noise(4, 2, 2))


# --- rows and grids


def test_picture_row_shows_pictures_of_any_size_in_one() -> None:
    figure = picture_row({"frame": FRAME, "1/16": noise(3, 5, 3) * 0})
    figure.draw_without_rendering()
    assert [ax.get_title() for ax in figure.axes] == ["frame", "1/16"]
    first, second = (ax.get_window_extent() for ax in figure.axes)
    assert (first.width, first.height) == pytest.approx((second.width, second.height), abs=1)


def test_channel_figure_shows_the_channels_that_vary_most_on_one_scale_per_row() -> None:
    fine, coarse = noise(5, 6, 8) * np.array([1, 9, 2, 7, 3])[:, None, None], noise(2, 3, 4)
    figure = channel_figure({"1/2": fine, "1/4": coarse}, count=2)
    assert [ax.get_xlabel() for ax in figure.axes] == ["channel 1", "channel 3", "channel 0", "channel 1"]
    assert [ax.get_ylabel() for ax in figure.axes] == ["1/2", "", "1/4", ""]
    np.testing.assert_array_equal(figure.axes[1].images[0].get_array(), fine[3])
    limits = [ax.images[0].get_clim() for ax in figure.axes]
    assert limits[0] == limits[1] != limits[2] == limits[3]


# --- receptive fields, maps


def test_receptive_figure_boxes_all_that_moves_the_vector() -> None:
    gradient = np.zeros((30, 50))
    gradient[4:9, 10:40] = 1
    gradient[20, 12] = 1e-9
    ax = receptive_figure(FRAME, {"1/8": gradient}).axes[0]
    assert ax.get_title() == "1/8: 30 x 17 pixels"
    assert {patch.get_bbox().bounds for patch in ax.patches} == {(9.5, 3.5, 30, 17)}
    np.testing.assert_array_equal(ax.images[-1].get_array(), np.sqrt(gradient))


def test_map_figure_has_one_scale_from_lowest_to_highest() -> None:
    maps = {"one": np.array([[0.2, 0.5]]), "two": np.array([[0.9, 0.4]])}
    one, two, bar = map_figure(FRAME, maps, "length").axes
    assert one.images[-1].get_clim() == two.images[-1].get_clim() == (0.2, 0.9)
    assert (one.get_title(), two.get_title(), bar.get_ylabel()) == ("one", "two", "length")


@pytest.mark.parametrize(
    "figure",
    [
        cosine_figure({"a": (1e-3, 0)}, "a"),
        picture_row({"": np.zeros((1, 1, 3))}),
        channel_figure({"": np.zeros((1, 1, 1))}, count=1),
        receptive_figure(FRAME, {str(number): np.ones((1, 1)) for number in range(4)}),
        map_figure(FRAME, {"": np.ones((1, 1))}, ""),
    ],
    ids=["cosine", "row", "channels", "receptive", "map"],
)
def test_smallest_input_can_be_drawn(figure: Figure) -> None:
    file = io.BytesIO()
    figure.savefig(file)
    assert file.tell() > 1000
