"""Intervals that hold at every look: in the order of work, for both draws, for pools that grow."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from samplers.design import probabilities, race_times
from samplers.estimators import Reviewed, error_rates
from samplers.pools import Pools, pools_of
from samplers.sequences import confidence_sequence, stages


def population(
    rng: np.random.Generator, n: int, kind: str
) -> tuple[np.ndarray[tuple[int], np.dtype[np.float64]], np.ndarray[tuple[int], np.dtype[np.float64]]]:
    chance = {"rare": rng.beta(0.2, 12, n), "common": rng.beta(0.6, 2, n), "half": np.full(n, 0.5)}[kind]
    return (rng.random(n) < chance).astype(np.float64), chance.clip(0.002, 0.998)


@pytest.mark.parametrize("kind", ["rare", "common", "half"])
@pytest.mark.parametrize(("trusted", "labels"), [(True, 80), (False, 80), (True, 560)])
def test_every_look_covers(kind: str, trusted: bool, labels: float) -> None:
    rng = np.random.default_rng(21)
    n, runs, held = 600, 200, 0
    wrong, score = population(rng, n, kind)
    if not trusted:
        score = rng.permutation(score)
    pi = probabilities(score, np.zeros(n, np.int64), labels)
    pool = pools_of(np.ones(n), pi, score, np.zeros(n, np.int64), 1)
    for _ in range(runs):
        race = race_times(rng.random(n), pi)
        drawn = np.flatnonzero(race <= 1)
        labelled = Reviewed(wrong[drawn], score[drawn], np.ones(len(drawn)), pi[drawn], np.zeros(len(drawn), np.int64))
        found = confidence_sequence(labelled, race[drawn], pool)
        held += bool(np.all((found.low <= wrong.mean()) & (wrong.mean() <= found.high)))
    assert stats.binom.cdf(held, runs, 0.95) > 1e-3


def test_looking_until_it_pleases_breaks_the_interval_for_one_look_and_not_this_one() -> None:
    rng = np.random.default_rng(22)
    n, runs, once, always = 2000, 150, 0, 0
    wrong, _ = population(rng, n, "common")
    blind = np.full(n, wrong.mean())
    pi = probabilities(blind, np.zeros(n, np.int64), 300)
    pool = pools_of(np.ones(n), pi, blind, np.zeros(n, np.int64), 1)
    for _ in range(runs):
        race = race_times(rng.random(n), pi)
        order = np.argsort(race)[: int((race <= 1).sum())]
        labelled = Reviewed(wrong[order], blind[order], np.ones(len(order)), pi[order], np.zeros(len(order), np.int64))
        found = confidence_sequence(labelled, race[order], pool)
        always += bool(np.any((found.low > wrong.mean()) | (wrong.mean() > found.high)))
        for t in range(10, len(order), 5):
            part = labelled.where(np.arange(len(order)) <= t)
            rates = error_rates(part, pool, stop=float(race[order[t]]))
            if not rates.low[0] <= wrong.mean() <= rates.high[0]:
                once += 1
                break
    assert once > 0.12 * runs
    assert stats.binom.sf(always - 1, runs, 0.05) > 1e-3


def test_it_narrows_and_ends_at_the_truth_when_everything_is_labelled() -> None:
    rng = np.random.default_rng(26)
    wrong, score = population(rng, 300, "common")
    pi = np.full(300, 0.9999999)
    pool = pools_of(np.ones(300), pi, score, np.zeros(300, np.int64), 1)
    labelled = Reviewed(wrong, score, np.ones(300), pi, np.zeros(300, np.int64))
    found = confidence_sequence(labelled, race_times(rng.random(300), pi), pool)
    assert (np.diff(found.low) >= -1e-12).all()
    assert (np.diff(found.high) <= 1e-12).all()
    assert found.now == pytest.approx((wrong.mean(), wrong.mean()), abs=1e-9)


def test_limits_that_contradict_each_other_give_way_to_what_labels_leave() -> None:
    """A run in which the bets were lost to bad luck: all wrong items came first."""
    n = 200
    wrong = np.concatenate([np.ones(60), np.zeros(140)])
    pi = np.full(n, 0.9999999)
    pool = pools_of(np.ones(n), pi, np.full(n, 0.5), np.zeros(n, np.int64), 1)
    labelled = Reviewed(wrong, np.full(n, 0.5), np.ones(n), pi, np.zeros(n, np.int64))
    found = confidence_sequence(labelled, np.linspace(0.01, 1, n), pool)
    assert found.low[59] > 0.3, "the bets are lost here"
    assert found.now == pytest.approx((0.3, 0.3), abs=1e-9)


def test_certain_items_are_known_and_not_drawn() -> None:
    rng = np.random.default_rng(24)
    wrong, score = population(rng, 400, "common")
    pi = np.where(np.arange(400) < 50, 1.0, 0.2)
    pool = pools_of(np.ones(400), pi, score, np.zeros(400, np.int64), 1)
    held = 0
    for _ in range(200):
        race = race_times(rng.random(400), pi)
        drawn = np.flatnonzero(race <= 1)
        labelled = Reviewed(wrong[drawn], score[drawn], np.ones(len(drawn)), pi[drawn], np.zeros(len(drawn), np.int64))
        found = confidence_sequence(labelled, race[drawn], pool)
        assert np.isfinite(found.low).all()
        held += bool(np.all((found.low <= wrong.mean()) & (wrong.mean() <= found.high)))
    assert stats.binom.cdf(held, 200, 0.95) > 1e-3


def test_both_draws_count() -> None:
    rng = np.random.default_rng(25)
    n, runs, held = 3000, 150, 0
    wrong, score = population(rng, n, "common")
    first = rng.choice([0.1, 0.3], n)
    for _ in range(runs):
        s = np.flatnonzero(rng.random(n) < first)
        pi = probabilities(score[s], np.zeros(len(s), np.int64), 150)
        pool = pools_of(first[s], pi, score[s], np.zeros(len(s), np.int64), 1)
        race = race_times(rng.random(len(s)), pi)
        d = np.flatnonzero(race <= 1)
        labelled = Reviewed(wrong[s][d], score[s][d], first[s][d], pi[d], np.zeros(len(d), np.int64))
        found = confidence_sequence(labelled, race[d], pool)
        held += bool(np.all((found.low <= wrong.mean()) & (wrong.mean() <= found.high)))
    assert stats.binom.cdf(held, runs, 0.95) > 1e-3


def test_stages_spend_the_error_once() -> None:
    spent = sum(1 - stages(0.95, stage, 7) for stage in range(1, 8))
    assert spent == pytest.approx(0.05)
    assert 1 - stages(0.95, 7, 7) == pytest.approx(0.025)
    assert stages(0.95, 1, 1) == 0.95
    with pytest.raises(ValueError, match="stage"):
        stages(0.95, 8, 7)


def test_no_label_says_nothing_and_several_pools_are_refused() -> None:
    nothing = Reviewed(np.zeros(0), np.zeros(0), np.zeros(0), np.zeros(0), np.zeros(0, np.int64))
    assert confidence_sequence(nothing, np.zeros(0), Pools.empty(1)).now == (0.0, 1.0)
    with pytest.raises(ValueError, match="one pool"):
        confidence_sequence(nothing, np.zeros(0), Pools.empty(2))
