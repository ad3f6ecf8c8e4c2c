"""Texts of events as they are shown: cut, without what hides or reorders them, JSON laid out with its own digits."""

from __future__ import annotations

import json
import re
from typing import Any

MOST_TEXT = 20_000  # characters of a text that are sent
MOST_FIELDS = 60
_MOST_DEPTH = 40
_MOST_LAID_OUT = 300_000  # characters of JSON that are taken apart

# Controls but tab and line feed; what overrides, embeds or isolates directions; separators that scripts and terminals
# take for line ends; tags, which hide ASCII; halves of surrogate pairs, which no encoding has.
_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ufeff\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f]"
)
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s{}\[\],:"]+', re.DOTALL)


def shown(text: str) -> str:
    """The text with every hidden or reordering character written out, as ``[U+202E]``."""
    return _HIDDEN.sub(lambda found: f"[U+{ord(found[0]):04X}]", text.replace("\r\n", "\n"))


def cut(text: str, most: int = MOST_TEXT) -> tuple[str, int]:
    """(the text as it is shown, of at most ``most`` characters of it; how many are left out)."""
    return shown(text[:most]), max(0, len(text) - most)


def laid_out(text: str) -> tuple[str, Any] | None:
    """(a JSON object or list in indented lines, its value); None for what is neither.

    Every literal stays as it was written: a total of 41.90 is not shown as 41.9.
    """
    stripped = text.strip()
    if stripped[:1] not in ("{", "[") or len(stripped) > _MOST_LAID_OUT:
        return None
    try:
        value = json.loads(stripped)
    except (ValueError, RecursionError):
        return None
    lines: list[str] = []
    line, depth, after = "", 0, ""
    tokens = _TOKEN.findall(stripped)
    for at, token in enumerate(tokens):
        following = tokens[at + 1] if at + 1 < len(tokens) else ""
        if token in "}]":
            depth -= 1
            if after not in ("{", "["):
                lines.append(line)
                line = _indent(depth)
            line += token
        elif token in "{[":
            depth += 1
            line += token
            if following not in ("}", "]"):
                lines.append(line)
                line = _indent(depth)
        elif token == ",":
            lines.append(line + token)
            line = _indent(depth)
        else:
            line += ": " if token == ":" else token
        after = token
    return "\n".join([*lines, line]), value


def _indent(depth: int) -> str:
    return "  " * min(depth, _MOST_DEPTH)


def fields_of(value: Any) -> list[str]:
    """Paths of the leaves of a JSON value in their order, as ``items[0].price``; at most `MOST_FIELDS`."""
    found: list[str] = []
    waiting: list[tuple[str, Any]] = [("", value)]
    while waiting and len(found) < MOST_FIELDS:
        path, node = waiting.pop()
        if isinstance(node, dict) and node and path.count(".") < _MOST_DEPTH:
            children = [(f"{path}.{shown(key)}" if path else shown(key), child) for key, child in node.items()]
            waiting += reversed(children[:MOST_FIELDS])
        elif isinstance(node, list) and node and path.count("[") < _MOST_DEPTH:
            waiting += reversed([(f"{path}[{i}]", child) for i, child in enumerate(node[:MOST_FIELDS])])
        elif path and len(path) <= 300:
            found.append(path)
    return list(dict.fromkeys(found))
