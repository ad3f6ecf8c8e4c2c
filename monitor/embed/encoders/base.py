"""What every encoder offers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Vectors = NDArray[np.float32]


class EncoderError(Exception):
    """An encoder cannot be loaded or exported: the message says what was wrong, what was got, what to do."""


class Encoder(Protocol):
    """Images and texts to unit vectors.

    A vector depends on its input alone: neither on what else is in the call nor on how many calls were made.
    """

    @property
    def identity(self) -> str:
        """Names the weights (by digest) and the preprocessing; vectors of two identities are never compared."""

    @property
    def dim(self) -> int:
        """Length of every vector."""

    @property
    def side(self) -> int:
        """Longest side in pixels at which images should come; more of it is of no use to the encoder."""

    @property
    def shared_space(self) -> bool:
        """True when image and text vectors may be compared; false: agreement is reported as not measured."""

    @property
    def description(self) -> str:
        """One sentence for people: what this encoder is, and what it is not."""

    def encode_images(self, images: Sequence[Image.Image]) -> Vectors:
        """RGB images to float32[n, dim], each row of unit norm."""

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        """Texts to float32[n, dim], each row of unit norm (an empty text is an input like any other)."""


def scale_in_words(logit_scale: float | None, logit_bias: float | None) -> str:
    """How a model reads a cosine of image and text, in words: by softmax (CLIP), or by sigmoid with a bias (SigLIP)."""
    if logit_scale is None:
        return "its scale of similarity is not known"
    if logit_bias is None:
        return f"similarity by softmax of {logit_scale:g} x cosine"
    return f"similarity by sigmoid of {logit_scale:g} x cosine {logit_bias:+g}"


def unit_rows(rows: NDArray[np.floating]) -> Vectors:
    """Rows scaled to unit norm; an all-zero or non-finite row becomes the first basis vector."""
    out = np.array(rows, dtype=np.float32)
    norms = np.sqrt(np.einsum("ij,ij->i", out, out))
    bad = ~(np.isfinite(norms) & (norms > 1e-12))
    out /= np.where(bad, 1.0, norms)[:, None].astype(np.float32)
    if bad.any():
        out[bad] = 0.0
        out[bad, 0] = 1.0
    return out
