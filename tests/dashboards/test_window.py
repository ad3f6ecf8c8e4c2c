"""The trailing window: late and lagging rows appear at the next look, and the sums are those of plain merging."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from sqlalchemy import insert, select, update

from detectors.summaries import Summary, SummaryTable
from monitor.serve import window
from monitor.serve.metrics import ProductMetrics, ProductSettings
from monitor.serve.series import Window, product_families
from monitor.store.engine import Store
from monitor.store.tables import partitions, summaries
from tests.dashboards.watched import END, MINUTE, SEGMENTS, metrics_of, value_of
from tests.summaries.events import batch


def state_of(seed: int, events: int, **shape: Any) -> bytes:
    table = SummaryTable()
    table.update(np.zeros(events, dtype=np.int64), batch(np.random.default_rng(seed), events, **shape))
    return table.state(0)


def put(store: Store, state: bytes, **where: Any) -> None:
    """Write a row, or replace it, as ingest does."""
    row = {
        "level": 0,
        "window_us": END - 30 * MINUTE,
        "route": "invoice-extract",
        "segment": SEGMENTS[0],
        "version": "vlm-large@14",
        "late": False,
        "topic": "inference",
        "partition": 0,
        "events": Summary.from_state(state).events(),
        "state": state,
    }
    with store.write() as conn:
        store.upsert(conn, summaries, [row | where])


def shown(product: ProductMetrics) -> float:
    return value_of(product.text, "driftline_events", route="invoice-extract", segment=SEGMENTS[0])


def plain(store: Store, from_us: int, until_us: int) -> dict[tuple[str, str, str], Summary]:
    """The window by `Summary.merge`, one row after another."""
    found: dict[tuple[str, str, str], Summary] = {}
    query = select(summaries).where(
        summaries.c.level == 0, summaries.c.window_us >= from_us, summaries.c.window_us < until_us
    )
    with store.read() as conn:
        for row in conn.execute(query):
            key = (row.route, row.segment, row.version)
            found[key] = found.get(key, Summary()).merge(Summary.from_state(bytes(row.state)))
    return found


def test_late_rows_of_a_part_that_was_read_appear_at_the_next_refresh(store: Store) -> None:
    _, product = metrics_of(store)
    before = shown(product)
    put(store, state_of(1, 7), late=True)
    product.refresh(END)
    assert shown(product) == before + 7
    put(store, state_of(2, 19), late=True)  # the same row, grown
    product.refresh(END)
    assert shown(product) == before + 19


def test_rows_of_a_partition_behind_the_others_appear_while_it_catches_up(store: Store) -> None:
    _, product = metrics_of(store)
    before = shown(product)
    with store.write() as conn:
        behind = {"partition": 5, "watermark_us": END - 40 * MINUTE}
        found = dict(conn.execute(select(partitions).limit(1)).mappings().one())
        conn.execute(insert(partitions), [found | behind])
    put(store, state_of(1, 7), partition=5)
    product.refresh(END)
    assert shown(product) == before + 7
    put(store, state_of(2, 11), partition=5)
    product.refresh(END)
    assert shown(product) == before + 11
    put(store, state_of(3, 12), partition=5)
    with store.write() as conn:
        conn.execute(update(partitions).values(watermark_us=END))
    product.refresh(END)
    assert shown(product) == before + 12, "what it wrote last is read although its rows are final now"


def test_only_what_changed_is_read_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    _, product = metrics_of(store)
    read: list[tuple[int, int, bool]] = []
    real = window.read

    def watched(conn: Any, from_us: int, to_us: int, late: bool) -> Any:
        read.append((from_us, to_us, late))
        return real(conn, from_us, to_us, late)

    monkeypatch.setattr(window, "read", watched)
    at = END - 30 * MINUTE
    put(store, state_of(1, 7), late=True, window_us=at)
    product.refresh(END)
    ((begin, end, late),) = read
    assert begin <= at < end <= begin + window.PART_US
    assert late


def test_the_text_is_that_of_merging_every_row(store: Store) -> None:
    """Rows of many labels (more than a sum names), versions, partitions, late and on time, in parts and in one."""
    for i in range(40):
        put(
            store,
            state_of(i, 5 + 13 * i, labels=1 + i % 14, stages=i % 9, users=40),
            window_us=END - (1 + i) * MINUTE,
            segment=(*SEGMENTS, "other")[i % 3],
            version=f"vlm-large@{14 + i % 4}",
            late=i % 4 == 0,
            partition=i % 3,
        )
    settings = ProductSettings("USD", (), lambda row, now_us: "none", window_us=45 * MINUTE)
    sliding = ProductMetrics(store, settings, lambda: END)
    for until in range(END - 12 * MINUTE, END + MINUTE, MINUTE):
        sliding.refresh(until)
    at_once = ProductMetrics(store, settings, lambda: END)
    at_once.refresh(END)
    assert sliding.text == at_once.text

    whole = Window(END, 45 * MINUTE, "USD", plain(store, END - 45 * MINUTE, END))
    expected = {family.name: text_of(family) for family in product_families(whole)}
    text = at_once.text.decode()
    absent = {"driftline_sample_coverage", "driftline_month_spend", "driftline_projected_month_spend"}
    assert len(expected) > 25 and not absent & set(expected)
    for name, lines in expected.items():
        assert lines in text, name


def text_of(family: Any) -> str:
    class One:
        def collect(self) -> list[Any]:
            return [family]

    registry = CollectorRegistry(auto_describe=False)
    registry.register(One())  # type: ignore[arg-type]
    return generate_latest(registry).decode()


def test_an_hour_that_the_parts_hold_is_not_read_for_the_projection(store: Store) -> None:
    until = END - END % (60 * MINUTE)
    parts = window.Parts()
    with store.read() as conn:
        parts.look(conn, until - 60 * MINUTE, until)
    spend = parts.spend(until - 60 * MINUTE, until)
    assert spend is not None
    by_place: dict[tuple[str, str], int] = {}
    for (route, segment, _), summary in plain(store, until - 60 * MINUTE, until).items():
        by_place[route, segment] = by_place.get((route, segment), 0) + summary.total("cost").sum
    assert spend == by_place
    assert parts.spend(until - 60 * MINUTE, until + MINUTE) is None
