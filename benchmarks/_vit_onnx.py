"""A CLIP ViT-B/32 pair with random weights written straight as ONNX, so that its speed is measured without torch.

Shapes follow open_clip's ViT-B-32: image tower 12 x 768 on 50 tokens, text tower 12 x 512 on 77 tokens.
"""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from monitor.embed.encoders.onnx_pair import SIDECAR, VERSION, file_digest
from monitor.embed.encoders.preprocess import Preprocessing

DIM, CONTEXT, VOCABULARY = 512, 77, 49408


class _Graph:
    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def constant(self, value: Any) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def weights(self, *shape: int) -> str:
        return self.constant((self.rng.standard_normal(shape) / np.sqrt(shape[0])).astype(np.float32))

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        name = f"n{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def norm(self, x: str, width: int) -> str:
        ones, zeros = np.ones(width, np.float32), np.zeros(width, np.float32)
        return self.op("LayerNormalization", x, self.constant(ones), self.constant(zeros), axis=-1)

    def linear(self, x: str, into: int, out: int) -> str:
        return self.op("Add", self.op("MatMul", x, self.weights(into, out)), self.constant(np.zeros(out, np.float32)))

    def block(self, x: str, tokens: int, width: int, mask: str | None) -> str:
        heads, size = width // 64, 64
        normed = self.norm(x, width)
        split = self.constant(np.array([1, tokens, heads, size]))
        query, key, value = (
            self.op("Transpose", self.op("Reshape", self.linear(normed, width, width), split), perm=perm)
            for perm in ([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3])
        )
        scores = self.op("Mul", self.op("MatMul", query, key), self.constant(np.float32(size**-0.5)))
        if mask is not None:
            scores = self.op("Add", scores, mask)
        mixed = self.op("MatMul", self.op("Softmax", scores, axis=-1), value)
        joined = self.op(
            "Reshape", self.op("Transpose", mixed, perm=[0, 2, 1, 3]), self.constant(np.array([1, tokens, width]))
        )
        x = self.op("Add", x, self.linear(joined, width, width))
        wide = self.op("Gelu", self.linear(self.norm(x, width), width, 4 * width))
        return self.op("Add", x, self.linear(wide, 4 * width, width))

    def save(self, path: Path, name: str, kind: int, shape: list[int], last: str) -> None:
        self.nodes.append(helper.make_node("Identity", [last], ["vectors"]))
        graph = helper.make_graph(
            self.nodes,
            "tower",
            [helper.make_tensor_value_info(name, kind, shape)],
            [helper.make_tensor_value_info("vectors", TensorProto.FLOAT, [1, DIM])],
            self.constants,
        )
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9), path)


def _image(path: Path) -> None:
    g, width, tokens = _Graph(1), 768, 50
    patches = g.op("Conv", "pixels", g.weights(width, 3, 32, 32), strides=[32, 32])
    row = g.op("Transpose", g.op("Reshape", patches, g.constant(np.array([1, width, 49]))), perm=[0, 2, 1])
    x = g.op("Add", g.op("Concat", g.weights(1, 1, width), row, axis=1), g.weights(1, tokens, width))
    x = g.norm(x, width)
    for _ in range(12):
        x = g.block(x, tokens, width, None)
    pooled = g.op("Gather", x, g.constant(np.array(0)), axis=1)
    g.save(
        path,
        "pixels",
        TensorProto.FLOAT,
        [1, 3, 224, 224],
        g.op("MatMul", g.norm(pooled, width), g.weights(width, DIM)),
    )


def _text(path: Path) -> None:
    g, width = _Graph(2), 512
    x = g.op("Add", g.op("Gather", g.weights(VOCABULARY, width), "ids"), g.weights(1, CONTEXT, width))
    mask = g.constant(np.triu(np.full((CONTEXT, CONTEXT), -1e9, np.float32), 1))
    for _ in range(12):
        x = g.block(x, CONTEXT, width, mask)
    flat = g.op("Reshape", g.norm(x, width), g.constant(np.array([CONTEXT, width])))
    pooled = g.op("Gather", flat, g.op("ArgMax", "ids", axis=1, keepdims=0), axis=0)
    g.save(path, "ids", TensorProto.INT64, [1, CONTEXT], g.op("MatMul", pooled, g.weights(width, DIM)))


def write_pair(folder: Path, *, int8: bool) -> None:
    """Make ``folder`` an encoder folder with random weights; its tokenizer knows single bytes only."""
    from monitor.embed.export import quantise

    folder.mkdir(parents=True)
    _image(folder / "image.onnx")
    _text(folder / "text.onnx")
    if int8:
        quantise(folder / "image.onnx")
        quantise(folder / "text.onnx")
    (folder / "merges.txt.gz").write_bytes(gzip.compress(b"#version\n"))
    preprocessing = Preprocessing((224, 224), (0.48, 0.46, 0.41), (0.27, 0.26, 0.28))
    document = {
        "v": VERSION,
        "model": "ViT-B-32-random",
        "precision": "int8" if int8 else "fp32",
        "dim": DIM,
        "image": preprocessing.document(),
        "text": {"tokenizer": "clip_bpe", "merges": "merges.txt.gz", "context_length": CONTEXT},
        "files": {path.name: file_digest(path) for path in sorted(folder.iterdir())},
    }
    (folder / SIDECAR).write_bytes(msgspec.json.encode(document))
