"""What a browser opens: logging in and out, the review page, and the two files it loads.

The page holds no item: its script asks the API for them, so that opening it changes nothing, and writes every text
of an event as a text. Nothing is run that is not in ``/static``.
"""

from __future__ import annotations

import json
import re
from functools import cache
from importlib.resources import files
from urllib.parse import parse_qs, urlencode

from sqlalchemy import literal_column, select
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from monitor.serve.access import Access, Caller, Refused, over_https, set_cookie
from monitor.serve.context import Context
from monitor.serve.endpoint import NotFound
from monitor.serve.templating import template
from monitor.store.tables import review_items

FORM = "application/x-www-form-urlencoded"
MOST_FORM = 16_384  # bytes
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
# With `no-referrer` browsers would send `Origin: null` with the forms here.
PAGE_HEADERS = {"content-security-policy": POLICY, "referrer-policy": "same-origin"}
_SCRIPTS = (
    "review.js",
    "item.js",
    "parts.js",
    "picture.js",
    "server.js",
    "anomaly.js",
    "health.js",
    "map.js",
    "references.js",
    "sending.js",
)
_STATIC = {
    **dict.fromkeys(_SCRIPTS, "text/javascript"),
    "app.css": "text/css",
    "review.css": "text/css",
    "icon.svg": "image/svg+xml",
}
# A page of ours alone: never another host, nor what changes something.
_NEXT = re.compile(r"/(?:[a-z]{1,20}(?:/[0-9A-Za-z-]{1,64})?)?(?:\?[\w%&=+.~:-]{0,1500})?", re.ASCII)
SKIP_REASONS = (
    "Unreadable: picture or text cannot be made out",
    "Something needed is missing here",
    "Not my language",
    "Not my subject",
    "Should not be shown to reviewers",
)
_FILTERS = ("segment", "language", "pool")
_MOST_CHOICES = 200  # of a filter
_UNKNOWN = "(unknown)"  # in an address, where an empty value stands for all


def static(name: str) -> Response:
    """One of the files that pages load. Raises NotFound."""
    if name not in _STATIC:
        raise NotFound(f"no file {name[:80]!r}; there are {', '.join(_STATIC)}")
    return Response(_file(name), media_type=_STATIC[name])


@cache
def _file(name: str) -> bytes:
    return files("monitor.serve").joinpath("static", name).read_bytes()


def to_login(request: Request) -> Response:
    """To the form, and from there back to what was asked for."""
    query = f"?{request.url.query}" if request.url.query else ""
    wanted = _next(request.url.path + query)
    address = f"/login?{urlencode({'next': wanted})}" if wanted else "/login"
    return RedirectResponse(address, status_code=303, headers=PAGE_HEADERS)


def login_page(
    access: Access, request: Request, problem: str = "", status: int = 200, wanted: str | None = None
) -> Response:
    """The form that takes a token, or a name while there are no tokens. ``wanted``: where to go from it."""
    wanted = _next(request.query_params.get("next", "") if wanted is None else wanted)
    session = access.session(request)
    html = template("login.html").render(
        asks=access.asks(),
        problem=problem,
        csrf=session.csrf if session else "",
        inside=session is not None,
        wanted=wanted,
    )
    return HTMLResponse(html, status_code=status, headers=PAGE_HEADERS)


def log_in(access: Access, request: Request, body: bytes) -> Response:
    """Begin a session; what is wrong with the token or name is said on the form."""
    fields = _fields(body)
    wanted = _next(fields.get("next", ""))
    try:
        cookie, caller = access.log_in(request, fields.get("given", ""))
    except Refused as error:
        return login_page(access, request, str(error), error.status, wanted)
    home = "/" if caller.role == "viewer" else "/review"
    response = RedirectResponse(wanted or home, status_code=303, headers=PAGE_HEADERS)
    response.headers["set-cookie"] = set_cookie(cookie, secure=over_https(request))
    return response


def log_out(access: Access, request: Request, body: bytes) -> Response:
    """End the session of this browser. A session that has ended already is as good. Raises Refused."""
    if access.session(request) is not None:
        access.caller(request, "viewer", changes=True, csrf=_fields(body).get("csrf", ""))
    response = RedirectResponse("/login", status_code=303, headers=PAGE_HEADERS)
    response.headers["set-cookie"] = set_cookie("", secure=over_https(request))
    return response


def review_page(context: Context, request: Request, caller: Caller) -> Response:
    """The page; to the login where there is no session, since labels need one."""
    if caller.session is None:
        return RedirectResponse("/login", status_code=303, headers=PAGE_HEADERS)
    config = context.config()
    chosen = {name: value[:300] for name in _FILTERS if (value := request.query_params.get(name))}
    chosen = {name: "" if value == _UNKNOWN else value for name, value in chosen.items()}
    settings = {
        "csrf": caller.session.csrf,
        "filter": chosen,
        "lease_ms": config.review.lease // 1000,
        "blind": config.review.blind,
    }
    html = template("review.html").render(
        reviewer=caller.reviewer,
        csrf=caller.session.csrf,
        settings=json.dumps(settings),
        reasons=SKIP_REASONS,
        choices=_choices(context),
        chosen=chosen,
        unknown=_UNKNOWN,
    )
    return HTMLResponse(html, headers=PAGE_HEADERS)


def _choices(context: Context) -> dict[str, list[str]]:
    """What can be filtered by: values of the items that wait, where there are several."""
    found: dict[str, list[str]] = {}
    with context.store.read() as connection:
        for name in _FILTERS:
            column = review_items.c[name]
            query = select(column).where(review_items.c.state == literal_column("'open'")).distinct().order_by(column)
            values = [str(value) for value in connection.execute(query.limit(_MOST_CHOICES)).scalars()]
            if len(values) > 1:
                found[name] = values
    return found


def _next(given: str) -> str:
    """The address of a page of ours that a login may lead to, else '': never one of another site."""
    return given if _NEXT.fullmatch(given) else ""


def _fields(body: bytes) -> dict[str, str]:
    try:
        found = parse_qs(body.decode(), max_num_fields=10)
    except (UnicodeDecodeError, ValueError):
        return {}
    return {name: values[0] for name, values in found.items()}
