"""What the second draw is made from, and what the score of errors learns from: samples with their facts."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import func, select, true

from monitor.store.engine import Store
from monitor.store.review.items import Label
from monitor.store.tables import labels, review_items, samples

MOST_LABELS = 20_000  # the newest ones are learned from


@dataclass(frozen=True, slots=True)
class Candidate:
    """A sample, or what is kept for review alone. ``pi``: of being kept. ``facts`` is JSON; ``phash`` of its first
    image, None without one."""

    sample_id: str
    event_id: str
    time_us: int
    segment: str
    route: str
    pi: float
    user_key: str
    facts: str
    phash: int | None


@dataclass(frozen=True, slots=True)
class Verdicts:
    """What reviewers said of one item: ``wrong`` of ``decided`` labels that were sure."""

    segment: str
    reasons: str  # JSON
    facts: str  # JSON, of the sample
    wrong: int
    decided: int


def candidates(store: Store, from_us: int, to_us: int) -> list[Candidate]:
    """What is kept with from <= window < to, embedded or not, by window and id. Raises StoreUnavailable."""
    query = (
        select(
            samples.c.sample_id,
            samples.c.event_id,
            samples.c.time_us,
            samples.c.segment,
            samples.c.route,
            func.coalesce(samples.c.pi_kept, samples.c.pi),
            samples.c.user_key,
            samples.c.facts,
            samples.c.phash,
        )
        .where(samples.c.window_us >= from_us, samples.c.window_us < to_us)
        .order_by(samples.c.window_us, samples.c.sample_id)
    )
    with store.read() as connection:
        return [Candidate(*row) for row in connection.execute(query)]


def verdicts(store: Store, from_us: int, to_us: int | None = None) -> list[Verdicts]:
    """Labelled items of events in [from, to) whose samples are still there, the newest ``MOST_LABELS`` labels.

    Labels that answer a gold item are left out: they are about the reviewer. Raises StoreUnavailable.
    """
    query = (
        select(review_items.c.item_id, review_items.c.segment, review_items.c.reasons, samples.c.facts, labels.c.label)
        .join(labels, labels.c.item_id == review_items.c.item_id)
        .join(samples, samples.c.sample_id == review_items.c.sample_id)
        .where(labels.c.kind == "label", ~labels.c.undone, ~labels.c.gold, review_items.c.time_us >= from_us)
        .where(true() if to_us is None else review_items.c.time_us < to_us)
        .order_by(labels.c.id.desc())
        .limit(MOST_LABELS)
    )
    found: dict[str, list[str | int]] = {}
    with store.read() as connection:
        for row in connection.execute(query):
            try:
                verdict = Label.decode(row.label).verdict
            except (ValueError, TypeError):
                continue  # written by a newer version
            entry = found.setdefault(row.item_id, [row.segment, row.reasons, row.facts, 0, 0])
            if verdict != "unsure":
                entry[3] = int(entry[3]) + (verdict == "wrong")
                entry[4] = int(entry[4]) + 1
    return [
        Verdicts(str(segment), str(reasons), str(facts), int(wrong), int(decided))
        for segment, reasons, facts, wrong, decided in (found[item] for item in sorted(found))
        if decided
    ]
