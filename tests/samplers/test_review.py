"""Who is drawn for review: exact probabilities, the day's budget, reasons, and the same draw when run again."""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
import pytest
from scipy import stats

from samplers import review
from samplers.review import DAY_US, HOUR_US, Candidates, Draw, ReviewSampler, permanent_random_number

NAMES = ("invoices", "receipts", "scans")


def hour(rng: np.random.Generator, sizes: tuple[int, ...] = (300, 60, 6), **changes: object) -> Candidates:
    n = sum(sizes)
    values: dict[str, object] = {
        "segment": np.repeat(np.arange(len(sizes)), sizes),
        "pi_sample": rng.choice([0.1, 0.5, 1.0], n),
        "score": rng.beta(0.5, 4, n).clip(0.002, 0.998),
        "repeats": np.zeros(n, np.int64),
        "u": rng.random(n),
    }
    return Candidates(**{**values, **changes})  # type: ignore[arg-type]


def days(sampler: ReviewSampler, rng: np.random.Generator, hours: int, start: int = 0) -> Iterator[Draw]:
    for h in range(start, start + hours):
        day = h * HOUR_US // DAY_US * DAY_US
        yield sampler.draw(h * HOUR_US, day, hour(rng), NAMES, {"scans": 5.0})


def test_a_day_spends_its_labels() -> None:
    rng = np.random.default_rng(1)
    sampler = ReviewSampler(200, expected=366)
    drawn = [len(d.drawn) for d in days(sampler, rng, 24 * 8)]
    per_day = np.add.reduceat(drawn, np.arange(0, 24 * 8, 24))
    assert np.all(np.abs(per_day[1:] - 200) < 5 * np.sqrt(200))
    assert abs(per_day[1:].mean() - 200) < 25


def test_small_segments_of_high_stakes_get_their_floor() -> None:
    rng = np.random.default_rng(2)
    sampler = ReviewSampler(200, expected=366)
    found = list(days(sampler, rng, 24 * 6))
    asked = sum(d.pools.drawn for d in found[24:])
    assert asked[2] / 5 > 4.5, "scans ask for 5 labels a day"
    proportional = 200 * np.array([300, 60, 6]) / 366
    assert np.all(asked / 5 > 0.75 * proportional)


def test_what_was_asked_for_is_what_is_drawn() -> None:
    """Over many runs each item is drawn as often as its probability says, whatever asks for it."""
    rng = np.random.default_rng(3)
    sampler = ReviewSampler(120, expected=366)
    for _ in days(sampler, rng, 48):
        pass
    state = json.dumps(sampler.to_state())
    fixed = hour(rng, repeats=np.arange(366) % 3)
    runs, hits, pi = 3000, np.zeros(366), np.zeros(366)
    for _ in range(runs):
        again = ReviewSampler.from_state(json.loads(state), 120, 366)
        drawn = again.draw(48 * HOUR_US, 2 * DAY_US, _with(fixed, u=rng.random(366)), NAMES, {})
        hits[drawn.drawn] += 1
        pi = drawn.pi
    p = [stats.binomtest(int(h), runs, float(q)).pvalue for h, q in zip(hits, pi, strict=True)]
    assert min(p) > 1e-3 / 366


def _with(candidates: Candidates, **changes: object) -> Candidates:
    values = {name: getattr(candidates, name) for name in Candidates.__slots__}
    return Candidates(**{**values, **changes})


def test_doubt_raises_the_probability_and_is_told() -> None:
    rng = np.random.default_rng(4)
    sampler = ReviewSampler(120, expected=366)
    for _ in days(sampler, rng, 48):
        pass
    plain = hour(rng, score=np.full(366, 0.02), pi_sample=np.full(366, 0.4))
    state = sampler.to_state()

    def draw(candidates: Candidates) -> Draw:
        return ReviewSampler.from_state(state, 120, 366).draw(48 * HOUR_US, 2 * DAY_US, candidates, NAMES, {})

    usual = draw(plain)
    unsure = draw(_with(plain, score=np.full(366, 0.5)))
    assert (unsure.pi > 1.5 * usual.pi).all()
    assert unsure.uncertain.all()
    assert not usual.uncertain.all()


