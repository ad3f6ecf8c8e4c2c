"""Latency: how slow, in which stage, and whether it comes with load."""

from __future__ import annotations

from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import Response

from alerts.anomaly import SLICE_PREFIX
from detectors.summaries import Selection
from detectors.summaries.summary import Summary
from monitor.config.model import Config
from monitor.serve import marks, parameters, reference_levels, timeline
from monitor.serve.access import Caller
from monitor.serve.anomalies.words import Clock
from monitor.serve.context import Context
from monitor.serve.latency import figures, words
from monitor.serve.latency.words import Compared
from monitor.serve.reference_levels import Levels
from monitor.serve.segment import lines
from monitor.serve.segment.panels import LATENCY, PANELS
from monitor.serve.shell import View, ViewQuery, framed, opened
from monitor.serve.templating import count_text, template
from monitor.store import listing, reads

PANELS_HERE = tuple(panel for panel in PANELS if panel.section == LATENCY)
READ = Selection(
    frozenset({"events", "timeout", "stage_by_latency", "latency_by_concurrency"}).union(
        *(panel.metrics for panel in PANELS_HERE)
    ),
    thinned=False,
    users=False,
)
_FIRST = "latency"  # the chart that stands alone
MOST_ROWS_BEFORE = 5_000  # rows of the stretch before that the sum of all segments may be held against
_FACTS = (
    ("latency_total_p50", "p50"),
    ("latency_total_p95", "p95"),
    ("latency_total_p99", "p99"),
    ("latency_amplification", "p95 / p50"),
    ("timeout_rate", "timeouts"),
)


def page(context: Context, request: Request, caller: Caller) -> Response:
    """The page as its address says. Raises BadParameter."""
    query = parameters.read(ViewQuery, request.query_params)
    config = context.config()
    with context.store.read() as connection:
        view, state, offered = opened(context, connection, query)
        known = view.one is None or view.one in offered or listing.route_of(connection, view.one) is not None
        body = ""
        if known and not view.empty:
            body = context.remembered.html(
                ("latency", view.kept_as), (*state, view, config), lambda: _body(connection, config, view)
            )
    return framed(
        "latency.html",
        context,
        request,
        caller,
        status=200 if known else 404,
        view=view,
        offered=offered,
        known=known,
        slice=view.segment.startswith(SLICE_PREFIX),
        body=body,
    )


def _body(connection: Connection, config: Config, view: View) -> str:
    clock = Clock(config.timezone)
    read = timeline.read(connection, view, READ)
    whole, coarse = read.whole(), read.coarse()
    levels = reference_levels.read(connection, view.one)
    route = "" if view.one is None else listing.route_of(connection, view.one) or ""
    marked = marks.read(connection, view, read.begin_us, route)
    against = _against(connection, view, levels, clock)
    charts, lacking = {}, []
    for panel in PANELS_HERE:
        half = panel.key != _FIRST
        chart, counted = lines.drawn(
            panel, coarse, whole, marked, levels, clock.zone, config.prices.currency, half=half
        )
        if chart is not None:
            charts[panel.key] = chart
        else:
            lacking.append(f"{panel.title[0].lower()}{panel.title[1:]}" + (" (too few events)" if counted else ""))
    load = figures.by_load(whole, against)
    if load is None:
        lacking.append("latency by requests in flight")
    measured = bool(whole.histogram("latency_total").count)
    html: str = template("latency_body.html").render(
        view=view,
        measured=measured,
        events=whole.events(),
        every=coarse.every,
        sentences=words.sentences(whole, against) if measured else [],
        against=against,
        facts=_facts(whole),
        charts=charts,
        fall=figures.fall(whole),
        stages=figures.stages(whole, against),
        load=load,
        lacking=lacking,
        marked=marked,
        clock=clock,
    )
    return html


def _facts(whole: Summary) -> list[tuple[str, str, str]]:
    """(value, what it is, its interval) of the whole range."""
    counted = count_text(whole.histogram("latency_total").count)
    return [(counted, "requests with a latency", "timeouts are kept apart")] + [
        lines.fact(whole, name, text, "") for name, text in _FACTS
    ]


def _against(connection: Connection, view: View, levels: Levels | None, clock: Clock) -> Compared | None:
    """The reference's days where their summaries are kept; else as much time just before; None where that is empty."""
    if levels is not None:
        found = _summed(connection, view, levels.from_us, levels.to_us)
        if found is not None:
            return Compared("the reference", _when(clock, levels.from_us, levels.to_us), found)
    before = view.before()
    if view.one is None:
        rows = len(listing.names(connection, before.begin_us, before.end_us))
        if rows * (view.end_us - view.begin_us) // view.step_us > MOST_ROWS_BEFORE:
            return None
    found = _summed(connection, view, before.begin_us, before.end_us)
    if found is None:
        return None
    return Compared("the stretch before", _when(clock, before.begin_us, before.end_us), found)


def _when(clock: Clock, from_us: int, to_us: int) -> str:
    return f"{clock.short(from_us)} to {clock.short(to_us)}"


def _summed(connection: Connection, view: View, from_us: int, to_us: int) -> Summary | None:
    sums, missing = reads.merged_by(connection, from_us, to_us, lambda row: "", segment=view.one, selection=READ)
    merged = sums.get("")
    if merged is None or missing or not merged.summary.histogram("latency_total").count:
        return None
    return merged.summary
