"""Which workers make up which role, how each is built, and how all of them are run to the end (`--drain`)."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import structlog

from monitor.config.model import Config
from monitor.store.engine import Store, StoreUnavailable
from monitor.supervise import Part, Worker

if TYPE_CHECKING:
    from monitor.embed.worker import EmbedWorker

UPKEEP_SECONDS = 30.0
SEND_TRIES = 3  # a drain gives an unreachable sink this many chances; what is left stays in the outbox

log = structlog.stdlib.get_logger("driftline.service")


class Upkeep:
    """Roll-ups and retention, every half minute. Safe in several processes."""

    def __init__(self, store: Store, config: Callable[[], Config]) -> None:
        self._store = store
        self._config = config

    def run(self, stop: threading.Event) -> None:
        while not stop.is_set():
            try:
                self.step()
            except StoreUnavailable as error:
                log.warning("upkeep waits for the store", error=str(error))
            stop.wait(UPKEEP_SECONDS)

    def step(self) -> None:
        from monitor.store import retention, rollups

        rollups.run(self._store)
        retention.run(self._store, self._config().retention)


def ingest_worker(store: Store, config: Config) -> Worker:
    from monitor.ingest.worker import IngestWorker

    return IngestWorker(store, config)


def embed_worker(store: Store, config: Config) -> EmbedWorker:
    from monitor.embed.worker import EmbedWorker

    return EmbedWorker(store, config)


def parts_of(roles: Iterable[str], store: Store, config: Callable[[], Config]) -> list[Part]:
    """The parts of these roles; ``serve`` has none here, since it needs a listener."""
    parts: list[Part] = []
    for role in roles:
        if role == "ingest":
            parts.append(Part("ingest", lambda: ingest_worker(store, config())))
        elif role == "embed":
            parts.append(Part("embed", lambda: embed_worker(store, config())))
        elif role == "evaluate":
            from alerts.dispatch import Dispatcher
            from monitor.evaluate.worker import EvaluateWorker

            parts += [
                Part("evaluate", lambda: EvaluateWorker(store, config())),
                Part("dispatch", lambda: Dispatcher(store, sinks_of(config()))),
                Part("upkeep", lambda: Upkeep(store, config)),
            ]
    return parts
