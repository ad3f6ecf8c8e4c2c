"""The text tower of driftline-mini: the sum of a vector per WordPiece token, in exact integers."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from monitor.embed.encoders.base import EncoderError, Vectors, unit_rows
from monitor.embed.encoders.wordpiece import WordPiece

MOST_TOKENS = 4096  # of one text; what follows is not read
_CHUNK = 256  # texts summed at a time, which bounds memory


class StaticText:
    """``values`` int8[tokens, dim] x ``multipliers`` uint16[tokens] are the vectors of the tokens.

    Sums of integers do not depend on order, batch or machine, so neither does a vector.
    """

    def __init__(self, tokens_file: Path, vocabulary_file: Path) -> None:
        try:
            with np.load(tokens_file, allow_pickle=False) as file:
                self._values: NDArray[np.int8] = file["values"]
                self._multipliers: NDArray[np.int32] = file["multipliers"].astype(np.int32)
            vocabulary = gzip.decompress(vocabulary_file.read_bytes()).decode("utf-8").split("\n")
        except (OSError, ValueError, KeyError, EOFError) as error:
            raise EncoderError(f"the text tower in {tokens_file.parent} cannot be read: {error}") from error
        if len(vocabulary) != len(self._values):
            raise EncoderError(
                f"{vocabulary_file} has {len(vocabulary)} tokens, {tokens_file} has {len(self._values)} vectors; "
                "the two files are not of one model"
            )
        self._tokenizer = WordPiece(vocabulary)
        self._nothing = [self._tokenizer.unknown]
        self.dim = int(self._values.shape[1])

    def __call__(self, texts: Sequence[str]) -> Vectors:
        """float32[n, dim], each row of unit norm; a text without tokens is read as one unknown token."""
        out = np.zeros((len(texts), self.dim), dtype=np.float32)
        for start in range(0, len(texts), _CHUNK):
            bags = [self._tokenizer(text)[:MOST_TOKENS] or self._nothing for text in texts[start : start + _CHUNK]]
            for row, bag in enumerate(bags, start):
                ids = np.array(bag, dtype=np.int64)
                # At most 4,096 x 127 x 4,095: the sum fits 32 bits.
                out[row] = self._multipliers[ids] @ self._values[ids].astype(np.int32)
        return unit_rows(out)
