"""Inclusion probabilities of review: budgets, floors, and an order of work that may stop anywhere."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from samplers import design
from samplers.design import inclusion_until, probabilities, race_times, race_weights, shared_out, within


def test_labels_are_what_was_asked_for_and_no_probability_leaves_its_range() -> None:
    rng = np.random.default_rng(1)
    score = rng.beta(0.5, 2, 5000)
    segments = rng.integers(0, 12, 5000)
    pi = probabilities(score, segments, 500)
    assert pi.sum() == pytest.approx(500)
    assert pi.min() > 0
    assert pi.max() <= 1


@given(
    st.lists(st.floats(0, 1), min_size=1, max_size=60),
    st.floats(0.1, 80),
    st.integers(1, 5),
    st.integers(0, 2**32 - 1),
)
def test_floors_hold_for_any_scores(scores: list[float], labels: float, count: int, seed: int) -> None:
    score = np.array(scores)
    segments = np.random.default_rng(seed).integers(0, count, len(score))
    pi = probabilities(score, segments, labels)
    assert pi.sum() <= labels + 1e-6 or pi.sum() == pytest.approx(labels)
    assert (pi <= 1).all()
    sizes = np.bincount(segments)
    share = min(labels, len(score)) / len(score)
    for code in np.flatnonzero(sizes):
        mine = pi[segments == code]
        assert mine.sum() >= design.SEGMENT_FLOOR * share * sizes[code] * (1 - 1e-9)
        assert mine.min() >= design.ITEM_FLOOR * mine.mean() * (1 - 1e-6)


def test_unsure_items_are_asked_about_more() -> None:
    pi = probabilities(np.array([0.01, 0.5, 0.01, 0.99] * 50), np.zeros(200, np.int64), 40)
    assert pi[1] > 1.9 * pi[0]
    assert pi[0] == pytest.approx(pi[3], rel=1e-6)


def test_labels_nobody_can_use_are_not_spent() -> None:
    assert probabilities(np.full(10, 0.5), np.zeros(10, np.int64), 50).tolist() == [1.0] * 10
    assert within(np.ones(3), 0).tolist() == [0, 0, 0]
    assert shared_out(10, np.array([4.0, 100.0]), np.array([1e6, 1.0]), np.zeros(2)) == pytest.approx([4, 6], rel=1e-3)


def test_scores_that_are_no_chances_are_refused() -> None:
    with pytest.raises(ValueError, match="within"):
        probabilities(np.array([0.5, np.nan]), np.zeros(2, np.int64), 1)
    with pytest.raises(ValueError, match="got 2 and 3"):
        probabilities(np.array([0.5, 0.5]), np.zeros(3, np.int64), 1)


def test_race_times_draw_exactly_those_below_their_probability() -> None:
    rng = np.random.default_rng(2)
    u, pi = rng.random(20_000), rng.random(20_000)
    assert ((race_times(u, pi) <= 1) == (u <= pi)).mean() > 0.9999  # rounding decides at u = pi
    assert race_times(np.array([0.3, 0.3]), np.array([1.0, 0.0])).tolist() == [0.0, np.inf]


def test_stopping_anywhere_leaves_a_sample_of_known_probability() -> None:
    rng = np.random.default_rng(3)
    pi = np.array([0.05, 0.2, 0.6, 0.95, 1.0])
    for stop in (0.1, 0.5, 0.9, 1.0):
        runs = 20_000
        reached = (race_times(rng.random((runs, 5)), pi) <= stop).sum(axis=0)
        expected = inclusion_until(pi, stop)
        for hits, chance in zip(reached.tolist(), expected.tolist(), strict=True):
            assert stats.binomtest(hits, runs, min(chance, 1.0)).pvalue > 1e-4
    with pytest.raises(ValueError, match="race time"):
        inclusion_until(pi, 1.5)


def test_the_order_of_work_is_successive_sampling() -> None:
    """Who comes first is chosen with chance proportional to race weight, and who second among those left."""
    rng = np.random.default_rng(4)
    pi = np.array([0.1, 0.3, 0.5])
    order = np.argsort(race_times(rng.random((40_000, 3)), pi), axis=1)
    weights = race_weights(pi)
    first = np.bincount(order[:, 0], minlength=3)
    assert stats.chisquare(first, weights / weights.sum() * 40_000).pvalue > 1e-4
    second = np.bincount(order[order[:, 0] == 2, 1], minlength=3)[:2]
    assert stats.chisquare(second, weights[:2] / weights[:2].sum() * second.sum()).pvalue > 1e-4
