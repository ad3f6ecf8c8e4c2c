from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from monitor.store.engine import Store, open_store
from tests.alerts.mail import MailServer, mail_server
from tests.alerts.parts import Clock, Target, target


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    """An empty store, on SQLite and on PostgreSQL."""
    opened = open_store(store_url)
    yield opened
    opened.close()


@pytest.fixture
def clock() -> Clock:
    """From now on: a real Alertmanager compares what it is told with the time there is, long after tests were read."""
    return Clock(time.time_ns() // 1000)


@pytest.fixture
def web() -> Iterator[Target]:
    with target() as state:
        yield state


@pytest.fixture
def post() -> Iterator[MailServer]:
    with mail_server() as state:
        yield state


@pytest.fixture
def sqlite_store(tmp_path: Path, migrated: Path) -> Iterator[Store]:
    """An empty store, where what is tested has nothing to do with the database."""
    shutil.copy(migrated, tmp_path / "driftline.db")
    opened = open_store(f"sqlite:///{tmp_path / 'driftline.db'}")
    yield opened
    opened.close()
