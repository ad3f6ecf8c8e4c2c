"""The page of references: what segments are held against, its versions, and how two of them differ."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import urlencode

from msgspec import Meta, Struct
from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import Response

from detectors.explain.weighted import Limits
from monitor.config.model import Config
from monitor.config.units import format_duration
from monitor.evaluate.levels import Level, Line
from monitor.evaluate.status import Learning, learning
from monitor.serve import parameters
from monitor.serve.access import Caller
from monitor.serve.anomalies.page import SEES
from monitor.serve.anomalies.words import Clock
from monitor.serve.cells import Cell, percent, plain, written
from monitor.serve.context import Context
from monitor.serve.inputs import mapping
from monitor.serve.inputs.reading import sessions_of, vectors_of
from monitor.serve.parameters import BadParameter
from monitor.serve.references import reading
from monitor.serve.references.reading import Opened
from monitor.serve.shell import framed
from monitor.store import inputs, listing, references
from monitor.store.references import Decided, ReferenceHead

PER_PAGE = 100  # segments
MOST_VERSIONS = 50  # of a segment
MOST_WAITING = 50
MOST_NAMES = 5000  # segments that a name is looked for in
MODALITIES = ("image", "text")
WAITING = ("draft", "approved")


class ReferencesQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """A segment, and versions of its reference by their numbers: one to look at, or two to compare."""

    segment: Annotated[str, Meta(max_length=300)] = ""
    a: Annotated[str, Meta(max_length=20)] = ""
    b: Annotated[str, Meta(max_length=20)] = ""
    page: Annotated[int, Meta(ge=1, le=100_000)] = 1


@dataclass(frozen=True, slots=True)
class Row:
    """A signal: cells of its level, or of both levels and the change; ``mark``: what to know of it."""

    signal: str
    cells: tuple[Cell, ...]
    mark: str


def page(context: Context, request: Request, caller: Caller) -> Response:
    """The page as its address says. Raises BadParameter."""
    query = parameters.read(ReferencesQuery, request.query_params)
    config = context.config()
    clock = Clock(config.timezone)
    sees = caller.role in SEES
    status = 200
    with context.store.read() as connection:
        closed = listing.closed_until(connection)
        names = [name for name, _ in references.segments_with(connection, limit=MOST_NAMES)]
        learns = learning(connection, config)
        values: dict[str, Any] = {"versions": None, "opened": None, "comparison": None, "map": None, "rows": []}
        if query.segment:
            heads = references.heads(connection, segment=query.segment, limit=MOST_VERSIONS)
            until = next((one.until_us for one in learns if one.segment == query.segment), None)
            status = 200 if heads or until is not None else 404
            values |= _segment(context, connection, query, heads, clock, sees=sees)
        else:
            values |= _overview(connection, query, clock)
    may = sees and caller.session is not None
    return framed(
        "references.html", context, request, caller, status=status,
        segment=query.segment, names=names, sees=sees, closed=closed,
        learns=[_learning(one, closed, clock) for one in learns if query.segment in ("", one.segment)][:MOST_WAITING],
        more_learn=max(0, len(learns) - MOST_WAITING) if not query.segment else 0,
        learn=format_duration(config.reference.learn), automatic=config.reference.auto_activate,
        may=may, csrf=caller.session.csrf if may and caller.session is not None else "",
        login=f"/login?{urlencode({'next': _address(query)})}" if sees and not may else None,
        who=caller.reviewer or caller.role,
        **values,
    )  # fmt: skip


def _learning(one: Learning, closed: int | None, clock: Clock) -> dict[str, Any]:
    return {
        "segment": one.segment,
        "until": clock.short(one.until_us),
        "over": closed is not None and one.until_us <= closed,
    }


def _overview(connection: Connection, query: ReferencesQuery, clock: Clock) -> dict[str, Any]:
    """Segments with the reference in use, and what waits for somebody."""
    total = references.count_segments(connection)
    pages = max(1, -(-total // PER_PAGE))
    number = min(query.page, pages)
    counts = dict(references.segments_with(connection, limit=PER_PAGE, offset=(number - 1) * PER_PAGE))
    active = {h.segment: h for h in references.heads(connection, segments=list(counts), states=["active"])}
    waiting = references.heads(connection, states=WAITING, limit=MOST_WAITING + 1)
    return {
        "rows": [
            {"segment": name, "count": count, "active": None if name not in active else _head(active[name], clock)}
            for name, count in counts.items()
        ],
        "total": total,
        "page": number,
        "pages": pages,
        "waiting": [_head(head, clock) for head in waiting[:MOST_WAITING]],
        "more_waiting": len(waiting) > MOST_WAITING,
    }


def _segment(
    context: Context,
    connection: Connection,
    query: ReferencesQuery,
    heads: Sequence[ReferenceHead],
    clock: Clock,
    *,
    sees: bool,
) -> dict[str, Any]:
    """The versions of a segment, and one of them opened or two compared."""
    decided = references.decisions(connection, [head.reference_id for head in heads])
    accepted = reading.accepted(connection, heads)
    a, b = (_version(heads, name, text) for name, text in (("a", query.a), ("b", query.b)))
    versions = [
        {
            **_head(head, clock),
            "decisions": [_decision(one, heads, clock) for one in decided.get(head.reference_id, [])],
            "accepted": accepted.get(head.reference_id),
        }
        for head in heads
    ]
    values: dict[str, Any] = {"versions": versions}
    config = context.config()
    in_use = next((head for head in heads if head.state == "active"), heads[0] if heads else None)
    other = next((head for head in heads if in_use is not None and head.version != in_use.version), None)
    values["chosen"] = (
        (a or other or in_use).version if heads and in_use else None,
        (b or in_use).version if heads and in_use else None,
    )
    if a is not None and b is not None:
        values |= _compared(context, connection, a, b, clock, sees=sees)
    elif (one := a or b or in_use) is not None:
        found = reading.opened(context.store, one.reference_id)
        rows = [] if found.content is None else reading.levels_of(connection, found.content)
        values["opened"] = {
            **_head(one, clock),
            "digest": found.row.digest,
            "fault": found.fault,
            "sessions": None if found.content is None else found.content.sessions,
            "rows": [Row(r.signal, (_cell(r, config),), "" if r.enough else "not enough data") for r in rows],
        }
    return values


def _compared(
    context: Context, connection: Connection, a: ReferenceHead, b: ReferenceHead, clock: Clock, *, sees: bool
) -> dict[str, Any]:
    before, after = (reading.opened(context.store, head.reference_id) for head in (a, b))
    if before.content is None or after.content is None:
        return {"comparison": {"fault": before.fault or after.fault, "a": _head(a, clock), "b": _head(b, clock)}}
    config = context.config()
    lines = reading.lines_of(connection, before, after)
    rows = [
        Row(line.signal, (_cell(line.before, config), _cell(line.after, config), _changed(line)),
            "differs" if line.differs else "")
        for line in lines
    ]  # fmt: skip
    found: dict[str, Any] = {
        "a": _head(a, clock) | {"sessions": before.content.sessions},
        "b": _head(b, clock) | {"sessions": after.content.sessions},
        "fault": "",
        "rows": rows,
        "differ": sum(line.differs for line in lines),
        "encoders": a.encoder != b.encoder,
        "overlap": a.version != b.version and a.from_us < b.to_us and b.from_us < a.to_us,
    }
    return {"comparison": found, **_map(connection, before, after, clock, sees=sees)}


def _map(connection: Connection, before: Opened, after: Opened, clock: Clock, *, sees: bool) -> dict[str, Any]:
    """Both on the map of the first, where both keep vectors of one encoder: of images, else of texts."""
    if not before.row.encoder or before.row.encoder != after.row.encoder:
        return {}
    copies = [
        sessions_of(inputs.copied(connection, one.row.reference_id, reading.MOST_ROWS)).samples
        for one in (before, after)
    ]
    for kind in MODALITIES:
        was, is_ = (vectors_of(samples, kind, before.row.encoder) for samples in copies)
        if (found := mapping.compare(was, is_)) is None:
            continue
        kept = inputs.kept(connection, [sample.sample_id for v in (was, is_) for sample in v.samples])
        names = f"version {before.row.version}", f"version {after.row.version}"
        drawn = mapping.drawn(was, is_, *found, kept, clock.short, modality=kind, sees=sees, names=names)
        return {"map": drawn, "of": kind}
    return {}


def _head(head: ReferenceHead, clock: Clock) -> dict[str, Any]:
    return {
        "id": head.reference_id,
        "segment": head.segment,
        "version": head.version,
        "state": head.state,
        "origin": head.origin,
        "from": clock.short(head.from_us),
        "to": clock.short(head.to_us),
        "days": plain((head.to_us - head.from_us) / 86_400e6),
        "embedded": head.rows,
        "encoder": head.encoder,
    }


def _decision(one: Decided, heads: Sequence[ReferenceHead], clock: Clock) -> dict[str, Any]:
    replaced = next((head.version for head in heads if head.reference_id == one.replaced), None)
    words = {"approve": "approved it", "activate": "put it to use"}[one.action]
    return {
        "who": one.who,
        "words": words + (f" in place of version {replaced}" if replaced is not None else ""),
        "time": clock.at(one.time_us),
        "note": one.note,
    }


def _version(heads: Sequence[ReferenceHead], name: str, text: str) -> ReferenceHead | None:
    """The version that the address names by its number. Raises BadParameter."""
    if not text:
        return None
    found = next((head for head in heads if str(head.version) == text.strip()), None)
    if found is None:
        known = ", ".join(str(head.version) for head in heads[:10]) or "none"
        raise BadParameter(name, f"the segment has no version {text[:20]!r} of its reference; it has {known}")
    return found


def _cell(level: Level | None, config: Config) -> Cell:
    if level is None:
        return Cell("–", "not measured")
    if level.limits is None:
        return Cell("–", "a distance")
    return _limits(level.limits, level.unit, config)


def _limits(limits: Limits, unit: str, config: Config) -> Cell:
    form = written(unit, config.prices.currency)
    if not (math.isfinite(limits.low) and math.isfinite(limits.high)):
        return Cell(form(limits.value))
    low, high = (percent(v) if unit == "1" else plain(v) for v in (limits.low, limits.high))
    return Cell(form(limits.value), f"{low} – {high}")


def _changed(line: Line) -> Cell:
    if line.change is None:
        return Cell("–")
    if line.told == "sd":
        scale, sign, unit = 1.0, "+" if line.signal == "agreement" else "", "sd"
    else:
        scale, sign, unit = 100.0, "+", "points" if line.told == "added" else "%"
    value, low, high = (_signed(scale * v, sign) for v in (line.change.value, line.change.low, line.change.high))
    note = f"{low} – {high}" if math.isfinite(line.change.low) and math.isfinite(line.change.high) else ""
    return Cell(f"{value} {unit}", note)


def _signed(value: float, sign: str) -> str:
    if not value or not math.isfinite(value):
        return "0"
    return f"{value:{sign}.0f}" if abs(value) >= 1000 else f"{value:{sign}.3g}"


def _address(query: ReferencesQuery) -> str:
    given = {"segment": query.segment, "a": query.a, "b": query.b}
    asked = urlencode({name: value for name, value in given.items() if value})
    return f"/references?{asked}" if asked else "/references"
