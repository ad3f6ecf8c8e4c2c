"""What is marked on lines over time: anomalies of their signals, new versions, deploys."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from monitor.serve.anomalies import words
from monitor.serve.charts import Mark
from monitor.serve.shell import View
from monitor.store import listing
from monitor.store.anomalies import AnomalyRow, list_anomalies
from monitor.store.deploys import list_deploys

MOST_ANOMALIES = 200
MOST_MARKS = 20  # versions, and deploys
_LONGEST = 140  # characters of what a mark says


@dataclass(frozen=True, slots=True)
class Marked:
    """``stretches``: (signal, mark) of every fact in view; ``moments``: marks that belong on every line;
    ``cut``: versions and deploys that are left out."""

    stretches: Sequence[tuple[str, Mark]]
    moments: Sequence[Mark]
    cut: int = 0

    def of(self, signals: Collection[str]) -> list[Mark]:
        """The anomalies of some signals, then what belongs on every line."""
        return [mark for signal, mark in self.stretches if signal in signals] + list(self.moments)


def read(connection: Connection, view: View, begin_us: int, route: str = "") -> Marked:
    """Marks of a view's segment, or of all segments, in [begin, end of the view)."""
    stretches: list[tuple[str, Mark]] = []
    for row in list_anomalies(connection, segment=view.one, to_us=view.end_us, limit=MOST_ANOMALIES):
        stretches += _facts(row, view.one, begin_us, view.end_us)
    stretches.sort(key=lambda pair: pair[1].x)
    versions = listing.versions_began(connection, begin_us, view.end_us, view.one)
    moments = [Mark(at, f"New version: {version}"[:_LONGEST], "version") for at, version in versions]
    announced = [
        Mark(one.time_us, f"Deploy: {one.version}"[:_LONGEST], "deploy")
        for one in list_deploys(connection, from_us=begin_us, to_us=view.end_us)
        if view.one is None or one.covers(route, view.one)
    ]
    kept = moments[-MOST_MARKS:] + announced[:MOST_MARKS]
    return Marked(stretches, sorted(kept, key=lambda mark: mark.x), len(moments) + len(announced) - len(kept))


def _facts(row: AnomalyRow, segment: str | None, begin_us: int, end_us: int) -> list[tuple[str, Mark]]:
    facts: Any = row.document.get("facts")
    if not isinstance(facts, list) or not facts:
        facts = [{"subject": row.segment, "signal": row.signal, "opened": row.opened_us}]
    found = []
    for fact in facts:
        if not isinstance(fact, dict) or segment not in (None, fact.get("subject")):
            continue
        since: Any = fact.get("since")
        low = since.get("low") if isinstance(since, dict) else fact.get("opened")
        over = fact.get("resolved") or row.resolved_us or end_us
        if not isinstance(low, int) or not isinstance(over, int) or over < begin_us or low >= end_us:
            continue
        where = f"{fact.get('subject')}: " if segment is None else ""
        told = str(fact.get("sentence") or words.headline(row)[0]).partition(" (95 % interval")[0]
        text = f"{row.severity}: {where if str(fact.get('subject')) not in told else ''}{told}"
        text = text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
        mark = Mark(max(low, begin_us), text, "anomaly", min(max(over, low), end_us), f"/anomalies/{row.anomaly_id}")
        found.append((str(fact.get("signal")), mark))
    return found
