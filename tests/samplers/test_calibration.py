"""Calibration: errors that are 0 where there are none, limits that hold, maps that come back, drift as a fair bet."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import expit, logit
from scipy.stats import binom

from detectors.evidence import FundedSR
from detectors.rates import ODDS
from samplers.calibration import CalibrationReference, IsotonicMap, PlattMap, reliability
from samplers.labelled import Labelled

Float = NDArray[np.float64]


def most(runs: int, chance: float) -> int:
    return int(binom.ppf(0.999, runs, chance))


def traffic(rng: np.random.Generator, n: int, weighted: bool, shift: float = 0.0, slope: float = 1.0) -> Labelled:
    """About ``n`` labels of 20,000 items that are right with probability expit(shift + slope logit(confidence))."""
    confidence = rng.beta(4.0, 1.2, 20_000)
    right = rng.random(confidence.size) < truth(confidence, shift, slope)
    spread = np.sqrt(confidence * (1 - confidence))
    pi = n * (0.5 * spread / spread.sum() + 0.5 / 20_000) if weighted else np.full(20_000, n / 20_000)
    i = rng.random(20_000) < pi
    return Labelled.of(confidence[i], 1.0 - right[i], pi[i])


def truth(confidence: Float, shift: float, slope: float) -> Float:
    return np.asarray(expit(shift + slope * logit(np.clip(confidence, 1e-4, 1 - 1e-4))))


def true_error(bins: int, shift: float, slope: float) -> float:
    """Root mean square difference between bins of equal weight, of the whole law."""
    confidence = np.sort(np.random.default_rng(0).beta(4.0, 1.2, 200_000))
    gaps = [float((truth(part, shift, slope) - part).mean()) for part in np.array_split(confidence, bins)]
    return float(np.sqrt(np.mean(np.square(gaps))))


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("n", [60, 300])
def test_a_calibrated_confidence_has_no_error_on_average(n: int, weighted: bool) -> None:
    rng = np.random.default_rng([n, weighted])
    runs = 400
    found = [reliability(traffic(rng, n, weighted)) for _ in range(runs)]
    squared = np.array([r.squared for r in found])
    error = squared.std() / np.sqrt(runs)
    assert abs(squared.mean()) <= 3.3 * error
    plug_in = np.array([sum(b.share * (b.accuracy.value - b.confidence) ** 2 for b in r.bins) for r in found])
    assert plug_in.mean() > 10 * error  # what is corrected is not small
    assert sum(r.p < 0.05 for r in found) <= most(runs, 0.06)
    assert sum(r.error.low > 0 for r in found) <= most(runs, 0.035)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("shift", "slope"), [(-0.5, 1.0), (-1.0, 0.6)])
def test_the_error_and_its_limits(shift: float, slope: float, weighted: bool) -> None:
    rng = np.random.default_rng([int(10 * slope), weighted])
    runs, missed, squares = 300, 0, []
    target = true_error(10, shift, slope)
    for _ in range(runs):
        found = reliability(traffic(rng, 400, weighted, shift, slope))
        missed += not found.error.low <= target <= found.error.high
        squares.append(found.squared)
        assert found.over > 0
    assert missed <= most(runs, 0.06)
    assert np.mean(squares) == pytest.approx(target**2, abs=4 * np.std(squares) / np.sqrt(runs) + 5e-4)


@pytest.mark.parametrize("n", [40, 300])
def test_intervals_of_bins_hold_at_small_counts(n: int) -> None:
    rng = np.random.default_rng(n)
    missed = bins = 0
    for _ in range(200):
        found = reliability(traffic(rng, n, True))
        for one in found.bins:
            bins += 1
            missed += not one.accuracy.low <= one.confidence <= one.accuracy.high
            assert one.accuracy.low < one.accuracy.high
    assert missed <= most(bins, 0.05)


def test_bins_share_the_traffic_and_keep_equal_confidences_together() -> None:
    rng = np.random.default_rng(1)
    found = reliability(traffic(rng, 500, True))
    assert len(found.bins) == 10
    assert sum(one.share for one in found.bins) == pytest.approx(1.0)
    assert all(0.05 < one.share < 0.15 for one in found.bins)
    assert [one.confidence for one in found.bins] == sorted(one.confidence for one in found.bins)
    same = reliability(Labelled.of(np.full(40, 0.9), np.arange(40) % 10 == 0, np.full(40, 0.5)))
    assert [one.labels for one in same.bins] == [40]
    assert same.error.value == pytest.approx(0.0, abs=1e-6)


def test_maps_learn_what_confidence_means() -> None:
    rng = np.random.default_rng(2)
    labels = traffic(rng, 4000, True, -1.0, 0.6)
    at = np.linspace(0.3, 0.98, 30)
    for fitted, most_off in ((PlattMap.fit(labels), 0.04), (IsotonicMap.fit(labels), 0.12)):
        found = fitted.apply(at)
        assert np.abs(found - truth(at, -1.0, 0.6)).max() < most_off
        assert (np.diff(found) >= 0).all()
        raw = np.abs(at - truth(at, -1.0, 0.6)).max()
        assert raw > 0.2


def test_weights_matter_to_maps() -> None:
    """Half of the labels at one confidence are wrong, but they were drawn nine times as often."""
    wrong = np.r_[np.ones(90), np.zeros(90)]
    pi = np.r_[np.full(90, 0.9), np.full(90, 0.1)]
    labels = Labelled.of(np.full(180, 0.7), wrong, pi)
    assert IsotonicMap.fit(labels).apply([0.7])[0] == pytest.approx(0.9)
    assert PlattMap.fit(labels).apply([0.7])[0] == pytest.approx(0.9, abs=0.02)


@pytest.mark.parametrize("wrong", [0.0, 1.0])
def test_labels_of_one_kind_make_a_map(wrong: float) -> None:
    labels = Labelled.of(np.linspace(0.2, 0.9, 20), np.full(20, wrong), np.full(20, 0.5))
    for fitted in (PlattMap.fit(labels), IsotonicMap.fit(labels)):
        found = fitted.apply([0.5, 0.0, 1.0])
        assert np.isfinite(found).all()
        assert (found[0] > 0.5) == (wrong == 0.0)


def test_states_come_back_through_json() -> None:
    labels = traffic(np.random.default_rng(3), 300, True)
    at = np.linspace(0, 1, 21)
    for fitted in (PlattMap.fit(labels), IsotonicMap.fit(labels)):
        again = type(fitted).from_state(json.loads(json.dumps(fitted.to_state())))
        assert np.array_equal(again.apply(at), fitted.apply(at))
        assert fitted.to_state()["format"] == 1
    reference = CalibrationReference.fit(labels, min_effect=1.3)
    back = CalibrationReference.from_state(json.loads(json.dumps(reference.to_state())))
    assert np.array_equal(back.log_bets(labels), reference.log_bets(labels))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 2}, "has format 2, this version reads 1"),
        ({"kind": "platt"}, "expected a map of kind 'isotonic', got 'platt'"),
        ({"knots": [0.5, 0.2]}, "rising knots"),
        ({"values": [0.1]}, "must be a vector of 2"),
        ({"values": [0.1, float("nan")]}, "holds NaN"),
        ({"knots": [], "values": []}, "rising knots"),
    ],
)
def test_other_states_are_refused(change: dict[str, Any], message: str) -> None:
    state = {"format": 1, "kind": "isotonic", "knots": [0.1, 0.8], "values": [0.2, 0.9]}
    with pytest.raises(ValueError, match=message):
        IsotonicMap.from_state({**state, **change})
    del state["values"]
    with pytest.raises(ValueError, match="lacks values"):
        IsotonicMap.from_state(state)


def test_scores_are_bounded_with_mean_zero_under_the_map() -> None:
    rng = np.random.default_rng(4)
    reference = CalibrationReference(PlattMap(-0.5, 0.8), 400.0, 0.0)
    means = []
    for _ in range(200):
        scores = reference.scores(traffic(rng, 200, True, -0.5, 0.8))
        assert (np.abs(scores) <= 1).all()
        means.append(scores.sum())
    assert abs(np.mean(means)) <= 3.3 * np.std(means) / np.sqrt(200)


def test_drift_is_a_fair_bet_without_drift() -> None:
    """Each payoff has an expectation of at most 1, given a reference of its own in every run."""
    rng = np.random.default_rng(5)
    runs = 300
    payoffs = np.zeros((runs, 2 * len(ODDS)))
    for run in payoffs:
        reference = CalibrationReference.fit(traffic(rng, 120, True, -0.5, 0.8))
        run[:] = np.exp(reference.log_bets(traffic(rng, 600, True, -0.5, 0.8))[0])
    assert (payoffs.mean(axis=0) <= 1.0 + 3.3 * payoffs.std(axis=0) / np.sqrt(runs)).all()
    # Markov: of the many sessions of a look, the reference's own error alone would show in far more.
    assert ((payoffs >= 20.0).sum(axis=0) <= most(runs, 0.05)).all()
    known = CalibrationReference(PlattMap(-0.5, 0.8), 400.0, 0.0)  # the truth: no room from the reference's own error
    fair = np.array([np.exp(known.log_bets(traffic(rng, 30, True, -0.5, 0.8))[0]) for _ in range(2000)])
    assert (fair.mean(axis=0) <= 1.0 + 3.3 * fair.std(axis=0) / np.sqrt(2000)).all()
    assert fair[:, 0].mean() == pytest.approx(1.0, abs=4 * fair[:, 0].std() / np.sqrt(2000))


@pytest.mark.parametrize(("shift", "first"), [(-2.0, 0), (2.0, len(ODDS))])
def test_drift_of_calibration_is_found_as_any_rate_is(shift: float, first: int) -> None:
    """Errors at the same confidence grow (shrink): the first (second) half of the bets gains, and the funded sum
    alarms within 20 looks of 60 labels."""
    rng = np.random.default_rng(6)
    reference = CalibrationReference.fit(traffic(rng, 800, True, -0.5))
    stream = FundedSR(1, 2 * len(ODDS))
    alarmed, total = False, np.zeros(2 * len(ODDS))
    for _ in range(20):
        bets = reference.log_bets(traffic(rng, 60, True, -0.5 + shift))
        total += bets[0]
        alarmed |= bool(stream.step(bets, np.array([1e-4])).alarms[0])
    assert alarmed
    assert total[first : first + len(ODDS)].max() > 5 > total[(len(ODDS) - first) :][: len(ODDS)].max()


def test_bad_input_is_refused() -> None:
    labels = traffic(np.random.default_rng(7), 100, False)
    few = Labelled.of([0.5, 0.6], [0, 1], [0.5, 0.5])
    with pytest.raises(ValueError, match="at least 10 labels, got 2"):
        reliability(few)
    with pytest.raises(ValueError, match="at least one bin"):
        reliability(labels, 0)
    with pytest.raises(ValueError, match="min_effect is a factor"):
        CalibrationReference.fit(labels, min_effect=0.5)
    for fitted in (PlattMap.fit(labels), IsotonicMap.fit(labels)):
        with pytest.raises(ValueError, match="confidence holds NaN"):
            fitted.apply([0.5, np.nan])
        with pytest.raises(ValueError, match="confidence must lie in"):
            fitted.apply([1.5])
