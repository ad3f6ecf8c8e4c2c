"""The embed worker: pending samples in, embedded or missing samples out.

What is written for a sample is a function of its stored inputs and the bytes they name: the same whatever the
batch, the order, the number of workers, or how often one was killed half-way. Nothing is dropped for being slow;
samples wait, and the ticks that need them wait with them.
"""

from __future__ import annotations

import concurrent.futures
import os
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, TypeVar

import msgspec
import numpy as np
import structlog
from numpy.typing import NDArray
from PIL import Image

from monitor.config.model import Config
from monitor.embed import conditions, encoders, images, inputs
from monitor.embed.cache import ByteCache
from monitor.embed.images import Missing
from monitor.embed.inputs import InputPart, Inputs
from monitor.embed.payloads import PayloadFetcher
from monitor.store import samples
from monitor.store.engine import Store, StoreUnavailable
from monitor.store.samples import Completion, Part, PendingSample

log = structlog.get_logger("driftline.embed")

BATCH = {"sqlite": 1000, "postgresql": 200}  # samples a transaction; PostgreSQL holds row locks meanwhile
BATCH_SECONDS = 5.0  # after this long what is finished is written
CACHE_BYTES = 192_000_000
FETCH_THREADS = 16
_SHA256 = re.compile(r"^[0-9a-f]{64}$")
_REMOTE = ("http:", "https:", "s3:")

F32 = NDArray[np.float32]
Item = TypeVar("Item")
Result = TypeVar("Result")


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


@dataclass(frozen=True, slots=True)
class TextFindings:
    vector: F32
    stored: bytes
    conditions: str

    @property
    def size(self) -> int:
        return 4 * self.vector.size + len(self.stored) + len(self.conditions) + 400


@dataclass(slots=True)
class EmbedStats:
    """Counts since the worker started, for metrics."""

    embedded: int = 0
    missing: Counter[str] = field(default_factory=Counter)
    parts_missing: Counter[str] = field(default_factory=Counter)
    images_encoded: int = 0
    texts_encoded: int = 0
    cache_hits: int = 0
    failures: int = 0
    encode_seconds: float = 0.0


@dataclass(slots=True)
class _Looked:
    """A decoded image on its way to the encoder."""

    image: Image.Image
    conditions: str
    phash: int
    thumbnail: bytes


