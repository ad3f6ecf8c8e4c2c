"""Which condition of the inputs goes with failure, what repairs it, and how many failures that could remove at most.

A weighted logistic regression of "wrong" on all conditions together (samplers/logistic.py: ridge, weights 1 / pi,
design-based covariance), so that each is judged with the others held fixed. Coefficients are per step that an operator
can picture (5 degrees of skew). Each is tested by its score in the model without it, one-sided, since only a condition
that goes with more failures as it gets worse is an input to repair; Holm's correction over all conditions tried.

Attributable failures are standardised (Greenland and Drescher 1993): what the model expects of the items as they are,
less what it expects had every worse item the condition's repaired value. The limits carry the error of the coefficients
and of the sample together (linearisation). This is what repair could remove *at most*: it counts all that goes with the
condition and is not explained by the other conditions as caused by it, and takes repair to be perfect. Only an A/B test
tells what it does remove; how many labels that takes is said.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, ndtri

from detectors.explain.holm import LEVEL, holm
from detectors.explain.weighted import Limits, Share
from samplers.labelled import inclusion, vector
from samplers.logistic import fit
from samplers.pearson import lower_tail

Float = NDArray[np.float64]
Bool = NDArray[np.bool_]

MIN_FAILURES = 5
MIN_AFFECTED = 5  # labels, worse than repaired, and as many that are not
PRIOR_SD = 2.0  # of a coefficient, per standard deviation of its condition, logit scale
POWER = 0.8


@dataclass(frozen=True, slots=True)
class Condition:
    """A measured condition. ``repaired``: the value that repair brings it to; items that are worse are affected."""

    name: str
    worse: Literal["higher", "lower"]
    step: float  # in ``unit``; what odds ratios are told for
    repaired: float
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Remedy:
    """What addresses a condition."""

    condition: Condition
    step: str  # of preprocessing, as a short name
    text: str  # for people


# Conditions as monitor/embed/conditions.py and the event's facts name them. Skew counts as its absolute value, rotation
# as 1 where the page is turned by a quarter or more, the context used is a share of its limit, and agreement is in
# standard deviations of the reference.
REMEDIES: tuple[Remedy, ...] = (
    Remedy(Condition("skew_degrees", "higher", 5.0, 1.0, "degrees"), "deskew", "straighten the page before it is sent"),
    Remedy(Condition("rotated", "higher", 1.0, 0.0), "rotate", "turn the page upright before it is sent"),
    Remedy(Condition("contrast", "lower", 0.1, 0.6), "contrast", "stretch the page's contrast before it is sent"),
    Remedy(Condition("brightness", "lower", 0.1, 0.7), "brightness", "even out the page's lighting before it is sent"),
    Remedy(Condition("noise", "higher", 1.0, 1.0, "grey levels"), "denoise", "take the noise out of the image"),
    Remedy(Condition("blur", "higher", 0.1, 0.2), "rescan", "sharpen, or ask for another picture"),
    Remedy(Condition("megapixels", "lower", 0.5, 2.0, "megapixels"), "resolution", "send a higher resolution"),
    Remedy(Condition("text_height", "lower", 2.0, 12.0, "pixels"), "enlarge", "enlarge small print, or crop to it"),
    Remedy(Condition("text_density", "higher", 0.1, 0.2), "crop", "crop dense pages to the part that is asked about"),
    Remedy(Condition("pages", "higher", 1.0, 1.0, "pages"), "split", "split long documents into single pages"),
    Remedy(Condition("context_used", "higher", 0.1, 0.5), "shorten", "shorten the context, or send it in parts"),
    Remedy(Condition("agreement", "lower", 1.0, -1.0, "sd"), "check", "ask again where image and prompt do not match"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Finding:
    """One condition, adjusted for the others."""

    condition: Condition
    odds_ratio: Limits  # of being wrong, per step worse, 95 %
    affected: float  # share of the traffic that is worse than repaired
    risk: Limits  # chance of being wrong of the affected, less what it would be repaired
    failures_per_week: Limits  # attributable, 95 %
    at_most_per_week: float  # its upper limit, and no more than the failures of affected items may be
    p: float  # one-sided
    adjusted: float  # Holm
    named: bool
    remedy: str  # short name of the preprocessing step; "" where none is known
    text: str
    ab_labels: int | None  # of affected items, both arms together, to confirm it with 80 % power; None: hopeless


@dataclass(frozen=True, slots=True)
class Repairs:
    """All conditions, by the failures they may cost; those that could not be judged, with the reason."""

    findings: tuple[Finding, ...]
    left_out: tuple[tuple[str, str], ...]
    reason: str  # what is to be said in one sentence

    @property
    def named(self) -> tuple[Finding, ...]:
        """Those that go with failure beyond chance; empty is an answer."""
        return tuple(finding for finding in self.findings if finding.named)


def repairs(
    which: Sequence[Condition],
    values: Mapping[str, ArrayLike],
    wrong: ArrayLike,
    pi: ArrayLike,
    weeks: float,
    *,
    adjust: ArrayLike | None = None,
    level: float = LEVEL,
) -> Repairs:
    """Conditions of one segment that go with failure.

    Args:
        which: conditions tried; see ``REMEDIES``.
        values: of each condition's name float[n]; NaN where it is unknown. Unknown values count as a level of their
            own, which is not judged, and are not affected.
        wrong: float[n], 0 or 1. pi: float[n], total inclusion probabilities.
        weeks: of traffic that the labels stand for.
        adjust: float[n, k], other facts to hold fixed (the version, the document's kind), finite; not judged.
        level: chance of naming any where none matters.

    Raises:
        ValueError: no labels or conditions, lengths that differ, labels other than 0 and 1, pi outside (0, 1], weeks
            not above 0, a condition without values, a step not above 0, infinite values.
    """
    y = vector(wrong, "wrong")
    if y.size == 0 or not which:
        raise ValueError("repair advice needs labels and at least one condition")
    if not ((y == 0) | (y == 1)).all():
        raise ValueError("wrong must hold 0 (right) and 1 (wrong) only; leave out items labelled unsure")
    w = 1.0 / inclusion(pi, "pi", y.size)
    if not 0 < weeks < np.inf:
        raise ValueError(f"weeks must be finite and above 0, got {weeks}")
    if not 0 < level < 1:
        raise ValueError(f"level must lie in (0, 1), got {level}")
    others = np.zeros((y.size, 0)) if adjust is None else np.asarray(adjust, dtype=np.float64)
    if others.ndim != 2 or others.shape[0] != y.size or not np.isfinite(others).all():
        raise ValueError(f"adjust needs finite values of shape ({y.size}, k), got shape {others.shape}")
    if min(float(y.sum()), float((1.0 - y).sum())) < MIN_FAILURES:
        few = tuple((condition.name, f"fewer than {MIN_FAILURES} labels of each kind") for condition in which)
        return Repairs((), few, f"not enough data: {int(y.sum())} of {y.size} labels are wrong")
    judged: list[Condition] = []
    columns: list[Float] = []
    unknown: list[Bool] = []
    left_out: list[tuple[str, str]] = []
    for condition in which:
        harm = _harm(condition, values, y.size)
        known = np.isfinite(harm)
        affected = int((harm[known] > 0).sum())
        if min(affected, int(known.sum()) - affected) < MIN_AFFECTED:
            told = f"{affected} of {int(known.sum())} labels with a value are worse than {condition.repaired:g}"
            left_out.append((condition.name, f"{told}; {MIN_AFFECTED} that are and that are not are needed"))
            continue
        judged.append(condition)
        columns.append(np.where(known, harm, 0.0))
        if not known.all() and not any(np.array_equal(~known, other) for other in unknown):
            unknown.append(~known)
    if not judged:
        return Repairs((), tuple(left_out), "not enough data: no condition varies enough among the labels")
    harm = np.column_stack(columns)
    findings = _judge(judged, harm, np.column_stack([others, *unknown]), y, w, weeks, level)
    named = [finding.condition.name for finding in findings if finding.named]
    reason = f"goes with failure: {', '.join(named)}" if named else "nothing stands out"
    return Repairs(findings, tuple(left_out), reason)


def _harm(condition: Condition, values: Mapping[str, ArrayLike], size: int) -> Float:
    """How many steps each item is worse than repaired, float64[n], >= 0; NaN where unknown."""
    if condition.name not in values:
        raise ValueError(f"condition {condition.name!r} has no values; got {', '.join(sorted(values)) or 'none'}")
    x = np.asarray(values[condition.name], dtype=np.float64)
    if x.shape != (size,) or np.isinf(x).any():
        raise ValueError(f"condition {condition.name!r} needs {size} values, finite or NaN, got shape {x.shape}")
    if not 0 < condition.step < np.inf:
        raise ValueError(f"condition {condition.name!r} has a step of {condition.step}; it must be above 0")
    worse = x - condition.repaired if condition.worse == "higher" else condition.repaired - x
    return np.asarray(np.maximum(worse, 0.0) / condition.step, dtype=np.float64)  # NaN stays NaN


def _judge(
    judged: Sequence[Condition], harm: Float, others: Float, y: Float, w: Float, weeks: float, level: float
) -> tuple[Finding, ...]:
    n, k = harm.shape
    x = np.column_stack([np.ones(n), harm, others])
    spread = np.sqrt(np.average((x - np.average(x, axis=0, weights=w)) ** 2, axis=0, weights=w))
    penalty = np.where(np.arange(x.shape[1]) == 0, 0.0, (spread / PRIOR_SD) ** 2)
    found = fit(x, y, w, penalty)
    now = expit(x @ found.coefficients)
    slope = now * (1.0 - now)
    p = np.ones(k)
    results = []
    for j in range(k):
        value, error = float(found.coefficients[1 + j]), float(np.sqrt(found.covariance[1 + j, 1 + j]))
        p[j] = _score_p(x, 1 + j, y, w, penalty)
        then_x = x.copy()
        then_x[:, 1 + j] = 0.0
        then = expit(then_x @ found.coefficients)
        moved = now - then
        # d moved / d coefficients, and from it each label's part of the estimate.
        gradient = (w * slope) @ x - (w * then * (1.0 - then)) @ then_x
        part = w * moved + found.influence @ gradient
        results.append((value, error, moved, float(np.sqrt(np.square(part).sum()))))
    adjusted = holm(p)
    total = float(w.sum())
    findings = []
    for j, (condition, (value, error, moved, spread_count)) in enumerate(zip(judged, results, strict=True)):
        affected = harm[:, j] > 0
        count = float(w @ moved)
        far = float(ndtri(0.975))
        ceiling = Share.of(affected & (y == 1), w).limits(0.95).high * total / weeks
        per_week = Limits(count / weeks, (count - far * spread_count) / weeks, (count + far * spread_count) / weeks)
        size = float(w[affected].sum())
        risk = Limits(*(limit * weeks / size for limit in (per_week.value, per_week.low, per_week.high)))
        ratio = Limits(*(float(np.exp(min(b, 700.0))) for b in (value, value - far * error, value + far * error)))
        at_most = min(max(0.0, per_week.high), ceiling)
        remedy = next((r for r in REMEDIES if r.condition.name == condition.name), None)
        failing = min(1.0, float(w[affected] @ y[affected]) / size)
        findings.append(
            Finding(
                condition, ratio, size / total, risk, per_week, at_most, float(p[j]), float(adjusted[j]),
                bool(adjusted[j] <= level), remedy.step if remedy else "", remedy.text if remedy else "",
                ab_labels(failing, failing - risk.value),
            )
        )  # fmt: skip
    return tuple(sorted(findings, key=lambda finding: -finding.failures_per_week.value))


def _score_p(x: Float, j: int, y: Float, w: Float, penalty: Float) -> float:
    """One-sided p-value of "column j does not go with more failures": the score test in the model without it.

    Wald's test, with either variance, goes wrong where a condition has few labels. Here the variance and the skewness
    are those of outcomes under the model without the condition, given the weights, and the tail is Pearson III's.
    """
    rest = np.delete(x, j, axis=1)
    p = expit(rest @ fit(rest, y, w, np.delete(penalty, j)).coefficients)
    scale = w / w.mean() * p * (1.0 - p)
    information = (rest * scale[:, None]).T @ rest + np.diag(np.delete(penalty, j))
    unlike = x[:, j] - rest @ (np.linalg.pinv(information, hermitian=True) @ (rest.T @ (scale * x[:, j])))
    part = w * unlike
    variance = float(part**2 @ (p * (1.0 - p)))
    if variance <= 1e-12 * float(w @ w):
        return 1.0
    skewness = float(part**3 @ (p * (1.0 - p) * (1.0 - 2.0 * p))) / variance**1.5
    return lower_tail(-float(part @ (y - p)) / np.sqrt(variance), -skewness)


def ab_labels(before: float, after: float, *, level: float = LEVEL, power: float = POWER) -> int | None:
    """Labels of both arms together that tell two failure rates apart (Fleiss, Levin and Paik 2003, unpooled, two-sided,
    with their continuity correction). None where repair is not expected to lower the rate.

    Raises:
        ValueError: rates outside [0, 1] before.
    """
    if not 0 <= before <= 1:
        raise ValueError(f"a failure rate lies in [0, 1], got {before}")
    after = max(after, 0.0)
    gap = before - after
    if gap <= 1e-9:
        return None
    mean = 0.5 * (before + after)
    root = ndtri(1.0 - level / 2.0) * np.sqrt(2.0 * mean * (1.0 - mean)) + ndtri(power) * np.sqrt(
        before * (1.0 - before) + after * (1.0 - after)
    )
    arm = float(root / gap) ** 2
    return 2 * int(np.ceil(arm / 4.0 * (1.0 + np.sqrt(1.0 + 4.0 / (arm * gap))) ** 2))
