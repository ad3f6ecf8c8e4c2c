"""The web application: probes, /metrics, the API and the pages. Starlette; every handler runs in a worker thread."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import msgspec
import structlog
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from monitor.serve import parameters
from monitor.serve.access import Access, Caller, Need, Refused
from monitor.serve.anomalies import page as anomaly_pages
from monitor.serve.answers import BadBody, body_of, json_response, plain, problem, refusal, unavailable
from monitor.serve.context import Context
from monitor.serve.endpoint import Endpoint, NotFound, Picture
from monitor.serve.endpoints import ENDPOINTS, encode
from monitor.serve.failed import for_people
from monitor.serve.review import pages
from monitor.serve.views import VIEWS
from monitor.store.engine import StoreUnavailable
from monitor.store.review import Declined

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
MOST_BODY = 512 * 1024  # bytes of a JSON body: a label with all its answers and its note is smaller
_POLICY = b"default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"content-security-policy", _POLICY),
    (b"cache-control", b"no-store"),
)

log = structlog.stdlib.get_logger("driftline.serve")
Answer = Callable[[Request, Caller], Response]
Change = Callable[[Request, bytes], Response]


class SecurityHeaders:
    """Adds `HEADERS` to every response, those of errors too; what a response says of its own stands."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = message.get("headers", [])
                named = {name for name, _ in own}
                message["headers"] = [*own, *((name, value) for name, value in HEADERS if name not in named)]
            await send(message)

        await self.app(scope, receive, send_with_headers if scope["type"] == "http" else send)


def create_app(context: Context) -> ASGIApp:
    """The application. Without the role serve (``context.everything``) it has the probes and /metrics only."""
    access = Access(
        context.store,
        loopback=context.loopback,
        clock=context.clock,
        address=lambda: context.config().alerts.app_url,
    )
    routes = [
        Route("/healthz", _guarded(access, "nobody", lambda request, caller: plain("ok\n")), methods=["GET"]),
        Route("/readyz", _guarded(access, "nobody", lambda request, caller: _ready(context)), methods=["GET"]),
        Route(
            "/metrics",
            _guarded(access, "metrics", lambda request, caller: Response(context.metrics(), media_type=METRICS_TYPE)),
            methods=["GET"],
        ),
    ]
    if context.everything:
        routes += _page_routes(context, access)
        routes.append(Route("/api/openapi.json", _guarded(access, "viewer", _openapi), methods=["GET"]))
        for endpoint in ENDPOINTS:
            answers = _reading if endpoint.method == "GET" else _changing
            routes.append(Route(_path(endpoint.path), answers(context, access, endpoint), methods=[endpoint.method]))
    handlers: dict[Any, Any] = {HTTPException: _http_problem, Exception: _defect}
    # Outside of Starlette, whose answer to a defect would miss headers that a middleware within it adds.
    return SecurityHeaders(Starlette(routes=routes, exception_handlers=handlers))


def _page_routes(context: Context, access: Access) -> list[Route]:
    def login_page(request: Request, caller: Caller) -> Response:
        return pages.login_page(access, request)

    def review_page(request: Request, caller: Caller) -> Response:
        try:
            asks = access.caller(request, "reviewer")
        except Refused as error:
            if error.status == 403:
                return pages.login_page(access, request, str(error), error.status)
            if error.status != 401:
                raise
            asks = caller  # without a session: to the login
        return pages.review_page(context, request, asks)

    def anomaly_page(request: Request, caller: Caller) -> Response:
        return anomaly_pages.page(context, request, caller, asks=access.asks())

    def static(request: Request, caller: Caller) -> Response:
        return pages.static(request.path_params["name"])

    def log_in(request: Request, body: bytes) -> Response:
        return pages.log_in(access, request, body)

    def log_out(request: Request, body: bytes) -> Response:
        return pages.log_out(access, request, body)

    return [
        Route("/anomalies/{id}", _browsed(access, anomaly_page), methods=["GET"]),
        *(Route(path, _browsed(access, partial(show, context)), methods=["GET"]) for path, show in VIEWS.items()),
        Route("/login", _guarded(access, "nobody", login_page), methods=["GET"]),
        Route("/login", _with_body(pages.FORM, pages.MOST_FORM, log_in), methods=["POST"]),
        Route("/logout", _with_body(pages.FORM, pages.MOST_FORM, log_out), methods=["POST"]),
        Route("/review", _guarded(access, "nobody", review_page), methods=["GET"]),
        Route("/static/{name}", _guarded(access, "nobody", static), methods=["GET"]),
    ]


