"""CSV: what is written is read again, whatever spreadsheets make of it, and nothing in it is a formula."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given as drawn
from hypothesis import strategies as st

from monitor.exchange.given import EARLIEST_US, LATEST_US, Given, Unusable
from monitor.exchange.splitting import NotThisFormat
from monitor.exchange.spreadsheet import escaped, read, unescaped, write
from monitor.store.review import Label
from tests.exchange.drawn import queued_item, said
from tests.exchange.test_given import ANSWERS, NAMES, TEXTS

CELLS = st.text(st.sampled_from("'=+-@\t\r\nａ＝＠ \"x,;") | st.characters(exclude_categories=["Cs"]), max_size=12)


@drawn(CELLS)
def test_escaping_is_undone_and_leaves_no_formula(cell: str) -> None:
    assert unescaped(escaped(cell)) == cell
    assert not escaped(cell).startswith(("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠"))


@drawn(
    st.lists(
        st.builds(
            Given,
            st.just("a1" * 16),
            CELLS.filter(lambda c: "\x00" not in c),
            NAMES,
            st.builds(Label, st.sampled_from(["correct", "wrong", "unsure"]), ANSWERS, TEXTS | CELLS),
            st.just(""),
            st.none() | st.integers(EARLIEST_US, LATEST_US - 1),
            st.none() | st.booleans(),
        )
        | st.builds(
            Given, st.just("a1" * 16), st.just("=e1"), NAMES, st.none(), CELLS.filter(lambda c: "\x00" not in c)
        ),
        min_size=1,
        max_size=3,
    ),
    CELLS,
    st.booleans(),
)
def test_what_is_written_is_read_again(answers: list[Given], text: str, predictions: bool) -> None:
    event_id = answers[0].event_id
    answers = [Given(a.item_id, event_id, *_rest(a)) for a in answers]
    item = queued_item(event_id=event_id, segment=text, inputs=[{"kind": "text", "text": text}], answers=tuple(answers))
    content = b"".join(write([item, queued_item()], predictions=predictions))
    assert list(read([content])) == answers
    for row in csv.reader(io.StringIO(content.decode(), newline="")):
        assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r")) for cell in row)


def _rest(one: Given) -> tuple[str, Label | None, str, int | None, bool | None]:
    return one.reviewer, one.label, one.skip_reason, one.time_us, one.gold


def test_predictions_are_there_only_when_asked_for() -> None:
    blind = b"".join(write([queued_item()], predictions=False)).decode()
    assert "score" not in blind.splitlines()[0]
    assert "confidence" not in blind.splitlines()[0]
    assert "0.75" not in blind
    assert "0.93" not in blind
    header, row = csv.reader(io.StringIO(b"".join(write([queued_item()], predictions=True)).decode()))
    found = dict(zip(header, row, strict=True))
    assert (found["score"], found["confidence"], found["pi_review"]) == ("0.75", "0.93", "0.1")


@pytest.mark.parametrize("divider", [",", ";", "\t"])
def test_a_sheet_that_somebody_filled_in(divider: str) -> None:
    """Columns in another order and of other people's, rows without a verdict, Excel's byte order mark taken off."""
    rows = [
        ["Verdict ", "mine", "event_id", "note"],
        ["Wrong", "x", "e1", "'-5 is off"],
        ["", "x", "e2", ""],
        ["correct", "", "e3"],
    ]
    content = "\r\n".join(divider.join(row) for row in rows).encode()
    assert list(read([content], default_reviewer="ann")) == [
        said(label=Label("wrong", {}, "-5 is off"), time_us=None, gold=None),
        said("correct", event_id="e3", time_us=None, gold=None),
    ]


def test_unusable_rows_are_said_and_the_others_read() -> None:
    content = b"\n".join(
        [
            b"item_id,event_id,verdict,reviewer,answers,note",
            b",e1,wrong,ann,,",
            b",e2,maybe,ann,,",
            b",e3,wrong,,,",
            b",,wrong,ann,,",
            ",e4,wrong,ann,,é".encode("latin-1"),
            b',e5,wrong,ann,"[1]",',
            b",e6,wrong,ann,{,",
            b",e7,wrong,ann,," + b"x" * 5000,
            b",e1,wrong,ann,,",
            b",e9,wrong,ann\x00,,",
            b",e10,correct,bob,,",
        ]
    )
    found = list(read([content]))
    assert [one.event_id for one in found if isinstance(one, Given)] == ["e1", "e1", "e10"]
    problems = [(one.reason, str(one)) for one in found if isinstance(one, Unusable)]
    assert [reason for reason, _ in problems] == [
        "invalid_label", "invalid_label", "invalid_label", "invalid_utf8", "invalid_label", "invalid_label",
        "invalid_label", "invalid_label",
    ]  # fmt: skip
    assert problems[0][1].startswith("row 3: ")


def test_a_quote_that_never_ends_costs_what_it_swallowed_and_no_more() -> None:
    swallowed = b'\n,e2,wrong,ann,"' + b"\n,e3,wrong,ann,".join([b"x" * 70_000] * 20)
    content = b"item_id,event_id,verdict,reviewer,note\n,e1,wrong,ann," + swallowed + b"\n,e9,wrong,ann,\n"
    before = csv.field_size_limit()
    found = list(read([content]))
    assert csv.field_size_limit() == before
    assert isinstance(found[0], Given)
    assert any(isinstance(one, Unusable) for one in found)
    assert [one.event_id for one in found if isinstance(one, Given)][-1] == "e9"


@pytest.mark.parametrize("content", [b"", b"\n", b"a,b\n1,2\n", b"verdict,reviewer\nwrong,ann\n", b"\xff\xd8\xff\xe0"])
def test_a_header_that_lacks_what_is_needed_is_said(content: bytes) -> None:
    with pytest.raises(NotThisFormat, match="verdict and item_id or event_id"):
        list(read([content]))
