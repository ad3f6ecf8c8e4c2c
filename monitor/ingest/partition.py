"""One owned partition: from its records, in offset order, to what is committed.

Everything kept here is a function of the partition's records in offset order (and of stored watermark advances),
never of how they were cut into batches, so that a new owner who starts from the stored offset goes on exactly where
the last commit ended.
"""

from __future__ import annotations

import contextlib
import gc
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from detectors.summaries import SummaryTable
from detectors.summaries.columns import Bool, EventColumns, Int32, Int64
from monitor.events import native
from monitor.events.columns import columns
from monitor.events.reading import EventReader, Readings, cap_attributes
from monitor.events.redaction import UserHasher
from monitor.events.segments import Admission, Assigner
from monitor.ingest import sample_rows
from monitor.ingest.consumer import Records, TopicPartition
from monitor.ingest.dead_letters import DeadLetter
from monitor.ingest.decoding import RecordDecoder
from monitor.ingest.draws import Draws, Kept
from monitor.ingest.recent import RecentKeys
from monitor.ingest.retrying import Retries, Uncounted
from monitor.ingest.settings import Settings
from monitor.ingest.windows import NEVER, WINDOW_US, Clock, lateness, window_start
from monitor.store.partitions import Claim, PartitionCommit
from monitor.store.retries import Waiting

STATE_VERSION = 1
DAY_US = 86_400_000_000
CHUNK = 4096  # records taken at once: a fetch's in one go, few enough that their objects take little memory
SESSION_US = DAY_US  # a session seen longer ago than this, in event time, counts anew

# A row's id packs (window, segment, version, late) into one int64: 35 + 14 + 13 + 1 bits.
_LATE_BITS = 1
_VERSION_BITS = 13
_SEGMENT_BITS = 14

# Loads the rows of late windows: (windows) -> (window, route, segment, version, late, state).
LoadLate = Callable[[Iterable[int]], list[tuple[int, str, str, str, bool, bytes]]]
Row = tuple[int, str, str, str, bool, bytes]


