"""The scorer's verdicts, held against its definition."""

from __future__ import annotations

from dataclasses import replace

from monitor.demo.incidents import HOUR_US, INCIDENTS
from monitor.demo.scorer import Reported, score

START = 1_790_000_000_000_000
SCHEMA = next(incident for incident in INCIDENTS if incident.name == "broken_schema")


def alarm(hours: float, **changes: str) -> Reported:
    opened = SCHEMA.injected_at(START) + round(hours * HOUR_US)
    base = Reported(f"a{hours}", SCHEMA.segment, "schema_violation_rate", "page", opened, "", True)
    return replace(base, **changes)  # type: ignore[arg-type]


def test_an_alarm_within_48_hours_in_the_segment_on_the_signal_finds_the_incident() -> None:
    result = score(INCIDENTS, START, [alarm(3), alarm(1), alarm(47.9)])
    verdict = next(v for v in result.verdicts if v.incident is SCHEMA)
    assert verdict.anomaly is not None
    assert verdict.anomaly.anomaly_id == "a1"
    assert result.false_alarms == ()
    assert not result.all_found


def test_too_late_too_early_elsewhere_or_on_another_signal_is_a_false_alarm() -> None:
    wrong = [alarm(48.1), alarm(-0.1), alarm(2, segment="invoice-extract/acme"), alarm(4, signal="error_rate")]
    result = score(INCIDENTS, START, wrong)
    assert len(result.false_alarms) == 4
    assert all(verdict.anomaly is None for verdict in result.verdicts)


def test_what_is_only_reported_is_neither_found_nor_false() -> None:
    result = score(INCIDENTS, START, [alarm(1, severity="report"), alarm(99, severity="report")])
    assert result.false_alarms == ()
    assert all(verdict.anomaly is None for verdict in result.verdicts)


def test_everything_found_is_said() -> None:
    signals = {
        "new_scanner": "image_drift",
        "new_document_type": "image_drift",
        "broken_schema": "schema_violation_rate",
        "heavy_user": "cost_tail",
        "stage_contention": "latency_total_tail",
        "ungrounded_answers": "citation_ungrounded_rate",
    }
    alarms = [
        Reported(i.name, i.segment, signals[i.name], "ticket", i.injected_at(START) + HOUR_US, "", True)
        for i in INCIDENTS
    ]
    result = score(INCIDENTS, START, alarms)
    assert result.all_found
    assert result.false_alarms == ()
