"""Error rates from labels: unbiased, and intervals that hold as often as they say."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from samplers.design import inclusion_until, probabilities, race_times
from samplers.estimators import Rates, Reviewed, clopper_pearson, coefficient, error_rates
from samplers.pools import Pools, pools_of
from samplers.response import DECIDED, MISSING, UNSURE, answered

Float = NDArray[np.float64]
Int = NDArray[np.int64]


class World(NamedTuple):
    """A population with its truth and its design."""

    wrong: Float
    score: Float
    first: Float
    pi: Float
    segments: Int

    def pools(self) -> Pools:
        return pools_of(self.first, self.pi, self.score, self.segments, int(self.segments.max()) + 1)

    def labelled(self, drawn: Int) -> Reviewed:
        return Reviewed(self.wrong[drawn], self.score[drawn], self.first[drawn], self.pi[drawn], self.segments[drawn])


def world(rng: np.random.Generator, n: int, labels: float, *, kind: str, segments: int = 1) -> World:
    """``kind``: 'right' scores are chances, 'blind' ones know nothing, 'against' point the wrong way."""
    chance = rng.beta(0.5, 3, n)
    wrong = (rng.random(n) < chance).astype(np.float64)
    score = {"right": chance, "blind": rng.beta(0.5, 3, n), "against": 1 - chance}[kind].clip(0.002, 0.998)
    codes = np.sort(rng.integers(0, segments, n))
    return World(wrong, score, np.ones(n), probabilities(score, codes, labels), codes)


@pytest.mark.parametrize("kind", ["right", "blind", "against"])
@pytest.mark.parametrize(("n", "labels"), [(400, 25.0), (5000, 500.0), (1000, 500.0)])
def test_one_look_covers(kind: str, n: int, labels: float) -> None:
    rng = np.random.default_rng([5, n])
    found = world(rng, n, labels, kind=kind)
    pools, rate, runs = found.pools(), found.wrong.mean(), 1000
    held, errors = 0, []
    for _ in range(runs):
        rates = error_rates(found.labelled(np.flatnonzero(rng.random(n) < found.pi)), pools)
        held += bool(rates.low[0] <= rate <= rates.high[0])
        errors.append(rates.rate[0] - rate)
    assert stats.binom.cdf(held, runs, 0.95) > 1e-3
    # Unbiased, but for the ratio's own bias, of the order of one label.
    assert abs(np.mean(errors)) < 5 * np.std(errors) / np.sqrt(runs) + 1 / (4 * labels)


def test_both_draws_count() -> None:
    """Items are drawn from samples, and samples from events: the interval is for the events' rate."""
    rng = np.random.default_rng(6)
    n, runs, held, rates_found = 4000, 600, 0, []
    chance = rng.beta(0.5, 3, n)
    wrong = (rng.random(n) < chance).astype(np.float64)
    first = rng.choice([0.1, 0.4], n)
    for _ in range(runs):
        sampled = np.flatnonzero(rng.random(n) < first)
        score = chance[sampled].clip(0.002, 0.998)
        pi = probabilities(score, np.zeros(len(sampled), np.int64), 300)
        part = World(wrong[sampled], score, first[sampled], pi, np.zeros(len(sampled), np.int64))
        rates = error_rates(part.labelled(np.flatnonzero(rng.random(len(sampled)) < pi)), part.pools())
        held += bool(rates.low[0] <= wrong.mean() <= rates.high[0])
        rates_found.append(rates.rate[0])
    assert stats.binom.cdf(held, runs, 0.95) > 1e-3
    assert stats.binom.sf(held, runs, 0.99) > 1e-3, "an interval for both draws, not far wider"
    assert abs(np.mean(rates_found) - wrong.mean()) < 5 * np.std(rates_found) / np.sqrt(runs)


