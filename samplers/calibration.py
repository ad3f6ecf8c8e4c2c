"""Is confidence to be believed: reliability, calibration error, maps that correct it, and its drift.

Reliability. Bins hold equal shares of the traffic. Each bin's accuracy is Hajek's estimator; its interval is Clopper
and Pearson's at the effective number of items (Korn and Graubard 1998), which is exact for equal weights and does not
shrink to nothing where a bin holds few errors or none.

Calibration error. Binned plug-in errors are biased upwards: chance alone makes bins differ from their confidence.
Here the variance of every bin's difference is subtracted from its square (Kumar, Liang and Ma 2019, weighted), so that
the expected value is 0 for confidence that is calibrated. It is the root mean square over the traffic, never less than
the error between bins; error inside a bin is not seen. Its interval holds every size of error, in the direction of the
differences found, under which a sum as small and as large would not be rare.

Drift. Under a reference's map an item is wrong with probability g(c); y - g(c) is bounded with mean 0, whatever is
asked and however it is sampled, so that it can be bet on as any rate is (detectors/rates/bets.py). A payoff is linear
in y, so that y may be the share of an item's reviewers who said "wrong": it stays between the payoffs of 0 and of 1,
both above 0, and its expectation is what it would be if one of the reviewers were drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.special import expit, gammaincc, logit, ndtri
from sklearn.isotonic import IsotonicRegression

from detectors.explain.weighted import Limits, Share
from detectors.rates.bets import ODDS
from samplers.labelled import Labelled, unit, vector
from samplers.logistic import fit

Float = NDArray[np.float64]

FORMAT = 1
BINS = 10
MIN_PER_BIN = 5  # labels; fewer bins are made where there are fewer
EDGE = 1e-4  # confidences are held this far from 0 and 1 on the logit scale
PRIOR_SD = 1.5  # of intercept and log slope-like coefficient around "as it says", logit scale
CONFIDENCE = 0.998  # of the reference's map, one-sided, for bets


@dataclass(frozen=True, slots=True)
class Bin:
    """Items of similar confidence."""

    confidence: float  # weighted mean
    accuracy: Limits  # 95 %
    share: float  # of the traffic
    labels: int


@dataclass(frozen=True, slots=True)
class Reliability:
    """Bins from the least confident up, and the calibration error."""

    bins: tuple[Bin, ...]
    error: Limits  # root mean square difference of accuracy and confidence, in [0, 1], less what chance gives; 95 %
    squared: float  # its square before the root: near 0, also below, where confidence is calibrated
    p: float  # of "calibrated"
    over: float  # mean confidence less accuracy; above 0: overconfident


def reliability(labels: Labelled, bins: int = BINS) -> Reliability:
    """Reliability of one segment.

    Args:
        bins: how many at most; items of equal confidence stay together.

    Raises:
        ValueError: fewer than 10 labels, or no bins.
    """
    if bins < 1:
        raise ValueError(f"reliability needs at least one bin, got {bins}")
    if labels.size < 2 * MIN_PER_BIN:
        raise ValueError(f"reliability needs at least {2 * MIN_PER_BIN} labels, got {labels.size}; label more items")
    order = np.argsort(labels.confidence, kind="stable")
    c, right, w = labels.confidence[order], 1.0 - labels.wrong[order], labels.weights[order]
    of = _bins(c, w, min(bins, labels.size // MIN_PER_BIN))
    found, shares, differences, variances = [], [], [], []
    for index in range(int(of[-1]) + 1):
        mine = of == index
        weight, n = w[mine], int(mine.sum())
        total = float(weight.sum())
        rest = right[mine] - c[mine]
        difference = float(weight @ rest) / total
        spread = float(np.square(weight * (rest - difference)).sum()) / total**2
        # Hajek's variance divides by n where n - 1 are free, counted in items of equal weight.
        free = total**2 / float(weight @ weight)
        variances.append(spread * free / max(free - 1.0, 0.5))
        differences.append(difference)
        shares.append(total / float(w.sum()))
        accuracy = Share.of(right[mine], weight).limits(0.95)
        found.append(Bin(float(weight @ c[mine]) / total, accuracy, shares[-1], n))
    squared, error, p = _error(np.array(differences), np.array(variances), np.array(shares))
    return Reliability(tuple(found), error, squared, p, float(w @ (c - right)) / float(w.sum()))


def _bins(c: Float, w: Float, bins: int) -> NDArray[np.int64]:
    """The bin of each item, int64[n], from 0 without gaps; ``c`` sorted. Every bin holds MIN_PER_BIN items or more."""
    middle = (np.cumsum(w) - 0.5 * w) / w.sum()
    of = np.minimum((middle * bins).astype(np.int64), bins - 1)
    out = np.empty(c.size, dtype=np.int64)
    now, begun = 0, 0
    for i in range(c.size):
        full = i - begun >= MIN_PER_BIN and c.size - i >= MIN_PER_BIN
        if i and full and of[i] != of[begun] and c[i] != c[i - 1]:
            now, begun = now + 1, i
        out[i] = now
    return out


def _error(d: Float, v: Float, share: Float) -> tuple[float, Limits, float]:
    """(debiased square, root with limits, p of "calibrated") from bins' differences and their variances."""
    observed = float(share @ d**2)
    squared = observed - float(share @ v)
    # A bin without any spread is known from nothing: the mean of the others stands in for the law of the sum.
    v = np.where(v > 0, v, v[v > 0].mean() if (v > 0).any() else EDGE)

    def beyond(scale: float) -> float:
        """P(sum of share x difference^2 >= observed) if the true differences were ``scale`` times d (three moments)."""
        delta = (scale * d) ** 2
        mean = float(share @ (v + delta))
        variance = float(share**2 @ (2.0 * v**2 + 4.0 * v * delta))
        skew = float(share**3 @ (8.0 * v**3 + 24.0 * v**2 * delta)) / variance**1.5
        shape = 4.0 / skew**2
        return float(gammaincc(shape, max(0.0, shape + (observed - mean) / np.sqrt(variance) * np.sqrt(shape))))

    def limit(level: float) -> float:
        if beyond(0.0) >= level:
            return 0.0
        top = 2.0
        while beyond(top) < level and top < 1e3:
            top *= 2.0
        return float(brentq(lambda s: beyond(s) - level, 0.0, top)) * float(np.sqrt(observed))

    value = float(np.sqrt(max(squared, 0.0)))
    low, high = limit(0.025), limit(0.975)
    return squared, Limits(value, min(low, value), min(1.0, max(high, value))), beyond(0.0)


