"""Calibration as a stream: found where confidence means something else, silent where it does not, each label once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np
import pytest
from sqlalchemy import select, update

from monitor.budget import read_budget
from monitor.evaluate.bank import StreamBank
from monitor.evaluate.calibration import CalibrationFit
from monitor.evaluate.changes import changes
from monitor.evaluate.references import Reference
from monitor.evaluate.status import streams
from monitor.evaluate.worker import EvaluateWorker
from monitor.store import references, review
from monitor.store.anomalies import AnomalyRow
from monitor.store.engine import Store, open_store
from monitor.store.review import Filters, Label
from monitor.store.tables import labels, review_items, stream_states
from tests.evaluate.labelled_traffic import write_labels
from tests.evaluate.test_worker import config, evaluate, everything, opened
from tests.evaluate.traffic import DAY_US, HOUR_US, START_US, Segment, set_watermark, write

INVOICES = Segment("invoices", 8.0, confident=True)
NO_DRAW = {"review": {"labels": 0}}
CHANGE = START_US + 20 * DAY_US


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    found = open_store(store_url)
    yield found
    found.close()


def calibrated(store: Store, segment: str = "invoices") -> list[CalibrationFit | None]:
    """Of each version of a segment's reference its fit of calibration."""
    found = []
    for row in references.list_references(store, segment):
        stream = Reference.from_content(row.content).streams.get("calibration")
        assert stream is None or isinstance(stream.fit, CalibrationFit)
        found.append(None if stream is None else stream.fit)
    return found


def found_of(store: Store) -> list[AnomalyRow]:
    """Anomalies of calibration; other signals of so little traffic may spend their own part of the budget."""
    return [row for row in opened(store) if row.signal == "calibration"]


def taken(store: Store) -> dict[str, bool]:
    with store.read() as connection:
        return {row.item_id: row.bet for row in connection.execute(select(review_items))}


def evidence_of(store: Store) -> bytes | None:
    with store.read() as connection:
        query = select(stream_states.c.state).where(stream_states.c.signal == "calibration")
        return connection.execute(query).scalar()


def test_many_weeks_without_a_change_raise_nothing(sqlite: Store) -> None:
    end = write(sqlite, [INVOICES], days=70)
    write_labels(sqlite, "invoices", START_US, 70, overlap=0.2)
    evaluate(sqlite, config(**NO_DRAW), end)
    assert found_of(sqlite) == []
    fits = calibrated(sqlite)
    # Learned with the first one that has the labels, and again as references grow.
    assert fits[-1] is not None
    assert fits[-1].labels >= 280
    assert all(later is not None for later in fits[next(i for i, fit in enumerate(fits) if fit) :])
    assert all(taken(sqlite).values())
    assert evidence_of(sqlite) is not None


def test_errors_with_the_same_confidence_are_found_and_told(store: Store) -> None:
    end = write(store, [INVOICES, Segment("receipts", 8.0, confident=True)], days=35)
    write_labels(store, "invoices", START_US, 20, per_day=60)
    late = write_labels(store, "invoices", CHANGE, 15, per_day=60, odds=6.0)
    write_labels(store, "receipts", START_US, 35, per_day=60)
    evaluate(store, config(**NO_DRAW), end)
    (row,) = found_of(store)
    assert (row.segment, row.signal, row.state) == ("invoices", "calibration", "open")
    assert CHANGE < row.opened_us <= CHANGE + 5 * DAY_US
    document = row.document
    (fact,) = document["facts"]
    assert fact["detector"] == "calibration"
    # By the events' times, however late their labels were.
    assert document["since"]["low"] <= CHANGE + 3 * DAY_US
    assert document["since"]["high"] >= CHANGE - 3 * DAY_US
    effect = fact["effect"]
    assert effect["unit"] == "share"
    assert effect["low"] > effect["baseline"]
    assert effect["low"] <= effect["value"] <= effect["high"]
    text = document["explanation"]["sentence"]
    assert text.startswith("Confidence means less than it did in invoices: of answers with a confidence of about 0.9")
    assert " labels), " in text
    assert " by the reference, since 2026-01-" in text
    shown = [entry["sample_id"] for entry in document["explanation"]["exemplars"]]
    assert shown
    assert {review.item_id(sample) for sample in shown} <= set(late)
    status = {(s.segment, s.signal): s.status for s in streams(store)}
    assert status["invoices", "calibration"] == "open"
    assert status["receipts", "calibration"] == "ok"


