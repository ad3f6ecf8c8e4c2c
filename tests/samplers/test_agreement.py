"""Agreement of reviewers: published examples exactly, and intervals that hold."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom

from detectors.explain.weighted import Limits
from detectors.rates.bets import interval
from samplers.agreement import MISSING, Gold, adjudicate, alpha, correct, kappa

M = MISSING
# Krippendorff, Computing Krippendorff's alpha-reliability (2011), example C: four observers, twelve units.
EXAMPLE_C = np.array(
    [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, M, M, M],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, M, 3],
        [M, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, M],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, M],
    ]
).T
# The same paper's example A, two observers, two values.
EXAMPLE_A = np.array([[0, 1, 0, 0, 0, 0, 0, 0, 1, 0], [1, 1, 1, 0, 0, 1, 0, 0, 0, 0]]).T
# Three coders, fifteen units, of which twelve are judged twice or more.
FIFTEEN = np.array(
    [
        [M, M, M, M, M, 3, 4, 1, 2, 1, 1, 3, 3, M, 3],
        [1, M, 2, 1, 3, 3, 4, 3, M, M, M, M, M, M, M],
        [M, M, 2, 1, 3, 4, 4, M, 2, 1, 1, 3, 3, M, 4],
    ]
).T


@pytest.mark.parametrize(
    ("table", "value", "items"), [(EXAMPLE_C, 0.743, 11), (EXAMPLE_A, 0.095, 10), (FIFTEEN, 0.691, 12)]
)
def test_published_alphas(table: np.ndarray[tuple[int, int], np.dtype[np.int64]], value: float, items: int) -> None:
    found = alpha(table)
    assert round(found.value, 3) == value
    assert found.items == items
    assert found.low < found.value < found.high


def test_published_kappa() -> None:
    """20 yes-yes, 5 yes-no, 10 no-yes, 15 no-no: 0.4, with Fleiss, Cohen and Everitt's (1969) standard error 0.130."""
    found = kappa([1] * 25 + [0] * 25, [1] * 20 + [0] * 5 + [1] * 10 + [0] * 15)
    assert found.value == pytest.approx(0.4)
    width = (np.arctanh(found.high) - np.arctanh(found.low)) / 2 / 2.0096  # Student's t with 49 degrees
    assert width * (1 - 0.4**2) == pytest.approx(0.130, abs=0.003)


def test_weights_stand_for_items_not_drawn() -> None:
    """An item drawn with probability 1/3 counts as three."""
    first, second = np.array([0, 1, 1, 0, 1, 0]), np.array([0, 1, 0, 0, 1, 1])
    often = np.repeat(np.arange(6), [1, 3, 3, 1, 1, 3])
    pi = 1 / np.array([1, 3, 3, 1, 1, 3.0])
    assert kappa(first, second, pi=pi).value == pytest.approx(kappa(first[often], second[often]).value)
    table = np.column_stack([first, second])
    assert alpha(table, pi=np.full(6, 0.2)).value == pytest.approx(alpha(table).value)
    assert alpha(table, pi=np.full(6, 0.2)).low == pytest.approx(alpha(table).low)


@pytest.mark.parametrize(("n", "rate", "skill"), [(15, 0.1, 0.9), (40, 0.1, 0.9), (40, 0.3, 0.7), (150, 0.5, 0.9)])
def test_intervals_of_agreement_hold(n: int, rate: float, skill: float) -> None:
    rng = np.random.default_rng(n)
    truth = (rng.random(300_000) < rate).astype(int)

    def reviewer() -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        return np.where(rng.random(truth.size) < skill, truth, 1 - truth)

    table = np.column_stack([reviewer(), reviewer(), reviewer()])
    whole_kappa, whole_alpha = kappa(table[:, 0], table[:, 1]).value, alpha(table).value
    runs, held = 600, [0, 0]
    for _ in range(runs):
        mine = table[rng.integers(0, truth.size, n)]
        mine[rng.random(n) < 0.3, 2] = MISSING
        two, three = kappa(mine[:, 0], mine[:, 1]), alpha(mine)
        held[0] += two.low <= whole_kappa <= two.high
        held[1] += three.low <= whole_alpha <= three.high
    assert min(held) >= binom.ppf(0.001, runs, 0.94)


