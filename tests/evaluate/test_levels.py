"""What references say signals were, and how two of them differ."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import beta

from detectors.drift.agreement import AgreementReference
from detectors.rates import RateReference
from detectors.summaries import Summary
from monitor.evaluate.levels import compared, levels
from monitor.evaluate.references import FittedStream, Reference
from monitor.evaluate.streams import spec_of
from tests.service.inputs_of_page import reference


def test_levels_have_the_intervals_of_their_counts() -> None:
    found = levels(reference("a", 2))
    assert list(found) == ["cost_p95", "error_rate", "image_drift", "refusal_rate", "volume"]
    rate = found["error_rate"].limits
    assert rate is not None
    hits, trials = 168, 168 * 50
    assert (rate.value, rate.low, rate.high) == pytest.approx(
        (hits / trials, beta.ppf(0.025, hits, trials - hits + 1), beta.ppf(0.975, hits + 1, trials - hits))
    )
    never = found["refusal_rate"].limits
    assert never is not None
    assert never.value == never.low == 0.0
    assert never.high == pytest.approx(1 - 0.025 ** (1 / trials))
    assert found["image_drift"].limits is None
    cost = found["cost_p95"]
    assert cost.unit == "currency"
    assert cost.limits is not None
    assert (cost.limits.value, cost.limits.low, cost.limits.high) == (0.024, -np.inf, np.inf)
    volume = found["volume"].limits
    assert volume is not None
    assert volume.value == pytest.approx(50.0)
    assert 25.0 < volume.low < 50.0 < volume.high < 100.0


def test_a_quantile_has_the_interval_of_its_sums() -> None:
    without = levels(reference("a", 2), Summary())["cost_p95"].limits
    assert without is not None
    assert without.high == np.inf  # no event of the stretch has a cost


def test_only_what_changed_differs() -> None:
    lines = compared(reference("a", 2), replace(reference("a", 3), rows=[]))
    assert [(line.signal, line.differs) for line in lines] == [
        ("error_rate", True), ("cost_p95", False), ("image_drift", False), ("refusal_rate", False), ("volume", False)
    ]  # fmt: skip
    error, cost, drift, _, volume = lines
    assert error.told == "added"
    assert error.change is not None
    assert error.change.value == pytest.approx(0.02)
    assert 0.0 < error.change.low < 0.02 < error.change.high
    assert cost.told == "relative"
    assert cost.change is not None
    assert cost.change.value == pytest.approx(0.5)  # 36 against 24, with nothing that tells how sure
    assert drift.change is None  # the other's sessions were not given
    assert volume.change is not None
    assert volume.change.value == pytest.approx(0.0)


def test_drift_is_how_far_the_others_sessions_lie() -> None:
    before = reference("a", 2)
    same, moved = (next(line for line in compared(before, after) if line.signal == "image_drift")
                   for after in (reference("a", 2), reference("a", 3)))  # fmt: skip
    assert same.told == "sd"
    assert not same.differs
    assert moved.differs
    assert moved.change is not None
    assert same.change is not None
    assert moved.change.low > same.change.high
    other = replace(reference("a", 3), encoder="another")
    line = next(line for line in compared(before, other) if line.signal == "image_drift")
    assert line.change is None


def test_agreement_in_standard_deviations_and_signals_that_come_and_go() -> None:
    def having(mean: float) -> Reference:
        scores = mean + 0.05 * np.random.default_rng(3).standard_normal(400)
        found = Reference("a", "r", 0, 1)
        fit = AgreementReference.fit(scores, np.arange(400) // 60)
        found.streams["agreement"] = FittedStream(spec_of("agreement"), fit)
        return found

    line = compared(having(0.2), having(0.15))[0]
    assert line.told == "sd"
    assert line.differs
    assert line.change is not None
    assert line.change.value == pytest.approx(-1.0, abs=0.1)
    gone = compared(having(0.2), Reference("a", "r", 0, 1))[0]
    assert gone.after is None
    assert gone.change is None
    assert not gone.differs


def test_a_signal_is_called_different_no_more_often_than_promised() -> None:
    """200 pairs of references of 9 equal rates: at most 5 % may name one; 22 would with a chance of 1 in 1,000."""
    rng = np.random.default_rng(11)
    named = 0
    for _ in range(200):
        pair = []
        for _ in range(2):
            found = Reference("a", "r", 0, 1)
            for i, signal in enumerate(_SIGNALS):
                fit = RateReference.fit(rng.binomial(300, 0.02 + 0.03 * i, 7), np.full(7, 300))
                found.streams[signal] = FittedStream(spec_of(signal), fit)
            pair.append(found)
        named += any(line.differs for line in compared(*pair))
    assert named <= 21


_SIGNALS = (
    "error_rate", "timeout_rate", "refusal_rate", "abstention_rate", "schema_violation_rate", "citation_missing_rate",
    "citation_ungrounded_rate", "disagreement_rate", "verification_failure_rate",
)  # fmt: skip
