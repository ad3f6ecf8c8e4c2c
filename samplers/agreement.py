"""Do reviewers agree, which items need a third opinion, and what their errors do to an error rate.

Cohen's kappa (1960) for two reviewers, with weights 1 / pi, so that it speaks of the traffic; Krippendorff's alpha
(2011) for nominal labels of any number of reviewers with gaps. Both intervals come from the influence of each item
(linearisation; for alpha the items are the independent units), so nothing is drawn.

Where gold items show how often a reviewer calls a right item wrong and a wrong one right, the rate that labels show is
corrected (Rogan and Gladen 1978). Its interval carries both uncertainties: every rate r for which the labelled rate
less 1 - specificity less r (sensitivity + specificity - 1) is no further from 0 than the limits of the three allow
together (Fieller's way, with the distances of MOVER), so it widens to all of [0, 1] as the reviewer gets closer to
guessing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtrit

from detectors.explain.weighted import Limits
from detectors.rates.bets import interval
from samplers.labelled import inclusion, vector

Float = NDArray[np.float64]
Bool = NDArray[np.bool_]
Int64 = NDArray[np.int64]

FEW = 10  # items that differ, below which their number says more of an interval than their variance
MISSING = -1  # label of an item that the reviewer did not judge


@dataclass(frozen=True, slots=True)
class Agreement:
    """A coefficient of agreement: 1 perfect, 0 as by chance, below 0 worse."""

    value: float  # NaN where it is not defined
    low: float
    high: float
    items: int  # that it rests on
    reason: str = ""  # why it is not defined


def kappa(first: ArrayLike, second: ArrayLike, *, pi: ArrayLike | None = None, confidence: float = 0.95) -> Agreement:
    """Cohen's kappa of two reviewers.

    Args:
        first, second: int[n], labels as codes >= 0; MISSING where not judged. Items that one of them left out do not
            count.
        pi: float[n], inclusion probabilities; equal where None.

    Returns:
        An undefined value, with the reason, where fewer than two items are shared or only one label was ever given.

    Raises:
        ValueError: lengths that differ, labels that are no codes, pi outside (0, 1].
    """
    labels = _codes(np.column_stack(_alike(first, second)))
    w = np.ones(labels.shape[0]) if pi is None else 1.0 / inclusion(pi, "pi", labels.shape[0])
    both = (labels != MISSING).all(axis=1)
    labels, w = labels[both], w[both]
    n = int(both.sum())
    if n < 2:
        return _undefined(n, "fewer than two items were judged by both reviewers")
    w = w / w.sum()
    a, b = labels[:, 0], labels[:, 1]
    size = int(labels.max()) + 1
    of_a, of_b = np.bincount(a, w, size), np.bincount(b, w, size)
    same = (a == b).astype(np.float64)
    observed, chance = float(w @ same), float(of_a @ of_b)
    if chance >= 1.0 - 1e-12:
        return _undefined(n, "both reviewers gave one label only, the same: agreement beyond chance cannot be told")
    value = min(1.0, (observed - chance) / (1.0 - chance))
    # d kappa / d weight of an item, all weights being scaled to 1.
    change = (same - observed) / (1.0 - chance) - (1.0 - observed) / (1.0 - chance) ** 2 * (
        of_b[a] + of_a[b] - 2.0 * chance
    )
    return _limits(value, w * change, n, 1.0 / float(w @ w), 1.0 - observed, 1.0 - chance, confidence)


def alpha(labels: ArrayLike, *, pi: ArrayLike | None = None, confidence: float = 0.95) -> Agreement:
    """Krippendorff's alpha, nominal.

    Args:
        labels: int[n, r], one row an item, one column a reviewer; codes >= 0, MISSING where not judged. Items judged
            once only do not count.
        pi: float[n], inclusion probabilities; equal where None.

    Returns and raises: as :func:`kappa`.
    """
    codes = _codes(np.asarray(labels))
    w = np.ones(codes.shape[0]) if pi is None else 1.0 / inclusion(pi, "pi", codes.shape[0])
    judged = (codes != MISSING).sum(axis=1)
    pairable = judged >= 2
    codes, judged, w = codes[pairable], judged[pairable].astype(np.float64), w[pairable]
    n = int(pairable.sum())
    if n < 2:
        return _undefined(n, "fewer than two items were judged twice")
    counts = (codes[:, :, None] == np.arange(int(codes.max()) + 1)[None, None, :]).sum(axis=1).astype(np.float64)
    # Pairs of unequal labels within items, each item counting as many values as it has.
    within = w * (judged**2 - (counts**2).sum(axis=1)) / (judged - 1.0)
    values = w * judged
    total, by_label = float(values.sum()), w @ counts
    # Equal weights give Krippendorff's n (n - 1); with others, values are counted as so many of the mean weight.
    unit = float((w * values).sum()) / total
    expected = float(total**2 - (by_label**2).sum()) / (total - unit)
    if expected <= 1e-12 * total:
        return _undefined(n, "one label only was ever given: agreement beyond chance cannot be told")
    disagreement = float(within.sum())
    value = 1.0 - disagreement / expected
    slope = (2.0 * total * values - 2.0 * (w[:, None] * counts) @ by_label) / (total - unit) - expected * values / (
        total - unit
    )
    change = -(within / expected - disagreement / expected**2 * slope)
    effective = float(w.sum() ** 2 / (w @ w))
    return _limits(value, change, n, effective, disagreement / total, expected / total, confidence)


def _limits(
    value: float, influence: Float, n: int, effective: float, differing: float, chance: float, confidence: float
) -> Agreement:
    """Student's limits on Fisher's scale atanh, where they are closer to symmetric and stay within [-1, 1]. With fewer
    than FEW differing items (or alike ones) no narrower than exact limits of the share of differing pairs allow.

    ``effective``: items of equal weight that they are worth. ``differing`` and ``chance``: the share of pairs of labels
    that differ, and that would by chance.
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie in (0, 1), got {confidence}")
    few, many = interval(min(differing, 1.0) * effective, effective, confidence)
    low, high = value, value
    if min(differing, 1.0 - differing) * effective < FEW:
        low, high = max(-1.0, 1.0 - many / chance), min(1.0, 1.0 - few / chance)
    if abs(value) < 1.0 - 1e-12:
        error = float(np.sqrt(np.square(influence - influence.mean()).sum() * n / (n - 1.0)))
        far = float(stdtrit(n - 1, 0.5 + confidence / 2.0)) * error / (1.0 - value**2)
        centre = float(np.arctanh(value))
        low, high = min(low, float(np.tanh(centre - far))), max(high, float(np.tanh(centre + far)))
    return Agreement(value, min(low, value), max(high, value), n)


