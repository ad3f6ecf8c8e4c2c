from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import func, select

from monitor.config.model import Retention
from monitor.store import coverage, listing, reads, retention, rollups
from monitor.store.coverage import DAY, HOUR, MINUTE
from monitor.store.engine import Store, open_store
from monitor.store.tables import summaries
from monitor.times import HOUR_US, MINUTE_US
from tests.store.traffic import DAY_US, START, Traffic

KEEP = Retention.model_validate({"minute": "3d", "hour": "6d", "day": "800d"})


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    store = open_store(store_url)
    yield store
    store.close()


def roll(store: Store, zone: str = "UTC", lateness_us: int = DAY_US) -> int:
    return rollups.run(store, allowed_lateness_us=lateness_us, timezone=zone)


def compare(traffic: Traffic, generator: random.Random, ranges: int = 6) -> None:
    """What is read of random stretches is what was written in them."""
    end = max(traffic.watermarks.values())
    first = min(key[0] for key in traffic.ledger) if traffic.ledger else START
    stretches = [(first - HOUR_US, end + HOUR_US)]
    for _ in range(ranges):
        a, b = sorted(generator.randrange(first - DAY_US, end + DAY_US) for _ in range(2))
        stretches.append((a - a % MINUTE_US, b - b % MINUTE_US))
    with traffic.store.read() as connection:
        for from_us, to_us in stretches:
            late = generator.choice((None, False, True))
            segment = generator.choice((None, "a", "b"))
            found = reads.merged_with_notes(connection, from_us, to_us, late=late, segment=segment)
            if not found.missing:
                assert found.summary == traffic.expected(from_us, to_us, segment, late)
                assert found.events == found.summary.events()


