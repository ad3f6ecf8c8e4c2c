"""False alarms of the stream of calibration are at most what it was funded with, given its reference."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import expit, logit
from scipy.stats import binom

from detectors.evidence import FundedSR
from monitor.evaluate.calibration import MIN_OF_EACH, CalibrationFit, fitted
from monitor.store.review import Answer
from samplers.calibration import CalibrationReference, PlattMap
from samplers.labelled import Labelled
from tests.evaluate.labelled_traffic import odds_times
from tests.evaluate.traffic import CONFIDENCE

Float = NDArray[np.float64]

RUNS, LOOKS, PER_LOOK = 1_000, 60, 20
FUNDED = 0.1  # alarms, over all looks of a run


def most(runs: int, chance: float) -> int:
    return int(binom.ppf(0.999, runs, chance))


def labels(rng: np.random.Generator, n: int, odds: float = 1.0, overlap: float = 0.0) -> Labelled:
    """Wrong with ``odds`` times the odds their confidence says; where two reviewers are asked each errs by himself.
    Half of the items were drawn with a quarter of the probability, and are wrong as often as the others."""
    confidence = rng.beta(*CONFIDENCE, n)
    chance = odds_times(1.0 - confidence, odds)
    first, second = rng.random(n) < chance, rng.random(n) < chance
    wrong = np.where(rng.random(n) < overlap, (first + second.astype(float)) / 2, first)
    pi = np.where(rng.random(n) < 0.5, 0.2, 0.05)
    return Labelled.of(confidence, wrong, pi, shares=True)


def alarms(rng: np.random.Generator, references: list[CalibrationReference], odds: float, overlap: float) -> int:
    """In how many runs the stream alarms at all."""
    evidence = FundedSR(len(references), CalibrationFit.K)
    funding = np.full(len(references), FUNDED / LOOKS)
    alarmed = np.zeros(len(references), dtype=np.bool_)
    for _ in range(LOOKS):
        logs = [reference.log_bets(labels(rng, PER_LOOK, odds, overlap))[0] for reference in references]
        alarmed |= evidence.step(np.array(logs), funding).alarms
    return int(alarmed.sum())


@pytest.mark.parametrize("overlap", [0.0, 0.5])
@pytest.mark.parametrize("side", [1.0, -1.0])
def test_where_errors_are_as_frequent_as_the_limit_allows(side: float, overlap: float) -> None:
    """The edge of the null: the map is the truth, and errors are shifted by all of the margin."""
    reference = CalibrationReference(PlattMap(0.0, 1.0), 20.0, float(np.log(1.5)))
    rng = np.random.default_rng([5, int(side > 0), int(10 * overlap)])
    found = alarms(rng, [reference] * RUNS, 1.5**side, overlap)
    assert found <= most(RUNS, FUNDED)


@pytest.mark.parametrize("odds", [1.0, 1.5, 1 / 1.5])
def test_with_references_learned_as_soon_as_they_may_be(odds: float) -> None:
    """Labels come 20 a day, and the reference is learned on the first day on which they suffice: the chance to stop at
    is part of it. Changes up to the minimum effect are none; one reference in 250 may be wrong on either side."""
    rng = np.random.default_rng([6, int(100 * odds)])
    references = []
    for _ in range(RUNS // 2):
        found = labels(rng, 2_000, overlap=0.2)
        wrong = np.cumsum(found.wrong)
        n = next(n for n in range(100, 2_000, 20) if MIN_OF_EACH <= wrong[n - 1] <= n - MIN_OF_EACH)
        first = found.take(np.arange(2_000) < n)
        references.append(CalibrationReference.fit(first, min_effect=1.5))
    assert alarms(rng, references, odds, 0.2) <= most(len(references), FUNDED + 0.004)


def test_limits_of_references_from_few_errors_hold() -> None:
    """Each look's expected payoff, by the whole law of the traffic, is at most 1 in all but one reference in 250 where
    errors have 1.5 times the odds of the reference's, and 2 % of the answers are wrong."""
    rng = np.random.default_rng(7)
    runs, missed = 500, 0
    at = rng.beta(*CONFIDENCE, 1_000)
    law = expit(1.2 + logit(at))
    for _ in range(runs):
        confidence = rng.beta(*CONFIDENCE, 4_000)
        wrong = (rng.random(4_000) > expit(1.2 + logit(confidence))).astype(np.float64)
        n = max(100, int(np.searchsorted(np.cumsum(wrong), MIN_OF_EACH)) + 1)
        reference = CalibrationReference.fit(
            Labelled.of(confidence[:n], wrong[:n], np.full(n, 0.1)), min_effect=1.5
        )  # fmt: skip
        truth = odds_times(1.0 - law, 1.5)
        payoffs = [
            np.exp(reference.item_log_bets(Labelled.of(at, np.full(at.size, y), np.full(at.size, 0.1)))) for y in (0, 1)
        ]
        mean = ((1.0 - truth)[:, None] * payoffs[0] + truth[:, None] * payoffs[1]).mean(axis=0)
        missed += bool((mean > 1.0 + 1e-12).any())
    assert missed <= most(runs, 0.004)


def test_a_share_of_reviewers_pays_between_right_and_wrong() -> None:
    """Payoffs are linear in the share, so that what reviewers say together is worth what one drawn from them says."""
    reference = CalibrationReference.fit(labels(np.random.default_rng(8), 400), min_effect=1.5)
    at = np.linspace(0.0, 1.0, 21)
    zero, half, one = (
        np.exp(reference.item_log_bets(Labelled.of(at, np.full(21, y), np.full(21, 0.3), shares=True)))
        for y in (0.0, 0.5, 1.0)
    )
    assert np.allclose(half, (zero + one) / 2)
    assert (np.minimum(zero, one) > 0).all()
    with pytest.raises(ValueError, match="wrong must lie in"):
        Labelled.of([0.5], [1.5], [0.5], shares=True)
    with pytest.raises(ValueError, match="leave out items labelled unsure"):
        Labelled.of([0.5], [0.5], [0.5])


def test_what_is_stored_of_a_sample_decides_whether_it_counts() -> None:
    def answer(k: int, facts: str, wrong: float | None) -> Answer:
        return Answer(f"i{k}", f"s{k}", "a", k, 0.5, 0.5, wrong, facts)

    said = [answer(k, '{"confidence": 930000}', float(k % 5 == 0)) for k in range(120)]
    other = [answer(200, "", 1.0), answer(201, "{}", 1.0), answer(202, '{"confidence": 930000}', None)]
    found = fitted([*said, *other], 0, 500)
    assert found is not None
    assert (found.labels, found.wrong) == (120, 24.0)
    assert found.limits[1] == pytest.approx(0.2, abs=0.01)
    assert fitted(said[:99], 0, 500) is None
