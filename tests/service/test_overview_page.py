"""The overview as a server sends it: its verdict, its figures, the order of its table, and who may see it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from sqlalchemy import func, select, update

from detectors.summaries.signals import measure
from monitor.config.model import Config
from monitor.serve.cells import plain
from monitor.serve.overview import page as overview
from monitor.serve.overview.page import REFRESH_S
from monitor.serve.review.pages import POLICY
from monitor.store import reads, tokens
from monitor.store.engine import Store, open_store
from monitor.store.responses import respond
from monitor.store.tables import anomalies, partitions, stream_states
from monitor.supervise import PartState
from monitor.times import DAY_US, MINUTE_US
from tests.service.anomalies_of_page import change
from tests.service.signals_of_page import END, OPEN, PER_HOUR, PLAIN, SLOW, Shown, add_late, fill_signals, shown
from tests.service.store_of_page import HOSTILE
from tests.service.test_web import bearer, client

NOW_US = END + 5 * MINUTE_US


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory, migrated: Path) -> Path:
    path = tmp_path_factory.mktemp("overview") / "filled.db"
    shutil.copy(migrated, path)
    opened = open_store(f"sqlite:///{path}", migrate=False)
    fill_signals(opened)
    opened.close()
    return path


@pytest.fixture(scope="module")
def store(filled: Path) -> Iterator[Store]:
    """For what only reads."""
    opened = open_store(f"sqlite:///{filled}", migrate=False)
    yield opened
    opened.close()


@pytest.fixture
def own(filled: Path, tmp_path: Path) -> Iterator[Store]:
    """For what changes it."""
    shutil.copy(filled, tmp_path / "d.db")
    opened = open_store(f"sqlite:///{tmp_path / 'd.db'}", migrate=False)
    yield opened
    opened.close()


def page(store: Store, query: str = "", **overrides: Any) -> Shown:
    answer = client(store, **{"clock": lambda: NOW_US / 1e6, **overrides}).get(f"/{query}")
    assert answer.status_code == 200, answer.text
    return shown(answer.text)


@pytest.mark.parametrize(("query", "days"), [("", 1), ("?range=7d", 3), ("?range=28d", 3)])
def test_figures_are_those_of_the_store(store: Store, query: str, days: int) -> None:
    rows = page(store, query).table("spend")
    for name, segment in (("all | sum of all segments", None), (f"{SLOW} | medium stakes · invoice", SLOW)):
        summary = reads.merged(store, END - days * DAY_US, END, segment=segment)
        events, spend = rows[name][1], rows[name][2]
        assert events.replace("\u202f", "") == str(summary.events())
        assert spend == f"{plain(float(measure(summary, 'cost_total').value or 0))} USD"
    assert rows[f"{PLAIN} | medium stakes · invoice"][1].replace("\u202f", "") == str(PER_HOUR * 24 * days)


def test_the_verdict_says_what_is_open(store: Store) -> None:
    found = page(store)
    assert "1 anomaly open: 1 page" in found.text
    assert f"Slow requests in {SLOW} rose from 5 % to 14 %." in found.text
    assert "latency_total_p95 and 1 more signal" in found.text
    assert (f"/anomalies/{OPEN}", f"Slow requests in {SLOW} rose from 5 % to 14 %.") in found.links
    assert ("/segment?segment=invoice/slow", SLOW) in found.links
    assert "5 min behind the clock" in found.text
    assert f"Errors in {SLOW} rose from 1 % to 9 %." in found.text, "what is resolved lately"


def test_open_anomalies_are_counted_where_they_show(store: Store) -> None:
    rows = page(store).table("spend")
    assert {name.partition(" ")[0]: row[0] for name, row in rows.items()} == {"all": "1", SLOW: "1", PLAIN: "–"}


def test_what_the_verdict_is_without_anything_open(own: Store) -> None:
    with own.write() as connection:
        connection.execute(update(anomalies).values(state="resolved"))
    assert "Nothing is wrong: no anomaly is open" in page(own).text
    down = [PartState("ingest", "failed", 2, "no broker")]
    told = page(own, states=lambda: down).text
    assert "No anomaly is open, but a part of driftline is down" in told
    assert "ingest is down: no broker" in told
    with own.write() as connection:
        connection.execute(stream_states.delete())
    assert "Nothing is judged yet: references are being learned" in page(own).text


def test_what_is_snoozed_comes_last_and_pages_first(own: Store) -> None:
    with own.write() as connection:
        connection.execute(update(anomalies).values(state="open", resolved_us=None))
    change(own, OPEN, severity="ticket")
    change(own, "2" * 24, severity="page")
    found = page(own)
    assert "2 anomalies open: 1 page and 1 ticket" in found.text
    first = [address for address, _ in found.links if address.startswith("/anomalies/")]
    assert first == [f"/anomalies/{'2' * 24}", f"/anomalies/{OPEN}"]
    with own.write() as connection:
        respond(connection, "2" * 24, "snooze", "Ben", NOW_US, note="", until_us=NOW_US + DAY_US)
    found = page(own)
    assert [a for a, _ in found.links if a.startswith("/anomalies/")] == first[::-1]
    assert "snoozed until" in found.text


def test_the_budget_is_told_with_what_people_marked(store: Store) -> None:
    assert page(store).table("marked false") == {
        "page": ["1 per 30d", "1", "0", "0"],
        "ticket": ["2 per 1w", "1", "0", "1"],
    }


def test_a_broken_promise_is_said(own: Store) -> None:
    with own.write() as connection:
        respond(connection, OPEN, "false", "Ben", NOW_US, note="")
    config = Config.model_validate({"budget": {"page": "0.5 per 30d"}})
    assert page(own, config=lambda: config).table("marked false")["page"][-1] == "1 | more than promised"


def test_the_table_is_sorted_as_the_address_says(store: Store) -> None:
    def order(query: str) -> list[str]:
        return [name.partition(" ")[0] for name in page(store, query).table("spend")]

    assert order("") == ["all", SLOW, PLAIN], "what is open comes first"
    assert order("?sort=name") == ["all", PLAIN, SLOW]
    assert order("?sort=name&order=desc") == ["all", SLOW, PLAIN]
    assert order("?sort=open&order=asc") == ["all", PLAIN, SLOW]
    assert order("?sort=latency_total_p95") == ["all", SLOW, PLAIN]
    spend = {
        name: measure(reads.merged(store, END - DAY_US, END, segment=name), "cost_total").value or 0
        for name in (SLOW, PLAIN)
    }
    assert order("?sort=cost_total") == ["all", *sorted(spend, key=lambda name: -spend[name])]


def test_a_long_table_has_pages_and_is_looked_through_by_name(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def rows(found: Shown) -> list[str]:
        return [name.partition(" ")[0] for name in found.table("spend")]

    assert "Find a segment" not in page(store).text, "there is nothing to look for in a short table"
    monkeypatch.setattr(overview, "MOST", 1)
    first = page(store, "?sort=name")
    assert rows(first) == ["all", PLAIN]
    assert "Find a segment" in first.text
    assert "2 segments; sort by what matters" in first.text
    assert ("/?sort=name&page=2#segments-title", "Next") in first.links
    second = page(store, "?sort=name&page=2")
    assert rows(second) == [SLOW]
    assert ("/?sort=name&page=1#segments-title", "Before") in second.links
    assert rows(page(store, "?sort=name&page=99")) == [SLOW], "a page that is no longer there is the last one"
    found = page(store, "?find=SLO&page=2")
    assert rows(found) == [SLOW]
    assert ("/#segments-title", "All segments") in found.links
    assert ("/?sort=events&find=SLO#segments-title", "events") in found.links, "another order begins on its first page"
    nothing = page(store, f"?{urlencode({'find': HOSTILE})}")
    assert "No segment of this range has" in nothing.text
    assert "<script>alert" not in client(store).get(f"/?{urlencode({'find': HOSTILE})}").text


def test_of_many_open_anomalies_those_of_the_highest_severity_are_shown(
    own: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The newest alone would hide an old page behind new tickets."""
    monkeypatch.setattr(overview, "MOST_OPEN", 1)
    with own.write() as connection:
        connection.execute(update(anomalies).values(state="open", severity="ticket", resolved_us=None))
        oldest = connection.execute(select(anomalies.c.anomaly_id).order_by(anomalies.c.opened_us)).scalars().first()
        connection.execute(update(anomalies).where(anomalies.c.anomaly_id == oldest).values(severity="page"))
        total = connection.execute(select(func.count()).select_from(anomalies)).scalar_one()
    found = page(own)
    assert total > 1
    assert f"{total} anomalies open: 1 page and {total - 1} ticket" in found.text
    shown_ids = [address.removeprefix("/anomalies/") for address, _ in found.links if address.startswith("/anomalies/")]
    assert shown_ids[0] == oldest
    assert ("/anomalies?state=open", f"{total - 1} more are open") in found.links


