"""J and F written out pixel by pixel from their definitions, for what the package computes fast to be compared with."""

from __future__ import annotations

from math import ceil, hypot
from types import SimpleNamespace

import numpy as np
import pytest


def naive_region(predicted, true):
    both = either = 0
    for p, t in zip(predicted.ravel(), true.ravel(), strict=True):
        both += bool(p and t)
        either += bool(p or t)
    return both / either if either else 1.0


def naive_edges(mask):
    height, width = mask.shape
    edges = []
    for y in range(height):
        for x in range(width):
            below, right = min(y + 1, height - 1), min(x + 1, width - 1)
            neighbours = mask[y, right], mask[below, x], mask[below, right]
            if any(bool(neighbour) != bool(mask[y, x]) for neighbour in neighbours):
                edges.append((y, x))
    return edges


def naive_boundary(predicted, true):
    radius = ceil(0.008 * hypot(*predicted.shape))
    predicted, true = naive_edges(predicted), naive_edges(true)

    def matched(edges, others):
        if not others:
            return 0
        others = np.array(others)
        return sum(((others - edge) ** 2).sum(axis=1).min() <= radius**2 for edge in edges)

    if not predicted and not true:
        return 1.0
    precision = matched(predicted, true) / len(predicted) if predicted else 1.0
    recall = matched(true, predicted) / len(true) if true else 1.0
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


@pytest.fixture(scope="session")
def naive():
    """`naive.region`, `naive.boundary`, `naive.edges`: loops over pixels."""
    return SimpleNamespace(region=naive_region, boundary=naive_boundary, edges=naive_edges)
