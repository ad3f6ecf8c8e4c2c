"""What driftline says about itself to Prometheus: one collector per process, read from its workers at each scrape.

Workers keep plain numbers (``describe()``, ``stats``, ``counts``); nothing here is written to by them, so a worker
runs the same with and without metrics. `SELF` names every series, and docs/metrics.md is generated from it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

Family = CounterMetricFamily | GaugeMetricFamily


@dataclass(frozen=True, slots=True)
class Series:
    """One metric: its name as scraped, type, labels and what it says. Counters are named ``…_total``."""

    name: str
    type: Literal["gauge", "counter"]
    labels: tuple[str, ...]
    help: str

    def family(self) -> Family:
        if self.type == "counter":
            return CounterMetricFamily(self.name.removesuffix("_total"), self.help, labels=self.labels)
        return GaugeMetricFamily(self.name, self.help, labels=self.labels)


SELF = (
    Series("driftline_part_up", "gauge", ("part",), "1 while a part of this process runs, 0 while it is down."),
    Series("driftline_part_restarts_total", "counter", ("part",), "Times a part of this process was started again."),
    Series(
        "driftline_consumer_lag",
        "gauge",
        ("topic", "partition"),
        "Records between the stored offset and the end of a partition this process owns.",
    ),
    Series("driftline_ingest_records_total", "counter", (), "Kafka records read by this process."),
    Series("driftline_ingest_bytes_total", "counter", (), "Bytes of the Kafka records read by this process."),
    Series("driftline_ingest_commits_total", "counter", (), "Ingest transactions committed by this process."),
    Series(
        "driftline_store_failures_total",
        "counter",
        ("part",),
        "Transactions the store did not take and that were retried.",
    ),
    Series("driftline_embedded_total", "counter", (), "Samples embedded by this process."),
    Series(
        "driftline_embed_missing_total", "counter", ("reason",), "Samples of this process that have no vector, and why."
    ),
    Series("driftline_embed_images_total", "counter", (), "Images encoded by this process."),
    Series("driftline_embed_texts_total", "counter", (), "Texts encoded by this process."),
    Series("driftline_embed_seconds_total", "counter", (), "Seconds this process spent in the encoder."),
    Series("driftline_embed_cache_hits_total", "counter", (), "Inputs this process had embedded before."),
    Series(
        "driftline_decoders_replaced_total", "counter", (), "Decoder processes that a file crashed or that were ended."
    ),
    Series("driftline_evaluation_ticks_total", "counter", (), "Ticks evaluated by this process."),
    Series("driftline_evaluation_seconds_total", "counter", (), "Seconds this process spent evaluating ticks."),
    Series("driftline_explanations_failed_total", "counter", (), "Changes whose explanation failed; the log says why."),
    Series("driftline_leader", "gauge", (), "1 while this process leads the evaluation."),
    Series(
        "driftline_deliveries_total",
        "counter",
        ("sink", "outcome"),
        "Deliveries tried by this process: sent, retry or refused.",
    ),
    Series(
        "driftline_config_reloads_total", "counter", ("outcome",), "Reloads of the configuration: taken or refused."
    ),
)


class SelfMetrics(Collector):
    """Reads a process's workers when it is scraped.

    ``workers`` gives the live workers by part name; ``states`` gives (up, restarts) by part name. A worker that
    lacks a number has no series for it, and one that is being replaced just now is left out of this scrape.
    """

    def __init__(
        self,
        workers: Callable[[], Mapping[str, object]],
        states: Callable[[], Mapping[str, tuple[bool, int]]] = dict,
    ) -> None:
        self._workers = workers
        self._states = states
        self.config_reloads = {"taken": 0, "refused": 0}

    def collect(self) -> Iterable[Family]:
        values: dict[str, list[tuple[tuple[str, ...], float]]] = {}
        for name, (up, restarts) in self._states().items():
            values.setdefault("driftline_part_up", []).append(((name,), float(up)))
            values.setdefault("driftline_part_restarts_total", []).append(((name,), restarts))
        for name, worker in self._workers().items():
            for series, labels, value in _read(name, worker):
                values.setdefault(series, []).append((labels, value))
        for outcome, count in self.config_reloads.items():
            values.setdefault("driftline_config_reloads_total", []).append(((outcome,), count))
        return families(SELF, values)


def families(
    catalogue: Iterable[Series], values: Mapping[str, Iterable[tuple[tuple[str, ...], float]]]
) -> list[Family]:
    """Families of every catalogued series that has a value. Equal label sets are added up."""
    found = []
    for series in catalogue:
        if series.name not in values:
            continue
        merged: dict[tuple[str, ...], float] = {}
        for labels, value in values[series.name]:
            merged[labels] = merged.get(labels, 0.0) + value
        family = series.family()
        for labels, value in sorted(merged.items()):
            family.add_metric(labels, value)
        found.append(family)
    return found


_PLAIN = {
    # what a worker calls it: the series
    "records": "driftline_ingest_records_total",
    "bytes": "driftline_ingest_bytes_total",
    "commits": "driftline_ingest_commits_total",
    "embedded": "driftline_embedded_total",
    "images_encoded": "driftline_embed_images_total",
    "texts_encoded": "driftline_embed_texts_total",
    "encode_seconds": "driftline_embed_seconds_total",
    "cache_hits": "driftline_embed_cache_hits_total",
    "decoders_replaced": "driftline_decoders_replaced_total",
    "ticks": "driftline_evaluation_ticks_total",
    "tick_seconds": "driftline_evaluation_seconds_total",
    "unexplained": "driftline_explanations_failed_total",
    "leading": "driftline_leader",
}


def _read(part: str, worker: object) -> Iterable[tuple[str, tuple[str, ...], float]]:
    told = _told(worker)
    for name, series in _PLAIN.items():
        if isinstance(told.get(name), int | float):
            yield series, (), float(told[name])
    failures = told.get("store_failures", told.get("failures"))
    if isinstance(failures, int):
        yield "driftline_store_failures_total", (part,), failures
    for partition, lag in dict(told.get("lag") or {}).items():
        topic, _, number = str(partition).rpartition("/")
        if lag is not None:
            yield "driftline_consumer_lag", (topic, number), float(lag)
    for reason, count in dict(told.get("missing") or {}).items():
        yield "driftline_embed_missing_total", (str(reason),), count
    counts = getattr(worker, "counts", None)
    if isinstance(counts, Mapping):
        for (sink, outcome), count in list(counts.items()):
            yield "driftline_deliveries_total", (sink, outcome), count


def _told(worker: object) -> dict[str, Any]:
    """Numbers by name: of ``describe()``, else of ``stats``, else plain attributes."""
    describe = getattr(worker, "describe", None)
    if callable(describe):
        return dict(describe())
    stats = getattr(worker, "stats", None)
    names = getattr(type(stats), "__slots__", None) or getattr(stats, "__dict__", {})
    if stats is not None:
        return {name: getattr(stats, name) for name in names}
    return {name: getattr(worker, name) for name in _PLAIN if hasattr(worker, name)}
