"""What a segment's active reference says of a signal, as levels to hold lines against."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, select

from detectors.rates import RateReference
from detectors.summaries.catalogue import signal
from monitor.evaluate.references import Reference, ReferenceFormatError
from monitor.store.tables import references

_AT = {0.5: 1, 0.95: 2, 0.99: 3}  # of a distribution's totals: sessions, p50, p95, p99


@dataclass(frozen=True, slots=True)
class Levels:
    """A reference's levels, counted over one event a session; times in event time, µs."""

    reference: Reference
    version: int
    origin: str  # learned | built

    @property
    def from_us(self) -> int:
        return self.reference.from_us

    @property
    def to_us(self) -> int:
        return self.reference.to_us

    def of(self, name: str, label: str = "") -> float | None:
        """The level of a signal of the catalogue in its unit; None where the reference does not hold it."""
        found = signal(name)
        totals = self.reference.totals.get(found.metric)
        if found.kind == "rate":
            return totals[1] / totals[0] if totals and totals[0] else None
        if found.kind == "mix":
            for stream in self.reference.streams.values():
                if stream.spec.kind == "mix" and stream.spec.label == label and isinstance(stream.fit, RateReference):
                    return stream.fit.rate
            return None
        if found.kind == "quantile" and totals and found.q in _AT:
            return float(totals[_AT[found.q]]) / found.divisor
        own = f"{found.metric}_{label}{name.removeprefix(found.metric)}" if label else name
        held = self.reference.streams.get(own)
        tail = held is not None and held.spec.kind == "tail" and held.spec.quantile == found.q
        return held.threshold / found.divisor if held is not None and tail else None


def read(connection: Connection, segment: str | None) -> Levels | None:
    """The levels of the segment's active reference; None for all segments, and where there is none that can be read."""
    if segment is None:
        return None
    t = references.c
    query = select(t.content, t.version, t.origin).where(t.segment == segment, t.state == "active")
    row = connection.execute(query).first()
    if row is None:
        return None
    try:
        return Levels(Reference.from_content(bytes(row.content)), row.version, row.origin)
    except ReferenceFormatError:  # another version wrote it
        return None
