"""The heaviest users with the promised error, whatever the batches."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.summaries import EventColumns, Summary, SummaryTable
from detectors.summaries.heavy_hitters import CAPACITY, KEEP
from tests.summaries.events import cut, nothing


def traffic(rng: np.random.Generator, n: int, users: int, skew: float) -> EventColumns:
    user = (users * rng.random(n) ** skew).astype(np.uint64) + np.uint64(1)
    cost = np.where(rng.random(n) < 0.1, -1, np.exp(rng.normal(8, 2, n)).astype(np.int64))
    return replace(nothing(n), user=user * np.uint64(0x9E3779B97F4A7C15), cost=cost, thinned=rng.random(n) < 0.5)


def true_weights(cols: EventColumns, weight: str, thinned: bool) -> dict[int, int]:
    out: dict[int, int] = {}
    for user, cost, thin in zip(cols.user.tolist(), cols.cost.tolist(), cols.thinned.tolist(), strict=True):
        if thin or not thinned:
            out[user] = out.get(user, 0) + (1 if weight == "events" else max(cost, 0))
    return out


@settings(max_examples=15)
@given(st.integers(0, 2**32), st.sampled_from([500, 3000, 30_000]), st.sampled_from([1.0, 4.0]), st.integers(1, 4))
def test_error_bound_holds(seed: int, users: int, skew: float, parts: int) -> None:
    rng = np.random.default_rng(seed)
    cols = traffic(rng, 9000, users, skew)
    table = SummaryTable()
    table.update(rng.integers(0, parts, cols.n), cols)
    merged = Summary.merge_all(table.states(table.row_ids()))
    for thinned in (False, True):
        for weight in ("events", "spend"):
            true = true_weights(cols, weight, thinned)
            total = sum(true.values())
            listed = merged.heavy_hitters(weight, CAPACITY, thinned)
            assert all(h.low <= true[h.user] <= h.high for h in listed)
            assert all(h.high - h.low <= total / (KEEP + 1) for h in listed)
            missed = true.keys() - {h.user for h in listed}
            assert all(true[user] <= total / (KEEP + 1) for user in missed)
    exact = len(set(cols.user.tolist())) <= CAPACITY
    assert merged.users() == (len(set(cols.user.tolist())) if exact else None)


@settings(max_examples=10)
@given(st.integers(0, 2**32), st.lists(st.integers(0, 12_000), min_size=1, max_size=8), st.booleans())
def test_overflow_happens_at_the_event_not_at_the_batch(seed: int, cuts: list[int], reload: bool) -> None:
    cols = traffic(np.random.default_rng(seed), 12_000, 30_000, 1.5)
    whole = SummaryTable()
    whole.update(np.zeros(cols.n, np.int64), cols)
    table = SummaryTable()
    edges = [0, *sorted(cuts), cols.n]
    for start, stop in pairwise(edges):
        table.update(np.zeros(stop - start, np.int64), cut(cols, start, stop))
        if reload and stop > start:
            state, table = table.state(0), SummaryTable()
            table.load(0, state)
    assert table.state(0) == whole.state(0)


def test_users_whose_keys_share_their_leading_bits_are_told_apart() -> None:
    user = np.array([1, 2, 3, 1, 2**63, 2**63 + 1, 2**63], dtype=np.uint64)
    table = SummaryTable()
    table.update(np.array([0, 0, 1, 0, 0, 0, 0]), replace(nothing(7), user=user))
    found = [(h.user, h.low) for h in table.summary(0).heavy_hitters("events")]
    assert found == [(1, 2), (2**63, 2), (2, 1), (2**63 + 1, 1)]


def test_an_event_without_a_user_weighs_for_nobody() -> None:
    table = SummaryTable()
    table.update(np.zeros(5, np.int64), nothing(5))
    assert table.summary(0).heavy_hitters("events") == []
    assert table.summary(0).users() == 0
    with pytest.raises(ValueError, match="unknown weight 'tokens'"):
        table.summary(0).heavy_hitters("tokens")
