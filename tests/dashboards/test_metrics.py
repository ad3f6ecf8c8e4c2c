"""/metrics: what is shown, from a store filled through the real summaries, and that every name is documented."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import Connection, insert, select

from detectors.cost.projection import Projection
from detectors.summaries import Histogram, Summary
from monitor.config.model import Config
from monitor.metrics import Family
from monitor.serve import metrics, projection, window
from monitor.serve.exposition import product_settings
from monitor.serve.metrics import CATALOGUE, render
from monitor.serve.projection import MonthProjector
from monitor.serve.series import supported
from monitor.store.anomalies import mute
from monitor.store.engine import Store, open_store
from monitor.store.tables import summaries
from tests.alerts.parts import anomaly
from tests.dashboards.watched import END, MINUTE, SEGMENTS, VERSIONS, fill, metrics_of

DOCS = Path(__file__).parents[2] / "docs" / "metrics.md"
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def scrape(text: bytes) -> Samples:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def value(samples: Samples, name: str, **labels: str) -> float:
    return samples[name, frozenset(labels.items())]


def truth(store: Store, segment: str, version: str | None = None) -> Summary:
    query = select(summaries.c.state).where(summaries.c.segment == segment, summaries.c.window_us >= END - 60 * MINUTE)
    if version:
        query = query.where(summaries.c.version == version)
    with store.read() as conn:
        return Summary.merge_all([bytes(state) for (state,) in conn.execute(query)])


def test_product_series_are_what_the_summaries_say(store: Store) -> None:
    samples = scrape(render(metrics_of(store)[0]))
    for segment in SEGMENTS:
        whole, place = truth(store, segment), {"route": "invoice-extract", "segment": segment}
        assert value(samples, "driftline_events", **place) == whole.events()
        cost = whole.histogram("cost")
        assert value(samples, "driftline_spend", **place) == pytest.approx(cost.sum / 1e9, rel=1e-12)
        for q in (0.5, 0.95, 0.99, 0.999):
            assert value(samples, "driftline_cost", **place, quantile=str(q)) == pytest.approx(cost.quantile(q) / 1e9)
        assert value(samples, "driftline_cost_top1_share", **place) == pytest.approx(cost.tail_share(0.01))
        for rate in ("error", "schema_violation", "citation_ungrounded"):
            found = whole.rate(rate)
            assert value(samples, "driftline_rate", **place, rate=rate) == found.value
            assert value(samples, "driftline_rate_trials", **place, rate=rate) == found.trials
        latency = whole.histogram("latency_total")
        assert value(samples, "driftline_latency_seconds", **place, quantile="0.95") == pytest.approx(
            latency.quantile(0.95) / 1e6
        )
        by_version = [value(samples, "driftline_version_events", **place, version=v) for v in VERSIONS]
        assert sum(by_version) == whole.events()


def test_the_window_slides_and_reads_only_what_is_new(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    found, product = metrics_of(store)
    read: list[tuple[int, int]] = []
    real = window.read

    def watched(conn: Connection, from_us: int, to_us: int, late: bool) -> dict[tuple[str, str, str], Summary]:
        read.append((from_us, to_us))
        return real(conn, from_us, to_us, late)

    monkeypatch.setattr(window, "read", watched)
    with store.write() as conn:
        row = dict(conn.execute(select(summaries).limit(1)).mappings().one())
        conn.execute(insert(summaries), [{**row, "window_us": END, "segment": SEGMENTS[0]}])
    product.refresh(END + MINUTE)
    place = {"route": "invoice-extract", "segment": SEGMENTS[0]}
    with store.read() as conn:
        held = conn.execute(
            select(summaries.c.events).where(
                summaries.c.segment == SEGMENTS[0], summaries.c.window_us >= END - 59 * MINUTE
            )
        )
        expected = sum(events for (events,) in held)
    assert value(scrape(render(found)), "driftline_events", **place) == expected
    assert (END, END + MINUTE) in read
    assert sum(to - since for since, to in read) <= window.PART_US + MINUTE, "one part at the edge and the new minute"
    read.clear()
    product.refresh(END + MINUTE)
    assert read == []


def test_the_projected_month(store: Store) -> None:
    """Four days of one equal row an hour: the rest of the month costs that, every hour."""
    samples = scrape(render(metrics_of(store)[0]))
    place = {"route": "invoice-extract", "segment": SEGMENTS[0]}
    spent = value(samples, "driftline_month_spend", **place)
    low, middle, high = (
        value(samples, "driftline_projected_month_spend", **place, bound=bound) for bound in ("low", "value", "high")
    )
    assert spent <= low <= middle <= high
    with store.read() as conn:
        first = conn.execute(select(summaries.c.state).order_by(summaries.c.window_us).limit(1)).scalar_one()
    hourly = Summary.from_state(bytes(first)).total("cost").sum / 1e9
    now = datetime.fromtimestamp(END // (60 * MINUTE) * 3600, UTC)
    following = (now.replace(day=1) + timedelta(days=32)).replace(day=1, hour=0)
    left = (following - now).total_seconds() / 3600
    assert middle - spent >= 0.999 * hourly * left


def test_a_long_history_is_read_in_parts(store: Store) -> None:
    projector = MonthProjector("Europe/Berlin", rows_a_look=30)
    found: list[dict[tuple[str, str], Projection]] = []
    with store.read() as conn:
        while not found or not found[-1]:
            found.append(projector.look(conn, END))
            assert len(found) < 10
            assert (projector.unread > 0) == (not found[-1])
        assert projector.look(conn, END) is found[-1], "made once an hour"
        assert projector.look(conn, END + 60 * MINUTE) is not found[-1]
    assert len(found) > 1
    assert list(found[-1]) == [("invoice-extract", segment) for segment in SEGMENTS]


def test_what_did_not_change_is_not_printed_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The segments' series are most of the text; a renewal between two ticks prints the rest alone."""
    found, product = metrics_of(store)
    before = render(found)
    printed: list[str] = []
    real = metrics.printed

    def watched(families: list[Family]) -> bytes:
        printed.extend(family.name for family in families)
        return real(families)

    monkeypatch.setattr(metrics, "printed", watched)
    product.refresh(END)
    assert "driftline_events" not in printed and "driftline_outbox_rows" in printed
    assert scrape(render(found)).keys() == scrape(before).keys()
    product.refresh(END + 5 * MINUTE)
    assert "driftline_events" in printed


