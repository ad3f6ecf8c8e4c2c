"""Reports that were issued, as they were: each in every form, so that later versions of driftline change no byte."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, select

from monitor.store.engine import Store
from monitor.store.tables import reports

FORMS: Final = {"json": "document", "md": "markdown", "html": "html"}  # a form and its column


@dataclass(frozen=True, slots=True)
class Issue:
    """One revision of the report of [from, to) (event time); ``issued_us``: wall clock."""

    from_us: int
    to_us: int
    revision: int
    issued_us: int
    who: str


def add(store: Store, connection: Connection, issue: Issue, pages: Mapping[str, str]) -> bool:
    """Keep a revision in every one of `FORMS`. False, and nothing is kept, where this revision is there already."""
    row = {
        "from_us": issue.from_us,
        "to_us": issue.to_us,
        "revision": issue.revision,
        "issued_us": issue.issued_us,
        "who": issue.who,
        **{column: zlib.compress(pages[form].encode(), 9) for form, column in FORMS.items()},
    }
    return store.insert_ignore(connection, reports, [row]) > 0


def newest(connection: Connection, from_us: int, to_us: int, as_of_us: int | None = None) -> Issue | None:
    """The last revision of a period that was issued, at ``as_of_us`` or before; None where there was none."""
    query = (
        select(*_HEAD)
        .where(reports.c.from_us == from_us, reports.c.to_us == to_us)
        .order_by(reports.c.revision.desc())
        .limit(1)
    )
    if as_of_us is not None:
        query = query.where(reports.c.issued_us <= as_of_us)
    row = connection.execute(query).first()
    return None if row is None else _issue(row)


def revision_of(connection: Connection, from_us: int, to_us: int, revision: int) -> Issue | None:
    """One revision of a period; None where it is not kept."""
    query = select(*_HEAD).where(reports.c.from_us == from_us, reports.c.to_us == to_us, reports.c.revision == revision)
    row = connection.execute(query).first()
    return None if row is None else _issue(row)


def page(connection: Connection, issue: Issue, form: str) -> str:
    """A revision as it was issued, in one of `FORMS`. Raises KeyError for another, LookupError where it is gone."""
    query = select(reports.c[FORMS[form]]).where(
        reports.c.from_us == issue.from_us, reports.c.to_us == issue.to_us, reports.c.revision == issue.revision
    )
    found = connection.execute(query).scalar()
    if found is None:
        raise LookupError(f"revision {issue.revision} of this report is not kept")
    return zlib.decompress(bytes(found)).decode()


def list_issues(connection: Connection, limit: int | None = 100) -> list[Issue]:
    """What was issued, the newest period first, and of one period the newest revision."""
    query = select(*_HEAD).order_by(reports.c.to_us.desc(), reports.c.from_us, reports.c.revision.desc()).limit(limit)
    return [_issue(row) for row in connection.execute(query)]


_HEAD = [reports.c[name] for name in ("from_us", "to_us", "revision", "issued_us", "who")]


def _issue(row: Any) -> Issue:
    return Issue(row.from_us, row.to_us, row.revision, row.issued_us, row.who)
