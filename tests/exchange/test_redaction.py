"""What reviewers write is redacted before it is stored, whichever way it comes in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from sqlalchemy import select

from monitor.cli import main
from monitor.config.model import Config
from monitor.events.redaction import redactor
from monitor.exchange.labels_topic import LabelsWorker
from monitor.ingest.consumer import TopicPartition
from monitor.store import review
from monitor.store.engine import Store, open_store
from monitor.store.review import Filters, Label, item_id
from monitor.store.review.items import MOST_NOTE, MOST_TEXT
from monitor.store.tables import labels, review_audit
from tests.exchange.annotated import annotation, choices, exported, task, textarea
from tests.exchange.drawn import NOW, add, add_samples, new_item
from tests.exchange.label_stream import TOPIC, config
from tests.exchange.test_labels_topic import label, read
from tests.ingest.memory_source import MemoryLog, MemorySource
from tests.service.queue_of_page import fill_queue
from tests.service.test_review_access import Browser

SECRET = "jane.doe@example.com"
NOTE = f"ask {SECRET} about it"
CLEAN = "ask [email] about it"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    (tmp_path / "driftline.yaml").write_text(f"store: {{url: 'sqlite:///{tmp_path}/d.db'}}\n")
    opened = open_store(f"sqlite:///{tmp_path}/d.db")
    add_samples(opened, [new_item(1)])
    add(opened, [new_item(1)])
    return opened


def stored(store: Store) -> dict[str, Any]:
    """The one answer there is; nothing that is kept of it, the audit included, holds the secret."""
    with store.read() as connection:
        documents = list(connection.execute(select(labels.c.label)).scalars())
        audit = list(connection.execute(select(review_audit.c.detail)).scalars())
    assert SECRET not in "".join([*documents, *audit])
    (document,) = documents
    return dict(json.loads(document))


def call(tmp_path: Path, *arguments: str) -> None:
    done = CliRunner().invoke(main, ["review", *arguments, "--config", str(tmp_path / "driftline.yaml")])
    assert done.exit_code == 0, done.output


def imported(tmp_path: Path, content: str, file_format: str) -> None:
    (tmp_path / "labels").write_text(content)
    call(tmp_path, "import", str(tmp_path / "labels"), "--format", file_format, "--reviewer", "ann")


@pytest.fixture
def waiting(tmp_path: Path) -> Store:
    """A queue with an item that has not expired by the wall clock."""
    opened = open_store(f"sqlite:///{tmp_path}/waiting.db")
    fill_queue(opened, 1)
    return opened


def test_from_the_page(waiting: Store) -> None:
    browser = Browser(waiting)
    assert browser.log_in("Ada").status_code == 303
    (item,) = browser.post("/api/review/next", {"count": 1}).json()["items"]
    done = browser.post("/api/review/label", {"item_id": item["id"], "verdict": "wrong", "note": NOTE})
    assert done.status_code == 200, done.text
    assert stored(waiting)["note"] == CLEAN


def test_from_the_page_a_skip(waiting: Store) -> None:
    browser = Browser(waiting)
    assert browser.log_in("Ada").status_code == 303
    (item,) = browser.post("/api/review/next", {"count": 1}).json()["items"]
    done = browser.post("/api/review/skip", {"item_id": item["id"], "reason": NOTE})
    assert done.status_code == 200, done.text
    assert stored(waiting)["reason"] == CLEAN


def test_from_the_terminal(store: Store, tmp_path: Path) -> None:
    review.next_items(store, "ann", Filters(), NOW, 10**15)
    said = ("--verdict", "wrong", "--note", NOTE, "--answer", f"seen={NOTE}")
    call(tmp_path, "label", item_id("s1"), "--reviewer", "ann", *said)
    assert stored(store) == {"v": 1, "verdict": "wrong", "note": CLEAN, "answers": {"seen": CLEAN}}


def test_from_the_terminal_a_skip(store: Store, tmp_path: Path) -> None:
    review.next_items(store, "ann", Filters(), NOW, 10**15)
    call(tmp_path, "skip", item_id("s1"), "--reviewer", "ann", "--reason", NOTE)
    assert stored(store)["reason"] == CLEAN


LINE = {"v": 1, "kind": "label", "event_id": "e1", "verdict": "wrong", "note": NOTE, "answers": {"seen": [NOTE]}}


def test_from_json_lines_and_out_again(store: Store, tmp_path: Path) -> None:
    imported(tmp_path, json.dumps(LINE), "jsonl")
    assert stored(store) == {"v": 1, "verdict": "wrong", "note": CLEAN, "answers": {"seen": [CLEAN]}}
    call(tmp_path, "export", "--out", str(tmp_path / "out"))
    assert SECRET not in (tmp_path / "out").read_text()
    assert CLEAN in (tmp_path / "out").read_text()
    imported(tmp_path, json.dumps(LINE), "jsonl")
    assert stored(store)["note"] == CLEAN, "the same file again is known"


def test_from_json_lines_a_skip(store: Store, tmp_path: Path) -> None:
    imported(tmp_path, json.dumps({"v": 1, "kind": "skip", "event_id": "e1", "reason": NOTE}), "jsonl")
    assert stored(store)["reason"] == CLEAN


def test_from_csv(store: Store, tmp_path: Path) -> None:
    imported(tmp_path, f"event_id,verdict,note\r\ne1,wrong,{NOTE}\r\n", "csv")
    assert stored(store)["note"] == CLEAN


def test_from_label_studio(store: Store, tmp_path: Path) -> None:
    found = annotation(choices("verdict", "wrong"), textarea("note", NOTE), who="ann@example.org")
    (content,) = exported(task({"item_id": item_id("s1"), "event_id": "e1"}, found))
    imported(tmp_path, content.decode(), "label-studio")
    assert stored(store)["note"] == CLEAN


def test_from_the_labels_topic(store: Store) -> None:
    log = MemoryLog({TopicPartition(TOPIC, 0): [label(label=Label("wrong", {"seen": NOTE}, NOTE))]})
    read(LabelsWorker(config(), store, source=MemorySource(log), wall_us=lambda: NOW))
    assert stored(store)["note"] == CLEAN
    assert stored(store)["answers"] == {"seen": CLEAN}


def test_a_label_without_texts_runs_no_rule_and_none_grows_too_long() -> None:
    asked: list[str] = []

    def redact(text: str) -> str:
        asked.append(text)
        return 10 * text

    plain = Label("wrong")
    assert plain.redacted(redact) is plain
    assert not asked
    long = Label("wrong", {"q": "a" * MOST_TEXT, "n": 3, "t": True}, "b" * MOST_NOTE).redacted(redact)
    assert (len(long.note), long.answers["n" * 10], long.answers["t" * 10]) == (MOST_NOTE, 3, True)
    assert redactor(Config().privacy.redact) is redactor(Config().privacy.redact), "rules are compiled once"
