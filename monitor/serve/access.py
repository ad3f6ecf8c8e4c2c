"""Who may do what. Without any token: this machine only, and nothing is asked. With tokens: all but the probes ask.

A token comes as ``Authorization: Bearer TOKEN``, by the cookie of a session that was begun with it (``/login``), or as
the password of HTTP Basic, so that a browser can ask for it. What a browser sends by itself can be forged by another
site's page: a request that changes something needs Bearer, or a session with its token and an ``Origin`` of our own.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection

from monitor.serve.sessions import COOKIE, SECONDS, SECRET, Session, Sessions, same
from monitor.store import tokens
from monitor.store.engine import Store
from monitor.store.review.items import MOST_NAME
from monitor.store.secrets import secret

Need = Literal["nobody", "metrics", "viewer", "reviewer", "admin"]
CSRF_HEADER = "x-csrf-token"

# Who may do what only somebody else is needed for: an admin reads everything, a metrics token /metrics alone.
_SUFFICES: dict[Need, frozenset[str]] = {
    "nobody": frozenset(tokens.ROLES),
    "metrics": frozenset({"metrics", "viewer", "reviewer", "admin"}),
    "viewer": frozenset({"viewer", "reviewer", "admin"}),
    "reviewer": frozenset({"reviewer", "admin"}),
    "admin": frozenset({"admin"}),
}
_KNOWN_SECONDS = 5.0  # how long an answer about a token is trusted, and so how late a revocation can act
_MOST_KNOWN = 1000


class Refused(Exception):
    """A request that is not answered: ``status`` 400, 401 or 403 and why."""

    def __init__(self, status: int, message: str) -> None:
        self.status = status
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks. ``role``: ``open`` where none is asked for; ``reviewer``: the name that labels go under, or ''."""

    role: str
    reviewer: str
    session: Session | None = None


