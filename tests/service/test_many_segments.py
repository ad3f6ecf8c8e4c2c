"""Thousands of segments: no page grows with them, what is left out is said, and every segment can be reached."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from sqlalchemy import insert

from detectors.summaries import Summary
from monitor.evaluate.references import Reference
from monitor.serve.segment.page import MOST_OTHERS
from monitor.serve.templating import MOST_CHOICES
from monitor.serve.views import VIEWS
from monitor.store import references
from monitor.store.engine import Store, open_store
from monitor.store.tables import evaluation, partitions, summaries
from tests.service.signals_of_page import shown
from tests.service.store_of_page import DAY, MINUTE, NOON, _partition
from tests.service.test_web import Client, client

SEGMENTS = 2500
LAST = f"r/{SEGMENTS - 1:04d}"
PAGES = [path for path in VIEWS if "{" not in path]
MOST_BYTES = 200_000


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    opened = open_store(f"sqlite:///{tmp_path_factory.mktemp('many') / 'd.db'}")
    names = [f"r/{number:04d}" for number in range(SEGMENTS)]
    row = {
        "level": 0, "window_us": NOON, "route": "r", "version": "m@1", "late": False, "topic": "inference",
        "partition": 0, "state": Summary().to_state(),
    }  # fmt: skip
    content = Reference("s", "r", NOON - 7 * DAY, NOON).to_content()
    learns = {name: ["r", NOON] for name in names}
    with opened.write() as connection:
        connection.execute(insert(partitions).values(_partition() | {"watermark_us": NOON + 10 * MINUTE}))
        connection.execute(
            insert(summaries), [{**row, "segment": name, "events": 1 + i} for i, name in enumerate(names)]
        )
        for name in names:
            references.add(
                connection, segment=name, encoder="", from_us=NOON - 7 * DAY, to_us=NOON, origin="built", rows=0,
                content=content, samples=[],
            )  # fmt: skip
        connection.execute(
            insert(evaluation).values(
                name="leader", holder="", generation=1, lease_until_us=0, done_until_us=NOON,
                state=json.dumps({"format": 4, "segments": learns}).encode(),
            )
        )  # fmt: skip
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def asked(store: Store) -> Client:
    return client(store)


def get(asked: Client, path: str, status: int = 200) -> str:
    answer = asked.get(path)
    assert answer.status_code == status, path
    return answer.text


@pytest.mark.parametrize("path", PAGES)
def test_no_page_grows_with_the_segments(asked: Client, path: str) -> None:
    page = get(asked, path)
    assert len(page.encode()) < MOST_BYTES
    assert page.count("<option") <= MOST_CHOICES + 20
    assert len(set(re.findall(r"r/\d{4}", page))) < SEGMENTS // 2


def test_the_api_gives_segments_by_pages(asked: Client) -> None:
    rows: list[dict[str, Any]] = []
    offset: int | None = 0
    while offset is not None:
        found = json.loads(get(asked, f"/api/segments?limit=900&offset={offset}"))
        rows += found["segments"]
        offset = found["page"]["next"]
    assert [row["name"] for row in rows[:1]] == ["all"]
    assert len(rows) == len({row["name"] for row in rows}) == SEGMENTS + 1
    assert rows[0]["events"] == sum(row["events"] for row in rows[1:])
    assert len(json.loads(get(asked, "/api/segments"))["segments"]) == 1000


@pytest.mark.parametrize("path", ["/segment", "/cost", "/latency", "/quality", "/inputs"])
def test_a_form_says_what_it_does_not_offer_and_finds_it(asked: Client, path: str) -> None:
    page = get(asked, path)
    assert f'<option value="{LAST}">' not in page
    assert "500 of 2\u202f500 segments are offered; write any other one, or a part of its name" in page
    part = asked.get(f"{path}?segment=R/249&range=24h").text
    found = [address for address, text in shown(part).links if text.startswith("r/249")]
    assert found == [f"{path}?range=24h&segment={quote(f'r/{number}', safe='/')}" for number in range(2490, 2500)]
    assert "10 segments with “R/249” in the name" in part
    many = asked.get(f"{path}?segment=r/1").text
    assert "1\u202f000 segments with" in many
    assert "940 more: write more of the name." in many
    assert "in the name" not in asked.get(f"{path}?segment={LAST}").text, "it is found already"


def test_the_page_of_all_segments_lists_those_with_the_most_events(asked: Client) -> None:
    page = get(asked, "/segment")
    assert "Segments in this range (2\u202f500)" in page
    assert f">{LAST}</a>" in page
    assert f"{SEGMENTS - MOST_OTHERS:,}".replace(",", "\u202f") + " more with fewer events" in page


def test_the_overview_reaches_every_segment(asked: Client) -> None:
    seen: set[str] = set()
    for number in range(1, 26):
        seen |= set(re.findall(r">(r/\d{4})</a><small>", get(asked, f"/?page={number}&sort=name")))
    assert len(seen) == SEGMENTS
    assert set(re.findall(r">(r/\d{4})</a><small>", get(asked, "/?find=/001"))) == {f"r/{n:04d}" for n in range(10, 20)}


def test_references_are_found_by_a_part_of_the_name(asked: Client) -> None:
    page = get(asked, "/references?segment=2499", 404)
    assert '<a href="/references?segment=r/2499">r/2499</a>' in page
    assert "Page 1 of 25" in get(asked, "/references")
