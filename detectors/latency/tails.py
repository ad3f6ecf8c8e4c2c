"""How much slower the slow events are than the usual one, and which stage makes them so."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from detectors.summaries.histogram import CONFIDENCE, Histogram, Interval
from detectors.summaries.summary import StagesByLatency

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


@dataclass(frozen=True, slots=True)
class StageInTail:
    """A stage's mean latency in us among slow events and among the others, and its share of the difference."""

    stage: str
    slow: float
    usual: float
    share: float


def stages_in_tail(joint: StagesByLatency, slow: float = 0.05) -> list[StageInTail]:
    """Stages by their share of what makes slow events slow, greatest first.

    slow: which share of events counts as slow; the bucket on the edge goes to the slow ones. Empty with fewer than
    MIN_TAIL slow events or no others. A stage that is faster in slow events has share 0.
    """
    if not joint.stages:
        return []
    per_bucket = joint.counts.max(axis=1)  # events of a bucket: those of the stage that most of them have
    from_top = np.cumsum(per_bucket[::-1])[::-1]
    tail = from_top - per_bucket < slow * per_bucket.sum()
    if int(per_bucket[tail].sum()) < MIN_TAIL or not per_bucket[~tail].sum():
        return []
    means = []
    for part in (tail, ~tail):
        events = max(int(per_bucket[part].sum()), 1)
        means.append(joint.sums[part].sum(axis=0) / events)  # a stage that an event lacks took it no time
    excess = np.maximum(means[0] - means[1], 0.0)
    total = float(excess.sum())
    found = [
        StageInTail(stage, float(a), float(b), float(e) / total if total else 0.0)
        for stage, a, b, e in zip(joint.stages, means[0], means[1], excess, strict=True)
    ]
    return sorted(found, key=lambda s: (-s.share, s.stage))
