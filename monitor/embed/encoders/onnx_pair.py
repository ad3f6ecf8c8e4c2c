"""An exported CLIP pair on ONNX Runtime.

A folder holds ``image.onnx`` (pixels float32[n, 3, h, w] to vectors), ``text.onnx`` (ids int64[n, context] to
vectors), the tokenizer's file, and ``encoder.json``: what was exported, its preprocessing, and the sha256 of
every file, which are checked at load. `driftline encoder export` writes such a folder.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnxruntime
from numpy.typing import NDArray
from PIL import Image

from monitor.embed.encoders.base import EncoderError, Vectors, scale_in_words, unit_rows
from monitor.embed.encoders.clip_tokens import ClipTokenizer
from monitor.embed.encoders.hub_tokens import HubTokenizer
from monitor.embed.encoders.preprocess import Preprocessing

SIDECAR = "encoder.json"
VERSION = 1
TOKENIZERS = ("clip_bpe", "hub_json")


def file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class OnnxPairEncoder:
    """Image and text tower in one space. Every row is a call of its own.

    Quantised towers choose activation scales per call, and matrix kernels may differ by batch size; a call a
    row is what makes a vector depend on its input alone. The engine's threads work inside the row.
    """

    shared_space = True

    def __init__(self, directory: str | Path, *, threads: int = 0) -> None:
        folder = Path(directory).expanduser()
        self.sidecar = read_sidecar(folder)
        self._preprocess = Preprocessing.from_document(self.sidecar["image"])
        self.side = self._preprocess.side
        self._tokens = _tokenizer(folder, self.sidecar["text"])
        self.dim = int(self.sidecar["dim"])
        name = f"{self.sidecar['model']}:{self.sidecar['precision']}"
        self.identity = f"onnx:{name}:{weights_digest(self.sidecar)}:{self._preprocess.digest}"
        self.logit_scale, self.logit_bias = self.sidecar.get("logit_scale"), self.sidecar.get("logit_bias")
        self.description = (
            f"{name} on ONNX Runtime: images and texts in one space of {self.dim} dimensions; "
            f"{scale_in_words(self.logit_scale, self.logit_bias)}"
        )
        self._image = open_session(folder / "image.onnx", threads)
        self._text = open_session(folder / "text.onnx", threads)

    def encode_images(self, images: Sequence[Image.Image]) -> Vectors:
        return self._rows(self._image, (self._preprocess(image) for image in images), len(images))

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        return self._rows(self._text, (self._tokens([text])[0] for text in texts), len(texts))

    def _rows(self, session: Any, inputs: Any, n: int) -> Vectors:
        out = np.zeros((n, self.dim), dtype=np.float32)
        name = session.get_inputs()[0].name
        for row, value in enumerate(inputs):
            out[row] = session.run(None, {name: value[None]})[0][0]
        return unit_rows(out)


def _tokenizer(folder: Path, text: dict[str, Any]) -> Callable[[Sequence[str]], NDArray[np.int64]]:
    kind = text.get("tokenizer")
    try:
        if kind == "clip_bpe":
            return ClipTokenizer(folder / text["merges"], int(text["context_length"]))
        if kind == "hub_json":
            return HubTokenizer(folder / text["file"], int(text["context_length"]), text["cleaning"])
    except (KeyError, TypeError, ValueError) as error:
        raise EncoderError(f"{folder / SIDECAR}: `text` is not usable ({error!r}); export the encoder again") from error
    raise EncoderError(
        f"{folder / SIDECAR}: tokenizer {kind!r} is not supported here, only {', '.join(TOKENIZERS)}; export the "
        "encoder again"
    )


def tokenizer_of(folder: Path) -> str:
    """The tokenizer that a folder's sidecar names: tells which encoder reads it. Raises EncoderError."""
    text = _document(folder).get("text")
    return str(text.get("tokenizer")) if isinstance(text, dict) else ""


def read_sidecar(folder: Path) -> dict[str, Any]:
    """encoder.json of a folder, checked: version, keys, and the sha256 of every file it names.

    Raises EncoderError, with a line for each file that is wrong.
    """
    path, value = folder / SIDECAR, _document(folder)
    if value.get("v") != VERSION:
        raise EncoderError(
            f"{path}: version {value.get('v')!r} is not known, expected {VERSION}; export the encoder again"
        )
    absent = [key for key in ("model", "dim", "image", "text", "files", "precision") if key not in value]
    if absent:
        raise EncoderError(f"{path}: {', '.join(absent)} missing; export the encoder again")
    wrong = []
    for name, stated in value["files"].items():
        if "/" in name or not (folder / name).is_file():
            wrong.append(f"{path} names {name!r}, which is not in {folder}; copy the whole folder or export again")
        elif (found := file_digest(folder / name)) != stated:
            wrong.append(
                f"{folder / name} is not the file that was exported: sha256 {found[:16]}…, expected {stated[:16]}…; "
                "copy it again, or export again"
            )
    if wrong:
        raise EncoderError("\n".join(wrong))
    return value


def _document(folder: Path) -> dict[str, Any]:
    path = folder / SIDECAR
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
    except (OSError, msgspec.DecodeError) as error:
        raise EncoderError(
            f"{path} cannot be read: {error}; `driftline encoder export --out {folder}` makes such a folder"
        ) from error


def weights_digest(sidecar: dict[str, Any]) -> str:
    """16 hex digits that stand for the contents of all files of a folder."""
    digests = "".join(sidecar["files"][name] for name in sorted(sidecar["files"]))
    return hashlib.sha256(digests.encode()).hexdigest()[:16]


def open_session(path: Path, threads: int) -> Any:
    """An ONNX Runtime session on the processor; ``threads`` 0: as many as there are processors. Raises EncoderError
    where the file is no model."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or os.cpu_count() or 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # A thread that spins for work between rows takes the processor from decoding.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the engine's exception types are not public
        raise EncoderError(f"ONNX Runtime cannot load {path}: {error}; export the encoder again") from error
