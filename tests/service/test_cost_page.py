"""The page of costs: its figures are the store's, its address says all, and what is hostile is text."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from urllib.parse import quote

import pytest

from monitor.config.model import Config
from monitor.serve.cells import plain
from monitor.spending import DEFAULT, Measure, ledger, read_spending, read_what_if
from monitor.store import tokens
from monitor.store.engine import Store, open_store
from tests.service.costs_of_page import CONFIG, DAY_US, END_US, EVIL, FROM_US, NAMED, fill_costs
from tests.service.test_web import Client, bearer, client

NOW_US = END_US


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    opened = open_store(f"sqlite:///{tmp_path_factory.mktemp('cost') / 'd.db'}")
    fill_costs(opened)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def asked(store: Store) -> Client:
    return client(store, config=lambda: CONFIG)


def shown(page: str) -> str:
    """The text of a page, on one line."""
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", page)))


def test_its_figures_are_those_of_the_command_line(store: Store, asked: Client) -> None:
    page = shown(asked.get("/cost").text)
    found = read_spending(store, CONFIG, 7)
    assert found.bill > 0
    assert f"Spent {plain(found.bill)} USD {sum(one.requests for one in found.segments):,} requests" in page
    for one in found.segments:
        assert f"{plain(one.bill)} USD {100 * one.share:.1f} %" in page
    one = shown(asked.get(f"/cost?segment={NAMED}").text)
    (own,) = read_spending(store, CONFIG, 7, NAMED).segments
    assert own.change is not None
    assert own.month is not None
    assert f"Why the bill changed: +{plain(own.change.change)} USD" in one
    for part in (own.change.units, own.change.tail, own.change.traffic):
        assert f"{plain(abs(part))} USD" in one
    assert f"{plain(own.month.projected)} USD expected at the end of the month" in one
    assert f"{plain(own.tail.index or 0)[:4]}" in one


def test_the_tail_of_now_and_before_as_stored(store: Store, asked: Client) -> None:
    page = shown(asked.get(f"/cost?segment={NAMED}").text)
    found = ledger(store, END_US - 7 * DAY_US, END_US, NAMED)
    for summary in (found.now[NAMED]["m@1"], found.earlier[NAMED]["m@1"]):
        assert f"{plain((summary.histogram('cost').quantile(0.99) or 0) / 1e9)} USD (" in page
    assert "Requests that cost more than this" in page


def test_what_if_by_the_address_is_what_the_command_says(store: Store, asked: Client) -> None:
    measures = [Measure("cap", "output_tokens", 300.0), Measure("cheaper", "cost", 2e6, 0.3)]
    found = read_what_if(store, CONFIG, 7, NAMED, measures).measures
    page = shown(asked.get(f"/cost?segment={NAMED}&cap=output_tokens%3D300&cheaper=cost%3D0.002%400.3").text)
    for one in found:
        assert one.whole.saved
        assert f"{one.whole.measure} {plain(one.whole.saved)} USD" in page
    every = shown(asked.get("/cost?cap=output_tokens%3D300").text)
    (whole,) = read_what_if(store, CONFIG, 7, None, measures[:1]).measures
    assert len(whole.segments) == 2
    assert f"{plain(whole.whole.saved or 0)} USD" in every
    usual = shown(asked.get("/cost").text)
    for one in read_what_if(store, CONFIG, 7, None, DEFAULT).measures:
        assert one.whole.measure in usual


def test_what_a_measure_leaves_out_is_said(store: Store) -> None:
    page = shown(client(store).get("/cost").text)
    assert "not known: no price of model 'm'; add it to prices.models" in page
    sizes = shown(client(store, config=lambda: CONFIG).get("/cost?cheaper=input_bytes%3D1KB%400.5").text)
    assert "requests do not state it" in sizes


def test_a_measure_that_cannot_be_read_is_answered_on_the_page(asked: Client) -> None:
    answer = asked.get("/cost?cap=" + quote("<script>1</script>=5"))
    assert answer.status_code == 400
    assert "expected one of cost, input_tokens, output_tokens, image_tokens, as output_tokens=2000" in shown(
        answer.text
    )
    assert "<script>1" not in answer.text
    for bad in ("range=1y", "from=never", "from=2026-01-10&to=2026-01-09", "caps=x", f"cap={'x' * 101}"):
        assert asked.get(f"/cost?{bad}").status_code == 400, bad


def test_a_deep_link_is_the_same_stretch_for_everybody(store: Store, asked: Client) -> None:
    page = shown(asked.get("/cost?from=2026-01-06&to=2026-01-08").text)
    found = ledger(store, FROM_US + DAY_US, FROM_US + 3 * DAY_US)
    bill = sum(found.bill(name) for name in found.now)
    assert f"Spent {plain(bill / 1e9)} USD" in page
    assert "2026-01-06 00:00 to 2026-01-08 00:00" in page
    early = shown(asked.get("/cost?from=2026-01-05&to=2026-01-06").text)
    assert "It cannot be told apart: there was nothing in the range before." in early
    assert "No event of this range states a cost." in shown(asked.get("/cost?from=2025-06-01&to=2025-06-02").text)


def test_a_segment_that_is_not_there(asked: Client) -> None:
    answer = asked.get("/cost?segment=nobody")
    assert answer.status_code == 404
    assert "No event of this segment is stored" in shown(answer.text)
    quiet = asked.get(f"/cost?segment={NAMED}&from=2025-06-01&to=2025-06-02")
    assert quiet.status_code == 200


def test_hostile_names_are_text(asked: Client) -> None:
    for path in ("/cost", f"/cost?segment={quote(EVIL)}", "/cost?segment=%3Cscript%3Ewindow.pwned%3D1"):
        page = asked.get(path).text
        for bad in ("<script", "<img src=x", "<svg onload", "<link rel=stylesheet href", "\u202e", "49</script>"):
            assert bad not in page, (path, bad)


def test_nothing_was_read_yet_or_late_events_came(tmp_path_factory: pytest.TempPathFactory) -> None:
    other = open_store(f"sqlite:///{tmp_path_factory.mktemp('empty') / 'd.db'}")
    asked = client(other, config=lambda: CONFIG)
    assert "No event was read yet." in asked.get("/cost").text
    fill_costs(other, FROM_US + 4 * DAY_US)
    first = read_spending(other, CONFIG, 7).bill
    assert f"Spent {plain(first)} USD" in shown(asked.get("/cost").text)
    fill_costs_of_the_next_day(other)
    assert f"Spent {plain(2 * first)} USD" in shown(asked.get("/cost").text), "what is kept is not what is there"
    other.close()


def fill_costs_of_the_next_day(store: Store) -> None:
    """The same events once more, as late ones."""
    from sqlalchemy import select, update

    from monitor.store.tables import partitions, summaries

    with store.write() as connection:
        rows = [dict(row._mapping, late=True) for row in connection.execute(select(summaries))]
        connection.execute(summaries.insert(), rows)
        connection.execute(update(partitions).values(late_events=len(rows)))


def test_who_may_read_it(store: Store) -> None:
    shut = client(store, loopback=False, config=lambda: CONFIG)
    assert shut.get("/cost").status_code in (401, 403)
    token = tokens.create(store, "viewer", now_us=NOW_US, note="Vi")
    assert client(store, config=Config).get("/cost", bearer(token.secret)).status_code == 200
    tokens.revoke(store, token.token_id, now_us=NOW_US)
