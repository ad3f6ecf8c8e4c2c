"""Anomalies and reports as signed JSON to any HTTP endpoint.

Headers of each request:

``X-Driftline-Delivery``  the same for every attempt of one delivery, so that a receiver can drop repeats
``X-Driftline-Timestamp`` seconds since the epoch at which this attempt was signed
``X-Driftline-Signature`` ``sha256=`` and the hex HMAC-SHA256, under the shared secret, of the timestamp, a full
                          stop, and the body exactly as received

A receiver calls `verify`, or does the same in its own language: recompute, compare in constant time, refuse a
timestamp more than five minutes off (so that a recorded request cannot be played back).
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Sequence
from dataclasses import dataclass

from alerts.rendering import Links, Promises, labels, summary, told
from alerts.sinks import Delivery, Outcome, Retry, Sent
from alerts.sinks.http import Poster, Unreachable, in_turn, judge

TOLERANCE_S = 300


@dataclass(frozen=True, slots=True)
class WebhookTarget:
    """Where to POST. Without a secret requests are not signed."""

    url: str
    secret: str | None = None
    timeout_s: float = 10.0
    links: Links = Links()  # noqa: RUF009 - frozen, so one instance for all is safe
    promises: Promises = Promises()  # noqa: RUF009


class WebhookSink:
    """POSTs one delivery at a time; a target that is away or asks for a pause puts off the rest of the batch."""

    batch = 10

    def __init__(self, target: WebhookTarget) -> None:
        self._target = target
        self._poster = Poster(target.timeout_s)

    def longest_us(self, deliveries: int) -> int:
        return round(self._target.timeout_s * deliveries * 1e6)

    def send(self, deliveries: Sequence[Delivery], now_us: int) -> list[Outcome]:
        return in_turn(deliveries, lambda delivery: self._send(delivery, now_us))

    def close(self) -> None:
        self._poster.close()

    def _send(self, delivery: Delivery, now_us: int) -> Outcome:
        body = encode(delivery, self._target.links, self._target.promises)
        headers = {"X-Driftline-Delivery": f"{delivery.key}:{delivery.revision}"}
        if self._target.secret:
            timestamp = str(now_us // 1_000_000)
            headers["X-Driftline-Timestamp"] = timestamp
            headers["X-Driftline-Signature"] = sign(self._target.secret, timestamp, body)
        try:
            answer = self._poster.post(self._target.url, body, headers)
        except Unreachable as error:
            return Retry(str(error), delivery.remote)
        return judge(answer, delivery.remote, now_us) or Sent(delivery.remote)


def encode(delivery: Delivery, links: Links, promises: Promises) -> bytes:
    """The body: schema, delivery, kind, summary, what other sinks tell people, labels, links, the document whole; of a
    report its document and its Markdown."""
    if delivery.kind == "report":
        pages = delivery.payload["pages"]
        report = {
            "schema": "driftline.webhook/1",
            "delivery": f"{delivery.key}:{delivery.revision}",
            "kind": "test" if delivery.payload.get("test") else delivery.kind,
            "summary": delivery.payload["title"],
            "markdown": pages["md"],
            "report": json.loads(pages["json"]),
        }
        return json.dumps(report, sort_keys=True, ensure_ascii=False, allow_nan=False).encode()
    document = {
        "schema": "driftline.webhook/1",
        "delivery": f"{delivery.key}:{delivery.revision}",
        "kind": delivery.kind,
        "summary": summary(delivery.payload),
        "told": [{"name": name, "text": text} for name, text in told(delivery.payload, promises)],
        "labels": labels(delivery.payload),
        "links": links.of(delivery.payload),
        "anomaly": delivery.payload,
    }
    return json.dumps(document, sort_keys=True, ensure_ascii=False, allow_nan=False).encode()


def sign(secret: str, timestamp: str, body: bytes) -> str:
    """``sha256=`` and the hex HMAC-SHA256 of ``timestamp + "." + body`` under ``secret``."""
    digest = hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256)
    return f"sha256={digest.hexdigest()}"


def verify(secret: str, timestamp: str, body: bytes, signature: str, *, now_s: float) -> bool:
    """Whether a request was signed with ``secret`` within the last five minutes (``now_s``: epoch seconds)."""
    if not timestamp.isdigit() or abs(now_s - int(timestamp)) > TOLERANCE_S:
        return False
    return hmac.compare_digest(sign(secret, timestamp, body).encode(), signature.encode())
