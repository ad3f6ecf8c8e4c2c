"""The dispatcher: nothing lost, one sink never holds up another, retries back off."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

import pytest

from alerts.dispatch import FIRST_DELAY_US, LONGEST_DELAY_US
from alerts.sinks import Delivery, Outcome, Refused, Retry, Sent
from monitor.store import outbox
from monitor.store.engine import Store
from monitor.store.outbox import OutboxRow
from tests.alerts.parts import MINUTE, Clock, anomaly, dispatcher, tell


class Recorder:
    """A sink that answers as ``verdict`` says and remembers what it was told."""

    def __init__(self, verdict: Callable[[Delivery], Outcome] = lambda delivery: Sent(), batch: int = 10) -> None:
        self.verdict = verdict
        self.batch = batch
        self.told: list[Delivery] = []
        self.calls: list[int] = []
        self.closed = False

    def send(self, deliveries: Sequence[Delivery], now_us: int) -> list[Outcome]:
        self.told += deliveries
        self.calls.append(len(deliveries))
        return [self.verdict(delivery) for delivery in deliveries]

    def longest_us(self, deliveries: int) -> int:
        return deliveries * MINUTE

    def close(self) -> None:
        self.closed = True


def row(store: Store, key: str) -> OutboxRow:
    with store.read() as conn:
        (found,) = outbox.deliveries(conn, key)
    return found


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.01)


def test_what_is_due_is_sent_once(store: Store, clock: Clock) -> None:
    sink, document = Recorder(), anomaly()
    tell(store, clock, "s", document)
    work = dispatcher(store, clock, {"s": sink})
    assert work.step() == 1
    assert work.step() == 0
    assert [d.payload for d in sink.told] == [document]
    assert work.counts == {("s", "sent"): 1}


def test_a_failed_attempt_backs_off_and_is_never_given_up(store: Store, clock: Clock) -> None:
    sink, document = Recorder(lambda delivery: Retry("down")), anomaly()
    tell(store, clock, "s", document)
    work = dispatcher(store, clock, {"s": sink})
    delays = []
    for attempt in range(14):
        assert work.step() == 1
        found = row(store, document["id"])
        assert (found.state, found.attempts, found.error) == ("pending", attempt + 1, "down")
        longest = min(LONGEST_DELAY_US, FIRST_DELAY_US * 2**attempt)
        assert longest / 2 <= found.due_us - clock() <= longest
        delays.append(found.due_us - clock())
        clock.tick(longest)
    assert len(set(delays)) == len(delays), "jitter spreads retries"
    sink.verdict = lambda delivery: Sent()
    assert work.step() == 1
    assert (row(store, document["id"]).state, row(store, document["id"]).error) == ("sent", "")


def test_the_delay_a_target_asks_for_is_kept(store: Store, clock: Clock) -> None:
    sink, document = Recorder(lambda delivery: Retry("429", after_us=7 * MINUTE)), anomaly()
    tell(store, clock, "s", document)
    work = dispatcher(store, clock, {"s": sink})
    work.step()
    clock.tick(7 * MINUTE - 1)
    assert work.step() == 0
    clock.tick(1)
    assert work.step() == 1


def test_a_target_that_is_down_is_probed_by_one_batch(store: Store, clock: Clock) -> None:
    """Of a thousand waiting rows, one batch tries; memory holds no more than that."""
    sink = Recorder(lambda delivery: Retry("down"), batch=3)
    for number in range(20):
        tell(store, clock, "s", anomaly(f"segment-{number}"))
    work = dispatcher(store, clock, {"s": sink})
    for _ in range(5):
        work.step()
    assert sink.calls == [3]
    sink.verdict = lambda delivery: Sent()
    clock.tick(MINUTE)
    while work.step():
        pass
    assert max(sink.calls) == 3
    assert len({d.key for d in sink.told}) == 20
    with store.read() as conn:
        assert [(d.state, d.rows) for d in outbox.depths(conn)] == [("sent", 20)]


def test_a_refused_delivery_does_not_hold_up_the_others(store: Store, clock: Clock) -> None:
    bad, good = anomaly("bad"), anomaly("good")
    sink = Recorder(lambda d: Refused("no such label") if d.key == bad["id"] else Sent())
    tell(store, clock, "s", bad)
    tell(store, clock, "s", good)
    dispatcher(store, clock, {"s": sink}).step()
    assert (row(store, bad["id"]).state, row(store, bad["id"]).error) == ("failed", "no such label")
    assert row(store, good["id"]).state == "sent"


def test_a_sink_that_raises_loses_nothing(store: Store, clock: Clock) -> None:
    def verdict(delivery: Delivery) -> Outcome:
        raise ZeroDivisionError("a defect")

    sink, document = Recorder(verdict), anomaly()
    tell(store, clock, "s", document)
    work = dispatcher(store, clock, {"s": sink})
    work.step()
    assert row(store, document["id"]).error == "ZeroDivisionError: a defect"
    sink.verdict = lambda delivery: Sent()
    clock.tick(MINUTE)
    work.step()
    assert row(store, document["id"]).state == "sent"


def test_a_dispatcher_that_dies_while_sending_is_taken_over(store: Store, clock: Clock) -> None:
    def die(delivery: Delivery) -> Outcome:
        raise SystemExit

    document = anomaly()
    tell(store, clock, "s", document)
    with pytest.raises(SystemExit):
        dispatcher(store, clock, {"s": Recorder(die)}).step()
    other = Recorder()
    successor = dispatcher(store, clock, {"s": other})
    assert successor.step() == 0, "its lease still holds"
    clock.tick(2 * other.longest_us(1))  # of what was claimed, not of all that a batch may hold
    assert successor.step() == 1
    assert [d.key for d in other.told] == [document["id"]]


def test_a_sink_that_hangs_holds_up_nobody_else(store: Store, clock: Clock) -> None:
    release = threading.Event()

    def hang(delivery: Delivery) -> Outcome:
        release.wait(20)
        return Sent()

    slow, quick, document = Recorder(hang), Recorder(), anomaly()
    for name in ("slow", "quick"):
        tell(store, clock, name, document)
    work, stop = dispatcher(store, clock, {"slow": slow, "quick": quick}), threading.Event()
    thread = threading.Thread(target=work.run, args=(stop,))
    thread.start()
    until(lambda: work.counts["quick", "sent"] == 1)
    assert work.counts["slow", "sent"] == 0
    release.set()
    until(lambda: work.counts["slow", "sent"] == 1)
    stop.set()
    thread.join(20)
    assert not thread.is_alive()
    assert slow.closed
    assert quick.closed


def test_sinks_can_be_replaced_while_running(store: Store, clock: Clock) -> None:
    old, new = Recorder(), Recorder()
    work, stop = dispatcher(store, clock, {"old": old}), threading.Event()
    thread = threading.Thread(target=work.run, args=(stop,))
    thread.start()
    work.replace_sinks({"new": new})
    tell(store, clock, "new", anomaly())
    until(lambda: len(new.told) == 1)
    stop.set()
    thread.join(20)
    assert old.closed


def test_the_newest_state_wins_while_a_target_is_down(store: Store, clock: Clock) -> None:
    sink = Recorder(lambda delivery: Retry("down"))
    tell(store, clock, "s", anomaly())
    work = dispatcher(store, clock, {"s": sink})
    work.step()
    tell(store, clock, "s", anomaly(state="resolved"))
    sink.verdict = lambda delivery: Sent()
    clock.tick(MINUTE)
    work.step()
    assert work.step() == 0
    assert [d.payload["state"] for d in sink.told] == ["open", "resolved"]


HOUR_US = 60 * MINUTE


@pytest.mark.parametrize("back_us", [HOUR_US, 24 * HOUR_US])
def test_a_clock_that_is_set_back_delays_nothing(store: Store, clock: Clock, back_us: int) -> None:
    """A retry, a repetition to Alertmanager and the end of a mute come when they would have come anyway."""
    down = [True]

    def verdict(delivery: Delivery) -> Outcome:
        return Retry("down") if delivery.key == "refused" and down[0] else Sent(again_us=clock() + 2 * MINUTE)

    sink = Recorder(verdict)
    work = dispatcher(store, clock, {"s": sink})
    with store.write() as conn:
        for key, due_us in (("refused", clock()), ("repeated", clock()), ("muted", clock() + 30 * MINUTE)):
            outbox.enqueue(
                conn, sink="s", key=key, kind="anomaly", payload=anomaly(), created_us=clock(), due_us=due_us
            )
    assert work.step() == 2
    down[0] = False

    def told(us: int, every_us: int = 10_000_000) -> list[str]:
        """What is sent within some time."""
        before = len(sink.told)
        for _ in range(us // every_us):
            clock.tick(every_us)
            work.follow_clock()
            work.step()
        return [delivery.key for delivery in sink.told[before:]]

    clock.set(clock() - back_us)
    assert told(1_000_000, 1_000_000) == ["refused"]
    assert sorted(told(2 * MINUTE)) == ["refused", "repeated"]
    assert "muted" not in told(26 * MINUTE)
    assert "muted" in told(2 * MINUTE)


def test_a_clock_that_is_set_forward_or_only_slow_moves_nothing(store: Store, clock: Clock) -> None:
    sink = Recorder(lambda delivery: Sent(again_us=clock() + HOUR_US))
    work = dispatcher(store, clock, {"s": sink})
    document = anomaly()
    tell(store, clock, "s", document)
    work.step()
    due_us = row(store, document["id"]).due_us
    for set_us in (-20_000_000, 21 * 24 * HOUR_US):
        clock.tick(1_000_000)
        clock.set(clock() + set_us)
        work.follow_clock()
        assert row(store, document["id"]).due_us == due_us
    assert work.step() == 1, "weeks ahead it is overdue, once"
    assert work.step() == 0


def test_what_was_delivered_stays_so_when_the_clock_is_set_back(store: Store, clock: Clock) -> None:
    sink, document = Recorder(), anomaly()
    work = dispatcher(store, clock, {"s": sink})
    tell(store, clock, "s", document)
    work.step()
    clock.set(clock() - 24 * HOUR_US)
    work.follow_clock()
    assert work.step() == 0
    assert row(store, document["id"]).due_us == outbox.NEVER
