"""The overview's table: every segment with its main figures, a line of its traffic, in the order that is asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from sqlalchemy import Connection

from monitor.config.model import Config
from monitor.serve import models, queries
from monitor.serve.cells import Cell, cell
from monitor.serve.shell import ALL, View
from monitor.serve.templating import alike
from monitor.store import listing
from monitor.times import DAY_US, HOUR_US

Sort = Literal[
    "", "name", "open", "events", "cost_total", "cost_p95", "latency_total_p50", "latency_total_p95", "error_rate",
    "schema_violation_rate", "citation_ungrounded_rate",
]  # fmt: skip
Order = Literal["", "asc", "desc"]
# What a person looks for; (what it is sorted by, what the column says). The figures are those of `queries.MAIN`.
COLUMNS: tuple[tuple[Sort, str], ...] = (
    ("name", "segment"),
    ("open", "open"),
    ("events", "events"),
    ("cost_total", "spend"),
    ("cost_p95", "cost p95"),
    ("latency_total_p50", "latency p50"),
    ("latency_total_p95", "latency p95"),
    ("error_rate", "errors"),
    ("schema_violation_rate", "schema broken"),
    ("citation_ungrounded_rate", "ungrounded"),
)
MOST = 100  # that are shown at once
_WIDTH, _HEIGHT = 96.0, 22.0
_STAKES = {"high": 0, "medium": 1, "low": 2}


@dataclass(frozen=True, slots=True)
class Read:
    """The segments of a range, ``all`` first, and of each (route, name) its events by step that is over."""

    rows: Sequence[models.Segment]
    traffic: Mapping[tuple[str, str], Sequence[tuple[int, int]]]


@dataclass(frozen=True, slots=True)
class Row:
    """A row as it is shown. ``line``: the path of its traffic in a picture of 96 x 22, '' where there is none."""

    name: str
    address: str
    notes: str
    open: int
    events: int
    cells: Sequence[Cell]
    line: str


def read(connection: Connection, config: Config, view: View) -> Read:
    """What the table is made of, whatever its order."""
    rows = queries.segments(connection, config, (view.begin_us, view.end_us))
    days = view.end_us - view.begin_us > 2 * DAY_US
    step = DAY_US if days else HOUR_US
    found = listing.events_by_window(connection, view.begin_us, view.end_us, days=days)
    steps = sorted({at for by_step in found.values() for at in by_step if view.begin_us <= at <= view.end_us - step})
    traffic = {place: [(at, by_step.get(at, 0)) for at in steps] for place, by_step in found.items()}
    traffic["", ALL] = [(at, sum(by_step.get(at, 0) for by_step in found.values())) for at in steps]
    return Read(rows, traffic)


class Asked(Protocol):
    """The order and the part of a name that are asked for; empty ones ask for nothing."""

    @property
    def sort(self) -> Sort: ...
    @property
    def order(self) -> Order: ...
    @property
    def find(self) -> str: ...


def count(found: Read, find: str) -> int:
    """How many segments there are, or that have a text in their names."""
    return sum(1 for row in found.rows if row.route and _named(row, find))


def table(found: Read, config: Config, view: View, asked: Asked, at: range, *, waiting: int) -> list[Row]:
    """The sum of all, then the segments ``at`` these places of the order asked for (default: open ones, then stakes).

    The sum is left out of what was looked for by name, and of later pages. ``waiting``: open anomalies. Of segments an
    anomaly counts wherever it shows, so that these add up to more.
    """
    currency = config.prices.currency
    whole = [row for row in found.rows if not row.route and not asked.find and at.start == 0]
    rest = [row for row in found.rows if row.route and _named(row, asked.find)]
    if asked.sort:
        rest.sort(key=lambda row: row.name)
        read_of = _key(asked.sort)
        known = [row for row in rest if read_of(row) is not None]
        known.sort(key=read_of, reverse=descends(asked.sort, asked.order))
        rest = known + [row for row in rest if read_of(row) is None]
    else:
        rest.sort(key=lambda row: (-row.open_anomalies, _STAKES.get(row.stakes, 9), -row.events, row.name))
    return [
        Row(
            row.name,
            view.at("/segment", segment="" if not row.route else row.name),
            _notes(row),
            row.open_anomalies if row.route else waiting,
            row.events,
            [cell(figure, currency) for figure in row.figures],
            _line(found.traffic.get((row.route, row.name), ())),
        )
        for row in [*whole, *rest[at.start : at.stop]]
    ]


def _named(row: models.Segment, find: str) -> bool:
    return not find or bool(alike([row.name], find))


def descends(sort: Sort, order: Order) -> bool:
    """Whether the greatest comes first: of names the first letter does, of figures the greatest, unless asked."""
    return order == "desc" if order else sort != "name"


def _key(sort: Sort) -> Callable[[models.Segment], Any]:
    if sort == "name":
        return lambda row: row.name
    if sort == "open":
        return lambda row: row.open_anomalies
    if sort == "events":
        return lambda row: row.events
    at = queries.MAIN.index(sort)
    return lambda row: row.figures[at].value


def _notes(row: models.Segment) -> str:
    if not row.route:
        return "sum of all segments"
    return f"{row.stakes} stakes" + (f" · {row.route}" if row.route != row.name else "")


def _line(points: Sequence[tuple[int, int]]) -> str:
    if len(points) < 2:
        return ""
    first, last, top = points[0][0], points[-1][0], max(max(n for _, n in points), 1)
    placed = (
        f"{(at - first) / (last - first) * _WIDTH:.0f} {_HEIGHT - 1 - n / top * (_HEIGHT - 2):.0f}" for at, n in points
    )
    return "M" + " L".join(placed)
