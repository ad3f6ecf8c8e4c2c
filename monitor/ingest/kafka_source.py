"""kafka-python behind the small protocol of :mod:`monitor.ingest.consumer`."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable, Mapping
from typing import Any

from kafka import ConsumerRebalanceListener, KafkaConsumer
from kafka import TopicPartition as KafkaTopicPartition
from kafka.errors import KafkaConnectionError, KafkaError
from kafka.net import manager as kafka_manager
from kafka.net.transport import KafkaTCPTransport
from kafka.structs import OffsetAndMetadata

from monitor.config.model import Kafka
from monitor.ingest.consumer import Assigned, Records, SourceUnavailable, TopicPartition
from monitor.ingest.record_batches import BatchedPartitionRecords

log = logging.getLogger(__name__)

# One fetch brings at most this much of a partition, and of all partitions together: with 800-byte events 2,500
# and 10,000 records, enough to spread the fixed cost of a batch, little enough to stay within memory.
PARTITION_BYTES = 2 << 20
FETCH_BYTES = 8 << 20
MAX_BATCHES = 1024  # record batches handed over by one poll
POLL_INTERVAL_MS = 600_000  # a store that is down for longer than this costs us the partitions, not the data
READ_BYTES = 1 << 18
METADATA_AGE_MS = 10_000  # how soon a topic that is made after our start, or a new partition, is found
HEARTBEAT_MS = 2_000


class LargeReadTransport(KafkaTCPTransport):  # type: ignore[misc]  # kafka-python is untyped
    """kafka-python asks a socket for 4 kB at a time; at tens of thousands of records a second that is most of the
    work of its network thread. This asks for 256 kB; nothing else differs."""

    def _sock_recv(self) -> tuple[bytes, BaseException | None]:
        received: list[bytes] = []
        try:
            while data := self._sock.recv(READ_BYTES):
                received.append(data)
            return b"".join(received), KafkaConnectionError("socket disconnected")
        except (BlockingIOError, InterruptedError):
            return b"".join(received), None
        except OSError as error:
            return b"".join(received), KafkaConnectionError(error)


class KafkaSource:
    """A consumer-group member on kafka-python; checksums by the C package ``crc32c``."""

    def __init__(self, kafka: Kafka, client_id: str = "driftline-ingest") -> None:
        kafka_manager.KafkaTCPTransport = LargeReadTransport
        self._consumer: Any = KafkaConsumer(**connection(kafka), **_consumption(kafka, client_id))
        self._consumer._fetcher.PartitionRecords = BatchedPartitionRecords
        # A mistyped name must not become an empty topic. kafka-python 3.0 takes the option of this name and does not
        # hand it to where the requests are made.
        self._consumer._cluster.config["allow_auto_create_topics"] = False
        _finish_joins(self._consumer._coordinator)

    def subscribe(self, topics: Iterable[str], assigned: Assigned, revoked: Assigned) -> None:
        self._consumer.subscribe(topics=sorted(topics), listener=_Listener(assigned, revoked))

    def poll(self, timeout_s: float) -> Mapping[TopicPartition, Records]:
        polled = self._consumer.poll(timeout_ms=int(timeout_s * 1000), max_records=MAX_BATCHES)
        found: dict[TopicPartition, Records] = {}
        for tp, batches in polled.items():
            records = batches[0]
            for batch in batches[1:]:
                records.extend(batch)
            found[TopicPartition(tp.topic, tp.partition)] = records
        return found

    def seek(self, partition: TopicPartition, offset: int) -> bool:
        try:
            self._consumer.seek(KafkaTopicPartition(*partition), offset)
        except (
            ValueError,
            AssertionError,
            KeyError,
            KafkaError,
        ):  # the network thread has taken the partition away meanwhile
            return False
        return True

    def bounds(self, partitions: Iterable[TopicPartition]) -> Mapping[TopicPartition, tuple[int, int]]:
        asked = [KafkaTopicPartition(*tp) for tp in partitions]
        if not asked:
            return {}
        try:
            first, last = self._consumer.beginning_offsets(asked), self._consumer.end_offsets(asked)
        except KafkaError as error:
            raise SourceUnavailable(f"the brokers did not tell the ends of the partitions: {error!r}") from error
        return {TopicPartition(tp.topic, tp.partition): (first[tp], last[tp]) for tp in asked}

    def position(self, partition: TopicPartition) -> int | None:
        state = self._consumer._subscription.assignment.get(KafkaTopicPartition(*partition))
        return None if state is None or state.position is None else int(state.position.offset)

    def highwater(self, partition: TopicPartition) -> int | None:
        tp = KafkaTopicPartition(*partition)
        return self._consumer.highwater(tp) if tp in self._consumer.assignment() else None

    def partition_count(self, topic: str) -> int:
        return len(self._consumer.partitions_for_topic(topic) or ())

    def pause(self) -> None:
        for tp in self._consumer.assignment():
            with contextlib.suppress(ValueError, AssertionError, KeyError, KafkaError):  # taken away meanwhile
                self._consumer.pause(tp)

    def resume(self) -> None:
        for tp in self._consumer.paused():
            with contextlib.suppress(ValueError, AssertionError, KeyError, KafkaError):
                self._consumer.resume(tp)

    def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        told = {KafkaTopicPartition(*tp): OffsetAndMetadata(offset, "", -1) for tp, offset in offsets.items()}
        try:
            self._consumer.commit_async(told, callback=_log_commit)
        except (KafkaError, AssertionError) as error:
            _log_commit(told, error)

    def close(self) -> None:
        self._consumer.close(autocommit=False)


def _finish_joins(coordinator: Any) -> None:
    """Let kafka-python (3.0) see a join through.

    A poll that ends while the group is joined because metadata changed leaves the join under way. As soon as the
    leader has assigned, the change counts as dealt with, and no later poll takes the assignment: the member has
    nothing to read, sends no heartbeats and is put out of the group, silently and for ever. Here, as in the Java
    client, a join that is under way is needed (AbstractCoordinator.rejoinNeededOrPending).
    """
    needed = coordinator.need_rejoin
    coordinator.need_rejoin = lambda: coordinator.rejoining or needed()


def _log_commit(offsets: Any, response: Any) -> None:
    # The store decides where reading goes on; these offsets only serve lag tools.
    if isinstance(response, BaseException):
        log.debug("the broker did not take the offsets %s: %r", offsets, response)


def connection(kafka: Kafka) -> dict[str, Any]:
    """kafka-python's options for reaching the brokers."""
    options: dict[str, Any] = {
        "bootstrap_servers": [part.strip() for part in kafka.bootstrap.split(",") if part.strip()],
        "security_protocol": kafka.security_protocol,
    }
    if kafka.ca_file is not None:
        options["ssl_cafile"] = kafka.ca_file
    if kafka.sasl_mechanism is not None:
        options["sasl_mechanism"] = kafka.sasl_mechanism
        options["sasl_plain_username"] = kafka.username
        options["sasl_plain_password"] = kafka.password
    return options


