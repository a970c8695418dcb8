"""A small network that the model's tests share."""

from __future__ import annotations

import pytest
import torch

from ranet_edu.model import RANet


@pytest.fixture(scope="session")
def lite():
    """`RANet.lite()` with random weights; shared, so tests that change weights build their own."""
    torch.manual_seed(0)
    return RANet.lite(weights=None)
