"""Any order of what reviewers, the clock and others do leaves the queue as a simple model of it says.

The model holds dictionaries and knows nothing of tables, locks or indices. After every step the whole queue is
compared: no item twice, none lost, none given to two, and what was undone, expired, skipped or removed is where it
should be.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field

import pytest
from sqlalchemy import select

from monitor.store import review
from monitor.store.engine import Store, open_store
from monitor.store.review import Declined, Filters, Label
from monitor.store.tables import labels, review_items
from tests.review.items import check_audit, item

LEASE, UNDO, MOST_SKIPS = 50, 120, 2
REVIEWERS = ("ann", "bob", "cid", "dan")
FILTERS = (
    Filters(),
    Filters(),
    Filters(pools=("p",)),
    Filters(languages=("", "de")),
    Filters(pools=("q",), segments=("a", "b")),
)


@dataclass
class Known:
    new: review.NewItem
    expires: int
    state: str = "open"
    ended: str = ""
    holder: str = ""
    until: int | None = None
    labels: list[str] = field(default_factory=list)  # who; in the order in which they came
    skips: list[str] = field(default_factory=list)

    @property
    def place(self) -> tuple[float, int, str]:
        return self.new.race, self.new.day_us, review.item_id(self.new.sample_id)

    def passes(self, filters: Filters) -> bool:
        return (
            (not filters.pools or self.new.pool in filters.pools)
            and (not filters.languages or self.new.language in filters.languages)
            and (not filters.segments or self.new.segment in filters.segments)
        )

    def rest(self) -> None:
        """Nobody's lease any more, though the holder may still answer."""
        self.state = "done" if len(self.labels) >= self.new.wanted else "open"
        self.until = None

    def over(self, state: str, ended: str) -> None:
        self.state, self.ended, self.holder, self.until = state, ended, "", None


@dataclass
class Model:
    items: dict[str, Known] = field(default_factory=dict)
    answers: list[tuple[int, str, str, str, str]] = field(default_factory=list)  # time, reviewer, kind, item, origin

    def lapse(self, now: int) -> None:
        for known in self.items.values():
            if known.state == "leased" and known.until is not None and known.until <= now:
                known.rest()

    def next(self, who: str, filters: Filters, now: int, count: int) -> list[str]:
        self.lapse(now)
        passing = sorted((k for k in self.items.values() if k.passes(filters)), key=lambda known: known.place)
        own = [k for k in passing if k.state == "leased" and k.holder == who][:count]
        free = [
            k for k in passing if k.state == "open" and k.expires > now and who not in k.labels and who not in k.skips
        ][: count - len(own)]
        for known in (*own, *free):
            if known in free or (known.until or 0) < now + LEASE // 2:
                known.until = now + LEASE
            known.state, known.holder = "leased", who
        return [known.place[2] for known in (*own, *free)]

    def why_not(self, known: Known, who: str) -> str:
        if known.state == "removed":
            return "removed"
        if known.state == "done" and known.holder != who:
            return "done"
        return "" if known.holder == who else "not_leased"

    def label(self, name: str, who: str, now: int) -> str:
        known = self.items[name]
        why = self.why_not(known, who)
        if not why:
            known.labels.append(who)
            known.holder = ""
            known.rest()
            self.answers.append((now, who, "label", name, "page"))
        return why

    def skip(self, name: str, who: str, now: int) -> str:
        known = self.items[name]
        why = self.why_not(known, who)
        if not why:
            known.skips.append(who)
            known.holder = ""
            known.rest()
            if known.state == "open" and len(known.skips) >= MOST_SKIPS:
                known.over("done" if known.labels else "removed", "skipped")
            self.answers.append((now, who, "skip", name, "page"))
        return why

    def undo(self, who: str, now: int) -> str:
        mine = [answer for answer in self.answers if answer[1] == who and answer[4] == "page"]
        if not mine:
            return "nothing"
        answer = max(enumerate(mine), key=lambda pair: (pair[1][0], pair[0]))[1]
        if answer[0] < now - UNDO:
            return "too_late"
        known = self.items[answer[3]]
        if known.state == "removed" and not (answer[2] == "skip" and known.ended == "skipped"):
            return "removed"
        self.answers.remove(answer)
        (known.labels if answer[2] == "label" else known.skips).remove(who)
        if not (known.state == "leased" and known.holder != who):
            known.state, known.ended, known.holder, known.until = "leased", "", who, now + LEASE
        return ""

    def release(self, name: str, who: str) -> bool:
        known = self.items[name]
        if known.holder != who or known.state not in ("open", "leased"):
            return False
        known.holder = ""
        known.rest()
        return True

    def remove(self, name: str) -> bool:
        known = self.items[name]
        if known.state == "removed":
            return False
        known.over("removed", "removed")
        return True

    def expire(self, now: int) -> None:
        for known in self.items.values():
            free = known.state == "open" or (known.state == "leased" and known.until is not None and known.until <= now)
            if free and known.expires <= now:
                known.over("done" if known.labels else "removed", "expired")

    def bring(self, name: str, who: str, now: int) -> None:
        """A label from elsewhere."""
        known = self.items[name]
        if who in known.labels:
            return
        if who in known.skips:
            known.skips.remove(who)
            (skip,) = (answer for answer in self.answers if answer[1:4] == (who, "skip", name))
            self.answers.remove(skip)
        known.labels.append(who)
        self.answers.append((now, who, "label", name, "import"))
        known.holder = "" if known.holder == who else known.holder
        if known.state == "leased" and not known.holder:
            known.rest()
        if known.state != "removed" and len(known.labels) >= known.new.wanted:
            known.state, known.until = "done", None


