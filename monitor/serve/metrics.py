"""/metrics: product series and store-wide health from the leader, rendered once per tick; self metrics from everyone.

`ProductMetrics.refresh` reads the store and keeps the families; a scrape only prints them. docs/metrics.md is
generated from the catalogues here, in monitor/metrics.py and in monitor/serve/series.py.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.registry import Collector
from sqlalchemy import Connection, func, select

from alerts.anomaly import SLICE_PREFIX
from detectors.cost.projection import Projection
from detectors.summaries.summary import Summary
from monitor.metrics import SELF, Family, SelfMetrics, Series, families
from monitor.serve.anomalies.series import ALERTING, Allowed, alerting_families
from monitor.serve.projection import MonthProjector
from monitor.serve.review.series import REVIEW, ErrorRates, LabelsGiven, review_families
from monitor.serve.series import PLACE, PRODUCT, Window, families_of_summaries, families_of_window
from monitor.serve.window import Parts
from monitor.store import label_partitions, outbox, review
from monitor.store.anomalies import AnomalyRow
from monitor.store.engine import Store
from monitor.store.tables import dead_letters, evaluation, partitions, samples

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

STORE = (
    Series("driftline_records_total", "counter", ("topic", "partition"), "Events counted, duplicates left out."),
    Series("driftline_duplicates_total", "counter", ("topic", "partition"), "Events dropped since their id was seen."),
    Series("driftline_late_events_total", "counter", ("topic", "partition"), "Events counted in late rows."),
    Series("driftline_dead_letters_total", "counter", ("topic", "partition"), "Records that could not be used."),
    Series("driftline_dead_letters_stored", "gauge", ("reason",), "Dead letters in the store, by reason."),
    Series(
        "driftline_record_notes_total", "counter", ("note",), "Things that happened to records that were used, by name."
    ),
    Series("driftline_watermark_seconds", "gauge", ("topic", "partition"), "Watermark (event time, epoch seconds)."),
    Series("driftline_samples", "gauge", ("state",), "Samples in the store: pending, embedded or missing."),
    Series("driftline_samples_missing", "gauge", ("reason",), "Samples in the store without vectors, and why."),
    Series(
        "driftline_outbox_rows", "gauge", ("sink", "state"), "Deliveries by state: pending, sent, failed or dismissed."
    ),
    Series(
        "driftline_outbox_oldest_seconds",
        "gauge",
        ("sink",),
        "Age of the oldest pending delivery; 0 without one, and while all wait for a deploy's mute to end.",
    ),
    Series("driftline_outbox_attempts", "gauge", ("sink",), "Most attempts of a delivery that is not delivered yet."),
    Series(
        "driftline_labels_read_total",
        "counter",
        ("topic", "outcome"),
        "Records of the labels topic by what became of them: labelled, replaced, repeated, kept, forgotten, skipped, "
        "ignored or dead_letter.",
    ),
    Series(
        "driftline_labels_without_item", "gauge", (), "Labels from elsewhere whose event was not drawn; none counts."
    ),
    Series(
        "driftline_evaluated_until_seconds", "gauge", (), "Event time (epoch seconds) up to which ticks are evaluated."
    ),
    Series("driftline_evaluation_delay_seconds", "gauge", (), "Closed event time that is not evaluated yet."),
)

CATALOGUE: Mapping[str, tuple[str, tuple[Series, ...]]] = {
    "Product": ("From the leader, over the trailing window of closed event time, once per tick.", PRODUCT),
    "Anomalies and budget": ("From the leader.", ALERTING),
    "Review": ("From the leader: what reviewers found, and their queue ([review.md](review.md)).", REVIEW),
    "The store": ("From the leader: counts of the whole deployment.", STORE),
    "Each process": ("From every process, about itself.", SELF),
}


@dataclass(frozen=True, slots=True)
class ProductSettings:
    """``path_of`` says how on-call hears of an anomaly at a time (wall clock, µs; monitor.alerting.road).
    ``labels_per_day``: by pool."""

    currency: str
    budgets: tuple[Allowed, ...]
    path_of: Callable[[AnomalyRow, int], str]
    window_us: int = 3_600_000_000
    max_segments: int = 500
    timezone: str = "UTC"
    labels_per_day: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Made:
    """What was made of the parts, for which (end of the window, cap of segments)."""

    of: tuple[int, int]
    text: bytes
    folded: int


class ProductMetrics:
    """Series of the leader. ``refresh`` makes them, a scrape shows the last ``text``, ``clear`` ends them."""

    def __init__(self, store: Store, settings: ProductSettings, clock: Callable[[], int]) -> None:
        self.settings = settings
        self._store = store
        self._clock = clock
        self.text = b""  # tens of thousands of series are printed once, not at each scrape
        self._parts = Parts()
        self._made: _Made | None = None
        self._months = MonthProjector(settings.timezone)
        self._rates = ErrorRates(store)
        self._given = LabelsGiven()
        self._lock = threading.Lock()

    def clear(self) -> None:
        """Show nothing: this process no longer leads."""
        self.text = b""
        self._parts.clear()
        self._made = None
        self._rates.clear()
        self._given = LabelsGiven()

    def refresh(self, until_us: int | None) -> None:
        """Read the store and renew every series. ``until_us``: event time up to which windows are closed."""
        settings, now_us = self.settings, self._clock()
        with self._lock:
            rates = self._rates.look(settings.timezone, settings.max_segments)
            with self._store.read() as conn:
                found = _families_of_store(conn, now_us, until_us)
                found += alerting_families(conn, settings.budgets, lambda row: settings.path_of(row, now_us), until_us)
                found += review_families(conn, rates, self._given, settings.labels_per_day, now_us)
                made = None
                if until_us is not None:
                    made = self._look(conn, until_us)
                    found += self._of_window(conn, until_us, made.folded)
            self.text = printed(found) + (made.text if made else b"")

    @property
    def reads_ahead(self) -> bool:
        """Whether hours of the month are still to be read, of which `read_ahead` reads some."""
        return self._months.unread > 0

    def read_ahead(self, until_us: int) -> None:
        """Read some more of the month: a history of many segments is read beside everything else, not in one go."""
        with self._lock, self._store.read() as conn:
            self._months.look(conn, until_us)

    def _look(self, conn: Connection, until_us: int) -> _Made:
        """Series of the trailing window's summaries, merged from parts that are kept: each call reads only what closed
        since the last, or changed, and makes and prints anew only what that alters."""
        from_us = until_us - self.settings.window_us
        changed = self._parts.look(conn, from_us, until_us)
        of = (until_us, self.settings.max_segments)
        if changed or self._made is None or self._made.of != of:
            self._made = None  # not both in memory
            self._made = self._make(of)
        return self._made

    def _of_window(self, conn: Connection, until_us: int, folded: int) -> list[Family]:
        """Series of the trailing window that are read elsewhere."""
        window = Window(
            end_us=until_us,
            length_us=self.settings.window_us,
            currency=self.settings.currency,
            summaries={},
            coverage=_coverage(conn, until_us - self.settings.window_us, until_us),
            folded=folded,
            months=self._project(conn, until_us),
        )
        return families_of_window(window)

    def _make(self, of: tuple[int, int]) -> _Made:
        parts = self._parts.by_key()
        keys, folded = _capped(parts, of[1])
        merged: dict[tuple[str, str, str], list[Summary]] = {}
        for key, found in parts.items():
            merged.setdefault(keys[key], []).extend(found)
        summaries = {key: Summary.merge_all(found) for key, found in merged.items()}
        window = Window(of[0], self.settings.window_us, self.settings.currency, summaries)
        return _Made(of, printed(families_of_summaries(window)), folded)

    def _project(self, conn: Connection, until_us: int) -> dict[tuple[str, str], Projection]:
        if self._months.zone != self.settings.timezone:
            self._months = MonthProjector(self.settings.timezone)
        shown = sorted(
            self._months.look(conn, until_us, self._parts.spend).items(),
            key=lambda entry: (-entry[1].projected, entry[0]),
        )
        return dict(shown[: self.settings.max_segments])


@dataclass(frozen=True, slots=True)
class Exposed:
    """What a process shows: its own numbers, made at each scrape, and the product's, made once per tick."""

    own: CollectorRegistry
    product: ProductMetrics | None = None


