"""What a reviewer can rely on: the order, leases, answers that count once, and what comes back and what does not."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from monitor.store import review
from monitor.store.engine import Store, open_store
from monitor.store.review import Declined, Filters, Label, PoolSums
from samplers.pools import Pools, pools_of
from tests.review.items import (
    CORRECT,
    DAY_US,
    EVERYTHING,
    LEASE,
    START,
    UNSURE,
    WRONG,
    check_audit,
    item,
    put,
    standing,
    state,
    take,
)


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    store = open_store(store_url)
    yield store
    store.close()


def of_samples(count: int, *, certain: bool = False) -> Pools:
    """Sums over as many samples, each of two events; ``certain``: all of them were drawn."""
    pi = np.full(count, 1.0 if certain else 0.25)
    return pools_of(np.full(count, 0.5), pi, np.full(count, 0.2), np.zeros(count, np.int64), 1)


def declined(call: Callable[[], object]) -> str:
    with pytest.raises(Declined) as raised:
        call()
    return raised.value.why


def label(store: Store, sample: str, reviewer: str, given: Label = WRONG, now_us: int = 0, request_id: str = "") -> str:
    return review.label(store, review.item_id(sample), reviewer, given, now_us, request_id=request_id).state


def test_work_goes_by_race_over_all_days_and_one_item_goes_to_one_reviewer(store: Store) -> None:
    races = [(1, 0.7, 0), (2, 0.1, 3), (3, 0.4, 0), (4, 0.4, 1), (5, 0.9, 0)]
    assert put(store, [item(n, race, day_us=START + day * DAY_US) for n, race, day in races]) == 5
    assert take(store, "ann", count=2) == ["s2", "s3"]
    assert take(store, "bob") == ["s4"]
    assert take(store, "ann", now_us=5, count=3) == ["s2", "s3", "s1"]  # a reload gives the same, and what it lacked
    assert take(store, "cid", count=9) == ["s5"]
    assert take(store, "dan") == []


def test_filters_choose_by_pool_language_and_segment(store: Store) -> None:
    put(
        store,
        [
            item(1, 0.1, pool="legal", language="de", segment="b"),
            item(2, 0.2, pool="legal", language=""),
            item(3, 0.3, pool="main", language="de"),
            item(4, 0.4, pool="main", language="en", segment="b"),
        ],
    )

    def first(reviewer: str, **names: tuple[str, ...]) -> list[str]:
        found = take(store, reviewer, filters=Filters(**names), count=4)
        for sample in found:
            assert review.release(store, review.item_id(sample), reviewer, 0)
        return found

    assert first("a", pools=("main",)) == ["s3", "s4"]
    assert first("a", pools=("main", "legal")) == ["s1", "s2", "s3", "s4"]
    assert first("a", languages=("de",)) == ["s1", "s3"]
    assert first("a", languages=("en", "")) == ["s2", "s4"]
    assert first("a", segments=("b",)) == ["s1", "s4"]
    assert first("a", segments=("b",), pools=("main",), languages=("en", "de")) == ["s4"]
    assert first("a", pools=("none",)) == []
    assert take(store, "a", filters=Filters(pools=("legal",))) == ["s1"]
    assert take(store, "a", filters=Filters(pools=("main",))) == ["s3"]  # what he has of other kinds does not pass
    with pytest.raises(ValueError, match="101 combinations"):
        Filters(segments=tuple(str(n) for n in range(101)))


def test_a_lease_that_ran_out_is_open_again_and_its_holder_may_answer_until_it_is_taken(store: Store) -> None:
    put(store, [item(1, 0.1), item(2, 0.2)])
    assert take(store, "ann") == ["s1"]
    assert take(store, "bob", now_us=LEASE - 1) == ["s2"]
    with store.read() as connection:
        held = review.find_item(connection, review.item_id("s2"))
    assert held is not None
    assert held.lease_until_us == 2 * LEASE - 1
    assert label(store, "s1", "ann", now_us=LEASE + 5) == "done"  # late, and nobody had it
    assert take(store, "cid", now_us=3 * LEASE) == ["s2"]
    assert declined(lambda: label(store, "s2", "bob", now_us=3 * LEASE)) == "not_leased"
    assert declined(lambda: review.renew(store, held.item_id, "bob", 3 * LEASE, LEASE)) == "not_leased"
    assert review.renew(store, held.item_id, "cid", 4 * LEASE, LEASE) == 5 * LEASE
    assert take(store, "bob", now_us=5 * LEASE - 1) == []
    assert not review.release(store, held.item_id, "bob", 5 * LEASE)
    assert review.release(store, held.item_id, "cid", 5 * LEASE)
    assert take(store, "bob", now_us=5 * LEASE) == ["s2"]
    assert [row.action for row in review.audit_of(store, held.item_id)] == [
        "lease", "lapse", "lease", "renew", "release", "lease"
    ]  # fmt: skip


def test_a_lease_is_lengthened_when_its_item_comes_again(store: Store) -> None:
    put(store, [item(1)])
    for now_us, until_us in ((0, LEASE), (LEASE // 2, LEASE), (LEASE // 2 + 1, LEASE // 2 + 1 + LEASE)):
        (found,) = review.next_items(store, "ann", EVERYTHING, now_us, LEASE)
        assert found.lease_until_us == until_us


def test_the_same_request_counts_once_and_another_one_is_declined(store: Store) -> None:
    put(store, [item(1, 0.1), item(2, 0.2), item(3, 0.3)])
    assert take(store, "ann", count=2) == ["s1", "s2"]
    one = review.item_id("s1")
    for repeated in (False, True):
        done = review.label_and_next(store, one, "ann", WRONG, EVERYTHING, 9, LEASE, count=2, request_id="q1")
        assert (done.state, done.repeated) == ("done", repeated)
        assert [found.sample_id for found in done.items] == ["s2", "s3"]
    assert declined(lambda: label(store, "s1", "ann", CORRECT, request_id="q2")) == "done"
    assert declined(lambda: label(store, "s1", "bob", CORRECT, request_id="q1")) == "done"  # his own q1 is another one
    assert declined(lambda: label(store, "s4", "ann")) == "unknown"
    assert label(store, "s2", "ann", request_id="q3") == "done"
    with pytest.raises(ValueError, match="was used before"):
        label(store, "s1", "ann", request_id="q3")
    assert standing(store, "s1") == [("ann", "wrong")]
    assert check_audit(store)["label"] == 2
    assert review.progress(store, "ann", 0, 10) == review.Progress(labelled=2, skipped=0, leased=1)
    assert review.progress(store, "ann", 10, 20).labelled == 0


def test_a_request_that_was_undone_does_not_come_into_force_when_it_is_sent_again(store: Store) -> None:
    put(store, [item(1)])
    take(store, "ann")
    assert label(store, "s1", "ann", WRONG, 1, "q1") == "done"
    assert review.undo(store, "ann", 2, 100, LEASE, request_id="u1").leased
    again = review.label(store, review.item_id("s1"), "ann", WRONG, 3, request_id="q1")
    assert (again.state, again.repeated) == ("leased", True)
    assert standing(store, "s1") == []
    assert label(store, "s1", "ann", CORRECT, 4, "q2") == "done"
    assert review.undo(store, "ann", 5, 100, LEASE, request_id="u1").repeated  # sent again: the new label stays
    assert standing(store, "s1") == [("ann", "correct")]


def test_overlap_asks_two_reviewers_one_after_the_other(store: Store) -> None:
    put(store, [item(1, wanted=2)])
    assert (take(store, "ann"), take(store, "bob")) == (["s1"], [])
    assert label(store, "s1", "ann", WRONG) == "open"
    assert take(store, "ann") == []
    assert take(store, "bob") == ["s1"]
    assert declined(lambda: label(store, "s1", "ann", CORRECT)) == "not_leased"
    assert label(store, "s1", "bob", UNSURE) == "done"
    assert standing(store, "s1") == [("ann", "wrong"), ("bob", "unsure")]


def test_skips_are_kept_go_to_others_and_end_an_item_that_nobody_takes(store: Store) -> None:
    put(store, [item(1, 0.1), item(2, 0.2, wanted=2)])
    one, two = review.item_id("s1"), review.item_id("s2")
    take(store, "ann")
    done = review.skip_and_next(store, one, "ann", "not my field", EVERYTHING, 1, LEASE, 2, request_id="k1")
    assert (done.state, [found.sample_id for found in done.items]) == ("open", ["s2"])
    assert review.skip(store, one, "ann", "not my field", 1, 2, request_id="k1").repeated
    assert label(store, "s2", "ann", WRONG) == "open"
    assert take(store, "bob", count=2) == ["s1", "s2"]
    assert review.skip(store, one, "bob", "too small to read", 2, 2).state == "removed"
    assert state(store, "s1") == ("removed", "skipped", "")
    assert review.skip(store, two, "bob", "x", 3, 1).state == "done"  # it has a label, though fewer than wanted
    assert state(store, "s2") == ("done", "skipped", "")
    assert take(store, "cid") == []
    assert review.progress(store, "bob", 0, 10).skipped == 2
    undone = review.undo(store, "bob", 4, 100, LEASE)
    assert (undone.item.sample_id, undone.kind, undone.item.ended) == ("s2", "skip", "")
    assert review.undo(store, "bob", 5, 100, LEASE).item.sample_id == "s1"
    assert take(store, "bob", count=2, now_us=5) == ["s1", "s2"]
    assert check_audit(store)["skip"] == 3


def test_undo_gives_back_the_last_answer_within_its_time(store: Store) -> None:
    put(store, [item(n, n / 10) for n in (1, 2, 3)])
    for number in (1, 2):
        assert take(store, "ann", now_us=number) == [f"s{number}"]
        label(store, f"s{number}", "ann", WRONG, number)
    assert declined(lambda: review.undo(store, "bob", 3, 100, LEASE)) == "nothing"
    assert declined(lambda: review.undo(store, "ann", 200, 100, LEASE)) == "too_late"
    assert review.undo(store, "ann", 3, 100, LEASE).item.sample_id == "s2"
    assert review.undo(store, "ann", 3, 100, LEASE).item.sample_id == "s1"
    assert declined(lambda: review.undo(store, "ann", 3, 100, LEASE)) == "nothing"
    assert take(store, "ann", now_us=4, count=3) == ["s1", "s2", "s3"]
    assert take(store, "bob", now_us=4) == []
    assert label(store, "s1", "ann", CORRECT, 5) == "done"
    assert standing(store, "s1") == [("ann", "correct")]


def test_undo_does_not_take_an_item_from_who_has_it(store: Store) -> None:
    put(store, [item(1, wanted=2)])
    take(store, "ann")
    label(store, "s1", "ann")
    take(store, "bob")
    undone = review.undo(store, "ann", 1, 100, LEASE)
    assert (undone.leased, undone.item.leased_by, undone.item.labelled) == (False, "bob", 0)
    assert label(store, "s1", "bob") == "open"
    assert take(store, "ann") == ["s1"]


def test_what_was_removed_never_returns(store: Store) -> None:
    put(store, [item(1, 0.1), item(2, 0.2), item(3, 0.3)])
    take(store, "ann", count=2)
    label(store, "s1", "ann", now_us=1)
    for sample in ("s1", "s2", "s3"):
        assert review.remove(store, review.item_id(sample), "root", "a test upload", 2)
        assert not review.remove(store, review.item_id(sample), "root", "a test upload", 3)
    assert put(store, [item(n) for n in (1, 2, 3, 4)]) == 1
    assert declined(lambda: label(store, "s2", "ann")) == "removed"
    assert declined(lambda: review.undo(store, "ann", 4, 100, LEASE)) == "removed"
    assert take(store, "ann", count=9, now_us=5) == ["s4"]
    assert state(store, "s1") == ("removed", "removed", "")
    (row,) = [row for row in review.audit_of(store, review.item_id("s2")) if row.action == "remove"]
    assert (row.who, row.detail) == (
        "root",
        {"v": 1, "before": "leased", "after": "removed", "reason": "a test upload"},
    )


def test_items_expire_unless_somebody_has_them(store: Store) -> None:
    put(store, [item(1, 0.1), item(2, 0.2), item(3, 0.3, wanted=2)], expires_us=100)
    take(store, "ann", now_us=90, filters=Filters())
    take(store, "bob", now_us=90, count=2)
    label(store, "s3", "bob", now_us=91)
    assert review.release(store, review.item_id("s2"), "bob", 92)
    assert take(store, "cid", now_us=100) == []  # not yet expired by anybody, and not given out
    assert review.expire(store, 99) == 0
    assert review.expire(store, 100) == 2
    assert [state(store, sample)[:2] for sample in ("s1", "s2", "s3")] == [
        ("leased", ""),
        ("removed", "expired"),
        ("done", "expired"),
    ]
    assert review.expire(store, 90 + LEASE) == 1
    assert state(store, "s1") == ("removed", "expired", "")
    many = [item(n) for n in range(10, 1_260)]
    put(store, many, expires_us=100)
    assert review.expire(store, 100) == len(many)


def test_labels_from_elsewhere_join_by_event(store: Store) -> None:
    put(store, [item(1, 0.1), item(2, 0.2), item(3, 0.3), item(4, 0.4)])

    def bring(event: str, given: Label = WRONG, reviewer: str = "lab", **more: object) -> tuple[str, str]:
        found = review.import_label(store, event, reviewer, given, 5, **more)  # type: ignore[arg-type]
        return found.outcome, found.item_id

    one = review.item_id("s1")
    take(store, "ann", count=2)
    assert bring("e1") == ("labelled", one)
    assert state(store, "s1") == ("done", "", "ann")
    assert label(store, "s1", "ann", CORRECT) == "done"  # who was at it is not sent away
    assert standing(store, "s1") == [("lab", "wrong"), ("ann", "correct")]
    assert bring("e1") == ("repeated", one)
    assert bring("e1", UNSURE) == ("replaced", one)
    assert standing(store, "s1") == [("ann", "correct"), ("lab", "unsure")]
    assert bring("e3", request_id="r1", origin="kafka")[0] == "labelled"
    assert bring("e3", CORRECT, request_id="r1", origin="kafka")[0] == "repeated"
    # Gold: no answer of the queue's, finishes nothing.
    assert bring("e4", gold=True)[0] == "labelled"
    assert state(store, "s4") == ("open", "", "")
    assert take(store, "bob") == ["s4"]
    assert label(store, "s4", "bob", CORRECT) == "done"
    # Of an event that was not drawn.
    assert bring("e9") == ("kept", "")
    assert bring("e9") == ("repeated", "")
    assert bring("e9", CORRECT) == ("kept", "")
    review.remove(store, review.item_id("s2"), "root", "", 6)
    assert bring("e2") == ("kept", review.item_id("s2"))
    assert state(store, "s2")[0] == "removed"
    for event, words in (("", "1 to 300 characters, got 0"), ("e" * 301, "got 301"), ("e\x00", "without NUL")):
        with pytest.raises(ValueError, match=words):
            bring(event)
    for name, words in (("", "a reviewer's name"), ("x" * 101, "got 101"), ("\ud800", "surrogate")):
        with pytest.raises(ValueError, match=words):
            bring("e3", reviewer=name)
    with pytest.raises(ValueError, match="where a label comes from, got 'mail'"):
        bring("e3", CORRECT, origin="mail")
    with store.read() as connection:
        assert review.unmatched(connection) == 1
        found = {row.item_id: row for row in review.labelled(connection, "a", START, START + 1)}
    assert [verdict.gold for verdict in found[review.item_id("s4")].verdicts] == [True, False]
    check_audit(store)


def test_who_gave_a_gold_label_keeps_no_lease_and_others_see_nothing_of_it(store: Store) -> None:
    put(store, [item(1, 0.1, wanted=2), item(2, 0.2)])
    assert take(store, "expert") == ["s1"]
    done = review.label(store, review.item_id("s1"), "expert", WRONG, 1, gold=True)
    assert (done.state, state(store, "s1")) == ("open", ("open", "", ""))
    assert take(store, "expert") == ["s2"]
    assert declined(lambda: label(store, "s1", "expert")) == "not_leased"
    assert take(store, "ann") == ["s1"]
    assert review.label(store, review.item_id("s1"), "boss", WRONG, 1, gold=True).state == "leased"
    assert declined(lambda: review.label(store, review.item_id("s1"), "boss", WRONG, 1, gold=True)) == "answered"
    assert label(store, "s1", "ann", CORRECT) == "open"
    assert not review.undo(store, "expert", 2, 100, LEASE).leased
    assert standing(store, "s1") == [("boss", "wrong"), ("ann", "correct")]


def test_an_item_that_lost_its_lease_while_it_had_its_labels_is_done(store: Store) -> None:
    put(store, [item(1, 0.1), item(2, 0.2)])
    for sample, event in (("s1", "e1"), ("s2", "e2")):
        assert take(store, "ann", now_us=1) == [sample]
        review.import_label(store, event, "lab", WRONG, 2)
        label(store, sample, "ann", now_us=3)
        assert review.undo(store, "ann", 4, 100, LEASE).item.state == "leased"
        if sample == "s1":
            assert review.release(store, review.item_id(sample), "ann", 5)
            assert state(store, sample)[0] == "done"
    assert take(store, "bob", now_us=10 * LEASE) == []
    assert state(store, "s2")[0] == "done"


def test_what_estimators_get(store: Store) -> None:
    with store.write() as connection:
        items = [item(n, n / 10, segment="ab"[n % 2], day_us=START + n // 4 * DAY_US) for n in range(8)]
        sums = [PoolSums(s, START + d * DAY_US, of_samples(10)) for s in "ba" for d in (1, 0)]
        assert review.add(connection, items, sums, now_us=0, expires_us=10**15) == 8
    with store.write() as connection:  # the next tick
        more = [PoolSums("a", START, of_samples(5)), PoolSums("a", START, of_samples(1, certain=True))]
        assert review.add(connection, [item(0), item(8, segment="a")], more, now_us=0, expires_us=10**15) == 1
    take(store, "ann", count=3)
    label(store, "s0", "ann", UNSURE)
    review.skip(store, review.item_id("s1"), "ann", "", 1, 5)
    with store.read() as connection:
        whole = list(review.labelled(connection, None, 0, 10**18))
        for page in (1, 2, 9):
            assert list(review.labelled(connection, None, 0, 10**18, page=page)) == whole
        assert [row.segment for row in whole] == ["a"] * 5 + ["b"] * 4
        first_day = list(review.labelled(connection, "a", START, START + DAY_US))
        pools = review.pool_sums(connection, "a", START, START + DAY_US)
        counted = {(row.state, row.segment): row.items for row in review.counts(connection)}
    assert {row.item_id for row in first_day} == {review.item_id(f"s{n}") for n in (0, 2, 8)}
    unsure = next(row for row in first_day if row.verdicts)
    assert (unsure.unsure, unsure.state, unsure.pi_review, unsure.race, unsure.score) == (True, "done", 0.1, 0.0, 0.25)
    skipped = next(row for row in whole if row.item_id == review.item_id("s1"))
    assert (skipped.skips, skipped.verdicts, skipped.state) == (1, (), "open")
    (pool,) = pools
    whole_day = of_samples(10).merge(of_samples(5)).merge(of_samples(1, certain=True))
    assert (pool.segment, pool.day_us) == ("a", START)
    for name, value in whole_day.to_state().items():
        assert pool.sums.to_state()[name] == pytest.approx(value), name
    assert pool.sums.items.tolist() == [16]
    assert counted == {("done", "a"): 1, ("leased", "a"): 1, ("open", "a"): 3, ("open", "b"): 4}


def test_a_tick_that_is_rolled_back_adds_nothing(store: Store) -> None:
    with pytest.raises(ZeroDivisionError), store.write() as connection:
        review.add(connection, [item(1)], [PoolSums("a", START, of_samples(1))], now_us=0, expires_us=9)
        _ = 1 / 0
    with store.read() as connection:
        assert review.pool_sums(connection, None, 0, 10**18) == []
        assert review.find_item(connection, review.item_id("s1")) is None


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"pi_review": 0.0}, "pi_review must be a probability above 0, got 0.0"),
        ({"pi_sample": math.nan}, "pi_sample must be"),
        ({"race": 1.5}, "race must lie between 0 and 1, got 1.5"),
        ({"score": -0.1}, "score must lie"),
        ({"wanted": 0}, "must want a label"),
        ({"sample_id": ""}, "needs its sample's id"),
        ({"pool": "x" * 101}, "pool may have 100 characters, got 101"),
    ],
)
def test_an_item_that_cannot_be_says_why(facts: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        item(1, **facts)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("maybe",), "expected a verdict, got 'maybe'; write one of correct, wrong, unsure"),
        (("wrong", {}, "x" * 4001), "at most 4000 characters"),
        (("wrong", {"q": math.inf}), "the answer to 'q' must be"),
        (("wrong", {"q": "\ud800"}), "surrogates not allowed"),
        (("wrong", {"q": {"nested": 1}}), "the answer to 'q' must be"),
        (("wrong", {str(n): 1 for n in range(51)}), "at most 50 questions"),
    ],
)
def test_a_label_that_cannot_be_says_why(arguments: tuple[object, ...], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Label(*arguments)  # type: ignore[arg-type]


def test_labels_are_written_with_a_version_and_read_back() -> None:
    given = Label("wrong", {"which": ["total", "date"], "severity": 2, "legible": True}, "größer")
    assert Label.decode(given.encode()) == given
    assert given.encode().startswith('{"answers":') and '"v":1' in given.encode()
    for text in ("[]", '{"v":2,"verdict":"wrong"}', "{}"):
        with pytest.raises(ValueError, match="version"):
            Label.decode(text)
    with pytest.raises(ValueError, match="got those of 2"):
        PoolSums("a", 0, Pools.empty(2))


def test_a_request_id_is_for_one_action_on_one_item(store: Store) -> None:
    put(store, [item(n, n / 10) for n in range(3)])
    now = 1
    first, second = review.next_items(store, "ann", Filters(), now, LEASE, 2)
    review.label(store, first.item_id, "ann", CORRECT, now, request_id="r1")
    assert review.label(store, first.item_id, "ann", CORRECT, now, request_id="r1").repeated
    for call in (
        lambda: review.label(store, second.item_id, "ann", CORRECT, now, request_id="r1"),
        lambda: review.skip(store, second.item_id, "ann", "", now, 3, request_id="r1"),
        lambda: review.undo(store, "ann", now, 100, LEASE, request_id="r1"),
    ):
        with pytest.raises(ValueError, match="make a new one for each request"):
            call()
    assert state(store, "s0")[0] == "done"
    assert state(store, "s1")[0] == "leased"
    # Another reviewer's ids are his own.
    (other,) = review.next_items(store, "bob", Filters(), now, LEASE)
    assert not review.label(store, other.item_id, "bob", CORRECT, now, request_id="r1").repeated
