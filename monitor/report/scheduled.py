"""The schedule at work: the leader issues each week's report once, late where nobody was there in time.

What is done is kept in the store: the moment that was last due, set in the transaction that archives the report and
puts it into the outbox. Whoever comes second finds it set and writes nothing. Of several weeks that were missed the
last one is issued. When the schedule is first seen nothing is due yet: it begins then.

A clock that is set back finds done what was issued. One that is ahead has nobody told of a week that is not over: its
events are not there yet, so that it is waited for as long as the evaluation moves on, and a week that was not evaluated
to its end is never passed over as one of which nothing is stored.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import structlog
from sqlalchemy import Connection, select, update

from monitor.config.model import Config
from monitor.config.report import Schedule
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
# How long an evaluation that does not move on is waited for, and one that does; then the week is told as it is.
PATIENCE_S = 6 * 3600.0
LONGEST_PATIENCE_S = 48 * 3600.0

log = structlog.stdlib.get_logger("driftline.report")


class ReportSchedule:
    """``leading`` says whether this process leads the evaluation: it alone issues; ``clock`` gives wall-clock
    seconds, ``monotonic`` those that pass whatever the clock is set to."""

    def __init__(
        self,
        store: Store,
        config: Callable[[], Config],
        leading: Callable[[], bool],
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._config = config
        self._leading = leading
        self._clock = clock
        self._monotonic = monotonic
        self._waits: _Wait | None = None
        self._told: int | None = None  # what was due when it was last said that nothing is there

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
        done_us = self._begun(wanted, now_us, config.timezone)
        if done_us >= due_us:
            return False
        begin, end = schedule.reported_at(due_us, config.timezone)
        done = evaluation.standing(self._store).done_until_us
        complete = done is not None and done >= end
        if not complete and not self._waited(end, due_us, done):
            return False
        try:
            issued, new = issuing.issue(
                self._store, config, begin, end, "", now_us, send=True,
                claim=lambda connection: _move(connection, done_us, due_us),
            )  # fmt: skip
        except issuing.NotDue:
            log.info("another process issued the report")
            return False
        except PeriodError as error:
            if complete:  # nothing of that week is there: no report will ever be
                with self._store.write() as connection:
                    _move(connection, done_us, due_us)
            elif self._told == due_us:
                return False
            self._told = due_us
            log.warning("no report of the week", since=iso(begin), until=iso(end), reason=str(error))
            return False
        log.info(
            "report issued", since=iso(begin), until=iso(end), revision=issued.revision, archived=new,
            late_seconds=(now_us - due_us) // 1_000_000, sinks=sending.addressees(config),
        )  # fmt: skip
        return True

    def _waited(self, end_us: int, due_us: int, done_us: int | None) -> bool:
        """Whether a week that is not evaluated to its end was waited for long enough by this process."""
        now = self._monotonic()
        if self._waits is None or self._waits.due_us != due_us:
            self._waits = _Wait(due_us, now, now, done_us)
            log.info("the report waits until its week is evaluated", until=iso(end_us))
        elif self._waits.done_us != done_us:
            self._waits = replace(self._waits, moved=now, done_us=done_us)
        waits = self._waits
        return now - waits.moved >= PATIENCE_S or now - waits.since >= LONGEST_PATIENCE_S

    def _begun(self, wanted: Schedule, now_us: int, zone: str) -> int:
        """What was last due and is done; for a schedule that is seen for the first time now.

        One that began while the clock was ahead begins now: no report was issued at that moment.
        """
        with self._store.read() as connection:
            done = done_until(connection)
        if done is not None and (done <= now_us or schedule.last_due(wanted, done, zone) == done):
            return done
        with self._store.write() as connection:
            if done is None:
                self._store.insert_ignore(connection, upkeep, [{"name": NAME, "document": _document(now_us)}])
            else:
                _move(connection, done, now_us)
                log.warning("the clock was set back; the schedule of reports begins now", began=iso(done))
            done = done_until(connection)
        return now_us if done is None else done


@dataclass(frozen=True, slots=True)
class _Wait:
    """For what is due: since when it is waited, and when the evaluation last moved on, to where. Seconds, monotonic."""

    due_us: int
    since: float
    moved: float
    done_us: int | None


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
