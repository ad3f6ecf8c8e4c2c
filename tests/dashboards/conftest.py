"""A store as a watched feature leaves it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from monitor.store.engine import Store, open_store
from tests.dashboards.watched import fill


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = open_store(f"sqlite:///{tmp_path / 'driftline.db'}")
    fill(opened)
    yield opened
    opened.close()
