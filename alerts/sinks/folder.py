"""Reports as files in a folder. A file is there whole or not at all, and the same one again changes nothing."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path

from alerts.sinks import Delivery, Outcome, Refused, Retry, Sent

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,150}")  # of a file: never a path
_READABLE = 0o644


class FolderSink:
    """Writes each page of a delivery as ``NAME.FORM``; the folder is made where it is missing."""

    batch = 10

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def longest_us(self, deliveries: int) -> int:
        return 10_000_000 * deliveries

    def send(self, deliveries: Sequence[Delivery], now_us: int) -> list[Outcome]:
        return [self._write(delivery) for delivery in deliveries]

    def close(self) -> None:
        """Nothing is kept open."""

    def _write(self, delivery: Delivery) -> Outcome:
        name, pages = str(delivery.payload.get("name")), delivery.payload.get("pages") or {}
        files = {f"{name}.{form}": page for form, page in pages.items()}
        if not files or not all(_NAME.fullmatch(file) for file in files):
            return Refused(f"no report that can be written: {name[:200]!r}")
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            for file, page in files.items():
                write_whole(self._folder / file, page)
        except OSError as error:
            return Retry(f"{type(error).__name__}: {error}", delivery.remote)
        return Sent(delivery.remote)


def write_whole(path: Path, page: str) -> None:
    """Write a file that others may read meanwhile: they see the old one or the new one, and nothing is left of a write
    that failed. Raises OSError."""
    number, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    temporary = Path(name)
    try:
        with os.fdopen(number, "w", encoding="utf-8", newline="\n") as out:
            out.write(page)
            out.flush()
            os.fsync(out.fileno())
        temporary.chmod(_READABLE)
        temporary.replace(path)
    except BaseException:
        temporary.unlink()
        raise
