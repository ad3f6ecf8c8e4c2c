"""Who decides of something that is kept."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Decision:
    """Who, when (wall clock, µs) and why; ``note`` is redacted by the caller."""

    who: str
    time_us: int
    note: str = ""
