"""How heavy a tail is: the exponent with which large values become rare.

Beyond a threshold t a Pareto tail has P(V > v | V > t) = (t / v) ** index. At an index of 2 or less the variance is
infinite, so that normal intervals of means and tail means are not to be trusted; at 1 or less the mean is.

Buckets give the likelihood of grouped data exactly, whatever their width, so no value is put in a bucket's middle as
Hill's estimator (Annals of Statistics 3, 1975) would need. With narrow buckets both agree.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtri

from detectors.evidence.effect import Verdict
from detectors.summaries import buckets
from detectors.summaries.histogram import CONFIDENCE, MIN_TAIL, Histogram

Floats = NDArray[np.float64]

_HALVINGS = 60  # of an interval within which a root lies: below the precision of float64


@dataclass(frozen=True, slots=True)
class TailIndex:
    """The tail index beyond `threshold` (in the histogram's unit) with its interval, from `above` observations.

    index, low and high are None unless the verdict is OK. NOT_MEASURED: there are no observations. NOT_ENOUGH_DATA:
    fewer than MIN_TAIL lie beyond the threshold, or all that do lie in the first bucket beyond it (the tail is lighter
    than buckets can tell) or in the open one at `buckets.MAX_VALUE` (all were clipped).
    """

    verdict: Verdict
    index: float | None
    low: float | None
    high: float | None
    threshold: int | None
    above: int


def fit_tail_index(h: Histogram, q: float = 0.95, confidence: float = CONFIDENCE) -> TailIndex:
    """Maximum likelihood of grouped data above the q quantile, with a likelihood-ratio interval.

    h: an exponential histogram. q: in [0, 1). The threshold is the upper edge of the bucket that holds the quantile,
    or of the first bucket of positive values if that is higher. What lies beyond is a sample of the tail whatever
    lies below, so that choosing the threshold from the same data costs nothing.

    The interval has Bartlett's correction for exponential data (1 + 1 / 6m for m observations; Lawley, Biometrika 43,
    1956). It holds for independent observations whose tail is Pareto from the threshold on; of another tail, as a
    lognormal's, the index describes the range of the data and grows with q. Values are taken as rounded up to
    integers; where they were rounded down the index is biased by at most 1 / threshold of itself. ValueError for a
    linear histogram, or a q or confidence out of range.
    """
    if h.linear:
        raise ValueError("a tail index needs an exponential histogram; this one is linear (a bounded quantity)")
    for name, number in (("q", q), ("confidence", confidence)):
        if not 0 <= number < 1:
            raise ValueError(f"{name} is {number!r}; give a number from 0 to below 1, as 0.95")
    present = h.counts > 0
    lower, upper, counts = h.lower[present], h.upper[present], h.counts[present]
    positive = upper > 0
    if not positive.any():
        return TailIndex(Verdict.NOT_ENOUGH_DATA if counts.size else Verdict.NOT_MEASURED, None, None, None, None, 0)
    n = int(counts.sum())
    rank = min(max(ceil(q * n - 1e-9), 1), n)
    edge = max(int(np.searchsorted(np.cumsum(counts), rank)), int(np.argmax(positive)))
    threshold, above = int(upper[edge]), int(counts[edge + 1 :].sum())
    too_few = TailIndex(Verdict.NOT_ENOUGH_DATA, None, None, None, threshold, above)
    if above < MIN_TAIL:
        return too_few

    # Integers from `lower` on were values above lower - 1; the last bucket also holds what was clipped to its end.
    beyond = np.log((lower[edge + 1 :] - 1) / threshold)
    is_open = upper[edge + 1 :] >= buckets.MAX_VALUE
    width = np.log(upper[edge + 1 :] / (lower[edge + 1 :] - 1))[~is_open]
    weights = counts[edge + 1 :].astype(np.float64)
    total, closed = float(weights @ beyond), weights[~is_open]
    if not total or not closed.size:
        return too_few

    def score(a: float) -> float:
        with np.errstate(over="ignore"):
            return float(closed @ (width / np.expm1(a * width))) - total

    def log_likelihood(a: float) -> float:
        return float(closed @ np.log(-np.expm1(-a * width))) - a * total

    index = _crossing(score, *_bracket(score))
    drop = float(chdtri(1, 1 - confidence)) / 2 * (1 + 1 / (6 * above))
    least = log_likelihood(index) - drop

    def likely(a: float) -> float:
        return log_likelihood(a) - least

    low, high = (_crossing(likely, *_outwards(likely, index, factor)) for factor in (0.5, 2.0))
    return TailIndex(Verdict.OK, index, low, high, threshold, above)


def _bracket(f: Callable[[float], float]) -> tuple[float, float]:
    """Powers of two with f > 0 at the first and <= 0 at the second, for an f that falls from above 0 to below."""
    start = 1.0
    while f(start) <= 0:
        start /= 2
    return _outwards(f, start, 2.0)


def _outwards(f: Callable[[float], float], inside: float, factor: float) -> tuple[float, float]:
    """The last point with f > 0 and the first without, going from `inside` by `factor`."""
    while f(inside * factor) > 0:
        inside *= factor
    return inside, inside * factor


def _crossing(f: Callable[[float], float], inside: float, outside: float) -> float:
    """Where f turns from above 0, as at `inside`, to not, as at `outside`."""
    for _ in range(_HALVINGS):
        middle = (inside + outside) / 2
        if f(middle) > 0:
            inside = middle
        else:
            outside = middle
    return (inside + outside) / 2
