"""Query parameters as types: read strictly, documented in OpenAPI, wrong ones answered with what to write."""

from __future__ import annotations

from typing import Annotated, Literal, TypeVar

import msgspec
import msgspec.inspect
from msgspec import Meta, Struct
from starlette.datastructures import QueryParams

from monitor.times import parse_time

MOST = 1000

Limit = Annotated[int, Meta(ge=1, le=MOST, description="Most entries of this page.")]
Offset = Annotated[int, Meta(ge=0, le=10_000_000, description="Entries left out before this page.")]
Text = Annotated[str, Meta(max_length=300)]
Time = Annotated[
    str,
    Meta(
        max_length=40,
        description="RFC 3339 or a day (UTC) or epoch milliseconds.",
        extra_json_schema={"format": "date-time"},
    ),
]


class Nothing(Struct, frozen=True, forbid_unknown_fields=True):
    """An endpoint without parameters."""


class Range(Struct, frozen=True, forbid_unknown_fields=True, rename={"since": "from", "until": "to"}):
    """A range of event time. Default: the last 24 hours up to the newest closed window."""

    since: Time | None = None
    until: Time | None = None


class SegmentQuery(Range, frozen=True, forbid_unknown_fields=True, rename={"since": "from", "until": "to"}):
    """A page of the segments of a range."""

    limit: Limit = MOST
    offset: Offset = 0


class SummaryQuery(Struct, frozen=True, forbid_unknown_fields=True, rename={"since": "from", "until": "to"}):
    segment: Annotated[Text, Meta(description="Segment; `all` is the sum of all.")] = "all"
    version: Annotated[Text, Meta(description="Model and prompt version, as stored.")] | None = None
    by: Annotated[
        Literal["range", "hour", "day"], Meta(description="One summary for the range, or one per hour or day (UTC).")
    ] = "range"
    since: Time | None = None
    until: Time | None = None


class SampleQuery(Struct, frozen=True, forbid_unknown_fields=True, rename={"since": "from", "until": "to"}):
    segment: Text | None = None
    state: Literal["pending", "embedded", "missing"] | None = None
    event_id: Text | None = None
    since: Time | None = None
    until: Time | None = None
    limit: Limit = 100
    offset: Offset = 0


class AnomalyQuery(Struct, frozen=True, forbid_unknown_fields=True, rename={"since": "from", "until": "to"}):
    state: Literal["open", "resolved"] | None = None
    segment: Text | None = None
    signal: Text | None = None
    severity: Literal["page", "ticket", "report"] | None = None
    since: Annotated[Time, Meta(description="Opened at or after this event time.")] | None = None
    until: Annotated[Time, Meta(description="Opened before this event time.")] | None = None
    limit: Limit = 100
    offset: Offset = 0


class DeadLetterQuery(Struct, frozen=True, forbid_unknown_fields=True):
    reason: Text | None = None
    limit: Limit = 100
    offset: Offset = 0


class BudgetQuery(Struct, frozen=True, forbid_unknown_fields=True):
    owner: Annotated[Text, Meta(description="Only this owner's streams.")] | None = None
    segment: Annotated[Text, Meta(description="Only this segment's streams.")] | None = None
    effects: (
        Annotated[Text, Meta(description="Changes to ask about, as `rate=x4,volume=x0.5,drift=1sd,cluster=20%`.")]
        | None
    ) = None


class BadParameter(ValueError):
    """A parameter that cannot be used; ``name`` says which."""

    def __init__(self, name: str | None, message: str) -> None:
        self.name = name
        super().__init__(message)


Q = TypeVar("Q", bound=Struct)


def read(kind: type[Q], given: QueryParams) -> Q:
    """The parameters as ``kind``. Raises BadParameter naming the parameter and what to write."""
    known = {field.encode_name for field in msgspec.structs.fields(kind)}
    for name in given:
        if name not in known:
            wanted = f"it takes {', '.join(sorted(known))}" if known else "it takes none"
            raise BadParameter(name[:100], f"unknown parameter {name[:100]!r}; {wanted}")
        if len(given.getlist(name)) > 1:
            raise BadParameter(name, f"{name} is given {len(given.getlist(name))} times; give it once")
    try:
        return msgspec.convert(dict(given), kind, strict=False)
    except msgspec.ValidationError as error:
        raise _wrong(error, kind) from None


def read_body(kind: type[Q], body: bytes) -> Q:
    """The JSON body of a request as ``kind``. Raises BadParameter naming the field and what to write."""
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        raise _wrong(error, kind) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadParameter(None, f"the body is no JSON ({error}); send a JSON object") from None


def _wrong(error: msgspec.ValidationError, kind: type[Struct]) -> BadParameter:
    text = str(error)
    at = text.rpartition("`$.")[2].rstrip("`") if "`$." in text else None
    told = text.partition(" - at ")[0]
    if told.startswith("Invalid enum value") and (choices := _choices(kind, at)):
        told = f"expected one of {', '.join(choices)}, got {told.removeprefix('Invalid enum value').strip()}"
    return BadParameter(at, told)


def _choices(kind: type[Struct], name: str | None) -> list[str]:
    """The words that a field may be; none where it is not of words."""
    found = msgspec.inspect.type_info(kind)
    assert isinstance(found, msgspec.inspect.StructType)
    of = [field.type for field in found.fields if field.encode_name == name]
    words: list[str] = []
    while of:
        one = of.pop(0)
        of += [one.type] if isinstance(one, msgspec.inspect.Metadata) else []
        of += one.types if isinstance(one, msgspec.inspect.UnionType) else []
        words += [str(value) for value in one.values if value] if isinstance(one, msgspec.inspect.LiteralType) else []
    return words


def span(since: str | None, until: str | None) -> tuple[int | None, int | None]:
    """(from, to) in µs. Raises BadParameter for what is no time, or an empty range."""
    low, high = _time("from", since), _time("to", until)
    if low is not None and high is not None and low >= high:
        raise BadParameter("from", f"the range is empty: from {since} is not before to {until}")
    return low, high


def _time(name: str, text: str | None) -> int | None:
    if text is None:
        return None
    try:
        found = parse_time(text.replace(" ", "+"))  # an unescaped + of a zone arrives as a space
    except (ValueError, OverflowError) as error:
        raise BadParameter(name, str(error)) from None
    if not 0 <= found < 2**62:
        raise BadParameter(name, f"{text!r} is out of range; give a time after 1970")
    return found
