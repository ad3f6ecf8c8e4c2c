"""An anomaly's document (alerts/anomaly.schema.json) as labels, annotations, one sentence, and the lines people read.

Labels identify an alert, so they never carry a number that moves; everything measured goes into annotations.
Both roads to on-call (driftline pushes, or rules read ``driftline_anomaly_active``) use `LABELS`. Every sink renders
the same facts: those of `told`, in its own markup.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import quote, urlencode

from alerts import runbooks
from alerts.anomaly import SLICE_PREFIX

ALERT_NAME: Final = "DriftlineAnomaly"

LABELS: Final = ("id", "segment", "route", "signal", "severity", "owner")
"""Labels of every anomaly's alert, beside ``alertname``. ``id`` makes a re-opening a new alert."""

_PLAIN = re.compile(r"[^\W_][\w/.@+=:-]*")  # what a shell takes as it is
_MINUTE_US = 60_000_000
_UNITS = {"sd": "standard deviations from the reference", "sessions_per_hour": "sessions an hour"}
_CONTEXT_US = 6 * 3_600_000_000  # how much before and after the change a linked dashboard shows


@dataclass(frozen=True, slots=True)
class Links:
    """Where alerts point: the addresses of Grafana, of driftline's own pages and of the runbooks; any may be missing.

    ``panels``: the dashboard (uid) and number of each panel, by its title; ``dashboard_uid`` stands for a panel that is
    none of them.
    """

    dashboard_url: str | None = None
    app_url: str | None = None
    runbook_url: str | None = None
    dashboard_uid: str = "driftline-overview"
    panels: Mapping[str, tuple[str, int]] = field(default_factory=dict)

    def of(self, document: Mapping[str, Any]) -> dict[str, str]:
        """``app``, ``dashboard`` (the signal's panel, at the segment and the time of the change) and ``runbook_url``;
        those that are configured."""
        given = {name: str(url) for name, url in (document.get("links") or {}).items() if url}
        found = {}
        if (page := self.app(str(document["id"]))) is not None:
            found["app"] = page
        if self.dashboard_url:
            found["dashboard"] = self._dashboard(document)
        if self.runbook_url:
            found["runbook_url"] = runbooks.address(self.runbook_url, _runbook(document).page)
        return {**found, **given}

    def app(self, anomaly_id: str) -> str | None:
        """The page of an anomaly, where it is known where the pages are."""
        return f"{self.app_url.rstrip('/')}/anomalies/{quote(anomaly_id, safe='')}" if self.app_url else None

    def _dashboard(self, document: Mapping[str, Any]) -> str:
        since_us, end_us = since(document), resolved_at(document)
        query = {
            "from": str((since_us - _CONTEXT_US) // 1000),
            "to": str((end_us + _CONTEXT_US) // 1000) if end_us else "now",
        }
        if document.get("route"):
            query["var-route"] = str(document["route"])
        if document.get("slice") is None:  # a slice is no segment: its route is the nearest that the dashboard has
            query["var-segment"] = segment(document)
        uid, panel = self.panels.get(_runbook(document).panel, (self.dashboard_uid, None))
        if panel is not None:
            query["viewPanel"] = str(panel)
        return f"{str(self.dashboard_url).rstrip('/')}/d/{quote(uid)}?{urlencode(query)}"


@dataclass(frozen=True, slots=True)
class Promises:
    """The false-alarm budget as it was promised: owner, then severity, to how many in what, as ``("1", "30 days")``."""

    allowed: Mapping[str, Mapping[str, tuple[str, str]]] = field(default_factory=dict)

    def of(self, document: Mapping[str, Any]) -> tuple[str, str] | None:
        """What was promised to this anomaly's owner for its severity."""
        return (self.allowed.get(str(document.get("owner"))) or {}).get(str(document.get("severity")))


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


def annotations(document: Mapping[str, Any], links: Links, promises: Promises) -> dict[str, str]:
    """What people read: ``summary`` in one sentence, ``description``, the figures, and the links."""
    found = {
        "summary": summary(document),
        "description": description(document),
        "since": _when(document),
    }
    if document["effect"].get("value") is not None:
        found["effect"] = effect_text(document["effect"])
    found["evidence"] = evidence_text(document["evidence"])
    lines = dict(told(document, promises))
    found["how_sure"], found["look_first"] = lines.get("How sure", ""), lines.get("Look first", "")
    for name, url in links.of(document).items():
        found[name if name in ("dashboard", "app", "runbook_url") else f"link_{name}"] = url
    return {name: text for name, text in found.items() if text}


def headline(document: Mapping[str, Any]) -> str:
    """What changed, where and how much, short enough for a subject: ``cost_p99 in acme from 0.93 % to 14 %``."""
    where = segment(document)
    effect = document["effect"]
    named = f"{document['signal']} {effect['of']}" if effect.get("of") else str(document["signal"])
    start = named + (f" in {where}" if where else "")
    value, baseline = effect.get("value"), effect.get("baseline")
    if value is None:
        return f"{start} changed"
    if effect.get("unit") == "sd":
        return f"{start}: {value:+.3g} standard deviations"
    shown = percent if effect.get("unit") == "share" else _number
    return f"{start}: {shown(value)}" if baseline is None else f"{start} from {shown(baseline)} to {shown(value)}"


def summary(document: Mapping[str, Any]) -> str:
    """What changed, in which segment, by how much, since when; and why, where that is known."""
    sentence = str((document.get("explanation") or {}).get("sentence") or "").strip()
    text = sentence or f"{document['signal']} changed in {segment(document)} since {since_text(document)}."
    return f"Resolved: {text}" if is_resolved(document) else text


def told(document: Mapping[str, Any], promises: Promises) -> list[tuple[str, str]]:
    """The alert as (name, text), in the order in which somebody who was woken asks: what, where, since when, how much,
    how sure, why, and what to do first. A test has the first alone."""
    what, why = _what(document), _why(document)
    if document.get("signal") == "test":
        return [("What", what)]
    route = str(document.get("route") or "")
    place = segment(document)
    found = [
        ("What", what),
        ("Where", place if not route or place.startswith(route) else f"{place} (route {route})"),
        ("Since", _when(document)),
    ]
    if document["effect"].get("value") is not None and "interval" not in what:  # else the sentence says it
        found.append(("How much", effect_text(document["effect"])))
    found.append(("How sure", sureness(document, promises)))
    runbook = _runbook(document)
    if why:
        found.append(("Behind it", why))
    else:
        found.append(("Usually", f"{runbook.usually} (nothing was found in the data yet)"))
    if not is_resolved(document):
        first = _first(runbook.first, place, str(document["id"]))
        found.append(("Look first", f"{first}; all of it: `driftline alerts show {str(document['id'])[:10]}`"))
    return found


def sureness(document: Mapping[str, Any], promises: Promises) -> str:
    """The evidence against its threshold in plain words, and how many false alarms were promised."""
    value, threshold = float(document["evidence"]["value"]), float(document["evidence"]["threshold"])
    severity, owner = str(document.get("severity")), document.get("owner")
    if threshold > 0:
        times = value / threshold
        text = f"the evidence reached {_times(times)} what opens an anomaly"
    else:
        text = evidence_text(document["evidence"])
    promise = promises.of(document)
    if promise is None:
        return text
    count, period = promise
    whose = "over everything" if owner == "default" else f"over all that {owner} owns"
    named = f"false {severity}" + ("" if count == "1" else "s")
    return f"{text}; at most {count} {named} in {period} may be expected, {whose}"


def _times(times: float) -> str:
    return f"{times:.3g} times" if times < 1000 else "more than 1,000 times"


def _what(document: Mapping[str, Any]) -> str:
    """The sentence of the fact that opened it: what the explanation begins with."""
    said = str((document.get("explanation") or {}).get("sentence") or "").strip()
    facts = document.get("facts") or ()
    opener = str(facts[0].get("sentence") or "") if facts else ""
    text = opener if opener and said.startswith(opener) else said
    return text or f"{document['signal']} changed in {segment(document)}."


def _why(document: Mapping[str, Any]) -> str:
    """What is behind it and what changed with it, as far as it was found."""
    said = str((document.get("explanation") or {}).get("sentence") or "").strip()
    return said.removeprefix(_what(document)).strip()


def _when(document: Mapping[str, Any]) -> str:
    text = f"{since_text(document)}; found {_minute(int(document['opened']))}"
    end_us = resolved_at(document)
    if end_us is None:
        return text
    hours = max(0, end_us - since(document)) / 3_600_000_000
    lasted = f"{hours:.3g} h" if hours < 48 else f"{hours / 24:.2g} days"
    return f"{text}; over since {_minute(end_us)}, after {lasted}"


def _runbook(document: Mapping[str, Any]) -> runbooks.Runbook:
    return runbooks.of_signal(str(document.get("signal") or ""))


def _first(step: str, place: str, anomaly_id: str) -> str:
    """A step with what its commands are about. Of a slice commands speak without a segment, since it lies across them;
    a name that a shell might not take as it is stays for people to write."""
    if place.startswith(SLICE_PREFIX):
        step = step.replace(" --segment SEGMENT", "")
    words = {"SEGMENT": place if _PLAIN.fullmatch(place) else "'SEGMENT'", "ID": anomaly_id}
    return re.sub(r"\b(?:SEGMENT|ID)\b", lambda word: words[word[0]], step)


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
    """``14 % (95 % interval 11 % to 18 %), 2 % before``, with what is there of it."""
    unit = str(effect.get("unit") or "")
    shown = percent if unit == "share" else _number
    named = "" if unit == "share" else f" {_UNITS.get(unit, unit.replace('_', ' '))}".rstrip()
    text = f"{shown(effect['value'])}{named}"
    text += f" {effect['of']}" if effect.get("of") else ""
    if effect.get("low") is not None and effect.get("high") is not None:
        text += f" (95 % interval {shown(effect['low'])} to {shown(effect['high'])})"
    if effect.get("baseline") is not None and unit != "sd":  # deviations are from the baseline
        text += f", {shown(effect['baseline'])} before"
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


def percent(share: float) -> str:
    """``0.93 %``, ``14 %``."""
    value = 100.0 * share
    return f"{value:.0f} %" if abs(value) >= 10 or value == 0 else f"{value:.2g} %"


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
