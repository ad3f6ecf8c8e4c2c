"""Prometheus and Alertmanager as Debian packages them, each on a free port with a data folder of its own."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from monitor.demo.broker import free_port
from tests.services import Unavailable, running


def _program(*names: str, package: str) -> str:
    for name in names:
        if path := shutil.which(name):
            return path
    raise Unavailable(f"`{names[0]}` is missing: apt-get install -y --no-install-recommends {package}")


def _wait_ready(url: str, log: Path, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if httpx.get(url, timeout=1).status_code == 200:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.1)
    raise RuntimeError(f"{url} did not answer within {seconds:g} s; log:\n{log.read_text(errors='replace')[-2000:]}")


def promtool() -> str:
    return _program("promtool", package="prometheus")


@contextmanager
def prometheus(folder: Path, config: str) -> Iterator[str]:
    """Prometheus with the given configuration (YAML text); yields its base URL."""
    program = _program("prometheus", package="prometheus")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "prometheus.yml").write_text(config)
    port = free_port()
    command = [
        program,
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'tsdb'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--web.enable-lifecycle",
    ]
    with running(command, folder, "prometheus"):
        url = f"http://127.0.0.1:{port}"
        _wait_ready(f"{url}/-/ready", folder / "prometheus.log")
        yield url


@contextmanager
def alertmanager(folder: Path, config: str | None = None, port: int = 0) -> Iterator[str]:
    """Alertmanager; yields its base URL. Without ``config`` one silent receiver takes everything."""
    with peer(folder, config, port=port) as (url, _):
        yield url


@contextmanager
def peer(
    folder: Path, config: str | None = None, peers: tuple[str, ...] = (), port: int = 0, cluster_port: int = 0
) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Alertmanager, of a cluster (``peers``: host:port of others) where ``cluster_port`` is given; yields its base URL
    and its process."""
    program = _program("prometheus-alertmanager", "alertmanager", package="prometheus-alertmanager")
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "alertmanager.yml"
    file.write_text(
        config or "route: {receiver: nobody, group_wait: 0s, group_interval: 1s}\nreceivers: [{name: nobody}]\n"
    )
    port = port or free_port()
    # A cluster on one machine hears within milliseconds what its peers notified; across a network 15 s are usual.
    cluster = [f"--cluster.listen-address=127.0.0.1:{cluster_port}", "--cluster.peer-timeout=3s"]
    command = [
        program,
        f"--config.file={file}",
        f"--storage.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        *(cluster if cluster_port else ["--cluster.listen-address="]),
        *(f"--cluster.peer={peer}" for peer in peers),
    ]
    with running(command, folder, "alertmanager") as process:
        url = f"http://127.0.0.1:{port}"
        _wait_ready(f"{url}/-/ready", folder / "alertmanager.log")
        yield url, process
