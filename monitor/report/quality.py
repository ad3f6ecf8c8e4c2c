"""How often answers are wrong: from labels by week, by day where labels are many, and from checks by day."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise

from sqlalchemy import Connection

from detectors.summaries import Selection
from detectors.summaries.signals import measure, signal
from monitor.estimates import ALL, Estimate, estimates, of_all, store_days
from monitor.report import daily, telling
from monitor.report.model import Check, Quality, Share
from monitor.serve.reference_levels import Levels
from monitor.store.engine import Store
from monitor.times import DAY_US

WEEKS = 8  # that rates are told of, the period's among them; of a shorter period stretches of its length
FEWEST_LABELS = 10  # of a week or a day: of fewer the interval is all there is
MANY_LABELS = 40  # a day: then a day tells something by itself
MOST_DAYS = 35  # that are told one by one
CHECKS = (
    "schema_violation_rate", "citation_missing_rate", "citation_ungrounded_rate", "disagreement_rate",
    "verification_failure_rate",
)  # fmt: skip
_READ = Selection(frozenset({"events", *(signal(name).metric for name in CHECKS)}), thinned=False, users=False)
Stretch = tuple[int, int]


class History:
    """Error rates from labels of some segments and of all together, over stretches up to the end of a period."""

    def __init__(
        self,
        store: Store,
        from_us: int,
        to_us: int,
        zone: str,
        rated: Mapping[str, Estimate],
        names: Collection[str],
        *,
        whole: bool,
    ) -> None:
        """``rated``: the period's own estimates; ``names``: segments that are told in full; ``whole``: whether all of
        the period before is stored."""
        self._store, self._zone = store, zone
        self._rated, self._from_us = rated, from_us
        days = max(1, round((to_us - from_us) / DAY_US))
        together = of_all(rated)
        self._all = ALL if together is None else together.segment
        wanted = {name for name in (*names, self._all) if name in rated}
        often = {name for name in wanted if rated[name].labels >= MANY_LABELS * max(1, rated[name].days)}
        self._often = often if days <= MOST_DAYS else set()
        long = min(7, days)
        self._long = {1: "day", 7: "week"}.get(long, f"{long} days")
        stretches = max(WEEKS, -(-2 * days // long))
        self._by_week = self._read(_back(to_us, stretches, long, zone), wanted) if wanted else {}
        self._by_day = self._read(_back(to_us, 2 * days, 1, zone), self._often) if self._often else {}
        self._before = self._read([(daily.shifted(from_us, -days, zone), from_us)], wanted) if wanted and whole else {}

    def of(self, segment: str | None, levels: Levels | None, checks: list[Check]) -> Quality:
        """What is told of a segment; of all together under None."""
        name = self._all if segment is None else segment
        found = self._found(name)
        shown = [one for one in found if one.n >= FEWEST_LABELS]
        before = next(iter(self._before.get(name, [])), None)
        reference = self._reference(name, levels)
        return Quality(
            sentence=_sentence(self._rated.get(name), before, reference, found),
            step="" if not shown else "day" if name in self._often else self._long,
            reviewed=shown,
            before=before,
            reference=reference,
            checks=checks,
        )

    def tells(self, segment: str | None) -> bool:
        """Whether review tells anything that can be drawn."""
        found = self._found(self._all if segment is None else segment)
        return any(one.n >= FEWEST_LABELS for one in found)

    def _found(self, name: str) -> list[Share]:
        return (self._by_day if name in self._often else self._by_week).get(name, [])

    def _read(self, stretches: Sequence[Stretch], names: Collection[str]) -> dict[str, list[Share]]:
        found: dict[str, list[Share]] = {}
        for begin, end in stretches:
            for one in estimates(self._store, begin, end, self._zone, only=names):
                if (share := self._share(one)) is not None:
                    found.setdefault(one.segment, []).append(share)
        return found

    def _share(self, one: Estimate) -> Share | None:
        if one.rate is None:
            return None
        days = [daily.date(day, self._zone) for day in store_days(one.from_us, one.to_us, self._zone)]
        if not days:
            return None
        # A period is reported once, so that the interval of one look holds.
        return Share(days[0], days[-1], one.rate, one.once.low, one.once.high, one.labels)

    def _reference(self, name: str, levels: Levels | None) -> Share | None:
        """Of the reference's days before the period: those within it would be held against themselves."""
        if levels is None or levels.from_us >= self._from_us or name not in self._rated:
            return None
        end = min(levels.to_us, self._from_us)
        found = estimates(self._store, levels.from_us, end, self._zone, segment=name)
        share = self._share(found[0]) if found else None
        return share if share is not None and share.n >= FEWEST_LABELS else None


def checked(
    connection: Connection, from_us: int, to_us: int, zone: str, segment: str | None, levels: Levels | None
) -> list[Check]:
    """What checks found in a segment (None: in all) on the days of [from, to); those that found anything."""
    days: dict[str, list[Share]] = {}
    for at, found in daily.summed(connection, from_us, to_us, zone, _READ, segment):
        for name in CHECKS:
            m = None if found is None else measure(found.summary, name)
            if m is not None and m.value is not None:
                day = daily.date(at, zone)
                days.setdefault(name, []).append(Share(day, day, m.value, m.low, m.high, m.n))
    return [
        Check(name, of, None if levels is None else levels.of(name))
        for name, of in days.items()
        if any(day.rate for day in of)  # what never found anything is in the table
    ]


def _back(to_us: int, count: int, days: int, zone: str) -> list[Stretch]:
    """The last ``count`` stretches of so many local days up to ``to_us``, the oldest first."""
    edges = [daily.shifted(to_us, -days * n, zone) for n in range(count, -1, -1)]
    return list(pairwise(edges))


def _sentence(now: Estimate | None, before: Share | None, reference: Share | None, found: Sequence[Share]) -> str:
    if now is None:
        return "Nothing was drawn for review."
    if now.rate is None:
        return f"Of {now.waiting:,} items that wait for review none is labelled." if now.waiting else "No label yet."
    interval = telling.between(now.once.low, now.once.high)
    labels = telling.counted(now.labels, "label")
    text = f"Wrong by review: {telling.percent(now.rate)} (95 % interval {interval}, {labels})"
    held = [
        f"{telling.percent(one.rate)} {when} ({telling.between(one.low, one.high)})"
        for one, when in ((before, "the period before"), (reference, "in the days of its reference"))
        if one is not None and one.low is not None and one.high is not None
    ]
    if held:
        text = f"{text}, against {' and '.join(held)}"
    if not any(one.n >= FEWEST_LABELS for one in found):
        return f"{text}; too few labels to draw."
    return f"{text}."
