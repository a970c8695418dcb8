import pytest
import torch
from torch import nn

from ranet_edu.datasets.davis import DavisDataset
from ranet_edu.training.validation import DavisValidation, score_video


class StandsStill(nn.Module):
    """Predicts that nothing moves."""

    canvas, template_from, crops = (60, 100), "first", True

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))

    def normalize(self, images):
        return images

    def encode_template(self, frames):
        return frames

    def forward(self, frames, template, template_masks, previous_masks):
        return previous_masks


def test_scores_are_means_over_sequences_without_first_and_last_frame(draw_davis):
    still, moves = [(5, 10)] * 6, [(5, 10), (35, 60), (35, 60), (35, 60), (35, 60), (5, 10)]
    scores = DavisValidation(draw_davis({"still": still, "moves": moves}))(StandsStill())
    assert scores["J"] == pytest.approx(0.5, abs=0.06)  # 1 and 0, up to resampling to the canvas and back
    assert scores["F"] == pytest.approx(0.5, abs=0.06)
    assert scores["J&F"] == pytest.approx((scores["J"] + scores["F"]) / 2)


def test_only_the_first_frames_are_looked_at_when_so_asked(draw_davis):
    leaves_late = draw_davis({"late": [(5, 10)] * 4 + [(35, 60)] * 6})
    assert DavisValidation(leaves_late, frames=5)(StandsStill())["J"] == pytest.approx(1, abs=0.12)
    assert DavisValidation(leaves_late)(StandsStill())["J"] < 0.5


def test_a_sequence_without_a_frame_to_score_is_named_before_anything_is_segmented(draw_davis):
    root = draw_davis({"long": [(5, 10)] * 4, "short": [(5, 10)] * 2})
    with pytest.raises(ValueError, match="sequence short has no frame to score among 2: first and last"):
        DavisValidation(root)
    with pytest.raises(ValueError, match="long has no frame to score among 2"):
        score_video(None, DavisDataset(root, split="minival")["long"], frames=2)
