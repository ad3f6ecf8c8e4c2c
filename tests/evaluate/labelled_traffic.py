"""Samples that were drawn for review and answered, written as ingest, the evaluator and the queue write them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import update

from monitor.store import review
from monitor.store.engine import Store
from monitor.store.review import NewItem, item_id
from monitor.store.tables import labels, review_items, samples
from tests.evaluate.traffic import CONFIDENCE, DAY_US, MINUTE_US

Float = NDArray[np.float64]


def odds_times(chance: Float, factor: float) -> Float:
    """Chances whose odds are ``factor`` times as high."""
    return factor * chance / (1.0 - chance + factor * chance)


def write_labels(
    store: Store,
    segment: str,
    from_us: int,
    days: int,
    *,
    per_day: int = 20,
    odds: float = 1.0,
    seed: int = 0,
    answered: bool = True,
    verdicts: Sequence[str] | None = None,
    overlap: float = 0.0,
) -> list[str]:
    """``per_day`` items a day of answers that are wrong with ``odds`` times the odds that their confidence says; half
    of them drawn with a quarter of the probability. Returns item ids by time.

    ``verdicts`` are given instead by turns; ``overlap``: the share of items with a second label, by an own draw.
    """
    rng = np.random.default_rng([seed, from_us // DAY_US, int.from_bytes(segment.encode()[-6:], "big")])
    n = days * per_day
    times = np.sort(rng.integers(from_us, from_us + days * DAY_US, n)) // MINUTE_US * MINUTE_US
    confidence = rng.beta(*CONFIDENCE, n)
    wrong = rng.random(n) < odds_times(1.0 - confidence, odds)
    second = np.where(rng.random(n) < overlap, rng.random(n) < odds_times(1.0 - confidence, odds), wrong)
    twice = rng.random(n) < overlap
    rows, items, said = [], [], []
    for k in range(n):
        identity = hashlib.blake2b(f"{segment}/{times[k]}/{k}/{seed}".encode(), digest_size=16).hexdigest()
        facts = {"v": 1, "outcome": "ok", "verdicts": {}, "confidence": round(1e6 * confidence[k])}
        rows.append(
            {
                "sample_id": identity, "event_id": identity, "topic": "t", "partition": 0, "offset": 0,
                "time_us": int(times[k]), "window_us": int(times[k]), "route": "extract", "segment": segment,
                "version": "m@1", "session_key": identity, "user_key": "", "pi": 0.5, "state": "missing",
                "reason": "gone", "facts": json.dumps(facts), "encoder": "", "phash": None,
            }
        )  # fmt: skip
        items.append(
            NewItem(
                sample_id=identity, event_id=identity, segment=segment, route="extract",
                day_us=int(times[k]) // DAY_US * DAY_US, time_us=int(times[k]), pi_sample=0.5,
                pi_review=0.4 if k % 2 else 0.1, race=0.5, score=0.1, wanted=2 if twice[k] else 1,
            )
        )  # fmt: skip
        given = ["wrong" if wrong[k] else "correct"] + (["wrong" if second[k] else "correct"] if twice[k] else [])
        for reviewer, verdict in zip(("ann", "bob"), given, strict=False):
            text = review.Label(verdicts[k % len(verdicts)] if verdicts else verdict).encode()
            said.append(
                {
                    "item_id": item_id(identity), "event_id": identity, "reviewer": reviewer, "kind": "label",
                    "label": text, "time_us": int(times[k]), "undone": False, "origin": "page", "gold": False,
                }
            )  # fmt: skip
    ids = [item_id(item.sample_id) for item in items]
    with store.write() as connection:
        connection.execute(samples.insert(), rows)
        review.add(connection, items, [], now_us=from_us, expires_us=from_us + 90 * DAY_US)
        if answered:
            connection.execute(labels.insert(), said)
            for start in range(0, n, 500):
                chunk = review_items.c.item_id.in_(ids[start : start + 500])
                done = {"state": "done", "labelled": review_items.c.wanted}
                connection.execute(update(review_items).where(chunk).values(done))
    return ids
