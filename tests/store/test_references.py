"""References in the store: states, what is decided on record, and reads that leave contents alone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import update

from monitor.store import references
from monitor.store.decision import Decision
from monitor.store.engine import Store, open_store
from monitor.store.references import Decided, ReferenceFault
from monitor.store.tables import references as table

ANN = Decision("Ann", 1_000, "looks as it should")


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    opened = open_store(store_url, migrate=False)
    yield opened
    opened.close()


def add(store: Store, segment: str, content: bytes, state: str = "draft") -> str:
    with store.write() as connection:
        return references.add(
            connection, segment=segment, encoder="e", from_us=0, to_us=1, origin="built", rows=3, content=content,
            samples=[], state=state,
        )  # fmt: skip


def decided(store: Store, *identities: str) -> dict[str, list[Decided]]:
    with store.read() as connection:
        return references.decisions(connection, identities)


def test_a_decision_is_recorded_with_what_it_replaced(store: Store) -> None:
    old, new = add(store, "a", b"1", "active"), add(store, "a", b"2")
    assert references.approve(store, new, ANN).state == "approved"
    assert references.activate(store, new, by=Decision("Ben", 2_000)).state == "active"
    assert references.get(store, old).state == "retired"
    assert decided(store, old, new) == {
        new: [
            Decided("approve", "Ann", 1_000, "looks as it should", ""),
            Decided("activate", "Ben", 2_000, "", old),
        ]
    }
    references.activate(store, old, by=Decision("Cy", 3_000))
    assert references.active_ids(store) == {"a": old}
    assert decided(store, old)[old] == [Decided("activate", "Cy", 3_000, "", new)]


def test_what_cannot_be_decided_changes_and_records_nothing(store: Store) -> None:
    draft, active = add(store, "a", b"1"), add(store, "a", b"2", "active")
    for identity, what in ((active, "approve"), (draft, "activate")):
        move = references.approve if what == "approve" else references.activate
        with pytest.raises(ReferenceFault, match="only one that is"):
            move(store, identity, by=ANN)
    for by in (Decision("", 1), Decision("x" * 101, 1), Decision("Ann", 1, "x" * 1001)):
        with pytest.raises(ReferenceFault, match="characters"):
            references.approve(store, draft, by)
    with pytest.raises(ReferenceFault, match="different encoders"):
        references.activate(store, active, encoder="other", by=ANN)
    assert decided(store, draft, active) == {}
    assert references.active_ids(store) == {"a": active}
    assert references.get(store, draft).state == "draft"


def test_heads_are_read_without_contents(store: Store) -> None:
    first, second, other = add(store, "b", b"1", "active"), add(store, "b", b"2", "active"), add(store, "a", b"3")
    with store.write() as connection:
        connection.execute(update(table).values(content=b"damaged"))
    with store.read() as connection:
        found = references.heads(connection)
        assert [(head.segment, head.version, head.state) for head in found] == [
            ("a", 1, "draft"), ("b", 2, "active"), ("b", 1, "retired")
        ]  # fmt: skip
        assert [head.reference_id for head in references.heads(connection, segment="b")] == [second, first]
        assert [head.reference_id for head in references.heads(connection, states=["draft"])] == [other]
        assert [h.reference_id for h in references.heads(connection, segments=["b"], limit=1, offset=1)] == [first]
        assert references.segments_with(connection, limit=10) == [("a", 1), ("b", 2)]
        assert references.segments_with(connection, limit=1, offset=1) == [("b", 2)]
        assert references.count_segments(connection) == 2
