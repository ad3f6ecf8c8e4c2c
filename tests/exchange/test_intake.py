"""Labels into the queue: by item or event, once however often they come, early or late, skips and known answers too."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, text

from monitor.config.model import Config
from monitor.exchange import label_studio, rows, spreadsheet
from monitor.exchange.given import Given, Unusable
from monitor.exchange.intake import Interrupted, Report, take_in
from monitor.exchange.queued import queued
from monitor.store import review
from monitor.store.engine import Store, StoreUnavailable, open_store
from monitor.store.forget import forget_event
from monitor.store.review import Declined, Filters, Label, item_id
from monitor.store.tables import review_audit
from tests.exchange import annotated
from tests.exchange.annotated import annotation, choices, exported
from tests.exchange.drawn import NOW, START, add, add_samples, everything, new_item, said, standing, state

WRONG, CORRECT = Label("wrong"), Label("correct")
EVERYTHING = Filters()


def take(store: Store, found: list[Given | Unusable] | list[Given], **more: Any) -> Report:
    return take_in(
        store, found, config=Config.model_validate({"review": {"most_skips": 2}}), now_us=lambda: NOW, **more
    )


def outcomes(store: Store, *found: Given, **more: Any) -> dict[str, int]:
    return dict(take(store, list(found), **more).outcomes)


def actions(store: Store) -> list[str]:
    with store.read() as connection:
        return list(connection.execute(select(review_audit.c.action).order_by(review_audit.c.id)).scalars())


def test_labels_find_their_item_by_its_id_or_by_the_event(store: Store) -> None:
    add(store, [new_item(1), new_item(2), new_item(3)])
    one, two = item_id("s1"), item_id("s2")
    assert outcomes(store, said(event_id="", item_id=one), said(event_id="e2"), said(event_id="e9")) == {
        "labelled": 2,
        "kept": 1,
    }
    assert standing(store) == sorted(
        [
            ("", "e9", "ann", "wrong", False, "import"),
            (one, "e1", "ann", "wrong", False, "import"),
            (two, "e2", "ann", "wrong", False, "import"),
        ]
    )
    # Both ids are well and good, as long as they are of one event; an item that is gone leaves the event's id.
    assert outcomes(store, said("correct", event_id="e1", item_id=one, reviewer="bob")) == {"labelled": 1}
    assert outcomes(store, said(event_id="e3", item_id="gone")) == {"labelled": 1}
    report = take(store, [said(event_id="e2", item_id=one), said(event_id="", item_id="gone")])
    assert dict(report.outcomes) == {"unusable": 2}
    assert "another event" in report.problems[0]
    assert "no item has the id" in report.problems[1]


def test_it_was_said_when_it_says_but_never_later_than_now(store: Store) -> None:
    add(store, [new_item(1), new_item(2), new_item(3)])
    times = (START + 7, NOW + 10**9, None)
    take(store, [said(event_id=f"e{n}", time_us=time_us) for n, time_us in enumerate(times, 1)])
    with store.read() as connection:
        found = {row.event_id: row.answers[0].time_us for row in queued(connection)}
    assert found == {"e1": START + 7, "e2": NOW, "e3": NOW}


def files(store: Store) -> Iterator[list[Given | Unusable]]:
    """The same labels from each kind of file."""
    with store.read() as connection:
        exported_items = list(queued(connection))
    yield list(rows.read(rows.write(exported_items, predictions=False)))
    yield list(spreadsheet.read(spreadsheet.write(exported_items, predictions=True)))


def test_what_is_exported_and_imported_again_changes_nothing(store: Store) -> None:
    items = [new_item(n) for n in range(6)]
    add_samples(store, items)
    add(store, items)
    for found in review.next_items(store, "ann", EVERYTHING, NOW, 600, 3):
        review.label(store, found.item_id, "ann", Label("wrong", {"which": ["=a"]}, "+n\x00"), NOW)
    (skipped,) = review.next_items(store, "bob", EVERYTHING, NOW, 600, 1)
    review.skip(store, skipped.item_id, "bob", "-no", NOW, 3)
    review.label(store, item_id("s5"), "root", CORRECT, NOW, gold=True)
    before = everything(store)
    for found_again in files(store):
        assert dict(take(store, found_again).outcomes) == {"repeated": 5}
        assert everything(store) == before


def test_another_store_gets_the_same_answers(store: Store, sqlite: Store) -> None:
    items = [new_item(n, wanted=2) for n in range(4)]
    for each in (store, sqlite):
        add_samples(each, items)
        add(each, items)
    take(store, [said(event_id="e1"), said("correct", event_id="e1", reviewer="bob"), said(event_id="e2", gold=True)])
    take(store, [said(event_id="e0", label=None, skip_reason="x")])
    for found in files(store):
        take(sqlite, found)
        assert [row[:-1] for row in standing(sqlite)] == [row[:-1] for row in standing(store)]
        assert [state(sqlite, f"s{n}") for n in range(4)] == [state(store, f"s{n}") for n in range(4)]


def test_label_studio_there_and_back(store: Store) -> None:
    items = [new_item(n) for n in range(3)]
    add_samples(store, items)
    add(store, items)
    with store.read() as connection:
        tasks = [label_studio.task(item, address="https://d", predictions=False) for item in queued(connection, "open")]
    answers = {
        "e0": annotation(choices("verdict", "wrong"), who={"id": 1, "email": "a@x"}),
        "e1": annotation(was_cancelled=True),
        "e2": annotation(choices("verdict", "correct"), ground_truth=True),
    }
    content = exported(*(annotated.task(task["data"], answers[task["data"]["event_id"]]) for task in tasks))
    expected = {"labelled": 2, "skipped": 1}
    assert dict(take(store, list(label_studio.read(content))).outcomes) == expected
    before = everything(store)
    assert dict(take(store, list(label_studio.read(content))).outcomes) == {"repeated": 3}
    assert everything(store) == before
    assert [state(store, f"s{n}")[0] for n in range(3)] == ["done", "open", "open"]
    assert {row[3:5] for row in standing(store)} == {("wrong", False), ("skip", False), ("correct", True)}


def test_a_file_with_two_answers_of_one_reviewer_ends_with_the_later_one_however_often_it_comes(store: Store) -> None:
    add(store, [new_item(1)])
    file = [said("wrong", time_us=START + 1), said("correct", time_us=START + 2)]
    assert outcomes(store, *file) == {"labelled": 1, "replaced": 1}
    before = everything(store)
    assert outcomes(store, *file) == {"repeated": 2}
    assert everything(store) == before
    # He may say later what he said first: another time is another request.
    assert outcomes(store, said("wrong", time_us=START + 3)) == {"replaced": 1}


def test_early_labels_join_when_their_event_is_drawn(store: Store) -> None:
    early = [
        said(event_id="e1"),
        said("correct", event_id="e1", reviewer="bob"),
        said("correct", event_id="e1", reviewer="truth", gold=True),
        said(event_id="e2", reviewer="truth", gold=True),
        said(event_id="e3", time_us=START),
        said("correct", event_id="e3", time_us=START + 1),
        said(event_id="e4"),
    ]
    assert outcomes(store, *early) == {"kept": 7}
    with store.read() as connection:
        assert review.unmatched(connection) == 6
    add(store, [new_item(1, wanted=3), new_item(2), new_item(3)])
    assert [state(store, f"s{n}") for n in (1, 2, 3)] == [("open", "", 2, 0), ("open", "", 0, 0), ("done", "", 1, 0)]
    with store.read() as connection:
        assert review.unmatched(connection) == 1
        found = {row.event_id: row for row in review.labelled(connection, None, 0, 2**60)}
    assert [(v.reviewer, v.verdict, v.gold) for v in found["e1"].verdicts] == [
        ("ann", "wrong", False),
        ("bob", "correct", False),
        ("truth", "correct", True),
    ]
    assert [(v.reviewer, v.verdict) for v in found["e3"].verdicts] == [("ann", "correct")]
    assert [row.action for row in review.audit_of(store, item_id("s1"))] == ["join"] * 3
    # The third label is asked of somebody else, the file changes nothing, and neither does drawing again.
    assert review.next_items(store, "ann", EVERYTHING, NOW, 600, 9)[0].item_id == item_id("s2")
    before = everything(store)
    assert outcomes(store, *early) == {"repeated": 7}
    add(store, [new_item(1, wanted=3), new_item(2), new_item(3)])
    assert everything(store) == before


def test_of_two_items_of_one_event_the_same_gets_early_and_later_labels(store: Store) -> None:
    outcomes(store, said())
    add(store, [new_item(1), new_item(7, event_id="e1")])
    outcomes(store, said("correct", reviewer="bob"))
    assert len({row[0] for row in standing(store)}) == 1


def test_an_early_label_and_its_item_that_come_at_once_meet(store_url: str) -> None:
    store = open_store(store_url)
    numbers = list(range(60))

    def draw() -> None:
        for n in numbers:
            add(store, [new_item(n)])

    def bring() -> None:
        for n in numbers:
            while "unusable" in take(store, [said(event_id=f"e{n}")]).outcomes:
                pass

    threads = [threading.Thread(target=work) for work in (draw, bring)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [state(store, f"s{n}")[0] for n in numbers] == ["done"] * len(numbers)
    with store.read() as connection:
        assert review.unmatched(connection) == 0
    store.close()


@pytest.mark.real
def test_a_label_that_looks_while_its_item_is_being_added_waits_for_it(postgres_url: str) -> None:
    """The moment that the test above may or may not hit: the item is written and not committed yet."""
    store = open_store(postgres_url)
    done: list[dict[str, int]] = []
    with store.write() as connection:
        review.add(connection, [new_item(1)], [], now_us=NOW, expires_us=2**60)
        thread = threading.Thread(target=lambda: done.append(outcomes(store, said())))
        thread.start()
        until = time.monotonic() + 30
        with store.read() as other:
            waiting = text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
            while not other.execute(waiting).scalar_one() and time.monotonic() < until:
                time.sleep(0.01)
        assert not done
    thread.join()
    assert done == [{"labelled": 1}]
    assert state(store, "s1")[0] == "done"
    store.close()


def test_skips_from_elsewhere(store: Store) -> None:
    add(store, [new_item(n) for n in range(1, 6)])
    skip = [said(event_id=f"e{n}", label=None, skip_reason="blurred") for n in range(7)]
    assert outcomes(store, skip[1]) == {"skipped": 1}
    assert outcomes(store, skip[1]) == {"repeated": 1}
    assert state(store, "s1") == ("open", "", 0, 1)
    assert item_id("s1") not in [i.item_id for i in review.next_items(store, "ann", EVERYTHING, NOW, 600, 9)]
    # With as many as are allowed it leaves the queue.
    assert outcomes(store, said(event_id="e1", label=None, reviewer="bob")) == {"skipped": 1}
    assert state(store, "s1") == ("removed", "skipped", 0, 2)
    # Of what is not there, has ended or is labelled by him, it says nothing.
    assert outcomes(store, skip[6], said(event_id="e1", label=None, reviewer="cid")) == {"ignored": 2}
    assert outcomes(store, said(event_id="e2"), said(event_id="e2", label=None)) == {"labelled": 1, "ignored": 1}
    # Who has it keeps it, unless it is himself.
    assert outcomes(store, said(event_id="e3", label=None, reviewer="bob")) == {"skipped": 1}
    with store.read() as connection:
        found = review.find_item(connection, item_id("s3"))
        assert found is not None
        assert (found.state, found.leased_by, found.skips) == ("leased", "ann", 1)
    assert outcomes(store, skip[3]) == {"skipped": 1}
    assert state(store, "s3") == ("removed", "skipped", 0, 2)
    # A label after a skip takes its place.
    assert outcomes(store, skip[4], said(event_id="e4", time_us=NOW)) == {"skipped": 1, "replaced": 1}
    assert state(store, "s4") == ("done", "", 1, 0)


def test_known_answers_are_gold_and_finish_nothing(store: Store) -> None:
    add(store, [new_item(1), new_item(2)])
    known = [said(reviewer="gold:ann"), said(event_id="e9", reviewer="gold:ann"), said(event_id="e2", label=None)]
    report = take(store, known, gold=True)
    assert dict(report.outcomes) == {"labelled": 1, "kept": 1, "unusable": 1}
    assert "needs a verdict" in report.problems[0]
    assert state(store, "s1") == ("open", "", 0, 0)
    with store.read() as connection:
        rows_ = {row.event_id: row for row in review.labelled(connection, None, 0, 2**60)}
    assert [(v.verdict, v.gold) for v in rows_["e1"].verdicts] == [("wrong", True)]
    assert not rows_["e1"].unsure
    assert review.verdicts(store, 0) == [], "no score learns from them"
    assert outcomes(store, *known, gold=True) == {"repeated": 2, "unusable": 1}


def test_what_does_not_say_whether_it_is_gold_leaves_it_so(store: Store) -> None:
    """JSON-MIN of Label Studio after its JSON."""
    add(store, [new_item(1), new_item(2)])
    outcomes(store, said(gold=True), said(event_id="e2"))
    assert outcomes(store, said(gold=None, time_us=NOW), said(event_id="e2", gold=None, time_us=NOW)) == {"repeated": 2}
    assert [row[4] for row in sorted(standing(store), key=lambda row: row[1])] == [True, False]
    assert outcomes(store, said("correct", gold=None, time_us=NOW)) == {"replaced": 1}
    assert outcomes(store, said(event_id="e2", gold=True)) == {"replaced": 1}
    assert [row[3:5] for row in sorted(standing(store), key=lambda row: row[1])] == [
        ("correct", False),
        ("wrong", True),
    ]
    assert [state(store, sample)[0] for sample in ("s1", "s2")] == ["done", "open"]


def test_what_was_forgotten_is_not_stored(store: Store) -> None:
    items = [new_item(1), new_item(2)]
    add_samples(store, items)
    add(store, items)
    outcomes(store, said(event_id="e9"))
    assert forget_event(store, "e1")["review_items"] == 1
    assert forget_event(store, "e9")["labels"] == 1
    one = item_id("s1")
    assert outcomes(store, said(), said(event_id="", item_id=one), said(label=None), said(event_id="e9")) == {
        "forgotten": 4
    }
    assert standing(store) == []


def test_the_rest_of_a_file_is_read_after_what_is_no_label(store: Store) -> None:
    add(store, [new_item(1)])
    many: list[Given | Unusable] = [Unusable("invalid_label", f"line {n}") for n in range(300)]
    report = take(store, [*many, said()])
    assert dict(report.outcomes) == {"unusable": 300, "labelled": 1}
    assert (len(report.problems), report.problems[0], report.usable) == (20, "line 0", 1)


def test_a_store_that_comes_back_loses_nothing_and_one_that_does_not_is_said(
    sqlite: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(sqlite, [new_item(n) for n in range(500)])
    fails = iter(
        [StoreUnavailable("away"), Declined("answered", "meanwhile"), None, StoreUnavailable("away"), None, None]
    )
    real = Store.write

    def write(self: Store) -> Any:
        if (error := next(fails, None)) is not None:
            raise error
        return real(self)

    monkeypatch.setattr(Store, "write", write)
    waited: list[float] = []
    report = take(sqlite, [said(event_id=f"e{n}") for n in range(500)], pause=waited.append)
    assert dict(report.outcomes) == {"labelled": 500}
    assert len(waited) == 3
    tries = iter([None, *[StoreUnavailable("away")] * 9])
    fails = tries
    with pytest.raises(Interrupted, match="away") as interrupted:
        take(sqlite, [said("correct", event_id=f"e{n}") for n in range(500)], pause=waited.append)
    assert dict(interrupted.value.report.outcomes) == {"replaced": 200}


def test_in_any_order_the_queue_ends_the_same(sqlite: Store, tmp_path: Path) -> None:
    """Items and labels of different reviewers in any order, cut anywhere, brought twice: one result."""
    rng = random.Random(7)
    ends = []
    for run in range(8):
        store = open_store(f"sqlite:///{tmp_path / str(run)}.db")
        work: list[Any] = [new_item(n, wanted=1 + n % 2) for n in range(12)]
        work += [
            said("wrong" if n % 3 else "correct", event_id=f"e{n % 14}", reviewer=f"r{n % 5}") for n in range(40)
        ] * 2
        rng.shuffle(work)
        for one in work:
            if isinstance(one, Given):
                take(store, [one])
            else:
                add(store, [one])
        ends.append((standing(store), [state(store, f"s{n}") for n in range(12)]))
        store.close()
    assert all(end == ends[0] for end in ends)
    assert Config().review.most_skips >= 1
