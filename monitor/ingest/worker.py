"""The ingest role: poll, process, commit, in one thread; everything that survives is in the store."""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, TypeVar

from sqlalchemy import Connection

from monitor.config.model import Config
from monitor.config.version import config_version
from monitor.config.version import document as config_document
from monitor.events.redaction import UserHasher
from monitor.ingest.consumer import EventSource, Records, SourceUnavailable, TopicPartition
from monitor.ingest.kafka_source import KafkaSource
from monitor.ingest.partition import PartitionIngest
from monitor.ingest.settings import Settings
from monitor.ingest.windows import WINDOW_US, window_start_of
from monitor.store import partitions as store_partitions
from monitor.store import retries
from monitor.store.engine import Store, StoreUnavailable
from monitor.store.partitions import Fenced
from monitor.store.secrets import hash_key

log = logging.getLogger(__name__)
T = TypeVar("T")

POLL_S = 0.2
IDLE_CHECK_S = 1.0
RETRY_CHECK_S = 2.0  # how often it is looked for dead letters that are to be read again
MISSING_TOPICS_S = 60.0  # how often topics that do not exist are spoken of
BACKOFF_S = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
STOP_PATIENCE_S = 10.0  # how long a stopping worker still waits for a store that is away


class Stopped(Exception):
    """The worker was told to stop while the store was away; what was not committed is read again."""


