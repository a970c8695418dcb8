"""A small network, and one thread: on frames of a few pixels a second thread only waits for the first."""

from __future__ import annotations

import pytest
import torch

from ranet_edu.model import RANet


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def lite():
    """`RANet.lite()` with random weights; shared, so tests that change weights build their own."""
    torch.manual_seed(0)
    return RANet.lite(weights=None)
