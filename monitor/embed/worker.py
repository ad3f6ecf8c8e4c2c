"""The embed worker: pending samples in, embedded or missing samples out.

What is written for a sample is a function of its stored inputs and the bytes they name: the same whatever the
batch, the order, the number of workers, or how often one was killed half-way. Nothing is dropped for being slow;
samples wait, and the ticks that need them wait with them.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import msgspec
import numpy as np
import structlog
from numpy.typing import NDArray

from monitor.config.model import Config
from monitor.embed import conditions, encoders, inputs
from monitor.embed.cache import ByteCache
from monitor.embed.images import Missing
from monitor.embed.inputs import InputPart, Inputs
from monitor.embed.pictures import ImageFindings, Outcomes, Pictures, stored
from monitor.embed.sounds import Sounds
from monitor.embed.stats import EmbedStats
from monitor.store import samples
from monitor.store.engine import Store, StoreUnavailable
from monitor.store.samples import Completion, Part, PendingSample

log = structlog.get_logger("driftline.embed")

BATCH = {"sqlite": 1000, "postgresql": 200}  # samples a transaction; PostgreSQL holds row locks meanwhile
BATCH_SECONDS = 5.0  # after this long what is finished is written
CACHE_BYTES = 192_000_000

F32 = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class TextFindings:
    vector: F32
    stored: bytes
    conditions: str

    @property
    def size(self) -> int:
        return 4 * self.vector.size + len(self.stored) + len(self.conditions) + 400


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
        self._texts: ByteCache[TextFindings] = ByteCache(cache_bytes // 4)
        self._pictures = Pictures(config, self.encoder, self.stats, cache_bytes * 3 // 4)
        self._sounds = Sounds(self._pictures, cache_bytes // 16)
        self._config = config

    def reload(self, config: Config) -> None:
        """Take over a new configuration between two steps; the encoder stays until a restart."""
        self._config = config
        self._pictures.reload(config)
        self._sounds.forget()

    def close(self) -> None:
        self._pictures.close()

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
        self.stats.cache_hits = self._pictures.hits + self._texts.hits
        return len(completions)

    # -- one batch ------------------------------------------------------------------------------------------

    def _complete(self, pending: Sequence[PendingSample], stop: threading.Event | None) -> list[Completion]:
        """Outcomes of the batch, in order; fewer when time is up or ``stop`` is set (the rest stays pending)."""
        until = self._clock() + BATCH_SECONDS
        done: list[Completion] = []
        size = 2 * self._config.encoder.batch  # what is decided on together; images stream through it
        for start in range(0, len(pending), size):
            chunk = pending[start : start + size]
            done.extend(self._chunk(chunk))
            if self._clock() > until or (stop is not None and stop.is_set()):
                break
        return done

    def _chunk(self, chunk: Sequence[PendingSample]) -> list[Completion]:
        parsed = [Missing("inputs_gone") if s.inputs is None else inputs.parse(s.inputs) for s in chunk]
        entries = [entry for entry in parsed if isinstance(entry, Inputs)]
        wanted = [part for entry in entries for part in entry.chosen]
        pages: dict[int, int] = {}
        for entry in entries:
            pages.update(entry.pages(self._config.sampling.parts))
        found_images = self._pictures.find([part for part in wanted if part.is_picture], pages)
        found_sounds = self._sounds.find([part for part in wanted if part.kind == "audio"])
        texts = [part.text for part in wanted if part.kind == "text" and part.text]
        if self.encoder.shared_space:
            texts += [entry.request_text for entry in entries if entry.request_text]
        found_texts = self._find_texts(texts)
        return [
            Completion(sample.sample_id, entry.reason, "")
            if isinstance(entry, Missing)
            else self._completion(sample.sample_id, entry, found_images, found_texts, found_sounds)
            for sample, entry in zip(chunk, parsed, strict=True)
        ]

    def _completion(
        self,
        sample_id: str,
        entry: Inputs,
        found_images: dict[int, Outcomes],
        found_texts: dict[str, TextFindings],
        found_sounds: dict[int, dict[str, Any]],
    ) -> Completion:
        rows: list[Part] = []
        reasons: dict[str, str] = {}  # kind: the first reason for which a part of it was not embedded
        embedded: set[str] = set()
        first: ImageFindings | None = None
        after = entry.after
        for part in entry.chosen:
            kind = "image" if part.is_picture else part.kind
            outcomes: tuple[ImageFindings | TextFindings | Missing, ...]
            if part.is_picture:
                outcomes = found_images[id(part)]
            elif part.kind == "text":
                outcomes = (found_texts[part.text] if part.text else Missing("text_empty"),)
            else:
                outcomes = (Missing(_NOT_COVERED.get(part.kind, "kind_not_covered")),)
            for at, outcome in enumerate(outcomes):
                agreement = None
                if isinstance(outcome, ImageFindings):
                    first = first or outcome
                    if self.encoder.shared_space and entry.request_text:
                        agreement = round(float(outcome.vector @ found_texts[entry.request_text].vector), 6)
                if isinstance(outcome, Missing):
                    vector = self._given_vector(part) if at == 0 else None
                    facts = _json(_facts(part, outcome, found_sounds.get(id(part), {})))
                else:
                    vector, facts = outcome.stored, outcome.conditions
                if vector is None:
                    assert isinstance(outcome, Missing)
                    reasons.setdefault(kind, outcome.reason)
                    self.stats.parts_missing[outcome.reason] += 1
                else:
                    embedded.add(kind)
                # A document's first page has its part's index; its other pages come after all parts of the event.
                index = part.part if at == 0 else after
                after += at > 0
                rows.append(Part(index, kind[:10], vector, facts, agreement))
        # A request that carries images is about them: its text alone does not make it covered.
        kinds = {"image" if part.is_picture else part.kind for part in entry.chosen}
        needed = {"image"} if "image" in kinds else kinds
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
        return stored(vector / norm) if np.isfinite(norm) and norm > 0 else None

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
                found[text] = TextFindings(vector, stored(vector), facts)
                self._texts.put(_text_key(text), found[text], found[text].size)
            self.stats.texts_encoded += len(group)
        return found


def _facts(part: InputPart, outcome: Missing, heard: dict[str, Any]) -> dict[str, Any]:
    """Conditions of a part, or of a page of it, that has no vector."""
    facts: dict[str, Any] = {"v": conditions.VERSION, "missing": outcome.reason, **heard}
    if outcome.pages:
        facts.update(page=outcome.page, pages=outcome.pages)
    duration = part.facts.get("duration_ms")
    if part.kind in ("audio", "video") and isinstance(duration, int | float) and duration >= 0:
        facts["duration_ms"] = duration
    return facts


_NOT_COVERED = {"audio": "audio_not_embedded", "video": "video_not_covered"}


def _text_key(text: str) -> bytes:
    return sha256(text.encode("utf-8", "surrogatepass")).digest()


def _json(value: dict[str, Any]) -> str:
    return msgspec.json.encode(value).decode()
