"""The next week lies within its interval as often as is said, however the weeks before it moved."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom

from detectors.ahead import LEAST_WEEKS, next_week

RUNS = 600
WORLDS = {  # correlation of days, their spread, steps of the level from week to week, its growth
    "steady": (0.0, 0.1, 0.0, 0.0),
    "correlated days": (0.8, 0.1, 0.0, 0.0),
    "days that hardly forget": (0.95, 0.2, 0.0, 0.0),
    "a wandering level": (0.5, 0.1, 0.1, 0.0),
    "growth": (0.5, 0.1, 0.0, 0.03),
}


def weekly(rng: np.random.Generator, weeks: int, phi: float, sd: float, step: float, growth: float) -> np.ndarray:
    """Requests of whole weeks: five days and a weekend, days that follow one another alike, Poisson counts."""
    days = np.zeros(7 * weeks + 50)
    for i, shock in enumerate(rng.normal(0, sd * np.sqrt(1 - phi**2), days.size)):
        days[i] = phi * days[i - 1] + shock
    level = np.repeat(np.cumsum(rng.normal(growth, step, weeks)), 7)
    shape = np.tile([1, 1.05, 1.02, 1, 0.95, 0.4, 0.3], weeks)
    return rng.poisson(1e4 * shape * np.exp(days[50:] + level)).reshape(weeks, 7).sum(axis=1).astype(float)


@pytest.mark.parametrize("weeks", [LEAST_WEEKS, 8])
@pytest.mark.parametrize("world", WORLDS)
def test_the_next_week_lies_within_its_interval_as_often_as_is_said(world: str, weeks: int) -> None:
    rng, covered = np.random.default_rng([weeks, len(world)]), 0
    for _ in range(RUNS):
        *before, after = weekly(rng, weeks + 1, *WORLDS[world]).tolist()
        found = next_week(before)
        assert found is not None
        covered += found.low <= after <= found.high
    assert covered >= binom.ppf(0.001, RUNS, 0.95)


def test_it_is_narrower_the_more_weeks_there_are_and_the_more_alike() -> None:
    four, eight = next_week([100.0, 110.0] * 2), next_week([100.0, 110.0] * 4)
    assert four is not None
    assert eight is not None
    assert (four.weeks, eight.weeks) == (4, 8)
    assert four.low < eight.low < eight.expected == 110.0 < eight.high < four.high
    alike = next_week([50.0] * 5)
    assert alike is not None
    assert (alike.low, alike.expected, alike.high) == (50.0, 50.0, 50.0)


def test_too_few_weeks_say_nothing_and_an_empty_one_bounds_by_zero() -> None:
    assert next_week([10.0] * (LEAST_WEEKS - 1)) is None
    found = next_week([0.0, 80.0, 0.0, 90.0])
    assert found is not None
    assert found.low == 0.0
    assert found.high > 90.0
    wild = next_week([1e-9, 1e9, 1e-9, 1e9])
    assert wild is not None
    assert wild.high == pytest.approx(1e12)
    with pytest.raises(ValueError, match="not negative"):
        next_week([1.0, -2.0, 1.0, 1.0])