class Access:
    """Decides about requests. ``loopback``: the listener can be reached from this machine only.

    ``address``: the configured address of driftline's own pages, or None, for proxies that pass on another Host.
    """

    def __init__(
        self,
        store: Store,
        *,
        loopback: bool,
        clock: Callable[[], float] = time.time,
        address: Callable[[], str | None] = lambda: None,
    ) -> None:
        self._store = store
        self._loopback = loopback
        self._clock = clock
        self._address = address
        self._known: dict[tuple[str, str], tuple[float, tokens.TokenRow]] = {}
        self._asks_until = 0.0
        self._asks = True
        self._sessions_made: Sessions | None = None

    def caller(self, request: HTTPConnection, need: Need, *, changes: bool = False, csrf: str | None = None) -> Caller:
        """Who sent this request. Raises Refused where that is not enough for ``need``.

        ``changes``: the request changes something, so that it must not be forged; ``csrf``: the token against that,
        where a form carries it and not the header.
        """
        if need == "nobody":
            return Caller("open", "")
        open_to_all = not self.asks()
        if open_to_all:
            self._check_host(request)
        scheme, presented = _presented(request.headers.get("authorization"))
        session = None if scheme == "bearer" else self.session(request)
        if session is not None:
            if changes:
                self.check_origin(request)
                if not same(csrf if csrf is not None else request.headers.get(CSRF_HEADER, ""), session.csrf):
                    raise Refused(
                        403,
                        f"the token of this session is missing or wrong; send it as {CSRF_HEADER}, or reload the page",
                    )
        elif changes and scheme != "bearer":
            raise Refused(401, "log in at /login first, or send `Authorization: Bearer TOKEN`")
        if open_to_all:
            if changes and session is None:
                raise Refused(401, "say who you are at /login first")
            return Caller("open", session.name if session else "", session)
        if session is not None:
            found = self._find("id", session.token_id)
        elif presented is None:
            raise Refused(
                401, "a token is needed; send `Authorization: Bearer TOKEN` (`driftline token create` makes one)"
            )
        else:
            found = self._find("secret", presented)
        if found is None:
            raise Refused(401, "this token does not work: it is unknown, revoked or has expired")
        if found.role not in _SUFFICES[need]:
            raise Refused(403, f"a token of the role {found.role} may not do this; it needs {need}")
        return Caller(found.role, reviewer_of(found), session)

    def session(self, request: HTTPConnection) -> Session | None:
        """The session of the cookie, if it goes on: of a token that works, or of a name while there are no tokens."""
        cookie = request.cookies.get(COOKIE)
        found = None if not cookie else self._sessions().read(cookie, now=self._clock())
        if found is None:
            return None
        if not self.asks():
            return found if found.name else None
        return found if found.token_id and self._find("id", found.token_id) is not None else None

    def log_in(self, request: HTTPConnection, given: str) -> tuple[str, Caller]:
        """(the cookie of a new session, who it is of) for a token, or for a name while there are no tokens.

        Raises Refused.
        """
        self.check_origin(request)
        nonce = secrets.token_hex(16)
        if not self.asks():
            self._check_host(request)
            name = " ".join("".join(c if c.isprintable() else " " for c in given).split())
            if not 0 < len(name) <= MOST_NAME:
                raise Refused(400, f"a name has 1 to {MOST_NAME} characters, got {len(name)}")
            return self._sessions().cookie(name=name, now=self._clock(), nonce=nonce), Caller("open", name)
        found = self._find("secret", given.strip())
        if found is None:
            raise Refused(401, "this token does not work: it is unknown, revoked or has expired")
        if found.role not in _SUFFICES["viewer"]:
            raise Refused(403, f"a token of the role {found.role} opens no page; it needs viewer, reviewer or admin")
        cookie = self._sessions().cookie(token_id=found.token_id, now=self._clock(), nonce=nonce)
        return cookie, Caller(found.role, reviewer_of(found))

    def asks(self) -> bool:
        """Whether a token is asked for: always off loopback, and on it once a token was ever made."""
        if not self._loopback:
            return True
        now = self._clock()
        if now >= self._asks_until:
            self._asks, self._asks_until = tokens.any_token(self._store), now + _KNOWN_SECONDS
        return self._asks

    def check_origin(self, request: HTTPConnection) -> None:
        """Raise Refused unless a page of our own sent this: browsers name the page's origin with every POST."""
        origin = request.headers.get("origin", "")
        named = urlsplit(origin).netloc.lower() if origin != "null" else ""
        ours = {request.headers.get("host", "").lower(), urlsplit(self._address() or "").netloc.lower()} - {""}
        if not named or named not in ours:
            raise Refused(
                403,
                f"the Origin header names {origin[:80]!r}, which is not this page's own address; behind a proxy let it "
                "pass on the Host header, or set alerts.app_url",
            )

    def _sessions(self) -> Sessions:
        if self._sessions_made is None:
            self._sessions_made = Sessions(secret(self._store, SECRET))
        return self._sessions_made

    def _find(self, by: str, value: str) -> tokens.TokenRow | None:
        now = self._clock()
        until, known = self._known.get((by, value), (0.0, None))
        if now < until:
            return known
        look = tokens.find if by == "secret" else tokens.find_id
        found = look(self._store, value, now_us=int(now * 1e6))
        if found is not None:  # unknown ones are not kept: whoever tries many would fill the memory
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            self._known[by, value] = (now + _KNOWN_SECONDS, found)
        else:
            self._known.pop((by, value), None)
        return found

    def _check_host(self, request: HTTPConnection) -> None:
        """A page of another site that got its name to point here (DNS rebinding) sends that name."""
        host = _host(request.headers.get("host", ""))
        if not (host == "localhost" or _is_loopback_address(host)):
            raise Refused(
                400,
                f"the Host header names {host[:80]!r}, and without tokens only this machine is answered; ask for "
                "127.0.0.1 or localhost, or make a token",
            )


def reviewer_of(token: tokens.TokenRow) -> str:
    """The name that labels made with a token go under: its note where that can be one, else its id."""
    note = " ".join(token.note.split())
    return note if 0 < len(note) <= MOST_NAME else token.token_id


def set_cookie(cookie: str, *, secure: bool) -> str:
    """The header that gives a browser its session, or takes it ('')."""
    seconds = SECONDS if cookie else 0
    flags = "; Secure" if secure else ""
    return f"{COOKIE}={cookie}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{flags}"


def over_https(request: HTTPConnection) -> bool:
    """Whether the browser speaks HTTPS, to us or to the proxy before us. Believed only for the cookie's flag."""
    passed_on = request.headers.get("x-forwarded-proto", "").split(",")[0].strip().lower()
    return request.url.scheme == "https" or passed_on == "https"


def _host(header: str) -> str:
    if header.startswith("["):
        return header[1:].split("]")[0].lower()
    return header.rsplit(":", 1)[0].lower() if header.count(":") == 1 else header.lower()


def _is_loopback_address(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _presented(header: str | None) -> tuple[str, str | None]:
    """(scheme, secret) of an Authorization header."""
    scheme, _, value = (header or "").strip().partition(" ")
    value = value.strip()
    if scheme.lower() == "bearer" and value:
        return "bearer", value
    if scheme.lower() == "basic":
        try:
            _, _, password = base64.b64decode(value, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return "basic", None
        return "basic", password or None
    return "", None
