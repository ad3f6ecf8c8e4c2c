"""The dispatcher: carries what is due in the outbox to its sinks, each sink on a thread of its own.

At least once, whatever happens: a row is marked only after its sink answered, a claim ends with its lease, and an
attempt that did not get through is tried again with exponential back-off and jitter for as long as it takes. A
sink that is down, slow or refusing holds up nobody but itself, and at most one batch of it is in memory.
Any number of dispatchers may run on one store.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Final, Protocol

import structlog
from sqlalchemy import Connection

from alerts.sinks import Delivery, Outcome, Refused, Retry, Sent, Sink
from monitor.store import outbox
from monitor.store.outbox import OutboxRow

FIRST_DELAY_US: Final = 1_000_000
LONGEST_DELAY_US: Final = 300_000_000  # after 9 failures a target is tried every 2.5 to 5 minutes
KEEP_US: Final = 90 * 86_400_000_000  # delivered rows are kept for `driftline alerts show`
_PRUNE_EVERY_US: Final = 3_600_000_000
_SET_BACK_US: Final = 30_000_000  # a clock that is behind by more was set back
_LONGEST_WAIT_S: Final = 30.0  # between attempts to reach a store that is away or full

log = structlog.get_logger("alerts")


class Transactions(Protocol):
    """The store's facade, as far as it is needed here."""

    def read(self) -> AbstractContextManager[Connection]: ...
    def write(self) -> AbstractContextManager[Connection]: ...


