"""Concepts: words that an image is compared with, in an encoder's shared image-text space.

Every concept has a few prompts; its vector is the mean of theirs. An image's nearest concepts are those of the greatest
cosine. Raw cosines are not shares or probabilities: their scale is the encoder's own (CLIP-style and SigLIP-style
models differ), so only their order is used. How often the nearest concept is right: docs/encoders.md.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from monitor.embed.encoders import Encoder
from monitor.embed.encoders.base import unit_rows

F32 = NDArray[np.float32]

VERSION: Final = 1  # of the words; it is stored with what they found

DOCUMENTS: Final[Mapping[str, tuple[str, ...]]] = {
    "receipt": ("a till receipt from a shop", "a receipt with prices and a total"),
    "invoice": ("an invoice from a supplier", "a bill with line items and amounts"),
    "form": ("a form with fields to fill in", "an application form"),
    "letter": ("a business letter", "formal correspondence on letterhead"),
    "identity card": ("an identity card with a portrait", "a driver's licence or passport page"),
    "table": ("a page with a table", "rows and columns of numbers"),
    "financial report": ("a page of a company's financial report", "a balance sheet"),
    "contract or law": ("a page of a law or contract", "a legal document with numbered clauses"),
    "manual": ("a page of a user manual", "instructions with illustrations"),
    "article": ("a page of a scientific article", "a research paper in columns"),
    "newspaper or magazine": ("a newspaper page", "a magazine page in several columns"),
    "dense small print": ("a page full of tiny text", "dense very small print"),
    "handwriting": ("a handwritten page", "a note written by hand"),
    "typescript": ("a typewritten page", "a page from a typewriter"),
    "old scan": ("a scan of an old document", "a historical document on yellowed paper"),
    "photographed page": ("a photo of a printed page taken with a camera", "a photographed document with shadow"),
    "slide": ("a presentation slide", "a slide from a talk"),
    "screenshot": ("a screenshot of an application", "a screen capture of a user interface"),
    "photograph": ("a photograph of people, animals or things", "a natural photo of a scene"),
}
NOTATION: Final[Mapping[str, tuple[str, ...]]] = {
    "mathematical formulas": ("a page of mathematics with formulas", "equations and proofs"),
    "geometry": ("a geometry diagram with labelled shapes", "a geometric figure of a maths problem"),
    "chemical structures": ("a chemical structure formula", "a diagram of a molecule"),
    "circuit diagram": ("an electrical circuit diagram", "a schematic with resistors and wires"),
    "technical drawing": ("an engineering drawing with dimensions", "a technical line drawing"),
    "musical score": ("a musical score", "sheet music with notes on staves"),
    "source code": ("source code in an editor", "a listing of computer code"),
    "chart": ("a chart of data", "a graph with axes"),
    "map": ("a map of a region", "a road map"),
}
SHIPPED: Final[Mapping[str, tuple[str, ...]]] = {**DOCUMENTS, **NOTATION}
NAMES: Final = tuple(SHIPPED)
KEPT = 3  # concepts kept of an image


def with_shipped(configured: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, ...]]:
    """The shipped concepts with those of ``encoder.concepts``: added, with other prompts, or (none) left out.

    Raises ValueError where none is left.
    """
    chosen = {**SHIPPED, **{name: tuple(prompts) for name, prompts in configured.items()}}
    kept = {name: prompts for name, prompts in chosen.items() if prompts}
    if not kept:
        raise ValueError("encoder.concepts leaves out every concept; keep at least one")
    return kept


def _digest(concepts: Mapping[str, Sequence[str]]) -> str:
    text = json.dumps([[name, list(prompts)] for name, prompts in concepts.items()], ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


class ConceptBank:
    """The concepts' vectors under one encoder.

    Raises ValueError for an encoder whose towers share no space: its images cannot be compared with words.
    """

    def __init__(
        self, encoder: Encoder, concepts: Mapping[str, Sequence[str]] | None = None, *, kept: int = KEPT
    ) -> None:
        """``concepts``: name to prompts, in place of the shipped ones. ``kept``: nearest ones told of an image."""
        chosen = SHIPPED if concepts is None else concepts
        self._words = "" if dict(chosen) == dict(SHIPPED) else _digest(chosen)
        if not encoder.shared_space:
            raise ValueError(
                f"encoder {encoder.identity} has no space that images and words share; "
                "choose driftline-mini, an open_clip model or an ONNX pair"
            )
        self.names, self._kept = tuple(chosen), kept
        prompts = [prompt for words in chosen.values() for prompt in words]
        found = encoder.encode_texts(prompts).astype(np.float64)
        of = np.repeat(np.arange(len(chosen)), [len(words) for words in chosen.values()])
        sums = np.zeros((len(chosen), encoder.dim))
        np.add.at(sums, of, found)
        self._vectors = unit_rows(sums).astype(np.float64)

    def stored(self, vector: F32) -> dict[str, Any]:
        """An image's nearest concepts as they stand among its conditions; ``words`` says which, if not the shipped."""
        words = {"words": self._words} if self._words else {}
        return {"v": VERSION, **words, "nearest": self.nearest(vector[None])[0]}

    def nearest(self, vectors: F32) -> list[list[tuple[str, float]]]:
        """The nearest concepts of each image vector, best first, with their cosines; ``vectors`` float32[n, dim]."""
        # One row at a time and in double precision: the answer depends on the image alone.
        found = []
        for row in np.asarray(vectors, dtype=np.float64):
            scores = np.einsum("ij,j->i", self._vectors, row).round(4)
            best = np.argsort(-scores, kind="stable")[: self._kept]
            found.append([(self.names[i], float(scores[i])) for i in best.tolist()])
        return found
