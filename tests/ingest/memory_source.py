"""An event source in memory: partitions are lists, polls are cut as the test says, a group is one member."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from monitor.ingest.consumer import Assigned, Records, TopicPartition

Record = tuple[int, bytes | None, bytes | None]  # (timestamp ms, key, value)


class MemoryLog:
    """Topic partitions shared by any number of sources; ``first`` is the first offset kept."""

    def __init__(self, partitions: Mapping[TopicPartition, list[Record]]) -> None:
        self.partitions = {tp: list(records) for tp, records in partitions.items()}
        self.first = dict.fromkeys(self.partitions, 0)


class MemorySource:
    """Reads a log; ``cut()`` gives the size of the next poll of a partition."""

    def __init__(self, log: MemoryLog, cut: Callable[[], int] = lambda: 1000) -> None:
        self.log, self.cut = log, cut
        self.positions: dict[TopicPartition, int] = {}
        self.paused = False
        self.silent: set[TopicPartition] = set()  # whose records the broker does not hand out yet
        self.told: dict[TopicPartition, int] = {}
        self._assigned: Assigned | None = None
        self._revoked: Assigned | None = None
        self._pending: list[TopicPartition] | None = None

    def subscribe(self, topics: Iterable[str], assigned: Assigned, revoked: Assigned) -> None:
        self._assigned, self._revoked = assigned, revoked
        self._pending = [tp for tp in self.log.partitions if tp.topic in set(topics)]

    def rebalance(self, partitions: Iterable[TopicPartition]) -> None:
        """Everything is revoked and these are assigned, inside the next poll."""
        self._pending = list(partitions)

    def poll(self, timeout_s: float) -> Mapping[TopicPartition, Records]:
        if self._pending is not None:
            assert self._assigned is not None and self._revoked is not None
            if self.positions:
                self._revoked(list(self.positions))
            # As Kafka does it: positions come from the group's own offsets, which the worker must not rely on.
            self.positions = {tp: self.told.get(tp, 0) for tp in self._pending}
            self._assigned(self._pending)
            self._pending = None
        found = {}
        for tp, position in self.positions.items():
            if self.paused or tp in self.silent:
                continue
            records = self.log.partitions[tp][position : position + self.cut()]
            if records:
                found[tp] = Records(
                    list(range(position, position + len(records))),
                    [record[0] for record in records],
                    [record[1] for record in records],
                    [record[2] for record in records],
                )
                self.positions[tp] = position + len(records)
        return found

    def seek(self, partition: TopicPartition, offset: int) -> bool:
        self.positions[partition] = offset
        return True

    def bounds(self, partitions: Iterable[TopicPartition]) -> Mapping[TopicPartition, tuple[int, int]]:
        return {tp: (self.log.first[tp], len(self.log.partitions[tp])) for tp in partitions}

    def position(self, partition: TopicPartition) -> int | None:
        return self.positions.get(partition)

    def highwater(self, partition: TopicPartition) -> int | None:
        return len(self.log.partitions[partition])

    def partition_count(self, topic: str) -> int:
        return sum(tp.topic == topic for tp in self.log.partitions)

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        self.paused = False

    def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        self.told.update(offsets)

    def close(self) -> None:
        self.positions.clear()
