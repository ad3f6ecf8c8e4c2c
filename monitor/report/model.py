"""The report of a period, as data: what Markdown and HTML render, and what `--format json` prints.

Published as ``docs/report.schema.json`` (``python -m monitor.report.model > docs/report.schema.json``). Money is in the
currency, times are RFC 3339 in UTC; shares are of 1.
"""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

FORMAT = 1


class Figure(Struct, frozen=True):
    """A measured signal: now, and the period before. ``status`` says why there is no value."""

    signal: str
    unit: str
    value: float | None
    low: Annotated[float | None, Meta(description="Lower end of the 95 % interval.")]
    high: Annotated[float | None, Meta(description="Upper end of the 95 % interval.")]
    before: float | None
    status: str
    reference: Annotated[
        float | None,
        Meta(
            description="The level of the segment's reference, counted over one event a session; of segments in full."
        ),
    ] = None


class Bill(Struct, frozen=True):
    """What was spent; the five parts add up to ``change``."""

    spent: float
    before: float | None
    change: float | None
    parts: Annotated[dict[str, float], Meta(description="traffic, mix, units, tail and price.")]
    top1_share: Annotated[float | None, Meta(description="Share of the dearest 1 % of requests.")]
    month_projected: float | None
    month_low: float | None
    month_high: float | None


class Reviewed(Struct, frozen=True):
    """The error rate from labels, with the 95 % interval of one look."""

    rate: float | None
    low: float | None
    high: float | None
    labels: int
    waiting: int


class Above(Struct, frozen=True):
    """Requests that cost more than this."""

    cost: float
    share: Annotated[float, Meta(description="Of all requests that state a cost.")]
    low: Annotated[float | None, Meta(description="Lower end of its 95 % interval.")]
    high: Annotated[float | None, Meta(description="Upper end of its 95 % interval.")]


class Dearest(Struct, frozen=True):
    """The dearest requests of a period: the cost that they lie above, and their share of the spend."""

    part: Annotated[float, Meta(description="Which: 0.01 are the dearest 1 % of requests.")]
    above: float
    above_before: float | None
    above_reference: Annotated[float | None, Meta(description="The same part of the segment's reference lies above.")]
    share: Annotated[float, Meta(description="Of the spend.")]
    low: Annotated[float | None, Meta(description="Lower end of its 95 % interval.")]
    high: Annotated[float | None, Meta(description="Upper end of its 95 % interval.")]
    before: Annotated[float | None, Meta(description="The share in the period before.")]


class CostTail(Struct, frozen=True):
    """How rare dear requests are; no points where no request states a cost."""

    sentence: Annotated[str, Meta(description="What it says, or why there is none.")]
    now: list[Above]
    before: list[Above]
    reference: Annotated[list[Above], Meta(description="p50, p95 and p99 of the reference, one event a session.")]
    dearest: list[Dearest]
    greatest: Annotated[float | None, Meta(description="What the dearest request cost, within 1.1 %.")]
    greatest_before: float | None


class Share(Struct, frozen=True):
    """A share of answers over some days, with the interval of one look."""

    since: Annotated[str, Meta(description="The first day, as 2026-11-02.")]
    until: Annotated[str, Meta(description="The last day.")]
    rate: float
    low: Annotated[float | None, Meta(description="Lower end of its 95 % interval.")]
    high: Annotated[float | None, Meta(description="Upper end of its 95 % interval.")]
    n: Annotated[int, Meta(description="Labels, or answers that were checked.")]


class Check(Struct, frozen=True):
    """What a check found, day by day over the period before and this one."""

    signal: str
    days: list[Share]
    reference: Annotated[float | None, Meta(description="The rate of the segment's reference, one event a session.")]


class Quality(Struct, frozen=True):
    """How often answers are wrong: from labels, else from what checks find."""

    sentence: Annotated[str, Meta(description="What review found, or why nothing is told.")]
    step: Annotated[str, Meta(description="What a rate is of: day, week, or 3 days; empty without rates.")]
    reviewed: Annotated[list[Share], Meta(description="Wrong by review, the oldest first, up to this period's end.")]
    before: Annotated[Share | None, Meta(description="Of the period before.")]
    reference: Annotated[Share | None, Meta(description="Of the days that the segment's reference was learned from.")]
    checks: Annotated[list[Check], Meta(description="Where review tells nothing, or a check moved far.")]


class Change(Struct, frozen=True):
    """A stream that changed, of those listed at the false discovery rate."""

    segment: str
    signal: str
    severity: str
    sentence: str
    since: str
    until: str | None
    anomaly: str | None


class Picture(Struct, frozen=True):
    """An exemplar: a JPEG of at most 256 pixels, base64."""

    role: str
    sample: str
    jpeg: str


