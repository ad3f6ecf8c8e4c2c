"""The page of latency as a server sends it: its figures, its pictures, and what it says of them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from sqlalchemy import delete, update

from detectors.latency import latency_at_load, stages_in_tail, tail_ratio, waterfall
from detectors.summaries.signals import measure
from detectors.summaries.summary import Summary
from monitor.evaluate.sentences import number, percent
from monitor.serve.latency.words import Compared, seconds, sentences
from monitor.store import reads, tokens
from monitor.store.engine import Store, open_store
from monitor.store.tables import references, summaries
from monitor.times import DAY_US, HOUR_US, iso
from tests.service.signals_of_page import END, GREW_SLOW, OPEN, PLAIN, SLOW, START, Shown, fill_signals, shown
from tests.service.store_of_page import HOSTILE
from tests.service.test_web import bearer, client

LAST_DAY = f"&from={iso(GREW_SLOW)}&to={iso(END)}"


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory, migrated: Path) -> Path:
    path = tmp_path_factory.mktemp("latency") / "filled.db"
    shutil.copy(migrated, path)
    opened = open_store(f"sqlite:///{path}", migrate=False)
    fill_signals(opened, hostile=True)
    opened.close()
    return path


@pytest.fixture(scope="module")
def store(filled: Path) -> Iterator[Store]:
    opened = open_store(f"sqlite:///{filled}", migrate=False)
    yield opened
    opened.close()


@pytest.fixture
def own(filled: Path, tmp_path: Path) -> Iterator[Store]:
    shutil.copy(filled, tmp_path / "d.db")
    opened = open_store(f"sqlite:///{tmp_path / 'd.db'}", migrate=False)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def slow(store: Store) -> Summary:
    return reads.merged(store, GREW_SLOW, END, segment=SLOW)


@pytest.fixture(scope="module")
def usual(store: Store) -> Summary:
    return reads.merged(store, START, START + DAY_US, segment=SLOW)


def page(store: Store, query: str = "", status: int = 200) -> Shown:
    answer = client(store).get(f"/latency{query}")
    assert answer.status_code == status, answer.text
    return shown(answer.text)


def of(segment: str, more: str = "") -> str:
    return f"?segment={quote(segment, safe='')}{more}"


def test_it_says_what_the_pictures_show(store: Store, slow: Summary, usual: Summary) -> None:
    found = page(store, of(SLOW, LAST_DAY))
    ratio, was = tail_ratio(slow.histogram("latency_total"))[0], tail_ratio(usual.histogram("latency_total"))[0]
    queue = stages_in_tail(slow.stage_by_latency())[0]
    assert ratio is not None
    assert was is not None
    assert queue.stage == "queue"
    assert f"The slowest 5 % take {number(ratio)} times the median" in found.text
    assert f"In the reference it was {number(was)} times." in found.text
    assert f"The extra time of slow requests is {percent(queue.share)} in queue" in found.text
    assert "points from being slower at the same load" in found.text
    assert "new version: vl-2, 2026-01-07 00:00" in page(store, of(SLOW)).text
    assert "Held against the reference, 2026-01-05 00:00 to 2026-01-06 00:00." in found.text


def test_figures_are_those_of_the_store(store: Store, slow: Summary, usual: Summary) -> None:
    found = page(store, of(SLOW, LAST_DAY))
    rows = found.table("p95 now is")
    for stage in ("model", "queue"):
        values = [measure(slow, f"latency_stage_{q}", label=stage).value or 0 for q in ("p50", "p95", "p99")]
        before = measure(usual, "latency_stage_p95", label=stage).value or 0
        assert rows[stage][1:4] == [seconds(value * 1e6) for value in values]
        assert rows[stage][4] == seconds(before * 1e6)
    assert rows["model"][5] == "the same"
    assert rows["queue"][5].endswith(" times")
    load = found.column("requests in flight", "p95")
    assert len(load) == len(latency_at_load(slow.latency_by_concurrency())) > 3


def test_the_waterfall_adds_up(store: Store, slow: Summary) -> None:
    rows = page(store, of(SLOW, LAST_DAY)).table("of the extra")
    fall = waterfall(slow.stage_by_latency())
    assert fall is not None
    assert list(rows)[:3] == ["A usual request", "queue", "model"]
    assert rows["A usual request"][1] == seconds(fall.usual)
    assert rows["A slow request"][2] == seconds(fall.slow)
    assert rows["queue"][3] == f"+{seconds(fall.steps[0].extra)}"


def test_it_is_marked_and_against_the_reference(store: Store) -> None:
    html = client(store).get(f"/latency{of(SLOW)}").text
    assert f"/anomalies/{OPEN}" in [address for address, _ in shown(html).links]
    assert "Dashed across, the reference: p50 2.00 s, p95 4.00 s, p99 6.00 s." in html
    assert 'class="mark version"' in html


def test_without_a_reference_it_is_held_against_what_was_just_before(own: Store) -> None:
    found = page(own, of(PLAIN, LAST_DAY))
    assert "Held against the stretch before, 2026-01-06 00:00 to 2026-01-07 00:00." in found.text
    assert "not clearly different from" in found.text
    assert "There is nothing to hold it against" in page(own, of(PLAIN)).text
    everything = page(own, f"?{LAST_DAY[1:]}")
    assert "Held against the stretch before" in everything.text


def test_a_reference_whose_summaries_are_gone_is_not_held_against(own: Store) -> None:
    with own.write() as connection:
        connection.execute(delete(summaries).where(summaries.c.window_us < START + DAY_US))
    found = page(own, of(SLOW, LAST_DAY))
    assert "Held against the stretch before" in found.text
    assert "Dashed across, the reference" in found.text, "its levels are its own"


def test_a_reference_of_another_version_takes_no_page_away(own: Store) -> None:
    with own.write() as connection:
        connection.execute(update(references).values(content=b"\x81\xa6format\x63"))
    assert "Held against the stretch before" in page(own, of(SLOW, LAST_DAY)).text


def test_where_nothing_is_measured_it_says_so(own: Store, store: Store) -> None:
    assert "No event in this range." in page(store, of(SLOW, "&from=2025-12-01&to=2025-12-03")).text
    assert "No event of this segment is stored" in page(store, "?segment=nowhere", 404).text
    with own.write() as connection:
        connection.execute(update(summaries).values(state=Summary().to_state()))
    assert "No event in this range." in page(own, of(SLOW)).text


def test_too_few_to_say_anything(slow: Summary) -> None:
    assert sentences(Summary(), None) == ["There are too few events in this range to say anything of slow ones."]
    told = sentences(slow, Compared("the reference", "", Summary()))
    assert not any("reference" in text for text in told)


def test_wrong_parameters_are_named(store: Store) -> None:
    for query, name in (("?range=1y", "range"), ("?to=soon", "to"), ("?stage=x", "stage")):
        answer = client(store).get(f"/latency{query}")
        assert (answer.status_code, answer.json()["parameter"]) == (400, name)


def test_hostile_names_are_shown_and_do_nothing(store: Store) -> None:
    html = client(store).get(f"/latency{of(HOSTILE)}").text
    assert "<script" not in html
    assert "&lt;script&gt;" in html
    assert "{{ 7*7 }}" in html


def test_roles_and_an_empty_store(own: Store, tmp_path: Path, migrated: Path) -> None:
    viewer, metrics = (tokens.create(own, role, now_us=END).secret for role in ("viewer", "metrics"))
    asked = client(own, loopback=False)
    assert [asked.get("/latency", headers=bearer(secret)).status_code for secret in (viewer, metrics)] == [200, 403]
    shutil.copy(migrated, tmp_path / "empty.db")
    empty = open_store(f"sqlite:///{tmp_path / 'empty.db'}", migrate=False)
    assert "No event was read yet." in page(empty).text
    empty.close()


def test_short_ranges_are_drawn_in_short_steps(store: Store) -> None:
    found = page(store, of(SLOW, f"&from={iso(END - 4 * HOUR_US)}&to={iso(END)}"))
    assert "Lines are by 5 minutes" in found.text