def test_the_month_is_read_ahead_in_parts(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(projection, "ROWS_A_LOOK", 30)
    found, product = metrics_of(store)
    reads = 0
    while product.reads_ahead:
        assert "driftline_month_spend" not in {name for name, _ in scrape(render(found))}
        product.read_ahead(END)
        product.refresh(END)
        reads += 1
    assert reads >= 1
    assert "driftline_month_spend" in {name for name, _ in scrape(render(found))}


def test_an_open_anomaly_says_since_when(store: Store) -> None:
    samples = scrape(render(metrics_of(store)[0]))
    since = {dict(labels)["id"]: found for (name, labels), found in samples.items() if name.endswith("_since_seconds")}
    active = {dict(labels)["id"] for (name, labels) in samples if name == "driftline_anomaly_active"}
    assert set(since) == active
    assert set(since.values()) == {(END - 15 * MINUTE) / 1e6}, "the earliest that it can have begun"


def test_an_open_anomaly_says_how_much_and_how_sure(store: Store) -> None:
    samples = scrape(render(metrics_of(store)[0]))
    ids = {dict(labels)["id"] for (name, labels) in samples if name == "driftline_anomaly_active"}
    figures = {"value": 0.14, "low": 0.11, "high": 0.18, "baseline": 0.02}
    for one in ids:
        for what, figure in figures.items():
            assert value(samples, "driftline_anomaly_effect", id=one, what=what, unit="share") == figure
        assert value(samples, "driftline_anomaly_evidence", id=one) == 5.23
    assert len([name for name, _ in samples if name == "driftline_anomaly_effect"]) == 4 * len(ids)


def test_what_is_over_is_said_to_be_for_an_hour(store: Store) -> None:
    found, product = metrics_of(store)
    name, at = "driftline_anomaly_resolved_seconds", END - 9 * MINUTE
    samples = scrape(render(found))
    (over,) = [dict(labels)["id"] for (series, labels) in samples if series == name]
    assert value(samples, name, id=over) == at / 1e6
    assert over not in {dict(labels)["id"] for (series, labels) in samples if series == "driftline_anomaly_active"}
    product.refresh(at + 60 * MINUTE)
    assert name in {series for series, _ in scrape(render(found))}
    product.refresh(at + 61 * MINUTE)
    assert name not in {series for series, _ in scrape(render(found))}


@pytest.mark.parametrize("path", ["push", "rules"])
def test_an_anomaly_that_is_muted_takes_no_road_until_the_mute_ends(tmp_path: Path, path: str) -> None:
    muted = open_store(f"sqlite:///{tmp_path / 'muted.db'}")
    fill(muted, events=100)
    now = [END]
    settings = product_settings(Config.model_validate({"alerts": {"path": path}}))
    product = metrics.ProductMetrics(muted, settings, lambda: now[0])
    with muted.write() as connection:
        mute(connection, {anomaly(SEGMENTS[0], "page_signal", opened=END - 10 * MINUTE)["id"]: END + 30 * MINUTE})

    def roads() -> dict[str, str]:
        product.refresh(END)
        active = [dict(labels) for (name, labels) in scrape(product.text) if name == "driftline_anomaly_active"]
        return {labels["signal"]: labels["path"] for labels in active if labels["severity"] != "report"}

    assert roads() == {"page_signal": "none", "ticket_signal": path}
    now[0] = END + 30 * MINUTE
    assert roads() == {"page_signal": path, "ticket_signal": path}
    muted.close()


def test_segments_beyond_the_cap_are_counted_under_other(store: Store) -> None:
    found, product = metrics_of(store)
    product.settings = metrics.ProductSettings("USD", (), lambda row, now_us: "none", max_segments=1)
    product.refresh(END)
    samples = scrape(render(found))
    shown = {dict(labels)["segment"]: count for (name, labels), count in samples.items() if name == "driftline_events"}
    assert "other" in shown
    assert sum(shown.values()) == sum(truth(store, segment).events() for segment in SEGMENTS)
    assert value(samples, "driftline_segments_folded") == 1


def test_who_no_longer_leads_shows_only_itself(store: Store) -> None:
    found, product = metrics_of(store)
    product.clear()
    names = {name for name, _ in scrape(render(found))}
    assert "driftline_part_up" in names
    assert not names & {series.name for title in ("Product", "The store") for series in CATALOGUE[title][1]}


def test_a_store_without_events_is_no_error(tmp_path: Path) -> None:
    empty = open_store(f"sqlite:///{tmp_path / 'empty.db'}")
    found, product = metrics_of(empty)
    product.refresh(None)
    assert b"driftline_budget_allowed" in render(found)
    empty.close()


def test_a_quantile_without_support_has_no_series() -> None:
    for n in (1, 5, 40, 72, 73, 74, 200, 368, 369, 3687, 3688, 5000):
        values = np.arange(1, n + 1)
        histogram = Histogram(values, values, np.ones(n, dtype=np.int64), values)
        for q in (0.05, 0.5, 0.95, 0.99, 0.999):
            assert supported(n, q) == (histogram.quantile_interval(q) is not None), (n, q)


def test_every_metric_is_documented_and_every_documented_metric_is_shown(store: Store) -> None:
    documented = set(re.findall(r"^\| `(\w+)`", DOCS.read_text(), flags=re.MULTILINE))
    shown = {name for name, _ in scrape(render(metrics_of(store)[0])) if not name.startswith("process_")}
    assert shown == documented


def test_the_page_is_what_the_code_says() -> None:
    assert DOCS.read_text() == metrics.document(), "run `python -m monitor.serve.metrics > docs/metrics.md`"


def test_no_series_names_a_user(store: Store) -> None:
    labels = {label for _, catalogue in CATALOGUE.values() for series in catalogue for label in series.labels}
    assert not labels & {"user", "user_key", "session", "event", "trace_id"}
