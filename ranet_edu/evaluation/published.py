"""The paper's Tables 1 to 6 as published, to stand beside what we measure (notebooks 09 and 11).

Wang et al., RANet: Ranking Attention Network for Fast Video Object Segmentation, ICCV 2019. None of these figures was
measured by this repository. All but times are in percent; None where the paper gives no figure.
"""

from __future__ import annotations

from dataclasses import dataclass

SOURCE = "RANet paper (Wang et al., ICCV 2019)"


@dataclass(frozen=True)
class PublishedScore:
    """One row of one of the paper's tables.

    Attributes:
        table: number of the table in the paper.
        dataset: what was segmented, such as "DAVIS-2016 val".
        method: the method's name in the table.
        online_learning: whether the network was fine-tuned on each test video's first frame; None where not said.
        milliseconds: time per frame at 480p, each method on its authors' machine, RANet on a Titan Xp.
        jf_mean ... f_decay: mean of J and F, and mean, recall and decay of both, in percent.
        variant: what an ablation changed ("w/o Ranking", "-CL") or how long online learning took.
    """

    table: int
    dataset: str
    method: str
    online_learning: bool | None = None
    milliseconds: float | None = None
    jf_mean: float | None = None
    j_mean: float | None = None
    j_recall: float | None = None
    j_decay: float | None = None
    f_mean: float | None = None
    f_recall: float | None = None
    f_decay: float | None = None
    variant: str = ""


DAVIS16_VAL, DAVIS16_ALL = "DAVIS-2016 val", "DAVIS-2016 trainval"
DAVIS17_VAL, DAVIS17_TEST = "DAVIS-2017 val", "DAVIS-2017 test-dev"

# method, milliseconds, J&F mean, J mean, recall, decay, F mean, recall, decay
_ONLINE = (
    ("OSVOS", 5000, 80.2, 79.8, 93.6, 14.9, 80.6, 92.6, 15.0),
    ("MaskTrack", 12000, 77.6, 79.7, 93.1, 8.9, 75.4, 87.1, 9.0),
    ("CINM", 70000, 84.2, 83.4, 94.9, 12.3, 85.0, 92.1, 14.7),
    ("OSVOS-S", 4500, 86.6, 85.6, 96.8, 5.5, 87.5, 95.9, 8.2),
    ("OnAVOS", 13000, 85.5, 86.1, 96.1, 5.2, 84.9, 89.7, 5.8),
    ("PRemVOS", 38000, 86.8, 84.9, 96.1, 8.8, 88.6, 94.7, 9.8),
    ("RANet+", 4000, 87.1, 86.6, 97.0, 7.4, 87.6, 96.1, 8.2),
)
_OFFLINE = (
    ("PLM", 500, 66.4, 70.2, 86.3, 11.2, 62.5, 73.2, 14.7),
    ("VPN", 630, 67.9, 70.2, 82.3, 12.4, 65.5, 69.0, 14.4),
    ("SiamMask", 28, 70.0, 71.7, 86.8, 3.0, 67.8, 79.8, 2.1),
    ("CTN", 30000, 71.4, 73.5, 87.4, 15.6, 69.3, 79.6, 12.9),
    ("OSMN", 130, 73.5, 74.0, 87.6, 9.0, 72.9, 84.0, 10.6),
    ("SFL", 7900, 76.1, 76.1, 90.6, 12.1, 76.0, 85.5, 10.4),
    ("PML", 280, 77.4, 75.5, 89.6, 8.5, 79.3, 93.4, 7.8),
    ("VideoMatch", 320, None, 81.0, None, None, None, None, None),
    ("FAVOS", 1800, 81.0, 82.4, 96.5, 4.5, 79.5, 89.4, 5.5),
    ("FEELVOS", 510, 81.7, 81.1, 90.5, 13.7, 82.2, 86.6, 14.1),
    ("RGMP", 130, 81.8, 81.5, 91.7, 10.9, 82.0, 90.8, 10.1),
    ("RANet", 33, 85.5, 85.5, 97.2, 6.2, 85.4, 94.9, 5.1),
)

