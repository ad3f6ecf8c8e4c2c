from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import insert

from monitor.store import listing, reads, rollups
from monitor.store.engine import Store, open_store
from monitor.store.tables import summaries
from monitor.times import HOUR_US, MINUTE_US
from tests.store.traffic import DAY_US, START, Traffic


@pytest.fixture
def traffic(store_url: str) -> Iterator[Traffic]:
    store = open_store(store_url)
    traffic = Traffic(store)
    traffic.watermark(0, START)
    traffic.watermark(1, START)
    for minute in range(0, 180, 20):
        traffic.write(0, START + minute * MINUTE_US, [minute + 1], late=False, segment="a")
        traffic.write(1, START + minute * MINUTE_US, [minute + 2, 5], late=False, segment="other")
    traffic.write(1, START + 20 * MINUTE_US, [9], late=True, segment="a")
    yield traffic
    store.close()


@pytest.mark.parametrize("rolled", [False, True])
def test_segments_windows_and_versions_are_parts_of_the_same_sum(traffic: Traffic, rolled: bool) -> None:
    store: Store = traffic.store
    end = START + 3 * HOUR_US
    if rolled:
        traffic.watermark(0, START + 3 * DAY_US)
        traffic.watermark(1, START + 3 * DAY_US)
        assert rollups.run(store, allowed_lateness_us=DAY_US, timezone="UTC") > 0
    with store.read() as connection:
        everything = reads.merged_with_notes(connection, START, end)
        segments, _ = reads.merged_by(connection, START, end, lambda row: row.segment)
        hours = reads.by_window(connection, START, end)
        versions, _ = reads.merged_by(connection, START, end, lambda row: row.version, segment="a")
        listed = listing.segments(connection)
        assert {segment for _, segment in reads.places(connection)} == {"a", "other"}
    assert (everything.events, everything.late_events, everything.other_events) == (28, 1, 18)
    assert everything.missing == ()
    assert list(segments) == ["a", "other"]
    assert segments["a"].summary == traffic.expected(START, end, "a")
    assert segments["a"].other_events == 0
    assert [us for us, _ in hours] == [START, START + HOUR_US, START + 2 * HOUR_US]
    assert sum(found.events for _, found in hours) == 28
    assert hours[0][1].summary == traffic.expected(START, START + HOUR_US)
    assert {name: found.events for name, found in versions.items()} == {"m@1": 10}
    assert [(row.segment, row.events, row.late_events, row.versions) for row in listed] == [
        ("a", 10, 1, ("m@1",)),
        ("other", 18, 0, ("m@1",)),
    ]


def test_a_finer_series_is_read_from_minutes(traffic: Traffic) -> None:
    series = reads.by_window(traffic.store, START, START + HOUR_US, step_us=30 * MINUTE_US, late=False)
    assert [(us - START, found.events) for us, found in series] == [(0, 6), (30 * MINUTE_US, 3)]
    with pytest.raises(ValueError, match="whole minutes"):
        reads.by_window(traffic.store, START, START + HOUR_US, step_us=1)


def test_rows_come_in_one_order_on_every_database(traffic: Traffic) -> None:
    rows = reads.summary_rows(traffic.store, START, START + HOUR_US)
    keys = [(row.window_us, row.route, row.segment, row.version, row.late, row.topic, row.partition) for row in rows]
    assert keys == sorted(keys)
    assert reads.summary_rows(traffic.store, START, START + HOUR_US, late=True)[0].events == 1


def test_windows_are_closed_up_to_the_least_watermark(traffic: Traffic) -> None:
    assert listing.closed_until(traffic.store) == START
    traffic.watermark(0, START + HOUR_US)
    assert listing.closed_until(traffic.store) == START
    assert [row.watermark_us for row in listing.partition_rows(traffic.store)] == [START + HOUR_US, START]


@pytest.mark.parametrize("rolled", [False, True])
def test_what_pages_list_agrees_with_the_sums(traffic: Traffic, rolled: bool) -> None:
    store, end = traffic.store, START + 3 * HOUR_US
    if rolled:
        traffic.watermark(0, START + 3 * DAY_US)
        traffic.watermark(1, START + 3 * DAY_US)
        rollups.run(store, allowed_lateness_us=DAY_US, timezone="UTC")
    with store.read() as connection:
        assert listing.names(connection, START, end) == ["a", "other"]
        assert listing.names(connection, end, end + DAY_US) == []
        assert listing.route_of(connection, "a") == "r"
        assert listing.route_of(connection, "b") is None
        hours = listing.events_by_window(connection, START, end, days=False)
        days = listing.events_by_window(connection, START, START + DAY_US, days=True)
        series = reads.by_window(connection, START, end, segment="a")
    assert hours["r", "a"] == {us: found.events for us, found in series}
    assert days == {("r", "a"): {START: 10}, ("r", "other"): {START: 18}}


def test_a_version_begins_where_it_was_not_seen_before(traffic: Traffic) -> None:
    store = traffic.store

    def began(from_us: int, segment: str | None = None) -> list[tuple[int, str]]:
        with store.read() as connection:
            return listing.versions_began(connection, from_us, START + 9 * HOUR_US, segment)

    assert began(START) == [], "the first that is seen began at a time that nobody knows"
    with store.write() as connection:
        for window in (5, 7):
            connection.execute(
                insert(summaries).values(
                    level=0, window_us=START + window * HOUR_US, route="r", segment="a", version="m@2", late=False,
                    topic="inference", partition=0, events=1, state=b"",
                )
            )  # fmt: skip
    assert began(START) == began(START + HOUR_US, "a") == [(START + 5 * HOUR_US, "m@2")]
    assert began(START, "other") == []
    assert began(START + 6 * HOUR_US) == [], "it was there the day before"
