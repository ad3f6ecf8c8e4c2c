"""Opening the store: one engine for SQLite (the embedded default) and PostgreSQL.

Durability. SQLite runs in WAL mode with ``synchronous=NORMAL``: a transaction that returned survives ``kill -9``
of the process at any moment, because its pages are in the operating system's cache by then. After a power failure
the newest transactions may be missing, all of them or a suffix, never half of one; since Kafka offsets are part of
the same transactions, they are then read again. PostgreSQL keeps its own ``synchronous_commit``.

Isolation. ``Store.read()`` is one consistent snapshot on both databases. ``Store.write()`` takes the write lock at
its beginning on SQLite (``BEGIN IMMEDIATE``: no deadlock by lock upgrade) and is READ COMMITTED on PostgreSQL.
"""

from __future__ import annotations

import contextlib
import math
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from sqlalchemy import Connection, Engine, Table, create_engine, event, text
from sqlalchemy.dialects import postgresql as pg
from sqlalchemy.dialects import sqlite as lite
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, OperationalError, PendingRollbackError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from monitor.store import migrations
from monitor.store.turns import Turns

BUSY_SECONDS = 60
POOL_SIZE = 10
FULL_SECONDS = 120.0  # whoever writes tries again within this time while there is no space
_MIGRATION_LOCK = 0x6472_6966_746C  # "driftl": the advisory lock that one migrating process holds on PostgreSQL

# PostgreSQL's SQLSTATE classes and codes where the same work, tried again, can succeed: connection lost, out of
# connections, shutting down or starting, serialisation failure, deadlock, lock not available.
_RETRY_CLASSES = ("08", "53", "57")
_RETRY_CODES = ("40001", "40P01", "55P03", "25006")
_PG_FULL = "53100"
# SQLite's primary result codes, likewise: another writer, no space, an error of the disk (a file that reached its
# limit is told as one), a file system that was made read-only, no file descriptor left.
_SQLITE_RETRY = (
    sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_CANTOPEN,
)  # fmt: skip


class StoreUnavailable(Exception):
    """The store did not take the work, and trying again later may help (lost connection, deadlock, lock wait).

    Nothing of the transaction was kept, unless the connection broke during the commit itself: then it is unknown,
    which is why every writer's transaction is a compare-and-set or idempotent.
    """


class StoreFull(StoreUnavailable):
    """The store has no space left to write; it takes work again once there is some. Reading goes on meanwhile."""


class SchemaMismatch(Exception):
    """The database's tables are not those of this version of driftline."""


class Store:
    """A database, shared by any number of threads.

    ``url`` is ``sqlite:///FILE`` or ``postgresql://USER@HOST/DB``. Make one per process with :func:`open_store`.
    """

    def __init__(self, url: str) -> None:
        self.url: URL = parse_url(url)
        self.dialect: Literal["sqlite", "postgresql"] = (
            "sqlite" if self.url.get_backend_name() == "sqlite" else "postgresql"
        )
        self._full_at = -math.inf
        self._write_lock = Turns()  # SQLite has one writer: waiting here is fair and needs no polling
        self.engine: Engine = self._make_engine()

    def __repr__(self) -> str:
        return f"Store({self.url.render_as_string(hide_password=True)!r})"

    def _make_engine(self) -> Engine:
        if self.dialect == "postgresql":
            return create_engine(
                self.url,
                pool_pre_ping=True,
                pool_size=POOL_SIZE,
                max_overflow=POOL_SIZE,
                connect_args={"connect_timeout": 10, "application_name": "driftline"},
            )
        assert self.url.database is not None
        Path(self.url.database).absolute().parent.mkdir(parents=True, exist_ok=True)
        engine = create_engine(
            self.url,
            pool_size=POOL_SIZE,
            max_overflow=POOL_SIZE,
            connect_args={"timeout": BUSY_SECONDS, "check_same_thread": False},
        )
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine

    @contextlib.contextmanager
    def write(self) -> Iterator[Connection]:
        """One transaction that writes: committed on leaving, rolled back on an exception.

        Do not nest, and do nothing slow inside (no network, no decoding): on SQLite every other writer waits.
        Raises StoreUnavailable where trying the whole block again may help.
        """
        if self.dialect == "sqlite" and not self._write_lock.acquire(timeout=BUSY_SECONDS):
            raise StoreUnavailable(f"another thread has been writing for {BUSY_SECONDS} s; try again")
        try:
            with _translated(), self.engine.connect() as connection:
                connection.execution_options(driftline_write=True)
                with connection.begin():
                    yield connection
        except StoreFull:
            self._full_at = time.monotonic()
            raise
        finally:
            if self.dialect == "sqlite":
                self._write_lock.release()

    @property
    def full(self) -> bool:
        """Whether a write of this process was lately refused for want of space (`FULL_SECONDS`)."""
        return time.monotonic() - self._full_at < FULL_SECONDS

    @contextlib.contextmanager
    def read(self) -> Iterator[Connection]:
        """One consistent snapshot to read from; writers are not held up by it."""
        with _translated(), self.engine.connect() as connection:
            if self.dialect == "postgresql":
                connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
            with connection.begin():
                yield connection

    def upsert(
        self,
        connection: Connection,
        table: Table,
        rows: Sequence[Mapping[str, Any]],
        *,
        update: Iterable[str] | None = None,
    ) -> None:
        """Insert ``rows``; where the primary key exists, set the columns ``update`` (default: all others).

        All rows carry the same keys. No row, nothing is done.
        """
        if not rows:
            return
        statement = self._insert(table)
        keys = [column.name for column in table.primary_key.columns]
        chosen = [name for name in rows[0] if name not in keys] if update is None else list(update)
        if chosen:
            statement = statement.on_conflict_do_update(
                index_elements=keys, set_={name: statement.excluded[name] for name in chosen}
            )
        else:
            statement = statement.on_conflict_do_nothing(index_elements=keys)
        connection.execute(statement, list(rows))

    def insert_ignore(self, connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> int:
        """Insert ``rows``, leaving out those whose key exists. Returns how many were inserted."""
        if not rows:
            return 0
        # One prepared statement, run per row: its text is compiled once and cached, however many rows there are.
        statement = self._insert(table).on_conflict_do_nothing()
        done = connection.execute(statement, list(rows), execution_options={"preserve_rowcount": True})
        return done.rowcount

    def _insert(self, table: Table) -> Any:
        return pg.insert(table) if self.dialect == "postgresql" else lite.insert(table)

    def migrate(self) -> str:
        """Bring the tables to this version's schema and return its revision. Safe in several processes at once."""
        with self.write() as connection:
            if self.dialect == "postgresql":
                connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _MIGRATION_LOCK})
            self._refuse_newer(connection)
            migrations.upgrade(connection)
        return migrations.head()

    def check_schema(self) -> None:
        """Raise SchemaMismatch unless the tables are at this version's revision."""
        with self.read() as connection:
            self._refuse_newer(connection)
            found = migrations.revision(connection)
        if found != migrations.head():
            raise SchemaMismatch(
                f"{self!r} is at schema {found or 'none'}, this driftline needs {migrations.head()}; "
                "start `driftline run` once, which migrates it"
            )

    def _refuse_newer(self, connection: Connection) -> None:
        found = migrations.revision(connection)
        if found is not None and found not in migrations.known():
            raise SchemaMismatch(
                f"{self!r} is at schema {found}, which this driftline (schema {migrations.head()}) does not know; "
                "it was written by a newer version: install that one"
            )

    def ping(self) -> None:
        """Raise StoreUnavailable unless the database answers."""
        with self.read() as connection:
            connection.execute(text("SELECT 1"))

    def close(self) -> None:
        """Close every pooled connection."""
        self.engine.dispose()


