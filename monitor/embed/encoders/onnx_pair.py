"""An exported CLIP pair on ONNX Runtime.

A folder holds ``image.onnx`` (pixels float32[n, 3, h, w] to vectors), ``text.onnx`` (ids int64[n, context] to
vectors), the tokenizer's file, and ``encoder.json``: what was exported, its preprocessing, and the sha256 of
every file, which are checked at load. `driftline encoder export` writes such a folder.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
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
    row on one thread is what makes a vector depend on its input alone; ``threads`` rows are worked on at once.
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
        self._image = Tower(folder / "image.onnx", self._preprocess, self.dim, threads)
        self._text = Tower(folder / "text.onnx", lambda text: self._tokens([text])[0], self.dim, threads)

    def encode_images(self, images: Sequence[Image.Image]) -> Vectors:
        return self._image(images)

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        return self._text(texts)


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


class Tower:
    """One ONNX model with one input row a call: inputs to unit vectors.

    Rows run side by side, each from preparation to vector on one thread. That costs less processor time than threads
    that share a row and wait for each other, and the number of threads cannot change a vector.

    Args:
        path: the model; its first output is float32[1, dim].
        prepare: an input to the array that the model takes, without the leading axis. Called from several threads.
        dim: length of a vector; None: as the model says.
        threads: rows at once; 0: as many as there are processors.
        share: rows that a thread takes at a time; more where a row is little work.

    Raises:
        EncoderError: where the file is no model.
    """

    def __init__(
        self, path: Path, prepare: Callable[[Any], NDArray[Any]], dim: int | None, threads: int, share: int = 1
    ) -> None:
        self._prepare, self._share = prepare, share
        self._threads = threads or os.cpu_count() or 1
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # the engine's exception types are not public
            raise EncoderError(f"ONNX Runtime cannot load {path}: {error}; export the encoder again") from error
        first = self._session.get_inputs()[0]
        self._input, self.takes = first.name, str(first.type)  # as "tensor(uint8)"
        self.dim = int(self._session.get_outputs()[0].shape[1]) if dim is None else dim
        self.properties: dict[str, str] = self._session.get_modelmeta().custom_metadata_map

    def __call__(self, inputs: Sequence[Any]) -> Vectors:
        """Unit vectors, float32[len(inputs), dim]."""
        out = np.zeros((len(inputs), self.dim), dtype=np.float32)

        def run(start: int) -> None:
            for row in range(start, min(start + self._share, len(inputs))):
                out[row] = self._session.run(None, {self._input: self._prepare(inputs[row])[None]})[0][0]

        starts = range(0, len(inputs), self._share)
        count = min(self._threads, len(starts))
        if count > 1:
            with ThreadPoolExecutor(count, thread_name_prefix="driftline-encode") as threads:
                list(threads.map(run, starts))
        else:
            for start in starts:
                run(start)
        return unit_rows(out)
