"""The API of references: which there are, what they hold, how two differ, and approving or activating one."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from msgspec import Meta, Struct
from starlette.requests import Request

from detectors.explain.weighted import Limits
from monitor.evaluate.levels import Level, Line
from monitor.events.redaction import Redactor
from monitor.serve import models, parameters
from monitor.serve.access import Caller
from monitor.serve.context import Context
from monitor.serve.endpoint import Endpoint, NotFound
from monitor.serve.models import Iso
from monitor.serve.parameters import BadParameter, Text
from monitor.serve.references import reading
from monitor.store import evaluation, references
from monitor.store.decision import Decision
from monitor.store.references import Decided, ReferenceFault, ReferenceHead, ReferenceSet
from monitor.times import iso

State = Literal["draft", "approved", "active", "retired"]
NOTE_MOST = references.MOST_NOTE


class ReferenceQuery(Struct, frozen=True, forbid_unknown_fields=True):
    segment: Annotated[Text, Meta(description="A slice is written `slice:NAME`.")] | None = None
    state: State | None = None
    limit: parameters.Limit = 100
    offset: parameters.Offset = 0


class CompareQuery(Struct, frozen=True, forbid_unknown_fields=True, rename={"other": "with"}):
    other: Annotated[Text, Meta(description="Id of the reference it is compared with, or its first characters.")]


class GivenDecision(Struct, frozen=True, forbid_unknown_fields=True):
    """What is decided of a reference: a draft is approved, and one that is approved (or retired) activated."""

    action: Literal["approve", "activate"]
    note: Annotated[str, Meta(max_length=NOTE_MOST, description="Why; redacted as events are.")] = ""


class Reference(Struct, frozen=True):
    """A reference: what a segment was over a stretch of event time."""

    id: str
    segment: str
    version: int
    state: Annotated[str, Meta(description="draft, approved, active or retired.")]
    origin: Annotated[str, Meta(description="learned, or built by hand.")]
    since: Iso
    until: Iso
    encoder: Annotated[str, Meta(description="Identity of the encoder of its vectors; empty: it has none.")]
    embedded: Annotated[int, Meta(description="Sampled sessions that it keeps.")]


class References(Struct, frozen=True):
    """References by segment, the newest version of each first."""

    references: list[Reference]
    page: models.Page


class SignalLevel(Struct, frozen=True):
    """What a signal was. ``low`` and ``high``: its 95 % interval, null where nothing tells it."""

    signal: str
    unit: str
    value: Annotated[float | None, Meta(description="null of drift, which is a distance.")]
    low: float | None
    high: float | None
    enough: Annotated[bool, Meta(description="Whether the reference supports judging it.")]


class ReferenceDecision(Struct, frozen=True):
    """Who approved or activated it, and when (wall clock)."""

    action: str
    who: str
    time: Iso
    note: str
    replaced: Annotated[str, Meta(description="Id of the reference that was active before.")]


class FullReference(Struct, frozen=True):
    """A reference with what it holds."""

    reference: Reference
    digest: Annotated[str, Meta(description="sha256 of its content.")]
    sessions: int
    signals: list[SignalLevel]
    decisions: Annotated[list[ReferenceDecision], Meta(description="Oldest first.")]


class SignalDifference(Struct, frozen=True):
    """One signal of two references."""

    signal: str
    unit: str
    before: SignalLevel | None
    after: SignalLevel | None
    change: float | None
    low: Annotated[float | None, Meta(description="95 % interval of the change.")]
    high: float | None
    told: Annotated[str, Meta(description="added, relative (0.1: a tenth more), or sd: deviations of the first.")]
    differs: Annotated[bool, Meta(description="Beyond chance at 5 % over all signals together.")]


class Comparison(Struct, frozen=True):
    """Two references of a segment, those signals first that differ beyond chance."""

    before: Reference
    after: Reference
    signals: list[SignalDifference]


def listed_references(context: Context, request: Request, query: ReferenceQuery, caller: Caller) -> References:
    states = None if query.state is None else [query.state]
    with context.store.read() as connection:
        found = references.heads(
            connection, segment=query.segment, states=states, limit=query.limit + 1, offset=query.offset
        )
    following = query.offset + query.limit if len(found) > query.limit else None
    return References([shown(head) for head in found[: query.limit]], models.Page(query.limit, query.offset, following))


def reference(context: Context, request: Request, query: parameters.Nothing, caller: Caller) -> FullReference:
    found = _opened(context, str(request.path_params["id"]))
    if found.content is None:
        raise BadParameter("id", found.fault)
    with context.store.read() as connection:
        signals = reading.levels_of(connection, found.content)
        decided = references.decisions(connection, [found.row.reference_id]).get(found.row.reference_id, [])
    return FullReference(
        shown(found.row), found.row.digest, found.content.sessions, [_level(one) for one in signals],
        [_decision(one) for one in decided],
    )  # fmt: skip


def compare_references(context: Context, request: Request, query: CompareQuery, caller: Caller) -> Comparison:
    before, after = _opened(context, str(request.path_params["id"])), _opened(context, query.other)
    with context.store.read() as connection:
        try:
            lines = reading.lines_of(connection, before, after)
        except ReferenceFault as error:
            raise BadParameter("with", str(error)) from None
    return Comparison(shown(before.row), shown(after.row), [_difference(line) for line in lines])


def decide(context: Context, request: Request, given: GivenDecision, caller: Caller) -> Reference:
    found = _opened(context, str(request.path_params["id"])).row
    note = Redactor(context.config().privacy.redact).text(given.note) if given.note else ""
    by = Decision(caller.reviewer or caller.role, int(context.clock() * 1e6), note[:NOTE_MOST])
    try:
        if given.action == "approve":
            return shown(references.approve(context.store, found.reference_id, by))
        encoder = evaluation.latest_encoder(context.store, found.segment) or None
        return shown(references.activate(context.store, found.reference_id, encoder=encoder, by=by))
    except ReferenceFault as error:
        raise BadParameter("action", str(error)) from None


def shown(head: ReferenceHead | ReferenceSet) -> Reference:
    """As the API tells it."""
    return Reference(
        head.reference_id, head.segment, head.version, head.state, head.origin, iso(head.from_us), iso(head.to_us),
        head.encoder, head.rows,
    )  # fmt: skip


def _opened(context: Context, identity: str) -> reading.Opened:
    try:
        return reading.opened(context.store, identity)
    except ReferenceFault as error:
        raise NotFound(str(error)) from None


def _level(level: Level) -> SignalLevel:
    value, low, high = _three(level.limits)
    return SignalLevel(level.signal, level.unit, value, low, high, level.enough)


def _difference(line: Line) -> SignalDifference:
    change, low, high = _three(line.change)
    return SignalDifference(
        line.signal, line.unit, None if line.before is None else _level(line.before),
        None if line.after is None else _level(line.after), change, low, high, line.told, line.differs,
    )  # fmt: skip


def _three(limits: Limits | None) -> tuple[float | None, float | None, float | None]:
    if limits is None:
        return None, None, None
    value, low, high = (v if math.isfinite(v) else None for v in (limits.value, limits.low, limits.high))
    return value, low, high


def _decision(one: Decided) -> ReferenceDecision:
    return ReferenceDecision(one.action, one.who, iso(one.time_us), one.note, one.replaced)


REFERENCE_ENDPOINTS = (
    Endpoint(
        "/api/references",
        "viewer",
        ReferenceQuery,
        References,
        "References: what segments are held against.",
        listed_references,
    ),
    Endpoint(
        "/api/references/{id}",
        "viewer",
        parameters.Nothing,
        FullReference,
        "One reference: every signal's level, and who approved it.",
        reference,
    ),
    Endpoint(
        "/api/references/{id}/compare",
        "viewer",
        CompareQuery,
        Comparison,
        "How another reference of the same segment differs from it.",
        compare_references,
    ),
    Endpoint(
        "/api/references/{id}/decisions",
        "reviewer",
        GivenDecision,
        Reference,
        "Approve a draft, or activate a reference; recorded with who did.",
        decide,
        method="POST",
    ),
)