def test_work_that_stopped_early_is_a_smaller_sample() -> None:
    rng = np.random.default_rng(7)
    found = world(rng, 3000, 400, kind="right")
    pools, held, runs, errors = found.pools(), 0, 600, []
    for _ in range(runs):
        drawn = np.flatnonzero(race_times(rng.random(3000), found.pi) <= 0.25)
        rates = error_rates(found.labelled(drawn), pools, stop=0.25)
        held += bool(rates.low[0] <= found.wrong.mean() <= rates.high[0])
        errors.append(rates.rate[0] - found.wrong.mean())
    assert stats.binom.cdf(held, runs, 0.95) > 1e-3
    assert abs(np.mean(errors)) < 5 * np.std(errors) / np.sqrt(runs) + 0.002
    assert inclusion_until(found.pi, 0.25).sum() < 130


def test_segments_are_estimated_apart_and_many_at_once() -> None:
    rng = np.random.default_rng(8)
    found = world(rng, 6000, 500, kind="right", segments=15)
    pools, runs = found.pools(), 500
    truth = np.bincount(found.segments, found.wrong) / np.bincount(found.segments)
    held = np.zeros(15)
    for _ in range(runs):
        rates = error_rates(found.labelled(np.flatnonzero(rng.random(6000) < found.pi)), pools)
        held += (rates.low <= truth) & (truth <= rates.high)
    assert stats.binom.cdf(held.min(), runs, 0.95) > 1e-3 / 15


def test_a_good_score_narrows_and_a_blind_one_costs_next_to_nothing() -> None:
    rng = np.random.default_rng(9)
    widths = {}
    for kind in ("right", "blind"):
        found = world(rng, 20_000, 500, kind=kind)
        rates = error_rates(found.labelled(np.flatnonzero(rng.random(20_000) < found.pi)), found.pools())
        widths[kind] = float((rates.high - rates.low)[0])
    low, high = clopper_pearson(np.array([found.wrong.mean()]), np.array([500.0]), 0.95)
    assert widths["right"] < 0.9 * (high - low)[0]
    assert widths["blind"] < 1.25 * (high - low)[0]


def test_the_coefficient_tells_a_chance_from_noise() -> None:
    rng = np.random.default_rng(10)
    for kind, low, high in (("right", 0.8, 1.0), ("blind", 0.0, 0.3), ("against", 0.0, 0.1)):
        found = world(rng, 20_000, 1500, kind=kind)
        drawn = np.flatnonzero(rng.random(20_000) < found.pi)
        assert low <= coefficient(found.labelled(drawn), found.pi[drawn]) <= high


def test_few_labels_are_not_believed_however_sure_the_score_is() -> None:
    """Two labels, both right, of a score that promises no error: Clopper-Pearson of two still allows most rates."""
    found = World(np.zeros(1000), np.full(1000, 0.002), np.ones(1000), np.full(1000, 0.002), np.zeros(1000, np.int64))
    rates = error_rates(found.labelled(np.array([1, 2])), found.pools())
    assert rates.rate[0] < 0.01
    assert rates.high[0] > 0.5


def test_no_label_says_nothing_and_all_labels_say_all() -> None:
    found = World(np.array([0.0, 1.0]), np.full(2, 0.5), np.ones(2), np.ones(2), np.zeros(2, np.int64))
    none = error_rates(found.labelled(np.zeros(0, np.int64)), found.pools())
    assert np.isnan(none.rate[0])
    assert (none.low[0], none.high[0]) == (0.0, 1.0)
    whole = error_rates(found.labelled(np.array([0, 1])), found.pools())
    assert whole.rate[0] == pytest.approx(0.5)
    assert whole.high[0] - whole.low[0] < 1e-3


def test_uniform_labels_give_clopper_pearson() -> None:
    """Without a score and of an endless pool: the exact interval of so many labels, but for Student's t."""
    n, labels, hits = 1_000_000, 200, 9
    found = World(np.zeros(n), np.full(n, 0.5), np.ones(n), np.full(n, labels / n), np.zeros(n, np.int64))
    found.wrong[:hits] = 1
    rates = error_rates(found.labelled(np.arange(labels)), found.pools())
    assert rates.rate[0] == pytest.approx(hits / labels, abs=1e-3)
    exact = stats.binomtest(hits, labels).proportion_ci(0.95, "exact")
    assert rates.low[0] == pytest.approx(exact.low, abs=0.004)
    assert rates.high[0] == pytest.approx(exact.high, abs=0.004)


