"""Whether an encoder is right: unit vectors, each of its own input alone, and those that it gave when exported."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from monitor.embed.encoders.base import Encoder, Vectors, unit_rows
from monitor.embed.encoders.mini import MiniEncoder
from monitor.embed.encoders.onnx_pair import OnnxPairEncoder
from monitor.embed.pictures import stored
from monitor.embed.probes import PROBE_TEXTS, cosines, probe_pages

LEAST_COSINE = 0.999  # to what was recorded: processors differ in the last bits, another model by far more
BATCH_COSINE = 0.99999  # torch's kernels may differ by batch size in the last bits


def recorded(encoder: Encoder) -> dict[str, Any]:
    """What an encoder gives for the probes, for its sidecar: sha256 and base64 of float16[16, dim], little endian."""
    vectors = np.concatenate([encoder.encode_images(probe_pages()), encoder.encode_texts(PROBE_TEXTS)])
    data = stored(vectors)
    return {"sha256": hashlib.sha256(data).hexdigest(), "vectors": base64.b64encode(data).decode()}


def record_of(encoder: Encoder) -> dict[str, Any] | None:
    """What was recorded of an encoder when it was exported; None of other encoders."""
    found = encoder.sidecar.get("probe") if isinstance(encoder, OnnxPairEncoder | MiniEncoder) else None
    return found if isinstance(found, dict) else None


def verify(encoder: Encoder, record: Mapping[str, Any] | None = None) -> tuple[list[str], list[str]]:
    """(what is right, what is wrong), in words. ``record`` is what :func:`recorded` gave of this encoder."""
    right: list[str] = []
    wrong: list[str] = []
    pages, texts = probe_pages(), list(PROBE_TEXTS)
    images = encoder.encode_images(pages)
    words = encoder.encode_texts(texts)
    alone = (
        np.concatenate([encoder.encode_images([page]) for page in pages]),
        np.concatenate([encoder.encode_texts([text]) for text in texts]),
    )
    for kind, together, one_by_one in (("images", images, alone[0]), ("texts", words, alone[1])):
        shape = (len(together), encoder.dim)
        if together.shape != shape or not np.isfinite(together).all():
            wrong.append(f"{kind}: expected {shape} finite numbers, got {together.shape}; pull or export it again")
            continue
        lengths = np.linalg.norm(together, axis=1)
        if np.abs(lengths - 1).max() > 1e-4:
            wrong.append(f"{kind}: vectors of length {lengths.min():.4f} to {lengths.max():.4f}, expected 1")
        least = float(cosines(together, one_by_one).min())
        if least < BATCH_COSINE:
            wrong.append(f"{kind}: a vector depends on what is embedded with it (cosine {least:.6f}); run one a call")
        if float((together @ together.T).min()) > BATCH_COSINE:
            wrong.append(f"{kind}: {len(together)} different inputs have the same vector: are these weights trained?")
        if not any(text.startswith(kind) for text in wrong):
            same = "to the bit" if np.array_equal(together, one_by_one) else f"cosine {least:.6f}"
            right.append(f"{kind}: {len(together)} unit vectors, the same alone and together ({same})")
    if record is None:
        right.append("no vectors were recorded to compare with")
    elif not wrong:
        _compare(np.concatenate([images, words]), record, right, wrong)
    return right, wrong


def _compare(vectors: Vectors, record: Mapping[str, Any], right: list[str], wrong: list[str]) -> None:
    try:
        data = base64.b64decode(str(record["vectors"]), validate=True)
        before = unit_rows(np.frombuffer(data, dtype="<f2").reshape(vectors.shape))
    except (KeyError, ValueError) as error:
        wrong.append(f"recorded vectors: not usable ({error!r}); export the encoder again")
        return
    if hashlib.sha256(stored(vectors)).hexdigest() == record.get("sha256"):
        right.append(f"recorded vectors: {len(vectors)} are the same to the bit")
        return
    found = cosines(vectors, before)
    told = f"cosine at least {found.min():.6f} to those recorded at export"
    if not found.min() >= LEAST_COSINE:
        wrong.append(
            f"recorded vectors: {told}, expected {LEAST_COSINE}; export the encoder again, or check this machine"
        )
    else:
        right.append(f"recorded vectors: {told}")
