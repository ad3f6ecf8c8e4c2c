"""A label as JSON: what is written is read again, and whatever else comes is refused with a reason."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given as drawn
from hypothesis import strategies as st

from monitor.exchange import given
from monitor.exchange.given import EARLIEST_US, LATEST_US, Given, Unusable, read
from monitor.store.review import Label
from tests.exchange.drawn import said

# All but lone surrogates, which have no UTF-8; with NUL, control characters and ones that turn the reading order.
TEXTS = st.text(
    st.characters(exclude_categories=["Cs"]) | st.sampled_from("\x00\x1b\u202e\u2066,;\"'=\n\r\t"), max_size=30
)
IDS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), min_size=1, max_size=64)
NAMES = st.text(st.characters(categories=["L", "N", "P"]), min_size=1, max_size=100)
ANSWERS = st.dictionaries(
    TEXTS.filter(bool),
    st.one_of(TEXTS, st.booleans(), st.integers(-(2**60), 2**60), st.lists(TEXTS, max_size=4), st.none())
    | st.floats(allow_nan=False, allow_infinity=False),
    max_size=4,
)
LABELS = st.builds(Label, st.sampled_from(["correct", "wrong", "unsure"]), ANSWERS, TEXTS)
TIMES = st.none() | st.integers(EARLIEST_US, LATEST_US - 1)
GIVEN = st.builds(
    Given, IDS, st.just("") | IDS, NAMES, LABELS, st.just(""), TIMES, st.none() | st.booleans()
) | st.builds(Given, st.just(""), IDS, NAMES, st.none(), TEXTS.filter(lambda t: "\x00" not in t), TIMES)


@drawn(GIVEN)
def test_what_is_written_is_read_again(one: Given) -> None:
    again = read(msgspec.json.encode(one.document()))
    assert again == one
    assert again is not None
    assert again.request_id == one.request_id


@drawn(st.binary(max_size=60) | TEXTS.map(str.encode) | st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(list(said().document())) | TEXTS, inner, max_size=6),
).map(lambda value: json.dumps(value).encode()))  # fmt: skip
def test_whatever_comes_is_a_label_or_refused(value: bytes) -> None:
    try:
        found = read(value)
    except Unusable as error:
        assert str(error)
        assert error.reason in ("invalid_utf8", "malformed_json", "invalid_label")
    else:
        assert found is None or found.item_id or found.event_id


def test_fields_that_are_not_known_are_passed_over() -> None:
    document = {**said().document(), "tool": {"name": "x", "version": [1, 2]}, "score": 0.3}
    assert read(json.dumps(document).encode()) == said()


def test_nulls_and_absent_fields_are_the_same() -> None:
    short = b'{"event_id":"e1","reviewer":"ann","verdict":"wrong"}'
    absent = dict.fromkeys(("item_id", "answers", "note", "time", "gold", "reason"))
    long = json.dumps({"v": 1, "event_id": "e1", "reviewer": "ann", "verdict": "wrong", **absent}).encode()
    assert read(short) == read(long) == said(time_us=None, gold=None)
    assert read(b'{"event_id":"e1","verdict":"wrong"}', default_reviewer="ann") == said(time_us=None, gold=None)


def test_an_item_is_no_label() -> None:
    assert read(b'{"v":1,"kind":"item","item_id":"a","event_id":"e1"}') is None


@pytest.mark.parametrize(
    ("change", "reason", "says"),
    [
        ({"v": 2}, "invalid_label", "`$.v`"),
        ({"verdict": "maybe"}, "invalid_label", "verdict"),
        ({"verdict": None}, "invalid_label", "no verdict"),
        ({"event_id": None}, "invalid_label", "neither an item nor an event"),
        ({"event_id": "x" * 301}, "invalid_label", "event_id"),
        ({"event_id": "x\x00y"}, "invalid_label", "U+0000"),
        ({"item_id": "x" * 65}, "invalid_label", "item_id"),
        ({"reviewer": ""}, "invalid_label", "name the reviewer"),
        ({"reviewer": "r" * 101}, "invalid_label", "100 characters"),
        ({"reviewer": "ann\u202eadmin"}, "invalid_label", "reading order"),
        ({"reviewer": "ann\nbob"}, "invalid_label", "control"),
        ({"reviewer": 7}, "invalid_label", "reviewer"),
        ({"note": "n" * 4001}, "invalid_label", "note"),
        ({"answers": {"q": {"deep": 1}}}, "invalid_label", "answers"),
        ({"answers": {"": "x"}}, "invalid_label", "answer"),
        ({"answers": {str(n): n for n in range(51)}}, "invalid_label", "50 questions"),
        ({"time": "yesterday"}, "invalid_label", "time"),
        ({"time": "1970-01-01T00:00:00Z"}, "invalid_label", "2000 and 2200"),
        ({"time": 10**300}, "invalid_label", "2000 and 2200"),
        ({"time": "9" * 50}, "invalid_label", "2000 and 2200"),
        ({"gold": "yes"}, "invalid_label", "gold"),
        ({"kind": "vote"}, "invalid_label", "kind"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(change: dict[str, Any], reason: str, says: str) -> None:
    with pytest.raises(Unusable) as refused:
        read(json.dumps({**said().document(), **change}).encode())
    assert refused.value.reason == reason
    assert says in str(refused.value)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"\xff\xfe{", "invalid_utf8"),
        ('{"event_id":"é"}'.encode("latin-1"), "invalid_utf8"),
        (b"", "malformed_json"),
        (b"{", "malformed_json"),
        (b'{"event_id":"e1","note":"\\ud800"}', "malformed_json"),
        (b'{"event_id":"e1","time":NaN}', "malformed_json"),
        (b'{"tool":' + b"[" * 100_000, "malformed_json"),
        (b"[]", "invalid_label"),
        (b"7", "invalid_label"),
    ],
)
def test_what_is_no_object_is_said(value: bytes, reason: str) -> None:
    with pytest.raises(Unusable) as refused:
        read(value)
    assert refused.value.reason == reason


def test_the_event_of_what_is_refused_is_known_where_it_can_be_read() -> None:
    """By it `driftline forget` finds the dead letter."""
    for document in ({"event_id": "e1"}, {"event_id": "e1", "verdict": 5}, {"event_id": "e1", "v": 9, "time": []}):
        with pytest.raises(Unusable) as refused:
            read(json.dumps(document).encode())
        assert refused.value.event_id == "e1"


def test_times_are_rfc_3339_or_milliseconds() -> None:
    for time in ("2026-11-02T09:14:03.412Z", "2026-11-02T10:14:03.412+01:00", 1_793_610_843_412, 1_793_610_843_412.0):
        found = read(json.dumps({**said().document(), "time": time}).encode())
        assert found is not None
        assert found.time_us == 1_793_610_843_412_000


def test_the_same_content_has_the_same_request_and_another_has_another() -> None:
    one = said()
    others = [
        said("correct"), said(event_id="e2"), said(item_id="i"), said(reviewer="bob"), said(gold=True), said(gold=None),
        said(time_us=None), said(label=None), said(label=None, skip_reason="x"), said(label=Label("wrong", {}, "n")),
    ]  # fmt: skip
    assert said().request_id == one.request_id
    assert len({one.request_id, *(other.request_id for other in others)}) == len(others) + 1
    assert len(one.request_id) <= 64
    assert given.VERSION == 1


def test_every_reason_and_outcome_is_documented() -> None:
    text = (Path(__file__).resolve().parents[2] / "docs" / "review.md").read_text()
    outcomes = ("labelled", "replaced", "repeated", "kept", "skipped", "ignored", "forgotten")
    assert [name for name in (*get_args(given.Reason), *outcomes) if f"| `{name}` |" not in text] == []


def test_the_documented_lines_are_read() -> None:
    text = (Path(__file__).resolve().parents[2] / "docs" / "review.md").read_text()
    lines = [line for block in text.split("```json\n")[1:] for line in block.split("```")[0].splitlines()]
    kinds = [json.loads(line).get("kind", "label") for line in lines]
    assert kinds == ["item", "label", "skip", "label"]
    assert [read(line.encode()) is None for line in lines] == [True, False, False, False]
