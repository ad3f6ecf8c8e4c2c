"""What reviewers look at: the redacted input, output and citations of an item's sample."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import select

from monitor.store.engine import Store
from monitor.store.tables import sample_content


@dataclass(frozen=True, slots=True)
class Content:
    """Lists of parts as ingest stored them (docs/events.md); all empty where retention or `forget` took them."""

    inputs: list[Any]
    output: list[Any]
    citations: list[Any]


def content(store: Store, sample_id: str) -> Content:
    """The content of a sample. Raises StoreUnavailable."""
    query = select(sample_content.c.inputs, sample_content.c.output, sample_content.c.citations).where(
        sample_content.c.sample_id == sample_id
    )
    with store.read() as connection:
        row = connection.execute(query).first()
    if row is None:
        return Content([], [], [])
    inputs = msgspec.json.decode(row.inputs)
    parts = inputs.get("parts", []) if isinstance(inputs, dict) else []
    return Content(parts, _listed(row.output), _listed(row.citations))


def _listed(text: str) -> list[Any]:
    found = msgspec.json.decode(text)
    return found if isinstance(found, list) else []
