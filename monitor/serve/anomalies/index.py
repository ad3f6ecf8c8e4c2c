"""The list of anomalies: filters in the address, newest first, what was snoozed last."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from urllib.parse import urlencode

from msgspec import Meta, Struct, structs
from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import Response

from monitor.serve import parameters, silences
from monitor.serve.access import Caller
from monitor.serve.anomalies import words
from monitor.serve.anomalies.words import Clock
from monitor.serve.context import Context
from monitor.serve.shell import framed
from monitor.status import evaluated_until
from monitor.store.anomalies import AnomalyRow, anomaly_segments, find_anomalies, get_anomalies, list_ids
from monitor.store.responses import NOTHING, Standing, standing
from monitor.times import iso

PER_PAGE = 50
MOST_NAMES = 5000  # segments that a name is looked for in
MOST_PREFIX = 1000
_SELECTS = (
    ("state", "State", (("", "all"), ("open", "open"), ("resolved", "resolved"), ("historic", "historic"))),
    ("severity", "Severity", (("", "all"), ("page", "page"), ("ticket", "ticket"), ("report", "report"))),
    ("marked", "Marked", (("", "all"), ("real", "real"), ("false", "false"), ("none", "not marked"))),
)


class ListQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """What the list is asked for; an empty value, which forms send, filters nothing."""

    state: Literal["", "open", "resolved", "historic"] = ""
    segment: Annotated[str, Meta(max_length=300)] = ""
    severity: Literal["", "page", "ticket", "report"] = ""
    marked: Literal["", "real", "false", "none"] = ""
    page: Annotated[int, Meta(ge=1, le=100_000)] = 1


def page(context: Context, request: Request, caller: Caller) -> Response:
    """The list as its address says. Raises BadParameter."""
    query = parameters.read(ListQuery, request.query_params)
    with context.store.read() as connection:
        ids = list_ids(
            connection,
            state=query.state if query.state in ("open", "resolved") else None,
            historic=True if query.state == "historic" else None,
            segment=query.segment or None,
            severity=query.severity or None,
        )
        return _rendered(context, request, caller, connection, ids, query, "", 200)


def of_prefix(context: Context, request: Request, caller: Caller, connection: Connection, prefix: str) -> Response:
    """The list of what an address that names none, or several, may have meant."""
    found = find_anomalies(connection, prefix, limit=MOST_PREFIX)
    ids = [row.anomaly_id for row in sorted(found, key=lambda row: (-row.opened_us, row.anomaly_id))]
    if ids:
        told = f"{len(ids)} anomalies begin with {prefix[:64]}."
        return _rendered(context, request, caller, connection, ids, ListQuery(), told, 200)
    ids = list_ids(connection)
    told = f"No anomaly begins with {prefix[:64]}: it may be older than retention.anomalies. These are there."
    return _rendered(context, request, caller, connection, ids, ListQuery(), told, 404)


def _rendered(
    context: Context,
    request: Request,
    caller: Caller,
    connection: Connection,
    ids: list[str],
    query: ListQuery,
    notice: str,
    status: int,
) -> Response:
    config, now_us = context.config(), int(context.clock() * 1e6)
    stands = standing(connection, ids)
    if query.marked:
        ids = [id for id in ids if _mark(stands.get(id, NOTHING)) == query.marked]
    snoozed = {id for id, found in stands.items() if found.snoozed_at(now_us)}
    ids.sort(key=lambda id: id in snoozed)  # stable: otherwise the newest stay first
    pages = max(1, -(-len(ids) // PER_PAGE))
    query = structs.replace(query, page=min(query.page, pages))
    shown = ids[(query.page - 1) * PER_PAGE : query.page * PER_PAGE]
    clock = Clock(config.timezone)
    quiet = silences.told(context, clock)
    done_us = evaluated_until(connection)
    rows = get_anomalies(connection, shown)
    return framed(
        "anomalies.html",
        context,
        request,
        caller,
        status=status,
        notice=notice,
        selects=_SELECTS,
        query=structs.asdict(query),
        filtered=query != ListQuery(page=query.page),
        segments=anomaly_segments(connection, limit=MOST_NAMES),
        rows=[_row(row, stands.get(row.anomaly_id, NOTHING), now_us, clock, quiet(row.anomaly_id)) for row in rows],
        total=len(ids),
        snoozed=bool(snoozed & set(ids)),
        before=_address(query, -1) if query.page > 1 and not notice else None,
        after=_address(query, 1) if query.page < pages and not notice else None,
        pages=pages,
        evaluated=None if ids or done_us is None else iso(done_us),
    )


def _row(row: AnomalyRow, stands: Standing, now_us: int, clock: Clock, quiet: list[str]) -> dict[str, Any]:
    headline, beyond = words.headline(row)
    return {
        "id": row.anomaly_id,
        "severity": row.severity,
        "state": words.state(row),
        "segment": row.segment,
        "signal": row.signal,
        "sentence": headline,
        "beyond": beyond,
        "opened": clock.short(row.opened_us),
        "opened_iso": iso(row.opened_us),
        "stands": [*words.stands(stands, now_us, clock), *quiet],
    }


def _mark(found: Standing) -> str:
    return "none" if found.marked is None else str(found.marked.action)


def _address(query: ListQuery, step: int) -> str:
    given = {name: value for name, value in structs.asdict(query).items() if value and name != "page"}
    return "/anomalies?" + urlencode({**given, "page": query.page + step})