def compare(store: Store, model: Model) -> None:
    with store.read() as connection:
        rows = connection.execute(select(review_items)).all()
        standing = connection.execute(
            select(labels.c.item_id, labels.c.kind, labels.c.reviewer).where(~labels.c.undone)
        ).all()
    found = {
        row.item_id: (row.state, row.ended, row.leased_by, row.lease_until_us, row.labelled, row.skips) for row in rows
    }
    assert found == {
        name: (k.state, k.ended, k.holder, k.until, len(k.labels), len(k.skips)) for name, k in model.items.items()
    }
    assert Counter(map(tuple, standing)) == Counter(
        [(name, "label", who) for name, k in model.items.items() for who in k.labels]
        + [(name, "skip", who) for name, k in model.items.items() for who in k.skips]
    )


def outcome(call: object) -> str:
    try:
        call()  # type: ignore[operator]
    except Declined as declined:
        return declined.why
    return ""


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_random_walk_stays_on_the_model(store_url: str, seed: int) -> None:
    rng = random.Random(seed)
    store, model = open_store(store_url), Model()
    now, number, seen = 0, 0, Counter[str]()
    for step in range(700):
        now += rng.choice((0, 1, 3, 10)) if rng.random() < 0.97 else LEASE
        if step % 100 == 0:
            new = []
            for _ in range(12):
                number += 1
                new.append(
                    item(
                        number,
                        rng.randrange(20) / 20,
                        day_us=rng.randrange(3),
                        pool=rng.choice("pq"),
                        language=rng.choice(("de", "en", "")),
                        segment=rng.choice("abc"),
                        wanted=rng.choice((1, 1, 2)),
                    )
                )
            known = list(model.items.values())
            expires = now + rng.randrange(50, 800)
            with store.write() as connection:  # some come again, whatever became of them
                again = [rng.choice(known).new for _ in range(3)] if known else []
                assert review.add(connection, [*new, *again], [], now_us=now, expires_us=expires) == len(new)
            model.items.update({review.item_id(n.sample_id): Known(n, expires) for n in new})
        who, name = rng.choice(REVIEWERS), rng.choice(sorted(model.items))
        mine = sorted(key for key, known in model.items.items() if known.holder == who)
        if mine and rng.random() < 0.8:
            name = rng.choice(mine)
        what = rng.choices(
            ("next", "label", "skip", "undo", "release", "remove", "expire", "import", "label_and_next"),
            (6, 5, 5, 3, 1, 0.3, 0.5, 1, 8),
        )[0]
        given, filters, count = Label("wrong"), rng.choice(FILTERS), rng.choice((1, 2))
        if what == "next":
            got = [found.item_id for found in review.next_items(store, who, filters, now, LEASE, count)]
            assert got == model.next(who, filters, now, count)
        elif what == "label":
            why = outcome(lambda: review.label(store, name, who, given, now, request_id=str(step)))  # noqa: B023
            assert why == model.label(name, who, now)
            what += why
        elif what == "label_and_next":
            try:
                done = review.label_and_next(
                    store, name, who, given, filters, now, LEASE, count=count, request_id=str(step)
                )
            except Declined as declined:
                assert declined.why == model.label(name, who, now)
                what += declined.why
            else:
                assert model.label(name, who, now) == ""
                assert [found.item_id for found in done.items] == model.next(who, filters, now, count)
        elif what == "skip":
            why = outcome(lambda: review.skip(store, name, who, "", now, MOST_SKIPS))  # noqa: B023
            assert why == model.skip(name, who, now)
        elif what == "undo":
            why = outcome(lambda: review.undo(store, who, now, UNDO, LEASE))  # noqa: B023
            assert why == model.undo(who, now)
            what += why
        elif what == "release":
            assert review.release(store, name, who, now) == model.release(name, who)
        elif what == "remove":
            assert review.remove(store, name, "root", "", now) == model.remove(name)
        elif what == "expire":
            review.expire(store, now)
            model.expire(now)
        else:
            lab = rng.choice((who, "lab"))
            review.import_label(store, model.items[name].new.event_id, lab, given, now)
            model.bring(name, lab, now)
        seen[what] += 1
        compare(store, model)
    check_audit(store)
    assert {"label", "undo", "remove", "expire", "import", "labeldone", "labelnot_leased"} <= set(seen), seen
    assert {"", "removed", "expired", "skipped"} <= {known.ended for known in model.items.values()}
    store.close()
