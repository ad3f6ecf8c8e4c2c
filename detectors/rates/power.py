"""What the bets on rates and volumes find, how soon: their log payoffs under a change, as `detectors.evidence.power`
takes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, logit, ndtri

from detectors.evidence.effect import Verdict
from detectors.evidence.funding import FundedSR
from detectors.evidence.power import NEVER, Walks
from detectors.rates.bets import ODDS
from detectors.rates.silence import MOST, SILENT, silence_probabilities
from detectors.rates.volume import HOURS, VolumeBets, VolumeReference

Float = NDArray[np.float64]

DAY_HOURS = 24
WEDNESDAY = 48  # hour of the week at which simulated traffic begins
PATHS = 8


@dataclass(frozen=True, slots=True)
class RatePower:
    """Bets that ``n`` rates rise, ready to be asked about many changes. A fall is a rise of the misses: give
    1 - baseline and 1 - lower limit."""

    baseline: Float  # float[n, c], the rate in c conditions that are equally frequent (hours of the week, or weights)
    miss: Float  # float[n, K], mean log payoff of a session that does not count
    gain: Float  # float[n, c, K], what one that counts adds to that, in each condition
    miss_square: Float  # the same of squares
    gain_square: Float
    jump: Float  # float[n, K]
    look: Float  # float[n], hours
    sessions: Float  # float[n], per look
    funding: Float  # float[n], per look and bet

    @classmethod
    def of(
        cls,
        baseline: ArrayLike,
        limit: ArrayLike,
        temper: ArrayLike,
        per_hour: ArrayLike,
        funding: ArrayLike,
        *,
        bets: ArrayLike,
        look: ArrayLike,
        share: ArrayLike = 1.0,
    ) -> RatePower:
        """Gather the streams.

        Args:
            baseline, limit: float[n, c], the rate without a change and the upper limit p+ of the null; 1 bets nothing.
            temper: float[n] >= 1.
            per_hour: float[n], sessions. Streams with less than one a look look when one comes.
            funding: float[n], false alarms per hour that the stream is funded with; at most an hour's per look.
            bets: int[n], into how many bets that is divided.
            look: hours between looks, one number or float[n].
            share: float[n, c] in (0, 1], weight of a session over the greatest one; 1 without weights.
        """
        rate = np.atleast_2d(np.asarray(baseline, dtype=np.float64))
        upper = np.broadcast_to(np.asarray(limit, dtype=np.float64), rate.shape)
        weight = np.broadcast_to(np.asarray(share, dtype=np.float64), rate.shape)[:, :, None]
        traffic = np.asarray(per_hour, dtype=np.float64)
        inside = (upper > 0.0) & (upper < 1.0)
        p = np.where(inside, upper, 0.5)[:, :, None]
        odds = np.asarray(ODDS)
        chance = odds * p / (1.0 - p + odds * p)
        factor = (chance - p) / (p * (1.0 - p)) * weight
        over = np.asarray(temper, dtype=np.float64)[:, None, None]
        hit = np.where(inside[:, :, None], np.log1p(factor * (1.0 - p)), 0.0) / over
        miss = np.where(inside[:, :, None], np.log1p(-factor * p), 0.0) / over
        hours = np.maximum(look, 1.0 / np.maximum(traffic, 1e-9))
        per_bet = np.asarray(funding, dtype=np.float64) * np.minimum(hours, 1.0) / np.asarray(bets, dtype=np.float64)
        parts = rate.shape[1]
        return cls(
            baseline=rate,
            miss=miss.mean(axis=1),
            gain=(hit - miss) / parts,
            miss_square=(miss**2).mean(axis=1),
            gain_square=(hit**2 - miss**2) / parts,
            jump=(hit - miss).mean(axis=1),
            look=hours,
            sessions=traffic * hours,
            funding=np.where(traffic > 0, per_bet, 0.0),
        )

    def walks(self, odds: ArrayLike) -> Walks:
        """The walks if the odds of every rate grow by these factors, float[n]."""
        factor = np.asarray(odds, dtype=np.float64)
        changed = expit(logit(np.clip(self.baseline, 1e-9, 1.0 - 1e-9)) + np.log(factor)[:, None])
        drift, variance = self._moments(changed)
        null_drift, null_variance = self._moments(self.baseline)
        return Walks(drift, variance, null_drift, null_variance, self.jump, self.funding, self.look)

    def _moments(self, p: Float) -> tuple[Float, Float]:
        """Mean and variance of a look's log payoffs; the number of its sessions is Poisson."""
        mean = self.miss + np.einsum("nc,nck->nk", p, self.gain)
        square = self.miss_square + np.einsum("nc,nck->nk", p, self.gain_square)
        return self.sessions[:, None] * mean, self.sessions[:, None] * square


