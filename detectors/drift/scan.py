"""Did the inputs change, and since when: every row as it comes, over all time scales at once.

The hourly looks of ``detectors.drift.embedding`` answer to the false-alarm budget; this detector answers after each
row, with the mean number of rows to a false alarm promised instead. Evidence is the log of a sum of likelihood ratios
over onsets and kinds of change (``scan_evidence``); its threshold comes from streams simulated from held-out rows
(``scan_reference``). docs/statistics.md has the figures.

A sequential detector has an order: states of two streams cannot be merged, and there is no ``merge``.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from detectors.drift.scan_evidence import (
    HYPOTHESES,
    WINDOWS,
    combined,
    location,
    novelty_logs,
    onset_posterior,
    shiryaev_roberts,
)
from detectors.drift.scan_reference import ScanReference, checked
from detectors.evidence.packing import pack, unpack

Float = NDArray[np.float64]
Float32 = NDArray[np.float32]
Int64 = NDArray[np.int64]

MEMORY = 512  # rows in which the onset is looked for
SESSIONS = 4096  # ids remembered
CHUNK = 1024  # rows worked on at once
MASS = 0.97  # of the onset's posterior; the tests measure what it covers
_KIND = "scan"


@dataclass(frozen=True, slots=True)
class Scanned:
    """``evidence`` float64[m] in nats after each row; ``alarm``, the first row of the batch that reached the threshold
    (its index in the batch), or None."""

    evidence: Float
    alarm: int | None


@dataclass(frozen=True, slots=True)
class OnsetRow:
    """The row that a change began with, and the interval it lies in, both ends included. Rows are counted from 0 over
    everything that the stream was given, rows of known sessions too."""

    row: int
    low: int
    high: int


class Scan:
    """One stream of rows against a reference. Not thread-safe.

    Args:
        reference: what the rows are compared with.
        run_length: sessions (rows, where no sessions are given) to a false alarm on average, without a change.
    """

    def __init__(self, reference: ScanReference, run_length: float) -> None:
        self.reference = reference
        self.run_length = float(run_length)
        self.threshold = reference.threshold(run_length)
        self.rows = 0
        self._seen: NDArray[Any] = np.zeros(0, dtype=np.int64)
        self._clear()

    def _clear(self) -> None:
        self._z: Float32 = np.zeros((0, self.reference.components), dtype=np.float32)
        self._log_p: Float = np.zeros((3, 0))
        self._at: Int64 = np.zeros(0, dtype=np.int64)
        self._log_r: Float = np.full((1, len(HYPOTHESES)), -np.inf)
        self._evidence = -np.inf

    def reset(self) -> None:
        """Forget the rows: what an acknowledged alarm calls for. Rows go on being counted, sessions stay known."""
        self._clear()

    def update(self, rows: ArrayLike, sessions: ArrayLike | None = None) -> Scanned:
        """Take rows in their order; a batch gives what its rows give one at a time.

        Args:
            rows: float[m, d].
            sessions: [m], the session of each (whole numbers or strings). Rows of a session that this stream has seen
                among its last 4,096 sessions change nothing: near-duplicates are no new evidence. Default: every row
                is a session of its own.

        Raises:
            ValueError: NaN, infinities, another dimension, shapes that disagree. Nothing is taken then.
        """
        x = checked(rows, self.reference.dimension, "rows")
        fresh = np.arange(x.shape[0]) if sessions is None else self._fresh(np.asarray(sessions), x.shape[0])
        kept = np.concatenate(
            [np.zeros(0), *(self._take(x[part], self.rows + part) for part in _chunks(fresh))], dtype=np.float64
        )
        before = self._evidence
        if kept.size:
            self._evidence = float(kept[-1])
        self.rows += x.shape[0]
        evidence = np.concatenate([[before], kept])[np.searchsorted(fresh, np.arange(x.shape[0]), side="right")]
        over = np.flatnonzero(evidence >= self.threshold)
        return Scanned(evidence, int(over[0]) if over.size else None)

    def onset(self) -> OnsetRow:
        """When the change began that the last rows tell of; without a change the answer means nothing.

        An onset older than 512 sessions is told as the oldest kept.

        Raises:
            ValueError: no rows yet.
        """
        if not self._at.size:
            raise ValueError("no rows since the start or the last reset; call update first")
        chance = onset_posterior(self._z, self._log_p, self.reference.effective, self.reference.rows)
        order = np.argsort(-chance, kind="stable")
        within = order[: int(np.searchsorted(np.cumsum(chance[order]), MASS)) + 1]
        return OnsetRow(int(self._at[order[0]]), int(self._at[within.min()]), int(self._at[within.max()]))

    def to_state(self) -> bytes:
        """Versioned bytes of the stream, without its reference."""
        scalars = {
            "run_length": self.run_length, "rows": self.rows,
            "evidence": self._evidence, "reference": _digest(self.reference),
        }  # fmt: skip
        arrays: dict[str, NDArray[Any]] = {
            "z": self._z, "log_p": self._log_p, "at": self._at, "log_r": self._log_r, "seen": self._seen,
        }  # fmt: skip
        return pack(_KIND, scalars, arrays)

    @classmethod
    def from_state(cls, state: bytes, reference: ScanReference) -> Scan:
        """The inverse of :meth:`to_state`. Raises ValueError for other bytes, and for another reference."""
        scalars, arrays = unpack(_KIND, state)
        if scalars["reference"] != _digest(reference):
            raise ValueError("the state belongs to another reference; pass the one it was made with, or start anew")
        scan = cls(reference, scalars["run_length"])
        scan.rows, scan._evidence, scan._seen = scalars["rows"], scalars["evidence"], arrays["seen"]
        scan._z, scan._log_p, scan._at, scan._log_r = (arrays[name] for name in ("z", "log_p", "at", "log_r"))
        return scan

    def _fresh(self, ids: NDArray[Any], rows: int) -> Int64:
        """Indices of the rows that are the first of their session, ascending; the ids are remembered."""
        if ids.shape != (rows,) or ids.dtype.kind not in "iuUS":
            raise ValueError(f"sessions needs one whole number or string per row, {rows}; got {ids.dtype} {ids.shape}")
        if self._seen.size and ids.dtype.kind != self._seen.dtype.kind:
            raise ValueError(f"sessions were {self._seen.dtype} before, got {ids.dtype}; use one kind of id per stream")
        unique, first = np.unique(ids, return_index=True)
        new = np.sort(first[~np.isin(unique, self._seen)])
        seen = np.concatenate([self._seen, ids[new]]) if self._seen.size else ids[new]
        self._seen = seen[-SESSIONS:]
        return np.asarray(new, dtype=np.int64)

    def _take(self, x: Float32, at: Int64) -> Float:
        z, log_p = self.reference.features(x)
        back = self._z[-(WINDOWS[-1] - 1) :]
        log_r = shiryaev_roberts(novelty_logs(log_p)[None], self._log_r)
        full = np.concatenate([back, z])[None]
        shifts = location(full, back.shape[0], self.reference.effective, self.reference.rows)
        evidence: Float = combined(shifts, log_r)[0]
        self._log_r = log_r[:, :, -1]
        self._z = np.concatenate([self._z, z])[-MEMORY:]
        self._log_p = np.concatenate([self._log_p, log_p], axis=1)[:, -MEMORY:]
        self._at = np.concatenate([self._at, at])[-MEMORY:]
        return evidence


def _chunks(rows: Int64) -> list[Int64]:
    return [rows[start : start + CHUNK] for start in range(0, rows.size, CHUNK)]


def _digest(reference: ScanReference) -> int:
    return zlib.crc32(reference.to_state())
