"""Records to events: decoding, and what becomes of a record that is none."""

from __future__ import annotations

from datetime import datetime
from operator import methodcaller

import msgspec
import numpy as np
from numpy.typing import NDArray

from detectors.summaries.columns import Int64
from monitor.events import native
from monitor.events.native import Event
from monitor.events.reading import GROUP, EventReader, Readings
from monitor.events.redaction import UserHasher
from monitor.ingest.consumer import Records, TopicPartition
from monitor.ingest.dead_letters import DeadLetter
from monitor.ingest.settings import EARLIEST_US, LATEST_US
from monitor.store.secrets import rendered

_is_ascii = methodcaller("isascii")
_MOST_MS = 10**14  # the year 5138: beyond any plausible time, far from overflow


class RecordDecoder:
    """Decodes one partition's records; values longer than ``max_record`` bytes are not looked into."""

    def __init__(self, tp: TopicPartition, reader: EventReader, hasher: UserHasher, max_record: int) -> None:
        self._tp = tp
        self._reader = reader
        self._hasher = hasher
        self._max_record = max_record

    def decode(self, records: Records) -> tuple[Readings, NDArray[np.int64], Int64, list[DeadLetter]]:
        """Valid events, their indices into ``records``, their times in µs, and dead letters for all others."""
        failed: list[tuple[int, Exception]] = []
        for start in range(0, len(records), GROUP):
            events, undecoded = self._events(records.values[start : start + GROUP])
            self._reader.read(events)
            failed += [(start + i, error) for i, error in undecoded]
        readings = self._reader.take()
        letters = [self._undecodable(records, i, error) for i, error in failed]
        rows = np.arange(len(records), dtype=np.int64)
        if failed:
            rows = np.delete(rows, [i for i, _ in failed])
        times = _microseconds(readings.times)
        plausible = (times >= EARLIEST_US) & (times < LATEST_US)
        if not plausible.all() or "\x00" in "".join(readings.ids):
            unfit = np.array(["\x00" in name for name in readings.ids], dtype=bool)  # PostgreSQL's text holds none
            users = readings.column("user").view(np.uint64)
            for i in np.flatnonzero(~plausible | unfit).tolist():
                if unfit[i]:
                    reason, detail = "invalid_field", "the character U+0000 is not allowed - at `$.id`"
                else:
                    reason, detail = "implausible_time", f"got the time {str(readings.times[i])[:60]}"
                name = readings.ids[i].replace("\x00", "\ufffd")
                letters.append(self.letter(records, int(rows[i]), reason, detail, name, int(users[i])))
            keep = plausible & ~unfit
            readings, rows, times = readings.kept(keep), rows[keep], times[keep]
        return readings, rows, times, letters

    def _events(self, values: list[bytes | None]) -> tuple[list[Event], list[tuple[int, Exception]]]:
        """Decoded events, and (index, why not) of the values that are none."""
        events: list[Event] = []
        failed: list[tuple[int, Exception]] = []
        add, decode, most = events.append, native.decode, self._max_record
        whole = None not in values
        if whole and max(map(len, values), default=0) <= most and all(map(_is_ascii, values)):  # type: ignore[arg-type]
            rest = iter(values)
            while True:
                try:
                    for event in map(decode, rest):  # type: ignore[arg-type]
                        add(event)
                except (UnicodeDecodeError, msgspec.DecodeError, RecursionError) as error:
                    failed.append((len(events) + len(failed), error.with_traceback(None)))  # and on with the next
                else:
                    return events, failed
        for i, value in enumerate(values):
            try:
                if not value.isascii():  # type: ignore[union-attr]  # None is the tombstone caught below
                    value.decode()  # type: ignore[union-attr]
                if len(value) > most:  # type: ignore[arg-type]
                    raise _Oversize
                add(decode(value))  # type: ignore[arg-type]
            except (AttributeError, UnicodeDecodeError, msgspec.DecodeError, RecursionError, _Oversize) as error:
                failed.append((i, error.with_traceback(None)))  # which would keep all of `events` alive
        return events, failed

    def _undecodable(self, records: Records, i: int, error: Exception) -> DeadLetter:
        value = records.values[i]
        if value is None:
            return self.letter(records, i, "tombstone", "the record has no value", "", 0)
        if isinstance(error, _Oversize):
            reason, detail = "oversize", f"got {len(value)} bytes, kafka.max_record is {self._max_record}"
        elif isinstance(error, UnicodeDecodeError):
            reason, detail = "invalid_utf8", f"byte {error.start}: {error.reason}"
        elif isinstance(error, msgspec.ValidationError):
            reason, detail = "invalid_field", str(error)
        else:
            reason, detail = "malformed_json", str(error)
        # What is too large is not parsed at all; a forget by user still reaches it by its record key.
        name, user = ("", None) if isinstance(error, _Oversize) else native.identity(value)
        return self.letter(records, i, reason, detail, name, self._hasher.hash(user) if user else 0)

    def letter(self, records: Records, i: int, reason: str, detail: str, event_id: str, user: int) -> DeadLetter:
        """A dead letter of the ``i``-th of ``records``; ``user`` is the hashed user id, 0 for none."""
        return DeadLetter(
            self._tp.topic,
            self._tp.partition,
            records.offsets[i],
            records.timestamps_ms[i],
            records.keys[i],
            records.values[i],
            reason,
            detail,
            event_id,
            rendered(user),
        )


class _Oversize(Exception):
    """A value larger than `kafka.max_record`."""


def _microseconds(times: list[datetime | int | float]) -> Int64:
    """Event times in microseconds; numbers are epoch milliseconds. -1 where it cannot be a time."""
    kinds = set(map(type, times))
    if kinds == {int}:
        try:
            milliseconds = np.array(times, dtype=np.int64)
        except OverflowError:
            return np.array([_one_time(time) for time in times], dtype=np.int64)
        return np.where(np.abs(milliseconds) < _MOST_MS, milliseconds * 1000, -1)
    if kinds == {datetime}:
        # Exact: a double holds the seconds of this century to a quarter of a microsecond.
        seconds = [time.timestamp() for time in times]  # type: ignore[union-attr]
        return np.rint(np.array(seconds, dtype=np.float64) * 1e6).astype(np.int64)
    return np.array([_one_time(time) for time in times], dtype=np.int64)


def _one_time(time: datetime | float) -> int:
    if isinstance(time, datetime):
        return round(time.timestamp() * 1e6)
    return round(time * 1000) if abs(time) < _MOST_MS else -1
