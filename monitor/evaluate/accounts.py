"""What a segment's stored summaries say of a change: the stage behind slow requests, load, and the parts of the bill.

Unlike sampled sessions these are all events, of the stretch since the change and of one as long before it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from detectors.cost import Decomposition, Usage, decompose, tail_threshold, usage
from detectors.latency import split_by_load, stages_in_tail
from detectors.summaries import Summary
from monitor.evaluate.calendar import HOUR_US
from monitor.evaluate.story import six
from monitor.store import reads
from monitor.store.engine import Store
from monitor.store.reads import Row

DAY_US = 24 * HOUR_US
WEEK_US = 7 * DAY_US
LATENCIES = ("latency_total", "latency_first_token")
TOKENS = ("input_tokens", "output_tokens")
PAID = ("cost", *TOKENS)
NANO = 1e9


def stages(store: Store, segment: str, before_us: int, since_us: int, end_us: int) -> list[dict[str, Any]]:
    """What part of the slow requests' extra time each stage holds in [since, end), and held in the day up to
    ``before_us``; the greatest first."""
    before, now = (
        {part.stage: part for part in stages_in_tail(_summary(_rows(store, segment, *span)).stage_by_latency())}
        for span in ((before_us - DAY_US, before_us), (since_us, end_us))
    )
    return [
        {
            "stage": name, "before": six(before[name].share) if name in before else None, "now": six(part.share),
            "slow": six(part.slow), "usual": six(part.usual),
        }
        for name, part in now.items()
    ]  # fmt: skip


def load(
    store: Store, segment: str, threshold: float, before_us: int, since_us: int, end_us: int
) -> dict[str, Any] | None:
    """What of the change in the share of requests slower than ``threshold`` (µs) comes with concurrency; the day up
    to ``before_us`` against [since, end)."""
    before, now = (
        _summary(_rows(store, segment, *span)).latency_by_concurrency()
        for span in ((before_us - DAY_US, before_us), (since_us, end_us))
    )
    found = split_by_load(before, now, threshold)
    if found is None or len(before) + len(now) < 2:
        return None
    return {
        "before": six(found.before), "now": six(found.now),
        **{
            name: {"value": six(part.value), "low": six(part.low), "high": six(part.high)}
            for name, part in (("load", found.load), ("same_load", found.same_load))
        },
    }  # fmt: skip


def bill(store: Store, segment: str, since_us: int, end_us: int) -> dict[str, Any] | None:
    """The bill of the full hours in [since, end) against that of the same hours a week before (a day, where there is
    no week), in the currency, and what of the change is traffic, mix of versions, tokens per request, their tail and
    price. None without a full hour, or where not all of the bill is paid for tokens."""
    begin, end = -(-since_us // HOUR_US) * HOUR_US, end_us // HOUR_US * HOUR_US
    if end <= begin:
        return None
    for back, name in ((WEEK_US, "week"), (DAY_US, "day")):
        before = _rows(store, segment, begin - back, end - back) if end - back <= begin else []
        if not before:
            continue
        found = _decomposed(before, _rows(store, segment, begin, end))
        if found is None:
            return None
        total = found.total
        was = float(_summary(before).histogram("cost").sum)
        parts = {part: getattr(total, part) for part in ("traffic", "mix", "units", "tail", "price")}
        return {
            "against": name, "hours": (end - begin) // HOUR_US,
            "before": six(was / NANO), "now": six((was + total.change) / NANO), "change": six(total.change / NANO),
            **{part: six(value / NANO) for part, value in parts.items()},
        }  # fmt: skip
    return None


def _decomposed(before: Sequence[Row], now: Sequence[Row]) -> Decomposition | None:
    periods = [{name: _summary(of) for name, of in _by_version(rows).items()} for rows in (before, now)]
    return decomposed(*periods)


def decomposed(before: Mapping[str, Summary], now: Mapping[str, Summary]) -> Decomposition | None:
    """Why the bill of what is told apart by name (versions of a segment) changed from one period to another; None where
    not all of it is paid for tokens. The tail's thresholds are those of all of them together before."""
    every = Summary.merge_all(before.values())
    thresholds = [tail_threshold(every.histogram(name)) for name in TOKENS]
    try:
        return decompose(
            {name: _usage(summary, thresholds) for name, summary in before.items()},
            {name: _usage(summary, thresholds) for name, summary in now.items()},
        )
    except ValueError:
        return None


def _usage(summary: Summary, thresholds: Sequence[int | None]) -> Usage:
    """Input and output tokens together; each has a tail of its own."""
    cost = summary.histogram("cost")
    parts = [usage(summary.histogram(name), 0.0, threshold) for name, threshold in zip(TOKENS, thresholds, strict=True)]
    return Usage(cost.count, sum(p.units for p in parts), sum(p.tail_units for p in parts), cost.sum)


def _rows(store: Store, segment: str, from_us: int, to_us: int) -> list[Row]:
    """On-time rows of full minutes in [from, to)."""
    found, _ = reads.covering(store, from_us, to_us, segment=segment, late=False)
    return found


def _by_version(rows: Sequence[Row]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row.version, []).append(row)
    return found


def _summary(rows: Sequence[Row]) -> Summary:
    return Summary.merge_all(row.state for row in rows)