class IngestWorker:
    """Consumes the configured topics into the store.

    ``version`` and ``document`` describe the configuration without its secrets and are stored with the windows; they
    are worked out where they are not given.
    ``source`` defaults to kafka-python. ``wall_us`` (microseconds) and ``monotonic`` (seconds) are the clocks: the
    wall clock only dates outbox rows and advances live, idle streams.

    Use ``run(stop)`` in a thread, or ``step()`` by hand; not both.
    """

    def __init__(
        self,
        config: Config,
        store: Store,
        *,
        version: str | None = None,
        document: str | None = None,
        source: EventSource | None = None,
        owner: str | None = None,
        wall_us: Callable[[], int] = lambda: time.time_ns() // 1000,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.owner = owner or f"{socket.gethostname()}/{os.getpid()}/{uuid.uuid4().hex[:8]}"
        self._store = store
        self._source: EventSource = source if source is not None else KafkaSource(config.kafka)
        self._settings = _settings(config, version, document)
        self._next_settings: Settings | None = None
        self._wall_us, self._monotonic = wall_us, monotonic
        self._stop = threading.Event()
        self._hasher: UserHasher | None = None
        self._owned: dict[TopicPartition, PartitionIngest] = {}
        self._reading_from: dict[TopicPartition, int] = {}
        self._assigned: set[TopicPartition] = set()
        self._changed = False
        self._change_lock = threading.Lock()
        self._last_event: dict[TopicPartition, float] = {}
        self._last_commit = monotonic()
        self._last_idle_check = monotonic()
        self._last_retry_check = monotonic()
        self._told_missing = float("-inf")
        self._retired = False
        self._subscribed = False
        self.records = 0
        self.bytes = 0
        self.commits = 0
        self.store_failures = 0

    # -- running ----------------------------------------------------------------------------------------------------

    def run(self, stop: threading.Event) -> None:
        """Work until ``stop`` is set, then commit and leave the group."""
        self._stop = stop
        try:
            while not stop.is_set():
                self.step()
            self.flush()
        except Stopped:
            log.warning("stopped while the store was away; the records since the last commit are read again")
        finally:
            self.close()

    def step(self, timeout_s: float = POLL_S) -> int:
        """One poll and what follows from it. Returns how many new records it brought: those that are read again
        to know what was seen recently do not count."""
        if not self._subscribed:
            self._source.subscribe(self._settings.config.kafka.topics, self._on_assigned, self._on_revoked)
            self._subscribed = True
        if self._next_settings is not None:
            self._swap_settings()
        polled = self._source.poll(timeout_s)
        if self._take_change():
            self._settle()
            polled = {}  # read before the positions were set; read again from there
        count = 0
        now = self._monotonic()
        for tp, records in polled.items():
            owned = self._owned.get(tp)
            if owned is None or not len(records) or records.offsets[0] < self._reading_from[tp]:
                continue
            before, events = owned.next_offset, owned.events
            if owned.watermark_us is None:
                held = self._with_store(lambda tp=tp: store_partitions.hold(self._store, *tp))  # type: ignore[misc]
                owned.hold(held)
            owned.process(records)
            self.bytes += sum(map(len, filter(None, records.values)))
            self._reading_from[tp] = records.offsets[-1] + 1
            if owned.events > events:
                self._last_event[tp] = now
            count += len(records) if records.offsets[0] >= before else max(0, records.offsets[-1] + 1 - before)
        self.records += count
        self._commit_if_due()
        if now - self._last_idle_check >= IDLE_CHECK_S:
            self._last_idle_check = now
            self._advance_idle(now)
            if not self._owned and now - self._told_missing >= MISSING_TOPICS_S:
                self._told_missing = now
                self._tell_missing_topics()
        if now - self._last_retry_check >= RETRY_CHECK_S:
            self._last_retry_check = now
            self.retry()
        return count

    def retry(self) -> None:
        """Read dead letters of the partitions that are up to date again, where that was asked for."""
        ready = [tp for tp, owned in self._owned.items() if self._reading_from[tp] >= owned.next_offset]
        if not ready or not (found := self._read(lambda connection: retries.waiting(connection, ready))):
            return
        self._commit()  # what was read before is in the store, where letters are looked up
        for tp in ready:
            mine = [one for one in found if (one.topic, one.partition) == tp]
            if mine and tp in self._owned:
                self._owned[tp].retry(mine, partial(self._uncounted, tp))
        self._commit()

    def _uncounted(self, tp: TopicPartition, offsets: list[int]) -> set[int]:
        return self._read(lambda connection: retries.uncounted(connection, *tp, offsets))

    def _read(self, what: Callable[[Connection], T]) -> T:
        def read() -> T:
            with self._store.read() as connection:
                return what(connection)

        return self._with_store(read)

    def flush(self) -> None:
        """Commit everything taken in so far."""
        self._commit()

    def drain(self) -> None:
        """At the end of the input: commit, then close every window of the partitions this worker owns."""
        self._commit()
        _, greatest = self._with_store(lambda: store_partitions.greatest_watermark(self._store))
        if greatest is None:
            return
        end = window_start_of(greatest) + WINDOW_US
        for owned in self._owned.values():
            if owned.watermark_us is not None:
                owned.advance(end, "drain")
        self._commit()

    def close(self) -> None:
        """Leave the group. Nothing is committed here."""
        self._source.close()

    def reload(self, config: Config, *, version: str | None = None, document: str | None = None) -> None:
        """Use another configuration from the next batch on, as a whole. Safe from another thread."""
        self._next_settings = _settings(config, version, document)

    def caught_up(self) -> bool:
        """Whether every record that the broker has for this worker is taken in (asks the broker)."""
        if not self._owned or self._changed or set(self._owned) != self._assigned:
            return False
        try:
            ends = self._source.bounds(self._owned)
        except SourceUnavailable:
            return False
        return all((self._source.position(tp) or 0) >= end for tp, (_, end) in ends.items()) and all(
            self._reading_from[tp] >= owned.next_offset for tp, owned in self._owned.items()
        )

    def lag(self) -> dict[TopicPartition, int]:
        """Records behind the end of each owned partition, as of the last fetch."""
        behind = {}
        for tp, owned in list(self._owned.items()):
            end = self._source.highwater(tp)
            if end is not None:
                behind[tp] = max(0, end - owned.next_offset)
        return behind

    @property
    def owned(self) -> tuple[TopicPartition, ...]:
        """The partitions this worker holds now."""
        return tuple(self._owned)

    # -- assignment -------------------------------------------------------------------------------------------------

    def _on_assigned(self, partitions: Iterable[TopicPartition]) -> None:
        with self._change_lock:
            self._assigned |= set(partitions)
            self._changed = True

    def _on_revoked(self, partitions: Iterable[TopicPartition]) -> None:
        with self._change_lock:
            self._assigned -= set(partitions)
            self._changed = True

    def _take_change(self) -> bool:
        with self._change_lock:
            changed, self._changed = self._changed, False
        return changed

    def _settle(self) -> None:
        """Bring what is owned in line with what is assigned, and set every position."""
        with self._change_lock:
            assigned = set(self._assigned)
        if set(self._owned) - assigned:
            self._commit()  # if the next owner has not claimed them yet, this work need not be done again
        for tp in set(self._owned) - assigned:
            self._drop(tp)
        try:
            if assigned - set(self._owned):
                self._expect()
        except SourceUnavailable as error:
            log.warning("%s; claiming partitions is tried again", error)
            self._again()
            return
        for tp in sorted(assigned):
            if tp not in self._owned:
                try:
                    self._claim(tp)
                except SourceUnavailable as error:
                    log.warning("%s; claiming %s/%d is tried again", error, tp.topic, tp.partition)
                    self._drop(tp)
                    self._again()
            elif not self._source.seek(tp, self._reading_from[tp]):
                self._again()

    def _expect(self) -> None:
        """Tell the store what all partitions of the topics hold, whoever reads them. Raises SourceUnavailable."""
        topics = self._settings.config.kafka.topics
        if not self._retired:
            # Once, at the start: a process that runs on with an older configuration must not let go, at a rebalance,
            # of topics that a newer one has begun to read.
            self._with_store(lambda: store_partitions.retire(self._store, topics))
            self._retired = True
        counts = {topic: self._source.partition_count(topic) for topic in topics}
        every = [TopicPartition(topic, n) for topic, count in counts.items() for n in range(count)]
        bounds = self._source.bounds(every)
        ends: dict[tuple[str, int], int] = {tp: end if end > first else 0 for tp, (first, end) in bounds.items()}
        self._with_store(lambda: store_partitions.expect(self._store, ends))

    def _tell_missing_topics(self) -> None:
        for topic in self._settings.config.kafka.topics:
            if self._source.partition_count(topic) == 0:
                log.warning("the brokers have no topic %r; create it, or correct kafka.topics", topic)

    def _claim(self, tp: TopicPartition) -> None:
        hasher = self._user_hasher()
        claim = self._with_store(lambda: store_partitions.claim(self._store, tp.topic, tp.partition, self.owner))
        mark = claim.watermark_us
        if mark is None and claim.max_time_us is not None:  # let go of meanwhile, by a process that does not read it
            mark = claim.max_time_us - self._settings.config.kafka.watermark_delay
        since = None if mark is None else mark - WINDOW_US + 1
        rows = (
            []
            if since is None
            else self._with_store(
                lambda: store_partitions.open_rows(self._store, tp.topic, tp.partition, from_window_us=since)
            )
        )
        owned = PartitionIngest(
            claim,
            self._settings,
            self._partition_total(),
            hasher,
            lambda windows: self._with_store(
                lambda: store_partitions.open_rows(self._store, tp.topic, tp.partition, late_windows=windows)
            ),
            rows,
            self._read(
                lambda connection: retries.entered(
                    connection, *tp, claim.next_offset - self._settings.config.kafka.dedup_records
                )
            ),
        )
        first = self._source.bounds([tp])[tp][0]
        start = max(owned.rebuild_from, first)
        if first > claim.next_offset:
            log.warning(
                "records %d to %d of %s/%d are gone from the broker before they were read; raise its retention",
                claim.next_offset,
                first - 1,
                tp.topic,
                tp.partition,
            )
        if not self._source.seek(tp, start):
            self._again()
        self._reading_from[tp] = start
        self._owned[tp] = owned
        self._last_event[tp] = self._monotonic()
        log.info("claimed %s/%d at offset %d", tp.topic, tp.partition, claim.next_offset)

    def _drop(self, tp: TopicPartition) -> None:
        self._owned.pop(tp, None)
        self._reading_from.pop(tp, None)
        self._last_event.pop(tp, None)

    def _again(self) -> None:
        """Settle once more at the next step."""
        with self._change_lock:
            self._changed = True

    def _partition_total(self) -> int:
        return sum(self._source.partition_count(topic) for topic in self._settings.config.kafka.topics)

    def _user_hasher(self) -> UserHasher:
        if self._hasher is None:
            configured = self._settings.config.privacy.hash_key
            self._hasher = UserHasher(self._with_store(lambda: hash_key(self._store, configured)))
        return self._hasher

    def _swap_settings(self) -> None:
        settings, self._next_settings = self._next_settings, None
        assert settings is not None
        self._commit()  # what was measured by the old configuration is stored with its version
        self._settings = settings
        total = self._partition_total() if self._owned else 1
        for owned in self._owned.values():
            owned.reconfigure(settings, total)

    # -- commits ----------------------------------------------------------------------------------------------------

    def _commit_if_due(self) -> None:
        kafka = self._settings.config.kafka
        pending = sum(owned.pending_records for owned in self._owned.values())
        waited = (self._monotonic() - self._last_commit) * 1e6
        if pending >= kafka.commit_records or (pending and waited >= kafka.commit_every):
            self._commit()
        elif not pending:
            self._last_commit = self._monotonic()

    def _commit(self) -> None:
        while True:
            now = self._wall_us()
            batch = {tp: owned.commit(now) for tp, owned in self._owned.items()}
            work = {tp: commit for tp, commit in batch.items() if commit is not None}
            if not work:
                break
            try:
                self._with_store(lambda: store_partitions.commit(self._store, list(work.values())))  # noqa: B023
            except Fenced as fenced:
                log.warning("%s", fenced)
                self._lose([TopicPartition(topic, partition) for topic, partition in fenced.lost])
                continue
            for tp, commit in work.items():
                self._owned[tp].committed(commit)
            self.commits += 1
            self._source.commit({tp: commit.next_offset for tp, commit in work.items()})
            break
        self._last_commit = self._monotonic()

    def _lose(self, lost: Iterable[TopicPartition]) -> None:
        """Forget partitions that another owner claimed; those still assigned are claimed again at the next step."""
        for tp in lost:
            self._drop(tp)
        self._again()

    def _with_store(self, work: Callable[[], T]) -> T:
        """``work()``, tried again until the store takes it; meanwhile the group membership is kept alive."""
        attempt = 0
        stopping_since: float | None = None
        paused = False
        try:
            while True:
                try:
                    return work()
                except StoreUnavailable as error:
                    self.store_failures += 1
                    wait = BACKOFF_S[min(attempt, len(BACKOFF_S) - 1)]
                    log.warning("%s; trying again in %g s", error, wait)
                attempt += 1
                if self._stop.is_set():
                    stopping_since = stopping_since or self._monotonic()
                    if self._monotonic() - stopping_since > STOP_PATIENCE_S:
                        raise Stopped
                if self._subscribed:
                    self._source.pause()
                    paused = True
                    self._keep_alive(wait)
                else:
                    self._stop.wait(wait)
        finally:
            if paused:
                self._source.resume()

    def _keep_alive(self, seconds: float) -> None:
        polled: Mapping[TopicPartition, Records] = self._source.poll(seconds)
        if any(len(records) for records in polled.values()):
            # A rebalance brought partitions that were not paused: their positions are set when we settle.
            self._again()

    # -- idle streams -----------------------------------------------------------------------------------------------

    def _advance_idle(self, now: float) -> None:
        kafka = self._settings.config.kafka
        idle = [
            tp
            for tp, owned in self._owned.items()
            if owned.watermark_us is not None and (now - self._last_event[tp]) * 1e6 >= kafka.idle_after
        ]
        if not idle:
            return
        try:
            ends = self._source.bounds(idle)
        except SourceUnavailable as error:
            log.debug("%s; idle streams are looked at again in %g s", error, IDLE_CHECK_S)
            return
        idle = [tp for tp in idle if (self._source.position(tp) or 0) >= ends[tp][1]]
        if not idle:
            return
        clock = self._wall_us()
        greatest: int | None = None
        moved = False
        for tp in idle:
            owned = self._owned[tp]
            watermark = owned.watermark_us
            assert watermark is not None
            if clock - watermark <= kafka.idle_after + kafka.watermark_delay + 2 * WINDOW_US:
                target = window_start_of(clock - kafka.watermark_delay)
            else:
                if greatest is None:
                    greatest, _ = self._with_store(lambda: store_partitions.greatest_watermark(self._store))
                target = greatest if greatest is not None else watermark
            moved |= owned.advance(target, "idle")
        if moved:
            self._commit()

    def describe(self) -> dict[str, Any]:
        """Numbers about this process for its own metrics."""
        return {
            "records": self.records,
            "bytes": self.bytes,
            "commits": self.commits,
            "store_failures": self.store_failures,
            "partitions": len(self._owned),
            "lag": {f"{tp.topic}/{tp.partition}": value for tp, value in self.lag().items()},
        }


def _settings(config: Config, version: str | None, document: str | None) -> Settings:
    return Settings.of(config, version or config_version(config), document or config_document(config))
