"""A table's rows hold what a plain loop over the events counts, byte-identical however the events were cut."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.summaries import EventColumns, Labelled, Ragged, Summary, SummaryTable, buckets
from detectors.summaries.metrics import LABEL_CAP, LINEAR_STEP, OTHER
from tests.summaries.events import VERDICTS, batch, cut, nothing

PLAIN = (
    "cost", "latency_first_token", "input_tokens", "output_tokens", "cached_input_tokens", "reasoning_tokens",
    "image_tokens", "audio_tokens", "concurrency", "input_bytes", "retries",
)  # fmt: skip


def states_of(rows: np.ndarray, cols: EventColumns, cuts: list[int], reload: bool) -> dict[int, bytes]:
    """Row states after batches cut at `cuts`; with `reload` the table is stored and loaded after each."""
    table = SummaryTable()
    edges = [0, *sorted(cuts), cols.n]
    for start, stop in pairwise(edges):
        table.update(rows[start:stop], cut(cols, start, stop))
        if reload:
            ids = table.row_ids()
            stored = dict(zip(ids, table.states(ids), strict=True))
            table = SummaryTable()
            for row in reversed(ids):
                table.load(row, stored[row])
    ids = table.row_ids()
    return dict(zip(ids, table.states(ids), strict=True))


@settings(max_examples=40)
@given(
    st.integers(0, 2**32),
    st.integers(1, 400),
    st.sampled_from([1, 5, 150]),
    st.sampled_from([1, 4, 40]),
    st.lists(st.integers(0, 400), max_size=6),
    st.booleans(),
)
def test_states_do_not_depend_on_how_events_were_cut(
    seed: int, n: int, n_rows: int, labels: int, cuts: list[int], reload: bool
) -> None:
    rng = np.random.default_rng(seed)
    cols = batch(rng, n, labels=labels, stages=min(labels + 1, 25))
    rows = rng.integers(0, n_rows, n) * 7 + 3
    whole = states_of(rows, cols, [], reload=False)
    assert states_of(rows, cols, [min(c, n) for c in cuts], reload) == whole
    for row, state in whole.items():
        assert Summary.from_state(state).to_state() == state
        assert Summary.from_state(state).events() == int((rows == row).sum())


def test_a_row_does_not_depend_on_the_other_rows() -> None:
    rng = np.random.default_rng(5)
    cols, rows = batch(rng, 3000, labels=30, stages=20), rng.integers(0, 90, 3000)
    together = states_of(rows, cols, [], reload=False)
    mine = np.flatnonzero(rows == 41)
    alone = SummaryTable()
    for i in mine.tolist():
        alone.update(rows[i : i + 1], cut(cols, i, i + 1))
    assert alone.state(41) == together[41]


def test_every_reading_agrees_with_a_plain_count() -> None:
    cols = batch(np.random.default_rng(3), 2500)
    table = SummaryTable()
    table.update(np.zeros(cols.n, np.int64), cols)
    s = table.summary(0)
    for thinned in (False, True):
        kept = cols.thinned if thinned else np.ones(cols.n, np.bool_)
        assert s.events(thinned) == kept.sum()
        for name in (*PLAIN, "context_used", "confidence"):
            column = getattr(cols, name)
            present = column[kept & (column >= 0)]
            h = s.histogram(name, thinned=thinned)
            assert (h.count, h.sum) == (present.size, present.sum())
            code = present // LINEAR_STEP if name in ("context_used", "confidence") else buckets.codes(present)
            assert h.counts.tolist() == [count for _, count in sorted(Counter(code.tolist()).items())]
        for name, late in (("latency_total", False), ("latency_timeout", True)):
            present = cols.latency_total[kept & (cols.latency_total >= 0) & (cols.latency_timeout == late)]
            assert (s.histogram(name, thinned=thinned).count, s.total(name, thinned=thinned).sum) == (
                present.size,
                present.sum(),
            )
        for name in VERDICTS:
            verdict = getattr(cols, name)[kept]
            rate = s.rate(name, thinned)
            assert (rate.hits, rate.trials) == ((verdict == 1).sum(), (verdict >= 0).sum())
        for metric, labelled in (("tier", cols.tier), ("error_type", cols.error_type)):
            expected = Counter(labelled.names[c] for c in labelled.codes[kept] if c >= 0)
            assert {label: total.count for label, total in s.labelled(metric, thinned).items()} == expected
        for field in ("input_tokens", "output_tokens", "cost"):
            column, expected = getattr(cols, field), Counter()
            for i in np.flatnonzero(kept & (cols.model.codes >= 0) & (column >= 0)).tolist():
                expected[cols.model.names[cols.model.codes[i]]] += int(column[i])
            found = s.labelled(f"model_{field}", thinned)
            assert {label: total.sum for label, total in found.items()} == expected
        stages, expected = cols.stages, Counter()
        for event, code, value in zip(stages.event, stages.code, stages.value, strict=True):
            if kept[event] and not cols.latency_timeout[event]:
                expected[stages.names[code]] += int(value)
        assert {label: t.sum for label, t in s.labelled("latency_stage", thinned).items()} == expected


def test_joint_summaries_agree_with_a_plain_count() -> None:
    cols = batch(np.random.default_rng(4), 1500)
    table = SummaryTable()
    table.update(np.zeros(cols.n, np.int64), cols)
    s = table.summary(0)
    code = {  # scale-3 code of the total latency, by event
        i: int(buckets.coarser(buckets.codes(cols.latency_total[i : i + 1]), 3)[0])
        for i in np.flatnonzero((cols.latency_total >= 0) & ~cols.latency_timeout).tolist()
    }
    joint = s.stage_by_latency()
    expected: Counter[tuple[int, str]] = Counter()
    for event, stage, value in zip(cols.stages.event, cols.stages.code, cols.stages.value, strict=True):
        if event in code:
            expected[int(buckets.largest(3)[code[event]]), cols.stages.names[stage]] += int(value)
    found = {
        (int(upper), stage): int(joint.sums[k, j])
        for k, upper in enumerate(joint.upper)
        for j, stage in enumerate(joint.stages)
        if joint.counts[k, j]
    }
    assert found == expected

    by_concurrency = s.latency_by_concurrency()
    both = [i for i in code if cols.concurrency[i] >= 0]
    assert sum(h.count for h in by_concurrency.values()) == len(both)
    for (low, high), h in by_concurrency.items():
        inside = [i for i in both if low <= cols.concurrency[i] <= high]
        assert (h.count, h.sum) == (len(inside), sum(int(cols.latency_total[i]) for i in inside))

    sizes = s.cost_by_input_size()
    for low, high, count, total in zip(sizes.lower, sizes.upper, sizes.counts, sizes.sums, strict=True):
        inside = (cols.input_bytes >= low) & (cols.input_bytes <= high) & (cols.cost >= 0)
        assert (count, total) == (inside.sum(), cols.cost[inside].sum())


def test_absent_is_never_zero() -> None:
    table = SummaryTable()
    table.update(np.zeros(50, np.int64), nothing(50))
    s = table.summary(0)
    assert s.events() == 50
    for name in (*PLAIN, "context_used", "confidence", "latency_total", "latency_timeout"):
        assert s.histogram(name).count == 0
        assert s.labels(name) == ()
    for name in VERDICTS:
        assert s.rate(name).trials == 0
    for name in ("tier", "error_type", "model_cost", "latency_stage"):
        assert s.labelled(name) == {}
    table.update(np.zeros(1, np.int64), replace(nothing(1), cost=np.zeros(1, np.int64)))
    h = table.summary(0).histogram("cost")
    assert (h.count, h.quantile(0.5)) == (1, 0.0)


def test_labels_beyond_the_cap_are_counted_as_other_in_offset_order() -> None:
    n = 60
    names = [f"e{i:02}" for i in reversed(range(n))]
    cols = replace(nothing(2 * n), error_type=Labelled(np.tile(np.arange(n, dtype=np.int32), 2), names))
    table = SummaryTable()
    for start in range(0, 2 * n, 7):
        stop = min(start + 7, 2 * n)
        table.update(np.zeros(stop - start, np.int64), cut(cols, start, stop))
    found = table.summary(0).labelled("error_type")
    assert set(found) == {*names[:LABEL_CAP], OTHER}
    assert all(found[name].count == 2 for name in names[:LABEL_CAP])
    assert found[OTHER].count == 2 * (n - LABEL_CAP)


def test_stage_named_other_is_the_fold_itself() -> None:
    entry = np.zeros(3, dtype=np.int32)
    stages = Ragged(np.arange(3, dtype=np.int32), entry, np.array([5, 6, 7]), [OTHER])
    table = SummaryTable()
    table.update(np.zeros(3, np.int64), replace(nothing(3), stages=stages))
    assert table.summary(0).histogram("latency_stage", OTHER).sum == 18


def test_hostile_values_and_names_stay_in_their_place() -> None:
    names = ["a" * 300, "a" * 200, "\ud800", "", "b"]
    cols = replace(
        nothing(5),
        tier=Labelled(np.arange(5, dtype=np.int32), names),
        context_used=np.array([0, 2_000_000, 2**62, 1, 2]),
        cost=np.full(5, 2**62),
        user=np.full(5, 7, dtype=np.uint64),
        concurrency=np.full(5, 2**62),
        latency_total=np.full(5, 2**62),
        input_bytes=np.full(5, 2**62),
    )
    table = SummaryTable()
    table.update(np.zeros(5, np.int64), cols)
    s = Summary.from_state(table.state(0))
    assert {name: t.count for name, t in s.labelled("tier").items()} == {"": 1, "?": 1, "a" * 200: 2, "b": 1}
    assert s.histogram("context_used").count == 5
    assert s.events() == 5
    assert s.heavy_hitters("spend")[0].low == s.total("cost").sum == 5 * buckets.MAX_VALUE
    assert [h.sum for h in s.latency_by_concurrency().values()] == [5 * buckets.MAX_VALUE]


def test_rows_are_dropped_and_their_slots_used_again() -> None:
    rng = np.random.default_rng(8)
    table = SummaryTable()
    for window in range(6):
        rows = window * 100 + rng.integers(0, 100, 4000)
        cols = batch(rng, 4000, labels=25)
        table.update(rows, cols)
        alone = SummaryTable()
        alone.update(rows, cols)
        assert table.states(alone.row_ids()) == alone.states(alone.row_ids())
        assert table.events(window * 100 + 5) == int((rows == window * 100 + 5).sum())
        table.drop(range(window * 100, window * 100 + 100))
        assert len(table) == 0
        assert table.events(window * 100 + 5) == 0


def test_misuse_is_explained() -> None:
    table = SummaryTable()
    with pytest.raises(ValueError, match="one row id per event"):
        table.update(np.zeros(3, np.int64), nothing(2))
    with pytest.raises(KeyError, match="row 9 is not open"):
        table.state(9)
    table.update(np.zeros(1, np.int64), nothing(1))
    with pytest.raises(ValueError, match="open already"):
        table.load(0, table.state(0))
    with pytest.raises(ValueError, match=r"read it with \.rate"):
        table.summary(0).histogram("error")
    with pytest.raises(KeyError, match="unknown metric 'speed'"):
        table.summary(0).rate("speed")
