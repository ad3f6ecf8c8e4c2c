"""Volume: profile, day effects, silence."""

import numpy as np
import pytest

from detectors.evidence import Verdict
from detectors.rates import VolumeBets, VolumeReference
from detectors.rates.silence import silence_log_bet

HOURS = np.arange(28 * 24)
SHAPE = (1.0 + 0.7 * np.sin(2 * np.pi * (HOURS % 24 - 6) / 24)) * np.where(HOURS // 24 % 7 >= 5, 0.5, 1.0)


def reference(seed: int = 0, level: float = 100.0, day_sd: float = 0.1, days: int = 28) -> VolumeReference:
    rng = np.random.default_rng(seed)
    hours = HOURS[: days * 24]
    day = np.repeat(np.exp(rng.normal(0, day_sd, days)), 24)
    return VolumeReference.fit(rng.poisson(level * SHAPE[: hours.size] * day), hours % 168, hours // 24)


def test_the_profile_and_the_variation_are_found() -> None:
    fitted = reference(day_sd=0.15)
    assert fitted.weekly and fitted.verdict is Verdict.OK
    assert fitted.mean == pytest.approx(100 * SHAPE[:168], rel=0.35)
    assert np.abs(np.log(fitted.mean / (100 * SHAPE[:168]))).mean() < 0.08
    assert 0.1 < fitted.day_sd < 0.3


def test_one_week_knows_hours_of_the_day_only_and_counts_weekends_as_variation() -> None:
    week = reference(days=7)
    assert not week.weekly
    assert week.mean[:24].tolist() == week.mean[24:48].tolist()
    assert week.day_sd > 0.25


def bets_over(fitted: VolumeReference, factor: float, hours: int, seed: int = 1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    bets = VolumeBets([fitted])
    total = np.zeros(bets.K)
    for t in range(9, 9 + hours):
        total += bets.step(rng.poisson(fitted.mean[[t % 168]] * factor), t % 168, t // 24)[0]
    return total


def test_changes_are_seen_and_no_change_is_not() -> None:
    fitted = reference()
    assert bets_over(fitted, 0.0, 4)[5] > 15  # silence within hours
    assert bets_over(fitted, 2.5, 72).max() > 18
    assert bets_over(fitted, 0.4, 72).max() > 18
    assert bets_over(fitted, 1.0, 72).max() < 3


def test_a_day_is_one_day_however_many_hours_it_has() -> None:
    fitted = reference(day_sd=0.25)
    assert bets_over(fitted, 1.6, 14).max() < 4  # from 9 to 23 o'clock of one day


def test_one_odd_hour_proves_little() -> None:
    bets = VolumeBets([reference()])
    assert bets.step([2_000], 12, 0).max() < 10


def test_quiet_streams_do_not_call_quiet_hours_silence() -> None:
    quiet = reference(level=0.5)
    assert bets_over(quiet, 0.0, 6).max() < 4


def test_days_of_rest_are_no_low_days_and_one_more_proves_at_most_what_they_are_likely() -> None:
    rng = np.random.default_rng(5)
    hours = np.arange(7 * 24)
    counts = np.where(hours // 24 >= 5, 0, rng.poisson(40.0, hours.size))
    rests = VolumeReference.fit(counts, hours % 168, hours // 24)
    never = VolumeReference.fit(np.where(hours // 24 >= 5, 40, counts), hours % 168, hours // 24)
    assert never.resting == 0.0
    assert 2 / 7 < rests.resting < 1.0
    assert rests.days == 5 and abs(float(rests.mean.mean()) / 40.0 - 1.0) < 0.1
    assert rests.day_sd < 0.2  # its working days are alike
    bets = VolumeBets([rests])
    day = np.array([bets.step([0], hour, 100) for hour in range(24)]).sum(axis=0)[0]
    assert day.max() <= np.log(1.0 / rests.resting) + 1e-9
    assert silence_log_bet(0, rests, 12) == 0.0 < silence_log_bet(0, never, 12)
    # A working day that is cut to a tenth is still seen.
    cut = sum(bets.step([4], hour, day)[0] for day in (101, 102) for hour in range(24))
    assert cut.max() > 10.0
    assert VolumeReference.from_state(rests.to_state()).resting == rests.resting


def test_too_few_days_bet_nothing() -> None:
    few = reference(days=4)
    assert few.verdict is Verdict.NOT_ENOUGH_DATA
    assert not VolumeBets([few]).step([0], 3, 0).any()


def test_a_batch_equals_one_stream_at_a_time_and_states_persist() -> None:
    rng = np.random.default_rng(2)
    references = [reference(seed, level) for seed, level in enumerate((1.0, 20.0, 900.0))]
    together = VolumeBets(references)
    alone = [VolumeBets([VolumeReference.from_state(r.to_state())]) for r in references]
    for t in range(30):
        counts = rng.poisson([1, 20, 900])
        present = rng.random(3) < 0.8
        batch = together.step(counts, t % 168, t // 24, present)
        for i in range(3):
            single = alone[i].step(counts[[i]], t % 168, t // 24, present[[i]])
            assert single[0] == pytest.approx(batch[i], abs=1e-9)
            assert present[i] or not batch[i].any()
        if t == 15:
            restored = VolumeBets(references)
            for i in range(3):
                restored.from_state(i, together.to_state(i))
            together = restored


def test_a_clock_that_jumps_starts_a_new_day() -> None:
    bets = VolumeBets([reference()])
    first = bets.step([90], 12, 5)
    bets.step([90], 13, 5)
    assert bets.step([90], 12, 2).tolist() == first.tolist()


def test_bad_input_is_refused() -> None:
    bets = VolumeBets([reference()])
    for bad in ([np.nan], [np.inf], [-1.0]):
        with pytest.raises(ValueError, match="finite and >= 0"):
            bets.step(bad, 0, 0)
    with pytest.raises(ValueError, match="need 1 counts"):
        bets.step([1, 2], 0, 0)
    with pytest.raises(ValueError, match=r"0\.\.167"):
        VolumeReference.fit([1], [168], [0])
    with pytest.raises(ValueError, match="as many counts"):
        VolumeReference.fit([], [], [])


def test_effect_is_in_events_per_hour() -> None:
    fitted = reference()
    effect = fitted.effect([10, 20], [3, 4])
    assert effect.value == 15 and effect.low < 15 < effect.high
    assert effect.baseline == pytest.approx(fitted.mean[3:5].mean())
    assert fitted.effect([0], [12]).low == 0.0
