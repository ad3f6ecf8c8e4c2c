"""A tokenizer of the Hugging Face kind without torch or transformers: ``tokenizer.json``, read by `tokenizers`.

SigLIP models and others whose tokenizer is not CLIP's own have one. Needs the extra ``tokenizers``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from monitor.embed.encoders.base import EncoderError
from monitor.embed.encoders.clip_tokens import CLEANING, clean


class HubTokenizer:
    """Texts to ids of fixed length. Truncation, padding and special tokens are those that the file states."""

    def __init__(self, file: Path, context_length: int, cleaning: str) -> None:
        try:
            from tokenizers import Tokenizer
        except ImportError as error:
            raise EncoderError(
                f"{file} is read by the package tokenizers, which is not installed ({error}); "
                "`pip install 'driftline[tokenizers]'`"
            ) from error
        if cleaning not in CLEANING:
            raise EncoderError(f"cleaning {cleaning!r} is not known, only {', '.join(CLEANING)}; export again")
        try:
            self._tokenizer = Tokenizer.from_file(str(file))
        except Exception as error:  # the package raises plain Exception
            raise EncoderError(f"{file} is no tokenizer: {error}; export the encoder again") from error
        self.context_length, self._cleaning = context_length, cleaning
        length = len(self._tokenizer.encode("a").ids)
        if length != context_length or len(self._tokenizer.encode("a " * 4 * context_length).ids) != context_length:
            raise EncoderError(f"{file} does not cut and fill to {context_length} ids; export the encoder again")

    def __call__(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """int64[n, context_length]."""
        out = np.zeros((len(texts), self.context_length), dtype=np.int64)
        for row, text in zip(out, texts, strict=True):
            row[:] = self._tokenizer.encode(clean(text, self._cleaning)).ids
        return out
