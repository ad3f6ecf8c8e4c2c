"""Which real images may train the encoder, and which ones measure it.

A kind is trainable when its licence permits it (ODC-BY, CDLA-Permissive, MIT, COCO's Creative Commons terms); every
other kind is held out whole. Images of a trainable kind are divided by source document: all pages of one document,
in whatever kind, fall on one side. The side is a function of the document's name alone, so that adding images never
moves one from evaluation to training.
"""

from __future__ import annotations

import csv
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

HELD_OUT = ("receipts", "handwritten", "typescripts", "photographed_docs")
_TRAINABLE_PREFIXES = ("olmocr_", "doclaynet_")
_TRAINABLE = ("photos_coco", "math_diagrams")


@dataclass(frozen=True, slots=True)
class RealImage:
    """One row of the manifest; ``document`` names what it is a picture of, ``side`` is train or evaluate."""

    kind: str
    file: str
    document: str
    side: str
    licence: str


def trainable(kind: str) -> bool:
    """Whether the licence of this kind permits training."""
    return kind.startswith(_TRAINABLE_PREFIXES) or kind in _TRAINABLE


def document_of(kind: str, file: str) -> str:
    """The source document of an image: an arXiv paper, a PDF, a book; the file itself where it is a single page.

    Pages of one PDF are named ``NAME_page_7`` or ``NAME_pg7``. Of the books in ``olmocr_long_tiny_text`` the leading
    number is the book, whatever letter follows it. ``photographed_docs`` has several pictures of one page, told apart
    by what follows the page's number.
    """
    stem = Path(file).stem
    if kind == "photographed_docs":
        found = re.match(r"[^_]+_[^_]+_\d+", stem)
        return found[0] if found else stem
    if kind.startswith("olmocr_"):
        stem = re.split(r"_p(?:age_|g)\d", stem)[0]
        if kind == "olmocr_long_tiny_text" and (found := re.match(r"\d+", stem)):
            return f"tiny/{found[0]}"
    if len(stem) < 12:  # a number that is unique within its kind only
        return f"{kind}/{stem}"
    return stem


def side_of(kind: str, document: str) -> str:
    """``evaluate`` for held-out kinds and for every second document of the others, by sha256 of its name."""
    if not trainable(kind):
        return "evaluate"
    return "train" if hashlib.sha256(document.encode()).digest()[-1] % 2 else "evaluate"


def read(folder: Path) -> list[RealImage]:
    """Every image of ``folder/manifest.csv``, in the manifest's order."""
    with (folder / "manifest.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    found = []
    for row in rows:
        document = document_of(row["kind"], row["file"])
        side = side_of(row["kind"], document)
        found.append(RealImage(row["kind"], row["file"], document, side, row["licence"]))
    return found
