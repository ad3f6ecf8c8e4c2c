"""What a reference says each signal was, with intervals, and how two of a segment differ, in the same words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from scipy.special import stdtrit

from detectors.drift.agreement import AgreementReference
from detectors.drift.embedding import EmbeddingReference
from detectors.explain.weighted import Limits, difference, ratio
from detectors.rates import RateReference
from detectors.rates.bets import interval
from detectors.rates.volume import VolumeReference
from detectors.summaries import Summary
from detectors.summaries.metrics import METRICS
from monitor.evaluate.calibration import CalibrationFit
from monitor.evaluate.references import FittedStream, Reference
from monitor.evaluate.sampled import session_vectors, unpacked

CONFIDENCE: Final = 0.95
LEVEL: Final = 0.05  # chance of calling any of the signals of two references different where none differs
_DIVISORS = {"nano": 1e9, "us": 1e6, "millionths": 1e6}
_UNITS = {"nano": "currency", "us": "s", "millionths": "1"}


@dataclass(frozen=True, slots=True)
class Level:
    """One signal of a reference. ``limits`` is None where it has no level of its own (drift is a distance); its ends
    are infinite where nothing tells how sure the value is. ``enough``: whether the reference supports judging it."""

    signal: str
    kind: str
    unit: str  # as in the catalogue of signals; 'sd' of drift, '/h' of volume
    limits: Limits | None
    enough: bool


@dataclass(frozen=True, slots=True)
class Line:
    """One signal of two references of a segment. ``change``: added, relative (0.1: a tenth more), or in standard
    deviations of the first; None where it cannot be told. ``differs``: beyond chance over all signals together."""

    signal: str
    unit: str
    before: Level | None
    after: Level | None
    change: Limits | None
    told: Literal["added", "relative", "sd"]
    differs: bool


def levels(reference: Reference, summary: Summary | None = None, confidence: float = CONFIDENCE) -> dict[str, Level]:
    """Every signal's level by name.

    ``summary``: the thinned sums of the reference's stretch, while the store has them: a quantile's interval is theirs.
    """
    return {
        signal: Level(signal, stream.spec.kind, *_level(stream, summary, confidence), stream.enough)
        for signal, stream in sorted(reference.streams.items())
    }


def compared(
    before: Reference, after: Reference, sums: tuple[Summary | None, Summary | None] = (None, None)
) -> list[Line]:
    """Line by line, those that differ beyond chance first.

    Two references that share days are not independent: the intervals of their differences are then too wide, never too
    narrow. They are those of counting; days differ by more than that.
    """
    names = sorted(set(before.streams) | set(after.streams))
    strict = 1.0 - LEVEL / max(1, len(names))
    first, last = levels(before, sums[0]), levels(after, sums[1])
    strict_first, strict_last = levels(before, sums[0], strict), levels(after, sums[1], strict)
    found = []
    for name in names:
        a, b = first.get(name), last.get(name)
        change, told = None, "added"
        differs = False
        if a is not None and b is not None:
            change, told = _change(before, after, a, b, CONFIDENCE)
            wide, _ = _change(before, after, strict_first[name], strict_last[name], strict)
            differs = wide is not None and (wide.low > 0.0 or wide.high < 0.0)
        unit = (a or b).unit if a or b else ""  # type: ignore[union-attr]
        found.append(Line(name, unit, a, b, change, told, differs))  # type: ignore[arg-type]
    return sorted(found, key=lambda line: (not line.differs, line.signal))


def _level(stream: FittedStream, summary: Summary | None, confidence: float) -> tuple[str, Limits | None]:
    """(unit, level)."""
    fit, spec = stream.fit, stream.spec
    if isinstance(fit, RateReference):
        if spec.kind != "tail":
            return "1", Limits(fit.rate, *interval(fit.rate * fit.trials, fit.trials, confidence))
        unit = METRICS[spec.metric].unit
        divisor = _DIVISORS.get(unit, 1.0)
        low, high = -np.inf, np.inf
        if summary is not None:
            histogram = summary.histogram(spec.metric, spec.label, thinned=True)
            if (found := histogram.quantile_interval(spec.quantile, confidence)) is not None:
                low, high = min(found.low, stream.threshold), max(found.high, stream.threshold)
        return _UNITS.get(unit, unit), Limits(stream.threshold / divisor, float(low) / divisor, float(high) / divisor)
    if isinstance(fit, VolumeReference):
        # The limit of the level's error, days that differ included, without what is never called a change.
        mean, factor = float(fit.mean.mean()), max(1.0, float(np.exp(fit.level_error)) / spec.min_effect)
        return "/h", Limits(mean, mean / factor, mean * factor)
    if isinstance(fit, AgreementReference):
        n = fit.below.trials
        half = float(stdtrit(max(1, n - 1), 0.5 + confidence / 2.0)) * fit.sd / float(np.sqrt(max(1, n)))
        return "cosine", Limits(fit.mean, fit.mean - half, fit.mean + half)
    if isinstance(fit, CalibrationFit):
        low, expected, high = fit.limits
        return "1", Limits(expected, low, high)
    return "sd", None


def _change(
    before: Reference, after: Reference, a: Level, b: Level, confidence: float
) -> tuple[Limits | None, Literal["added", "relative", "sd"]]:
    if a.kind == "embedding" or b.kind == "embedding":
        return _moved(before, after, a.signal, confidence), "sd"
    if a.limits is None or b.limits is None:
        return None, "added"
    if a.kind == "agreement":
        sd = before.streams[a.signal].fit.sd  # type: ignore[union-attr]
        return _times(difference(b.limits, a.limits), 1.0 / sd), "sd"
    if not all(np.isfinite([a.limits.low, a.limits.high, b.limits.low, b.limits.high])):
        if a.limits.value > 0:
            value = b.limits.value / a.limits.value - 1.0
            return Limits(value, -np.inf, np.inf), "relative"
        return None, "relative"
    if a.unit == "1":
        return difference(b.limits, a.limits), "added"
    if a.limits.value <= 0:
        return None, "relative"
    times = ratio(b.limits, a.limits)
    return Limits(times.value - 1.0, times.low - 1.0, times.high - 1.0), "relative"


def _moved(before: Reference, after: Reference, signal: str, confidence: float) -> Limits | None:
    """How far the sessions that ``after`` keeps lie from ``before``, in its standard deviations."""
    fit = before.streams[signal].fit
    if not isinstance(fit, EmbeddingReference) or before.encoder != after.encoder or not after.rows:
        return None
    samples = [sample for row in after.rows if (sample := unpacked(row)) is not None]
    rows, _ = session_vectors(samples, before.streams[signal].spec.metric, before.encoder)
    if rows.shape[0] < 2 or rows.shape[1] != fit.dimension:
        return None
    effect = fit.effect(rows, confidence)
    return Limits(effect.value, effect.low, effect.high)


def _times(limits: Limits, factor: float) -> Limits:
    return Limits(limits.value * factor, limits.low * factor, limits.high * factor)
