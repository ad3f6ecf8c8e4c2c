"""Image parts to findings: fetched, decoded in the pool, encoded in batches, remembered by content.

Everything streams: while a batch is encoded the pool decodes the next images, and no more than ``AHEAD`` decoded
images and as many payloads wait, whatever the number of parts.
"""

from __future__ import annotations

import concurrent.futures
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256

import msgspec
import numpy as np
import structlog
from numpy.typing import NDArray
from PIL import Image

from monitor.config.model import Config
from monitor.embed.cache import ByteCache
from monitor.embed.concepts import ConceptBank, with_shipped
from monitor.embed.encoders import Encoder
from monitor.embed.images import Missing
from monitor.embed.inputs import InputPart
from monitor.embed.payloads import PayloadFetcher
from monitor.embed.pdf import is_pdf
from monitor.embed.pool import DecoderPool, Look
from monitor.embed.stats import EmbedStats

log = structlog.get_logger("driftline.embed")

AHEAD = 16  # decoded images that wait for the encoder
GROUP = 16  # images a call of the encoder, at most: the pool goes on meanwhile
FETCH_THREADS = 16
_REMOTE = ("http:", "https:", "s3:")

F32 = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class ImageFindings:
    """All that is kept of one image; a function of its bytes and the encoder."""

    vector: F32
    stored: bytes
    conditions: str
    phash: int
    thumbnail: bytes

    @property
    def size(self) -> int:
        return 4 * self.vector.size + len(self.stored) + len(self.conditions) + len(self.thumbnail) + 600


Outcome = ImageFindings | Missing
Outcomes = tuple[Outcome, ...]  # one of an image, one a chosen page of a document


@dataclass(slots=True)
class _File:
    """A content on its way: who waits for it, and what became of its images, in order."""

    key: bytes
    parts: list[int]  # ids of the parts
    most: int
    decoding: concurrent.futures.Future[tuple[Look | Missing, ...]]
    outcomes: list[Outcome | None] = field(default_factory=list)


@dataclass(slots=True)
class _Round:
    """The state of one call of ``find``."""

    files: dict[bytes, _File] = field(default_factory=dict)
    decoding: deque[_File] = field(default_factory=deque)
    ahead: int = 0  # images that these hold at most
    decoded: list[tuple[_File, int, Look]] = field(default_factory=list)
    found: dict[int, Outcomes] = field(default_factory=dict)


