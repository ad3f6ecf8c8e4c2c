"""One plain sentence per anomaly: what changed, in which segment, by how much, since when."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

from detectors.drift.agreement import AgreementTail
from detectors.evidence import Effect
from detectors.summaries.metrics import METRICS
from monitor.evaluate.calibration import CalibrationEffect
from monitor.evaluate.streams import SLICE_PREFIX, StreamSpec


def sentence(
    spec: StreamSpec, segment: str, effect: Effect, threshold: float, since_us: int, timezone: str, currency: str
) -> str:
    """``effect`` is the measure now beside its baseline; ``threshold`` that of a tail, in its stored unit."""
    where = f"slice {segment[len(SLICE_PREFIX) :]}" if segment.startswith(SLICE_PREFIX) else segment
    what = spec.phrase.replace("{threshold}", quantity(spec.metric, threshold, currency))
    what = what[0].upper() + what[1:]
    since = datetime.fromtimestamp(since_us / 1e6, ZoneInfo(timezone)).strftime("%Y-%m-%d %H:%M %Z")
    if spec.kind == "embedding":
        amount = f"moved {number(effect.value)} standard deviations from the reference"
        return f"{what} in {where} {amount} ({_interval(effect, number)}), since {since}."
    if isinstance(effect, AgreementTail):
        grew = f"rose from {percent(effect.baseline)} to {percent(effect.value)} ({_interval(effect, percent)})"
        side = "less" if effect.side == "below" else "more"
        return (
            f"The share of sessions in {where} whose images and texts agree {side} than usual (a cosine {effect.side} "
            f"{number(effect.threshold)}) {grew}, since {since}; the mean agreement is as it was."
        )
    if spec.kind == "agreement":
        size, ends = abs(effect.value), sorted((effect.low, effect.high))
        if effect.value < 0:
            ends = [-ends[1], -ends[0]]
        verb = "rose" if effect.value >= 0 else "fell"
        amount = f"{verb} by {number(size)} standard deviations of the reference"
        return f"{what} in {where} {amount} (95 % interval {number(ends[0])} to {number(ends[1])}), since {since}."
    if isinstance(effect, CalibrationEffect):
        than = "less" if effect.value >= effect.baseline else "more"
        about = f"of answers with a confidence of about {effect.confidence:.2f}, {percent(effect.value)} were wrong"
        rests = f"{_interval(effect, percent)}, {effect.labels:,} labels"
        usual = f"{percent(effect.baseline)} by the reference"
        return f"Confidence means {than} than it did in {where}: {about} ({rests}), {usual}, since {since}."
    if spec.kind == "volume" and effect.value == 0:
        expected = number(effect.baseline)
        return f"Segment {where} fell silent: no session, {expected} expected per hour, since {since}."
    shown = percent if effect.unit == "share" else number
    verb = "rose" if effect.value >= effect.baseline else "fell"
    return (
        f"{what} in {where} {verb} from {shown(effect.baseline)} to {shown(effect.value)} "
        f"({_interval(effect, shown)}), since {since}."
    )


def tail_of(effect: AgreementTail) -> str:
    """What the effect is the measure of."""
    return f"{effect.side} a cosine of {number(effect.threshold)}"


def _interval(effect: Effect, shown: object) -> str:
    text = percent if shown is percent else number
    return f"95 % interval {text(effect.low)} to {text(effect.high)}"


def percent(share: float) -> str:
    """``1.2 %``; at most two significant digits below 10 %."""
    value = 100.0 * share
    return f"{value:.0f} %" if value >= 10 or value == 0 else f"{value:.2g} %"


def number(value: float) -> str:
    """Three significant digits, without an exponent."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def quantity(metric: str, value: float, currency: str) -> str:
    """A stored quantity with its unit: ``12.3 s``, ``0.042 USD``, ``8,192``."""
    unit = METRICS[metric].unit if metric in METRICS else "1"
    if unit == "us":
        return f"{number(value / 1e6)} s"
    if unit == "nano":
        return f"{number(value / 1e9)} {currency}"
    if unit == "millionths":
        return number(value / 1e6)
    return number(value)