def test_a_better_model_is_told_as_such_and_what_is_over_resolves(sqlite: Store) -> None:
    end = write(sqlite, [INVOICES], days=46)
    write_labels(sqlite, "invoices", START_US, 20, per_day=60, odds=4.0)
    write_labels(sqlite, "invoices", CHANGE, 12, per_day=60, odds=0.3)
    write_labels(sqlite, "invoices", CHANGE + 12 * DAY_US, 14, per_day=60, odds=4.0)
    evaluate(sqlite, config(**NO_DRAW), end)
    (row,) = found_of(sqlite)
    assert row.signal == "calibration"
    assert "Confidence means more than it did in invoices" in row.document["facts"][0]["sentence"]
    assert row.state == "resolved"
    assert CHANGE + 12 * DAY_US < row.resolved_us < CHANGE + 26 * DAY_US  # type: ignore[operator]


def test_labels_that_come_later_join_the_reference_that_is_in_use(sqlite: Store) -> None:
    settings = config(**NO_DRAW, reference={"grow": False})
    end = write(sqlite, [INVOICES], days=16)
    set_watermark(sqlite, START_US + 10 * DAY_US)
    ids = write_labels(sqlite, "invoices", START_US, 16, answered=False)
    evaluate(sqlite, settings, end)
    assert calibrated(sqlite) == [None]
    answer(sqlite, ids)
    set_watermark(sqlite, end)
    evaluate(sqlite, settings, end)
    first, second = references.list_references(sqlite, "invoices")
    assert (first.state, second.state) == ("retired", "active")
    assert (second.from_us, second.to_us, second.origin) == (first.from_us, first.to_us, "learned")
    old, new = Reference.from_content(first.content), Reference.from_content(second.content)
    assert set(new.streams) - set(old.streams) == {"calibration"}
    for signal, stream in old.streams.items():
        again = new.streams[signal]
        assert (again.threshold, again.fit.to_state()) == (stream.threshold, stream.fit.to_state())
    fit = calibrated(sqlite)[1]
    assert fit is not None
    # Within the day; of labels of events until then.
    assert START_US + 10 * DAY_US <= fit.until_us <= START_US + 11 * DAY_US
    assert fit.labels > 190
    with sqlite.read() as connection:
        rows = connection.execute(select(review_items.c.time_us, review_items.c.bet)).all()
    assert {bet for _, bet in rows} == {True}  # those before it without a bet


def answer(store: Store, ids: list[str], wrong: float = 0.08) -> None:
    """Have ann answer items through the queue, of which a share is wrong by their ids."""
    now = START_US
    while leased := review.next_items(store, "ann", Filters(), now, DAY_US, count=20):
        for item in leased:
            bad = int(item.item_id[:4], 16) < wrong * 65_536
            review.label(store, item.item_id, "ann", Label("wrong" if bad else "correct"), now)
            now += 1
    assert len(ids) == now - START_US


def test_without_automatic_activation_it_waits_for_approval(sqlite: Store) -> None:
    settings = config(**NO_DRAW, reference={"auto_activate": False})
    end = write(sqlite, [INVOICES], days=22)
    worker = EvaluateWorker(sqlite, settings, clock=lambda: end / 1e6)
    set_watermark(sqlite, START_US + 8 * DAY_US)
    worker.drain()
    (draft,) = references.list_references(sqlite, "invoices")
    references.approve(sqlite, draft.reference_id)
    references.activate(sqlite, draft.reference_id)
    write_labels(sqlite, "invoices", START_US, 22)
    set_watermark(sqlite, end)
    worker.drain()
    first, second = references.list_references(sqlite, "invoices")  # one draft, however many days it waits
    assert (first.state, second.state) == ("active", "draft")
    assert not any(taken(sqlite).values())
    references.approve(sqlite, second.reference_id)
    references.activate(sqlite, second.reference_id)
    write(sqlite, [INVOICES], days=2, start_us=end)
    write_labels(sqlite, "invoices", end, 2)
    worker.drain()
    worker.close()
    assert {s.signal: s.status for s in streams(sqlite)}["calibration"] == "ok"
    assert all(taken(sqlite).values())


