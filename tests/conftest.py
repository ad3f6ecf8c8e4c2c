"""Fixtures for the real parts. A missing part skips the test with the way to get it; REQUIRE_REAL=1 makes it fail."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import structlog
from hypothesis import settings

from monitor.logs import QUIET
from monitor.store.engine import open_store
from tests.services import Unavailable
from tests.services import kafka as kafka_service
from tests.services import postgres as postgres_service
from tests.services import prometheus as prometheus_service

LOGGERS = (*QUIET, "kafka.cluster", "kafka.net.selector")  # whose level `monitor.logs.configure` sets

# Derandomised, so that a run on one machine is a run on any; no deadline, since machines are shared and slow.
settings.register_profile("driftline", derandomize=True, deadline=None, max_examples=60)
settings.load_profile("driftline")


# Modules of a few minutes each begin first: left to their place in the alphabet, most of them would come last, and all
# test processes but one or two would have nothing to do meanwhile.
LONGEST = (
    "test_kill_postgresql",
    "test_kill_sqlite",
    "test_three_weeks",
    "test_gentd26",
    "test_base_install",
    "test_calibration",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    order = {name: position for position, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.path.stem, len(LONGEST)))


@pytest.fixture(autouse=True)
def logs_as_they_were() -> Iterator[None]:
    """A command that was called in this process has sent all logs where it wanted them: not so for the next test."""
    root = logging.getLogger()
    handlers, levels = list(root.handlers), {name: logging.getLogger(name).level for name in (None, *LOGGERS)}
    settings = structlog.get_config()
    yield
    root.handlers[:] = handlers
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
    structlog.configure(**settings)


def absent(error: Unavailable) -> None:
    """Skip, or fail where REQUIRE_REAL=1 says that every real part must be there."""
    if os.environ.get("REQUIRE_REAL") == "1":
        pytest.fail(f"REQUIRE_REAL=1 and a real part is missing: {error}")
    pytest.skip(str(error))


@pytest.fixture(scope="session")
def kafka_bootstrap(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """``host:port`` of a real Apache Kafka shared by the session; use a topic and group name of your own."""
    with ExitStack() as stack:
        try:
            yield stack.enter_context(kafka_service.kafka(tmp_path_factory.mktemp("kafka")))
        except Unavailable as error:
            absent(error)


@pytest.fixture(scope="session")
def broker_bootstrap(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """``host:port`` of the embedded broker of the demo, shared by the session."""
    from monitor.demo.broker import BrokerUnavailable, embedded_broker

    with ExitStack() as stack:
        try:
            yield stack.enter_context(embedded_broker(tmp_path_factory.mktemp("broker")))
        except BrokerUnavailable as error:
            absent(Unavailable(str(error)))


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[postgres_service.Server]:
    with ExitStack() as stack:
        # Started by root it runs as another user, who cannot enter pytest's folders once a second pytest has begun.
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="driftline-postgres-"))
        try:
            yield stack.enter_context(postgres_service.postgres(Path(folder)))
        except Unavailable as error:
            absent(error)


@pytest.fixture
def postgres_url(postgres_server: postgres_service.Server) -> str:
    """URL of a fresh, empty PostgreSQL database."""
    return postgres_server.database()


BOTH = ["sqlite", pytest.param("postgresql", marks=pytest.mark.real)]


@pytest.fixture(params=BOTH)
def bare_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """URL of an empty database: every test that takes it runs on SQLite and on PostgreSQL."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'driftline.db'}"
    server: postgres_service.Server = request.getfixturevalue("postgres_server")
    return server.database()


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with the tables of driftline, to be copied."""
    path = tmp_path_factory.mktemp("migrated") / "driftline.db"
    open_store(f"sqlite:///{path}").close()
    return path


@pytest.fixture(params=BOTH)
def store_url(request: pytest.FixtureRequest, tmp_path: Path, migrated: Path) -> str:
    """URL of a fresh store, its tables made: every test that takes it runs on SQLite and on PostgreSQL."""
    if request.param == "sqlite":
        shutil.copy(migrated, tmp_path / "driftline.db")
        return f"sqlite:///{tmp_path / 'driftline.db'}"
    server: postgres_service.Server = request.getfixturevalue("postgres_server")
    return server.store()


@pytest.fixture
def prometheus(tmp_path: Path) -> Iterator[Callable[[str], str]]:
    """Starts a real Prometheus with the given configuration and returns its URL."""
    with ExitStack() as stack:

        def start(config: str) -> str:
            try:
                return stack.enter_context(prometheus_service.prometheus(tmp_path / "prometheus", config))
            except Unavailable as error:
                absent(error)
                raise

        yield start


@pytest.fixture
def alertmanager(tmp_path: Path) -> Iterator[str]:
    """URL of a real Alertmanager."""
    with ExitStack() as stack:
        try:
            yield stack.enter_context(prometheus_service.alertmanager(tmp_path / "alertmanager"))
        except Unavailable as error:
            absent(error)
