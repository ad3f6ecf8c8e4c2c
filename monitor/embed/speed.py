"""How many images and texts an encoder embeds, by the clock and by the processor."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from monitor.embed.encoders.base import Encoder
from monitor.embed.probes import PROBE_TEXTS, probe_pages


@dataclass(frozen=True, slots=True)
class Speed:
    """Inputs embedded in ``seconds`` of wall time, for which all threads together took ``processor_seconds``."""

    inputs: int
    seconds: float
    processor_seconds: float

    @property
    def per_second(self) -> float:
        return self.inputs / self.seconds

    @property
    def per_processor_second(self) -> float:
        return self.inputs / max(self.processor_seconds, 1e-9)


def measure_speed(encoder: Encoder, seconds: float) -> tuple[Speed, Speed]:
    """(images, texts): drawn pages with their preprocessing, and short texts, each for half of ``seconds``.

    One call of each comes before, so that what is built at the first is not counted; at least one call is measured.
    """
    return (
        _measured(encoder.encode_images, probe_pages(), seconds / 2),
        _measured(encoder.encode_texts, [text for text in PROBE_TEXTS if 0 < len(text) < 200], seconds / 2),
    )


def _measured(encode: Callable[[Any], Any], inputs: Sequence[Any], seconds: float) -> Speed:
    encode(inputs)
    count, began, processor = 0, time.perf_counter(), time.process_time()
    while True:
        encode(inputs)
        count += len(inputs)
        elapsed = time.perf_counter() - began
        if elapsed >= seconds:
            return Speed(count, elapsed, time.process_time() - processor)
