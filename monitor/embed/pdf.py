"""Pages of a PDF as images, through PDFium. Run in decoder processes only: PDFium is C++ and reads what strangers send.

A page is rendered straight at working size, so its pixels are bounded whatever size it claims; what its content needs
is bounded by the limits of the decoder process.
"""

from __future__ import annotations

import hashlib
import math
from typing import Any

from monitor.embed.images import WORKING_SIDE, Decoded, Missing, View, encoded_view, views

MAX_PAGES = 5000
DPI = 150  # at which a page's size is told in pixels, as a scan of it would have
_PASSWORD = 4  # FPDF_ERR_PASSWORD
_SECURITY = 5  # FPDF_ERR_SECURITY: a handler PDFium does not know


def is_pdf(data: bytes) -> bool:
    """Whether a file says it is a PDF: first of all, as images do, white space and a byte order mark aside."""
    return data[:1024].lstrip(b"\xef\xbb\xbf\x00 \t\r\n\f").startswith(b"%PDF-")


def chosen_pages(digest: bytes, pages: int, most: int) -> list[int]:
    """At most ``most`` of the pages 0..pages-1, ascending, chosen by a hash: the same in every run for a content."""
    if pages <= most:
        return list(range(pages))

    def rank(page: int) -> bytes:
        return hashlib.blake2b(digest + page.to_bytes(4, "big"), digest_size=8, person=b"pdf-page").digest()

    return sorted(sorted(range(pages), key=rank)[:most])


def count(data: bytes) -> int | Missing:
    """How many pages a PDF has: 1 to ``MAX_PAGES``."""
    document = _opened(data)
    if isinstance(document, Missing):
        return document
    with document:
        pages = len(document)
    if pages < 1:
        return Missing("pdf_empty")
    return pages if pages <= MAX_PAGES else Missing("pdf_too_many_pages")


def render(data: bytes, page: int, side: int = WORKING_SIDE) -> Decoded | Missing:
    """One page on white, drawn at ``WORKING_SIDE`` px, with annotations and the values of form fields."""
    found = _rendered(data, page, WORKING_SIDE)
    if isinstance(found, Missing):
        return found
    image, width, height = found
    scale = DPI / 72
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return views(image, side, *size, "PDF")


def full_view(data: bytes, page: int, side: int, most_bytes: int) -> View | Missing:
    """One page for people to read: its longest side ``side`` px, as a file of at most ``most_bytes``."""
    found = _rendered(data, page, side)
    return found if isinstance(found, Missing) else encoded_view(found[0], most_bytes)


def _rendered(data: bytes, page: int, side: int) -> tuple[Any, float, float] | Missing:
    """(RGB image, width, height in points) of a page, drawn with its longest side at ``side`` px."""
    document = _opened(data)
    if isinstance(document, Missing):
        return document
    with document:
        try:
            document.init_forms()
            found = document[page]
            width, height = found.get_size()
            if not (math.isfinite(width) and math.isfinite(height) and width > 0 and height > 0):
                return Missing("pdf_page_undecodable")
            bitmap = found.render(scale=side / max(width, height), rev_byteorder=True)
            image = bitmap.to_pil().convert("RGB")
        except MemoryError:
            raise
        except Exception:  # PdfiumError, and what ctypes makes of nonsense
            return Missing("pdf_page_undecodable")
    if max(image.size) > side:  # sizes are rounded up
        image = image.crop((0, 0, min(side, image.width), min(side, image.height)))
    return image.copy(), width, height


def _opened(data: bytes) -> Any:
    """A pypdfium2.PdfDocument, or why there is none."""
    import pypdfium2  # only processes that meet a PDF hold PDFium

    try:
        return pypdfium2.PdfDocument(data)
    except pypdfium2.PdfiumError as error:
        return Missing("pdf_encrypted" if error.err_code in (_PASSWORD, _SECURITY) else "pdf_undecodable")
