"""Luminance at working size: Pillow's filter, and the same digits whatever adds them up."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from monitor.embed import resample
from monitor.embed.resample import shrunk

SIZES = [
    ((620, 877), (543, 768)),
    ((877, 620), (768, 543)),
    ((1536, 1100), (768, 550)),
    ((769, 769), (768, 768)),
    ((1535, 40), (768, 20)),
    ((1537, 1), (768, 1)),
    ((1, 1537), (1, 768)),
    ((800, 2), (768, 2)),
    ((10, 10), (10, 10)),
]


def image(size: tuple[int, int], seed: int = 0) -> Image.Image:
    """Black and white pixels beside noise beside a slope: what rounds worst, and what should not change."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, size[::-1])
    third = max(1, size[0] // 3)
    pixels[:, :third] = 255 * (pixels[:, :third] > 127)
    pixels[:, 2 * third :] = np.linspace(0, 255, pixels[:, 2 * third :].shape[1]).astype(int)
    return Image.fromarray(pixels.astype(np.uint8))


@pytest.mark.parametrize(("before", "after"), SIZES)
def test_it_is_pillows_bilinear_filter(before: tuple[int, int], after: tuple[int, int]) -> None:
    source = image(before)
    found, expected = shrunk(source, after), source.resize(after, Image.Resampling.BILINEAR)
    assert (found.mode, found.size) == ("L", after)
    difference = np.abs(np.asarray(found, dtype=int) - np.asarray(expected, dtype=int))
    assert difference.max() <= 2
    assert difference.mean() < 0.3
    if before == after:
        assert found.tobytes() == source.tobytes()


@pytest.mark.parametrize(("before", "after"), SIZES)
def test_sums_are_exact_so_that_their_order_does_not_matter(before: tuple[int, int], after: tuple[int, int]) -> None:
    """The same sums in whole numbers, rounded half up."""
    rows = np.zeros((after[1], before[1]), dtype=np.int64)
    columns = np.zeros((after[0], before[0]), dtype=np.int64)
    for matrix, lines in ((rows, resample._ROWS), (columns, resample._COLUMNS)):
        for block in resample._blocks(matrix.shape[1], matrix.shape[0], lines):
            whole = 256 * block.weights.astype(np.float64)
            assert (whole == np.rint(whole)).all() and (whole >= 0).all() and (whole.sum(axis=1) == 256).all()
            matrix[block.start : block.end, block.first : block.last] = whole
    source = image(before, 1)
    expected = (rows @ np.asarray(source, dtype=np.int64) @ columns.T + 32768) >> 16
    assert (np.asarray(shrunk(source, after)) == expected).all()


def test_paper_and_ink_stay_what_they_are() -> None:
    for level in (0, 1, 128, 254, 255):
        assert set(shrunk(Image.new("L", (700, 901), level), (597, 768)).tobytes()) == {level}


def test_a_file_is_not_charged_for_the_memory_of_the_library() -> None:
    """Under a limit the library would end the process rather than go without."""
    script = (
        "from PIL import Image\n"
        "from monitor.embed import decoder, resample\n"
        "resample.ready()\n"
        "before = decoder.held()\n"
        "resample.shrunk(Image.new('L', (1535, 1500)), (768, 750))\n"
        "print(decoder.held() - before)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 25_000_000
