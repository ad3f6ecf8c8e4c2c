"""Access tokens: made, listed, revoked, checked. The store keeps a token's SHA-256, never the token.

A token is 32 random bytes, so a plain hash is enough: there is nothing to guess and no dictionary to try.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass

from sqlalchemy import ColumnElement, func, insert, or_, select, update

from monitor.store.engine import Store
from monitor.store.tables import tokens

ROLES = ("viewer", "reviewer", "admin", "metrics")
PREFIX = "dl_"
_ID_LENGTH = 8
_LONGEST_NOTE = 200


@dataclass(frozen=True, slots=True)
class NewToken:
    """A token just made. ``secret`` is known here and to whoever it is given to; the store has its hash."""

    token_id: str
    secret: str


@dataclass(frozen=True, slots=True)
class TokenRow:
    """A token as it is listed. Times: wall clock, µs."""

    token_id: str
    role: str
    note: str
    created_us: int
    expires_us: int | None
    revoked_us: int | None


def create(store: Store, role: str, *, note: str = "", now_us: int, expires_us: int | None = None) -> NewToken:
    """Make a token. Raises ValueError for an unknown role or an expiry that has passed."""
    if role not in ROLES:
        raise ValueError(f"expected a role, got {role!r}; write one of {', '.join(ROLES)}")
    if expires_us is not None and expires_us <= now_us:
        raise ValueError("the expiry has passed already; give a time to come")
    made = NewToken(secrets.token_hex(_ID_LENGTH // 2), PREFIX + secrets.token_urlsafe(32))
    row = {
        "token_id": made.token_id,
        "hash": _hash(made.secret),
        "role": role,
        "note": note[:_LONGEST_NOTE],
        "created_us": now_us,
        "expires_us": expires_us,
        "revoked_us": None,
    }
    with store.write() as connection:
        connection.execute(insert(tokens).values(row))
    return made


def list_tokens(store: Store) -> list[TokenRow]:
    """Every token ever made, oldest first."""
    query = select(*(tokens.c[name] for name in TokenRow.__slots__)).order_by(tokens.c.created_us, tokens.c.token_id)
    with store.read() as connection:
        return [TokenRow(*row) for row in connection.execute(query)]


def revoke(store: Store, token_id: str, *, now_us: int) -> bool:
    """End a token; False where none that still works has this id."""
    query = update(tokens).where(tokens.c.token_id == token_id, tokens.c.revoked_us.is_(None)).values(revoked_us=now_us)
    with store.write() as connection:
        return connection.execute(query).rowcount == 1


def find(store: Store, secret: str, *, now_us: int) -> TokenRow | None:
    """The token with this secret if it works, else None. Looked up by hash, so timing tells nothing about a token."""
    return _working(store, tokens.c.hash == _hash(secret), now_us)


def find_id(store: Store, token_id: str, *, now_us: int) -> TokenRow | None:
    """The token with this id if it works, else None: whether what was begun with it may go on."""
    return _working(store, tokens.c.token_id == token_id, now_us)


def role_of(store: Store, secret: str, *, now_us: int) -> str | None:
    """The role of a token that works, else None."""
    found = find(store, secret, now_us=now_us)
    return None if found is None else found.role


def _working(store: Store, which: ColumnElement[bool], now_us: int) -> TokenRow | None:
    query = select(*(tokens.c[name] for name in TokenRow.__slots__)).where(
        which, tokens.c.revoked_us.is_(None), or_(tokens.c.expires_us.is_(None), tokens.c.expires_us > now_us)
    )
    with store.read() as connection:
        found = connection.execute(query).first()
    return None if found is None else TokenRow(*found)


def any_token(store: Store) -> bool:
    """Whether a token was ever made: from then on everything asks for one, even if all have ended."""
    with store.read() as connection:
        return bool(connection.execute(select(func.count()).select_from(tokens)).scalar_one())


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
