"""`owners` and `budget`: whose a segment is, and how many false alarms are acceptable."""

from __future__ import annotations

from typing import Final

from pydantic import Field, field_validator

from monitor.config.section import Section, written
from monitor.config.units import Budget

MOST_NAME: Final = 100  # characters of an owner's name: what the store keeps


class FalseAlarmBudget(Section):
    """How many false alarms are acceptable: expected number per period, over everything together."""

    page: Budget = Field(written("1 per 30d"), description="Pages: segments of high stakes.")
    ticket: Budget = Field(written("2 per 7d"), description="Tickets: segments of medium stakes.")


class Owner(Section):
    segments: tuple[str, ...] = Field((), description="Segment names, * allowed at the end.")
    budget: FalseAlarmBudget = FalseAlarmBudget()
    sinks: tuple[str, ...] | None = Field(
        None, min_length=1, description="Names of `alerts.sinks` that are told of this owner's anomalies; default: all."
    )

    @field_validator("segments")
    @classmethod
    def _patterns(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for pattern in value:
            if not pattern or "*" in pattern[:-1]:
                raise ValueError(
                    f"expected a segment's name, or its beginning and one *, got {pattern!r}; write for example "
                    "invoices/*"
                )
        return value

    def covers(self, segment: str) -> bool:
        """Whether a segment, or all that a pattern of another owner means, is this owner's."""
        return any(
            segment == pattern or (pattern.endswith("*") and segment.startswith(pattern[:-1]))
            for pattern in self.segments
        )


def checked_owners(owners: dict[str, Owner]) -> dict[str, Owner]:
    """The owners as they are. Raises ValueError where a name cannot be kept, or a pattern has nothing: the first owner
    whose pattern matches has a segment."""
    before: list[tuple[str, Owner]] = []
    for name, owner in owners.items():
        if not 0 < len(name) <= MOST_NAME or not name.isprintable():
            raise ValueError(
                f"an owner's name has 1 to {MOST_NAME} characters that can be printed, got {name[:80]!r}; write for "
                "example billing"
            )
        for pattern in owner.segments:
            if first := next((other for other, known in before if known.covers(pattern)), None):
                raise ValueError(
                    f"{name}.segments has {pattern!r}, of which nothing is left: {first} comes first and has all of "
                    f"it; take it out of one of them, or write {name} above {first}"
                )
        before.append((name, owner))
    return owners