def test_headings_say_how_it_is_sorted_and_turn_it_round(store: Store) -> None:
    html = client(store).get("/?sort=cost_total&range=7d").text
    assert html.count("aria-sort") == 1
    assert '<th scope="col" aria-sort="descending"><a href="/?range=7d&amp;sort=cost_total&amp;order=asc#' in html
    turned = client(store).get("/?sort=cost_total&order=asc").text
    assert '<th scope="col" aria-sort="ascending"><a href="/?sort=cost_total#' in turned


@pytest.mark.parametrize(
    ("query", "name"), [("?sort=colour", "sort"), ("?range=3h", "range"), ("?order=up", "order"), ("?x=1", "x")]
)
def test_what_it_cannot_show_is_named(store: Store, query: str, name: str) -> None:
    answer = client(store).get(f"/{query}")
    assert (answer.status_code, answer.json()["parameter"]) == (400, name)


def test_it_renews_itself_unless_told_not_to(store: Store) -> None:
    asked = client(store)
    assert asked.get("/").headers["refresh"] == str(REFRESH_S)
    stopped = asked.get("/?refresh=off&sort=name")
    assert "refresh" not in stopped.headers
    assert ("/?sort=name", "Renew this page every minute") in shown(stopped.text).links
    assert stopped.headers["content-security-policy"] == POLICY


