"""A store for the tests of the evaluator that need no more than one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from monitor.store.engine import Store, open_store


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[Store]:
    found = open_store(f"sqlite:///{tmp_path / 'driftline.db'}")
    yield found
    found.close()
