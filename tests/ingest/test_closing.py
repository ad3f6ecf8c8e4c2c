"""Which windows are closed: watermarks, idle streams, and partitions that nobody has read yet."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import select, update

from detectors.summaries import Summary
from monitor.ingest.consumer import TopicPartition
from monitor.ingest.worker import IngestWorker
from monitor.store import evaluation, listing, tables
from monitor.store.engine import Store, open_store
from monitor.store.partitions import status
from tests.ingest import streams
from tests.ingest.memory_source import MemoryLog, MemorySource, Record

Log = dict[TopicPartition, list[Record]]
SECOND_US = 1_000_000
MINUTE_US = 60 * SECOND_US


class Clocks:
    """A wall clock and a monotonic one that move together, by hand."""

    def __init__(self, wall_us: int) -> None:
        self.wall_us, self.seconds = wall_us, 0.0

    def sleep(self, seconds: float) -> None:
        self.wall_us += round(seconds * 1e6)
        self.seconds += seconds


def watermarks(store: Store) -> list[int | None]:
    with store.read() as connection:
        return list(
            connection.execute(
                select(tables.partitions.c.watermark_us).order_by(tables.partitions.c.partition)
            ).scalars()
        )


def idle_worker(store: Store, log: Log, clocks: Clocks) -> IngestWorker:
    worker = IngestWorker(
        streams.config(commit_every="1s"),
        store,
        source=MemorySource(MemoryLog(log)),
        wall_us=lambda: clocks.wall_us,
        monotonic=lambda: clocks.seconds,
    )
    for _ in range(3):
        worker.step(0)
        clocks.sleep(1.5)
    worker.step(0)
    return worker


def test_a_live_idle_stream_advances_with_the_clock_and_history_does_not(tmp_path: Path) -> None:
    minute = 60_000
    start = streams.START_MS // minute * minute
    tps = [TopicPartition(streams.TOPIC, partition) for partition in range(3)]
    log: Log = {
        tps[0]: [streams.plain(i, start + i * 1000) for i in range(120)],
        tps[1]: [streams.plain(i, start - 500 * minute + i * 1000) for i in range(120)],
        tps[2]: [],
    }
    store = open_store(f"sqlite:///{tmp_path / 'driftline.db'}")
    clocks = Clocks((start + 120_000) * 1000)
    worker = idle_worker(store, log, clocks)
    assert watermarks(store) == [(start + 89_000) * 1000, (start - 500 * minute + 89_000) * 1000, None]
    for _ in range(200):
        clocks.sleep(1.5)
        worker.step(0)
    live, history, never = watermarks(store)
    # The live one follows the clock by whole windows, 30 s behind; the old one the furthest of all partitions.
    assert live is not None
    assert 0 <= clocks.wall_us - 30_000_000 - live < 62_000_000
    assert history is not None
    assert live - history <= 60_000_000
    assert never is None
    with store.read() as connection:
        advances = connection.execute(select(tables.watermark_advances)).all()
        begun = connection.execute(select(tables.partitions.c.begun).order_by(tables.partitions.c.partition)).scalars()
        assert [bool(value) for value in begun] == [True, True, False]
    assert {row.reason for row in advances} == {"idle"}
    assert 5 <= len(advances) <= 14, "one advance a window and partition, not one a second"
    store.close()


def test_history_alone_is_not_moved_by_the_clock_but_by_a_drain(tmp_path: Path) -> None:
    tp = TopicPartition(streams.TOPIC, 0)
    log: Log = {tp: [streams.plain(i, streams.START_MS + i * 1000) for i in range(100)]}
    store = open_store(f"sqlite:///{tmp_path / 'driftline.db'}")
    clocks = Clocks((streams.START_MS + 10**9) * 1000)
    worker = idle_worker(store, log, clocks)
    before = watermarks(store)
    for _ in range(100):
        clocks.sleep(1.5)
        worker.step(0)
    assert watermarks(store) == before
    worker.drain()
    (after,) = watermarks(store)
    assert after is not None
    assert after % 60_000_000 == 0
    assert after > (streams.START_MS + 99_000) * 1000
    worker.drain()
    with store.read() as connection:
        assert len(connection.execute(select(tables.watermark_advances)).all()) == 1
    store.close()


TPS = [TopicPartition(streams.TOPIC, partition) for partition in range(2)]
START_US = streams.START_MS // 60_000 * MINUTE_US


def minutes(first: int, last: int) -> list[Record]:
    """An event each ten seconds of the minutes [first, last) from `START_US` on."""
    begin = START_US // 1000 + first * 60_000
    return [streams.plain(first * 1000 + i, begin + i * 10_000) for i in range(6 * (last - first))]


def reader(store: Store, source: MemorySource, clocks: Clocks | None = None, **kafka: object) -> IngestWorker:
    clocks = clocks or Clocks(START_US)
    return IngestWorker(
        streams.config(commit_records=1, **kafka),
        store,
        source=source,
        wall_us=lambda: clocks.wall_us,
        monotonic=lambda: clocks.seconds,
    )


def steps(worker: IngestWorker, count: int = 4) -> None:
    for _ in range(count):
        worker.step(0)


def test_nothing_closes_before_every_partition_with_records_is_read(store_url: str) -> None:
    """Whichever partition the broker hands out first, and whoever dies between: the ticks see both."""
    store = open_store(store_url)
    log = MemoryLog({TPS[0]: minutes(0, 60), TPS[1]: minutes(0, 30)})
    for _ in range(2):  # the second worker takes over from the first, which was killed
        source = MemorySource(log)
        source.silent = {TPS[1]}
        worker = reader(store, source)
        steps(worker)
        assert status(store)["events"] == 360
        assert evaluation.closed(store).until_us is None
        assert listing.closed_until(store) is None
    source.silent = set()
    steps(worker)
    assert evaluation.closed(store).until_us == START_US + 30 * MINUTE_US - 40 * SECOND_US
    assert status(store)["late_events"] == 0
    store.close()


def test_a_partition_that_was_empty_begins_where_time_is_closed(store_url: str) -> None:
    """What lies behind the ticks already done is late, what lies ahead of them counts in time."""
    store = open_store(store_url)
    log = MemoryLog({TPS[0]: minutes(0, 60), TPS[1]: []})
    worker = reader(store, MemorySource(log))
    steps(worker)
    closed = listing.closed_until(store)
    assert closed == START_US + 60 * MINUTE_US - 40 * SECOND_US
    log.partitions[TPS[1]] += minutes(40, 70)
    log.partitions[TPS[0]] += minutes(60, 90)
    steps(worker)
    assert status(store)["late_events"] == sum(
        START_US + 40 * MINUTE_US + i * 10 * SECOND_US < closed for i in range(180)
    )
    assert listing.closed_until(store) == START_US + 70 * MINUTE_US - 40 * SECOND_US
    store.close()


def test_the_moment_at_which_an_empty_partition_began_survives_a_kill(store_url: str) -> None:
    """Killed before the first commit, the next owner calls the same events late."""
    store = open_store(store_url)
    log = MemoryLog({TPS[0]: minutes(0, 60), TPS[1]: []})
    source = MemorySource(log)
    worker = IngestWorker(streams.config(commit_records=10**6, commit_every="1h"), store, source=source)
    steps(worker)
    worker.flush()
    closed = listing.closed_until(store)
    log.partitions[TPS[1]] += minutes(40, 70)
    log.partitions[TPS[0]] += minutes(60, 90)
    source.silent = {TPS[0]}
    steps(worker)  # has read the first records, and dies before it commits them
    heir = reader(store, MemorySource(log))
    steps(heir)
    assert closed is not None
    assert status(store)["late_events"] == 6 * 20 - 4
    assert listing.closed_until(store) == START_US + 70 * MINUTE_US - 40 * SECOND_US
    store.close()


def test_records_that_are_no_events_do_not_hold_time_for_ever(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path / 'driftline.db'}")
    clocks = Clocks(START_US + 10**13)
    log = MemoryLog({TPS[0]: minutes(0, 60), TPS[1]: [(START_US // 1000, None, b"{")]})
    worker = reader(store, MemorySource(log), clocks)
    steps(worker)
    assert status(store)["dead_letters"] == 1
    assert listing.closed_until(store) is None
    for _ in range(60):
        clocks.sleep(1.5)
        log.partitions[TPS[1]].append((START_US // 1000, None, b"{"))  # and they go on
        steps(worker, 1)
    assert listing.closed_until(store) == watermarks(store)[0]
    store.close()


def test_a_topic_that_is_no_longer_read_holds_nothing(tmp_path: Path) -> None:
    other = TopicPartition("other", 0)
    store = open_store(f"sqlite:///{tmp_path / 'driftline.db'}")
    log = MemoryLog({TPS[0]: minutes(0, 60), other: minutes(0, 10)})
    steps(reader(store, MemorySource(log), topics=[streams.TOPIC, "other"]))
    held = START_US + 10 * MINUTE_US - 40 * SECOND_US
    assert listing.closed_until(store) == held
    log.partitions[TPS[0]] += minutes(60, 70)
    steps(reader(store, MemorySource(log), topics=[streams.TOPIC]))
    free = listing.closed_until(store)
    assert free == START_US + 70 * MINUTE_US - 40 * SECOND_US
    log.partitions[other] += minutes(10, 80)
    steps(reader(store, MemorySource(log), topics=[streams.TOPIC, "other"]))
    assert listing.closed_until(store) == free, "read again: what passed meanwhile is late"
    assert status(store)["late_events"] == 6 * 60 - 4
    store.close()


class Forgetful(MemorySource):
    """A source whose brokers have no metadata of any topic for the moment."""

    def partition_count(self, topic: str) -> int:
        return 0


def test_brokers_that_know_no_topic_for_a_moment_let_go_of_nothing(store_url: str) -> None:
    """The configuration says what is read, not what a broker has just told."""
    store = open_store(store_url)
    log = MemoryLog({TPS[0]: minutes(0, 60), TPS[1]: minutes(0, 30)})
    steps(reader(store, MemorySource(log)))
    held = listing.closed_until(store)
    assert held is not None
    log.partitions[TPS[0]] += minutes(60, 61)
    steps(reader(store, Forgetful(log)))
    assert listing.closed_until(store) == held
    assert status(store)["events"] == 6 * 91
    store.close()


def test_a_rebalance_lets_go_of_no_topic_that_a_newer_configuration_reads(tmp_path: Path) -> None:
    other = TopicPartition("other", 0)
    store = open_store(f"sqlite:///{tmp_path / 'driftline.db'}")
    log = MemoryLog({TPS[0]: minutes(0, 60), other: minutes(0, 10)})
    source = MemorySource(log)
    older = reader(store, source, topics=[streams.TOPIC])
    steps(older)
    steps(reader(store, MemorySource(log), topics=[streams.TOPIC, "other"]))
    held = listing.closed_until(store)  # where time was closed when the other topic was first seen
    log.partitions[TPS[0]] += minutes(60, 90)
    source.rebalance([])
    steps(older, 1)
    source.rebalance([TPS[0]])
    steps(older)
    assert status(store)["offsets"] == {"inference/0": 540, "other/0": 60}
    assert listing.closed_until(store) == held == START_US + 60 * MINUTE_US - 40 * SECOND_US
    store.close()


def test_a_partition_that_was_let_go_of_keeps_what_its_open_windows_held(store_url: str) -> None:
    store = open_store(store_url)
    whole = minutes(0, 10)
    log = MemoryLog({TPS[0]: whole[:57]})  # cut within a minute
    steps(reader(store, MemorySource(log)))
    with store.write() as connection:
        connection.execute(update(tables.partitions).values(watermark_us=None))
    log.partitions[TPS[0]] += whole[57:]
    steps(reader(store, Forgetful(log)))
    with store.read() as connection:
        rows = connection.execute(select(tables.summaries.c.events, tables.summaries.c.state)).all()
    assert sum(row.events for row in rows) == 60
    assert sum(Summary.from_state(bytes(row.state)).events() for row in rows) == 60
    store.close()
