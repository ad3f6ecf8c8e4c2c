"""driftline-mini: its tokenizer, its text tower, its folder, and the weights that ship."""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from PIL import Image, ImageDraw

from benchmarks._encoder_prompts import PARAPHRASES, PROMPTS
from monitor.config.inputs import Encoder as EncoderConfig
from monitor.embed import encoders
from monitor.embed.encoders.base import EncoderError
from monitor.embed.encoders.mini import FOLDER, MiniEncoder
from monitor.embed.encoders.onnx_pair import OnnxPairEncoder, file_digest
from monitor.embed.encoders.text_tower import MOST_TOKENS, TextTower
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


def write_tower(folder: Path, vocabulary: list[str]) -> None:
    """A text tower that sums its tokens' vectors, each of which is also moved by the one before it."""
    rng = np.random.default_rng(0)
    table = rng.normal(size=(len(vocabulary), 16)).astype(np.float32)
    nodes = [
        onnx.helper.make_node("Gather", ["table", "ids"], ["tokens"]),
        onnx.helper.make_node("CumSum", ["tokens", "one"], ["before"]),
        onnx.helper.make_node("Tanh", ["before"], ["seen"]),
        onnx.helper.make_node("Add", ["tokens", "seen"], ["both"]),
        onnx.helper.make_node("ReduceSum", ["both", "axis"], ["vector"], keepdims=0),
    ]
    kept = {"table": table, "one": np.array(1), "axis": np.array([1])}
    graph = onnx.helper.make_graph(
        nodes, "tower",
        [onnx.helper.make_tensor_value_info("ids", onnx.TensorProto.INT64, [1, None])],
        [onnx.helper.make_tensor_value_info("vector", onnx.TensorProto.FLOAT, [1, 16])],
        [onnx.numpy_helper.from_array(value, name) for name, value in kept.items()],
    )  # fmt: skip
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    onnx.helper.set_model_props(model, {"tokens": str(len(vocabulary))})
    onnx.save(model, folder / "t.onnx")
    (folder / "v.gz").write_bytes(gzip.compress("\n".join(vocabulary).encode()))


@pytest.fixture
def text(tmp_path: Path) -> TextTower:
    write_tower(tmp_path, VOCABULARY)
    return TextTower(tmp_path / "t.onnx", tmp_path / "v.gz", threads=2)


def test_a_text_vector_is_the_networks_answer_to_its_tokens(text: TextTower, tmp_path: Path) -> None:
    session = onnxruntime.InferenceSession(str(tmp_path / "t.onnx"), providers=["CPUExecutionProvider"])
    expected = session.run(None, {"ids": np.array([[2, 3, 6]])})[0][0]
    np.testing.assert_allclose(text(["totals due"])[0], expected / np.linalg.norm(expected), rtol=1e-6)
    assert not np.array_equal(text(["totals due"]), text(["due totals"]))


def test_a_text_vector_depends_on_its_text_alone(text: TextTower, tmp_path: Path) -> None:
    texts = ["total", "", "due, due", "totals invoice", "quux"] * 70  # more than one thread's share
    together = text(texts)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-6)
    for row, one in zip(together, texts, strict=True):
        np.testing.assert_array_equal(row, text([one])[0])
    np.testing.assert_array_equal(together, TextTower(tmp_path / "t.onnx", tmp_path / "v.gz", threads=1)(texts))
    np.testing.assert_array_equal(text([""]), text(["quux"]))  # nothing reads as one unknown token
    assert text([]).shape == (0, 16)


def test_long_texts_are_read_to_a_stated_length(text: TextTower) -> None:
    head = "total " * (MOST_TOKENS - 1)
    np.testing.assert_array_equal(text([head + "due"]), text([head + "due" + " in" * 100]))
    assert not np.array_equal(text(["total " * 500]), text(["total " * 500 + "due " * 100]))


def test_files_of_two_models_are_refused(text: TextTower, tmp_path: Path) -> None:
    (tmp_path / "v.gz").write_bytes(gzip.compress(b"[UNK]\nx"))
    with pytest.raises(EncoderError, match=r"2 tokens.*13 vectors"):
        TextTower(tmp_path / "t.onnx", tmp_path / "v.gz")
    with pytest.raises(EncoderError, match="cannot load"):
        TextTower(tmp_path / "none.onnx", tmp_path / "v.gz")
    with pytest.raises(EncoderError, match="cannot be read"):
        TextTower(tmp_path / "t.onnx", tmp_path / "none.gz")


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
    trained = [-0.20953, 0.15892, 0.03067, -0.04442, 0.06356, 0.06699, 0.00895, -0.05011]
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
    with pytest.raises(EncoderError, match="'wordpiece_context' is not supported"):
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


def test_a_folder_of_an_earlier_version_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "mini"
    shutil.copytree(FOLDER, folder)
    sidecar = json.loads((folder / "encoder.json").read_text())
    sidecar["text"] = {"tokenizer": "wordpiece_static", "tokens": "tokens.npz", "vocabulary": "vocabulary.txt.gz"}
    (folder / "encoder.json").write_text(json.dumps(sidecar))
    config = EncoderConfig.model_validate({"onnx": {"directory": str(folder)}, "threads": 1})
    with pytest.raises(EncoderError, match=r"earlier version \(wordpiece_static, expected .*builtin: driftline-mini"):
        encoders.load(config)


def test_the_order_of_words_and_long_texts_are_seen() -> None:
    encoder = MiniEncoder(threads=1)
    one, other, same = encoder.encode_texts(["the dog bites the man", "the man bites the dog", "the dog bites the man"])
    np.testing.assert_array_equal(one, same)
    assert one @ other < 0.9999
    long = "the total of the invoice is due " * 40  # far more than 77 tokens
    assert not np.array_equal(encoder.encode_texts([long]), encoder.encode_texts([long + "in Paris"]))


def test_words_mean_what_they_say() -> None:
    encoder = MiniEncoder(threads=1)
    first, second = (encoder.encode_texts([pair[side] for pair in PARAPHRASES]) for side in (0, 1))
    near = first @ second.T
    # By chance 1 of 32 is right; 12 or more with probability below 1e-10.
    assert (near.argmax(1) == np.arange(len(near))).sum() >= 12


def test_prompts_are_those_that_were_written_before_scoring() -> None:
    digest = hashlib.sha256(repr((sorted(PROMPTS.items()), PARAPHRASES)).encode()).hexdigest()
    assert digest == "54bdc195d365233aefaf6f15a9d740c043b3d2e3c2bf5b01e1cae30d7adbb3a9"
