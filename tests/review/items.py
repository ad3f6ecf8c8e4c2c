"""Items for the queue, and what of the queue a test compares."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from sqlalchemy import select

from monitor.store import review
from monitor.store.engine import Store
from monitor.store.tables import labels, review_audit

DAY_US = 86_400_000_000
START = 20_000 * DAY_US
LEASE = 600
EVERYTHING = review.Filters()
WRONG, CORRECT, UNSURE = (review.Label(verdict) for verdict in ("wrong", "correct", "unsure"))


def item(number: int, race: float = 0.5, **facts: Any) -> review.NewItem:
    known: dict[str, Any] = {
        "sample_id": f"s{number}",
        "event_id": f"e{number}",
        "segment": "a",
        "route": "r",
        "day_us": START,
        "time_us": START + number,
        "pi_sample": 0.5,
        "pi_review": 0.1,
        "race": race,
        "score": 0.25,
    }
    return review.NewItem(**{**known, **facts})


def put(store: Store, items: Sequence[review.NewItem], expires_us: int = 10**15) -> int:
    with store.write() as connection:
        return review.add(connection, items, [], now_us=0, expires_us=expires_us)


def take(
    store: Store, reviewer: str, now_us: int = 0, filters: review.Filters = EVERYTHING, count: int = 1
) -> list[str]:
    """The samples of the next items, as ``s1``."""
    return [found.sample_id for found in review.next_items(store, reviewer, filters, now_us, LEASE, count)]


def state(store: Store, sample: str) -> tuple[str, str, str]:
    """(state, how it ended, who has it) of a sample's item."""
    with store.read() as connection:
        found = review.find_item(connection, review.item_id(sample))
    assert found is not None
    return found.state, found.ended, found.leased_by


def standing(store: Store, sample: str) -> list[tuple[str, str]]:
    """(reviewer, verdict) of an item's labels that stand."""
    with store.read() as connection:
        for found in review.labelled(connection, None, 0, 10**18):
            if found.item_id == review.item_id(sample):
                return [(verdict.reviewer, verdict.verdict) for verdict in found.verdicts]
    return []


def check_audit(store: Store) -> Counter[str]:
    """Hold the audit against the answers, row by row; how often each thing was done."""
    with store.read() as connection:
        answers = connection.execute(select(labels).order_by(labels.c.id)).all()
        rows = connection.execute(select(review_audit).order_by(review_audit.c.id)).all()
    for kinds, actions in (({"label"}, {"label", "import"}), ({"skip"}, {"skip"})):
        given = Counter((row.item_id, row.reviewer) for row in answers if row.kind in kinds)
        assert given == Counter((row.item_id, row.who) for row in rows if row.action in actions)
    return Counter(row.action for row in rows)
