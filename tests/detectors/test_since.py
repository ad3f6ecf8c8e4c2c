"""Since when."""

import numpy as np
import pytest

from detectors.evidence import Onset, OnsetTracker, onset
from detectors.rates import log_bets

MINUTE = 60_000_000


def run(rng: np.random.Generator, change: int, looks: int) -> np.ndarray:
    rate = np.where(np.arange(looks) < change, 0.02, 0.12)
    trials = np.full(looks, 20)
    return log_bets(rng.binomial(trials, rate), trials, np.full(looks, 0.025))


def test_the_interval_covers_the_onset() -> None:
    rng = np.random.default_rng(0)
    looks, change = 160, 120
    starts = np.arange(looks) * 5 * MINUTE
    covered, widths = 0, []
    for _ in range(300):
        found = onset(run(rng, change, looks), starts)
        assert found.low_us <= found.at_us <= found.high_us
        covered += found.low_us <= starts[change] <= found.high_us
        widths.append((found.high_us - found.low_us) / (5 * MINUTE))
    assert covered >= 0.93 * 300
    assert np.median(widths) < 40


def test_the_tracker_gives_the_same_from_bounded_memory() -> None:
    rng = np.random.default_rng(1)
    logs = np.stack([run(rng, 120, 160), run(rng, 100, 160)], axis=1)
    starts = np.arange(160) * MINUTE
    tracker = OnsetTracker(1, 4, looks=100)
    for t in range(160):
        if t == 80:
            tracker.grow(2)
        tracker.add(logs[t, :1] if t < 80 else logs[t], int(starts[t]))
    exact = onset(logs[60:, 0].astype(np.float32), starts[60:])
    assert tracker.onset(0) == exact
    tracker.reset(1)
    assert tracker.onset(1).low_us == starts[60]


def test_one_look_and_bad_input() -> None:
    assert onset([[3.0, 1.0]], [7]) == Onset(7, 7, 7)
    with pytest.raises(ValueError, match="at least one look"):
        onset(np.zeros((0, 4)), [])
    with pytest.raises(ValueError, match="NaN"):
        onset([[np.nan]], [0])
