"""What the page of inputs is made of: sampled sessions now and of the reference, anomalies, sizes. Bounded reads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection

from detectors.summaries import Selection, Summary
from monitor.evaluate.compared import Sessions
from monitor.evaluate.sampled import most_used_encoder, session_vectors, unpacked
from monitor.serve.anomalies.words import headline
from monitor.serve.charts import Mark
from monitor.serve.shell import View
from monitor.store import coverage, inputs, reads
from monitor.store.anomalies import AnomalyRow, overlapping
from monitor.store.evaluation import SampleRow
from monitor.store.inputs import Copied, Inputs
from monitor.store.references import ReferenceSample
from monitor.times import DAY_US, HOUR_US

Float = NDArray[np.float64]

DRIFT: Final = ("image_drift", "text_drift", "agreement")  # the signals of inputs
MOST_SAMPLES = 800  # of the range
MOST_MEASURED = 300  # of the reference, and of now, whose vectors are compared
MOST_ANOMALIES = 100
MOST_BY_HOUR_US = 2 * DAY_US  # a range whose sizes are told by step; of longer ones by day
STEPS: Final = 16  # of a range, at most: a step is to hold enough sessions for a share
_STEP_HOURS = (1, 2, 3, 6, 12, 24, 48, 96, 168, 336)


@dataclass(frozen=True, slots=True)
class Steps:
    """Equal steps from ``begin_us`` (at or before the range's begin), ``count`` of them, until the range's end."""

    begin_us: int
    step_us: int
    count: int

    @classmethod
    def of(cls, view: View, zone: ZoneInfo) -> Steps:
        """Of hours or days, counted from the zone's midnight."""
        length = view.end_us - view.begin_us
        hours = next((h for h in _STEP_HOURS if length <= STEPS * h * HOUR_US), _STEP_HOURS[-1])
        step = hours * HOUR_US
        first = datetime.fromtimestamp(view.begin_us / 1e6, zone).replace(hour=0, minute=0, second=0, microsecond=0)
        midnight = round(first.timestamp() * 1e6)
        begin = midnight + (view.begin_us - midnight) // step * step
        return cls(begin, step, -(-(view.end_us - begin) // step))

    def middle(self, number: int) -> int:
        """The middle of a step, µs."""
        return self.begin_us + number * self.step_us + self.step_us // 2

    def number(self, window_us: int) -> int:
        """The step that a window lies in."""
        return (window_us - self.begin_us) // self.step_us


@dataclass(frozen=True, slots=True)
class Vectors:
    """Sessions that one encoder embedded, one row each: float64[n, d] of one modality, 1 / pi, and the samples."""

    rows: Float
    weights: Float
    samples: list[SampleRow]

    def __len__(self) -> int:
        return len(self.samples)


@dataclass(frozen=True, slots=True)
class Seen:
    """Everything that is read. ``reference`` and ``before`` are None and empty for all segments together."""

    steps: Steps
    read: Inputs
    now: Sessions  # without facts
    of_step: NDArray[np.int64]  # of each of them
    encoder: str  # that is compared: the reference's, else the one most used now
    reference: Copied | None
    before: Sessions
    anomalies: list[AnomalyRow]
    sizes: Mapping[int, Summary]  # bytes of input over all events, by the middle of the hours or day they came in

    @property
    def embedded(self) -> Sessions:
        """Of now those that the compared encoder embedded."""
        return self.now.embedded_by(self.encoder)


def read(connection: Connection, view: View, zone: ZoneInfo) -> Seen:
    """For a view that is not empty."""
    steps = Steps.of(view, zone)
    found = inputs.inputs(connection, view.one, view.begin_us, view.end_us, MOST_SAMPLES)
    samples = [one.sample for one in found.looked]
    copy = None if view.one is None else inputs.active_copy(connection, view.one, MOST_MEASURED)
    return Seen(
        steps=steps,
        read=found,
        now=Sessions(samples, [{}] * len(samples)),
        of_step=np.array([steps.number(sample.window_us) for sample in samples], dtype=np.int64),
        encoder=copy.encoder if copy is not None and copy.encoder else most_used_encoder(samples),
        reference=copy,
        before=sessions_of([] if copy is None else copy.vectors),
        anomalies=_anomalies(connection, view),
        sizes=_sizes(connection, view, steps, zone),
    )


def sessions_of(copies: Iterable[tuple[str, bytes]]) -> Sessions:
    """A reference's copied sessions, without facts."""
    rows = [unpacked(ReferenceSample(sample_id, "", packed)) for sample_id, packed in copies]
    kept = [row for row in rows if row is not None]
    return Sessions(kept, [{}] * len(kept))


def vectors_of(samples: Sequence[SampleRow], modality: str, encoder: str) -> Vectors:
    """Of samples that were read with vectors."""
    rows, of = session_vectors(samples, modality, encoder)
    return Vectors(rows.astype(np.float64), Sessions(of, []).weights, of)


def vectors_now(connection: Connection, seen: Seen, modality: str) -> Vectors:
    """Of now at most `MOST_MEASURED`: ids are hashes, so that the first are a uniform choice."""
    have = [s for s in seen.embedded.samples if any(part[0] == modality for part in s.parts)]
    chosen = sorted(have, key=lambda sample: sample.sample_id)[:MOST_MEASURED]
    return vectors_of(inputs.with_vectors(connection, chosen), modality, seen.encoder)


def marks(seen: Seen, view: View) -> list[Mark]:
    """Anomalies of a segment's inputs as stretches of a chart: those that begin or end in the range."""
    found = []
    for row in seen.anomalies if view.one is not None else []:
        begin = int(row.document.get("since", {}).get("low", row.opened_us))
        end = view.end_us if row.resolved_us is None else min(row.resolved_us, view.end_us)
        if begin > view.begin_us or end < view.end_us:
            found.append(Mark(max(begin, view.begin_us), headline(row)[0], end=end))
    return found


def _anomalies(connection: Connection, view: View) -> list[AnomalyRow]:
    found = overlapping(connection, view.one, view.begin_us, view.end_us, limit=MOST_ANOMALIES)
    return [row for row in found if any(_drifts(fact, view.one) for fact in _facts(row))]


def _facts(row: AnomalyRow) -> list[dict[str, Any]]:
    facts = row.document.get("facts")
    told = [fact for fact in facts if isinstance(fact, dict)] if isinstance(facts, list) else []
    return [{"subject": row.segment, "signal": row.signal}, *told]


def _drifts(fact: Mapping[str, Any], segment: str | None) -> bool:
    return fact.get("signal") in DRIFT and segment in (None, fact.get("subject"))


def _sizes(connection: Connection, view: View, steps: Steps, zone: ZoneInfo) -> dict[int, Summary]:
    if view.one is None:  # sums over all segments would take too long
        return {}
    by_day = view.end_us - view.begin_us > MOST_BY_HOUR_US

    def middle(row: reads.Row) -> int:
        if not by_day:
            return steps.middle(steps.number(row.window_us))
        day = datetime.fromtimestamp(row.window_us / 1e6, zone).replace(hour=12, minute=0, second=0, microsecond=0)
        return round(day.timestamp() * 1e6)

    found, _ = reads.merged_by(
        connection,
        view.begin_us,
        view.end_us,
        middle,
        coarsest=coverage.DAY if by_day else coverage.HOUR,
        segment=view.one,
        selection=Selection(frozenset({"input_bytes"}), thinned=False, users=False),
    )
    return {at: merged.summary for at, merged in found.items()}