def volume_hours(
    references: Sequence[VolumeReference],
    funding: ArrayLike,
    factor: ArrayLike,
    rng: np.random.Generator,
    *,
    horizon: int = 168,
    paths: int = PATHS,
) -> Float:
    """Hours until a change of the volume is found, by playing it: what a day may prove is bounded, so that evidence
    of volume is no random walk.

    Args:
        funding: float[n], false alarms per hour that each stream is funded with.
        factor: float[n], of the volume; 0 is silence.
        horizon: hours after which playing stops.
        paths: how many times each stream is played; the change begins at as many hours of the day.

    Returns:
        hours float64[n, paths], infinite where it was not found within ``horizon``.
    """
    n = len(references)
    usable = np.array([reference.verdict is Verdict.OK for reference in references], dtype=np.bool_)
    found = np.full((n, paths), NEVER)
    if n == 0 or not usable.any():
        return found
    silent = np.stack([silence_probabilities(reference) for reference in references])
    asked = usable & np.array([reference.resting == 0.0 for reference in references], dtype=np.bool_)
    bets = VolumeBets(references).repeated(paths)
    procedure = FundedSR(n * paths, VolumeBets.K + 1)
    alpha = np.repeat(np.broadcast_to(np.asarray(funding, dtype=np.float64), (n,)), paths)
    times = np.broadcast_to(np.asarray(factor, dtype=np.float64), (n,))
    begins = np.arange(paths) * DAY_HOURS // paths
    # The same draws for every stream, so that what is said of one does not depend on who else is asked.
    seed = int(rng.integers(2**63))
    played = np.stack(
        [
            _played(reference, float(times[i]), begins, DAY_HOURS + horizon, np.random.default_rng(seed))
            for i, reference in enumerate(references)
        ]
    )
    waiting = np.repeat(usable, paths).reshape(n, paths)
    for hour in range(DAY_HOURS + horizon):
        week, counts = (WEDNESDAY + hour) % HOURS, played[:, hour]
        logs = bets.step(counts.reshape(-1), week, hour // DAY_HOURS, waiting.reshape(-1))
        p = silent[:, week]
        bet = np.where(counts == 0, np.log(SILENT / p)[:, None], np.log((1.0 - SILENT) / (1.0 - p))[:, None])
        bet = np.where((asked & (p < MOST))[:, None] & waiting, bet, 0.0)
        alarms = procedure.step(np.column_stack([logs, bet.reshape(-1)]), alpha * waiting.reshape(-1)).alarms
        new = alarms.reshape(n, paths) & (hour >= begins) & waiting
        found[new] = np.broadcast_to(hour + 1.0 - begins, (n, paths))[new]
        waiting &= ~new & (hour + 1 - begins < horizon)
        if not waiting.any():
            break
    return found


def _played(
    reference: VolumeReference, factor: float, begins: NDArray[np.int64], hours: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Counts int64[hours, paths] as the reference's model draws them, times ``factor`` from each path's begin on."""
    paths = begins.size
    hour = np.arange(hours)
    # Every day the paths draw the same spread of day effects, in another order: few of them then tell as much as many.
    order = np.argsort(rng.random((hours // DAY_HOURS + 1, paths)), axis=1)
    day = np.exp(reference.day_sd * ndtri((order + 0.5) / paths))[hour // DAY_HOURS]
    noise = rng.gamma(reference.size, 1.0 / reference.size, (hours, paths))
    changed = np.where(hour[:, None] >= begins[None, :], factor, 1.0)
    counts = rng.poisson(reference.mean[(WEDNESDAY + hour) % HOURS, None] * day * noise * changed)
    return np.asarray(counts, dtype=np.int64)
