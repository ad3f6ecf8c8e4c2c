"""Decoding in groups: what is wrong with a record is told of that record, wherever the groups end."""

from __future__ import annotations

import json

import numpy as np
import pytest

from monitor.config.model import Config
from monitor.events.prices import PriceBook
from monitor.events.reading import GROUP, EventReader
from monitor.events.redaction import UserHasher
from monitor.events.segments import Admission, Assigner, SegmentRules
from monitor.ingest.consumer import Records, TopicPartition
from monitor.ingest.decoding import RecordDecoder

TIME_MS = 1_790_000_000_000


def decoder() -> RecordDecoder:
    config, hasher = Config(), UserHasher(b"k" * 32)
    assigner = Assigner(SegmentRules(config), config, Admission())
    reader = EventReader(PriceBook(config.prices, "UTC"), assigner, hasher)
    return RecordDecoder(TopicPartition("events", 0), reader, hasher, max_record=10_000)


def value(i: int, **fields: object) -> bytes:
    return json.dumps({"id": f"e{i}", "time": TIME_MS + i, "route": "r", "retries": i, **fields}).encode()


@pytest.mark.parametrize("count", [GROUP - 1, GROUP, GROUP + 1, 3 * GROUP + 7])
def test_every_record_is_told_by_its_own_offset(count: int) -> None:
    bad = {
        0: ("malformed_json", b"{"),
        7: ("implausible_time", value(7, time=5)),
        GROUP - 2: ("tombstone", None),
        GROUP: ("invalid_utf8", b'{"id": "\xff"}'),
        GROUP + 3: ("invalid_field", value(1, usage={"input_tokens": -1})),
        2 * GROUP: ("oversize", value(2, route="x" * 20_000)),
        3 * GROUP + 6: ("invalid_field", value(3, id="a\x00b")),
    }
    bad = {i: what for i, what in bad.items() if i < count}
    values = [bad[i][1] if i in bad else value(i) for i in range(count)]
    offsets = [1000 + 3 * i for i in range(count)]
    events, index, times, letters = decoder().decode(Records(offsets, [TIME_MS] * count, [None] * count, values))
    assert {letter.offset: letter.reason for letter in letters} == {1000 + 3 * i: why for i, (why, _) in bad.items()}
    good = [i for i in range(count) if i not in bad]
    assert index.tolist() == good
    assert events.ids == [f"e{i}" for i in good]
    assert events.column("retries").tolist() == good
    assert times.tolist() == [(TIME_MS + i) * 1000 for i in good]


def test_no_event_at_all_is_no_error() -> None:
    events, index, times, letters = decoder().decode(Records([5], [TIME_MS], [None], [b"nonsense"]))
    assert (len(events), index.size, times.size, len(letters)) == (0, 0, 0, 1)
    assert np.array_equal(events.column("id"), [])
