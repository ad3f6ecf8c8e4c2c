"""What a reload (SIGHUP) may change in a running process, and what waits for the next start."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from monitor.config.model import Config

# Read anew by every part at a reload. Everything else is built into connections, windows, samples or detectors
# that are running: changing it in between would make results depend on when the signal arrived.
RELOADABLE = frozenset(
    {"routes", "segments", "prices", "budget", "owners", "alerts", "dashboards", "report", "review", "retention"}
)


def reloadable(old: Config, new: Config) -> list[str]:
    """The dotted keys that differ and need a restart, sorted; empty when a reload can take all of ``new``."""
    return sorted(key for name in Config.model_fields if name not in RELOADABLE for key in _changed(old, new, name, ""))


def effective(old: Config, new: Config) -> tuple[Config, list[str]]:
    """(what is in force after a reload of ``new``, the keys of ``new`` that wait for a restart)."""
    taken = old.model_copy(update={name: getattr(new, name) for name in RELOADABLE})
    return taken, reloadable(old, new)


def _changed(old: Any, new: Any, name: str, prefix: str) -> list[str]:
    before, after = getattr(old, name), getattr(new, name)
    if before == after:
        return []
    if isinstance(before, BaseModel) and type(before) is type(after):
        return [
            key for child in type(before).model_fields for key in _changed(before, after, child, f"{prefix}{name}.")
        ]
    return [prefix + name]
