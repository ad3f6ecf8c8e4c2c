"""The evaluator: one leader that steps every detector, tick after tick of event time.

A batch of ticks is computed in memory and written in one transaction with the time it reaches, so that a kill at any
moment leaves either all of it or nothing. What a tick gives depends on stored rows and states alone, never on how
many ticks were taken together, nor on the wall clock (which decides who leads and what counts as historic).
"""

from __future__ import annotations

import os
import secrets
import socket
import threading
import time
from collections.abc import Callable

import structlog

from monitor.config.model import Config
from monitor.evaluate.session import Session
from monitor.store import evaluation
from monitor.store.engine import Store, StoreUnavailable
from monitor.store.evaluation import Lead, NotLeader

log = structlog.stdlib.get_logger("driftline.evaluate")

HOUR_US = 3_600_000_000
BATCH_US = 12 * HOUR_US  # event time evaluated in one transaction while catching up


class EvaluateWorker:
    """Leads the evaluation of a store, or waits until it may.

    ``clock`` gives wall-clock seconds; ``batch_us`` is the most event time in one transaction.
    """

    def __init__(
        self,
        store: Store,
        config: Config,
        *,
        clock: Callable[[], float] = time.time,
        holder: str | None = None,
        batch_us: int = BATCH_US,
    ) -> None:
        self._store = store
        self._config = config
        self._clock = clock
        self._holder = holder or f"{socket.gethostname()}/{os.getpid()}/{secrets.token_hex(4)}"
        self._batch_us = batch_us
        self._lead: Lead | None = None
        self._lease_until_us = 0
        self._session: Session | None = None
        self._lock = threading.Lock()
        self.last_seconds = 0.0  # how long the last batch took
        self.tick_seconds = 0.0  # time spent on batches since the start
        self.ticks = 0  # ticks evaluated since the start
        self.unexplained = 0  # explanations that failed since the start

    @property
    def leading(self) -> bool:
        """Whether this worker holds the lead."""
        return self._lead is not None

    @property
    def done_until_us(self) -> int | None:
        """Event time up to which this leader has evaluated; None before the first tick or without the lead."""
        return None if self._lead is None else self._lead.done_until_us

    def reload(self, config: Config) -> None:
        """Take over a new configuration between two batches."""
        with self._lock:
            self._config = config
            self._session = None  # read again from the store, with the new stakes and budgets

    def run(self, stop: threading.Event, poll_seconds: float = 0.5) -> None:
        """Evaluate until ``stop`` is set; then let another process lead at once."""
        delay = poll_seconds
        while not stop.is_set():
            try:
                worked = self.step()
                delay = poll_seconds
            except StoreUnavailable as error:
                self._lose()
                worked = False
                delay = min(30.0, 2 * delay)
                log.warning("the store does not answer, ticks wait", error=str(error), retry_seconds=delay)
            if not worked:
                stop.wait(delay)
        self.close()

    def close(self) -> None:
        """Give up the lead."""
        lead, self._lead = self._lead, None
        self._session = None
        if lead is not None:
            try:
                evaluation.give_up(self._store, lead)
            except StoreUnavailable as error:
                log.warning("the lease was not given back and runs out by itself", error=str(error))

    def drain(self) -> int:
        """Evaluate everything that is closed; returns the number of ticks done."""
        before = self.ticks
        while self.step():
            pass
        return self.ticks - before

    def step(self) -> bool:
        """Evaluate one batch of closed ticks. False when there is none, or another process leads."""
        with self._lock:
            try:
                return self._step()
            except NotLeader as error:
                log.info("no longer leading the evaluation", reason=str(error))
                self._lose()
                return False

    def _step(self) -> bool:
        now_us = self._now()
        lease_us = self._config.evaluation.lease
        if self._lead is None:
            self._lead = evaluation.take_lead(self._store, self._holder, now_us, lease_us)
            if self._lead is None:
                return False
            self._lease_until_us = now_us + lease_us
            self._session = None
            log.info("leading the evaluation", generation=self._lead.generation, done_until_us=self._lead.done_until_us)
        span = self._span(self._lead)
        if span is None:
            set_back = now_us < self._lease_until_us - lease_us  # the lease would outlast this process by as much
            if set_back or now_us > self._lease_until_us - lease_us // 2:
                evaluation.renew(self._store, self._lead, now_us, lease_us)
                self._lease_until_us = now_us + lease_us
            return False
        began = time.monotonic()
        if self._session is None:
            self._session = Session(self._store, self._config, self._lead)
        session, self._session = self._session, None  # a failure leaves nothing half-stepped behind
        results, also = session.evaluate(*span, now_us)
        now_us = self._now()
        self._lead = evaluation.write(self._store, self._lead, results, now_us, lease_us, also)
        self._lease_until_us = now_us + lease_us
        self._session = session
        self.unexplained, session.unexplained = self.unexplained + session.unexplained, 0
        self.ticks += (span[1] - span[0]) // self._config.evaluation.every
        self.last_seconds = time.monotonic() - began
        self.tick_seconds += self.last_seconds
        return True

    def _span(self, lead: Lead) -> tuple[int, int] | None:
        """The closed ticks to do next, [from, to) in event time; None when there is none."""
        closed = evaluation.closed(self._store)
        if closed.until_us is None or closed.first_us is None:
            return None
        every = self._config.evaluation.every
        start = lead.done_until_us
        if start is None:
            start = closed.first_us // every * every
        start = -(-start // every) * every  # a changed tick length begins at its next multiple
        end = closed.until_us // every * every
        if closed.pending_us is not None:
            # An hour is finished when none of its samples waits to be embedded.
            hour_end = closed.pending_us // HOUR_US * HOUR_US + HOUR_US
            end = min(end, (hour_end - 1) // every * every)
        end = min(end, start + max(every, self._batch_us // every * every))
        return (start, end) if end > start else None

    def _lose(self) -> None:
        self._lead = None
        self._session = None

    def _now(self) -> int:
        return int(self._clock() * 1e6)
