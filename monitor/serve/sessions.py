"""Sessions of a browser: a signed cookie that names a token, and the token of a session against forged requests.

Nothing of a session is stored. Its cookie holds the id of the token it was begun with, so that it ends when that token
is revoked or expires; without any token (loopback) it holds the name the reviewer gave. What it may do is looked up
with each request, never read from the cookie.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from dataclasses import dataclass
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

COOKIE = "driftline_session"
SECRET = "session_key"
SECONDS = 12 * 3600  # how long a session lasts: a working day
_LONGEST = 2000  # characters of a cookie that are looked at


class _Content(Struct, frozen=True, forbid_unknown_fields=True, array_like=True):
    """What the cookie says, in this order."""

    version: Annotated[int, Meta(ge=1, le=1)]
    token_id: str
    name: str
    expires: int
    nonce: str


@dataclass(frozen=True, slots=True)
class Session:
    """A session that was checked. Exactly one of ``token_id`` and ``name`` is set; ``expires``: epoch seconds."""

    token_id: str
    name: str
    expires: int
    csrf: str


class Sessions:
    """Makes and reads cookies, signed with ``key`` (HMAC-SHA256)."""

    def __init__(self, key: str) -> None:
        self._key = key.encode()

    def cookie(self, *, token_id: str = "", name: str = "", now: float, nonce: str) -> str:
        """The cookie of a session that begins ``now`` (epoch seconds); ``nonce``: at least 128 random bits."""
        content = msgspec.json.encode(_Content(1, token_id, name, int(now) + SECONDS, nonce))
        body = base64.urlsafe_b64encode(content).decode().rstrip("=")
        return f"{body}.{self._sign('session', body)}"

    def read(self, cookie: str, *, now: float) -> Session | None:
        """The session of a cookie, or None for what was not signed here, was changed, or has expired."""
        body, _, signature = cookie[:_LONGEST].partition(".")
        if not hmac.compare_digest(self._sign("session", body).encode(), signature.encode("utf-8", "replace")):
            return None
        try:
            content = msgspec.json.decode(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)), type=_Content)
        except (msgspec.DecodeError, msgspec.ValidationError, binascii.Error, ValueError):
            return None
        if content.expires <= now or bool(content.token_id) == bool(content.name):
            return None
        return Session(content.token_id, content.name, content.expires, self._sign("csrf", content.nonce))

    def _sign(self, purpose: str, text: str) -> str:
        message = f"{purpose}\x00{text}".encode("utf-8", "replace")
        return hmac.new(self._key, message, hashlib.sha256).hexdigest()


def same(given: str, wanted: str) -> bool:
    """Whether two tokens against forged requests are equal, in a time that tells nothing about them."""
    return hmac.compare_digest(given.encode("utf-8", "replace"), wanted.encode())