class PartitionIngest:
    """The state of one owned partition between two commits.

    ``load_late`` reads the stored late rows of windows; it may block until the store answers. ``retried``: keys of the
    events that entered by a retry, and where the partition was read to then.
    """

    def __init__(
        self,
        claim: Claim,
        settings: Settings,
        partitions: int,
        hasher: UserHasher,
        load_late: LoadLate,
        open_rows: list[Row],
        retried: Mapping[str, int] | None = None,
    ) -> None:
        self.tp = TopicPartition(claim.topic, claim.partition)
        self.claim = claim
        self.next_offset = claim.next_offset
        self.committed_offset = claim.next_offset
        self.clock = Clock(
            NEVER if claim.max_time_us is None else claim.max_time_us,
            NEVER if claim.watermark_us is None else claim.watermark_us,
        )
        self.begun = claim.begun
        self.events = claim.events
        self.duplicates = claim.duplicates
        self.dead_letters = claim.dead_letters
        self.late_events = claim.late_events
        self.counters: Counter[str] = Counter(claim.counters)
        self._hasher = hasher
        self._load_late = load_late
        state = msgspec.json.decode(claim.state) if claim.state else None
        if state is not None and state["v"] != STATE_VERSION:
            raise ValueError(
                f"the stored state of {claim.topic}/{claim.partition} has version {state['v']}, this driftline reads"
                f" version {STATE_VERSION}; it was written by another version: install that one"
            )
        self._admission = Admission.from_state(state["admission"]) if state else Admission()
        self._draws_state: dict[str, Any] = state or {}
        self._table = SummaryTable()
        self._dirty: set[int] = set()
        self._late_windows: set[int] = set()
        self._touched_late: set[int] = set()
        self._samples: list[dict[str, Any]] = []
        self._contents: list[dict[str, Any]] = []
        self._letters: list[DeadLetter] = []
        self._advance: tuple[int, str] | None = None
        self._first_window = 2**62
        self._ids, self._sessions = RecentKeys(0), RecentKeys(0)
        self._retries = Retries(retried)
        self.configure(settings, partitions)
        for row in open_rows:
            self._load(row)

    # -- configuration and memory ---------------------------------------------------------------------------------

    def configure(self, settings: Settings, partitions: int) -> None:
        """Use other settings from the next record on; ``partitions`` share the embedding budget."""
        self.settings = settings
        self._partitions = partitions
        self._assigner = Assigner(settings.rules, settings.config, self._admission)
        self._draws = Draws(self._draws_state, settings, partitions)
        kafka = settings.config.kafka
        self._delay = kafka.watermark_delay
        reader = EventReader(settings.prices, self._assigner, self._hasher)
        self._decoder = RecordDecoder(self.tp, reader, self._hasher, kafka.max_record)
        self._ids.records, self._sessions.records = kafka.dedup_records, kafka.session_records

    def reconfigure(self, settings: Settings, partitions: int) -> None:
        """As `configure`, keeping the sampling state of this moment."""
        self._draws_state = self._draws.to_state()
        self.configure(settings, partitions)

    @property
    def rebuild_from(self) -> int:
        """The offset to read from so that duplicates and sessions are known as if nothing had stopped."""
        kafka = self.settings.config.kafka
        return max(0, self.committed_offset - max(kafka.dedup_records, kafka.session_records))

    @property
    def watermark_us(self) -> int | None:
        watermark = self.clock.watermark(self._delay)
        return None if watermark == NEVER else watermark

    @property
    def pending_records(self) -> int:
        """Records taken in since the last commit."""
        return self.next_offset - self.committed_offset

    def _load(self, row: Row) -> None:
        window, route, segment, version, late, state = row
        row_id = self._row_id(
            window,
            self._admission.segment(route, segment, 0),
            self._admission.version(version, 0),
            late,
        )
        self._table.load(row_id, state)

    @staticmethod
    def _row_id(window_us: int, segment: int, version: int, late: bool) -> int:
        packed = window_us // WINDOW_US
        packed = (packed << _SEGMENT_BITS) | segment
        packed = (packed << _VERSION_BITS) | version
        return (packed << _LATE_BITS) | int(late)

    @staticmethod
    def _unpack(row_id: int) -> tuple[int, int, int, bool]:
        late = bool(row_id & 1)
        row_id >>= _LATE_BITS
        version = row_id & ((1 << _VERSION_BITS) - 1)
        row_id >>= _VERSION_BITS
        return (row_id >> _SEGMENT_BITS) * WINDOW_US, row_id & ((1 << _SEGMENT_BITS) - 1), version, late

    # -- records ----------------------------------------------------------------------------------------------------

    def process(self, records: Records) -> None:
        """Take in consecutive records. Those before ``next_offset`` only rebuild what was seen recently."""
        if not len(records):
            return
        known = int(np.searchsorted(records.offsets, self.next_offset))
        if known:
            old = records.part(0, known)
            events, index, times, _ = self._decoder.decode(old)
            if len(events):
                self._remember(events, times, np.array(old.offsets, dtype=np.int64)[index])
            records = records.part(known, len(records))
        for start in range(0, len(records), CHUNK):
            chunk = records.part(start, start + CHUNK)
            with _without_cycle_collection():
                self._take(chunk)
            self.next_offset = chunk.offsets[-1] + 1
            self.begun = self.clock.max_time_us != NEVER

    def _take(self, records: Records) -> None:
        events, index, times, letters = self._decoder.decode(records)
        offsets = np.array(records.offsets, dtype=np.int64)[index]
        if len(events):
            duplicate, represents = self._remember(events, times, offsets)
            stamps = np.array(records.timestamps_ms, dtype=np.int64)[index] * 1000
            future = (stamps >= 0) & (times > stamps + self.settings.config.kafka.future_tolerance) & ~duplicate
            timely = ~duplicate & ~future
            met = np.full(len(events), NEVER, dtype=np.int64)
            met[timely] = self.clock.observe(times[timely], self._delay)
            late, too_late = lateness(times, met, self.settings.config.kafka.allowed_lateness)
            late &= timely
            too_late &= timely
            self.duplicates += int(duplicate.sum())
            for i in np.flatnonzero(future | too_late).tolist():
                reason = "future_time" if future[i] else "too_late"
                against = stamps[i] if future[i] else met[i]
                what = "the record's Kafka timestamp" if future[i] else "the partition's watermark"
                letters.append(
                    self._decoder.letter(
                        records,
                        int(index[i]),
                        reason,
                        f"event time {int(times[i])} µs, {what} {int(against)} µs",
                        events.ids[i],
                        int(events.rows["user"][i]) % 2**64,
                    )
                )
            accepted = timely & ~too_late
            if not accepted.all():
                events = events.kept(accepted)
                index, times = index[accepted], times[accepted]
                late, represents = late[accepted], represents[accepted]
            if len(events):
                self._summarise(records, events, index, times, late, represents)
        if letters:
            letters.sort(key=lambda letter: letter.offset)
            self._letters += letters
            self.dead_letters += len(letters)
            self.counters.update(f"dead_letter_{letter.reason}" for letter in letters)

    def _remember(self, events: Readings, times: Int64, offsets: Int64) -> tuple[Bool, Bool]:
        """(duplicate, represents its session) per event, in offset order."""
        # Python's own string hash is 64 bits, randomised per process, and never leaves it: the runs are rebuilt.
        ids = events.column("id")
        seen, _ = self._ids.previous(ids, offsets, times)
        # "Among the previous n records": the record n offsets back is the last that counts.
        duplicate = seen >= 0
        duplicate |= self._retries.duplicates(events.ids, offsets, self._ids.records)
        keys = events.column("session")
        without = events.rows["has_session"] == 0
        if without.any():
            keys = keys.copy()
            users = events.rows["user"][without].view(np.uint64)
            days = (times[without] // DAY_US).astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
            mixed = (users ^ days) * np.uint64(0xD1B54A32D192ED03)
            keys[without] = np.where(users == 0, ids[without].view(np.uint64) ^ days, mixed).view(np.int64)
        last, when = self._sessions.previous(keys, offsets, times)
        represents = (last < 0) | (np.abs(times - when) > SESSION_US)
        return duplicate, represents

    def retry(self, letters: Sequence[Waiting], uncounted: Uncounted) -> None:
        """Read dead letters of this partition again, by the settings of now; everything before them is committed.

        What is an event by now counts as a late one, whatever its time: it changes no verdict, moves no watermark and
        is not sampled.
        """
        records, events, index, times = self._retries.judge(
            letters,
            self._decoder,
            self._ids,
            self.settings.config.kafka,
            self.watermark_us,
            self.next_offset,
            uncounted,
        )
        if len(events):
            late = np.ones(len(events), dtype=np.bool_)
            self._summarise(records, events, index, times, late, ~late)

    def _summarise(
        self,
        records: Records,
        events: Readings,
        index: NDArray[np.int64],
        times: Int64,
        late: Bool,
        represents: Bool,
    ) -> None:
        segments, versions = self._assigner.admit(events.column("segment"), events.column("version"))
        found, counts = columns(events, times, represents, self.settings.prices)
        self.counters.update(counts)
        windows = window_start(times)
        rows = windows // WINDOW_US
        rows = (rows << _SEGMENT_BITS) | segments
        rows = (rows << _VERSION_BITS) | versions
        rows = (rows << _LATE_BITS) | late
        if late.any():
            self._fetch_late(np.unique(windows[late]).tolist())
            self.late_events += int(late.sum())
        self._table.update(rows, found)
        self._dirty.update(np.unique(rows).tolist())
        self.events += len(events)
        self._first_window = min(self._first_window, int(windows.min()))
        stakes = self._assigner.stakes
        kept = self._draws.draw(windows, segments, represents & ~late, stakes, found, events.sessions, events.ids)
        self._keep(kept, records, events, index, times, windows, segments, versions, found)

    def _fetch_late(self, windows: list[int]) -> None:
        self._touched_late.update(windows)
        unknown = [window for window in windows if window not in self._late_windows]
        if unknown:
            for row in self._load_late(unknown):
                self._load(row)
            self._late_windows.update(unknown)

    def _keep(
        self,
        kept: Kept,
        records: Records,
        events: Readings,
        index: NDArray[np.int64],
        times: Int64,
        windows: Int64,
        segments: Int32,
        versions: Int32,
        measured: EventColumns,
    ) -> None:
        for i, pi, pi_kept in zip(*(column.tolist() for column in kept), strict=True):
            value = records.values[index[i]]
            assert value is not None
            event = native.decode(value)
            cap_attributes([event])
            sample, content = sample_rows.rows(
                topic=self.tp.topic,
                partition=self.tp.partition,
                offset=records.offsets[index[i]],
                event=event,
                value=value,
                time_us=int(times[i]),
                window_us=int(windows[i]),
                segment=self._admission.segments[segments[i]],
                version=self._admission.versions[versions[i]],
                user=int(measured.user[i]),
                pi=pi,
                pi_kept=pi_kept,
                columns=measured,
                index=i,
                settings=self.settings,
                hasher=self._hasher,
            )
            self._samples.append(sample)
            self._contents.append(content)

    # -- commits ----------------------------------------------------------------------------------------------------

    def hold(self, watermark_us: int) -> None:
        """Begin at a watermark that the store holds already (µs)."""
        self.clock.advanced_us = max(self.clock.advanced_us, watermark_us)

    def advance(self, watermark_us: int, reason: str) -> bool:
        """Move the watermark without a record (an idle stream, the end of input); stored. False: no change."""
        current = self.watermark_us
        if current is not None and watermark_us <= current:
            return False
        self.clock.advanced_us = watermark_us
        self._advance = (watermark_us, reason)
        return True

    def commit(self, now_us: int) -> PartitionCommit | None:
        """Everything since the last commit, or None if there was nothing. ``now_us`` is the wall clock, for the
        outbox alone."""
        if self.next_offset == self.committed_offset and self._advance is None and not self._retries.outcomes:
            return None
        dirty = sorted(self._dirty)
        with _without_cycle_collection():
            states = self._table.states(dirty)
        counts = [self._table.events(row) for row in dirty]
        segments, versions = self._admission.segments, self._admission.versions
        summary_rows = []
        for row, state, count in zip(dirty, states, counts, strict=True):
            window, segment, version, late = self._unpack(row)
            route, name = segments[segment]
            summary_rows.append(
                {
                    "level": 0,
                    "window_us": window,
                    "route": route,
                    "segment": name,
                    "version": versions[version],
                    "late": late,
                    "topic": self.tp.topic,
                    "partition": self.tp.partition,
                    "events": count,
                    "state": state,
                }
            )
        with_bytes = self.settings.config.kafka.dead_letter_bytes
        kept = {
            "v": STATE_VERSION,
            "admission": self._admission.to_state(),
            **self._draws.to_state(),
        }
        return PartitionCommit(
            topic=self.tp.topic,
            partition=self.tp.partition,
            generation=self.claim.generation,
            from_offset=self.committed_offset,
            next_offset=self.next_offset,
            watermark_us=self.watermark_us,
            max_time_us=None if self.clock.max_time_us == NEVER else self.clock.max_time_us,
            begun=self.begun,
            state=msgspec.json.encode(kept),
            events=self.events,
            duplicates=self.duplicates,
            dead_letters=self.dead_letters,
            late_events=self.late_events,
            counters=dict(self.counters),
            summary_rows=summary_rows,
            sample_rows=self._samples,
            content_rows=self._contents,
            dead_letter_rows=[letter.row() for letter in self._letters],
            messages=[letter.message(now_us, with_bytes=with_bytes) for letter in self._letters],
            advance=self._advance,
            config_version=self.settings.version,
            config_document=self.settings.document,
            first_window_us=None if self._first_window == 2**62 else self._first_window,
            retries=self._retries.outcomes,
            now_us=now_us,
        )

    def committed(self, commit: PartitionCommit) -> None:
        """The commit is in the store: forget what it carried, and rows that cannot change any more."""
        self.committed_offset = commit.next_offset
        self._dirty.clear()
        self._samples, self._contents, self._letters = [], [], []
        self._retries.outcomes = []
        self._advance = None
        self._first_window = 2**62
        watermark = self.watermark_us
        idle_late = self._late_windows - self._touched_late
        gone = []
        for row in self._table.row_ids():
            window, _, _, late = self._unpack(int(row))
            if window in idle_late if late else (watermark is not None and window + WINDOW_US <= watermark):
                gone.append(int(row))
        if gone:
            self._table.drop(gone)
        self._late_windows -= idle_late
        self._touched_late.clear()


@contextlib.contextmanager
def _without_cycle_collection() -> Iterator[None]:
    """Events form no cycles, but their lists and dictionaries make the collector look at them again and again."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
