"""Reads of recorded anomalies, and their mutes. The evaluator writes them, with the evidence they rest on."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Select, func, select, update

from monitor.store.tables import anomalies


@dataclass(frozen=True, slots=True)
class AnomalyRow:
    """One anomaly; ``document`` is what alerts/anomaly.schema.json describes. Times: event time, µs.

    ``muted_until_us`` is wall clock: it opened in a deploy's mute, and nobody is told before.
    """

    anomaly_id: str
    owner: str
    segment: str
    signal: str
    state: str  # open | resolved
    severity: str  # page | ticket | report
    historic: bool
    opened_us: int
    updated_us: int
    resolved_us: int | None
    document: dict[str, Any]
    muted_until_us: int | None = None

    def muted_at(self, now_us: int) -> bool:
        """Whether a deploy's mute keeps it from everybody at ``now_us`` (wall clock)."""
        return self.muted_until_us is not None and self.muted_until_us > now_us


def get_anomaly(conn: Connection, anomaly_id: str) -> AnomalyRow | None:
    """The anomaly with this id, or None."""
    found = conn.execute(select(anomalies).where(anomalies.c.anomaly_id == anomaly_id)).mappings().first()
    return None if found is None else _row(found)


def find_anomalies(conn: Connection, prefix: str, *, limit: int = 2) -> list[AnomalyRow]:
    """Anomalies whose id begins with ``prefix``, so that people may type a few characters of it."""
    escaped = prefix.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    query = select(anomalies).where(anomalies.c.anomaly_id.like(f"{escaped}%", escape="\\"))
    query = query.order_by(anomalies.c.anomaly_id).limit(limit)
    return [_row(found) for found in conn.execute(query).mappings()]


def list_anomalies(
    conn: Connection,
    *,
    state: str | None = None,
    segment: str | None = None,
    signal: str | None = None,
    owner: str | None = None,
    severity: str | None = None,
    historic: bool | None = None,
    from_us: int | None = None,
    to_us: int | None = None,
    limit: int | None = 1000,
    offset: int = 0,
) -> list[AnomalyRow]:
    """Anomalies that match every given value, newest opening first.

    ``segment`` and ``signal`` are those of any of an anomaly's facts: an incident is found wherever it shows.
    ``from_us``/``to_us`` bound the opening (event time, µs; the end is exclusive).
    """
    query = _matching(
        select(anomalies),
        state=state,
        segment=segment,
        signal=signal,
        owner=owner,
        severity=severity,
        historic=historic,
        from_us=from_us,
        to_us=to_us,
    )
    query = query.order_by(anomalies.c.opened_us.desc(), anomalies.c.anomaly_id).offset(offset)
    if limit is not None:
        query = query.limit(limit)
    return [_row(found) for found in conn.execute(query).mappings()]


def overlapping(conn: Connection, segment: str | None, from_us: int, to_us: int, *, limit: int) -> list[AnomalyRow]:
    """Anomalies (of a segment or any) that began before ``to_us`` and were not over before ``from_us``, newest first.

    An anomaly is opened after its change began: what began in the stretch and was opened later is not among them.
    """
    query = _matching(select(anomalies), segment=segment, to_us=to_us)
    query = query.where((anomalies.c.state == "open") | (anomalies.c.resolved_us >= from_us))
    query = query.order_by(anomalies.c.opened_us.desc(), anomalies.c.anomaly_id).limit(limit)
    return [_row(found) for found in conn.execute(query).mappings()]


def list_ids(
    conn: Connection,
    *,
    state: str | None = None,
    segment: str | None = None,
    severity: str | None = None,
    historic: bool | None = None,
) -> list[str]:
    """Ids of all anomalies that match, as `list_anomalies` orders and finds them, without reading their documents."""
    query = _matching(
        select(anomalies.c.anomaly_id), state=state, segment=segment, severity=severity, historic=historic
    )
    return list(conn.execute(query.order_by(anomalies.c.opened_us.desc(), anomalies.c.anomaly_id)).scalars())


def count_open(conn: Connection) -> Counter[str]:
    """Open anomalies by severity."""
    query = select(anomalies.c.severity, func.count()).where(anomalies.c.state == "open").group_by(anomalies.c.severity)
    return Counter({row[0]: row[1] for row in conn.execute(query)})


def get_anomalies(conn: Connection, ids: Sequence[str]) -> list[AnomalyRow]:
    """The anomalies with these ids, in their order; unknown ones are left out."""
    found = conn.execute(select(anomalies).where(anomalies.c.anomaly_id.in_(ids))).mappings()
    rows = {row["anomaly_id"]: _row(row) for row in found}
    return [rows[one] for one in ids if one in rows]


