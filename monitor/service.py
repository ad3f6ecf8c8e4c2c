"""`driftline run`: the roles of one process, from start to a graceful stop.

Roles are sets of supervised parts (monitor/supervise.py): ``ingest`` reads events and, where one is configured, the
labels topic; ``embed`` is one part; ``evaluate`` is the evaluator, the dispatcher of the outbox and the upkeep of the
store; ``serve`` is the web application. Every process also listens for the probes and ``/metrics``.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from types import FrameType

import structlog

from monitor.config.load import ConfigError, load
from monitor.config.model import Config
from monitor.config.reload import effective
from monitor.store.engine import SchemaMismatch, Store, StoreUnavailable, open_store
from monitor.supervise import Part, PartState, Supervisor
from monitor.workers import lags, measured_workers, parts_of, records_behind

ROLES = ("ingest", "embed", "evaluate", "serve")
STOP_SECONDS = 10.0
SWITCH_SECONDS = 0.001  # a page reads the store row by row, and after each the interpreter's lock is asked for again
SAME_REQUEST = 0.5  # seconds: a signal to a process and to its group arrives twice
LOOPBACK = ("127.0.0.1", "::1", "localhost")

log = structlog.stdlib.get_logger("driftline.service")


class ServiceError(Exception):
    """The service cannot start as configured; the message says why and what to do."""


class Service:
    """One process of driftline. ``run`` returns the exit code."""

    def __init__(
        self,
        config_path: Path,
        config: Config,
        *,
        roles: Iterable[str] = ROLES,
        host: str | None = None,
        port: int | None = None,
    ) -> None:
        self.roles = tuple(role for role in ROLES if role in set(roles))
        self.config = config
        self._config_path = config_path
        self._host = host
        self._port = port
        self._wake = threading.Event()
        self._signals: list[int] = []
        self._stopping = False
        self._told = 0.0
        self._supervisor = Supervisor([])
        self._reloads = {"taken": 0, "refused": 0}

    def states(self) -> list[PartState]:
        """How the parts of this process are doing."""
        return self._supervisor.states()

    def run(self, *, drain: bool = False) -> int:
        """Run until a signal, or with ``drain`` until everything there is now has been worked through."""
        store = self._open()
        try:
            self._listen_for_signals()
            sys.setswitchinterval(SWITCH_SECONDS)
            if drain:
                return self._drain(store)
            listener = self._bind(store)
            self._supervisor = Supervisor(self._parts(store, listener))
            log.info("starting", roles=list(self.roles), pid=os.getpid())
            self._supervisor.start()
            return self._attend()
        finally:
            store.close()

    # -- starting -------------------------------------------------------------------------------------------

    def _open(self) -> Store:
        try:
            return open_store(self.config.store.url)
        except (SchemaMismatch, ValueError) as error:
            raise ServiceError(str(error)) from None
        except StoreUnavailable as error:
            raise ServiceError(f"{error}\nCheck store.url, and that the database runs and accepts this user.") from None

    def _bind(self, store: Store) -> socket.socket | None:
        host = self._host or self.config.serve.host
        port = self.config.serve.port if self._port is None else self._port
        refuse_open_listening(store, host)
        try:
            listener = bind(host, port)
        except OSError as error:
            if "serve" not in self.roles and self._port is None:
                # Another role's process on this machine has the port: probes can be had with a --port of its own.
                log.warning("not listening: the port is taken", host=host, port=port, option="--port")
                return None
            raise ServiceError(
                f"cannot listen on {host}:{port}: {error.strerror or error}; set serve.port (0 picks a free one) "
                "or --port"
            ) from None
        log.info("listening", url=f"http://{_shown(host)}:{listener.getsockname()[1]}/", roles=list(self.roles))
        return listener

    def _parts(self, store: Store, listener: socket.socket | None) -> list[Part]:
        parts = parts_of(self.roles, store, self._current)
        if listener is not None:
            from monitor.serve.context import Context
            from monitor.serve.exposition import Exposition
            from monitor.serve.server import WebServer

            exposition = Exposition(store, self._current, self._workers, self.states, leads="evaluate" in self.roles)
            self._reloads = exposition.reloads
            context = Context(
                store=store,
                config=self._current,
                states=self.states,
                metrics=exposition.render,
                lag=lambda: records_behind(self._supervisor.parts),
                lags=lambda: lags(self._supervisor.parts),
                loopback=is_loopback(self._host or self.config.serve.host),
                everything="serve" in self.roles,
            )
            parts.append(Part("serve", lambda: WebServer(listener, context)))
            if "evaluate" in self.roles:
                parts.append(Part("metrics", lambda: exposition))
        return parts

    def _workers(self) -> dict[str, object]:
        return measured_workers(self._supervisor.parts)

    def _current(self) -> Config:
        return self.config

    # -- running --------------------------------------------------------------------------------------------

    def _listen_for_signals(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        if number != signal.SIGHUP:
            now = time.monotonic()
            if self._stopping and now - self._told > SAME_REQUEST:
                os._exit(128 + number)  # a second request: at once, which loses nothing either
            self._stopping, self._told = True, now if not self._stopping else self._told
        self._signals.append(number)
        self._wake.set()

    def _attend(self) -> int:
        while True:
            self._wake.wait()
            self._wake.clear()
            while self._signals:
                if self._signals.pop(0) == signal.SIGHUP:
                    self.reload()
            if self._stopping:
                break
        log.info("stopping", seconds_at_most=STOP_SECONDS)
        late = self._supervisor.stop(STOP_SECONDS)
        if late:
            log.warning(
                "stopped without waiting longer; nothing is lost, its last batch will be done again", parts=late
            )
            os._exit(0)
        log.info("stopped")
        return 0

    def reload(self) -> bool:
        """Read the configuration again and hand it to every part at once; a bad file changes nothing."""
        try:
            config, refused = effective(self.config, load(self._config_path))
        except ConfigError as error:
            log.error("configuration not reloaded, the old one stays", reason=str(error))
            self._reloads["refused"] += 1
            return False
        self._reloads["taken"] += 1
        if refused:
            log.warning("these keys take effect at the next start", keys=list(refused))
        if config == self.config:
            log.info("configuration unchanged")
            return True
        self.config = config
        for part in self._supervisor.parts:
            reload: Callable[[Config], None] | None = getattr(part.worker, "reload", None)
            if reload is not None:
                reload(config)
            else:
                part.restart()
        log.info("configuration reloaded")
        return True

    # -- draining -------------------------------------------------------------------------------------------

    def _drain(self, store: Store) -> int:
        from monitor.drain import DrainFailed, drain

        began = time.monotonic()
        try:
            done = drain(self.roles, store, self.config, lambda: self._stopping)
        except DrainFailed as error:
            raise ServiceError(f"{error}. What was committed stays; draining again goes on from there.") from None
        log.info("drained" if done else "drain stopped early", seconds=round(time.monotonic() - began, 1))
        return 0 if done else 1


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a listener on ``host``."""
    return host in LOOPBACK or host.startswith("127.")


def refuse_open_listening(store: Store, host: str) -> None:
    """Raise ServiceError where ``host`` is reachable from elsewhere and the store holds no token."""
    from monitor.store.tokens import any_token

    if not is_loopback(host) and not any_token(store):
        raise ServiceError(
            f"refusing to listen on {host}: without tokens anyone who reaches it could read everything. "
            "Make one with `driftline token create --role admin`, or listen on 127.0.0.1."
        )


def bind(host: str, port: int) -> socket.socket:
    """A listening socket; raises OSError where the address is taken or not this machine's."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(128)
    except OSError:
        listener.close()
        raise
    return listener


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else host
