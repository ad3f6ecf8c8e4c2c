"""The API of what people say of anomalies, and of deploys that they announce."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct
from starlette.requests import Request

from monitor.announcing import announced
from monitor.config.units import parse_duration
from monitor.events.redaction import Redactor
from monitor.serve import models, parameters
from monitor.serve.access import Caller
from monitor.serve.context import Context
from monitor.serve.endpoint import Endpoint, NotFound
from monitor.serve.parameters import BadParameter, Text
from monitor.store import deploys, responses
from monitor.store.anomalies import get_anomaly
from monitor.store.deploys import Deploy, DeployFault
from monitor.store.responses import NOTHING, ResponseFault, Said, Standing, respond, standing
from monitor.times import iso

Note = Annotated[
    str, Meta(max_length=responses.MOST_NOTE, description="Why, or what was done; redacted as events are.")
]
Length = Annotated[str, Meta(max_length=20, description="A duration, as 30m, 4h or 2d.")]


class GivenResponse(Struct, frozen=True, forbid_unknown_fields=True, rename={"length": "for"}):
    """What is said of an anomaly. The same said again changes nothing."""

    action: Literal["acknowledge", "unacknowledge", "snooze", "wake", "real", "false", "unmark", "accept"]
    length: Length | None = None
    note: Note = ""


class GivenDeploy(Struct, frozen=True, forbid_unknown_fields=True):
    """A deploy that is announced."""

    version: Annotated[str, Meta(min_length=1, max_length=300)]
    route: Annotated[str, Meta(max_length=200, description="Only this route changed; empty: all.")] = ""
    segment: Annotated[str, Meta(max_length=200, description="Pattern (`*`) of segments; empty: all.")] = ""
    mute: Length | None = None
    id: Annotated[str, Meta(max_length=64, description="Your own; the same id again changes nothing.")] = ""
    note: Note = ""


class DeployQuery(parameters.Range, frozen=True, forbid_unknown_fields=True, rename={"since": "from", "until": "to"}):
    limit: parameters.Limit = 100


class Announced(Struct, frozen=True):
    """A deploy as it is recorded; ``repeated``: its id was known, and nothing changed."""

    deploy: models.Deploy
    repeated: bool


class Deploys(Struct, frozen=True):
    """Deploys, newest first."""

    deploys: list[models.Deploy]


def answer(context: Context, request: Request, given: GivenResponse, caller: Caller) -> models.Standing:
    wanted, config, now_us = request.path_params["id"], context.config(), _now_us(context)
    if (given.action == "snooze") != (given.length is not None):
        raise BadParameter("for", "a snooze needs how long, as 4h, and nothing else has a length")
    until = None if given.length is None else now_us + _duration("for", given.length)
    note = Redactor(config.privacy.redact).text(given.note) if given.note else ""
    with context.store.write() as connection:
        if get_anomaly(connection, wanted) is None:
            raise NotFound(f"no anomaly {wanted!r}; /api/anomalies lists them")
        try:
            found, _ = respond(connection, wanted, given.action, _who(caller), now_us, until_us=until, note=note)
        except ResponseFault as error:
            raise BadParameter("action", str(error)) from None
    return shown(found)


def announce(context: Context, request: Request, given: GivenDeploy, caller: Caller) -> Announced:
    now_us = _now_us(context)
    deploy = Deploy(
        deploy_id=given.id or deploys.identity(given.version, given.route, given.segment, now_us),
        time_us=now_us,
        who=_who(caller),
        version=given.version,
        route=given.route,
        segment=given.segment,
        note=given.note,
        mute_until_us=None if given.mute is None else now_us + _duration("mute", given.mute),
    )
    try:
        new = announced(context.store, context.config(), deploy, now_us)
    except DeployFault as error:
        raise BadParameter("deploy", str(error)) from None
    with context.store.read() as connection:
        found = deploys.get(connection, deploy.deploy_id)
    return Announced(_deploy(found or deploy), not new)


def listed(context: Context, request: Request, query: DeployQuery, caller: Caller) -> Deploys:
    low, high = parameters.span(query.since, query.until)
    with context.store.read() as connection:
        found = deploys.list_deploys(connection, from_us=low, to_us=high, limit=query.limit)
    return Deploys([_deploy(one) for one in found])


def standing_of(context: Context, anomaly_id: str) -> models.Standing:
    """What stands of one anomaly."""
    with context.store.read() as connection:
        return shown(standing(connection, [anomaly_id]).get(anomaly_id, NOTHING))


def shown(found: Standing) -> models.Standing:
    """As the API tells it."""
    return models.Standing(_said(found.acknowledged), _said(found.snoozed), _said(found.marked), _said(found.accepted))


def _said(said: Said | None) -> models.Response | None:
    if said is None:
        return None
    until = None if said.until_us is None else iso(said.until_us)
    return models.Response(said.action, said.who, iso(said.time_us), until, said.note)


def _deploy(deploy: Deploy) -> models.Deploy:
    until = None if deploy.mute_until_us is None else iso(deploy.mute_until_us)
    return models.Deploy(
        deploy.deploy_id, iso(deploy.time_us), deploy.who, deploy.version, deploy.route, deploy.segment, until,
        deploy.note,
    )  # fmt: skip


def _who(caller: Caller) -> str:
    return caller.reviewer or caller.role


def _duration(name: str, text: Text) -> int:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise BadParameter(name, str(error)) from None


def _now_us(context: Context) -> int:
    return int(context.clock() * 1e6)


RESPONSE_ENDPOINTS = (
    Endpoint(
        "/api/anomalies/{id}/responses",
        "reviewer",
        GivenResponse,
        models.Standing,
        "Acknowledge, snooze, mark real or false, or accept an anomaly as the new normal.",
        answer,
        method="POST",
    ),
    Endpoint("/api/deploys", "viewer", DeployQuery, Deploys, "Deploys that were announced.", listed),
    Endpoint("/api/deploys", "reviewer", GivenDeploy, Announced, "Announce a deploy.", announce, method="POST"),
)
