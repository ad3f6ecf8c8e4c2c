"""Sampled sessions as detectors and explanations take them: one row or score per session, near-duplicates once."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from detectors.drift.duplicates import first_of_each
from monitor.evaluate.calendar import HOUR_US
from monitor.store.evaluation import SampleRow
from monitor.store.references import ReferenceSample

FORMAT: Final = 1  # of packed sessions
_PHASH = re.compile(r'"phash":\s*"([0-9a-f]{16})"')  # in conditions; parsing the whole of each is ten times slower


def session_vectors(
    samples: Sequence[SampleRow], modality: str, encoder: str
) -> tuple[NDArray[np.float32], list[SampleRow]]:
    """One row per session: the mean of its parts' vectors, float32[n, d], and the samples it is of.

    Of sessions of an hour whose images are near-duplicates only the first one counts.
    """
    samples = [sample for sample in samples if sample.encoder == encoder]
    rows, of = [], []
    for sample in distinct(samples) if modality == "image" else samples:
        parts = [np.frombuffer(v, dtype="<f2") for kind, v, _, _ in sample.parts if kind == modality and v is not None]
        if parts:
            single = [part.astype(np.float32) for part in parts]
            rows.append(single[0] if len(single) == 1 else np.mean(np.stack(single), axis=0))
            of.append(sample)
    return (np.stack(rows) if rows else np.zeros((0, 0), dtype=np.float32)), of


def agreements(samples: Sequence[SampleRow]) -> tuple[NDArray[np.float64], list[SampleRow]]:
    """One image-text cosine per session (the mean over its pairs), near-duplicates of an hour once."""
    values, of = [], []
    for sample in distinct(samples):
        mean = mean_agreement(sample)
        if mean is not None:
            values.append(mean)
            of.append(sample)
    return np.array(values, dtype=np.float64), of


def mean_agreement(sample: SampleRow) -> float | None:
    """Mean image-text cosine over a session's pairs, None where it has none."""
    pairs = [agreement for _, _, agreement, _ in sample.parts if agreement is not None]
    return sum(pairs) / len(pairs) if pairs else None


def most_used_encoder(samples: Sequence[SampleRow]) -> str:
    """Identity of the encoder that embedded most of the samples, '' where none did."""
    used = Counter(sample.encoder for sample in samples if sample.encoder)
    return max(used, key=lambda name: (used[name], name)) if used else ""


def distinct(samples: Sequence[SampleRow]) -> list[SampleRow]:
    """Without those whose images are near-duplicates of an earlier one's of the same hour and segment."""
    hours = [(sample.segment, sample.window_us // HOUR_US) for sample in samples]
    return [samples[i] for i in first_of_each([_hashes(sample) for sample in samples], hours).tolist()]


def _hashes(sample: SampleRow) -> tuple[int, ...]:
    """Perceptual hashes of the images that have one, in order."""
    found = []
    for modality, vector, _, text in sample.parts:
        if modality == "image" and vector is not None and (match := _PHASH.search(text)):
            found.append(int(match[1], 16))
    return tuple(found)


def rank(sample: SampleRow) -> bytes:
    """The first by it are a uniform choice of sessions, the same in every run."""
    return hashlib.blake2b(sample.sample_id.encode(), digest_size=8, person=b"reference").digest()


def has_vector(sample: SampleRow) -> bool:
    """Whether any of the session's inputs was embedded."""
    return any(vector is not None for _, vector, _, _ in sample.parts)


def packed(sample: SampleRow) -> bytes:
    """The whole session, copied into a reference: retention of samples changes neither it nor what it explains."""
    return msgspec.msgpack.encode(
        {
            "format": FORMAT, "window_us": sample.window_us, "route": sample.route, "segment": sample.segment,
            "pi": sample.pi, "encoder": sample.encoder, "facts": sample.facts,
            "parts": sample.parts,
        }
    )  # fmt: skip


def unpacked(row: ReferenceSample) -> SampleRow | None:
    """The inverse of `packed`; None where the reference keeps no sessions that this version reads."""
    found: dict[str, Any] = msgspec.msgpack.decode(row.vectors) if row.vectors else {}
    if found.get("format") != FORMAT or "facts" not in found:
        return None
    return SampleRow(
        row.sample_id, found["window_us"], found["route"], found["segment"], found["pi"], found["encoder"],
        found["facts"], tuple((m, v, a, c) for m, v, a, c in found["parts"]), row.user,
    )  # fmt: skip


def parsed(text: str) -> dict[str, Any]:
    """A JSON object as it is stored (facts, conditions); {} for none."""
    found = msgspec.json.decode(text) if text else {}
    return found if isinstance(found, dict) else {}
