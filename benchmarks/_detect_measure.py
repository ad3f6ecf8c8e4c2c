"""Delays at one realised run length for all detectors, and what run lengths our own calibration gives."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from benchmarks._detect_peers import LSDD, MMD
from benchmarks._detect_real import RealVectors
from benchmarks._detect_worlds import Iso, Kinds, Pairs, Real, World
from detectors.drift.scan_evidence import (
    HYPOTHESES,
    WINDOWS,
    combined,
    location,
    novelty_logs,
    shiryaev_roberts,
)
from detectors.drift.scan_reference import ScanReference

Rows = NDArray[np.float32]
Float = NDArray[np.float64]
Rng = np.random.Generator

CHANGE = 130
BLOCK = 50
WORLDS = ("iso", "kinds", "real", "pairs")
REFERENCE_ROWS = 1000


class Detector(Protocol):
    names: tuple[str, ...]

    def start(self, streams: int) -> None: ...

    def keep(self, mask: NDArray[np.bool_]) -> None: ...

    def update(self, x: Rows) -> Float: ...


class Ours:
    """``detectors.drift.scan`` for many streams of one reference; a test holds it to ``Scan``."""

    names = ("ours",)

    def __init__(self, reference: ScanReference, view: Callable[[Rows], Rows] | None = None) -> None:
        self.reference, self.view = reference, view

    def start(self, streams: int) -> None:
        self.recent = np.zeros((streams, 0, self.reference.components), dtype=np.float32)
        self.log_r = np.full((streams, len(HYPOTHESES)), -np.inf)

    def keep(self, mask: NDArray[np.bool_]) -> None:
        self.recent, self.log_r = self.recent[mask], self.log_r[mask]

    def update(self, x: Rows) -> Float:
        s, t, d = x.shape
        rows = x.reshape(s * t, d)
        z, log_p = self.reference.features(rows if self.view is None else self.view(rows))
        full = np.concatenate([self.recent, z.reshape(s, t, -1)], axis=1)
        logs = novelty_logs(log_p.reshape(3, s, t).transpose(1, 0, 2))
        log_r = shiryaev_roberts(logs, self.log_r)
        shifts = location(full, self.recent.shape[1], self.reference.effective, self.reference.rows)
        evidence = combined(shifts, log_r)
        self.recent, self.log_r = full[:, -(WINDOWS[-1] - 1) :], log_r[:, :, -1]
        return evidence[None]


def make_world(name: str, rng: Rng, vectors: RealVectors | None) -> World:
    if name == "real":
        assert vectors is not None
        return Real(rng, vectors)
    return {"iso": Iso, "kinds": Kinds, "pairs": Pairs}[name](rng)


def fit_ours(reference: Rows, rng: Rng, view: Callable[[Rows], Rows] | None = None) -> Ours:
    rows = reference if view is None else view(reference)
    return Ours(ScanReference.fit(rows[::2], rows[1::2], rng=rng), view)


def compare(name: str, seed: Sequence[int], vectors: RealVectors | None, windows: tuple[int, ...], run_length: int,
            starts: int, null_streams: int, null_rows: int) -> dict[str, Any]:  # fmt: skip
    """One reference of one world: by scenario and detector the delays, and by detector the realised threshold."""
    rng = np.random.default_rng(seed)
    world = make_world(name, rng, vectors)
    reference = world.reference(rng, REFERENCE_ROWS)
    ours = fit_ours(reference, rng, Pairs.agreement if name == "pairs" else None)
    detectors: list[Detector] = [ours]
    if windows:
        order = rng.permutation(len(reference))
        detectors += [MMD(reference, windows, order), LSDD(reference, windows, order)]
    names = [each for detector in detectors for each in detector.names]
    null = streams(detectors, world, rng, null_streams, null_rows)
    thresholds = np.array([threshold(each, run_length) for each in null])
    del null
    for detector in detectors:
        detector.start(starts)
    alarmed = (_update(detectors, _draw(world, rng, starts, CHANGE, None)) > thresholds[:, None, None]).any(axis=2)
    found = {}
    for scenario in world.scenarios:
        own = [copy.deepcopy(each) for each in detectors]
        after = delays(own, thresholds, alarmed, world, rng, scenario, 3 * run_length)
        found[scenario] = {each: row[~early].tolist() for each, row, early in zip(names, after, alarmed, strict=True)}
    return {"world": name, "rows": len(reference), "run_length": run_length, "delays": found}


def streams(detectors: Sequence[Detector], world: World, rng: Rng, count: int, rows: int) -> Float:
    """Statistics float64[detectors, count, rows] of streams without a change, a few streams at a time."""
    out = []
    for start in range(0, count, 50):
        some = min(50, count - start)
        for detector in detectors:
            detector.start(some)
        parts = [_update(detectors, _draw(world, rng, some, min(100, rows - at), None)) for at in range(0, rows, 100)]
        out.append(np.concatenate(parts, axis=2))
    return np.concatenate(out, axis=1)


def delays(detectors: Sequence[Detector], thresholds: Float, alarmed: NDArray[np.bool_], world: World, rng: Rng,
           scenario: str, cap: int) -> NDArray[np.int64]:  # fmt: skip
    """Rows from the change to the alarm, int64[detectors, streams], at most ``cap``."""
    found = np.full(alarmed.shape, cap)
    waiting = ~alarmed
    going = np.arange(alarmed.shape[1])
    for at in range(0, cap, BLOCK):
        still = waiting[:, going].any(axis=0)
        if not still.any():
            break
        if not still.all():
            going = going[still]
            for detector in detectors:
                detector.keep(still)
        statistics = _update(detectors, _draw(world, rng, going.size, min(BLOCK, cap - at), scenario))
        over = statistics > thresholds[:, None, None]
        hit = over.any(axis=2) & waiting[:, going]
        which, where = np.nonzero(hit)
        found[which, going[where]] = at + over.argmax(axis=2)[which, where] + 1
        waiting[which, going[where]] = False
    return found


def threshold(evidence: Float, run_length: float) -> float:
    """At which streams float64[s, t] run that long on average: rows up to the alarms over alarms."""
    running = np.maximum.accumulate(evidence, axis=1)
    low, high = float(running[:, 0].min()), float(running[:, -1].max())
    for _ in range(50):
        middle = (low + high) / 2
        if realised(running, middle) < run_length:
            low = middle
        else:
            high = middle
    return high


def realised(running: Float, level: float) -> float:
    """Mean run length at a threshold, for geometric run lengths that may be cut off; from running maxima [s, t]."""
    rows = (running <= level).sum(axis=1)
    alarmed = rows < running.shape[1]
    return float((rows + alarmed).sum()) / max(int(alarmed.sum()), 1)


def calibration(name: str, seed: Sequence[int], vectors: RealVectors | None, rows: int, run_lengths: Sequence[int],
                count: int, length: int, sessions: float = 0.0) -> list[float]:  # fmt: skip
    """Realised over promised run length of one reference. ``sessions``: correlation of rows within sessions of five
    rows on average; of each session the first row counts, in reference and streams."""
    rng = np.random.default_rng(seed)
    world = make_world(name, rng, vectors)
    if sessions:
        world = _Sessions(world, sessions)
    ours = fit_ours(world.reference(rng, rows), rng)
    running = np.maximum.accumulate(streams([ours], world, rng, count, length)[0], axis=1)
    return [realised(running, ours.reference.threshold(each)) / each for each in run_lengths]


class _Sessions:
    """Iso's rows in sessions (geometric, five rows on average), of which ``Scan`` keeps the first: drawn whole, then
    thinned, so that what is measured is the rows of real sessions."""

    def __init__(self, world: World, correlation: float) -> None:
        self.world, self.scenarios, self.correlation = world, world.scenarios, correlation

    def reference(self, rng: Rng, rows: int) -> Rows:
        return self.rows(rng, rows, None)

    def rows(self, rng: Rng, count: int, scenario: str | None) -> Rows:
        sizes = rng.geometric(0.2, size=count)
        owner = np.repeat(np.arange(count), sizes)
        common, own = self.world.rows(rng, count, scenario), self.world.rows(rng, owner.size, scenario)
        every = np.sqrt(self.correlation) * common[owner] + np.sqrt(1.0 - self.correlation) * own
        return every[np.unique(owner, return_index=True)[1]].astype(np.float32)


def _draw(world: World, rng: Rng, count: int, rows: int, scenario: str | None) -> Rows:
    return world.rows(rng, count * rows, scenario).reshape(count, rows, -1)


def _update(detectors: Sequence[Detector], x: Rows) -> Float:
    return np.concatenate([detector.update(x) for detector in detectors])
