"""Axes: values to coordinates, and round numbers, hours and days to write beside them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from monitor.times import HOUR_US

_TRAILING = re.compile(r"(\.\d*?)0+(?=\D|$)")
_STEPS_H = (1, 2, 3, 6, 12, 24, 48, 96, 168, 336, 720)


@dataclass(frozen=True, slots=True)
class Tick:
    """A place on an axis and what is written there."""

    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Scale:
    """[low, high] to coordinates [begin, end], which may fall; what lies outside is at the end. low < high, and above 0
    with ``log``."""

    low: float
    high: float
    begin: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        at = min(max(value, self.low), self.high)
        if self.log:
            share = math.log(at / self.low) / math.log(self.high / self.low)
        else:
            share = (at - self.low) / (self.high - self.low)
        return round(self.begin + share * (self.end - self.begin), 1)

    def takes(self, value: float) -> bool:
        """Whether a value lies on the axis."""
        return math.isfinite(value) and self.low <= value <= self.high

    def rounded(self, most: float) -> Scale:
        """The same over a little more, so that it begins and ends at round numbers; ``most``: ticks there is room
        for."""
        if self.log:
            return replace(
                self, low=10.0 ** math.floor(math.log10(self.low)), high=10.0 ** math.ceil(math.log10(self.high))
            )
        step = _round_step((self.high - self.low) / max(1.0, most))
        return replace(self, low=math.floor(self.low / step) * step, high=math.ceil(self.high / step) * step)


def value_ticks(scale: Scale, written: Callable[[float], str], most: float) -> tuple[Tick, ...]:
    """Round numbers within the scale, about ``most`` of them at most."""
    most = max(1.0, most)
    if scale.log:
        first, last = math.ceil(math.log10(scale.low) - 1e-9), math.floor(math.log10(scale.high) + 1e-9)
        every = max(1, math.ceil((last - first + 1) / most))
        values = [10.0**level for level in range(first, last + 1, every)]
        if len(values) < 2:  # about a decade
            steps = [n * 10.0**level for level in range(first - 1, last + 1) for n in (1, 2, 5)]
            values = [value for value in steps if scale.low <= value <= scale.high]
    else:
        step = _round_step((scale.high - scale.low) / most)
        begin = math.ceil(scale.low / step - 1e-9)
        values = [n * step for n in range(begin, math.floor(scale.high / step + 1e-9) + 1)]
    if len(values) < 2:  # less than a decade, or than a step
        values = [scale.low, scale.high]
    return tuple(Tick(scale(value), _short(written(value))) for value in values)


def time_ticks(
    begin_us: int, end_us: int, zone: ZoneInfo, x: Callable[[float], float], most: float
) -> tuple[Tick, ...]:
    """Full hours or days of the zone, at most ``most`` of them; midnights carry the day."""
    step = next((h for h in _STEPS_H if (end_us - begin_us) / (h * HOUR_US) <= max(2.0, most)), _STEPS_H[-1])
    at = datetime.fromtimestamp(begin_us / 1e6, zone).replace(minute=0, second=0, microsecond=0)
    at = at.replace(hour=at.hour - at.hour % step if step < 24 else 0)
    found = []
    while (time_us := round(at.timestamp() * 1e6)) <= end_us:
        if time_us >= begin_us:
            text = f"{at:%d %b}" if step >= 24 or at.hour == 0 else f"{at:%H:%M}"
            found.append(Tick(x(time_us), text))
        # By the clock on the wall, so that midnights stay midnights when it changes.
        at = (at.replace(tzinfo=None) + timedelta(hours=step)).replace(tzinfo=zone)
    return tuple(found)


def path(points: Sequence[tuple[float, float]]) -> str:
    """A path of SVG along points."""
    return "M" + " L".join(f"{x:g} {y:g}" for x, y in points)


def _short(text: str) -> str:
    """``2 s`` of ``2.00 s``: on an axis of round numbers zeros at the end say nothing."""
    return _TRAILING.sub(lambda found: "" if found[1] == "." else found[1], text)


def _round_step(least: float) -> float:
    """The smallest of 1, 2, 2.5, 5 times a power of ten that is not below ``least``."""
    power = 10.0 ** math.floor(math.log10(least))
    return next((power * n for n in (1.0, 2.0, 2.5, 5.0) if power * n >= least * (1 - 1e-9)), power * 10.0)
