"""What was seen recently: equal to the plain definition, in bounded memory."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from monitor.ingest import recent
from monitor.ingest.recent import RecentKeys
from monitor.ingest.windows import NEVER, Clock, lateness


@given(
    keys=st.lists(st.integers(-3, 12), min_size=1, max_size=200),
    cuts=st.lists(st.integers(0, 200), max_size=8),
    records=st.integers(0, 40),
    run=st.sampled_from([1, 5, 1000]),
    gap=st.integers(1, 3),
)
def test_last_occurrence_by_offset(keys: list[int], cuts: list[int], records: int, run: int, gap: int) -> None:
    original, recent._RECENT = recent._RECENT, run
    try:
        tracker = RecentKeys(records)
        all_keys = np.array(keys, dtype=np.int64)
        offsets = np.arange(len(keys), dtype=np.int64) * gap
        times = offsets * 10
        edges = [0, *sorted(min(cut, len(keys)) for cut in cuts), len(keys)]
        found, when = [], []
        for start, end in itertools.pairwise(edges):
            part = tracker.previous(all_keys[start:end], offsets[start:end], times[start:end])
            found += part[0].tolist()
            when += part[1].tolist()
    finally:
        recent._RECENT = original
    for i, key in enumerate(keys):
        before = [int(offsets[j]) for j in range(i) if keys[j] == key and offsets[i] - offsets[j] <= records]
        assert found[i] == (before[-1] if before else -1)
        if before:
            assert when[i] == before[-1] * 10


def test_memory_is_bounded() -> None:
    tracker = RecentKeys(50_000)
    rng = np.random.default_rng(1)
    for start in range(0, 1_000_000, 10_000):
        offsets = np.arange(start, start + 10_000, dtype=np.int64)
        tracker.previous(rng.integers(-(2**62), 2**62, 10_000), offsets, offsets)
    assert tracker.nbytes < 24 * (50_000 + 2 * recent._RECENT + 20_000)


@given(st.lists(st.integers(0, 500), min_size=1, max_size=60), st.integers(0, 60))
def test_watermark_is_a_function_of_offsets(times: list[int], cut: int) -> None:
    values = np.array(times, dtype=np.int64)
    whole = Clock().observe(values, 30)
    parts = Clock()
    got = np.concatenate([parts.observe(values[:cut], 30), parts.observe(values[cut:], 30)])
    assert got.tolist() == whole.tolist()
    for i, time in enumerate(times):
        expected = max(times[:i]) - 30 if i else NEVER
        assert whole[i] == expected
        late, too_late = lateness(values[i : i + 1], whole[i : i + 1], 100)
        assert (bool(late[0]), bool(too_late[0])) == (time < expected, time < expected - 100)


def test_a_stored_advance_holds() -> None:
    clock = Clock(1000, NEVER)
    clock.advanced_us = 5000
    assert clock.watermark(30) == 5000
    assert clock.observe(np.array([2000, 9000, 1]), 30).tolist() == [5000, 5000, 8970]
