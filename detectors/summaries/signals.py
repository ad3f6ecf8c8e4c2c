"""Signals measured on a summary, each with its interval or the reason why there is none."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from detectors.latency.tails import amplification
from detectors.summaries.catalogue import BY_NAME, SIGNALS, Signal, signal
from detectors.summaries.histogram import CONFIDENCE, Histogram, Interval, Rate
from detectors.summaries.summary import Summary

Status = Literal["measured", "not_enough_data", "not_measured"]


@dataclass(frozen=True, slots=True)
class Measurement:
    """A signal's value with its interval, in the signal's unit, over `n` events.

    status: ``not_measured`` where no event carries the quantity (absent is never zero), ``not_enough_data`` where
    n events support no interval; value, low and high are None in both. An exact total has low = high = value.
    distribution: for a mix, (share, low, high) by label.
    """

    value: float | None
    low: float | None
    high: float | None
    n: int
    status: Status
    distribution: dict[str, tuple[float, float, float]] | None = None


def _found(value: float | None, interval: Interval | None, n: int, divisor: float = 1.0) -> Measurement:
    if not n:
        return Measurement(None, None, None, 0, "not_measured")
    if value is None or interval is None:
        return Measurement(None, None, None, n, "not_enough_data")
    return Measurement(value / divisor, interval.low / divisor, interval.high / divisor, n, "measured")


def measure(
    summary: Summary, wanted: Signal | str, *, label: str = "", thinned: bool = False, confidence: float = CONFIDENCE
) -> Measurement:
    """Measure one signal.

    label: which label of a signal that is measured by label (see `labels`). thinned: over one event a session, for
    intervals that hold although events of a session resemble each other. Signals that are not read from a summary
    (kinds ``sample`` and ``month``) are ``not_measured`` here.
    """
    s = signal(wanted) if isinstance(wanted, str) else wanted
    if s.kind in ("sample", "month"):
        return Measurement(None, None, None, 0, "not_measured")
    if s.kind == "volume":
        n = summary.events(thinned)
        return Measurement(float(n), float(n), float(n), n, "measured")
    if s.kind == "rate":
        rate = summary.rate(s.metric, thinned)
        return _found(rate.value, rate.interval(confidence), rate.trials)
    if s.kind == "mix":
        return _mix(summary, s, thinned, confidence)
    if s.kind == "total":
        total = summary.total(s.metric, label, thinned)
        return _found(total.sum, Interval(total.sum, total.sum), total.count, s.divisor)
    if s.kind == "heaviest":
        return _heaviest(summary, thinned)
    return _of_distribution(summary.histogram(s.metric, label, thinned), s, confidence)


def _of_distribution(h: Histogram, s: Signal, confidence: float) -> Measurement:
    value: float | None
    interval: Interval | None
    divisor = s.divisor
    if s.kind == "quantile":
        value, interval = h.quantile(s.q), h.quantile_interval(s.q, confidence)
    elif s.kind == "mean":
        value, interval = h.mean, h.mean_interval(confidence)
    elif s.kind == "shortfall":
        value, interval = h.expected_shortfall(s.q), h.expected_shortfall_interval(s.q, confidence)
    elif s.kind == "tail_share":
        value, interval, divisor = h.tail_share(s.q), h.tail_share_interval(s.q, confidence), 1.0
    elif s.kind == "amplification":
        (value, interval), divisor = amplification(h, confidence), 1.0
    else:
        raise ValueError(f"signal {s.name!r} has kind {s.kind!r}, which is not read from a distribution")
    return _found(value, interval, h.count, divisor)


def _mix(summary: Summary, s: Signal, thinned: bool, confidence: float) -> Measurement:
    counts = {label: total.count for label, total in summary.labelled(s.metric, thinned).items()}
    n = sum(counts.values())
    if not n:
        return Measurement(None, None, None, 0, "not_measured")
    shares = {}
    for label, count in counts.items():
        interval = Rate(count, n).interval(confidence)
        assert interval is not None  # n > 0
        shares[label] = (count / n, interval.low, interval.high)
    return Measurement(None, None, None, n, "measured", shares)


def _heaviest(summary: Summary, thinned: bool) -> Measurement:
    total = summary.total("cost", thinned=thinned)
    top = summary.heavy_hitters("spend", 1, thinned)
    if not top or not total.sum:
        return Measurement(None, None, None, 0, "not_measured")
    low, high = top[0].low / total.sum, min(top[0].high / total.sum, 1.0)
    return Measurement(low, low, high, total.count, "measured")


def labels(summary: Summary, wanted: Signal | str) -> tuple[str, ...]:
    """Labels under which a signal can be measured: ('',) for one that is not measured by label."""
    s = signal(wanted) if isinstance(wanted, str) else wanted
    return summary.labels(s.metric) if s.by_label else ("",)


def measure_all(
    summary: Summary, *, thinned: bool = False, confidence: float = CONFIDENCE
) -> Iterator[tuple[Signal, str, Measurement]]:
    """Every signal of the catalogue, those by label once a label: (signal, label, measurement)."""
    for s in SIGNALS:
        for label in labels(summary, s):
            yield s, label, measure(summary, s, label=label, thinned=thinned, confidence=confidence)


_INTRODUCTION = """# Signals

Generated from `detectors/summaries/catalogue.py`, the table that the measurements are computed from; a test fails
when this page is stale.

Every signal is measured per segment, over all events, and over one event a session (*thinned*), which is what
detectors bet on. An event that lacks a field is left out of numerator and denominator: absent is never zero. A
quantile comes with a distribution-free interval (order statistics, exact binomial tails) and is *not enough data*
where there is none, as p99.9 of 200 events; rates have Clopper-Pearson intervals; means and tail means normal ones,
and none below 10 events in the tail. Percentiles come from exponential histograms (base 2, scale 5) and lie within
1.1 %; sums, counts and rates are exact. `outcomes` says which events count; the latency of a timeout is kept apart.
*Least change* is the smallest effect worth an alarm.

Heaviest users are kept by events and by spend: exactly up to 2,048 users a row, beyond that within 1/401 of the
total (Misra-Gries), and the list shows both bounds. Of stages, tiers, models and error types a row names the first
16 in offset order; the rest is counted as `other`. Beside these marginals every row holds, over all events, the sums
of each stage within buckets of total latency, latency by concurrency, tokens and spend by model, and cost by input
size (buckets of 2^(1/8)).

| signal | unit | numerator | denominator | outcomes | towards | least change | what it says |
|---|---|---|---|---|---|---|---|
"""


def signal_table_markdown() -> str:
    """docs/signals.md."""
    rows = []
    for s in SIGNALS:
        name = f"`{s.name}`" + (" per stage" if s.by_label else "")
        effect = f"{s.min_effect:g} ({s.effect_unit})"
        cells = (name, s.unit, s.numerator, s.denominator, s.outcomes, s.direction, effect, s.description)
        rows.append(f"| {' | '.join(cells)} |\n")
    return _INTRODUCTION + "".join(rows)


__all__ = [
    "BY_NAME",
    "SIGNALS",
    "Measurement",
    "Signal",
    "labels",
    "measure",
    "measure_all",
    "signal",
    "signal_table_markdown",
]