def test_late_events_are_in_the_next_answer(own: Store) -> None:
    """What is kept between requests is kept no longer than it is true."""
    asked = client(own)

    def events() -> str:
        rows = shown(asked.get("/").text).table("spend")
        return rows[f"{PLAIN} | medium stakes · invoice"][1].replace("\u202f", "")

    assert (events(), events()) == (str(PER_HOUR * 24),) * 2
    add_late(own, 7)
    assert events() == str(PER_HOUR * 24 + 7)


def test_new_windows_move_it_on(own: Store) -> None:
    asked = client(own)
    assert "2026-01-08 00:00 UTC" in shown(asked.get("/").text).text
    with own.write() as connection:
        connection.execute(update(partitions).values(watermark_us=END + 60 * MINUTE_US))
    told = shown(asked.get("/").text)
    assert "2026-01-07 01:00 to 2026-01-08 01:00 UTC" in told.text
    assert told.table("spend")[f"{PLAIN} | medium stakes · invoice"][1].replace("\u202f", "") == str(PER_HOUR * 23)


def test_an_empty_store_says_what_to_do(tmp_path: Path, migrated: Path) -> None:
    shutil.copy(migrated, tmp_path / "empty.db")
    empty = open_store(f"sqlite:///{tmp_path / 'empty.db'}", migrate=False)
    found = page(empty)
    empty.close()
    assert "Nothing is watched yet: no event was read" in found.text
    assert "kafka.topics" in found.text
    assert ("/health", "Health") in found.links


def test_hostile_names_are_shown_and_do_nothing(tmp_path: Path, migrated: Path) -> None:
    shutil.copy(migrated, tmp_path / "h.db")
    hostile = open_store(f"sqlite:///{tmp_path / 'h.db'}", migrate=False)
    fill_signals(hostile, hostile=True)
    html = client(hostile, states=lambda: [PartState(HOSTILE, "failed", 1, HOSTILE)]).get("/").text
    hostile.close()
    assert "<script" not in html
    assert html.count("&lt;script&gt;") > 4
    assert "{{ 7*7 }}" in html, "shown, never evaluated"


def test_a_viewer_sees_it_and_a_browser_without_a_session_logs_in(own: Store) -> None:
    made = tokens.create(own, "viewer", now_us=NOW_US)
    asked = client(own, loopback=False)
    assert asked.get("/", headers=bearer(made.secret)).status_code == 200
    sent = asked.get("/?sort=name", headers={"accept": "text/html"})
    assert (sent.status_code, sent.headers["location"].partition("?")[0]) == (303, "/login")
    assert asked.get("/").status_code == 401
