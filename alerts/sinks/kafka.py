"""Anomalies and dead letters as records of a Kafka topic (kafka-python, acks=all, idempotent producer).

The key of an anomaly's record is its id, so that a compacted topic keeps the newest state of each; the key of a
dead letter's is ``topic/partition/offset`` of the record it stands for. A record that is read twice has the same
key and value.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from alerts.sinks import Delivery, Outcome, Refused, Retry, Sent

_MAX_VALUE = 900_000  # bytes; brokers take 1 MB records by default, headers and key included


@dataclass(frozen=True, slots=True)
class KafkaTopic:
    """A topic, and how to reach its brokers (the settings of ``kafka`` in the configuration)."""

    bootstrap: str
    topic: str
    security_protocol: str = "PLAINTEXT"
    sasl_mechanism: str | None = None
    username: str | None = None
    password: str | None = None
    ca_file: str | None = None
    timeout_s: float = 15.0


Connect = Callable[[KafkaTopic], Any]


def connect(topic: KafkaTopic) -> Any:
    """A producer that gives up on a record after ``timeout_s``. Raises kafka.errors.KafkaError without brokers."""
    from kafka import KafkaProducer
    from kafka.net.compat import KafkaNetClient

    clients = []

    def client(**options: Any) -> Any:
        clients.append(KafkaNetClient(**options))
        return clients[-1]

    try:
        return _producer(KafkaProducer, topic, client)
    except BaseException:
        for made in clients:  # a producer that finds no broker leaves its sockets open
            with suppress(Exception):
                made.close()
        raise


def _producer(make: Callable[..., Any], topic: KafkaTopic, client: Callable[..., Any]) -> Any:
    milliseconds = round(topic.timeout_s * 1000)
    return make(
        kafka_client=client,
        bootstrap_servers=topic.bootstrap.split(","),
        client_id="driftline-alerts",
        security_protocol=topic.security_protocol,
        sasl_mechanism=topic.sasl_mechanism,
        sasl_plain_username=topic.username,
        sasl_plain_password=topic.password,
        ssl_cafile=topic.ca_file,
        acks="all",
        bootstrap_timeout_ms=milliseconds,
        max_block_ms=milliseconds,
        request_timeout_ms=max(1000, milliseconds // 2),
        delivery_timeout_ms=milliseconds,
    )


class KafkaSink:
    batch = 200

    def __init__(self, topic: KafkaTopic, connector: Connect = connect) -> None:
        self._topic = topic
        self._connect = connector
        self._producer: Any = None

    def longest_us(self, deliveries: int) -> int:
        return round(3 * self._topic.timeout_s * 1e6)  # find brokers, then metadata, then all acknowledgements

    def send(self, deliveries: Sequence[Delivery], now_us: int) -> list[Outcome]:
        from kafka.errors import KafkaError

        try:
            if self._producer is None:
                self._producer = self._connect(self._topic)
            futures = [self._produce(delivery) for delivery in deliveries]
        except (KafkaError, OSError) as error:
            # Made anew next time: brokers may have moved, a certificate may have been replaced.
            self._drop()
            return [Retry(_explain(error), delivery.remote) for delivery in deliveries]
        deadline = time.monotonic() + self._topic.timeout_s
        return [
            found if isinstance(found, Refused) else self._await(found, delivery, deadline)
            for found, delivery in zip(futures, deliveries, strict=True)
        ]

    def close(self) -> None:
        self._drop()

    def _produce(self, delivery: Delivery) -> Any:
        """A future of the acknowledgement, or Refused where the record cannot be sent at all."""
        from kafka.errors import MessageSizeTooLargeError

        try:
            return self._producer.send(
                self._topic.topic,
                key=delivery.key.encode(),
                value=encode(delivery),
                headers=[("driftline-kind", delivery.kind.encode())],
            )
        except (MessageSizeTooLargeError, ValueError, AssertionError) as error:
            return Refused(_explain(error), delivery.remote)

    def _await(self, future: Any, delivery: Delivery, deadline: float) -> Outcome:
        from kafka.errors import InvalidTopicError, KafkaError, MessageSizeTooLargeError

        try:
            future.get(timeout=max(0.001, deadline - time.monotonic()))
        except (MessageSizeTooLargeError, InvalidTopicError) as error:
            return Refused(_explain(error), delivery.remote)
        except KafkaError as error:
            return Retry(_explain(error), delivery.remote)
        return Sent(delivery.remote)

    def _drop(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            with suppress(Exception):  # what was not acknowledged is sent again from the outbox
                producer.close(timeout=1)


def encode(delivery: Delivery) -> bytes:
    """The record's value. Original bytes too large for a broker are left out and that is said."""
    payload: Mapping[str, Any] = delivery.payload
    value = _json(payload)
    if len(value) > _MAX_VALUE and payload.get("original"):
        payload = {**{k: v for k, v in payload.items() if k != "original"}, "original_omitted": "too large"}
        value = _json(payload)
    return value


def _json(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, sort_keys=True, ensure_ascii=False, allow_nan=False).encode()


def _explain(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"
