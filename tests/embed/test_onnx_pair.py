"""The ONNX pair: reads its folder, refuses another's, and gives each input its own vector."""

from __future__ import annotations

import gzip
import json
import threading
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from monitor.config.inputs import Encoder as EncoderConfig
from monitor.embed import encoders
from monitor.embed.encoders.base import EncoderError
from monitor.embed.encoders.clip_tokens import ClipTokenizer, clean
from monitor.embed.encoders.onnx_pair import OnnxPairEncoder, Tower, file_digest
from monitor.embed.encoders.preprocess import Preprocessing
from monitor.embed.probes import probe_pages

SIDE, DIM, CONTEXT = 16, 8, 12


def tower(path: Path, name: str, shape: list[Any], kind: int, features: int, seed: int) -> None:
    """Flatten, a dynamically quantised product (its scale spans the whole call), and weights."""
    rng = np.random.default_rng(seed)
    weights = numpy_helper.from_array(rng.integers(-100, 100, (features, DIM)).astype(np.int8), "weights")
    zero = numpy_helper.from_array(np.array(0, np.int8), "zero")
    nodes = [
        helper.make_node("Cast", [name], ["real"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["real"], ["flat"]),
        helper.make_node("DynamicQuantizeLinear", ["flat"], ["q", "scale", "point"]),
        helper.make_node("MatMulInteger", ["q", "weights", "point", "zero"], ["sums"]),
        helper.make_node("Cast", ["sums"], ["vectors"], to=TensorProto.FLOAT),
    ]
    graph = helper.make_graph(
        nodes,
        "tower",
        [helper.make_tensor_value_info(name, kind, ["batch", *shape])],
        [helper.make_tensor_value_info("vectors", TensorProto.FLOAT, ["batch", DIM])],
        [weights, zero],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tower(tmp_path / "image.onnx", "pixels", [3, SIDE, SIDE], TensorProto.FLOAT, 3 * SIDE * SIDE, 1)
    tower(tmp_path / "text.onnx", "ids", [CONTEXT], TensorProto.INT64, CONTEXT, 2)
    merges = "#version\nt h\nth e</w>\na n\nan d</w>\n"
    (tmp_path / "merges.txt.gz").write_bytes(gzip.compress(merges.encode()))
    write_sidecar(tmp_path)
    return tmp_path


def write_sidecar(folder: Path, **changes: Any) -> None:
    document = {
        "v": 1,
        "model": "tiny",
        "precision": "int8",
        "dim": DIM,
        "image": Preprocessing((SIDE, SIDE), (0.5, 0.5, 0.5), (0.2, 0.2, 0.2)).document(),
        "text": {"tokenizer": "clip_bpe", "merges": "merges.txt.gz", "context_length": CONTEXT},
        "files": {name: file_digest(folder / name) for name in ("image.onnx", "merges.txt.gz", "text.onnx")},
    }
    (folder / "encoder.json").write_text(json.dumps({**document, **changes}))


def test_a_vector_depends_on_its_input_alone(folder: Path) -> None:
    encoder = encoders.load(EncoderConfig.model_validate({"onnx": {"directory": str(folder)}, "threads": 1}))
    assert encoder.shared_space and encoder.dim == DIM
    pages = [*probe_pages(), Image.new("RGB", (40, 40), "white"), Image.new("RGB", (1, 1))]
    together = encoder.encode_images(pages)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-6)
    for row, page in zip(together, pages, strict=True):
        np.testing.assert_array_equal(row, encoder.encode_images([page])[0])
    texts = ["the total and the date", "", "and " * 40]
    together = encoder.encode_texts(texts)
    for row, text in zip(together, texts, strict=True):
        np.testing.assert_array_equal(row, encoder.encode_texts([text])[0])
    for threads in (2, 5):
        other = OnnxPairEncoder(folder, threads=threads)
        np.testing.assert_array_equal(other.encode_texts(texts * 3), np.tile(together, (3, 1)))
        np.testing.assert_array_equal(other.encode_images(pages[::-1]), encoder.encode_images(pages)[::-1])
    # The towers do depend on what shares a call: a call a row is not idle caution.
    session = encoder._image._session  # type: ignore[attr-defined]
    pixels = np.stack([encoder._preprocess(page) for page in pages[:8]])  # type: ignore[attr-defined]
    batched = session.run(None, {"pixels": pixels})[0]
    alone = np.concatenate([session.run(None, {"pixels": row[None]})[0] for row in pixels])
    assert not np.array_equal(batched, alone)


def test_rows_are_worked_on_side_by_side_each_on_one_thread(folder: Path) -> None:
    together = threading.Barrier(3)  # opens when three rows are being prepared at once, and only then

    def prepare(value: int) -> np.ndarray:
        together.wait(timeout=60)
        return np.full((3, SIDE, SIDE), value, np.float32)

    encode = Tower(folder / "image.onnx", prepare, DIM, threads=3)
    assert encode._session.get_session_options().intra_op_num_threads == 1
    assert encode([1, 2, 3]).shape == (3, DIM)

    def refuse(value: int) -> np.ndarray:
        raise ValueError(f"row {value}")

    with pytest.raises(ValueError, match="row 1"):
        Tower(folder / "image.onnx", refuse, DIM, threads=3)([1, 2, 3])


def test_identity_names_weights_and_preprocessing(folder: Path) -> None:
    first = OnnxPairEncoder(folder).identity
    assert first == OnnxPairEncoder(folder).identity
    write_sidecar(folder, image=Preprocessing((SIDE, SIDE), (0.4, 0.5, 0.5), (0.2, 0.2, 0.2)).document())
    second = OnnxPairEncoder(folder).identity
    tower(folder / "image.onnx", "pixels", [3, SIDE, SIDE], TensorProto.FLOAT, 3 * SIDE * SIDE, 9)
    write_sidecar(folder)
    assert len({first, second, OnnxPairEncoder(folder).identity}) == 3


def test_refusals(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match="driftline encoder export"):
        OnnxPairEncoder(tmp_path / "nothing")
    with (folder / "text.onnx").open("ab") as file:
        file.write(b"x")
    with pytest.raises(EncoderError, match="not the file that was exported"):
        OnnxPairEncoder(folder)
    for changes, message in (
        ({"v": 2}, "version 2"),
        ({"text": {"tokenizer": "sentencepiece"}}, "'sentencepiece' is not supported"),
        ({"dim": None, "files": {"../x": "0"}}, "not in"),
        ({"image": {"size": [1]}}, "`image` is not usable"),
    ):
        write_sidecar(folder, **changes)
        with pytest.raises(EncoderError, match=message):
            OnnxPairEncoder(folder)
    (folder / "image.onnx").write_bytes(b"not a model")
    write_sidecar(folder)
    with pytest.raises(EncoderError, match="cannot load"):
        OnnxPairEncoder(folder)


def test_tokens(folder: Path) -> None:
    tokens = ClipTokenizer(folder / "merges.txt.gz", CONTEXT)
    start, end = tokens._ids["<start_of_text>"], tokens._ids["<end_of_text>"]
    the, and_ = tokens._ids["the</w>"], tokens._ids["and</w>"]
    assert tokens(["THE and\nthe"]).tolist() == [[start, the, and_, the, end, *[0] * 7]]
    assert tokens([""]).tolist() == [[start, end, *[0] * 10]]
    assert tokens(["the " * 50]).tolist() == [[start, *[the] * 10, end]]


def test_cleaning() -> None:
    assert clean("  “It’s”\t&amp;amp; ﬁne\x00 ") == '"it\'s" & fine'
    assert clean("ＡＢＣ　ﾊﾟ") == "abc パ"
    assert clean("e\u0301") == "é"


@pytest.mark.parametrize("mode", ["shortest", "longest", "squash"])
@pytest.mark.parametrize("size", [(30, 20), (20, 30), (16, 16), (1, 700), (700, 1), (5, 5)])
def test_preprocessing_shape(mode: str, size: tuple[int, int]) -> None:
    steps = Preprocessing((16, 24), (0.5, 0.5, 0.5), (0.25, 0.25, 0.25), resize_mode=mode)
    pixels = steps(Image.new("RGB", size, "white"))
    assert pixels.shape == (3, 16, 24) and pixels.dtype == np.float32
    assert pixels.max() == pytest.approx(2)
    assert pixels.min() == pytest.approx(-2 if mode == "longest" and size != (24, 16) and size != (30, 20) else 2)
    assert Preprocessing.from_document(json.loads(json.dumps(steps.document()))) == steps


def test_preprocessing_that_is_not_usable() -> None:
    with pytest.raises(EncoderError, match="not supported"):
        Preprocessing((16, 16), (0, 0, 0), (1, 1, 1), interpolation="lanczos")
    with pytest.raises(EncoderError, match="not usable"):
        Preprocessing((16, 16), (0, 0, 0), (1, 0, 1))
