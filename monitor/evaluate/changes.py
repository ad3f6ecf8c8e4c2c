"""What changed in a past period, at a stated false discovery rate: its hours judged again, and nothing written.

Every stream is judged hour by hour with a mass of 1 spread over the period (`detectors.evidence.fdr`), by the reference
that was the newest when the period began: evidence rests on nothing that the period itself taught. A stream whose first
reference ends within the period is judged from there on.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from alerts.anomaly import from_document
from detectors.evidence import Effect
from detectors.evidence.fdr import StoppedEBH
from monitor.config.model import Config
from monitor.evaluate import judging, measuring
from monitor.evaluate.bank import BETS, StreamBank
from monitor.evaluate.calendar import HOUR_US
from monitor.evaluate.calibration import calibration_looks
from monitor.evaluate.cells import Cells, SummaryRow
from monitor.evaluate.references import Reference
from monitor.evaluate.sentences import sentence
from monitor.evaluate.session import Batch, Session
from monitor.store import coverage, evaluation, reads, references, review
from monitor.store.anomalies import list_anomalies
from monitor.store.engine import Store
from monitor.store.evaluation import Lead
from monitor.store.references import ReferenceSet
from monitor.store.review import Answer
from monitor.times import iso

Float = NDArray[np.float64]

KnownFact = tuple[str, tuple[str, str, str], int, int | None]  # anomaly, stream, opened, resolved

BATCH_US = 24 * HOUR_US  # event time whose samples are read at once
CELLS_US = 3 * HOUR_US  # and whose cells: of 500 segments a day of them is a gigabyte
IN_USE = ("active", "retired")


class PeriodError(ValueError):
    """The period cannot be judged; the message says what to give."""


class Change(Struct, frozen=True):
    """One stream that changed. ``until`` is null where the change was still there at the period's end, ``anomaly`` null
    where none was open on the stream at that time."""

    owner: str
    segment: str
    signal: str
    severity: str
    since: str
    since_low: str
    since_high: str
    named: str  # end of the hour by which the evidence sufficed
    until: str | None
    e_value: float
    value: float | None
    baseline: float | None
    unit: str
    sentence: str
    anomaly: str | None


class Changes(Struct, frozen=True):
    """The changes of a period; of those listed, a share of ``false_discovery_rate`` is expected to be false at most."""

    since: str
    until: str
    false_discovery_rate: float
    streams: int
    changes: list[Change]
    without_reference: list[str]
    gaps: list[tuple[str, str]]  # stretches whose hours are no longer kept


def changes(
    store: Store,
    config: Config,
    from_us: int,
    to_us: int,
    level: float,
    told: Callable[[float], None] = lambda share: None,
) -> Changes:
    """Judge [from, to), cut to full hours, at the false discovery rate ``level``. ``told`` is called now and then with
    the share of the period that is done.

    Raises:
        PeriodError: no full hour, or the period is not evaluated yet.
    """
    begin, end = -(-from_us // HOUR_US) * HOUR_US, to_us // HOUR_US * HOUR_US
    if end <= begin:
        raise PeriodError("the period holds no full hour; give a later --to")
    done = evaluation.standing(store).done_until_us
    if done is None or done < end:
        reached = "nothing is evaluated yet" if done is None else f"evaluated until {iso(done)}"
        raise PeriodError(f"the period is not evaluated yet ({reached}); give an earlier --to")
    past = _Past(store, config, begin, end, level)
    past.judge(told)
    return past.result()


class _Past(Session):
    """A session over a past period, at ticks of an hour."""

    def __init__(self, store: Store, config: Config, begin: int, end: int, level: float) -> None:
        self.begin, self.end = begin, end
        hourly = config.evaluation.model_copy(update={"every": HOUR_US})
        super().__init__(store, config.model_copy(update={"evaluation": hourly}), Lead("", -1, None, b""))
        self.gaps: list[tuple[int, int]] = []
        self._answers: list[Answer] = []  # of the events read at once
        self._named: dict[int, tuple[int, Effect, int, int]] = {}  # (when, effect, since low, high) by stream
        self._bets = np.array([stream.bets for stream in self.bank.streams], dtype=np.int64)
        self._span = self.end - self.bank.last_look
        self._evidence = StoppedEBH(len(self.bank), BETS, level)

    def _load(self, lead: Lead) -> None:
        """Streams of the references that the period is held against, from zero evidence."""
        self.bank = StreamBank(HOUR_US, self.end - self.begin)
        by_segment: dict[str, list[ReferenceSet]] = {}
        for row in references.list_references(self.store):
            if row.state in IN_USE and row.to_us < self.end:
                by_segment.setdefault(row.segment, []).append(row)
        for rows in by_segment.values():
            before = [row for row in rows if row.to_us <= self.begin]
            row = max(before, key=lambda r: r.version) if before else min(rows, key=lambda r: r.to_us)
            self.activate(Reference.from_content(row.content), row.reference_id, max(self.begin, row.to_us))

    def judge(self, told: Callable[[float], None]) -> None:
        """Every hour of the period."""
        labelled = sorted({s.segment for s in self.bank.streams if s.spec.kind == "calibration"})
        first = self._first()
        for day in range(first, self.end, BATCH_US):
            last = min(day + BATCH_US, self.end)
            self.samples = judging.read_samples(self, day, last)
            self._answers = review.answered(self.store, labelled, day, last)
            for at in range(day, last, CELLS_US):
                stop = min(at + CELLS_US, last)
                cells = self._cells(at, stop)
                for hour in range(at + HOUR_US, stop + 1, HOUR_US):
                    self._look(cells, hour)
                told((stop - first) / (self.end - first))

    def _first(self) -> int:
        """The first hour of the period that any stream looks at or that anything is stored of."""
        with self.store.read() as connection:
            first = coverage.first_window(connection)
        looks = int(self.bank.last_look.min(initial=self.end))
        return max(self.begin, min(looks, self.end if first is None else first) // HOUR_US * HOUR_US)

    def _cells(self, from_us: int, to_us: int) -> Cells:
        rows, missing = reads.covering(self.store, from_us, to_us, coarsest=coverage.HOUR, late=False)
        for low, high in missing:  # one stretch, however many times it was cut to be read
            begin = self.gaps.pop()[0] if self.gaps and self.gaps[-1][1] >= low else low
            self.gaps.append((begin, high))
        return self.decoder.decode(SummaryRow(row.window_us, row.segment, row.state) for row in rows)

    def answers_due(self, segments: list[str], hour: int, batch: Batch | None) -> list[Answer]:
        """Answered items of the hour's own events: here all labels are known, whatever was bet on."""
        return [answer for answer in self._answers if hour - HOUR_US <= answer.time_us < hour]

    def _look(self, cells: Cells, hour: int) -> None:
        """The hour that ends at ``hour``."""
        bank, start = self.bank, hour - HOUR_US
        mine = cells.where((cells.window >= start) & (cells.window < hour))
        hits, trials = self.plan().count(mine, start, HOUR_US, 1)
        logs = bank.tick_bets(hits, trials, self.calendar.hours_of_week(np.array([start])))[0]
        looking = trials[0] > 0
        bank.remember(hour, hits[0], trials[0])
        judging.hourly_looks(self, cells, hour, logs, looking)
        calibration_looks(self, hour, logs, looking, None)
        looking &= bank.last_look <= start  # the others' references hold this hour themselves
        logs[~looking] = 0.0
        funding = np.where(looking, (hour - bank.last_look) / np.maximum(self._span, 1), 0.0)
        new = self._evidence.step(logs, funding, self._bets)
        bank.step(logs, looking, hour)
        for i in new.tolist():
            onset = bank.onset_of(i, hour, self.calendar.hours_of_week)
            effect = measuring.measure(self, i, onset.low_us, hour)
            self._named[i] = (hour, effect, onset.low_us, onset.high_us)
            bank.open(i, hour, onset.low_us)  # from here on it is asked whether the change is still there

    def result(self) -> Changes:
        """What was named, by evidence."""
        with self.store.read() as connection:
            rows = list_anomalies(connection, to_us=self.end, limit=None)
        # An incident is one anomaly, of which any fact may be the stream's.
        known = [
            (row.anomaly_id, (row.owner, *fact.stream), fact.opened, fact.resolved)
            for row in rows
            for fact in from_document(row.document).facts
        ]
        values = self._evidence.values
        found = sorted(self._named, key=lambda i: (-values[i], self.bank.streams[i].key))
        seen = set(self.decoder.segments.names)
        return Changes(
            since=iso(self.begin),
            until=iso(self.end),
            false_discovery_rate=self._evidence.level,
            streams=len(self.bank),
            changes=[self._change(i, float(values[i]), known) for i in found],
            without_reference=sorted(seen - set(self.active)),
            gaps=[(iso(low), iso(high)) for low, high in self.gaps],
        )

    def _change(self, i: int, value: float, known: list[KnownFact]) -> Change:
        bank, config = self.bank, self.config
        stream = bank.streams[i]
        hour, effect, low, high = self._named[i]
        over = int(bank.last_data[i]) - int(bank.supported[i]) >= config.evaluation.resolve_after
        until = int(bank.supported[i]) if over else None
        middle, currency = measuring.middle(low, high), config.prices.currency
        text = sentence(stream.spec, stream.segment, effect, stream.fitted.threshold, middle, config.timezone, currency)
        last = self.end if until is None else until
        anomaly = next(
            (
                identity
                for identity, key, opened, resolved in known
                if key == stream.key
                and opened <= last + config.evaluation.resolve_after
                and (resolved is None or resolved > low)
            ),
            None,
        )
        return Change(
            owner=stream.owner,
            segment=stream.segment,
            signal=stream.signal,
            severity=stream.severity,
            since=iso(middle),
            since_low=iso(low),
            since_high=iso(high),
            named=iso(hour),
            until=None if until is None else iso(until),
            e_value=float(f"{value:.6g}"),
            value=_finite(effect.value),
            baseline=_finite(effect.baseline),
            unit=effect.unit,
            sentence=text,
            anomaly=anomaly,
        )


def _finite(value: float) -> float | None:
    return float(f"{value:.6g}") if np.isfinite(value) else None