class _Fixed(Collector):
    """Families as they are."""

    def __init__(self, found: Iterable[Family]) -> None:
        self._found = found

    def collect(self) -> Iterable[Family]:
        return self._found


def printed(found: Iterable[Family]) -> bytes:
    """The text of families."""
    printer = CollectorRegistry(auto_describe=False)
    printer.register(_Fixed(found))
    return generate_latest(printer)


def registry(self_metrics: SelfMetrics, product: ProductMetrics | None = None) -> Exposed:
    """What a process shows: its own numbers, the interpreter's, and the product's where it may lead."""
    own = CollectorRegistry(auto_describe=False)
    ProcessCollector(registry=own)
    own.register(self_metrics)
    return Exposed(own, product)


def render(found: Exposed) -> bytes:
    """The text that Prometheus reads (`CONTENT_TYPE`)."""
    own = generate_latest(found.own)
    return own if found.product is None else own + found.product.text


def _capped(
    parts: Mapping[tuple[str, str, str], list[Summary]], most: int
) -> tuple[dict[tuple[str, str, str], tuple[str, str, str]], int]:
    """Where each (route, segment, version) is shown: the largest ``most`` segments under their own name."""
    events: Counter[tuple[str, str]] = Counter()
    for (route, segment, _), found in parts.items():
        events[route, segment] += sum(summary.events() for summary in found)
    kept = {place for place, _ in sorted(events.items(), key=lambda entry: (-entry[1], entry[0]))[:most]}
    shown = {key: key if key[:2] in kept else (key[0], "other", key[2]) for key in parts}
    return shown, len(events) - len(kept)


