"""Image-text agreement: the share of sessions whose cosine is unusually low, or high, against the reference.

Both marginals may stay as they were while the pairing breaks; this is the stream that sees it. One score per
session (the mean over its pairs).

Cosines of different encoders live on different scales (matching pairs have about 0.3 with CLIP, 0.1 with SigLIP).
Nothing here depends on it: evidence rests on ranks within the reference, and the effect is in standard deviations of
the reference's sessions. A positive affine map of every score changes neither.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri, stdtrit

from detectors.evidence.effect import Effect, Verdict
from detectors.evidence.packing import pack, unpack
from detectors.rates.bets import ODDS
from detectors.rates.bets import effect as rate_effect
from detectors.rates.bets import log_bets as rate_bets
from detectors.rates.reference import RateReference, rate_by_day

Float = NDArray[np.float64]

TAIL = 0.05
MIN_REFERENCE = 100
LEAST_SD = 1e-6  # scores are stored with six decimals
_KIND = "agreement-reference"


@dataclass(frozen=True, slots=True)
class AgreementTail(Effect):
    """The share of sessions beyond one of the reference's thresholds (a cosine), beside the reference's share."""

    side: Literal["below", "above"]
    threshold: float


@dataclass(frozen=True, slots=True)
class AgreementReference:
    """Thresholds at the reference's 5 % and 95 % points, and the rates beyond them.

    ``mean`` and ``sd`` are those of the reference's sessions; ``low``, ``high``, ``mean`` and ``sd`` are raw cosines,
    on the scale of the encoder that made them.
    """

    low: float
    high: float
    mean: float
    sd: float
    below: RateReference
    above: RateReference

    K = 2 * len(ODDS)

    @classmethod
    def fit(
        cls,
        scores: ArrayLike,
        groups: ArrayLike | None = None,
        confidence: float = 0.998,
        tail: float = TAIL,
        *,
        hours: ArrayLike | None = None,
    ) -> AgreementReference:
        """Fit on the reference's sessions.

        Args:
            scores: float[n], one cosine per session.
            groups: int[n], day of each; default: ten consecutive parts.
            confidence: one-sided, of the limits.
            tail: share of the reference beyond each threshold.
            hours: int[n] in 0..23, hour of the day of each, so that what follows the hour is no change.

        Raises:
            ValueError: NaN or infinities, fewer than 100 sessions, shapes that disagree.
        """
        x = _checked(scores)
        if x.size < MIN_REFERENCE:
            raise ValueError(f"agreement needs {MIN_REFERENCE} reference sessions, got {x.size}, take a longer period")
        day = np.arange(x.size) * 10 // x.size if groups is None else np.asarray(groups, dtype=np.int64)
        if day.shape != x.shape:
            raise ValueError(f"groups needs one day per score, {x.size}; got shape {day.shape}")
        hour = None if hours is None else np.asarray(hours, dtype=np.int64)
        if hour is not None and (hour.shape != x.shape or (hour < 0).any() or (hour > 23).any()):
            raise ValueError(f"hours needs one hour of the day, 0..23, per score, {x.size}")
        low, high = (float(value) for value in np.quantile(x, [tail, 1.0 - tail]))
        return cls(
            low=low,
            high=high,
            mean=float(x.mean()),
            sd=max(float(x.std(ddof=1)), LEAST_SD),
            below=rate_by_day(x < low, day, hour, confidence),
            above=rate_by_day(x > high, day, hour, confidence),
        )

    def hits(self, scores: ArrayLike) -> tuple[int, int, int]:
        """(below the low threshold, above the high one, sessions)."""
        x = _checked(scores)
        return int((x < self.low).sum()), int((x > self.high).sum()), int(x.size)

    def log_bets(self, scores: ArrayLike) -> Float:
        """float64[8]: more low agreement at odds x1.5, 2.5, 5, 12, then more high agreement."""
        below, above, trials = self.hits(scores)
        low = rate_bets([below], [trials], [self.below.p_plus], temper=self.below.temper)
        high = rate_bets([above], [trials], [self.above.p_plus], temper=self.above.temper)
        return np.concatenate([low[0], high[0]])

    def verdict(self, rows: int) -> Verdict:
        """Any session is evidence; none is not."""
        return Verdict.OK if rows > 0 else Verdict.NOT_ENOUGH_DATA

    def effect(self, scores: ArrayLike, confidence: float = 0.95) -> Effect:
        """What changed: the mean, or where that may be as it was, the tail that grew.

        The mean is told in standard deviations (sd) of the reference's sessions, less the reference's mean, with its t
        interval; the baseline is 0. Where the interval holds 0 and the share beyond a threshold has risen, an
        :class:`AgreementTail`: more sessions that match badly and more that match well can leave the mean alone. Fewer
        than two sessions leave every cosine possible.
        """
        x = _checked(scores)
        mean = float(x.mean()) if x.size else self.mean
        low, high = -1.0, 1.0
        if x.size > 1:
            half = float(stdtrit(x.size - 1, 0.5 + confidence / 2.0)) * float(x.std(ddof=1)) / float(np.sqrt(x.size))
            low, high = max(low, mean - half), min(high, mean + half)
        if low <= self.mean <= high and (tail := self._tail(x, confidence)) is not None:
            return tail
        return Effect(
            (mean - self.mean) / self.sd, (low - self.mean) / self.sd, (high - self.mean) / self.sd, 0.0, "sd"
        )

    def _tail(self, scores: Float, confidence: float) -> AgreementTail | None:
        """The tail that grew, the one that grew more of two."""
        below, above, trials = self.hits(scores)
        sides: tuple[tuple[Literal["below", "above"], int, RateReference, float], ...] = (
            ("below", below, self.below, self.low),
            ("above", above, self.above, self.high),
        )
        found = []
        for side, hits, reference, threshold in sides:
            e = rate_effect(hits, trials, reference, confidence=confidence)
            if e.low > e.baseline:
                found.append(AgreementTail(e.value, e.low, e.high, e.baseline, e.unit, side, threshold))
        return max(found, key=lambda tail: tail.value - tail.baseline, default=None)

    def to_state(self) -> bytes:
        """Versioned bytes."""
        scalars = {
            "low": self.low, "high": self.high, "mean": self.mean, "sd": self.sd,
            "below": self.below.to_state(), "above": self.above.to_state(),
        }  # fmt: skip
        return pack(_KIND, scalars, {})

    @classmethod
    def from_state(cls, state: bytes) -> AgreementReference:
        """The inverse of :meth:`to_state`. Raises ValueError for other bytes."""
        scalars, _ = unpack(_KIND, state)
        # States of earlier versions have no sd: that of a normal distribution with these two quantiles.
        scalars.setdefault("sd", max((scalars["high"] - scalars["low"]) / (2.0 * float(ndtri(1.0 - TAIL))), LEAST_SD))
        below, above = RateReference.from_state(scalars.pop("below")), RateReference.from_state(scalars.pop("above"))
        return cls(**scalars, below=below, above=above)


def _checked(scores: ArrayLike) -> Float:
    x = np.asarray(scores, dtype=np.float64)
    if x.ndim != 1:
        raise ValueError(f"scores must be one number per session, got {x.ndim} dimensions")
    if not np.isfinite(x).all():
        raise ValueError("scores hold NaN or infinity; leave out sessions without both an image and a text")
    return x
