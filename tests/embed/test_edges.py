"""Edges in eight bits are those that wider numbers give."""

from __future__ import annotations

import numpy as np
import pytest

from monitor.embed.edges import edges


@pytest.mark.parametrize("threshold", [0, 1, 5, 63, 254, 255])
def test_edges_are_differences_above_the_threshold(threshold: int) -> None:
    rng = np.random.default_rng(threshold)
    grey = rng.integers(0, 256, (70, 93), dtype=np.uint8)
    grey[:20] = rng.choice(np.array([0, 1, 254, 255, threshold, 255 - threshold], dtype=np.uint8), (20, 93))
    wide = grey.astype(int)
    down, across = wide[1:] - wide[:-1], wide[:, 1:] - wide[:, :-1]
    found = edges(grey, threshold)
    assert (found.lighter_below == (down > threshold)).all()
    assert (found.darker_below == (down < -threshold)).all()
    assert (found.lighter_right == (across > threshold)).all()
    assert (found.darker_right == (across < -threshold)).all()
