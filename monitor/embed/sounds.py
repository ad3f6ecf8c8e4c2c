"""Audio parts: fetched and measured in the decoder pool, remembered by content, not embedded."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Any

from monitor.embed.cache import ByteCache
from monitor.embed.images import Missing
from monitor.embed.inputs import InputPart
from monitor.embed.pictures import Pictures

_SIZE = 600  # bytes of one entry, about


class Sounds:
    """Conditions of sound files, with the payload rules and the pool of the images."""

    def __init__(self, pictures: Pictures, cache_bytes: int) -> None:
        self._pictures = pictures
        self._cache: ByteCache[dict[str, Any]] = ByteCache(cache_bytes)

    def find(self, parts: Sequence[InputPart]) -> dict[int, dict[str, Any]]:
        """Conditions by ``id(part)``; ``unmeasured`` with a reason where there are none."""
        found: dict[int, dict[str, Any]] = {}
        for part, data in self._pictures.fetched(parts):
            if isinstance(data, Missing):
                found[id(part)] = {"unmeasured": data.reason}
                continue
            if part.altered(data):
                found[id(part)] = {"unmeasured": "sha256_mismatch"}
                continue
            digest = sha256(data).digest()
            known = self._cache.get(digest)
            if known is None:
                heard = self._pictures.pool.hear(data)
                known = {"unmeasured": heard.reason} if isinstance(heard, Missing) else heard
                self._cache.put(digest, known, _SIZE)
            found[id(part)] = known
        return found

    def forget(self) -> None:
        """Drop what was found under other limits."""
        self._cache.clear()
