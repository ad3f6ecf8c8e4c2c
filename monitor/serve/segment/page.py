"""One segment, or the sum of all: every signal over time, with what happened to it."""

from __future__ import annotations

from typing import Any, Literal

from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import Response

from alerts.anomaly import SLICE_PREFIX
from detectors.summaries import Selection, Summary
from monitor.config.model import Config
from monitor.evaluate.streams import Ownership
from monitor.serve import marks, parameters, reference_levels, timeline
from monitor.serve.access import Caller
from monitor.serve.anomalies import words
from monitor.serve.anomalies.words import Clock
from monitor.serve.context import Context
from monitor.serve.reference_levels import Levels
from monitor.serve.segment import lines
from monitor.serve.segment.panels import METRICS_READ
from monitor.serve.shell import ALL, View, ViewQuery, framed, opened
from monitor.serve.templating import count_text, template
from monitor.serve.timeline import Timeline
from monitor.store import listing
from monitor.store.anomalies import list_anomalies


class SegmentQuery(ViewQuery, frozen=True, forbid_unknown_fields=True):
    """``more=1`` draws the signals as well that are not looked at first."""

    more: Literal["", "1"] = ""


READ = Selection(METRICS_READ, thinned=False, users=False)
MOST_OPEN = 20
MOST_OTHERS = 200  # segments that the page of all lists
_FACTS = (
    ("cost_total", "spend"),
    ("latency_total_p50", "latency p50"),
    ("latency_total_p95", "latency p95"),
    ("error_rate", "errors"),
)


def page(context: Context, request: Request, caller: Caller) -> Response:
    """The page as its address says. Raises BadParameter."""
    query = parameters.read(SegmentQuery, request.query_params)
    config = context.config()
    with context.store.read() as connection:
        view, state, offered = opened(context, connection, query)
        known = view.one is None or view.one in offered or listing.route_of(connection, view.one) is not None
        if view.empty or not known:
            return _lacking(context, request, caller, view, offered)
        body = context.remembered.html(
            ("segment", view.kept_as, query.more),
            (*state, view, config),
            lambda: _body(connection, config, view, lesser=bool(query.more)),
        )
        waiting = [
            {
                "id": row.anomaly_id,
                "severity": row.severity,
                "headline": words.headline(row)[0],
                "since": int((row.document.get("since") or {}).get("low", row.opened_us)),
            }
            for row in list_anomalies(connection, state="open", segment=view.one, limit=MOST_OPEN + 1)
        ]
    return framed(
        "segment.html",
        context,
        request,
        caller,
        view=view,
        offered=offered,
        known=True,
        slice=False,
        body=body,
        open=waiting[:MOST_OPEN],
        more=len(waiting) > MOST_OPEN,
    )


def _lacking(context: Context, request: Request, caller: Caller, view: View, offered: list[str]) -> Response:
    """No event at all, or none of this segment: what to do instead."""
    return framed(
        "segment.html",
        context,
        request,
        caller,
        status=200 if view.one is None else 404,
        view=view,
        offered=offered,
        known=view.one is None,
        slice=view.segment.startswith(SLICE_PREFIX),
        body="",
        open=[],
        more=False,
    )


def _body(connection: Connection, config: Config, view: View, *, lesser: bool) -> str:
    """Everything that is measured; it does not depend on who asks."""
    clock = Clock(config.timezone)
    read = timeline.read(connection, view, READ)
    levels = reference_levels.read(connection, view.one)
    route = "" if view.one is None else listing.route_of(connection, view.one) or ""
    marked = marks.read(connection, view, read.begin_us, route)
    whole, coarse = read.whole(), read.coarse()
    found = lines.sections(read, coarse, whole, marked, levels, clock.zone, config.prices.currency, lesser=lesser)
    if view.one is not None:
        drift = lines.drift(connection, view.one, read, marked, clock.zone)
        if drift is not None:
            found[-1].charts.insert(0, drift)
    others = _others(connection, view) if view.one is None else []
    html: str = template("segment_body.html").render(
        view=view,
        lesser=lesser,
        timeline=read,
        coarse=coarse.every,
        sections=found,
        facts=_facts(read, whole, config),
        place=_place(config, view, route, levels, clock),
        marked=marked,
        clock=clock,
        missing=[(clock.short(begin), clock.short(end)) for begin, end in read.missing],
        others=others[:MOST_OTHERS],
        left_out=max(0, len(others) - MOST_OTHERS),
    )
    return html


def _facts(read: Timeline, whole: Summary, config: Config) -> list[tuple[str, str, str]]:
    """(value, what it is, its interval) of the whole range."""
    late = f"{count_text(read.late_events)} came late" if read.late_events else ""
    return [(count_text(whole.events()), "events", late)] + [
        lines.fact(whole, name, text, config.prices.currency) for name, text in _FACTS
    ]


def _place(config: Config, view: View, route: str, levels: Levels | None, clock: Clock) -> dict[str, Any] | None:
    """Whose segment it is, and what it is held against."""
    if view.one is None:
        return None
    ownership = Ownership(config)
    return {
        "route": route,
        "stakes": ownership.stakes(view.one, route),
        "owner": ownership.owner(view.one),
        "reference": None
        if levels is None
        else {
            "version": levels.version,
            "origin": levels.origin,
            "from": clock.short(levels.from_us),
            "to": clock.short(levels.to_us),
        },
    }


def _others(connection: Connection, view: View) -> list[tuple[str, str, int]]:
    """(name, address, events) of every segment in the range, the most events first."""
    found = listing.events_by_window(connection, view.begin_us, view.end_us, days=True)
    counts: dict[str, int] = {}
    for (_, segment), by_step in found.items():
        counts[segment] = counts.get(segment, 0) + sum(by_step.values())
    names = sorted(counts, key=lambda name: (-counts[name], name))
    return [(name, view.at("/segment", segment=name), counts[name]) for name in names if name != ALL]
