"""The projected month covers what comes; the stage that owns the tail is named."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binom, norm

from detectors.cost import project_days, project_month
from detectors.latency import stages_in_tail, tail_ratio, waterfall
from detectors.summaries import Histogram, Ragged, Summary, SummaryTable
from tests.summaries.events import nothing


def hourly(rng: np.random.Generator, hours: int) -> np.ndarray:
    """Spend with a day, a weekend and shocks that last a day."""
    t = np.arange(hours)
    shape = (1.2 + np.sin(2 * np.pi * (t % 24) / 24)) * np.where(t % 168 >= 120, 0.3, 1.0)
    days = np.repeat(rng.lognormal(0, 0.2, hours // 24), 24)
    return (1e9 * shape * days * rng.lognormal(0, 0.3, hours)).astype(np.int64)


def test_projection_covers_the_month() -> None:
    rng, runs, covered = np.random.default_rng(1), 300, 0
    for _ in range(runs):
        spend = hourly(rng, 50 * 24)
        week = np.arange(spend.size) % 168
        now, start = 35 * 24, 30 * 24
        found = project_month(int(spend[start:now].sum()), spend[:now], week[:now], week[now:])
        assert found is not None
        covered += found.low <= spend[start:].sum() <= found.high
    assert covered >= binom.ppf(0.001, runs, 0.93)


def test_projection_needs_history() -> None:
    two_days = np.full(48, 5)
    assert project_month(0, two_days, np.arange(48), np.arange(24)) is None
    week = np.full(7 * 24, 5)
    found = project_month(100, week, np.arange(168), np.arange(48))
    assert found is not None
    assert (found.projected, found.low, found.high) == (100 + 240, 100 + 240, 100 + 240)
    with pytest.raises(ValueError, match="one hour each"):
        project_month(0, week, np.arange(5), np.arange(5))


def test_the_month_that_is_over_is_what_was_spent() -> None:
    week = np.arange(1, 7 * 24 + 1)
    found = project_month(100, week, np.arange(168), np.empty(0, np.int64))
    assert found is not None
    assert found.low == found.projected == found.high == 100


def staged(wait_us: int) -> Summary:
    """4000 requests of two stages, of which one in 17 waits in the queue; 100 us lie in no stage."""
    rng, n = np.random.default_rng(2), 4000
    model, queue = rng.normal(3e6, 2e5, n).astype(np.int64), np.full(n, 15_000)
    queue[rng.random(n) < 0.06] += wait_us
    event = np.repeat(np.arange(n, dtype=np.int32), 2)
    code = np.tile(np.array([0, 1], dtype=np.int32), n)
    value = np.stack([model, queue], axis=1).ravel()
    cols = replace(nothing(n), latency_total=model + queue + 100, stages=Ragged(event, code, value, ["model", "queue"]))
    table = SummaryTable()
    table.update(np.zeros(n, np.int64), cols)
    return table.summary(0)


def test_the_stage_that_makes_the_tail_is_named() -> None:
    first, second = stages_in_tail(staged(9_000_000).stage_by_latency())
    assert first.stage == "queue"
    assert first.share > 0.95
    assert first.slow > 8e6 > 1e5 > first.usual
    assert second.stage == "model"
    assert stages_in_tail(Summary().stage_by_latency()) == []


def test_whole_days_say_what_their_hours_say() -> None:
    rng = np.random.default_rng(4)
    for days in (3, 10, 14, 28):
        spend = hourly(rng, days * 24)
        week = np.arange(spend.size + 12 * 24) % 168
        of_hours = project_month(7, spend, week[: spend.size], week[spend.size :])
        daily, weekday = spend.reshape(-1, 24).sum(axis=1), np.arange(days + 12) % 7
        of_days = project_days(7, daily, weekday[:days], weekday[days:])
        assert of_hours is not None
        assert of_days is not None
        assert [of_days.projected, of_days.low, of_days.high] == pytest.approx(
            [of_hours.projected, of_hours.low, of_hours.high], rel=1e-9
        )
    assert project_days(0, np.full(2, 5), np.arange(2), np.arange(2)) is None
    with pytest.raises(ValueError, match="one day each"):
        project_days(0, np.full(7, 5), np.arange(5), np.arange(5))


@pytest.mark.parametrize("wait_us", [0, 9_000_000])
def test_the_waterfall_adds_up_to_what_slow_requests_take_longer(wait_us: int) -> None:
    summary = staged(wait_us)
    found = waterfall(summary.stage_by_latency())
    assert found is not None
    assert sum(step.extra for step in found.steps) + found.rest == pytest.approx(found.slow - found.usual)
    assert [step.stage for step in found.steps] == (["queue", "model"] if wait_us else ["model", "queue"])
    assert found.slow_events >= 0.05 * summary.events()
    assert abs(found.rest) < 0.045 * found.slow, "totals are told by bucket"
    shares = {part.stage: part.share for part in stages_in_tail(summary.stage_by_latency())}
    extra = sum(max(step.extra, 0.0) for step in found.steps)
    assert {step.stage: max(step.extra, 0.0) / extra for step in found.steps} == pytest.approx(shares)
    assert waterfall(Summary().stage_by_latency()) is None


def test_the_ratio_of_the_tail_is_covered() -> None:
    rng, sigma, runs, covered = np.random.default_rng(3), 0.6, 200, 0
    truth = np.exp(sigma**2 / 2) * norm.sf(norm.ppf(0.95) - sigma) / 0.05
    for _ in range(runs):
        ratio, limits = tail_ratio(Histogram.of((1e6 * rng.lognormal(0, sigma, 3000)).astype(np.int64)))
        assert ratio is not None
        assert limits is not None
        assert limits.low <= ratio <= limits.high
        covered += limits.low <= truth <= limits.high
    assert covered >= binom.ppf(0.001, runs, 0.95)


def test_too_few_have_no_ratio() -> None:
    assert tail_ratio(Histogram.of(np.array([], dtype=np.int64))) == (None, None)
    ratio, limits = tail_ratio(Histogram.of(np.arange(1, 41) * 1000))
    assert ratio is not None
    assert limits is None
