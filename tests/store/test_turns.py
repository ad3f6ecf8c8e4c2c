"""The writers' lock: in the order of asking, never two at once, and safe when waiting runs out of time."""

from __future__ import annotations

import threading
import time

import pytest

from monitor.store.turns import Turns


def _wait_until_queued(turns: Turns, waiting: int) -> None:
    while len(turns._waiting) < waiting:
        time.sleep(0.001)


def test_turns_are_given_in_the_order_of_asking() -> None:
    turns, order = Turns(), []
    assert turns.acquire(1)

    def take(number: int) -> None:
        assert turns.acquire(30)
        order.append(number)
        turns.release()

    threads = []
    for number in range(20):
        threads.append(threading.Thread(target=take, args=(number,)))
        threads[-1].start()
        _wait_until_queued(turns, number + 1)
    turns.release()
    for thread in threads:
        thread.join()
    assert order == list(range(20))


def test_who_releases_and_asks_again_waits_behind_who_waited() -> None:
    turns, order = Turns(), []
    assert turns.acquire(1)

    def other() -> None:
        assert turns.acquire(30)
        order.append("other")
        turns.release()

    thread = threading.Thread(target=other)
    thread.start()
    _wait_until_queued(turns, 1)
    turns.release()
    assert turns.acquire(30)
    order.append("first")
    turns.release()
    thread.join()
    assert order == ["other", "first"]


def test_never_two_at_once_though_some_give_up_waiting() -> None:
    turns, inside, most, taken = Turns(), 0, 0, 0

    def work(patience: float) -> None:
        nonlocal inside, most, taken
        for _ in range(200):
            if not turns.acquire(patience):
                continue
            inside += 1
            most, taken = max(most, inside), taken + 1
            if taken % 7 == 0:
                time.sleep(0.0005)
            inside -= 1
            turns.release()

    threads = [threading.Thread(target=work, args=(0.0004 if number % 2 else 30,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1
    assert taken >= 600  # those who wait for as long as it takes always come to it
    assert turns.acquire(0)  # nobody is left holding it
    turns.release()


def test_a_wait_that_runs_out_holds_nothing() -> None:
    turns = Turns()
    assert turns.acquire(1)
    assert not turns.acquire(0.01)
    turns.release()
    assert turns.acquire(0.01)
    turns.release()
    with pytest.raises(RuntimeError, match="does not hold"):
        turns.release()