@pytest.mark.parametrize(("seed", "zone"), [(0, "UTC"), (1, "America/New_York"), (2, "Asia/Kolkata")])
def test_every_read_is_exact_while_rows_come_late_and_partitions_begin(store: Store, seed: int, zone: str) -> None:
    generator = random.Random(seed)
    traffic = Traffic(store)
    traffic.watermark(0, START)
    for step in range(40):
        if step == 10:
            traffic.watermark(1, traffic.watermarks[0] - generator.randrange(3 * DAY_US))
        if step == 30:  # a partition that begins with history older than the minutes that are kept
            traffic.watermark(2, START - generator.randrange(DAY_US))
        for partition in list(traffic.watermarks):
            ahead = max(traffic.watermarks.values()) - traffic.watermarks[partition]
            traffic.advance(generator, partition, generator.randrange(1, 8 * HOUR_US) + ahead // 3)
        if generator.random() < 0.7:
            roll(store, zone)
        if generator.random() < 0.5:
            retention.run(store, KEEP)
        if step % 4 == 0:
            compare(traffic, generator)
    roll(store, zone)
    retention.run(store, KEEP)
    compare(traffic, generator, 20)
    # Everything that was ever written is in the sum over all time.
    total = reads.merged_with_notes(store, 0, 10**17)
    assert total.summary == traffic.expected(0, 10**17)
    with store.read() as connection:
        state = coverage.load(connection)
        oldest = connection.execute(select(func.min(summaries.c.window_us)).where(summaries.c.level == MINUTE)).scalar()
    assert state.done_until(DAY, True) > START + 5 * DAY_US  # roll-ups did happen
    assert oldest is not None and oldest > START + DAY_US  # and minutes were deleted


def test_a_changed_zone_and_a_longer_lateness_lose_nothing(store: Store) -> None:
    generator = random.Random(7)
    traffic = Traffic(store, lateness_us=DAY_US // 2)
    traffic.watermark(0, START)
    zones = ["UTC", "Asia/Tokyo", "America/Los_Angeles"]
    for step in range(60):
        zone = zones[step // 20]
        if step == 30:
            traffic.lateness_us = 2 * DAY_US
        traffic.advance(generator, 0, 4 * HOUR_US)
        roll(store, zone, traffic.lateness_us)
        retention.run(store, KEEP)
        if step % 5 == 0:
            compare(traffic, generator)
    assert reads.merged(store, 0, 10**17) == traffic.expected(0, 10**17)


@pytest.mark.parametrize(("day", "hours"), [("2026-03-29", 23), ("2026-10-25", 25), ("2026-06-01", 24)])
def test_days_have_the_hours_the_clock_gives_them(store: Store, day: str, hours: int) -> None:
    start = int(datetime.fromisoformat(day).replace(tzinfo=ZoneInfo("Europe/Berlin")).timestamp()) * 1_000_000
    traffic = Traffic(store)
    traffic.watermark(0, start - DAY_US)
    for hour in range(-3, hours + 3):
        traffic.write(0, start + hour * HOUR_US, [hour + 100], late=False)
    traffic.watermark(0, start + 3 * DAY_US)
    roll(store, "Europe/Berlin")
    (row,) = reads.summary_rows(store, start, start + HOUR_US, level=DAY)
    assert row.window_us == start
    assert row.events == hours
    series = reads.by_window(store, start, start + hours * HOUR_US, step_us=None)
    assert [(us, found.events) for us, found in series] == [(start, hours)]


def test_rolling_up_again_writes_nothing_and_two_at_once_write_once(store: Store) -> None:
    traffic = Traffic(store)
    traffic.watermark(0, START)
    for minute in range(0, 3000, 7):
        traffic.write(0, START + minute * MINUTE_US, [minute], late=False)
    traffic.watermark(0, START + 4 * DAY_US)
    failures: list[BaseException] = []

    def work() -> None:
        try:
            roll(store)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert roll(store) == 0
    rows = reads.summary_rows(store, 0, 10**17, level=HOUR)
    assert sum(row.events for row in rows) == len(range(0, 3000, 7))
    assert sum(row.events for row in reads.summary_rows(store, 0, 10**17, level=DAY)) == len(range(0, 3000, 7))


def test_a_kill_between_two_transactions_changes_nothing(store: Store) -> None:
    """Every prefix of the roll-up's transactions leaves a store that reads the same and goes on the same."""
    generator = random.Random(3)
    traffic = Traffic(store)
    traffic.watermark(0, START)
    for _ in range(20):
        traffic.advance(generator, 0, 6 * HOUR_US)
    expected = traffic.expected(0, 10**17)
    while rollups.run(store, allowed_lateness_us=DAY_US, timezone="UTC", limit=1):
        assert reads.merged(store, 0, 10**17) == expected


def test_minutes_stay_until_both_roll_ups_hold_them(store: Store) -> None:
    traffic = Traffic(store)
    traffic.watermark(0, START)
    traffic.write(0, START, [1], late=False)
    traffic.watermark(0, START + 30 * DAY_US)
    assert retention.run(store, KEEP)["minute"] == 0
    roll(store)
    assert retention.run(store, KEEP)["minute"] == 1
    assert reads.merged(store, START, START + DAY_US).events() == 1
    # An hour of a day whose hours are deleted can no longer be told from the rest of the day, and that is said.
    assert reads.merged_with_notes(store, START, START + HOUR_US).missing == ((START, START + HOUR_US),)
    assert retention.run(store, KEEP)["hour"] == 0


def test_a_row_of_a_partition_with_a_low_watermark_holds_windows_open(store: Store) -> None:
    traffic = Traffic(store)
    traffic.watermark(0, START + 5 * DAY_US)
    traffic.watermark(1, START + HOUR_US)
    traffic.write(0, START, [1], late=False)
    traffic.write(1, START + HOUR_US, [1], late=False)
    assert listing.closed_until(store) == START + HOUR_US
    roll(store)
    with store.read() as connection:
        assert coverage.load(connection).done_until(HOUR, False) == START + HOUR_US
