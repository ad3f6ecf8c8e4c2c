"""Real items with human verdicts and scores fitted out of fold, for benchmarks.review.

What is wrong: a model's answer (MMBench, 26 models), a galaxy being a spiral (the quantity that is asked for), a
ballot read otherwise than by its labeller, a judge that disagrees with the human (chatbot arena, three judges). A set
of noise, whose scores know nothing, is added: no design may lose by it.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as parquet
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

Float = NDArray[np.float64]
Int = NDArray[np.int64]

JUDGES = ("gpt-4-0125-preview", "gpt-3.5-turbo", "claude-3-opus-20240229")
VERDICTS = ("model_a", "model_b", "tie")
FOLDS = 5


@dataclass(frozen=True)
class ReviewSet:
    """``kind`` is the data it is of; ``wrong`` 0 or 1, ``score`` and ``confidence`` in [0, 1], segment codes."""

    name: str
    kind: str
    wrong: Float
    score: Float
    segments: Int

    @property
    def count(self) -> int:
        """Of segments."""
        return int(self.segments.max()) + 1


def review_sets(folder: Path, seed: int, models: int | None = None) -> Iterator[ReviewSet]:
    """Every set of ``folder`` (the data's own folder), at most ``models`` of MMBench.

    Raises:
        FileNotFoundError: data is absent; says where it is looked for.
    """
    outputs, human = folder / "vlm_outputs", folder / "human_labels"
    files = (
        outputs / "vlm_uncertainty_mmbench.parquet",
        human / "galaxies.npz",
        human / "ballot-data.npz",
        human / "labels.csv",
        human / "chatbot_arena_human_vs_llm_judges.parquet",
    )
    if absent := [str(path) for path in files if not path.exists()]:
        raise FileNotFoundError(f"{', '.join(absent)}: put the data folder beside the repository as ../shared/data")
    yield from _mmbench(files[0], seed, models)
    with np.load(files[1]) as found:
        wrong, said = found["Y"].astype(np.float64), found["Yhat"].astype(np.float64)
    yield _of_one("galaxies", "galaxies", wrong, np.column_stack([_logit(said), said]), seed)
    with np.load(files[2]) as found:
        read, labelled = found["Yhat_labeled"].astype(np.float64), found["Y_labeled"].astype(np.float64)
    with files[3].open(newline="") as lines:
        if sum(1 for _ in csv.DictReader(lines)) < len(labelled):
            raise ValueError(f"{files[3]} has fewer labels than {files[2]}: one of them is not whole")
    yield _of_one("ballots", "ballots", (read != labelled).astype(np.float64), read[:, None], seed)
    yield from _arena(files[4], seed)
    rng = np.random.default_rng([seed, 7])
    noise = rng.beta(1, 3, 4000)
    wrong = (rng.random(4000) < 0.3).astype(np.float64)
    segments = rng.integers(0, 10, 4000)
    yield ReviewSet("noise", "noise", wrong, out_of_fold(noise[:, None], wrong, seed), segments)


def _of_one(name: str, kind: str, wrong: Float, features: Float, seed: int) -> ReviewSet:
    return ReviewSet(name, kind, wrong, out_of_fold(features, wrong, seed), np.zeros(len(wrong), np.int64))


def _mmbench(path: Path, seed: int, models: int | None) -> Iterator[ReviewSet]:
    table = parquet.read_table(path)
    column = {name: np.array(table[name].to_pylist()) for name in ("model", "category", "conf", "margin", "entropy")}
    wrong = 1.0 - np.array(table["correct"].to_pylist(), np.float64)
    for model in sorted(set(column["model"]))[:models]:
        mine = column["model"] == model
        categories, segments = np.unique(column["category"][mine], return_inverse=True)
        sure = column["conf"][mine]
        features = np.column_stack(
            [_logit(sure), _logit(sure) ** 2, sure, column["margin"][mine], column["entropy"][mine]]
            + [segments == code for code in range(len(categories))]
        )
        yield ReviewSet(str(model), "mmbench", wrong[mine], out_of_fold(features, wrong[mine], seed), segments)


def _arena(path: Path, seed: int) -> Iterator[ReviewSet]:
    table: dict[str, list[Any]] = parquet.read_table(path).to_pydict()
    said: dict[int, dict[str, int]] = {}
    model: dict[int, str] = {}
    for number, judge, winner, first in zip(
        table["num"], table["judge"], table["winner"], table["model_a"], strict=True
    ):
        said.setdefault(number, {})[judge] = VERDICTS.index(winner if winner in VERDICTS else "tie")
        model[number] = first
    numbers = sorted(said)
    verdicts = np.array([[said[number][judge] for judge in (*JUDGES, "human")] for number in numbers])
    pattern = verdicts[:, :3] @ np.array([9, 3, 1])
    features = (pattern[:, None] == np.arange(27)).astype(np.float64)
    segments = np.unique([model[number] for number in numbers], return_inverse=True)[1]
    for position, judge in enumerate(JUDGES):
        wrong = (verdicts[:, position] != verdicts[:, 3]).astype(np.float64)
        yield ReviewSet(judge, "arena", wrong, out_of_fold(features, wrong, seed), segments)


def out_of_fold(features: Float, wrong: Float, seed: int) -> Float:
    """Chance of being wrong, from a logistic regression that has not seen the item."""
    score = np.zeros(len(wrong))
    for fitted, held in KFold(FOLDS, shuffle=True, random_state=seed).split(features):
        model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500))
        model.fit(features[fitted], wrong[fitted])
        score[held] = model.predict_proba(features[held])[:, 1]
    return score


def _logit(chance: Float) -> Float:
    inside = np.clip(chance, 1e-4, 1 - 1e-4)
    logit: Float = np.log(inside / (1 - inside))
    return logit