@dataclass(frozen=True, slots=True, eq=False)
class PlattMap:
    """Calibrated confidence expit(intercept + slope logit(confidence)) (Platt 1999), drawn to "as it says" where there
    are few labels."""

    intercept: float
    slope: float
    covariance: tuple[float, float, float] = (0.0, 0.0, 0.0)  # var(intercept), covariance, var(slope)

    @classmethod
    def fit(cls, labels: Labelled) -> PlattMap:
        """Weighted; exists for labels of one class, too."""
        x = np.column_stack([np.ones(labels.size), _logit(labels.confidence)])
        penalty = np.full(2, PRIOR_SD**-2.0)
        found = fit(x, 1.0 - labels.wrong, labels.weights, penalty, np.array([0.0, 1.0]))
        a, b = found.coefficients.tolist()
        cov = found.covariance
        return cls(a, b, (float(cov[0, 0]), float(cov[0, 1]), float(cov[1, 1])))

    def apply(self, confidence: ArrayLike) -> Float:
        """Probability of being right, float64[n]. Raises ValueError: NaN, values outside [0, 1]."""
        z = _logit(unit(confidence, "confidence"))
        return np.asarray(expit(self.intercept + self.slope * z), dtype=np.float64)

    def to_state(self) -> dict[str, Any]:
        """JSON-ready, with a format version."""
        return {
            "format": FORMAT, "kind": "platt", "intercept": self.intercept, "slope": self.slope,
            "covariance": list(self.covariance),
        }  # fmt: skip

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> PlattMap:
        """The inverse of :meth:`to_state`. Raises ValueError for anything else."""
        _checked(state, "platt", ("intercept", "slope", "covariance"))
        a, b = vector([state["intercept"], state["slope"]], "the map's coefficients").tolist()
        var_a, cov, var_b = vector(state["covariance"], "the map's covariance", 3).tolist()
        return cls(a, b, (var_a, cov, var_b))


@dataclass(frozen=True, slots=True, eq=False)
class IsotonicMap:
    """Calibrated confidence that rises with confidence, linear between knots (Zadrozny and Elkan 2002)."""

    knots: Float  # float64[k], rising
    values: Float  # float64[k], never falling

    @classmethod
    def fit(cls, labels: Labelled) -> IsotonicMap:
        """Weighted. Needs more labels than a Platt map, and assumes no shape."""
        model = IsotonicRegression(y_min=0.0, y_max=1.0, out_of_bounds="clip")
        model.fit(labels.confidence, 1.0 - labels.wrong, sample_weight=labels.weights)
        return cls(np.asarray(model.X_thresholds_, dtype=np.float64), np.asarray(model.y_thresholds_, dtype=np.float64))

    def apply(self, confidence: ArrayLike) -> Float:
        """Probability of being right, float64[n]. Raises ValueError: NaN, values outside [0, 1]."""
        return np.asarray(np.interp(unit(confidence, "confidence"), self.knots, self.values), dtype=np.float64)

    def to_state(self) -> dict[str, Any]:
        """JSON-ready, with a format version."""
        return {"format": FORMAT, "kind": "isotonic", "knots": self.knots.tolist(), "values": self.values.tolist()}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> IsotonicMap:
        """The inverse of :meth:`to_state`. Raises ValueError for anything else."""
        _checked(state, "isotonic", ("knots", "values"))
        knots = unit(state["knots"], "the map's knots")
        values = unit(state["values"], "the map's values", knots.size)
        if knots.size == 0 or (np.diff(knots) <= 0).any() or (np.diff(values) < 0).any():
            raise ValueError("an isotonic map needs rising knots and values that never fall; export it again")
        return cls(knots, values)


