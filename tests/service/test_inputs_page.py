"""The page of inputs as a server sends it: its figures are the store's, and pixels are for those who may see them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, urlencode

import numpy as np
import pytest
from sqlalchemy import delete, update

from detectors.explain.plane import Plane, apart
from detectors.explain.weighted import median
from monitor.serve.cells import percent, plain
from monitor.serve.review.pages import POLICY
from monitor.store import tokens
from monitor.store.engine import Store, open_store
from monitor.store.forget import forget_event
from monitor.store.tables import references, samples
from monitor.times import DAY_US, HOUR_US, iso
from tests.service.inputs_of_page import (
    CHANGED,
    COUNT,
    END,
    KEPT,
    MISSING,
    PENDING,
    SEGMENT,
    Filled,
    fill_inputs,
    vector,
)
from tests.service.queue_of_page import NOW_US
from tests.service.test_web import bearer, client

STEP = 12 * HOUR_US  # of seven days, from midnight on
AT = f"/inputs?{urlencode({'segment': SEGMENT})}"
BAD = ("<script>window", "<img src=x", "<svg onload", "<link rel=stylesheet href", "\u202e", "\x1b", "\U000e0041")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    opened = open_store(f"sqlite:///{tmp_path_factory.mktemp('inputs') / 'd.db'}")
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def filled(store: Store) -> Filled:
    return fill_inputs(store)


@pytest.fixture(scope="module")
def page(store: Store, filled: Filled) -> str:
    answer = client(store).get(AT)
    assert answer.status_code == 200
    assert answer.headers["content-security-policy"] == POLICY
    return answer.text


def table_of(page: str, title: str) -> str:
    """The numbers of a chart, as its table has them."""
    found = re.search(rf'aria-label="{re.escape(title)}, as a table">(.*?)</table>', page, re.S)
    assert found, title
    return found[1]


def weighted(member: list[bool], pis: list[float]) -> float:
    weights = 1 / np.array(pis)
    return float(weights @ np.array(member, dtype=float) / weights.sum())


def test_shares_of_words_are_weighted_by_the_chance_of_being_sampled(page: str, filled: Filled) -> None:
    table = table_of(page, "What the images look like: share of the sessions by nearest word")
    begin = CHANGED  # of a step of half a day
    mine = [row for row in filled.rows if begin <= row[0] < begin + STEP]
    share = weighted([row[2] == "old scan" for row in mine], [row[1] for row in mine])
    assert 0.6 < share < 0.8
    assert f"<td>{percent(share)} % (" in table
    plainly = sum(row[2] == "old scan" for row in mine) / len(mine)
    assert percent(share) != percent(plainly)
    against = re.search(r'aria-label="Share of sessions by nearest word: 80 of the reference.*?</table>', page, re.S)
    assert against
    total = weighted([row[2] == "old scan" for row in filled.rows], [row[1] for row in filled.rows])
    assert f"{percent(total)} %" in against[0]
    assert re.search(r'<th scope="row">old scan</th>.*?<b>yes</b>', against[0])


def test_coverage_and_what_waits(page: str) -> None:
    settled = COUNT + MISSING
    assert f"<b>{COUNT + MISSING + PENDING}</b><small>all of the range; {PENDING} wait to be embedded" in page
    assert f"<b>{100 * COUNT / settled:.1f} %</b>" in page
    assert f"missing: not_found {MISSING}" in page
    table = table_of(page, "Share of the sampled inputs that were embedded")
    assert "missing: not_found" in table
    begin = END - DAY_US // 2 + COUNT * 60_000_000  # of the missing ones
    first = begin - begin % (STEP)
    embedded = sum(first <= row_at < first + STEP for row_at in range(END - 2 * DAY_US, END, 24 * 60_000_000))
    assert f"<td>{percent(embedded / (embedded + MISSING))} %</td>" in table


def test_the_map_and_what_it_does_not_show(page: str, filled: Filled) -> None:
    before = np.stack([np.frombuffer(vector(1000 + i, False), "<f2").astype(float) for i in range(KEPT)])
    now = np.stack(
        [np.frombuffer(vector(i, row[2] == "old scan"), "<f2").astype(float) for i, row in enumerate(filled.rows)]
    )
    weights = np.array([1 / row[1] for row in filled.rows])
    found, plane = apart(before, now, now_weights=weights), Plane.fit(before)
    assert f"<b>{plain(found.distance)}</b>" in page
    assert f"lie {plain(found.chance)} apart where nothing changed" in page
    assert f"<b>{percent(found.beyond.value)} %</b>" in page
    assert f"it shows {percent(sum(plane.part))} % of the variance of the reference" in page
    assert "A map is a shadow" in page
    dots = re.search(r'<g class="before">(.*?)</g>.*?<g class="now">(.*?)</g>', page, re.S)
    assert dots
    assert dots[1].count("<circle") == KEPT
    assert dots[2].count("<circle") == COUNT
    assert dots[1].count("<a ") == 0  # its samples are gone
    assert dots[2].count("<a ") == COUNT
    without_picture = sum(i % 7 == 0 for i in range(COUNT))
    assert dots[2].count("/thumbnail") == COUNT - without_picture
    assert dots[2].count('tabindex="-1"') == COUNT
    for role in ("Typical of the reference", "Typical now", "Farthest from the reference now"):
        assert f"<h3>{role}</h3>" in page


def test_conditions_agreement_and_anomalies(store: Store, page: str, filled: Filled) -> None:
    assert "Changed beyond chance against the reference:" in page
    assert re.findall(r'<h3 id="condition-([a-z-]+)">', page) == ["contrast", "skew"]
    told = re.search(r'Not drawn: (.*?)\. <a href="([^"]*)#conditions-title">', page)
    assert told
    assert told[1] == "turned on its side or head, characters of text"  # never measured is not told
    everything = client(store).get(told[2].replace("&amp;", "&")).text
    assert re.findall(r'<h3 id="condition-([a-z-]+)">', everything) == ["contrast", "skew", "turned", "characters"]
    table = table_of(page, "Contrast: median")
    mine = [row for row in filled.rows if END - 2 * DAY_US <= row[0] < END - 2 * DAY_US + STEP]
    limits = median([row[4] for row in mine], [1 / row[1] for row in mine], 0.95)
    assert f"<td>{plain(limits.value)} ({plain(limits.low)} – {plain(limits.high)})</td>" in table
    assert "Agreement of images with their request&#39;s text: median cosine" in page
    assert page.count(f'<li><a href="/anomalies/{filled.anomaly}">') == 1
    assert page.count('<rect class="mark anomaly"') > 4
    assert "Broken schemas rose from 2 % to 14 %." in page


def test_viewers_see_no_pixels_and_no_links_to_them(tmp_path: Path) -> None:
    opened = open_store(f"sqlite:///{tmp_path / 'd.db'}")
    fill_inputs(opened)
    said = {role: tokens.create(opened, role, now_us=NOW_US, note="Dana").secret for role in ("viewer", "reviewer")}
    asked = client(opened)
    assert asked.get(AT).status_code == 401
    assert (
        asked.get(AT, {"accept": "text/html"})
        .headers["location"]
        .startswith("/login?next=%2Finputs%3Fsegment%3Dinvoice")
    )
    page = asked.get(AT, bearer(said["viewer"])).text
    assert page.count("<circle") > 100
    for absent in ("/api/samples/", "thumbnail", "<img", "map.js"):
        assert absent not in page
    assert "Pictures and texts are shown to reviewers and admins." in page
    seen = asked.get(AT, bearer(said["reviewer"])).text
    assert "<img" in seen
    assert '<script type="module" src="/static/map.js">' in seen
    opened.close()


def test_links_keep_what_is_looked_at(store: Store, filled: Filled) -> None:
    since, until = iso(CHANGED), iso(END)
    page = client(store).get(f"{AT}&from={since}&to={until}").text
    assert f"<b>{COUNT // 2 + MISSING + PENDING}</b>" in page
    assert 'href="/inputs?segment=invoice-extract%2Freceipt&amp;from=' in page  # of the navigation
    texts = client(store).get(f"{AT}&modality=text")
    assert "Too few sessions of this range have a text" in texts.text


def test_all_segments_together(store: Store, filled: Filled) -> None:
    page = client(store).get("/inputs").text
    assert "Each segment is held against a reference of its own" in page
    assert 'href="/inputs?segment=invoice-extract%2Freceipt"' in page
    assert "What the images look like: share of the sessions by nearest word" in page
    assert "Distances of now" not in page


def test_what_to_do_where_there_is_nothing(store: Store, filled: Filled, tmp_path: Path) -> None:
    asked = client(store)
    assert "Nothing was sampled here" in asked.get("/inputs?segment=quiet").text
    assert "sampling.per_hour" in asked.get("/inputs?segment=quiet").text
    assert asked.get("/inputs?segment=quiet").status_code == 200
    nobody = asked.get("/inputs?segment=nobody")
    assert nobody.status_code == 404
    assert "is its name right?" in nobody.text
    earlier = asked.get(f"{AT}&from=2025-01-01&to=2025-01-02")
    assert earlier.status_code == 200
    assert "Nothing was sampled here" in earlier.text
    opened = open_store(f"sqlite:///{tmp_path / 'd.db'}")
    asked = client(opened)
    assert "No event was read yet." in asked.get("/inputs").text
    fill_inputs(opened)
    dots = asked.get(AT).text.count("<circle")
    assert forget_event(opened, "e-1")["samples"] == 1  # and what was kept of the page is no longer shown
    assert asked.get(AT).text.count("<circle") == dots - 1
    with opened.write() as connection:
        connection.execute(update(references).values(state="retired"))
    assert "The segment has no reference yet" in asked.get(AT).text
    with opened.write() as connection:
        connection.execute(update(samples).values(state="pending", encoder=""))
    page = asked.get(AT).text
    assert f"All {COUNT + MISSING + PENDING - 1} samples wait." in page
    assert "driftline run --role embed" in page
    with opened.write() as connection:
        connection.execute(update(samples).values(state="missing", reason="not_found"))
        connection.execute(delete(references))
    assert "Their payloads could not be looked at" in asked.get(AT).text
    opened.close()


def test_hostile_content_is_text(tmp_path: Path) -> None:
    opened = open_store(f"sqlite:///{tmp_path / 'd.db'}")
    filled = fill_inputs(opened, hostile=True)
    page = client(opened).get(f"/inputs?segment={quote(filled.segment)}").text
    assert "&lt;script&gt;" in page
    assert "{{ 7*7 }}" in page
    for bad in BAD:
        assert bad not in page, bad
    assert re.findall(r"<script[^>]*>", page) == ['<script type="module" src="/static/map.js">']
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=\"", page)
    assert not re.search(r'href="(?!/|#main")', page)
    opened.close()


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("?modality=audio", "modality"),
        ("?color=red", "color"),
        ("?from=yesterday", "from"),
        ("?from=2025-11-03&to=2025-11-01", "from"),
        ("?range=9d", "range"),
        ("?segment=a&segment=b", "segment"),
        ("?from=2020-01-01&to=2025-01-01", "from"),
    ],
)
def test_an_address_that_makes_no_sense_is_told(store: Store, query: str, name: str) -> None:
    answer = client(store).get(f"/inputs{query}")
    assert answer.status_code == 400
    assert answer.json()["parameter"] == name
