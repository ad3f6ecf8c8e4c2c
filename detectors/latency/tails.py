"""How much slower the slow events are than the usual one, and which stage makes them so."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from detectors.summaries.histogram import CONFIDENCE, Histogram, Interval
from detectors.summaries.summary import StagesByLatency

SLOW = 0.05  # which share of events counts as slow
MIN_TAIL = 10  # events in the tail below which no stage is named


def amplification(h: Histogram, confidence: float = CONFIDENCE) -> tuple[float | None, Interval | None]:
    """p95 / p50, with an interval from those of both at half the error each (conservative)."""
    high, middle = h.quantile(0.95), h.quantile(0.5)
    each = 1 - (1 - confidence) / 2
    of_high, of_middle = h.quantile_interval(0.95, each), h.quantile_interval(0.5, each)
    if high is None or not middle:
        return None, None
    if of_high is None or of_middle is None or of_middle.low <= 0:
        return high / middle, None
    return high / middle, Interval(max(of_high.low / of_middle.high, 1.0), of_high.high / of_middle.low)


def tail_ratio(
    h: Histogram, slow: float = SLOW, confidence: float = CONFIDENCE
) -> tuple[float | None, Interval | None]:
    """Mean of the slowest ``slow`` of events over the median, with an interval as that of `amplification`."""
    tail, middle = h.expected_shortfall(1 - slow), h.quantile(0.5)
    each = 1 - (1 - confidence) / 2
    of_tail, of_middle = h.expected_shortfall_interval(1 - slow, each), h.quantile_interval(0.5, each)
    if tail is None or not middle:
        return None, None
    if of_tail is None or of_middle is None or of_middle.low <= 0:
        return tail / middle, None
    return tail / middle, Interval(max(of_tail.low / of_middle.high, 1.0), of_tail.high / of_middle.low)


@dataclass(frozen=True, slots=True)
class StageInTail:
    """A stage's mean latency in us among slow events and among the others, and its share of the difference."""

    stage: str
    slow: float
    usual: float
    share: float


@dataclass(frozen=True, slots=True)
class Step:
    """A stage's mean latency in us among the usual events and among the slow ones."""

    stage: str
    usual: float
    slow: float

    @property
    def extra(self) -> float:
        """What slow events take longer; below 0 where they are faster."""
        return self.slow - self.usual


@dataclass(frozen=True, slots=True)
class Waterfall:
    """From the usual latency to that of slow events (means, us): each stage's extra time, the greatest first, and
    ``rest``, which lies in no stage; below 0 where stages overlap. They add up to ``slow - usual``."""

    usual: float
    slow: float
    slow_events: int
    steps: tuple[Step, ...]
    rest: float


def stages_in_tail(joint: StagesByLatency, slow: float = SLOW) -> list[StageInTail]:
    """Stages by their share of what makes slow events slow, greatest first.

    slow: which share of events counts as slow; the bucket on the edge goes to the slow ones. Empty with fewer than
    MIN_TAIL slow events or no others. A stage that is faster in slow events has share 0.
    """
    found = waterfall(joint, slow)
    if found is None:
        return []
    total = sum(max(step.extra, 0.0) for step in found.steps)
    shares = [
        StageInTail(step.stage, step.slow, step.usual, max(step.extra, 0.0) / total if total else 0.0)
        for step in found.steps
    ]
    return sorted(shares, key=lambda s: (-s.share, s.stage))


def waterfall(joint: StagesByLatency, slow: float = SLOW) -> Waterfall | None:
    """How the time of slow events divides into stages, against the others; of events that have stages.

    slow: which share of events counts as slow; the bucket on the edge goes to the slow ones. Totals are those of
    buckets' middles, within 4.5 %. None with fewer than MIN_TAIL slow events or no others.
    """
    if not joint.stages:
        return None
    per_bucket = joint.counts.max(axis=1)  # events of a bucket: those of the stage that most of them have
    from_top = np.cumsum(per_bucket[::-1])[::-1]
    tail = from_top - per_bucket < slow * per_bucket.sum()
    slow_events = int(per_bucket[tail].sum())
    if slow_events < MIN_TAIL or not per_bucket[~tail].sum():
        return None
    lower, upper = joint.lower.astype(np.float64), joint.upper.astype(np.float64)
    middle = 2.0 * lower * upper / np.maximum(lower + upper, 1.0)
    means, totals = [], []
    for part in (tail, ~tail):
        events = max(int(per_bucket[part].sum()), 1)
        means.append(joint.sums[part].sum(axis=0) / events)  # a stage that an event lacks took it no time
        totals.append(float(per_bucket[part] @ middle[part]) / events)
    steps = sorted(
        (Step(stage, float(b), float(a)) for stage, a, b in zip(joint.stages, means[0], means[1], strict=True)),
        key=lambda step: (-step.extra, step.stage),
    )
    rest = totals[0] - totals[1] - sum(step.extra for step in steps)
    return Waterfall(totals[1], totals[0], slow_events, tuple(steps), rest)
