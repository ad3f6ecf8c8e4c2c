"""A store with three days of two segments, one of which grows slow, and what a page shows of it as text."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, field
from html.parser import HTMLParser
from typing import Any

import numpy as np
from sqlalchemy import insert

from alerts.anomaly import from_document, to_document
from detectors.rates import RateReference
from detectors.summaries import EventColumns, Labelled, Ragged, SummaryTable
from monitor.evaluate.references import FittedStream, Reference
from monitor.evaluate.streams import stage_spec
from monitor.store import references
from monitor.store.deploys import Deploy
from monitor.store.engine import Store
from monitor.store.responses import respond
from monitor.store.tables import anomalies, deploys, evaluation, evidence, partitions, stream_states, summaries
from monitor.times import DAY_US, HOUR_US
from tests.alerts.parts import anomaly as anomaly_document
from tests.evaluate.traffic import columns
from tests.service.anomalies_of_page import row_of
from tests.service.store_of_page import HOSTILE

START = 1_767_571_200_000_000  # Monday 2026-01-05 00:00 UTC
DAYS = 3
END = START + DAYS * DAY_US
PER_HOUR = 450
SLOW, PLAIN = "invoice/slow", "invoice/plain"
GREW_SLOW = START + 2 * DAY_US
OPEN, OVER = "1" * 24, "2" * 24  # ids of its anomalies


def fill_signals(store: Store, *, hostile: bool = False) -> None:
    """Both segments; SLOW has a reference, a new version, an open anomaly of latency and a resolved one of errors.

    ``hostile``: another segment whose name, version, stages and tiers are.
    """
    with store.write() as connection:
        connection.execute(insert(partitions).values(_partition(END)))
        for seed, name in enumerate((SLOW, PLAIN)):
            connection.execute(insert(summaries), _rows(name, seed, slow=name == SLOW))
        if hostile:
            connection.execute(insert(summaries), _rows(HOSTILE, 9, slow=True, text=HOSTILE, hours=(60, 72)))
        text = HOSTILE if hostile else ""
        connection.execute(insert(anomalies), [_open(text), _over(text)])
        connection.execute(insert(evidence), [_evidence(hour) for hour in range(48, 72)])
        connection.execute(
            insert(evaluation).values(
                name="leader", holder="w", generation=1, lease_until_us=0, done_until_us=END, state=b""
            )
        )
        connection.execute(
            insert(stream_states).values(owner="default", segment=SLOW, signal="error_rate", detector="rate", state=b"")
        )
        # Not announced: stores of earlier versions hold texts that are refused now.
        deploy = Deploy("d1", GREW_SLOW - HOUR_US, text[:90] or "ci", text or "vl-2", note=text or "new")
        connection.execute(insert(deploys).values(asdict(deploy)))
        references.add(
            connection,
            segment=SLOW,
            encoder="",
            from_us=START,
            to_us=START + DAY_US,
            origin="learned",
            rows=0,
            content=reference().to_content(),
            samples=[],
            state="active",
        )
        respond(connection, OVER, "false", text[:90] or "Ben", END, note="")


def reference() -> Reference:
    """What SLOW was on its first day, as learning would note it."""
    fit = RateReference.fit(np.full(24, 5.0), np.full(24, 100.0), day=np.repeat([0, 1, 2, 3], 6))
    return Reference(
        SLOW,
        "invoice",
        START,
        START + DAY_US,
        sessions=1000,
        streams={"latency_stage_queue_p95": FittedStream(stage_spec("queue"), fit, 250_000.0)},
        totals={"latency_total": [1000, 2_000_000.0, 4_000_000.0, 6_000_000.0], "error": [1000, 25]},
    )


def add_late(store: Store, events: int) -> None:
    """Late events of PLAIN in its last hour, as ingest commits them."""
    rows = _rows(PLAIN, 77, slow=False, hours=(71, 72), count=events, late=True)
    with store.write() as connection:
        connection.execute(insert(summaries), rows)
        connection.execute(partitions.update().values(late_events=partitions.c.late_events + events))


def _partition(until: int) -> dict[str, Any]:
    zero = dict.fromkeys(("events", "duplicates", "dead_letters", "late_events"), 0)
    return zero | {
        "topic": "inference", "partition": 0, "next_offset": 1, "generation": 1, "owner": "w", "watermark_us": until,
        "max_time_us": until, "begun": True, "state": b"", "counters": "{}",
    }  # fmt: skip


def _rows(
    segment: str,
    seed: int,
    *,
    slow: bool,
    text: str = "",
    hours: tuple[int, int] = (0, 24 * DAYS),
    count: int = PER_HOUR,
    late: bool = False,
) -> list[dict[str, Any]]:
    """A row an hour, at the hour's first minute; the version changes at GREW_SLOW."""
    rng, table = np.random.default_rng(seed), SummaryTable()
    span = range(*hours)
    for hour in span:
        table.update(np.full(count, hour), _events(rng, count, slow and START + hour * HOUR_US >= GREW_SLOW, text))
    ids = table.row_ids()
    return [
        {
            "level": 0,
            "window_us": START + hour * HOUR_US,
            "route": "invoice",
            "segment": segment,
            "version": (text or "vl-1")[:200] if START + hour * HOUR_US < GREW_SLOW else (text or "vl-2")[:200],
            "late": late,
            "topic": "inference",
            "partition": 0,
            "events": table.events(hour),
            "state": state,
        }
        for hour, state in zip(ids, table.states(ids), strict=True)
    ]


