"""Error rates of segments, as the API tells them: monitor/estimates.py."""

from __future__ import annotations

from starlette.requests import Request

from monitor.estimates import Estimate, Interval, estimates, last_days, weeks
from monitor.serve.access import Caller
from monitor.serve.context import Context
from monitor.serve.review import models
from monitor.times import iso


def error_rates(context: Context, request: Request, query: models.EstimateQuery, caller: Caller) -> models.ErrorRates:
    zone = context.config().timezone
    span = last_days(context.store, query.days, zone)
    if span is None:  # nothing was drawn yet
        return models.ErrorRates([])
    spans = weeks(*span, zone) if query.by == "week" else [span]
    return models.ErrorRates(
        [
            _error_rate(row)
            for begin, end in spans
            for row in estimates(context.store, begin, end, zone, segment=query.segment, confidence=query.confidence)
        ]
    )


def _error_rate(row: Estimate) -> models.ErrorRate:
    def limits(interval: Interval) -> models.Limits:
        return models.Limits(interval.low, interval.high)

    return models.ErrorRate(
        segment=row.segment,
        since=iso(row.from_us),
        until=iso(row.to_us),
        rate=row.rate,
        once=limits(row.once),
        always=None if row.always is None else limits(row.always),
        bounds=limits(row.bounds),
        labels=row.labels,
        unsure=row.unsure,
        missing=row.missing,
        waiting=row.waiting,
        days=row.days,
        sessions=row.events,
        effective=row.effective,
        unsure_rate=row.unsure_rate,
    )
