"""Sending files of native events to a Kafka topic: as they are or shifted in time, paced or as fast as possible.

Ids are never changed, so sending a file twice to the same partitions counts its events once (within the last
``kafka.dedup_records`` records of a partition). A record's key is the user id, else the session id, which is what
keeps one user's events in order; its Kafka timestamp is the (shifted) event time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import msgspec

from monitor.times import parse_time

PARQUET = (".parquet", ".pq")
_SLEEP_AT_MOST = 0.2  # seconds, so that an interrupt is noticed


class ReplayError(Exception):
    """A file or an option that cannot be used: which, what was got, what to do."""


class Producer(Protocol):
    """What is needed of a Kafka producer."""

    def send(self, topic: str, *, key: bytes | None, value: bytes, timestamp_ms: int) -> Any: ...


@dataclass(frozen=True, slots=True)
class Event:
    """One event to send: its JSON, its key, its time (µs) and where it came from."""

    value: dict[str, Any] | bytes
    key: bytes | None
    time_us: int
    where: str


@dataclass(slots=True)
class Sent:
    """How far a replay has come."""

    events: int = 0
    bytes: int = 0
    skipped: int = 0


def parse_pace(text: str) -> float:
    """Event seconds per second: ``real`` 1, ``60x`` 60, ``max`` infinite. Raises ReplayError."""
    if text == "max":
        return float("inf")
    if text == "real":
        return 1.0
    try:
        factor = float(text.removesuffix("x"))
    except ValueError:
        factor = 0.0
    if not 0 < factor < float("inf"):
        raise ReplayError(f"expected a pace, got {text!r}; write real, max, or a factor as 60x")
    return factor


def parse_shift(text: str, first_us: int, last_us: int, now_us: int) -> int:
    """µs to add to every time: ``none``; ``now``: the last event is now; a date: the first event is then."""
    if text == "none":
        return 0
    if text == "now":
        return now_us - last_us
    try:
        return parse_time(text) - first_us
    except ValueError as error:
        raise ReplayError(f"--shift: {error}; or now, or none") from None


def read_events(paths: Iterable[Path]) -> Iterator[Event]:
    """Events of JSON-lines and Parquet files in file order. Raises ReplayError naming file and line."""
    for path in paths:
        yield from _parquet(path) if path.suffix in PARQUET else _lines(path)


def time_range(paths: Iterable[Path]) -> tuple[int, int, int]:
    """(first time, last time, how many events), reading every file once. Raises ReplayError where there is none."""
    first, last, count = 2**63, -(2**63), 0
    for event in read_events(paths):
        first, last, count = min(first, event.time_us), max(last, event.time_us), count + 1
    if not count:
        raise ReplayError("the files hold no event; give JSON lines or Parquet of native events (docs/events.md)")
    return first, last, count


def send_events(
    events: Iterable[Event],
    producer: Producer,
    topic: str,
    *,
    shift_us: int = 0,
    pace: float = float("inf"),
    progress: Callable[[Sent], None] = lambda sent: None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Sent:
    """Send in the order given. With a pace, an event goes out when its time has come; earlier ones go at once."""
    sent = Sent()
    began, first_us = clock(), None
    for event in events:
        if first_us is None:
            first_us = event.time_us
        if pace != float("inf"):
            due = began + (event.time_us - first_us) / 1e6 / pace
            while (wait := due - clock()) > 0:
                sleep(min(wait, _SLEEP_AT_MOST))
        value = _encoded(event, shift_us)
        producer.send(topic, key=event.key, value=value, timestamp_ms=max(0, (event.time_us + shift_us) // 1000))
        sent.events += 1
        sent.bytes += len(value)
        progress(sent)
    return sent


def _encoded(event: Event, shift_us: int) -> bytes:
    if isinstance(event.value, bytes):
        if not shift_us:
            return event.value  # as it is written, to the byte
        document = msgspec.json.decode(event.value)
    else:
        document = event.value
    if shift_us:
        document["time"] = _rfc3339(event.time_us + shift_us)
    return msgspec.json.encode(document)


def _lines(path: Path) -> Iterator[Event]:
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if stripped := line.strip():
                    yield _event(stripped, msgspec.json.decode, f"{path}:{number}")
    except OSError as error:
        raise ReplayError(f"cannot read {path}: {error.strerror}") from None


def _parquet(path: Path) -> Iterator[Event]:
    try:
        import pyarrow.parquet as pq
    except ImportError:
        raise ReplayError(f"reading {path} needs pyarrow; install driftline[bench], or give JSON lines") from None
    try:
        file = pq.ParquetFile(path)
    except (OSError, ValueError) as error:
        raise ReplayError(f"{path} is not a Parquet file that can be read: {error}") from None
    number = 0
    with file:
        for batch in file.iter_batches(batch_size=5000):
            for row in batch.to_pylist():
                number += 1
                yield _event(_without_nulls(row), lambda value: value, f"{path} row {number}")


def _without_nulls(value: Any) -> Any:
    """Parquet fills what a row lacks with nulls; in an event, absent is absent."""
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    if isinstance(value, datetime):
        aware = value if value.tzinfo else value.replace(tzinfo=UTC)
        return aware.isoformat()
    return value


def _event(raw: Any, decode: Callable[[Any], Any], where: str) -> Event:
    try:
        document = decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ReplayError(f"{where} is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise ReplayError(f"{where}: expected an event (a JSON object), got {type(document).__name__}")
    key = document.get("user_id") or document.get("session_id")
    return Event(raw, str(key).encode() if key else None, _time_of(document.get("time"), where), where)


def _time_of(value: Any, where: str) -> int:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return round(value * 1000)
    if isinstance(value, str):
        try:
            return parse_time(value)
        except ValueError as error:
            raise ReplayError(f"{where}: time: {error}") from None
    raise ReplayError(f"{where}: expected `time` as RFC 3339 or epoch milliseconds, got {value!r}")


def _rfc3339(us: int) -> str:
    from monitor.times import iso

    return iso(us)
