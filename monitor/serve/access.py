"""Who may read what. Without any token: this machine only, and nothing is asked. With tokens: all but the probes ask.

A token comes as ``Authorization: Bearer TOKEN``, or as the password of HTTP Basic so that a browser can ask for it.
Nothing here changes state on a request, so a forged cross-site request has nothing to forge.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import time
from collections.abc import Callable
from typing import Literal

from starlette.requests import HTTPConnection

from monitor.store import tokens
from monitor.store.engine import Store

Need = Literal["nobody", "metrics", "viewer", "reviewer", "admin"]

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


class Access:
    """Decides about requests. ``loopback``: the listener can be reached from this machine only."""

    def __init__(self, store: Store, *, loopback: bool, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._loopback = loopback
        self._clock = clock
        self._known: dict[str, tuple[float, str | None]] = {}
        self._asks_until = 0.0
        self._asks = True

    def role(self, request: HTTPConnection, need: Need) -> str:
        """The role this request has, ``open`` where none is asked for. Raises Refused where it is not enough."""
        if need == "nobody":
            return "open"
        if not self.asks():
            self._check_host(request)
            return "open"
        secret = _presented(request.headers.get("authorization"))
        if secret is None:
            raise Refused(
                401, "a token is needed; send `Authorization: Bearer TOKEN` (`driftline token create` makes one)"
            )
        role = self._role_of(secret)
        if role is None:
            raise Refused(401, "this token does not work: it is unknown, revoked or has expired")
        if role not in _SUFFICES[need]:
            raise Refused(403, f"a token of the role {role} may not read this; it needs {need}")
        return role

    def asks(self) -> bool:
        """Whether a token is asked for: always off loopback, and on it once a token was ever made."""
        if not self._loopback:
            return True
        now = self._clock()
        if now >= self._asks_until:
            self._asks, self._asks_until = tokens.any_token(self._store), now + _KNOWN_SECONDS
        return self._asks

    def _role_of(self, secret: str) -> str | None:
        now = self._clock()
        until, role = self._known.get(secret, (0.0, None))
        if now < until:
            return role
        role = tokens.role_of(self._store, secret, now_us=int(now * 1e6))
        if role is not None:  # unknown ones are not kept: whoever tries many would fill the memory
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            self._known[secret] = (now + _KNOWN_SECONDS, role)
        else:
            self._known.pop(secret, None)
        return role

    def _check_host(self, request: HTTPConnection) -> None:
        """A page of another site that got its name to point here (DNS rebinding) sends that name."""
        host = _host(request.headers.get("host", ""))
        if not (host == "localhost" or _is_loopback_address(host)):
            raise Refused(
                400,
                f"the Host header names {host[:80]!r}, and without tokens only this machine is answered; ask for "
                "127.0.0.1 or localhost, or make a token",
            )


def _host(header: str) -> str:
    if header.startswith("["):
        return header[1:].split("]")[0].lower()
    return header.rsplit(":", 1)[0].lower() if header.count(":") == 1 else header.lower()


def _is_loopback_address(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _presented(header: str | None) -> str | None:
    scheme, _, value = (header or "").strip().partition(" ")
    value = value.strip()
    if scheme.lower() == "bearer" and value:
        return value
    if scheme.lower() == "basic":
        try:
            _, _, password = base64.b64decode(value, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return None
        return password or None
    return None
