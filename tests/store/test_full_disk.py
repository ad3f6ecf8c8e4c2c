"""No space left: what is written is whole or not there, whoever asked is told, and work goes on when there is some."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from structlog.testing import capture_logs

from alerts.dispatch import _LONGEST_WAIT_S, _Worker
from alerts.sinks import Delivery, Retry, Sent
from alerts.sinks.folder import FolderSink
from monitor.report import issuing, rendering
from monitor.report.scheduled import LONGEST_SECONDS, POLL_SECONDS, done_until
from monitor.store import engine
from monitor.store.engine import Store, StoreFull, StoreUnavailable, open_store
from monitor.store.tables import secrets
from tests.report.reports import a_report
from tests.report.test_schedule import BEGIN, DAY_US, DUE, END, HOUR_US, Person, evaluated, issued, settings, waiting
from tests.store.full import full, nothing_written


@pytest.fixture
def store(tmp_path: Path, migrated: Path) -> Iterator[Store]:
    shutil.copy(migrated, tmp_path / "d.db")
    opened = open_store(f"sqlite:///{tmp_path / 'd.db'}", migrate=False)
    yield opened
    opened.close()


def keep(store: Store, name: str) -> None:
    with store.write() as connection:
        store.upsert(connection, secrets, [{"name": name, "value": "x" * 20_000}])


def names(store: Store) -> list[str]:
    with store.read() as connection:
        return list(connection.execute(select(secrets.c.name)).scalars())


def test_a_write_fails_whole_and_reading_goes_on(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    keep(store, "before")
    assert not store.full
    with full(store):
        with pytest.raises(StoreFull, match="no space left"):
            keep(store, "meanwhile")
        assert names(store) == ["before"]
        assert store.full
    keep(store, "after")
    assert names(store) == ["after", "before"]
    monkeypatch.setattr(engine, "FULL_SECONDS", 0.0)
    assert not store.full, "it is said for a while only: whoever writes would be refused again"


def test_a_disk_that_refuses_and_a_file_that_cannot_be_opened_are_tried_again(store: Store, tmp_path: Path) -> None:
    keep(store, "before")
    with nothing_written(), pytest.raises(StoreUnavailable, match="look whether its disk is full or broken"):
        keep(store, "meanwhile")
    assert names(store) == ["before"]
    (tmp_path / "folder").mkdir()
    with pytest.raises(StoreUnavailable, match="unable to open"):
        open_store(f"sqlite:///{tmp_path / 'folder'}")


# -- the report -------------------------------------------------------------------------------------------------


@pytest.fixture
def scheduled(store: Store, monkeypatch: pytest.MonkeyPatch) -> Person:
    """A schedule that has begun, and a report to issue."""
    evaluated(store, END)
    monkeypatch.setattr(issuing, "read_report", lambda *_: a_report())
    process = Person(store, settings(), 0)
    process.at(DUE - DAY_US)
    return process


def test_a_report_is_issued_once_there_is_space(store: Store, scheduled: Person) -> None:
    with full(store):
        for hour in range(3):
            with pytest.raises(StoreFull):
                scheduled.at(DUE + hour * HOUR_US)
        assert (issued(store), waiting(store)) == ([], [])
        with store.read() as connection:
            assert done_until(connection) == DUE - DAY_US, "it is still due"
    assert scheduled.at(DUE + 3 * HOUR_US)
    assert not scheduled.at(DUE + 4 * HOUR_US)
    assert issued(store) == [(BEGIN, END, 1, "")]
    assert len(waiting(store)) == 1


class Stop:
    """Ends a worker after some waits, and tells how long they would have been; ``then`` is called before the last."""

    def __init__(self, waits: int, then: Any) -> None:
        self.seconds: list[float] = []
        self._waits, self._then = waits, then

    def is_set(self) -> bool:
        return len(self.seconds) >= self._waits

    def wait(self, seconds: float) -> None:
        self.seconds.append(seconds)
        if len(self.seconds) == self._waits - 1:
            self._then()


def test_the_schedule_waits_ever_longer_and_says_so_each_time(store: Store, scheduled: Person) -> None:
    """A report that is read only to be refused is much work: not every half minute for a whole night."""
    scheduled.now_us = DUE
    without = full(store)
    without.__enter__()
    stop: Any = Stop(8, lambda: without.__exit__(None, None, None))
    with capture_logs() as logs:
        scheduled.work.run(stop)
    assert stop.seconds == [30, 60, 120, 240, 480, 480, 480, POLL_SECONDS]
    assert max(stop.seconds) == LONGEST_SECONDS
    told = [line for line in logs if line["event"] == "the report waits for the store"]
    assert [line["retry_seconds"] for line in told] == stop.seconds[:-1]
    assert "no space left" in told[0]["error"]
    assert issued(store) == [(BEGIN, END, 1, "")]


def test_a_folder_on_a_full_disk_holds_nothing_half_written(tmp_path: Path) -> None:
    pages = {"html": "<p>long" + "g" * 5000, "md": "# short"}
    delivery = Delivery("k", "report", {"name": "report-1", "pages": pages})
    sink = FolderSink(tmp_path / "reports")
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports" / "report-1.html").write_text("as it was")
    with nothing_written():
        (put_off,) = sink.send([delivery], 0)
    assert isinstance(put_off, Retry)
    assert {path.name: path.read_text() for path in (tmp_path / "reports").iterdir()} == {"report-1.html": "as it was"}
    assert sink.send([delivery], 0) == [Sent({})]
    assert (tmp_path / "reports" / "report-1.html").read_text() == pages["html"]
    # The same of a report that somebody asks for.
    with nothing_written(), pytest.raises(OSError, match="too large"):
        rendering.written({"html": pages["html"]}, BEGIN, END, "UTC", tmp_path / "asked")
    assert list((tmp_path / "asked").iterdir()) == []


# -- who sends --------------------------------------------------------------------------------------------------


def test_a_sink_asks_a_full_store_ever_less_often() -> None:
    waits: list[float] = []

    class Full:
        def step_sink(self, *_: Any) -> int:
            raise StoreFull("no space left")

    class Told:
        def is_set(self) -> bool:
            return len(waits) >= 8

        def wait(self, seconds: float) -> None:
            waits.append(seconds)

    with capture_logs() as logs:
        worker = object.__new__(_Worker)
        worker.stop, worker._name, worker._dispatcher, worker._poll_s = Told(), "mail", Full(), 1.0  # type: ignore[assignment]
        worker._run()
    assert waits == [1, 2, 4, 8, 16, _LONGEST_WAIT_S, _LONGEST_WAIT_S, _LONGEST_WAIT_S]
    assert len(logs) == len(waits)
