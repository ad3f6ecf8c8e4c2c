"""Sessions before and since a change, laid out as detectors/explain takes them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from detectors.explain.conditions import Condition
from monitor.evaluate.sampled import agreements, parsed, session_vectors
from monitor.evaluate.streams import StreamSpec
from monitor.events.segments import value_text
from monitor.store.evaluation import SampleRow

Float = NDArray[np.float64]

MAX_ATTRIBUTES = 24  # those that most sessions have
USER: Final = "user"

IMAGE_CONDITIONS: Final = (
    Condition("skew", "degrees"),
    Condition("turned", "share"),
    Condition("contrast", told="relative"),
    Condition("brightness", told="relative"),
    Condition("blur", ""),
    Condition("noise", ""),
    Condition("text_density", told="relative"),
    Condition("text_height", told="relative"),
    Condition("megapixels", told="relative"),
    Condition("page_ness", ""),
)
TEXT_CONDITIONS: Final = (Condition("characters", told="relative"),)
NUMBERS: Final = (
    Condition("input_tokens", told="relative"),
    Condition("output_tokens", told="relative"),
    Condition("image_tokens", told="relative"),
    Condition("reasoning_tokens", told="relative"),
    Condition("cached_input_tokens", told="relative"),
    Condition("input_bytes", told="relative"),
    Condition("latency_total", told="relative"),
    Condition("concurrency", told="relative"),
    Condition("retries", ""),
)
STAGE_PREFIX: Final = "stage "


@dataclass(frozen=True, slots=True)
class Sessions:
    """Some sampled sessions of one encoder, with what is asked of each, parsed once."""

    samples: list[SampleRow]
    facts: list[dict[str, Any]]

    @classmethod
    def of(cls, samples: Sequence[SampleRow]) -> Sessions:
        return cls(list(samples), [parsed(sample.facts) for sample in samples])

    def __len__(self) -> int:
        return len(self.samples)

    def where(self, kept: Sequence[int]) -> Sessions:
        """Those at the positions ``kept``."""
        return Sessions([self.samples[i] for i in kept], [self.facts[i] for i in kept])

    def embedded_by(self, encoder: str) -> Sessions:
        """Those that an encoder embedded."""
        return self.where([i for i, sample in enumerate(self.samples) if encoder and sample.encoder == encoder])

    @property
    def weights(self) -> Float:
        """1 / inclusion probability, float64[n]."""
        return np.array([1.0 / max(sample.pi, 1e-9) for sample in self.samples])

    def attributes(self, *, segment: bool) -> dict[str, list[str | None]]:
        """Of each attribute every session's value: what the application said, model, prompt, tier, user.

        ``segment``: as an attribute too, where the sessions are of a slice.
        """
        rows = [_attributes(s, f, segment) for s, f in zip(self.samples, self.facts, strict=True)]
        count: dict[str, int] = {}
        for row in rows:
            for name in row:
                count[name] = count.get(name, 0) + 1
        names = sorted(count, key=lambda name: (-count[name], name))[:MAX_ATTRIBUTES]
        return {name: [row.get(name) for row in rows] for name in sorted(names)}

    def numbers(self) -> dict[str, Float]:
        """What was counted of every session (tokens, bytes, durations of stages), NaN where it was not."""
        found: dict[str, Float] = {}
        for condition in NUMBERS:
            found[condition.name] = _column(self.facts, condition.name)
        stages = sorted({stage for facts in self.facts for stage in facts.get("stages", {})})
        for stage in stages:
            found[STAGE_PREFIX + stage] = _column([facts.get("stages", {}) for facts in self.facts], stage)
        return found

    def images(self) -> dict[str, Float]:
        """Conditions of every session's images (their mean), NaN where there are none."""
        return _of_parts(self.samples, "image", [c.name for c in IMAGE_CONDITIONS], _image)

    def texts(self) -> dict[str, Float]:
        """Conditions of every session's texts."""
        return _of_parts(self.samples, "text", [c.name for c in TEXT_CONDITIONS], lambda found: found)

    def concepts(self) -> dict[str, tuple[list[str], list[int]]]:
        """By version of the words, which are compared among themselves alone: the nearest word of the first image that
        has one, and the session's position."""
        by_version: dict[str, tuple[list[str], list[int]]] = {}
        for i, sample in enumerate(self.samples):
            for modality, _, _, text in sample.parts:
                found = parsed(text).get("concepts") if modality == "image" else None
                if found:
                    words, at = by_version.setdefault(f"{found['v']} {found.get('words', '')}", ([], []))
                    words.append(str(found["nearest"][0][0]))
                    at.append(i)
                    break
        return by_version


