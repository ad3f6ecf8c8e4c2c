"""The series of the Numenta Anomaly Benchmark, their windows and halves, and the published scores."""

from __future__ import annotations

import csv
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks._nab_score import Truth

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "anomaly" / "nab"
HALVES = ("tuning", "held_out")


@dataclass(frozen=True, slots=True)
class Series:
    """One file: times int64[n] microseconds, values float64[n], and what alarms are worth."""

    name: str
    times_us: NDArray[np.int64]
    values: NDArray[np.float64]
    truth: Truth
    half: str


def half_of(name: str) -> str:
    """Which half a series belongs to: the first bit of the SHA-256 of its file name without the folder."""
    return HALVES[hashlib.sha256(Path(name).name.encode()).digest()[0] >> 7]


def series(data: Path = DATA) -> list[Series]:
    """All series of the corpus, by name.

    Raises:
        FileNotFoundError: the corpus is not beside the checkout.
    """
    if not (data / "labels" / "combined_windows.json").exists():
        raise FileNotFoundError(
            f"the Numenta Anomaly Benchmark is not at {data}: put its folders data and labels there "
            "(github.com/numenta/NAB)"
        )
    windows = json.loads((data / "labels" / "combined_windows.json").read_text())
    return [_read(data / "data" / name, name, windows[name]) for name in sorted(windows)]


def _read(path: Path, name: str, windows: list[tuple[str, str]]) -> Series:
    with path.open(newline="") as lines:
        rows = list(csv.reader(lines))[1:]
    times = np.array([row[0] for row in rows], dtype="datetime64[us]").astype(np.int64)
    values = np.array([row[1] for row in rows], dtype=np.float64)
    edges = np.array(windows, dtype="datetime64[us]").astype(np.int64).reshape(-1, 2)
    # A time that occurs twice (the end of summer time) is meant at its first row.
    first = {time: row for row, time in reversed(list(enumerate(times.tolist())))}
    limits = [(first[start], first[end]) for start, end in edges.tolist()]
    return Series(name, times, values, Truth.of(times.size, limits), half_of(name))


def published(data: Path = DATA) -> dict[str, dict[str, float]]:
    """Published scores by detector and profile, named as here."""
    scores = json.loads((data / "published_scores.json").read_text())
    return {
        name: {
            "standard": of["standard"],
            "reward_low_fp": of["reward_low_FP_rate"],
            "reward_low_fn": of["reward_low_FN_rate"],
        }
        for name, of in scores.items()
    }
