"""The API: one table of endpoints, from which the routes and the OpenAPI document are made."""

from __future__ import annotations

import msgspec
from starlette.requests import Request

from monitor.serve import models, parameters, queries
from monitor.serve.access import Caller
from monitor.serve.anomalies.reading import thumbnail as pixels_of
from monitor.serve.context import Context
from monitor.serve.deliveries import DELIVERY_ENDPOINTS
from monitor.serve.endpoint import Endpoint, NotFound, Picture
from monitor.serve.letters import LETTER_ENDPOINTS
from monitor.serve.parameters import BadParameter
from monitor.serve.references.api import REFERENCE_ENDPOINTS
from monitor.serve.responses import RESPONSE_ENDPOINTS, standing_of
from monitor.serve.review.endpoints import REVIEW_ENDPOINTS
from monitor.store import outbox
from monitor.store.anomalies import get_anomaly, list_anomalies
from monitor.times import iso


def segments(context: Context, request: Request, query: parameters.SegmentQuery, caller: Caller) -> models.Segments:
    low, high = parameters.span(query.since, query.until)
    with context.store.read() as connection:
        span = queries.asked_range(connection, low, high)
        if span is None:
            return models.Segments(None, None, [], _page(query.limit, query.offset, 0))
        rows = queries.segments(connection, context.config(), span, query.limit + 1, query.offset)
    page = _page(query.limit, query.offset, len(rows))
    return models.Segments(iso(span[0]), iso(span[1]), rows[: query.limit], page)


def summaries(context: Context, request: Request, query: parameters.SummaryQuery, caller: Caller) -> models.Summaries:
    low, high = parameters.span(query.since, query.until)
    with context.store.read() as connection:
        try:
            found = queries.summaries(connection, query.segment, query.version, query.by, low, high)
        except ValueError as error:
            raise BadParameter("by", str(error)) from None
    if not found and query.segment != "all":
        raise NotFound(f"no summaries of the segment {query.segment!r} in this range; /api/segments lists segments")
    return models.Summaries(found)


def samples(context: Context, request: Request, query: parameters.SampleQuery, caller: Caller) -> models.Samples:
    low, high = parameters.span(query.since, query.until)
    with context.store.read() as connection:
        rows = queries.samples(connection, query, low, high, query.limit + 1)
    return models.Samples(rows[: query.limit], _page(query.limit, query.offset, len(rows)))


def sample(context: Context, request: Request, query: parameters.Nothing, caller: Caller) -> models.Sample:
    wanted = request.path_params["id"]
    with context.store.read() as connection:
        found = queries.sample(connection, wanted, content=caller.role in ("open", "reviewer", "admin"))
    if found is None:
        raise NotFound(f"no sample {wanted!r}; /api/samples lists those that are kept")
    return found


def thumbnail(context: Context, request: Request, query: parameters.Nothing, caller: Caller) -> Picture:
    wanted = request.path_params["id"]
    with context.store.read() as connection:
        found = pixels_of(connection, wanted)
    if found is None:
        raise NotFound(f"no thumbnail of a sample {wanted!r}: it has no image, or its content is no longer kept")
    return Picture(found)


def anomalies(context: Context, request: Request, query: parameters.AnomalyQuery, caller: Caller) -> models.Anomalies:
    low, high = parameters.span(query.since, query.until)
    with context.store.read() as connection:
        rows = list_anomalies(
            connection,
            state=query.state,
            segment=query.segment,
            signal=query.signal,
            severity=query.severity,
            from_us=low,
            to_us=high,
            limit=query.limit + 1,
            offset=query.offset,
        )
    heads = [queries.anomaly_head(row) for row in rows[: query.limit]]
    return models.Anomalies(heads, _page(query.limit, query.offset, len(rows)))


def anomaly(context: Context, request: Request, query: parameters.Nothing, caller: Caller) -> models.Anomaly:
    wanted = request.path_params["id"]
    with context.store.read() as connection:
        row = get_anomaly(connection, wanted)
        if row is None:
            raise NotFound(f"no anomaly {wanted!r}; /api/anomalies lists them")
        told = outbox.deliveries(connection, row.anomaly_id)
    deliveries = [models.Delivery(d.sink, d.state, d.attempts, d.error) for d in told if d.kind == "anomaly"]
    return models.Anomaly(queries.anomaly_head(row), row.document, deliveries, standing_of(context, wanted))


def status(context: Context, request: Request, query: parameters.Nothing, caller: Caller) -> models.Status:
    from monitor.status import read_status

    return read_status(context.store, context.config())


def budget(context: Context, request: Request, query: parameters.BudgetQuery, caller: Caller) -> models.Budget:
    from monitor.budget import read_budget
    from monitor.evaluate.power import parse_effects

    try:
        effects = None if query.effects is None else parse_effects(query.effects)
    except ValueError as error:
        raise BadParameter("effects", str(error)) from None
    return read_budget(context.store, context.config(), owner=query.owner, segment=query.segment, effects=effects)


ENDPOINTS = (
    Endpoint(
        "/api/segments",
        "viewer",
        parameters.SegmentQuery,
        models.Segments,
        "Segments with their main figures.",
        segments,
    ),
    Endpoint(
        "/api/summaries", "viewer", parameters.SummaryQuery, models.Summaries, "Every signal of one segment.", summaries
    ),
    Endpoint("/api/samples", "viewer", parameters.SampleQuery, models.Samples, "Sampled events.", samples),
    Endpoint("/api/samples/{id}", "viewer", parameters.Nothing, models.Sample, "One sampled event.", sample),
    Endpoint(
        "/api/samples/{id}/thumbnail",
        "reviewer",
        parameters.Nothing,
        Picture,
        "The thumbnail of a sampled event's first image.",
        thumbnail,
    ),
    Endpoint("/api/anomalies", "viewer", parameters.AnomalyQuery, models.Anomalies, "Anomalies.", anomalies),
    Endpoint(
        "/api/anomalies/{id}", "viewer", parameters.Nothing, models.Anomaly, "One anomaly, and who was told.", anomaly
    ),
    *LETTER_ENDPOINTS,
    *DELIVERY_ENDPOINTS,
    Endpoint(
        "/api/status", "viewer", parameters.Nothing, models.Status, "What has been read, stored and found.", status
    ),
    Endpoint(
        "/api/budget",
        "viewer",
        parameters.BudgetQuery,
        models.Budget,
        "What the false-alarm budget buys: its division, what is spent, and what each stream would find.",
        budget,
    ),
    *REFERENCE_ENDPOINTS,
    *RESPONSE_ENDPOINTS,
    *REVIEW_ENDPOINTS,
)


def encode(response: msgspec.Struct) -> bytes:
    """The response as JSON; numbers that JSON lacks (NaN, infinities) become null."""
    return msgspec.json.encode(response)


def _page(limit: int, offset: int, found: int) -> models.Page:
    return models.Page(limit, offset, offset + limit if found > limit else None)
