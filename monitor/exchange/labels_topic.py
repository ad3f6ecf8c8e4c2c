"""The labels topic: labels that other systems have of events, read into the queue exactly once.

Labels, dead letters and the offset behind them are one transaction, whose first statement is a compare-and-set on the
stored offset: of two consumers that read the same records one writes nothing, and a consumer that is killed at any
moment has done all of a batch or none of it. What Kafka knows of offsets only serves lag tools.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, Final

from monitor.config.model import Config
from monitor.exchange import given, intake
from monitor.exchange.given import Unusable
from monitor.ingest.consumer import EventSource, Records, SourceUnavailable, TopicPartition
from monitor.ingest.dead_letters import DeadLetter
from monitor.ingest.kafka_source import KafkaSource
from monitor.store import label_partitions
from monitor.store.engine import Store, StoreUnavailable
from monitor.store.outbox import enqueue_many
from monitor.store.partitions import forgotten_among
from monitor.store.review import Declined
from monitor.store.tables import dead_letters

log = logging.getLogger(__name__)

POLL_S = 0.5
BATCH: Final = intake.BATCH
BACKOFF_S = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
MISSING_TOPIC_S = 60.0  # how often a topic that does not exist is spoken of


class LabelsWorker:
    """Reads `kafka.labels_topic` in a consumer group of its own, named after `kafka.group`.

    ``source`` defaults to kafka-python. Use ``run(stop)`` in a thread, or ``step()`` by hand; not both.
    """

    def __init__(
        self,
        config: Config,
        store: Store,
        *,
        source: EventSource | None = None,
        wall_us: Callable[[], int] = lambda: time.time_ns() // 1000,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        if config.kafka.labels_topic is None:
            raise ValueError("kafka.labels_topic names no topic to read labels from")
        self._topic = config.kafka.labels_topic
        self._config = config
        self._store = store
        of_group = config.kafka.model_copy(update={"group": f"{config.kafka.group}-labels"})
        self._source: EventSource = source if source is not None else KafkaSource(of_group, "driftline-labels")
        self._wall_us, self._monotonic = wall_us, monotonic
        self._subscribed = False
        self._changed = False
        self._lock = threading.Lock()
        self._assigned: set[TopicPartition] = set()
        self._next: dict[TopicPartition, int] = {}
        self._told_missing = float("-inf")
        self.outcomes: Counter[str] = Counter()
        self.store_failures = 0

    def run(self, stop: threading.Event) -> None:
        """Work until ``stop`` is set, then leave the group. What was read and not committed is read again."""
        failures = 0
        try:
            while not stop.is_set():
                try:
                    self.step()
                    failures = 0
                except (StoreUnavailable, Declined, SourceUnavailable) as error:
                    # Declined: another transaction brought the same reviewer's label; now it is there to be seen.
                    wait = BACKOFF_S[min(failures, len(BACKOFF_S) - 1)]
                    log.warning("%s; the labels topic is read again in %g s", error, wait)
                    failures += 1
                    stop.wait(wait)
        finally:
            self.close()

    def close(self) -> None:
        self._source.close()

    def reload(self, config: Config) -> None:
        """Use another configuration's `review` from the next batch on; topics are read anew at the next start."""
        self._config = config

    def step(self, timeout_s: float = POLL_S) -> int:
        """One poll, committed. Returns how many records it took in.

        Raises StoreUnavailable, Declined and SourceUnavailable; the next step then reads from the stored offset.
        """
        if not self._subscribed:
            self._source.subscribe([self._topic], self._on_assigned, self._on_revoked)
            self._subscribed = True
        polled = self._source.poll(timeout_s)
        if self._take_change():
            self._settle()
            return 0  # read before the positions were set; read again from there
        taken = 0
        try:
            for tp, records in polled.items():
                taken += self._take(tp, records)
        except (StoreUnavailable, Declined):
            self.store_failures += 1
            self._again()
            raise
        if not self._assigned:
            self._tell_missing()
        return taken

    def caught_up(self) -> bool:
        """Whether every record that the broker has for this consumer is taken in (asks the broker)."""
        if self._changed or set(self._next) != self._assigned or not self._assigned:
            return False
        try:
            ends = self._source.bounds(self._next)
        except SourceUnavailable:
            return False
        read = {tp: max(self._next[tp], self._source.position(tp) or 0) for tp in ends}  # past what transactions left
        return all(read[tp] >= end for tp, (first, end) in ends.items() if end > first)

    def describe(self) -> dict[str, Any]:
        """Numbers about this process for its own metrics."""
        behind = {}
        for tp, offset in list(self._next.items()):
            end = self._source.highwater(tp)
            if end is not None:
                behind[f"{tp.topic}/{tp.partition}"] = max(0, end - offset)
        return {"store_failures": self.store_failures, "lag": behind}

    # -- assignment -------------------------------------------------------------------------------------------------

    def _on_assigned(self, partitions: Iterable[TopicPartition]) -> None:
        with self._lock:
            self._assigned |= set(partitions)
            self._changed = True

    def _on_revoked(self, partitions: Iterable[TopicPartition]) -> None:
        with self._lock:
            self._assigned -= set(partitions)
            self._changed = True

    def _take_change(self) -> bool:
        with self._lock:
            changed, self._changed = self._changed, False
        return changed

    def _again(self) -> None:
        with self._lock:
            self._changed = True

    def _settle(self) -> None:
        """Read every assigned partition from where the store says."""
        with self._lock:
            assigned = set(self._assigned)
        self._next.clear()
        try:
            for tp in sorted(assigned):
                offset = label_partitions.position(self._store, *tp)
                if self._source.seek(tp, offset):
                    self._next[tp] = offset
                else:
                    self._again()
        except BaseException:
            self._again()
            raise

    def _tell_missing(self) -> None:
        now = self._monotonic()
        if now - self._told_missing >= MISSING_TOPIC_S and self._source.partition_count(self._topic) == 0:
            self._told_missing = now
            log.warning("the brokers have no topic %r; create it, or correct kafka.labels_topic", self._topic)

    # -- records ----------------------------------------------------------------------------------------------------

    def _take(self, tp: TopicPartition, records: Records) -> int:
        taken = 0
        for start in range(0, len(records), BATCH):
            part = records.part(start, start + BATCH)
            expected = self._next.get(tp)
            if expected is None:
                break
            if part.offsets[-1] < expected:
                continue
            if part.offsets[0] < expected:
                part = part.part(next(i for i, offset in enumerate(part.offsets) if offset >= expected), len(part))
            elif part.offsets[0] > expected:
                log.info("%s/%d goes on at offset %d after %d", tp.topic, tp.partition, part.offsets[0], expected)
            outcomes = self._commit(tp, part, expected)
            if outcomes is None:
                log.warning("another consumer has read %s/%d from offset %d on", tp.topic, tp.partition, expected)
                self._again()
                break
            self.outcomes += outcomes
            self._next[tp] = part.offsets[-1] + 1
            taken += len(part)
        if taken:
            self._source.commit({tp: self._next[tp]})
        return taken

    def _commit(self, tp: TopicPartition, records: Records, expected: int) -> Counter[str] | None:
        """The records' labels and their end, in one transaction. None where another consumer was here: nothing done."""
        read = [self._read(tp, records, i) for i in range(len(records))]
        now_us = self._wall_us()
        outcomes: Counter[str] = Counter()
        letters: list[DeadLetter] = []
        with self._store.write() as connection:
            if not label_partitions.advance(connection, *tp, expected, records.offsets[-1] + 1):
                return None
            for i, one in enumerate(read):
                if isinstance(one, DeadLetter):
                    letters.append(one)
                    continue
                try:
                    outcomes[intake.put(connection, one, now_us, self._config, "kafka")] += 1
                except Unusable as error:
                    letters.append(_letter(tp, records, i, error))
            if letters:
                gone = forgotten_among(connection, set(), {letter.event_id for letter in letters} - {""})
                kept = [letter for letter in letters if ("event", letter.event_id) not in gone]
                self._store.upsert(connection, dead_letters, [letter.row() for letter in kept])
                with_bytes = self._config.kafka.dead_letter_bytes
                enqueue_many(connection, [letter.message(now_us, with_bytes=with_bytes) for letter in kept])
                outcomes["dead_letter"] = len(letters)
            label_partitions.count(connection, *tp, outcomes)
        return outcomes

    def _read(self, tp: TopicPartition, records: Records, i: int) -> given.Given | DeadLetter:
        value = records.values[i]
        try:
            if value is None:
                raise Unusable("tombstone", "the record has no value")
            if len(value) > self._config.kafka.max_record:
                raise Unusable("oversize", f"{len(value)} bytes, more than kafka.max_record")
            found = given.read(value)
            if found is None:
                raise Unusable("invalid_label", "an item cannot be brought in: its probability comes from the draw")
        except Unusable as error:
            return _letter(tp, records, i, error)
        return found


def _letter(tp: TopicPartition, records: Records, i: int, error: Unusable) -> DeadLetter:
    return DeadLetter(
        topic=tp.topic,
        partition=tp.partition,
        offset=records.offsets[i],
        timestamp_ms=records.timestamps_ms[i],
        key=records.keys[i],
        value=records.values[i],
        reason=error.reason,
        detail=str(error),
        event_id=error.event_id,
    )
