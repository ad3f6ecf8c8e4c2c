"""The audit: who did what to which item when. Rows are only added (`driftline forget` blanks what they quote).

A client that makes an id for each request may send it again until it has an answer: the first one that commits
holds (who, request_id), any later one finds it there and changes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from sqlalchemy import Connection, insert, select, text
from sqlalchemy.dialects import postgresql, sqlite

from monitor.store.engine import Store
from monitor.store.review.items import check_name, encode
from monitor.store.tables import review_audit

Action = Literal[
    "lease", "renew", "lapse", "release", "label", "skip", "undo", "remove", "expire", "import", "join", "forget"
]
ACTIONS: Final[tuple[Action, ...]] = (
    "lease", "renew", "lapse", "release", "label", "skip", "undo", "remove", "expire", "import", "join", "forget"
)  # fmt: skip
MOST_REQUEST_ID: Final = 64

_WRITE = insert(review_audit).inline()  # the new id is not asked for
_FIRST = {
    "postgresql": postgresql.insert(review_audit).on_conflict_do_nothing().returning(review_audit.c.id),
    "sqlite": sqlite.insert(review_audit).on_conflict_do_nothing().returning(review_audit.c.id),
}


@dataclass(frozen=True, slots=True)
class AuditRow:
    """One thing that was done. ``who`` is '' where the clock did it; ``time_us``: wall clock."""

    id: int
    time_us: int
    who: str
    action: str
    item_id: str
    request_id: str
    detail: dict[str, Any]


def row(
    action: Action, item_id: str, who: str, now_us: int, detail: Mapping[str, Any], request_id: str = ""
) -> dict[str, Any]:
    """A row to be written; ``detail`` gets its format version."""
    return {
        "time_us": now_us,
        "who": who,
        "action": action,
        "item_id": item_id,
        "request_id": request_id,
        "detail": encode({"v": 1, **detail}),
    }


def write(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Add rows, in the caller's transaction."""
    if len(rows) == 1:  # far cheaper on PostgreSQL than a list of one
        connection.execute(_WRITE, dict(rows[0]))
    elif rows:
        connection.execute(_WRITE, list(rows))


def first(connection: Connection, new: Mapping[str, Any]) -> bool:
    """Add a row of a request; False, and nothing is added, where this request was carried out before.

    Waits for a transaction that is carrying out the same request. A request without an id is always a first one.
    """
    request_id = new["request_id"]
    check_name("a request's id", request_id, MOST_REQUEST_ID, least=0)
    if not request_id:
        write(connection, [new])
        return True
    return connection.execute(_FIRST[connection.dialect.name], dict(new)).first() is not None


def carried_out(
    connection: Connection, who: str, request_id: str, action: str, item_id: str | None = None
) -> AuditRow | None:
    """What a reviewer's request led to, or None. Raises ValueError where its id was used for another action, or about
    another item than ``item_id``."""
    if not request_id:
        return None
    query = select(review_audit).where(
        review_audit.c.who == who, review_audit.c.request_id == request_id, text("request_id <> ''")
    )
    found = connection.execute(query).first()
    if found is None:
        return None
    if found.action != action or (item_id is not None and found.item_id != item_id):
        raise ValueError(
            f"the request id {request_id!r} was used before, for {found.action} of item {found.item_id}, now for "
            f"{action}{'' if item_id is None else f' of {item_id}'}; make a new one for each request"
        )
    return _row(found)


def audit_of(store: Store, item_id: str) -> list[AuditRow]:
    """Everything that was done to an item, oldest first."""
    query = select(review_audit).where(review_audit.c.item_id == item_id).order_by(review_audit.c.id)
    with store.read() as connection:
        return [_row(found) for found in connection.execute(query)]


def _row(found: Any) -> AuditRow:
    values = {name: getattr(found, name) for name in AuditRow.__dataclass_fields__}
    return AuditRow(**{**values, "detail": json.loads(found.detail)})