def with_users_named(*periods: Sessions) -> list[Sessions]:
    """The same sessions with every user told by the least sample id of theirs, ``of sample 3fa2b1c09d7e``.

    Keyed hashes of users differ from store to store and would outlive `driftline forget` in an anomaly; a sample leads
    to its event as long as it is kept, and to nothing afterwards.
    """
    least: dict[str, str] = {}
    for sessions in periods:
        for sample in sessions.samples:
            if sample.user:
                least[sample.user] = min(sample.sample_id, least.get(sample.user, sample.sample_id))
    return [
        Sessions(
            [replace(s, user=f"of sample {least[s.user][:12]}") if s.user else s for s in sessions.samples],
            sessions.facts,
        )
        for sessions in periods
    ]


def scored(sessions: Sessions, spec: StreamSpec, threshold: float) -> tuple[Float, Sessions]:
    """What a stream looks at, one score or row per session, and the sessions that have one.

    float[n, d] vectors; cosines of agreement; 1 for a verdict, for a value beyond a tail's ``threshold``, for the
    stream's tier; else 0. Volume has no score.
    """
    if spec.kind == "embedding":
        encoder = sessions.samples[0].encoder if sessions.samples else ""
        rows, of = session_vectors(sessions.samples, spec.metric, encoder)
        return rows.astype(np.float64), _among(sessions, of)
    if spec.kind == "agreement":
        values, of = agreements(sessions.samples)
        return values, _among(sessions, of)
    found = [_score(facts, spec, threshold) for facts in sessions.facts]
    at = [i for i, value in enumerate(found) if value is not None]
    return np.array([found[i] for i in at], dtype=np.float64), sessions.where(at)


def _score(facts: dict[str, Any], spec: StreamSpec, threshold: float) -> float | None:
    if spec.kind in ("rate", "slice"):
        value = facts.get("verdicts", {}).get(spec.metric)
        return None if value is None else float(value)
    if spec.kind == "tail":
        measured = facts.get("stages", {}).get(spec.label) if spec.label else facts.get(spec.metric)
        return None if measured is None else float(measured > threshold)
    if spec.kind == "mix":
        tier = facts.get("tier")
        return None if tier is None else float(tier == spec.label)
    return None


def _among(sessions: Sessions, chosen: Sequence[SampleRow]) -> Sessions:
    position = {sample.sample_id: i for i, sample in enumerate(sessions.samples)}
    return sessions.where([position[sample.sample_id] for sample in chosen])


def _attributes(sample: SampleRow, facts: dict[str, Any], segment: bool) -> dict[str, str]:
    found = {value_text(k): value_text(v) for k, v in facts.get("attributes", {}).items() if v is not None}
    prompt = facts.get("prompt") or {}
    for name, value in (
        ("model", facts.get("model")),
        ("prompt", " ".join(part for part in (prompt.get("name"), prompt.get("version")) if part)),
        ("tier", facts.get("tier")),
        (USER, sample.user),
        ("segment", sample.segment if segment else ""),
    ):
        if value:
            found[name] = value_text(value)
    return found


def _column(rows: Sequence[dict[str, Any]], name: str) -> Float:
    return np.array([float(row.get(name, math.nan)) for row in rows])


def _of_parts(samples: Sequence[SampleRow], modality: str, names: Sequence[str], read: Any) -> dict[str, Float]:
    """Per name the mean over a session's parts that have it."""
    found = {name: np.full(len(samples), math.nan) for name in names}
    for i, sample in enumerate(samples):
        rows = [read(parsed(text)) for kind, _, _, text in sample.parts if kind == modality and text]
        for name in names:
            values = [row[name] for row in rows if row.get(name) is not None]
            if values:  # of one part, as of most sessions, it is the value itself: np.mean is slow
                found[name][i] = float(values[0] if len(values) == 1 else np.mean(values))
    return found


def _image(found: dict[str, Any]) -> dict[str, Any]:
    """Conditions under the names told. Skew to either side is skew; ``turned`` is 1 for a page on its side or head."""
    skew, rotation = found.get("skew_degrees"), found.get("rotation")
    told = {"skew": None if skew is None else abs(skew), "turned": None if rotation is None else float(rotation != 0)}
    return {**found, **told}
