"""A leader's memory: streams, open anomalies and learned segments, carried from tick to tick.

Read from the store when the lead is taken, and written back with every batch; dropped whenever a batch fails.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import astuple, dataclass, field
from typing import Any

import msgspec
import numpy as np
import structlog
from numpy.typing import NDArray
from sqlalchemy import Connection

from alerts import lifecycle
from alerts.anomaly import Anomaly, from_json, to_json
from monitor.config.model import Config
from monitor.evaluate import accepting, incidents, judging, learning, reviewing
from monitor.evaluate.bank import StreamBank, shares
from monitor.evaluate.calendar import HOUR_US, Calendar
from monitor.evaluate.calibration import calibration_looks
from monitor.evaluate.cells import Cells, Decoder, SummaryRow, added_runs
from monitor.evaluate.counts import CountPlan
from monitor.evaluate.references import Reference
from monitor.evaluate.reviewing import Reviewing
from monitor.evaluate.streams import SLICE_PREFIX, Ownership, severity_of
from monitor.store import deploys, evaluation, outbox, references, review
from monitor.store.anomalies import mutes
from monitor.store.engine import Store
from monitor.store.evaluation import Lead, Results, SampleRow, StreamState
from monitor.store.review import Answer

log = structlog.stdlib.get_logger("driftline.evaluate")

FORMAT = 4  # 1: without `clean_us`; 2: without `review`; 3: without `accepted_us`
DAY_US = 24 * HOUR_US
MOST_A_TICK = 8  # explanations made at once
PRESENT_US = DAY_US  # a stream without data for this long gets no funding
LABELLED_US = 7 * DAY_US  # the same of one that lives on labels: reviewers have weekends

Step = Callable[[Connection], None]


@dataclass(slots=True)
class SegmentInfo:
    """What is known of a segment beside its streams. ``drafted``: a learned reference waits for approval.
    ``clean_us``: since when no anomaly was open in it. ``accepted_us``: since when it is as people accepted it, until
    that is learned, at ``relearn_us`` or later; 0: nothing was accepted."""

    route: str
    first_us: int
    drafted: bool = False
    clean_us: int = 0
    accepted_us: int = 0
    relearn_us: int = 0


@dataclass(slots=True)
class Batch:
    """What a batch has come to so far. ``answers``: by segment, answered items of events before ``end_us`` that were
    not bet on before it, without those it took."""

    now_us: int
    end_us: int
    answers: dict[str, list[Answer]] = field(default_factory=dict)
    evidence: list[dict[str, Any]] = field(default_factory=list)
    changed: dict[str, Anomaly] = field(default_factory=dict)
    told: dict[str, Anomaly] = field(default_factory=dict)
    dropped: list[tuple[str, str, str]] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    versions: dict[str, int] = field(default_factory=dict)  # the newest reference of a segment, of those in steps


class Session:
    """See the module. Raises StoreUnavailable from anything that reads."""

    explains = True  # whether anomalies are explained, which reads stored sessions and summaries

    def __init__(self, store: Store, config: Config, lead: Lead) -> None:
        self.store = store
        self.config = config
        self.calendar = Calendar(config.timezone)
        self.ownership = Ownership(config)
        self.decoder = Decoder()
        self.bank = StreamBank(config.evaluation.every)
        self.segments: dict[str, SegmentInfo] = {}
        self.references: dict[str, Reference] = {}  # active, by segment
        self.active: dict[str, str] = {}
        self.learned: set[str] = set()  # segments whose active reference was learned, not built
        self.open = incidents.OpenAnomalies()
        self.history: list[Cells] = []  # hours of segments that are learning, since history_from_us
        self.history_from_us: int | None = None
        self.samples: list[SampleRow] = []
        self.memberships: dict[str, frozenset[str]] = {}  # slices of each of them
        self._plan: CountPlan | None = None
        self._hour: tuple[int, Cells] | None = None  # the begun hour's cells, so that a tick need not read it again
        self.rules = judging.sending_rules(config)
        self.reviewing = Reviewing(config)
        self.unexplained = 0  # explanations that failed
        self._explained = (0, 0)  # the tick that explanations were last made at, and how many
        self._load(lead)

    # -- reading --------------------------------------------------------------------------------------------

    def _load(self, lead: Lead) -> None:
        at_us = lead.done_until_us or 0
        if lead.state:
            state = msgspec.json.decode(lead.state)
            if state.get("format") not in (1, 2, 3, FORMAT):
                raise ValueError(
                    f"the evaluation's state has format {state.get('format')!r}, this driftline reads 1 to {FORMAT}; "
                    "it was written by a newer version: use that one"
                )
            # Format 1 did not say when a segment was free of anomalies: from here on it is known.
            self.segments = {
                name: SegmentInfo(*([*found, at_us] if len(found) == 3 else found))
                for name, found in state["segments"].items()
            }
            self.reviewing = Reviewing.from_state(state.get("review"), self.config)
        self._take_references(references.active_ids(self.store), at_us)
        for row in evaluation.stream_rows(self.store):
            i = self.bank.index.get((row.owner, row.segment, row.signal))
            if i is not None:
                self.bank.from_state(i, row.state)
        self._take_open()

    def _take_open(self) -> None:
        for _, document in evaluation.open_documents(self.store):
            self.open.put(from_json(document))

    def _take_references(self, active: dict[str, str], at_us: int) -> None:
        """Make streams for active references that are new here."""
        for segment in sorted(active):
            if self.active.get(segment) == active[segment]:
                continue
            row = references.get(self.store, active[segment])
            learned = row.origin == "learned"
            self.activate(Reference.from_content(row.content), active[segment], at_us, learned=learned)

    def activate(
        self, reference: Reference, identity: str, at_us: int, *, learned: bool = False
    ) -> list[tuple[str, str, str]]:
        """Streams of a reference, in place of those of the one before; returns the keys that went."""
        segment = reference.segment
        owner = self.ownership.owner(segment)
        gone = self.bank.drop_segment(owner, segment)
        severity = severity_of(self.ownership.stakes(segment, reference.route))
        self.bank.add_reference(reference, identity, owner, severity, at_us)
        if self.active.get(segment, identity) != identity and segment in self.segments:
            self.segments[segment].accepted_us = self.segments[segment].relearn_us = 0  # another is there by now
        self.references[segment], self.active[segment] = reference, identity
        (self.learned.add if learned else self.learned.discard)(segment)
        for key in gone:
            # The change was found against another reference: whether it is still there is asked of the new one.
            if key in self.open.of and (i := self.bank.index.get(key)) is not None:
                self.bank.open(i, at_us, at_us)
        return gone

    # -- a batch --------------------------------------------------------------------------------------------

    def evaluate(self, start_us: int, end_us: int, now_us: int) -> tuple[Results, list[Step]]:
        """Step the ticks in [start, end), both multiples of the tick length."""
        batch = Batch(now_us, end_us)
        for reference in self.references.values():
            reference.rows = []  # those of the last batch are in the store
        active = references.active_ids(self.store)
        for segment in [name for name in self.active if name not in active]:
            owner = self.ownership.owner(segment)
            batch.dropped += self.bank.drop_segment(owner, segment)
            del self.active[segment], self.references[segment]
            self.learned.discard(segment)
            self.history, self.history_from_us = [], None  # it learns again, from hours that were not kept
        known = dict(self.active)
        self._take_references(active, start_us)
        if known != self.active:
            self._share_out(start_us)
        accepting.accept_due(self, start_us, batch)
        rows, cells = self._read(start_us, end_us)
        self.samples = judging.read_samples(self, start_us, end_us)
        every = self.config.evaluation.every
        at = start_us
        while at < end_us:
            boundary = at // HOUR_US * HOUR_US + HOUR_US
            # The last tick of a block is the one that reaches the hour's end.
            stop = min(end_us, -(-boundary // every) * every)
            self._note_segments(rows, at, stop)
            self._block(cells, at, stop, batch)
            at = stop
        hour = end_us // HOUR_US * HOUR_US
        self._hour = (hour, cells.where(cells.window >= hour))
        return self._results(end_us, batch), batch.steps

    def _read(self, start_us: int, end_us: int) -> tuple[list[tuple[int, str, str]], Cells]:
        """Rows' (window, route, segment) from ``start_us`` on, and cells from the beginning of its hour."""
        hour = start_us // HOUR_US * HOUR_US
        if self._hour is not None and self._hour[0] == hour:
            before, read_from = [self._hour[1]], start_us
        else:
            before, read_from = [], hour
        found = evaluation.on_time_rows(self.store, read_from, end_us)
        cells = self.decoder.decode(SummaryRow(window, segment, state) for window, _, segment, state in found)
        rows = [(window, route, segment) for window, route, segment, _ in found if window >= start_us]
        return rows, added_runs([*before, cells])

    def embedded_samples(self, from_us: int, to_us: int, segment: str | None = None) -> list[SampleRow]:
        """Sampled sessions with from <= window < to. All that is judged or measured of samples is read here."""
        return evaluation.embedded_samples(self.store, from_us, to_us, segment)

    def review_candidates(self, from_us: int, to_us: int) -> list[review.Candidate]:
        """Sampled sessions with from <= window < to, embedded or not, that reviewers may be asked about."""
        return review.candidates(self.store, from_us, to_us)

    def answers_due(self, segments: list[str], hour: int, batch: Batch | None) -> list[Answer]:
        """Items of events before ``hour`` that were answered and not bet on; the batch takes them."""
        assert batch is not None
        new = [segment for segment in segments if segment not in batch.answers]
        if new:
            batch.answers.update({segment: [] for segment in new})
            for answer in review.to_bet(self.store, new, batch.end_us):
                batch.answers[answer.segment].append(answer)
        due: list[Answer] = []
        for segment in segments:
            mine = batch.answers[segment]
            due += [answer for answer in mine if answer.time_us < hour]
            batch.answers[segment] = [answer for answer in mine if answer.time_us >= hour]
        if due:
            taken = [answer.item_id for answer in due]
            batch.steps.append(lambda connection: review.mark(connection, taken))
        return due

    def stored_hours(self, from_us: int, to_us: int, segment: str) -> Cells:
        """Thinned cells by hour of a segment's hours in [from, to), as they are stored."""
        rows = evaluation.on_time_hours(self.store, from_us, to_us, segment)
        return self.decoder.decode(SummaryRow(*row) for row in rows).by_hour()

    def _note_segments(self, rows: list[tuple[int, str, str]], at: int, stop: int) -> None:
        for window, route, segment in rows:
            if at <= window < stop:
                info = self.segments.get(segment)
                if info is None:
                    self.segments[segment] = SegmentInfo(route, window)
                    for name in self.config.slices.enabled:
                        self.segments.setdefault(SLICE_PREFIX + name, SegmentInfo("", window))
                elif info.route != route:
                    info.route = ""

    def may_explain(self, end_us: int) -> bool:
        """Whether another explanation may be made at the tick that ends at ``end_us``: some at once, so that a flood
        of alarms is not held up by them; the others follow at full hours."""
        tick, made = self._explained
        made = made if tick == end_us else 0
        self._explained = (end_us, made + 1)
        return self.explains and made < MOST_A_TICK

    def plan(self) -> CountPlan:
        if self._plan is None or not self._plan.fits(self.bank, self.decoder):
            self._plan = CountPlan(self.bank, self.decoder)
        return self._plan

    def _block(self, cells: Cells, at: int, stop: int, batch: Batch) -> None:
        """The ticks in [at, stop), of which only the last one may reach an hour's end."""
        every = self.config.evaluation.every
        ticks = (stop - at) // every
        mine = cells.where((cells.window >= at) & (cells.window < stop))
        hits, trials = self.plan().count(mine, at, every, ticks)
        starts = at + every * np.arange(ticks, dtype=np.int64)
        logs = self.bank.tick_bets(hits, trials, self.calendar.hours_of_week(starts))
        for t in range(ticks):
            end = at + (t + 1) * every
            looking = trials[t] > 0
            self.bank.remember(end, hits[t], trials[t])
            first = (end - every) // HOUR_US * HOUR_US + HOUR_US
            boundaries = range(first, end + 1, HOUR_US)
            for hour in boundaries:
                judging.hourly_looks(self, cells, hour, logs[t], looking)
                calibration_looks(self, hour, logs[t], looking, batch)
            alarms, values = self.bank.step(logs[t], looking, end)
            judging.note_open(self, end, batch)
            for i in alarms.tolist():
                incidents.alarm(self, i, float(values[i]), end, batch)
            for hour in boundaries:
                self._hour_end(cells, hour, end, batch)

    def _hour_end(self, cells: Cells, hour: int, now: int, batch: Batch) -> None:
        judging.note_hour(self, hour, batch)
        incidents.review_open(self, now, batch)
        incidents.note_new(self, cells, hour, batch)
        for _, _, fact in self.open.facts():
            if fact.subject in self.segments and fact.signal != incidents.NEW_SEGMENT:
                self.segments[fact.subject].clean_us = now
        learning.keep_history(self, cells, hour)
        learning.learn_due(self, hour, now, batch)
        accepting.relearn_due(self, hour, now, batch)
        learning.grow_due(self, hour, now, batch)
        learning.calibrate_due(self, hour, now, batch)
        reviewing.draw_due(self, hour, batch)
        self._share_out(now)

    def present(self, now: int) -> NDArray[np.bool_]:
        """Which streams are funded: those with data in the last day, of labels in the last week (volume speaks without
        any), unless one is open."""
        volume = np.array([s.volume >= 0 for s in self.bank.streams], dtype=np.bool_)
        patience = np.array([LABELLED_US if s.saves else PRESENT_US for s in self.bank.streams], dtype=np.int64)
        heard = (self.bank.last_data > now - patience) | volume
        return np.asarray(heard & ~self.bank.sr.suspended, dtype=np.bool_)

    def _share_out(self, now: int) -> None:
        """Who is funded in the hour that begins, and with how much: known before its looks."""
        present = self.present(now)
        pots = {
            pot: self.ownership.allowance(*pot).per_us for pot in {(s.owner, s.severity) for s in self.bank.streams}
        }
        self.bank.share = shares(self.bank.streams, present, pots)

    def _muted_until(self, anomaly: Anomaly, batch: Batch) -> int:
        """Until when (wall clock) nobody is to be told of what opens now, since a deploy asked for that."""
        with self.store.read() as connection:
            found = deploys.muting(connection, batch.now_us)
        ends = [d.mute_until_us or 0 for d in found if d.covers(anomaly.route, anomaly.subject)]
        return max(ends, default=0)

    def _results(self, end_us: int, batch: Batch) -> Results:
        state = {
            "format": FORMAT,
            "segments": {n: list(astuple(s)) for n, s in sorted(self.segments.items())},
            "review": self.reviewing.to_state(),
        }
        results = Results(end_us, msgspec.json.encode(state), dropped=batch.dropped)
        results.streams = [
            StreamState(s.owner, s.segment, s.signal, s.spec.detector, state)
            for s, state in zip(self.bank.streams, self.bank.to_states(), strict=True)
        ]
        results.evidence_rows = batch.evidence
        results.anomaly_rows = [incidents.anomaly_row(a, to_json(a)) for _, a in sorted(batch.changed.items())]
        over = sorted(key for key, anomaly in batch.told.items() if anomaly.state == "resolved")
        told_before: dict[str, set[str]] = {}
        muted: dict[str, int] = {}
        if over:
            with self.store.read() as conn:
                told_before, muted = outbox.sinks_of(conn, over), mutes(conn, over)
        for key, anomaly in sorted(batch.told.items()):
            # One that opened earlier is held by the mute that it opened in alone: who was told waits for its end.
            until_us = muted[key] if key in muted else self._muted_until(anomaly, batch)
            if until_us > batch.now_us:
                results.muted[key] = until_us
                if anomaly.state == "resolved":
                    results.unheard.append(key)
            due_us = until_us if anomaly.state == "open" else 0
            results.messages += lifecycle.messages(anomaly, self.rules, batch.now_us, due_us, told_before.get(key, ()))
        return results
