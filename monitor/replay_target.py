"""The Kafka producer that a replay sends through."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from kafka import KafkaProducer
from kafka.admin import KafkaAdminClient, NewTopic
from kafka.errors import KafkaError, TopicAlreadyExistsError

from monitor.config.model import Kafka
from monitor.ingest.kafka_source import connection

FLUSH_SECONDS = 120


class TargetError(Exception):
    """The topic cannot be sent to; the message says why and what to do."""


class _Target:
    """Notes the first record that the broker refused, which a fire-and-forget send would hide."""

    def __init__(self, producer: Any) -> None:
        self._producer = producer
        self.refused: BaseException | None = None

    def send(self, topic: str, *, key: bytes | None, value: bytes, timestamp_ms: int) -> None:
        if self.refused is not None:
            raise TargetError(f"the broker refused a record: {self.refused}")
        self._producer.send(topic, key=key, value=value, timestamp_ms=timestamp_ms).add_errback(self._note)

    def _note(self, error: BaseException) -> None:
        self.refused = self.refused or error


@contextlib.contextmanager
def target(kafka: Kafka, topic: str, partitions: int | None = None) -> Iterator[_Target]:
    """A producer, flushed at the end; with ``partitions`` the topic is made first. Raises TargetError."""
    try:
        if partitions is not None:
            _create(kafka, topic, partitions)
        producer: Any = KafkaProducer(
            **connection(kafka), acks="all", linger_ms=20, batch_size=1 << 18, max_request_size=8 << 20,
            client_id="driftline-replay",
        )  # fmt: skip
    except KafkaError as error:
        raise TargetError(
            f"no broker at {kafka.bootstrap}: {error}; check kafka.bootstrap, or give --bootstrap"
        ) from None
    try:
        found = _Target(producer)
        try:
            yield found
            producer.flush(FLUSH_SECONDS)
        except KafkaError as error:
            raise TargetError(
                f"sending to {topic} at {kafka.bootstrap} failed: {error}; check that the topic exists "
                "(--create makes it)"
            ) from None
        if found.refused is not None:
            raise TargetError(
                f"the broker refused a record: {found.refused}; kafka's message.max.bytes may be too small"
            )
    finally:
        producer.close(5)


def _create(kafka: Kafka, topic: str, partitions: int) -> None:
    admin: Any = KafkaAdminClient(**connection(kafka))
    try:
        with contextlib.suppress(TopicAlreadyExistsError):
            admin.create_topics([NewTopic(topic, num_partitions=partitions, replication_factor=1)])
    finally:
        admin.close()
