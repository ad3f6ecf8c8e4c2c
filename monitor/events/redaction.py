"""Redaction and keyed hashes: what must not be kept never reaches the store."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from monitor.config.model import Redaction
from monitor.store.secrets import user_key

USERS_CACHED = 100_000

# These fields of a part hold addresses, digests and payloads: redaction would break what they point at.
_UNTOUCHED = frozenset({"uri", "inline", "sha256", "media_type", "kind", "embedding"})


class Redactor:
    """The configured rules, applied in order: a match becomes ``[name]``."""

    def __init__(self, rules: Iterable[Redaction]) -> None:
        self._rules = [(re.compile(rule.pattern), f"[{rule.name}]") for rule in rules]

    def said(self, value: str) -> str:
        """A reviewer's text, redacted and otherwise as it was written: it is stored as JSON, where NUL is no harm."""
        if value:
            for pattern, replacement in self._rules:
                value = pattern.sub(replacement, value)
        return value

    def text(self, value: str) -> str:
        return self.said(value).replace("\x00", "\ufffd")

    def tree(self, value: Any, untouched: frozenset[str] = _UNTOUCHED) -> Any:
        """A JSON value with every text in it redacted, keys too, but for the fields in ``untouched``."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, list):
            return [self.tree(item, untouched) for item in value]
        if isinstance(value, dict):
            return {
                self.text(key): item if key in untouched else self.tree(item, untouched) for key, item in value.items()
            }
        return value


@lru_cache(maxsize=8)
def redactor(rules: tuple[Redaction, ...]) -> Redactor:
    """The redactor of these rules, made once."""
    return Redactor(rules)


class UserHasher(dict[str | None, int]):
    """User id to a 64-bit keyed hash (BLAKE2b), held as a signed number, which numpy takes in faster; 0 stands for
    no user. Bounded by :meth:`trim`."""

    def __init__(self, key: bytes) -> None:
        super().__init__()
        self._key = key
        self[None] = 0

    def __missing__(self, user: str | None) -> int:
        value = self.hash(user) if user else 0
        value = self[user] = value - 2**64 if value >= 2**63 else value
        return value

    def hash(self, user: str) -> int:
        return user_key(self._key, user)

    def trim(self) -> None:
        """Forget everything once there are very many."""
        if len(self) > USERS_CACHED:
            self.clear()
            self[None] = 0
