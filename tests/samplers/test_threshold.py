"""Threshold advice: the guarantee holds whatever the predictions are worth, and much of the traffic passes."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import expit, logit
from scipy.stats import binom

from benchmarks._review_threshold import inclusion, one, oracle, populations
from samplers.labelled import Labelled
from samplers.threshold import Costs, Traffic, _Tests, advise, curve
from tests.data import shared_data

Float = NDArray[np.float64]
Worth = Literal["good", "none", "reversed"]


def most(runs: int, chance: float = 0.05) -> int:
    """Events that a chance of ``chance`` a run exceeds once in a thousand."""
    return int(binom.ppf(0.999, runs, chance))


def few_errors(
    rng: np.random.Generator, expected: float, worth: Worth, uniform: float
) -> tuple[float, Float, Float, Float]:
    """(rate, predicted, pi, wrong) of 4,000 items of which 250 are drawn, ``expected`` of them wrong. ``uniform``: part
    of pi that does not depend on predictions; ``reversed``: what is wrong was the least likely to be drawn."""
    size, labels = 4000, 250
    wrong_items = round(expected / labels * size)
    rate = (wrong_items - 0.5) / size  # so that the error exceeds it by a hair
    predicted = np.clip(rng.beta(0.5, 0.5 / rate, size), rate / 5, 0.6)
    predicted *= rate / predicted.mean()
    spread = np.sqrt(predicted * (1 - predicted))
    pi = np.minimum(1.0, labels * ((1 - uniform) * spread / spread.sum() + uniform / size))
    lean = {"good": np.log(predicted), "none": np.zeros(size), "reversed": -3 * np.log(pi)}[worth]
    wrong = np.zeros(size)
    wrong[np.argsort(-lean - rng.gumbel(size=size))[:wrong_items]] = 1.0
    return rate, predicted, pi, wrong


@pytest.mark.parametrize("worth", ["good", "none", "reversed"])
@pytest.mark.parametrize("uniform", [1.0, 0.5, 0.2])
@pytest.mark.parametrize("expected", [0.5, 4.0, 12.0])
def test_the_test_holds_its_level_whatever_predictions_are_worth(worth: Worth, uniform: float, expected: float) -> None:
    rng = np.random.default_rng([int(expected), int(uniform * 10), len(worth)])
    rate, predicted, pi, wrong = few_errors(rng, expected, worth, uniform)
    traffic = Traffic.of(np.full(4000, 0.5), predicted=predicted)
    runs, rejected = 1000, 0
    for _ in range(runs):
        i = rng.random(4000) < pi
        labels = Labelled.of(np.full(int(i.sum()), 0.5), wrong[i], pi[i], predicted=predicted[i])
        rejected += _Tests(labels, traffic, rng, 0.95).p_value(0.5, rate) <= 0.05
    assert rejected <= most(runs)


@pytest.mark.parametrize(("size", "target"), [(20_000, 1e-4), (3_000, 1e-3), (600, 1e-3)])
def test_a_target_of_less_than_a_wrong_item_is_not_shown_by_its_absence(size: int, target: float) -> None:
    """240 labels, one answer in twenty wrong whatever its confidence: none found among the few of the first threshold
    does not say that there is none."""
    runs, violations = 200, 0
    for seed in range(runs):
        rng = np.random.default_rng([seed, size])
        confidence, wrong = rng.beta(8.0, 1.5, size), (rng.random(size) < 0.05).astype(float)
        labels, traffic = draw(rng, confidence, wrong, None, np.full(size, 240 / size))
        advice = advise(labels, traffic, target, rng=rng)
        if advice.threshold is not None:
            violations += wrong[confidence >= advice.threshold].mean() > target
    assert violations <= most(runs)


def world(rng: np.random.Generator, size: int, rise: float = 3.0) -> tuple[Float, Float, Float]:
    """(confidence, wrong, predicted): the chance of an error rises as confidence falls."""
    confidence = rng.beta(4.0, 1.5, size)
    chance = expit(-rise * (confidence - 0.45) - 1.0)
    return confidence, (rng.random(size) < chance).astype(float), chance


def draw(
    rng: np.random.Generator, confidence: Float, wrong: Float, predicted: Float | None, pi: Float
) -> tuple[Labelled, Traffic]:
    i = rng.random(pi.size) < pi
    labels = Labelled.of(confidence[i], wrong[i], pi[i], predicted=None if predicted is None else predicted[i])
    return labels, Traffic.of(confidence, predicted=predicted)


@pytest.mark.parametrize("predict", [True, False])
def test_no_threshold_is_named_where_every_one_exceeds_the_target(predict: bool) -> None:
    """Confidence says nothing and the error is just above the target: the hardest case, all hypotheses are true."""
    rng = np.random.default_rng(11 + predict)
    size, runs, named = 3000, 300, 0
    confidence = rng.random(size)
    wrong = np.zeros(size)
    wrong[np.argsort(confidence)[::10]] = 1.0  # one in ten, at any confidence
    hopeful = np.clip(0.3 - 0.4 * confidence, 0.01, 0.5)  # predictions that promise much at the top
    for _ in range(runs):
        labels, traffic = draw(rng, confidence, wrong, hopeful if predict else None, np.full(size, 0.15))
        named += advise(labels, traffic, 0.0999, rng=rng).threshold is not None
    assert named <= most(runs)


@pytest.mark.parametrize("uniform", [1.0, 0.5])
def test_violations_stay_within_the_level_and_coverage_near_the_oracles(uniform: float) -> None:
    rng = np.random.default_rng(int(10 * uniform))
    runs, violated, reached = 200, 0, []
    confidence, wrong, predicted = world(rng, 5000, rise=12.0)
    spread = np.sqrt(predicted * (1 - predicted))
    pi = 500 * ((1 - uniform) * spread / spread.sum() + uniform / 5000)
    target = 0.6 * wrong.mean()
    order = np.argsort(-confidence)
    error = np.cumsum(wrong[order]) / np.arange(1, 5001)
    best = (np.flatnonzero(error <= target)[-1] + 1) / 5000
    for _ in range(runs):
        labels, traffic = draw(rng, confidence, wrong, predicted, pi)
        found = advise(labels, traffic, target, rng=rng)
        passing = confidence >= (2.0 if found.threshold is None else found.threshold)
        violated += bool(passing.any() and wrong[passing].mean() > target)
        reached.append(passing.mean() / best)
        assert found.coverage.value == pytest.approx(passing.mean())
    assert violated <= most(runs)
    assert np.mean(reached) >= 0.9


def test_a_traffic_that_is_itself_a_sample_widens_the_test() -> None:
    """Two phases: the guarantee is about all items, of which three in ten have a known confidence."""
    rng = np.random.default_rng(5)
    size, runs, rejected = 8000, 800, 0
    first = 0.3
    wrong = np.zeros(size)
    wrong[::10] = 1.0
    predicted = np.where(wrong > 0, 0.9, 0.01)  # so good that the second phase adds little
    confidence = np.full(size, 0.9)
    for _ in range(runs):
        sampled = rng.random(size) < first
        reviewed = sampled & (rng.random(size) < 0.5)
        n = int(reviewed.sum())
        labels = Labelled.of(
            confidence[reviewed], wrong[reviewed], np.full(n, first * 0.5), pi_sample=np.full(n, first),
            predicted=predicted[reviewed],
        )  # fmt: skip
        sample = Traffic.of(
            confidence[sampled], pi_sample=np.full(int(sampled.sum()), first), predicted=predicted[sampled]
        )
        rejected += _Tests(labels, sample, rng, 0.95).p_value(0.9, 0.0999) <= 0.05
    assert rejected <= most(runs)
    assert rejected >= binom.ppf(0.001, runs, 0.03)  # and is no wider than it must be


def test_labels_spent_on_a_pilot_make_the_others_stand_for_more() -> None:
    rng = np.random.default_rng(12)
    confidence, wrong, _ = world(rng, 5000)
    labels, traffic = draw(rng, confidence, wrong, None, np.full(5000, 0.2))
    totals = [_Tests(labels, traffic, rng, 0.95)._weight.sum() for _ in range(50)]
    assert np.mean(totals) == pytest.approx(labels.weights.sum(), rel=0.01)


def test_no_threshold_comes_with_the_reason_a_bound_and_the_labels_it_would_take() -> None:
    rng = np.random.default_rng(3)
    confidence, wrong, predicted = world(rng, 5000, rise=1.0)
    labels, traffic = draw(rng, confidence, wrong, predicted, np.full(5000, 0.02))
    found = advise(labels, traffic, 0.12, rng=rng, costs=Costs(1.0, 10.0))
    assert found.threshold is None
    assert found.coverage.value == 0.0
    assert found.bound > 0.12
    assert found.cost is not None
    assert found.cost.value == 11.0  # everything is escalated
    assert "no threshold is shown to reach 0.12" in found.reason
    impossible = advise(labels, traffic, 0.001, rng=rng)
    assert impossible.threshold is None
    assert impossible.labels_needed is None
    assert "all of the traffic is not expected to change that" in impossible.reason


def test_the_labels_needed_are_enough_four_times_in_five() -> None:
    rng = np.random.default_rng(8)
    size = 10_000
    confidence, predicted = np.full(size, 0.8), np.full(size, 0.08)
    wrong = (np.arange(size) % 25 < 2).astype(float)
    traffic = Traffic.of(confidence, predicted=predicted)
    told = np.zeros(125)
    told[:10] = 1.0  # as the truth is
    seen = Labelled.of(np.full(125, 0.8), told, np.full(125, 0.0125), predicted=np.full(125, 0.08))
    needed = advise(seen, traffic, 0.12, rng=rng).labels_needed
    assert needed is not None
    shown = 0
    for _ in range(400):
        labels, _ = draw(rng, confidence, wrong, predicted, np.full(size, needed / size))
        shown += advise(labels, traffic, 0.12, rng=rng).threshold is not None
    assert binom.ppf(0.001, 400, 0.76) <= shown <= binom.ppf(0.999, 400, 0.88)


def test_the_bound_of_an_error_holds() -> None:
    rng = np.random.default_rng(9)
    confidence, wrong, predicted = world(rng, 4000)
    truth, runs, missed = wrong.mean(), 400, 0
    for _ in range(runs):
        labels, traffic = draw(rng, confidence, wrong, predicted, np.full(4000, 0.03))
        missed += _Tests(labels, traffic, rng, 0.95).upper(float(confidence.min()), 0.05) < truth
    assert missed <= most(runs)


def test_the_bands_of_the_curve_hold_for_all_points_at_once() -> None:
    rng = np.random.default_rng(10)
    confidence, wrong, predicted = world(rng, 4000)
    spread = np.sqrt(predicted * (1 - predicted))
    pi = 400 * (0.5 * spread / spread.sum() + 0.5 / 4000)
    runs, missed = 120, 0
    for _ in range(runs):
        labels, traffic = draw(rng, confidence, wrong, predicted, pi)
        points = curve(labels, traffic, rng=rng, costs=Costs(1.0, 20.0), points=10)
        truths = [wrong[confidence >= point.threshold].mean() for point in points]
        missed += not all(p.error.low <= t <= p.error.high for p, t in zip(points, truths, strict=True))
    assert missed <= most(runs)
    assert [p.coverage.value for p in points] == sorted(p.coverage.value for p in points)
    assert points[-1].coverage.value == 1.0
    costs = [p.cost.value for p in points if p.cost is not None]
    assert costs == pytest.approx([1.0 + 20.0 * (1.0 - p.coverage.value) for p in points])


def test_a_census_is_believed() -> None:
    rng = np.random.default_rng(1)
    confidence, wrong, predicted = world(rng, 500)
    labels, traffic = draw(rng, confidence, wrong, predicted, np.ones(500))
    found = advise(labels, traffic, float(wrong.mean()), rng=rng)
    assert found.threshold == confidence.min()
    assert found.error.value == pytest.approx(wrong.mean())


def test_labels_of_one_kind_only() -> None:
    rng = np.random.default_rng(2)
    confidence = rng.random(2000)
    right, traffic = draw(rng, confidence, np.zeros(2000), None, np.full(2000, 0.1))
    assert advise(right, traffic, 0.1, rng=rng).coverage.value >= 0.95
    wrong, traffic = draw(rng, confidence, np.ones(2000), None, np.full(2000, 0.1))
    found = advise(wrong, traffic, 0.1, rng=rng)
    assert found.threshold is None
    assert found.error.high == 1.0
    one_label = Labelled.of([0.9], [0], [0.1])
    assert advise(one_label, Traffic.of(confidence), 0.1, rng=rng).threshold is None


def test_equal_confidences_pass_together() -> None:
    rng = np.random.default_rng(4)
    confidence = np.where(rng.random(3000) < 0.5, 0.95, 0.9)
    wrong = (rng.random(3000) < np.where(confidence > 0.92, 0.02, 0.4)).astype(float)
    labels, traffic = draw(rng, confidence, wrong, None, np.full(3000, 0.2))
    found = advise(labels, traffic, 0.08, rng=rng)
    assert found.threshold == 0.95
    assert found.coverage.value == pytest.approx((confidence > 0.92).mean())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"wrong": [0.0, np.nan, 1.0]}, "wrong holds NaN or infinity in 1 of 3"),
        ({"wrong": [0.0, 0.5, 1.0]}, "0 .right. and 1 .wrong. only"),
        ({"wrong": []}, "there are no labels"),
        ({"confidence": [0.1, np.nan, 0.2]}, "confidence holds NaN"),
        ({"confidence": [0.1, 0.2]}, "confidence must be a vector of 3"),
        ({"confidence": [0.1, 1.2, 0.3]}, "confidence must lie in"),
        ({"pi": [0.1, 0.0, 0.2]}, "no weight"),
        ({"pi": [0.1, -0.1, 0.2]}, "pi must lie in"),
        ({"pi": [0.1, np.inf, 0.2]}, "pi holds NaN or infinity"),
        ({"pi_sample": [0.1, 0.1, 0.1]}, "pi exceeds pi_sample"),
        ({"predicted": [0.1, 2.0, 0.1]}, "predicted must lie in"),
    ],
)
def test_bad_labels_are_refused(change: dict[str, list[float]], message: str) -> None:
    good = {"confidence": [0.1, 0.5, 0.9], "wrong": [1.0, 0.0, 0.0], "pi": [0.1, 0.2, 0.2]}
    with pytest.raises(ValueError, match=message):
        Labelled.of(**{**good, **change})  # type: ignore[arg-type]


def test_bad_questions_are_refused() -> None:
    rng = np.random.default_rng(0)
    labels = Labelled.of([0.1, 0.5], [1, 0], [0.5, 0.5])
    traffic = Traffic.of([0.1, 0.5, 0.7])
    for target in (0.0, 1.0, float("nan")):
        with pytest.raises(ValueError, match="the target is an error rate"):
            advise(labels, traffic, target, rng=rng)
    with pytest.raises(ValueError, match="for neither"):
        advise(labels, Traffic.of([0.1], predicted=[0.1]), 0.1, rng=rng)
    with pytest.raises(ValueError, match="confidence must lie"):
        advise(labels, traffic, 0.1, rng=rng, confidence=1.0)
    with pytest.raises(ValueError, match="at least one point"):
        curve(labels, traffic, rng=rng, points=0)
    with pytest.raises(ValueError, match="the traffic is empty"):
        Traffic.of([])
    with pytest.raises(ValueError, match="the traffic's pi_sample must lie"):
        Traffic.of([0.1], pi_sample=[0.0])
    with pytest.raises(ValueError, match="costs must be finite"):
        Costs(-1.0, 2.0)


@pytest.mark.real
def test_real_answers_of_a_model() -> None:
    """One model of MMBench, 500 labels; benchmarks/_review_threshold.py does all."""
    data = shared_data("vlm_outputs/vlm_uncertainty_mmbench.parquet").parent.parent
    population = next(populations(1, data))
    rng = np.random.default_rng(1)
    runs, violated, reached = 0, 0, []
    for share in (0.75, 0.5):
        target = share * float(population.wrong.mean())
        for _ in range(60):
            coverage, violation = one(population, inclusion(population, "mixed"), target, True, rng)
            runs, violated = runs + 1, violated + violation
            reached.append(coverage / oracle(population, target))
    assert violated <= most(runs)
    assert np.mean(reached) >= 0.8


def test_the_logit_world_is_what_it_says() -> None:
    """The worlds above must have an error that falls with confidence, else they test nothing."""
    confidence, wrong, predicted = world(np.random.default_rng(0), 20_000)
    low, high = confidence < 0.6, confidence > 0.9
    assert wrong[low].mean() > 2 * wrong[high].mean()
    assert np.isfinite(logit(predicted)).all()
