"""What ingest needs of a Kafka client, and nothing more: one small protocol, so that another client fits too."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol


class TopicPartition(NamedTuple):
    """One partition of one topic."""

    topic: str
    partition: int


class SourceUnavailable(Exception):
    """The brokers did not answer; asking again later may help."""


@dataclass(slots=True)
class Records:
    """Consecutive records of one partition as parallel lists, offsets ascending.

    ``timestamps_ms`` are the records' Kafka timestamps, -1 where a record has none. ``next_offset`` is where
    reading goes on: past records that compaction or transactions took out as well.
    """

    offsets: list[int] = field(default_factory=list)
    timestamps_ms: list[int] = field(default_factory=list)
    keys: list[bytes | None] = field(default_factory=list)
    values: list[bytes | None] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.offsets)

    def extend(self, other: Records) -> None:
        self.offsets += other.offsets
        self.timestamps_ms += other.timestamps_ms
        self.keys += other.keys
        self.values += other.values

    def part(self, start: int, end: int) -> Records:
        return Records(
            self.offsets[start:end], self.timestamps_ms[start:end], self.keys[start:end], self.values[start:end]
        )


Assigned = Callable[[Iterable[TopicPartition]], None]


class EventSource(Protocol):
    """A consumer in a group. Not thread-safe; callbacks run inside ``poll``."""

    def subscribe(self, topics: Iterable[str], assigned: Assigned, revoked: Assigned) -> None:
        """Join the group. ``revoked`` is called before partitions go, ``assigned`` after they came."""

    def poll(self, timeout_s: float) -> Mapping[TopicPartition, Records]:
        """Records of assigned partitions, empty after ``timeout_s`` without any."""

    def seek(self, partition: TopicPartition, offset: int) -> bool:
        """Read on from ``offset`` (the earliest record kept, where that one is gone). False: no longer assigned."""

    def bounds(self, partitions: Iterable[TopicPartition]) -> Mapping[TopicPartition, tuple[int, int]]:
        """(first offset kept, offset after the last record) of each partition, asked from the broker. Raises
        SourceUnavailable."""

    def position(self, partition: TopicPartition) -> int | None:
        """The offset that the next poll reads from, None where it is not known yet."""

    def highwater(self, partition: TopicPartition) -> int | None:
        """The offset after the last record as the last fetch reported it; None before the first."""

    def partition_count(self, topic: str) -> int:
        """How many partitions the topic has."""

    def pause(self) -> None:
        """Keep the membership alive in ``poll`` but read nothing."""

    def resume(self) -> None:
        """Read again."""

    def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Tell the group's offsets to the broker, for lag tools; failing is no error."""

    def close(self) -> None:
        """Leave the group."""