class EmbedWorker:
    """Completes pending samples of one store with one encoder.

    ``step`` does one batch and says how many samples it completed; ``run`` steps until told to stop. Several
    workers may share a PostgreSQL store; on SQLite more than one is safe and of no use.
    """

    def __init__(
        self,
        store: Store,
        config: Config,
        encoder: encoders.Encoder | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        batch: int | None = None,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        self.encoder = encoders.load(config.encoder) if encoder is None else encoder
        self.stats = EmbedStats()
        self._store = store
        self._clock = clock
        self._batch = BATCH[store.dialect] if batch is None else batch
        self._images: ByteCache[ImageFindings | Missing] = ByteCache(cache_bytes * 3 // 4)
        self._texts: ByteCache[TextFindings] = ByteCache(cache_bytes // 4)
        # Fetching waits, decoding computes and holds one full image a thread: hence two pools.
        self._fetching = concurrent.futures.ThreadPoolExecutor(FETCH_THREADS, thread_name_prefix="driftline-fetch")
        self._decoding = concurrent.futures.ThreadPoolExecutor(
            min(4, os.cpu_count() or 1), thread_name_prefix="driftline-decode"
        )
        self._config = config
        self._fetcher = PayloadFetcher(config.payloads)

    def reload(self, config: Config) -> None:
        """Take over a new configuration between two steps; the encoder stays until a restart."""
        previous, self._fetcher = self._fetcher, PayloadFetcher(config.payloads)
        self._config = config
        previous.close()

    def close(self) -> None:
        self._fetching.shutdown(wait=False, cancel_futures=True)
        self._decoding.shutdown(wait=False, cancel_futures=True)
        self._fetcher.close()

    def run(self, stop: threading.Event, poll_seconds: float = 0.25) -> None:
        """Step until ``stop`` is set. A store or encoder that fails is tried again, ever more slowly up to 30 s."""
        delay = poll_seconds
        try:
            while not stop.is_set():
                try:
                    done = self.step(stop)
                except StoreUnavailable as error:
                    self.stats.failures += 1
                    log.warning("store unavailable, samples wait", error=str(error), retry_seconds=delay)
                except Exception as error:
                    self.stats.failures += 1
                    log.error("embedding failed, samples wait", error=repr(error), retry_seconds=delay)
                else:
                    delay = poll_seconds
                    if not done:
                        stop.wait(poll_seconds)
                    continue
                stop.wait(delay)
                delay = min(30.0, 2 * delay)
        finally:
            self.close()

    def step(self, stop: threading.Event | None = None) -> int:
        """Complete one batch of pending samples; 0 when none was pending (or others hold them)."""
        with samples.claim(self._store, self._batch) as (pending, connection):
            if not pending:
                return 0
            completions = self._complete(pending, stop)
            keep = self._config.sampling.content
            if connection is not None:
                samples.complete(self._store, connection, completions, keep_content=keep)
        if connection is None and completions:
            with self._store.write() as own:
                samples.complete(self._store, own, completions, keep_content=keep)
        for completion in completions:
            if completion.reason:
                self.stats.missing[completion.reason] += 1
            else:
                self.stats.embedded += 1
        self.stats.cache_hits = self._images.hits + self._texts.hits
        return len(completions)

    # -- one batch ------------------------------------------------------------------------------------------

    def _complete(self, pending: Sequence[PendingSample], stop: threading.Event | None) -> list[Completion]:
        """Outcomes of the batch, in order; fewer when time is up or ``stop`` is set (the rest stays pending)."""
        until = self._clock() + BATCH_SECONDS
        done: list[Completion] = []
        # Decoded images live for one chunk only, which bounds memory whatever the batch.
        size = max(1, self._config.encoder.batch)
        for start in range(0, len(pending), size):
            chunk = pending[start : start + size]
            done.extend(self._chunk(chunk))
            if self._clock() > until or (stop is not None and stop.is_set()):
                break
        return done

    def _chunk(self, chunk: Sequence[PendingSample]) -> list[Completion]:
        parsed = [Missing("inputs_gone") if s.inputs is None else inputs.parse(s.inputs) for s in chunk]
        wanted = [part for entry in parsed if isinstance(entry, Inputs) for part in entry.chosen]
        found_images = self._find_images([part for part in wanted if part.kind == "image"])
        texts = [part.text for part in wanted if part.kind == "text" and part.text]
        if self.encoder.shared_space:
            texts += [entry.request_text for entry in parsed if isinstance(entry, Inputs) and entry.request_text]
        found_texts = self._find_texts(texts)
        return [
            Completion(sample.sample_id, entry.reason, "")
            if isinstance(entry, Missing)
            else self._completion(sample.sample_id, entry, found_images, found_texts)
            for sample, entry in zip(chunk, parsed, strict=True)
        ]

    def _completion(
        self,
        sample_id: str,
        entry: Inputs,
        found_images: dict[int, ImageFindings | Missing],
        found_texts: dict[str, TextFindings],
    ) -> Completion:
        rows: list[Part] = []
        reasons: dict[str, str] = {}  # kind: the first reason for which a part of it was not embedded
        embedded: set[str] = set()
        first: ImageFindings | None = None
        for part in entry.chosen:
            outcome: ImageFindings | TextFindings | Missing
            agreement = None
            if part.kind == "image":
                outcome = found_images[id(part)]
                if isinstance(outcome, ImageFindings):
                    first = first or outcome
                    if self.encoder.shared_space and entry.request_text:
                        agreement = round(float(outcome.vector @ found_texts[entry.request_text].vector), 6)
            elif part.kind == "text":
                outcome = found_texts[part.text] if part.text else Missing("text_empty")
            else:
                outcome = Missing(_NOT_COVERED.get(part.kind, "kind_not_covered"))
            vector, facts = self._row(part, outcome)
            if vector is None:
                assert isinstance(outcome, Missing)
                reasons.setdefault(part.kind, outcome.reason)
                self.stats.parts_missing[outcome.reason] += 1
            else:
                embedded.add(part.kind)
            rows.append(Part(part.part, part.kind[:10], vector, facts, agreement))
        # A request that carries images is about them: its text alone does not make it covered.
        needed = {"image"} if "image" in reasons or "image" in embedded else {part.kind for part in entry.chosen}
        reason = ""
        if not needed & embedded:
            reason = next((reasons[kind] for kind in reasons if kind in needed), "no_input")
        return Completion(
            sample_id,
            reason,
            self.encoder.identity,
            phash=first.phash if first else None,
            parts=tuple(rows),
            thumbnail=first.thumbnail if first else None,
        )

    def _row(self, part: InputPart, outcome: ImageFindings | TextFindings | Missing) -> tuple[bytes | None, str]:
        """(stored vector, conditions JSON) of one part."""
        if not isinstance(outcome, Missing):
            return outcome.stored, outcome.conditions
        facts: dict[str, Any] = {"v": conditions.VERSION, "missing": outcome.reason}
        duration = part.facts.get("duration_ms")
        if part.kind in ("audio", "video") and isinstance(duration, int | float) and duration >= 0:
            facts["duration_ms"] = duration
        return self._given_vector(part), _json(facts)

    def _given_vector(self, part: InputPart) -> bytes | None:
        """A vector that came with the event, when this very encoder made it."""
        given = part.facts.get("embedding")
        if not isinstance(given, dict) or given.get("model") != self.encoder.identity:
            return None
        try:
            vector = np.asarray(given.get("vector"), dtype=np.float32)
        except (TypeError, ValueError):
            return None
        norm = float(np.linalg.norm(vector)) if vector.shape == (self.encoder.dim,) else 0.0
        return _stored(vector / norm) if np.isfinite(norm) and norm > 0 else None

    # -- images ---------------------------------------------------------------------------------------------

    def _find_images(self, parts: Sequence[InputPart]) -> dict[int, ImageFindings | Missing]:
        """What is known of each image part, by ``id(part)``: from the cache, else fetched, decoded, encoded."""
        found: dict[int, ImageFindings | Missing] = {}
        fresh: dict[bytes, bytes] = {}  # digest: content, each content once
        digests: dict[int, bytes] = {}
        for part, data in zip(parts, self._fetch(parts), strict=True):
            if isinstance(data, Missing):
                found[id(part)] = data
                continue
            digest = sha256(data).digest()
            stated = part.facts.get("sha256")
            if isinstance(stated, str) and _SHA256.match(stated.lower()) and stated.lower() != digest.hex():
                found[id(part)] = Missing("sha256_mismatch")
                continue
            if digest not in fresh:
                known = self._images.get(digest)
                if known is not None:
                    found[id(part)] = known
                    continue
                fresh[digest] = data
            digests[id(part)] = digest
        if fresh:
            computed = self._look_and_encode(fresh)
            found.update((key, computed[digest]) for key, digest in digests.items())
        return found

    def _fetch(self, parts: Sequence[InputPart]) -> Iterable[bytes | Missing]:
        """Payloads in order. Threads only where something is waited for: a local read is faster than a hand-over."""
        facts = [part.facts for part in parts]
        if any(str(entry.get("uri", "")).lower().startswith(_REMOTE) for entry in facts):
            return self._fetching.map(self._fetcher.fetch, facts)
        return map(self._fetcher.fetch, facts)

    def _look_and_encode(self, contents: dict[bytes, bytes]) -> dict[bytes, ImageFindings | Missing]:
        digests = list(contents)
        size = max(1, self._config.encoder.batch)
        results: dict[bytes, ImageFindings | Missing] = {}
        for start in range(0, len(digests), size):
            group = digests[start : start + size]
            looked = list(self._decoding.map(self._look, [contents[digest] for digest in group]))
            good = [entry for entry in looked if isinstance(entry, _Looked)]
            began = time.monotonic()
            vectors = iter(self._encode_images([entry.image for entry in good]))
            self.stats.encode_seconds += time.monotonic() - began
            for digest, entry in zip(group, looked, strict=True):
                result: ImageFindings | Missing
                if isinstance(entry, Missing):
                    result = entry
                else:
                    vector = next(vectors)
                    result = (
                        Missing("encoder_failed")
                        if vector is None
                        else ImageFindings(vector, _stored(vector), entry.conditions, entry.phash, entry.thumbnail)
                    )
                results[digest] = result
                self._images.put(digest, result, 200 if isinstance(result, Missing) else result.size)
        return results

    def _look(self, data: bytes) -> _Looked | Missing:
        decoded = images.decode(data, self._config.payloads.max_pixels)
        if isinstance(decoded, Missing):
            return decoded
        measured = conditions.measure(decoded)
        signed = int.from_bytes(bytes.fromhex(measured["phash"]), "big", signed=True)
        return _Looked(decoded.image, _json(measured), signed, images.thumbnail(decoded.image))

    def _encode_images(self, pictures: list[Image.Image]) -> list[F32 | None]:
        """One vector an image; None where the encoder fails on that very image."""
        if not pictures:
            return []
        self.stats.images_encoded += len(pictures)
        try:
            return list(self.encoder.encode_images(pictures))
        except Exception as error:
            # An encoder that cannot do a blank page is out of order: nothing is the inputs' fault, so they wait.
            self.encoder.encode_images([Image.new("RGB", (64, 64), "white")])
            log.warning("the encoder refused a batch, trying its images alone", error=repr(error))
            return [self._encode_alone(picture) for picture in pictures]

    def _encode_alone(self, picture: Image.Image) -> F32 | None:
        try:
            return np.asarray(self.encoder.encode_images([picture])[0], dtype=np.float32)
        except Exception:
            return None

    # -- texts ----------------------------------------------------------------------------------------------

    def _find_texts(self, texts: Iterable[str]) -> dict[str, TextFindings]:
        found: dict[str, TextFindings] = {}
        fresh: list[str] = []
        for text in dict.fromkeys(texts):
            known = self._texts.get(_text_key(text))
            if known is not None:
                found[text] = known
            else:
                fresh.append(text)
        size = max(1, self._config.encoder.batch)
        for start in range(0, len(fresh), size):
            group = fresh[start : start + size]
            began = time.monotonic()
            encoded = self.encoder.encode_texts(group)
            self.stats.encode_seconds += time.monotonic() - began
            for text, vector in zip(group, encoded, strict=True):
                facts = _json({"v": conditions.VERSION, "characters": len(text)})
                found[text] = TextFindings(vector, _stored(vector), facts)
                self._texts.put(_text_key(text), found[text], found[text].size)
            self.stats.texts_encoded += len(group)
        return found


_NOT_COVERED = {"audio": "audio_not_embedded", "video": "video_not_covered"}


def _text_key(text: str) -> bytes:
    return sha256(text.encode("utf-8", "surrogatepass")).digest()


def _stored(vector: F32) -> bytes:
    return np.ascontiguousarray(vector, dtype="<f2").tobytes()


def _json(value: dict[str, Any]) -> str:
    return msgspec.json.encode(value).decode()
