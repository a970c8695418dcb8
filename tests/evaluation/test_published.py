"""The paper's figures: complete, and consistent with each other and with the paper's text."""

from __future__ import annotations

import dataclasses

import pytest

from ranet_edu.evaluation.published import PUBLISHED, TABLE_1, TABLE_2, TABLE_3, TABLE_4, TABLE_5, TABLE_6


def row(table, **wanted):
    """The one row of `table` with these fields."""
    found = [score for score in table if all(getattr(score, name) == value for name, value in wanted.items())]
    assert len(found) == 1
    return found[0]


def test_every_table_has_all_its_rows():
    assert [len(table) for table in (TABLE_1, TABLE_2, TABLE_3, TABLE_4, TABLE_5, TABLE_6)] == [19, 7, 22, 3, 10, 5]
    assert [score.table for score in PUBLISHED] == [1] * 19 + [2] * 7 + [3] * 22 + [4] * 3 + [5] * 10 + [6] * 5
    # "6 state-of-the-art OL based and 11 offline methods" (section 4.2), and RANet+ and RANet.
    assert sum(score.online_learning for score in TABLE_1) == 6 + 1


def test_j_and_f_is_the_mean_of_both():
    """But for rounding, and for SiamMask, of which the paper gives 70.0 where the mean of its J and F is 69.75."""
    complete = [score for score in TABLE_1 if score.f_mean is not None]
    differing = [score.method for score in complete if abs(score.jf_mean - (score.j_mean + score.f_mean) / 2) > 0.1001]
    assert len(complete) == 18 and differing == ["SiamMask"]


def test_tables_agree_on_ranet():
    best = row(TABLE_1, method="RANet")
    assert (best.milliseconds, best.jf_mean, best.j_mean, best.j_recall, best.f_decay) == (33, 85.5, 85.5, 97.2, 5.1)
    assert row(TABLE_4, variant="w/ RAM").j_mean == row(TABLE_5, method="RANet", variant="origin").j_mean == best.j_mean
    assert row(TABLE_6, variant="offline").jf_mean == best.jf_mean
    assert row(TABLE_6, milliseconds=4000).jf_mean == row(TABLE_1, method="RANet+").jf_mean == 87.1


def test_drops_that_the_text_names():
    full = row(TABLE_4, variant="w/ RAM").j_mean
    assert full - row(TABLE_4, variant="w/o Ranking").j_mean == pytest.approx(3.6)
    assert full - row(TABLE_4, variant="Maximum").j_mean == pytest.approx(4.4)
    assert full - row(TABLE_5, method="RANet", variant="-PM").j_mean == pytest.approx(4.1)
    assert full - row(TABLE_5, method="RANet", variant="-VF").j_mean == pytest.approx(5.6)
    assert row(TABLE_5, method="RANet", variant="-CL").j_mean == 67.5


def test_rows_of_davis_2017():
    ranet = row(TABLE_3, method="RANet", dataset="DAVIS-2017 test-dev")
    assert (ranet.jf_mean, ranet.j_mean) == (55.3, 53.4)
    assert row(TABLE_3, method="OSVOS", dataset="DAVIS-2017 val", online_learning=False).jf_mean == 36.6
    assert row(TABLE_2, method="RANet+OL").j_decay == 7.6


def test_figures_can_not_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        TABLE_1[0].j_mean = 100
