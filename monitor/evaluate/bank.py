"""All streams as arrays, stepped together.

A stream is (owner, segment, signal) with its limits from the active reference and its evidence. Rates, tail shares
and the mix look at every tick at which they have data; volume and embeddings look every hour; calibration at hours
with labels, which may be days apart: what it is funded with meanwhile it saves for the next one. Nothing here reads the
store or a clock.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors.drift.agreement import AgreementReference
from detectors.drift.embedding import EmbeddingReference
from detectors.drift.heading import Heading
from detectors.evidence import FundedSR, Onset, Recovery, fading, onset, rate_onset
from detectors.evidence.packing import pack_bytes, unpack
from detectors.rates import RateReference, log_bets
from detectors.rates.volume import VolumeBets, VolumeReference
from monitor.evaluate.cells import bucket_of
from monitor.evaluate.references import FittedStream, Reference
from monitor.evaluate.streams import StreamSpec

Float = NDArray[np.float64]
Int64 = NDArray[np.int64]
Bool = NDArray[np.bool_]

BETS = 8
HOURS = 168
HOUR_US = 3_600_000_000
RING_US = 24 * HOUR_US
HOURLY_RING = 96  # hourly looks remembered for the onset: four days
_KIND = "stream"
NEVER = -1
# Arrays of StreamBank with a row per stream, and those of them that begin at the present.
_PER_STREAM = (
    "share", "last_look", "last_data", "supported", "alive", "floor", "hour_max", "hits", "trials", "looks", "counts",
    "hour_hits", "saved", "fading",
)  # fmt: skip
_SINCE = ("last_look", "last_data", "supported", "floor")
_SCALARS = ("floor", "hour_max", "last_data", "last_look", "share", "supported")  # one number per stream, kept


@dataclass(slots=True)
class Stream:
    """One stream's identity and reference."""

    owner: str
    segment: str
    route: str
    severity: str  # page | ticket | report
    fitted: FittedStream
    reference_id: str
    hourly: bool
    bets: int
    code: int = 0  # of the tail's threshold bucket
    volume: int = -1  # position among the volume bets
    heading: Heading | None = None  # of embeddings: where the last looks moved
    saves: bool = False  # whether it is funded at its next look with what fell to it since the last

    @property
    def spec(self) -> StreamSpec:
        return self.fitted.spec

    @property
    def signal(self) -> str:
        return self.fitted.spec.signal

    @property
    def key(self) -> tuple[str, str, str]:
        return self.owner, self.segment, self.signal


@dataclass(slots=True)
class _Arrays:
    upper: Float = field(default_factory=lambda: np.ones((0, HOURS)))
    lower: Float = field(default_factory=lambda: np.zeros((0, HOURS)))
    temper: Float = field(default_factory=lambda: np.ones(0))
    both: Bool = field(default_factory=lambda: np.zeros(0, dtype=np.bool_))
    bets: Int64 = field(default_factory=lambda: np.ones(0, dtype=np.int64))
    hourly: Bool = field(default_factory=lambda: np.zeros(0, dtype=np.bool_))
    saving: Int64 = field(default_factory=lambda: np.zeros(0, dtype=np.int64))  # positions of those that save


