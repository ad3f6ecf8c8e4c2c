"""What pictures of latency say, in sentences."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from detectors.latency import SLOW, quantile_change, split_by_load, stages_in_tail, tail_ratio, waterfall
from detectors.summaries.histogram import Histogram
from detectors.summaries.summary import Summary
from monitor.evaluate.sentences import number, percent

MOST_NAMED = 3
_NAMED = 0.1  # share of the extra time from which another stage is named
_OUTSIDE = 0.25  # share of the extra time from which what lies in no stage is said


@dataclass(frozen=True, slots=True)
class Compared:
    """What latency is held against: what it is called (``the reference``), and from when to when it was."""

    name: str
    when: str
    summary: Summary


def sentences(now: Summary, against: Compared | None) -> list[str]:
    """How slow, where, since when it was otherwise, and whether load explains it; the most important first."""
    h = now.histogram("latency_total")
    before = None if against is None else against.summary.histogram("latency_total")
    name = "" if against is None else against.name
    found = [*_change(h, before, name), *_tail(h, before, name), *_stages(now, against), *_load(now, against)]
    return found or ["There are too few events in this range to say anything of slow ones."]


def seconds(us: float) -> str:
    """``4.43 s``, ``223 ms``."""
    return f"{us / 1000:.0f} ms" if abs(us) < 1e6 else f"{us / 1e6:.3g} s"


def _change(h: Histogram, before: Histogram | None, name: str) -> Iterator[str]:
    value, limits = h.quantile(0.95), h.quantile_interval(0.95)
    if value is None or limits is None:
        return
    text = f"p95 is {seconds(value)} (95 % interval {seconds(limits.low)} to {seconds(limits.high)})"
    effect = None if before is None else quantile_change(h, before, 0.95)
    if effect is None or not effect.baseline or before is None:
        yield f"{text}."
        return
    of_before = before.quantile_interval(0.95)
    apart = of_before is not None and (effect.low > of_before.high or effect.high < of_before.low)
    if apart:
        yield f"{text}, {number(effect.value / effect.baseline)} times the {seconds(effect.baseline)} of {name}."
    else:
        yield f"{text}, not clearly different from the {seconds(effect.baseline)} of {name}."


def _tail(h: Histogram, before: Histogram | None, name: str) -> Iterator[str]:
    (ratio, limits), middle = tail_ratio(h), h.quantile(0.5)
    if ratio is None or limits is None or middle is None:
        return
    text = (
        f"The slowest {percent(SLOW)} take {number(ratio)} times the median: {seconds(ratio * middle)} on average, "
        f"against {seconds(middle)}"
    )
    was, _ = (None, None) if before is None else tail_ratio(before)
    yield f"{text}." if was is None else f"{text}. In {name} it was {number(was)} times."


def _stages(now: Summary, against: Compared | None) -> Iterator[str]:
    joint = now.stage_by_latency()
    shares, fall = stages_in_tail(joint), waterfall(joint)
    if not shares or fall is None or not shares[0].share:
        return
    was = {} if against is None else {s.stage: s.share for s in stages_in_tail(against.summary.stage_by_latency())}
    told = []
    for part in [shares[0], *(part for part in shares[1:MOST_NAMED] if part.share >= _NAMED)]:
        before = f" ({percent(was[part.stage])} in {against.name})" if against is not None and part.stage in was else ""
        told.append(f"{percent(part.share)} in {part.stage}{before}")
    yield f"The extra time of slow requests is {', '.join(told[:-1])}{' and ' if told[1:] else ''}{told[-1]}."
    total = fall.slow - fall.usual
    if total > 0 and fall.rest / total > _OUTSIDE:
        yield f"{percent(fall.rest / total)} of all the extra time lies in no stage that events report."


def _load(now: Summary, against: Compared | None) -> Iterator[str]:
    if against is None:
        return
    before = against.summary.latency_by_concurrency()
    threshold = against.summary.histogram("latency_total").quantile(0.95)
    if threshold is None:
        return
    found = split_by_load(before, now.latency_by_concurrency(), threshold)
    if found is None:
        return
    text = (
        f"{percent(found.now)} of the requests are slower than {seconds(threshold)}, against {percent(found.before)} "
        f"in {against.name}"
    )
    parts = ((found.same_load, "being slower at the same load"), (found.load, "requests that came at another load"))
    clear = [(part, what) for part, what in parts if part.low > 0 or part.high < 0]
    if not clear:
        yield f"{text}: neither load nor slowness at the same load has clearly changed."
        return
    told = " and ".join(f"{_points(part.value)} from {what}" for part, what in clear)
    yield f"{text}; of the difference {told}."


def _points(share: float) -> str:
    return f"{100 * share:+.2g} points".replace("-", "−")
