"""What an endpoint of the API is: from a table of them the routes and the OpenAPI document are made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
from starlette.requests import Request

from monitor.serve.access import Caller, Need
from monitor.serve.context import Context


class NotFound(Exception):
    """There is no such thing; the message says what was asked for."""


class Picture(bytes):
    """A JPEG that driftline made: the response of an endpoint that answers with one."""


Handler = Callable[[Context, Request, Any, Caller], msgspec.Struct | Picture]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """``handler(context, request, given, caller)`` answers ``path`` with a ``response``.

    ``given`` is a ``query``: of a GET the parameters, of a POST, which changes something, the JSON body.
    """

    path: str
    need: Need
    query: type[msgspec.Struct]
    response: type[msgspec.Struct] | type[Picture]
    summary: str
    handler: Handler
    method: Literal["GET", "POST"] = "GET"
