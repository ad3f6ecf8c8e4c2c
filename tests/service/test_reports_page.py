"""The archive of reports: what was issued is served byte for byte, shut in; revisions say what they changed."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from monitor.report import rendering
from monitor.report.model import Report
from monitor.serve.archive import POLICY, identity
from monitor.store import reports, tokens
from monitor.store.engine import Store, open_store
from monitor.store.reports import Issue
from tests.report.reports import a_report
from tests.service.queue_of_page import HOSTILE, NOW_US
from tests.service.test_web import Client, bearer, client

DAY = 86_400_000_000
MONDAY = 1_762_128_000_000_000  # 2025-11-03
FIRST = Issue(MONDAY - 7 * DAY, MONDAY, 1, MONDAY + DAY, "")
REVISED = Issue(MONDAY - 7 * DAY, MONDAY, 2, MONDAY + 2 * DAY, HOSTILE[:100])
NEXT = Issue(MONDAY, MONDAY + 7 * DAY, 1, MONDAY + 8 * DAY, "ann")


def documents() -> dict[Issue, Report]:
    base = a_report()
    revised = msgspec.structs.replace(base, revision=2, revised=["The bill: 1 before, 2 now.", HOSTILE])
    hostile = msgspec.structs.replace(base, changed=[HOSTILE], cost=[HOSTILE], complete=True)
    return {FIRST: base, REVISED: revised, NEXT: hostile}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    opened = open_store(f"sqlite:///{tmp_path_factory.mktemp('reports') / 'd.db'}")
    with opened.write() as connection:
        for issue, report in documents().items():
            reports.add(opened, connection, issue, {form: rendering.rendered(report, form) for form in reports.FORMS})
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def asked(store: Store) -> Client:
    return client(store)


def shown(page: str) -> str:
    """The text of a page, on one line."""
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", page)))


def test_what_was_issued_is_listed_newest_first_with_its_revisions(asked: Client) -> None:
    page = asked.get("/reports").text
    text = shown(page)
    assert text.index("Mon 03 Nov 2025 to Sun 09 Nov 2025") < text.index("Mon 27 Oct 2025 to Sun 02 Nov 2025")
    assert "Revision 2, issued Wed 05 Nov 2025 00:00 UTC by" in text
    assert "2 revisions" in text
    assert "The bill: 1 before, 2 now." in text
    assert a_report().changed[0] in text
    assert "not all of the period was evaluated by then" in text
    for issue in (FIRST, REVISED, NEXT):
        assert f'href="/reports/{identity(issue)}"' in page


def test_each_form_is_what_was_issued_to_the_byte(asked: Client) -> None:
    for issue, report in documents().items():
        for form, kind in (("html", "text/html"), ("md", "text/markdown"), ("json", "application/json")):
            answer = asked.get(f"/reports/{identity(issue)}?format={form}")
            assert answer.content == rendering.rendered(report, form).encode()
            assert answer.headers["content-type"].startswith(kind)
    download = asked.get(f"/reports/{identity(NEXT)}?format=md").headers["content-disposition"]
    assert download == 'attachment; filename="report-2025-11-03-2025-11-10-1.md"'


def test_a_report_is_shut_in(asked: Client) -> None:
    answer = asked.get(f"/reports/{identity(NEXT)}")
    assert answer.headers["content-security-policy"] == POLICY
    assert "sandbox" in POLICY
    assert "allow-" not in POLICY
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "content-disposition" not in answer.headers


@pytest.mark.parametrize(
    "path",
    ["1-2-1", f"{identity(FIRST)[:-1]}9", "x", "1-2", "-1-2-3", "99999999999-99999999999-1", "1-2-1%0a", "../health"],
)
def test_what_was_never_issued(asked: Client, path: str) -> None:
    answer = asked.get(f"/reports/{path}")
    assert answer.status_code == 404 or path == "../health"


def test_addresses_that_ask_for_something_else(asked: Client) -> None:
    assert asked.get(f"/reports/{identity(FIRST)}?format=exe").status_code == 400
    assert asked.get(f"/reports/{identity(FIRST)}?as=pdf").status_code == 400
    assert asked.get("/reports?page=2").status_code == 400


def test_hostile_sentences_are_text(asked: Client) -> None:
    page = asked.get("/reports").text
    for bad in ("<script", "<img src=x", "<svg onload", "<link rel=stylesheet href", "\u202e"):
        assert bad not in page, bad
    assert "{{ 7*7 }}" in shown(page)


def test_nothing_was_issued_yet(tmp_path: Path) -> None:
    other = open_store(f"sqlite:///{tmp_path / 'd.db'}")
    page = shown(client(other).get("/reports").text)
    assert "No report was issued yet. driftline report --issue" in page
    other.close()


def test_one_that_another_version_issued_is_served_all_the_same(tmp_path: Path) -> None:
    other = open_store(f"sqlite:///{tmp_path / 'd.db'}")
    with other.write() as connection:
        reports.add(other, connection, FIRST, {"json": "[1]", "md": "old", "html": "<p>old"})
    asked = client(other)
    assert "Another version of driftline issued it." in shown(asked.get("/reports").text)
    assert asked.get(f"/reports/{identity(FIRST)}").text == "<p>old"
    other.close()


def test_who_may_read_it(store: Store) -> None:
    token = tokens.create(store, "viewer", now_us=NOW_US)
    shut = client(store)
    path = f"/reports/{identity(FIRST)}"
    assert [shut.get(at).status_code for at in ("/reports", path)] == [401, 401]
    login = shut.get(path, {"accept": "text/html"})
    assert login.status_code == 303
    assert login.headers["location"].endswith(f"/login?next=%2Freports%2F{identity(FIRST)}")
    assert shut.get(path, bearer(token.secret)).status_code == 200
