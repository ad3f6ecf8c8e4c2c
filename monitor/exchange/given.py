"""A label or skip from elsewhere, and how it is written as JSON: a line of a file, a record of the labels topic."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from monitor.store.review import Label
from monitor.times import iso, parse_time

VERSION: Final = 1
EARLIEST_US: Final = 946_684_800_000_000  # the year 2000
LATEST_US: Final = 7_258_118_400_000_000  # the year 2200
MOST_EVENT_ID: Final = 300  # characters, as events have
# Characters that turn the reading order of what stands around them: nobody's name needs them.
_TURNING: Final = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")

Reason = Literal["tombstone", "oversize", "invalid_utf8", "malformed_json", "invalid_label", "unknown_item"]


class Unusable(Exception):
    """What was read is no label. ``reason``: one word, as of a dead letter; the message says what to write."""

    def __init__(self, reason: Reason, detail: str, event_id: str = "") -> None:
        self.reason: Reason = reason
        self.event_id = event_id
        super().__init__(detail)


@dataclass(frozen=True, slots=True)
class Given:
    """What somebody elsewhere said of an item. ``label`` None: it was passed on, for ``skip_reason``.

    ``item_id`` or ``event_id`` is not ''. ``time_us``: when it was said (wall clock), None where that is not known.
    ``gold``: it is the truth, by which reviewers are judged; None: it does not say, and what is known stays so.
    """

    item_id: str
    event_id: str
    reviewer: str
    label: Label | None
    skip_reason: str = ""
    time_us: int | None = None
    gold: bool | None = None

    @property
    def request_id(self) -> str:
        """The same for the same content, by which a label that comes again is known."""
        said = self.skip_reason if self.label is None else self.label.encode()
        kind = "skip" if self.label is None else "label"
        text = msgspec.json.encode([kind, self.item_id, self.event_id, self.reviewer, said, self.time_us, self.gold])
        return hashlib.blake2b(text, digest_size=16, person=b"given").hexdigest()

    def document(self) -> dict[str, Any]:
        """As `read` reads it."""
        found: dict[str, Any] = {"v": VERSION, "kind": "skip" if self.label is None else "label"}
        found |= {"item_id": self.item_id, "event_id": self.event_id, "reviewer": self.reviewer}
        if self.label is None:
            found["reason"] = self.skip_reason
        else:
            found |= {"verdict": self.label.verdict, "answers": dict(self.label.answers), "note": self.label.note}
            found |= {} if self.gold is None else {"gold": self.gold}
        return found | ({} if self.time_us is None else {"time": iso(self.time_us)})


class _Document(msgspec.Struct):
    v: Literal[1] = 1
    kind: Literal["label", "skip", "item"] = "label"
    item_id: Annotated[str, Meta(max_length=64)] | None = None
    event_id: Annotated[str, Meta(max_length=MOST_EVENT_ID)] | None = None
    reviewer: str | None = None
    verdict: Literal["correct", "wrong", "unsure"] | None = None
    answers: dict[str, str | bool | int | float | list[str] | None] | None = None
    note: str | None = None
    reason: str | None = None
    time: str | int | float | None = None
    gold: bool | None = None


_DECODER = msgspec.json.Decoder(_Document)


def read(value: bytes, *, default_reviewer: str = "") -> Given | None:
    """The label or skip in one JSON object; None where it is an item, which cannot be brought in.

    Fields that are not known are passed over. ``default_reviewer`` has said it where nobody is named. Raises Unusable.
    """
    try:
        text = value.decode()
    except UnicodeDecodeError as error:
        raise Unusable("invalid_utf8", f"byte {error.start} is no UTF-8; write UTF-8") from None
    try:
        found = _DECODER.decode(text)
    except msgspec.ValidationError as error:
        raise Unusable("invalid_label", str(error), _event_id(text)) from None
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise Unusable("malformed_json", str(error)[:200]) from None
    if found.kind == "item":
        return None
    return given(
        item_id=found.item_id or "",
        event_id=found.event_id or "",
        reviewer=found.reviewer or default_reviewer,
        verdict=None if found.kind == "skip" else found.verdict or "",
        answers=found.answers or {},
        note=found.note or "",
        skip_reason=(found.reason or "") if found.kind == "skip" else "",
        time=found.time,
        gold=found.gold if found.kind == "label" else None,
    )


def given(
    *,
    item_id: str,
    event_id: str,
    reviewer: str,
    verdict: str | None,
    answers: Mapping[str, Any],
    note: str,
    skip_reason: str,
    time: str | int | float | None,
    gold: bool | None,
) -> Given:
    """What was read, checked. ``verdict`` None: a skip; ``time``: RFC 3339 or epoch milliseconds. Raises Unusable."""
    kept = event_id if 0 < len(event_id) <= MOST_EVENT_ID and "\x00" not in event_id else ""
    try:
        if not item_id and not event_id:
            raise ValueError("it names neither an item nor an event; write item_id or event_id")
        _check_id("item_id", item_id, 64)
        _check_id("event_id", event_id, MOST_EVENT_ID)
        _check_name(reviewer)
        label = None
        if verdict is not None:
            if not verdict:
                raise ValueError("it has no verdict; write correct, wrong or unsure")
            label = Label(verdict, dict(answers), note)
            label.encode().encode()  # a lone surrogate has no UTF-8
        skip_reason.encode()
        return Given(item_id, event_id, reviewer, label, skip_reason.replace("\x00", "\ufffd"), _time_us(time), gold)
    except UnicodeEncodeError:
        raise Unusable("invalid_label", "a text holds half a character (a lone surrogate)", kept) from None
    except ValueError as error:
        raise Unusable("invalid_label", str(error), kept) from None


def _check_id(name: str, value: str, most: int) -> None:
    if len(value) > most or "\x00" in value:
        raise ValueError(f"{name} has at most {most} characters and no U+0000, got {len(value)}")
    value.encode()


def _check_name(reviewer: str) -> None:
    if not 0 < len(reviewer) <= 100:
        raise ValueError(f"a reviewer's name has 1 to 100 characters, got {len(reviewer)}; name the reviewer")
    if any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") or c in _TURNING for c in reviewer):
        raise ValueError("a reviewer's name holds no control characters, and none that turn the reading order")


def _time_us(time: str | int | float | None) -> int | None:
    if time is None or time == "":
        return None
    if isinstance(time, str):
        found = parse_time(time[:60])
    elif EARLIEST_US <= time * 1000 < LATEST_US:
        found = round(time * 1000)
    else:
        found = 0
    if not EARLIEST_US <= found < LATEST_US:
        raise ValueError(f"its time is not between the years 2000 and 2200: {str(time)[:60]}")
    return found


def _event_id(text: str) -> str:
    """The event of what is no label, so that forgetting the event finds the dead letter."""
    try:
        found = msgspec.json.decode(text, type=dict[str, msgspec.Raw]).get("event_id")
        name = "" if found is None else msgspec.json.decode(found)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return ""
    return name if isinstance(name, str) and 0 < len(name) <= MOST_EVENT_ID and "\x00" not in name else ""