def test_pools_merge_and_survive_storage() -> None:
    rng = np.random.default_rng(11)
    found = world(rng, 500, 50, kind="right")
    half = np.arange(500) < 200
    parts = [pools_of(found.first[h], found.pi[h], found.score[h], found.segments[h], 1) for h in (half, ~half)]
    merged = parts[0].merge(Pools.from_state(parts[1].to_state()))
    for name, value in found.pools().to_state().items():
        assert merged.to_state()[name] == pytest.approx(value)
    both = Pools(**{f: np.concatenate([getattr(p, f) for p in parts]) for f in Pools.__slots__})
    assert both.grouped(np.zeros(2, np.int64), 1).to_state() == merged.to_state()
    with pytest.raises(ValueError, match="version 9"):
        Pools.from_state({"v": 9})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"wrong": np.array([0.0, np.nan])}, "wrong"),
        ({"score": np.array([0.0, 1.5])}, "score"),
        ({"pi_review": np.array([0.0, 1.0])}, "pi_review"),
        ({"pi_sample": np.array([np.nan, 1.0])}, "pi_sample"),
        ({"group": np.array([0])}, "group"),
    ],
)
def test_what_is_no_label_is_refused(change: dict[str, Float], message: str) -> None:
    good = {"wrong": np.zeros(2), "score": np.zeros(2), "pi_sample": np.ones(2), "pi_review": np.ones(2)}
    with pytest.raises(ValueError, match=message):
        Reviewed(**{**good, "group": np.zeros(2, np.int64), **change})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="within"):
        pools_of(np.ones(1), np.zeros(1), np.zeros(1), np.zeros(1, np.int64), 1)


def test_unsure_and_missing_answers_bound_the_rate() -> None:
    rng = np.random.default_rng(12)
    runs, held, decided_low = 400, 0, 0
    found = world(rng, 4000, 400, kind="right")
    # Reviewers are unsure of what is wrong more often, and do not get to a tenth.
    for _ in range(runs):
        drawn = np.flatnonzero(rng.random(4000) < found.pi)
        unsure = rng.random(len(drawn)) < np.where(found.wrong[drawn] > 0, 0.5, 0.02)
        answer = np.where(unsure, UNSURE, DECIDED)
        answer[rng.random(len(drawn)) < 0.1] = MISSING
        result = answered(found.labelled(drawn), answer, found.pools())
        held += bool(result.low[0] <= found.wrong.mean() <= result.high[0])
        decided_low += bool(result.decided.high[0] < found.wrong.mean())
    assert stats.binom.cdf(held, runs, 0.95) > 1e-3
    assert decided_low > runs / 2, "what is decided alone misleads here: the bounds are needed"
    assert 0.05 < result.unsure.rate[0] < 0.25
    assert result.missing[0] == (answer == MISSING).sum()


def test_without_gaps_the_bounds_are_the_interval() -> None:
    rng = np.random.default_rng(13)
    found = world(rng, 500, 60, kind="right")
    drawn = np.flatnonzero(rng.random(500) < found.pi)
    result = answered(found.labelled(drawn), np.full(len(drawn), DECIDED), found.pools())
    assert (result.low[0], result.high[0]) == (result.decided.low[0], result.decided.high[0])
    with pytest.raises(ValueError, match="one answer"):
        answered(found.labelled(drawn), np.zeros(1, np.int64), found.pools())
    with pytest.raises(ValueError, match="others"):
        answered(found.labelled(drawn), np.full(len(drawn), 5), found.pools())
    assert isinstance(result.decided, Rates)
