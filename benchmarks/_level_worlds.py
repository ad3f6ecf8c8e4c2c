"""Simulated hourly series for the level and season detector: what it says of nothing, and how soon of a change."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

from detectors.evidence import FundedSR
from detectors.level import ALARM, LevelSeason

Float = NDArray[np.float64]

HOUR_US = 3_600_000_000
LEARNED = 250  # rows that are not judged
FUNDED = 0.5  # alarms of the bets a series
BEFORE, AFTER = 600, 200  # rows around a change
NEVER = 999.0


def _season(rng: np.random.Generator, rows: int, sign: Float | float = 1.0) -> Float:
    return np.asarray(100 + sign * 50 * np.sin(2 * np.pi * np.arange(rows) / 24) + 10 * rng.normal(size=rows))


WORLDS: dict[str, Callable[[np.random.Generator, int], Float]] = {
    "normal": lambda rng, rows: rng.normal(size=rows),
    "student_2": lambda rng, rows: rng.standard_t(2, rows),
    "lognormal_2": lambda rng, rows: np.exp(2 * rng.normal(size=rows)),
    "poisson_1": lambda rng, rows: rng.poisson(1, rows).astype(np.float64),
    "rare_2_percent": lambda rng, rows: (rng.random(rows) < 0.02).astype(np.float64),
    "season": _season,
    "autoregressive_0.9": lambda rng, rows: np.asarray(lfilter([1.0], [1.0, -0.9], rng.normal(size=rows))),
}


def without_a_change(streams: int, rows: int) -> dict[str, dict[str, float]]:
    """By world: alarms at the detector's own threshold per 1,000 rows, shares of rows that score 0.99 and 0.999, and
    the alarms of funded bets beside what was funded."""
    figures = {}
    for number, (name, draw) in enumerate(WORLDS.items()):
        times = HOUR_US * np.arange(rows)
        made = [LevelSeason().update(times, draw(np.random.default_rng([number, k]), rows)) for k in range(streams)]
        onset = np.array([scores.onset[LEARNED:] for scores in made])
        score = np.array([scores.score[LEARNED:] for scores in made])
        bets = np.array([scores.log_bets for scores in made])
        procedure, funding = FundedSR(streams, bets.shape[2]), np.full(streams, FUNDED / rows)
        figures[name] = {
            "alarms_per_1000_rows": round(1000 * float((onset >= ALARM).mean()), 2),
            "rows_at_0.99": round(float((score >= 0.99).mean()), 5),
            "rows_at_0.999": round(float((score >= 0.999).mean()), 6),
            "bets_alarms": sum(int(procedure.step(bets[:, row], funding).alarms.sum()) for row in range(rows)),
            "bets_funded": FUNDED * streams,
        }
    return figures


def changed(kind: str, rng: np.random.Generator) -> Float:
    """A series that changes after 600 rows: standard normal noise (sd 10 about 100), or a day's season."""
    rows = BEFORE + AFTER
    if kind == "season_reversed":
        return _season(rng, rows, np.where(np.arange(rows) < BEFORE, 1.0, -1.0))
    x = _season(rng, rows) if kind == "season_stuck" else 100 + 10 * rng.normal(size=rows)
    if kind == "outlier_10_sd":
        x[BEFORE] = 200
    elif kind.startswith("level_"):
        x[BEFORE:] += 10 * float(kind.split("_")[1])
    elif kind == "spread_4":
        x[BEFORE:] = 100 + 4 * (x[BEFORE:] - 100)
    elif kind == "dropout":
        x[BEFORE:] = 0
    elif kind == "flat_line":
        x[BEFORE:] = 100
    elif kind == "season_stuck":
        x[BEFORE:] = x[BEFORE - 1]
    return x


KINDS = (
    "outlier_10_sd", "level_1_sd", "level_1.5_sd", "level_2_sd", "level_3_sd", "spread_4", "dropout", "flat_line",
    "season_stuck", "season_reversed",
)  # fmt: skip


def delays(streams: int) -> dict[str, dict[str, float]]:
    """By change: rows from it to the first alarm, median and 90 % point (999: not within 200 rows)."""
    figures = {}
    for kind in KINDS:
        found = []
        for k in range(streams):
            x = changed(kind, np.random.default_rng([100, k]))
            alarms = LevelSeason().update(HOUR_US * np.arange(x.size), x).onset[BEFORE:] >= ALARM
            found.append(float(alarms.argmax()) if alarms.any() else NEVER)
        figures[kind] = {"median": float(np.median(found)), "p90": float(np.quantile(found, 0.9, method="higher"))}
    return figures
