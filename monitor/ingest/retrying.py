"""Dead letters of one partition that are read again: which of them are events by now, and count."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from detectors.summaries.columns import Bool, Int64
from monitor.config.model import Kafka
from monitor.events.reading import Readings
from monitor.ingest.consumer import Records
from monitor.ingest.decoding import RecordDecoder
from monitor.ingest.recent import RecentKeys
from monitor.store.partitions import forgotten_event_key
from monitor.store.retries import Outcome, Waiting

Uncounted = Callable[[list[int]], set[int]]  # those of some offsets whose records were never counted
Found = tuple[Records, Readings, NDArray[np.int64], Int64]  # records, events, their indices into records, their times


OF_TIME = ("future_time", "too_late")  # reasons of letters that were read


class Retries:
    """``entered``: keys of events that entered by a retry, and where the partition was read to then."""

    def __init__(self, entered: Mapping[str, int] | None = None) -> None:
        self._entered = dict(entered or {})
        self.outcomes: list[Outcome] = []  # since the last commit

    def duplicates(self, ids: Sequence[str], offsets: Int64, within: int) -> Bool:
        """Which ids entered by a retry no more than ``within`` records before."""
        if not self._entered:
            return np.zeros(len(ids), dtype=np.bool_)
        at = np.array([self._entered.get(forgotten_event_key(name), -within - 1) for name in ids], dtype=np.int64)
        return np.asarray(offsets - at <= within, dtype=np.bool_)

    def judge(
        self,
        letters: Sequence[Waiting],
        decoder: RecordDecoder,
        ids: RecentKeys,
        kafka: Kafka,
        watermark_us: int | None,
        next_offset: int,
        uncounted: Uncounted,
    ) -> Found:
        """What enters; what came of each letter is put into ``outcomes``. All before ``next_offset`` is committed."""
        kept = [letter for letter in letters if letter.value is not None]
        said = {one.retry_id: Outcome(one.retry_id, "refused", "gone", "its bytes are not kept") for one in letters}
        records = Records(
            [one.offset for one in kept], [one.timestamp_ms for one in kept], [one.key for one in kept],
            [one.value for one in kept],
        )  # fmt: skip
        events, index, times, refused = decoder.decode(records)
        by_offset = {one.offset: one.retry_id for one in kept}
        for letter in refused:
            at = by_offset[letter.offset]
            said[at] = Outcome(at, "refused", letter.reason, letter.told)
        seen = ids.seen(events.column("id")).tolist() if len(events) else []
        chosen = [kept[i] for i in index.tolist()]
        # The id of one that was read, and is a letter for its time, was remembered: what came before it would have made
        # it a duplicate, and what came after is one of it. None of them was counted.
        seen = [-1 if one.reason in OF_TIME else at for at, one in zip(seen, chosen, strict=True)]
        elsewhere = sorted({at for at, one in zip(seen, chosen, strict=True) if at not in (-1, one.offset)})
        never = {-1, *(uncounted(elsewhere) if elsewhere else ())}
        enters = np.zeros(len(events), dtype=np.bool_)
        for i, (letter, name, time_us, at) in enumerate(zip(chosen, events.ids, times.tolist(), seen, strict=True)):
            key = forgotten_event_key(name)
            if key in self._entered or (at != letter.offset and at not in never):
                said[letter.retry_id] = Outcome(letter.retry_id, "duplicate")
                continue
            if (why := _unfit(time_us, letter.timestamp_ms * 1000, watermark_us, kafka)) is not None:
                said[letter.retry_id] = Outcome(letter.retry_id, "refused", *why)
                continue
            enters[i] = True
            self._entered[key] = next_offset
            said[letter.retry_id] = Outcome(letter.retry_id, "entered", event_key=key, at_offset=next_offset)
        self.outcomes += said.values()
        return records, events.kept(enters), index[enters], times[enters]


def _unfit(time_us: int, stamp_us: int, watermark_us: int | None, kafka: Kafka) -> tuple[str, str] | None:
    """(reason, detail) of an event that still may not count; None of one that may."""
    if watermark_us is None:
        return "not_begun", "no event of its partition was read yet; ask again when one was"
    if stamp_us >= 0 and time_us > stamp_us + kafka.future_tolerance:
        return "future_time", f"event time {time_us} µs, the record's Kafka timestamp {stamp_us} µs"
    if time_us < watermark_us - kafka.allowed_lateness:
        return "too_late", f"event time {time_us} µs, the partition's watermark {watermark_us} µs"
    return None
