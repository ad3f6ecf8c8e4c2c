"""A store from before the queue (schema 0002) keeps its items and labels, and they can be worked on."""

from __future__ import annotations

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import create_engine, text

from monitor.store import migrations, review
from monitor.store.engine import open_store, parse_url
from monitor.store.tables import metadata
from tests.review.items import DAY_US, EVERYTHING, LEASE, START, item, put, state

SAMPLE = (
    "INSERT INTO samples VALUES ('s1', 'e1', 't', 0, 7, :time_us, :time_us, 'extract', 'a', 'm@1', '', 'alice', 0.25, "
    "'embedded', '', '{}', '', NULL)"
)
ITEM = (
    "INSERT INTO review_items "
    "VALUES (:item_id, :sample_id, 'a', :time_us, '[\"uniform\"]', 0.25, 0.5, :state, '', NULL)"
)
LABEL = "INSERT INTO labels VALUES (:id, :item_id, 'e', :reviewer, :label, 5, :undone)"


def test_items_and_labels_of_the_first_schema_are_kept(bare_url: str) -> None:
    bare = create_engine(parse_url(bare_url))
    with bare.begin() as connection:
        config = migrations._config()
        config.attributes["connection"] = connection
        command.upgrade(config, "0002")
        connection.execute(text(SAMPLE), {"time_us": START + 5})
        for name, sample, state_ in (("i1", "s1", "open"), ("i2", "s2", "done"), ("i3", "s3", "removed")):
            row = {"item_id": name, "sample_id": sample, "time_us": START + DAY_US - 1, "state": state_}
            connection.execute(text(ITEM), row)
        given = review.Label("wrong").encode()
        for number, (name, reviewer, label, undone) in enumerate(
            [
                ("i2", "ann", "{}", False),
                ("i2", "ann", given, False),
                ("i2", "bob", given, True),
                ("i2", "cid", "{}", False),
                ("", "ann", given, False),
                ("", "ann", given, False),
            ]
        ):
            values = {"id": number + 1, "item_id": name, "reviewer": reviewer, "label": label, "undone": undone}
            connection.execute(text(LABEL), values)
        if bare_url.startswith("postgresql"):
            connection.execute(text("SELECT setval('labels_id_seq', 6)"))
    bare.dispose()

    store = open_store(bare_url)
    with store.read() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
        first, second, third = (review.find_item(connection, name) for name in ("i1", "i2", "i3"))
        rows = {row.item_id: row for row in review.labelled(connection, "a", START, START + 1)}
        assert review.unmatched(connection) == 1
    assert first is not None and second is not None and third is not None
    assert (first.event_id, first.route, first.day_us, first.race, first.wanted) == ("e1", "extract", START, 1.0, 1)
    assert first.reasons == ("uniform",)
    assert (second.event_id, second.labelled, third.ended) == ("", 2, "removed")
    # Of two labels of one reviewer the last one stands; one that cannot be read is there, and says nothing.
    assert [(v.reviewer, v.verdict) for v in rows["i2"].verdicts] == [("ann", "wrong"), ("cid", "")]

    put(store, [item(9, 0.2)], expires_us=2**62)
    assert [found.item_id for found in review.next_items(store, "ann", EVERYTHING, START, LEASE, 9)] == [
        review.item_id("s9"),
        "i1",
    ]
    assert review.label(store, "i1", "ann", review.Label("correct"), START).state == "done"
    assert state(store, "s9")[0] == "leased"
    store.close()
