"""Labels from elsewhere into the queue."""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Final

from sqlalchemy import Connection

from monitor.config.model import Config
from monitor.events.redaction import redactor
from monitor.exchange.given import Given, Unusable
from monitor.store import review
from monitor.store.engine import Store, StoreUnavailable
from monitor.store.review import Declined

BATCH: Final = 200  # labels of one transaction: on SQLite every other writer waits for it
_TRIES: Final = 6
_MOST_PROBLEMS: Final = 20  # that are kept to be shown; all are counted


class Interrupted(Exception):
    """The store was away in the middle. What is in ``report`` was taken in; the rest was not looked at."""

    def __init__(self, report: Report, cause: Exception) -> None:
        self.report = report
        super().__init__(str(cause))


@dataclass(slots=True)
class Report:
    """What became of the labels of a file. ``outcomes``: those of `review.Imported`, and ``unusable``."""

    outcomes: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)

    @property
    def usable(self) -> int:
        return self.outcomes.total() - self.outcomes["unusable"]

    def refuse(self, error: Unusable) -> None:
        self.outcomes["unusable"] += 1
        if len(self.problems) < _MOST_PROBLEMS:
            self.problems.append(str(error))


def put(connection: Connection, one: Given, now_us: int, config: Config, origin: str) -> str:
    """Take in one label or skip, in the caller's write transaction; what became of it (`review.Imported`).

    Everything from elsewhere comes through here: its texts are redacted (`privacy.redact`) before they are stored.

    It counts as said at its own time, but never later than ``now_us``. Raises Unusable, and nothing is written, for an
    item that there is not; Declined as `review.import_into` does.
    """
    redact = redactor(config.privacy.redact).said
    said_us = now_us if one.time_us is None else min(one.time_us, now_us)
    try:
        if one.label is None:
            done = review.skip_into(
                connection,
                one.event_id,
                one.reviewer,
                redact(one.skip_reason),
                said_us,
                config.review.most_skips,
                item_id=one.item_id,
                origin=origin,
                request_id=one.request_id,
            )
        else:
            done = review.import_into(
                connection,
                one.event_id,
                one.reviewer,
                one.label.redacted(redact),
                said_us,
                item_id=one.item_id,
                origin=origin,
                gold=one.gold,
                request_id=one.request_id,
            )
    except Declined as error:
        if error.why != "unknown":
            raise
        raise Unusable("unknown_item", str(error), one.event_id) from None
    except ValueError as error:
        raise Unusable("invalid_label", str(error), one.event_id) from None
    return done.outcome


def take_in(
    store: Store,
    found: Iterable[Given | Unusable],
    *,
    config: Config,
    now_us: Callable[[], int],
    gold: bool = False,
    pause: Callable[[float], None] = time.sleep,
) -> Report:
    """Take in the labels of a file, in transactions of `BATCH`. The same file again changes nothing.

    ``gold``: all of them are known answers. Raises Interrupted where the store is away for longer than some seconds.
    """
    report = Report()
    for batch in _batches(found):
        for attempt in range(_TRIES):
            try:
                outcomes, refused = _commit(store, batch, config, now_us(), gold)
            except (StoreUnavailable, Declined) as error:
                # Declined: another transaction brought the same reviewer's label; now it is there to be seen.
                if attempt == _TRIES - 1:
                    raise Interrupted(report, error) from error
                pause(0.1 * 2**attempt)
            else:
                break
        report.outcomes += outcomes
        for problem in refused:
            report.refuse(problem)
    return report


def _commit(
    store: Store, batch: list[Given | Unusable], config: Config, now_us: int, gold: bool
) -> tuple[Counter[str], list[Unusable]]:
    outcomes: Counter[str] = Counter()
    refused = []
    with store.write() as connection:
        for one in batch:
            if isinstance(one, Unusable):
                refused.append(one)
                continue
            try:
                if gold and one.label is None:
                    raise Unusable("invalid_label", "a known answer needs a verdict, got a skip")
                said = replace(one, gold=True) if gold else one
                outcomes[put(connection, said, now_us, config, "import")] += 1
            except Unusable as error:
                refused.append(Unusable(error.reason, f"{one.item_id or one.event_id}: {error}"))
    return outcomes, refused


def _batches(found: Iterable[Given | Unusable]) -> Iterator[list[Given | Unusable]]:
    iterator = iter(found)
    while batch := list(itertools.islice(iterator, BATCH)):
        yield batch
