"""Deploys that people or pipelines announced: shown beside what changed, and muting alerts for a while if asked.

Times are wall clock, µs.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from typing import Final

from sqlalchemy import Connection, select

from monitor.store import outbox
from monitor.store.anomalies import active_anomalies, mute
from monitor.store.engine import Store
from monitor.store.tables import deploys

LONGEST_MUTE_US: Final = 86_400_000_000
MOST_NOTE: Final = 1000


class DeployFault(ValueError):
    """A deploy cannot be recorded; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Deploy:
    """``route``: '' for all; ``segment``: a pattern, '' for all; ``mute_until_us``: None where nothing is muted."""

    deploy_id: str
    time_us: int
    who: str
    version: str
    route: str = ""
    segment: str = ""
    note: str = ""
    mute_until_us: int | None = None

    def covers(self, route: str, segment: str) -> bool:
        """Whether it changed what is seen in a segment. A route that is not known may be this one."""
        return (not self.route or not route or self.route == route) and (
            not self.segment or fnmatchcase(segment, self.segment)
        )


def identity(version: str, route: str, segment: str, time_us: int) -> str:
    """The id of a deploy whose caller has none for it."""
    told = "\x00".join((version, route, segment, str(time_us)))
    return hashlib.blake2b(told.encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()


def announce(store: Store, connection: Connection, deploy: Deploy) -> bool:
    """Record a deploy. False, and nothing changes, where its id is known. ``note`` is redacted by the caller.

    Raises DeployFault: no version, a text that is too long or not one printable line, a mute that ends before the
    deploy or later than a day after it.
    """
    limits = {"deploy_id": 64, "who": 100, "version": 300, "route": 200, "segment": 200, "note": MOST_NOTE}
    for name, most in limits.items():
        if len(getattr(deploy, name)) > most:
            raise DeployFault(f"{name} of a deploy has at most {most} characters; shorten it")
    for name in ("deploy_id", "who", "version"):
        if not getattr(deploy, name).strip():
            raise DeployFault(f"a deploy needs {name.replace('deploy_id', 'an id')}; say which version was deployed")
    for name in limits:
        if not (text := getattr(deploy, name)).isprintable():
            raise DeployFault(f"{name} of a deploy is one line of printable characters, got {text!r}; write it without")
    until = deploy.mute_until_us
    if until is not None and not deploy.time_us < until <= deploy.time_us + LONGEST_MUTE_US:
        raise DeployFault("a mute is longer than nothing and at most 24 h; give another length")
    new = store.insert_ignore(connection, deploys, [asdict(deploy)]) > 0
    if new and until is not None:
        _hold_on(connection, deploy, until)
    return new


def _hold_on(connection: Connection, deploy: Deploy, until_us: int) -> None:
    """Deploys follow each other: what opened in a mute that is not over waits for the end of this one as well."""
    held = [
        row.anomaly_id
        for row in active_anomalies(connection)
        if row.muted_at(deploy.time_us)
        and (row.muted_until_us or 0) < until_us
        and deploy.covers(str(row.document.get("route") or ""), row.segment)
    ]
    mute(connection, dict.fromkeys(held, until_us))
    outbox.put_off(connection, held, until_us)


def list_deploys(
    connection: Connection, *, from_us: int | None = None, to_us: int | None = None, limit: int = 1000
) -> list[Deploy]:
    """Deploys with from <= time < to, newest first."""
    query = select(deploys).order_by(deploys.c.time_us.desc(), deploys.c.deploy_id).limit(limit)
    if from_us is not None:
        query = query.where(deploys.c.time_us >= from_us)
    if to_us is not None:
        query = query.where(deploys.c.time_us < to_us)
    return [Deploy(**row) for row in connection.execute(query).mappings()]


def get(connection: Connection, deploy_id: str) -> Deploy | None:
    """The deploy with this id, or None."""
    row = connection.execute(select(deploys).where(deploys.c.deploy_id == deploy_id)).mappings().first()
    return None if row is None else Deploy(**row)


def muting(connection: Connection, now_us: int) -> list[Deploy]:
    """Deploys whose mute has begun and is not over."""
    query = select(deploys).where(deploys.c.time_us <= now_us, deploys.c.mute_until_us > now_us)
    return [Deploy(**row) for row in connection.execute(query).mappings()]
