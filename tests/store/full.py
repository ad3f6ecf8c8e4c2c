"""Stores that have no space left, and disks that take nothing."""

from __future__ import annotations

import contextlib
import resource
from collections.abc import Iterator
from typing import Any

from sqlalchemy import event

from monitor.store.engine import Store


@contextlib.contextmanager
def full(store: Store) -> Iterator[None]:
    """A SQLite store that can grow by no page: what needs one fails as on a full disk (SQLITE_FULL)."""

    def capped(connection: Any, _record: object) -> None:
        connection.execute("PRAGMA max_page_count = 1")  # which SQLite reads as: as many as there are

    event.listen(store.engine, "connect", capped)
    store.engine.dispose()
    try:
        yield
    finally:
        event.remove(store.engine, "connect", capped)
        store.engine.dispose()


@contextlib.contextmanager
def nothing_written(most: int = 1024) -> Iterator[None]:
    """No file of this process can be written beyond ``most`` bytes: the system refuses it (EFBIG)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