@pytest.mark.parametrize("batch_us", [5 * 60_000_000, 7 * HOUR_US])
def test_batches_and_restarts_give_the_same_evidence(store_url: str, tmp_path: Any, batch_us: int) -> None:
    whole, parts = open_store(f"sqlite:///{tmp_path / 'whole.db'}"), open_store(store_url)
    settings = config(**NO_DRAW, reference={"learn": "3d"}, evaluation={"min_history": "3d"})
    for store in (whole, parts):
        end = write(store, [INVOICES], days=6 if batch_us < HOUR_US else 9)
        write_labels(store, "invoices", START_US, 4, per_day=150)
        write_labels(store, "invoices", START_US + 4 * DAY_US, 5, per_day=150, odds=8.0)
    evaluate(whole, settings, end, batch_us=40 * DAY_US)
    set_watermark(parts, START_US + 4 * DAY_US)
    evaluate(parts, settings, end, holder="same")
    set_watermark(parts, end)
    while True:
        worker = EvaluateWorker(parts, settings, clock=lambda: end / 1e6, holder="same", batch_us=batch_us)
        worked = [worker.step() for _ in range(50)]  # dropped without a word, as by SIGKILL
        if not worked[-1]:
            break
    assert found_of(whole)
    assert everything(whole) == everything(parts)
    whole.close()
    parts.close()