class StreamBank:
    """Every stream there is. ``tick_us`` is the length of a tick; counts of the ticks of ``remembered_us`` are kept."""

    def __init__(self, tick_us: int, remembered_us: int = RING_US) -> None:
        self.streams: list[Stream] = []
        self.index: dict[tuple[str, str, str], int] = {}
        self.ring = max(1, remembered_us // tick_us)
        self.tick_us = tick_us
        self.sr = FundedSR(0, BETS)
        self.recovery = Recovery(0, BETS)
        self.volume = VolumeBets()
        self.composition = 0  # counts up whenever streams come or go; equal numbers may be other streams
        self._known: _Arrays | None = None
        self.share = np.zeros(0)  # alarms per µs of event time that the stream is funded with in this hour
        self.saved = np.zeros(0)  # alarms that a stream which saves has been funded with since its last look
        self.last_look = np.zeros(0, dtype=np.int64)
        self.last_data = np.zeros(0, dtype=np.int64)
        self.supported = np.zeros(0, dtype=np.int64)  # when an open change was last supported
        self.alive = np.zeros((0, BETS), dtype=np.bool_)  # bets by which an open change is still there
        self.fading = np.zeros(0)  # nats per µs of event time with data that an open change loses of its support
        self.floor = np.zeros(0, dtype=np.int64)  # a change cannot have begun before this
        self.hour_max = np.zeros(0)
        self.hits = np.zeros((0, self.ring), dtype=np.int32)
        self.trials = np.zeros((0, self.ring), dtype=np.int32)
        self.looks = np.zeros((0, HOURLY_RING, BETS), dtype=np.float32)
        self.counts = np.zeros((0, HOURLY_RING), dtype=np.int64)  # sessions of an hour
        self.hour_hits = np.zeros((0, HOURLY_RING), dtype=np.int32)  # of them that count; streams that look every tick

    def __len__(self) -> int:
        return len(self.streams)

    # -- membership -----------------------------------------------------------------------------------------

    def add_reference(
        self, reference: Reference, reference_id: str, owner: str, severity: str, now_us: int
    ) -> list[int]:
        """Streams for every signal of the reference that can be judged, from zero evidence."""
        first = len(self.streams)
        for signal in sorted(reference.streams):
            fitted = reference.streams[signal]
            if fitted.enough:
                stream = self._stream(reference, reference_id, owner, severity, fitted)
                self.index[stream.key] = len(self.streams)
                self.streams.append(stream)
        n = len(self.streams)
        if n == first:
            return []
        self.sr.grow(n)
        self.recovery.grow(n)
        for name in _PER_STREAM:
            setattr(self, name, _with_rows(getattr(self, name), n))
        for name in _SINCE:
            getattr(self, name)[first:] = now_us
        self._known = None
        self.composition += 1
        return list(range(first, n))

    def _stream(
        self, reference: Reference, reference_id: str, owner: str, severity: str, fitted: FittedStream
    ) -> Stream:
        spec = fitted.spec
        hourly = spec.kind in ("volume", "embedding", "agreement", "slice", "calibration")
        bets = {"volume": VolumeBets.K + 1, "embedding": EmbeddingReference.K, "agreement": AgreementReference.K}.get(
            spec.kind, 8 if spec.direction == "both" else 4
        )
        stream = Stream(owner, reference.segment, reference.route, severity, fitted, reference_id, hourly, bets)
        if spec.kind == "tail":
            stream.code = bucket_of(spec.metric, fitted.threshold)
        if isinstance(fitted.fit, VolumeReference):
            stream.volume = self.volume.append(fitted.fit)
        if isinstance(fitted.fit, EmbeddingReference):
            stream.heading = fitted.fit.heading()
        stream.saves = spec.kind == "calibration"
        return stream

    @property
    def _arrays(self) -> _Arrays:
        """What the references of all streams say, gathered once for a set of streams."""
        if self._known is not None:
            return self._known
        n = len(self.streams)
        a = _Arrays(np.ones((n, HOURS)), np.zeros((n, HOURS)), np.ones(n))
        a.both = np.array([s.spec.direction == "both" for s in self.streams], dtype=np.bool_)
        a.bets = np.array([s.bets for s in self.streams], dtype=np.int64)
        a.hourly = np.array([s.hourly for s in self.streams], dtype=np.bool_)
        a.saving = np.array([i for i, s in enumerate(self.streams) if s.saves], dtype=np.int64)
        for i, stream in enumerate(self.streams):
            fit = stream.fitted.fit
            if isinstance(fit, RateReference):
                a.upper[i], a.lower[i], a.temper[i] = fit.upper, fit.lower, fit.temper
        self._known = a
        return a

    def drop_segment(self, owner: str, segment: str) -> list[tuple[str, str, str]]:
        """Remove a segment's streams (a new reference takes their place); returns their keys."""
        gone = [i for i, s in enumerate(self.streams) if s.segment == segment and s.owner == owner]
        if not gone:
            return []
        keys = [self.streams[i].key for i in gone]
        kept = [i for i in range(len(self.streams)) if i not in set(gone)]
        bets = VolumeBets()
        states = {}
        for i in kept:
            stream = self.streams[i]
            if isinstance(stream.fitted.fit, VolumeReference):
                states[i] = self.volume.to_state(stream.volume)
        self.sr.drop(gone)
        self.recovery.sums = np.delete(self.recovery.sums, gone, axis=0)
        for name in _PER_STREAM:
            setattr(self, name, np.delete(getattr(self, name), gone, axis=0))
        for i in kept:
            stream = self.streams[i]
            if isinstance(stream.fitted.fit, VolumeReference):
                stream.volume = bets.append(stream.fitted.fit)
                bets.from_state(stream.volume, states[i])
        self.volume = bets
        self.streams = [self.streams[i] for i in kept]
        self.index = {stream.key: i for i, stream in enumerate(self.streams)}
        self._known = None
        self.composition += 1
        return keys

    def evidence_of(self, owner: str, segment: str) -> float:
        """The greatest evidence of a segment's streams now; 0 without any."""
        mine = [i for i, s in enumerate(self.streams) if s.segment == segment and s.owner == owner]
        return float(self.sr.value[mine].max(initial=0.0))

    # -- ticks ----------------------------------------------------------------------------------------------

    def tick_bets(self, hits: Int64, trials: Int64, slots: Int64) -> Float:
        """Log bets float64[ticks, n, 8] of every tick; hits, trials: int64[ticks, n]; slots: hour of the week."""
        ticks, n = hits.shape
        a = self._arrays
        out = np.zeros((ticks, n, BETS))
        t, i = np.nonzero(trials)
        if t.size:
            found = log_bets(
                hits[t, i],
                trials[t, i],
                a.upper[i, slots[t]],
                a.lower[i, slots[t]],
                direction="both",
                temper=a.temper[i],
            )
            found[~a.both[i], 4:] = 0.0
            out[t, i] = found
        return out

    def step(self, logs: Float, looking: Bool, end_us: int) -> tuple[Int64, Float]:
        """One tick: streams in ``looking`` have data. Returns the streams that alarmed, and everyone's evidence."""
        since = np.minimum(end_us - self.last_look, HOUR_US)
        funding = np.where(looking, self.share * since, 0.0)
        if len(self.streams) and (saving := self._arrays.saving).size:
            # Of every tick what its own share was; together never more than the allowance, whenever it is spent.
            self.saved[saving] += self.share[saving] * self.tick_us
            spent = saving[looking[saving]]
            funding[spent], self.saved[spent] = self.saved[spent], 0.0
        result = self.sr.step(logs, funding, self._arrays.bets if len(self.streams) else None)
        self.last_look[looking] = end_us
        self.last_data[looking] = end_us
        np.maximum(self.hour_max, result.value, out=self.hour_max)
        self.recovery.step(logs, np.where(looking, self.fading * since, 0.0))
        # A sum that fell to 0 has to climb to the cap again: at 0 every single hit lifts it a little.
        self.alive = (self.alive & (self.recovery.sums > 0.0)) | (self.recovery.sums >= self.recovery.cap)
        self.supported[self.alive.any(axis=1) & looking] = end_us
        return np.flatnonzero(result.alarms), result.value

    def remember(self, tick_end_us: int, hits: Int64, trials: Int64) -> None:
        """Keep a tick's counts for the onset and the effect."""
        slot = (tick_end_us // self.tick_us) % self.ring
        self.hits[:, slot] = hits
        self.trials[:, slot] = trials
        if tick_end_us % HOUR_US == 0:
            # Ticks are forgotten after a day; hours, of which an onset may lie in any, after four.
            slots = (tick_end_us // self.tick_us - np.arange(max(1, HOUR_US // self.tick_us))) % self.ring
            of_ticks, hour = ~self._arrays.hourly, (tick_end_us // HOUR_US) % HOURLY_RING
            self.counts[of_ticks, hour] = self.trials[np.ix_(of_ticks, slots)].sum(axis=1)
            self.hour_hits[of_ticks, hour] = self.hits[np.ix_(of_ticks, slots)].sum(axis=1)

    def remember_look(self, i: int, hour_end_us: int, logs: Float, count: int) -> None:
        """Keep an hourly look."""
        slot = (hour_end_us // HOUR_US) % HOURLY_RING
        self.looks[i, slot] = logs
        self.counts[i, slot] = count

    def window(self, i: int, end_us: int, from_us: int) -> tuple[int, int]:
        """(hits, trials) of a stream over the remembered ticks that begin at or after ``from_us``."""
        ends = end_us - self.tick_us * np.arange(self.ring, dtype=np.int64)
        ends = ends[ends - self.tick_us >= from_us]
        slots = (ends // self.tick_us) % self.ring
        return int(self.hits[i, slots].sum()), int(self.trials[i, slots].sum())

    def hour_counts(self, i: int, end_us: int, from_us: int) -> tuple[Int64, Int64]:
        """(counts, starts in µs) of a stream's remembered hours that begin at or after ``from_us``."""
        ends = end_us - HOUR_US * np.arange(HOURLY_RING, dtype=np.int64)
        ends = ends[ends - HOUR_US >= from_us]
        return self.counts[i, (ends // HOUR_US) % HOURLY_RING], ends - HOUR_US

    def onset_of(self, i: int, end_us: int, slots_of: Callable[[Int64], Int64]) -> Onset:
        """Since when the stream that alarmed at ``end_us`` has changed; ``slots_of`` gives hours of the week."""
        stream = self.streams[i]
        if stream.hourly:
            hour = HOUR_US
            last = end_us // hour * hour
            starts = last - hour * np.arange(HOURLY_RING, 0, -1, dtype=np.int64)
            logs = self.looks[i, ((starts + hour) // hour) % HOURLY_RING].astype(np.float64)
        else:
            starts = end_us - self.tick_us * np.arange(self.ring, 0, -1, dtype=np.int64)
            slots = (starts // self.tick_us + 1) % self.ring
            a = self._arrays
            of_week = slots_of(starts)
            logs = log_bets(
                self.hits[i, slots],
                self.trials[i, slots],
                a.upper[i, of_week],
                a.lower[i, of_week],
                direction="both",
                temper=np.full(starts.size, a.temper[i]),
            )
            if not a.both[i]:
                logs[:, 4:] = 0.0
        kept = starts >= self.floor[i]
        kept[-1] = True
        found = onset(logs[kept][:, : stream.bets], starts[kept])
        fit = stream.fitted.fit
        if stream.hourly or not isinstance(fit, RateReference):
            return found
        hits, trials, begins = self._before(i, int(starts[0]))
        hits = np.concatenate([hits, self.hits[i, slots[kept]]])
        trials = np.concatenate([trials, self.trials[i, slots[kept]]])
        begins = np.concatenate([begins, starts[kept]])
        return rate_onset(hits, trials, fit.baseline[slots_of(begins)], begins, found, float(a.temper[i]))

    def _before(self, i: int, until_us: int) -> tuple[Int64, Int64, Int64]:
        """(hits, trials, starts) of a stream's remembered hours that end by ``until_us``, oldest first."""
        ends = until_us // HOUR_US * HOUR_US - HOUR_US * np.arange(HOURLY_RING - 25, -1, -1, dtype=np.int64)
        ends = ends[ends - HOUR_US >= self.floor[i]]
        hours = (ends // HOUR_US) % HOURLY_RING
        return self.hour_hits[i, hours].astype(np.int64), self.counts[i, hours], ends - HOUR_US

    def open(self, i: int, end_us: int, since_us: int) -> None:
        """An anomaly was opened, of a change that began at ``since_us``: no funding until `close`."""
        self.fading[i] = fading(end_us - since_us)
        self.sr.suspend([i])
        self.recovery.start([i])
        self.recovery.sums[i, self.streams[i].bets :] = 0.0  # columns that are not bet on would never fall
        self.alive[i] = self.recovery.sums[i] > 0.0
        self.supported[i] = end_us

    def close(self, i: int, end_us: int) -> None:
        """Resolved: from zero evidence."""
        self.sr.resume([i])
        self.recovery.sums[i] = self.fading[i] = 0.0
        self.last_look[i] = end_us
        self.floor[i] = end_us

    # -- state ----------------------------------------------------------------------------------------------

    def to_states(self) -> list[bytes]:
        """Every stream's versioned bytes, in order; references are kept apart. Together, since one by one it takes
        ten times the tick itself."""
        evidence = self.sr.to_states()
        recovery, alive = self.recovery.sums.tobytes(), self.alive.tobytes()
        seen = self.trials > 0
        begins = [0, *np.cumsum(seen.sum(axis=1)).tolist()]
        at = np.broadcast_to(np.arange(self.ring, dtype=np.int32), seen.shape)
        # Ticks and the sessions of one are small numbers; what is read back says how many bytes they have.
        ticks, hits, trials = (_Cut(values[seen]) for values in (at, self.hits, self.trials))
        hours, hour_hits = _Cut(self.counts.ravel()), _Cut(self.hour_hits.ravel())
        numbers = [getattr(self, name).tolist() for name in _SCALARS]
        states = []
        for i, stream in enumerate(self.streams):
            floor, hour_max, last_data, last_look, share, supported = (values[i] for values in numbers)
            volume = self.volume.to_state(stream.volume) if stream.volume >= 0 else b""
            # In the order of names, as `pack_bytes` wants them.
            scalars = {
                "floor": floor, "hour_max": hour_max, "last_data": last_data, "last_look": last_look,
                "reference": stream.reference_id, "share": share, "sr": evidence[i], "supported": supported,
                "volume": volume,
            }  # fmt: skip
            if stream.saves:
                scalars["saved"] = float(self.saved[i])
            if self.fading[i]:
                scalars["fading"] = float(self.fading[i])
            if stream.saves or self.fading[i]:
                scalars = dict(sorted(scalars.items()))
            kept = ("|b1", (BETS,), alive[i * BETS : (i + 1) * BETS])
            sums = ("<f8", (BETS,), recovery[8 * i * BETS : 8 * (i + 1) * BETS])
            arrays: dict[str, tuple[str, tuple[int, ...], bytes]]
            if stream.hourly:
                counts = ("<i8", (HOURLY_RING,), self.counts[i].tobytes())
                looks = ("<f4", (HOURLY_RING, BETS), self.looks[i].tobytes())
                arrays = {"alive": kept, "counts": counts}
                if stream.heading is not None:
                    heading = stream.heading.to_state()
                    arrays["heading"] = ("<f8", heading.shape, heading.tobytes())
                arrays |= {"looks": looks, "recovery": sums}
            else:
                span, day = (begins[i], begins[i + 1]), (i * HOURLY_RING, (i + 1) * HOURLY_RING)
                arrays = {
                    "alive": kept, "at": ticks.of(*span), "counts": hours.of(*day), "hits": hits.of(*span),
                    "hour_hits": hour_hits.of(*day), "recovery": sums, "trials": trials.of(*span),
                }  # fmt: skip
            states.append(pack_bytes(_KIND, scalars, arrays))
        return states

    def from_state(self, i: int, state: bytes) -> bool:
        """Put a stream's bytes back. False where they belong to another reference: the stream starts from zero."""
        scalars, arrays = unpack(_KIND, state)
        stream = self.streams[i]
        if scalars["reference"] != stream.reference_id:
            return False
        self.sr.from_state(i, scalars["sr"])
        if stream.volume >= 0 and scalars["volume"]:
            self.volume.from_state(stream.volume, scalars["volume"])
        for name in _SCALARS:
            getattr(self, name)[i] = scalars[name]
        self.saved[i] = scalars.get("saved", 0.0)
        self.recovery.sums[i], self.alive[i] = arrays["recovery"], arrays["alive"]
        # Open ones of before support faded begin to fade now.
        self.fading[i] = scalars.get("fading", fading(0) if self.sr.suspended[i] else 0.0)
        if stream.hourly:
            self.looks[i], self.counts[i] = arrays["looks"], arrays["counts"]
            if stream.heading is not None and "heading" in arrays:
                stream.heading = Heading.from_state(arrays["heading"])
        elif arrays["at"].size == 0 or int(arrays["at"].max()) < self.ring:
            self.hits[i, arrays["at"]] = arrays["hits"]
            self.trials[i, arrays["at"]] = arrays["trials"]
        if not stream.hourly and "hour_hits" in arrays:
            self.counts[i], self.hour_hits[i] = arrays["counts"], arrays["hour_hits"]
        return True


class _Cut:
    """Counts in as few bytes as hold them all, cut into stretches."""

    def __init__(self, values: NDArray[Any]) -> None:
        small = values.astype(np.min_scalar_type(int(values.max(initial=0))))
        self._dtype, self._size, self._bytes = small.dtype.str, small.itemsize, small.tobytes()

    def of(self, first: int, last: int) -> tuple[str, tuple[int, ...], bytes]:
        return self._dtype, (last - first,), self._bytes[first * self._size : last * self._size]


def _with_rows(array: NDArray[Any], n: int) -> NDArray[Any]:
    """The array with zeros up to ``n`` rows. Room is doubled where it does not suffice, so that streams that come
    segment by segment are not copied each time."""
    room = array.base
    if room is None or room.shape[1:] != array.shape[1:] or room.shape[0] < n:
        room = np.zeros((max(n, 2 * array.shape[0]), *array.shape[1:]), dtype=array.dtype)
        room[: array.shape[0]] = array
    return room[:n]


def shares(streams: Sequence[Stream], present: Bool, allowance_per_us: dict[tuple[str, str], float]) -> Float:
    """Each stream's funding per µs: its owner's allowance of its severity, divided over those present.

    ``allowance_per_us`` is keyed by (owner, severity).
    """
    found = np.zeros(len(streams))
    pots: dict[tuple[str, str], list[int]] = {}
    for i, stream in enumerate(streams):
        if present[i]:
            pots.setdefault((stream.owner, stream.severity), []).append(i)
    for pot, members in pots.items():
        found[members] = allowance_per_us[pot] / len(members)
    return found
