"""How driftline itself is doing, read from the store: partitions, windows, dead letters, samples, budget, sinks."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from monitor.config.model import Config
from monitor.serve.models import BudgetLine
from monitor.status import budget_lines, evaluated_until
from monitor.store import letters, listing, outbox, retries
from monitor.store.anomalies import list_ids
from monitor.store.letters import LetterRow
from monitor.store.listing import PartitionRow
from monitor.store.outbox import OutboxRow
from monitor.store.responses import Marks, marks
from monitor.store.retries import Retry
from monitor.store.tables import outbox as outbox_table
from monitor.store.tables import samples
from monitor.times import DAY_US
from monitor.undelivered import is_carried

PER_PAGE = 50  # dead letters
MOST_UNDELIVERED = 20
MOST_COVERED = 10  # segments with the lowest coverage that are named
LETTER_BYTES = 4000  # of an original that are shown


@dataclass(frozen=True, slots=True)
class Coverage:
    """Sampled sessions of a segment in the last day that is evaluated: embedded, and not for a reason."""

    segment: str
    embedded: int
    missing: int

    @property
    def share(self) -> float:
        return self.embedded / (self.embedded + self.missing)


@dataclass(frozen=True, slots=True)
class Samples:
    """Of the last day: all, what is missing by reason, what waits, and the segments with the lowest coverage."""

    embedded: int
    missing: dict[str, int]
    pending: int
    lowest: list[Coverage]


@dataclass(frozen=True, slots=True)
class Delivered:
    """Rows of one sink. ``newest_us``: when the newest state that was delivered had been given to it (wall clock);
    ``carried``: whether the configuration has the sink, so that what waits is sent."""

    sink: str
    pending: int
    failed: int
    sent: int
    newest_us: int | None
    oldest_pending_us: int | None
    dismissed: int
    carried: bool


@dataclass(frozen=True, slots=True)
class Promised:
    """An allowance, what was opened of it and what people called that, over its last period."""

    line: BudgetLine
    marks: Marks


@dataclass(frozen=True, slots=True)
class Health:
    """Times of windows in event time, µs; of sinks wall clock."""

    partitions: list[PartitionRow]
    closed_us: int | None
    evaluated_us: int | None
    reasons: dict[str, int]
    samples: Samples
    budget: list[Promised]
    sinks: list[Delivered]
    undelivered: list[OutboxRow]
    open_anomalies: list[str]


def read(connection: Connection, config: Config) -> Health:
    """Everything but dead letters one by one."""
    evaluated = evaluated_until(connection)
    return Health(
        partitions=listing.partition_rows(connection),
        closed_us=listing.closed_until(connection),
        evaluated_us=evaluated,
        reasons=retries.open_by_reason(connection),
        samples=_samples(connection, evaluated),
        budget=_budget(connection, config, evaluated),
        sinks=_sinks(connection, config),
        undelivered=outbox.undelivered(connection, limit=MOST_UNDELIVERED),
        open_anomalies=list_ids(connection, state="open"),
    )


@dataclass(frozen=True, slots=True)
class Letters:
    """A page of dead letters with the last retry of each."""

    rows: list[tuple[LetterRow, Retry | None]]
    more: bool


def letters_of(connection: Connection, reason: str | None, page: int) -> Letters:
    """Dead letters, newest first."""
    rows = letters.list_letters(connection, reason=reason, limit=PER_PAGE + 1, offset=(page - 1) * PER_PAGE)
    shown = rows[:PER_PAGE]
    again = retries.newest(connection, [(row.topic, row.partition, row.offset) for row in shown])
    return Letters([(row, again.get((row.topic, row.partition, row.offset))) for row in shown], len(rows) > PER_PAGE)


def _samples(connection: Connection, until_us: int | None) -> Samples:
    if until_us is None:
        return Samples(0, {}, 0, [])
    t = samples.c
    query = (
        select(t.segment, t.state, t.reason, func.count())
        .where(t.window_us >= until_us - DAY_US, t.window_us < until_us, t.pi > 0)
        .group_by(t.segment, t.state, t.reason)
    )
    pending, missing = 0, dict[str, int]()
    counts: dict[str, list[int]] = {}
    for segment, state, reason, count in connection.execute(query):
        if state == "pending":
            pending += count
            continue
        counts.setdefault(segment, [0, 0])[state == "missing"] += count
        if state == "missing":
            missing[reason] = missing.get(reason, 0) + count
    found = [Coverage(segment, embedded, lacking) for segment, (embedded, lacking) in counts.items()]
    lowest = sorted((one for one in found if one.missing), key=lambda one: (one.share, one.segment))
    return Samples(sum(one.embedded for one in found), missing, pending, lowest[:MOST_COVERED])


def _budget(connection: Connection, config: Config, until_us: int | None) -> list[Promised]:
    found = []
    periods = {name: owner.budget for name, owner in config.owners.items()}
    for line in budget_lines(connection, config, until_us):
        budget = periods.get(line.owner, config.budget)
        period = (budget.page if line.severity == "page" else budget.ticket).period_us
        until = until_us or 0
        said = marks(connection, owner=line.owner, severity=line.severity, from_us=until - period, to_us=until + 1)
        found.append(Promised(line, said))
    return found


def _sinks(connection: Connection, config: Config) -> list[Delivered]:
    """Every configured sink, and those that rows are left of."""
    t = outbox_table.c
    query = select(t.sink, t.state, func.count(), func.min(t.created_us), func.max(t.created_us)).group_by(
        t.sink, t.state
    )
    by_sink: dict[str, dict[str, tuple[int, int, int]]] = {name: {} for name in config.alerts.sinks}
    for sink, state, count, oldest, newest in connection.execute(query):
        by_sink.setdefault(sink, {})[state] = (count, oldest, newest)
    nothing = (0, None, None)
    found = []
    for name in sorted(by_sink):
        of: dict[str, tuple[int, int | None, int | None]] = dict(by_sink[name])
        pending, sent = of.get("pending", nothing), of.get("sent", nothing)
        failed, dismissed = (of.get(state, nothing)[0] for state in ("failed", "dismissed"))
        carried = is_carried(config, name)
        found.append(Delivered(name, pending[0], failed, sent[0], sent[2], pending[1], dismissed, carried))
    return found
