"""Several reviewers at once, in processes and in threads, never have the same item, and leave none out."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections import Counter

import pytest

from monitor.store import review
from monitor.store.engine import Store, open_store
from monitor.store.review import Answered, Declined, Undone
from tests.review.items import EVERYTHING, WRONG, check_audit, item, put, standing, state, take

ITEMS, REVIEWERS = 240, 4
LEASE = 10**12


def label_all(store: Store, reviewer: str) -> list[str]:
    """Label until nothing is left; the items, as they were given."""
    given: list[str] = []
    found = tuple(review.next_items(store, reviewer, EVERYTHING, 1, LEASE, 2))
    while found:
        given.append(found[0].item_id)
        found = review.label_and_next(store, given[-1], reviewer, WRONG, EVERYTHING, 1, LEASE, count=2).items
    return given


@pytest.mark.parametrize("how", ["threads", "processes"])
def test_every_item_is_labelled_once_by_one_of_them(store_url: str, how: str) -> None:
    store = open_store(store_url)
    put(store, [item(n, n / ITEMS) for n in range(ITEMS)])
    names = [f"reviewer-{n}" for n in range(REVIEWERS)]
    given: dict[str, list[str]] = {}
    if how == "threads":

        def work(name: str) -> None:
            given[name] = label_all(store, name)

        threads = [threading.Thread(target=work, args=(name,)) for name in names]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    else:
        program = (
            "import json, sys\n"
            "from monitor.store.engine import open_store\n"
            "from tests.review.test_at_once import label_all\n"
            "print(json.dumps(label_all(open_store(sys.argv[1]), sys.argv[2])))\n"
        )
        processes = [
            subprocess.Popen([sys.executable, "-c", program, store_url, name], stdout=subprocess.PIPE, text=True)
            for name in names
        ]
        for name, process in zip(names, processes, strict=True):
            given[name] = json.loads(process.communicate(timeout=300)[0])
    assert Counter(i for items in given.values() for i in items) == Counter(
        review.item_id(f"s{n}") for n in range(ITEMS)
    )
    with store.read() as connection:
        rows = list(review.labelled(connection, None, 0, 2**62))
    assert {row.state for row in rows} == {"done"}
    assert {row.item_id: [v.reviewer for v in row.verdicts] for row in rows} == {
        i: [name] for name, items in given.items() for i in items
    }
    check_audit(store)
    store.close()


def test_two_reviewers_for_each_item_one_lease_at_a_time(store_url: str) -> None:
    store = open_store(store_url)
    put(store, [item(n, n / 40, wanted=2) for n in range(40)])

    def work(name: str) -> None:
        while True:
            label_all(store, name)
            with store.read() as connection:
                if all(count.state == "done" for count in review.counts(connection)):
                    return

    threads = [threading.Thread(target=work, args=(name,)) for name in ("ann", "bob", "cid")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with store.read() as connection:
        rows = list(review.labelled(connection, None, 0, 2**62))
    assert all(len({v.reviewer for v in row.verdicts}) == len(row.verdicts) == 2 for row in rows)
    store.close()


def at_once(calls: list[object]) -> list[object]:
    """What these calls return or raise, made in threads that start together."""
    start = threading.Barrier(len(calls))
    results: list[object] = [None] * len(calls)

    def work(number: int) -> None:
        start.wait(60)
        try:
            results[number] = calls[number]()  # type: ignore[operator]
        except Declined as declined:
            results[number] = declined.why

    threads = [threading.Thread(target=work, args=(number,)) for number in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def test_the_same_request_twice_at_once_is_carried_out_once(store_url: str) -> None:
    store = open_store(store_url)
    put(store, [item(n, n / 10) for n in range(6)])
    for number in range(6):
        (sample,) = take(store, "ann", now_us=number)
        one, key = review.item_id(sample), f"q{number}"
        results = at_once(
            [lambda: review.label(store, one, "ann", WRONG, number, request_id=key)] * 4  # noqa: B023
        )
        assert sorted(found.repeated for found in results if isinstance(found, Answered)) == [False, True, True, True]
        results = at_once([lambda: review.undo(store, "ann", number, 10**9, LEASE, request_id=f"u{key}")] * 4)  # noqa: B023
        assert sorted(found.repeated for found in results if isinstance(found, Undone)) == [False, True, True, True]
        assert state(store, sample) == ("leased", "", "ann")
        assert review.label(store, one, "ann", WRONG, number, request_id=f"{key} again").state == "done"
        assert standing(store, sample) == [("ann", "wrong")]
    check_audit(store)
    store.close()


def test_who_labels_and_who_removes_at_once(store_url: str) -> None:
    store = open_store(store_url)
    put(store, [item(n, n / 20) for n in range(20)])
    for number in range(20):
        (sample,) = take(store, "ann", now_us=number)
        one = review.item_id(sample)
        labelled, removed, brought = at_once(
            [
                lambda: review.label(store, one, "ann", WRONG, number).state,  # noqa: B023
                lambda: review.remove(store, one, "root", "", number),  # noqa: B023
                lambda: review.import_label(store, f"e{number}", "lab", WRONG, number).outcome,  # noqa: B023
            ]
        )
        assert (labelled in ("done", "removed"), removed, brought in ("labelled", "kept")) == (True, True, True)
        assert state(store, sample) == ("removed", "removed", "")
    check_audit(store)
    store.close()
