"""Which items may pass without a human: the least confidence threshold whose error is at most a target.

Learn-then-Test (Angelopoulos, Bates, Candes, Jordan and Lei 2021) with fixed-sequence testing. The thresholds are
quantiles of the traffic's confidences and the first one tested is where predicted errors promise most, both fixed
without the labels; from there down they are tested in order, each at the full level, until one is not rejected. Since
the first threshold whose error exceeds the target is rejected with a chance of at most the level, so is any.

The test of one threshold. Among the items that pass, "the error exceeds alpha" is sum (y - alpha) > 0, and the
difference estimator (Sarndal, Swensson and Wretman 1992) of that sum,

    T = sum over labels (y - m) / pi + sum over traffic (m - alpha) / pi_sample,

is unbiased whatever the prediction m is, under Poisson sampling in two phases. Its variance and third moment under the
null depend on which items are wrong. They are those of alpha N wrong items like the wrong ones found and one more with
the greatest weight there is, as Fay and Feuer (1997) do for sums of weighted Poisson counts: where no error was found,
the heaviest items are the wrong ones. The p-value is the lower tail of a Pearson III law with these three moments.

No such law tells one wrong item from none. Where the error would exceed alpha by few wrong items already, they are
counted: k wrong items, each labelled with the least probability that any label had, show as few as were found with the
chance that a binomial law gives, and the p-value is not below that.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.special import bdtr, ndtri

from detectors.explain.weighted import Limits, Share
from samplers.calibration import PlattMap
from samplers.labelled import Labelled, inclusion, unit
from samplers.pearson import lower_tail

Float = NDArray[np.float64]

STEPS = 100  # thresholds tried: traffic in steps of 1 %
POINTS = 20  # of the curve
PILOT = 0.2  # share of the labels that calibrates confidence where no predicted errors are given
FEW = 20  # wrong items with which the error exceeds the target: up to so many are counted
POWER = 0.8  # that "labels needed" is told for


@dataclass(frozen=True, slots=True, eq=False)
class Traffic:
    """The items whose confidence is known, the labelled ones among them; make it with :meth:`of`."""

    confidence: Float  # float64[N]
    pi_sample: Float  # float64[N]; 1 where these are all items
    predicted: Float | None  # float64[N], errors predicted without the labels

    @classmethod
    def of(
        cls, confidence: ArrayLike, *, pi_sample: ArrayLike | None = None, predicted: ArrayLike | None = None
    ) -> Traffic:
        """Check and gather. Raises ValueError: no items, NaN, values outside [0, 1], pi_sample of 0."""
        c = unit(confidence, "the traffic's confidence")
        if c.size == 0:
            raise ValueError("the traffic is empty; give the confidences of the items that advice is wanted for")
        pi = np.ones(c.size) if pi_sample is None else inclusion(pi_sample, "the traffic's pi_sample", c.size)
        score = None if predicted is None else unit(predicted, "the traffic's predicted", c.size)
        return cls(c, pi, score)


@dataclass(frozen=True, slots=True)
class Costs:
    """Per item, in any unit. Every item takes the automatic path, which gives its confidence; those that do not pass
    are escalated as well, to a human or a stronger model."""

    automatic: float
    escalated: float

    def __post_init__(self) -> None:
        if not (0 <= self.automatic < np.inf and 0 <= self.escalated < np.inf):
            raise ValueError(f"costs must be finite and >= 0, got {self.automatic} and {self.escalated}")

    def per_item(self, coverage: Limits) -> Limits:
        """Mean cost of an item of the traffic."""
        low, value, high = (
            self.automatic + (1.0 - c) * self.escalated for c in (coverage.high, coverage.value, coverage.low)
        )
        return Limits(value, low, high)


@dataclass(frozen=True, slots=True)
class Advice:
    """Items with confidence >= ``threshold`` may pass; None where no threshold is shown to reach the target."""

    target: float
    confidence: float
    threshold: float | None
    coverage: Limits  # share of the traffic that passes; 95 % limits where the traffic is itself a sample
    error: Limits  # among what passes, two-sided; where nothing may pass, at the first threshold tested
    bound: float  # one-sided upper limit of it at ``confidence``, of a threshold fixed without the labels
    cost: Limits | None
    labels: int
    labels_needed: int | None  # for a chance of 80 %, where there is no threshold; None: not with all of the traffic
    reason: str


@dataclass(frozen=True, slots=True)
class Point:
    """One threshold of the curve; limits of errors hold for all points at once."""

    threshold: float
    coverage: Limits
    error: Limits
    cost: Limits | None


def advise(
    labels: Labelled,
    traffic: Traffic,
    target: float,
    *,
    rng: np.random.Generator,
    costs: Costs | None = None,
    confidence: float = 0.95,
) -> Advice:
    """The least threshold at which the error of what passes is at most ``target``.

    With probability ``confidence`` the error among the traffic that passes is at most ``target``, or nothing passes.

    Args:
        labels: of one segment, drawn by Poisson sampling.
        traffic: of that segment. Predicted errors must be given for both or neither; where there are none, a fifth of
            the labels, drawn with ``rng``, is spent on calibrating confidence, and the rest tests.
        target: error rate in (0, 1).
        costs: of the two paths.

    Raises:
        ValueError: a target or confidence outside (0, 1), predicted errors for one of the two only.
    """
    if not 0 < target < 1:
        raise ValueError(f"the target is an error rate in (0, 1), got {target}")
    tests = _Tests(labels, traffic, rng, confidence)
    level = 1.0 - confidence
    grid = tests.grid(STEPS)
    first = int(np.argmax([tests.outlook(t, target) for t in grid]))
    best: float | None = None
    for threshold in grid[first:].tolist():
        if not tests.p_value(threshold, target) <= level:
            break
        best = threshold
    shown = float(grid[first]) if best is None else best
    bound = tests.upper(float(grid[first]), level)
    coverage = tests.coverage(shown) if best is not None else Limits(0.0, 0.0, 0.0)
    error = Limits(tests.estimate(shown), tests.lower(shown, level / 2), tests.upper(shown, level / 2))
    needed, reason = None, f"the error of what passes is at most {target:.3g} with {100 * confidence:.0f} % confidence"
    if best is None:
        needed = tests.labels_needed(shown, target, level)
        reason = (
            f"no threshold is shown to reach {target:.3g}: from {shown:.3g} up, where most was expected, the error is "
            f"at most {bound:.3g} with {100 * confidence:.0f} % confidence and {error.value:.3g} by estimate"
        )
        reason += (
            "; labelling all of the traffic is not expected to change that"
            if needed is None
            else f"; about {needed:,} labels would show it, if the estimate is right"
        )
    cost = costs.per_item(coverage) if costs else None
    return Advice(target, confidence, best, coverage, error, bound, cost, labels.size, needed, reason)


def curve(
    labels: Labelled,
    traffic: Traffic,
    *,
    rng: np.random.Generator,
    costs: Costs | None = None,
    confidence: float = 0.95,
    points: int = POINTS,
) -> tuple[Point, ...]:
    """Quality against cost over thresholds, from the strictest to letting everything pass.

    The limits of the errors hold for all points together (Bonferroni), so that any may be chosen by eye.

    Args and errors: as :func:`advise`.
    """
    if points < 1:
        raise ValueError(f"a curve needs at least one point, got {points}")
    tests = _Tests(labels, traffic, rng, confidence)
    grid = tests.grid(points)
    level = (1.0 - confidence) / (2.0 * grid.size)
    found = []
    for threshold in grid.tolist():
        share = tests.coverage(threshold)
        error = Limits(tests.estimate(threshold), tests.lower(threshold, level), tests.upper(threshold, level))
        found.append(Point(threshold, share, error, costs.per_item(share) if costs else None))
    return tuple(found)


class _Tests:
    """Tests and limits of the error above thresholds, from sorted labels and sums over the sorted traffic."""

    def __init__(self, labels: Labelled, traffic: Traffic, rng: np.random.Generator, confidence: float) -> None:
        if not 0.5 < confidence < 1:
            raise ValueError(f"confidence must lie in (0.5, 1), got {confidence}")
        if (labels.predicted is None) != (traffic.predicted is None):
            raise ValueError("give predicted errors for the labels and the traffic, or for neither")
        self.size = labels.size
        self._level = 1.0 - confidence
        predicted, over = labels.predicted, traffic.predicted
        if predicted is None or over is None:
            pilot = rng.random(labels.size) < PILOT
            if pilot.any() and not pilot.all():
                learned = PlattMap.fit(labels.take(pilot))
                labels = labels.take(~pilot, 1.0 - PILOT)
            else:  # of one or two labels
                learned = PlattMap(0.0, 1.0)
            predicted, over = 1.0 - learned.apply(labels.confidence), 1.0 - learned.apply(traffic.confidence)
        order = np.argsort(-labels.confidence, kind="stable")
        self._confidence = -labels.confidence[order]
        self._y, self._m, self._pi = labels.wrong[order], predicted[order], labels.pi[order]
        self._first = labels.pi_sample[order]
        self._weight = 1.0 / self._pi
        sort = np.argsort(-traffic.confidence, kind="stable")
        self._traffic = -traffic.confidence[sort]
        self._traffic_weight = 1.0 / traffic.pi_sample[sort]
        self._items = np.concatenate([[0.0], np.cumsum(self._traffic_weight)])
        self._predicted = np.concatenate([[0.0], np.cumsum(self._traffic_weight * over[sort])])
        self._moments: tuple[float, Float, Float] = (np.nan, predicted, predicted)
        self._whole = bool((traffic.pi_sample == 1.0).all())

    def grid(self, steps: int) -> Float:
        """Thresholds that let 1/steps, 2/steps, ... of the traffic pass, falling."""
        shares = self._items[-1] * np.arange(1, steps + 1) / steps
        at = np.minimum(np.searchsorted(self._items[1:], shares * (1.0 - 1e-12)), self._traffic.size - 1)
        return np.asarray(-np.unique(self._traffic[at]), dtype=np.float64)

    def coverage(self, threshold: float) -> Limits:
        """Share of the traffic that passes."""
        passing = self._traffic <= -threshold
        if self._whole:
            share = float(passing.mean())
            return Limits(share, share, share)
        return Share.of(passing, self._traffic_weight).limits(0.95)

    def _passing(self, threshold: float) -> tuple[int, float, float]:
        """How many labels pass, how much traffic, and the errors predicted of it."""
        at = int(np.searchsorted(self._traffic, -threshold, side="right"))
        return int(np.searchsorted(self._confidence, -threshold, side="right")), self._items[at], self._predicted[at]

    def estimate(self, threshold: float) -> float:
        """The difference estimate of the error, in [0, 1]."""
        n, items, predicted = self._passing(threshold)
        total = float((self._weight[:n] * (self._y[:n] - self._m[:n])).sum()) + predicted
        return float(np.clip(total / items, 0.0, 1.0))

    def _standardised(self, threshold: float, rate: float, y: Float, unseen: bool) -> tuple[float, float]:
        """(T in its standard deviations, skewness) if the error were ``rate``. ``y``: float[n], how wrong each label
        counts. ``unseen``: add one wrong item with the greatest weight."""
        n, items, predicted = self._passing(threshold)
        if n == 0:
            return np.nan, 0.0
        w, m, y = self._weight[:n], self._m[:n], y[:n]
        if self._moments[0] != rate:  # thresholds are tried in turn for one rate
            self._moments = rate, *_moments(self._m, self._first, self._pi / self._first, rate)
        _, second, third = self._moments
        wrong, right = w * y, w * (1.0 - y)
        if unseen:
            wrong = wrong.copy()
            wrong[np.argmax(w)] += w.max()
        k2 = k3 = 0.0
        for total, share, j in ((rate * items, wrong, 1), ((1.0 - rate) * items, right, 0)):
            amount = float(share.sum())
            if amount > 0:
                k2 += total * float(share @ second[j, :n]) / amount
                k3 += total * float(share @ third[j, :n]) / amount
        distance = float((w * (y - m)).sum()) + predicted - rate * items
        if k2 <= 0:  # every item is labelled
            return (np.inf if distance > 0 else -np.inf), 0.0
        return distance / float(np.sqrt(k2)), k3 / k2**1.5

    def outlook(self, threshold: float, target: float) -> float:
        """How far below the target, in standard deviations, the labels are expected to be: from predicted errors and
        the labels' weights, not from what they say."""
        z, _ = self._standardised(threshold, target, self._m, unseen=True)
        hopeless = np.isnan(z) or self._counted(threshold, target, 0.0) > self._level
        return -np.inf if hopeless else -z

    def p_value(self, threshold: float, rate: float) -> float:
        """Of "the error exceeds ``rate``"; 1 without labels."""
        z, skewness = self._standardised(threshold, rate, self._y, unseen=True)
        if np.isnan(z):
            return 1.0
        found = float(self._y[: self._passing(threshold)[0]].sum())
        return max(lower_tail(z, skewness), self._counted(threshold, rate, found))

    def _counted(self, threshold: float, rate: float, found: float) -> float:
        """The chance of at most ``found`` wrong labels if the error just exceeds ``rate``; 0 where that takes more than
        `FEW` wrong items."""
        n, items, _ = self._passing(threshold)
        wrong = int(np.floor(rate * items * (1.0 + 1e-12))) + 1
        if n == 0 or wrong > FEW:
            return 0.0
        if found >= wrong:
            return 1.0
        return float(bdtr(np.floor(found), wrong, float(self._pi[:n].min())))

    def _p_above(self, threshold: float, rate: float) -> float:
        z, skewness = self._standardised(threshold, rate, self._y, unseen=False)
        return 1.0 if np.isnan(z) else lower_tail(-z, -skewness)

    def upper(self, threshold: float, level: float) -> float:
        """Upper limit of the error: the greatest rate that is not rejected."""
        return _solve(lambda rate: self.p_value(threshold, rate) - level, self.estimate(threshold), 1.0)

    def lower(self, threshold: float, level: float) -> float:
        """Lower limit of the error; 0 where none was found."""
        n = self._passing(threshold)[0]
        if n == 0 or not self._y[:n].any():
            return 0.0
        return _solve(lambda rate: self._p_above(threshold, rate) - level, self.estimate(threshold), 0.0)

    def labels_needed(self, threshold: float, target: float, level: float) -> int | None:
        """For a chance of 80 % that the first test rejects, if the estimate is the truth."""
        z, _ = self._standardised(threshold, target, self._y, unseen=True)
        if not z < 0:
            return None
        needed = self.size * max(1.0, float((ndtri(1.0 - level) + ndtri(POWER)) / -z) ** 2)
        return int(np.ceil(needed)) if needed < self._items[-1] else None


