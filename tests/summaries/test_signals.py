"""Every signal is measured, or says why not; the documentation is the table."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from detectors.summaries import Summary, SummaryTable
from detectors.summaries.catalogue import BY_NAME, SIGNALS
from detectors.summaries.metrics import METRICS, RATES
from detectors.summaries.signals import labels, measure, measure_all, signal_table_markdown
from tests.summaries.events import STAGES, batch, nothing, of_costs

DOCUMENT = Path(__file__).parents[2] / "docs" / "signals.md"


def summary_of(n: int, **fields: object) -> Summary:
    table = SummaryTable()
    cols = batch(np.random.default_rng(2), n)
    table.update(np.zeros(n, np.int64), replace(cols, **fields) if fields else cols)
    return table.summary(0)


def test_documentation_is_the_table() -> None:
    assert DOCUMENT.read_text() == signal_table_markdown(), "docs/signals.md is stale: write signal_table_markdown()"


def test_names_are_unique_and_every_rate_has_a_signal() -> None:
    assert len(BY_NAME) == len(SIGNALS)
    assert {s.metric for s in SIGNALS if s.kind == "rate"} == {m.name for m in RATES}
    assert all(s.metric in METRICS for s in SIGNALS if s.kind not in ("sample", "month"))


def test_every_signal_of_a_full_summary_is_measured() -> None:
    for s, label, m in measure_all(summary_of(20_000)):
        if s.kind in ("sample", "month"):
            assert m.status == "not_measured"
            continue
        assert m.status == "measured", (s.name, label)
        if s.kind == "mix":
            assert m.distribution is not None
            assert sum(share for share, _, _ in m.distribution.values()) == pytest.approx(1)
        else:
            assert m.value is not None
            assert m.low <= m.value * (1 + 1e-9)
            assert m.value <= m.high * (1 + 1e-9)
        assert m.n > 0


def test_no_signal_but_volume_is_measured_on_nothing() -> None:
    table = SummaryTable()
    table.update(np.zeros(9, np.int64), nothing(9))
    for s in SIGNALS:
        m = measure(table.summary(0), s)
        assert m.status == ("measured" if s.name == "volume" else "not_measured")
        assert (m.value is None) == (s.name != "volume")
    assert measure(Summary(), "volume").value == 0


def test_a_quantile_of_too_few_events_is_not_enough_data() -> None:
    m = measure(summary_of(200), "cost_p999")
    assert (m.status, m.value) == ("not_enough_data", None)
    assert m.n > 100
    assert measure(summary_of(200), "cost_expected_shortfall").status == "not_enough_data"


def test_units() -> None:
    n = 1000
    s = summary_of(
        n,
        cost=np.full(n, 41_900_000),
        latency_total=np.full(n, 4_210_000),
        latency_timeout=np.zeros(n, np.bool_),
        confidence=np.full(n, 930_000),
    )
    assert measure(s, "cost_p50").value == pytest.approx(0.0419, rel=0.011)
    assert measure(s, "cost_total").value == pytest.approx(41.9)
    assert measure(s, "cost_top1_share").value == pytest.approx(0.01)
    assert measure(s, "latency_total_p95").value == pytest.approx(4.21, rel=0.011)
    assert measure(s, "latency_amplification").value == pytest.approx(1)
    assert measure(s, "confidence_mean").value == pytest.approx(0.93)


def test_stages_are_measured_each() -> None:
    assert labels(summary_of(500), "latency_stage_p95") == tuple(sorted(STAGES))


def test_heaviest_user() -> None:
    cols = replace(of_costs(np.array([60, 20, 20])), user=np.array([7, 8, 0], dtype=np.uint64))
    table = SummaryTable()
    table.update(np.zeros(3, np.int64), cols)
    assert measure(table.summary(0), "cost_heaviest_user").value == pytest.approx(0.6)


def test_unknown_signal() -> None:
    with pytest.raises(KeyError, match="unknown signal 'cost'"):
        measure(Summary(), "cost")
