"""An alarm ends soon after its change is gone, however little each hour tells, and not while the change goes on."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from detectors.evidence import Recovery, fading
from detectors.rates import log_bets
from monitor.times import DAY_US, HOUR_US

RUNS, HOURS = 200, 40 * 24
NEEDED = np.log(200 * 7 * 24)  # nats to be found with, as a stream among two hundred has them
PATIENCE_H = 6


class Case:
    """A rate against the upper limit of its reference: ``sessions`` an hour by day, a tenth of them by night."""

    def __init__(self, before: float, limit: float, now: float, sessions: float) -> None:
        self.before, self.limit, self.now, self.sessions = before, limit, now, sessions

    def logs(self, lasts_h: int, seed: int = 3) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """(log bets float64[runs, hours, 4], sessions int64[runs, hours])."""
        rng = np.random.default_rng(seed)
        hours = np.arange(HOURS)
        n = rng.poisson(self.sessions * np.where(hours % 24 < 8, 0.15, 1.4), (RUNS, HOURS))
        x = rng.binomial(n, np.where(hours < lasts_h, self.now, self.before))
        logs = log_bets(x.ravel(), n.ravel(), np.full(n.size, self.limit))
        return logs.reshape(RUNS, HOURS, 4), n

    def ends(self, lasts_h: int, *, fades: bool = True) -> list[tuple[int, int | None]]:
        """(hour in which it was found, hour in which it was held to be over) of the runs in which it was found."""
        found = []
        for logs, n in zip(*self.logs(lasts_h), strict=True):
            evidence, hour = np.zeros(4), 0
            while hour < HOURS and evidence.max() < NEEDED:
                evidence = np.maximum(evidence + logs[hour], 0.0)
                hour += 1
            if hour < min(lasts_h, HOURS):
                found.append((hour, self._over(logs, n, hour, fades)))
        return found

    @staticmethod
    def _over(logs: NDArray[np.float64], n: NDArray[np.int64], opened: int, fades: bool) -> int | None:
        recovery, supported = Recovery(1, 4), opened
        recovery.start([0])
        fade = fading(opened * HOUR_US) * HOUR_US if fades else 0.0
        alive = np.ones(4, dtype=np.bool_)
        for hour in range(opened, HOURS):
            if not n[hour]:
                continue
            recovery.step(logs[hour][None], fade)
            alive = (alive & (recovery.sums[0] > 0.0)) | (recovery.sums[0] >= recovery.cap)
            supported = hour if alive.any() else supported
            if hour - supported >= PATIENCE_H:
                return hour
        return None


SPARSE = Case(0.01, 0.02, 0.2, 2)  # sessions of a slice, an hour
USUAL = Case(0.007, 0.012, 0.3, 60)
SMALL = Case(0.02, 0.035, 0.06, 20)


@pytest.mark.parametrize(("case", "within_h"), [(USUAL, 34), (SPARSE, 130)], ids=["usual", "sparse"])
def test_what_is_gone_is_over_within_days(case: Case, within_h: int) -> None:
    ends = case.ends(26)
    assert len(ends) > 0.6 * RUNS
    late = [over is None or over > 26 + within_h for _, over in ends]
    assert np.mean(late) < 0.05


def test_without_fading_a_sparse_one_was_held_for_weeks() -> None:
    """What fading is for; were this to fail, it would not be needed."""
    overs = [over for _, over in SPARSE.ends(26, fades=False)]
    assert np.median([HOURS if over is None else over - 26 for over in overs]) > 300


@pytest.mark.parametrize(
    ("case", "most"), [(USUAL, 0.0), (SPARSE, 0.02), (SMALL, 0.12)], ids=["usual", "sparse", "small"]
)
def test_what_goes_on_is_not_over(case: Case, most: float) -> None:
    """In forty days; the smallest effects, which take days to be found, are lost sight of now and then."""
    ends = case.ends(HOURS)
    assert len(ends) > 0.95 * RUNS
    assert np.mean([over is not None for _, over in ends]) <= most


def test_a_change_that_took_long_to_be_found_fades_slower() -> None:
    assert fading(0) == fading(DAY_US // 4) == pytest.approx(5.0 / (2 * DAY_US))
    assert fading(10 * DAY_US) == pytest.approx(5.0 / (40 * DAY_US))


def test_a_stream_without_data_does_not_fade() -> None:
    recovery = Recovery(2, 1)
    recovery.start([0, 1])
    for _ in range(100):
        recovery.step(np.zeros((2, 1)), [0.0, 0.5])
    assert recovery.sums.tolist() == [[5.0], [0.0]]


@pytest.mark.parametrize("fade", [-0.1, float("nan"), float("inf")])
def test_fading_is_a_loss(fade: float) -> None:
    with pytest.raises(ValueError, match="fade"):
        Recovery(1, 1).step([[0.0]], fade)
