"""What `driftline encoder verify` finds wrong, each in an encoder that is wrong in that way."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from PIL import Image

from monitor.embed.encoders.base import Vectors, unit_rows
from monitor.embed.encoders.features import FeatureEncoder
from monitor.embed.verify import recorded, verify


class Spoilt(FeatureEncoder):
    """The feature encoder with ``spoil`` done to the vectors of every call."""

    def __init__(self, spoil: Any) -> None:
        super().__init__()
        self.spoil = spoil

    def encode_images(self, images: Sequence[Image.Image]) -> Vectors:
        found: Vectors = self.spoil(super().encode_images(images))
        return found


def not_a_number(rows: Vectors) -> Vectors:
    rows[0, 0] = np.nan
    return rows


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda rows: 2 * rows, "images: vectors of length 2.0000 to 2.0000, expected 1"),
        (not_a_number, "finite numbers"),
        (lambda rows: rows[:, :-1], "finite numbers, got (8, "),
        (lambda rows: unit_rows(rows + rows.mean(axis=0)), "depends on what is embedded with it"),
        (lambda rows: np.tile(np.eye(1, rows.shape[1], dtype=np.float32), (len(rows), 1)), "have the same vector"),
    ],
)
def test_what_is_wrong_is_said(spoil: Any, message: str) -> None:
    right, wrong = verify(Spoilt(spoil))
    assert any(message in text for text in wrong), wrong
    assert right[0].startswith("texts: 8 unit vectors")


def test_recorded_vectors() -> None:
    encoder = FeatureEncoder()
    record = recorded(encoder)
    assert verify(encoder, record) == (
        [
            "images: 8 unit vectors, the same alone and together (to the bit)",
            "texts: 8 unit vectors, the same alone and together (to the bit)",
            "recorded vectors: 16 are the same to the bit",
        ],
        [],
    )
    vectors = np.frombuffer(base64.b64decode(record["vectors"]), "<f2").copy()
    vectors[0] += np.float16(0.0003)
    near = {**record, "sha256": "0", "vectors": base64.b64encode(vectors.tobytes()).decode()}
    right, wrong = verify(encoder, near)
    assert right[2].startswith("recorded vectors: cosine at least ") and not wrong
    vectors[: encoder.dim] = np.roll(vectors[: encoder.dim], 7)
    other = {**near, "vectors": base64.b64encode(vectors.tobytes()).decode()}
    assert "expected 0.999; export the encoder again" in verify(encoder, other)[1][0]
    for vectors_text in ("%", base64.b64encode(b"short").decode(), None):
        assert "not usable" in verify(encoder, {**record, "vectors": vectors_text})[1][0]