def test_what_cannot_be_told_says_why() -> None:
    assert "fewer than two items" in kappa([1], [1]).reason
    assert "one label only" in kappa([1, 1, 1], [1, 1, 1]).reason
    assert np.isnan(alpha(np.ones((5, 2), dtype=int)).value)
    assert "judged twice" in alpha(np.array([[1, M], [M, 1], [0, M]])).reason
    perfect = kappa([0, 1] * 10, [0, 1] * 10)
    assert perfect.value == perfect.high == 1.0
    assert 0.5 < perfect.low < 1.0  # twenty alike items do not show that no pair ever differs


def test_a_tie_needs_one_reviewer_more() -> None:
    table = np.array([[1, 1, 0], [1, 0, M], [2, 1, 0], [M, M, M], [0, M, M], [1, 1, M]])
    found = adjudicate(table)
    assert found.label.tolist() == [1, M, M, M, 0, 1]
    assert found.open.tolist() == [False, True, True, False, False, False]
    assert adjudicate(np.full((2, 3), M)).open.tolist() == [False, False]
    assert adjudicate(np.zeros((0, 2), dtype=int)).label.size == 0


@pytest.mark.parametrize(("gold", "rate"), [(30, 0.02), (30, 0.3), (200, 0.1)])
def test_a_rate_corrected_for_reviewers_errors_covers_the_truth(gold: int, rate: float) -> None:
    rng = np.random.default_rng(gold)
    sensitivity, specificity, n, runs, held, naive = 0.9, 0.95, 400, 600, 0, 0
    for _ in range(runs):
        called = int(rng.binomial(n, rate * sensitivity + (1 - rate) * (1 - specificity)))
        labelled = Limits(called / n, *interval(called, n))
        seen = [Gold(int(rng.binomial(gold, sensitivity)), gold, int(rng.binomial(gold, specificity)), gold)]
        found = correct(labelled, seen).rate
        assert found is not None
        assert 0.0 <= found.low <= found.value <= found.high <= 1.0
        held += found.low <= rate <= found.high
        naive += labelled.low <= rate <= labelled.high
    assert held >= binom.ppf(0.001, runs, 0.95)
    if rate == 0.02:
        assert naive < runs / 2  # without it, five in a hundred right items called wrong are the whole rate


def test_perfect_gold_leaves_the_rate_and_shares_weigh_the_reviewers() -> None:
    labelled = Limits(0.2, 0.15, 0.26)
    sure = correct(labelled, [Gold(10**6, 10**6, 10**6, 10**6)]).rate
    assert sure is not None
    assert sure.value == pytest.approx(0.2)
    assert (sure.low, sure.high) == pytest.approx((0.15, 0.26), abs=1e-4)
    good, poor = Gold(95, 100, 98, 100), Gold(70, 100, 80, 100)
    mostly_good = correct(labelled, [good, poor], [0.9, 0.1])
    assert mostly_good.sensitivity.value == pytest.approx(0.9 * 0.95 + 0.1 * 0.70)
    assert correct(labelled, [good, poor], [1.0, 0.0]) == correct(labelled, [good])


def test_reviewers_who_guess_identify_nothing() -> None:
    labelled = Limits(0.4, 0.3, 0.5)
    found = correct(labelled, [Gold(12, 20, 9, 20)])
    assert found.rate is None
    assert "add gold items" in found.reason
    none = correct(labelled, [Gold(5, 5, 0, 0)])
    assert none.rate is None
    assert "no gold items" in none.reason


def test_bad_labels_are_refused() -> None:
    with pytest.raises(ValueError, match="one label per item"):
        kappa([0, 1], [0, 1, 1])
    with pytest.raises(ValueError, match="integer codes"):
        kappa([0.0, np.nan], [0.0, 1.0])
    with pytest.raises(ValueError, match="integer codes"):
        alpha(np.array([[-2, 1], [0, 1]]))
    with pytest.raises(ValueError, match="one row per item"):
        alpha(np.array([1, 2]))
    with pytest.raises(ValueError, match="no weight"):
        kappa([0, 1], [0, 1], pi=[0.0, 1.0])
    with pytest.raises(ValueError, match="confidence must lie"):
        kappa([0, 1, 1], [0, 1, 0], confidence=1.0)
    with pytest.raises(ValueError, match="gold counts"):
        Gold(3, 2, 1, 1)
    with pytest.raises(ValueError, match="low <= value <= high"):
        correct(Limits(0.2, 0.3, 0.4), [Gold(1, 1, 1, 1)])
    with pytest.raises(ValueError, match="at least one reviewer"):
        correct(Limits(0.2, 0.1, 0.4), [])
    with pytest.raises(ValueError, match="not all 0"):
        correct(Limits(0.2, 0.1, 0.4), [Gold(1, 1, 1, 1)], [0.0])
