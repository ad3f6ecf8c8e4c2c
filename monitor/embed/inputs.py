"""The stored inputs of a sample (``sample_content.inputs``), as ingest wrote them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from monitor.embed.images import Missing

VERSION = 1


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


@dataclass(frozen=True, slots=True)
class Inputs:
    """``chosen``: the parts to embed, in event order; ``request_text``: all text of the request."""

    chosen: tuple[InputPart, ...]
    request_text: str


def parse(document: str) -> Inputs | Missing:
    """Read the JSON ``{"v": 1, "parts": [{"part", "kind", …}], "chosen": [index, …]}``."""
    try:
        value = msgspec.json.decode(document)
        if value["v"] != VERSION:
            return Missing("inputs_version")
        parts = {
            int(part["part"]): InputPart(int(part["part"]), str(part.get("kind", "")), part) for part in value["parts"]
        }
        chosen = value.get("chosen")
        picked = [parts[index] for index in (parts if chosen is None else map(int, chosen))]
    except (msgspec.DecodeError, KeyError, TypeError, ValueError, AttributeError):
        return Missing("inputs_unreadable")
    text = "\n".join(part.text for part in parts.values() if part.kind == "text" and part.text)
    return Inputs(tuple(sorted(picked, key=lambda part: part.part)), text)
