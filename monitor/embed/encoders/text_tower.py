"""The text tower of driftline-mini: WordPiece tokens to a vector, by a small network on ONNX Runtime.

``text.onnx`` takes the ids of one text, int64[1, n], to float32[1, dim]: a vector per token (int8 with a scale),
weighed by what its neighbours and the whole text say, and summed. Its cost grows with the length of a text. Every text
is a call of its own on one thread, so that a vector depends on its text alone; threads share out the texts.
"""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from monitor.embed.encoders.base import EncoderError, Vectors
from monitor.embed.encoders.onnx_pair import Tower
from monitor.embed.encoders.wordpiece import WordPiece

MOST_TOKENS = 4096  # of one text; what follows is not read
_SHARE = 8  # texts that a thread takes at a time


class TextTower:
    """Raises EncoderError where the two files cannot be read or are not of one model.

    ``threads`` 0: as many as there are processors.
    """

    def __init__(self, model_file: Path, vocabulary_file: Path, *, threads: int = 1) -> None:
        try:
            vocabulary = gzip.decompress(vocabulary_file.read_bytes()).decode("utf-8").split("\n")
        except (OSError, ValueError, EOFError) as error:
            raise EncoderError(f"the text tower in {model_file.parent} cannot be read: {error}") from error
        self._tower = Tower(model_file, self._ids, None, threads, _SHARE)
        stated = self._tower.properties.get("tokens")
        if stated != str(len(vocabulary)):
            raise EncoderError(
                f"{vocabulary_file} has {len(vocabulary)} tokens, {model_file} has {stated} vectors; "
                "the two files are not of one model"
            )
        self._tokenizer = WordPiece(vocabulary)
        self.dim = self._tower.dim

    def __call__(self, texts: Sequence[str]) -> Vectors:
        """float32[n, dim], each row of unit norm; a text without tokens is read as one unknown token."""
        return self._tower(texts)

    def _ids(self, text: str) -> NDArray[np.int64]:
        return np.array(self._tokenizer(text)[:MOST_TOKENS] or [self._tokenizer.unknown], dtype=np.int64)
