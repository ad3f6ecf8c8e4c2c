"""The web application: probes, /metrics, the API and one page. Starlette; every handler runs in a worker thread."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec
import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from monitor.serve import parameters
from monitor.serve.access import Access, Need, Refused
from monitor.serve.context import Context
from monitor.serve.endpoints import ENDPOINTS, Endpoint, NotFound, encode
from monitor.serve.models import Problem
from monitor.store.engine import StoreUnavailable

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_POLICY = (
    b"default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; "
    b"frame-ancestors 'none'"
)
HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"content-security-policy", _POLICY),
    (b"cache-control", b"no-store"),
)

log = structlog.stdlib.get_logger("driftline.serve")
Answer = Callable[[Request, str], Response]


class SecurityHeaders:
    """Adds `HEADERS` to every response, those of errors too."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), *HEADERS]
            await send(message)

        await self.app(scope, receive, send_with_headers if scope["type"] == "http" else send)


def create_app(context: Context) -> ASGIApp:
    """The application. Without the role serve (``context.everything``) it has the probes and /metrics only."""
    access = Access(context.store, loopback=context.loopback, clock=context.clock)
    routes = [
        Route("/healthz", _guarded(access, "nobody", lambda request, role: _plain("ok\n")), methods=["GET"]),
        Route("/readyz", _guarded(access, "nobody", lambda request, role: _ready(context)), methods=["GET"]),
        Route(
            "/metrics",
            _guarded(access, "metrics", lambda request, role: Response(context.metrics(), media_type=METRICS_TYPE)),
            methods=["GET"],
        ),
    ]
    if context.everything:
        routes.append(
            Route("/", _guarded(access, "viewer", lambda request, role: _page(context, request, role)), methods=["GET"])
        )
        routes.append(Route("/api/openapi.json", _guarded(access, "viewer", _openapi), methods=["GET"]))
        routes += [
            Route(_path(e.path), _guarded(access, e.need, _answering(context, e)), methods=["GET"]) for e in ENDPOINTS
        ]
    handlers: dict[Any, Any] = {HTTPException: _http_problem, Exception: _defect}
    # Outside of Starlette, whose answer to a defect would miss headers that a middleware within it adds.
    return SecurityHeaders(Starlette(routes=routes, exception_handlers=handlers))


def _guarded(access: Access, need: Need, answer: Answer) -> Callable[[Request], Response]:
    def handle(request: Request) -> Response:
        try:
            return answer(request, access.role(request, need))
        except Refused as error:
            return _refusal(request, error)
        except parameters.BadParameter as error:
            return _problem(400, str(error), error.name)
        except NotFound as error:
            return _problem(404, str(error))
        except StoreUnavailable:
            return _problem(503, "the store does not answer; try again in a moment")

    return handle


def _path(path: str) -> str:
    """A path as Starlette writes it: a topic's name may hold slashes."""
    return path.replace("{topic}", "{topic:path}")


def _answering(context: Context, endpoint: Endpoint) -> Answer:
    def answer(request: Request, role: str) -> Response:
        query = parameters.read(endpoint.query, request.query_params)
        return _json(200, encode(endpoint.handler(context, request, query, role)))

    return answer


def _openapi(request: Request, role: str) -> Response:
    from monitor.serve.openapi import document

    return _json(200, json.dumps(document(), ensure_ascii=False).encode())


def _page(context: Context, request: Request, role: str) -> Response:
    from monitor.serve.page import render

    return HTMLResponse(render(context))


def _ready(context: Context) -> Response:
    """200 when every part of this process runs and the store answers, else 503 with the parts that do not."""
    states = context.states()
    waiting: dict[str, str] = {state.name: state.state for state in states if not state.ready}
    try:
        context.store.ping()
    except StoreUnavailable:
        waiting["store"] = "unavailable"
    body = {"ready": not waiting, "parts": {state.name: state.state for state in states}, "waiting_for": waiting}
    return _json(503 if waiting else 200, msgspec.json.encode(body))


def _refusal(request: Request, error: Refused) -> Response:
    response = _problem(error.status, str(error))
    if error.status == 401:
        # A browser asks for a password only where the page itself is wanted, never for a script's API call.
        kind = 'Basic realm="driftline: any name, the token as password", charset="UTF-8"'
        response.headers["www-authenticate"] = kind if request.url.path == "/" else 'Bearer realm="driftline"'
    return response


async def _http_problem(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    if status == 404:
        return _problem(404, f"there is nothing at {request.url.path[:200]!r}; /api/openapi.json lists what there is")
    if status == 405:
        return _problem(405, f"{request.method[:20]} is not answered here; everything is read by GET")
    return _problem(status, "the request cannot be answered")


async def _defect(request: Request, error: Exception) -> Response:
    log.error(
        "request failed", path=request.scope.get("route") and request.scope["route"].path, error=type(error).__name__
    )
    return _problem(500, "a defect in driftline; its log has the details")


def _problem(status: int, message: str, parameter: str | None = None) -> Response:
    return _json(status, msgspec.json.encode(Problem(message, parameter)))


def _json(status: int, body: bytes) -> Response:
    return Response(body, status_code=status, media_type="application/json")


def _plain(text: str) -> Response:
    return Response(text, media_type="text/plain")
