"""The bet along the direction in which earlier looks moved: worth at most 1 without a change."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binom, poisson

from detectors.drift.embedding import EmbeddingReference
from detectors.drift.heading import Heading
from detectors.evidence import FundedSR
from detectors.evidence.since import onset

Float = NDArray[np.float64]
Draw = Callable[[np.random.Generator, int], Float]
K = 20


def gaussian(rng: np.random.Generator, n: int) -> Float:
    return rng.normal(size=(n, K))


def heavy(rng: np.random.Generator, n: int) -> Float:
    return rng.standard_t(3, (n, K))


def kinds(rng: np.random.Generator, n: int) -> Float:
    centres = 2.0 * np.random.default_rng(5).normal(size=(6, K))
    return np.asarray(centres[rng.choice(6, n, p=[0.4, 0.3, 0.15, 0.1, 0.04, 0.01])] + 0.5 * rng.normal(size=(n, K)))


def far(rng: np.random.Generator, n: int) -> Float:
    """Rarely far out on one side: what a bet on the mean must not be fooled by."""
    return np.asarray(np.where(rng.random((n, 1)) < 0.02, 6.0, -0.1224) + 0.3 * rng.normal(size=(n, K)))


@pytest.mark.parametrize("draw", [gaussian, heavy, kinds, far])
def test_at_the_limit_itself_the_mean_payoff_is_at_most_one(draw: Draw) -> None:
    """Rows whose mean lies as far off as the null allows, where the heading points."""
    rng = np.random.default_rng(1)
    u = np.full(K, K**-0.5)
    limit, bound = 0.2, 12.0
    heading = Heading.none(K)
    for _ in range(8):
        heading.update(gaussian(rng, 40) + 0.8 * u)
    rows = draw(rng, 400_000)
    rows *= np.minimum(1.0, 11.0 / np.linalg.norm(rows, axis=1))[:, None]
    along = heading.sums[0] / np.linalg.norm(heading.sums[0])
    rows += limit * along - rows.mean(axis=0)
    looks = rows.reshape(20_000, 20, K)
    payoff = np.exp([heading.bet(look, float(K), float(K), limit, bound) for look in looks])
    assert payoff.std() > 0.1  # something is bet
    assert payoff.min() > 0.0
    assert payoff.mean() <= 1.0 + 4.0 * payoff.std() / np.sqrt(payoff.size)


def reference(draw: Draw, seed: int, n: int, days: Float | None = None) -> EmbeddingReference:
    rng = np.random.default_rng(seed)
    rows, day = draw(rng, n), np.arange(n) % 14
    if days is not None:
        rows = rows + days[day]
    groups = np.concatenate([day[::2], day[1::2]])
    return EmbeddingReference.fit(rows[::2], rows[1::2], rng=rng, groups=groups)


@pytest.mark.parametrize(("draw", "day_sd"), [(gaussian, 0.0), (heavy, 0.0), (kinds, 0.0), (gaussian, 0.2)])
def test_without_a_change_it_alarms_no_more_than_it_is_funded(draw: Draw, day_sd: float) -> None:
    """Fresh references, each watched for four days by the heading alone."""
    rng = np.random.default_rng(2)
    streams, hours, alpha, alarms = 40, 96, 0.003, 0
    for stream in range(streams):
        moved = day_sd * rng.normal(size=(19, K)) / np.sqrt(K) * 4.0
        fitted = reference(draw, stream, 400, moved[:14])
        heading, procedure = fitted.heading(), FundedSR(1, 1)
        for hour in range(hours):
            look = draw(rng, 20) + moved[14 + hour // 24]
            bets = fitted.log_bets(look, heading)[-1:]
            alarms += int(procedure.step(bets[None], [alpha]).alarms[0])
    assert alarms <= poisson.ppf(0.999, alpha * streams * hours)


def hours_to_alarm(size: float, *, along: bool, ramp_hours: int = 1, runs: int = 6) -> float:
    """Median over references; a shift of ``size`` standard deviations that takes so many hours to be there."""
    found = []
    shift = size * np.random.default_rng(9).normal(size=K) / np.sqrt(K)
    for run in range(runs):
        rng = np.random.default_rng([3, run])
        fitted = reference(gaussian, 100 + run, 4000)
        heading, procedure = (fitted.heading() if along else None), FundedSR(1, fitted.K)
        for hour in range(-12, 240):
            look = gaussian(rng, 40) + shift * min(1.0, max(0, hour + 1) / ramp_hours)
            if procedure.step(fitted.log_bets(look, heading)[None], [1e-6]).alarms[0]:
                break
        assert hour >= 0
        found.append(hour + 1)
    return float(np.median(found))


def test_a_small_shift_that_stays_is_found_sooner() -> None:
    assert hours_to_alarm(0.3, along=True) <= 0.65 * hours_to_alarm(0.3, along=False)


def test_a_large_shift_is_found_as_soon() -> None:
    assert hours_to_alarm(1.5, along=True) == hours_to_alarm(1.5, along=False)


def test_a_slow_ramp_is_found_sooner() -> None:
    assert hours_to_alarm(0.5, along=True, ramp_hours=168) < hours_to_alarm(0.5, along=False, ramp_hours=168)


@pytest.mark.parametrize("size", [0.3, 0.5])
def test_since_when_is_covered_though_the_direction_is_learned_late(size: float) -> None:
    """Looks in which nothing was bet yet take no side, so that the interval reaches back over them."""
    runs, covered = 12, 0
    shift = size * np.random.default_rng(9).normal(size=K) / np.sqrt(K)
    for run in range(runs):
        rng = np.random.default_rng([7, run])
        fitted = reference(gaussian, 300 + run, 4000)
        heading, procedure, logs = fitted.heading(), FundedSR(1, fitted.K), []
        hours = range(-48, 240)
        for hour in hours:
            logs.append(fitted.log_bets(gaussian(rng, 40) + (shift if hour >= 0 else 0.0), heading))
            if procedure.step(logs[-1][None], [1e-6]).alarms[0]:
                break
        kept = np.array(logs[-96:])
        found = onset(kept, np.array(hours[: len(logs)])[-96:])
        covered += found.low_us <= 0 <= found.high_us
    assert covered >= binom.ppf(0.001, runs, 0.9)


def test_state_round_trip_goes_on_alike_and_no_heading_bets_nothing() -> None:
    rng = np.random.default_rng(4)
    fitted = reference(gaussian, 1, 1000)
    heading = fitted.heading()
    shift = 0.7 * np.ones(K) / np.sqrt(K)
    for _ in range(5):
        fitted.log_bets(gaussian(rng, 30) + shift, heading)
    again = Heading.from_state(heading.to_state())
    look = gaussian(rng, 30) + shift
    bets = fitted.log_bets(look, heading)
    assert bets[-1] > 0.0
    np.testing.assert_array_equal(bets, fitted.log_bets(look, again))
    np.testing.assert_array_equal(heading.to_state(), again.to_state())
    assert fitted.log_bets(look)[-1] == 0.0
    np.testing.assert_array_equal(fitted.log_bets(look)[:-1], bets[:-1])


def test_the_first_look_and_looks_that_moved_nowhere_bet_nothing() -> None:
    fitted = reference(gaussian, 1, 1000)
    heading = fitted.heading()
    look = gaussian(np.random.default_rng(5), 30)
    assert fitted.log_bets(look + 0.5, heading)[-1] == 0.0
    still = fitted.heading()
    for _ in range(30):
        still.update(np.zeros((30, fitted.components)))
    assert fitted.log_bets(look, still)[-1] == 0.0


def test_too_few_rows_are_not_taken_in() -> None:
    fitted = reference(gaussian, 1, 1000)
    heading = fitted.heading()
    fitted.log_bets(gaussian(np.random.default_rng(5), 4), heading)
    assert not heading.rows.any()
