"""The streams' arrays: growing, dropping, and the bytes they are kept as."""

from __future__ import annotations

import numpy as np

from detectors.drift import EmbeddingReference
from detectors.evidence.packing import pack, unpack
from detectors.rates import RateReference, VolumeReference
from detectors.summaries.metrics import METRICS
from monitor.evaluate.bank import _PER_STREAM, StreamBank
from monitor.evaluate.cells import Cells, Decoder, added_runs
from monitor.evaluate.counts import CountPlan
from monitor.evaluate.references import FittedStream, Reference
from monitor.evaluate.streams import spec_of

TICK = 300_000_000
HOUR = 3_600_000_000


def reference(segment: str, seed: int) -> Reference:
    rng = np.random.default_rng(seed)
    hours = np.arange(14 * 24)
    trials = rng.poisson(50, hours.size)
    rate = RateReference.fit(rng.binomial(trials, 0.02), trials, day=hours // 24, hour_of_week=hours % 168)
    volume = VolumeReference.fit(trials, hours % 168, hours // 24)
    found = Reference(segment, "r", 0, 14 * 24 * HOUR)
    for signal, fit in (("error_rate", rate), ("refusal_rate", rate), ("volume", volume)):
        found.streams[signal] = FittedStream(spec_of(signal), fit)
    return found


def run(bank: StreamBank, ticks: int, rng: np.random.Generator, first: int = 1) -> None:
    n, hourly = len(bank), np.array([stream.hourly for stream in bank.streams])
    bank.share[:] = 1e-12
    for t in range(first, first + ticks):
        trials = rng.poisson(5, (1, n)) * (rng.random(n) < 0.7) * ~hourly
        hits = rng.binomial(trials, 0.1)
        bank.remember(t * TICK, hits[0], trials[0])
        bank.step(bank.tick_bets(hits, trials, np.zeros(1, dtype=np.int64))[0], trials[0] > 0, t * TICK)
    for i, stream in enumerate(bank.streams):
        if stream.hourly:
            bank.remember_look(i, HOUR, np.full(8, 0.5), 40)


def everything(bank: StreamBank) -> dict[str, np.ndarray]:
    found = {name: np.array(getattr(bank, name)) for name in _PER_STREAM}
    return {**found, "evidence": bank.sr.value, "recovery": bank.recovery.sums}


def test_states_give_back_what_they_were_made_of() -> None:
    first, second = StreamBank(TICK), StreamBank(TICK)
    for bank in (first, second):
        for i in range(3):
            bank.add_reference(reference(f"s{i}", i), f"ref{i}", "default", "page", 0)
    run(first, 30, np.random.default_rng(1))
    first.hits[0, 5], first.trials[0, 5] = 70_000, 90_000  # more than two bytes hold
    first.open(1, 30 * TICK, 10 * TICK)
    for i, state in enumerate(first.to_states()):
        assert second.from_state(i, state)
    before, after = everything(first), everything(second)
    for name, values in before.items():
        np.testing.assert_array_equal(values, after[name], err_msg=name)
    assert first.to_states() == second.to_states()
    assert second.sr.suspended.tolist() == first.sr.suspended.tolist()


def test_one_evidence_is_kept_alike_alone_and_together() -> None:
    bank = StreamBank(TICK)
    bank.add_reference(reference("s", 1), "ref", "default", "page", 0)
    run(bank, 10, np.random.default_rng(1))
    assert bank.sr.to_states() == [bank.sr.to_state(i) for i in range(len(bank))]


def test_counts_take_as_few_bytes_as_hold_them() -> None:
    bank = StreamBank(TICK)
    bank.add_reference(reference("s", 1), "ref", "default", "page", 0)
    run(bank, 200, np.random.default_rng(1))
    _, arrays = unpack("stream", bank.to_states()[0])
    assert arrays["trials"].dtype.itemsize == arrays["hits"].dtype.itemsize == 1
    assert arrays["at"].dtype.itemsize <= 2


def test_streams_that_come_later_leave_the_others_as_they_are() -> None:
    """Segment by segment, with ticks between, as all at once; and what one dropped left is not seen again."""
    bank = StreamBank(TICK)
    for i in range(4):
        bank.add_reference(reference(f"s{i}", i), f"ref{i}", "default", "page", 0)
    run(bank, 20, np.random.default_rng(2))
    before = everything(bank)
    for i in range(4, 30):
        bank.add_reference(reference(f"s{i}", i), f"ref{i}", "default", "page", 7)
    after = everything(bank)
    for name, values in before.items():
        np.testing.assert_array_equal(values, after[name][: values.shape[0]], err_msg=name)
    assert (after["trials"][12:] == 0).all()
    assert (after["floor"][12:] == 7).all()
    gone = bank.drop_segment("default", "s0")
    assert len(gone) == 3
    np.testing.assert_array_equal(everything(bank)["trials"][:9], before["trials"][3:12])
    bank.add_reference(reference("s0", 0), "ref0", "default", "page", 9)
    assert (bank.trials[-3:] == 0).all()
    run(bank, 2, np.random.default_rng(3), 21)  # every array has a row per stream


def test_a_heading_is_kept_with_its_stream() -> None:
    rng = np.random.default_rng(3)
    rows = rng.normal(size=(600, 12))
    embedding = EmbeddingReference.fit(rows[::2], rows[1::2], rng=rng)
    with_inputs = reference("s0", 0)
    with_inputs.streams["image_drift"] = FittedStream(spec_of("image_drift"), embedding)
    first, second, before = StreamBank(TICK), StreamBank(TICK), StreamBank(TICK)
    for bank in (first, second, before):
        bank.add_reference(with_inputs, "ref", "default", "page", 0)
    i = first.index["default", "s0", "image_drift"]
    heading = first.streams[i].heading
    assert heading is not None
    for _ in range(3):
        embedding.log_bets(rng.normal(size=(30, 12)) + 0.3, heading)
    (state,) = [state for k, state in enumerate(first.to_states()) if k == i]
    assert second.from_state(i, state)
    again = second.streams[i].heading
    assert again is not None and again.rows[0] > 60
    np.testing.assert_array_equal(again.to_state(), heading.to_state())
    assert second.to_states()[i] == state
    # A state from before headings were kept: the stream goes on from none.
    scalars, arrays = unpack("stream", state)
    del arrays["heading"]
    assert before.from_state(i, pack("stream", scalars, arrays))
    none = before.streams[i].heading
    assert none is not None and not none.rows.any()


def test_a_new_reference_with_as_many_streams_is_counted_in_its_own_place() -> None:
    """The streams of a replaced reference come last: what was where before is no longer there."""
    bank, decoder = StreamBank(TICK), Decoder()
    codes = [decoder.segments.code(f"s{i}") for i in range(3)]
    for i in range(3):
        bank.add_reference(reference(f"s{i}", i), f"ref{i}", "default", "page", 0)
    plan = CountPlan(bank, decoder)
    assert plan.fits(bank, decoder)
    bank.drop_segment("default", "s0")
    bank.add_reference(reference("s0", 9), "another", "default", "page", 0)
    assert not plan.fits(bank, decoder)
    one = np.ones(1, dtype=np.int64)
    errors = [
        Cells(0 * one, code * one, METRICS["error"].id * one, 0 * one, 0 * one, (10 + k) * one, one)
        for k, code in enumerate(codes)
    ]
    _, trials = CountPlan(bank, decoder).count(added_runs(errors), 0, TICK, 1)
    found = {
        stream.segment: int(trials[0, i]) for i, stream in enumerate(bank.streams) if stream.signal == "error_rate"
    }
    assert found == {"s0": 10, "s1": 11, "s2": 12}
