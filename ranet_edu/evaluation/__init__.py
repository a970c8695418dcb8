"""Scores of masks as DAVIS defines them, tables over a split, and the paper's published figures (notebook 09)."""