def _events(rng: np.random.Generator, n: int, slow: bool, text: str) -> EventColumns:
    """Two stages; once it is slow, one request in ten waits 9 s in the queue."""
    model = rng.lognormal(14.4, 0.3, n).astype(np.int64)
    queue = rng.lognormal(11.0, 0.5, n).astype(np.int64)
    if slow:
        queue[: n // 10] += 9_000_000
    at = np.arange(n, dtype=np.int32)
    stages = Ragged(
        np.repeat(at, 2),
        np.tile(np.array([0, 1], dtype=np.int32), n),
        np.stack([model, queue], axis=1).ravel(),
        [text or "model", f"{text}2" if text else "queue"],
    )
    tiers = rng.integers(0, 2, n).astype(np.int32)
    return columns(
        n,
        rng,
        cost=rng.lognormal(15.0, 0.6, n).astype(np.int64),
        latency_total=model + queue,
        stages=stages,
        concurrency=rng.integers(1, 40, n),
        input_tokens=rng.lognormal(7.5, 0.4, n).astype(np.int64),
        error=(rng.random(n) < 0.02).astype(np.int8),
        tier=Labelled(tiers, [text or "cheap", f"{text}3" if text else "strong"]),
    )


def _open(text: str) -> dict[str, Any]:
    document = to_document(
        from_document(
            anomaly_document(
                SLOW,
                "latency_total_p95",
                opened=GREW_SLOW + HOUR_US,
                severity="page",
                sentence=f"{text}Slow requests in {SLOW} rose from 5 % to 14 %.",
            )
        )
    )
    queue = {"signal": "latency_stage_queue_p95", "sentence": f"{text}The queue in {SLOW} took longer."}
    document["facts"].append({**document["facts"][0], **queue})
    return row_of({**document, "id": OPEN})


def _over(text: str) -> dict[str, Any]:
    document = anomaly_document(
        SLOW,
        "error_rate",
        opened=START + DAY_US + 6 * HOUR_US,
        state="resolved",
        sentence=f"{text}Errors in {SLOW} rose from 1 % to 9 %.",
    )
    resolved = START + DAY_US + 12 * HOUR_US
    document["facts"][0]["resolved"] = resolved
    return row_of({**document, "id": OVER, "resolved": resolved})


def _evidence(hour: int) -> dict[str, Any]:
    return {
        "segment": SLOW, "signal": "image_drift", "tick_us": START + hour * HOUR_US, "resolution": "hour",
        "value": 0.02 * (hour - 47), "threshold": 1.0, "effect": None,
    }  # fmt: skip


# -- pages as text ------------------------------------------------------------------------------------------


@dataclass
class Shown:
    """What a page says: tables by the region (label or heading's id) they stand in, and everything as one text."""

    text: str = ""
    tables: list[list[list[str]]] = field(default_factory=list)
    links: list[tuple[str, str]] = field(default_factory=list)  # (address, text)

    def table(self, heading: str) -> dict[str, list[str]]:
        """Rows by their first cell of the first table with that column."""
        found = next(rows for rows in self.tables if heading in rows[0])
        return {row[0]: row[1:] for row in found[1:]}

    def column(self, heading: str, name: str) -> list[str]:
        """The cells of a column of the first table that has ``heading`` and it."""
        rows = next(rows for rows in self.tables if heading in rows[0] and name in rows[0])
        return [row[rows[0].index(name)] for row in rows[1:]]


def _plain(text: str) -> str:
    return re.sub(r"[ \n]+", " ", text).strip()


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.shown = Shown()
        self._cell: list[str] | None = None
        self._link: tuple[str, list[str]] | None = None
        self._silent = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("title", "desc") or (tag == "span" and self._silent) or ("aria-hidden", "true") in attrs:
            self._silent += tag in ("title", "desc", "span")
        elif tag == "table":
            self.shown.tables.append([])
        elif tag == "tr":
            self.shown.tables[-1].append([])
        elif tag in ("td", "th"):
            self._cell = []
        elif tag == "a":
            self._link = (str(dict(attrs).get("href")), [])
        elif tag == "small" and self._cell is not None:
            self._cell.append(" | ")

    def handle_endtag(self, tag: str) -> None:
        if tag in ("dt", "dd", "b", "p", "li", "h1", "h2", "h3", "td", "th"):
            self.shown.text += " "
        if tag in ("title", "desc") or (tag == "span" and self._silent):
            self._silent -= 1
        elif tag in ("td", "th") and self._cell is not None:
            self.shown.tables[-1][-1].append(_plain("".join(self._cell)).removesuffix(" |"))
            self._cell = None
        elif tag == "a" and self._link is not None:
            self.shown.links.append((self._link[0], _plain("".join(self._link[1]))))
            self._link = None

    def handle_data(self, data: str) -> None:
        if self._silent:
            return
        self.shown.text += data
        if self._cell is not None:
            self._cell.append(data)
        if self._link is not None:
            self._link[1].append(data)


def shown(html: str) -> Shown:
    """A page as a person reads it."""
    reader = _Reader()
    reader.feed(html)
    reader.shown.text = _plain(reader.shown.text)
    return reader.shown
