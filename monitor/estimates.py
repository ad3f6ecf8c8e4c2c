"""Error rates of segments from what reviewers said, with intervals, for any stretch of days.

One estimate counts the items of the days in [from, to): those that were drawn, with the probabilities they were drawn
with, against the sums over everything that could have been drawn. Work that is not done is no bias: items are worked
in an order under which what is done is a smaller sample of known probability. A day whose items have hardly been begun
would hold the others up, and is left out until they are; the few items that somebody holds count as missing, and what
is missing is bounded.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from monitor.store import evaluation, review
from monitor.store.days import day_start, next_day
from monitor.store.engine import Store
from monitor.store.review import LabelledItem, PoolSums
from monitor.times import DAY_US
from samplers.estimators import Reviewed
from samplers.pools import Pools
from samplers.response import DECIDED, MISSING, UNSURE, answered
from samplers.sequences import confidence_sequence, stages

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]

ALL = "all"
HELD_SHARE = 0.02  # of the items that were worked: so many may be held by somebody and count as missing


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
    come. ``days`` of the stretch that the rate is of; ``events``: sessions it stands for; ``effective``: labels of a
    simple random sample that would tell as much; ``unsure_rate`` among answers, with its interval.
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
    days: int
    events: float
    effective: float
    unsure_rate: float | None
    unsure_once: Interval


def last_days(store: Store, days: int, zone: str) -> tuple[int, int] | None:
    """[from, to) of the last local days up to what is evaluated, the running one among them; None before any is."""
    done_us = evaluation.standing(store).done_until_us
    return None if done_us is None else (day_start(done_us - (days - 1) * DAY_US, zone), done_us + 1)


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
    store: Store,
    from_us: int,
    to_us: int,
    zone: str,
    *,
    segment: str | None = None,
    confidence: float = 0.95,
    together: bool = False,
    only: Collection[str] | None = None,
) -> list[Estimate]:
    """By segment, and of all together where there are several; by name. Raises StoreUnavailable.

    Days count whole: those that begin in [from, to). Segments without a sample in them are left out. ``together``: of
    all together alone, however many they are; ``only``: of these segments, and of all together as ever.
    """
    done_us = evaluation.standing(store).done_until_us or 0
    with store.read() as connection:
        sums = review.pool_sums(connection, segment, from_us, to_us)
        items = list(review.labelled(connection, segment, from_us, to_us))
    if not sums:
        return []
    days = store_days(from_us, to_us, zone)
    over = [day for day in days if next_day(day, zone) <= done_us]
    always = stages(confidence, len(over), len(days)) if over else None
    drawn: dict[str, list[LabelledItem]] = {}
    for item in items:
        drawn.setdefault(item.segment, []).append(item)
    pools: dict[str, list[PoolSums]] = {}
    for pool in sums:
        pools.setdefault(pool.segment, []).append(pool)
    named = [name for name in sorted(pools) if not together and (only is None or name in only)]
    of = [(name, pools[name], drawn.get(name, [])) for name in named]
    if together or len(pools) > 1:
        of.append((ALL, sums, items))
    return [_of(name, mine, its, (from_us, to_us), over, confidence, always) for name, mine, its in of]


def of_all(found: Mapping[str, Estimate]) -> Estimate | None:
    """That of all together among estimates by segment; of the one segment where there is but one."""
    return found.get(ALL) or (next(iter(found.values())) if len(found) == 1 else None)


def _of(
    name: str,
    sums: Sequence[PoolSums],
    items: Sequence[LabelledItem],
    span: tuple[int, int],
    over: Sequence[int],
    confidence: float,
    always: float | None,
) -> Estimate:
    """One segment's (or all's). ``over``: the days that are over; ``always``: confidence of what holds at every look,
    at this stage; None before the first."""
    stacked = _stacked(pool.sums for pool in sums)
    of_day = np.array([pool.day_us for pool in sums], np.int64)
    worked = Worked(items)
    days, stop = worked.cut(sorted(set(of_day.tolist())))
    limits = None
    if always is not None and (closed := np.isin(of_day, over)).any():
        limits = _always(worked, over, _one(stacked, closed), always)
    pool = _one(stacked, np.isin(of_day, days))
    return _estimate(worked, days, stop, pool, name, span, confidence, limits)


def store_days(from_us: int, to_us: int, zone: str) -> list[int]:
    """Starts of the local days that begin in [from, to)."""
    at = day_start(from_us, zone)
    at = at if at >= from_us else next_day(from_us, zone)
    found = []
    while at < to_us:
        found.append(at)
        at = next_day(at, zone)
    return found


class Worked:
    """Items of one segment (or of all) as arrays."""

    def __init__(self, items: Sequence[LabelledItem]) -> None:
        self.race = np.array([item.race for item in items])
        self.score = np.array([item.score for item in items])
        self.pi_sample = np.array([item.pi_sample for item in items])
        self.pi_review = np.array([item.pi_review for item in items])
        self.day = np.array([item.day_us for item in items], np.int64)
        said = [_said(item) for item in items]
        self.answer = np.array([answer for answer, _ in said], np.int64)
        # One that has an answer and waits for a second reviewer's is worked.
        unanswered = self.answer == MISSING
        self.open = np.array([item.state == "open" for item in items], np.bool_) & unanswered
        self.held = np.array([item.state == "leased" for item in items], np.bool_) & unanswered
        self.wrong = np.array([wrong for _, wrong in said])

    def labelled(self, keep: NDArray[np.bool_]) -> Reviewed:
        group = np.zeros(int(keep.sum()), np.int64)
        return Reviewed(self.wrong[keep], self.score[keep], self.pi_sample[keep], self.pi_review[keep], group)

    def cut(self, days: Sequence[int]) -> tuple[list[int], float]:
        """(days, stop): the days to estimate from, all worked up to the race time ``stop``, so that labels are most."""
        worked = ~self.open & ~self.held
        waits = self.open.copy()
        if self.held.sum() > HELD_SHARE * worked.sum():
            waits |= self.held
        stops = {}
        for day in days:
            waiting = self.race[waits & (self.day == day)]
            stops[day] = float(waiting.min()) if len(waiting) else 1.0
        best: tuple[int, list[int], float] = (-1, [], 0.0)
        chosen: list[int] = []
        inside = np.zeros(len(self.day), np.bool_)
        for day in sorted(days, key=lambda day: (-stops[day], day)):
            chosen = [*chosen, day]
            inside |= worked & (self.day == day)
            stop = stops[day]
            reached = int((inside & self.before(stop)).sum())
            # Of as many labels from more days, more days.
            if stop > 0 and reached >= best[0]:
                best = (reached, chosen, stop)
        return sorted(best[1]) or list(days), best[2]

    def before(self, stop: float) -> NDArray[np.bool_]:
        """Strictly, since the item that waits at ``stop`` is none of them."""
        return np.asarray((self.race < stop) | (stop >= 1), np.bool_)


def decided_share(item: LabelledItem) -> float | None:
    """The share of an item's sure verdicts that say "wrong"; None where nobody was sure or the item was removed."""
    answer, wrong = _said(item)
    return wrong if answer == DECIDED else None


