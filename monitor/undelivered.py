"""Deliveries that did not get through, and what people do about them: have them sent again, or put them aside.

A target that refuses the content of a delivery is not asked again (`failed`), and what is left for a sink that the
configuration no longer has is carried by nobody (`pending` for ever); both hold an alert until somebody decides. What
still waits at a configured sink is tried for ever and cannot be put aside: it would be lost.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sqlalchemy import Connection

from alerts.sinks.people import without_refusals
from monitor.alerting import describe
from monitor.config.model import Config
from monitor.events.redaction import Redactor
from monitor.store import deliveries, outbox
from monitor.store.decision import Decision
from monitor.store.engine import Store
from monitor.store.outbox import OutboxRow
from monitor.store.responses import MOST_NAME, MOST_NOTE

MOST = 1000  # rows of a sink that one call decides of, the oldest first
WORDS = {"pending": "waiting", "sent": "delivered", "failed": "refused", "dismissed": "dismissed"}


class UndeliveredFault(ValueError):
    """Nothing can be decided as asked for; the message says why and what to do."""


def is_carried(config: Config, sink: str) -> bool:
    """Whether the configuration has a sink of this name; what is left for another one is carried by nobody."""
    return sink in describe(config)


def resend(store: Store, config: Config, keys: Sequence[str], sink: str | None, by: Decision) -> list[OutboxRow]:
    """Have refused or dismissed deliveries sent again by whatever carries them: those whose keys begin with ``keys``
    (of ``sink`` alone, if given), or all that the sink refused. Returns the rows as they were. Raises UndeliveredFault.
    """
    by = _checked(config, by)
    with store.write() as connection:
        wanted = ("failed", "dismissed") if keys else ("failed",)
        rows = _chosen(connection, keys, sink, lambda row: row.state in wanted, wanted, "refused")
        for row in rows:
            if not is_carried(config, row.sink):
                raise UndeliveredFault(
                    f"no sink {row.sink!r} is configured any more, so nothing would send it; configure one of that "
                    "name, or dismiss what is left for it"
                )
        return [row for row in rows if deliveries.resend(connection, row, without_refusals(row.remote), by)]


def dismiss(store: Store, config: Config, keys: Sequence[str], sink: str | None, by: Decision) -> list[OutboxRow]:
    """Put aside deliveries that were refused, or are left for a sink that is configured no more. Returns the rows as
    they were. Raises UndeliveredFault."""
    by = _checked(config, by)

    def fits(row: OutboxRow) -> bool:
        return row.state == "failed" or (row.state == "pending" and not is_carried(config, row.sink))

    states = ("failed",) if sink is not None and is_carried(config, sink) else outbox.UNDELIVERED
    with store.write() as connection:
        rows = _chosen(connection, keys, sink, fits, states, "refused, or left for a sink that is gone")
        return [row for row in rows if deliveries.dismiss(connection, row, by)]


def restore(store: Store, config: Config, keys: Sequence[str], sink: str | None, by: Decision) -> list[OutboxRow]:
    """Take dismissals back. Returns the rows as they were. Raises UndeliveredFault."""
    by = _checked(config, by)
    with store.write() as connection:
        rows = _chosen(connection, keys, sink, lambda row: row.state == "dismissed", ("dismissed",), "dismissed")
        return [row for row in rows if deliveries.restore(connection, row, by)]


def _checked(config: Config, by: Decision) -> Decision:
    if not 0 < len(by.who) <= MOST_NAME:
        raise UndeliveredFault(f"a name has 1 to {MOST_NAME} characters, got {len(by.who)}; say who decides")
    if len(by.note) > MOST_NOTE:
        raise UndeliveredFault(f"a note has at most {MOST_NOTE} characters, got {len(by.note)}; shorten it")
    note = Redactor(config.privacy.redact).text(by.note) if by.note else ""
    return Decision(by.who, by.time_us, note)


def _chosen(
    connection: Connection,
    keys: Sequence[str],
    sink: str | None,
    fits: Callable[[OutboxRow], bool],
    states: Sequence[str],
    what: str,
) -> list[OutboxRow]:
    """The rows that are meant, and fit. Raises UndeliveredFault where a key means none of them, or several."""
    if not keys:
        rows = [row for row in outbox.undelivered(connection, sink=sink, states=states, limit=MOST) if fits(row)]
        if not rows:
            raise UndeliveredFault(
                f"nothing at {sink!r} is {what}; `driftline alerts list` shows what did not get through"
            )
        return rows
    found: dict[int, OutboxRow] = {}
    for key in keys:
        rows = outbox.beginning(connection, key, sink=sink) if key else []
        at = "" if sink is None else f" for {sink}"
        if not rows:
            raise UndeliveredFault(
                f"no delivery{at} has an id that begins with {key!r}; `driftline alerts list` shows what did not get "
                "through"
            )
        if len({row.key for row in rows}) > 1:
            rows = [row for row in rows if row.key == key]
        if not rows:
            raise UndeliveredFault(f"several deliveries{at} have ids that begin with {key!r}; write more characters")
        fitting = [row for row in rows if fits(row)]
        if not fitting:
            states_of = ", ".join(f"{WORDS[row.state]} at {row.sink}" for row in rows)
            waits = "; what waits is sent by itself" if any(row.state == "pending" for row in rows) else ""
            raise UndeliveredFault(f"no delivery of {rows[0].key[:10]} is {what}: it is {states_of}{waits}")
        found |= {row.id: row for row in fitting}
    return list(found.values())
