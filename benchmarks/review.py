"""Labels that mean something: coverage, width and design variance of error rates from 500 labels, on real verdicts.

    python -m benchmarks.review --json [--quick] [--seed N] [--workers N] [--data FOLDER]

Every repetition draws items anew with their probabilities (``samplers.design``) and looks whether the interval holds
the rate of all items: of the whole set and of each segment, for one look (``samplers.estimators``) and at every look
while labels come in (``samplers.sequences``). Variances are those of the design in closed form (a Hájek difference
estimator of a Poisson sample) over a simple random sample's with as many labels; the finite population counts in both.
The mean squared error of the estimates that were made, coefficient tuned and all, stands beside them. Advice that
follows from labels is measured as well: thresholds below which to escalate, and which noise costs an OCR engine most
(docs/advice.md). The last line is a JSON object.
"""

# ruff: noqa: E402
from __future__ import annotations

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")  # one task a process; must be set before numpy is imported

import argparse
import json
import platform
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from benchmarks import _review_repair, _review_threshold
from benchmarks._review_data import Float, Int, ReviewSet, review_sets
from samplers.design import probabilities, race_times
from samplers.estimators import Reviewed, clopper_pearson, error_rates
from samplers.pools import Pools, pools_of
from samplers.sequences import confidence_sequence

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
LABELS = 500
CONFIDENCE = 0.95


def design_variance(wrong: Float, score: Float, pi: Float, groups: Int, count: int) -> Float:
    """Of the Hájek difference estimator of each group's rate, to first order."""
    size = np.bincount(groups, minlength=count)
    residual = wrong - score
    residual = residual - (np.bincount(groups, residual, minlength=count) / size)[groups]
    return np.bincount(groups, (1 - pi) / pi * residual**2, minlength=count) / size**2


def uniform_variance(wrong: Float, labels: float, groups: Int, count: int) -> Float:
    """Of the mean of a simple random sample of each group's share of the labels."""
    size = np.bincount(groups, minlength=count)
    rate = np.bincount(groups, wrong, minlength=count) / size
    share = labels / len(wrong)
    return (1 - share) / share * rate * (1 - rate) / size


def measure(found: ReviewSet, repetitions: int, looks: int, seed: int) -> dict[str, Any]:
    """One set: ratios of variances, coverage and widths."""
    rng = np.random.default_rng([seed, sum(map(ord, found.name))])
    n, cells = len(found.wrong), found.count
    everything = np.zeros(n, np.int64)
    ones = np.ones(n)
    pi = probabilities(found.score, found.segments, LABELS)
    pools = pools_of(ones, pi, found.score, found.segments, cells)
    whole = pools.grouped(np.zeros(cells, np.int64), 1)
    single = [pools_of_one(pools, code) for code in range(cells)]
    truth = np.bincount(found.segments, found.wrong) / np.bincount(found.segments)
    rate = float(found.wrong.mean())
    uniform = float(uniform_variance(found.wrong, LABELS, everything, 1)[0])
    in_cells = uniform_variance(found.wrong, LABELS, found.segments, cells)
    with np.errstate(invalid="ignore", divide="ignore"):
        cell_ratios = design_variance(found.wrong, found.score, pi, found.segments, cells) / in_cells
    held, held_cells = 0, np.zeros(cells)
    held_always, held_always_cells = 0, np.zeros(cells)
    errors, widths, widths_cells, widths_always, widths_always_cells = [], [], [], [], []
    for repetition in range(repetitions):
        race = race_times(rng.random(n), pi)
        drawn = np.flatnonzero(race <= 1)
        labelled = Reviewed(found.wrong[drawn], found.score[drawn], ones[drawn], pi[drawn], everything[drawn])
        once = error_rates(labelled, whole, confidence=CONFIDENCE)
        held += bool(once.low[0] <= rate <= once.high[0])
        errors.append(once.rate[0] - rate)
        widths.append(once.high[0] - once.low[0])
        by_cell = Reviewed(found.wrong[drawn], found.score[drawn], ones[drawn], pi[drawn], found.segments[drawn])
        of_cells = error_rates(by_cell, pools, confidence=CONFIDENCE)
        held_cells += (of_cells.low <= truth) & (truth <= of_cells.high)
        widths_cells.append(of_cells.high - of_cells.low)
        if repetition < looks:
            always = confidence_sequence(labelled, race[drawn], whole, confidence=CONFIDENCE)
            held_always += bool(np.all((always.low <= rate) & (rate <= always.high)))
            widths_always.append(always.now[1] - always.now[0])
            if cells > 1:
                for code in range(cells):
                    mine = found.segments[drawn] == code
                    cell = confidence_sequence(
                        by_cell.where(mine), race[drawn][mine], single[code], confidence=CONFIDENCE
                    )
                    low, high = cell.low, cell.high
                    held_always_cells[code] += bool(np.all((low <= truth[code]) & (truth[code] <= high)))
                    widths_always_cells.append(cell.now[1] - cell.now[0])
    exact = [float(high - low) for low, high in [exact_interval(rate, LABELS, n)]]
    return {
        "kind": found.kind,
        "items": n,
        "segments": cells,
        "rate": round(rate, 4),
        "variance_ratio": float(design_variance(found.wrong, found.score, pi, everything, 1)[0] / uniform),
        "mean_squared_error_ratio": float(np.mean(np.square(errors)) / uniform),
        "bias_in_standard_errors": float(np.mean(errors) / np.sqrt(np.mean(np.square(errors)))),
        "variance_ratio_worst_segment": float(np.nanmax(np.where(in_cells > 0, cell_ratios, np.nan))),
        "coverage": held / repetitions,
        "coverage_cells": (held_cells / repetitions).tolist() if cells > 1 else [],
        "coverage_always": held_always / looks,
        "coverage_always_cells": (held_always_cells / looks).tolist() if cells > 1 else [],
        "width": float(np.median(widths)),
        "width_exact_uniform": exact[0],
        "width_always": float(np.median(widths_always)),
        "width_cells": float(np.median(widths_cells)),
        "width_always_cells": float(np.median(widths_always_cells)) if widths_always_cells else None,
    }


