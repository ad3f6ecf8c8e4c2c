"""The page of inputs: what arrives, over time and against the segment's reference. It works without a script."""

from __future__ import annotations

from typing import Any, Literal

from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import Response

from monitor.serve import parameters
from monitor.serve.access import Caller
from monitor.serve.anomalies.page import SEES
from monitor.serve.anomalies.reading import exemplars
from monitor.serve.anomalies.words import Clock, headline
from monitor.serve.context import Context
from monitor.serve.inputs import courses, mapping
from monitor.serve.inputs.courses import Drawn
from monitor.serve.inputs.reading import Seen, Vectors, marks, read, vectors_now, vectors_of
from monitor.serve.shell import View, ViewQuery, framed, opened
from monitor.serve.templating import template
from monitor.store import inputs, references

MODALITIES = ("image", "text")
MOST_ANOMALIES = 20  # listed


class InputsQuery(ViewQuery, frozen=True, forbid_unknown_fields=True, rename={"since": "from", "until": "to"}):
    """A segment and a range; of which inputs the map is, and whether all conditions are drawn."""

    modality: Literal["", "image", "text"] = ""
    conditions: Literal["", "all"] = ""


def page(context: Context, request: Request, caller: Caller) -> Response:
    """The page as its address says. Raises BadParameter."""
    query = parameters.read(InputsQuery, request.query_params)
    config, sees = context.config(), caller.role in SEES
    body: str = ""
    known = True
    with context.store.read() as connection:
        view, state, offered = opened(context, connection, query)
        if not view.empty:
            known = view.one is None or view.one in offered or _known(connection, view.one)
            sampled = inputs.extent(connection, view.one, view.begin_us, view.end_us)
            body = context.remembered.html(
                ("inputs", view.kept_as, query.modality, query.conditions, sees),
                (*state, sampled, view, config),
                lambda: _body(connection, view, query, Clock(config.timezone), offered, sees=sees),
            )
    return framed(
        "inputs.html", context, request, caller, view=view, offered=offered, sees=sees, body=body,
        status=200 if known else 404,
    )  # fmt: skip


def _known(connection: Connection, segment: str) -> bool:
    """Whether anything is kept of a segment that had no event in the range."""
    return inputs.any_sample(connection, segment) or bool(references.heads(connection, segment=segment, limit=1))


def _body(
    connection: Connection, view: View, query: InputsQuery, clock: Clock, offered: list[str], *, sees: bool
) -> str:
    """Everything that is seen of the inputs, by those who may see content or not."""
    seen = read(connection, view, clock.zone)
    html: str = template("inputs_body.html").render(
        here="/inputs", view=view, offered=offered, sees=sees, modality=query.modality,
        **_values(connection, view, seen, clock, query, sees=sees),
    )  # fmt: skip
    return html


def _values(
    connection: Connection, view: View, seen: Seen, clock: Clock, query: InputsQuery, *, sees: bool
) -> dict[str, Any]:
    drawn = Drawn(seen, view, clock.zone, marks(seen, view))
    covered, states = courses.coverage(drawn)
    total = len(seen.read.looked)
    waiting, embedded = states.get("pending", 0), states.get("embedded", 0)
    settled = total - waiting
    return {
        "found": {
            "total": total,
            "all": seen.read.part == 1,
            "part": seen.read.part,
            "waiting": waiting,
            "embedded": embedded,
            "coverage": embedded / settled if settled else None,
            "reasons": [(name, count) for name, count in states.most_common() if name not in ("pending", "embedded")],
            "other_encoder": sorted(
                {s.encoder for s in seen.now.samples if s.encoder and s.encoder != seen.encoder}
            ),
            "encoder": seen.encoder,
        },
        "reference": None if seen.reference is None else {
            "id": seen.reference.reference_id,
            "version": seen.reference.version,
            "from": clock.short(seen.reference.from_us),
            "to": clock.short(seen.reference.to_us),
            "sessions": len(seen.before),
            "overlaps": seen.reference.to_us > view.begin_us and seen.reference.from_us < view.end_us,
        },
        "coverage": covered,
        "words": courses.words(drawn),
        "agreement": courses.agreement(drawn),
        "conditions": courses.conditions_of(drawn, every=query.conditions == "all") if embedded else [],
        "mix": courses.mix(drawn),
        "sizes": courses.sizes(drawn),
        "anomalies": [
            {"id": row.anomaly_id, "text": headline(row)[0], "opened": clock.short(row.opened_us), "state": row.state,
             "severity": row.severity}
            for row in seen.anomalies[:MOST_ANOMALIES]
        ],
        "shaded": bool(drawn.marks),
        "more_anomalies": max(0, len(seen.anomalies) - MOST_ANOMALIES),
        **_mapped(connection, view, seen, clock, query.modality, sees=sees),
    }  # fmt: skip


def _mapped(
    connection: Connection, view: View, seen: Seen, clock: Clock, modality: str, *, sees: bool
) -> dict[str, Any]:
    """The map, what may be seen of it, and sessions to look at."""
    nothing: dict[str, Any] = {"map": None, "exemplars": [], "modalities": [], "of": modality or "image"}
    if view.one is None or seen.reference is None or not seen.reference.vectors:
        return nothing
    embedded = {part[0] for sample in seen.before.samples for part in sample.parts if part[1] is not None}
    have = [kind for kind in MODALITIES if kind in embedded]
    of = modality or (have[0] if have else "image")
    was, now = vectors_of(seen.before.samples, of, seen.encoder), vectors_now(connection, seen, of)
    found = mapping.compare(was, now)
    if found is None:
        return {**nothing, "of": of, "modalities": have}
    kept = inputs.kept(connection, _ids(was) + _ids(now))
    entries = mapping.chosen(was, now, kept, modality=of)
    shown, _ = exemplars(connection, entries, content=sees)
    return {
        "of": of,
        "modalities": have,
        "map": mapping.drawn(was, now, *found, kept, clock.short, modality=of, sees=sees),
        "exemplars": [
            (
                role,
                [
                    {
                        "sample_id": one.sample_id,
                        "time": clock.short(one.time_us),
                        "pictured": one.pictured and of == "image",
                        "kept": one.kept,
                        "event_id": one.event_id,
                        "texts": [text for text in one.texts if text[0] == "Prompt"] if of == "text" else [],
                    }
                    for one in some
                ],
            )
            for role, some in shown.items()
        ],
    }


def _ids(vectors: Vectors) -> list[str]:
    return [sample.sample_id for sample in vectors.samples]
