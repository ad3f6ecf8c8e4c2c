"""The API of deliveries that did not get through: sent again, put aside, or put back."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from msgspec import Meta, Struct
from starlette.requests import Request

from monitor import undelivered
from monitor.serve import models
from monitor.serve.access import Caller
from monitor.serve.context import Context
from monitor.serve.endpoint import Endpoint
from monitor.serve.parameters import BadParameter
from monitor.store.decision import Decision
from monitor.store.responses import MOST_NAME, MOST_NOTE

_CHANGES: Final = {"resend": undelivered.resend, "dismiss": undelivered.dismiss, "undo": undelivered.restore}


class GivenDecision(Struct, frozen=True, forbid_unknown_fields=True):
    """What is to be done about deliveries that did not get through: of an anomaly, a sink, or the one at the other."""

    action: Annotated[
        Literal["resend", "dismiss", "undo"],
        Meta(description="Send again what was refused; put aside what was refused or is left for a sink that is gone."),
    ]
    id: Annotated[str, Meta(max_length=300, description="An anomaly's id, or its first characters.")] | None = None
    sink: Annotated[str, Meta(max_length=60, description="Only of this sink; without an id all of it.")] | None = None
    note: Annotated[str, Meta(max_length=MOST_NOTE, description="Why; redacted as events are.")] = ""


def decide_delivery(context: Context, request: Request, given: GivenDecision, caller: Caller) -> models.Decided:
    if given.id is None and given.sink is None:
        raise BadParameter("id", "give an id, a sink, or both")
    by = Decision((caller.reviewer or caller.role)[:MOST_NAME], int(context.clock() * 1e6), given.note)
    keys = () if given.id is None else (given.id,)
    try:
        rows = _CHANGES[given.action](context.store, context.config(), keys, given.sink, by)
    except undelivered.UndeliveredFault as error:
        raise BadParameter("id" if keys else "sink", str(error)) from None
    return models.Decided(len(rows))


DELIVERY_ENDPOINTS = (
    Endpoint(
        "/api/deliveries/decisions",
        "reviewer",
        GivenDecision,
        models.Decided,
        "Have refused deliveries sent again, or put them aside.",
        decide_delivery,
        method="POST",
    ),
)
