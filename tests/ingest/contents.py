"""Everything of a store that must not depend on where batches were cut, who worked, or when."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import select

from monitor.store import tables
from monitor.store.engine import Store

_RUN_DEPENDENT = {
    "partitions": {"generation", "owner"},
    "outbox": {"id", "created_us", "due_us", "lease_until_us", "attempts", "state", "error", "remote", "revision"},
    "watermark_advances": {"id"},
}


def contents(store: Store) -> dict[str, list[str]]:
    """Table: sorted rows as text, columns that name a run left out."""
    found: dict[str, list[str]] = {}
    with store.read() as connection:
        for name in (
            "partitions",
            "summaries",
            "samples",
            "sample_parts",
            "sample_content",
            "dead_letters",
            "outbox",
            "watermark_advances",
            "config_versions",
        ):
            table = tables.metadata.tables[name]
            columns = [c for c in table.columns if c.name not in _RUN_DEPENDENT.get(name, set())]
            rows = connection.execute(select(*columns)).all()
            found[name] = sorted(json.dumps([_plain(value) for value in row]) for row in rows)
    return found


def _plain(value: Any) -> Any:
    return bytes(value).hex() if isinstance(value, bytes | memoryview) else value


def differences(expected: dict[str, list[str]], got: dict[str, list[str]]) -> list[str]:
    """The first rows that differ, for a readable failure."""
    found = []
    for name in expected:
        if expected[name] != got[name]:
            only = sorted(set(expected[name]) - set(got[name]))[:2]
            extra = sorted(set(got[name]) - set(expected[name]))[:2]
            sizes = f"{len(expected[name])} against {len(got[name])} rows"
            found.append(f"{name}: {sizes}\n missing {only}\n too much {extra}"[:3000])
    return found