def _guarded(access: Access, need: Need, answer: Answer) -> Callable[[Request], Response]:
    return lambda request: _answered(request, lambda: answer(request, access.caller(request, need)))


def _browsed(access: Access, answer: Answer) -> Callable[[Request], Response]:
    """A page that alerts link to: a browser that is not logged in logs in first, and then is where it wanted to be."""

    def found(request: Request) -> Response:
        try:
            return answer(request, access.caller(request, "viewer"))
        except Refused as error:
            if error.status != 401 or "text/html" not in request.headers.get("accept", ""):
                raise
            return pages.to_login(request)

    return lambda request: _answered(request, lambda: found(request))


def _reading(context: Context, access: Access, endpoint: Endpoint) -> Callable[[Request], Response]:
    def answer(request: Request, caller: Caller) -> Response:
        query = parameters.read(endpoint.query, request.query_params)
        return _response(endpoint.handler(context, request, query, caller))

    return _guarded(access, endpoint.need, answer)


def _changing(context: Context, access: Access, endpoint: Endpoint) -> Callable[[Request], Awaitable[Response]]:
    def change(request: Request, body: bytes) -> Response:
        caller = access.caller(request, endpoint.need, changes=True)
        given = parameters.read_body(endpoint.query, body)
        return _response(endpoint.handler(context, request, given, caller))

    return _with_body("application/json", MOST_BODY, change)


def _with_body(media_type: str, most: int, change: Change) -> Callable[[Request], Awaitable[Response]]:
    async def handle(request: Request) -> Response:
        try:
            body = await body_of(request, media_type, most)
        except BadBody as error:
            return problem(error.status, str(error))
        return await run_in_threadpool(_answered, request, lambda: change(request, body))

    return handle


def _answered(request: Request, answer: Callable[[], Response]) -> Response:
    try:
        return answer()
    except Refused as error:
        found = refusal(request, error)
    except parameters.BadParameter as error:
        found = problem(400, str(error), error.name)
    except NotFound as error:
        found = problem(404, str(error))
    except Declined as error:
        found = problem(404 if error.why == "unknown" else 409, str(error), why=error.why)
    except StoreUnavailable as error:
        found = unavailable(error)
    return for_people(request, found)


def _response(found: msgspec.Struct | Picture) -> Response:
    if isinstance(found, Picture):
        # Pixels of an id never change; kept by this browser alone, so that what was loaded ahead is there at once.
        headers = {"cache-control": "private, max-age=600", "vary": "cookie, authorization"}
        return Response(found, media_type="image/jpeg", headers=headers)
    return json_response(200, encode(found))


def _path(path: str) -> str:
    """A path as Starlette writes it: a topic's name may hold slashes."""
    return path.replace("{topic}", "{topic:path}")


def _openapi(request: Request, caller: Caller) -> Response:
    from monitor.serve.openapi import document

    return json_response(200, json.dumps(document(), ensure_ascii=False).encode())


def _ready(context: Context) -> Response:
    """200 when every part of this process runs and the store answers, else 503 with the parts that do not."""
    states = context.states()
    waiting: dict[str, str] = {state.name: state.state for state in states if not state.ready}
    try:
        context.store.ping()
    except StoreUnavailable:
        waiting["store"] = "unavailable"
    body = {"ready": not waiting, "parts": {state.name: state.state for state in states}, "waiting_for": waiting}
    return json_response(503 if waiting else 200, msgspec.json.encode(body))


async def _http_problem(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    if status == 404:
        told = f"there is nothing at {request.url.path[:200]!r}; /api/openapi.json lists what there is"
        return for_people(request, problem(404, told))
    if status == 405:
        takes = (error.headers or {}).get("Allow", "GET") if isinstance(error, HTTPException) else "GET"
        return problem(405, f"{request.method[:20]} is not answered here; it takes {takes}")
    return problem(status, "the request cannot be answered")


async def _defect(request: Request, error: Exception) -> Response:
    log.error(
        "request failed", path=request.scope.get("route") and request.scope["route"].path, error=type(error).__name__
    )
    return for_people(request, problem(500, "a defect in driftline; its log has the details"))
