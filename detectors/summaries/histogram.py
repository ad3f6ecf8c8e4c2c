"""Distributions and rates read from a summary, each with what the data can support.

Intervals hold at the stated confidence for independent observations; take the session-thinned counts where
events of one session resemble each other.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import ceil, isnan, sqrt
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr, bdtrik, betaincinv, ndtri

from detectors.summaries import buckets

Int64 = NDArray[np.int64]

_CHUNK = 1 << 15  # values taken at once: they and their codes stay in the cache

CONFIDENCE = 0.95
MIN_TAIL = 10  # observations in a tail below which its mean has no useful interval


class Interval(NamedTuple):
    low: float
    high: float


@lru_cache(maxsize=4096)  # quantities of the same events ask for the same ranks
def _binomial_quantile(probability: float, n: int, p: float) -> int:
    """Smallest k with P(Binomial(n, p) <= k) >= probability; a tenth of the time of scipy.stats.binom.ppf."""
    inverse = float(bdtrik(probability, n, p))
    if isnan(inverse):
        from scipy.stats import binom  # rare, and importing it takes a second and 50 MB

        return int(binom.ppf(probability, n, p))
    k = min(max(ceil(inverse), 0), n)
    while k < n and bdtr(k, n, p) < probability:
        k += 1
    while k > 0 and bdtr(k - 1, n, p) >= probability:
        k -= 1
    return k


@dataclass(frozen=True, slots=True)
class Total:
    """How many events have a quantity, and its exact sum."""

    count: int
    sum: int


@dataclass(frozen=True, slots=True)
class Rate:
    """`hits` of `trials`."""

    hits: int
    trials: int

    @property
    def value(self) -> float | None:
        """hits / trials; None without trials."""
        return self.hits / self.trials if self.trials else None

    def interval(self, confidence: float = CONFIDENCE) -> Interval | None:
        """Clopper-Pearson: exact for a binomial, never below the stated coverage. None without trials."""
        if not self.trials:
            return None
        tail = (1 - confidence) / 2
        misses = self.trials - self.hits
        low = float(betaincinv(self.hits, misses + 1, tail)) if self.hits else 0.0
        high = float(betaincinv(self.hits + 1, misses, 1 - tail)) if misses else 1.0
        return Interval(low, high)


@dataclass(frozen=True, slots=True)
class Histogram:
    """Non-empty buckets in ascending order: integers `lower`..`upper` (both included), with count and exact sum.

    All arrays int64[k]. `linear` buckets are 0.01 wide; others are exponential, within a relative error of
    1.084 %.
    """

    lower: Int64
    upper: Int64
    counts: Int64
    sums: Int64
    linear: bool = False

    @classmethod
    def of(cls, values: Int64) -> Histogram:
        """The exponential histogram of int64[n] values >= 0."""
        counts, sums = np.zeros(buckets.N_CODES, np.int64), np.zeros(buckets.N_CODES, np.int64)
        for start in range(0, values.size, _CHUNK):
            chunk = buckets.clipped(values[start : start + _CHUNK])
            code = buckets.codes(chunk)
            counts += np.bincount(code, minlength=buckets.N_CODES)
            np.add.at(sums, code, chunk)
        present = np.flatnonzero(counts)
        return cls(buckets.smallest()[present], buckets.largest()[present], counts[present], sums[present])

    @property
    def count(self) -> int:
        return int(self.counts.sum())

    @property
    def sum(self) -> int:
        return int(self.sums.sum())

    @property
    def mean(self) -> float | None:
        """Exact mean; None without observations."""
        return self.sum / self.count if self.counts.size else None

    def _at_rank(self, rank: int) -> int:
        return int(np.searchsorted(np.cumsum(self.counts), rank))

    def _estimate(self, bucket: int) -> float:
        if self.linear or self.counts[bucket] == 1:
            return float(self.sums[bucket] / self.counts[bucket])
        low, high = float(self.lower[bucket]), float(self.upper[bucket])
        return 2 * low * high / (low + high) if high else 0.0  # equal relative error to both ends

    def quantile(self, q: float) -> float | None:
        """The ceil(q n)-th smallest observation, within the relative error. None without observations."""
        n = self.count
        if not n:
            return None
        rank = min(max(ceil(q * n - 1e-9), 1), n)
        return self._estimate(self._at_rank(rank))

    def quantile_interval(self, q: float, confidence: float = CONFIDENCE) -> Interval | None:
        """Distribution-free interval of the population's quantile: two order statistics, by exact binomial tails.

        Its ends are bucket boundaries, outwards. None where n observations support no such interval, as for
        p99.9 of 200.
        """
        n = self.count
        if not n:
            return None
        tail = (1 - confidence) / 2
        low_rank = _binomial_quantile(tail, n, q)
        high_rank = _binomial_quantile(1 - tail, n, q) + 1
        if low_rank < 1 or high_rank > n:
            return None
        return Interval(float(self.lower[self._at_rank(low_rank)]), float(self.upper[self._at_rank(high_rank)]))

    def count_above(self, x: float) -> int:
        """Observations in buckets wholly above x: exact for an x on a bucket's `upper`, else x counts as that."""
        return int(self.counts[np.searchsorted(self.lower, x, side="right") :].sum())

    def _tail(self, fraction: float) -> tuple[float, float]:
        """Sum over the greatest `fraction` of observations, and the value at its edge (bucket mean)."""
        want = fraction * self.count
        counts = self.counts[::-1].astype(np.float64)
        means = self.sums[::-1] / counts
        before = np.cumsum(counts) - counts
        taken = np.clip(want - before, 0.0, counts)
        edge = int(np.searchsorted(before, want, side="left")) - 1
        return float(taken @ means), float(means[max(edge, 0)])

    def _deviation(self, of_value: NDArray[np.float64]) -> float:
        """Standard error of a mean of f(value), from f at the buckets' means."""
        n = self.count
        mean = float(self.counts @ of_value) / n
        return sqrt(max(float(self.counts @ (of_value - mean) ** 2), 0.0) / n / n)

    def expected_shortfall(self, q: float) -> float | None:
        """Mean of the greatest (1 - q) n observations, exact but for the bucket on the edge.

        None where that is less than one observation.
        """
        fraction = 1 - q
        if fraction * self.count < 1 - 1e-9:
            return None
        return self._tail(fraction)[0] / (fraction * self.count)

    def expected_shortfall_interval(self, q: float, confidence: float = CONFIDENCE) -> Interval | None:
        """Normal interval from the influence function; None with fewer than MIN_TAIL observations in the tail."""
        value = self.expected_shortfall(q)
        fraction = 1 - q
        if value is None or fraction * self.count < MIN_TAIL:
            return None
        edge = self._tail(fraction)[1]
        excess = np.maximum(self.sums / self.counts - edge, 0.0) / fraction
        half = float(ndtri((1 + confidence) / 2)) * self._deviation(excess)
        return Interval(max(value - half, 0.0), value + half)

    def tail_share(self, top_fraction: float) -> float | None:
        """Share of the sum that the greatest `top_fraction` of observations make up.

        Exact but for the bucket on the edge. None where that is less than one observation, or the sum is 0.
        """
        if top_fraction * self.count < 1 - 1e-9 or not self.sum:
            return None
        return min(self._tail(top_fraction)[0] / self.sum, 1.0)

    def tail_share_interval(self, top_fraction: float, confidence: float = CONFIDENCE) -> Interval | None:
        """Normal interval from the influence function; None with fewer than MIN_TAIL observations in the tail."""
        share = self.tail_share(top_fraction)
        if share is None or top_fraction * self.count < MIN_TAIL:
            return None
        edge = self._tail(top_fraction)[1]
        values = self.sums / self.counts
        influence = (np.maximum(values - edge, 0.0) - share * values) / (self.sum / self.count)
        half = float(ndtri((1 + confidence) / 2)) * self._deviation(influence)
        return Interval(max(share - half, 0.0), min(share + half, 1.0))

    def mean_interval(self, confidence: float = CONFIDENCE) -> Interval | None:
        """Normal interval of the mean; None with fewer than MIN_TAIL observations."""
        n = self.count
        if n < MIN_TAIL:
            return None
        mean = self.sum / n
        half = float(ndtri((1 + confidence) / 2)) * self._deviation(self.sums / self.counts)
        return Interval(max(mean - half, 0.0), mean + half)
