"""Changes of a past period: the false discovery rate under any dependence, and changes that came and went.

Bounds are exact: false discovery proportions lie in [0, 1], so by Hoeffding (1963) the mean of N of them with
expectation at most ``level`` exceeds m > level with probability at most exp(-N KL(m, level)).
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from detectors.evidence.fdr import StoppedEBH, e_bh
from detectors.rates import log_bets

Float = NDArray[np.float64]

LOOKS = 60
CHANCE = 1e-4  # of each test to fail though the guarantee holds


def kl(m: float, p: float) -> float:
    return sum(a * math.log(a / b) for a, b in ((m, p), (1 - m, 1 - p)) if a > 0)


def holds(proportions: list[float], level: float) -> bool:
    """Whether so great a mean is compatible with an expectation of at most ``level``."""
    mean = float(np.mean(proportions))
    return mean <= level or len(proportions) * kl(mean, level) <= -math.log(CHANCE)


def test_e_bh_takes_the_largest_set_that_supports_itself() -> None:
    assert e_bh([100.0, 1.0, 1.0, 1.0], 0.1).tolist() == [True, False, False, False]
    assert e_bh([39.0, 1.0, 1.0, 1.0], 0.1).tolist() == [False] * 4
    assert e_bh([20.0, 20.0, 1.0, 1.0], 0.1).tolist() == [True, True, False, False]
    assert e_bh([25.0, 15.0, 14.0, 1.0], 0.1).tolist() == [True, True, True, False]
    assert e_bh([10.0, 10.0, 10.0, 10.0], 0.1).all()
    assert e_bh([], 0.1).shape == (0,)


def test_wrong_input_is_refused() -> None:
    with pytest.raises(ValueError, match=">= 0"):
        e_bh([float("nan")], 0.1)
    with pytest.raises(ValueError, match="false discovery rate"):
        StoppedEBH(3, 4, 1.0)
    found = StoppedEBH(2, 4, 0.1)
    found.step(np.zeros((2, 4)), [0.6, 0.5])
    with pytest.raises(ValueError, match="more than 1"):
        found.step(np.zeros((2, 4)), [0.6, 0.5])


def test_without_data_every_e_value_is_one() -> None:
    found = StoppedEBH(3, 4, 0.1)
    for _ in range(5):
        found.step(np.zeros((3, 4)), np.zeros(3))
    np.testing.assert_allclose(found.values, 1.0)
    for _ in range(4):
        found.step(np.zeros((3, 4)), np.full(3, 0.25))
    np.testing.assert_allclose(found.values, 1.0)


def play(hits: NDArray[np.int64], trials: int, limit: Float, level: float) -> StoppedEBH:
    """hits int[looks, n]."""
    looks, n = hits.shape
    found = StoppedEBH(n, 4, level)
    for t in range(looks):
        found.step(log_bets(hits[t], np.full(n, trials), limit), np.full(n, 1.0 / looks))
    return found


def proportion(found: StoppedEBH, changed: NDArray[np.bool_]) -> float:
    named = found.named
    return float((named & ~changed).sum() / max(1, named.sum()))


@pytest.mark.parametrize("dependence", ["independent", "copies", "two camps", "against each other"])
@pytest.mark.parametrize("level", [0.1, 0.3])
def test_false_discoveries_under_dependence(dependence: str, level: float) -> None:
    """Rates exactly at their limits, where the bets pay 1 on average: the bound is felt, most of all by copies, which
    are false together."""
    rng = np.random.default_rng([2, round(100 * level)])
    n, trials, p = 12, 20, 0.1
    proportions = []
    for _ in range(300):
        uniform = rng.random((LOOKS, trials, n))
        if dependence == "copies":
            uniform[:] = uniform[:, :, :1]
        elif dependence == "two camps":
            uniform[:, :, : n // 2] = uniform[:, :, :1]
            uniform[:, :, n // 2 :] = uniform[:, :, -1:]
        elif dependence == "against each other":
            uniform[:, :, 1::2] = 1.0 - uniform[:, :, ::2]
        found = play((uniform < p).sum(axis=1), trials, np.full(n, p), level)
        proportions.append(proportion(found, np.zeros(n, dtype=np.bool_)))
    assert holds(proportions, level), np.mean(proportions)
    if dependence == "copies":
        assert np.mean(proportions) > level / 5  # the test would feel a procedure that errs more


def test_false_discoveries_beside_true_ones() -> None:
    """A third of the streams changes for a while; the others copy one another."""
    rng, level, n, trials, p = np.random.default_rng(3), 0.3, 12, 20, 0.1
    changed = np.arange(n) < 4
    proportions, found_true = [], 0
    for _ in range(300):
        uniform = rng.random((LOOKS, trials, n))
        uniform[:, :, 4:] = uniform[:, :, -1:]
        rate = np.full((LOOKS, 1, n), p)
        rate[20:35, :, :4] = 0.35
        found = play((uniform < rate).sum(axis=1), trials, np.full(n, p), level)
        proportions.append(proportion(found, changed))
        found_true += int(found.named[:4].sum())
    assert holds(proportions, level), np.mean(proportions)
    assert found_true > 0.95 * 4 * 300


def adjusted(value: Float) -> Float:
    """What makes a running maximum an e-value, mixed over all powers (Shafer et al. 2011)."""
    x = np.maximum(value, 1.0 + 1e-6)
    return np.asarray((x - 1.0 - np.log(x)) / np.log(x) ** 2)


def test_changes_that_came_and_went_are_kept() -> None:
    """Beside it: the values at the end of the period, and running maxima that are paid for."""
    rng, level, n, trials, p, runs = np.random.default_rng(4), 0.1, 60, 30, 0.02, 30
    looks = 168
    stopped = at_end = by_maximum = 0
    for _ in range(runs):
        rate = np.full((looks, n), p)
        rate[50:62, :5] = 0.12
        hits = rng.binomial(trials, rate)
        found = play(hits, trials, np.full(n, 1.5 * p), level)
        stopped += int(found.named[:5].sum())
        # The same evidence, never stopped: a level that nothing reaches.
        free, best = StoppedEBH(n, 4, 1e-200), np.ones(n)
        for t in range(looks):
            free.step(log_bets(hits[t], np.full(n, trials), np.full(n, 1.5 * p)), np.full(n, 1.0 / looks))
            best = np.maximum(best, free.values)
        at_end += int(e_bh(free.values, level)[:5].sum())
        by_maximum += int(e_bh(adjusted(best), level)[:5].sum())
    assert stopped > by_maximum > at_end
    assert stopped > 0.8 * 5 * runs


def test_what_was_named_is_never_taken_back() -> None:
    rng, n, trials, p = np.random.default_rng(5), 10, 20, 0.05
    found = StoppedEBH(n, 4, 0.2)
    before = found.named
    for t in range(80):
        rate = np.where(np.arange(n) < 3, 0.3 if 20 <= t < 30 else p, p)
        new = found.step(log_bets(rng.binomial(trials, rate), np.full(n, trials), np.full(n, p)), np.full(n, 1 / 80))
        assert (found.named | ~before).all()
        assert set(new.tolist()) == set(np.flatnonzero(found.named & ~before).tolist())
        assert (found.named_at[new] == t).all()
        before = found.named
    assert before[:3].all()
    # Kept as they were when they were named: still enough at the end.
    assert (e_bh(found.values, 0.2) >= found.named).all()


def test_evidence_that_overflows_stays_finite() -> None:
    found = StoppedEBH(2, 4, 0.1)
    for _ in range(5):
        found.step(np.full((2, 4), 700.0), np.full(2, 0.2))
    assert np.isfinite(found.values).all()
    assert found.named.all()
