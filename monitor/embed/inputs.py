"""The stored inputs of a sample (``sample_content.inputs``), as ingest wrote them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import msgspec

from monitor.embed.images import Missing

VERSION = 1
_SHA256 = re.compile(r"^[0-9a-f]{64}$")


@dataclass(frozen=True, slots=True)
class InputPart:
    """One input part: its index in the event, its kind, and its facts as the event stated them."""

    part: int
    kind: str
    facts: dict[str, Any]

    @property
    def text(self) -> str:
        value = self.facts.get("text")
        return value if isinstance(value, str) else ""

    @property
    def is_picture(self) -> bool:
        """Whether it is looked at as an image, or page by page."""
        return self.kind in ("image", "document")

    def altered(self, data: bytes) -> bool:
        """Whether the bytes are not those whose sha256 the event states."""
        stated = self.facts.get("sha256")
        if not isinstance(stated, str) or not _SHA256.match(stated.lower()):
            return False
        return stated.lower() != sha256(data).hexdigest()

    @property
    def says_document(self) -> bool:
        """Whether the event says that it has pages; what its bytes are is another matter."""
        pages = self.facts.get("pages")
        many = isinstance(pages, int) and pages > 1
        return self.kind == "document" or self.facts.get("media_type") == "application/pdf" or many


@dataclass(frozen=True, slots=True)
class Inputs:
    """``chosen``: the parts to embed, in event order; ``request_text``: all text of the request; ``after``: an index
    above those of all parts of the event."""

    chosen: tuple[InputPart, ...]
    request_text: str
    after: int = 0

    def pages(self, most: int) -> dict[int, int]:
        """Most pages of each part, by ``id(part)``, should it be a PDF: ``most`` parts and pages in all, one at least.

        What is left of ``most`` is shared by the parts that say they are documents; where none does, by all images.
        """
        pictures = [part for part in self.chosen if part.is_picture]
        sharing = [part for part in pictures if part.says_document] or pictures
        left = max(0, most - len(self.chosen))
        found = {id(part): 1 for part in pictures}
        for at, part in enumerate(sharing):
            found[id(part)] += left // len(sharing) + (at < left % len(sharing))
        return found


def parse(document: str, *, every: bool = False) -> Inputs | Missing:
    """Read the JSON ``{"v": 1, "parts": [{"part", "kind", …}], "chosen": [index, …]}``; with ``every``, as if all parts
    were chosen."""
    try:
        value = msgspec.json.decode(document)
        if value["v"] != VERSION:
            return Missing("inputs_version")
        parts = {
            int(part["part"]): InputPart(int(part["part"]), str(part.get("kind", "")), part) for part in value["parts"]
        }
        chosen = None if every else value.get("chosen")
        picked = [parts[index] for index in (parts if chosen is None else map(int, chosen))]
    except (msgspec.DecodeError, KeyError, TypeError, ValueError, AttributeError):
        return Missing("inputs_unreadable")
    text = "\n".join(part.text for part in parts.values() if part.kind == "text" and part.text)
    return Inputs(tuple(sorted(picked, key=lambda part: part.part)), text, max(parts, default=-1) + 1)