class Dispatcher:
    """``clock`` gives wall-clock µs; ``generator`` spreads retries. ``counts`` is (sink, outcome) -> deliveries."""

    def __init__(
        self,
        store: Transactions,
        sinks: Mapping[str, Sink],
        clock: Callable[[], int],
        generator: random.Random,
        *,
        poll_s: float = 1.0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._sinks = dict(sinks)
        self._clock = clock
        self._monotonic = monotonic
        self._seen = clock(), monotonic()
        self._generator = generator
        self._poll_s = poll_s
        self._quiet_until_us: dict[str, int] = {}
        self._failures: Counter[str] = Counter()  # consecutive batches of which nothing got through
        self._lock = threading.Lock()
        self._pruned_us = clock()
        self.counts: Counter[tuple[str, str]] = Counter()

    @property
    def sinks(self) -> Mapping[str, Sink]:
        return dict(self._sinks)

    def replace_sinks(self, sinks: Mapping[str, Sink]) -> None:
        """Use other sinks from now on (a reloaded configuration); a running `run` takes them up within a second."""
        with self._lock:
            self._sinks = dict(sinks)

    def run(self, stop: threading.Event) -> None:
        """Work until ``stop`` is set; returns when every sink's thread has ended or its call is left behind."""
        workers: dict[str, _Worker] = {}
        while not stop.is_set():
            with self._lock:
                wanted = dict(self._sinks)
            for name, worker in list(workers.items()):
                if wanted.get(name) is not worker.sink:
                    workers.pop(name).end()
            for name, sink in wanted.items():
                if name not in workers:
                    workers[name] = _Worker(self, name, sink, self._poll_s)
            self.follow_clock()
            self._prune()
            stop.wait(1.0)
        for worker in workers.values():
            worker.stop.set()
        for worker in workers.values():
            worker.end()

    def step(self) -> int:
        """One pass over every sink in this thread; returns how many deliveries were attempted."""
        return sum(self.step_sink(name, sink) for name, sink in self.sinks.items())

    def step_sink(self, name: str, sink: Sink) -> int:
        """Claim one batch of a sink, send it, and record how it went; returns its size."""
        now_us = self._clock()
        if now_us < self._quiet_until_us.get(name, 0):
            return 0
        with self._store.read() as conn:
            if not outbox.has_due(conn, sink=name, now_us=now_us):
                return 0
        with self._store.write() as conn:
            rows = outbox.claim_due(
                conn, sink=name, now_us=now_us, lease_us=lambda count: 2 * sink.longest_us(count), limit=sink.batch
            )
        if not rows:
            return 0
        outcomes = self._send(name, sink, rows, now_us)
        self._record(name, rows, outcomes)
        return len(rows)

    def follow_clock(self) -> None:
        """Where the clock was set back, bring forward what is due by as much: otherwise nothing would be tried again,
        and no open anomaly repeated to Alertmanager, until the clock is there once more."""
        (clock_us, at), now = self._seen, (self._clock(), self._monotonic())
        back_us = clock_us + round((now[1] - at) * 1e6) - now[0]
        if back_us > _SET_BACK_US:
            try:
                with self._store.write() as conn:
                    moved = outbox.bring_forward(conn, now_us=now[0], by_us=back_us)
            except Exception as error:  # the store is away: the next second tries again
                log.warning("outbox not reached", error=str(error))
                return
            self._quiet_until_us.clear()
            self._pruned_us = now[0]
            log.warning("the clock was set back; what is due was brought forward", seconds=back_us // 10**6, rows=moved)
        self._seen = now

    def _send(self, name: str, sink: Sink, rows: list[OutboxRow], now_us: int) -> list[Outcome]:
        deliveries = [_delivery(row) for row in rows]
        try:
            outcomes = sink.send(deliveries, now_us)
        except Exception as error:  # a defect of one sink must not end deliveries, nor lose these
            log.exception("sink failed", sink=name)
            return [Retry(f"{type(error).__name__}: {error}", row.remote) for row in rows]
        if len(outcomes) != len(rows):
            return [Retry(f"{len(rows)} deliveries, {len(outcomes)} outcomes", row.remote) for row in rows]
        return outcomes

    def _record(self, name: str, rows: list[OutboxRow], outcomes: list[Outcome]) -> None:
        now_us = self._clock()
        sent = [(r, o.remote, o.again_us) for r, o in zip(rows, outcomes, strict=True) if isinstance(o, Sent)]
        with self._store.write() as conn:
            outbox.mark_sent(conn, sent)
            for row, outcome in zip(rows, outcomes, strict=True):
                if isinstance(outcome, Retry):
                    due_us = now_us + self._delay(row.attempts, outcome)
                    outbox.mark_retry(conn, row, due_us=due_us, error=outcome.error, remote=outcome.remote)
                elif isinstance(outcome, Refused):
                    outbox.mark_failed(conn, row, error=outcome.error, remote=outcome.remote)
        self._count(name, rows, outcomes)
        self._rest(name, outcomes, now_us)

    def _delay(self, failures: int, retry: Retry) -> int:
        """Exponential with jitter (half to full), or what the target asked for, within the sink's own bound."""
        longest = min(LONGEST_DELAY_US, FIRST_DELAY_US << min(failures, 20))
        delay = round(longest * self._generator.uniform(0.5, 1.0))
        if retry.after_us is not None:
            delay = max(retry.after_us, round(FIRST_DELAY_US * self._generator.uniform(0.5, 1.0)))
        elif retry.at_most_us is not None:
            delay = min(delay, retry.at_most_us)
        return delay

    def _rest(self, name: str, outcomes: list[Outcome], now_us: int) -> None:
        """Leave a sink alone when a whole batch did not get through: with a thousand rows waiting, one batch
        probes a target that is down, not all of them."""
        retries = [outcome for outcome in outcomes if isinstance(outcome, Retry) and not outcome.partly]
        if len(retries) < len(outcomes):
            self._failures[name] = 0
            self._quiet_until_us[name] = 0
            return
        delay_us = min(self._delay(self._failures[name], retry) for retry in retries)
        self._quiet_until_us[name] = now_us + delay_us
        self._failures[name] += 1

    def _count(self, name: str, rows: list[OutboxRow], outcomes: list[Outcome]) -> None:
        for row, outcome in zip(rows, outcomes, strict=True):
            self.counts[name, type(outcome).__name__.lower()] += 1
            if isinstance(outcome, Refused):
                log.error("delivery refused", sink=name, key=row.key, error=outcome.error)
            elif isinstance(outcome, Retry):
                log.warning("delivery put off", sink=name, key=row.key, attempts=row.attempts + 1, error=outcome.error)

    def _prune(self) -> None:
        now_us = self._clock()
        if now_us - self._pruned_us < _PRUNE_EVERY_US:
            return
        self._pruned_us = now_us
        try:
            with self._store.write() as conn:
                outbox.prune(conn, before_us=now_us - KEEP_US)
        except Exception as error:  # the next hour tries again
            log.warning("outbox not pruned", error=str(error))


class _Worker:
    """One sink's thread."""

    def __init__(self, dispatcher: Dispatcher, name: str, sink: Sink, poll_s: float) -> None:
        self.sink = sink
        self.stop = threading.Event()
        self._name = name
        self._dispatcher = dispatcher
        self._poll_s = poll_s
        self._thread = threading.Thread(target=self._run, name=f"alerts-{name}", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        wait_s = self._poll_s
        while not self.stop.is_set():
            try:
                busy = self._dispatcher.step_sink(self._name, self.sink) > 0
            except Exception as error:  # the store is away: the claims of this batch end with their lease
                log.warning("outbox not reached", sink=self._name, error=str(error), retry_seconds=wait_s)
                self.stop.wait(wait_s)
                wait_s = min(_LONGEST_WAIT_S, 2 * wait_s)
                continue
            wait_s = self._poll_s
            if not busy:
                self.stop.wait(self._poll_s)

    def end(self) -> None:
        """Stop; a call under way is waited for briefly, then left to its lease (the thread is a daemon)."""
        self.stop.set()
        self._thread.join(timeout=5)
        self.sink.close()


def _delivery(row: OutboxRow) -> Delivery:
    return Delivery(
        key=row.key,
        kind=row.kind,
        payload=row.payload,
        revision=row.revision,
        attempts=row.attempts,
        created_us=row.created_us,
        remote=row.remote,
    )
