"""`driftline run --drain`: work through what the topics hold now, to the end, and return.

Embedding and evaluation run beside ingest, as they do in the service; once the input has ended every window is
closed, the samples still pending are embedded, the last ticks evaluated, what is due in the outbox is sent, and the
images of what the ticks drew for review are kept.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable

import structlog
from kafka.errors import KafkaError
from rich.progress import Progress, TaskID

from monitor.config.model import Config
from monitor.exchange.labels_topic import LabelsWorker
from monitor.ingest.consumer import TopicPartition
from monitor.ingest.worker import IngestWorker
from monitor.progress import bars
from monitor.store import samples
from monitor.store.engine import Store
from monitor.supervise import Supervisor
from monitor.workers import DispatchPart, IngestPart, Upkeep, evaluate_worker, parts_of

CAUGHT_UP_EVERY = 0.5  # seconds between questions to the broker whether there is more
ASSIGNMENT_SECONDS = 60.0
STOP_SECONDS = 30.0
LEASE_PATIENCE = 10.0  # seconds beyond evaluation.lease to wait for the lead
SEND_SECONDS = 20.0  # how long a drain waits for sinks; what they do not take stays in the outbox

PIXEL_SECONDS = 300.0  # how long a drain waits for images of items; those left are fetched by the next run

log = structlog.stdlib.get_logger("driftline.drain")


class DrainFailed(Exception):
    """A part failed while draining; the message names it. What was committed stays, and draining again goes on."""


def drain(roles: Iterable[str], store: Store, config: Config, interrupted: Callable[[], bool]) -> bool:
    """Run ``roles`` to the end of the input, labels last. False where ``interrupted`` became true before that."""
    chosen = set(roles)
    beside = Supervisor(
        [part for part in parts_of(chosen & {"embed", "evaluate"}, store, lambda: config) if part.name != "dispatch"]
    )
    with bars() as progress:
        beside.start()
        try:
            done = "ingest" not in chosen or _ingest(store, config, interrupted, progress)
            if done and "embed" in chosen:
                done = _await_samples(store, beside, interrupted, progress)
        finally:
            late = beside.stop(STOP_SECONDS)
        if late:
            raise DrainFailed(f"{', '.join(late)} did not stop within {STOP_SECONDS:g} s")
        if done and "evaluate" in chosen:
            done = _evaluate(store, config, interrupted, progress)
        if done and "embed" in chosen and config.review.pixels:
            done = _pixels(store, config, interrupted, progress)
        if done and "ingest" in chosen and config.kafka.labels_topic is not None:
            done = _labels(store, config, interrupted, progress)
    return done


def _ingest(store: Store, config: Config, interrupted: Callable[[], bool], progress: Progress) -> bool:
    """Read to the end of the input and close every window. False where interrupted before that."""
    try:
        worker = IngestPart(store, config).worker
        try:
            return _await_assignment(worker, interrupted) and _read_to_the_end(worker, interrupted, progress)
        finally:
            worker.close()
    except KafkaError as error:
        raise DrainFailed(
            f"reading from {config.kafka.bootstrap} failed: {error}; check kafka.bootstrap (`driftline doctor` tries "
            "it)"
        ) from None


def _read_to_the_end(worker: IngestWorker, interrupted: Callable[[], bool], progress: Progress) -> bool:
    task = progress.add_task("records", total=None)
    asked = 0.0
    while not interrupted():
        taken = worker.step()
        progress.advance(task, taken)
        if taken == 0 and time.monotonic() - asked >= CAUGHT_UP_EVERY:
            asked = time.monotonic()
            _expect(worker, progress, task)
            if worker.caught_up():
                worker.drain()
                log.info("input read to its end", records=worker.records)
                return True
    worker.flush()
    return False


def _await_assignment(worker: IngestWorker, interrupted: Callable[[], bool]) -> bool:
    until = time.monotonic() + ASSIGNMENT_SECONDS
    while not worker.owned:
        if interrupted():
            return False
        if time.monotonic() > until:
            raise DrainFailed(
                f"no partition was assigned within {ASSIGNMENT_SECONDS:g} s; check that the topics of kafka.topics "
                "exist, and that no other consumer of the group kafka.group holds all of their partitions"
            )
        worker.step()
    return True


def _expect(worker: IngestWorker, progress: Progress, task: TaskID) -> None:
    lag: dict[TopicPartition, int] = worker.lag()
    progress.update(task, total=worker.records + sum(lag.values()))


def _labels(store: Store, config: Config, interrupted: Callable[[], bool], progress: Progress) -> bool:
    """Read the labels topic to its end. False where interrupted before that."""
    task = progress.add_task("labels", total=None)
    until = time.monotonic() + ASSIGNMENT_SECONDS
    try:
        worker = LabelsWorker(config, store)
        try:
            while not interrupted():
                taken = worker.step()
                progress.advance(task, taken)
                if taken:
                    until = time.monotonic() + ASSIGNMENT_SECONDS
                elif worker.caught_up():
                    return True
                elif time.monotonic() > until:
                    raise DrainFailed(
                        f"nothing came of {config.kafka.labels_topic!r} within {ASSIGNMENT_SECONDS:g} s; check that "
                        "the topic of kafka.labels_topic exists and that no other consumer reads it"
                    )
        finally:
            worker.close()
    except KafkaError as error:
        raise DrainFailed(f"reading from {config.kafka.bootstrap} failed: {error}; check kafka.bootstrap") from None
    return False


def _await_samples(store: Store, beside: Supervisor, interrupted: Callable[[], bool], progress: Progress) -> bool:
    """The embed part works on by itself; wait until nothing is pending."""
    task: TaskID | None = None
    waiting = threading.Event()
    while not interrupted():
        with store.read() as connection:
            left = samples.pending_count(connection)
        if task is None:
            task = progress.add_task("samples to embed", total=left)
        progress.update(task, completed=(progress.tasks[task].total or 0) - left)
        if left == 0:
            return True
        _raise_failure(beside)
        waiting.wait(0.2)
    return False


def _raise_failure(supervisor: Supervisor) -> None:
    for state in supervisor.states():
        if state.restarts >= 3:
            raise DrainFailed(f"the part {state.name} failed {state.restarts} times; the last time: {state.error}")


def _evaluate(store: Store, config: Config, interrupted: Callable[[], bool], progress: Progress) -> bool:
    """Evaluate to the end; a leader that was killed lately keeps the lead until its lease runs out."""
    evaluator = evaluate_worker(store, config)
    task = progress.add_task("ticks", total=None)
    lead_by = time.monotonic() + config.evaluation.lease / 1e6 + LEASE_PATIENCE
    try:
        while not interrupted():
            if evaluator.step():
                progress.update(task, completed=evaluator.ticks)
            elif evaluator.leading:
                break
            elif time.monotonic() > lead_by:
                raise DrainFailed("another process leads the evaluation; stop it, or let it evaluate")
            else:
                time.sleep(0.2)
        else:
            return False
    finally:
        evaluator.close()
    Upkeep(store, lambda: config).step()
    _send(store, config, interrupted)
    return True


def _pixels(store: Store, config: Config, interrupted: Callable[[], bool], progress: Progress) -> bool:
    """Keep the images of items that the last ticks drew. False where interrupted before that."""
    from monitor.embed.reviewed import PixelWorker
    from monitor.store import review

    def left() -> int:
        with store.read() as connection:
            return review.pixels_waiting(connection)

    waiting = left()
    if not waiting:
        return True
    task = progress.add_task("images for review", total=waiting)
    until = time.monotonic() + PIXEL_SECONDS
    worker = PixelWorker(store, config)
    try:
        while waiting and not interrupted():
            if time.monotonic() > until:
                log.warning("not all images for review could be fetched; the next run goes on", items=waiting)
                return True
            if not worker.step(most=1):  # another process holds what is left
                time.sleep(0.2)
            waiting = left()
            progress.update(task, completed=(progress.tasks[task].total or 0) - waiting)
    finally:
        worker.close()
    return not waiting


def _send(store: Store, config: Config, interrupted: Callable[[], bool]) -> None:
    from monitor.store import outbox

    dispatcher = DispatchPart(store, config).dispatcher
    until = time.monotonic() + SEND_SECONDS
    try:
        while not interrupted() and time.monotonic() < until:
            if dispatcher.step():
                continue
            with store.read() as connection:
                left = [depth for depth in outbox.depths(connection) if depth.state == "pending" and depth.rows]
            if not left:
                break
            time.sleep(0.2)
        else:
            log.warning("not everything could be sent; it stays in the outbox for the next run")
    finally:
        for sink in dispatcher.sinks.values():
            sink.close()


__all__ = ["DrainFailed", "drain"]