def _checked(state: Mapping[str, Any], kind: str, names: tuple[str, ...]) -> None:
    if state.get("format") != FORMAT:
        raise ValueError(f"calibration map has format {state.get('format')!r}, this version reads {FORMAT}; upgrade "
                         "driftline or export the map again")  # fmt: skip
    if state.get("kind") != kind:
        raise ValueError(f"expected a map of kind {kind!r}, got {state.get('kind')!r}")
    missing = [name for name in names if name not in state]
    if missing:
        raise ValueError(f"calibration map lacks {', '.join(missing)}; export it again")


@dataclass(frozen=True, slots=True, eq=False)
class CalibrationReference:
    """What errors a reference's confidences meant, with limits, to bet against that they mean the same now."""

    map: PlattMap
    greatest_weight: float  # of the reference; heavier items now are cut to it
    margin: float  # log odds >= 0 around the map's own error that are never called a change

    @classmethod
    def fit(cls, labels: Labelled, *, min_effect: float = 1.0) -> CalibrationReference:
        """Fit on the reference's labels. ``min_effect``: odds factor >= 1 that is never called a change."""
        if not 1.0 <= min_effect < np.inf:
            raise ValueError(f"min_effect is a factor of the odds, >= 1; got {min_effect}")
        return cls(PlattMap.fit(labels), float(labels.weights.max()), float(np.log(min_effect)))

    def limits(self, confidence: ArrayLike) -> tuple[Float, Float, Float]:
        """(low, expected, high) chance of being wrong at each confidence, float64[n]; each limit holds with 99.8 % at
        each confidence, and is ``margin`` wider. At all of them together they hold more rarely, which bets do not need:
        what is too low at one confidence is outweighed at others (docs/statistics.md)."""
        z = _logit(unit(confidence, "confidence"))
        var_a, cov, var_b = self.map.covariance
        error = np.sqrt(np.maximum(var_a + 2.0 * cov * z + var_b * z**2, 0.0)) * float(ndtri(CONFIDENCE))
        right = self.map.intercept + self.map.slope * z
        at: Callable[[Float], Float] = lambda eta: np.asarray(expit(-eta), dtype=np.float64)  # noqa: E731
        return at(right + error + self.margin), at(right), at(right - error - self.margin)

    def scores(self, labels: Labelled) -> Float:
        """float64[n] in [-1, 1], weight x (wrong - expected) over the greatest weight: mean 0 under the map."""
        _, expected, _ = self.limits(labels.confidence)
        return np.asarray(self.share(labels) * (labels.wrong - expected), dtype=np.float64)

    def log_bets(self, labels: Labelled) -> Float:
        """Log payoffs of one look, float64[1, 2 K]: the sums of `item_log_bets`."""
        return np.asarray(self.item_log_bets(labels).sum(axis=0)[None, :], dtype=np.float64)

    def item_log_bets(self, labels: Labelled) -> Float:
        """Log payoffs of each item, float64[n, 2 K]: that errors are more frequent at the same confidence (K = number
        of ``ODDS``), then that they are rarer.

        Each item's payoff 1 + factor x share x (y - p) has an expectation of at most 1 while its chance of being wrong
        is within the band, p its upper (lower) end, the factor such that odds theta times p are bet on.
        """
        low, _, high = self.limits(labels.confidence)
        share = self.share(labels)
        parts = []
        for y, p in ((labels.wrong, high), (1.0 - labels.wrong, 1.0 - low)):
            p = np.clip(p, EDGE, 1.0 - EDGE)[:, None]
            theta = np.asarray(ODDS)[None, :]
            chance = theta * p / (1.0 - p + theta * p)
            factor = (chance - p) / (p * (1.0 - p))
            parts.append(np.log1p(factor * share[:, None] * (y[:, None] - p)))
        return np.concatenate(parts, axis=1)

    def share(self, labels: Labelled) -> Float:
        """Weights over the greatest one of the reference, at most 1, float64[n]."""
        return np.asarray(np.minimum(labels.weights / self.greatest_weight, 1.0), dtype=np.float64)

    def to_state(self) -> dict[str, Any]:
        """JSON-ready, with a format version."""
        return {
            "format": FORMAT, "kind": "calibration-reference", "map": self.map.to_state(),
            "greatest_weight": self.greatest_weight, "margin": self.margin,
        }  # fmt: skip

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> CalibrationReference:
        """The inverse of :meth:`to_state`. Raises ValueError for anything else."""
        _checked(state, "calibration-reference", ("map", "greatest_weight", "margin"))
        weight, margin = vector([state["greatest_weight"], state["margin"]], "weight and margin").tolist()
        return cls(PlattMap.from_state(state["map"]), weight, margin)


def _logit(confidence: Float) -> Float:
    return np.asarray(logit(np.clip(confidence, EDGE, 1.0 - EDGE)), dtype=np.float64)
