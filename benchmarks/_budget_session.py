"""The evaluator's session over traffic made in memory: its own ticks, hours, learning and anomalies.

What is read of summaries and samples comes from a source instead of the store, and what a batch would write is noted.
Learned references go to a store, as they do in service. Explanations, which read stored sessions, are left out;
anomalies then join others less often than they do in service.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from benchmarks._budget_rules import Rules
from monitor.config.model import Config
from monitor.evaluate import learning
from monitor.evaluate.bank import StreamBank
from monitor.evaluate.calendar import HOUR_US
from monitor.evaluate.cells import Cells, Decoder, added_runs
from monitor.evaluate.references import Reference
from monitor.evaluate.session import Batch, Session, Step
from monitor.store.engine import Store
from monitor.store.evaluation import Lead, Results, SampleRow
from monitor.store.review import Candidate
from tests.evaluate.traffic import DAY_US, START_US

Float = NDArray[np.float64]
Int64 = NDArray[np.int64]
Bool = NDArray[np.bool_]

BATCH_US = 6 * HOUR_US
KEPT_US = 5 * DAY_US  # of samples, once nothing is learned any more
LEARNED_US = 7 * DAY_US  # beyond evaluation.history, in which references may still grow


class Source(Protocol):
    """What a session reads."""

    names: list[str]
    routes: list[str]

    def cells(self, start_us: int, end_us: int, decoder: Decoder, bank: StreamBank, *, whole: bool) -> Cells:
        """Thinned cells of [start, end); not ``whole``: a tail's values may be counts between its thresholds."""

    def samples(self, start_us: int, end_us: int) -> list[SampleRow]:
        """Sampled sessions of [start, end), by window."""


@dataclass(frozen=True, slots=True)
class Alarm:
    """A stream's evidence reached the threshold."""

    at_us: int
    severity: str
    segment: str
    signal: str
    kind: str


@dataclass(slots=True)
class Noted:
    """What a session came to: alarms before they join another anomaly, and anomalies by id."""

    alarms: list[Alarm] = field(default_factory=list)
    opened: dict[str, Alarm] = field(default_factory=dict)


class WatchedBank(StreamBank):
    """A bank that notes every alarm and what was funded."""

    def __init__(self, tick_us: int, noted: Noted) -> None:
        super().__init__(tick_us)
        self.noted = noted
        self.spent: dict[str, float] = {"page": 0.0, "ticket": 0.0}
        self._severities = (-1, np.zeros(0, dtype=np.bool_))  # which streams page, of a composition

    def step(self, logs: Float, looking: Bool, end_us: int) -> tuple[Int64, Float]:
        """One tick, as the bank steps it."""
        since = np.minimum(end_us - self.last_look, HOUR_US)
        spent = np.where(looking & ~self.sr.suspended, self.share * since, 0.0)
        if self._severities[0] != self.composition:
            pages = np.array([stream.severity == "page" for stream in self.streams], dtype=np.bool_)
            self._severities = (self.composition, pages)
        self.spent["page"] += float(spent[self._severities[1]].sum())
        self.spent["ticket"] += float(spent[~self._severities[1]].sum())
        alarms, values = super().step(logs, looking, end_us)
        for i in alarms.tolist():
            stream = self.streams[i]
            alarm = Alarm(end_us, stream.severity, stream.segment, stream.signal, stream.spec.kind)
            self.noted.alarms.append(alarm)
        return alarms, values

    def funded(self, severity: str) -> float:
        """Alarms that the streams of a severity were funded with."""
        return self.spent[severity]