class Pictures:
    """What is known of images, by content. ``find`` belongs to one thread."""

    def __init__(self, config: Config, encoder: Encoder, stats: EmbedStats, cache_bytes: int) -> None:
        self._stats = stats
        self._cache: ByteCache[Outcomes] = ByteCache(cache_bytes)
        self._encoder = encoder
        # Threads only wait here, for the network; decoding has processes of its own.
        self._fetching = concurrent.futures.ThreadPoolExecutor(FETCH_THREADS, thread_name_prefix="driftline-fetch")
        self._configure(config)

    @property
    def hits(self) -> int:
        """How often an image was known already."""
        return self._cache.hits

    def _configure(self, config: Config) -> None:
        limits = config.payloads
        words = with_shipped(config.encoder.concepts)
        self._concepts = ConceptBank(self._encoder, words) if self._encoder.shared_space else None
        self._group = min(GROUP, config.encoder.batch)
        self._fetcher = PayloadFetcher(limits)
        self.pool = DecoderPool(
            limits.decoders,
            memory=limits.decode_memory,
            seconds=limits.decode_time / 1e6,
            max_pixels=limits.max_pixels,
            side=self._encoder.side,
            died=self._replaced,
        )

    def _replaced(self) -> None:
        self._stats.decoders_replaced += 1

    def reload(self, config: Config) -> None:
        """New limits, between two calls of ``find``. What was found under the old ones is forgotten."""
        self._fetcher.close()
        self.pool.close()
        self._cache.clear()
        self._configure(config)

    def close(self) -> None:
        self._fetching.shutdown(wait=False, cancel_futures=True)
        self._fetcher.close()
        self.pool.close()

    def find(self, parts: Sequence[InputPart], pages: Mapping[int, int] | None = None) -> dict[int, Outcomes]:
        """What is known of each part, by ``id(part)``.

        Args:
            parts: images and documents.
            pages: ``id(part)``: most pages looked at if it is a PDF; default 1.

        Raises:
            Exception: what the encoder raises when it is out of order; DecoderUnavailable.
        """
        now = _Round()
        for part, data in self.fetched(parts):
            if isinstance(data, Missing):
                now.found[id(part)] = (data,)
                continue
            if part.altered(data):
                now.found[id(part)] = (Missing("sha256_mismatch"),)
                continue
            digest = sha256(data).digest()
            most = (pages or {}).get(id(part), 1) if is_pdf(data) else 1
            key = digest + most.to_bytes(2, "big")
            if key in now.files:
                now.files[key].parts.append(id(part))
                continue
            known = self._cache.get(key)
            if known is not None:
                now.found[id(part)] = known
                continue
            file = now.files[key] = _File(key, [id(part)], most, self.pool.submit(data, most))
            now.decoding.append(file)
            now.ahead += most
            while now.ahead >= AHEAD:
                self._take(now)
        while now.decoding:
            self._take(now)
        self._encode(now)
        for file in now.files.values():
            outcomes = tuple(outcome for outcome in file.outcomes if outcome is not None)
            now.found.update((part, outcomes) for part in file.parts)
        return now.found

    def fetched(self, parts: Sequence[InputPart]) -> Iterator[tuple[InputPart, bytes | Missing]]:
        """Payloads in order. Threads only where something is waited for: a local read is faster than a hand-over."""
        if not any(str(part.facts.get("uri", "")).lower().startswith(_REMOTE) for part in parts):
            for part in parts:
                yield part, self._fetcher.fetch(part.facts)
            return
        waiting: deque[tuple[InputPart, concurrent.futures.Future[bytes | Missing]]] = deque()
        for part in parts:
            waiting.append((part, self._fetching.submit(self._fetcher.fetch, part.facts)))
            if len(waiting) >= FETCH_THREADS:
                first, payload = waiting.popleft()
                yield first, payload.result()
        for first, payload in waiting:
            yield first, payload.result()

    def _take(self, now: _Round) -> None:
        """The images of the oldest file, on to the encoder."""
        file = now.decoding.popleft()
        now.ahead -= file.most
        looks = file.decoding.result()
        file.outcomes = [look if isinstance(look, Missing) else None for look in looks]
        now.decoded += [(file, at, look) for at, look in enumerate(looks) if isinstance(look, Look)]
        self._keep(file)
        while len(now.decoded) >= self._group:
            self._encode(now)

    def _encode(self, now: _Round) -> None:
        """The next batch of decoded images."""
        batch, now.decoded = now.decoded[: self._group], now.decoded[self._group :]
        began = time.monotonic()
        vectors = self._vectors([look.image for _, _, look in batch])
        self._stats.encode_seconds += time.monotonic() - began
        for (file, at, look), vector in zip(batch, vectors, strict=True):
            outcome: Outcome = Missing(
                "encoder_failed", look.conditions.get("page", 0), look.conditions.get("pages", 0)
            )
            if vector is not None:
                facts = dict(look.conditions)
                if self._concepts is not None:
                    facts["concepts"] = self._concepts.stored(vector)
                text = msgspec.json.encode(facts).decode()
                outcome = ImageFindings(vector, stored(vector), text, look.phash, look.thumbnail)
            file.outcomes[at] = outcome
            self._keep(file)

    def _keep(self, file: _File) -> None:
        """Remember a file whose last image has its outcome."""
        outcomes = tuple(outcome for outcome in file.outcomes if outcome is not None)
        if len(outcomes) == len(file.outcomes):
            size = sum(200 if isinstance(outcome, Missing) else outcome.size for outcome in outcomes)
            self._cache.put(file.key, outcomes, size)

    def _vectors(self, pictures: list[Image.Image]) -> list[F32 | None]:
        """One vector an image; None where the encoder fails on that very image."""
        if not pictures:
            return []
        self._stats.images_encoded += len(pictures)
        try:
            return list(self._encoder.encode_images(pictures))
        except Exception as error:
            # An encoder that cannot do a blank page is out of order: nothing is the inputs' fault, so they wait.
            self._encoder.encode_images([Image.new("RGB", (64, 64), "white")])
            log.warning("the encoder refused a batch, trying its images alone", error=repr(error))
            return [self._alone(picture) for picture in pictures]

    def _alone(self, picture: Image.Image) -> F32 | None:
        try:
            return np.asarray(self._encoder.encode_images([picture])[0], dtype=np.float32)
        except Exception:
            return None


def stored(vector: F32) -> bytes:
    """A vector as it is stored: float16, little endian."""
    return np.ascontiguousarray(vector, dtype="<f2").tobytes()
