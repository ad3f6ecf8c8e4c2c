"""Counts of the embed role."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True)
class EmbedStats:
    """Counts since the worker started, for metrics."""

    embedded: int = 0
    missing: Counter[str] = field(default_factory=Counter)
    parts_missing: Counter[str] = field(default_factory=Counter)
    images_encoded: int = 0
    texts_encoded: int = 0
    cache_hits: int = 0
    failures: int = 0
    encode_seconds: float = 0.0
    decoders_replaced: int = 0  # decoder processes that died of a file or were ended
