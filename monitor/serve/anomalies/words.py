"""An anomaly's figures in words, as the page and the list say them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from alerts import rendering
from monitor.config.units import Allowance
from monitor.evaluate.sentences import number, percent
from monitor.store.anomalies import AnomalyRow
from monitor.store.outbox import NEVER, OutboxRow
from monitor.store.responses import Said, Standing

_MOST_RATIO = 1e6
_SAID = {
    "acknowledge": "is at it",
    "unacknowledge": "is no longer at it",
    "snooze": "snoozed it",
    "wake": "ended the snooze",
    "real": "marked it real",
    "false": "marked it a false alarm",
    "unmark": "took the mark back",
    "accept": "accepted it as the new normal",
}


class Clock:
    """Times in the configured timezone."""

    def __init__(self, timezone: str) -> None:
        self.zone = ZoneInfo(timezone)

    def at(self, us: int) -> str:
        """``Wed 18 Nov 2026 19:52 UTC``."""
        return f"{datetime.fromtimestamp(us / 1e6, self.zone):%a %d %b %Y %H:%M %Z}"

    def short(self, us: int) -> str:
        """``2026-11-18 19:52``."""
        return f"{datetime.fromtimestamp(us / 1e6, self.zone):%Y-%m-%d %H:%M}"

    def since(self, since: Mapping[str, Any]) -> str:
        """When it began: one time, or a range where it is not known to the minute."""
        low, high = int(since["low"]), int(since["high"])
        first, last = self.at(low), self.at(high)
        return first if first == last else f"between {first} and {last}"


def state(row: AnomalyRow) -> str:
    """``open``, ``resolved``, and that it is historic."""
    return f"{row.state}, historic" if row.historic else row.state


def sentence(row: AnomalyRow) -> str:
    """What changed, also of a document that this version cannot read."""
    explanation = row.document.get("explanation")
    told = explanation.get("sentence") if isinstance(explanation, dict) else None
    return told.strip() if isinstance(told, str) and told.strip() else f"{row.signal} changed in {row.segment}"


def headline(row: AnomalyRow) -> tuple[str, str]:
    """(what changed, what was found out beyond that) of the sentence: it begins with that of the first fact."""
    told, facts = sentence(row), row.document.get("facts")
    first = facts[0].get("sentence") if isinstance(facts, list) and facts and isinstance(facts[0], dict) else None
    if isinstance(first, str) and first.strip() and told.startswith(first.strip()):
        return first.strip(), told[len(first.strip()) :].strip()
    return told, ""


def amount(value: float | None, unit: str) -> str:
    """A measure with its unit; shares in per cent."""
    if value is None:
        return "not measured"
    return percent(value) if unit == "share" else f"{number(value)} {unit}".strip()


def change(effect: Mapping[str, Any]) -> str:
    """``2 % → 14 % (95 % interval 11 % to 18 %)``."""
    unit = str(effect.get("unit") or "")
    if effect.get("value") is None:
        return "not enough data to say how much"
    text = amount(effect["value"], unit)
    if effect.get("baseline") is not None:
        text = f"{amount(effect['baseline'], unit)} → {text}"
    text += f" {effect['of']}" if effect.get("of") else ""
    if effect.get("low") is not None and effect.get("high") is not None:
        text += f" (95 % interval {amount(effect['low'], unit)} to {amount(effect['high'], unit)})"
    return text


def sure(evidence: Mapping[str, Any]) -> str:
    """How far the evidence went beyond its threshold."""
    value, threshold = float(evidence["value"]), float(evidence["threshold"])
    if threshold <= 0:
        return rendering.evidence_text(evidence)
    ratio = value / threshold
    times = "more than a million" if ratio > _MOST_RATIO else number(ratio)
    how = "has just reached" if ratio < 2 else "is clearly beyond" if ratio < 20 else "is far beyond"
    return f"The evidence {how} its threshold: {number(value)} against {number(threshold)}, {times} times as much."


def promise(owner: str, severity: str, allowance: Allowance, evidence: Mapping[str, Any]) -> str:
    """What the budget says of evidence like this: a bound on how often nothing at all would reach it."""
    text = (
        f"The budget of {owner}: where nothing changed, {severity}s are expected at most {allowance}, "
        "over all of its segments and signals together."
    )
    threshold = float(evidence["threshold"])
    ratio = float(evidence["value"]) / threshold if threshold > 0 else 0.0
    if ratio < 2:
        return text
    times = "a million" if ratio > _MOST_RATIO else number(ratio)
    return f"{text} Evidence of {times} times the threshold is expected at most that many times more rarely."


def said(one: Said, clock: Clock) -> str:
    """What somebody said, without the name: ``snoozed it until …``."""
    until = "" if one.until_us is None else f" until {clock.at(one.until_us)}"
    return _SAID[one.action] + until


def stands(found: Standing, now_us: int, clock: Clock) -> list[str]:
    """What stands, in a few words each."""
    told = [found.acknowledged and f"{found.acknowledged.who} is at it"]
    if found.snoozed is not None and found.snoozed_at(now_us):
        told.append(f"snoozed until {clock.short(found.snoozed.until_us or 0)}")
    if found.marked is not None:
        told.append("marked real" if found.marked.action == "real" else "marked a false alarm")
    told.append("accepted as the new normal" if found.accepted else None)
    return [text for text in told if text]


def delivery(row: OutboxRow, clock: Clock) -> str:
    """How telling a sink went. ``created_us`` is when the newest state was given to it."""
    given = clock.at(row.created_us)
    attempts = "1 attempt" if row.attempts == 1 else f"{row.attempts} attempts"
    if row.state == "failed":
        return f"refused after {attempts}; not sent again unless the anomaly changes or somebody has it sent again"
    if row.state == "dismissed":
        return f"given {given} and not told: dismissed after {attempts}"
    if row.state == "sent":
        repeated = "" if row.due_us == NEVER else "; repeated while it is open"
        return f"told, newest state of {given}{repeated}"
    if not row.attempts and row.due_us > row.created_us:
        return f"waits for the end of a deploy's mute, {clock.at(row.due_us)}"
    tried = f", {attempts} so far, the next at {clock.at(row.due_us)}" if row.attempts else ""
    return f"waits since {given}{tried}"
