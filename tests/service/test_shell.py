"""What an address asks a page for, and the addresses that ask for it again."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qsl

import pytest
from starlette.datastructures import QueryParams

from detectors.summaries import Summary
from monitor.serve import parameters, shell
from monitor.serve.parameters import BadParameter
from monitor.serve.shell import View, ViewQuery, asked
from monitor.store.engine import Store, open_store
from monitor.times import DAY_US, HOUR_US, parse_time
from tests.service.store_of_page import HOSTILE, MINUTE, NOON, fill

NOW = NOON + 10 * MINUTE  # what `fill` closes


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, migrated: Path) -> Iterator[Store]:
    path = tmp_path_factory.mktemp("shell") / "driftline.db"
    shutil.copy(migrated, path)
    opened = open_store(f"sqlite:///{path}")
    fill(opened, Summary().to_state())
    yield opened
    opened.close()


def view(store: Store, query: str = "") -> View:
    with store.read() as connection:
        return asked(connection, parameters.read(ViewQuery, QueryParams(query)))


def test_by_default_a_week_of_all_segments_up_to_the_newest_closed_window(store: Store) -> None:
    assert view(store) == View("all", NOW - 7 * DAY_US, NOW, "7d")
    assert view(store, "segment=&range=") == view(store), "what a form sends that asks for nothing"


@pytest.mark.parametrize(("range_", "days"), [("24h", 1), ("7d", 7), ("28d", 28)])
def test_a_named_range_ends_with_the_newest_closed_window(store: Store, range_: str, days: int) -> None:
    found = view(store, f"range={range_}")
    assert (found.begin_us, found.end_us, found.preset) == (NOW - days * DAY_US, NOW, range_)


def test_from_and_to_go_before_a_name(store: Store) -> None:
    found = view(store, "range=28d&from=2026-11-02&to=2026-11-03T12:00Z&segment=a/b")
    assert (found.begin_us, found.end_us) == (parse_time("2026-11-02"), parse_time("2026-11-03T12:00Z"))
    assert (found.preset, found.segment, found.one) == (None, "a/b", "a/b")


@pytest.mark.parametrize(
    "query",
    ["", "range=24h", "segment=a%26b%3Dc", "from=2026-11-02&to=2026-11-04&segment=%E2%80%AEx", "segment=all"],
)
def test_an_address_asks_for_the_same_again(store: Store, query: str) -> None:
    found = view(store, query)
    assert view(store, found.query()) == found
    assert found.at("/cost").startswith("/cost")


def test_a_link_changes_what_it_names_alone(store: Store) -> None:
    found = view(store, "from=2026-11-02&to=2026-11-04&segment=a")
    assert dict(parse_qsl(found.query(segment="b")))["segment"] == "b"
    assert dict(parse_qsl(found.query(range="24h"))) == {"segment": "a", "range": "24h"}
    assert "segment" not in found.query(segment="")


def test_the_range_before_is_as_long(store: Store) -> None:
    found = view(store, "from=2026-11-02&to=2026-11-04")
    assert (found.before().begin_us, found.before().end_us) == (found.begin_us - 2 * DAY_US, found.begin_us)


@pytest.mark.parametrize(("days", "step"), [(1, HOUR_US), (8, HOUR_US), (9, DAY_US)])
def test_long_ranges_are_drawn_by_day(days: int, step: int) -> None:
    assert View("all", 0, days * DAY_US, None).step_us == step


@pytest.mark.parametrize(
    ("query", "word"),
    [
        ("from=2026-11-04&to=2026-11-02", "empty"),
        ("from=2020-01-01", "400 days"),
        ("from=2099-01-01", "empty"),
        ("from=yesterday", "yesterday"),
        ("range=1y", "1y"),
        ("what=1", "what"),
    ],
)
def test_what_cannot_be_shown_says_what_to_write(store: Store, query: str, word: str) -> None:
    with pytest.raises(BadParameter, match=word):
        view(store, query)


def test_before_any_event_there_is_nothing_to_read(tmp_path: Path, migrated: Path) -> None:
    shutil.copy(migrated, tmp_path / "driftline.db")
    empty = open_store(f"sqlite:///{tmp_path / 'driftline.db'}")
    assert view(empty).empty
    with empty.read() as connection:
        assert shell.choices(connection, view(empty)) == []
    empty.close()


def test_segments_of_the_range_are_offered(store: Store) -> None:
    with store.read() as connection:
        assert shell.choices(connection, view(store)) == [HOSTILE]
