"""A store of each kind."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from monitor.store.engine import Store, open_store


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    opened = open_store(store_url)
    yield opened
    opened.close()


@pytest.fixture
def sqlite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    opened = open_store(f"sqlite:///{tmp_path_factory.mktemp('store') / 'driftline.db'}")
    yield opened
    opened.close()
