"""An anomaly's document (alerts/anomaly.schema.json) as labels, annotations and one sentence.

Labels identify an alert, so they never carry a number that moves; everything measured goes into annotations.
Both roads to on-call (driftline pushes, or rules read ``driftline_anomaly_active``) use `LABELS`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import quote, urlencode

ALERT_NAME: Final = "DriftlineAnomaly"

LABELS: Final = ("id", "segment", "route", "signal", "severity", "owner")
"""Labels of every anomaly's alert, beside ``alertname``. ``id`` makes a re-opening a new alert."""

_MINUTE_US = 60_000_000
_CONTEXT_US = 6 * 3_600_000_000  # how much before and after the change a linked dashboard shows


@dataclass(frozen=True, slots=True)
class Links:
    """Where alerts point: the address of Grafana and of driftline's own pages, either may be missing."""

    dashboard_url: str | None = None
    app_url: str | None = None
    dashboard_uid: str = "driftline-overview"

    def of(self, document: Mapping[str, Any]) -> dict[str, str]:
        """``dashboard`` (at the segment and the time of the change) and ``app``; those that are configured."""
        found = {name: str(url) for name, url in (document.get("links") or {}).items() if url}
        if self.dashboard_url and "dashboard" not in found:
            since_us = since(document)
            end_us = resolved_at(document)
            query = {
                "from": str((since_us - _CONTEXT_US) // 1000),
                "to": str((end_us + _CONTEXT_US) // 1000) if end_us else "now",
                "var-segment": segment(document),
            }
            base = self.dashboard_url.rstrip("/")
            found["dashboard"] = f"{base}/d/{quote(self.dashboard_uid)}?{urlencode(query)}"
        if self.app_url and "app" not in found:
            found["app"] = f"{self.app_url.rstrip('/')}/anomalies/{quote(str(document['id']), safe='')}"
        return found


def segment(document: Mapping[str, Any]) -> str:
    """The segment's name; a slice is written ``slice:<name>``, as everywhere in the store."""
    if document.get("segment"):
        return str(document["segment"])
    return f"slice:{document.get('slice') or 'unknown'}"


def labels(document: Mapping[str, Any]) -> dict[str, str]:
    """The identity of the alert; the same for every update of one anomaly. Empty values are left out."""
    values = {
        "alertname": ALERT_NAME,
        "id": document.get("id"),
        "segment": segment(document),
        "route": document.get("route"),
        "signal": document.get("signal"),
        "severity": document.get("severity"),
        "owner": document.get("owner"),
    }
    return {name: str(value) for name, value in values.items() if value}


def annotations(document: Mapping[str, Any], links: Links) -> dict[str, str]:
    """What people read: ``summary`` in one sentence, ``description``, the figures, and the links."""
    found = {"summary": summary(document), "description": description(document), "since": since_text(document)}
    effect, evidence = document.get("effect") or {}, document.get("evidence") or {}
    if effect.get("value") is not None:
        found["effect"] = effect_text(effect)
    if evidence.get("value") is not None:
        found["evidence"] = evidence_text(evidence)
    for name, url in links.of(document).items():
        found[name if name in ("dashboard", "app", "runbook_url") else f"link_{name}"] = url
    return {name: text for name, text in found.items() if text}


def summary(document: Mapping[str, Any]) -> str:
    """One sentence: what changed, in which segment, by how much, since when."""
    sentence = (document.get("explanation") or {}).get("sentence") or document.get("sentence")
    if sentence:
        text = str(sentence).strip()
    else:
        effect = document.get("effect") or {}
        amount = f": {effect_text(effect)}" if effect.get("value") is not None else ""
        what = document.get("signal") or "a signal"
        text = f"{what} changed in {segment(document)}{amount}, since {since_text(document)}."
    return f"Resolved: {text}" if is_resolved(document) else text


def description(document: Mapping[str, Any]) -> str:
    """The facts, one a line, and what they rest on."""
    lines = [_fact(fact) for fact in document.get("facts") or ()]
    if detector := document.get("detector"):
        evidence = document.get("evidence") or {}
        lines.append(f"Found by {detector}" + (f", {evidence_text(evidence)}." if evidence else "."))
    return "\n".join(lines)


def effect_text(effect: Mapping[str, Any]) -> str:
    """``0.14 ratio (95 % interval 0.11 to 0.18), baseline 0.02``, with what is there of it."""
    unit = f" {effect['unit']}" if effect.get("unit") else ""
    text = f"{_number(effect['value'])}{unit}"
    if effect.get("low") is not None and effect.get("high") is not None:
        text += f" (interval {_number(effect['low'])} to {_number(effect['high'])})"
    if effect.get("baseline") is not None:
        text += f", baseline {_number(effect['baseline'])}"
    return text


def evidence_text(evidence: Mapping[str, Any]) -> str:
    kind = evidence.get("kind") or "evidence"
    text = f"{kind} {_number(evidence.get('value'))}"
    if evidence.get("threshold") is not None:
        text += f" over a threshold of {_number(evidence['threshold'])}"
    return text


def is_resolved(document: Mapping[str, Any]) -> bool:
    return document.get("state") == "resolved"


def since(document: Mapping[str, Any]) -> int:
    """The earliest likely beginning of the change, event time in µs; 0 where the document says nothing."""
    interval = document.get("since") or {}
    for value in (interval.get("low"), interval.get("high"), document.get("opened"), document.get("opened_us")):
        if value is not None:
            return _microseconds(value)
    return 0


def resolved_at(document: Mapping[str, Any]) -> int | None:
    """Event time of the resolution in µs, None while open or unknown."""
    value = document.get("resolved") or document.get("resolved_us")
    return _microseconds(value) if value is not None and value is not False and value is not True else None


def since_text(document: Mapping[str, Any]) -> str:
    """``2026-11-02 09:14 UTC``, or a range where the beginning is not known to the minute."""
    interval = document.get("since") or {}
    low_us = since(document)
    high = interval.get("high")
    high_us = low_us if high is None else _microseconds(high)
    if high_us - low_us < _MINUTE_US:
        return _minute(low_us)
    return f"between {_minute(low_us)} and {_minute(high_us)}"


def rfc3339(us: int) -> str:
    """``2026-11-02T09:14:03.412Z``: what Alertmanager reads."""
    return datetime.fromtimestamp(us / 1e6, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _minute(us: int) -> str:
    return datetime.fromtimestamp(us / 1e6, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _microseconds(value: Any) -> int:
    if isinstance(value, str):
        return round(datetime.fromisoformat(value).timestamp() * 1e6)
    return int(value)


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _fact(fact: Any) -> str:
    if isinstance(fact, Mapping):
        named = fact.get("text") or fact.get("sentence")
        return str(named) if named else ", ".join(f"{name} {_number(value)}" for name, value in fact.items())
    return str(fact)
