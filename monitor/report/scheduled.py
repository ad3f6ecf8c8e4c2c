"""The schedule at work: the leader issues each week's report once, late where nobody was there in time.

What is done is kept in the store: the moment that was last due, set in the transaction that archives the report and
puts it into the outbox. Whoever comes second finds it set and writes nothing. Of several weeks that were missed the
last one is issued. When the schedule is first seen nothing is due yet: it begins then.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable

import structlog
from sqlalchemy import Connection, select, update

from monitor.config.model import Config
from monitor.evaluate.changes import PeriodError
from monitor.report import issuing, schedule, sending
from monitor.store import evaluation
from monitor.store.engine import Store, StoreUnavailable
from monitor.store.tables import upkeep
from monitor.times import iso

NAME = "report-schedule"
FORMAT = 1
POLL_SECONDS = 30.0
LONGEST_SECONDS = 480.0  # between attempts while the store takes none: a report that is read in vain is much work
PATIENCE_US = 6 * 3_600_000_000  # how long the end of the week is waited for, wall clock; then it is told as it is

log = structlog.stdlib.get_logger("driftline.report")


class ReportSchedule:
    """``leading`` says whether this process leads the evaluation: it alone issues; ``clock`` gives wall-clock
    seconds."""

    def __init__(
        self,
        store: Store,
        config: Callable[[], Config],
        leading: Callable[[], bool],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._config = config
        self._leading = leading
        self._clock = clock
        self._waits: tuple[int, int] | None = None  # what is due, and since when this process has waited for its end

    def run(self, stop: threading.Event) -> None:
        wait = POLL_SECONDS
        while not stop.is_set():
            try:
                self.step()
            except StoreUnavailable as error:
                log.warning("the report waits for the store", error=str(error), retry_seconds=wait)
                stop.wait(wait)
                wait = min(LONGEST_SECONDS, 2 * wait)
                continue
            wait = POLL_SECONDS
            stop.wait(POLL_SECONDS)

    def reload(self, config: Config) -> None:
        """Nothing to do: every step asks for the configuration."""

    def step(self) -> bool:
        """Issue what is due, if anything is and this process leads; whether it did."""
        config = self._config()
        wanted = config.report.schedule
        if wanted is None or not self._leading():
            return False
        now_us = int(self._clock() * 1e6)
        due_us = schedule.last_due(wanted, now_us, config.timezone)
        done_us = self._begun(now_us)
        if done_us >= due_us:
            return False
        begin, end = schedule.reported_at(due_us, config.timezone)
        if not self._complete(end, due_us, now_us):
            return False
        try:
            issued, new = issuing.issue(
                self._store, config, begin, end, "", now_us, send=True,
                claim=lambda connection: _move(connection, done_us, due_us),
            )  # fmt: skip
        except issuing.NotDue:
            log.info("another process issued the report")
            return False
        except PeriodError as error:  # nothing of that week is there: no report will ever be
            with self._store.write() as connection:
                _move(connection, done_us, due_us)
            log.warning("no report of the week", since=iso(begin), until=iso(end), reason=str(error))
            return False
        log.info(
            "report issued", since=iso(begin), until=iso(end), revision=issued.revision, archived=new,
            late_seconds=(now_us - due_us) // 1_000_000, sinks=sending.addressees(config),
        )  # fmt: skip
        return True

    def _complete(self, end_us: int, due_us: int, now_us: int) -> bool:
        """Whether the week is evaluated to its end, or was waited for long enough."""
        done = evaluation.standing(self._store).done_until_us
        if done is not None and done >= end_us:
            return True
        if self._waits is None or self._waits[0] != due_us:
            self._waits = (due_us, now_us)
            log.info("the report waits until its week is evaluated", until=iso(end_us))
        return now_us - self._waits[1] >= PATIENCE_US

    def _begun(self, now_us: int) -> int:
        """What was last due and is done; for a schedule that is seen for the first time now."""
        with self._store.read() as connection:
            done = done_until(connection)
        if done is not None:
            return done
        with self._store.write() as connection:
            self._store.insert_ignore(connection, upkeep, [{"name": NAME, "document": _document(now_us)}])
            done = done_until(connection)
        return now_us if done is None else done


def done_until(connection: Connection) -> int | None:
    """The moment (wall clock, µs) up to which every report that was due is issued; None before a schedule was seen."""
    found = connection.execute(select(upkeep.c.document).where(upkeep.c.name == NAME)).scalar()
    if found is None:
        return None
    state = json.loads(found)
    if state["format"] != FORMAT:
        raise ValueError(
            f"the state of the report's schedule has format {state['format']}; this driftline reads {FORMAT}"
        )
    return int(state["done_us"])


def _document(done_us: int) -> str:
    return json.dumps({"format": FORMAT, "done_us": done_us}, sort_keys=True)


def _move(connection: Connection, done_us: int, due_us: int) -> bool:
    """Note that ``due_us`` is done; False where another process noted it first."""
    moved = connection.execute(
        update(upkeep)
        .where(upkeep.c.name == NAME, upkeep.c.document == _document(done_us))
        .values(document=_document(due_us))
    )
    return moved.rowcount > 0