def _moments(m: Float, first: Float, second: Float, rate: float) -> tuple[Float, Float]:
    """Variances and third central moments of items' parts of T, each float64[2, n]: if right, if wrong.

    An item is sampled with probability ``first`` and then reviewed with probability ``second``: its part is 0, or
    (m - rate) / first, or that and (y - m) / (first second).
    """
    variances, thirds = [], []
    sampled = (m - rate) / first
    for y in (0.0, 1.0):
        reviewed = sampled + (y - m) / (first * second)
        square = first * ((1.0 - second) * sampled**2 + second * reviewed**2)
        cube = first * ((1.0 - second) * sampled**3 + second * reviewed**3)
        mean = y - rate
        variances.append(np.maximum(square - mean**2, 0.0))
        thirds.append(cube - 3.0 * mean * square + 2.0 * mean**3)
    return np.stack(variances), np.stack(thirds)


def _solve(above: Callable[[float], float], near: float, end: float) -> float:
    """Where ``above`` falls to 0 between ``near`` and ``end``; ``end`` where it does not."""
    edge = 1e-9
    start, stop = float(np.clip(near, edge, 1.0 - edge)), float(np.clip(end, edge, 1.0 - edge))
    if above(stop) >= 0:
        return end
    if above(start) <= 0:
        return near
    return float(brentq(above, start, stop, xtol=1e-6))
