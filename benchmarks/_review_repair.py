"""Does repair advice rank what makes OCR fail as all the data do? Three engines on pages with 44 kinds of noise.

An answer fails if fewer than 80 % of a page's characters are right; pages without a figure are left out. From all
pages 500 labels (expected) are drawn by Poisson sampling, half uniformly and half with pi proportional to
sqrt(p (1 - p)), p predicted from engine and source out of fold. The engine and source are held fixed.

`types`: each of the 44 noise types against all others, which is 11 labels a type, with Holm's correction over the 44.
They are ranked by the failures that `samplers.repair` attributes to them, against those that all pages attribute.
`parts`: types are combinations of seven noises (bin blur ink scrib snp weak wm); these are the conditions, and types
are ranked by how often the fitted model expects them to fail, against how often they do.
Null: the same labels with outcomes drawn at random among those of one engine and source.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from detectors.explain.holm import LEVEL, holm
from samplers.repair import Condition, Finding, repairs

Float = NDArray[np.float64]

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
LABELS = 500
FAILS = 80.0  # per cent of characters
PARTS = ("bin", "blur", "ink", "scrib", "snp", "weak", "wm")
TOP = 5


def load(data: Path = DATA) -> tuple[NDArray[np.str_], NDArray[np.str_], Float]:
    """(noise type, engine and source, failed 0 or 1) of every page.

    Raises:
        FileNotFoundError: the data are not beside the checkout.
    """
    path = data / "vlm_outputs" / "noisy_ocr_51304.parquet"
    if not path.exists():
        raise FileNotFoundError(f"{path} is absent: put the data folder (see its README) beside the checkout")
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    accuracy = np.array([np.nan if a is None else a for a in table["char_acc"].to_pylist()], dtype=np.float64)
    noise = np.array([str(name) for name in table["noise"].to_pylist()])
    stratum = np.array(
        [f"{e}/{d}" for e, d in zip(table["engine"].to_pylist(), table["dataset"].to_pylist(), strict=True)]
    )
    known = np.isfinite(accuracy)
    return noise[known], stratum[known], (accuracy[known] < FAILS).astype(np.float64)


def dummies(of: NDArray[np.str_]) -> Float:
    """float[n, k - 1], one column per value but the first."""
    return (of[:, None] == np.unique(of)[None, 1:]).astype(np.float64)


def advice(
    kind: str, noise: NDArray[np.str_], stratum: NDArray[np.str_], wrong: Float, pi: Float
) -> tuple[list[Finding], list[str]]:
    """(findings, names named) with noise types or their parts as conditions."""
    names = [str(name) for name in np.unique(noise)] if kind == "types" else list(PARTS)
    conditions = [Condition(name, "higher", 1.0, 0.0) for name in names]
    values, fixed = columns(kind, noise, names), dummies(stratum)
    if kind == "parts":
        found = repairs(conditions, values, wrong, pi, 1.0, adjust=fixed)
        return list(found.findings), [finding.condition.name for finding in found.named]
    findings = [
        finding for one in conditions for finding in repairs([one], values, wrong, pi, 1.0, adjust=fixed).findings
    ]
    p = np.ones(len(names))  # types with too few labels count among those tried
    p[: len(findings)] = [finding.p for finding in findings]
    return findings, [f.condition.name for f, a in zip(findings, holm(p)[: len(findings)], strict=True) if a <= LEVEL]


def columns(kind: str, noise: NDArray[np.str_], names: list[str]) -> dict[str, Float]:
    """Of each condition, 1 where an item has it."""
    if kind == "types":
        return {name: (noise == name).astype(np.float64) for name in names}
    kinds, of = np.unique(noise, return_inverse=True)
    return {part: np.array([part in kind_.split("_") for kind_ in kinds], dtype=np.float64)[of] for part in names}


def run(quick: bool, seed: int) -> dict[str, Any]:
    """Rank agreement and the null; see the module."""
    began = time.monotonic()
    noise, stratum, wrong = load()
    kinds = np.unique(noise)
    rate = np.array([wrong[noise == kind].mean() for kind in kinds])
    of_stratum = {name: float(wrong[stratum == name].mean()) for name in np.unique(stratum)}
    predicted = np.array([of_stratum[name] for name in stratum])
    spread = np.sqrt(predicted * (1.0 - predicted))
    pi = LABELS * (0.5 * spread / spread.sum() + 0.5 / wrong.size)
    # What all the data attribute, by the same regression on every page.
    full = {kind: advice(kind, noise, stratum, wrong, np.ones(wrong.size)) for kind in ("types", "parts")}
    truth = {kind: {f.condition.name: f.failures_per_week.value for f in full[kind][0]} for kind in full}
    repetitions = 20 if quick else 200
    out: dict[str, Any] = {"repair_failing": round(float(wrong.mean()), 4)}
    for kind in ("types", "parts"):
        rng = np.random.default_rng([seed, kind == "parts"])
        ranks, tops, by_rate, covered, named, nulls = [], [], [], [], [], []
        false_names = 0
        for _ in range(repetitions):
            drawn = rng.random(wrong.size) < pi
            sample = noise[drawn], stratum[drawn], wrong[drawn], pi[drawn]
            found, claims = advice(kind, *sample)
            value = {f.condition.name: f.failures_per_week.value for f in found}
            names = sorted(truth[kind], key=lambda name: -truth[kind][name])
            guess = np.array([value.get(name, 0.0) for name in names])
            ranks.append(float(spearmanr(guess, [truth[kind][name] for name in names]).statistic))
            top = {names[i] for i in np.argsort(-guess, kind="stable")[:TOP]}
            tops.append(len(top & set(names[:TOP])) / TOP)
            covered += [
                f.failures_per_week.low <= truth[kind][f.condition.name] <= f.failures_per_week.high for f in found
            ]
            named.append(len(claims))
            false_names += bool({c for c in claims if truth[kind][c] <= 0})
            if kind == "parts":
                log_odds = {f.condition.name: np.log(f.odds_ratio.value) for f in found}
                expected = [sum(log_odds.get(part, 0.0) for part in name.split("_")) for name in kinds]
                by_rate.append(float(spearmanr(expected, rate).statistic))
            shuffled = sample[2].copy()
            for name in np.unique(sample[1]):
                mine = np.flatnonzero(sample[1] == name)
                shuffled[mine] = shuffled[rng.permutation(mine)]
            nulls.append(not advice(kind, sample[0], sample[1], shuffled, sample[3])[1])
        out[f"repair_{kind}"] = {
            "rank_correlation": round(float(np.mean(ranks)), 3),
            "rank_correlation_p10": round(float(np.quantile(ranks, 0.1)), 3),
            "top5_overlap": round(float(np.mean(tops)), 3),
            "interval_coverage": round(float(np.mean(covered)), 4),
            "named_mean": round(float(np.mean(named)), 2),
            "named_that_costs_nothing": round(false_names / repetitions, 4),
            "null_names_nothing": round(float(np.mean(nulls)), 4),
        }
        if by_rate:
            out[f"repair_{kind}"]["rank_correlation_of_44_types"] = round(float(np.mean(by_rate)), 3)
        out[f"repair_{kind}"]["ranked_by_all_data"] = names[:TOP]
    out["repair_repetitions"] = repetitions
    out["repair_seconds"] = round(time.monotonic() - began, 1)
    return out
