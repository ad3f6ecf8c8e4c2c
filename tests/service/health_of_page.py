"""A store with all that the page of health shows: two partitions, dead letters, samples, deliveries, open anomalies."""

from __future__ import annotations

from typing import Any

from sqlalchemy import insert

from monitor.config.model import Config
from monitor.store import retries
from monitor.store.engine import Store
from monitor.store.outbox import claim_due, enqueue, mark_failed, mark_retry, mark_sent
from monitor.store.tables import anomalies, dead_letters, evaluation, partitions, samples
from tests.service.anomalies_of_page import row_of, story
from tests.service.queue_of_page import HOSTILE, NOW_US

MINUTE = 60_000_000
HOUR = 60 * MINUTE
CLOSED_US = NOW_US // MINUTE * MINUTE - 3 * MINUTE
EVALUATED_US = CLOSED_US - 10 * MINUTE
OPENED = CLOSED_US - 5 * HOUR
LETTERS = {
    4: ("oversize", "got 2000000 bytes, kafka.max_record is 1000000", b'{"id": "large"}'),
    5: ("malformed_json", HOSTILE, HOSTILE.encode()),
    6: ("invalid_utf8", "byte 0: invalid start byte", b"\xff\xfe{"),
    7: ("tombstone", "the record has no value", None),
    8: ("oversize", "got 3000000 bytes, kafka.max_record is 1000000", b'{"id": "larger"}'),
}
CONFIG = Config.model_validate(
    {
        "kafka": {"topics": ["inference"]},
        "alerts": {
            "sinks": {
                "oncall": {"kind": "webhook", "url": "https://hook.example/"},
                "mail": {
                    "kind": "smtp",
                    "host": "mail.example",
                    "sender": "a@x.example",
                    "recipients": ["b@x.example"],
                },
            }
        },
    }
)


def fill_health(store: Store) -> str:
    """Returns the id of the open anomaly."""
    document = story(f"invoice/{HOSTILE}"[:200], HOSTILE, opened=OPENED)
    with store.write() as connection:
        connection.execute(insert(partitions), [_partition(0, CLOSED_US), _partition(1, CLOSED_US + 40 * MINUTE)])
        connection.execute(
            insert(evaluation).values(
                name="leader", holder="w", generation=1, lease_until_us=0, done_until_us=EVALUATED_US, state=b""
            )
        )
        connection.execute(insert(dead_letters), [_letter(offset, *LETTERS[offset]) for offset in LETTERS])
        connection.execute(insert(anomalies).values(row_of(document)))
        states = [("embedded", "")] * 6 + [("missing", HOSTILE[:60])] * 2 + [("pending", "")]
        connection.execute(insert(samples), [_sample(n, *state) for n, state in enumerate(states)])
        for sink in ("oncall", "mail"):
            for key in ("a" * 24, document["id"]):
                enqueue(connection, sink=sink, key=key, kind="anomaly", payload={}, created_us=OPENED, due_us=OPENED)
        enqueue(connection, sink="old-chat", key="b" * 24, kind="anomaly", payload={}, created_us=OPENED, due_us=OPENED)
        told = claim_due(connection, sink="oncall", now_us=NOW_US, lease_us=lambda n: HOUR)
        mark_sent(connection, [(row, {}, None) for row in told])
        first, second = claim_due(connection, sink="mail", now_us=NOW_US, lease_us=lambda n: HOUR)
        mark_retry(connection, first, due_us=NOW_US + HOUR, error=f"451 {HOSTILE}", remote={})
        mark_failed(connection, second, error="550 no such mailbox", remote={})
        retries.ask(connection, [("inference", 0, 5)], ["inference"], HOSTILE[:100], NOW_US - HOUR)
        (waiting,) = retries.waiting(connection, [("inference", 0)])
        refused = retries.Outcome(waiting.retry_id, "refused", "malformed_json", HOSTILE)
        retries.settle(connection, [refused], NOW_US - HOUR + MINUTE)
    return str(document["id"])


def _partition(number: int, watermark_us: int) -> dict[str, Any]:
    return {
        "topic": "inference", "partition": number, "next_offset": 12_345 + number, "generation": 1,
        "owner": f"host/{HOSTILE}"[:200], "watermark_us": watermark_us, "max_time_us": watermark_us, "begun": True,
        "events": 400, "duplicates": 7, "dead_letters": 5 - 5 * number, "late_events": 3, "state": b"",
        "counters": "{}",
    }  # fmt: skip


def _letter(offset: int, reason: str, detail: str, original: bytes | None) -> dict[str, Any]:
    return {
        "topic": "inference", "partition": 0, "offset": offset, "reason": reason, "detail": detail,
        "time_us": CLOSED_US - offset * MINUTE, "event_id": "", "user_key": "", "key": None, "original": original,
    }  # fmt: skip


def _sample(number: int, state: str, reason: str) -> dict[str, Any]:
    return {
        "sample_id": f"h{number}", "event_id": "", "topic": "inference", "partition": 0, "offset": number,
        "time_us": EVALUATED_US - HOUR, "window_us": EVALUATED_US - HOUR, "route": "r", "segment": f"s/{HOSTILE}"[:200],
        "version": "m@1", "session_key": "", "user_key": "", "pi": 0.5, "state": state, "reason": reason,
        "facts": '{"v":1}', "encoder": "", "phash": None,
    }  # fmt: skip
