"""Level and season of a series: invariances, the promise on series without a change, and what is found."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy.signal import lfilter
from scipy.stats import binom, poisson

from detectors.evidence import FundedSR
from detectors.level import ALARM, LevelSeason, Scores
from detectors.level.onsets import Onsets
from detectors.level.past import LEAST, MOST, Past

Array = np.ndarray
HOUR_US = 3_600_000_000
START_US = 1_700_000_000_000_000


def _times(rows: int, step_us: int = HOUR_US) -> Array:
    return START_US + step_us * np.arange(rows)


def _season(rng: np.random.Generator, rows: int) -> Array:
    return 100 + 50 * np.sin(2 * np.pi * np.arange(rows) / 24) + 10 * rng.normal(size=rows)


WORLDS: dict[str, Callable[[np.random.Generator, int], Array]] = {
    "normal": lambda rng, rows: rng.normal(size=rows),
    "heavy": lambda rng, rows: rng.standard_t(2, rows),
    "heavier": lambda rng, rows: np.exp(2 * rng.normal(size=rows)),
    "discrete": lambda rng, rows: rng.poisson(1, rows).astype(float),
    "rare": lambda rng, rows: (rng.random(rows) < 0.02).astype(float),
    "season": _season,
}


def _same(one: Scores, two: Scores) -> bool:
    return (
        np.array_equal(one.score, two.score)
        and np.array_equal(one.onset, two.onset)
        and np.array_equal(one.log_bets, two.log_bets)
    )


def _joined(parts: list[Scores]) -> Scores:
    return Scores(*(np.concatenate([getattr(part, name) for part in parts]) for name in ("score", "onset", "log_bets")))


@pytest.mark.parametrize("world", WORLDS)
def test_rows_one_at_a_time_in_parts_or_together_score_the_same(world: str) -> None:
    times, x = _times(900), WORLDS[world](np.random.default_rng(1), 900)
    whole = LevelSeason(memory=300).update(times, x)
    single = LevelSeason(memory=300)
    assert _same(whole, _joined([single.update(t, v) for t, v in zip(times, x, strict=True)]))
    parts = LevelSeason(memory=300)
    cuts = zip(np.array_split(times, [7, 7, 400]), np.array_split(x, [7, 7, 400]), strict=True)
    assert _same(whole, _joined([parts.update(t, v) for t, v in cuts]))


@pytest.mark.parametrize("cut", [0, 1, 25, 500])
def test_a_state_goes_on_where_it_was_and_is_kept_as_the_same_bytes(cut: int) -> None:
    times, x = _times(900), _season(np.random.default_rng(2), 900)
    whole = LevelSeason(memory=300).update(times, x)
    series = LevelSeason(memory=300)
    first = series.update(times[:cut], x[:cut])
    state = series.to_state()
    again = LevelSeason.from_state(state)
    assert again.to_state() == state
    assert _same(whole, _joined([first, again.update(times[cut:], x[cut:])]))


def test_other_bytes_are_refused() -> None:
    with pytest.raises(ValueError, match="not a level-season state"):
        LevelSeason.from_state(b"something else")


@pytest.mark.parametrize("world", WORLDS)
def test_the_unit_does_not_matter(world: str) -> None:
    times, x = _times(600), WORLDS[world](np.random.default_rng(3), 600)
    one, two = LevelSeason().update(times, x), LevelSeason().update(times, 1024.0 * x)
    # Factors of two are exact but for the logs' last digits, which may break ties either way.
    np.testing.assert_allclose(one.score, two.score, atol=0.02 if world in ("discrete", "rare") else 1e-6)


def test_up_and_down_are_alike() -> None:
    times, x = _times(600), np.random.default_rng(4).standard_t(3, 600)
    assert np.mean(np.abs(LevelSeason().update(times, x).score - LevelSeason().update(times, -x).score) > 0.05) < 0.05


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e301])
def test_what_is_not_a_number_is_refused_and_nothing_learned(bad: float) -> None:
    series = LevelSeason()
    series.update(_times(50), np.arange(50.0))
    state = series.to_state()
    with pytest.raises(ValueError, match="finite"):
        series.update(_times(3), [1.0, bad, 2.0])
    assert series.to_state() == state


def test_other_bad_input_says_what_is_wrong() -> None:
    with pytest.raises(ValueError, match="as many times as values"):
        LevelSeason().update([1, 2], [1.0])
    with pytest.raises(ValueError, match="integer microseconds"):
        LevelSeason().update([1.5], [1.0])
    with pytest.raises(ValueError, match="at least 100 rows"):
        LevelSeason(memory=10)


def test_no_rows_give_no_scores() -> None:
    scores = LevelSeason().update(np.zeros(0, dtype=np.int64), [])
    assert scores.score.shape == scores.onset.shape == (0,)
    assert scores.log_bets.shape == (0, 4)


@pytest.mark.parametrize("value", [0.0, -7.25, 1e300])
def test_constant_data_are_no_evidence(value: float) -> None:
    scores = LevelSeason().update(_times(2000), np.full(2000, value))
    assert not scores.score.any()
    assert not scores.onset.any()
    assert (scores.log_bets <= 0).all()


def test_there_is_no_evidence_before_there_is_a_past() -> None:
    scores = LevelSeason().update(_times(LEAST), np.random.default_rng(5).standard_t(1, LEAST))
    assert not scores.score.any()
    assert not scores.log_bets.any()


def test_the_p_value_by_rank_is_that_of_the_definition() -> None:
    past = Past(1000, [float(number) for number in range(99)])
    assert past.surprise(50.0)[1] == pytest.approx(np.log(100 / (49 + 1)))  # 50, 51, ..., 98
    assert past.surprise(98.0)[1] == pytest.approx(np.log(100 / 2))
    assert past.surprise(-1.0) == (0.0, 0.0)
    fitted, ranked = past.surprise(1e6)
    assert ranked == pytest.approx(np.log(100))
    assert fitted == MOST
    assert Past(1000, [3.0] * 99).surprise(3.0) == (0.0, 0.0)


def test_the_past_forgets_the_oldest() -> None:
    past = Past(3)
    for number in (9.0, 1.0, 5.0, 2.0):
        past.add(number)
    assert past.to_array().tolist() == [1.0, 5.0, 2.0]
    assert past.median() == 2.0
    assert Past(3).median() is None


def test_onsets_are_records_and_repetitions_weigh_less() -> None:
    onsets = Onsets(memory=1000)
    steps = [onsets.step(value) for value in [0.0, 3.0, 2.0, 3.0, 4.0, *[0.0] * 25, 3.0]]
    # The first 3 begins something; 2 and 3 do not, 4 does; after 25 quiet rows another 3 is the third at least as odd.
    assert steps[:5] == [0.0, 3.0, 0.0, 0.0, 4.0]
    assert steps[-1] == pytest.approx(3.0 - 0.5 * np.log(3))


@pytest.mark.parametrize("world", WORLDS)
def test_a_score_is_as_rare_as_it_says(world: str) -> None:
    """P(score >= 1 - a) <= a of the last row of independent series, within the exact 99.9 % binomial limit."""
    streams, rows = 300, 250
    last = np.array(
        [
            LevelSeason().update(_times(rows), WORLDS[world](np.random.default_rng([6, stream]), rows)).score[-1]
            for stream in range(streams)
        ]
    )
    for a in (0.3, 0.1, 0.03, 0.01):
        assert (last >= 1 - a).sum() <= binom.ppf(0.999, streams, a), a


@pytest.mark.parametrize("world", WORLDS)
def test_half_of_series_without_a_change_go_long_without_an_alarm(world: str) -> None:
    """50 rows after 250 hold no onset at the default threshold in at least half of all series: exact binomial limit."""
    streams, before, run = 150, 250, 50
    alarmed = 0
    for stream in range(streams):
        x = WORLDS[world](np.random.default_rng([7, stream]), before + run)
        alarmed += int((LevelSeason().update(_times(before + run), x).onset[before:] >= ALARM).any())
    assert alarmed <= binom.ppf(0.001, streams, 0.5)


@pytest.mark.parametrize("world", WORLDS)
def test_false_alarms_of_the_bets_stay_within_the_funding(world: str) -> None:
    """Rows independent given their season, funded 0.5 alarms a series: under the 99.9 % Poisson limit."""
    streams, rows, funded = 60, 500, 0.5
    logs = np.array(
        [
            LevelSeason().update(_times(rows), WORLDS[world](np.random.default_rng([8, stream]), rows)).log_bets
            for stream in range(streams)
        ]
    )
    procedure = FundedSR(streams, 4)
    alarms = sum(int(procedure.step(logs[:, row], np.full(streams, funded / rows)).alarms.sum()) for row in range(rows))
    assert alarms <= poisson.ppf(0.999, streams * funded)


def _changed(kind: str, rng: np.random.Generator, rows: int, at: int) -> Array:
    if kind == "shape":
        x = _season(rng, rows)
        x[at:] = 100 - 50 * np.sin(2 * np.pi * np.arange(at, rows) / 24) + 10 * rng.normal(size=rows - at)
        return x
    if kind == "still":
        x = _season(rng, rows)
        x[at:] = x[at - 1]
        return x
    x = 100 + 10 * rng.normal(size=rows)
    if kind == "point":
        x[at] += 100
    elif kind == "level":
        x[at:] += 50
    elif kind == "spread":
        x[at:] = 100 + 40 * rng.normal(size=rows - at)
    elif kind == "dropout":
        x[at:] = 0.0
    elif kind == "flat":
        x[at:] = 100.0
    return x


@pytest.mark.parametrize(
    ("kind", "rows"),
    [("point", 1), ("level", 10), ("spread", 25), ("dropout", 2), ("flat", 200), ("shape", 24), ("still", 100)],
)
def test_a_change_is_found_soon_in_nine_of_ten_series(kind: str, rows: int) -> None:
    """Hourly rows, 600 of them before the change: an onset at the default threshold within ``rows`` of it. The count
    lies above the exact 0.1 % binomial limit of a chance of 0.9."""
    streams, at = 40, 600
    found = 0
    for stream in range(streams):
        x = _changed(kind, np.random.default_rng([9, stream]), at + rows, at)
        found += int((LevelSeason().update(_times(x.size), x).onset[at:] >= ALARM).any())
    assert found >= binom.ppf(0.001, streams, 0.9)


@pytest.mark.parametrize("shift", [1.5, -1.5])
def test_the_bets_find_a_lasting_shift(shift: float) -> None:
    rows, at = 700, 500
    x = np.random.default_rng(10).normal(size=rows)
    x[at:] += shift
    logs = LevelSeason().update(_times(rows), x).log_bets
    procedure = FundedSR(1, 4)
    alarms = [bool(procedure.step(look[None], [1e-6]).alarms[0]) for look in logs]
    assert not any(alarms[:at])
    assert any(alarms[at:])


def test_gaps_repeated_times_and_a_clock_that_jumps_are_lived_through() -> None:
    rng = np.random.default_rng(11)
    x = _season(rng, 1500)
    times = _times(1500)
    times[500:] += 40 * 24 * HOUR_US  # a gap
    times[700] = times[699]  # the same time twice
    times[900:] -= 60 * 24 * HOUR_US  # the clock goes back
    scores = LevelSeason().update(times, x)
    # Whole days: the hours of the day are as before, so that no more is odd than without them.
    usual = LevelSeason().update(_times(1500), x)
    assert (scores.onset >= ALARM).sum() <= (usual.onset >= ALARM).sum() + 2
    assert np.isfinite(scores.score).all()
    assert np.isfinite(scores.log_bets).all()


def test_once_a_day_has_a_profile_too() -> None:
    """Rows a whole day apart fall into the same half-hour, which must close all the same."""
    series = LevelSeason()
    series.update(_times(10, 24 * HOUR_US), np.arange(10.0))
    assert LevelSeason.from_state(series.to_state())._day.step(START_US + 10 * 24 * HOUR_US, 0.0) is not None


def test_what_is_older_than_the_memory_is_forgotten() -> None:
    """After a lasting shift the new level is the usual one again."""
    x = np.random.default_rng(12).normal(size=2000)
    x[500:] += 20
    score = LevelSeason(memory=300).update(_times(2000), x).score
    assert score[500:510].max() >= ALARM
    assert np.mean(score[1000:] >= 0.9) <= 0.1


def test_neighbours_that_resemble_each_other_keep_the_score_calibrated() -> None:
    """A score is a statement on one row: dependence between rows does not spoil it (it does spoil the bets)."""
    streams, rows = 300, 400
    last = []
    for stream in range(streams):
        noise = np.random.default_rng([13, stream]).normal(size=rows)
        last.append(LevelSeason().update(_times(rows), lfilter([1.0], [1.0, -0.9], noise)).score[-1])
    for a in (0.3, 0.1, 0.03):
        assert (np.array(last) >= 1 - a).sum() <= binom.ppf(0.999, streams, a), a
