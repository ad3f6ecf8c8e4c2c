"""Does threshold advice hold, and how much traffic does it let pass? Real answers with known correctness.

From each population 500 labels (expected) are drawn by Poisson sampling, uniformly or half uniformly and half with pi
proportional to sqrt(p (1 - p)), p the error predicted out of fold. `samplers.threshold.advise` is asked for targets of
0.75, 0.5 and 0.25 of the overall error. A run is a violation if the error of everything that passes, labelled or not,
exceeds the target. Coverage is compared with the least threshold that the whole population's labels allow; no threshold
is a coverage of 0. Targets that no threshold reaches with 1 % of the population or more are left out.

Sets: `mmbench` (26 vision-language models x 4,377 questions, wrong = wrong answer, confidence as told), `galaxies` (the
human label is what is to be caught, confidence 1 - its predicted probability), and `galaxies_class` (wrong = the
prediction's own class is not the human's, confidence that of the class), which is harder: its errors are few.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import logit
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import KFold

from samplers.labelled import Labelled
from samplers.threshold import Traffic, advise

Float = NDArray[np.float64]

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
LABELS = 500
SHARES = (0.75, 0.5, 0.25)
DESIGNS = ("uniform", "mixed")
REPETITIONS = {"mmbench": 20, "galaxies": 200, "galaxies_class": 200}  # of each population, design and target
GOAL_SETS = ("mmbench", "galaxies")


@dataclass(frozen=True, slots=True)
class Population:
    """All items of a segment with their labels."""

    name: str
    group: str
    confidence: Float
    wrong: Float
    predicted: Float  # out of fold


def populations(seed: int, data: Path = DATA) -> Iterator[Population]:
    """Every model of MMBench, then the galaxies.

    Raises:
        FileNotFoundError: the data are not beside the checkout.
    """
    mmbench, galaxies = data / "vlm_outputs" / "vlm_uncertainty_mmbench.parquet", data / "human_labels" / "galaxies.npz"
    for path in (mmbench, galaxies):
        if not path.exists():
            raise FileNotFoundError(f"{path} is absent: put the data folder (see its README) beside the checkout")
    import pyarrow.parquet as pq

    table = pq.read_table(mmbench)
    column = {name: np.array(table[name].to_pylist()) for name in ("model", "category", "conf", "margin", "entropy")}
    wrong = 1.0 - np.array(table["correct"].to_pylist(), dtype=np.float64)
    categories = np.unique(column["category"])
    for model in np.unique(column["model"]):
        mine = column["model"] == model
        confidence = column["conf"][mine].astype(np.float64)
        features = np.column_stack(
            [
                logit(np.clip(confidence, 1e-4, 1 - 1e-4)), column["margin"][mine], column["entropy"][mine],
                column["category"][mine][:, None] == categories[None, :],
            ]
        )  # fmt: skip
        yield Population(str(model), "mmbench", confidence, wrong[mine], out_of_fold(features, wrong[mine], seed))
    found = np.load(galaxies)
    y, p = found["Y"].astype(np.float64), found["Yhat"].astype(np.float64)
    score = logit(np.clip(p, 1e-5, 1 - 1e-5))[:, None]
    yield Population("galaxies", "galaxies", 1.0 - p, y, out_of_fold(score, y, seed))
    missed, sure = (y != (p > 0.5)).astype(np.float64), np.maximum(p, 1.0 - p)
    yield Population("galaxies_class", "galaxies_class", sure, missed, out_of_fold(np.abs(score), missed, seed))


def out_of_fold(features: Float, wrong: Float, seed: int) -> Float:
    """Error predicted by logistic regression on the other four fifths."""
    predicted = np.zeros(wrong.size)
    for rest, fold in KFold(5, shuffle=True, random_state=seed).split(features):
        model = LogisticRegression(C=1.0, max_iter=500).fit(features[rest], wrong[rest])
        predicted[fold] = model.predict_proba(features[fold])[:, 1]
    return predicted


def inclusion(population: Population, design: str) -> Float:
    """pi of every item, in expectation LABELS in all."""
    n = population.wrong.size
    if design == "uniform":
        return np.full(n, LABELS / n)
    spread = np.sqrt(population.predicted * (1.0 - population.predicted))
    return np.minimum(1.0, LABELS * (0.5 * spread / spread.sum() + 0.5 / n))


def oracle(population: Population, target: float) -> float:
    """The greatest coverage of any threshold whose error is at most the target; 0 where none passes 1 %."""
    order = np.argsort(-population.confidence, kind="stable")
    confidence = population.confidence[order]
    last = np.append(confidence[1:] != confidence[:-1], True)  # items of equal confidence pass together
    error = np.cumsum(population.wrong[order]) / np.arange(1, order.size + 1)
    reached = np.flatnonzero((error <= target) & last)
    coverage = (reached[-1] + 1) / order.size if reached.size else 0.0
    return float(coverage) if coverage >= 0.01 else 0.0


def one(
    population: Population, pi: Float, target: float, predict: bool, rng: np.random.Generator
) -> tuple[float, bool]:
    """(coverage, violation) of one run."""
    drawn = rng.random(pi.size) < pi
    score = population.predicted if predict else None
    labels = Labelled.of(
        population.confidence[drawn],
        population.wrong[drawn],
        pi[drawn],
        predicted=None if score is None else score[drawn],
    )
    found = advise(labels, Traffic.of(population.confidence, predicted=score), target, rng=rng)
    if found.threshold is None:
        return 0.0, False
    passing = population.confidence >= found.threshold
    return float(passing.mean()), bool(population.wrong[passing].mean() > target + 1e-12)


def run(quick: bool, seed: int) -> dict[str, Any]:
    """All sets, designs and targets; see the module."""
    began = time.monotonic()
    repetitions = {"mmbench": 2, "galaxies": 20, "galaxies_class": 20} if quick else REPETITIONS
    rows: list[tuple[str, str, float, str, float, bool]] = []
    for index, population in enumerate(populations(seed)):
        for design in DESIGNS:
            pi = inclusion(population, design)
            for share in SHARES:
                target = share * float(population.wrong.mean())
                best = oracle(population, target)
                if not best:
                    continue
                for predict in (True, False):
                    rng = np.random.default_rng([seed, index, DESIGNS.index(design), round(share * 100), predict])
                    for _ in range(repetitions[population.group]):
                        coverage, violated = one(population, pi, target, predict, rng)
                        kind = "predicted" if predict else "pilot"
                        rows.append((population.group, design, share, kind, coverage / best, violated))
    out: dict[str, Any] = {}
    for kind in ("predicted", "pilot"):
        mine = [row for row in rows if row[3] == kind]
        by_set = {}
        for group in ("mmbench", "galaxies", "galaxies_class"):
            for design in DESIGNS:
                by_set[f"{group}_{design}"] = _summary([r for r in mine if r[:2] == (group, design)])
                for share in SHARES:
                    cell = [r for r in mine if r[:3] == (group, design, share)]
                    if cell:
                        by_set[f"{group}_{design}_{share}"] = _summary(cell)
        goal = [_summary([r for r in mine if r[0] == group]) for group in GOAL_SETS]
        out[kind] = {
            "threshold_violations": max(summary["violations"] for summary in goal),
            "threshold_coverage_vs_oracle": min(summary["coverage_vs_oracle"] for summary in goal),
            "violations_all_sets": _summary(mine)["violations"],
            "by_set": by_set,
        }
    return {
        "threshold_violations": out["predicted"]["threshold_violations"],
        "threshold_coverage_vs_oracle": out["predicted"]["threshold_coverage_vs_oracle"],
        "threshold_runs": len(rows) // 2,
        "threshold_by_set": out["predicted"]["by_set"],
        "threshold_without_predictions": out["pilot"],
        "threshold_seconds": round(time.monotonic() - began, 1),
    }


def _summary(rows: list[tuple[str, str, float, str, float, bool]]) -> dict[str, Any]:
    return {
        "runs": len(rows),
        "violations": round(float(np.mean([row[5] for row in rows])), 4),
        "coverage_vs_oracle": round(float(np.mean([row[4] for row in rows])), 4),
        "no_threshold": round(float(np.mean([row[4] == 0.0 for row in rows])), 4),
    }
