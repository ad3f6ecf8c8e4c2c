"""From event structs to one row of plain numbers an event.

All that ingest needs of an event is read in a single visit, a few hundred events at a time: decoded, read and freed
while its objects are still in the processor's cache. Read 4,096 at a time, the same events cost a third more (10.6
and 8.0 us at 800 bytes), which is time spent waiting for memory.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from msgspec.structs import astuple
from numpy.typing import NDArray

from detectors.summaries.columns import Int32
from monitor.events import grounding
from monitor.events.native import Cost, CrossCheck, Event, Latency, Part, Quality, SchemaVerdict, Usage
from monitor.events.prices import PriceBook
from monitor.events.redaction import UserHasher
from monitor.events.segments import MAX_ATTRIBUTES, Assigner

GROUP = 256  # events read together: about 1 MB of objects, within a processor's own cache
MAX_INTERNED = 20_000
MAX_LISTS = 1000

OUTCOMES = {None: -1, "ok": 0, "error": 1, "timeout": 2, "refused": 3, "abstained": 4}
_FALSE_IS_HIT = {None: -1, True: 0, False: 1}
_TRUE_IS_HIT = {None: -1, True: 1, False: 0}
_VERIFICATIONS = {None: -1, "passed": 0, "failed": 1, "skipped": -1}

_NO_USAGE = Usage()
_NO_COST = Cost()
_NO_LATENCY = Latency()
_NO_QUALITY = Quality()
_NO_SCHEMA = SchemaVerdict()
_NO_CROSS_CHECK = CrossCheck()

_ROW = (
    *((name, "i8") for name in Usage.__struct_fields__),
    ("concurrency", "i8"),
    ("retries", "i8"),
    ("input_bytes", "i8"),
    ("user", "i8"),  # the bits of the keyed hash
    ("id", "i8"),  # Python's hash of the id, which never leaves the process
    ("session", "i8"),  # likewise; without meaning where `has_session` is 0
    ("amount", "f8"),
    ("rate", "f8"),  # of the amount's currency; NaN where there is none
    ("total_ms", "f8"),
    ("first_token_ms", "f8"),
    ("confidence", "f8"),
    ("segment", "i4"),  # codes of the assigner's keys
    ("version", "i4"),
    ("model", "i4"),  # codes of the reader's names
    ("tier", "i4"),
    ("error_type", "i4"),
    ("stages", "i4"),  # how many
    ("attributes_dropped", "i4"),
    ("outcome", "i1"),
    ("abstained", "i1"),
    ("schema_violation", "i1"),
    ("disagreement", "i1"),
    ("verification_failed", "i1"),
    ("citation_missing", "i1"),
    ("citation_ungrounded", "i1"),
    ("citation_contradicted", "i1"),
    ("has_session", "i1"),
)
_CODES = {"i8": "q", "f8": "d", "i4": "i", "i1": "b"}
_FORMAT = struct.Struct("".join(_CODES[kind] for _, kind in _ROW) + "0q")  # padded as an array of C structs is
ROW = np.dtype([*_ROW], align=True)
"""One event: absent is -1 in every field where it can be."""


class Interner(dict[str | None, int]):
    """Strings to small codes in order of first sight; None is -1. ``names[code]`` is the string."""

    def __init__(self) -> None:
        super().__init__({None: -1})
        self.names: list[str] = []

    def __missing__(self, name: str | None) -> int:
        assert name is not None
        code = self[name] = len(self.names)
        self.names.append(name)
        return code

    def trim(self) -> None:
        """Forget everything once a producer has sent very many names; codes hold for one batch only."""
        if len(self.names) > MAX_INTERNED:
            self.clear()
            self[None] = -1
            self.names = []


class NameLists(dict[tuple[str, ...], list[int]]):
    """Codes of names that come in lists, of which there are few: one lookup a list instead of one a name."""

    def __init__(self) -> None:
        super().__init__()
        self.interner = Interner()

    def __missing__(self, names: tuple[str, ...]) -> list[int]:
        codes = self[names] = list(map(self.interner.__getitem__, names))
        return codes

    def trim(self) -> None:
        self.interner.trim()
        if not self.interner.names or len(self) > MAX_LISTS:
            self.clear()


@dataclass(slots=True)
class Readings:
    """Events in offset order: ``rows`` of dtype `ROW`, and what is no single number.

    ``stage_codes`` and ``stage_ms`` hold ``rows["stages"]`` entries of each event, event after event. Names by
    code: ``models``, ``tiers``, ``error_types``, ``stage_names``.
    """

    rows: NDArray[Any]
    ids: list[str]
    sessions: list[str | None]
    times: list[datetime | int | float]
    stage_codes: Int32
    stage_ms: NDArray[np.float64]
    models: list[str]
    tiers: list[str]
    error_types: list[str]
    stage_names: list[str]

    def __len__(self) -> int:
        return len(self.ids)

    def column(self, name: str) -> NDArray[Any]:
        """One field of all events, contiguous."""
        return np.ascontiguousarray(self.rows[name])

    def kept(self, which: NDArray[np.bool_]) -> Readings:
        """Only the events where ``which`` is true."""
        at = np.flatnonzero(which).tolist()
        entries = np.repeat(which, self.rows["stages"])
        return Readings(
            self.rows[which],
            [self.ids[i] for i in at],
            [self.sessions[i] for i in at],
            [self.times[i] for i in at],
            self.stage_codes[entries],
            self.stage_ms[entries],
            self.models,
            self.tiers,
            self.error_types,
            self.stage_names,
        )


class EventReader:
    """Collects what events say: ``read`` groups of them in offset order, then ``take`` them all.

    Between batches only bounded tables of names are kept.
    """

    def __init__(self, prices: PriceBook, assigner: Assigner, hasher: UserHasher) -> None:
        self._rates = prices.rates
        self._assigner = assigner
        self._hasher = hasher
        self._models, self._tiers, self._error_types = Interner(), Interner(), Interner()
        self._stages = NameLists()
        self._clear()

    def _clear(self) -> None:
        self._rows: list[bytes] = []
        self._ids: list[str] = []
        self._sessions: list[str | None] = []
        self._times: list[datetime | int | float] = []
        self._stage_codes: list[int] = []
        self._stage_ms: list[bytes] = []

    def read(self, events: Sequence[Event]) -> None:
        """Read a group of events. Attributes beyond the first `MAX_ATTRIBUTES` are taken off them."""
        if not self._rows:  # codes hold from here to `take`, and what is made of it
            for table in (self._models, self._tiers, self._error_types, self._stages, self._assigner, self._hasher):
                table.trim()
        self._ids += [event.id for event in events]
        self._sessions += [event.session_id for event in events]
        self._times += [event.time for event in events]
        dropped = cap_attributes(events)
        segments, versions = self._assigner.keys(events)
        models, tiers, error_types = self._models, self._tiers, self._error_types
        users, stages_of, rate = self._hasher, self._stages, self._rates.get
        stage_codes: list[int] = self._stage_codes
        stage_ms: list[float] = []
        rows: list[bytes] = []
        pack = _FORMAT.pack
        for event, segment, version, over in zip(events, segments, versions, dropped, strict=True):
            cost = event.cost or _NO_COST
            latency = event.latency or _NO_LATENCY
            quality = event.quality or _NO_QUALITY
            stages = latency.stages
            if stages:
                stage_codes += stages_of[tuple(stages)]
                stage_ms += stages.values()
            session = event.session_id
            row = (
                *astuple(event.usage or _NO_USAGE),
                event.concurrency,
                event.retries,
                _input_bytes(event.input),
                users[event.user_id],
                hash(event.id),
                hash(session),
                cost.amount,
                rate(cost.currency, np.nan),
                latency.total_ms,
                latency.first_token_ms,
                quality.confidence,
                segment,
                version,
                models[event.response_model or event.request_model],
                tiers[quality.routing_tier],
                error_types[event.error_type],
                len(stages) if stages else 0,
                over,
                OUTCOMES[event.outcome],
                _TRUE_IS_HIT[quality.abstained],
                _FALSE_IS_HIT[(quality.schema or _NO_SCHEMA).valid],
                _FALSE_IS_HIT[(quality.cross_check or _NO_CROSS_CHECK).agree],
                _VERIFICATIONS[quality.verification],
                *grounding.verdict(quality.citations),
                session is not None,
            )
            try:
                rows.append(pack(*row))
            except struct.error:  # an explicit null
                rows.append(pack(*(-1 if value is None else value for value in row)))
        self._rows.append(b"".join(rows))
        self._stage_ms.append(struct.pack(f"{len(stage_ms)}d", *stage_ms))

    def take(self) -> Readings:
        """Everything read since the last call."""
        found = Readings(
            np.frombuffer(b"".join(self._rows), dtype=ROW),
            self._ids,
            self._sessions,
            self._times,
            np.array(self._stage_codes, dtype=np.int32),
            np.frombuffer(b"".join(self._stage_ms), dtype=np.float64),
            self._models.names,
            self._tiers.names,
            self._error_types.names,
            self._stages.interner.names,
        )
        self._clear()
        return found


def cap_attributes(events: Sequence[Event]) -> Sequence[int]:
    """Take attributes beyond the first `MAX_ATTRIBUTES` off; returns how many, per event."""
    counts = [len(event.attributes) if event.attributes else 0 for event in events]
    if max(counts, default=0) <= MAX_ATTRIBUTES:
        return bytes(len(events))
    for event, count in zip(events, counts, strict=True):
        if count > MAX_ATTRIBUTES and event.attributes:
            event.attributes = dict(list(event.attributes.items())[:MAX_ATTRIBUTES])
    return [max(0, count - MAX_ATTRIBUTES) for count in counts]


def _input_bytes(parts: Sequence[Part] | None) -> int:
    """Size of all input parts, -1 without parts or where the size of any is unknown."""
    if not parts:
        return -1
    total = 0
    for part in parts:
        size = part.bytes
        if size is None or size < 0:
            size = _content_bytes(part)
            if size < 0:
                return -1
        total += size
    return total


def _content_bytes(part: Part) -> int:
    """What a part that does not say its size carries itself; -1 where that is nothing."""
    if part.text is not None:
        return len(part.text) if part.text.isascii() else len(part.text.encode("utf-8", "replace"))
    if part.inline is not None:
        return len(part.inline) * 3 // 4
    return -1
