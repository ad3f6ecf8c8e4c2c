"""What people say of anomalies, and deploys: kept as said, counted once, on both databases."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from sqlalchemy import insert, update

from monitor.store import deploys, outbox, tables
from monitor.store.anomalies import mute, mutes
from monitor.store.deploys import Deploy, DeployFault
from monitor.store.engine import Store, open_store
from monitor.store.responses import (
    LONGEST_SNOOZE_US,
    NOTHING,
    ResponseFault,
    history,
    marks,
    respond,
    standing,
)
from monitor.store.tables import anomalies
from tests.alerts.parts import anomaly
from tests.alerts.test_cli import row

NOW_US = 1_790_000_000_000_000
HOUR_US = 3_600_000_000
OPEN = anomaly("a")
OTHER = anomaly("b")
OVER = anomaly("c", state="resolved")


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    found = open_store(store_url)
    with found.write() as connection:
        connection.execute(insert(anomalies), [row(OPEN), row(OTHER), row(OVER)])
    yield found
    found.close()


def test_what_was_said_last_stands(store: Store) -> None:
    one = OPEN["id"]
    with store.write() as connection:
        assert respond(connection, one, "acknowledge", "ann", NOW_US)[1]
        assert respond(connection, one, "snooze", "ann", NOW_US, until_us=NOW_US + HOUR_US)[1]
        assert respond(connection, one, "real", "ann", NOW_US + 1, note="saw it")[1]
        assert respond(connection, one, "false", "ben", NOW_US + 2, note="a load test")[1]
        found, new = respond(connection, one, "unacknowledge", "ben", NOW_US + 3)
    assert new
    assert found.acknowledged is None
    assert found.marked is not None
    assert (found.marked.action, found.marked.who, found.marked.note) == ("false", "ben", "a load test")
    assert found.snoozed_at(NOW_US + HOUR_US - 1)
    assert not found.snoozed_at(NOW_US + HOUR_US)
    with store.read() as connection:
        assert standing(connection, [one, OTHER["id"]]) == {one: found}
        assert [said.action for said in history(connection, one)] == [
            "acknowledge", "snooze", "real", "false", "unacknowledge"
        ]  # fmt: skip


def test_a_snooze_holds_from_when_it_was_said_to_its_end_by_the_clock(store: Store) -> None:
    with store.write() as connection:
        found, _ = respond(connection, OPEN["id"], "snooze", "ann", NOW_US, until_us=NOW_US + 4 * HOUR_US)
    assert [found.snoozed_at(NOW_US + hours * HOUR_US) for hours in (-24, -1, 0, 3, 4, 21 * 24)] == [
        False, False, True, True, False, False
    ]  # fmt: skip


def test_the_same_said_twice_is_said_once(store: Store) -> None:
    one = OPEN["id"]
    with store.write() as connection:
        assert respond(connection, one, "acknowledge", "ann", NOW_US)[1]
        assert not respond(connection, one, "acknowledge", "ben", NOW_US + 1)[1]
        assert respond(connection, one, "acknowledge", "ben", NOW_US + 2, note="and I know why")[1]
        assert not respond(connection, one, "unmark", "ben", NOW_US + 2)[1]
        assert not respond(connection, one, "wake", "ben", NOW_US + 2)[1]
        assert respond(connection, one, "accept", "ann", NOW_US)[1]
        assert not respond(connection, one, "accept", "ann", NOW_US)[1]
    with store.read() as connection:
        assert len(history(connection, one)) == 3


@pytest.mark.parametrize(
    ("of", "action", "more", "message"),
    [
        ("unknown", "real", {}, "no anomaly"),
        ("OPEN", "snooze", {}, "another length"),
        ("OPEN", "snooze", {"until_us": NOW_US}, "another length"),
        ("OPEN", "snooze", {"until_us": NOW_US + LONGEST_SNOOZE_US + 1}, "another length"),
        ("OPEN", "like", {}, "expected what to say"),
        ("OPEN", "real", {"who": ""}, "1 to 100"),
        ("OPEN", "real", {"note": "x" * 1001}, "at most 1000"),
        ("OVER", "accept", {}, "over already"),
    ],
)
def test_what_cannot_be_said(store: Store, of: str, action: str, more: dict[str, object], message: str) -> None:
    anomaly_id = {"OPEN": OPEN["id"], "OVER": OVER["id"]}.get(of, "f" * 24)
    given = {"who": "ann", "now_us": NOW_US, **more}
    with store.write() as connection, pytest.raises(ResponseFault, match=message):
        respond(connection, anomaly_id, action, **given)  # type: ignore[arg-type]
    with store.read() as connection:
        assert standing(connection, [OPEN["id"], OVER["id"]]) == {}


def test_marks_are_counted_beside_what_was_opened(store: Store) -> None:
    whose = {"owner": OPEN["owner"], "severity": OPEN["severity"]}
    span = {"from_us": OPEN["opened"], "to_us": OPEN["opened"] + 1}
    with store.write() as connection:
        respond(connection, OPEN["id"], "false", "ann", NOW_US)
        respond(connection, OTHER["id"], "false", "ann", NOW_US)
        respond(connection, OTHER["id"], "real", "ann", NOW_US)
    with store.read() as connection:
        found = marks(connection, **whose, **span)
        assert (found.opened, found.real, found.false) == (3, 1, 1)
        assert marks(connection, owner="nobody", severity="page", **span).opened == 0
        assert standing(connection, []).get("x", NOTHING) == NOTHING


def test_a_deploy_is_announced_once(store: Store) -> None:
    first = Deploy("d1", NOW_US, "ci", "v2", "extract", "form*", "faster", NOW_US + HOUR_US)
    with store.write() as connection:
        assert deploys.announce(store, connection, first)
        assert not deploys.announce(store, connection, Deploy("d1", NOW_US + 5, "else", "v3"))
        assert deploys.announce(store, connection, Deploy("d0", NOW_US - HOUR_US, "ci", "v1"))
    with store.read() as connection:
        assert [one.version for one in deploys.list_deploys(connection)] == ["v2", "v1"]
        assert [one.version for one in deploys.list_deploys(connection, to_us=NOW_US)] == ["v1"]
        assert deploys.get(connection, "d1") == first
        assert deploys.get(connection, "d2") is None
        assert deploys.muting(connection, NOW_US) == [first]
        assert deploys.muting(connection, NOW_US + HOUR_US) == []
        assert deploys.muting(connection, NOW_US - 1) == []


def test_a_later_mute_holds_on_to_what_an_earlier_one_holds(store: Store) -> None:
    """Deploys follow each other. What is told of already, or was not muted, waits for nothing."""
    until, later = NOW_US + HOUR_US, NOW_US + 2 * HOUR_US
    held, tried = OPEN["id"], OTHER["id"]
    with store.write() as connection:
        mute(connection, {held: until, tried: until})
        for key in (held, tried):
            outbox.enqueue(
                connection, sink="chat", key=key, kind="anomaly", payload={}, created_us=NOW_US, due_us=until
            )
        (claimed, _) = outbox.claim_due(connection, sink="chat", now_us=until, lease_us=lambda count: HOUR_US)
    tried = claimed.key
    held = next(key for key in (OPEN["id"], OTHER["id"]) if key != tried)
    with store.write() as connection:
        connection.execute(update(tables.outbox).where(tables.outbox.c.key == held).values(lease_until_us=0))
        for number, deploy in enumerate(
            (
                Deploy("", NOW_US + 1, "ci", "v2", route="chat", mute_until_us=later + 1),  # of another route
                Deploy("", NOW_US + 1, "ci", "v2", mute_until_us=NOW_US + 2),  # over before
                Deploy("", NOW_US + 1, "ci", "v2", mute_until_us=later),
                Deploy("", later, "ci", "v3", mute_until_us=later + HOUR_US),  # begins when it is over
            )
        ):
            assert deploys.announce(store, connection, replace(deploy, deploy_id=f"d{number}"))
        assert mutes(connection, [held]) == {held: later}
        assert [row.due_us for row in outbox.deliveries(connection, held)] == [later]
        assert [row.due_us for row in outbox.deliveries(connection, tried)] == [until]
        assert mutes(connection, [OVER["id"], "unknown"]) == {OVER["id"]: 0}


def test_what_a_deploy_covers() -> None:
    deploy = Deploy("d1", NOW_US, "ci", "v2", "extract", "form*")
    assert deploy.covers("extract", "forms/a")
    assert deploy.covers("", "forms/a")
    assert not deploy.covers("chat", "forms/a")
    assert not deploy.covers("extract", "letter")
    assert Deploy("d1", NOW_US, "ci", "v2").covers("chat", "slice:x")


@pytest.mark.parametrize(
    ("deploy", "message"),
    [
        (Deploy("d", NOW_US, "ci", ""), "version"),
        (Deploy("d", NOW_US, "ci", "  "), "version"),
        (Deploy("d", NOW_US, "ci", "v\r\r# owned"), "one line of printable"),
        (Deploy("d", NOW_US, "ci", "v", segment="a\u202eb"), "one line of printable"),
        (Deploy("d", NOW_US, "ci", "v\udcff"), "one line of printable"),
        (Deploy("", NOW_US, "ci", "v"), "an id"),
        (Deploy("d", NOW_US, "ci", "v" * 301), "at most 300"),
        (Deploy("d", NOW_US, "ci", "v", mute_until_us=NOW_US), "mute"),
        (Deploy("d", NOW_US, "ci", "v", mute_until_us=NOW_US + 25 * HOUR_US), "mute"),
    ],
)
def test_deploys_that_cannot_be(store: Store, deploy: Deploy, message: str) -> None:
    with store.write() as connection, pytest.raises(DeployFault, match=message):
        deploys.announce(store, connection, deploy)
