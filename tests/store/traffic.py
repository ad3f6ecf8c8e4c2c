"""Partitions that write summary rows as ingest does, and a ledger of everything they wrote."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from sqlalchemy import update

from detectors.summaries import Summary, SummaryTable
from monitor.store import partitions as store_partitions
from monitor.store.engine import Store
from monitor.store.tables import partitions, summaries
from monitor.times import HOUR_US, MINUTE_US
from tests.summaries.events import of_costs

TOPIC = "inference"
DAY_US = 24 * HOUR_US
START = 1_750_000_000_000_000 // DAY_US * DAY_US

Key = tuple[int, str, str, str, bool, str, int]  # window, route, segment, version, late, topic, partition


def state_of(costs: list[int]) -> bytes:
    table = SummaryTable()
    table.update(np.zeros(len(costs), dtype=np.int64), of_costs(np.array(costs, dtype=np.int64)))
    return table.state(0)


@dataclass
class Traffic:
    """Rows go to the store and to ``ledger``, from which nothing is ever deleted."""

    store: Store
    lateness_us: int = DAY_US
    ledger: dict[Key, Summary] = field(default_factory=dict)
    watermarks: dict[int, int] = field(default_factory=dict)

    def write(self, partition: int, window_us: int, costs: list[int], *, late: bool, segment: str = "a") -> None:
        self.write_all([(partition, window_us, costs, late, segment)])

    def write_all(self, batch: list[tuple[int, int, list[int], bool, str]]) -> None:
        rows: dict[Key, dict[str, Any]] = {}
        names = ("window_us", "route", "segment", "version", "late", "topic", "partition")
        for partition, window_us, costs, late, segment in batch:
            key = (window_us, "r", segment, "m@1", late, TOPIC, partition)
            summary = Summary.from_state(state_of(costs))
            if key in self.ledger:
                summary = self.ledger[key].merge(summary)
            self.ledger[key] = summary
            values = {"level": 0, "events": summary.events(), "state": summary.to_state()}
            rows[key] = dict(zip(names, key, strict=True)) | values
        with self.store.write() as connection:
            self.store.upsert(connection, summaries, list(rows.values()))

    def watermark(self, partition: int, us: int) -> None:
        if partition not in self.watermarks:
            store_partitions.claim(self.store, TOPIC, partition, "test")
        self.watermarks[partition] = us
        with self.store.write() as connection:
            here = (partitions.c.topic == TOPIC, partitions.c.partition == partition)
            connection.execute(update(partitions).where(*here).values(watermark_us=us, max_time_us=us, begun=True))

    def advance(self, generator: random.Random, partition: int, by_us: int) -> None:
        """Some records: on time at or after the watermark, late ones as far behind it as is allowed."""
        mark = self.watermarks[partition]
        times = [(mark + generator.randrange(by_us), False) for _ in range(generator.randint(0, 3))]
        times += [(mark - generator.randrange(1, self.lateness_us), True) for _ in range(generator.randint(0, 2))]
        self.write_all(
            [
                (
                    partition,
                    time - time % MINUTE_US,
                    [generator.randrange(10**9)],
                    late,
                    generator.choice(("a", "b", "other")),
                )
                for time, late in times
            ]
        )
        self.watermark(partition, mark + by_us)

    def expected(self, from_us: int, to_us: int, segment: str | None = None, late: bool | None = None) -> Summary:
        return Summary.merge_all(
            summary
            for key, summary in sorted(self.ledger.items())
            if from_us <= key[0] < to_us and segment in (None, key[2]) and late in (None, key[4])
        )