def anomaly_segments(conn: Connection, *, limit: int) -> list[str]:
    """Segments and slices that have anomalies of their own, in the order of their names."""
    query = select(anomalies.c.segment).distinct().order_by(anomalies.c.segment).limit(limit)
    return list(conn.execute(query).scalars())


def active_anomalies(conn: Connection) -> list[AnomalyRow]:
    """Every open anomaly, historic ones too, newest opening first."""
    return list_anomalies(conn, state="open", limit=None)


def resolved_since(conn: Connection, from_us: int) -> list[tuple[str, int]]:
    """(id, when in event time, µs) of every anomaly that was over at ``from_us`` or later, in the order of ids."""
    query = select(anomalies.c.anomaly_id, anomalies.c.resolved_us).where(anomalies.c.resolved_us >= from_us)
    return [(row.anomaly_id, row.resolved_us) for row in conn.execute(query.order_by(anomalies.c.anomaly_id))]


def mutes(conn: Connection, ids: Sequence[str]) -> dict[str, int]:
    """Until when (wall clock, µs; 0: not at all) each of these anomalies is muted; unknown ones are left out."""
    found: dict[str, int] = {}
    for begin in range(0, len(ids), 500):  # a statement takes a bounded number of values
        wanted = anomalies.c.anomaly_id.in_(ids[begin : begin + 500])
        for row in conn.execute(select(anomalies.c.anomaly_id, anomalies.c.muted_until_us).where(wanted)):
            found[row.anomaly_id] = row.muted_until_us or 0
    return found


def mute(conn: Connection, until: Mapping[str, int]) -> None:
    """Remember until when (wall clock, µs) nobody is to be told of these anomalies."""
    for anomaly_id, until_us in until.items():
        mine = anomalies.c.anomaly_id == anomaly_id
        conn.execute(update(anomalies).where(mine).values(muted_until_us=until_us))


def count_by_state(conn: Connection) -> dict[str, int]:
    """Number of anomalies per state; both states are always there."""
    counts = {"open": 0, "resolved": 0}
    query = select(anomalies.c.state, func.count()).group_by(anomalies.c.state)
    counts.update({row[0]: row[1] for row in conn.execute(query)})
    return counts


def count_opened(conn: Connection, *, owner: str, severity: str, from_us: int, to_us: int) -> int:
    """Anomalies of an owner and a severity opened in [from_us, to_us): what the budget is counted in."""
    query = (
        select(func.count())
        .select_from(anomalies)
        .where(
            anomalies.c.owner == owner,
            anomalies.c.severity == severity,
            anomalies.c.opened_us >= from_us,
            anomalies.c.opened_us < to_us,
        )
    )
    return conn.execute(query).scalar_one()


def _matching(
    query: Select[Any],
    *,
    state: str | None = None,
    segment: str | None = None,
    signal: str | None = None,
    owner: str | None = None,
    severity: str | None = None,
    historic: bool | None = None,
    from_us: int | None = None,
    to_us: int | None = None,
) -> Select[Any]:
    equals: Sequence[tuple[Any, Any]] = (
        (anomalies.c.state, state),
        (anomalies.c.owner, owner),
        (anomalies.c.severity, severity),
        (anomalies.c.historic, historic),
    )
    for column, value in equals:
        if value is not None:
            query = query.where(column == value)
    for column, key, value in ((anomalies.c.segment, "subject", segment), (anomalies.c.signal, "signal", signal)):
        if value is not None:
            # Documents are canonical JSON: within a text a quote would be escaped, so that this is a fact's own field.
            fact = f'"{key}":{json.dumps(value, ensure_ascii=False)}'
            query = query.where(
                (column == value) | (func.replace(anomalies.c.document, fact, "") != anomalies.c.document)
            )
    if from_us is not None:
        query = query.where(anomalies.c.opened_us >= from_us)
    if to_us is not None:
        query = query.where(anomalies.c.opened_us < to_us)
    return query


def _row(found: Mapping[Any, Any]) -> AnomalyRow:
    return AnomalyRow(
        anomaly_id=found["anomaly_id"],
        owner=found["owner"],
        segment=found["segment"],
        signal=found["signal"],
        state=found["state"],
        severity=found["severity"],
        historic=bool(found["historic"]),
        opened_us=found["opened_us"],
        updated_us=found["updated_us"],
        resolved_us=found["resolved_us"],
        document=json.loads(found["document"]),
        muted_until_us=found["muted_until_us"],
    )
