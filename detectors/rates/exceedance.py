"""Tail shares: the share of latencies (costs, tokens) above the reference's p95 or p99, as a rate.

Thresholds lie on bucket boundaries of the exponential histogram, so that the number above one is exact from any
later histogram of the same scale.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from detectors.evidence.packing import pack, unpack
from detectors.rates.reference import RateReference

Float = NDArray[np.float64]
_KIND = "exceedance-reference"


@dataclass(frozen=True, slots=True)
class ExceedanceReference:
    """A threshold and the rate of values above it."""

    quantile: float  # 0.95: the threshold is the boundary at or above the reference's p95
    threshold: float  # upper edge of a bucket, in the histogram's unit
    rate: RateReference

    @classmethod
    def fit(
        cls,
        cells: Sequence[tuple[ArrayLike, ArrayLike]],
        quantile: float = 0.95,
        confidence: float = 0.998,
        *,
        day: ArrayLike | None = None,
        hour_of_week: ArrayLike | None = None,
        min_effect: float = 1.0,
        prior_day_sd: float | None = None,
    ) -> ExceedanceReference:
        """Fit on histograms of the reference period.

        Args:
            cells: one (upper edges float[b], counts int[b]) per day (or per hour, with ``day``).
            quantile: where the threshold is put; 0.95 or 0.99.
            confidence, day, hour_of_week, min_effect, prior_day_sd: as in :meth:`RateReference.fit`.

        Raises:
            ValueError: no counts at all, or a quantile outside (0, 1).
        """
        if not 0 < quantile < 1:
            raise ValueError(f"quantile must lie in (0, 1), got {quantile}")
        edges = [np.asarray(upper, dtype=np.float64) for upper, _ in cells]
        counts = [np.asarray(count, dtype=np.int64) for _, count in cells]
        upper = np.concatenate(edges) if edges else np.zeros(0)
        count = np.concatenate(counts) if counts else np.zeros(0, dtype=np.int64)
        if count.sum() <= 0:
            raise ValueError("the reference histograms are empty; a threshold needs values")
        threshold = boundary(upper, count, quantile)
        pairs = [exceedances(u, c, threshold) for u, c in zip(edges, counts, strict=True)]
        rate = RateReference.fit(
            [hits for hits, _ in pairs],
            [trials for _, trials in pairs],
            confidence,
            day=day,
            hour_of_week=hour_of_week,
            min_effect=min_effect,
            prior_day_sd=prior_day_sd,
        )
        return cls(quantile, threshold, rate)

    def hits(self, upper: ArrayLike, counts: ArrayLike) -> tuple[int, int]:
        """(values above the threshold, values) of a later histogram."""
        return exceedances(upper, counts, self.threshold)

    def to_state(self) -> bytes:
        """Versioned bytes."""
        scalars = {"quantile": self.quantile, "threshold": self.threshold, "rate": self.rate.to_state()}
        return pack(_KIND, scalars, {})

    @classmethod
    def from_state(cls, state: bytes) -> ExceedanceReference:
        """The inverse of :meth:`to_state`. Raises ValueError for other bytes."""
        scalars, _ = unpack(_KIND, state)
        return cls(scalars["quantile"], scalars["threshold"], RateReference.from_state(scalars["rate"]))


def boundary(upper: ArrayLike, counts: ArrayLike, quantile: float) -> float:
    """The least bucket edge with at most 1 - ``quantile`` of the counts above it."""
    edges = np.asarray(upper, dtype=np.float64)
    count = np.asarray(counts, dtype=np.int64)
    order = np.argsort(edges, kind="stable")
    below = np.cumsum(count[order])
    return float(edges[order][np.searchsorted(below, quantile * below[-1])])


def exceedances(upper: ArrayLike, counts: ArrayLike, threshold: float) -> tuple[int, int]:
    """(values above, values). Buckets include their upper edge; edges are compared to 1e-9 relative, since the
    same edge may come from another computation."""
    edges = np.asarray(upper, dtype=np.float64)
    count = np.asarray(counts, dtype=np.int64)
    if edges.shape != count.shape:
        raise ValueError(f"need one count per bucket, got {edges.shape} edges and {count.shape} counts")
    above = edges > threshold * (1.0 + 1e-9)
    return int(count[above].sum()), int(count.sum())
