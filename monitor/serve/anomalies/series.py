"""Series of anomalies and of the false-alarm budget. Those of an anomaly are as many as there are open ones, but for
`driftline_anomaly_resolved_seconds`, which is there for an hour more."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection

from monitor.metrics import Family, Series, families
from monitor.store.anomalies import AnomalyRow, active_anomalies, resolved_since
from monitor.store.responses import marks

RESOLVED_US: Final = 3_600_000_000
"""How long (event time) an anomaly that is over is still told to be: longer than rules bridge a gap, and more than one
scrape of a replay that makes an hour in seconds."""

ANOMALY_LABELS = ("id", "segment", "route", "signal", "severity", "owner", "path")

ALERTING = (
    Series(
        "driftline_anomaly_active",
        "gauge",
        ANOMALY_LABELS,
        "1 for each open anomaly. path: how on-call hears of it: push, rules, or none (only recorded, or muted by a "
        "deploy).",
    ),
    Series(
        "driftline_anomaly_since_seconds",
        "gauge",
        ("id",),
        "Event time (epoch seconds) at which the change of an open anomaly began at the earliest.",
    ),
    Series(
        "driftline_anomaly_resolved_seconds",
        "gauge",
        ("id",),
        "Event time (epoch seconds) at which an anomaly was over, for an hour of event time after it: rules that "
        "bridge a restart end by it.",
    ),
    Series(
        "driftline_anomaly_effect",
        "gauge",
        ("id", "what", "unit"),
        "How large the change of an open anomaly is. what: value (now), low and high (its 95 % interval), baseline "
        "(before); unit: share, sd (standard deviations from the reference), events/h or sessions_per_hour.",
    ),
    Series(
        "driftline_anomaly_evidence",
        "gauge",
        ("id",),
        "Evidence of an open anomaly when it was greatest, over what opens one: 1 is just enough.",
    ),
    Series("driftline_budget_allowed", "gauge", ("owner", "severity"), "False alarms the budget allows per period."),
    Series("driftline_budget_period_seconds", "gauge", ("owner", "severity"), "Length of the budget's period."),
    Series(
        "driftline_budget_opened",
        "gauge",
        ("owner", "severity"),
        "Anomalies opened within the last period of event time, true ones too.",
    ),
    Series(
        "driftline_budget_marked",
        "gauge",
        ("owner", "severity", "mark"),
        "Of these, those that people marked with `driftline alerts mark`: real or false.",
    ),
)


@dataclass(frozen=True, slots=True)
class Allowed:
    """A budget: ``count`` alarms of ``severity`` per ``period_us`` for ``owner``."""

    owner: str
    severity: str
    count: float
    period_us: int


def alerting_families(
    conn: Connection, budgets: Sequence[Allowed], path_of: Callable[[AnomalyRow], str], until_us: int | None
) -> list[Family]:
    """The families of `ALERTING`. ``path_of``: how on-call hears of an anomaly; ``until_us``: event time up to which
    windows are closed."""
    values: dict[str, list[tuple[tuple[str, ...], float]]] = {}
    for row in active_anomalies(conn):
        route = str(row.document.get("route") or "")
        labels = (row.anomaly_id, row.segment, route, row.signal, row.severity, row.owner, path_of(row))
        values.setdefault("driftline_anomaly_active", []).append((labels, 1))
        for name, more, value in _figures(row.document):
            values.setdefault(name, []).append(((row.anomaly_id, *more), value))
    if until_us is not None:
        values["driftline_anomaly_resolved_seconds"] = [
            ((anomaly_id,), at_us / 1e6) for anomaly_id, at_us in resolved_since(conn, until_us - RESOLVED_US)
        ]
    for budget in budgets:
        whose = (budget.owner, budget.severity)
        values.setdefault("driftline_budget_allowed", []).append((whose, budget.count))
        values.setdefault("driftline_budget_period_seconds", []).append((whose, budget.period_us / 1e6))
        if until_us is not None:
            said = marks(
                conn,
                owner=budget.owner,
                severity=budget.severity,
                from_us=until_us - budget.period_us,
                to_us=until_us + 1,
            )
            values.setdefault("driftline_budget_opened", []).append((whose, said.opened))
            values.setdefault("driftline_budget_marked", []).append(((*whose, "real"), said.real))
            values.setdefault("driftline_budget_marked", []).append(((*whose, "false"), said.false))
    return families(ALERTING, values)


def _figures(document: Mapping[str, Any]) -> Iterator[tuple[str, tuple[str, ...], float]]:
    """What is measured of an anomaly: name of the series, labels beside the id, value."""
    if since := document.get("since"):
        yield "driftline_anomaly_since_seconds", (), since["low"] / 1e6
    evidence, effect = document.get("evidence") or {}, document.get("effect") or {}
    if evidence.get("threshold") and evidence.get("value") is not None:
        yield "driftline_anomaly_evidence", (), evidence["value"] / evidence["threshold"]
    for what in ("value", "low", "high", "baseline"):
        if effect.get(what) is not None:
            yield "driftline_anomaly_effect", (what, str(effect.get("unit") or "")), effect[what]
