"""A store with hostile content in every text that the page and the API show."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import insert

from alerts.anomaly import anomaly_id
from monitor.evaluate.references import Reference
from monitor.store import references, review
from monitor.store.engine import Store
from monitor.store.reports import Issue
from monitor.store.reports import add as add_report
from monitor.store.tables import anomalies, dead_letters, partitions, sample_content, sample_parts, samples, summaries
from tests.alerts.parts import anomaly as anomaly_document

HOSTILE = "<script>alert('x')</script>\"&{{ 7*7 }}\x1b[31m"
NOON = 1_762_084_800_000_000  # 2025-11-02T12:00Z
MINUTE = 60_000_000
DAY = 86_400_000_000
CONTENT = Reference(HOSTILE, "extract", NOON - 7 * DAY, NOON).to_content()
REFERENCE = references.reference_id(HOSTILE, 1, CONTENT)
JPEG = b"\xff\xd8\xff\xe0 as far as anybody looks"


def fill(store: Store, state: bytes) -> str:
    """One partition, one segment, an open and a resolved anomaly, a sample, which is an item of the review queue, a
    reference, a dead letter and a report. Returns an anomaly's id.
    """
    chosen = anomaly_id("default", HOSTILE, "error_rate", NOON)
    with store.write() as connection:
        connection.execute(insert(partitions).values(_partition()))
        rows = [_summary(NOON + i * MINUTE, state, i == 3) for i in range(4)]
        connection.execute(insert(summaries), rows)
        connection.execute(insert(anomalies), [_anomaly(chosen, "open"), _anomaly("f" * 24, "resolved")])
        connection.execute(insert(samples).values(_sample()))
        connection.execute(
            insert(sample_parts).values(
                sample_id="s1", part=0, modality="image", vector=b"\0\0", conditions='{"v":1}', agreement=None
            )
        )
        connection.execute(
            insert(sample_content).values(
                sample_id="s1",
                time_us=NOON,
                inputs=json.dumps({"v": 1, "parts": [{"part": 0, "kind": "image", "uri": HOSTILE}], "chosen": [0]}),
                output="[]",
                citations="[]",
                thumbnail=JPEG,
            )
        )
        references.add(
            connection, segment=HOSTILE, encoder="", from_us=NOON - 7 * DAY, to_us=NOON, origin="built", rows=0,
            content=CONTENT, samples=[],
        )  # fmt: skip
        connection.execute(insert(dead_letters).values(_letter()))
        week = Issue(NOON - DAY // 2, NOON - DAY // 2 + 7 * DAY, 1, NOON, HOSTILE[:100])
        add_report(store, connection, week, {"json": "{}", "md": "#", "html": "<!doctype html>"})
        review.add(connection, [_review_item()], [], now_us=NOON, expires_us=NOON + 14 * DAY)
    return chosen


def _partition() -> dict[str, Any]:
    return {
        "topic": "inference",
        "partition": 0,
        "next_offset": 12345,
        "generation": 1,
        "owner": "w",
        "watermark_us": NOON + 10 * MINUTE,
        "max_time_us": NOON + 10 * MINUTE,
        "begun": True,
        "events": 400,
        "duplicates": 7,
        "dead_letters": 1,
        "late_events": 3,
        "state": b"",
        "counters": '{"citation_contradicted": 2}',
    }


def _summary(window: int, state: bytes, late: bool) -> dict[str, Any]:
    return {
        "level": 0,
        "window_us": window,
        "route": "extract",
        "segment": HOSTILE,
        "version": "m@1",
        "late": late,
        "topic": "inference",
        "partition": 0,
        "events": 100,
        "state": state,
    }


def _anomaly(anomaly: str, state: str) -> dict[str, Any]:
    resolved = NOON + MINUTE if state == "resolved" else None
    document = anomaly_document(
        HOSTILE, "error_rate", state=state, severity="page", opened=NOON, sentence=f"Errors grew in {HOSTILE}"
    )
    return {
        "anomaly_id": anomaly,
        "owner": "default",
        "segment": HOSTILE,
        "signal": "error_rate",
        "state": state,
        "severity": "page",
        "historic": False,
        "opened_us": NOON,
        "updated_us": NOON,
        "resolved_us": resolved,
        "document": json.dumps(document),
    }


def _sample() -> dict[str, Any]:
    return {
        "sample_id": "s1",
        "event_id": HOSTILE,
        "topic": "inference",
        "partition": 0,
        "offset": 5,
        "time_us": NOON,
        "window_us": NOON,
        "route": "extract",
        "segment": HOSTILE,
        "version": "m@1",
        "session_key": "",
        "user_key": "",
        "pi": 0.5,
        "state": "embedded",
        "reason": "",
        "facts": '{"v":1}',
        "encoder": "features-1",
        "phash": None,
    }


def _review_item() -> review.NewItem:
    return review.NewItem(
        sample_id="s1",
        event_id=HOSTILE,
        segment=HOSTILE,
        route="extract",
        day_us=NOON - DAY // 2,
        time_us=NOON,
        pi_sample=0.5,
        pi_review=0.5,
        race=0.1,
        score=0.5,
        reasons=(HOSTILE,),
    )


def _letter() -> dict[str, Any]:
    return {
        "topic": "a/b",
        "partition": 0,
        "offset": 9,
        "reason": "malformed_json",
        "detail": HOSTILE,
        "time_us": NOON,
        "event_id": "",
        "user_key": "",
        "key": None,
        "original": b"\xff{",
    }
