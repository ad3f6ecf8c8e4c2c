"""Durations, byte sizes and alarm budgets as people write them: ``5m``, ``24h``, ``30d``; ``10MB``; ``2 per 7d``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer

_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_BYTES = {"B": 1, "kB": 1000, "KB": 1000, "MB": 1000**2, "GB": 1000**3, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}
_DURATION = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|w)\s*$")
_SIZE = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*(B|kB|KB|MB|GB|KiB|MiB|GiB)\s*$")
_BUDGET = re.compile(r"^\s*(\d+(?:\.\d+)?)\s+per\s+(.+)$")


def parse_duration(value: Any) -> int:
    """Return whole microseconds for ``5m``-style text. Raises ValueError with what to write."""
    if isinstance(value, str) and (match := _DURATION.match(value)):
        return round(float(match[1]) * _SECONDS[match[2]] * 1_000_000)
    raise ValueError(
        f"expected a duration, got {value!r}; write a number and one of ms, s, m, h, d, w, as in 5m or 24h"
    )


def format_duration(us: int) -> str:
    for unit in ("w", "d", "h", "m", "s", "ms"):
        size = round(_SECONDS[unit] * 1_000_000)
        if us and us % size == 0:
            return f"{us // size}{unit}"
    return f"{us / 1000:g}ms"


def parse_size(value: Any) -> int:
    """Return bytes for ``10MB``-style text or a plain integer."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    if isinstance(value, str) and (match := _SIZE.match(value)):
        return round(float(match[1]) * _BYTES[match[2]])
    raise ValueError(f"expected a size, got {value!r}; write a number and one of {', '.join(_BYTES)}, as in 10MB")


@dataclass(frozen=True, slots=True)
class Allowance:
    """``count`` alarms expected per ``period_us`` at most."""

    count: float
    period_us: int

    @property
    def per_us(self) -> float:
        return self.count / self.period_us

    def __str__(self) -> str:
        return f"{self.count:g} per {format_duration(self.period_us)}"


def parse_allowance(value: Any) -> Allowance:
    if isinstance(value, Allowance):
        return value
    if isinstance(value, str) and (match := _BUDGET.match(value)):
        allowance = Allowance(float(match[1]), parse_duration(match[2]))
        if allowance.count > 0 and allowance.period_us > 0:
            return allowance
    raise ValueError(f"expected a false-alarm budget, got {value!r}; write COUNT per PERIOD, as in '1 per 30d'")


def _duration_or_us(value: Any) -> int:
    return parse_duration(value)


# In a model these hold microseconds / bytes / an Allowance, and are written and dumped as text.
Duration = Annotated[int, BeforeValidator(_duration_or_us), PlainSerializer(format_duration)]
Size = Annotated[int, BeforeValidator(parse_size)]
Budget = Annotated[Allowance, BeforeValidator(parse_allowance), PlainSerializer(str)]
