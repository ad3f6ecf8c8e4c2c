from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import create_engine, func, insert, select, text
from sqlalchemy.exc import IntegrityError

from monitor.store import engine, migrations, references
from monitor.store.engine import SchemaMismatch, Store, StoreUnavailable, open_store, parse_url
from monitor.store.tables import metadata, secrets


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    store = open_store(store_url)
    yield store
    store.close()


def values(store: Store) -> dict[str, str]:
    with store.read() as connection:
        return {row.name: row.value for row in connection.execute(select(secrets))}


def test_the_migrations_make_the_tables_of_the_code(store: Store) -> None:
    with store.read() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
        assert migrations.revision(connection) == migrations.head()


def test_a_store_of_the_first_schema_is_brought_up_to_date_with_what_it_holds(bare_url: str) -> None:
    bare = create_engine(parse_url(bare_url))
    with bare.begin() as connection:
        config = migrations._config()
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        connection.execute(text("INSERT INTO reference_samples VALUES ('r', 's', 'fit', NULL)"))
    bare.dispose()
    store = open_store(bare_url)
    with store.read() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    (row,) = references.sample_rows(store, "r")
    assert (row.sample_id, row.user) == ("s", "")
    store.close()


def test_migrating_from_several_processes_at_once_makes_one_schema(bare_url: str) -> None:
    program = "import sys; from monitor.store.engine import open_store; open_store(sys.argv[1]).close()"
    processes = [subprocess.Popen([sys.executable, "-c", program, bare_url]) for _ in range(3)]
    assert [process.wait(120) for process in processes] == [0, 0, 0]
    open_store(bare_url, migrate=False).close()


def test_a_store_without_tables_or_of_a_newer_version_is_refused(bare_url: str) -> None:
    with pytest.raises(SchemaMismatch, match="driftline run"):
        open_store(bare_url, migrate=False)
    store = open_store(bare_url)
    with store.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(SchemaMismatch, match="newer version"):
        store.migrate()
    with pytest.raises(SchemaMismatch, match="newer version"):
        store.check_schema()
    store.close()


def test_a_write_is_all_or_nothing(store: Store) -> None:
    with pytest.raises(ZeroDivisionError), store.write() as connection:
        store.upsert(connection, secrets, [{"name": "a", "value": "1"}])
        _ = 1 / 0
    assert values(store) == {}
    with store.write() as connection:  # and the lock is free again
        store.upsert(connection, secrets, [{"name": "a", "value": "1"}])
    assert values(store) == {"a": "1"}


def test_upsert_and_insert_ignore(store: Store) -> None:
    with store.write() as connection:
        store.upsert(connection, secrets, [])
        store.upsert(connection, secrets, [{"name": n, "value": "1"} for n in "ab"])
        store.upsert(connection, secrets, [{"name": n, "value": "2"} for n in "bc"])
        assert store.insert_ignore(connection, secrets, []) == 0
        assert store.insert_ignore(connection, secrets, [{"name": n, "value": "3"} for n in "cd"]) == 1
        many = [{"name": f"n{i}", "value": "4"} for i in range(9_000)]
        assert store.insert_ignore(connection, secrets, many) == 9_000
    found = values(store)
    assert {name: found[name] for name in "abcd"} == {"a": "1", "b": "2", "c": "2", "d": "3"}


def test_a_read_is_one_snapshot_and_does_not_hold_up_writers(store: Store) -> None:
    count = select(func.count()).select_from(secrets)
    with store.read() as reader:
        assert reader.execute(count).scalar() == 0
        with store.write() as writer:
            store.upsert(writer, secrets, [{"name": "a", "value": "1"}])
        assert reader.execute(count).scalar() == 0
    assert values(store) == {"a": "1"}


