"""driftline-mini: its tokenizer, its text tower, its folder, and the weights that ship."""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image, ImageDraw

from benchmarks._encoder_prompts import PARAPHRASES, PROMPTS
from monitor.config.model import Encoder as EncoderConfig
from monitor.embed import encoders
from monitor.embed.encoders.base import EncoderError
from monitor.embed.encoders.mini import FOLDER, MiniEncoder
from monitor.embed.encoders.onnx_pair import OnnxPairEncoder, file_digest
from monitor.embed.encoders.static_text import MOST_TOKENS, StaticText
from monitor.embed.encoders.wordpiece import WordPiece

VOCABULARY = ["[PAD]", "[UNK]", "total", "##s", "in", "##voice", "due", ",", "cafe", "中", "'", "s", "##l"]


def test_wordpiece_splits_as_bert_does() -> None:
    tokens = WordPiece(VOCABULARY)
    assert tokens("Totals") == [2, 3]
    assert tokens("INVOICE, due") == [4, 5, 7, 6]
    assert tokens("total's") == [2, 10, 11]
    assert tokens("Café caf\u0065\u0301") == [8, 8]  # accents are dropped, composed or not
    assert tokens("中中due") == [9, 9, 6]  # ideographs are words of their own
    assert tokens("total\u200b\x00s\tdue\u00a0due") == [2, 3, 6, 6]  # control characters vanish, spaces split
    assert tokens("quux total") == [1, 2]  # no piece fits: unknown
    assert tokens("s" + "l" * 120) == [1]  # longer than a word may be
    assert tokens("") == [] and tokens(" \n") == []
    assert tokens("total\x07s") == [2, 3]


@pytest.fixture
def text(tmp_path: Path) -> StaticText:
    rng = np.random.default_rng(0)
    values = rng.integers(-127, 128, (len(VOCABULARY), 16)).astype(np.int8)
    np.savez(tmp_path / "t.npz", values=values, multipliers=np.arange(1, len(VOCABULARY) + 1, dtype=np.uint16))
    (tmp_path / "v.gz").write_bytes(gzip.compress("\n".join(VOCABULARY).encode()))
    return StaticText(tmp_path / "t.npz", tmp_path / "v.gz")


def test_a_text_vector_is_the_exact_sum_of_its_tokens(text: StaticText) -> None:
    values, multipliers = text._values.astype(np.int64), text._multipliers.astype(np.int64)
    expected = (values[[2, 3, 6]] * multipliers[[2, 3, 6], None]).sum(0)
    np.testing.assert_allclose(text(["totals due"])[0], expected / np.linalg.norm(expected), rtol=1e-6)
    np.testing.assert_array_equal(text(["totals due"]), text(["due totals"]))


def test_a_text_vector_depends_on_its_text_alone(text: StaticText) -> None:
    texts = ["total", "", "due, due", "totals invoice", "quux"] * 70  # more than one chunk
    together = text(texts)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-6)
    for row, one in zip(together, texts, strict=True):
        np.testing.assert_array_equal(row, text([one])[0])
    np.testing.assert_array_equal(text([""]), text(["quux"]))  # nothing reads as one unknown token
    assert text([]).shape == (0, 16)


def test_long_texts_are_read_to_a_stated_length(text: StaticText) -> None:
    head = "total " * (MOST_TOKENS - 1)
    np.testing.assert_array_equal(text([head + "due"]), text([head + "due" + " in" * 100]))
    assert not np.array_equal(text(["total " * 500]), text(["total " * 500 + "due " * 100]))


def test_files_of_two_models_are_refused(text: StaticText, tmp_path: Path) -> None:
    (tmp_path / "v.gz").write_bytes(gzip.compress(b"[UNK]\nx"))
    with pytest.raises(EncoderError, match=r"2 tokens.*13 vectors"):
        StaticText(tmp_path / "t.npz", tmp_path / "v.gz")
    with pytest.raises(EncoderError, match="cannot be read"):
        StaticText(tmp_path / "none.npz", tmp_path / "v.gz")


def pages() -> list[Image.Image]:
    page = Image.new("RGB", (300, 420), "white")
    pen = ImageDraw.Draw(page)
    for y in range(30, 390, 12):
        pen.text((30, y), "the quick brown fox jumps over the lazy dog", fill=(20, 20, 20))
    gradient = Image.linear_gradient("L").resize((400, 200)).convert("RGB")
    return [page, gradient, Image.new("RGB", (1, 1)), Image.new("L", (2000, 3), 128)]


