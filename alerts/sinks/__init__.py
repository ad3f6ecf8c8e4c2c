"""Where anomalies go. A sink turns a batch of deliveries into one outcome each, and never decides anything else.

A sink keeps no state between calls that matters: what it must remember of a key (the id of an annotation,
which peers have an alert) it returns in ``remote`` and gets back with the next delivery of that key.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Delivery:
    """One thing to be told. ``revision`` grows when the payload of a key changes, not when it is re-sent."""

    key: str
    kind: str  # anomaly | deploy | dead_letter | review_item | report | test
    payload: Mapping[str, Any]
    revision: int = 1
    created_us: int = 0  # wall clock, when this revision was enqueued
    remote: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Sent:
    """The target has it. ``again_us``: wall clock at which to send it again (a firing alert), or None."""

    remote: Mapping[str, Any] = field(default_factory=dict)
    again_us: int | None = None


@dataclass(frozen=True, slots=True)
class Retry:
    """The target could not be told now.

    ``after_us``: the delay it asked for. ``at_most_us``: not later than that, whatever was asked for: another part of
    the target must hear of it by then. ``partly``: a part of the target has it (one peer of two), so the sink as a
    whole is not down.
    """

    error: str
    remote: Mapping[str, Any] = field(default_factory=dict)
    after_us: int | None = None
    at_most_us: int | None = None
    partly: bool = False


@dataclass(frozen=True, slots=True)
class Refused:
    """The target refused the content itself; sending the same again is pointless."""

    error: str
    remote: Mapping[str, Any] = field(default_factory=dict)


Outcome = Sent | Retry | Refused


class Sink(Protocol):
    """A target. ``send`` is called by one thread at a time and answers within ``longest_us``."""

    @property
    def batch(self) -> int:
        """Most deliveries taken in one call: what bounds memory."""
        ...

    def longest_us(self, deliveries: int) -> int:
        """Longest time one call of ``send`` takes with so many deliveries; the lease on their rows is twice that. One
        alert must not wait for as long as a hundred may take when its sender has died."""
        ...

    def send(self, deliveries: Sequence[Delivery], now_us: int) -> list[Outcome]:
        """Return one outcome per delivery, in their order. An exception counts as `Retry` for all of them."""
        ...

    def close(self) -> None: ...


__all__ = ["Delivery", "Outcome", "Refused", "Retry", "Sent", "Sink"]
