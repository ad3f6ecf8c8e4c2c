"""What reviewers look at: the redacted input, output and citations of an item's sample."""

from __future__ import annotations

from collections.abc import Collection, Mapping
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


def thumbnail_part(document: Mapping[str, Any], seen: Collection[int]) -> int | None:
    """The input part whose first page is the sample's thumbnail: the first chosen one that was looked at with success.

    ``document``: the stored inputs; ``seen``: numbers of the parts that have a vector of an image.
    """
    stored = document.get("parts")
    parts = [part for part in stored if isinstance(part, dict)] if isinstance(stored, list) else []
    pictures = [part["part"] for part in parts if part.get("kind") in ("image", "document") and "part" in part]
    given = document.get("chosen")
    chosen = [index for index in given if index in pictures] if isinstance(given, list) else []
    return next((index for index in (*chosen, *pictures) if index in seen), next(iter(chosen or pictures), None))
