"""The embedding sample: exact probabilities, unbiased sums, a budget that holds."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, norm

from samplers.embedding import (
    WINDOW_US,
    EmbeddingBudget,
    Float64,
    InclusionProbabilities,
    allocate,
    chosen,
    chosen_parts,
)

FLOORS = {"low": 5.0, "medium": 20.0, "high": 60.0}


def hashes(n: int, seed: int = 0) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
    return np.random.default_rng(seed).integers(0, 2**64, n, dtype=np.uint64)


@given(
    st.lists(st.tuples(st.floats(0, 1e6), st.floats(0, 100)), min_size=1, max_size=30),
    st.floats(0, 5000),
)
def test_allocation_respects_budget_rates_and_floors(segments: list[tuple[float, float]], budget: float) -> None:
    rates = np.array([rate for rate, _ in segments])
    floors = np.array([floor for _, floor in segments])
    granted = allocate(rates, floors, budget)
    assert granted.sum() <= budget * (1 + 1e-9) + 1e-9
    assert (granted <= rates + 1e-9).all()
    assert granted.sum() == pytest.approx(min(budget, rates.sum()), rel=1e-9, abs=1e-9)
    if np.minimum(rates, floors).sum() <= budget:
        assert (granted >= np.minimum(rates, floors) - 1e-9).all()


def test_water_filling_gives_every_busy_segment_the_same() -> None:
    assert allocate(np.array([1000.0, 500.0, 10.0]), np.zeros(3), 110.0).tolist() == [50.0, 50.0, 10.0]


def stationary(rates: list[int], hours: int, seed: int) -> tuple[np.ndarray, np.ndarray]:  # type: ignore[type-arg]
    """(window starts, segments) of Poisson events in time order; ``rates`` per window."""
    rng = np.random.default_rng(seed)
    windows, segments = [], []
    for w in range(hours * 60):
        counts = rng.poisson(rates)
        who = np.repeat(np.arange(len(rates)), counts)
        rng.shuffle(who)
        segments.append(who)
        windows.append(np.full(len(who), w * WINDOW_US))
    return np.concatenate(windows), np.concatenate(segments).astype(np.int32)


def sample(windows: np.ndarray, segments: np.ndarray, budget: EmbeddingBudget, stakes: list[str]) -> Float64:  # type: ignore[type-arg]
    return InclusionProbabilities(budget).step(windows, segments, np.ones(len(windows), dtype=bool), stakes)


def test_horvitz_thompson_counts_are_unbiased_and_the_budget_holds() -> None:
    budget = EmbeddingBudget(400, FLOORS, partitions=2)
    windows, segments = stationary([40, 10, 3, 1], 12, 1)
    stakes = ["medium", "high", "low", "medium"]
    pi = sample(windows, segments, budget, stakes)
    assert ((pi > 0) & (pi <= 1)).all()
    # After the first hour the expected number of samples is the share of the budget.
    later = windows >= 60 * WINDOW_US
    hourly = pi[later].sum() / 11
    assert hourly == pytest.approx(200, rel=0.05)
    # Exact design variance of the Poisson sample: sum (1 - pi) / pi.
    for segment in range(4):
        mine = segments == segment
        taken = chosen(hashes(len(pi), segment), pi) & mine
        estimate, truth = (1 / pi[taken]).sum(), mine.sum()
        sigma = np.sqrt(((1 - pi[mine]) / pi[mine]).sum())
        assert abs(estimate - truth) <= norm.isf(1e-4) * sigma


def test_floors_come_before_volume() -> None:
    budget = EmbeddingBudget(200, FLOORS, partitions=1)
    windows, segments = stationary([100, 2], 6, 2)
    pi = sample(windows, segments, budget, ["low", "high"])
    rare = (segments == 1) & (windows >= 120 * WINDOW_US)
    assert pi[rare].sum() / 4 >= 55


def test_a_burst_of_new_segments_stays_near_the_budget() -> None:
    budget = EmbeddingBudget(1200, FLOORS, partitions=4)
    rng = np.random.default_rng(3)
    segments = rng.integers(0, 200, 75_000).astype(np.int32)  # the first minute of 5,000 events a second
    pi = sample(np.zeros(75_000, dtype=np.int64), segments, budget, ["medium"] * 200)
    assert pi.sum() < 2 * 300


@given(st.lists(st.integers(0, 1199), max_size=12), st.integers(0, 2**16))
def test_probabilities_do_not_depend_on_batches_nor_on_a_restart(cuts: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    windows = np.sort(rng.integers(0, 30, 1200)) * WINDOW_US
    windows -= rng.integers(0, 2, 1200) * WINDOW_US  # out of order
    windows = np.maximum(windows, 0)
    raw = np.minimum(rng.integers(0, 12, 1200), np.arange(1200) // 40).astype(np.int32)
    admitted: dict[int, int] = {}
    segments = np.array([admitted.setdefault(int(s), len(admitted)) for s in raw], dtype=np.int32)
    eligible = rng.random(1200) < 0.7
    budget = EmbeddingBudget(500, FLOORS, partitions=1)
    stakes = ["high", "low", "medium"] * 4
    whole = sample_of(windows, segments, eligible, budget, stakes)
    edges = [0, *sorted(cuts), 1200]
    probabilities = InclusionProbabilities(budget)
    parts = []
    for start, end in itertools.pairwise(edges):
        known = int(segments[:end].max(initial=-1)) + 1
        parts.append(probabilities.step(windows[start:end], segments[start:end], eligible[start:end], stakes[:known]))
        state = json.loads(json.dumps(probabilities.to_state()))
        probabilities = InclusionProbabilities.from_state(state, budget)
    assert np.concatenate(parts).tolist() == whole.tolist()


def sample_of(
    windows: np.ndarray,  # type: ignore[type-arg]
    segments: np.ndarray,  # type: ignore[type-arg]
    eligible: np.ndarray,  # type: ignore[type-arg]
    budget: EmbeddingBudget,
    stakes: list[str],
) -> Float64:
    return InclusionProbabilities(budget).step(windows, segments, eligible, stakes)


def test_chosen_is_exact_at_the_ends_and_uniform_between() -> None:
    values = hashes(20_000)
    assert chosen(values, np.ones(20_000)).all()
    assert not chosen(values, np.zeros(20_000)).any()
    assert chosen(np.array([2**64 - 1], dtype=np.uint64), np.ones(1)).all()
    taken = int(chosen(values, np.full(20_000, 0.3)).sum())
    assert binomtest(taken, 20_000, 0.3).pvalue > 1e-4


def test_parts_are_chosen_by_hash() -> None:
    assert chosen_parts("s", "e", 3, 4) == [0, 1, 2]
    picked = chosen_parts("s", "e", 40, 4)
    assert picked == chosen_parts("s", "e", 40, 4) == sorted(set(picked))
    assert len(picked) == 4
    counts = np.zeros(10, dtype=int)
    for i in range(3000):
        counts[chosen_parts("s", f"e{i}", 10, 2)] += 1
    assert min(binomtest(int(c), 3000, 0.2).pvalue for c in counts) > 1e-4


def test_a_state_of_another_version_is_refused() -> None:
    with pytest.raises(ValueError, match="version 2"):
        InclusionProbabilities.from_state({"v": 2}, EmbeddingBudget(1, FLOORS, 1))