class MemorySession(Session):
    """See the module."""

    explains = False

    def __init__(
        self, store: Store, config: Config, source: Source, rules: Rules | None = None, fixed_share: float | None = None
    ) -> None:
        """``fixed_share``: what each stream is funded with per µs, where others that are not here share the budget."""
        self.source = source
        self.noted = Noted()
        self.simple = rules
        self._fixed_share = fixed_share
        self._hours: dict[int, list[SampleRow]] = {}
        self._kept: list[Cells] = []  # by hour, while references grow
        super().__init__(store, config, Lead("benchmark", 1, None, b""))

    def _load(self, lead: Lead) -> None:
        self.bank: WatchedBank = WatchedBank(self.config.evaluation.every, self.noted)

    def run(self, start_us: int, end_us: int) -> None:
        """Evaluate [start, end), full hours, batch by batch."""
        at = start_us
        while at < end_us:
            stop = min(at + BATCH_US, end_us, at // DAY_US * DAY_US + DAY_US)
            _, steps = self.evaluate(at, stop, stop)
            self._write(steps)
            at = stop

    def keep(self, reference: Reference, now_us: int) -> None:
        """Judge by a reference from ``now_us`` on, as if it had been learned then."""
        batch = Batch(now_us, now_us)
        learning.keep(self, reference, now_us, batch)
        self._write(batch.steps)
        self._share_out(now_us)

    def _write(self, steps: Sequence[Step]) -> None:
        if steps:
            with self.store.write() as connection:
                for step in steps:
                    step(connection)

    # -- what is read ---------------------------------------------------------------------------------------

    def _read(self, start_us: int, end_us: int) -> tuple[list[tuple[int, str, str]], Cells]:
        for sample in self.source.samples(start_us, end_us):
            self._hours.setdefault(sample.window_us // HOUR_US, []).append(sample)
        growing = self.config.reference.grow
        cells = self.source.cells(start_us, end_us, self.decoder, self.bank, whole=growing)
        if growing:
            self._kept.append(cells.by_hour())
        if start_us - START_US > self.config.evaluation.history + LEARNED_US:
            # From here on only what is looked at is drawn, which nothing can be learned from.
            kept = (start_us - KEPT_US) // HOUR_US
            self._hours = {hour: samples for hour, samples in self._hours.items() if hour >= kept}
            self._kept = []
            reference = self.config.reference.model_copy(update={"grow": False})
            self.config = self.config.model_copy(update={"reference": reference})
        new = [name for name in self.source.names if name not in self.segments]
        routes = dict(zip(self.source.names, self.source.routes, strict=True))
        return [(start_us, routes[name], name) for name in new], cells

    def stored_hours(self, from_us: int, to_us: int, segment: str) -> Cells:
        """Of what the source gave."""
        code = self.decoder.segments.code(segment)
        return added_runs(
            [
                cells.where((cells.segment == code) & (cells.window >= from_us) & (cells.window < to_us))
                for cells in self._kept
                if len(cells) and cells.window.min() < to_us and cells.window.max() >= from_us
            ]
        )

    def review_candidates(self, from_us: int, to_us: int) -> list[Candidate]:
        return []  # nobody reviews in a benchmark

    def embedded_samples(self, from_us: int, to_us: int, segment: str | None = None) -> list[SampleRow]:
        """Of what the source gave."""
        return [
            sample
            for hour in range(from_us // HOUR_US, -(-to_us // HOUR_US))
            for sample in self._hours.get(hour, ())
            if from_us <= sample.window_us < to_us and segment in (None, sample.segment)
        ]

    # -- what it comes to -----------------------------------------------------------------------------------

    def _hour_end(self, cells: Cells, hour: int, now: int, batch: Batch) -> None:
        if self.simple is not None:
            self.simple.look(self.bank, hour)
        super()._hour_end(cells, hour, now, batch)

    def _share_out(self, now: int) -> None:
        super()._share_out(now)
        if self._fixed_share is not None:
            self.bank.share = np.full(len(self.bank), self._fixed_share)

    def _results(self, end_us: int, batch: Batch) -> Results:
        for identity, anomaly in batch.changed.items():
            first = anomaly.facts[0]
            kind = next((a.kind for a in self.noted.alarms[::-1] if (a.segment, a.signal) == first.stream), "")
            self.noted.opened.setdefault(
                identity, Alarm(anomaly.opened, anomaly.severity, first.subject, first.signal, kind)
            )
        return Results(end_us, b"")
