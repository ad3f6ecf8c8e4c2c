"""Files of any size, cut into lines or the elements of one JSON array, with little of them in memory at a time."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import BinaryIO, Final

from monitor.exchange.given import Unusable

CHUNK: Final = 1 << 18  # bytes read at a time
MOST: Final = 16 << 20  # bytes of one line or element; what is longer is passed over and counted
_BOM: Final = b"\xef\xbb\xbf"
_OUTSIDE = re.compile(rb'["\[\]{},]')
_INSIDE = re.compile(rb'["\\]')
_SPACE: Final = b" \t\r\n"
_NO_ARRAY: Final = "the file is not one JSON array (or one object); export it from Label Studio as JSON or JSON-MIN"


class NotThisFormat(Exception):
    """The file as a whole is not what it was said to be; the message says what to do."""


def chunks(file: BinaryIO) -> Iterator[bytes]:
    """The file's bytes without a byte order mark. Raises NotThisFormat for UTF-16 and UTF-32."""
    first = file.read(CHUNK)
    if first.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\x00" in first[:4]:
        raise NotThisFormat("the file is UTF-16 or UTF-32; save it as UTF-8")
    first = first.removeprefix(_BOM)
    while first:
        yield first
        first = file.read(CHUNK)


def lines(parts: Iterable[bytes], most: int = MOST) -> Iterator[bytes | Unusable]:
    """Lines with their line break; in place of one that is too long, why it is passed over."""
    held = bytearray()
    dropped = False
    for part in parts:
        start = 0
        while (end := part.find(b"\n", start)) >= 0:
            held += part[start : end + 1]
            yield _too_long(most) if dropped or len(held) > most else bytes(held)
            held.clear()
            dropped, start = False, end + 1
        held += part[start:]
        if len(held) > most:
            held.clear()
            dropped = True
    if held or dropped:
        yield _too_long(most) if dropped else bytes(held)


def elements(parts: Iterable[bytes], most: int = MOST) -> Iterator[bytes | Unusable]:
    """The elements of the JSON array that is the file, undecoded; of a file that is one object, that object.

    In place of an element that is too long stands why it is passed over. Only brackets, strings and commas are looked
    at: whether an element is JSON shows when it is decoded. Raises NotThisFormat where there is no array, or no end.
    """
    held = bytearray()
    depth, top, over, dropped, quoted, escaped = 0, 1, False, False, False, False
    for part in parts:
        at = start = 0
        while True:
            if escaped:
                if at >= len(part):
                    break
                at, escaped = at + 1, False
            found = (_INSIDE if quoted else _OUTSIDE).search(part, at)
            if found is None:
                break
            sign, at = found.group(), found.end()
            if sign == b"\\":
                escaped = True
            elif sign == b'"':
                quoted = not quoted
            elif depth == 0:
                if over or sign not in (b"[", b"{") or (held + part[start : found.start()]).strip(_SPACE):
                    raise NotThisFormat(_NO_ARRAY)
                held.clear()
                depth, top, start = (1, 1, at) if sign == b"[" else (1, 0, found.start())
            elif sign in (b"[", b"{"):
                depth += 1
            elif sign == b",":
                if depth == top:
                    held += part[start : found.start()]
                    yield from _element(held, dropped, most)
                    held.clear()
                    dropped, start = False, at
            else:
                depth -= 1
                if depth == 0:
                    held += part[start : at if top == 0 else found.start()]
                    yield from _element(held, dropped, most)
                    held.clear()
                    dropped, over, start = False, True, at
        held += part[start:]
        if over and held.strip(_SPACE):
            raise NotThisFormat(_NO_ARRAY)
        if len(held) > most:
            held.clear()
            dropped = True
    if not over:
        raise NotThisFormat(_NO_ARRAY if depth == 0 else "the file ends before its JSON array does; export it anew")


def _element(held: bytearray, dropped: bool, most: int) -> Iterator[bytes | Unusable]:
    if dropped or len(held) > most:
        yield _too_long(most)
    elif content := held.strip(_SPACE):
        yield bytes(content)


def _too_long(most: int) -> Unusable:
    return Unusable("oversize", f"it is longer than {most} bytes")
