"""The text tower of driftline-mini: WordPiece tokens to a vector, by a small network on ONNX Runtime.

``text.onnx`` takes the ids of one text, int64[1, n], to float32[1, dim]: a vector per token (int8 with a scale),
weighed by what its neighbours and the whole text say, and summed. Its cost grows with the length of a text. Every text
is a call of its own on one thread, so that a vector depends on its text alone; threads share out the texts.
"""

from __future__ import annotations

import gzip
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from monitor.embed.encoders.base import EncoderError, Vectors, unit_rows
from monitor.embed.encoders.onnx_pair import open_session
from monitor.embed.encoders.wordpiece import WordPiece

MOST_TOKENS = 4096  # of one text; what follows is not read
_SHARE = 32  # texts that a thread takes at a time


class TextTower:
    """Raises EncoderError where the two files cannot be read or are not of one model.

    ``threads`` 0: as many as there are processors.
    """

    def __init__(self, model_file: Path, vocabulary_file: Path, *, threads: int = 1) -> None:
        try:
            vocabulary = gzip.decompress(vocabulary_file.read_bytes()).decode("utf-8").split("\n")
        except (OSError, ValueError, EOFError) as error:
            raise EncoderError(f"the text tower in {model_file.parent} cannot be read: {error}") from error
        self._session = open_session(model_file, 1)
        stated = self._session.get_modelmeta().custom_metadata_map.get("tokens")
        if stated != str(len(vocabulary)):
            raise EncoderError(
                f"{vocabulary_file} has {len(vocabulary)} tokens, {model_file} has {stated} vectors; "
                "the two files are not of one model"
            )
        self._tokenizer = WordPiece(vocabulary)
        self._nothing = [self._tokenizer.unknown]
        self.dim = int(self._session.get_outputs()[0].shape[1])
        self._threads = threads or os.cpu_count() or 1

    def __call__(self, texts: Sequence[str]) -> Vectors:
        """float32[n, dim], each row of unit norm; a text without tokens is read as one unknown token."""
        out = np.zeros((len(texts), self.dim), dtype=np.float32)

        def encode(start: int) -> None:
            for row, text in enumerate(texts[start : start + _SHARE], start):
                ids = self._tokenizer(text)[:MOST_TOKENS] or self._nothing
                out[row] = self._session.run(None, {"ids": np.array([ids], dtype=np.int64)})[0][0]

        starts = range(0, len(texts), _SHARE)
        workers = min(self._threads, len(starts))
        if workers > 1:
            with ThreadPoolExecutor(workers) as pool:
                list(pool.map(encode, starts))
        else:
            for start in starts:
                encode(start)
        return unit_rows(out)
