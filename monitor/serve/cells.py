"""Figures as pages write them: a value with its unit, its interval below it, or why there is none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from monitor.serve import models

THIN = "\u202f"  # between thousands


@dataclass(frozen=True, slots=True)
class Cell:
    """A figure as it is shown: the value and, below it, its interval or why there is no value."""

    text: str
    note: str = ""


def cell(figure: models.Figure, currency: str) -> Cell:
    """A figure in words: ``4.21 s`` over ``4.10 – 4.33``."""
    if figure.value is None:
        return Cell("–", {"not_enough_data": "not enough data", "not_measured": ""}.get(figure.status, figure.status))
    rate = figure.unit == "1"
    note = ""
    if figure.low is not None and figure.high is not None and figure.low != figure.high:
        low, high = (percent(v) if rate else plain(v) for v in (figure.low, figure.high))
        note = f"{low} – {high}"
    return Cell(written(figure.unit, currency)(figure.value), note)


def written(unit: str, currency: str) -> Callable[[float], str]:
    """What writes a value of a unit of the catalogue (`detectors.summaries.catalogue`), shares (``1``) in percent."""
    if unit == "1":
        return lambda value: f"{percent(value)} %"
    name = {"currency": currency}.get(unit, unit)
    return lambda value: f"{plain(value)} {name}".rstrip()


def plain(value: float) -> str:
    """Three or four digits that matter, thousands apart."""
    if value and abs(value) < 0.001:
        return f"{value:.2g}"
    digits = 0 if abs(value) >= 100 or value == 0 else 2 if abs(value) >= 1 else 4
    return f"{value:,.{digits}f}".replace(",", THIN)


def percent(share: float) -> str:
    """A share in percent, without the sign."""
    found = 100 * share
    if found and abs(found) < 0.01:
        return f"{found:.1g}"
    return f"{found:.0f}" if found in (0, 100) else f"{found:.2f}" if abs(found) < 10 else f"{found:.1f}"