def _said(item: LabelledItem) -> tuple[int, float]:
    """(answer, wrong) of an item: the mean of its decided verdicts; gold answers are about reviewers."""
    if item.state == "removed":
        return MISSING, 0.0
    given = [verdict for verdict in item.verdicts if not verdict.gold and verdict.verdict]
    decided = [verdict.verdict == "wrong" for verdict in given if not verdict.unsure]
    if decided:
        return DECIDED, sum(decided) / len(decided)
    return (UNSURE if given else MISSING), 0.0


def _always(worked: Worked, over: Sequence[int], pool: Pools, confidence: float) -> Interval:
    """Limits that hold at every look: of days that are over, in the order of work up to the first item that waits,
    whatever the undecided are."""
    inside = np.isin(worked.day, over)
    waiting = worked.race[inside & worked.open]
    inside &= worked.before(float(waiting.min())) if len(waiting) else True
    labelled, race, decided = worked.labelled(inside), worked.race[inside], worked.answer[inside] == DECIDED

    def limits(undecided: float) -> tuple[float, float]:
        wrong = np.where(decided, labelled.wrong, undecided)
        return confidence_sequence(replace(labelled, wrong=wrong), race, pool, confidence=confidence).now

    low, high = limits(0.0)
    return Interval(low, high if decided.all() else limits(1.0)[1])


def _stacked(pools: Iterable[Pools]) -> Pools:
    found = list(pools)
    return Pools(**{name: np.concatenate([getattr(pool, name) for pool in found]) for name in Pools.__slots__})


def _one(pools: Pools, mine: NDArray[np.bool_]) -> Pools:
    """The chosen ones as one pool."""
    both = pools.grouped(np.where(mine, 0, 1).astype(np.int64), 2)
    return Pools(**{name: getattr(both, name)[:1] for name in Pools.__slots__})


def _estimate(
    worked: Worked,
    days: Sequence[int],
    stop: float,
    pool: Pools,
    name: str,
    span: tuple[int, int],
    confidence: float,
    always: Interval | None,
) -> Estimate:
    reached = np.isin(worked.day, days) & worked.before(stop) & (stop > 0)
    answer = worked.answer[reached]
    result = answered(worked.labelled(reached), answer, pool, stop=stop, confidence=confidence)
    decided, unsure = result.decided, result.unsure
    rate, unsure_rate = float(decided.rate[0]), float(unsure.rate[0])
    return Estimate(
        segment=name,
        from_us=span[0],
        to_us=span[1],
        rate=None if math.isnan(rate) else rate,
        once=Interval(float(decided.low[0]), float(decided.high[0])),
        bounds=Interval(float(result.low[0]), float(result.high[0])),
        always=always,
        labels=int(decided.labels[0]),
        unsure=int((answer == UNSURE).sum()),
        missing=int(result.missing[0]),
        waiting=int((worked.open | worked.held).sum()),
        days=len(days),
        events=float(pool.weight[0]),
        effective=float(decided.effective[0]),
        unsure_rate=None if math.isnan(unsure_rate) else unsure_rate,
        unsure_once=Interval(float(unsure.low[0]), float(unsure.high[0])),
    )
