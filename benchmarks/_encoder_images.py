"""What an encoder's image vectors are good for: neighbours, words, captions, conditions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageFilter

from benchmarks._encoder_data import Rows, held_out
from benchmarks._encoder_prompts import PROMPTS
from monitor.embed.concepts import NOTATION, ConceptBank

NEIGHBOURS = 5


def knn(rows: Rows, kinds: Sequence[str], documents: Sequence[str]) -> dict[str, Any]:
    """5-NN kind accuracy, leaving the image out; and leaving out every picture of its document."""
    names = np.asarray(kinds)
    near = rows @ rows.T
    np.fill_diagonal(near, -np.inf)
    plain = _vote(near, names) == names
    doc = np.asarray(documents)
    near[doc[:, None] == doc[None, :]] = -np.inf
    strict = _vote(near, names) == names
    return {
        "knn_accuracy": mean(plain),
        **by_side("knn_accuracy", plain, names),
        "knn_accuracy_balanced": balanced(plain, names),
        "knn_accuracy_other_documents": mean(strict),
        "knn_by_kind": per_kind(plain, names),
    }


def _vote(near: NDArray[np.float32], names: NDArray[np.str_]) -> NDArray[np.str_]:
    """Most frequent kind among the nearest; a tie goes to the nearer."""
    order = np.argsort(-near, axis=1, kind="stable")[:, :NEIGHBOURS]
    out = []
    for row in names[order]:
        values, first, counts = np.unique(row, return_index=True, return_counts=True)
        out.append(values[np.lexsort((first, -counts))[0]])
    return np.asarray(out)


def zero_shot(rows: Rows, kinds: Sequence[str], texts: Callable[[Sequence[str]], Rows]) -> dict[str, Any]:
    """Kind from words alone: the nearest of the 19 kinds' prompts."""
    names = np.asarray(kinds)
    labels = np.asarray(list(PROMPTS))
    words = np.stack([texts(list(prompts)).mean(0) for prompts in PROMPTS.values()])
    words /= np.linalg.norm(words, axis=1, keepdims=True)
    found = labels[np.argmax(rows @ words.T, axis=1)]
    right = found == names
    confused: dict[str, int] = {}
    for truth, said in zip(names[~right], found[~right], strict=True):
        confused[f"{truth} as {said}"] = confused.get(f"{truth} as {said}", 0) + 1
    worst = dict(sorted(confused.items(), key=lambda item: -item[1])[:8])
    return {
        "zero_shot_accuracy": mean(right),
        **by_side("zero_shot_accuracy", right, names),
        "zero_shot_accuracy_balanced": balanced(right, names),
        "zero_shot_by_kind": per_kind(right, names),
        "zero_shot_confusions": worst,
    }


# What each kind may be called among the shipped concepts; kinds that are of no one sort are left out.
CALLED: dict[str, tuple[str, ...]] = {
    "receipts": ("receipt",),
    "olmocr_arxiv_math": ("mathematical formulas",),
    "olmocr_old_scans_math": ("mathematical formulas", "old scan"),
    "math_diagrams": ("geometry",),
    "olmocr_long_tiny_text": ("dense small print",),
    "olmocr_multi_column": ("newspaper or magazine", "article"),
    "olmocr_table_tests": ("table",),
    "olmocr_old_scans": ("old scan", "handwriting", "typescript"),
    "doclaynet_financial_reports": ("financial report", "table"),
    "doclaynet_laws_and_regulations": ("contract or law",),
    "doclaynet_manuals": ("manual",),
    "doclaynet_scientific_articles": ("article",),
    "handwritten": ("handwriting",),
    "typescripts": ("typescript",),
    "photographed_docs": ("photographed page",),
    "photos_coco": ("photograph",),
}
_NOTED = ("olmocr_arxiv_math", "olmocr_old_scans_math", "math_diagrams")


