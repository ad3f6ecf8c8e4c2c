"""Error rates and the review queue at /metrics: what estimates and the queue say, made only where it changed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import delete, insert

from monitor.estimates import Estimate, estimates, last_days
from monitor.serve.metrics import render
from monitor.serve.review import series
from monitor.serve.review.series import LOOK_SECONDS, SHARE_SECONDS, ErrorRates, LabelsGiven
from monitor.store import review
from monitor.store.engine import Store
from monitor.store.review import Filters, Label, item_id
from monitor.store.tables import labels
from tests.dashboards.watched import END, MINUTE, SEGMENTS, metrics_of, value_of

ROUTE = "invoice-extract"
HOUR = 60 * MINUTE


class Clock:
    """Seconds that go forward by hand, and by ``each`` at every look."""

    def __init__(self) -> None:
        self.now, self.each = 0.0, 0.0

    def __call__(self) -> float:
        self.now += self.each
        return self.now


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Segments whose rates were made, in this order."""
    found: list[str] = []

    def counted(store: Store, *span: Any, segment: str) -> list[Estimate]:
        found.append(segment)
        return estimates(store, *span, segment=segment)

    monkeypatch.setattr(series, "estimates", counted)
    return found


def test_rates_are_the_estimates_with_limits_that_always_hold(store: Store) -> None:
    text = render(metrics_of(store)[0])
    span = last_days(store, 28, "UTC")
    assert span is not None
    for segment in SEGMENTS:
        (row,) = estimates(store, *span, "UTC", segment=segment)
        place = {"route": ROUTE, "segment": segment}
        assert row.rate is not None
        assert row.always is not None
        assert value_of(text, "driftline_review_error_rate", **place, bound="value") == row.rate
        assert value_of(text, "driftline_review_error_rate", **place, bound="low") == row.always.low
        assert value_of(text, "driftline_review_error_rate", **place, bound="high") == row.always.high
        assert value_of(text, "driftline_review_labels", **place) == row.labels > 50
        assert (row.always.low, row.always.high) != (row.once.low, row.once.high)


def test_the_queue_by_pool_and_state(store: Store) -> None:
    (held,) = review.next_items(store, "bob", Filters(), END, HOUR)
    review.remove(store, item_id(f"{SEGMENTS[0]}-1-59"), "bob", "", END)
    text = render(metrics_of(store)[0])
    shown = {
        state: value_of(text, "driftline_review_items", pool="default", state=state)
        for state in ("open", "leased", "done", "removed")
    }
    assert shown == {"open": 78, "leased": 1, "done": 160, "removed": 1}
    assert held.pool == "default"
    assert value_of(text, "driftline_review_items", pool="legal", state="open") == 0
    assert value_of(text, "driftline_review_oldest_open_seconds", pool="default") >= 120 * 60
    assert value_of(text, "driftline_review_oldest_open_seconds", pool="legal") == 0
    assert value_of(text, "driftline_review_labels_per_day", pool="default") == 100
    assert value_of(text, "driftline_review_labels_per_day", pool="legal") == 20


def test_labels_given_are_counted_as_they_come_and_never_fall(store: Store) -> None:
    found, product = metrics_of(store)

    def given() -> float:
        product.refresh(END)
        return value_of(render(found), "driftline_review_labels_given_total", pool="default")

    assert given() == 0, "a counter begins with its process, so that erasing labels is no fall"
    (item,) = review.next_items(store, "bob", Filters(), END, HOUR)
    review.label(store, item.item_id, "bob", Label("wrong"), END)
    assert given() == given() == 1
    review.undo(store, "bob", END, HOUR, HOUR)
    review.label(store, item.item_id, "bob", Label("correct"), END)
    review.import_label(store, item.event_id, "ann", Label("wrong"), END, gold=True)
    review.import_label(store, "of-no-item", "ann", Label("wrong"), END)
    assert given() == 2, "a known answer, and one without an item, are no work of this queue"
    with store.write() as connection:
        connection.execute(delete(labels).where(labels.c.reviewer == "ann"))
    assert given() == 2


