"""Which workers make up which role, and how each is built and reconfigured."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

import structlog

from monitor.config.model import Config
from monitor.config.version import config_version, document
from monitor.store.engine import Store, StoreUnavailable
from monitor.supervise import Part

if TYPE_CHECKING:
    from monitor.embed.reviewed import PixelWorker
    from monitor.embed.worker import EmbedWorker
    from monitor.evaluate.worker import EvaluateWorker
    from monitor.exchange.labels_topic import LabelsWorker
    from monitor.report.scheduled import ReportSchedule

UPKEEP_SECONDS = 30.0

log = structlog.stdlib.get_logger("driftline.service")


class Upkeep:
    """Roll-ups, retention and the expiry of review items, every half minute. Safe in several processes."""

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
        from monitor.store import retention, review, rollups

        config = self._config()
        lateness = config.kafka.allowed_lateness
        rollups.run(self._store, allowed_lateness_us=lateness, timezone=config.timezone)
        retention.run(self._store, config.retention)
        now_us = int(time.time() * 1e6)
        review.expire(self._store, now_us)
        review.drop_labelled(self._store, now_us - max(config.review.keep_pixels, config.review.undo))


class IngestPart:
    """The ingest worker under a configuration whose version and document it stores with the windows."""

    def __init__(self, store: Store, config: Config) -> None:
        from monitor.ingest.worker import IngestWorker

        self.worker = IngestWorker(config, store, version=config_version(config), document=document(config))

    def run(self, stop: threading.Event) -> None:
        self.worker.run(stop)

    def describe(self) -> dict[str, object]:
        """Numbers for /metrics."""
        worker = self.worker
        return {
            "records": worker.records,
            "bytes": worker.bytes,
            "commits": worker.commits,
            "store_failures": worker.store_failures,
            "lag": {f"{tp.topic}/{tp.partition}": behind for tp, behind in worker.lag().items()},
        }

    def reload(self, config: Config) -> None:
        self.worker.reload(config, version=config_version(config), document=document(config))


def _labels(store: Store, config: Config) -> LabelsWorker:
    from monitor.exchange.labels_topic import LabelsWorker

    return LabelsWorker(config, store)


class DispatchPart:
    """The dispatcher of the outbox; a new configuration brings new sinks."""

    def __init__(self, store: Store, config: Config) -> None:
        from monitor.alerting import build_dispatcher

        self.dispatcher = build_dispatcher(config, store)

    @property
    def counts(self) -> Mapping[tuple[str, str], int]:
        """Deliveries by (sink, outcome), for /metrics."""
        return self.dispatcher.counts

    def run(self, stop: threading.Event) -> None:
        self.dispatcher.run(stop)

    def reload(self, config: Config) -> None:
        from monitor.alerting import build_sinks

        self.dispatcher.replace_sinks(build_sinks(config))


def _embed(store: Store, config: Config) -> EmbedWorker:
    from monitor.embed.worker import EmbedWorker

    return EmbedWorker(store, config)


def _pixels(store: Store, config: Config) -> PixelWorker:
    from monitor.embed.reviewed import PixelWorker

    return PixelWorker(store, config)


def evaluate_worker(store: Store, config: Config) -> EvaluateWorker:
    from monitor.evaluate.worker import EvaluateWorker

    return EvaluateWorker(store, config)


def _reports(store: Store, config: Callable[[], Config], leader: Part) -> Part:
    """The schedule of reports, in the process that leads the evaluation."""

    def made() -> ReportSchedule:
        from monitor.report.scheduled import ReportSchedule

        return ReportSchedule(store, config, lambda: bool(getattr(leader.worker, "leading", False)))

    return Part("report", made)


def parts_of(roles: Iterable[str], store: Store, config: Callable[[], Config]) -> list[Part]:
    """The parts of these roles; ``serve`` has none here, since it needs a listener."""
    parts: list[Part] = []
    for role in roles:
        if role == "ingest":
            parts.append(Part("ingest", lambda: IngestPart(store, config())))
            if config().kafka.labels_topic is not None:
                parts.append(Part("labels", lambda: _labels(store, config())))
        elif role == "embed":
            parts += [
                Part("embed", lambda: _embed(store, config())),
                Part("pixels", lambda: _pixels(store, config())),
            ]
        elif role == "evaluate":
            leader = Part("evaluate", lambda: evaluate_worker(store, config()))
            parts += [
                leader,
                Part("dispatch", lambda: DispatchPart(store, config())),
                Part("upkeep", lambda: Upkeep(store, config)),
                _reports(store, config, leader),
            ]
    return parts


def measured_workers(parts: Iterable[Part]) -> dict[str, object]:
    """The live workers by part name, as /metrics reads them."""
    return {part.name: part.worker for part in parts if part.worker is not None}


def lags(parts: Iterable[Part]) -> dict[str, int]:
    """How many records the ingest part of this process is behind, by ``topic/partition``; empty without one."""
    found = [part.worker.worker.lag() for part in parts if isinstance(part.worker, IngestPart)]
    return {f"{topic}/{partition}": behind for of in found for (topic, partition), behind in of.items()}


def records_behind(parts: Iterable[Part]) -> int | None:
    """How many records the ingest part of this process is behind its partitions; None without one."""
    found = [part.worker.worker.lag() for part in parts if isinstance(part.worker, IngestPart)]
    return sum(found[0].values()) if found else None
