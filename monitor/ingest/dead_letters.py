"""Records that are not counted as events: why, and what is kept of them.

A dead letter goes to the store with its original bytes, and through the outbox to a topic with reason and
position, both in the transaction that moves the offset past it. It never stops the stream.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any

from monitor.store.outbox import Message

REASONS: dict[str, str] = {
    "tombstone": "The record has no value.",
    "oversize": "The value is larger than `kafka.max_record`.",
    "invalid_utf8": "The value is not UTF-8.",
    "malformed_json": "The value is not JSON (NaN and Infinity are not JSON), or is nested too deeply.",
    "invalid_field": "A field is missing, of the wrong type or out of range; the detail names it.",
    "implausible_time": "The event time is not between the years 2000 and 2200.",
    "future_time": "The event time is ahead of the record's Kafka timestamp by more than `kafka.future_tolerance`.",
    "too_late": "The event is behind its partition's watermark by more than `kafka.allowed_lateness`.",
}
"""Every reason, and what it means. Each is also a counter, ``dead_letter_<reason>``."""

SINK = "kafka:dead-letters"
_MAX_DETAIL = 500


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One record that is not an event. ``timestamp_ms`` is the Kafka record's, -1 where it has none."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    reason: str
    detail: str
    event_id: str = ""
    user_key: str = ""

    def row(self) -> dict[str, Any]:
        """The row of the table ``dead_letters``."""
        return {
            "topic": self.topic,
            "partition": self.partition,
            "offset": self.offset,
            "reason": self.reason,
            "detail": self.told,
            "time_us": self.timestamp_ms * 1000,
            "event_id": self.event_id,
            "user_key": self.user_key,
            "key": self.key,
            "original": self.value,
        }

    def message(self, now_us: int, *, with_bytes: bool) -> Message:
        """What is told to the dead-letter topic; the original bytes (base64) only where configured."""
        payload: dict[str, Any] = {
            "v": 1,
            "topic": self.topic,
            "partition": self.partition,
            "offset": self.offset,
            "reason": self.reason,
            "detail": self.told,
        }
        if with_bytes:
            payload["original"] = None if self.value is None else base64.b64encode(self.value).decode()
        return Message(SINK, f"{self.topic}/{self.partition}/{self.offset}", "dead_letter", payload, now_us, now_us)

    @property
    def told(self) -> str:
        """The detail as it is kept."""
        return self.detail.replace("\x00", "\ufffd")[:_MAX_DETAIL]
