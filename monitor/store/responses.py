"""What people say of an anomaly: acknowledged, snoozed, real or false, accepted as the new normal.

Rows are only added. What stands is what was said last: of each pair of opposites the later one. Times are wall clock,
µs. Nothing said here changes a verdict; only an acceptance ends one, at the evaluator's next tick.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

from sqlalchemy import Connection, insert, select

from monitor.store.tables import anomalies, anomaly_responses

Action = Literal["acknowledge", "unacknowledge", "snooze", "wake", "real", "false", "unmark", "accept"]
ACTIONS: Final[tuple[Action, ...]] = (
    "acknowledge", "unacknowledge", "snooze", "wake", "real", "false", "unmark", "accept"
)  # fmt: skip
MOST_NAME: Final = 100
MOST_NOTE: Final = 1000
LONGEST_SNOOZE_US: Final = 30 * 86_400_000_000
_AT_ONCE = 500


class ResponseFault(ValueError):
    """What was said cannot be recorded; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Said:
    """One response."""

    action: Action
    who: str
    time_us: int
    until_us: int | None = None
    note: str = ""
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Standing:
    """What stands of an anomaly; None where nothing was said, or it was taken back."""

    acknowledged: Said | None = None
    snoozed: Said | None = None  # its end may have passed
    marked: Said | None = None  # action: real or false
    accepted: Said | None = None

    def snoozed_at(self, now_us: int) -> bool:
        """Whether it is snoozed then. Where the clock was set back to before it was said, it is not: never for longer
        than somebody asked for."""
        return self.snoozed is not None and self.snoozed.time_us <= now_us < (self.snoozed.until_us or 0)


NOTHING: Final = Standing()


@dataclass(frozen=True, slots=True)
class Marks:
    """How many of the anomalies that were opened people called real or false."""

    opened: int
    real: int
    false: int


def respond(
    connection: Connection,
    anomaly_id: str,
    action: Action,
    who: str,
    now_us: int,
    *,
    until_us: int | None = None,
    note: str = "",
    detail: Mapping[str, Any] | None = None,
) -> tuple[Standing, bool]:
    """Record a response: what stands now, and whether that was new. ``note`` is redacted by the caller.

    Raises ResponseFault: no such anomaly, a snooze of no length or longer than 30 days, a name or note that is too
    long, an anomaly that is accepted already.
    """
    if action not in ACTIONS:
        raise ResponseFault(f"expected what to say of an anomaly, got {action!r}; one of {', '.join(ACTIONS)}")
    if not 0 < len(who) <= MOST_NAME:
        raise ResponseFault(f"a name has 1 to {MOST_NAME} characters, got {len(who)}; say who responds")
    if len(note) > MOST_NOTE:
        raise ResponseFault(f"a note has at most {MOST_NOTE} characters, got {len(note)}; shorten it")
    if action == "snooze" and not (until_us is not None and now_us < until_us <= now_us + LONGEST_SNOOZE_US):
        raise ResponseFault("a snooze ends later than now and within 30 days; give another length")
    row = connection.execute(select(anomalies.c.state).where(anomalies.c.anomaly_id == anomaly_id)).first()
    if row is None:
        raise ResponseFault(f"no anomaly {anomaly_id!r}; `driftline alerts list` shows them")
    if action == "accept" and row.state != "open":
        raise ResponseFault("the anomaly is over already; there is nothing to accept")
    before = standing(connection, [anomaly_id]).get(anomaly_id, NOTHING)
    said = Said(action, who, now_us, until_us if action == "snooze" else None, note, dict(detail or {}))
    after = _after(before, said)
    if _same(before, after):
        return before, False
    connection.execute(
        insert(anomaly_responses).values(
            time_us=now_us,
            who=who,
            action=action,
            anomaly_id=anomaly_id,
            until_us=said.until_us,
            detail=json.dumps({"v": 1, "note": note, **said.detail}, sort_keys=True, ensure_ascii=False),
        )
    )
    return after, True


def _after(before: Standing, said: Said) -> Standing:
    match said.action:
        case "acknowledge":
            return replace(before, acknowledged=said)
        case "unacknowledge":
            return replace(before, acknowledged=None)
        case "snooze":
            return replace(before, snoozed=said)
        case "wake":
            return replace(before, snoozed=None)
        case "real" | "false":
            return replace(before, marked=said)
        case "unmark":
            return replace(before, marked=None)
        case "accept":
            return replace(before, accepted=said)


def _same(before: Standing, after: Standing) -> bool:
    """Whether nothing new is said: who said it first keeps it, unless a later one has a note of his own."""

    def same(old: Said | None, new: Said | None) -> bool:
        if old is None or new is None:
            return old is new
        return (old.action, old.until_us) == (new.action, new.until_us) and new.note in ("", old.note)

    names = ("acknowledged", "snoozed", "marked", "accepted")
    return all(same(getattr(before, name), getattr(after, name)) for name in names)


def standing(connection: Connection, anomaly_ids: Collection[str]) -> dict[str, Standing]:
    """What stands of each of these anomalies that anything was said of."""
    found: dict[str, Standing] = {}
    wanted = sorted(set(anomaly_ids))
    for start in range(0, len(wanted), _AT_ONCE):
        query = (
            select(anomaly_responses)
            .where(anomaly_responses.c.anomaly_id.in_(wanted[start : start + _AT_ONCE]))
            .order_by(anomaly_responses.c.id)
        )
        for row in connection.execute(query):
            found[row.anomaly_id] = _after(found.get(row.anomaly_id, NOTHING), _said(row))
    return found


def history(connection: Connection, anomaly_id: str) -> list[Said]:
    """Everything that was said of an anomaly, oldest first."""
    query = (
        select(anomaly_responses).where(anomaly_responses.c.anomaly_id == anomaly_id).order_by(anomaly_responses.c.id)
    )
    return [_said(row) for row in connection.execute(query)]


def marks(connection: Connection, *, owner: str, severity: str, from_us: int, to_us: int) -> Marks:
    """Of an owner's anomalies of a severity that opened in [from, to) (event time): how many were called what."""
    query = select(anomalies.c.anomaly_id).where(
        anomalies.c.owner == owner,
        anomalies.c.severity == severity,
        anomalies.c.opened_us >= from_us,
        anomalies.c.opened_us < to_us,
    )
    ids = list(connection.execute(query).scalars())
    said = [found.marked.action for found in standing(connection, ids).values() if found.marked is not None]
    return Marks(len(ids), said.count("real"), said.count("false"))


def _said(row: Any) -> Said:
    detail = json.loads(row.detail)
    detail.pop("v", None)
    return Said(row.action, row.who, row.time_us, row.until_us, str(detail.pop("note", "")), detail)
