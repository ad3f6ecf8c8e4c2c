"""Error rates of segments from what reviewers said, with intervals, for any stretch of days.

One estimate counts the items of the days in [from, to): those that were drawn, with the probabilities they were drawn
with, against the sums over everything that could have been drawn. Work that is not done is no bias: items are worked
in an order under which what is done is a smaller sample of known probability; the few that others still hold are
counted as missing, and what is missing is bounded.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from monitor.store import evaluation, review
from monitor.store.days import day_start, next_day
from monitor.store.engine import Store
from monitor.store.review import LabelledItem
from samplers.estimators import Labelled
from samplers.pools import Pools
from samplers.response import DECIDED, MISSING, UNSURE, answered
from samplers.sequences import confidence_sequence, stages

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]

ALL = "all"
HELD_SHARE = 0.02  # of the items that were worked may be held by somebody and count as missing


@dataclass(frozen=True, slots=True)
class Interval:
    """Limits of a rate."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Estimate:
    """What is known of one segment's error rate in a stretch of days.

    ``rate`` is None without a decided label. ``once`` holds for one look, ``bounds`` whatever the undecided are,
    ``always`` at every look (None before a day of the stretch is over). ``labels`` are items with a decided verdict,
    ``unsure`` with none but unsure ones, ``missing`` ones nobody will answer or somebody holds, ``waiting`` ones to
    come. ``events``: sessions the rate stands for; ``effective``: labels of a simple random sample that would tell as
    much; ``unsure_rate`` among answers, with its interval.
    """

    segment: str
    from_us: int
    to_us: int
    rate: float | None
    once: Interval
    bounds: Interval
    always: Interval | None
    labels: int
    unsure: int
    missing: int
    waiting: int
    events: float
    effective: float
    unsure_rate: float | None
    unsure_once: Interval


def weeks(from_us: int, to_us: int, zone: str) -> list[tuple[int, int]]:
    """[from, to) cut into stretches of seven local days, the last one shorter."""
    found, begin = [], from_us
    while begin < to_us:
        end = begin
        for _ in range(7):
            end = next_day(end, zone)
        found.append((begin, min(end, to_us)))
        begin = found[-1][1]
    return found


def estimates(
    store: Store, from_us: int, to_us: int, zone: str, *, segment: str | None = None, confidence: float = 0.95
) -> list[Estimate]:
    """By segment, and of all together where there are several; by name. Raises StoreUnavailable.

    Days count whole: those that begin in [from, to). Segments without a sample in them are left out.
    """
    done_us = evaluation.standing(store).done_until_us or 0
    with store.read() as connection:
        sums = review.pool_sums(connection, segment, from_us, to_us)
        items = list(review.labelled(connection, segment, from_us, to_us))
    names = sorted({pool.segment for pool in sums})
    if not names:
        return []
    groups = np.array([names.index(pool.segment) for pool in sums], np.int64)
    days = np.array([pool.day_us for pool in sums], np.int64)
    stacked = _stacked([pool.sums for pool in sums])
    pools = stacked.grouped(groups, len(names))
    worked = _Worked(items, names)
    together = _Together(store_days(from_us, to_us, zone), done_us, zone)
    found = _estimated(worked, pools, names, from_us, to_us, confidence)
    always = [together.always(worked.of(code), stacked, groups == code, days, confidence) for code in range(len(names))]
    if len(names) > 1:
        whole = pools.grouped(np.zeros(len(names), np.int64), 1)
        every = _Worked(items, [ALL], whole=True)
        found += _estimated(every, whole, [ALL], from_us, to_us, confidence)
        always.append(together.always(every.of(0), stacked, np.ones(len(sums), np.bool_), days, confidence))
    return [
        Estimate(**{**{name: getattr(e, name) for name in Estimate.__slots__}, "always": limits})
        for e, limits in zip(found, always, strict=True)
    ]


def store_days(from_us: int, to_us: int, zone: str) -> list[int]:
    """Starts of the local days that begin in [from, to)."""
    at = day_start(from_us, zone)
    at = at if at >= from_us else next_day(from_us, zone)
    found = []
    while at < to_us:
        found.append(at)
        at = next_day(at, zone)
    return found


