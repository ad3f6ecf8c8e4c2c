"""The templates of every page. What came from events is escaped, and what hides or reorders text is written out."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from monitor.serve.review.showing import shown
from monitor.times import iso


def template(name: str) -> Any:
    """A template of ``monitor/serve/templates``, loaded once."""
    return _environment().get_template(name)


def clock_text(text: str | None) -> str:
    """``2026-11-02 09:14`` of an RFC 3339 time."""
    return "" if text is None else text[:16].replace("T", " ")


MOST_CHOICES = 500  # segments that a field offers while one writes


def alike(names: Sequence[str], text: str) -> list[str]:
    """The names that contain a text, whichever case it is in."""
    wanted = text.casefold()
    return [name for name in names if wanted in name.casefold()]


def count_text(value: int) -> str:
    """Thousands apart by a thin space: 12 345."""
    return f"{value:,}".replace(",", "\u202f")


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("monitor.serve", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_harmless,
    )
    environment.filters.update(clock=clock_text, count=count_text, iso=iso, alike=alike)
    environment.globals["most_choices"] = MOST_CHOICES
    return environment


def _harmless(value: Any) -> Any:
    return shown(value) if isinstance(value, str) and not isinstance(value, Markup) else value