def test_threads_add_up(store: Store) -> None:
    with store.write() as connection:
        store.upsert(connection, secrets, [{"name": "n", "value": "0"}])
    query = select(secrets.c.value).where(secrets.c.name == "n").with_for_update()

    def work() -> None:
        for _ in range(20):
            with store.write() as connection:
                value = int(connection.execute(query).scalar_one())
                store.upsert(connection, secrets, [{"name": "n", "value": str(value + 1)}])

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert values(store) == {"n": "80"}


def test_a_faulty_statement_is_not_called_unavailable(store: Store) -> None:
    with pytest.raises(IntegrityError), store.write() as connection:
        connection.execute(insert(secrets), [{"name": "a", "value": "1"}])
        connection.execute(insert(secrets), [{"name": "a", "value": "1"}])


def test_a_locked_file_is_unavailable_for_now(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "BUSY_SECONDS", 0.05)
    url = f"sqlite:///{tmp_path / 'x.db'}"
    first, second = open_store(url), open_store(url)
    with first.write(), pytest.raises(StoreUnavailable, match="locked"), second.write():
        pass
    with first.write(), pytest.raises(StoreUnavailable, match="another thread"), first.write():
        pass
    first.close()
    second.close()


@pytest.mark.real
def test_deadlock_lost_connection_and_absent_server_are_unavailable(postgres_url: str) -> None:
    store = open_store(postgres_url)
    with store.write() as connection:
        store.upsert(connection, secrets, [{"name": n, "value": "0"} for n in "ab"])
    both = threading.Barrier(2)
    outcomes: list[str] = []

    def work(first: str, second: str) -> None:
        lock = "SELECT 1 FROM secrets WHERE name = :name FOR UPDATE"
        try:
            with store.write() as connection:
                connection.execute(text(lock), {"name": first})
                both.wait(20)
                connection.execute(text(lock), {"name": second})
            outcomes.append("done")
        except StoreUnavailable:
            outcomes.append("unavailable")

    threads = [threading.Thread(target=work, args=names) for names in ("ab", "ba")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["done", "unavailable"]

    with pytest.raises(StoreUnavailable), store.write() as connection:
        own = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
        with store.write() as other:
            other.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": own})
        connection.execute(text("SELECT 1"))
    store.ping()  # a broken connection of the pool is replaced
    store.close()

    absent = Store("postgresql://nobody@127.0.0.1:1/none")
    with pytest.raises(StoreUnavailable):
        absent.ping()
    absent.close()


def test_a_commit_survives_a_kill(store_url: str) -> None:
    program = (
        "import os, signal, sys\n"
        "from monitor.store.engine import open_store\n"
        "from monitor.store.tables import secrets\n"
        "store = open_store(sys.argv[1])\n"
        "with store.write() as c: store.upsert(c, secrets, [{'name': 'kept', 'value': '1'}])\n"
        "with store.write() as c:\n"
        "    store.upsert(c, secrets, [{'name': 'lost', 'value': '1'}])\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert subprocess.run([sys.executable, "-c", program, store_url], timeout=120).returncode == -9
    store = open_store(store_url)
    assert values(store) == {"kept": "1"}
    store.close()


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("mysql://x@y/z", "cannot be 'mysql'"),
        ("sqlite://", "must be a file"),
        ("sqlite:///:memory:", "must be a file"),
        ("driftline.db", "not a URL"),
        ("postgresql://user:p@ss:word@@:x/", "not a URL"),
    ],
)
def test_an_address_that_cannot_work_says_what_to_write(url: str, words: str) -> None:
    with pytest.raises(ValueError, match=words) as raised:
        parse_url(url)
    assert "postgresql://" in str(raised.value)
    assert "p@ss" not in str(raised.value)


def test_the_drivers_are_ours_and_the_password_is_not_shown(tmp_path: Path) -> None:
    assert parse_url("postgres://u:pw@h/d").drivername == "postgresql+psycopg"
    store = Store("postgresql://u:sesame@h/d")
    assert "sesame" not in repr(store)
    store.close()
