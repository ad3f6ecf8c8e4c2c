"""An anomaly in a few plain sentences: what changed, what is behind it, and what changed with it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from alerts.anomaly import Anomaly, Explanation, Fact
from alerts.explained import BILL_PARTS
from monitor.evaluate.sentences import number, percent

MOST = 3  # of each kind told
LEAST_ABOVE = 0.15  # how far the chance that a session now lies above one before is from a half, to be told
LEAST_SHARE = 0.05  # by which a word's share must have changed
LEAST_NEW = 0.05  # lower limit of the new share
LEAST_PART = 0.6  # of a change in slow requests that load, or the same load, must hold to be told
LEAST_STAGE = 0.5  # part of the slow requests' extra time
FEW = 20  # sessions of which it is worth saying that they explain nothing
MAX_CHARACTERS = 1200
_NAMES = {"megapixels": "resolution", "page_ness": "likeness to a page", "turned": "pages on their side or head"}


def named(condition: str) -> str:
    """A condition's name in words."""
    return _NAMES.get(condition, condition.replace("_", " "))


def story(anomaly: Anomaly, currency: str) -> str:
    """The sentences of an anomaly from its facts and its explanation."""
    opener = anomaly.facts[0]
    told = [opener.sentence, why(anomaly.explanation, currency), also(opener, anomaly.facts[1:])]
    text = " ".join(part for part in told if part)
    return text if len(text) <= MAX_CHARACTERS else text[: MAX_CHARACTERS - 1] + "…"


def why(explanation: Explanation, currency: str) -> str:
    """What is behind a change; that nothing was found where it was looked for; '' where there was too little to look
    at."""
    carried = _carried([a for a in explanation.attributes if a["how"] == "carries"])
    began = _began([a for a in explanation.attributes if a["how"] == "began"])
    inputs = [*_moved(explanation.conditions), *_words(explanation.concepts)]
    if carried and inputs:
        inputs[0] = f"in these {inputs[0]}"
    clauses = [
        *([*carried, *inputs, *began] if carried else [*began, *inputs]),
        *_shared([a for a in explanation.attributes if a["how"] == "share"]),
        *_stages(explanation.stages),
        *_load(explanation.load),
        *_bill(explanation.bill, currency),
        *_new(explanation.share),
    ]
    if clauses:
        text = "; ".join(clauses)
        return text[0].upper() + text[1:] + "."
    tried = explanation.tried
    names = {"values": "attribute values", "conditions": "conditions", "concepts": "concepts"}
    looked = [f"{tried[key]} {name}" for key, name in names.items() if tried.get(key)]
    if not looked or tried["sessions_now"] < FEW:
        return ""
    listed = looked[0] if len(looked) == 1 else f"{', '.join(looked[:-1])} and {looked[-1]}"
    return f"No explanation was found in {listed} of {tried['sessions_now']} sampled sessions."


def also(opener: Fact, others: Sequence[Fact]) -> str:
    """What changed with the opener, in short."""
    if not others:
        return ""
    parts = [_short(opener, fact) for fact in others[:MOST]]
    more = len(others) - len(parts)
    listed = ", ".join(parts) + (f" and {more} more" if more > 0 else "")
    return f"With it changed: {listed}."


def _short(opener: Fact, fact: Fact) -> str:
    where = "" if fact.subject == opener.subject else f" in {fact.subject.replace('slice:', 'slice ')}"
    value, baseline = fact.effect.value, fact.effect.baseline
    if value is None or baseline is None or fact.effect.unit == "sd":
        return f"{fact.signal}{where}"
    shown = percent if fact.effect.unit == "share" else number
    name = f"{fact.signal} {fact.effect.of}" if fact.effect.of else fact.signal
    return f"{name}{where} ({shown(baseline)} → {shown(value)})"


def _carried(found: list[dict[str, Any]]) -> list[str]:
    """The first carries it; others name the same sessions."""
    if not found:
        return []
    names = " = ".join(_value(entry) for entry in found[:MOST])
    left = found[0]["left"]
    rest = "" if left is None or left < 0 else f"; without it {percent(left)} of the change is left"
    return [f"it is in the sessions with {names} ({_shares(found[0])}){rest}"]


