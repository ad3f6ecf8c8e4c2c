"""How the web application answers: JSON, problems, and what it says of refusals and of bodies it does not read."""

from __future__ import annotations

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from monitor.serve.access import Refused
from monitor.serve.models import Problem
from monitor.store.engine import StoreFull, StoreUnavailable

AGAIN_S = 30  # after which to ask again while the store takes no work


class BadBody(Exception):
    """A body that is not read: ``status`` 413 or 415 and why."""

    def __init__(self, status: int, message: str) -> None:
        self.status = status
        super().__init__(message)


def problem(status: int, message: str, parameter: str | None = None, why: str | None = None) -> Response:
    return json_response(status, msgspec.json.encode(Problem(message, parameter, why)))


def unavailable(error: StoreUnavailable) -> Response:
    """What is said while the store takes no work. Nothing was changed then."""
    if isinstance(error, StoreFull):
        told = (
            "the store has no space left, and nothing was changed; free some on its disk, or have whoever runs "
            "driftline do so, then try again"
        )
    else:
        told = "the store does not answer; try again in a moment"
    response = problem(503, told)
    response.headers["retry-after"] = str(AGAIN_S)
    return response


def json_response(status: int, body: bytes) -> Response:
    return Response(body, status_code=status, media_type="application/json")


def plain(text: str) -> Response:
    return Response(text, media_type="text/plain")


def refusal(request: Request, error: Refused) -> Response:
    response = problem(error.status, str(error))
    if error.status == 401:
        # A browser asks for a password only where the page itself is wanted, never for a script's API call.
        kind = 'Basic realm="driftline: any name, the token as password", charset="UTF-8"'
        response.headers["www-authenticate"] = kind if request.url.path == "/" else 'Bearer realm="driftline"'
    return response


async def body_of(request: Request, media_type: str, most: int) -> bytes:
    """The body of a request. Raises BadBody for another type (a form of another site cannot send JSON), or too long."""
    given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if given != media_type:
        raise BadBody(415, f"the body must be {media_type}, got {given[:80]!r}; set the Content-Type header")
    found = bytearray()
    async for chunk in request.stream():
        found += chunk
        if len(found) > most:
            raise BadBody(413, f"the body has more than {most} bytes; send less")
    return bytes(found)
