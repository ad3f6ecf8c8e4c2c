"""Kafka's record batches (message format 2) to parallel lists, at about a third of the cost of one object a record.

kafka-python builds a ConsumerRecord for every record, which is most of what consuming costs. Its fetcher takes the
class that unpacks a fetched partition from an attribute, and a batch, once checked and decompressed by kafka-python
itself, is a plain buffer; so only the innermost loop is replaced here. Checksums, compression, transactions,
control batches and older message formats stay kafka-python's.

Source of the format: Apache Kafka's documentation, "Record Batch" and "Record" (implementation/#recordbatch).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kafka.consumer.fetcher import Fetcher
from kafka.errors import CorruptRecordError
from kafka.record.default_records import DefaultRecordBatch

from monitor.ingest.consumer import Records

_LOG_APPEND_TIME = 1


def _varint(buffer: bytes, at: int) -> tuple[int, int]:
    """A zig-zag varint of any length: (value, position after it)."""
    raw = shift = 0
    while True:
        byte = buffer[at]
        at += 1
        raw |= (byte & 0x7F) << shift
        if byte < 0x80:
            return (raw >> 1) ^ -(raw & 1), at
        shift += 7
        if shift > 63:
            raise CorruptRecordError("a varint in a record is longer than 64 bits; the batch is damaged")


def unpack(batch: DefaultRecordBatch, first_offset: int) -> Records:
    """The records of a checked batch at or after ``first_offset``. Raises CorruptRecordError if it is damaged.

    Headers are stepped over with the record's length: no event field is read from them.
    """
    batch._maybe_uncompress()
    buffer, at = bytes(batch._buffer), batch._pos
    base_offset, base_time = batch.base_offset, batch.first_timestamp
    appended = batch.max_timestamp if batch.timestamp_type == _LOG_APPEND_TIME else None
    offsets: list[int] = []
    times: list[int] = []
    keys: list[bytes | None] = []
    values: list[bytes | None] = []
    try:
        for _ in range(batch.records_count):
            # Varints of one or two bytes (values below 8192) are read in place, longer ones by the function.
            byte = buffer[at]
            if byte < 0x80:
                length, at = byte >> 1, at + 1
            else:
                second = buffer[at + 1]
                if second < 0x80:
                    length, at = ((byte & 0x7F) | second << 7) >> 1, at + 2
                else:
                    length, at = _varint(buffer, at)
            end = at + length
            at += 1  # attributes, unused
            byte = buffer[at]
            if byte < 0x80:
                delta, at = (byte >> 1) ^ -(byte & 1), at + 1
            else:
                delta, at = _varint(buffer, at)
            byte = buffer[at]
            if byte < 0x80:
                offset, at = byte >> 1, at + 1
            else:
                offset, at = _varint(buffer, at)
            byte = buffer[at]
            if byte < 0x80:
                size, at = (byte >> 1) ^ -(byte & 1), at + 1
            else:
                size, at = _varint(buffer, at)
            if size >= 0:
                key: bytes | None = buffer[at : at + size]
                at += size
            else:
                key = None
            byte = buffer[at]
            if byte < 0x80:
                size, at = (byte >> 1) ^ -(byte & 1), at + 1
            else:
                second = buffer[at + 1]
                if second < 0x80:
                    raw = (byte & 0x7F) | second << 7
                    size, at = (raw >> 1) ^ -(raw & 1), at + 2
                else:
                    size, at = _varint(buffer, at)
            if size >= 0:
                values.append(buffer[at : at + size])
                at += size
            else:
                values.append(None)
            if at >= end:  # one byte of header count at least is left
                raise CorruptRecordError(f"a record at offset {base_offset + offset} overruns its length")
            keys.append(key)
            offsets.append(base_offset + offset)
            times.append(base_time + delta)
            at = end
    except IndexError as error:
        raise CorruptRecordError(f"the record batch at offset {base_offset} ends within a record") from error
    if at != len(buffer):
        raise CorruptRecordError(f"the record batch at offset {base_offset} has {len(buffer) - at} bytes too many")
    if appended is not None:
        times = [appended] * len(offsets)
    records = Records(offsets, times, keys, values)
    if offsets and offsets[0] < first_offset:
        skip = sum(offset < first_offset for offset in offsets)
        records = records.part(skip, len(records))
    return records


class BatchedPartitionRecords(Fetcher.PartitionRecords):  # type: ignore[misc]  # kafka-python is untyped
    """Hands out one `Records` per record batch where kafka-python hands out one object per record."""

    def _maybe_skip_record(self, _: Any) -> bool:
        return False  # `unpack` leaves out what lies before the fetch offset

    def _unpack_records(
        self, tp: Any, records: Any, key_deserializer: Any, value_deserializer: Any
    ) -> Iterator[Records]:
        batch = last = None
        while (batch := records.next_batch()) is not None:
            last = batch
            if self.check_crcs and not batch.validate_crc():
                raise CorruptRecordError(
                    f"the record batch of {tp.topic}/{tp.partition} at offset {batch.base_offset} fails its checksum"
                )
            if batch.magic < 2:
                yield self._old_format(batch)
                continue
            self.leader_epoch = batch.leader_epoch
            if not self._delivered(batch):
                self.next_fetch_offset = batch.next_offset
                continue
            unpacked = unpack(batch, self.fetch_offset)
            self.records_read += len(unpacked)
            self.bytes_read += batch.size_in_bytes
            self.next_fetch_offset = batch.next_offset
            if len(unpacked):
                yield unpacked
        if last is not None and last.magic == 2:
            # The offset after the batch, even if compaction removed its last records.
            self.next_fetch_offset = last.next_offset
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