def test_busy_hours_are_asked_about_more_and_all_with_one_probability() -> None:
    """Within a day of uneven traffic nothing is asked about with another probability because of when it came."""
    rng = np.random.default_rng(9)
    sampler = ReviewSampler(200, expected=366)
    for _ in days(sampler, rng, 24 * 7):
        pass
    seen = []
    for h in range(24 * 7, 24 * 8):
        busy = hour(rng, (450, 90, 9) if h % 24 in range(8, 18) else (200, 40, 4))
        n = len(busy.segment)
        busy = _with(busy, pi_sample=np.full(n, 0.5), score=np.full(n, 0.1))
        drawn = sampler.draw(h * HOUR_US, 7 * DAY_US, busy, NAMES, {})
        seen.append(drawn.pi[0])
    assert max(seen) < 1.1 * min(seen)


def test_the_same_page_again_is_asked_about_less_and_never_not_at_all() -> None:
    rng = np.random.default_rng(5)
    sampler = ReviewSampler(120, expected=366)
    for _ in days(sampler, rng, 48):
        pass
    state = sampler.to_state()
    once = hour(rng, score=np.full(366, 0.5))
    often = _with(once, repeats=np.full(366, 9))
    pi = [
        ReviewSampler.from_state(state, 120, 366).draw(48 * HOUR_US, 2 * DAY_US, c, NAMES, {}).pi for c in (once, often)
    ]
    assert np.all(pi[1] <= pi[0])
    assert pi[1].mean() < 0.6 * pi[0].mean()
    assert pi[1].min() > 0


def test_a_flood_does_not_run_far_over_the_budget() -> None:
    rng = np.random.default_rng(6)
    sampler = ReviewSampler(100, expected=366)
    for _ in days(sampler, rng, 48):
        pass
    flood, spoken = hour(rng, (12_000, 2_400, 240)), 0.0
    for h in range(48, 72):
        drawn = sampler.draw(h * HOUR_US, 2 * DAY_US, _with(flood, u=rng.random(14_640)), NAMES, {})
        assert drawn.pi.min() > 0
        spoken += drawn.pi.sum()
    # The first hour is not foreseen; after three times the day's labels what is left is a twentieth.
    assert spoken < 100 * 12


def test_batches_and_restarts_draw_the_same() -> None:
    def run(restart: bool) -> list[list[int]]:
        rng = np.random.default_rng(7)
        sampler, found = ReviewSampler(100, expected=366), []
        for h in range(40):
            if restart:
                sampler = ReviewSampler.from_state(json.loads(json.dumps(sampler.to_state())), 100, 366)
            found.append(next(days(sampler, rng, 1, h)).drawn.tolist())
        return found

    assert run(False) == run(True)


def test_permanent_random_numbers_are_uniform_and_depend_on_seed_and_sample() -> None:
    numbers = [permanent_random_number("a", f"s{i}") for i in range(4000)]
    assert stats.kstest(numbers, "uniform").pvalue > 1e-3
    assert permanent_random_number("a", "s1") == numbers[1]
    assert permanent_random_number("b", "s1") != numbers[1]


def test_a_segment_that_is_new_is_asked_about_like_the_others() -> None:
    rng = np.random.default_rng(8)
    sampler = ReviewSampler(200, expected=366)
    for _ in days(sampler, rng, 24 * 3):
        pass
    drawn = sampler.draw(72 * HOUR_US, 3 * DAY_US, hour(rng), ("new", "other", "third"), {})
    assert drawn.pi == pytest.approx(np.full(366, 200 / (366 * 24)), rel=0.15)


def test_what_cannot_be_a_budget_or_a_state_is_refused() -> None:
    with pytest.raises(ValueError, match="labels >= 0"):
        ReviewSampler(-1)
    with pytest.raises(ValueError, match="version 7"):
        ReviewSampler.from_state({"v": 7}, 1)
    assert review.STATE_VERSION == 1
