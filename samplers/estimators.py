"""Error rates with intervals from labels of items that were drawn with known probabilities.

The estimate is a difference estimator (Särndal, Swensson & Wretman 1992, section 6.3; prediction-powered inference is
the same with a tuned coefficient, Angelopoulos, Duchi & Zrnic 2023, "PPI++"): the pool's mean score plus the weighted
mean of what labels say beyond it. A score that tells nothing gets the coefficient 0, and the estimate is Hájek's.

The interval is Clopper-Pearson's on effective counts (Korn & Graubard 1998): as many labels of a simple random sample
as would tell as much. The design effect is the estimated variance over that of a simple random sample; the variance
is the one that the score predicts of the whole pool times what the labels' squared deviations are to those predicted,
beside ``PRIOR_LABELS`` of a score that tells nothing: a plain estimate from the sample would be 0 whenever no label
said "wrong". Finite pools narrow it. It holds for one look; ``samplers.sequences`` has the one that always holds.

Two draws. Items are drawn from samples (pi_sample) and again for review (pi_review): both variances count.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from samplers.design import inclusion_until, summed
from samplers.pools import Pools, variance_of

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]

PRIOR_LABELS = 3.0  # labels that speak against a score until real ones do
TUNING_LABELS = 10.0  # labels that speak for the coefficient 1


@dataclass(frozen=True, slots=True)
class Reviewed:
    """Reviewed items, arrays of one length n; ``group`` is the code of the pool an item is of.

    ``wrong`` is 0 or 1 (or a reviewers' mean within [0, 1]), ``score`` was set before the draw. Raises ValueError
    for lengths that differ and for values outside their range.
    """

    wrong: Float64
    score: Float64
    pi_sample: Float64
    pi_review: Float64
    group: Int64

    def __post_init__(self) -> None:
        n = len(self.wrong)
        for name in ("score", "pi_sample", "pi_review", "group"):
            if len(getattr(self, name)) != n:
                raise ValueError(f"{name} has {len(getattr(self, name))} values for {n} labels")
        for name in ("wrong", "score"):
            values = getattr(self, name)
            if not bool(np.all((values >= 0) & (values <= 1))):
                raise ValueError(f"{name} must lie within [0, 1]; got others, or NaN")
        for name in ("pi_sample", "pi_review"):
            values = getattr(self, name)
            if not bool(np.all((values > 0) & (values <= 1))):
                raise ValueError(f"{name} is a probability within (0, 1]; got others, or NaN")

    def where(self, keep: NDArray[np.bool_]) -> Reviewed:
        """Those of a mask."""
        return Reviewed(
            self.wrong[keep], self.score[keep], self.pi_sample[keep], self.pi_review[keep], self.group[keep]
        )


@dataclass(frozen=True, slots=True)
class Rates:
    """Error rate of each pool, float64[g]. ``rate`` is NaN and the interval [0, 1] where there is no label.

    ``effective``: how many labels of a simple random sample would tell as much. ``standard_error`` of the rate.
    """

    rate: Float64
    low: Float64
    high: Float64
    labels: Int64
    effective: Float64
    standard_error: Float64


def coefficient(labelled: Reviewed, pi: Float64) -> float:
    """Of the score in the estimate, within [0, 1], over all items: 1 a score that is a chance, 0 one that is noise.

    The one of least variance (PPI++), as a regression whose weights are what each item adds to the variance.
    """
    total = 1 / (pi * labelled.pi_sample)
    gain = total * total * (1 - pi)
    if not len(pi) or gain.sum() <= 0:
        return 1.0
    wrong = labelled.wrong - np.average(labelled.wrong, weights=total)
    score = labelled.score - np.average(labelled.score, weights=total)
    spread = float(np.average(score * score, weights=total)) * float(gain.mean()) * TUNING_LABELS
    below = float(gain @ (score * score)) + spread
    return float(np.clip((float(gain @ (wrong * score)) + spread) / below, 0, 1)) if below > 0 else 1.0


def error_rates(labelled: Reviewed, pools: Pools, *, stop: float | Float64 = 1.0, confidence: float = 0.95) -> Rates:
    """Error rate of each pool, with an interval for one look.

    Args:
        labelled: what reviewers decided; unsure and missing labels are left out (``samplers.response`` bounds them).
        pools: sums over every item of each pool.
        stop: race time up to which every drawn item is labelled (1: all of them), of all pools or of each.
        confidence: of the interval.
    """
    count = len(pools)
    n = np.bincount(labelled.group, minlength=count).astype(np.float64)
    stops = np.broadcast_to(np.asarray(stop, np.float64), (count,))
    pi = inclusion_until(labelled.pi_review, stops[labelled.group])
    tuned = coefficient(labelled, pi)

    def by_pool(values: Float64) -> Float64:
        return summed(values, labelled.group, count)

    a = 1 / labelled.pi_sample
    total = a / pi
    residual = labelled.wrong - tuned * labelled.score
    with np.errstate(divide="ignore", invalid="ignore"):
        mean_residual = by_pool(total * residual) / by_pool(total)
        rate = tuned * pools.score / pools.weight + mean_residual
        inside = np.clip(rate, 0, 1)
        smoothed = (n * inside + 1) / (n + 2)
        doubt = PRIOR_LABELS * smoothed * (1 - smoothed)
        # What a label adds to the variance, over what its score predicts; doubt speaks as labels of the rate itself.
        adds = total * total * (1 - pi)
        predicted = by_pool(adds * variance_of(labelled.score))
        realised = by_pool(adds * (residual - mean_residual[labelled.group]) ** 2) + doubt * by_pool(adds) / n
        whole = np.where(stops == 1, pools.variance, predicted)
        second = np.where(predicted > 0, realised / predicted, 0.0) * whole
        # E (wrong - rate)^2 of an item is m (1 - 2 rate) + rate^2.
        spread = pools.first_score / np.maximum(pools.first, 1e-300) * (1 - 2 * inside) + inside**2
        spread = np.maximum(spread, inside * (1 - inside))
        first = pools.first * (n * spread + doubt) / n
        variance = (first + second) / pools.weight**2
        simple = (n * inside * (1 - inside) + doubt) / n
        # Neither estimate of a variance knows that it is one: Student's t instead of the normal's quantile.
        wider = (stats.t.ppf((1 + confidence) / 2, np.maximum(n - 1, 1)) / stats.norm.ppf((1 + confidence) / 2)) ** 2
        effective = np.where(n > 0, simple / np.maximum(variance, 1e-300) / wider, 0.0)
    # A pool that is labelled whole has no error left; 1e9 labels leave none that matters.
    effective = np.minimum(effective, 1e9)
    low, high = clopper_pearson(inside, effective, confidence)
    none = n == 0
    return Rates(
        rate=np.where(none, np.nan, inside),
        low=np.where(none, 0.0, low),
        high=np.where(none, 1.0, high),
        labels=n.astype(np.int64),
        effective=effective,
        standard_error=np.where(none, np.nan, np.sqrt(np.maximum(variance, 0.0))),
    )


def clopper_pearson(rate: Float64, trials: Float64, confidence: float) -> tuple[Float64, Float64]:
    """Exact binomial limits; ``trials`` need not be whole (Korn & Graubard 1998). [0, 1] of no trials."""
    tail = (1 - confidence) / 2
    hits = rate * trials
    with np.errstate(invalid="ignore"):
        low = np.where(hits > 0, special.betaincinv(np.maximum(hits, 1e-300), trials - hits + 1, tail), 0.0)
        misses = trials - hits
        high = np.where(misses > 0, special.betaincinv(hits + 1, np.maximum(misses, 1e-300), 1 - tail), 1.0)
    return np.where(trials > 0, low, 0.0), np.where(trials > 0, high, 1.0)
