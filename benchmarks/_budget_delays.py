"""Incidents planted in segments of independent sessions at constant rates: hours to the anomaly.

Every run is a segment of its own with a reference of 28 days, learned as the evaluator learns it beside the segments of
a replicate (how much their days differ is lent to it), and funded as one more page stream of that replicate. The change
begins a day after the reference, at a full hour. The common rules look at the same sessions every hour.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from benchmarks._budget_rules import NAMES, of_shares, of_values
from benchmarks._budget_session import MemorySession
from benchmarks._budget_world import Outcome, config_of
from detectors.rates import RateReference
from detectors.summaries import buckets
from detectors.summaries.metrics import METRICS
from monitor.evaluate.bank import StreamBank
from monitor.evaluate.calendar import HOUR_US
from monitor.evaluate.cells import Cells, Decoder, added_runs
from monitor.evaluate.references import learn
from monitor.store.engine import open_store
from monitor.store.evaluation import SampleRow
from tests.evaluate.traffic import DAY_US, START_US, STEP_US

Float = NDArray[np.float64]
Int64 = NDArray[np.int64]

HISTORY_DAYS = 28
QUIET_DAYS = 1  # between reference and change
CHANGE_US = START_US + (HISTORY_DAYS + QUIET_DAYS) * DAY_US
DIMENSION, DIRECTIONS = 96, 40
ENCODER = "e-1"
LOOKED_HOURS = 24  # after the change, at least, so that the rules are given time
SIZE_OF_CLUSTER = 8.0


@dataclass(frozen=True, slots=True)
class Incident:
    """One kind of change. ``before`` and ``after``: shares of a rate or above the p95, or None for vectors."""

    name: str
    signal: str
    per_hour: float
    horizon_hours: int
    before: float = 0.0
    after: float = 0.0
    shift: float = 0.0  # of vectors, sd of one of the equal directions
    cluster: float = 0.0  # share of sessions of a new kind
    usual: float = 0.0  # share of that kind before: then it is not new, and the mixture changes
    ramp_hours: int = 0  # over which the change comes

    @property
    def embedded(self) -> bool:
        """Whether it is seen in vectors alone."""
        return self.signal == "image_drift"


INCIDENTS = (
    Incident("error_1_to_4", "error_rate", 100.0, 96, 0.01, 0.04),
    Incident("error_1_to_10", "error_rate", 100.0, 96, 0.01, 0.10),
    Incident("p95", "latency_total_p95", 100.0, 96, 0.05, 0.20),
    Incident("embedding_1sd", "image_drift", 60.0, 120, shift=1.0),
    Incident("cluster_20", "image_drift", 60.0, 120, cluster=0.20),
    Incident("cluster_5", "image_drift", 60.0, 120, cluster=0.05),
    Incident("embedding_03sd", "image_drift", 60.0, 240, shift=0.3),
    Incident("mixture_10_to_20", "image_drift", 60.0, 240, usual=0.10, cluster=0.20),
    Incident("ramp_1sd_7d", "image_drift", 60.0, 240, shift=1.0, ramp_hours=168),
)


class Planted:
    """Segments of one incident, of which each is a run: the source of a session, and what the rules look at."""

    def __init__(self, incident: Incident, runs: int, seed: int) -> None:
        self.incident = incident
        self.rng = np.random.default_rng([seed, 100 + INCIDENTS.index(incident)])
        self.names = [f"{incident.name}-{run:03d}" for run in range(runs)]
        self.routes = ["pages"] * runs
        # Runs of the incidents in vectors share what is drawn, so that the same references are changed differently.
        own = np.random.default_rng([seed, 50])
        mixes = runs if incident.embedded else 1
        self.mix = np.stack([np.linalg.qr(own.normal(size=(DIMENSION, DIRECTIONS)))[0].T for _ in range(mixes)])
        self.direction = np.stack([own.normal(size=DIRECTIONS) @ mix for mix in self.mix])
        self.direction /= np.linalg.norm(self.direction, axis=1, keepdims=True)
        self.cluster = SIZE_OF_CLUSTER * own.normal(size=(len(self.mix), DIMENSION)) / np.sqrt(DIMENSION)
        self.hours: dict[int, tuple[Float, Float]] = {}  # hits and sessions of an hour's runs
        self.rows: dict[tuple[int, int], Float] = {}  # vectors of an hour of a run

    # -- rates and tails ------------------------------------------------------------------------------------

    def cells(self, start_us: int, end_us: int, decoder: Decoder, bank: StreamBank, *, whole: bool) -> Cells:
        """Thinned cells of [start, end), full hours."""
        incident, rng = self.incident, self.rng
        if incident.embedded:
            return Cells.none()
        steps = (end_us - start_us) // STEP_US
        count = rng.poisson(incident.per_hour / 12.0, (len(self.names), steps))
        at_us = start_us + STEP_US * np.arange(steps)
        share = np.where(at_us >= CHANGE_US, incident.after, incident.before)
        hits = rng.binomial(count, share)
        for hour in range(steps // 12):
            mine = slice(12 * hour, 12 * hour + 12)
            self.hours[start_us // HOUR_US + hour] = (
                hits[:, mine].sum(axis=1).astype(float), count[:, mine].sum(axis=1).astype(float),
            )  # fmt: skip
        run, step = np.nonzero(count)
        code = np.array([decoder.segments.code(name) for name in self.names])[run]
        n, bad, zero = count[run, step], hits[run, step], np.zeros(run.size, dtype=np.int64)
        events = Cells(at_us[step], code, zero, zero, zero, n, n)
        if incident.signal == "error_rate":
            error = Cells(at_us[step], code, np.full(run.size, METRICS["error"].id), zero, zero, n, bad)
            return added_runs([events, error])
        # Every session has a value of its own, from the slowest twentieth of the usual ones or from the others.
        slow = np.repeat(np.tile([True, False], run.size), np.stack([bad, n - bad], axis=1).ravel())
        u = rng.random(slow.size)
        value = np.exp(14.5 + 0.5 * ndtri(np.where(slow, 1.0 - incident.before * u, (1.0 - incident.before) * u)))
        one, of = np.ones(slow.size, dtype=np.int64), np.repeat(np.arange(run.size), n)
        bucket = buckets.codes(value.astype(np.int64))
        metric = np.full(slow.size, METRICS["latency_total"].id)
        return added_runs([events, Cells(at_us[step][of], code[of], metric, 0 * one, bucket, one, one)])

    # -- vectors --------------------------------------------------------------------------------------------

    def drawn(self, run: int, size: int, part: float) -> Float:
        """Vectors of sessions of a run, [size, DIMENSION], with that part of the change."""
        rng, incident = self.rng, self.incident
        rows = rng.normal(size=(size, DIRECTIONS)) @ self.mix[run] + 0.1 * rng.normal(size=(size, DIMENSION))
        if part or incident.usual:
            rows += part * incident.shift * self.direction[run]
            rows[rng.random(size) < incident.usual + part * (incident.cluster - incident.usual)] += self.cluster[run]
        return np.asarray(rows)

    def sampled(self, run: int, windows: Int64, vectors: Float) -> list[SampleRow]:
        """The sessions with these vectors."""
        half = vectors.astype("<f2")
        return [
            SampleRow(
                f"{self.names[run]}-{window}-{k}", window, "pages", self.names[run], 1.0, ENCODER, "{}",
                (("image", half[k].tobytes(), None, ""),),
            )
            for k, window in enumerate(windows.tolist())
        ]  # fmt: skip

    def history(self, run: int, most: int) -> list[SampleRow]:
        """What a reference keeps of 28 days: ``most`` of the sessions, a uniform choice."""
        if not self.incident.embedded:
            return []
        windows = START_US + np.sort(self.rng.integers(0, HISTORY_DAYS * 24, most)) * HOUR_US
        rows = self.drawn(run, most, 0.0)
        self.rows[run, -1] = rows
        return self.sampled(run, windows, rows)

    def samples(self, start_us: int, end_us: int) -> list[SampleRow]:
        """Sampled sessions of [start, end), by window."""
        found: list[SampleRow] = []
        if not self.incident.embedded:
            return found
        for hour_us in range(start_us, end_us, HOUR_US):
            hours = (hour_us - CHANGE_US) / HOUR_US + 1
            part = float(np.clip(hours / max(1, self.incident.ramp_hours), 0.0, 1.0))
            for run in range(len(self.names)):
                rows = self.drawn(run, int(self.rng.poisson(self.incident.per_hour)), part)
                self.rows[run, hour_us // HOUR_US] = rows
                found += self.sampled(run, np.full(len(rows), hour_us), rows)
        return found

    # -- the rules ------------------------------------------------------------------------------------------

    def flagged(self, hour: int, session: MemorySession) -> dict[str, NDArray[np.bool_]]:
        """Which runs each rule flags in an hour."""
        if self.incident.embedded:
            return self._by_distance(hour)
        fits = [session.references[name].streams[self.incident.signal].fit for name in self.names]
        rates = [fit for fit in fits if isinstance(fit, RateReference)]
        known = np.array([float(fit.trials) for fit in rates])
        return of_shares(*self.hours[hour], np.array([fit.rate for fit in rates]), known)

    def _by_distance(self, hour: int) -> dict[str, NDArray[np.bool_]]:
        found: dict[str, list[bool]] = {name: [] for name in NAMES}
        for run in range(len(self.names)):
            before, now = self.rows[run, -1], self.rows[run, hour]
            centre = before.mean(axis=0)
            distances = (np.linalg.norm(rows - centre, axis=1) for rows in (now, before))
            for name, flag in of_values(*distances).items():
                found[name].append(flag)
        return {name: np.array(flags) for name, flags in found.items()}


def measure(incident: Incident, runs: int, world: Outcome, seed: int) -> dict[str, object]:
    """Delays of one incident over all runs: the evaluator's, and of the rules their delay and what they flag before."""
    config = config_of()
    source = Planted(incident, runs, seed)
    # One more stream of high stakes beside the replicate's.
    share = config.budget.page.per_us / (world.streams["page"] + 1)
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(f"sqlite:///{Path(folder) / 'driftline.db'}")
        session = MemorySession(store, config, source, fixed_share=share)
        until = START_US + HISTORY_DAYS * DAY_US
        _learn(session, source, world, until)
        end = CHANGE_US + incident.horizon_hours * HOUR_US
        found: dict[str, float] = {}
        rules: dict[str, list[NDArray[np.bool_]]] = {name: [] for name in NAMES}
        for hour_us in range(until, end, HOUR_US):
            session.run(hour_us, hour_us + HOUR_US)
            for name, flags in source.flagged(hour_us // HOUR_US, session).items():
                rules[name].append(flags)
            found = {
                anomaly.segment: (anomaly.at_us - CHANGE_US) / HOUR_US
                for anomaly in sorted(session.noted.opened.values(), key=lambda anomaly: -anomaly.at_us)
                if anomaly.at_us > CHANGE_US
            }
            if len(found) == runs and hour_us >= CHANGE_US + LOOKED_HOURS * HOUR_US:
                break
        store.close()
    delays = np.array([found.get(name, np.inf) for name in source.names])
    return {
        "median": _hours(np.median(delays)),
        "p90": _hours(np.quantile(delays, 0.9, method="inverted_cdf")),
        "runs": runs,
        "found": int(np.isfinite(delays).sum()),
        "before": sum(a.at_us <= CHANGE_US for a in session.noted.opened.values()),
        **{name: _rule(np.stack(flags)) for name, flags in rules.items()},
    }


def _learn(session: MemorySession, source: Planted, world: Outcome, until_us: int) -> None:
    config = session.config
    days = range(START_US, until_us, DAY_US)
    parts = [source.cells(at, at + DAY_US, session.decoder, session.bank, whole=True) for at in days]
    cells = added_runs([part.by_hour() for part in parts])
    for run, name in enumerate(source.names):
        reference = learn(
            name, "pages", cells, session.decoder.segments.code(name), session.decoder.labels,
            source.history(run, config.reference.max_rows), from_us=START_US, to_us=until_us,
            calendar=session.calendar, confidence=config.evaluation.confidence, min_rows=config.reference.min_rows,
            max_rows=config.reference.max_rows, kindred_day_sd=world.kindred,
        )  # fmt: skip
        reference.streams = {
            signal: stream for signal, stream in reference.streams.items() if signal == source.incident.signal
        }
        session.keep(reference, until_us)


def _hours(value: float | np.floating[object]) -> float | None:
    return round(float(value), 3) if np.isfinite(value) else None


def _rule(flags: NDArray[np.bool_]) -> dict[str, float | None]:
    """Median hours from the change to the first flagged hour, and the share of hours flagged before it."""
    before, after = flags[: QUIET_DAYS * 24], flags[QUIET_DAYS * 24 :]
    first = np.where(after.any(axis=0), after.argmax(axis=0) + 1.0, np.inf)
    return {"median": _hours(np.median(first)), "hours_flagged_before": round(float(before.mean()), 4)}
