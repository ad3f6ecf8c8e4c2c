"""Every document type there is to draw, and how often each is drawn."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from training.documents import archive, business, prose, screens
from training.documents.sheet import Drawn
from training.fonts import Fonts
from training.words import Rng

KINDS: dict[str, tuple[Callable[[Rng, Fonts], Drawn], float]] = {
    "receipt": (business.receipt, 1.6),
    "invoice": (business.invoice, 1.0),
    "form": (business.form, 1.2),
    "letter": (business.letter, 1.0),
    "id card": (business.id_card, 0.7),
    "table": (business.table, 1.5),
    "financial report": (business.financial_report, 1.0),
    "government tender": (business.tender, 1.0),
    "scientific article": (prose.article, 1.2),
    "page of mathematics": (prose.maths, 1.2),
    "newspaper page": (prose.newspaper, 1.3),
    "page of tiny text": (prose.tiny_text, 1.0),
    "patent": (prose.patent, 1.0),
    "law or regulation": (prose.law, 1.0),
    "manual": (prose.manual, 1.0),
    "page with header and footer": (prose.book, 1.0),
    "handwritten letter": (archive.handwritten, 2.0),
    "typewritten page": (archive.typescript, 1.6),
    "old scanned document": (archive.old_scan, 1.4),
    "chart": (screens.chart, 0.9),
    "presentation slide": (screens.slide, 1.0),
    "screenshot": (screens.screenshot, 1.0),
    "source code": (screens.code, 0.8),
    "map": (screens.map_sheet, 0.8),
    "geometry diagram": (screens.geometry, 1.2),
    "photograph": (screens.photo, 0.8),
    "brochure page": (screens.photo_page, 0.8),
    "technical drawing": (screens.diagram, 0.5),
}
_NAMES = tuple(KINDS)
_SHARES = np.cumsum([share for _, share in KINDS.values()])
ON_DESK = 0.12  # share of paper documents that are photographed on a surface
_SCREENS = ("screenshot", "source code", "presentation slide", "photograph", "chart")


def draw(seed: int, index: int, fonts: Fonts, kind: str | None = None) -> Drawn:
    """Document ``index`` of the collection ``seed``: the same image and facts on every run with the same fonts."""
    rng = np.random.default_rng((seed, index))
    pick = float(rng.random()) * float(_SHARES[-1])
    name = kind or _NAMES[int(np.searchsorted(_SHARES, pick, side="right"))]
    drawn = KINDS[name][0](rng, fonts)
    if drawn.kind not in _SCREENS and rng.random() < ON_DESK:
        drawn.image = screens.on_desk(rng, drawn.image)
        drawn.sees = ("photographed on a table", *drawn.sees)
    return drawn
