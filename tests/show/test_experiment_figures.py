"""Figures of experiments: differences from the right place, every run drawn, one scale for all panels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ranet_edu.evaluation.published import TABLE_4, TABLE_5, TABLE_6
from ranet_edu.show.experiment_figures import ablation_figure, clip_curves_figure, gain_figure, mean_gain
from ranet_edu.training.ablations import AblationRun
from ranet_edu.training.online_curve import CurvePoint

TABLES = {"Table 4": TABLE_4, "Table 5": TABLE_5}
PANELS = {"Table 4": ["no-ranking", "maximum"], "Table 5": ["no-correlation", "no-imagenet"]}


def run(variant: str, j: float, seed: int = 0) -> AblationRun:
    return AblationRun(variant, seed, 120, j, 0.5, 0.7, 80.0)


RUNS = [run("full", 0.5), run("full", 0.6, 1), run("no-ranking", 0.45), run("no-ranking", 0.55, 1)]
RUNS += [run("maximum", 0.5), run("no-correlation", 0.3), run("no-imagenet", 0.2)]


def lines(ax, label: str) -> list:
    return [line for line in ax.lines if line.get_label() == label]


def test_runs_are_drawn_as_differences_from_the_full_networks_mean() -> None:
    four, five = ablation_figure(RUNS, TABLES, PANELS).axes
    first, second = lines(four, "a run of ours")
    np.testing.assert_allclose(first.get_xdata(), [-10, 0], atol=1e-9)
    np.testing.assert_allclose(second.get_xdata(), [-5])
    np.testing.assert_allclose(lines(four, "mean of our runs")[0].get_xdata(), -5)
    np.testing.assert_allclose([line.get_xdata()[0] for line in lines(five, "a run of ours")], [-25, -35])
    band = four.patches[0].get_extents().transformed(four.transData.inverted())
    np.testing.assert_allclose([band.x0, band.x1], [-5, 5])


def test_the_papers_rows_stand_at_their_variants_and_only_ranet_s() -> None:
    four, five = ablation_figure(RUNS, TABLES, PANELS).axes
    paper = "the paper, on DAVIS 2016 val"
    np.testing.assert_allclose(lines(four, paper)[0].get_xdata(), [81.9 - 85.5, 81.1 - 85.5])
    np.testing.assert_allclose(lines(five, paper)[0].get_xdata(), [67.5 - 85.5])  # it has no row without ImageNet
    assert four.get_xlim() == five.get_xlim()
    assert [text.get_text() for text in five.get_yticklabels()] == ["correlation", "ImageNet"]


def test_a_variant_without_runs_is_named() -> None:
    with pytest.raises(ValueError, match="no run of the variant 'maximum'"):
        ablation_figure(RUNS[:4], TABLES, PANELS)
    with pytest.raises(ValueError, match="no run of the variant 'full'"):
        ablation_figure(RUNS[2:], TABLES, PANELS)


def point(clip: str, iterations: int, jf: float) -> CurvePoint:
    return CurvePoint("abc", clip, 40, iterations, 2, 0, 1e-5 * bool(iterations), 2.0 * iterations, 0, 1, jf, jf)


CURVE = [point("cow", 10, 0.6), point("cow", 0, 0.5), point("dog", 0, 0.9), point("dog", 10, 0.7)]


def test_gains_are_means_over_clips_of_seconds_for_each_frame() -> None:
    np.testing.assert_allclose(mean_gain(CURVE), [(0, 0), (0.5, -5)], atol=1e-9)
    with pytest.raises(ValueError, match=r"no point without learning for the clips \['dog'\]"):
        mean_gain([CURVE[0], CURVE[1], CURVE[3]])


def test_a_mean_over_some_of_the_clips_is_no_gain() -> None:
    np.testing.assert_allclose(mean_gain([*CURVE, point("cow", 25, 0.99)]), [(0, 0), (0.5, -5)], atol=1e-9)


def test_the_papers_gains_count_learning_alone() -> None:
    ours, paper = gain_figure({"rate": CURVE}, TABLE_6).axes[0].lines[1:]
    np.testing.assert_allclose(ours.get_xydata(), [(0, 0), (0.5, -5)], atol=1e-9)
    np.testing.assert_allclose(paper.get_xydata()[[0, 1, -1]], [(0, 0), (0.267, 0.7), (3.967, 1.6)], atol=1e-9)


def test_each_clip_has_a_panel_and_all_span_as_many_points() -> None:
    other = [replace(p, j=p.j - 0.01 * p.iterations, learning_rate=1e-4) for p in CURVE]
    figure = clip_curves_figure({"1e-5": CURVE, "1e-4": other}, columns=3)
    cow, dog = [ax for ax in figure.axes if ax.axison]
    assert (cow.get_title(), dog.get_title()) == ("cow", "dog")
    np.testing.assert_allclose(cow.lines[0].get_xydata(), [(0, 50), (10, 60)])
    assert np.ptp(cow.get_ylim()) == pytest.approx(np.ptp(dog.get_ylim()))
    assert [line.get_ydata()[0] for line in dog.lines if line.get_linestyle() == ":"] == [90]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["1e-5", "1e-4"]