class _Worked:
    """Items as arrays, with how far each segment's were worked."""

    def __init__(self, items: Sequence[LabelledItem], names: Sequence[str], *, whole: bool = False) -> None:
        codes = {name: code for code, name in enumerate(names)}
        kept = [item for item in items if whole or item.segment in codes]
        self.group = np.array([0 if whole else codes[item.segment] for item in kept], np.int64)
        self.race = np.array([item.race for item in kept])
        self.score = np.array([item.score for item in kept])
        self.pi_sample = np.array([item.pi_sample for item in kept])
        self.pi_review = np.array([item.pi_review for item in kept])
        self.day = np.array([item.day_us for item in kept], np.int64)
        said = [_said(item) for item in kept]
        self.answer = np.array([answer for answer, _ in said], np.int64)
        self.wrong = np.array([wrong for _, wrong in said])
        self.waits = np.array([item.state in ("open", "leased") for item in kept], np.bool_)
        self.stop = np.array([self._stop(self.group == code) for code in range(len(names))])

    def _stop(self, mine: NDArray[np.bool_]) -> float:
        """Race time up to which items are worked, but for a few that somebody holds."""
        waiting = np.sort(self.race[mine & self.waits])
        allowed = math.floor(HELD_SHARE * float((mine & ~self.waits).sum()))
        # Strictly before the first one too many: its own time is where the work has stopped.
        return 1.0 if len(waiting) <= allowed else float(min(waiting[allowed], 1.0))

    def reached(self) -> NDArray[np.bool_]:
        """Items before their segment's stop."""
        stop = self.stop[self.group]
        return np.asarray((self.race < stop) | (stop >= 1), np.bool_)

    def labelled(self, keep: NDArray[np.bool_]) -> Labelled:
        return Labelled(
            self.wrong[keep], self.score[keep], self.pi_sample[keep], self.pi_review[keep], self.group[keep]
        )

    def of(self, code: int) -> tuple[_Worked, NDArray[np.bool_]]:
        return self, self.group == code


def _said(item: LabelledItem) -> tuple[int, float]:
    """(answer, wrong) of an item: the mean of its decided verdicts; gold answers are about reviewers."""
    if item.state in ("open", "leased"):
        return MISSING, 0.0  # counted as missing where work has gone past it
    if item.state == "removed":
        return MISSING, 0.0
    given = [verdict for verdict in item.verdicts if not verdict.gold and verdict.verdict]
    decided = [verdict.verdict == "wrong" for verdict in given if not verdict.unsure]
    if decided:
        return DECIDED, sum(decided) / len(decided)
    return (UNSURE if given else MISSING), 0.0


class _Together:
    """Which days of a stretch are over, and what confidence a look at them has."""

    def __init__(self, days: Sequence[int], done_us: int, zone: str) -> None:
        self.days = days
        self.over = [day for day in days if next_day(day, zone) <= done_us]

    def always(
        self,
        of: tuple[_Worked, NDArray[np.bool_]],
        stacked: Pools,
        mine: NDArray[np.bool_],
        days: Int64,
        confidence: float,
    ) -> Interval | None:
        """Limits that hold at every look: of the days that are over, in the order of work up to the first item that
        waits, whatever the undecided are. The pool grows by a day at a time, and each stage of it has a part of the
        error probability."""
        worked, items = of
        closed = np.isin(days, self.over) & mine
        if not closed.any():
            return None
        single = stacked.grouped(np.where(closed, 0, 1).astype(np.int64), 2)
        single = Pools(**{name: getattr(single, name)[:1] for name in Pools.__slots__})
        inside = items & np.isin(worked.day, self.over)
        waiting = worked.race[inside & worked.waits]
        inside &= worked.race < (waiting.min() if len(waiting) else math.inf)
        level = stages(confidence, len(self.over), len(self.days))
        labelled, race, decided = worked.labelled(inside), worked.race[inside], worked.answer[inside] == DECIDED

        def limits(undecided: float) -> tuple[float, float]:
            wrong = np.where(decided, labelled.wrong, undecided)
            return confidence_sequence(replace(labelled, wrong=wrong), race, single, confidence=level).now

        low, high = limits(0.0)
        return Interval(low, high if decided.all() else limits(1.0)[1])


def _stacked(pools: Iterable[Pools]) -> Pools:
    found = list(pools)
    return Pools(**{name: np.concatenate([getattr(pool, name) for pool in found]) for name in Pools.__slots__})


def _estimated(
    worked: _Worked, pools: Pools, names: Sequence[str], from_us: int, to_us: int, confidence: float
) -> list[Estimate]:
    reached = worked.reached()
    result = answered(worked.labelled(reached), worked.answer[reached], pools, stop=worked.stop, confidence=confidence)
    decided, unsure = result.decided, result.unsure
    by = np.bincount(worked.group[reached & (worked.answer == UNSURE)], minlength=len(names))
    waiting = np.bincount(worked.group[worked.waits], minlength=len(names))
    found = []
    for code, name in enumerate(names):
        rate, unsure_rate = float(decided.rate[code]), float(unsure.rate[code])
        found.append(
            Estimate(
                segment=name,
                from_us=from_us,
                to_us=to_us,
                rate=None if math.isnan(rate) else rate,
                once=Interval(float(decided.low[code]), float(decided.high[code])),
                bounds=Interval(float(result.low[code]), float(result.high[code])),
                always=None,
                labels=int(decided.labels[code]),
                unsure=int(by[code]),
                missing=int(result.missing[code]),
                waiting=int(waiting[code]),
                events=float(pools.weight[code]),
                effective=float(decided.effective[code]),
                unsure_rate=None if math.isnan(unsure_rate) else unsure_rate,
                unsure_once=Interval(float(unsure.low[code]), float(unsure.high[code])),
            )
        )
    return found