def _undefined(n: int, reason: str) -> Agreement:
    return Agreement(float("nan"), -1.0, 1.0, n, reason)


def _alike(first: ArrayLike, second: ArrayLike) -> tuple[NDArray[np.generic], NDArray[np.generic]]:
    a, b = np.asarray(first), np.asarray(second)
    if a.ndim != 1 or a.shape != b.shape:
        raise ValueError(f"both reviewers need one label per item, got shapes {a.shape} and {b.shape}")
    return a, b


def _codes(labels: NDArray[np.generic]) -> Int64:
    if labels.ndim != 2:
        raise ValueError(f"labels need one row per item and one column per reviewer, got shape {labels.shape}")
    if not np.issubdtype(labels.dtype, np.integer) or (labels.size and int(labels.min()) < MISSING):
        raise ValueError(f"labels must be integer codes >= 0, or {MISSING} where there is none; got {labels.dtype}")
    return labels.astype(np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class Adjudication:
    """What several reviewers make of each item."""

    label: Int64  # int64[n]: the strict majority's; MISSING where there is none yet
    open: Bool  # bool[n]: judged, tied, and in need of one reviewer more


def adjudicate(labels: ArrayLike) -> Adjudication:
    """Majority of the reviewers; a tie for the most votes needs one more.

    Args:
        labels: int[n, r] as in :func:`alpha`. An item judged once is decided; one not judged is neither.

    Raises:
        ValueError: labels that are no codes.
    """
    codes = _codes(np.asarray(labels))
    size = int(codes.max(initial=MISSING)) + 1
    if size == 0:
        return Adjudication(np.full(codes.shape[0], MISSING), np.zeros(codes.shape[0], dtype=np.bool_))
    votes = (codes[:, :, None] == np.arange(size)[None, None, :]).sum(axis=1)
    most = votes.max(axis=1)
    tied = (votes == most[:, None]).sum(axis=1) > 1
    label = np.where((most > 0) & ~tied, votes.argmax(axis=1), MISSING)
    return Adjudication(label.astype(np.int64), np.asarray((most > 0) & tied, dtype=np.bool_))


@dataclass(frozen=True, slots=True)
class Gold:
    """How a reviewer did on gold items, whose truth is known."""

    wrong_called_wrong: int
    wrong: int
    right_called_right: int
    right: int

    def __post_init__(self) -> None:
        if not (0 <= self.wrong_called_wrong <= self.wrong and 0 <= self.right_called_right <= self.right):
            raise ValueError(f"gold counts must satisfy 0 <= hits <= items, got {self}")


@dataclass(frozen=True, slots=True)
class Corrected:
    """An error rate with the reviewers' own errors allowed for."""

    rate: Limits | None  # None: cannot be identified
    sensitivity: Limits  # of wrong items called wrong, over the reviewers by their shares
    specificity: Limits
    reason: str = ""


def correct(
    labelled: Limits, gold: Sequence[Gold], shares: ArrayLike | None = None, *, confidence: float = 0.95
) -> Corrected:
    """Rogan and Gladen's correction of a rate.

    Args:
        labelled: the error rate that labels show, with two-sided limits at ``confidence``.
        gold: one per reviewer.
        shares: float[r] >= 0, each reviewer's share of the (weighted) labels; equal where None.

    Returns:
        ``rate`` None, with the reason, where gold items do not show that reviewers tell wrong from right: too few, or
        sensitivity + specificity - 1 not above 0 at ``confidence``.

    Raises:
        ValueError: no reviewers, shares of another number or all 0, limits that are out of order.
    """
    if not 0 <= labelled.low <= labelled.value <= labelled.high <= 1:
        raise ValueError(f"the labelled rate needs 0 <= low <= value <= high <= 1, got {labelled}")
    if not gold:
        raise ValueError("give the gold counts of at least one reviewer")
    share = np.ones(len(gold)) if shares is None else vector(shares, "shares", len(gold))
    if (share < 0).any() or share.sum() <= 0:
        raise ValueError("shares must be >= 0 and not all 0")
    share = share / share.sum()
    hits = _pooled(share, [(g.wrong_called_wrong, g.wrong) for g in gold], confidence)
    clear = _pooled(share, [(g.right_called_right, g.right) for g in gold], confidence)
    if any(s > 0 and (g.wrong == 0 or g.right == 0) for s, g in zip(share, gold, strict=True)):
        return Corrected(None, hits, clear, "a reviewer has no gold items that are wrong, or none that are right")
    youden = hits.value + clear.value - 1.0
    least = youden - float(np.hypot(hits.value - hits.low, clear.value - clear.low))
    if least <= 0:
        reason = (
            f"gold items do not show that reviewers tell wrong from right: sensitivity {hits.value:.2f}, specificity "
            f"{clear.value:.2f}, and their sum less 1 may be as low as {least:.2f}; add gold items"
        )
        return Corrected(None, hits, clear, reason)

    def limit(sign: float) -> float:
        """The rate r at which labelled - (1 - specificity) - r (sensitivity + specificity - 1) is as far from 0 as its
        parts together allow (Fieller's set, with each part's own distance to its limit)."""
        low, high = (value, 1.0) if sign > 0 else (0.0, value)
        for _ in range(60):
            r = 0.5 * (low + high)
            gap = abs(labelled.value - (1.0 - clear.value) - r * youden)
            if sign > 0:  # a greater rate: more labelled, less sensitive, more specific
                shown, wrong, right = labelled.high - labelled.value, hits.value - hits.low, clear.high - clear.value
            else:
                shown, wrong, right = labelled.value - labelled.low, hits.high - hits.value, clear.value - clear.low
            inside = gap <= float(np.sqrt(shown**2 + (r * wrong) ** 2 + ((1.0 - r) * right) ** 2))
            if sign > 0:
                low, high = (r, high) if inside else (low, r)
            else:
                low, high = (low, r) if inside else (r, high)
        return 0.5 * (low + high)

    raw = (labelled.value - (1.0 - clear.value)) / youden
    value = float(np.clip(raw, 0.0, 1.0))
    return Corrected(Limits(value, min(limit(-1.0), value), max(limit(1.0), value)), hits, clear)


def _pooled(share: Float, counts: Sequence[tuple[int, int]], confidence: float) -> Limits:
    """A mean of reviewers' rates by their shares, with limits from each one's own (MOVER, Zou and Donner 2008)."""
    value, below, above = 0.0, 0.0, 0.0
    for s, (hits, trials) in zip(share.tolist(), counts, strict=True):
        low, high = interval(hits, trials, confidence)
        rate = hits / trials if trials else 0.5
        value += s * rate
        below += (s * (rate - low)) ** 2
        above += (s * (high - rate)) ** 2
    return Limits(value, max(0.0, value - float(np.sqrt(below))), min(1.0, value + float(np.sqrt(above))))