def test_a_batch_that_is_not_written_takes_nothing(sqlite: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    end = write(sqlite, [INVOICES], days=20)
    write_labels(sqlite, "invoices", START_US, 20)
    set_watermark(sqlite, START_US + 10 * DAY_US)
    evaluate(sqlite, config(**NO_DRAW), end)
    before = (taken(sqlite), evidence_of(sqlite))
    set_watermark(sqlite, end)
    real = review.mark

    def dies(connection: Any, ids: Any) -> None:
        real(connection, ids)
        raise KeyboardInterrupt

    monkeypatch.setattr(review, "mark", dies)
    with pytest.raises(KeyboardInterrupt):
        evaluate(sqlite, config(**NO_DRAW), end)
    assert (taken(sqlite), evidence_of(sqlite)) == before


def test_an_item_that_is_undone_and_labelled_again_counts_once(store: Store) -> None:
    settings = config(**NO_DRAW)
    end = write(store, [INVOICES], days=14)
    write_labels(store, "invoices", START_US, 10)
    waiting = write_labels(store, "invoices", START_US + 10 * DAY_US, 1, per_day=3, answered=False)
    at = START_US + 12 * DAY_US
    set_watermark(store, at)
    evaluate(store, settings, end)
    leased = review.next_items(store, "ann", Filters(), at, DAY_US, count=3)
    assert {item.item_id for item in leased} == set(waiting)
    for item in leased:
        review.label(store, item.item_id, "ann", Label("wrong"), at)
    set_watermark(store, at + 2 * HOUR_US)
    worker = EvaluateWorker(store, settings, clock=lambda: end / 1e6)
    worker.drain()
    assert all(taken(store)[item] for item in waiting)
    before = value(worker)
    assert before > 0
    review.undo(store, "ann", at + 1, DAY_US, HOUR_US)
    item = find(store, waiting)
    assert item is not None
    review.label(store, item.item_id, "ann", Label("wrong"), at + 2)
    set_watermark(store, end)
    worker.drain()
    # Nothing but two days of funding, saved for the next look.
    assert value(worker) == before
    worker.close()


def find(store: Store, ids: list[str]) -> Any:
    with store.read() as connection:
        found = [review.find_item(connection, identity) for identity in ids]
    return next((item for item in found if item is not None and item.state != "done"), None)


def value(worker: EvaluateWorker) -> float:
    session = worker._session
    assert session is not None
    return float(session.bank.sr.value[session.bank.index["default", "invoices", "calibration"]])


def test_what_is_gold_unsure_unanswered_or_without_a_confidence_is_no_bet(store: Store) -> None:
    ids = write_labels(store, "invoices", START_US, 2, per_day=6, verdicts=["wrong", "unsure", "correct"])
    with store.write() as connection:
        connection.execute(update(labels).where(labels.c.item_id == ids[0]).values(gold=True))
        connection.execute(update(labels).where(labels.c.item_id == ids[2]).values(undone=True))
        connection.execute(update(review_items).where(review_items.c.item_id == ids[3]).values(state="removed"))
        connection.execute(update(review_items).where(review_items.c.item_id == ids[5]).values(state="open"))
    found = {answer.item_id: answer.wrong for answer in review.to_bet(store, ["invoices", "none"], 2**60)}
    assert found == {
        ids[0]: None, ids[1]: None, ids[2]: None, ids[4]: None, ids[6]: 1.0, ids[7]: None, ids[8]: 0.0,
        ids[9]: 1.0, ids[10]: None, ids[11]: 0.0,
    }  # fmt: skip
    assert review.count_to_bet(store, ["invoices", "none"]) == {"invoices": 10}
    assert review.to_bet(store, ["invoices"], START_US) == []
    with store.write() as connection:
        review.mark(connection, ids[6:8])
    assert {answer.item_id for answer in review.to_bet(store, ["invoices"], 2**60)} == set(found) - set(ids[6:8])
    assert len(review.answered(store, ["invoices"], START_US, START_US + 2 * DAY_US)) == 10
    assert len(review.answered(store, ["invoices"], START_US, START_US + 2 * DAY_US, most=4)) == 4


def test_two_reviewers_that_differ_are_half_a_wrong_answer(sqlite: Store) -> None:
    (identity,) = write_labels(sqlite, "invoices", START_US, 1, per_day=1, verdicts=["wrong"])
    with sqlite.write() as connection:
        row = dict(connection.execute(select(labels)).mappings().one())
        row |= {"id": 99, "reviewer": "bob", "label": Label("correct").encode()}
        connection.execute(labels.insert(), [row])
    (answer_,) = review.to_bet(sqlite, ["invoices"], 2**60)
    assert (answer_.item_id, answer_.wrong) == (identity, 0.5)


def test_too_few_right_or_wrong_are_no_reference(sqlite: Store) -> None:
    end = write(sqlite, [INVOICES, Segment("silent", 8.0)], days=12)
    write_labels(sqlite, "invoices", START_US, 12, per_day=30, verdicts=["correct"] * 59 + ["wrong"])
    write_labels(sqlite, "silent", START_US, 12, per_day=30)  # whose summaries state no confidence
    evaluate(sqlite, config(**NO_DRAW), end)
    assert calibrated(sqlite) == [None]
    assert calibrated(sqlite, "silent") == [None]
    assert not any(taken(sqlite).values())


def test_a_reference_built_by_hand_has_it_and_slices_do_not(sqlite: Store) -> None:
    from monitor.evaluate.building import build, differences

    end = write(sqlite, [INVOICES], days=12)
    evaluate(sqlite, config(**NO_DRAW), end)
    write_labels(sqlite, "invoices", START_US, 12, per_day=30)
    (built,) = build(sqlite, config(), START_US, end, "invoices")
    fit = built.reference.streams["calibration"].fit
    assert isinstance(fit, CalibrationFit)
    assert (fit.from_us, fit.until_us, fit.labels) == (START_US, end, 360)
    before, after = references.list_references(sqlite, "invoices")
    assert "calibration is measured now." in differences(before, after, "USD")


def test_the_fit_comes_back_and_another_versions_is_refused() -> None:
    state = json.loads(json.dumps(FIT.to_state()))
    again = CalibrationFit.from_state(msgspec.msgpack.decode(msgspec.msgpack.encode(state)))
    assert again.to_state() == FIT.to_state()
    with pytest.raises(ValueError, match="format 9"):
        CalibrationFit.from_state({**state, "format": 9})


def test_changes_of_a_past_period_are_judged_by_the_hours_events(sqlite: Store) -> None:
    end = write(sqlite, [INVOICES], days=32)
    write_labels(sqlite, "invoices", START_US, 20, per_day=60)
    write_labels(sqlite, "invoices", CHANGE, 12, per_day=60, odds=8.0)
    evaluate(sqlite, config(**NO_DRAW), end)
    before = taken(sqlite)
    found = changes(sqlite, config(**NO_DRAW), CHANGE - 5 * DAY_US, end, 0.1)
    (change,) = [one for one in found.changes if one.signal == "calibration"]
    assert change.sentence.startswith("Confidence means less")
    assert change.anomaly == found_of(sqlite)[0].anomaly_id
    assert taken(sqlite) == before


def test_the_budget_says_what_it_would_find(sqlite: Store) -> None:
    end = write(sqlite, [INVOICES], days=16)
    write_labels(sqlite, "invoices", START_US, 16, per_day=100)
    evaluate(sqlite, config(**NO_DRAW), end)
    (told,) = [one for one in read_budget(sqlite, config()).streams if one.signal == "calibration"]
    assert told.sessions_per_hour == pytest.approx(100 / 24, rel=0.25)
    assert told.detects[0].change.startswith("a rise of the share of wrong answers at the same confidence from ")
    assert told.detects[0].hours is not None


# -- the budget ---------------------------------------------------------------------------------------------


def test_what_is_saved_for_a_look_was_funded_and_nothing_more(sqlite: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Labels on two days a week: all that all streams are funded with stays within the allowance, and the stream of
    calibration gets what its share was, hour for hour."""
    end = write(sqlite, [INVOICES], days=36)
    write_labels(sqlite, "invoices", START_US, 14)
    for day in (16, 19, 23, 26, 30, 33):
        write_labels(sqlite, "invoices", START_US + day * DAY_US, 1)
    spent: list[tuple[int, float, float, float, bool]] = []
    real = StreamBank.step

    def step(bank: StreamBank, logs: Any, looking: Any, end_us: int) -> Any:
        i = bank.index.get(("default", "invoices", "calibration"))
        share = 0.0 if i is None else float(bank.share[i])
        given: list[Any] = []
        with monkeypatch.context() as patch:
            step_ = bank.sr.step
            patch.setattr(bank.sr, "step", lambda log, fund, bets=None: given.append(fund) or step_(log, fund, bets))
            found = real(bank, logs, looking, end_us)
        mine = 0.0 if i is None else float(given[0][i])
        spent.append((end_us, float(given[0].sum()), mine, share * bank.tick_us, i is not None and bool(looking[i])))
        return found

    monkeypatch.setattr(StreamBank, "step", step)
    settings = config(**NO_DRAW, reference={"grow": False})
    evaluate(sqlite, settings, end)
    allowance = 2.0 / (7 * DAY_US)  # tickets
    total = sum(row[1] for row in spent)
    assert 0 < total <= allowance * (end - START_US)
    looks = [k for k, row in enumerate(spent) if row[4]]
    assert len(looks) > 60
    mine = sum(row[2] for row in spent)
    assert mine == pytest.approx(sum(row[3] for row in spent[: looks[-1] + 1]), rel=1e-9)
    assert all(row[2] == 0 for k, row in enumerate(spent) if k not in set(looks))
    # It counts as present for a week without labels, so that no day of reviewers' work is unfunded.
    gap = [spent[b][0] - spent[a][0] for a, b in pairwise(looks)]
    assert max(gap) > 2 * DAY_US
    assert all(spent[k][2] > 0 for k in looks)


FIT = CalibrationFit.from_state(
    {
        "format": 1,
        "reference": {
            "format": 1, "kind": "calibration-reference", "greatest_weight": 20.0, "margin": float(np.log(1.5)),
            "map": {"format": 1, "kind": "platt", "intercept": 0.1, "slope": 0.9, "covariance": [0.1, 0.0, 0.1]},
        },
        "from_us": 0, "until_us": DAY_US, "labels": 200, "wrong": 14.5, "limits": [0.03, 0.07, 0.12],
        "shares": [0.25] * 8 + [1.0] * 8,
    }
)  # fmt: skip
