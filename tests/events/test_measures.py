"""What an event is worth: columns, prices, citations, segments, redaction."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.summaries.columns import EventColumns
from monitor.config.model import Config, Prices, Redaction
from monitor.events import grounding, native
from monitor.events.columns import columns as columns_of
from monitor.events.prices import PriceBook
from monitor.events.reading import EventReader, Readings
from monitor.events.redaction import Redactor, UserHasher
from monitor.events.segments import OTHER, Admission, Assigner, SegmentRules, shorten, version_name

DAY = 86_400_000_000
APRIL_1 = 1_775_001_600_000_000  # 2026-04-01T00:00:00Z


def event(**fields: Any) -> native.Event:
    return native.decode(json.dumps({"id": "a", "time": 1, "route": "r", **fields}).encode())


def columns(
    *events: native.Event, prices: Prices | None = None, time_us: int = APRIL_1, zone: str = "UTC"
) -> tuple[EventColumns, dict[str, int]]:
    n = len(events)
    book = PriceBook(prices or Prices(), zone)
    reader = EventReader(book, assigner(), UserHasher(b"k" * 32))
    reader.read(events)
    times = np.full(n, time_us, dtype=np.int64)
    return columns_of(reader.take(), times, np.ones(n, dtype=bool), book)


def test_absent_is_never_zero() -> None:
    found, counts = columns(event(), event(usage={"input_tokens": None}, latency=None, concurrency=None))
    for name in EventColumns.__slots__:
        value = getattr(found, name)
        if isinstance(value, np.ndarray) and value.dtype in (np.int64, np.int8) and name != "user":
            assert (value == -1).all(), name
    assert counts == {}


def test_units() -> None:
    found, _ = columns(
        event(
            usage={"input_tokens": 900, "output_tokens": 5, "context_limit": 1000},
            latency={"total_ms": 1.2345, "first_token_ms": 0, "stages": {"a": 2, "b": 0.5}},
            quality={"confidence": 0.25},
            cost={"amount": 0.0121},
            input=[{"kind": "image", "bytes": 10}, {"kind": "text", "text": "ä"}, {"kind": "x", "inline": "AAAA"}],
        ),
        event(input=[{"kind": "image", "uri": "file:///x"}]),
    )
    assert found.context_used[0] == 900_000
    assert (found.latency_total[0], found.latency_first_token[0]) == (1234, 0)
    assert found.stages.value.tolist() == [2000, 500]
    assert [found.stages.names[c] for c in found.stages.code] == ["a", "b"]
    assert found.confidence[0] == 250_000
    assert found.cost[0] == 12_100_000
    assert found.input_bytes.tolist() == [15, -1]


@pytest.mark.parametrize(
    ("fields", "verdict"),
    [
        ({"outcome": "abstained"}, 1),
        ({"quality": {"abstained": True}}, 1),
        ({"outcome": "abstained", "quality": {"abstained": True}}, 1),
        ({"outcome": "abstained", "quality": {"abstained": False}}, 1),
        ({"outcome": "ok"}, 0),
        ({"quality": {"abstained": False}}, 0),
        ({}, -1),
    ],
)
def test_abstention_counts_once(fields: dict[str, Any], verdict: int) -> None:
    found, _ = columns(event(**fields))
    assert found.abstained.tolist() == [verdict]


PRICES = Prices.model_validate(
    {
        "rates": {"EUR": 1.1},
        "models": [
            {"model": "m", "from": "2026-01-01", "input_per_million": 2, "output_per_million": 8},
            {"model": "m", "from": "2026-04-01", "input_per_million": 4, "output_per_million": 8, "currency": "EUR"},
            {"model": "long-*", "input_per_million": 1, "output_per_million": 1, "cached_input_per_million": 0.1},
        ],
    }
)
TOKENS = {"input_tokens": 1000, "output_tokens": 100}


def test_prices_hold_from_their_day_in_the_configured_timezone() -> None:
    one = event(response_model="m", usage=TOKENS)
    before = 2_000_000 + 800_000
    after = round((4_000_000 + 800_000) * 1.1)
    assert columns(one, prices=PRICES, time_us=APRIL_1 - 1)[0].cost[0] == before
    assert columns(one, prices=PRICES, time_us=APRIL_1)[0].cost[0] == after
    berlin = APRIL_1 - 2 * 3_600_000_000
    assert columns(one, prices=PRICES, time_us=berlin - 1, zone="Europe/Berlin")[0].cost[0] == before
    assert columns(one, prices=PRICES, time_us=berlin, zone="Europe/Berlin")[0].cost[0] == after
    assert columns(one, prices=PRICES, time_us=APRIL_1 - 365 * DAY)[1] == {"cost_unpriced": 1}


def test_costs_that_cannot_be_known_are_absent_and_counted() -> None:
    found, counts = columns(
        event(cost={"amount": 1, "currency": "XYZ"}),
        event(response_model="unknown", usage=TOKENS),
        event(response_model="m", usage={"input_tokens": 5}),
        event(response_model="long-1", usage={**TOKENS, "cached_input_tokens": 400}),
        event(cost={"amount": 1, "currency": "EUR"}, response_model="m", usage=TOKENS),
        prices=PRICES,
    )
    assert found.cost.tolist() == [-1, -1, -1, 600_000 + 40_000 + 100_000, 1_100_000_000]
    assert counts == {"cost_unknown_currency": 1, "cost_unpriced": 1}


@pytest.mark.parametrize(
    ("citations", "expected"),
    [
        (None, (-1, -1, False)),
        ([], (1, -1, False)),
        ([{}], (0, -1, False)),
        ([{"found": True}], (0, 0, False)),
        ([{"found": True}, {"found": False}], (0, 1, False)),
        ([{"quote": "Total 4", "source_text": "…  TOTAL\n4 …"}], (0, 0, False)),
        ([{"quote": "“Total”", "source_text": 'the "total" is'}], (0, 0, False)),
        ([{"quote": "Total 5", "source_text": "Total 4", "found": True}], (0, 1, True)),
        ([{"quote": "Total 4", "source_text": "Total 4", "found": False}], (0, 1, False)),
        ([{"quote": " ", "source_text": "Total 4"}], (0, 1, False)),
        ([{"source_text": "Total 4", "found": True}], (0, 0, False)),
    ],
)
def test_citations(citations: Any, expected: tuple[int, int, bool]) -> None:
    quality = event(quality={"citations": citations}).quality
    assert quality is not None
    assert grounding.verdict(quality.citations) == expected


@given(st.text(alphabet="ab c", min_size=1), st.text(alphabet="ab c"), st.text(alphabet="ab c"))
def test_a_quote_taken_from_its_source_is_grounded(quote: str, before: str, after: str) -> None:
    if quote.strip():
        assert grounding.contained(quote, before + quote + after)
        assert grounding.contained(quote.upper(), before + " " + "  ".join(quote.split()) + " " + after)


def assigner(admission: Admission | None = None, **segments: Any) -> Assigner:
    config = Config.model_validate(
        {
            "routes": {"a": {"segment_by": ["kind"]}, "b": {"stakes": "high"}},
            "segments": {"rules": [{"name": "vip", "where": {"tier": ["gold", "1"]}, "stakes": "low"}], **segments},
        }
    )
    return Assigner(SegmentRules(config), config, admission or Admission())


def assigned(a: Assigner, *events: native.Event) -> tuple[list[int], list[int]]:
    segments, versions = (np.array(keys, dtype=np.int32) for keys in a.keys(events))
    found = a.admit(segments, versions)
    return found[0].tolist(), found[1].tolist()


def named(a: Assigner, *events: native.Event) -> list[tuple[str, str]]:
    return [a.admission.segments[code] for code in assigned(a, *events)[0]]


def test_first_matching_rule_else_route_and_attributes() -> None:
    a = assigner()
    assert named(
        a,
        event(route="a", attributes={"kind": "x"}),
        event(route="a"),
        event(route="b", attributes={"kind": "x"}),
        event(route="a", attributes={"kind": "x", "tier": "gold"}),
        event(route="b", attributes={"tier": 1}),
        event(route="a", attributes={"kind": ["no", "value"]}),
        event(route="a", attributes={"kind": "bad\u0000"}),
    ) == [
        ("a", "a/x"),
        ("a", "a/-"),
        ("b", "b"),
        ("a", "vip"),
        ("b", "vip"),
        ("a", "a/-"),
        ("a", "a/bad\ufffd"),
    ]
    assert a.stakes == ["medium", "medium", "high", "low", "low", "medium"]


def test_caps_admit_in_order_and_survive_a_restart() -> None:
    a = assigner(max_segments=2, max_versions=1)
    events = [event(route="a", attributes={"kind": k}, response_model=k) for k in "xyzx"]
    assert named(a, *events, event(route="new")) == [
        ("a", "a/x"),
        ("a", "a/y"),
        ("a", OTHER),
        ("a", "a/x"),
        (OTHER, OTHER),
    ]
    again = assigner(
        Admission.from_state(json.loads(json.dumps(a.admission.to_state()))), max_segments=2, max_versions=1
    )
    assert named(again, *events) == named(a, *events)
    assert [a.admission.versions[v] for v in assigned(a, *events)[1]] == ["x", OTHER, OTHER, "x"]
    assert again.stakes == a.stakes


def test_versions_and_long_names() -> None:
    assert version_name("m", native.Prompt("p", "1")) == "m@p/1"
    assert version_name(None, native.Prompt(None, "1")) == "@1"
    assert version_name(None, native.Prompt()) == ""
    long = shorten("x" * 500, 200)
    assert len(long) == 200
    assert long != shorten("x" * 501, 200)


def test_redaction_reaches_every_text_but_addresses() -> None:
    redactor = Redactor([Redaction(name="n", pattern=r"\d+")])
    assert redactor.tree({"text": "a1", "deep": [{"b2": "c3"}], "uri": "file:///4", "n": 5}) == {
        "text": "a[n]",
        "deep": [{"b[n]": "c[n]"}],
        "uri": "file:///4",
        "n": 5,
    }


def test_user_hashes_are_keyed_and_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monitor.events.redaction.USERS_CACHED", 3)
    one, two = UserHasher(b"k" * 32), UserHasher(b"l" * 32)
    users = ["a", None, "", "b", "c", "d", "a"]
    first = [one[user] for user in users]
    assert first[1] == first[2] == 0
    assert first[0] == first[-1] != two["a"]
    assert first[0] % 2**64 == one.hash("a")
    one.trim()
    assert len(one) == 1
    assert [one[user] for user in users] == first


def test_numbers_and_booleans_are_segmented_by_their_text_whichever_came_first() -> None:
    """1, 1.0 and True are equal to Python; what a process met before must not decide the segment."""
    kinds: list[Any] = [1, True, 1.0, "1", "true", 0, False]
    expected = [("a", f"a/{text}") for text in ("1", "true", "1.0", "1", "true", "0", "false")]
    events = [event(route="a", attributes={"kind": kind}) for kind in kinds]
    assert named(assigner(), *events) == expected
    assert named(assigner(), *reversed(events)) == expected[::-1]


def test_only_accepted_events_admit_segments_and_versions() -> None:
    a = assigner(max_segments=1)
    segments, versions = a.keys([event(route="a", response_model="x"), event(route="b", response_model="y")])
    a.admit(np.array(segments[1:], dtype=np.int32), np.array(versions[1:], dtype=np.int32))
    assert a.admission.segments == [("b", "b")]
    assert a.admission.versions == ["y"]


def test_readings_left_after_others_are_dropped_are_those_of_the_left_events_alone() -> None:
    events = [
        event(id=f"e{i}", session_id=f"s{i}", latency={"stages": {f"n{i % 3}-{j}": i + j for j in range(i % 4)}})
        for i in range(20)
    ]
    left = np.arange(20) % 3 == 1

    def of(chosen: list[native.Event]) -> Readings:
        reader = EventReader(PriceBook(Prices(), "UTC"), assigner(), UserHasher(b"k" * 32))
        for start in range(0, len(chosen), 7):
            reader.read(chosen[start : start + 7])
        return reader.take()

    kept, alone = of(events).kept(left), of([e for e, stays in zip(events, left, strict=True) if stays])
    assert (kept.ids, kept.sessions, kept.times) == (alone.ids, alone.sessions, alone.times)
    assert kept.stage_ms.tolist() == alone.stage_ms.tolist()
    assert [kept.stage_names[code] for code in kept.stage_codes] == [alone.stage_names[c] for c in alone.stage_codes]
    for name in ("id", "session", "stages", "total_ms", "outcome"):
        assert kept.column(name).tolist() == alone.column(name).tolist()
