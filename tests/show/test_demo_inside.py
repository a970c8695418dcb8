"""What the demo shows of a run: the pass that is looked into is the one that segmented the frame."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import videos
from matplotlib.figure import Figure

from ranet_edu.model.baselines import MatchingBaseline
from ranet_edu.model.ranet import RANet
from ranet_edu.show.demo_inside import (
    Inside,
    look_inside,
    merged_figure,
    previous_mask_figure,
    ranked_figure,
    run_figure,
)
from ranet_edu.show.demo_session import Clip, Record, open_clip, segment
from ranet_edu.show.figures import object_colour
from ranet_edu.video.segmenter import VideoSegmenter

CANVAS = (128, 224)


def two_objects() -> np.ndarray:
    labels = videos.square(0)
    labels[:, 18:] *= 3
    return labels


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    """Four frames, segmented; two objects, painted in the first and the third colour."""
    folder = tmp_path_factory.mktemp("session")
    clip = open_clip(videos.write_video(folder / "clip.mp4", videos.frames(4)), folder)
    for _ in segment(clip, VideoSegmenter(RANet.lite(canvas=CANVAS)), two_objects()):
        pass
    return clip


@pytest.fixture(scope="module")
def inside(clip: Clip) -> Inside:
    return look_inside(clip, 2, 3)


def test_the_pass_is_the_one_that_segmented_the_frame(clip: Clip, inside: Inside) -> None:
    assert (inside.label, inside.position, inside.frame.shape) == (3, 1, (*CANVAS, 3))
    first = clip.segmenter.begin(clip.frame(0), clip.labels(0))
    before = replace(first, probabilities=torch.from_numpy(clip.probabilities(1)))
    with torch.inference_mode():
        found = clip.segmenter.model(*clip.segmenter.network_inputs(before, clip.frame(2)))
    torch.testing.assert_close(inside.trace.probabilities, found)


def test_without_the_previous_mask_something_else_is_found(clip: Clip, inside: Inside) -> None:
    first = clip.segmenter.begin(clip.frame(0), clip.labels(0))
    before = replace(first, probabilities=torch.from_numpy(clip.probabilities(1)))
    told = clip.segmenter.network_inputs(before, clip.frame(2)).previous_masks[0, 1]
    assert np.array_equal(inside.previous, told.numpy()) and inside.previous.max() > 0.1
    assert (inside.trace.probabilities - inside.blind.probabilities).abs().max() > 0.01


@pytest.mark.parametrize(
    ("index", "label", "words"),
    [(4, 1, "Frame 4 is not segmented yet"), (0, 1, "was given"), (1, 2, r"Object 2 was not painted.*\[1, 3\]")],
)
def test_what_can_not_be_looked_into(clip: Clip, index: int, label: int, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        look_inside(clip, index, label)


def test_a_model_that_ranks_nothing(clip: Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clip, "segmenter", VideoSegmenter(MatchingBaseline()))
    with pytest.raises(ValueError, match="this is a MatchingBaseline"):
        look_inside(clip, 1, 1)


def shown(figure: Figure) -> list[np.ndarray]:
    """The maps that are drawn, over their frames."""
    figure.draw_without_rendering()
    return [ax.images[-1].get_array() for ax in figure.axes if len(ax.images) > 1]


def test_the_best_maps_stand_in_the_order_of_their_scores(inside: Inside) -> None:
    figure = ranked_figure(inside, count=4)
    maps = shown(figure)
    assert len(maps) == 4
    best = inside.trace.ranked.foreground_order[0, 1, 0]
    np.testing.assert_array_equal(maps[0], inside.trace.maps[0, best])
    titles = [ax.get_title() for ax in figure.axes if ax.get_title().startswith("map")]
    scores = [float(title.split()[-1]) for title in titles]
    assert scores == sorted(scores, reverse=True) and scores[0] > 0


def test_streams_and_masks_share_a_scale_each(inside: Inside) -> None:
    for figure, count in ((merged_figure(inside), 2), (previous_mask_figure(inside), 4)):
        assert len(shown(figure)) == count
        scales = {ax.images[-1].get_clim() for ax in figure.axes if len(ax.images) > 1}
        assert len(scales) == 1
    np.testing.assert_array_equal(shown(previous_mask_figure(inside))[3], inside.blind.probabilities[0, 1])


def test_curves_have_the_objects_colours_and_mark_what_was_given(clip: Clip) -> None:
    figure = run_figure(clip.records, clip.given)
    assert [ax.get_ylabel() for ax in figure.axes] == ["area,\n% of the frame", "confidence"]
    area = figure.axes[0].lines
    assert [line.get_color() for line in area[:2]] == [object_colour(1), object_colour(3)]
    assert area[1].get_ydata() == pytest.approx([100 * record.area[3] for record in clip.records])
    assert list(area[2].get_xdata()) == [0, 0]


def test_scores_get_curves_of_their_own_and_gaps_stay_gaps() -> None:
    seen = Record({1: 0.1}, {1: 0.9}, {1: 0.8}, {1: 0.7})
    figure = run_figure([seen, Record({1: 0.0}, {1: math.nan}, {}, {}), seen])
    assert [ax.get_ylabel() for ax in figure.axes][2:] == ["J", "F"]
    np.testing.assert_array_equal(figure.axes[2].lines[0].get_ydata(), [0.8, math.nan, 0.8])
