"""Starts the real parts that tests and benchmarks run against: Kafka, PostgreSQL, Prometheus, Alertmanager.

Each starter is a context manager; each raises Unavailable with the way to get the part where it is missing.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Unavailable(RuntimeError):
    """A real part is not on this machine; the message says how to get it."""


def cache_folder() -> Path:
    """Where downloaded parts are kept between runs."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = base / "driftline"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def running(
    command: list[str], folder: Path, name: str, env: dict[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server in ``folder`` with its output in ``<name>.log``; end it, and its children, on exit."""
    log = folder / f"{name}.log"
    with log.open("ab") as out:
        process = subprocess.Popen(
            command, stdout=out, stderr=subprocess.STDOUT, cwd=folder, env=env, start_new_session=True
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
