"""A tail is drawn at costs where the share above is exact."""

from __future__ import annotations

import numpy as np
import pytest

from detectors.cost import survival_edges
from detectors.summaries.histogram import Histogram


def drawn(n: int, seed: int) -> tuple[np.ndarray[tuple[int], np.dtype[np.int64]], Histogram]:
    values = np.random.default_rng(seed).lognormal(15.0, 1.2, n).astype(np.int64)
    return values, Histogram.of(values)


def test_counts_above_are_exact_and_edges_reach_from_the_common_to_the_greatest() -> None:
    (one, h), (other, g) = drawn(20_000, 1), drawn(5_000, 2)
    edges = survival_edges([h, g], 24, 0.95)
    assert len(edges) <= 24
    assert edges == sorted(set(edges))
    for values, histogram in ((one, h), (other, g)):
        assert [histogram.count_above(edge) for edge in edges] == [int((values > edge).sum()) for edge in edges]
    assert min((one > edges[0]).mean(), (other > edges[0]).mean()) == pytest.approx(0.95, abs=0.02)
    assert h.count_above(edges[-1]) == g.count_above(edges[-1]) == 0
    steps = np.diff(np.log(edges))
    assert steps.max() < 3 * np.median(steps)


def test_without_a_positive_value_there_is_nothing_to_draw() -> None:
    nothing, free = Histogram.of(np.zeros(0, np.int64)), Histogram.of(np.zeros(9, np.int64))
    assert survival_edges([], 24) == survival_edges([nothing, free], 24, 0.95) == []
    assert survival_edges([free, Histogram.of(np.array([7], np.int64))], 24, 0.95) == [7]