def concepts(rows: Rows, kinds: Sequence[str], bank: ConceptBank) -> dict[str, Any]:
    """How often the nearest of the shipped concepts is right, and is one of notation where there is any."""
    said = [[name for name, _ in found] for found in bank.nearest(rows)]
    kept = [i for i, kind in enumerate(kinds) if kind in CALLED]
    names = np.asarray([kinds[i] for i in kept])
    first = np.asarray([said[i][0] in CALLED[kinds[i]] for i in kept])
    three = np.asarray([bool(set(said[i]) & set(CALLED[kinds[i]])) for i in kept])
    noted = np.asarray([found[0] in NOTATION for found in said])
    true = np.isin(np.asarray(kinds), _NOTED)
    return {
        "concepts": {
            "images": len(kept),
            "nearest_right": mean(first),
            "right_among_three": mean(three),
            "nearest_right_by_kind": per_kind(first, names),
            "notation_pages": int(true.sum()),
            "notation_told": mean(noted[true]),
            "notation_told_by_kind": {kind: mean(noted[np.asarray(kinds) == kind]) for kind in _NOTED},
            "other_pages": int((~true).sum()),
            "notation_told_of_others": mean(noted[~true]),
        }
    }


def retrieval(images: Rows, captions: Sequence[str], texts: Callable[[Sequence[str]], Rows]) -> dict[str, Any]:
    """Among as many captions as images: how often the right one is first or among ten (equal captions are right)."""
    near = images @ texts(list(captions)).T
    said = np.asarray(captions)
    same = said[:, None] == said[None, :]

    def share(scores: NDArray[np.float32], within: int) -> float:
        top = np.argsort(-scores, axis=1, kind="stable")[:, :within]
        return mean(np.take_along_axis(same, top, axis=1).any(1))

    return {
        "caption_retrieval": {
            "images": len(captions),
            "image_to_text_at_1": share(near, 1),
            "image_to_text_at_10": share(near, 10),
            "text_to_image_at_1": share(near.T, 1),
            "text_to_image_at_10": share(near.T, 10),
            "chance_at_10": round(10 / len(captions), 4),
        }
    }


def _skewed(image: Image.Image, degrees: float) -> Image.Image:
    return image.rotate(degrees, Image.Resampling.BICUBIC, expand=False, fillcolor=(255, 255, 255))


# Severities from mild to strong: pixels of Gaussian blur, degrees, share of contrast that is left.
CONDITIONS: dict[str, tuple[tuple[float, ...], Callable[[Image.Image, float], Image.Image]]] = {
    "blur": ((1.0, 2.0, 4.0, 8.0), lambda image, v: image.filter(ImageFilter.GaussianBlur(v))),
    "skew": ((2.0, 5.0, 10.0, 20.0), _skewed),
    "contrast": ((0.8, 0.6, 0.4, 0.2), lambda image, v: ImageEnhance.Contrast(image).enhance(v)),
}


def sensitivity(clean: Rows, changed: dict[str, list[Rows]]) -> dict[str, Any]:
    """Cosine distance from the clean image by severity, and how often it grows from each severity to the next.

    ``relative`` is the distance at the strongest severity over the median distance between two clean images.
    """
    spread = float(np.median(1 - (clean @ clean.T)[np.triu_indices(len(clean), 1)]))
    out = {}
    for name, levels in changed.items():
        away = np.stack([1 - np.einsum("ij,ij->i", clean, rows) for rows in levels])
        out[name] = {
            "distance": [round(float(v), 4) for v in away.mean(1)],
            "grows": mean((np.diff(away, axis=0) > 0).mean(0)),
            "relative": round(float(away[-1].mean()) / spread, 3),
        }
    return {"condition_sensitivity": out}


def mean(values: NDArray[Any]) -> float:
    return round(float(np.mean(values)), 4)


def balanced(right: NDArray[np.bool_], names: NDArray[np.str_]) -> float:
    """Mean over kinds, so that large kinds do not decide."""
    return mean(np.asarray([right[names == name].mean() for name in np.unique(names)]))


def by_side(key: str, right: NDArray[np.bool_], names: NDArray[np.str_]) -> dict[str, float]:
    held = held_out(names.tolist())
    return {f"{key}_trained_kinds": mean(right[~held]), f"{key}_held_out_kinds": mean(right[held])}


def per_kind(right: NDArray[np.bool_], names: NDArray[np.str_]) -> dict[str, float]:
    return {str(name): mean(right[names == name]) for name in np.unique(names)}
