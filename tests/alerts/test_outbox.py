"""The outbox: newest state wins, nothing is claimed twice, nothing is lost."""

from __future__ import annotations

import threading

import pytest

from monitor.store import outbox
from monitor.store.engine import Store
from monitor.store.outbox import NEVER, Message, OutboxRow
from tests.alerts.parts import MINUTE, NOW


def put(
    store: Store, key: str = "a", payload: object = 1, *, sink: str = "s", kind: str = "anomaly", due: int = NOW
) -> None:
    with store.write() as conn:
        outbox.enqueue(conn, sink=sink, key=key, kind=kind, payload={"value": payload}, created_us=NOW, due_us=due)


def claim(store: Store, now: int = NOW, *, sink: str = "s", limit: int = 100, lease: int = MINUTE) -> list[OutboxRow]:
    with store.write() as conn:
        return outbox.claim_due(conn, sink=sink, now_us=now, lease_us=lambda _: lease, limit=limit)


def only(store: Store, key: str = "a") -> OutboxRow:
    with store.read() as conn:
        (row,) = outbox.deliveries(conn, key)
    return row


def test_an_older_pending_update_is_superseded(store: Store) -> None:
    put(store, payload=1)
    put(store, payload=2)
    (row,) = claim(store)
    assert row.payload == {"value": 2}
    assert row.revision == 2


def test_an_equal_payload_is_not_told_again(store: Store) -> None:
    put(store)
    with store.write() as conn:
        (row,) = outbox.claim_due(conn, sink="s", now_us=NOW, lease_us=lambda _: MINUTE)
        outbox.mark_sent(conn, [(row, {}, None)])
    put(store)
    assert claim(store) == []
    put(store, payload=2)
    assert [row.revision for row in claim(store)] == [2]


def test_one_call_may_name_a_key_twice(store: Store) -> None:
    with store.write() as conn:
        outbox.enqueue_many(conn, [Message("s", "a", "anomaly", {"value": n}, NOW, NOW) for n in range(3)])
    assert [row.payload for row in claim(store)] == [{"value": 2}]


def test_a_rolled_back_transaction_tells_nobody(store: Store) -> None:
    with pytest.raises(KeyError), store.write() as conn:
        outbox.enqueue(conn, sink="s", key="a", kind="anomaly", payload={}, created_us=NOW, due_us=NOW)
        raise KeyError
    assert claim(store) == []


def test_a_claim_is_a_lease(store: Store) -> None:
    put(store)
    assert len(claim(store)) == 1
    assert claim(store) == []
    assert len(claim(store, NOW + MINUTE)) == 1


def test_who_lost_the_lease_marks_nothing(store: Store) -> None:
    put(store)
    (lost,) = claim(store)
    (held,) = claim(store, NOW + MINUTE)
    with store.write() as conn:
        outbox.mark_failed(conn, lost, error="late", remote={"by": "lost"})
    assert only(store).state == "pending"
    with store.write() as conn:
        outbox.mark_sent(conn, [(held, {"by": "held"}, None)])
    assert (only(store).state, only(store).remote) == ("sent", {"by": "held"})


def test_an_update_during_a_delivery_is_sent_next_and_keeps_the_answer(store: Store) -> None:
    put(store, payload=1)
    (row,) = claim(store)
    put(store, payload=2)
    assert claim(store) == [], "the sender of the old revision still holds the lease"
    with store.write() as conn:
        outbox.mark_sent(conn, [(row, {"annotation": 7}, None)])
    (newer,) = claim(store)
    assert (newer.payload, newer.remote) == ({"value": 2}, {"annotation": 7})


def test_a_refused_delivery_waits_for_a_new_revision(store: Store) -> None:
    put(store)
    (row,) = claim(store)
    with store.write() as conn:
        outbox.mark_failed(conn, row, error="bad label", remote={})
    assert claim(store, NOW + 1000 * MINUTE) == []
    assert (only(store).state, only(store).error, only(store).due_us) == ("failed", "bad label", NEVER)
    put(store, payload=2)
    assert len(claim(store)) == 1


def test_a_delivered_dead_letter_leaves_the_outbox(store: Store) -> None:
    put(store, "t/0/5", kind="dead_letter")
    (row,) = claim(store)
    with store.write() as conn:
        outbox.mark_sent(conn, [(row, {}, None)])
        assert outbox.depths(conn) == []


def test_what_is_to_be_sent_again_is_due_then(store: Store) -> None:
    put(store)
    (row,) = claim(store)
    with store.write() as conn:
        outbox.mark_sent(conn, [(row, {}, NOW + MINUTE)])
    assert claim(store, NOW + MINUTE - 1) == []
    assert [row.state for row in claim(store, NOW + MINUTE)] == ["sent"]


def test_sinks_do_not_see_each_others_rows(store: Store) -> None:
    put(store, sink="one")
    put(store, sink="two")
    assert [row.sink for row in claim(store, sink="one")] == ["one"]


def test_depths_and_pruning(store: Store) -> None:
    put(store, "a")
    put(store, "b")
    with store.write() as conn:
        first = outbox.claim_due(conn, sink="s", now_us=NOW, lease_us=lambda _: 1, limit=1)
        outbox.mark_sent(conn, [(row, {}, None) for row in first])
        assert [(d.state, d.rows) for d in outbox.depths(conn)] == [("pending", 1), ("sent", 1)]
        assert outbox.prune(conn, before_us=NOW + 1) == 1
        assert [(d.state, d.rows) for d in outbox.depths(conn)] == [("pending", 1)], "what waits is never pruned"


def test_what_waits_for_a_mute_is_not_stuck(store: Store) -> None:
    """It pages nobody (DriftlineOutboxStuck) before it is to be sent."""
    until = NOW + 120 * MINUTE
    with store.write() as conn:
        outbox.enqueue(conn, sink="s", key="muted", kind="anomaly", payload={}, created_us=NOW, due_us=until)
        assert [(d.rows, d.oldest_us) for d in outbox.depths(conn)] == [(1, until)]
    put(store, "plain")
    with store.read() as conn:
        assert [(d.rows, d.oldest_us) for d in outbox.depths(conn)] == [(2, NOW)]


def test_only_what_was_never_tried_is_taken_back_or_put_off(store: Store) -> None:
    later = NOW + 30 * MINUTE
    for key in ("tried", "fresh", "other"):
        put(store, key)
    with store.write() as conn:
        (row,) = outbox.claim_due(conn, sink="s", now_us=NOW, lease_us=lambda _: 1, limit=1)
        assert row.key == "tried"
        outbox.put_off(conn, ["tried", "fresh"], later)  # while it is being sent
        outbox.mark_retry(conn, row, due_us=NOW + MINUTE, error="away", remote={})
        outbox.put_off(conn, ["tried", "fresh"], later)  # and after that
        due = {key: outbox.deliveries(conn, key)[0].due_us for key in ("tried", "fresh", "other")}
        assert due == {"tried": NOW + MINUTE, "fresh": later, "other": NOW}
        outbox.withdraw(conn, ["tried", "fresh"])
        assert set(outbox.sinks_of(conn, ["tried", "fresh", "other"])) == {"tried", "other"}


def test_two_dispatchers_never_hold_one_row(store: Store) -> None:
    with store.write() as conn:
        outbox.enqueue_many(conn, [Message("s", str(n), "anomaly", {"n": n}, NOW, NOW) for n in range(60)])
    claimed: list[str] = []

    def work() -> None:
        while rows := claim(store, limit=5):
            claimed.extend(row.key for row in rows)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(claimed, key=int) == [str(n) for n in range(60)]
