"""Archival documents: writing from strokes, sheets on a backing, and what the real old scans are told to be."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from training import captions
from training.documents import archive
from training.documents.sheet import LONG
from training.documents.strokes import Hand, Script

WHITE = (255, 255, 255)


def written(seed: int, unit: float = 4.0) -> np.ndarray:
    """Luminance of a page of one hand, float[300, 240]."""
    rng = np.random.default_rng(seed)
    script = Script(240, 300)
    script.block(rng, Hand.draw(rng, unit), (20, 20, 220, 280))
    return np.asarray(script.on(Image.new("RGB", (240, 300), WHITE), (0, 0, 0)).convert("L"), float)


def test_a_hand_writes_the_same_from_its_seed_and_no_two_are_alike() -> None:
    first = written(1)
    np.testing.assert_array_equal(first, written(1))
    assert np.abs(first - written(2)).mean() > 2
    assert first[:, :8].min() == 255 and 0.01 < (first < 128).mean() < 0.4


def test_writing_stands_in_lines_of_the_hands_own_pitch() -> None:
    pitches = []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        hand = Hand.draw(rng, 4.0)
        ink = (255 - written(seed)).sum(1)
        power = np.abs(np.fft.rfft(ink - ink.mean())) ** 2
        near = 300 / (hand.leading * hand.unit)  # lines on the page
        pitches.append(power[max(1, round(near) - 3) : round(near) + 4].sum() / power[1:40].sum())
    assert np.median(pitches) > 0.5


def test_faint_writing_is_paler_and_paper_stays_paper() -> None:
    rng = np.random.default_rng(3)
    script = Script(200, 200)
    script.block(rng, Hand.draw(rng, 5.0), (10, 10, 190, 190))
    page = Image.new("RGB", (200, 200), (240, 230, 210))
    full = np.asarray(script.on(page, (20, 20, 20)), float)
    pale = np.asarray(script.on(page, (20, 20, 20), np.full((200, 200), 0.3)), float)
    untouched = (full == [240, 230, 210]).all(2)
    assert 0.3 < untouched.mean() < 1 and (pale[untouched] == [240, 230, 210]).all()
    assert pale[~untouched].mean() > full[~untouched].mean() + 5


@pytest.mark.parametrize("seed", range(20))
def test_a_filed_sheet_keeps_to_the_size_of_a_drawing(seed: int) -> None:
    rng = np.random.default_rng(seed)
    sheet = Image.new("RGB", (316, LONG), (250, 240, 220))
    found = archive.filed(rng, archive.beside(rng, sheet, sheet) if seed % 2 else sheet)
    assert found.mode == "RGB" and max(found.size) <= LONG and min(found.size) > 100


def test_old_scans_are_told_by_what_is_on_them() -> None:
    assert captions.real_kind("olmocr_old_scans", "olmocr_old_scans/39.jpg") == "olmocr_old_scans handwriting"
    assert captions.real_kind("olmocr_old_scans", "olmocr_old_scans/6.jpg") == "olmocr_old_scans typescript"
    assert captions.real_kind("olmocr_old_scans", "olmocr_old_scans/69.jpg") == "olmocr_old_scans"
    assert captions.real_kind("doclaynet_patents", "doclaynet_patents/39.jpg") == "doclaynet_patents"
