"""Simulated reviewers, who know what is wrong, and whether the estimates from their labels contain the truth."""

from __future__ import annotations

import hashlib
import itertools
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from monitor.config.model import Config
from monitor.demo.incidents import ROUTE
from monitor.estimates import ALL, Estimate, estimates
from monitor.store import review
from monitor.store.engine import Store
from monitor.store.review import Declined, Filters, Label

REVIEWERS = ("ada", "grace", "linus")
LEFT = 60  # items that are left for whoever looks at the page
UNSURE = 0.02
_AT_ONCE = 8


def chance_of_error(event: Mapping[str, Any]) -> float:
    """How likely the simulated answer is wrong: more so where checks fail, confidence is low or the page is new."""
    quality = event.get("quality") or {}
    broken = quality.get("schema", {}).get("valid") is False
    invented = any(c["quote"].startswith("Total 0.00") for c in quality.get("citations", ()))
    chance = 0.02 + 0.25 * (1 - quality.get("confidence", 0.9))
    chance += 0.3 * (quality.get("verification") == "failed") + 0.25 * (not quality["cross_check"]["agree"])
    chance += 0.5 * broken + 0.7 * invented
    chance += 0.1 * ("packing" in event["input"][0]["uri"]) + 0.08 * (event["attributes"]["scanner"] == "s2")
    return float(min(chance, 0.95))


def _uniform(*parts: str) -> float:
    digest = hashlib.blake2b("\x00".join(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2.0**64


@dataclass(slots=True)
class Truth:
    """What is wrong among the answered events that a rate counts: the first of each session, as samples are."""

    wrong: dict[str, bool] = field(default_factory=dict)  # event id: whether its answer is wrong
    counted: dict[str, list[int]] = field(default_factory=dict)  # segment: [events, wrong ones]
    _sessions: set[str] = field(default_factory=set)

    def note(self, event: Mapping[str, Any]) -> None:
        """Take in an event, in the order in which they are sent."""
        first = event["session_id"] not in self._sessions
        self._sessions.add(event["session_id"])
        if event["outcome"] != "ok":
            if event["outcome"] in ("refused", "abstained"):
                self._count(event, False, first)
            return
        self._count(event, _uniform("wrong", event["id"]) < chance_of_error(event), first)

    def _count(self, event: Mapping[str, Any], wrong: bool, first: bool) -> None:
        self.wrong[event["id"]] = wrong
        if not first:
            return
        for segment in (f"{ROUTE}/{event['attributes']['tenant']}", ALL):
            cell = self.counted.setdefault(segment, [0, 0])
            cell[0] += 1
            cell[1] += wrong

    def rate(self, segment: str) -> float:
        """The true error rate."""
        events, wrong = self.counted[segment]
        return wrong / events


def work(store: Store, config: Config, truth: Truth) -> int:
    """Label the queue in its order until ``LEFT`` items are left; returns how many labels were given."""
    with store.read() as connection:
        waiting = sum(row.items for row in review.counts(connection) if row.state == "open")
    given = 0
    for reviewer in itertools.cycle(REVIEWERS):
        if given + LEFT >= waiting:
            break
        now_us = time.time_ns() // 1000
        items = review.next_items(store, reviewer, Filters(), now_us, config.review.lease, _AT_ONCE)
        if not items:
            break
        for item in items:
            wrong = truth.wrong.get(item.event_id, False)
            sure = _uniform("unsure", reviewer, item.event_id) >= UNSURE
            verdict = ("wrong" if wrong else "correct") if sure else "unsure"
            try:
                review.label(store, item.item_id, reviewer, Label(verdict), now_us)
            except Declined:
                continue
            given += 1
    return given


@dataclass(frozen=True, slots=True)
class Compared:
    """An estimate beside the truth."""

    estimate: Estimate
    true: float

    @property
    def contained(self) -> bool:
        """Whether the interval of one look contains it."""
        return self.estimate.once.low <= self.true <= self.estimate.once.high

    @property
    def contained_always(self) -> bool:
        """Whether the interval that holds at every look does."""
        always = self.estimate.always
        return always is not None and always.low <= self.true <= always.high


def compare(store: Store, config: Config, truth: Truth, from_us: int, to_us: int) -> list[Compared]:
    """Every segment's estimate over [from, to) beside its true rate."""
    found = estimates(store, from_us, to_us, config.timezone)
    return [Compared(row, truth.rate(row.segment)) for row in found if row.segment in truth.counted]
