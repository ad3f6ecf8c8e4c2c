"""driftline-mini: the small image-text encoder that comes with the package.

A folder holds ``image.onnx`` (pixels float32[1, 3, h, w] to a vector, int8 with scales fixed at export), the text
tower's ``text.onnx`` and ``vocabulary.txt.gz``, and ``encoder.json``: the preprocessing and the sha256 of every file,
which are checked at load. How it was made: ``training/``; what it can and cannot do: docs/encoder-model-card.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from monitor.embed.encoders.base import EncoderError, Vectors, unit_rows
from monitor.embed.encoders.onnx_pair import open_session, read_sidecar, weights_digest
from monitor.embed.encoders.preprocess import Preprocessing
from monitor.embed.encoders.text_tower import TextTower

FOLDER = Path(__file__).resolve().parent / "driftline_mini"
TOKENIZER = "wordpiece_context"
FORMER_TOKENIZERS = ("wordpiece_static",)  # sums of token vectors, before the text tower was a network


class MiniEncoder:
    """Images and texts in one space, one image or text a call."""

    shared_space = True

    def __init__(self, directory: Path = FOLDER, *, threads: int = 0) -> None:
        sidecar = read_sidecar(directory)
        text = sidecar["text"]
        if text.get("tokenizer") in FORMER_TOKENIZERS:
            raise EncoderError(
                f"{directory}: its text tower is of an earlier version ({text['tokenizer']}, expected {TOKENIZER}); "
                "use the weights of this package (encoder.builtin: driftline-mini), or make the folder again with "
                "training.distil and training.export"
            )
        if text.get("tokenizer") != TOKENIZER:
            raise EncoderError(
                f"{directory}: tokenizer {text.get('tokenizer')!r} is not driftline-mini's ({TOKENIZER}); "
                "use encoder.onnx for folders written by `driftline encoder export`"
            )
        self._preprocess = Preprocessing.from_document(sidecar["image"])
        self._text = TextTower(directory / text["model"], directory / text["vocabulary"], threads=threads)
        self.dim = int(sidecar["dim"])
        self.identity = f"{sidecar['model']}:{sidecar['precision']}:{weights_digest(sidecar)}:{self._preprocess.digest}"
        self.description = (
            f"{sidecar['model']}, a small encoder trained on drawn documents and few real pages: tells document types "
            f"and their conditions, not what is written; images and texts in one space of {self.dim} dimensions"
        )
        self._image = open_session(directory / "image.onnx", threads)
        self._input = self._image.get_inputs()[0].name

    def encode_images(self, images: Sequence[Image.Image]) -> Vectors:
        out = np.zeros((len(images), self.dim), dtype=np.float32)
        for row, image in zip(out, images, strict=True):
            row[:] = self._image.run(None, {self._input: self._preprocess(image)[None]})[0][0]
        return unit_rows(out)

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        return self._text(texts)
