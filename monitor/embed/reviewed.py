"""Images of items under review: fetched again, and encoded anew in decoder processes, so that people can read them.

Nothing of a file's own bytes reaches a browser: what is kept is what a decoder process drew, within a size. Work is
one item at a time, in a decoder process of its own, so that samples do not wait for it.
"""

from __future__ import annotations

import threading

import structlog

from monitor.config.model import Config
from monitor.embed import inputs
from monitor.embed.images import Missing, View
from monitor.embed.inputs import InputPart
from monitor.embed.payloads import PayloadFetcher
from monitor.embed.pool import DecoderPool
from monitor.store import review
from monitor.store.engine import Store, StoreUnavailable
from monitor.store.review import Pixels, PixelsWanted

log = structlog.stdlib.get_logger("driftline.embed")

BATCH = 10  # items a claim


class PixelWorker:
    """Completes items that wait for their images. ``step`` does a few, ``run`` steps until told to stop."""

    def __init__(self, store: Store, config: Config) -> None:
        self._store = store
        self._config = config
        self._open()

    def _open(self) -> None:
        limits = self._config.payloads
        self._fetcher = PayloadFetcher(limits)
        self._pool = DecoderPool(
            1,
            memory=limits.decode_memory,
            seconds=limits.decode_time / 1e6,
            max_pixels=limits.max_pixels,
            side=self._config.review.pixels_side,
        )

    def reload(self, config: Config) -> None:
        """Take over new limits between two steps."""
        self.close()
        self._config = config
        self._open()

    def close(self) -> None:
        self._fetcher.close()
        self._pool.close()

    def run(self, stop: threading.Event, poll_seconds: float = 1.0) -> None:
        """Step until ``stop`` is set. What fails is tried again, ever more slowly up to 30 s."""
        delay = poll_seconds
        try:
            while not stop.is_set():
                try:
                    done = self.step()
                except StoreUnavailable as error:
                    log.warning("store unavailable, images for review wait", error=str(error), retry_seconds=delay)
                except Exception as error:
                    log.error("images for review wait", error=repr(error), retry_seconds=delay)
                else:
                    delay = poll_seconds
                    if not done:
                        stop.wait(poll_seconds)
                    continue
                stop.wait(delay)
                delay = min(30.0, 2 * delay)
        finally:
            self.close()

    def step(self, most: int = BATCH) -> int:
        """Complete at most so many items; 0 when none waits (or others hold them)."""
        with review.claim_pixels(self._store, most) as (wanted, connection):
            found = [(item.item_id, self._images(item)) for item in wanted]
            if connection is not None:
                for item_id, images in found:
                    review.keep(connection, item_id, images)
        if connection is None and found:
            with self._store.write() as own:
                for item_id, images in found:
                    review.keep(own, item_id, images)
        return len(found)

    def _images(self, item: PixelsWanted) -> list[Pixels]:
        """At most ``review.pixels_pages`` images of an item's inputs, in order; none where its content is gone."""
        entry = Missing("inputs_gone") if item.inputs is None else inputs.parse(item.inputs, every=True)
        if isinstance(entry, Missing):
            return []
        found: list[Pixels] = []
        most = self._config.review.pixels_pages
        for part in entry.chosen:
            left = most - len(found)
            if part.is_picture and left > 0:
                found += self._part(part, left)
        return found

    def _part(self, part: InputPart, most: int) -> list[Pixels]:
        data = self._fetcher.fetch(part.facts)
        if isinstance(data, Missing):
            return [Pixels(part.part, 0, reason=data.reason)]
        if part.altered(data):
            return [Pixels(part.part, 0, reason="sha256_mismatch")]
        return [
            Pixels(part.part, page, view.width, view.height, view.data)
            if isinstance(view, View)
            else Pixels(part.part, page, reason=view.reason)
            for page, view in enumerate(self._pool.views(data, most))
        ]