def open_store(url: str, *, migrate: bool = True) -> Store:
    """Open the store at ``url``; with ``migrate`` its tables are made or brought up to date, else checked."""
    store = Store(url)
    try:
        if migrate:
            store.migrate()
        else:
            store.check_schema()
    except BaseException:
        store.close()
        raise
    return store


def parse_url(url: str) -> URL:
    """Check a store URL and choose its driver. Raises ValueError saying what to write."""
    write = "write sqlite:///FILE or postgresql://USER:PASSWORD@HOST/DB"
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):  # the text may hold a password: it is not repeated
        raise ValueError(f"the store's address is not a URL; {write}") from None
    if parsed.drivername in ("sqlite", "sqlite+pysqlite"):
        if parsed.database in (None, "", ":memory:"):
            raise ValueError(f"the store must be a file, got {url!r}: several threads and processes share it; {write}")
        return parsed.set(drivername="sqlite+pysqlite")
    if parsed.drivername in ("postgresql", "postgres", "postgresql+psycopg"):
        return parsed.set(drivername="postgresql+psycopg")
    raise ValueError(f"the store cannot be {parsed.drivername!r}; {write}")


def _prepare_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None  # transactions begin where _begin_sqlite says, not where the driver guesses
    cursor = connection.cursor()
    for pragma in (
        f"busy_timeout={BUSY_SECONDS * 1000}",
        "journal_mode=WAL",
        "synchronous=NORMAL",
        "foreign_keys=OFF",
        "cache_size=-16384",
        "journal_size_limit=67108864",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get("driftline_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except PoolTimeout as error:
        raise StoreUnavailable(f"no free connection to the store: {error}") from error
    except PendingRollbackError as error:
        raise StoreUnavailable("the store's connection broke within the transaction") from error
    except DBAPIError as error:
        if _is_full(error):
            raise StoreFull(f"the store has no space left: {error.orig}; free some on its disk") from error
        if may_retry(error):
            hint = "; look whether its disk is full or broken" if _of_the_disk(error) else ""
            raise StoreUnavailable(f"the store did not take the work: {error.orig}{hint}") from error
        raise


def may_retry(error: DBAPIError) -> bool:
    """True where the same transaction, run again, can succeed."""
    if error.connection_invalidated:
        return True
    if isinstance(error.orig, sqlite3.Error):
        return _sqlite_code(error.orig) in _SQLITE_RETRY
    code = getattr(error.orig, "sqlstate", None)
    if code is None:  # no answer from the server at all
        return isinstance(error, OperationalError | InterfaceError)
    return code in _RETRY_CODES or code[:2] in _RETRY_CLASSES


def _is_full(error: DBAPIError) -> bool:
    if isinstance(error.orig, sqlite3.Error):
        return _sqlite_code(error.orig) == sqlite3.SQLITE_FULL
    return getattr(error.orig, "sqlstate", None) == _PG_FULL


def _of_the_disk(error: DBAPIError) -> bool:
    """Where SQLite could not make the file that its connections share, for want of space for example."""
    return isinstance(error.orig, sqlite3.Error) and _sqlite_code(error.orig) == sqlite3.SQLITE_IOERR


def _sqlite_code(error: sqlite3.Error) -> int | None:
    """The primary result code; None of an error that is the driver's own."""
    code: int | None = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF
