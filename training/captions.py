"""What is said of an image: its kind, what is visible, its topic, its language, its condition, in several forms."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from training.words import Rng, choose

# Phrases for a kind; the first word-for-word, the others so that synonyms land near each other.
GENERATED: dict[str, tuple[str, ...]] = {
    "receipt": ("receipt", "shop receipt", "till receipt from a store", "cash register receipt", "sales slip"),
    "invoice": ("invoice", "bill with line items", "commercial invoice", "invoice from a supplier"),
    "form": ("form", "application form", "questionnaire with fields", "blank form", "administrative form"),
    "letter": ("letter", "typed business letter", "formal letter", "correspondence on letterhead"),
    "id card": ("identity card", "ID card", "driver's licence", "membership card with a portrait", "passport page"),
    "table": ("page with a table", "table of data", "spreadsheet of figures", "tabular data", "statistical table"),
    "financial report": ("page of a financial report", "annual report", "balance sheet", "company accounts"),
    "government tender": ("government tender", "request for proposals", "procurement notice", "call for bids"),
    "scientific article": ("scientific article", "research paper", "journal article", "academic paper"),
    "page of mathematics": (
        "page of mathematics",
        "maths paper with formulas",
        "mathematical proof",
        "page of equations",
    ),
    "newspaper page": ("newspaper page", "page with several columns", "magazine page in columns", "multi-column page"),
    "page of tiny text": (
        "page of tiny text",
        "dense page of very small print",
        "dictionary page",
        "directory in small type",
    ),
    "patent": ("patent", "patent specification", "page of a patent", "patent application"),
    "law or regulation": ("law", "legal regulation", "page of legislation", "statute text", "legal document"),
    "manual": ("manual", "user guide", "instruction manual", "technical handbook", "product documentation"),
    "page with header and footer": (
        "page with a header and footer",
        "book page with a running header",
        "report page",
        "page of a book",
    ),
    "handwritten letter": (
        "handwritten letter",
        "handwriting",
        "handwritten note",
        "manuscript page",
        "page written by hand",
    ),
    "typewritten page": ("typewritten page", "typescript", "page from a typewriter", "typed manuscript"),
    "old scanned document": ("old scanned document", "scan of an old page", "historical document", "archival scan"),
    "old scan of mathematics": (
        "old scan of a mathematics book",
        "scanned old page with formulas",
        "historical maths textbook",
    ),
    "chart": ("chart", "graph of data", "diagram of statistics", "data plot"),
    "presentation slide": ("presentation slide", "slide from a talk", "slide deck page"),
    "screenshot": ("screenshot", "screen capture of an application", "user interface", "screenshot of a program"),
    "source code": ("source code", "program code in an editor", "listing of computer code"),
    "map": ("map", "road map", "geographical map", "map of a region"),
    "geometry diagram": ("geometry diagram", "maths problem diagram", "drawing of shapes", "geometric figure"),
    "photograph": ("photograph", "photo", "natural image", "picture taken with a camera"),
    "brochure page": ("brochure page", "catalogue page with photographs", "page with pictures", "photo album page"),
    "technical drawing": ("technical drawing", "line drawing", "schematic", "engineering diagram"),
}
REAL: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "olmocr_arxiv_math": (
        ("page of a mathematics paper", "maths paper with formulas", "page of equations and proofs"),
        ("formulas and equations",),
    ),
    "olmocr_headers_footers": (
        ("page with a header and footer", "report page with a running header", "printed page with page number"),
        ("a running header and a footer",),
    ),
    "olmocr_long_tiny_text": (
        ("page of tiny text", "dense page of very small print", "page full of small text"),
        ("dense small print",),
    ),
    "olmocr_multi_column": (
        ("page with several columns", "multi-column page", "magazine or newspaper page in columns"),
        ("text in columns",),
    ),
    "olmocr_old_scans": (
        ("old scanned document", "historical document", "scan of an old letter or paper"),
        ("yellowed or grey paper",),
    ),
    "olmocr_old_scans handwriting": (
        ("handwritten letter", "handwritten page", "old letter written by hand", "scan of an old handwritten document"),
        ("handwriting in ink", "handwriting on yellowed or grey paper"),
    ),
    "olmocr_old_scans typescript": (
        ("typewritten page", "old typewritten letter", "typescript", "scan of an old typewritten document"),
        ("typewriter text", "a signature"),
    ),
    "olmocr_old_scans_math": (
        ("old scan of a mathematics book", "scanned old page with formulas", "historical maths textbook"),
        ("printed formulas",),
    ),
    "olmocr_table_tests": (
        ("page with a table", "table of data", "page with tabular data"),
        ("rows and columns of numbers",),
    ),
    "doclaynet_financial_reports": (
        ("page of a financial report", "annual report of a company", "company accounts"),
        ("statements of amounts",),
    ),
    "doclaynet_government_tenders": (
        ("government tender", "procurement document", "request for proposals by an authority"),
        ("numbered clauses",),
    ),
    "doclaynet_laws_and_regulations": (
        ("law", "legal regulation", "page of legislation"),
        ("articles and numbered paragraphs",),
    ),
    "doclaynet_manuals": (
        ("manual", "user guide", "instruction manual", "technical handbook"),
        ("steps and illustrations",),
    ),
    "doclaynet_patents": (("patent", "page of a patent", "patent specification"), ("claims or line drawings",)),
    "doclaynet_scientific_articles": (
        ("scientific article", "research paper", "journal article"),
        ("columns of text, figures",),
    ),
    "photos_coco": (
        ("photograph", "photo of a scene", "natural image", "picture taken with a camera"),
        ("people, animals or things",),
    ),
    "math_diagrams": (
        ("geometry diagram", "diagram of a maths problem", "drawing of shapes for a puzzle"),
        ("shapes and labels",),
    ),
}
# What the old scans that may train are, told by eye; the numbers are the files' names. The others are printed.
_OLD_SCANS = {
    "handwriting": (
        4, 5, 13, 18, 19, 20, 22, 29, 30, 33, 34, 39, 41, 42, 45, 47, 48, 49, 51, 54, 55, 56, 74, 78, 79, 82, 86, 89,
        90, 92, 93, 97, 98,
    ),
    "typescript": (2, 6, 17, 23, 24, 25, 31, 61, 62, 94),
}  # fmt: skip
_CONDITION = {
    "rotation": ("rotated", "turned sideways or upside down", "with the wrong orientation"),
    "crop": ("cropped", "cut off at the edges", "only partly visible"),
    "skew": ("skewed", "tilted", "scanned at an angle"),
    "wrinkle": ("wrinkled", "creased", "crumpled"),
    "fading": ("faded", "with pale ink", "washed out"),
    "low contrast": ("with low contrast", "grey and flat", "low-contrast"),
    "shadow": ("with a shadow", "shadowed on one side", "unevenly lit"),
    "glare": ("with glare", "with a bright reflection", "overexposed in a spot"),
    "dark": ("dark", "underexposed", "too dark"),
    "low resolution": ("at low resolution", "pixelated", "low-resolution"),
    "blur": ("blurred", "out of focus", "blurry"),
    "noise": ("noisy", "grainy", "with speckles"),
    "jpeg": ("heavily compressed", "with JPEG artefacts", "with compression artefacts"),
}
_CLEAN = ("clean", "clear", "sharp", "good quality", "legible")
_LEAD = ("a {}", "an image of a {}", "{}", "a scan of a {}", "a picture showing a {}", "this is a {}", "document: {}")


def real_kind(kind: str, file: str) -> str:
    """The key of ``REAL`` for an image of the manifest: its kind, with what is on it where that is told by file."""
    if kind == "olmocr_old_scans":
        for what, numbers in _OLD_SCANS.items():
            if int(Path(file).stem) in numbers:
                return f"{kind} {what}"
    return kind


def caption(
    rng: Rng, phrases: Sequence[str], sees: Sequence[str], about: str, tongue: str, conditions: dict[str, float]
) -> str:
    """One caption; parts are left out at random so that each is also said alone."""
    text = choose(rng, _LEAD).format(choose(rng, phrases))
    if sees and rng.random() < 0.5:
        seen = choose(rng, sees)
        text += (", " if seen.startswith("photographed on") else " with ") + seen
    if about and rng.random() < 0.2:
        text += " about " + about
    if tongue and tongue != "English" and rng.random() < 0.5:
        text += " in " + tongue
    if conditions:
        said = [condition_phrase(rng, name, amount) for name, amount in conditions.items() if rng.random() < 0.85]
        if said:
            text += ", " + " and ".join(said)
    elif rng.random() < 0.3:
        text += ", " + choose(rng, _CLEAN)
    return text


def condition_phrase(rng: Rng, name: str, amount: float) -> str:
    much = ""
    if rng.random() < 0.5:
        much = "slightly " if amount < 0.33 else "" if amount < 0.67 else "very "
    phrase = choose(rng, _CONDITION[name])
    return phrase if phrase.startswith(("with", "at ")) else much + phrase
