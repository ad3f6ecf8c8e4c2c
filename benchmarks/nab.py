"""The level and season detector on the Numenta Anomaly Benchmark: 58 series, online, one setting for all.

    python -m benchmarks.nab --json [--quick]

Settings were chosen on one half of the series (by a hash of the file name). Scores from 0 (no alarms) to 100 (perfect)
for the three profiles, each with the threshold that is best over all series, as NAB does; for the halves; and at the
detector's own threshold. The last line is a JSON object. ``--quick`` takes only series of less than 5,000 rows.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks._level_worlds import delays, without_a_change
from benchmarks._nab_data import HALVES, Series, published, series
from benchmarks._nab_score import PROFILES, Profile, best_threshold, normalised, raw_score
from detectors.level import ALARM, LevelSeason

Float = NDArray[np.float64]

QUICK_ROWS = 5000
RANDOM_THRESHOLD = 0.9984544408544423  # where the published score of NAB's random detector was taken


def at(corpus: list[Series], scores: list[Float], profile: Profile, threshold: float) -> float:
    """The normalised score of alarms at and above a threshold."""
    raw = sum(raw_score(s.truth, score >= threshold, profile) for s, score in zip(corpus, scores, strict=True))
    return normalised(raw, sum(s.truth.windows for s in corpus), profile)


def best(corpus: list[Series], scores: list[Float], profile: Profile) -> tuple[float, float]:
    """(the best threshold over these series, the normalised score there)."""
    threshold, raw = best_threshold([s.truth for s in corpus], scores, profile)
    return threshold, normalised(raw, sum(s.truth.windows for s in corpus), profile)


def checks(corpus: list[Series]) -> dict[str, float]:
    """Scores of detectors whose score is known: none and perfect by definition, NAB's random one as published.

    NAB's random detector starts each file with seed 42.
    """
    perfect = []
    for s in corpus:
        score = np.zeros(s.values.size)
        counted = np.flatnonzero((s.truth.window >= 0) & (np.arange(s.values.size) >= s.truth.probation))
        _, first = np.unique(s.truth.window[counted], return_index=True)
        score[counted[first]] = 1.0
        perfect.append(score)
    noise = []
    for s in corpus:
        generator = random.Random(42)
        noise.append(np.array([generator.random() for _ in range(s.values.size)]))
    standard = PROFILES[0]
    return {
        "null": at(corpus, [np.zeros(s.values.size) for s in corpus], standard, 1.0),
        "perfect": at(corpus, perfect, standard, 1.0),
        "random": at(corpus, noise, standard, RANDOM_THRESHOLD),
    }


def by_file(corpus: list[Series], scores: list[Float], threshold: float) -> list[dict[str, Any]]:
    """For each series what it lost to a perfect detector (standard profile, raw), most first, and what happened."""
    table = []
    for s, score in zip(corpus, scores, strict=True):
        alarms = score >= threshold
        counted = np.flatnonzero(alarms)
        counted = counted[counted >= s.truth.probation]
        window = s.truth.window[counted]
        row = {
            "file": s.name,
            "half": s.half,
            "rows": s.values.size,
            "windows": s.truth.windows,
            "found": len(set(window[window >= 0].tolist())),
            "false_alarms": int((window < 0).sum()),
            "lost": round(s.truth.windows - raw_score(s.truth, alarms, PROFILES[0]), 2),
        }
        table.append(row)
    return sorted(table, key=lambda row: -row["lost"])


def measure(corpus: list[Series]) -> dict[str, Any]:
    """All figures."""
    begun = time.process_time()
    scores = [LevelSeason().update(s.times_us, s.values).onset for s in corpus]
    seconds = time.process_time() - begun
    result: dict[str, Any] = {"series": len(corpus), "windows": sum(s.truth.windows for s in corpus)}
    halves = {half: [number for number, s in enumerate(corpus) if s.half == half] for half in HALVES}
    thresholds: dict[str, float] = {}
    for profile in PROFILES:
        thresholds[profile.name], figure = best(corpus, scores, profile)
        result[profile.name] = round(figure, 2)
        result[f"{profile.name}_fixed"] = round(at(corpus, scores, profile, ALARM), 2)
    result["thresholds"] = thresholds
    result["threshold_fixed"] = ALARM
    parts = {half: ([corpus[i] for i in rows], [scores[i] for i in rows]) for half, rows in halves.items()}
    for half, (some, of) in parts.items():
        figures: dict[str, Any] = {"series": len(some), "windows": sum(s.truth.windows for s in some)}
        for profile in PROFILES:
            figures[profile.name] = round(best(some, of, profile)[1], 2)
            figures[f"{profile.name}_fixed"] = round(at(some, of, profile, ALARM), 2)
            carried = best(*parts["tuning"], profile)[0]
            figures[f"{profile.name}_at_threshold_of_tuning"] = round(at(some, of, profile, carried), 2)
        result[half] = figures
    result["files"] = by_file(corpus, scores, thresholds["standard"])
    result["microseconds_per_row"] = round(1e6 * seconds / sum(s.values.size for s in corpus), 1)
    return result


def print_tables(result: dict[str, Any]) -> None:
    """The published scores with ours among them, then the files."""
    names = [profile.name for profile in PROFILES]
    board = {**published(), "driftline": result, "driftline, own threshold": _fixed(result)}
    for half in HALVES:
        board[f"driftline, {half} half"] = result[half]
        board[f"driftline, {half} half, own threshold"] = _fixed(result[half])
    print(f"{'detector':44s}" + "".join(f"{name:>15s}" for name in names))
    for name, of in sorted(board.items(), key=lambda item: -item[1]["standard"]):
        print(f"{name:44s}" + "".join(f"{of[profile]:15.1f}" for profile in names))
    print(f"\n{'file':56s}{'half':>9s}{'rows':>7s}{'windows':>9s}{'found':>7s}{'false':>7s}{'lost':>7s}")
    for row in result["files"]:
        counts = f"{row['rows']:7d}{row['windows']:9d}{row['found']:7d}{row['false_alarms']:7d}{row['lost']:7.2f}"
        print(f"{row['file']:56s}{row['half']:>9s}{counts}")
    names = ["alarms_per_1000_rows", "rows_at_0.99", "rows_at_0.999", "bets_alarms", "bets_funded"]
    print(f"\n{'without a change':20s}" + "".join(f"{name:>22s}" for name in names))
    for world, of in result["without_a_change"].items():
        print(f"{world:20s}" + "".join(f"{of[name]:22.5g}" for name in names))
    print(f"\n{'change':20s}{'median rows to alarm':>22s}{'of nine in ten':>22s}")
    for change, of in result["delay_rows"].items():
        print(f"{change:20s}{of['median']:22g}{of['p90']:22g}")


def _fixed(result: dict[str, Any]) -> dict[str, float]:
    return {profile.name: result[f"{profile.name}_fixed"] for profile in PROFILES}


def main() -> None:
    """Print the tables, then one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="only the JSON line")
    parser.add_argument("--quick", action="store_true", help="only series of less than 5,000 rows")
    arguments = parser.parse_args()
    begun = time.perf_counter()
    try:
        corpus = series()
    except FileNotFoundError as error:
        print(error)
        print(json.dumps({"skipped": str(error)}))
        return
    known = {name: round(value, 6) for name, value in checks(corpus).items()}
    if arguments.quick:
        corpus = [s for s in corpus if s.values.size < QUICK_ROWS]
    result = measure(corpus)
    result["checks"] = known
    result["without_a_change"] = without_a_change(*((10, 750) if arguments.quick else (100, 1250)))
    result["delay_rows"] = delays(20 if arguments.quick else 100)
    result["published"] = {"random": round(published()["random"]["standard"], 6)}
    result["seconds"] = round(time.perf_counter() - begun, 1)
    result["machine"] = f"{os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}"
    if not arguments.json:
        print_tables(result)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
