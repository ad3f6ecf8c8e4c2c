"""Merging adds, in any order and grouping; stored rows are read back exactly, or refused with a reason."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.summaries import Selection, StateError, Summary, SummaryTable
from detectors.summaries.metrics import MERGED_LABEL_CAP, METRICS, OTHER
from tests.summaries.events import batch, of_costs

STORED = (
    "010200040000000000000000000100000011004000030000000203010058fa000104010000590000"
    "67000003000000000000000000000000000000000000000000000000000000000000000000000000"
    "000000001dc7e559"
)


def summaries(seed: int, count: int, labels: int) -> list[Summary]:
    rng = np.random.default_rng(seed)
    table = SummaryTable()
    for row in range(count):
        n = int(rng.integers(1, 60))
        table.update(np.full(n, row), batch(rng, n, labels=labels, stages=int(rng.integers(1, 6))))
    return [table.summary(row) for row in range(count)]


@given(st.integers(0, 2**32), st.sampled_from([1, 3, 60]))
def test_merge_is_associative_and_commutative(seed: int, labels: int) -> None:
    a, b, c = summaries(seed, 3, labels)
    assert a.merge(b).to_state() == b.merge(a).to_state()
    assert a.merge(b).merge(c).to_state() == a.merge(b.merge(c)).to_state()
    assert Summary().merge(a).to_state() == a.to_state()


@settings(max_examples=25)
@given(st.integers(0, 2**32), st.integers(2, 12), st.sampled_from([2, 60]), st.randoms(use_true_random=False))
def test_any_tree_of_merges_gives_the_same_bytes(seed: int, count: int, labels: int, random: object) -> None:
    parts = summaries(seed, count, labels)
    flat = Summary.merge_all([part.to_state() for part in parts]).to_state()
    left = list(parts)
    while len(left) > 1:
        random.shuffle(left)  # type: ignore[attr-defined]
        left = [left[0].merge(left[1]), *left[2:]]
    assert left[0].to_state() == flat


@settings(max_examples=25)
@given(st.integers(0, 2**32))
def test_rows_of_one_table_merge_to_the_row_of_all(seed: int) -> None:
    """Summarising together or apart is the same, while labels stay below the cap."""
    rng = np.random.default_rng(seed)
    cols = batch(rng, 300, labels=6)
    apart, together = SummaryTable(), SummaryTable()
    apart.update(rng.integers(0, 9, 300), cols)
    together.update(np.zeros(300, np.int64), cols)
    assert Summary.merge_all(apart.states(apart.row_ids())).to_state() == together.state(0)


def test_merged_labels_beyond_the_cap_are_folded() -> None:
    merged = Summary.merge_all(summaries(1, 40, 200))
    found = merged.labelled("model_cost")
    assert OTHER in found
    assert len(found) <= MERGED_LABEL_CAP + 1
    assert sum(t.sum for t in found.values()) == sum(
        t.sum for part in summaries(1, 40, 200) for t in part.labelled("model_cost").values()
    )


def test_more_rows_than_are_read_at_once() -> None:
    table = SummaryTable()
    table.update(np.arange(700), of_costs(np.arange(700)))
    merged = Summary.merge_all(table.states(table.row_ids()))
    assert (merged.events(), merged.total("cost").sum) == (700, 699 * 350)


@settings(max_examples=25)
@given(st.integers(0, 2**32), st.lists(st.integers(0, 5), max_size=8), st.sampled_from([2, 60]))
def test_groups_merge_as_each_alone(seed: int, sizes: list[int], labels: int) -> None:
    states = [part.to_state() for part in summaries(seed, sum(sizes), labels)]
    groups = [[states.pop() for _ in range(size)] for size in sizes]
    expected = [Summary.merge_all(group).to_state() for group in groups]
    assert [merged.to_state() for merged in Summary.merge_groups(groups)] == expected


SELECTIONS = (
    Selection(frozenset({"cost"}), thinned=False, users=False),  # few of the cells: they are read alone
    Selection(frozenset({"events", "latency_stage", "error"})),
    Selection(frozenset(METRICS) - {"retries", "latency_by_concurrency"}, thinned=False),  # most of them
)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 12), st.sampled_from([2, 60]), st.sampled_from(SELECTIONS))
def test_a_selection_says_of_its_metrics_what_merging_every_row_says(
    seed: int, count: int, labels: int, selection: Selection
) -> None:
    parts = summaries(seed, count, labels)
    whole: dict[int, Summary] = {}
    for i, part in enumerate(parts):
        whole[i % 3] = whole.get(i % 3, Summary()).merge(Summary.from_state(part.to_state()))
    found = Summary.merge_by([(i % 3, part.to_state()) for i, part in enumerate(parts)], selection)
    assert list(found) == list(whole)
    for key, merged in found.items():
        again = Summary.merge_all([merged, merged])
        for name in selection.metrics:
            m = METRICS[name]
            for thinned in (False, True) if selection.thinned else (False,):
                for label in whole[key].labels(name):
                    if m.kind == "joint":
                        continue
                    expected = whole[key].total(name, label, thinned)
                    assert merged.total(name, label, thinned) == expected
                    assert again.total(name, label, thinned).count == 2 * expected.count
                    if m.kind in ("exponential", "linear"):
                        one, other = (s.histogram(name, label, thinned) for s in (merged, whole[key]))
                        assert [c.tolist() for c in (one.lower, one.counts, one.sums)] == [
                            c.tolist() for c in (other.lower, other.counts, other.sums)
                        ]
            assert merged.labels(name) == whole[key].labels(name)
        if selection.users:
            assert merged.heavy_hitters("spend") == whole[key].heavy_hitters("spend")
            assert merged.users() == whole[key].users()


def test_what_was_not_selected_is_an_error_and_never_absent() -> None:
    (part,) = summaries(1, 1, 3)
    selection = Selection(frozenset({"cost"}), thinned=False, users=False)
    found = Summary.merge_by([("a", part.to_state())], selection)["a"]
    assert found.total("cost").count
    for wrong in (
        lambda s: s.total("retries"),
        lambda s: s.histogram("latency_total"),
        lambda s: s.total("cost", thinned=True),
        lambda s: s.heavy_hitters(),
        lambda s: s.users(),
        lambda s: s.stage_by_latency(),
        lambda s: s.totals(),
        lambda s: s.cells_digest(),
        lambda s: s.to_state(),
        lambda s: s.merge(part),
    ):
        with pytest.raises(ValueError, match=r"[sS]election"):
            wrong(found)
    with pytest.raises(KeyError, match="unknown metric 'nope'"):
        Summary.merge_by([("a", part.to_state())], Selection(frozenset({"nope"})))


def test_large_groups_and_users_beyond_the_capacity() -> None:
    table = SummaryTable()
    user = np.arange(1, 4801, dtype=np.uint64)
    table.update(np.arange(4800) % 600, replace(of_costs(np.arange(4800)), user=user))
    states = table.states(table.row_ids())
    groups = [states[:300], states[300:310], states[310:]]
    expected = [Summary.merge_all(group).to_state() for group in groups]
    assert [merged.to_state() for merged in Summary.merge_groups(groups)] == expected
    assert [merged.users() for merged in Summary.merge_groups(groups)] == [None, 80, None]


@given(st.integers(0, 2**32), st.data())
def test_a_damaged_state_is_refused(seed: int, data: st.DataObject) -> None:
    state = bytearray(summaries(seed, 1, 3)[0].to_state())
    if data.draw(st.booleans()):
        at = data.draw(st.integers(0, len(state) - 1))
        state[at] ^= data.draw(st.integers(1, 255))
    else:
        del state[data.draw(st.integers(0, len(state) - 1)) :]
    with pytest.raises(StateError, match="summary state"):
        Summary.from_state(bytes(state))


def test_a_newer_format_is_named() -> None:
    state = Summary().to_state()
    with pytest.raises(StateError, match="format version 2, this driftline reads 1; it was written by a newer"):
        Summary.from_state(b"\x02" + state[1:])


def test_the_stored_form_is_pinned() -> None:
    """Stored rows of released versions must stay readable: these bytes are format version 1."""
    table = SummaryTable()
    table.update(np.zeros(3, np.int64), of_costs(np.array([0, 41, 41_000_000])))
    state = bytes.fromhex(STORED)
    assert table.state(0) == state
    read = Summary.from_state(state)
    assert (read.events(), read.total("cost").sum) == (3, 41_000_041)


def test_extremes_survive() -> None:
    table = SummaryTable()
    table.update(np.zeros(4, np.int64), of_costs(np.array([0, 1, 2**53, 2**62])))
    read = Summary.from_state(table.state(0)).histogram("cost")
    assert (read.count, read.sum) == (4, 1 + 2 * 2**53)
    assert read.quantile(1.0) == pytest.approx(2.0**53, rel=0.011)


def test_totals_are_those_of_each_metric_and_label() -> None:
    summary = Summary.merge_all(summaries(5, 20, 4))
    found = summary.totals()
    unlabelled = {name for name, m in METRICS.items() if m.kind != "joint" and not m.family}
    assert {name for name, label, _ in found if not label} == {n for n in unlabelled if summary.total(n).count}
    assert {(name, label) for name, label, thinned in found if label and not thinned} == {
        (name, label) for name, m in METRICS.items() if m.family and m.kind != "joint" for label in summary.labels(name)
    }
    for (name, label, thinned), total in found.items():
        one = summary.labelled(name, thinned)[label] if label else summary.total(name, thinned=thinned)
        assert one == total
    assert found["events", "", False].count == summary.events() > found["events", "", True].count > 0
    assert Summary().totals() == {}


def test_the_digest_of_the_cells_is_without_users() -> None:
    def spent(costs: list[int], users: list[int]) -> Summary:
        events = replace(of_costs(np.array(costs)), user=np.array(users, dtype=np.uint64))
        table = SummaryTable()
        table.update(np.zeros(len(costs), dtype=np.int64), events)
        return table.summary(0)

    of_two, of_one = spent([3, 4], [1, 2]), spent([3, 4], [1, 1])
    assert (of_two.users(), of_one.users()) == (2, 1)
    assert of_two.cells_digest() == of_one.cells_digest()
    assert of_two.cells_digest() == Summary.from_state(of_two.to_state()).cells_digest()
    assert of_two.cells_digest() != spent([3, 5], [1, 2]).cells_digest()
