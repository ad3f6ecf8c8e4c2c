"""JSON lines: each line an item, a label or a skip, with its format's version."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from monitor.exchange import given
from monitor.exchange.given import Given, Unusable
from monitor.exchange.queued import QueuedItem
from monitor.exchange.splitting import lines
from monitor.times import iso


def write(items: Iterable[QueuedItem], *, predictions: bool) -> Iterator[bytes]:
    """A line for each item, followed by those of its answers. ``predictions``: with what was predicted of it."""
    for item in items:
        yield msgspec.json.encode(item_document(item, predictions=predictions)) + b"\n"
        for answer in item.answers:
            yield msgspec.json.encode(answer.document()) + b"\n"


def item_document(item: QueuedItem, *, predictions: bool) -> dict[str, Any]:
    """An item as JSON: its facts, both probabilities, and its redacted content."""
    found: dict[str, Any] = {
        "v": given.VERSION,
        "kind": "item",
        "item_id": item.item_id,
        "event_id": item.event_id,
        "segment": item.segment,
        "route": item.route,
        "time": iso(item.time_us),
        "day": iso(item.day_us),
        "pool": item.pool,
        "language": item.language,
        "state": item.state,
        "ended": item.ended,
        "wanted": item.wanted,
        "pi_sample": item.pi_sample,
        "pi_review": item.pi_review,
        "race": item.race,
        "input": item.inputs,
        "output": item.output,
        "citations": item.citations,
    }
    if predictions:
        found |= {"score": item.score, "confidence": item.confidence, "reasons": list(item.reasons)}
    return found


def read(parts: Iterable[bytes], *, default_reviewer: str = "") -> Iterator[Given | Unusable]:
    """The labels and skips of a file, in order; lines of items are passed over, unusable ones say why."""
    for number, line in enumerate(lines(parts), 1):
        if isinstance(line, Unusable):
            yield Unusable(line.reason, f"line {number}: {line}")
        elif line.strip():
            try:
                found = given.read(line, default_reviewer=default_reviewer)
            except Unusable as error:
                yield Unusable(error.reason, f"line {number}: {error}", error.event_id)
            else:
                if found is not None:
                    yield found
