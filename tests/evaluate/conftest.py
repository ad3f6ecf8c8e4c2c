"""A store for the tests of the evaluator that need no more than one."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from monitor.store.engine import Store, open_store


@pytest.fixture
def sqlite(tmp_path: Path, migrated: Path) -> Iterator[Store]:
    shutil.copy(migrated, tmp_path / "driftline.db")
    found = open_store(f"sqlite:///{tmp_path / 'driftline.db'}")
    yield found
    found.close()