def pools_of_one(pools: Pools, code: int) -> Pools:
    """One of the pools, alone."""
    state = pools.to_state()
    return Pools.from_state({name: values if name == "v" else [values[code]] for name, values in state.items()})


def exact_interval(rate: float, labels: int, items: int) -> tuple[float, float]:
    """Clopper-Pearson's at the rate itself, of a simple random sample; a finite population counts as more labels."""
    trials = np.array([labels / (1 - labels / items)])
    low, high = clopper_pearson(np.array([rate]), trials, CONFIDENCE)
    return float(low[0]), float(high[0])


def below(coverages: list[float], repetitions: int, cells: int) -> int:
    """How many are below the promise by an exact binomial test at 0.05 / cells."""
    limit = stats.binom.ppf(0.05 / cells, repetitions, CONFIDENCE)
    return sum(bool(round(value * repetitions) < limit) for value in coverages)


def summarise(results: dict[str, dict[str, Any]], repetitions: int, looks: int) -> dict[str, Any]:
    """The figures of all sets."""
    real = {name: found for name, found in results.items() if found["kind"] != "noise"}
    mmbench = np.sort([found["variance_ratio"] for found in real.values() if found["kind"] == "mmbench"])
    best = mmbench[: max(1, len(mmbench) // 4)]
    cells = [value for found in results.values() for value in found["coverage_cells"]]
    always = [
        value for found in results.values() for value in (found["coverage_always"], *found["coverage_always_cells"])
    ]
    by_kind: dict[str, list[float]] = {}
    for found in real.values():
        by_kind.setdefault(found["kind"], []).append(found["width"] / found["width_exact_uniform"])
    return {
        "coverage_pooled_min": min(found["coverage"] for found in results.values()),
        "coverage_pooled_max": max(found["coverage"] for found in results.values()),
        "coverage_cells_below": below(cells, repetitions, len(cells)) + below(always, looks, len(always)),
        "coverage_cells": {"cells": len(cells), "least": min(cells, default=None), "median": _median(cells)},
        "coverage_always": {"cells": len(always), "least": min(always), "median": _median(always)},
        "variance_ratio_mmbench": float(np.exp(np.log(mmbench).mean())),
        "variance_ratio_mmbench_best": float(np.exp(np.log(best).mean())),
        "variance_ratio_galaxies": results["galaxies"]["variance_ratio"],
        "variance_ratio_ballots": results["ballots"]["variance_ratio"],
        "variance_ratio_weak": max(found["variance_ratio"] for found in real.values() if found["kind"] == "arena"),
        "variance_ratio_noise": results["noise"]["variance_ratio"],
        "variance_ratio_worst_set": max(found["variance_ratio"] for found in results.values()),
        "variance_ratio_worst_segment": max(found["variance_ratio_worst_segment"] for found in results.values()),
        "width_over_exact_uniform": {kind: _median(values) for kind, values in by_kind.items()},
        "width_always_over_width": _median([found["width_always"] / found["width"] for found in real.values()]),
        "mean_squared_error_ratio_mmbench": float(
            np.exp(np.mean([np.log(f["mean_squared_error_ratio"]) for f in real.values() if f["kind"] == "mmbench"]))
        ),
        "mean_squared_error_ratio_noise": results["noise"]["mean_squared_error_ratio"],
    }


def _median(values: list[float]) -> float | None:
    return float(np.median(values)) if values else None


def main(arguments: list[str] | None = None) -> int:
    """Run, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print only the last line, a JSON object")
    parser.add_argument("--quick", action="store_true", help="three models of MMBench, few repetitions (under 60 s)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--data", type=Path, default=DATA, help="the data's folder (default: ../shared/data)")
    given = parser.parse_args(arguments)
    repetitions, looks = (60, 10) if given.quick else (1000, 200)
    begun = time.perf_counter()
    results: dict[str, dict[str, Any]] = {}
    with ProcessPoolExecutor(given.workers) as pool:
        sets = review_sets(given.data, given.seed, 3 if given.quick else None)
        # The longest first.
        advice = pool.submit(_review_threshold.run, given.quick, given.seed)
        repair = pool.submit(_review_repair.run, given.quick, given.seed)
        running = {found.name: pool.submit(measure, found, repetitions, looks, given.seed) for found in sets}
        for name, future in running.items():
            results[name] = future.result()
            print(
                f"{name}: variance {results[name]['variance_ratio']:.3f}, coverage {results[name]['coverage']:.3f}, "
                f"always {results[name]['coverage_always']:.3f}",
                file=sys.stderr,
                flush=True,
            )
        thresholds, repairs = advice.result(), repair.result()
    figures = {
        **summarise(results, repetitions, looks),
        **{name: thresholds[name] for name in ("threshold_violations", "threshold_coverage_vs_oracle")},
        "thresholds": thresholds,
        "noisy_ocr": repairs,
        "labels": LABELS,
        "repetitions": {"one look": repetitions, "every look": looks},
        "seed": given.seed,
        "sets": results,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        "seconds": round(time.perf_counter() - begun, 1),
    }
    if not given.json:
        print(
            json.dumps(
                {name: value for name, value in figures.items() if name not in ("sets", "thresholds", "noisy_ocr")},
                indent=2,
            ),
            file=sys.stderr,
        )
    print(json.dumps(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