class Alarm(Struct, frozen=True):
    """An anomaly that opened in the period, or was open when it began."""

    id: str
    owner: str
    segment: str
    signal: str
    severity: str
    state: str
    opened: str
    resolved: str | None
    opened_before: bool
    sentence: Annotated[str, Meta(description="The whole story.")]
    short: Annotated[str, Meta(description="What changed, and the first thing found behind it.")]
    causes: list[str]
    marked: Annotated[str | None, Meta(description="real or false, as people marked it.")]
    accepted: bool
    acknowledged: bool
    told: Annotated[int, Meta(description="Sinks that were told.")]
    pictures: list[Picture]
    page: Annotated[str | None, Meta(description="Its page, with pictures; null where alerts.app_url is not set.")] = (
        None
    )


class Compared(Struct, frozen=True):
    """The last issue of a period."""

    revision: int
    issued: str


class Promise(Struct, frozen=True):
    """What an owner's budget promises, and what became of it in the period."""

    owner: str
    severity: str
    allowance: str
    allowed: Annotated[float, Meta(description="False alarms that the budget allows in a stretch of this length.")]
    opened: int
    marked_real: int
    marked_false: int


class Segment(Struct, frozen=True):
    """A segment in the period."""

    segment: str
    route: str
    stakes: str
    requests: int
    requests_before: int | None
    coverage: Annotated[float | None, Meta(description="Share of its samples that could be looked at.")]
    bill: Bill
    figures: list[Figure]
    reviewed: Reviewed | None
    versions: Annotated[list[str], Meta(description="Versions of model and prompt, the commonest first.")]
    new_versions: Annotated[list[str], Meta(description="Those that the period before did not see.")]
    full: Annotated[bool, Meta(description="Told in full: it changed, or is one of the largest.")]
    tail: Annotated[CostTail | None, Meta(description="Of a segment that is told in full.")] = None
    quality: Annotated[Quality | None, Meta(description="Of a segment that is told in full.")] = None


class Deploy(Struct, frozen=True):
    """A deploy that was announced."""

    time: str
    version: str
    where: str
    who: str
    note: str


class Ahead(Struct, frozen=True):
    """What the next week is expected to bring; no values where there are too few weeks to tell from."""

    what: Annotated[str, Meta(description="spend, requests, or labels: those that items drawn for review want.")]
    unit: str
    expected: float | None
    low: Annotated[float | None, Meta(description="Lower end of the 95 % interval.")]
    high: Annotated[float | None, Meta(description="Upper end of the 95 % interval.")]
    weeks: Annotated[int, Meta(description="Whole weeks that it is told from.")]
    basis: Annotated[str, Meta(description="What it rests on, or why there is none.")]


class Day(Struct, frozen=True):
    """A local day, over all segments."""

    day: Annotated[str, Meta(description="As 2026-11-02.")]
    requests: int
    spent: float
    latency_p95: Annotated[float | None, Meta(description="Seconds.")]
    latency_low: Annotated[float | None, Meta(description="Lower end of its 95 % interval.")]
    latency_high: Annotated[float | None, Meta(description="Upper end of its 95 % interval.")]


class Report(Struct, frozen=True):
    """Everything that is told of a period."""

    format: int
    since: str
    until: str
    before: Annotated[str, Meta(description="Begin of the period it is compared with, of the same length.")]
    timezone: str
    currency: str
    evaluated_until: str | None
    complete: Annotated[bool, Meta(description="Whether all of the period was evaluated when the report was made.")]
    changed: Annotated[list[str], Meta(description="What changed, a sentence each.")]
    cost: Annotated[list[str], Meta(description="What it cost, a sentence each.")]
    decide: Annotated[list[str], Meta(description="What there is to decide, a sentence each.")]
    false_discovery_rate: float
    judged: Annotated[int, Meta(description="Streams that were judged.")]
    requests: int
    requests_before: int | None
    bill: Bill
    changes: list[Change]
    alarms: list[Alarm]
    promises: list[Promise]
    segments: list[Segment]
    reviewed: Reviewed | None
    deploys: list[Deploy]
    not_measured: Annotated[list[str], Meta(description="What was not measured, and why, a sentence each.")]
    ahead: Annotated[list[Ahead], Meta(description="The next week; empty where the period is no local week.")] = []
    days: Annotated[list[Day], Meta(description="The period's days; empty where they cannot be told apart.")] = []
    days_before: Annotated[list[Day], Meta(description="Those of the period before.")] = []
    tail: Annotated[CostTail | None, Meta(description="Over all segments.")] = None
    quality: Annotated[Quality | None, Meta(description="Over all segments.")] = None
    issued: Annotated[str | None, Meta(description="When it was issued (wall clock); null: it was only read.")] = None
    revision: Annotated[int, Meta(description="1, 2, ... of an issued report; 0: it was only read.")] = 0
    revised: Annotated[
        list[str],
        Meta(
            description="What this revision changed, a sentence each; of a report that was only read, what "
            "changed since the one that was issued."
        ),
    ] = []
    compared: Annotated[
        Compared | None, Meta(description="The issue that a report that was only read is held against; null: none.")
    ] = None


def schema() -> dict[str, Any]:
    """JSON Schema of the report."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:driftline:report:1",
        "title": "driftline report",
        **msgspec.json.schema(Report),
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(schema(), indent=2, ensure_ascii=False) + "\n")
