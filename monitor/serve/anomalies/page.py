"""The page of one anomaly: what on-call opens from an alert. Everything but responding works without a script."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import Response

from alerts import explained, rendering
from alerts.anomaly import SLICE_PREFIX, AnomalyError, from_document, to_document
from monitor.alerting import links
from monitor.config.model import Config
from monitor.config.units import Allowance, format_duration
from monitor.evaluate.streams import Ownership
from monitor.serve import silences
from monitor.serve.access import Caller
from monitor.serve.anomalies import index, reading, tables, words
from monitor.serve.anomalies.reading import Around
from monitor.serve.anomalies.words import Clock
from monitor.serve.context import Context
from monitor.serve.segment.panels import COST, INPUT, LATENCY, PANELS, QUALITY, SAMPLED, belongs
from monitor.serve.shell import MOST_DAYS, View, framed
from monitor.store.anomalies import AnomalyRow, find_anomalies, get_anomaly
from monitor.store.deploys import Deploy
from monitor.times import DAY_US, HOUR_US, MINUTE_US

SEES = frozenset({"open", "reviewer", "admin"})  # who may see content, and respond
MOST_FACTS = 100
_PAGES = {COST: "Cost", LATENCY: "Latency", QUALITY: "Quality", INPUT: "Inputs"}
_ELSEWHERE = {**{name: INPUT for name, _ in SAMPLED}, "calibration": QUALITY}  # signals that no panel of counts has


def page(context: Context, request: Request, caller: Caller, *, asks: bool) -> Response:
    """The page of the anomaly whose id begins as the address says; the list where that is none or several.

    ``asks``: whether tokens are asked for.
    """
    wanted = str(request.path_params["id"])
    config = context.config()
    with context.store.read() as connection:
        row = get_anomaly(connection, wanted)
        if row is None:
            found = find_anomalies(connection, wanted)
            if len(found) != 1:
                return index.of_prefix(context, request, caller, connection, wanted)
            row = found[0]
        known, document = _document(row)
        allowance = Ownership(config).allowance(row.owner, row.severity)
        sees = caller.role in SEES
        around = reading.read(connection, row, document, allowance.period_us, content=sees)
    clock = Clock(config.timezone)
    now_us = int(context.clock() * 1e6)
    return framed(
        "anomaly.html",
        context,
        request,
        caller,
        known=known,
        **_head(config, clock, row, document, around, now_us, silences.told(context, clock)(row.anomaly_id)),
        **_sure(row, document, around, allowance),
        **_found(config, clock, document, around),
        **_surroundings(config, clock, row, document, around),
        **_responding(row, caller, around, now_us, asks=asks),
        learn=format_duration(config.reference.learn),
        sees=sees,
    )


def _document(row: AnomalyRow) -> tuple[bool, dict[str, Any]]:
    """(whether this version can read it, the document in today's format or as much as its row says)."""
    try:
        return True, to_document(from_document(row.document))
    except AnomalyError:
        return False, {
            "since": {"low": row.opened_us, "high": row.opened_us},
            "signal": row.signal,
            "id": row.anomaly_id,
        }


def _head(
    config: Config,
    clock: Clock,
    row: AnomalyRow,
    document: Mapping[str, Any],
    around: Around,
    now_us: int,
    quiet: list[str],
) -> dict[str, Any]:
    headline, beyond = words.headline(row)
    return {
        "a": {
            "id": row.anomaly_id,
            "severity": row.severity,
            "state": words.state(row),
            "open": row.state == "open",
            "historic": row.historic,
            "segment": row.segment,
            "route": str(document.get("route") or ""),
            "signal": row.signal,
            "sentence": headline,
            "beyond": beyond,
            "change": words.change(document["effect"]) if "effect" in document else "",
            "since": clock.since(document["since"]) if "effect" in document else "",
            "opened": clock.at(row.opened_us),
            "updated": clock.at(row.updated_us),
            "resolved": None if row.resolved_us is None else clock.at(row.resolved_us),
            "stands": [*words.stands(around.standing, now_us, clock), *quiet],
            "sure": words.sure(document["evidence"]) if "evidence" in document else "",
        },
        "look": _look(row, document, now_us),
        "more": max(0, len(document.get("facts") or ()) - 1),
        "sends_historic": config.alerts.send_historic,
        "dashboard": _web(links(config).of(document).get("dashboard")) if "effect" in document else None,
    }


def _look(row: AnomalyRow, document: Mapping[str, Any], now_us: int) -> list[tuple[str, str]]:
    """(name, address) of the pages that show what changed, from the day before to the day after it was found."""
    since = rendering.since(document)
    end = min(now_us, max(row.updated_us, row.opened_us) + DAY_US)
    begin = max(since - DAY_US, end - (MOST_DAYS - 1) * DAY_US)
    if row.segment.startswith(SLICE_PREFIX) or begin >= end:
        return []  # a slice is part of many segments
    view = View(row.segment, begin - begin % HOUR_US, end - end % MINUTE_US, None)
    found = {"Segment": view.at("/segment")}
    for signal in dict.fromkeys([row.signal, *(str(fact["signal"]) for fact in document.get("facts") or ())]):
        section = next((panel.section for panel in PANELS if belongs(signal, panel)), _ELSEWHERE.get(signal, ""))
        if section in _PAGES:
            name = _PAGES[section]
            found.setdefault(name, view.at(f"/{name.lower()}"))
    return list(found.items())


def _sure(row: AnomalyRow, document: Mapping[str, Any], around: Around, allowance: Allowance) -> dict[str, Any]:
    evidence = document.get("evidence")
    return {
        "promise": words.promise(row.owner, row.severity, allowance, evidence) if evidence else "",
        "period": format_duration(allowance.period_us),
        "marks": around.marks,
    }


def _found(config: Config, clock: Clock, document: Mapping[str, Any], around: Around) -> dict[str, Any]:
    """Facts, evidence, and what is behind it."""
    facts: Sequence[Mapping[str, Any]] = document.get("facts") or ()
    figures = tables.figures(document, around, clock, config.timezone)
    explanation = document.get("explanation") or {}
    return {
        "figures": figures,
        "facts": [
            {
                "sentence": fact["sentence"],
                "subject": fact["subject"],
                "signal": fact["signal"],
                "change": words.change(fact["effect"]),
                "opened": clock.at(fact["opened"]),
                "resolved": None if fact.get("resolved") is None else clock.at(fact["resolved"]),
                "sure": words.sure(fact["evidence"]),
                "figure": figures[i] if i < len(figures) else None,
            }
            for i, fact in enumerate(facts[:MOST_FACTS])
        ],
        "looked_at": explained.looked_at(explanation),
        "parts": list(explained.parts(explanation)),
        "tables": tables.behind(explanation),
        "story": "\n".join([rendering.summary(document), *explained.lines(document)]) if facts else "",
    }


def _surroundings(
    config: Config, clock: Clock, row: AnomalyRow, document: Mapping[str, Any], around: Around
) -> dict[str, Any]:
    """Sessions, deploys, versions, deliveries and responses."""
    since = rendering.since(document)
    before = set(around.versions_before)
    return {
        "exemplars": [
            (
                explained.role(role),
                [
                    {
                        "sample_id": one.sample_id,
                        "event_id": one.event_id,
                        "time": clock.at(one.time_us),
                        "version": one.version,
                        "pictured": one.pictured,
                        "kept": one.kept,
                        "texts": one.texts,
                    }
                    for one in found
                ],
            )
            for role, found in around.exemplars.items()
        ],
        "left_out": around.left_out,
        "deploys": [_deploy(one, clock, since) for one in around.deploys],
        "versions": sorted(before | set(around.versions_since)),
        "versions_new": [v for v in around.versions_since if v not in before] if before else [],
        "deliveries": [
            {
                "sink": one.sink,
                "words": words.delivery(one, clock),
                "error": one.error,
                "kind": "bad" if one.state == "failed" or one.error else "",
            }
            for one in around.deliveries
        ],
        "nobody": _nobody(config, row, clock),
        "said": [
            {"who": one.who, "words": words.said(one, clock), "time": clock.at(one.time_us), "note": one.note}
            for one in reversed(around.said)
        ],
    }


def _responding(row: AnomalyRow, caller: Caller, around: Around, now_us: int, *, asks: bool) -> dict[str, Any]:
    """Who may respond here: those whose role may, in a session, since a browser's own credentials can be forged."""
    may = caller.role in SEES and caller.session is not None
    return {
        "may": may,
        "csrf": caller.session.csrf if may and caller.session is not None else "",
        "login": f"/login?next=/anomalies/{row.anomaly_id}" if caller.role in SEES else None,
        "asks": asks,
        "who": caller.reviewer or caller.role,
        "stands": around.standing,
        "snoozed": around.standing.snoozed_at(now_us),
    }


def _deploy(deploy: Deploy, clock: Clock, since: int) -> dict[str, str]:
    minutes = abs(deploy.time_us - since) // 60_000_000
    apart = f"{minutes} min" if minutes < 120 else f"{minutes / 60:.1f} h"
    return {
        "version": deploy.version,
        "note": deploy.note,
        "time": clock.at(deploy.time_us),
        "relative": f"{apart} {'before' if deploy.time_us < since else 'after'} it began",
        "who": deploy.who,
    }


def _nobody(config: Config, row: AnomalyRow, clock: Clock) -> str:
    if row.severity == "report":
        return "Nobody: a report is recorded and shown, and told to nobody."
    if row.historic and not config.alerts.send_historic:
        return "Nobody: it is historic, and alerts.send_historic is off."
    if row.muted_until_us is not None and row.state == "resolved":
        return "Nobody: it opened in a deploy's mute and was over before that ended, or longer than 90 days ago."
    if row.muted_until_us is not None:
        return f"It opened in a deploy's mute: nobody is told before {clock.at(row.muted_until_us)}."
    if config.alerts.path == "rules":
        return "By driftline nobody: on-call hears by the rules of Prometheus or Grafana (alerts.path)."
    if not config.alerts.sinks:
        return "Nobody: no sink is configured under alerts.sinks."
    return "Nobody (any more): the record of it is older than 90 days."


def _web(url: str | None) -> str | None:
    """An address that a link may have: of the web alone, since documents may carry links of their own."""
    return url if url is not None and urlsplit(url).scheme in ("http", "https") else None
