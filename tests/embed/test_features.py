"""The built-in encoder: deterministic, independent of the batch, and good enough to tell kinds of documents apart."""

from __future__ import annotations

import csv
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from monitor.config.inputs import Encoder as EncoderConfig
from monitor.embed import encoders
from monitor.embed.encoders.features import FeatureEncoder
from monitor.embed.images import Decoded, decode
from monitor.embed.probes import probe_pages
from tests.data import shared_data

TEXTS = [
    "",
    "a",
    "Extract the total and the date.",
    "Summarise the letter in German.",
    "数字を読んでください",
    "\ud800 lone",
    "x" * 50_000,
]


@pytest.fixture(scope="module")
def encoder() -> encoders.Encoder:
    return encoders.load(EncoderConfig(builtin="features"))


def test_it_says_what_it_is(encoder: encoders.Encoder) -> None:
    assert isinstance(encoder, FeatureEncoder)
    assert not encoder.shared_space
    assert "not of meaning" in encoder.description
    assert encoder.identity == FeatureEncoder().identity
    assert len(encoder.identity) <= 200


def test_vectors_depend_on_their_input_alone(encoder: encoders.Encoder) -> None:
    pages = [*probe_pages(), Image.new("RGB", (1, 1)), Image.new("RGB", (300, 2), "white")]
    together = encoder.encode_images(pages)
    assert together.shape == (len(pages), encoder.dim) and together.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
    for row, page in zip(together, pages, strict=True):
        np.testing.assert_array_equal(row, encoder.encode_images([page])[0])
        np.testing.assert_array_equal(row, FeatureEncoder().encode_images([page])[0])
    texts = encoder.encode_texts(TEXTS)
    assert texts.shape == (len(TEXTS), encoder.dim) and texts.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(texts, axis=1), 1, atol=1e-5)
    for row, text in zip(texts, TEXTS, strict=True):
        np.testing.assert_array_equal(row, encoder.encode_texts([text])[0])
    assert encoder.encode_images([]).shape == encoder.encode_texts([]).shape == (0, encoder.dim)


def test_like_texts_are_near(encoder: encoders.Encoder) -> None:
    near, same, far = encoder.encode_texts(
        ["Extract the total and the date.", "Extract the date and the total.", "Wie viele Seiten hat der Vertrag?"]
    )
    assert near @ same > 0.8
    assert near @ far < 0.4


@pytest.mark.real
def test_kinds_of_real_pages_are_told_apart(encoder: encoders.Encoder) -> None:
    folder = shared_data("images")
    with (folder / "manifest.csv").open() as file:
        rows = list(csv.DictReader(file))[::2]
    images = [decode((folder / row["file"]).read_bytes(), 50_000_000) for row in rows]
    assert all(isinstance(image, Decoded) for image in images)
    vectors = encoder.encode_images([image.image for image in images if isinstance(image, Decoded)])
    similar = vectors @ vectors.T
    np.fill_diagonal(similar, -2)
    kinds = [row["kind"] for row in rows]
    nearest = np.argsort(-similar, axis=1)[:, :5]
    found = [Counter(kinds[j] for j in five).most_common(1)[0][0] for five in nearest]
    assert np.mean([a == b for a, b in zip(found, kinds, strict=True)]) >= 0.55