def _consumption(kafka: Kafka, client_id: str) -> dict[str, Any]:
    session_ms = max(1, kafka.session_timeout // 1000)
    return {
        "client_id": client_id,
        "group_id": kafka.group,
        "enable_auto_commit": False,
        "auto_offset_reset": "earliest",
        "isolation_level": "read_committed",
        "check_crcs": True,
        "metadata_max_age_ms": METADATA_AGE_MS,
        "max_partition_fetch_bytes": PARTITION_BYTES,
        "fetch_max_bytes": FETCH_BYTES,
        "fetch_min_bytes": 1,
        "fetch_max_wait_ms": 200,
        "receive_buffer_bytes": 1 << 20,
        "max_poll_interval_ms": POLL_INTERVAL_MS,
        "session_timeout_ms": session_ms,
        "heartbeat_interval_ms": min(HEARTBEAT_MS, max(1, session_ms // 3)),
    }


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]  # kafka-python is untyped
    def __init__(self, assigned: Assigned, revoked: Assigned) -> None:
        self._assigned, self._revoked = assigned, revoked

    def on_partitions_assigned(self, assigned: Iterable[Any]) -> None:
        self._assigned([TopicPartition(tp.topic, tp.partition) for tp in assigned])

    def on_partitions_revoked(self, revoked: Iterable[Any]) -> None:
        self._revoked([TopicPartition(tp.topic, tp.partition) for tp in revoked])
