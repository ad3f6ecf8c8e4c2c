"""Rates, tail shares and their references."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binom

from detectors.evidence import Effect, Verdict
from detectors.rates import ODDS, ExceedanceReference, RateReference, effect, interval, log_bets, pooled_day_sd
from detectors.rates.exceedance import boundary, exceedances


@pytest.mark.parametrize("trials", [1, 7, 300])
@pytest.mark.parametrize("limit", [0.001, 0.05, 0.6])
def test_the_expected_payoff_is_one_at_the_limit_and_below_one_under_it(trials: int, limit: float) -> None:
    hits = np.arange(trials + 1)
    logs = log_bets(hits, np.full(hits.size, trials), np.full(hits.size, limit))

    def expected(rate: float) -> np.ndarray:
        return np.exp(binom.logpmf(hits, trials, rate)[:, None] + logs).sum(axis=0)

    assert expected(limit) == pytest.approx(np.ones(len(ODDS)))
    assert (expected(limit * 0.9) < 1).all()


def test_bets_on_a_lower_rate_are_the_mirror() -> None:
    hits = np.arange(41)
    down = np.exp(log_bets(hits, np.full(41, 40), 1.0, np.full(41, 0.7), direction="down"))
    assert binom.pmf(hits, 40, 0.7) @ down == pytest.approx(np.ones(len(ODDS)))
    assert (binom.pmf(hits, 40, 0.8) @ down < 1).all()
    assert log_bets([3], [9], [0.4], [0.2], direction="both").shape == (1, 8)
    with pytest.raises(ValueError, match="p_minus"):
        log_bets([3], [9], [0.4], direction="both")


def test_a_batch_equals_one_stream_at_a_time_and_looks_multiply() -> None:
    rng = np.random.default_rng(0)
    trials = rng.integers(0, 50, 30)
    hits, limits = rng.binomial(trials, 0.1), rng.uniform(0.01, 0.5, 30)
    together = log_bets(hits, trials, limits)
    for i in range(30):
        assert log_bets([hits[i]], [trials[i]], [limits[i]])[0].tolist() == together[i].tolist()
    one = log_bets([2], [10], [0.1]) + log_bets([1], [30], [0.1])
    assert one == pytest.approx(log_bets([3], [40], [0.1]))


def test_no_trials_and_no_reference_are_no_evidence() -> None:
    assert not log_bets([0], [0], [0.1]).any()
    assert not log_bets([5], [10], [1.0]).any()


@pytest.mark.parametrize(
    ("hits", "trials", "limit", "match"),
    [
        ([np.nan], [1], [0.1], "NaN"),
        ([1], [np.inf], [0.1], "NaN"),
        ([2], [1], [0.1], "hits <= trials"),
        ([-1], [1], [0.1], "hits <= trials"),
        ([0], [1], [np.nan], "p_plus"),
        ([0], [1], [1.5], "p_plus"),
    ],
)
def test_bad_input_is_refused(hits: list[float], trials: list[float], limit: list[float], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        log_bets(hits, trials, limit)


def test_the_limit_covers_the_true_rate_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    missed = sum(
        RateReference.fit(rng.binomial(200, 0.02, 14), np.full(14, 200), 0.95).p_plus < 0.02 for _ in range(1000)
    )
    assert missed <= binom.ppf(0.999, 1000, 0.05)


def test_days_that_differ_widen_the_limits_and_days_that_agree_do_not() -> None:
    rng = np.random.default_rng(2)
    trials = np.full(28, 2400)
    steady = RateReference.fit(rng.binomial(trials, 0.01), trials)
    moving = RateReference.fit(rng.binomial(trials, 0.01 * np.exp(rng.normal(0, 0.3, 28))), trials)
    assert steady.p_plus < 0.014
    assert 0.2 < moving.day_sd < 0.5
    assert moving.p_plus > 0.02
    assert moving.p_minus < steady.p_minus < 0.01 < steady.p_plus


def test_streams_together_show_a_day_effect_that_seven_days_of_one_hide() -> None:
    rng = np.random.default_rng(7)
    trials = np.full((200, 7), 2000)
    moving = rng.binomial(trials, 0.02 * np.exp(rng.normal(0, 0.3, trials.shape)))
    steady = rng.binomial(trials, 0.02)
    prior = pooled_day_sd(zip(moving, trials, strict=True))
    assert 0.25 < prior < 0.4
    assert pooled_day_sd(zip(steady, trials, strict=True)) < 0.03
    assert pooled_day_sd([([0, 0, 0], [5, 5, 5])]) == 0.0
    alone = [RateReference.fit(row, trials[0]).p_plus for row in moving]
    together = [RateReference.fit(row, trials[0], prior_day_sd=prior).p_plus for row in moving]
    assert min(alone) < 0.025 < 0.04 < min(together)
    with pytest.raises(ValueError, match="prior_day_sd"):
        RateReference.fit(moving[0], trials[0], prior_day_sd=np.nan)


def test_many_days_that_agree_outweigh_what_is_lent_and_few_do_not() -> None:
    """What other streams' days differ by is held against a stream's own days: 28 that are steady say it is not so."""
    rng = np.random.default_rng(8)

    def found(days: int, sd: float, runs: int = 400) -> NDArray[np.float64]:
        trials = np.full((runs, days), 2400)
        hits = rng.binomial(trials, 0.01 * np.exp(rng.normal(0, sd, trials.shape)))
        return np.array([RateReference.fit(row, trials[0], prior_day_sd=0.25).day_sd for row in hits])

    assert np.median(found(28, 0.0)) < 0.05
    assert np.median(found(7, 0.0)) > 0.13
    # Where the others are right, a stream is told otherwise by chance in 1 of 20 at most.
    moving = found(7, 0.25, 2000)
    assert (moving < 0.13).sum() <= binom.ppf(0.999, moving.size, 0.05)
    assert np.quantile(found(28, 0.25), 0.05) > 0.25 / 2


def test_few_days_give_wider_limits_than_many() -> None:
    day = np.exp(np.resize([-0.3, 0.3], 28))
    trials = np.full(28, 5000)
    hits = np.round(trials * 0.02 * day)
    assert RateReference.fit(hits[:6], trials[:6]).p_plus > 1.5 * RateReference.fit(hits, trials).p_plus


@pytest.mark.parametrize(("days", "seasonal"), [(28, True), (7, False)])
def test_hours_of_the_week_are_a_profile_or_part_of_one_wide_limit(days: int, seasonal: bool) -> None:
    rng = np.random.default_rng(3)
    hours = np.arange(days * 24)
    rate = np.where(hours % 24 < 6, 0.12, 0.03)
    hits = rng.binomial(400, rate)
    reference = RateReference.fit(hits, np.full(hits.size, 400), day=hours // 24, hour_of_week=hours % 168)
    assert reference.seasonal is seasonal
    assert (reference.upper[np.arange(168) % 24 < 6] > 0.12).all()
    if seasonal:
        assert (reference.upper[np.arange(168) % 24 >= 6] < 0.06).all()
    else:
        assert (reference.lower < 0.03).all()
    assert reference.temper < 1.3


def test_bursts_within_the_day_temper_the_bets() -> None:
    rng = np.random.default_rng(4)
    hours = np.arange(14 * 24)
    hits = np.minimum(4 * rng.poisson(1.0, hours.size), 200)
    burst = RateReference.fit(hits, np.full(hours.size, 200), day=hours // 24)
    calm = RateReference.fit(rng.binomial(200, 0.02, hours.size), np.full(hours.size, 200), day=hours // 24)
    assert calm.temper == 1.0
    assert 3.0 < burst.temper < 6.0
    assert log_bets([9], [90], [0.02], temper=[2.0]) == pytest.approx(log_bets([9], [90], [0.02]) / 2)


def test_extremes_and_too_little_data_have_verdicts() -> None:
    never = RateReference.fit(np.zeros(10), np.full(10, 500))
    assert never.verdict is Verdict.OK and 0 < never.p_plus < 0.003 and never.p_minus == 0.0
    always = RateReference.fit(np.full(10, 500), np.full(10, 500))
    assert always.p_plus == 1.0 and always.p_minus > 0.997
    for hits, trials in (([1, 2], [900, 900]), ([0, 0, 1], [3, 3, 3]), ([], []), ([0], [0])):
        few = RateReference.fit(hits, trials)
        assert few.verdict is Verdict.NOT_ENOUGH_DATA
        assert not log_bets([4], [4], [few.p_plus], [few.p_minus], direction="both").any()
    with pytest.raises(ValueError, match="hits <= trials"):
        RateReference.fit([5], [3])
    with pytest.raises(ValueError, match="finite"):
        RateReference.fit([np.nan], [3])


def test_minimum_effect_is_never_bet_against() -> None:
    trials = np.full(28, 1_000_000)
    hits = np.full(28, 20_000)
    reference = RateReference.fit(hits, trials, min_effect=1.5)
    assert reference.p_plus == pytest.approx(1.5 * 0.02 / (0.98 + 1.5 * 0.02), rel=1e-3)
    assert (log_bets([2800], [100_000], [reference.p_plus]) < 0).all()


def test_state_round_trip() -> None:
    rng = np.random.default_rng(5)
    hours = np.arange(28 * 24)
    reference = RateReference.fit(
        rng.binomial(50, 0.1, hours.size), np.full(hours.size, 50), day=hours // 24, hour_of_week=hours % 168
    )
    again = RateReference.from_state(reference.to_state())
    assert again.to_state() == reference.to_state()
    assert again.upper.tolist() == reference.upper.tolist()
    with pytest.raises(ValueError, match="rate-reference"):
        ExceedanceReference.from_state(reference.to_state())


def test_effect_has_an_exact_interval() -> None:
    reference = RateReference.fit([10] * 10, [1000] * 10)
    assert effect(4, 100, reference) == Effect(0.04, *interval(4, 100), 0.01, "share")
    assert interval(4, 100) == pytest.approx((0.01100, 0.09926), abs=1e-4)
    assert interval(0, 0) == (0.0, 1.0)


def test_tail_thresholds_lie_on_bucket_edges_so_that_counts_are_exact() -> None:
    rng = np.random.default_rng(6)
    values = rng.lognormal(0, 1, (5, 4000))
    edges = 2.0 ** (np.arange(-200, 200) / 32)

    def histogram(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        bucket = np.searchsorted(edges, x, side="left")
        counts = np.bincount(bucket, minlength=edges.size)
        return edges[counts > 0], counts[counts > 0]

    cells = [histogram(day) for day in values]
    reference = ExceedanceReference.fit(cells, 0.95)
    assert reference.threshold in edges
    assert reference.rate.rate <= 0.05
    assert reference.rate.hits == int((values > reference.threshold).sum())
    later = rng.lognormal(0.5, 1, 1000)
    assert reference.hits(*histogram(later)) == (int((later > reference.threshold).sum()), 1000)
    # The same edge from another computation differs in its last bit.
    shifted = np.nextafter(edges, np.inf)
    assert exceedances(shifted, np.ones(edges.size), reference.threshold)[0] == int((edges > reference.threshold).sum())
    again = ExceedanceReference.from_state(reference.to_state())
    assert again.threshold == reference.threshold and again.rate.p_plus == reference.rate.p_plus
    with pytest.raises(ValueError, match="empty"):
        ExceedanceReference.fit([(edges, np.zeros(edges.size))])


def test_a_constant_latency_has_no_tail() -> None:
    assert boundary([8.0], [500], 0.95) == 8.0
    reference = ExceedanceReference.fit([([8.0], [500])] * 5)
    assert reference.rate.hits == 0 and reference.rate.p_plus < 0.005
