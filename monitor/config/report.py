"""`report`: the weekly report, when it is issued, and who gets it."""

from __future__ import annotations

from typing import Final, Literal

from pydantic import Field

from monitor.config.section import Section

Weekday = Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
WEEKDAYS: Final[tuple[Weekday, ...]] = (
    "monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday",
)  # fmt: skip


class Schedule(Section):
    every: Literal["week"] = Field("week", description="How often; the report is of the last week, Monday to Monday.")
    on: Weekday = Field("monday", description="Day, in the configured timezone.")
    at: str = Field("07:00", pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$", description="Time of that day.")


class Report(Section):
    """The weekly report."""

    schedule: Schedule | None = Field(
        None,
        description="When the leader issues it: archived, and sent; default: only `driftline report --issue` does.",
    )
    sinks: tuple[str, ...] = Field(
        (), description="Names of `alerts.sinks` of the kinds smtp and webhook that an issued report is sent to."
    )
    folder: str | None = Field(
        None, description="Folder that it is written to, as HTML, Markdown and JSON; default: none."
    )
