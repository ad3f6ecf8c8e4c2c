"""Kafka's record batches (message format 2) to parallel lists, at about a third of the cost of one object a record.

kafka-python builds a ConsumerRecord for every record, which is most of what consuming costs. Its fetcher takes the
class that unpacks a fetched partition from an attribute, and a batch, once checked and decompressed by kafka-python
itself, is a plain buffer; so only the innermost loop is replaced here. Checksums, compression, transactions,
control batches and older message formats stay kafka-python's.

Source of the format: Apache Kafka's documentation, "Record Batch" and "Record" (implementation/#recordbatch).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from kafka.consumer.fetcher import Fetcher
from kafka.errors import CorruptRecordError
from kafka.record.default_records import DefaultRecordBatch
from numpy.typing import NDArray

from monitor.ingest.consumer import Records

Int64 = NDArray[np.int64]
UInt8 = NDArray[np.uint8]

_LOG_APPEND_TIME = 1
GATHER_BYTES = 2 << 20  # batches unpacked together; more would only take more memory


class _Cursor:
    """Reads zig-zag varints at many positions of a buffer at once; ``at`` moves past them."""

    def __init__(self, data: UInt8, at: Int64) -> None:
        self.data, self.at = data, at

    def varints(self) -> Int64:
        byte = self.data[self.at].astype(np.int64)
        self.at = self.at + 1
        raw = byte & 0x7F
        more = np.flatnonzero(byte & 0x80)
        shift = 7
        while len(more):
            if shift > 63:
                raise CorruptRecordError("a varint in a record is longer than 64 bits; the batch is damaged")
            byte = self.data[self.at[more]].astype(np.int64)
            self.at[more] += 1
            raw[more] |= (byte & 0x7F) << shift
            more = more[(byte & 0x80) != 0]
            shift += 7
        return ((raw >> 1) & 0x7FFFFFFFFFFFFFFF) ^ -(raw & 1)


def _starts(buffer: bytes, at: int, count: int, bodies: list[int], ends: list[int]) -> int:
    """Append where the body of each of ``count`` records begins and ends; returns the position after them."""
    for _ in range(count):
        byte = buffer[at]
        at += 1
        if byte >= 0x80:
            length = byte & 0x7F
            shift = 7
            while True:
                byte = buffer[at]
                at += 1
                length |= (byte & 0x7F) << shift
                if byte < 0x80:
                    break
                shift += 7
            byte = length
        bodies.append(at)
        at += byte >> 1
        ends.append(at)
    return at


def unpack(batches: Sequence[DefaultRecordBatch], first_offset: int) -> Records:
    """The records of checked batches at or after ``first_offset``. Raises CorruptRecordError if one is damaged.

    The only Python per record finds where it begins and cuts out key and value; all other numbers are read for all
    records at once. Headers are stepped over with the record's length: no event field is read from them.
    """
    buffers: list[bytes | bytearray] = []
    bodies: list[int] = []
    ends: list[int] = []
    size = 0
    for batch in batches:
        batch._maybe_uncompress()
        buffers.append(batch._buffer)
        try:
            # Positions are within the joined buffers.
            at = _starts(batch._buffer, batch._pos, batch.records_count, bodies, ends)
        except IndexError as error:
            raise CorruptRecordError(f"the record batch at offset {batch.base_offset} ends within a record") from error
        if at != len(batch._buffer):
            raise CorruptRecordError(
                f"the record batch at offset {batch.base_offset} is {len(batch._buffer)} bytes, its records {at}"
            )
        size += at
    counts = np.array([batch.records_count for batch in batches], dtype=np.int64)
    lengths = np.array([len(buffer) for buffer in buffers], dtype=np.int64)
    shift = np.repeat(np.cumsum(lengths) - lengths, counts)
    # A damaged record may point past the end; zeros stop every varint there, and the check below finds it.
    buffer = b"".join([*buffers, bytes(64)])
    end = np.array(ends, dtype=np.int64) + shift
    cursor = _Cursor(np.frombuffer(buffer, dtype=np.uint8), np.array(bodies, dtype=np.int64) + shift + 1)
    times = cursor.varints()
    offsets = cursor.varints() + np.repeat([batch.base_offset for batch in batches], counts)
    key_size = cursor.varints()
    key_start = cursor.at
    cursor.at = np.minimum(key_start + np.maximum(key_size, 0), size)
    value_size = cursor.varints()
    value_end = cursor.at + np.maximum(value_size, 0)
    # At least the count of headers is left of each record.
    if (value_end >= end).any() or (key_size < -1).any() or (value_size < -1).any():
        raise CorruptRecordError(f"a record between offsets {offsets[0]} and {offsets[-1]} overruns its length")
    appended = np.array([batch.timestamp_type == _LOG_APPEND_TIME for batch in batches])
    first_times = np.array([batch.first_timestamp for batch in batches], dtype=np.int64)
    last_times = np.array([batch.max_timestamp for batch in batches], dtype=np.int64)
    stamps = np.where(
        np.repeat(appended, counts), np.repeat(last_times, counts), times + np.repeat(first_times, counts)
    )
    keys: list[bytes | None] = [
        buffer[a:b] for a, b in zip(key_start.tolist(), (key_start + key_size).tolist(), strict=True)
    ]
    values: list[bytes | None] = [buffer[a:b] for a, b in zip(cursor.at.tolist(), value_end.tolist(), strict=True)]
    for i in np.flatnonzero(key_size < 0).tolist():
        keys[i] = None
    for i in np.flatnonzero(value_size < 0).tolist():
        values[i] = None
    records = Records(offsets.tolist(), stamps.tolist(), keys, values)
    skip = int(np.searchsorted(offsets, first_offset))
    return records.part(skip, len(records)) if skip else records


class BatchedPartitionRecords(Fetcher.PartitionRecords):  # type: ignore[misc]  # kafka-python is untyped
    """Hands out `Records` of many record batches where kafka-python hands out one object per record."""

    next_fetch_offset: int

    def _maybe_skip_record(self, _: Any) -> bool:
        return False  # `unpack` leaves out what lies before the fetch offset

    def _unpack_records(
        self, tp: Any, records: Any, key_deserializer: Any, value_deserializer: Any
    ) -> Iterator[Records]:
        gathered: list[Any] = []
        size = 0
        after: int = self.fetch_offset
        while (batch := records.next_batch()) is not None:
            if self.check_crcs and not batch.validate_crc():
                raise CorruptRecordError(
                    f"the record batch of {tp.topic}/{tp.partition} at offset {batch.base_offset} fails its checksum"
                )
            if batch.magic < 2:
                yield self._old_format(batch)
                after = self.next_fetch_offset
                continue
            self.leader_epoch = batch.leader_epoch
            after = batch.next_offset  # even if compaction removed the batch's last records
            if self._delivered(batch) and batch.records_count:
                gathered.append(batch)
                self.records_read += batch.records_count
                self.bytes_read += batch.size_in_bytes
                size += batch.size_in_bytes
            if size >= GATHER_BYTES:
                # Only now: if a later batch is damaged, reading goes on after what was handed out.
                self.next_fetch_offset = after
                yield unpack(gathered, self.fetch_offset)
                gathered, size = [], 0
        self.next_fetch_offset = after
        if gathered:
            yield unpack(gathered, self.fetch_offset)
        self.drain()

    def _delivered(self, batch: Any) -> bool:
        """False for control batches and aborted transactions."""
        if batch.has_producer_id() and self.aborted_transactions is not None:
            self._consume_aborted_transactions_up_to(batch.last_offset)
            if batch.is_control_batch:
                if self._contains_abort_marker(batch):
                    self.aborted_producer_ids.discard(batch.producer_id)
            elif self._is_batch_aborted(batch):
                return False
        return not batch.is_control_batch

    def _old_format(self, batch: Any) -> Records:
        found = Records()
        for record in batch:
            if record.offset >= self.fetch_offset:
                found.offsets.append(record.offset)
                found.timestamps_ms.append(-1 if record.timestamp is None else record.timestamp)
                found.keys.append(record.key)
                found.values.append(record.value)
            self.next_fetch_offset = record.offset + 1
        return found