TABLE_1 = tuple(
    PublishedScore(1, DAVIS16_VAL, method, online, *figures)
    for online, rows in ((True, _ONLINE), (False, _OFFLINE))
    for method, *figures in rows
)
"""Comparison on DAVIS-2016 val."""

TABLE_2 = tuple(
    PublishedScore(2, DAVIS16_ALL, method, j_mean=mean, j_recall=recall, j_decay=decay)
    for method, mean, recall, decay in (
        ("BVS", 66.5, 76.4, 26.0),
        ("OFL", 71.1, 80.0, 22.7),
        ("VPN", 75.0, 90.1, 9.3),
        ("CTN", 75.5, 89.0, 14.4),
        ("MaskTrack", 80.3, 93.5, 8.9),
        ("RANet", 83.2, 94.2, 9.3),
        ("RANet+OL", 86.2, 96.2, 7.6),
    )
)
"""Methods not fine-tuned on video, on all 50 sequences of DAVIS-2016."""

# method, online learning, val J&F, val J mean, test-dev J&F, test-dev J mean
_DAVIS17 = (
    ("CINM", True, 70.6, 67.2, 67.5, 64.5),
    ("OSVOS-S", True, 68.0, 64.7, 57.5, 52.9),
    ("OnAVOS", True, 65.4, 61.6, 52.8, 49.9),
    ("OSVOS", True, 60.3, 56.6, 50.9, 47.0),
    ("VideoMatch", True, 61.4, None, None, None),
    ("OSVOS", False, 36.6, None, None, None),
    ("OnAVOS", False, 39.5, None, None, None),
    ("FAVOS", False, 58.2, 54.6, 43.6, 42.9),
    ("OSMN", False, 54.8, 52.5, 41.3, 37.7),
    ("VideoMatch", False, 56.5, None, None, None),
    ("RANet", False, 65.7, 63.2, 55.3, 53.4),
)

TABLE_3 = tuple(
    PublishedScore(3, dataset, method, online, jf_mean=figures[first], j_mean=figures[first + 1])
    for first, dataset in ((0, DAVIS17_VAL), (2, DAVIS17_TEST))
    for method, online, *figures in _DAVIS17
)
"""Comparison on DAVIS-2017, first val, then test-dev."""

TABLE_4 = tuple(
    PublishedScore(4, DAVIS16_VAL, "RANet", False, j_mean=j_mean, variant=variant)
    for variant, j_mean in (("w/ RAM", 85.5), ("w/o Ranking", 81.9), ("Maximum", 81.1))
)
"""Ablation of the ranking attention module (RAM)."""

TABLE_5 = tuple(
    PublishedScore(5, DAVIS16_VAL, method, False, j_mean=j_mean, variant=variant)
    for method, figures in (("RGMP", (81.5, None, 73.5, 68.6, 55.0)), ("RANet", (85.5, 67.5, 81.4, 73.2, 79.9)))
    for variant, j_mean in zip(("origin", "-CL", "-PM", "-IP", "-VF"), figures, strict=True)
)
"""Ablation: without correlation layer, previous mask, image pre-training, video fine-tuning."""

TABLE_6 = tuple(
    PublishedScore(6, DAVIS16_VAL, "RANet", online, milliseconds, jf_mean, variant=variant)
    for variant, online, milliseconds, jf_mean in (
        ("offline", False, 33, 85.5),
        ("+online learning", True, 300, 86.2),
        ("+online learning", True, 1000, 86.8),
        ("+online learning", True, 1500, 86.9),
        ("+online learning", True, 4000, 87.1),
    )
)
"""Online learning for longer and longer; the paper gives the times, not the iterations."""

PUBLISHED = TABLE_1 + TABLE_2 + TABLE_3 + TABLE_4 + TABLE_5 + TABLE_6
"""Every row of every table."""
