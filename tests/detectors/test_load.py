"""More load or slower: the parts add up, name the right one, and their limits cover."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom

from detectors.latency import LoadSplit, latency_at_load, split_by_load
from detectors.summaries.histogram import Histogram

SLOW_US = 1_000_000.0
RANGES = [(1, 1), (2, 3), (4, 7), (8, 15)]
CALM, BUSY = np.array([0.4, 0.3, 0.2, 0.1]), np.array([0.1, 0.2, 0.3, 0.4])
USUAL = np.array([0.02, 0.04, 0.08, 0.2])


def period(counts: np.ndarray, slow: np.ndarray) -> dict[tuple[int, int], Histogram]:
    """Requests below and above the threshold by range of concurrency."""
    found = {}
    for key, n, k in zip(RANGES, counts.tolist(), slow.tolist(), strict=True):
        if n:
            lower, upper = np.array([0.0, SLOW_US]), np.array([SLOW_US, 4 * SLOW_US])
            found[key] = Histogram(lower, upper, np.array([n - k, k]), np.array([0, 0]))
    return found


def drawn(rng: np.random.Generator, n: int, mix: np.ndarray, rates: np.ndarray) -> dict[tuple[int, int], Histogram]:
    counts = rng.multinomial(n, mix)
    return period(counts, rng.binomial(counts, rates))


def split(before: object, now: object) -> LoadSplit:
    found = split_by_load(before, now, SLOW_US)  # type: ignore[arg-type]
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("mix", "rates", "load", "same"),
    [
        (BUSY, USUAL, 0.058, 0.0),
        (CALM, 3 * USUAL, 0.0, 0.112),
        (BUSY, 2 * USUAL, 0.087, 0.085),
        (CALM, USUAL, 0.0, 0.0),
    ],
)
def test_the_parts_are_found_and_their_limits_cover(
    mix: np.ndarray, rates: np.ndarray, load: float, same: float
) -> None:
    """``load`` and ``same`` by hand, from the true rates."""
    rng = np.random.default_rng(5)
    runs, covered = 400, np.zeros(2, dtype=int)
    for _ in range(runs):
        found = split(drawn(rng, 1500, CALM, USUAL), drawn(rng, 400, mix, rates))
        assert found.load.value + found.same_load.value == pytest.approx(found.now - found.before)
        covered += [found.load.low <= load <= found.load.high, found.same_load.low <= same <= found.same_load.high]
    assert covered.min() >= binom.ppf(0.001, runs, 0.95)


def test_a_concurrency_that_was_never_seen_is_load() -> None:
    before = period(np.array([100, 100, 0, 0]), np.array([2, 4, 0, 0]))
    now = period(np.array([100, 100, 0, 200]), np.array([2, 4, 0, 100]))
    found = split(before, now)
    assert found.same_load.value == 0.0
    assert found.load.value == pytest.approx(found.now - found.before)


def test_exchanged_periods_change_the_signs() -> None:
    rng = np.random.default_rng(1)
    one, other = drawn(rng, 500, CALM, USUAL), drawn(rng, 500, BUSY, 2 * USUAL)
    there, back = split(one, other), split(other, one)
    assert there.load.value == pytest.approx(-back.load.value)
    assert there.same_load.value == pytest.approx(-back.same_load.value)


def test_few_events_are_not_split() -> None:
    rng = np.random.default_rng(1)
    assert split_by_load(drawn(rng, 29, CALM, USUAL), drawn(rng, 500, CALM, USUAL), SLOW_US) is None
    assert split_by_load({}, {}, SLOW_US) is None


def test_latency_at_load_is_that_of_every_range_with_enough() -> None:
    rng = np.random.default_rng(5)
    found = {
        (1, 1): Histogram.of(rng.integers(1000, 2000, 29)),
        (2, 3): Histogram.of(rng.integers(1000, 2000, 30)),
        (4, 7): Histogram.of(rng.integers(10_000, 20_000, 4000)),
    }
    few, many = latency_at_load(found)
    assert [(at.low, at.high, at.events) for at in (few, many)] == [(2, 3, 30), (4, 7, 4000)]
    assert few.p95_limits is None, "30 requests do not tell a p95"
    assert many.p95_limits is not None
    assert many.p50 == found[4, 7].quantile(0.5)
    assert many.p95_limits.low <= many.p95 <= many.p95_limits.high
    assert latency_at_load({}) == []
