"""A store with an anomaly that has everything a page can show of one, all of it hostile where asked."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import msgspec
from sqlalchemy import insert, update

from alerts.anomaly import Effect, Evidence, Explanation, Fact, Since, anomaly_id, from_document, to_document
from detectors.evidence.recovery import CAP
from monitor.store.deploys import Deploy
from monitor.store.engine import Store
from monitor.store.outbox import claim_due, enqueue, mark_failed, mark_retry
from monitor.store.responses import respond
from monitor.store.tables import anomalies, deploys, evidence
from tests.alerts.parts import anomaly as anomaly_document
from tests.service.queue_of_page import HOSTILE, NOW_US, fill_queue

HOUR = 3_600_000_000
OPENED = NOW_US // HOUR * HOUR - 10 * HOUR
SEGMENT = "invoice-extract/receipt"


def story(segment: str = SEGMENT, text: str = "", *, opened: int = OPENED) -> dict[str, Any]:
    """A document with two facts and every kind of explanation; ``text`` in all its texts."""
    first = from_document(anomaly_document(segment, "schema_violation_rate", opened=opened, severity="page"))
    since = Since(low=opened - HOUR, high=opened - HOUR // 2)
    facts = [
        Fact(
            subject=segment,
            signal=signal,
            detector="rate",
            opened=opened + i * HOUR,
            since=since,
            evidence=Evidence(kind="funded_sr", value=value, threshold=1.0),
            effect=Effect(value=0.14, unit="share", low=0.11, high=0.18, baseline=0.02),
            sentence=f"{text}{said} rose from 2 % to 14 %.",
        )
        for i, (signal, value, said) in enumerate(
            (("schema_violation_rate", 37.5, "Broken schemas"), ("cost_p95", 1.25, "The dear requests"))
        )
    ]
    explanation = Explanation(
        sentence=f"{facts[0].sentence} It began with prompt {text or 'extract 15'}.",
        attributes=[
            {
                "attribute": "prompt",
                "value": text or "extract 15",
                "how": "began",
                "before": 0.0,
                "now": 1.0,
                "left": 0.1,
            }
        ],
        conditions=[
            {
                "name": text or "blur",
                "unit": text,
                "told": "relative",
                "before": 0.1,
                "now": 0.5,
                "change": 4.0,
                "low": 3.5,
                "high": 4.5,
                "above": 1,
            }
        ],
        concepts=[{"name": text or "old scan", "before": 0.02, "now": 0.4, "low": 0.3, "high": 0.46}],
        share={"value": 0.3, "low": 0.2, "high": 0.4},
        exemplars=[
            {"role": "typical_before", "sample_id": "s0000", "window": NOW_US},
            {"role": "most_changed", "sample_id": "s0001", "window": NOW_US},
            {"role": "most_changed", "sample_id": "gone", "window": opened},
        ],
        tried={"sessions_now": 300, "sessions_before": 2000, "values": 75, "conditions": 20, "concepts": 9},
    )
    document = to_document(first)
    document.update(
        id=anomaly_id("default", segment, "schema_violation_rate", opened),
        facts=msgspec.to_builtins(facts),
        since=msgspec.to_builtins(since),
        evidence=msgspec.to_builtins(facts[0].evidence),
        explanation=msgspec.to_builtins(explanation),
    )
    return document


def row_of(document: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A document's row of the table."""
    return {
        "anomaly_id": document["id"],
        "owner": document["owner"],
        "segment": document["segment"],
        "signal": document["signal"],
        "state": document["state"],
        "severity": document["severity"],
        "historic": False,
        "opened_us": document["opened"],
        "updated_us": document["updated"],
        "resolved_us": document["resolved"],
        "document": json.dumps(document, ensure_ascii=False, sort_keys=True, separators=(",", ":")),
        **changes,
    }


def fill_story(store: Store, *, hostile: bool = False) -> str:
    """The anomaly with its evidence, samples, deploys, deliveries and what people said. Returns its id."""
    text = HOSTILE if hostile else ""
    # A name as long as the table allows; the rest of it is cut there, too.
    segment = f"invoice/{HOSTILE}"[:200] if hostile else SEGMENT
    document = story(segment, text)
    fill_queue(store, 2, hostile=hostile)
    with store.write() as connection:
        connection.execute(insert(anomalies).values(row_of(document)))
        connection.execute(insert(evidence), courses(segment, "schema_violation_rate", 37.5))
        connection.execute(insert(evidence), courses(segment, "cost_p95", 1.25))
        deploy = Deploy("d1", OPENED - 2 * HOUR, text[:100] or "pipeline", text or "v2.4.1", note=text or "new prompt")
        # Not announced: stores of earlier versions hold texts that are refused now.
        connection.execute(insert(deploys).values(asdict(deploy)))
        for sink in (text[:60] or "oncall", "mail"):
            enqueue(
                connection,
                sink=sink,
                key=document["id"],
                kind="anomaly",
                payload={},
                created_us=OPENED,
                due_us=OPENED,
            )
        (first,) = claim_due(connection, sink=text[:60] or "oncall", now_us=NOW_US, lease_us=lambda n: HOUR)
        mark_retry(connection, first, due_us=NOW_US + HOUR, error=text or "connection refused", remote={})
        (second,) = claim_due(connection, sink="mail", now_us=NOW_US, lease_us=lambda n: HOUR)
        mark_failed(connection, second, error="422", remote={})
        respond(connection, document["id"], "acknowledge", text[:100] or "Ben", NOW_US - HOUR, note=text or "on it")
    return str(document["id"])


def courses(segment: str, signal: str, peak: float) -> list[dict[str, Any]]:
    """A day of small evidence, a climb to its peak, and what ticks note while it is open."""

    def row(at: int, resolution: str, value: float, threshold: float) -> dict[str, Any]:
        return {
            "segment": segment,
            "signal": signal,
            "tick_us": at,
            "resolution": resolution,
            "value": value,
            "threshold": threshold,
            "effect": None,
        }

    hours = [row(OPENED - i * HOUR, "hour", 0.01 if i > 2 else peak / i**2, 1.0) for i in range(24, 0, -1)]
    return hours + [row(OPENED + i * HOUR // 12, "tick", CAP if i < 60 else CAP / 2, 0.0) for i in range(100)]


def change(store: Store, anomaly: str, **values: Any) -> None:
    """Other values of an anomaly's row."""
    with store.write() as connection:
        connection.execute(update(anomalies).where(anomalies.c.anomaly_id == anomaly).values(**values))