def test_the_weights_that_ship_load_and_share_a_space() -> None:
    encoder = MiniEncoder(threads=1)
    assert encoder.shared_space and 128 <= encoder.dim <= 384
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) <= 14_000_000
    rows = encoder.encode_images(pages())
    assert rows.shape == (4, encoder.dim) and rows.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    # A page of text is nearer to words for one than to words for a photo, and a drawn gradient is not.
    words = encoder.encode_texts(["a printed page of text", "a photograph of a scene"])
    assert rows[0] @ words[0] > rows[0] @ words[1]
    assert encoder.encode_images([]).shape == (0, encoder.dim)


def test_an_image_vector_depends_on_its_image_alone() -> None:
    encoder = MiniEncoder(threads=1)
    together = encoder.encode_images(pages())
    for row, page in zip(together, pages(), strict=True):
        np.testing.assert_array_equal(row, encoder.encode_images([page])[0])
    # Each row has one thread, however many rows are worked on at once and in whatever company.
    for threads in (2, 3, 16):
        others = [*pages()[::-1], *pages() * 3]
        found = MiniEncoder(threads=threads).encode_images(others)
        np.testing.assert_array_equal(found, [*together[::-1], *np.tile(together, (3, 1))])


def test_vectors_are_those_of_the_weights_as_they_were_trained() -> None:
    """On any processor and engine. New weights give new values: those of ``training.model`` in torch for this page."""
    y, x = np.mgrid[:256, :192]
    page = (((x * 7 + y * 3) % 64 < 20) * 180 + (y // 8 % 3 == 0) * 40)[:, :, None] + np.array([30, 20, 10])
    trained = [0.26327, 0.01196, -0.01228, -0.07871, 0.01746, -0.04383, 0.13929, 0.01052]
    vector = MiniEncoder(threads=1).encode_images([Image.fromarray(page.astype(np.uint8))])[0]
    np.testing.assert_allclose(vector[::32], trained, atol=1e-4)


def test_changed_weights_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "mini"
    shutil.copytree(FOLDER, folder)
    identity = MiniEncoder(folder, threads=1).identity
    assert identity == MiniEncoder(threads=1).identity and identity.startswith("driftline-mini:int8:")
    with (folder / "image.onnx").open("r+b") as file:
        file.seek(1000)
        file.write(b"\x00\x01\x02\x03")
    with pytest.raises(EncoderError, match="not the file that was exported"):
        MiniEncoder(folder)


def test_its_folder_is_told_from_an_exported_pair() -> None:
    config = EncoderConfig.model_validate({"onnx": {"directory": str(FOLDER)}, "threads": 1})
    assert isinstance(encoders.load(config), MiniEncoder)


def test_another_models_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match="'wordpiece_static' is not supported"):
        OnnxPairEncoder(FOLDER)
    folder = tmp_path / "mini"
    shutil.copytree(FOLDER, folder)
    sidecar = json.loads((folder / "encoder.json").read_text())
    sidecar["text"]["tokenizer"] = "clip_bpe"
    (folder / "encoder.json").write_text(json.dumps(sidecar))
    with pytest.raises(EncoderError, match=r"clip_bpe.*encoder\.onnx"):
        MiniEncoder(folder)


def test_an_image_tower_of_scaled_pixels_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "mini"
    shutil.copytree(FOLDER, folder)
    model = onnx.load(folder / "image.onnx")
    model.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    onnx.save(model, folder / "image.onnx")
    sidecar = json.loads((folder / "encoder.json").read_text())
    sidecar["files"]["image.onnx"] = file_digest(folder / "image.onnx")
    (folder / "encoder.json").write_text(json.dumps(sidecar))
    with pytest.raises(EncoderError, match=r"takes tensor\(float\), expected 8-bit pixels"):
        MiniEncoder(folder, threads=1)


def test_words_mean_what_they_say() -> None:
    encoder = MiniEncoder(threads=1)
    first, second = (encoder.encode_texts([pair[side] for pair in PARAPHRASES]) for side in (0, 1))
    near = first @ second.T
    # By chance 1 of 32 is right; 12 or more with probability below 1e-10.
    assert (near.argmax(1) == np.arange(len(near))).sum() >= 12


def test_prompts_are_those_that_were_written_before_scoring() -> None:
    digest = hashlib.sha256(repr((sorted(PROMPTS.items()), PARAPHRASES)).encode()).hexdigest()
    assert digest == "54bdc195d365233aefaf6f15a9d740c043b3d2e3c2bf5b01e1cae30d7adbb3a9"
