"""From event structs to columns: the arrays that every summary is updated from.

The only per-event Python here is attribute access inside comprehensions; all arithmetic is on whole arrays.
Units are those of :class:`detectors.summaries.columns.EventColumns`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any

import numpy as np
from msgspec.structs import astuple
from numpy.typing import NDArray

from detectors.summaries.columns import EventColumns, Int8, Int64, Labelled, Ragged, UInt64
from monitor.events import grounding
from monitor.events.native import Cost, CrossCheck, Event, Latency, Part, Prompt, Quality, SchemaVerdict, Usage
from monitor.events.prices import PriceBook

MAX_INTERNED = 20_000
MAX_LISTS = 1000
MILLION = 1_000_000
CONTEXT_CAP = 2 * MILLION

NO_USAGE = Usage()
NO_COST = Cost()
NO_LATENCY = Latency()
NO_QUALITY = Quality()
NO_PROMPT = Prompt()
_NO_SCHEMA = SchemaVerdict()
_NO_CROSS_CHECK = CrossCheck()
_NO_STAGES: dict[str, float] = {}
_NO_PARTS: tuple[Part, ...] = ()

_ABSENT = 255  # the byte that is -1 as int8
_OUTCOMES = {None: _ABSENT, "ok": 0, "error": 1, "timeout": 2, "refused": 3, "abstained": 4}
_FALSE_IS_HIT = {None: _ABSENT, True: 0, False: 1}
_TRUE_IS_HIT = {None: _ABSENT, True: 1, False: 0}
_VERIFICATIONS = {None: _ABSENT, "passed": 0, "failed": 1, "skipped": _ABSENT}


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

    def codes(self, values: Iterable[str | None]) -> NDArray[np.int32]:
        return np.fromiter(map(self.__getitem__, values), dtype=np.int32)

    def trim(self) -> None:
        """Forget everything once a producer has sent very many names; codes hold for one batch only."""
        if len(self.names) > MAX_INTERNED:
            self.clear()
            self[None] = -1
            self.names = []


class NameLists(Interner):
    """An interner of names that come in lists, of which there are few: one lookup a list instead of one a name."""

    def __init__(self) -> None:
        super().__init__()
        self._codes_of: dict[tuple[str, ...], list[int]] = {}

    def codes_of_all(self, lists: Iterable[Iterable[str]]) -> NDArray[np.int32]:
        """The codes of all names, list after list."""
        found = list(map(tuple, lists))
        known = self._codes_of
        for names in dict.fromkeys(found):  # in order of first sight
            if names not in known:
                known[names] = list(map(self.__getitem__, names))
        return np.fromiter(chain.from_iterable(map(known.__getitem__, found)), dtype=np.int32)

    def trim(self) -> None:
        super().trim()
        if not self.names or len(self._codes_of) > MAX_LISTS:
            self._codes_of.clear()


class ColumnBuilder:
    """Builds columns batch by batch; keeps only bounded tables of names between batches."""

    def __init__(self, prices: PriceBook) -> None:
        self.prices = prices
        self._tiers = Interner()
        self._models = Interner()
        self._errors = Interner()
        self._stages = NameLists()

    def build(
        self, events: Sequence[Event], times_us: Int64, thinned: NDArray[np.bool_], users: UInt64
    ) -> tuple[EventColumns, dict[str, int]]:
        """``events`` in offset order with their times, session representatives and hashed users.

        Returns the columns and counts of what could not be measured (``cost_unpriced``,
        ``cost_unknown_currency``, ``citation_contradicted``).
        """
        n = len(events)
        for interner in (self._tiers, self._models, self._errors, self._stages):
            interner.trim()
        usage = _integers([e.usage or NO_USAGE for e in events], 7)
        latencies = [e.latency or NO_LATENCY for e in events]
        qualities = [e.quality or NO_QUALITY for e in events]
        outcome = _small([_OUTCOMES[e.outcome] for e in events])
        models = self._models.codes([e.response_model or e.request_model for e in events])
        input_tokens = usage[:, 0]
        cost, counts = self.prices.costs(
            [e.cost or NO_COST for e in events], Labelled(models, self._models.names), usage, times_us
        )
        abstained_flag = _small([_TRUE_IS_HIT[q.abstained] for q in qualities])
        missing, ungrounded, contradicted = grounding.verdicts([q.citations for q in qualities])
        if contradicted:
            counts["citation_contradicted"] = contradicted
        columns = EventColumns(
            n=n,
            thinned=thinned,
            user=users,
            cost=cost,
            latency_total=_microseconds([x.total_ms for x in latencies]),
            latency_first_token=_microseconds([x.first_token_ms for x in latencies]),
            latency_timeout=outcome == _OUTCOMES["timeout"],
            stages=self._ragged([x.stages or _NO_STAGES for x in latencies]),
            input_tokens=input_tokens.copy(),
            output_tokens=usage[:, 1].copy(),
            cached_input_tokens=usage[:, 2].copy(),
            reasoning_tokens=usage[:, 3].copy(),
            image_tokens=usage[:, 4].copy(),
            audio_tokens=usage[:, 5].copy(),
            context_used=_share(input_tokens, usage[:, 6]),
            concurrency=_integer([e.concurrency for e in events]),
            input_bytes=_input_bytes([e.input or _NO_PARTS for e in events]),
            confidence=_scaled([q.confidence for q in qualities], MILLION),
            retries=_integer([e.retries for e in events]),
            error=_outcome(outcome, "error"),
            timeout=_outcome(outcome, "timeout"),
            refused=_outcome(outcome, "refused"),
            # One abstention, whether the flag, the outcome or both say so.
            abstained=np.maximum(_outcome(outcome, "abstained"), abstained_flag),
            schema_violation=_small([_FALSE_IS_HIT[(q.schema or _NO_SCHEMA).valid] for q in qualities]),
            citation_missing=missing,
            citation_ungrounded=ungrounded,
            disagreement=_small([_FALSE_IS_HIT[(q.cross_check or _NO_CROSS_CHECK).agree] for q in qualities]),
            verification_failed=_small([_VERIFICATIONS[q.verification] for q in qualities]),
            tier=Labelled(self._tiers.codes([q.routing_tier for q in qualities]), self._tiers.names),
            model=Labelled(models, self._models.names),
            error_type=Labelled(self._errors.codes([e.error_type for e in events]), self._errors.names),
        )
        return columns, counts

    def _ragged(self, stages: list[dict[str, float]]) -> Ragged:
        lengths = np.array(list(map(len, stages)), dtype=np.int64)
        total = int(lengths.sum())
        values = np.fromiter(chain.from_iterable(map(dict.values, stages)), dtype=np.float64, count=total)
        return Ragged(
            event=np.repeat(np.arange(len(stages), dtype=np.int32), lengths),
            code=self._stages.codes_of_all(stages),
            value=np.rint(values * 1000.0).astype(np.int64),
            names=self._stages.names,
        )


def _small(codes: list[int]) -> Int8:
    """Bytes to int8 (read only): a third of the time of an array from a list."""
    return np.frombuffer(bytes(codes), dtype=np.int8)


def _outcome(outcome: Int8, name: str) -> Int8:
    return np.where(outcome < 0, np.int8(-1), (outcome == _OUTCOMES[name]).astype(np.int8))


def _integers(structs: Sequence[Any], width: int) -> Int64:
    """All fields of structs of ``width`` counts as one (n, width) array; null is absent."""
    flat = chain.from_iterable(map(astuple, structs))
    try:
        values = np.fromiter(flat, dtype=np.int64, count=len(structs) * width)
    except TypeError:
        flat = chain.from_iterable(map(astuple, structs))
        values = np.array([-1 if value is None else value for value in flat], dtype=np.int64)
    return values.reshape(len(structs), width)


def _integer(values: list[int | None]) -> Int64:
    try:
        return np.fromiter(values, dtype=np.int64, count=len(values))
    except TypeError:
        return np.array([-1 if value is None else value for value in values], dtype=np.int64)


def _scaled(values: list[float | None], scale: float) -> Int64:
    """Non-negative floats to integers of 1/scale, rounded half to even; null and absent are -1."""
    array = np.fromiter(values, dtype=np.float64, count=len(values))  # null becomes NaN here
    with np.errstate(invalid="ignore"):
        return np.where(array >= 0, np.rint(array * scale), -1.0).astype(np.int64)


def _microseconds(values: list[float | None]) -> Int64:
    return _scaled(values, 1000.0)


def _share(used: Int64, limit: Int64) -> Int64:
    known = (used >= 0) & (limit > 0)
    return np.where(known, np.minimum(used * MILLION // np.maximum(limit, 1), CONTEXT_CAP), -1)


def _input_bytes(inputs: Sequence[Sequence[Part]]) -> Int64:
    """Size of all input parts of each event, -1 without parts or where the size of any is unknown."""
    counts = np.array(list(map(len, inputs)), dtype=np.int64)
    parts = list(chain.from_iterable(inputs))
    sizes = _integer([part.bytes for part in parts])
    silent = np.flatnonzero(sizes < 0).tolist()
    sizes[silent] = [_content_bytes(parts[i]) for i in silent]
    # Sums between ends of the running total; exact, since 64 bits hold any record's sizes.
    running = np.concatenate([[0], np.cumsum(sizes)])
    unknown = np.concatenate([[0], np.cumsum(sizes < 0)])
    ends = np.cumsum(counts)
    starts = ends - counts
    known = (counts > 0) & (unknown[ends] == unknown[starts])
    return np.where(known, running[ends] - running[starts], -1)


def _content_bytes(part: Part) -> int:
    """What a part that does not say its size carries itself; -1 where that is nothing."""
    if part.text is not None:
        return len(part.text) if part.text.isascii() else len(part.text.encode("utf-8", "replace"))
    if part.inline is not None:
        return len(part.inline) * 3 // 4
    return -1
