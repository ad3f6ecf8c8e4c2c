"""A quote beside its source: where it is in there, and where on the page its region lies."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Sequence
from typing import Any

from monitor.events.grounding import contained, normalise

MOST_SEARCHED = 200_000  # characters of a source in which a quote is looked for that does not stand there literally
_PAGE = re.compile(r"\bpages?\W*(\d{1,5})\b", re.IGNORECASE)


def locate(quote: str, source: str) -> tuple[int, int] | None:
    """Where ``quote`` is in ``source``, compared as `grounding.contained` does; None where it is not, or not placed.

    A quote that is found only across the bounds of what is normalised together is not placed.
    """
    if not contained(quote, source):
        return None
    at = source.find(quote)
    if at >= 0:
        return at, at + len(quote)
    wanted = normalise(quote)
    folded, origins = _folded(source[:MOST_SEARCHED])
    at = folded.find(wanted)
    if at < 0 or not wanted:
        return None
    return origins[at][0], origins[at + len(wanted) - 1][1]


def _folded(source: str) -> tuple[str, list[tuple[int, int]]]:
    """The normalised source, and for each of its characters from where to where in the source it comes."""
    characters: list[str] = []
    origins: list[tuple[int, int]] = []
    start = 0
    while start < len(source):
        end = start + 1
        while end < len(source) and unicodedata.combining(source[end]):
            end += 1
        # `normalise` strips: the marks around keep white space from being lost at the bounds.
        piece = normalise(f"x{source[start:end]}x")[1:-1]
        for character in piece:
            if character == " " and (not characters or characters[-1] == " "):
                continue
            characters.append(character)
            origins.append((start, end))
        start = end
    return "".join(characters), origins


def region(given: Any, size: tuple[int, int] | None) -> tuple[float, float, float, float] | None:
    """(left, top, right, bottom) of a page in [0, 1]; None for what is no region.

    Numbers above 1 are taken as pixels of an image of ``size`` (width, height).
    """
    if not isinstance(given, list) or len(given) != 4:
        return None
    if not all(isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v) for v in given):
        return None
    values = [float(v) for v in given]
    if max(values) > 1:
        if size is None or min(size) <= 0:
            return None
        values = [v / size[i % 2] for i, v in enumerate(values)]
    left, right = sorted(min(max(v, 0.0), 1.0) for v in values[::2])
    top, bottom = sorted(min(max(v, 0.0), 1.0) for v in values[1::2])
    if right <= left or bottom <= top:
        return None
    return left, top, right, bottom


def page_of(citation: dict[str, Any]) -> int:
    """The page (from 1) a citation is on: its ``page``, else a number in its ``source`` as ``page 2``, else 1."""
    page = citation.get("page")
    if isinstance(page, int) and not isinstance(page, bool) and 1 <= page <= 99_999:
        return page
    source = citation.get("source")
    found = _PAGE.search(source[:500]) if isinstance(source, str) else None
    return max(1, int(found[1])) if found else 1


def place(page: int, pictures: Sequence[int]) -> tuple[int, int] | None:
    """(input part, page within it) of a page of the event; ``pictures``: indices of the parts that are looked at.

    Of several parts each is a page; None where there is no such.
    """
    if len(pictures) == 1:
        return pictures[0], page
    return (pictures[page - 1], 1) if 1 <= page <= len(pictures) else None
