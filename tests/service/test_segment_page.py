"""The page of a segment as a server sends it: its lines are the store's, with what happened to it marked."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest

from detectors.summaries import SummaryTable
from detectors.summaries.signals import measure
from monitor.config.model import Config
from monitor.serve.cells import percent, plain
from monitor.serve.marks import MOST_MARKS
from monitor.serve.segment.page import READ
from monitor.serve.segment.panels import PANELS, Panel, belongs
from monitor.serve.shell import View
from monitor.serve.timeline import FINE_US, Step, Timeline, read
from monitor.store import reads, rollups, tokens
from monitor.store.deploys import Deploy, announce
from monitor.store.engine import Store, open_store
from monitor.times import HOUR_US, MINUTE_US, iso
from tests.evaluate.traffic import columns
from tests.service.signals_of_page import (
    DAYS,
    END,
    GREW_SLOW,
    OPEN,
    OVER,
    PER_HOUR,
    PLAIN,
    SLOW,
    START,
    Shown,
    fill_signals,
    shown,
)
from tests.service.store_of_page import HOSTILE
from tests.service.test_web import bearer, client


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory, migrated: Path) -> Path:
    path = tmp_path_factory.mktemp("segment") / "filled.db"
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


def page(store: Store, query: str = "", status: int = 200) -> Shown:
    answer = client(store).get(f"/segment{query}")
    assert answer.status_code == status, answer.text
    return shown(answer.text)


def of(segment: str, more: str = "") -> str:
    return f"?segment={quote(segment, safe='')}{more}"


def key(us: int) -> str:
    return iso(us)[:16].replace("T", " ")


def test_its_lines_are_those_of_the_store(store: Store) -> None:
    found = page(store, of(SLOW))
    volume, failures = found.table("events"), found.table("errors")
    for start, merged in reads.by_window(store, START, END, segment=SLOW):
        assert volume[key(start)] == [str(merged.events)]
        rate = measure(merged.summary, "error_rate")
        assert rate.value is not None
        assert rate.low is not None
        assert rate.high is not None
        told = f"{percent(rate.value)} % ({percent(rate.low)} % – {percent(rate.high)} %)"
        assert failures[key(start)] == [told]
    assert len(volume) == 24 * DAYS
    summary = reads.merged(store, START, END, segment=SLOW)
    p95 = measure(summary, "latency_total_p95")
    assert f"latency p95 {plain(p95.value or 0)} s" in found.text
    assert f"events {24 * DAYS * PER_HOUR:,}".replace(",", "\u202f") in found.text


def test_the_sum_of_all_is_the_sum_and_offers_each(store: Store) -> None:
    found = page(store)
    whole = reads.merged(store, START, END)
    assert f"{whole.events():,}".replace(",", "\u202f") in found.text
    assert ("/segment?segment=invoice%2Fplain", PLAIN) in found.links
    assert ("/segment?segment=invoice%2Fslow&range=24h", SLOW) in page(store, "?range=24h").links
    assert page(store, "?segment=all").text == found.text


def test_anomalies_versions_and_deploys_are_marked(store: Store) -> None:
    html = client(store).get(f"/segment{of(SLOW)}").text
    found = shown(html)
    of_open = [text for address, text in found.links if address == f"/anomalies/{OPEN}"]
    assert any(f"Slow requests in {SLOW} rose from 5 % to 14 %." in text for text in of_open)
    assert any(f"The queue in {SLOW} took longer." in text for text in of_open), "of the stage, on its chart"
    assert f"/anomalies/{OVER}" in [address for address, _ in found.links]
    latency = html[html.index('id="latency"') : html.index('id="stages"')]
    assert latency.count('class="mark anomaly"') == 1
    assert latency.count('class="mark version"') == 1
    assert latency.count('class="mark deploy"') == 1
    spend = html[html.index('id="spend"') : html.index('id="cost"')]
    assert 'class="mark anomaly"' not in spend, "an anomaly is marked on its own signal alone"


def test_the_reference_lies_across(store: Store) -> None:
    found = page(store, of(SLOW))
    assert "reference version 1 (learned, 2026-01-05 00:00 to 2026-01-06 00:00)" in found.text
    assert "Dashed across, the reference: p50 2.00 s, p95 4.00 s, p99 6.00 s." in found.text
    assert "Dashed across, the reference: 2.50 %." in found.text
    assert "queue 0.2500 s" in found.text
    assert "It has no reference yet" in page(store, of(PLAIN)).text


def test_what_is_not_measured_is_one_line(store: Store) -> None:
    found = page(store, of(PLAIN))
    assert "Not measured here: answers that break their schema; citations; stated confidence" in found.text
    assert "Audio tokens" not in [table[0][0] for table in found.tables]


def test_drift_is_shown_as_evidence(store: Store) -> None:
    found = page(store, of(SLOW))
    assert found.table("images")[key(END - HOUR_US)] == ["0.48"]
    assert "images" not in [name for rows in page(store, of(PLAIN)).tables for name in rows[0]]


def test_a_link_from_an_alert_shows_those_hours_in_short_steps(store: Store) -> None:
    begin, end = GREW_SLOW - 2 * HOUR_US, GREW_SLOW + 2 * HOUR_US
    query = of(SLOW, f"&from={iso(begin)}&to={iso(end)}")
    found = page(store, query)
    assert "Drawn by 5 minutes." in found.text
    assert list(found.table("events")) == [key(begin + hour * HOUR_US) for hour in range(4)]
    with store.read() as connection:
        steps = read(connection, View(SLOW, begin, end, None), READ)
    assert (steps.step_us, steps.begin_us) == (FINE_US, begin)


def test_long_ranges_are_drawn_by_the_days_of_the_zone(tmp_path: Path, filled: Path) -> None:
    shutil.copy(filled, tmp_path / "d.db")
    own = open_store(f"sqlite:///{tmp_path / 'd.db'}", migrate=False)
    rollups.run(own, allowed_lateness_us=HOUR_US, timezone="Asia/Tokyo")
    config = Config.model_validate({"timezone": "Asia/Tokyo"})
    found = shown(client(own, config=lambda: config).get(f"/segment{of(PLAIN, '&range=28d')}").text)
    own.close()
    # Stored from 09:00 to 09:00 of Tokyo: of the first day 15 hours, and the last, which is not over, is left out.
    assert found.table("events") == {
        "2026-01-05 00:00": [f"{15 * PER_HOUR:,}".replace(",", "\u202f")],
        "2026-01-06 00:00": [f"{24 * PER_HOUR:,}".replace(",", "\u202f")],
        "2026-01-07 00:00": [f"{24 * PER_HOUR:,}".replace(",", "\u202f")],
    }
    assert "2026-01-08 00:00" in found.table("errors")


@pytest.mark.parametrize(("events", "hours"), [(500, 1), (150, 3), (40, 12), (1, 24)])
def test_few_events_make_longer_steps(events: int, hours: int) -> None:
    """An hour of few events says little of shares; what is added up stays the same."""
    table = SummaryTable()
    table.update(np.zeros(events, dtype=np.int64), columns(events, np.random.default_rng(1)))
    steps = [
        Step(START + hour * HOUR_US, START + (hour + 1) * HOUR_US, True, table.summary(0)) for hour in range(14 * 24)
    ]
    timeline = Timeline(START, START + 14 * 24 * HOUR_US, HOUR_US, steps, 0, ())
    found = timeline.coarse()
    assert found.step_us == hours * HOUR_US
    assert [step.start_us for step in found.steps[:2]] == [START, START + hours * HOUR_US]
    assert found.whole().events() == timeline.whole().events() == 14 * 24 * events


def test_an_hour_that_is_not_over_is_left_out_of_sums_alone(store: Store) -> None:
    end = END - 30 * MINUTE_US
    found = page(store, of(SLOW, f"&from={iso(START)}&to={iso(end)}"))
    assert key(END - HOUR_US) not in found.table("events")
    assert key(END - HOUR_US) in found.table("errors")
    assert "The last hour is not over and is left out." in found.text


def test_what_is_unknown_says_what_to_do(store: Store) -> None:
    found = page(store, "?segment=nowhere", 404)
    assert "No event of this segment is stored" in found.text
    assert ("/segment", "all segments") in found.links
    assert "A slice has no lines of its own" in page(store, "?segment=slice:x", 404).text
    quiet = page(store, of(SLOW, "&from=2025-12-01&to=2025-12-03"))
    assert "No event in this range." in quiet.text


def test_an_empty_store_says_what_to_do(tmp_path: Path, migrated: Path) -> None:
    shutil.copy(migrated, tmp_path / "empty.db")
    empty = open_store(f"sqlite:///{tmp_path / 'empty.db'}", migrate=False)
    found = page(empty)
    empty.close()
    assert "No event was read yet." in found.text


@pytest.mark.parametrize(
    ("query", "name"),
    [("?range=1y", "range"), ("?from=yesterday", "from"), ("?from=2026-01-03&to=2026-01-02", "from"), ("?x=1", "x")],
)
def test_what_it_cannot_show_is_named(store: Store, query: str, name: str) -> None:
    answer = client(store).get(f"/segment{query}")
    assert (answer.status_code, answer.json()["parameter"]) == (400, name)


@pytest.mark.parametrize("query", ["", of(HOSTILE)])
def test_hostile_names_are_shown_and_do_nothing(store: Store, query: str) -> None:
    html = client(store).get(f"/segment{query}").text
    assert "<script" not in html
    assert "&lt;script&gt;" in html
    assert "{{ 7*7 }}" in html
    assert 'style="' not in html


def test_roles(tmp_path: Path, filled: Path) -> None:
    shutil.copy(filled, tmp_path / "d.db")
    own = open_store(f"sqlite:///{tmp_path / 'd.db'}", migrate=False)
    viewer, metrics = (tokens.create(own, role, now_us=END).secret for role in ("viewer", "metrics"))
    asked = client(own, loopback=False)
    assert [asked.get("/segment", headers=bearer(secret)).status_code for secret in (viewer, metrics)] == [200, 403]
    sent = asked.get("/segment?range=24h", headers={"accept": "text/html"})
    own.close()
    assert sent.headers["location"] == "/login?next=%2Fsegment%3Frange%3D24h"


def test_a_new_deploy_is_marked_in_the_next_answer_and_many_are_not_all(tmp_path: Path, filled: Path) -> None:
    shutil.copy(filled, tmp_path / "d.db")
    own = open_store(f"sqlite:///{tmp_path / 'd.db'}", migrate=False)
    asked = client(own)
    before = asked.get(f"/segment{of(PLAIN)}").text.count('class="mark deploy"')
    with own.write() as connection:
        for i in range(MOST_MARKS + 4):
            deploy = Deploy(f"n{i}", START + i * HOUR_US, "ci", f"v{i}", segment="invoice/plain")
            announce(own, connection, deploy)
    html = asked.get(f"/segment{of(PLAIN)}").text
    others = asked.get(f"/segment{of(SLOW)}").text
    own.close()
    charts = html.count("<desc")
    assert before > 0
    assert html.count('class="mark deploy"') == charts * MOST_MARKS
    assert "5 more versions and deploys are not marked." in html
    assert others.count('class="mark deploy"') == others.count("<desc")


@pytest.mark.parametrize(
    ("stream", "panel"),
    [
        ("latency_total_p99", "latency"),
        ("latency_stage_a_b_p95", "stages"),
        ("routing_mix", "mix"),
        ("routing_mix_cheap", "mix"),
        ("volume", "volume"),
        ("cost_p99", "cost"),
        ("error_rate", "failures"),
        ("confidence_mean", "confidence"),
        ("confidence_p10", "confidence"),
        ("input_tokens_p50", "input-tokens"),
    ],
)
def test_every_stream_is_marked_on_one_chart(stream: str, panel: str) -> None:
    found: list[Panel] = [one for one in PANELS if belongs(stream, one)]
    assert [one.key for one in found] == [panel]