def _coverage(conn: Connection, from_us: int, to_us: int) -> dict[tuple[str, str], float]:
    query = (
        select(samples.c.route, samples.c.segment, samples.c.state, func.count())
        .where(samples.c.window_us >= from_us, samples.c.window_us < to_us)
        .where(samples.c.state != "pending", samples.c.pi > 0)
        .group_by(samples.c.route, samples.c.segment, samples.c.state)
    )
    counts: dict[tuple[str, str], Counter[str]] = {}
    for route, segment, state, count in conn.execute(query):
        counts.setdefault((route, segment), Counter())[state] += count
    return {place: found["embedded"] / found.total() for place, found in counts.items()}


def _families_of_store(conn: Connection, now_us: int, until_us: int | None) -> list[Family]:
    values: dict[str, list[tuple[tuple[str, ...], float]]] = {}

    def put(name: str, labels: tuple[str, ...], value: float) -> None:
        values.setdefault(name, []).append((labels, value))

    for row in conn.execute(select(partitions)):
        _partition(row, put)
    for reason, count in conn.execute(select(dead_letters.c.reason, func.count()).group_by(dead_letters.c.reason)):
        put("driftline_dead_letters_stored", (reason,), count)
    states = select(samples.c.state, samples.c.reason, func.count()).group_by(samples.c.state, samples.c.reason)
    for state, reason, count in conn.execute(states):
        put("driftline_samples", (state,), count)
        if reason:
            put("driftline_samples_missing", (reason,), count)
    for depth in outbox.depths(conn):
        put("driftline_outbox_rows", (depth.sink, depth.state), depth.rows)
        waiting = depth.state == "pending"
        put("driftline_outbox_oldest_seconds", (depth.sink,), max(0, now_us - depth.oldest_us) / 1e6 if waiting else 0)
        put("driftline_outbox_attempts", (depth.sink,), depth.attempts if waiting else 0)
    for (topic, _), found in label_partitions.counts(conn).items():
        for outcome, count in found.items():
            put("driftline_labels_read_total", (topic, outcome), count)
    put("driftline_labels_without_item", (), review.unmatched(conn))
    done_us = conn.execute(select(func.max(evaluation.c.done_until_us))).scalar()
    if done_us is not None:
        put("driftline_evaluated_until_seconds", (), done_us / 1e6)
        if until_us is not None:
            put("driftline_evaluation_delay_seconds", (), max(0, until_us - done_us) / 1e6)
    return families(STORE, values)


def _partition(row: Any, put: Callable[[str, tuple[str, ...], float], None]) -> None:
    place = (row.topic, str(row.partition))
    put("driftline_records_total", place, row.events)
    put("driftline_duplicates_total", place, row.duplicates)
    put("driftline_late_events_total", place, row.late_events)
    put("driftline_dead_letters_total", place, row.dead_letters)
    if row.begun and row.watermark_us is not None:
        put("driftline_watermark_seconds", place, row.watermark_us / 1e6)
    for note, count in json.loads(row.counters).items():
        put("driftline_record_notes_total", (note,), count)


def document() -> str:
    """docs/metrics.md."""
    lines = [
        "# Metrics",
        "",
        "Generated from the code that emits them (`python -m monitor.serve.metrics > docs/metrics.md`); a test fails",
        "when this page is stale or a scrape shows a metric that is not on it.",
        "",
        "Product series describe a trailing window of one hour of **event time** and carry `route` and `segment`; a",
        "slice's name begins with `"
        + SLICE_PREFIX
        + "`. They are gauges: the store holds the history, Prometheus holds",
        "what was shown. A quantile that the window's events cannot support (p99.9 of 200) has no series, and a field",
        "that no event carried has none either: absent is never zero. Sums such as `sum(driftline_spend)` over all",
        "segments are exact, since segments do not overlap.",
        "",
        "No series belongs to a user or a request. Segments and versions are capped, and what is beyond the cap is",
        "counted under `other`; `driftline_segments_folded` says how many segments that are.",
        "",
        "With tokens configured, `/metrics` asks for one of role `metrics` (or higher) as a bearer token.",
        "",
    ]
    for title, (note, catalogue) in CATALOGUE.items():
        lines += [f"## {title}", "", note, "", "| metric | type | labels | what it says |", "|---|---|---|---|"]
        for series in catalogue:
            names = ", ".join(f"`{name}`" for name in series.labels)
            lines.append(f"| `{series.name}` | {series.type} | {names} | {series.help} |")
        lines.append("")
    lines += ["Besides these, the `process_*` series of prometheus-client.", ""]
    return "\n".join(lines)


__all__ = [
    "CATALOGUE",
    "CONTENT_TYPE",
    "PLACE",
    "Allowed",
    "Exposed",
    "ProductMetrics",
    "ProductSettings",
    "document",
    "registry",
    "render",
]


if __name__ == "__main__":
    import sys

    sys.stdout.write(document())
