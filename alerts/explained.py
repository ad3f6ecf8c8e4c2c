"""What is behind an anomaly, in full, as lines of text."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final

BILL_PARTS: Final[Mapping[str, str]] = {
    "traffic": "traffic",
    "mix": "mix of versions",
    "units": "tokens per request",
    "tail": "tail of tokens",
    "price": "cost per token",
}
"""What the change of a bill is made of (`detectors.cost.Parts`), in words."""

_ROLES = {
    "typical_before": "typical before",
    "typical_now": "typical now",
    "most_changed": "most changed",
}
_HOW = {
    "carries": "in the sessions with",
    "began": "began with",
    "share": "share of",
}


def lines(document: Mapping[str, Any]) -> Iterator[str]:
    """Every fact and what was found of each question; a question without an answer has no line."""
    yield "Facts:"
    for fact in document.get("facts") or ():
        over = fact.get("resolved")
        state = "still there" if over is None else f"over {_minute(over)}"
        yield f"  {fact['subject']} {fact['signal']}: opened {_minute(fact['opened'])}, {state}"
        yield f"    {fact['sentence']}"
    explanation = document.get("explanation") or {}
    tried = looked_at(explanation)
    if tried:
        yield f"Behind it ({tried}):"
    found = list(causes(document))
    yield from (f"  {line}" for line in found)
    if tried and not found:
        yield "  nothing found"
    roles: dict[str, list[str]] = {}
    for exemplar in explanation.get("exemplars") or ():
        roles.setdefault(role(exemplar["role"]), []).append(exemplar["sample_id"])
    if roles:
        yield "Sampled sessions to look at:"
        yield from (f"  {name:<15} {', '.join(ids)}" for name, ids in roles.items())


def looked_at(explanation: Mapping[str, Any]) -> str:
    """What was looked at to explain it; '' where nothing was."""
    tried = explanation.get("tried") or {}
    if not tried:
        return ""
    return (
        f"{tried.get('sessions_now', 0):,} sampled sessions against {tried.get('sessions_before', 0):,} "
        f"of the reference; {tried.get('values', 0)} attribute values, {tried.get('conditions', 0)} conditions and "
        f"{tried.get('concepts', 0)} concepts looked at"
    )


def role(name: str) -> str:
    """Why a session was chosen, in words."""
    return _ROLES.get(name, name)


def how(entry: Mapping[str, Any]) -> str:
    """How an attribute value goes with the change, in words: to be followed by it."""
    return _HOW.get(entry["how"], str(entry["how"]))


def causes(document: Mapping[str, Any]) -> Iterator[str]:
    """What was found behind it, a line each: attribute values, conditions, words, and parts of time or money."""
    explanation = document.get("explanation") or {}
    yield from (*_attributes(explanation), *_conditions(explanation), *_concepts(explanation), *parts(explanation))


def _attributes(explanation: Mapping[str, Any]) -> Iterator[str]:
    for entry in explanation.get("attributes") or ():
        before = "the day before" if entry["how"] == "began" else "before"
        left = entry.get("left")
        rest = "" if left is None else f"; {_percent(max(0.0, left))} of the change is left without it"
        yield (
            f"{how(entry)} {entry['attribute']} {entry['value']}: "
            f"{_percent(entry['before'])} of sessions {before}, {_percent(entry['now'])} now{rest}"
        )


def _conditions(explanation: Mapping[str, Any]) -> Iterator[str]:
    for entry in explanation.get("conditions") or ():
        unit = f" {entry['unit']}" if entry["unit"] else ""
        shown: Callable[[float | None], str] = _number
        if entry["told"] == "relative":
            shown = _fold if min(abs(entry["low"] or 0), abs(entry["high"] or 0)) >= 1 else _percent
        yield (
            f"{entry['name']}: {_number(entry['before'])} → {_number(entry['now'])}{unit} ({shown(entry['change'])}, "
            f"95 % interval {shown(entry['low'])} to {shown(entry['high'])})"
        )


def _concepts(explanation: Mapping[str, Any]) -> Iterator[str]:
    for entry in explanation.get("concepts") or ():
        yield (
            f"looks like “{entry['name']}”: {_percent(entry['before'])} → {_percent(entry['now'])} "
            f"(95 % interval of the change {_percent(entry['low'])} to {_percent(entry['high'])})"
        )


def parts(explanation: Mapping[str, Any]) -> Iterator[str]:
    """What else is known: how much is new, stages, load, and the parts of the bill."""
    if share := explanation.get("share"):
        yield (
            f"of a new kind: {_percent(share['value'])} of the sessions "
            f"(95 % interval {_percent(share['low'])} to {_percent(share['high'])})"
        )
    for stage in explanation.get("stages") or ():
        before = "" if stage["before"] is None else f", {_percent(stage['before'])} the day before"
        yield f"stage {stage['stage']}: {_percent(stage['now'])} of slow requests' extra time{before}"
    if load := explanation.get("load"):
        yield f"slow requests: {_percent(load['before'])} → {_percent(load['now'])}, of which"
        for name, told in (("load", "more requests at a time"), ("same_load", "slower at the same load")):
            part = load[name]
            yield f"  {told}: {_points(part['value'])} ({_points(part['low'])} to {_points(part['high'])})"
    if bill := explanation.get("bill"):
        shares = ", ".join(f"{name} {bill[part]:+.4g}" for part, name in BILL_PARTS.items())
        was, now = _number(bill["before"]), _number(bill["now"])
        yield f"bill of {bill['hours']} h: {now} against {was} a {bill['against']} before: {shares}"


def _percent(share: float | None) -> str:
    return "?" if share is None else f"{100 * share:.3g} %"


def _fold(change: float | None) -> str:
    """A relative change of more than all of it: ``11-fold``."""
    return "?" if change is None else f"{1 + change:.3g}-fold"


def _points(share: float | None) -> str:
    return "?" if share is None else f"{100 * share:+.2g} points"


def _number(value: float | None) -> str:
    if value is None:
        return "?"
    return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"


def _minute(us: int) -> str:
    return datetime.fromtimestamp(us / 1e6, UTC).strftime("%Y-%m-%d %H:%M UTC")
