"""The overview: segments, open and recent anomalies, and how driftline itself is doing. Plain HTML, no script."""

from __future__ import annotations

from collections.abc import Sequence

from monitor.serve import models, queries
from monitor.serve.anomalies import words
from monitor.serve.cells import cell
from monitor.serve.context import Context
from monitor.serve.templating import template
from monitor.status import status_of
from monitor.store import listing
from monitor.store.anomalies import AnomalyRow, list_anomalies
from monitor.times import DAY_US, MINUTE_US

RECENT = 20
MOST_OPEN = 100
MOST_SEGMENTS = 200
_SEVERITIES = {"page": 0, "ticket": 1, "report": 2}
_COLUMNS = (
    ("cost_total", "spend"),
    ("cost_p95", "cost p95"),
    ("latency_total_p50", "latency p50"),
    ("latency_total_p95", "latency p95"),
    ("error_rate", "errors"),
    ("schema_violation_rate", "schema broken"),
    ("citation_ungrounded_rate", "ungrounded"),
)


def render(context: Context) -> str:
    """The page as HTML. Everything that came from events is escaped."""
    with context.store.read() as connection:
        config = context.config()
        found = queries.segments(connection, config, None, None)
        status = status_of(connection, config)
        waiting = _told(list_anomalies(connection, state="open", limit=MOST_OPEN))
        recent = _told(list_anomalies(connection, state="resolved", limit=RECENT))
        closed = listing.closed_until(connection)
    waiting.sort(key=lambda told: (_SEVERITIES.get(told[0].severity, 3), told[0].opened))
    currency = config.prices.currency
    rows = [
        {"segment": s, "cells": [cell(_figure(s, name), currency) for name, _ in _COLUMNS]}
        for s in found.segments[: MOST_SEGMENTS + 1]
    ]
    html: str = template("overview.html").render(
        columns=[label for _, label in _COLUMNS],
        rows=rows,
        left_out=max(0, len(found.segments) - len(rows)),
        since=found.since,
        until=found.until,
        open=waiting,
        recent=recent,
        sends_historic=config.alerts.send_historic,
        status=status,
        lag=context.lag(),
        behind=None if closed is None else _behind(context.clock(), closed),
        states=[state for state in context.states() if not state.ready],
        currency=currency,
    )
    return html


def _told(rows: Sequence[AnomalyRow]) -> list[tuple[models.AnomalyHead, str, str]]:
    """Each with what changed, which is the link to its page, and what was found out beyond that."""
    return [(queries.anomaly_head(row), *words.headline(row)) for row in rows]


def _figure(segment: models.Segment, name: str) -> models.Figure:
    return next(figure for figure in segment.figures if figure.signal == name)


def _behind(now: float, closed_us: int) -> str:
    """How far the newest closed window is behind the clock, in words."""
    minutes = max(0, int(now * 1e6) - closed_us) // MINUTE_US
    if minutes < 120:
        return f"{minutes} min"
    return f"{minutes // 60} h" if minutes < 48 * 60 else f"{minutes * MINUTE_US // DAY_US} days"
