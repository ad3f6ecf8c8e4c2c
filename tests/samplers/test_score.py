"""The predicted chance of an error: prejudices first, labels then, segments apart."""

from __future__ import annotations

import json

import numpy as np
import pytest

from samplers.score import FEATURES, ErrorScore, features


def known(facts: list[dict[str, object]], of: str = "") -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """Features without an anomaly or drift, but for the one named."""
    n = len(facts)
    return features(facts, np.full(n, of == "anomaly"), np.full(n, of == "drifted"))


def test_an_open_anomaly_and_drift_raise_it() -> None:
    facts: list[dict[str, object]] = [{"confidence": 950_000}]
    plain, anomaly, drifted = (
        ErrorScore.unfitted().score(known(facts, of), ["a"])[0] for of in ("", "anomaly", "drifted")
    )
    assert plain < min(anomaly, drifted)


def test_prejudices_rank_what_is_doubtful_first() -> None:
    facts = [
        {"confidence": 990_000},
        {"confidence": 400_000},
        {"confidence": 990_000, "verdicts": {"disagreement": 1}},
        {"confidence": 990_000, "verdicts": {"verification_failed": 1, "citation_ungrounded": 1}},
    ]
    score = ErrorScore.unfitted().score(known(facts), ["a"] * 4)
    assert score[0] < score[1] < score[3]
    assert score[0] < score[2] < score[3]


def test_facts_that_are_absent_say_nothing() -> None:
    rows = known([{}, {"confidence": 500_000, "verdicts": {"disagreement": 0}, "retries": 0}])
    assert rows[:, list(FEATURES).index("confidence")].tolist() == [0, 0]
    assert rows[:, list(FEATURES).index("no_confidence")].tolist() == [1, 0]
    assert rows[:, 3:].sum() == 0


def test_labels_move_it_and_it_becomes_a_chance() -> None:
    rng = np.random.default_rng(1)
    n = 6000
    confidence = rng.integers(0, 1_000_000, n)
    rows = known([{"confidence": int(c)} for c in confidence])
    segments = np.array(["clean", "dirty"])[rng.integers(0, 2, n)]
    # Here confidence knows nothing, and one segment is far worse.
    wrong = (rng.random(n) < np.where(segments == "dirty", 0.45, 0.03)).astype(np.float64)
    fitted = ErrorScore.fit(rows, segments.tolist(), wrong)
    score = fitted.score(rows, segments.tolist())
    assert score[segments == "dirty"].mean() == pytest.approx(0.45, abs=0.04)
    assert score[segments == "clean"].mean() == pytest.approx(0.03, abs=0.02)
    assert abs(fitted.coefficients[list(FEATURES).index("confidence")]) < 0.1
    assert fitted.labels == n


def test_a_few_labels_move_it_a_little() -> None:
    rows = known([{"confidence": 990_000}] * 2)
    before = ErrorScore.unfitted().score(rows, ["a", "a"])[0]
    after = ErrorScore.fit(rows, ["a", "a"], np.ones(2)).score(rows, ["a", "a"])[0]
    assert before < after < 0.5
    # Unseen segments follow the common level only.
    assert before < ErrorScore.fit(rows, ["a", "a"], np.ones(2)).score(rows, ["b", "b"])[0] < after


def test_separable_labels_and_none_at_all_are_fine() -> None:
    rows = known([{"confidence": 10_000}, {"confidence": 990_000}] * 200)
    fitted = ErrorScore.fit(rows, ["a"] * 400, np.tile([1.0, 0.0], 200))
    assert np.isfinite(fitted.coefficients).all()
    assert fitted.score(rows[:2], ["a", "a"]) == pytest.approx([1, 0], abs=0.05)
    assert ErrorScore.fit(rows[:0], [], np.zeros(0)).to_state() == ErrorScore.unfitted().to_state()


def test_state_survives_and_a_feature_it_does_not_know_has_its_prejudice() -> None:
    rows = known([{"confidence": 990_000}] * 3)
    fitted = ErrorScore.fit(rows, ["a", "b", "b"], np.array([1.0, 0.0, 0.0]))
    state = json.loads(json.dumps(fitted.to_state()))
    assert ErrorScore.from_state(state).to_state() == fitted.to_state()
    del state["coefficients"]["drifted"]
    position = list(FEATURES).index("drifted")
    assert ErrorScore.from_state(state).coefficients[position] == FEATURES["drifted"][0]
    with pytest.raises(ValueError, match="version 3"):
        ErrorScore.from_state({**state, "v": 3})


def test_values_that_are_not_finite_are_refused() -> None:
    rows = known([{}])
    with pytest.raises(ValueError, match="finite"):
        ErrorScore.fit(rows, ["a"], np.array([np.nan]))
    with pytest.raises(ValueError, match="got 1 rows"):
        ErrorScore.fit(rows, [], np.zeros(1))
