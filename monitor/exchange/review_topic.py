"""The review topic: every item that is drawn, so that other tools can pick it up. Through the outbox, keyed by item."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from monitor.exchange.queued import confidences, contents
from monitor.store.engine import Store
from monitor.store.outbox import Message
from monitor.store.review import NewItem, item_id
from monitor.times import iso

SINK: Final = "kafka:review"
VERSION: Final = 1
MOST_BYTES: Final = 700_000  # of a message; brokers take 1 MB by default


def messages(store: Store, items: Sequence[NewItem], now_us: int, *, predictions: bool) -> dict[str, Message]:
    """What is told of items, by item id. ``predictions``: with what is predicted of them. Raises StoreUnavailable."""
    ids = [item.sample_id for item in items]
    with store.read() as connection:
        kept = contents(connection, ids)
        sure = confidences(connection, ids) if predictions else {}
    found = {}
    for item in items:
        name = item_id(item.sample_id)
        payload: dict[str, Any] = {
            "v": VERSION,
            "item_id": name,
            "event_id": item.event_id,
            "segment": item.segment,
            "route": item.route,
            "time": iso(item.time_us),
            "pool": item.pool,
            "language": item.language,
            "wanted": item.wanted,
            "pi_sample": item.pi_sample,
            "pi_review": item.pi_review,
            "race": item.race,
        }
        if predictions:
            payload |= {"score": item.score, "reasons": list(item.reasons), "confidence": sure.get(item.sample_id)}
        if (content := kept.get(item.sample_id)) is not None:
            parts = {"input": content.inputs, "output": content.output, "citations": content.citations}
            size = len(msgspec.json.encode(parts))
            payload |= parts if size <= MOST_BYTES else {"content_omitted": f"too large: {size} bytes"}
        found[name] = Message(SINK, name, "review_item", payload, now_us, now_us)
    return found