def test_a_label_whose_number_shows_up_late_counts_once(store: Store) -> None:
    """PostgreSQL gives numbers in one order and commits in another."""
    given = LabelsGiven()

    def row(number: int, item: str) -> dict[str, Any]:
        said = {"kind": "label", "label": Label("wrong").encode(), "time_us": END, "origin": "page"}
        return said | {
            "id": number, "item_id": item_id(item), "event_id": item, "reviewer": "eve", "undone": False, "gold": False
        }  # fmt: skip

    def look() -> int:
        with store.read() as connection:
            return dict(given.look(connection)).get("default", 0)

    def write(number: int, item: str) -> None:
        with store.write() as connection:
            connection.execute(insert(labels), [row(number, item)])

    assert look() == 0
    write(1002, f"{SEGMENTS[0]}-1-1")
    assert look() == 1
    write(1001, f"{SEGMENTS[0]}-1-2")
    assert [look(), look(), look()] == [2, 2, 2]


def test_only_what_changed_is_made_anew(store: Store, made: list[str]) -> None:
    clock = Clock()
    rates = ErrorRates(store, clock)
    assert set(rates.look("UTC", 500)) == {(ROUTE, segment) for segment in SEGMENTS}
    assert sorted(made) == sorted(SEGMENTS)
    clock.now += LOOK_SECONDS
    rates.look("UTC", 500)
    assert len(made) == 2, "nothing changed"
    (item,) = review.next_items(store, "bob", Filters(segments=(SEGMENTS[1],)), END, HOUR)
    review.label(store, item.item_id, "bob", Label("wrong"), END)
    before = rates.look("UTC", 500)[ROUTE, SEGMENTS[1]]
    assert len(made) == 2, "not looked for again so soon"
    clock.now += LOOK_SECONDS
    after = rates.look("UTC", 500)[ROUTE, SEGMENTS[1]]
    assert made[2:] == [SEGMENTS[1]]
    assert after.waiting == before.waiting - 1


@pytest.mark.parametrize(
    "change",
    [
        lambda store, item: review.import_label(store, item, "ann", Label("unsure"), END),
        lambda store, item: review.undo(store, "ann", END, 10 * HOUR, HOUR),
        lambda store, item: review.remove(store, item_id(item), "bob", "", END),
    ],
    ids=["another verdict", "taken back", "removed"],
)
def test_what_a_rate_is_of_is_noticed(store: Store, made: list[str], change: Callable[[Store, str], object]) -> None:
    clock = Clock()
    rates = ErrorRates(store, clock)
    rates.look("UTC", 500)
    made.clear()
    change(store, f"{SEGMENTS[0]}-1-0")
    clock.now += LOOK_SECONDS
    rates.look("UTC", 500)
    assert len(made) == 1


def test_a_renewal_makes_a_share_and_the_next_ones_the_rest(store: Store, made: list[str]) -> None:
    clock = Clock()
    rates = ErrorRates(store, clock)
    clock.each = SHARE_SECONDS
    assert len(rates.look("UTC", 500)) == len(made) == 1
    assert len(rates.look("UTC", 500)) == len(made) == 2


def test_at_most_so_many_segments_are_shown_those_with_the_most_labels(store: Store) -> None:
    for item in review.next_items(store, "bob", Filters(segments=(SEGMENTS[1],)), END, HOUR, 20):
        review.label(store, item.item_id, "bob", Label("wrong"), END)
    assert list(ErrorRates(store, Clock()).look("UTC", 1)) == [(ROUTE, SEGMENTS[1])]


def test_who_leads_no_longer_starts_anew(store: Store) -> None:
    found, product = metrics_of(store)
    product.clear()
    assert b"driftline_review" not in render(found)
    product.refresh(END)
    assert value_of(render(found), "driftline_review_labels_given_total", pool="default") == 0
    assert b"driftline_review_error_rate{" in render(found)
