"""What runs beside the queue: expiry by the service, `driftline forget` while ticks and reviewers are at it."""

from __future__ import annotations

import threading
import time

import pytest

from monitor.config.model import Config
from monitor.store import review
from monitor.store.engine import Store, open_store
from monitor.store.forget import forget_event, forget_user
from monitor.store.secrets import hash_key, rendered, user_key
from monitor.workers import Upkeep
from tests.review.items import EVERYTHING, WRONG, item, put, state


def test_the_service_lets_items_expire(store_url: str) -> None:
    store = open_store(store_url)
    put(store, [item(1)], expires_us=time.time_ns() // 1000 - 1)
    put(store, [item(2)], expires_us=time.time_ns() // 1000 + 10**12)
    Upkeep(store, Config).step()
    assert [state(store, sample)[:2] for sample in ("s1", "s2")] == [("removed", "expired"), ("open", "")]
    store.close()


def test_forgetting_reaches_what_ticks_and_reviewers_write_meanwhile(store_url: str) -> None:
    store = open_store(store_url)
    key = rendered(user_key(hash_key(store, None), "alice"))
    put(store, [item(n, n / 400, user_key=key if n % 2 else "") for n in range(200)])
    stop = threading.Event()
    failures: list[BaseException] = []

    def label() -> None:
        found = tuple(review.next_items(store, "ann", EVERYTHING, 1, 10**12))
        while found:
            try:
                found = review.label_and_next(store, found[0].item_id, "ann", WRONG, EVERYTHING, 1, 10**12).items
            except review.Declined:  # forgotten under his hands
                found = tuple(review.next_items(store, "ann", EVERYTHING, 1, 10**12))

    def tick() -> None:
        number = 200
        while not stop.is_set():
            put(store, [item(n, n / 4000, user_key=key if n % 2 else "") for n in range(number, number + 4)])
            number += 4

    def bring() -> None:
        for number in range(0, 200, 3):
            review.import_label(store, f"e{number}", "lab", WRONG, 1)

    def guarded(work: object) -> None:
        try:
            work()  # type: ignore[operator]
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=guarded, args=(work,)) for work in (label, tick, bring)]
    for thread in threads:
        thread.start()
    _until(store, lambda: review.progress(store, "ann", 0, 10).labelled > 20)
    forget_user(store, Config(), "alice")
    for number in (0, 30, 60):
        forget_event(store, f"e{number}")
    time.sleep(0.1)
    stop.set()
    for thread in threads:
        thread.join()
    assert failures == []
    with store.read() as connection:
        rows = list(review.labelled(connection, None, 0, 2**62))
    mine = [row for row in rows if row.ended == "forgotten"]
    assert len(mine) > 100
    assert {(row.state, row.event_id, row.verdicts) for row in mine} == {("removed", "", ())}
    assert all(int(row.event_id[1:]) % 2 == 0 for row in rows if row.ended != "forgotten")
    assert not {"e0", "e30", "e60"} & {row.event_id for row in rows}
    assert sum(forget_user(store, Config(), "alice").values()) == 0
    store.close()


def _until(store: Store, holds: object) -> None:
    for _ in range(6000):
        if holds():  # type: ignore[operator]
            return
        time.sleep(0.01)
    pytest.fail("the reviewer did not get on")
