"""The web app while the store takes nothing: who asks is told what to do, nothing is half recorded, pages go on."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from detectors.summaries import Summary
from monitor.config.model import Config, Kafka
from monitor.serve.views import VIEWS
from monitor.store import deploys, references, retries, tokens
from monitor.store.engine import Store, open_store
from monitor.store.responses import history
from tests.service.store_of_page import HOSTILE, REFERENCE, fill
from tests.service.test_web import NOW_US, Client, bearer, client
from tests.store.full import full, nothing_written

BROWSER = {"accept": "text/html,application/xhtml+xml"}
# Not validated: Kafka has no topic of this name, the store has a letter of it.
CONFIG = Config(kafka=Kafka().model_copy(update={"topics": ["inference", "a/b"]}))


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("space") / "filled.db"
    opened = open_store(f"sqlite:///{path}")
    fill(opened, Summary().to_state())
    opened.close()
    return path


@pytest.fixture
def store(filled: Path, tmp_path: Path) -> Iterator[Store]:
    shutil.copy(filled, tmp_path / "d.db")
    opened = open_store(f"sqlite:///{tmp_path / 'd.db'}", migrate=False)
    yield opened
    opened.close()


class Person:
    """A reviewer, asking with a token."""

    def __init__(self, store: Store, role: str = "admin") -> None:
        self.headers = bearer(tokens.create(store, role, note="Dana", now_us=NOW_US).secret)
        self.asked: Client = client(store, loopback=False, config=lambda: CONFIG)
        self.anomaly = str(self.get("/api/anomalies?state=open").json()["anomalies"][0]["id"])

    def get(self, path: str, **headers: str) -> httpx.Response:
        return self.asked.get(path, {**self.headers, **headers})

    def post(self, path: str, body: dict[str, Any]) -> httpx.Response:
        return self.asked.request("POST", path, self.headers, json=body)


def recorded(store: Store, person: Person) -> tuple[int, ...]:
    """How much there is of everything that `CHANGES` adds to."""
    with store.read() as connection:
        letter = connection.exec_driver_sql('SELECT topic, partition, "offset" FROM dead_letters').one()
        return (
            len(history(connection, person.anomaly)),
            len(deploys.list_deploys(connection)),
            len(references.decisions(connection, [REFERENCE]).get(REFERENCE, [])),
            len(retries.history(connection, *letter)),
        )


def changes(person: Person) -> dict[str, dict[str, Any]]:
    letter = person.get("/api/dead-letters").json()["dead_letters"][0]
    said = f"/api/anomalies/{person.anomaly}/responses"
    return {
        f"{said}#": {"action": "acknowledge"},
        f"{said}##": {"action": "snooze", "for": "4h"},
        f"{said}###": {"action": "real"},
        f"{said}####": {"action": "accept"},
        "/api/deploys": {"version": "v7", "mute": "1h"},
        f"/api/references/{REFERENCE}/decisions": {"action": "approve"},
        "/api/dead-letters/retries": {"record": f"{letter['topic']}/{letter['partition']}/{letter['offset']}"},
    }


def test_no_decision_is_half_recorded_and_each_is_taken_later(store: Store) -> None:
    person = Person(store)
    wanted = changes(person)
    store.engine.dispose()  # the log begins anew: from its first byte on nothing is written
    person.get("/api/status")
    with nothing_written():
        answers = {path: person.post(path.rstrip("#"), body) for path, body in wanted.items()}
    assert {path: answer.status_code for path, answer in answers.items()} == dict.fromkeys(wanted, 503)
    assert {answer.headers["retry-after"] for answer in answers.values()} == {"30"}
    assert recorded(store, person) == (0, 0, 0, 0)
    answers = {path: person.post(path.rstrip("#"), body) for path, body in wanted.items()}
    assert {path: answer.status_code for path, answer in answers.items()} == dict.fromkeys(wanted, 200)
    assert recorded(store, person) == (4, 1, 1, 1)


def test_a_full_store_says_so_and_pages_go_on_with_a_notice(store: Store) -> None:
    person = Person(store)
    said = f"/api/anomalies/{person.anomaly}/responses"
    pages = [path.format(id="0-0-1") for path in VIEWS if "{" not in path] + [f"/anomalies/{person.anomaly}"]
    assert not any("no space left" in person.get(path).text for path in pages)
    taken = 0
    with full(store):
        for number in range(200):  # some fit into pages of the store that have room
            answer = person.post(said, {"action": "real" if number % 2 else "false", "note": f"{number:<900}."})
            if answer.status_code != 200:
                break
            taken += 1
        assert answer.status_code == 503
        assert "no space left, and nothing was changed; free some" in answer.json()["error"]
        for path in pages:
            shown = person.get(path)
            assert shown.status_code == 200
            assert "The store has no space left.</b> Nothing new is stored" in shown.text
    with store.read() as connection:
        assert len(history(connection, person.anomaly)) == taken
    assert person.post(said, {"action": "acknowledge"}).status_code == 200


def test_a_browser_gets_a_page_that_tries_again_and_a_program_the_same_words(store: Store, tmp_path: Path) -> None:
    asked = client(store)
    assert asked.get("/").status_code == 200
    store.engine.dispose()
    (tmp_path / "d.db").rename(tmp_path / "away.db")
    (tmp_path / "d.db").mkdir()
    page, told = asked.get("/cost?range=24h", BROWSER), asked.get("/api/status")
    assert page.status_code == told.status_code == 503
    assert page.headers["content-type"].startswith("text/html")
    assert '<meta http-equiv="refresh" content="30">' in page.text
    assert "The store does not answer; try again in a moment." in page.text
    assert "Traceback" not in page.text
    assert told.json()["error"] == "the store does not answer; try again in a moment"
    (tmp_path / "d.db").rmdir()
    (tmp_path / "away.db").rename(tmp_path / "d.db")
    assert asked.get("/cost?range=24h", BROWSER).status_code == 200


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("/cost?range=1h", 400, "This address asks for something that cannot be shown"),
        ("/reports/1-2-1", 404, "There is nothing here"),
        ("/nowhere", 404, "There is nothing here"),
        (f"/{quote(HOSTILE)}", 404, "There is nothing here"),
    ],
)
def test_what_cannot_be_shown_is_a_page_for_people(store: Store, path: str, status: int, words: str) -> None:
    page = client(store).get(path, BROWSER)
    assert page.status_code == status
    assert f"<h1>{words}</h1>" in page.text
    assert '<a href="/cost"' in page.text
    assert "<script>alert" not in page.text
    assert 'http-equiv="refresh"' not in page.text
    program = client(store).get(path)
    assert program.status_code == status
    assert program.headers["content-type"] == "application/json"
