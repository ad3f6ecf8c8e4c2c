"""Parts of pages are made once in a state, never shown in another, and bounded."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from monitor.serve.remembered import RECENT_S, Remembered, state_of
from monitor.store import partitions as store_partitions
from monitor.store.engine import open_store
from monitor.store.tables import anomalies, partitions
from tests.service.anomalies_of_page import row_of, story
from tests.store.traffic import DAY_US, START, Traffic


def test_it_is_made_once_in_a_state() -> None:
    made: list[str] = []
    kept = Remembered()

    def make(text: str) -> str:
        made.append(text)
        return text

    assert [kept.html("page", ("a",), lambda: make("first")) for _ in range(3)] == ["first"] * 3
    assert kept.html("page", ("b",), lambda: make("second")) == "second"
    assert kept.html("other", ("b",), lambda: make("third")) == "third"
    assert made == ["first", "second", "third"]


def test_a_failure_is_not_kept() -> None:
    kept = Remembered()
    with pytest.raises(ZeroDivisionError):
        kept.html("page", (), lambda: str(1 // 0))
    assert kept.html("page", (), lambda: "there") == "there"


def test_the_least_recently_asked_for_goes_first() -> None:
    kept, made = Remembered(most=10), []

    def ask(key: str) -> None:
        kept.html(key, (), lambda: made.append(key) or "12345")  # type: ignore[func-returns-value]

    for key in ("a", "b", "a", "c", "a", "b"):
        ask(key)
    assert made == ["a", "b", "c", "b"]
    assert kept.html("large", (), lambda: "x" * 50) == "x" * 50, "what is too large for it is shown all the same"


def test_what_takes_little_is_kept_by_hundreds_and_what_takes_much_is_not() -> None:
    kept = Remembered(most=100_000)
    made: list[tuple[str, int]] = []

    def ask(kind: str, number: int, length: int) -> None:
        kept.value((kind, number), (), lambda: made.append((kind, number)) or [0.5] * length)  # type: ignore[func-returns-value]

    for kind, length in (("small", 30), ("small", 30), ("large", 3000), ("large", 3000)):
        for number in range(200):
            ask(kind, number, length)
    assert made.count(("small", 0)) == 1, "200 of some 300 bytes fit"
    assert made.count(("large", 0)) == 2, "200 of some 27,000 do not"


@pytest.mark.parametrize(("took", "good_for"), [(0.9, 0.0), (2.0, 40.0), (30.0, RECENT_S)])
def test_what_takes_long_to_make_is_shown_for_a_while(took: float, good_for: float) -> None:
    now = [0.0]
    kept = Remembered(clock=lambda: now[0])

    def make() -> str:
        now[0] += took
        return f"made at {now[0]:g}"

    first = kept.value("page", (1,), make)
    now[0] += good_for
    assert kept.value("page", (1,), make) == first
    if good_for:
        assert kept.value("page", (2,), make) == first
    now[0] += 0.1
    assert kept.value("page", (3,), make) != first


@pytest.mark.parametrize(("age", "shown"), [(RECENT_S, "old"), (RECENT_S + 1, "new")])
def test_who_comes_meanwhile_gets_what_was_there_unless_it_is_old(age: float, shown: str) -> None:
    now = [0.0]
    kept = Remembered(clock=lambda: now[0])
    kept.html("page", (1,), lambda: "old")
    now[0] = age
    makes, goes_on = threading.Event(), threading.Event()

    def slowly() -> str:
        makes.set()
        assert goes_on.wait(20)
        return "new"

    found: list[str] = []
    first = threading.Thread(target=lambda: found.append(kept.html("page", (2,), slowly)))
    first.start()
    assert makes.wait(20)
    if shown == "old":
        assert kept.html("page", (2,), lambda: "never") == "old"
    else:
        second = threading.Thread(target=lambda: found.append(kept.html("page", (2,), lambda: "never")))
        second.start()
        second.join(0.05)
        assert second.is_alive(), "it waits"
        goes_on.set()
        second.join(20)
    goes_on.set()
    first.join(20)
    assert set(found) == {"new"}


def test_the_state_changes_with_what_pages_show(store_url: str, tmp_path: Path) -> None:
    store = open_store(store_url)
    traffic = Traffic(store)
    seen = []

    def look(until: int = 0) -> bool:
        """Whether it is a state not seen before."""
        with store.read() as connection:
            found = state_of(connection, until)
        known = found in seen
        seen.append(found)
        return not known

    assert look()
    traffic.watermark(0, START)
    assert look(), "a window is closed"
    traffic.write(0, START + DAY_US, [1], late=False)
    assert not look(), "a window that is open is not in a range that ends before"
    with store.write() as connection:
        connection.execute(partitions.update().values(late_events=1))
    assert look(), "an event came late"
    with store.write() as connection:
        connection.execute(anomalies.insert().values(row_of(story())))
    assert look(), "an anomaly opened"
    assert look(START + 2 * DAY_US)
    store_partitions.claim(store, "inference", 1, "another")
    with store.write() as connection:
        connection.execute(partitions.update().values(next_offset=5))
    assert look(START + 2 * DAY_US), "records were read, of a range that is not closed"
    store.close()
