"""PDFs: pages chosen by hash and recorded, rendered within bounds, refused with a reason."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from monitor.embed import pdf as pdfs
from monitor.embed.images import WORKING_SIDE, Decoded, Missing
from monitor.embed.pdf import chosen_pages, is_pdf
from monitor.embed.pool import DecoderPool, Look
from monitor.embed.worker import EmbedWorker
from monitor.store.engine import Store, open_store
from tests.embed.pdfs import encrypted, pdf, text_page
from tests.embed.test_worker import PAGES, config, everything, finish, inline, outcome, put


@pytest.fixture(scope="module")
def pool() -> Iterator[DecoderPool]:
    made = DecoderPool(1, memory=10**9, seconds=20.0, max_pixels=10**8)
    yield made
    made.close()


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    opened = open_store(store_url)
    yield opened
    opened.close()


BOOK = pdf([text_page(f"page{number}") for number in range(9)])


def document(data: bytes) -> dict[str, object]:
    return {"kind": "document", "inline": base64.b64encode(data).decode(), "media_type": "application/pdf"}


def test_pages_are_chosen_by_the_content_alone() -> None:
    digest = b"\x01" * 32
    assert chosen_pages(digest, 3, 4) == [0, 1, 2]
    few, more = chosen_pages(digest, 100, 3), chosen_pages(digest, 100, 7)
    assert len(few) == 3 and len(more) == 7 and set(few) < set(more) and more == sorted(more)
    assert chosen_pages(b"\x02" * 32, 100, 7) != more
    # Every page has the same chance: over 2,000 contents, 3 of 10 pages, each page 600 times, six sigma 123.
    hits = np.zeros(10)
    for number in range(2000):
        hits[chosen_pages(number.to_bytes(32, "big"), 10, 3)] += 1
    assert np.abs(hits - 600).max() < 6 * np.sqrt(2000 * 0.3 * 0.7)


def test_a_page_is_rendered_on_white_at_working_size() -> None:
    assert pdfs.count(BOOK) == 9
    page = pdfs.render(BOOK, 4)
    assert isinstance(page, Decoded)
    assert max(page.image.size) == WORKING_SIDE and page.image.mode == "RGB"
    assert (page.width, page.height, page.format) == (1240, 1754, "PDF")  # A4 at 150 dpi
    pixels = np.asarray(page.image)
    assert pixels[0, 0].tolist() == [255, 255, 255] and pixels.min() < 60
    red = pdfs.render(pdf(["1 0 0 rg 0 0 595 842 re f"]), 0)
    assert isinstance(red, Decoded) and np.asarray(red.image)[300, 300].tolist() == [255, 0, 0]


@pytest.mark.parametrize("box", ["0 0 14400 14400", "0 0 1 1", "0 0 20000 5", "0 0 3 90000", "0 0 1e9 1e9", "0 0 0 0"])
def test_rendering_is_bounded_whatever_size_a_page_claims(pool: DecoderPool, box: str) -> None:
    (found,) = pool.looks(pdf([text_page("x")], box=box))
    if isinstance(found, Look):
        assert min(found.image.size) >= 1 and max(found.image.size) <= WORKING_SIDE
    else:
        assert found.reason in ("pdf_page_undecodable", "pdf_undecodable")


def test_refusals(pool: DecoderPool) -> None:
    assert pool.looks(encrypted()) == (Missing("pdf_encrypted"),)
    assert pool.looks(b"%PDF-1.7 and nothing more") == (Missing("pdf_undecodable"),)
    assert pool.looks(pdf([])) in ((Missing("pdf_empty"),), (Missing("pdf_undecodable"),))
    assert pool.looks(pdf([""] * 5001)) == (Missing("pdf_too_many_pages"),)
    assert len(pool.looks(pdf([""] * 5000), 2)) == 2
    deep = "q " * 200_000 + text_page("deep")
    (found,) = pool.looks(pdf([deep]))
    assert isinstance(found, Look | Missing)
    for cut in (100, 700, len(BOOK) // 2, len(BOOK) - 30):
        for found in pool.looks(BOOK[:cut], 2):
            assert isinstance(found, Look) or found.reason.startswith(("pdf_", "image_"))
    (good,) = pool.looks(BOOK)
    assert isinstance(good, Look)


def test_a_page_that_takes_too_long_is_the_only_one_that_is_missing() -> None:
    endless = "0 0 m " + "1 1 l 300 400 l " * 150_000 + "s " + " ".join("0 0 595 842 re f" for _ in range(60_000))
    pool = DecoderPool(1, memory=10**9, seconds=0.6, max_pixels=10**8)
    first, second = pool.looks(pdf([text_page("short"), endless]), 2)
    pool.close()
    assert isinstance(first, Look) and first.conditions["page"] == 1
    assert second == Missing("image_timed_out", 2, 2)


def test_what_a_file_is_decides_its_first_bytes() -> None:
    assert is_pdf(BOOK) and is_pdf(b"\xef\xbb\xbf\r\n%PDF-1.3")
    assert not is_pdf(PAGES[0] + BOOK) and not is_pdf(b"") and not is_pdf(b"see %PDF-1.4")


def test_pages_in_the_store(store: Store) -> None:
    """At most ``sampling.parts`` parts and pages of an event; the first page has its part's index."""
    text = {"kind": "text", "text": "read this"}
    put(
        store,
        [
            [document(BOOK), text],  # three pages and the text
            [inline(BOOK), inline(PAGES[0]), text],  # an image part that is a PDF: two pages' worth, one for each
            [document(BOOK), document(pdf([text_page("other")])), text, text],
            [document(encrypted()), text],
        ],
    )
    worker = EmbedWorker(store, config(sampling={"parts": 4}))
    finish(worker)
    _, rows, _ = everything(store)
    by_sample: dict[str, list[tuple[int, str, dict[str, object]]]] = {}
    for sample, part, modality, vector, conditions, _ in rows:
        facts = json.loads(conditions)
        assert (vector is None) == ("missing" in facts)
        by_sample.setdefault(sample, []).append((part, modality, facts))
    book = chosen_pages(sha256(BOOK).digest(), 9, 3)
    first = by_sample["00000000"]
    assert [(part, kind) for part, kind, _ in first] == [(0, "image"), (1, "text"), (2, "image"), (3, "image")]
    assert [first[i][2]["page"] for i in (0, 2, 3)] == [page + 1 for page in book]
    assert all(first[i][2]["pages"] == 9 for i in (0, 2, 3))
    assert [(part, kind) for part, kind, _ in by_sample["00000001"]] == [
        (0, "image"), (1, "image"), (2, "text"), (3, "image"),
    ]  # fmt: skip
    assert [part for part, _, _ in by_sample["00000002"]] == [0, 1, 2, 3]
    assert [outcome(store, number) for number in (0, 3)] == [("embedded", ""), ("missing", "pdf_encrypted")]
    assert worker.stats.parts_missing == {"pdf_encrypted": 1}


def test_batches_do_not_matter(tmp_path: Path) -> None:
    inputs = [[document(BOOK)], [inline(PAGES[1])], [document(pdf([text_page("a"), text_page("b")]))], [document(BOOK)]]
    results = []
    for number, (batch, encode) in enumerate([(1, 1), (10, 2), (10, 32)]):
        opened = open_store(f"sqlite:///{tmp_path}/{number}.db")
        put(opened, inputs)
        worker = EmbedWorker(opened, config(encoder={"batch": encode}), batch=batch)
        finish(worker)
        assert worker.stats.images_encoded == 4 + 1 + 2
        results.append(everything(opened))
        opened.close()
    assert results[0] == results[1] == results[2]
