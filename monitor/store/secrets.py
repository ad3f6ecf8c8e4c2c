"""The key of the user hashes: configured, or made once and kept in the store."""

from __future__ import annotations

import secrets as randomness
from hashlib import blake2b, sha256

from sqlalchemy import select

from monitor.store.engine import Store
from monitor.store.tables import secrets

HASH_KEY = "hash_key"


def secret(store: Store, name: str = HASH_KEY) -> str:
    """The secret ``name`` (64 hexadecimal digits), made by whoever asks first. Raises StoreUnavailable."""
    query = select(secrets.c.value).where(secrets.c.name == name)
    with store.read() as connection:
        found = connection.execute(query).scalar()
    if found is not None:
        return str(found)
    with store.write() as connection:
        store.insert_ignore(connection, secrets, [{"name": name, "value": randomness.token_hex(32)}])
        return str(connection.execute(query).scalar_one())


def hash_key(store: Store, configured: str | None) -> bytes:
    """The 32 bytes that key the user hashes: of ``privacy.hash_key``, else of the store's own secret."""
    return sha256((configured if configured else secret(store)).encode()).digest()


def user_key(key: bytes, user_id: str) -> int:
    """64-bit keyed hash (BLAKE2b) of a user id, never 0; 0 stands for no user."""
    digest = blake2b(user_id.encode("utf-8", "surrogatepass"), digest_size=8, key=key).digest()
    return int.from_bytes(digest, "big") or 1


def rendered(value: int) -> str:
    """A user hash as it is stored and shown: 16 hexadecimal digits, '' for no user."""
    return f"{value:016x}" if value else ""