def _began(found: list[dict[str, Any]]) -> list[str]:
    return [f"it began with {_value(entry)} ({_shares(entry, 'the day before')})" for entry in found[:MOST]]


def _shared(found: list[dict[str, Any]]) -> list[str]:
    return [f"sessions with {_value(entry)} went {_from_to(entry)}" for entry in found[:MOST]]


def _from_to(entry: dict[str, Any]) -> str:
    return f"from {percent(entry['before'])} to {percent(entry['now'])}"


def _value(entry: dict[str, Any]) -> str:
    text = str(entry["value"])
    return f"{entry['attribute']} {text if len(text) <= 60 else text[:59] + '…'}"


def _shares(entry: dict[str, Any], before: str = "before") -> str:
    return f"{percent(entry['before'])} of sessions {before}, {percent(entry['now'])} now"


def _moved(found: list[dict[str, Any]]) -> list[str]:
    clear = [c for c in found if abs(c["above"] - 0.5) >= LEAST_ABOVE]
    clear.sort(key=lambda c: -abs(c["above"] - 0.5))
    told = []
    for entry in clear[:MOST]:
        name = named(entry["name"])
        if entry["told"] == "relative" and entry["change"] is not None:
            if entry["change"] >= 1:
                told.append(f"{name} rose {number(1 + entry['change'])}-fold")
            else:
                verb = "rose" if entry["change"] >= 0 else "fell"
                told.append(f"{name} {verb} by {percent(abs(entry['change']))}")
            continue
        shown = percent if entry["unit"] == "share" else number
        unit = "" if entry["unit"] in ("", "share") else f" {entry['unit']}"
        # The median of a coarse scale may stay where it was.
        verb = "rose" if entry["above"] >= 0.5 else "fell"
        told.append(f"{name} {verb} from {shown(entry['before'])} to {shown(entry['now'])}{unit}")
    return told


def _words(found: list[dict[str, Any]]) -> list[str]:
    """Gains first."""
    clear = [c for c in found if abs(c["change"]) >= LEAST_SHARE]
    clear.sort(key=lambda c: (c["change"] < 0, -abs(c["change"])))
    return [f"images that look like “{entry['name']}” went {_from_to(entry)}" for entry in clear[:MOST]]


def _stages(found: list[dict[str, Any]]) -> list[str]:
    """The stage that most of the slow requests' extra time is spent in."""
    told = []
    for entry in found:
        if entry["now"] >= LEAST_STAGE:
            before = "" if entry["before"] is None else f", {percent(entry['before'])} the day before"
            told.append(f"stage {entry['stage']} holds {percent(entry['now'])} of slow requests' extra time{before}")
    return told


def _load(found: dict[str, Any] | None) -> list[str]:
    """Whether requests are slower at the same load, where that is beyond doubt."""
    if found is None or found["now"] == found["before"]:
        return []
    change = found["now"] - found["before"]
    for name, told in (
        ("same_load", "requests are slower at the same load"),
        ("load", "there are more requests at a time"),
    ):
        part = found[name]
        if part["value"] / change >= LEAST_PART and (part["low"] > 0) == (part["high"] > 0) == (change > 0):
            return [f"{told} ({percent(min(1.0, part['value'] / change))} of the change)"]
    return []


def _bill(found: dict[str, Any] | None, currency: str) -> list[str]:
    """The change of the bill with its greatest parts."""
    if found is None or not found["change"]:
        return []
    parts = sorted(((found[key], name) for key, name in BILL_PARTS.items()), key=lambda part: -abs(part[0]))
    told = [f"{name} {value:+.3g}" for value, name in parts if abs(value) >= 0.1 * abs(found["change"])][:MOST]
    return [
        (
            f"the bill of {found['hours']} h is {number(found['now'])} {currency} against {number(found['before'])} a "
            f"{found['against']} before ({', '.join(told)})"
        )
    ]


def _new(share: dict[str, Any] | None) -> list[str]:
    if share is None or share["low"] is None or share["low"] < LEAST_NEW:
        return []
    return [f"{percent(share['low'])} to {percent(share['high'])} of the sessions are of a new kind"]


def six(value: float) -> float | None:
    """Six digits: what a figure means, without the last bits that depend on the order of a sum; None for no number."""
    return float(f"{value:.6g}") if math.isfinite(value) else None
