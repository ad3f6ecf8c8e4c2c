"""An anomaly's document (alerts/anomaly.schema.json) as labels, annotations and one sentence.

Labels identify an alert, so they never carry a number that moves; everything measured goes into annotations.
Both roads to on-call (driftline pushes, or rules read ``driftline_anomaly_active``) use `LABELS`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import quote, urlencode

from alerts.anomaly import SLICE_PREFIX

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
    name = document.get("slice")
    return f"{SLICE_PREFIX}{name}" if name is not None else str(document.get("segment") or "")


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
    if document["effect"].get("value") is not None:
        found["effect"] = effect_text(document["effect"])
    found["evidence"] = evidence_text(document["evidence"])
    for name, url in links.of(document).items():
        found[name if name in ("dashboard", "app", "runbook_url") else f"link_{name}"] = url
    return {name: text for name, text in found.items() if text}


def summary(document: Mapping[str, Any]) -> str:
    """One sentence: what changed, in which segment, by how much, since when."""
    sentence = str((document.get("explanation") or {}).get("sentence") or "").strip()
    text = sentence or f"{document['signal']} changed in {segment(document)} since {since_text(document)}."
    return f"Resolved: {text}" if is_resolved(document) else text


def description(document: Mapping[str, Any]) -> str:
    """What each fact says, one a line, but the one that the summary begins with; and what the finding rests on."""
    said = str((document.get("explanation") or {}).get("sentence") or "")
    others = [_fact(fact) for fact in document.get("facts") or () if fact.get("sentence")]
    others = [text for text in others if not said.startswith(text)]
    basis = f"Found by {document['detector']}: {evidence_text(document['evidence'])}."
    return "\n".join([*others, basis])


def _fact(fact: Mapping[str, Any]) -> str:
    over = fact.get("resolved")
    return str(fact["sentence"]) + ("" if over is None else f" Over since {_minute(over)}.")


def effect_text(effect: Mapping[str, Any]) -> str:
    """``0.14 share (95 % interval 0.11 to 0.18), baseline 0.02``, with what is there of it."""
    unit = f" {effect['unit']}" if effect.get("unit") else ""
    text = f"{_number(effect['value'])}{unit}"
    if effect.get("low") is not None and effect.get("high") is not None:
        text += f" (95 % interval {_number(effect['low'])} to {_number(effect['high'])})"
    if effect.get("baseline") is not None:
        text += f", baseline {_number(effect['baseline'])}"
    return text


def evidence_text(evidence: Mapping[str, Any]) -> str:
    """``funded_sr 5230 against a threshold of 1200``."""
    return f"{evidence['kind']} {_number(evidence['value'])} against a threshold of {_number(evidence['threshold'])}"


def is_resolved(document: Mapping[str, Any]) -> bool:
    return document.get("state") == "resolved"


def since(document: Mapping[str, Any]) -> int:
    """The earliest likely beginning of the change, event time in µs."""
    return int(document["since"]["low"])


def resolved_at(document: Mapping[str, Any]) -> int | None:
    """Event time of the resolution in µs, None while open."""
    value = document.get("resolved")
    return None if value is None else int(value)


def since_text(document: Mapping[str, Any]) -> str:
    """``2026-11-02 09:14 UTC``, or a range where the beginning is not known to the minute."""
    low_us, high_us = int(document["since"]["low"]), int(document["since"]["high"])
    if high_us - low_us < _MINUTE_US:
        return _minute(low_us)
    return f"between {_minute(low_us)} and {_minute(high_us)}"


def rfc3339(us: int) -> str:
    """``2026-11-02T09:14:03.412Z``: what Alertmanager reads."""
    return datetime.fromtimestamp(us / 1e6, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _minute(us: int) -> str:
    return datetime.fromtimestamp(us / 1e6, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
