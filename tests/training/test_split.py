"""Which images train and which measure: never two pictures of one document on both sides."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.data import shared_data
from training.split import HELD_OUT, document_of, read, side_of, trainable


@pytest.mark.parametrize(
    ("kind", "file", "document"),
    [
        ("olmocr_arxiv_math", "olmocr_arxiv_math/2503.09233_pg16.jpg", "olmocr_arxiv_math/2503.09233"),
        ("olmocr_multi_column", "a/0286496900000000000000_page_18_pg1.jpg", "0286496900000000000000"),
        ("olmocr_headers_footers", "a/0286496900000000000000_page_2_processed.jpg", "0286496900000000000000"),
        ("olmocr_long_tiny_text", "a/15c_pg1.jpg", "tiny/15"),
        ("olmocr_long_tiny_text", "a/15_pg33_pg1.jpg", "tiny/15"),
        ("olmocr_old_scans_math", "a/3_pg94.jpg", "olmocr_old_scans_math/3"),
        ("olmocr_old_scans", "a/3.jpg", "olmocr_old_scans/3"),
        ("math_diagrams", "a/3.jpg", "math_diagrams/3"),
        ("photographed_docs", "a/ko_textbook_19_outdoor_light_shadow_top.jpg", "ko_textbook_19"),
        ("photographed_docs", "a/ko_textbook_19_indoor_light_top_crease_hold.jpg", "ko_textbook_19"),
    ],
)
def test_the_document_of_a_picture(kind: str, file: str, document: str) -> None:
    assert document_of(kind, file) == document


def test_pages_of_one_document_in_two_kinds_are_on_one_side() -> None:
    names = (f"{n:040x}" for n in range(200))
    for name in names:
        sides = {
            side_of(kind, document_of(kind, f"{kind}/{name}_page_{page}.jpg"))
            for kind, page in (("olmocr_headers_footers", 1), ("olmocr_multi_column", 7))
        }
        assert len(sides) == 1


def test_kinds_whose_licence_forbids_it_are_never_trained_on() -> None:
    assert set(HELD_OUT) == {"receipts", "handwritten", "typescripts", "photographed_docs"}
    for kind in (*HELD_OUT, "a_kind_not_yet_known"):
        assert not trainable(kind)
        assert {side_of(kind, f"document {n}") for n in range(200)} == {"evaluate"}


def test_both_sides_hold_about_half() -> None:
    sides = [side_of("doclaynet_patents", f"{n:064x}") for n in range(2000)]
    # 2,000 fair coins: outside 900 to 1,100 with probability below 1e-5.
    assert 900 <= sides.count("train") <= 1100


def test_a_manifest_is_read_in_its_order(tmp_path: Path) -> None:
    rows = [
        "kind,file,width,height,licence",
        "receipts,receipts/1.jpg,1,1,x",
        "math_diagrams,math_diagrams/7.jpg,1,1,MIT",
    ]
    (tmp_path / "manifest.csv").write_text("\n".join(rows) + "\n")
    found = read(tmp_path)
    assert [row.file for row in found] == ["receipts/1.jpg", "math_diagrams/7.jpg"]
    assert found[0].side == "evaluate" and found[1].licence == "MIT"


@pytest.mark.real
def test_the_real_images_divide_by_document() -> None:
    rows = read(shared_data("images"))
    sides: dict[str, set[str]] = {}
    for row in rows:
        sides.setdefault(row.document, set()).add(row.side)
    assert all(len(found) == 1 for found in sides.values())
    kinds = {row.kind for row in rows}
    trained = {row.kind for row in rows if row.side == "train"}
    assert kinds - trained == set(HELD_OUT)
    # Every trained kind also has images of other documents to measure with.
    assert {row.kind for row in rows if row.side == "evaluate"} == kinds
    for row in rows:
        if row.side == "train":
            assert row.licence.startswith(("ODC-BY", "CDLA-Permissive", "COCO", "MIT"))
