"""driftline-mini: the small image-text encoder that comes with the package.

A folder holds ``image.onnx`` (fitted pixels uint8[1, h, w, 3], which it scales itself by the sidecar's mean and
deviation, to a vector), the text tower's ``text.onnx`` and ``vocabulary.txt.gz``, and ``encoder.json``: the
preprocessing and the sha256 of every file, which are checked at load. How it was made: ``training/``; what it can and
cannot do: docs/encoder-model-card.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from monitor.embed.encoders.base import EncoderError, Vectors
from monitor.embed.encoders.onnx_pair import Tower, read_sidecar, weights_digest
from monitor.embed.encoders.preprocess import Preprocessing
from monitor.embed.encoders.text_tower import TextTower

FOLDER = Path(__file__).resolve().parent / "driftline_mini"
TOKENIZER = "wordpiece_context"
FORMER_TOKENIZERS = ("wordpiece_static",)  # sums of token vectors, before the text tower was a network


class MiniEncoder:
    """Images and texts in one space, one image or text a call."""

    shared_space = True

    def __init__(self, directory: Path = FOLDER, *, threads: int = 0) -> None:
        self.sidecar = sidecar = read_sidecar(directory)
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
        self.side = self._preprocess.side
        self._text = TextTower(directory / text["model"], directory / text["vocabulary"], threads=threads)
        self.dim = int(sidecar["dim"])
        self.identity = f"{sidecar['model']}:{sidecar['precision']}:{weights_digest(sidecar)}:{self._preprocess.digest}"
        self.description = (
            f"{sidecar['model']}, a small encoder trained on drawn documents and few real pages: tells document types "
            f"and their conditions, not what is written; images and texts in one space of {self.dim} dimensions"
        )
        self._image = Tower(directory / "image.onnx", self._preprocess.fitted, self.dim, threads)
        if self._image.takes != "tensor(uint8)":
            raise EncoderError(
                f"{directory / 'image.onnx'} takes {self._image.takes}, expected 8-bit pixels, tensor(uint8): it is of "
                "an older version; export it again (training/README.md)"
            )

    def encode_images(self, images: Sequence[Image.Image]) -> Vectors:
        return self._image(images)

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        return self._text(texts)
