"""The archive of reports: the list of what was issued, and each as it was issued, byte for byte."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any, Literal
from zoneinfo import ZoneInfo

import msgspec
from msgspec import Struct
from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import Response

from monitor.serve import parameters
from monitor.serve.access import Caller
from monitor.serve.anomalies.words import Clock
from monitor.serve.context import Context
from monitor.serve.endpoint import NotFound
from monitor.serve.shell import framed
from monitor.store import reports
from monitor.store.reports import Issue

MOST = 100  # revisions that are listed
TOLD = 4  # sentences of each that the list shows
# A report is a document of its own: no script, no form, nothing from anywhere, and an origin that is nobody's.
POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; sandbox"
)
_ID = re.compile(r"(\d{1,11})-(\d{1,11})-(\d{1,6})", re.ASCII)
_TYPES = {"html": "text/html", "md": "text/markdown", "json": "application/json"}


class ReportQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """In which form a report is wanted."""

    format: Literal["html", "md", "json"] = "html"


class _Told(Struct, frozen=True):
    """Of a report's document what the list tells, whichever version wrote it."""

    changed: list[str] = []
    cost: list[str] = []
    decide: list[str] = []
    revised: list[str] = []
    complete: bool = True


def page(context: Context, request: Request, caller: Caller) -> Response:
    """The list. Raises BadParameter."""
    parameters.read(parameters.Nothing, request.query_params)
    clock = Clock(context.config().timezone)
    with context.store.read() as connection:
        issues = reports.list_issues(connection, MOST)
        told = {issue: _told(context, connection, issue) for issue in issues}
    periods: dict[tuple[int, int], list[dict[str, Any]]] = {}
    for issue in issues:
        periods.setdefault((issue.from_us, issue.to_us), []).append(_shown(issue, told[issue], clock))
    return framed(
        "reports.html",
        context,
        request,
        caller,
        periods=[(_days(*span, clock.zone), revisions) for span, revisions in periods.items()],
        most=MOST if len(issues) == MOST else None,
    )


def one(context: Context, request: Request, caller: Caller) -> Response:
    """One revision, as it was issued. Raises NotFound, BadParameter."""
    query = parameters.read(ReportQuery, request.query_params)
    wanted = str(request.path_params["id"])
    found = _ID.fullmatch(wanted)
    with context.store.read() as connection:
        issue = None if found is None else _issue(connection, *(int(part) for part in found.groups()))
        if issue is None:
            raise NotFound(f"no report {wanted[:60]!r}; /reports lists those that were issued")
        text = reports.page(connection, issue, query.format)
    headers = {"content-security-policy": POLICY}
    if query.format != "html":
        zone = ZoneInfo(context.config().timezone)
        days = "-".join(f"{datetime.fromtimestamp(us / 1e6, zone):%Y-%m-%d}" for us in (issue.from_us, issue.to_us))
        name = f"report-{days}-{issue.revision}.{query.format}"
        headers["content-disposition"] = f'attachment; filename="{name}"'
    return Response(text, media_type=_TYPES[query.format], headers=headers)


def identity(issue: Issue) -> str:
    """What a revision is called in addresses: its period in seconds since the epoch, and its number."""
    return f"{issue.from_us // 1_000_000}-{issue.to_us // 1_000_000}-{issue.revision}"


def _issue(connection: Connection, begin_s: int, end_s: int, revision: int) -> Issue | None:
    return reports.revision_of(connection, begin_s * 1_000_000, end_s * 1_000_000, revision)


def _told(context: Context, connection: Connection, issue: Issue) -> _Told:
    """What is issued does not change, so that it is read once."""

    def read() -> _Told:
        try:
            return msgspec.json.decode(reports.page(connection, issue, "json"), type=_Told)
        except (msgspec.DecodeError, LookupError):
            return _Told(changed=["Another version of driftline issued it."])

    return context.remembered.value(("report", issue), (), read)


def _shown(issue: Issue, told: _Told, clock: Clock) -> dict[str, Any]:
    return {
        "id": identity(issue),
        "revision": issue.revision,
        "issued": clock.at(issue.issued_us),
        "who": issue.who,
        "changed": told.changed[:TOLD],
        "more": max(0, len(told.changed) - TOLD),
        "cost": told.cost[:1],
        "decide": len(told.decide),
        "revised": told.revised,
        "complete": told.complete,
    }


def _days(from_us: int, to_us: int, zone: ZoneInfo) -> str:
    """``Mon 12 Jan 2026 to Sun 18 Jan 2026``; the last day is the last one in it."""
    first, last = (datetime.fromtimestamp(us / 1e6, zone) for us in (from_us, to_us - 1))
    return f"{first:%a %d %b %Y} to {last:%a %d %b %Y}"
