"""The overview: is anything wrong, where, since when; what of the false-alarm budget is spent; every segment."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Any, Literal
from urllib.parse import urlencode

from markupsafe import Markup
from msgspec import Meta, Struct
from sqlalchemy import Connection, func, select
from starlette.requests import Request
from starlette.responses import Response

from monitor.config.model import Config
from monitor.evaluate.streams import Ownership
from monitor.serve import parameters
from monitor.serve.access import Caller
from monitor.serve.anomalies import words
from monitor.serve.anomalies.words import Clock
from monitor.serve.context import Context
from monitor.serve.overview import segments
from monitor.serve.overview.segments import COLUMNS, MOST, Order, Sort
from monitor.serve.remembered import state_of
from monitor.serve.shell import SPANS, View, ViewQuery, asked, framed
from monitor.serve.templating import template
from monitor.status import budget_lines
from monitor.store import listing
from monitor.store.anomalies import AnomalyRow, count_open, list_anomalies
from monitor.store.responses import NOTHING, Standing, marks, standing
from monitor.store.tables import dead_letters, evaluation, stream_states
from monitor.times import DAY_US, MINUTE_US

RECENT = 10
MOST_OPEN = 100
REFRESH_S = 60
_SEVERITIES = ("page", "ticket", "report")


class OverviewQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """What the overview is asked for; an empty value asks for nothing."""

    range: Literal["", "24h", "7d", "28d"] = ""
    sort: Sort = ""
    order: Order = ""
    find: Annotated[str, Meta(max_length=300)] = ""
    page: Annotated[int, Meta(ge=1, le=100_000)] = 1
    refresh: Literal["", "off"] = ""

    def at(self, **changed: str) -> str:
        """The address that asks for this with some of it changed; another order or choice begins on its first page."""
        given = {name: getattr(self, name) for name in self.__struct_fields__ if name != "page"} | changed
        query = urlencode({name: value for name, value in given.items() if value})
        return f"/?{query}" if query else "/"


def page(context: Context, request: Request, caller: Caller) -> Response:
    """The page as its address says. Raises BadParameter."""
    query = parameters.read(OverviewQuery, request.query_params)
    config = context.config()
    now_us = int(context.clock() * 1e6)
    with context.store.read() as connection:
        view = asked(connection, ViewQuery(range=query.range or "24h"))
        opened = count_open(connection)
        waiting = _waiting(connection, opened)
        recent = list_anomalies(connection, state="resolved", limit=RECENT)
        stands = standing(connection, [row.anomaly_id for row in waiting])
        evaluated = connection.execute(select(func.max(evaluation.c.done_until_us))).scalar()
        closed = listing.closed_until(connection)
        watched = connection.execute(select(func.count()).select_from(stream_states)).scalar_one()
        letters = connection.execute(select(func.count()).select_from(dead_letters)).scalar_one()
        budget = _budget(connection, config, evaluated)
        rows, number, total = _rows(context, connection, query, view, opened.total())
    waiting.sort(key=lambda row: (stands.get(row.anomaly_id, NOTHING).snoozed_at(now_us), _rank(row), row.opened_us))
    clock = Clock(config.timezone)
    down = [state for state in context.states() if not state.ready]
    response = framed(
        "overview.html",
        context,
        request,
        caller,
        shown=view,
        query=query,
        verdict=_verdict(opened, watched, bool(down), view.empty),
        ranges=[(text, query.at(range="" if key == "24h" else key), view.preset == key) for key, (text, _) in
                SPANS.items()],
        open=[_card(row, stands.get(row.anomaly_id, NOTHING), now_us, clock) for row in waiting],
        more_open=opened.total() - len(waiting),
        recent=[_past(row, clock) for row in recent],
        budget=budget,
        owners=len({line["owner"] for line in budget}) > 1,
        columns=[_column(query, sort, text) for sort, text in COLUMNS],
        rows=rows,
        total=total,
        number=number,
        pages=max(1, -(-total // MOST)),
        searched=bool(query.find) or total > MOST,
        sends_historic=config.alerts.send_historic,
        down=down,
        lag=context.lag(),
        letters=letters,
        closed=None if closed is None else clock.short(closed),
        behind=None if closed is None else _behind(now_us, closed),
        evaluated=None if evaluated is None else clock.short(evaluated),
    )  # fmt: skip
    if query.refresh != "off":
        response.headers["refresh"] = str(REFRESH_S)
    return response


def _rows(
    context: Context, connection: Connection, query: OverviewQuery, view: View, waiting: int
) -> tuple[Markup, int, int]:
    """(rows of a page of the table as HTML, '' where there are none; which page; how many segments there are)."""
    config = context.config()
    state = (*state_of(connection, view.end_us), view, config)
    found = context.remembered.value(("overview", view.kept_as), state, lambda: segments.read(connection, config, view))
    total = segments.count(found, query.find)
    number = min(query.page, max(1, -(-total // MOST)))
    html = context.remembered.html(
        ("overview rows", view.kept_as, query.sort, query.order, query.find, number),
        (*state, waiting),
        lambda: template("overview_rows.html").render(
            rows=segments.table(found, config, view, query, range((number - 1) * MOST, number * MOST), waiting=waiting)
        ),
    )
    return html, number, total


def _waiting(connection: Connection, opened: Counter[str]) -> list[AnomalyRow]:
    """Open anomalies, at most `MOST_OPEN`: those that most is at stake in, the newest of each severity."""
    found: list[AnomalyRow] = []
    for severity in sorted(opened, key=_order):
        left = MOST_OPEN - len(found)
        found += list_anomalies(connection, state="open", severity=severity, limit=left) if left else []
    return found


def _rank(row: AnomalyRow) -> int:
    return _order(row.severity)


def _order(severity: str) -> int:
    return _SEVERITIES.index(severity) if severity in _SEVERITIES else len(_SEVERITIES)


def _verdict(counts: Counter[str], watched: int, down: bool, empty: bool) -> tuple[str, str]:
    """(how bad it is, in words). ``counts``: open anomalies by severity."""
    if counts.total():
        told = [_counted(counts[name], name) for name in _SEVERITIES if counts[name]]
        kind = next((name for name in _SEVERITIES if counts[name]), "report")
        return kind, f"{_counted(counts.total(), 'anomaly')} open: {' and '.join(told)}"
    if down:
        return "page", "No anomaly is open, but a part of driftline is down"
    if empty:
        return "unsure", "Nothing is watched yet: no event was read"
    if not watched:
        return "unsure", "Nothing is judged yet: references are being learned"
    return "good", "Nothing is wrong: no anomaly is open"


def _counted(n: int, name: str) -> str:
    many = "anomalies" if name == "anomaly" else f"{name}s"
    return f"{n} {name if n == 1 else many}"


def _card(row: AnomalyRow, stands: Standing, now_us: int, clock: Clock) -> dict[str, Any]:
    headline, beyond = words.headline(row)
    facts = row.document.get("facts")
    return {
        "id": row.anomaly_id,
        "severity": row.severity,
        "segment": row.segment,
        "signal": row.signal,
        "more": max(0, len(facts) - 1) if isinstance(facts, list) else 0,
        "headline": headline,
        "beyond": beyond,
        "opened": clock.short(row.opened_us),
        "historic": row.historic,
        "stands": words.stands(stands, now_us, clock),
    }


def _past(row: AnomalyRow, clock: Clock) -> dict[str, Any]:
    return {
        "id": row.anomaly_id,
        "severity": row.severity,
        "headline": words.headline(row)[0],
        "opened": clock.short(row.opened_us),
        "resolved": "" if row.resolved_us is None else clock.short(row.resolved_us),
    }


def _budget(connection: Connection, config: Config, until_us: int | None) -> list[dict[str, Any]]:
    """Per owner and severity: what was promised, what was opened in the last such period, and what people said."""
    ownership = Ownership(config)
    found = []
    for line in budget_lines(connection, config, until_us):
        allowance = ownership.allowance(line.owner, line.severity)
        said = None
        if until_us is not None:
            span = {"from_us": until_us - allowance.period_us, "to_us": until_us + 1}
            said = marks(connection, owner=line.owner, severity=line.severity, **span)
        found.append(
            {
                "owner": line.owner,
                "severity": line.severity,
                "promised": line.promised,
                "opened": line.opened,
                "real": 0 if said is None else said.real,
                "false": 0 if said is None else said.false,
                "over": said is not None and said.false > allowance.count,
            }
        )
    return found


def _column(query: OverviewQuery, sort: Sort, text: str) -> dict[str, str]:
    """A heading: a link that sorts by it, or turns the order round where it does already."""
    current = query.sort == sort
    down = segments.descends(sort, query.order if current else "")
    order: Order = "" if not current or query.order else "asc" if down else "desc"
    return {
        "text": text,
        "address": query.at(sort=sort, order=order),
        "sorted": ("descending" if down else "ascending") if current else "",
    }


def _behind(now_us: int, closed_us: int) -> str:
    """How far the newest closed window is behind the clock, in words."""
    minutes = max(0, now_us - closed_us) // MINUTE_US
    if minutes < 120:
        return f"{minutes} min"
    return f"{minutes // 60} h" if minutes < 48 * 60 else f"{minutes * MINUTE_US // DAY_US} days"
