"""The database file is made, migrated, or refused as it is."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from plasm_core.daemon.store import Gone, Store
from plasm_core.daemon.store.schema import APPLICATION_ID, Schema, current_schema, open_database
from plasm_core.errors import StorageError
from plasm_core.fair_shares import NOBODY
from plasm_core.records.output import OutputStream
from tests.daemon.store.submission import EXITED, INPUTS, LIMITS, accepted, finished

ONE = Schema(sql="CREATE TABLE note (text TEXT NOT NULL);")
TWO = Schema(
    sql="CREATE TABLE note (text TEXT NOT NULL, length INTEGER NOT NULL);",
    migrations=(
        "CREATE TABLE fresh (text TEXT NOT NULL, length INTEGER NOT NULL);"
        "INSERT INTO fresh SELECT text, length(text) FROM note;"
        "DROP TABLE note; ALTER TABLE fresh RENAME TO note;",
    ),
)
OLD = {
    version: Schema(
        sql=Path(__file__).with_name(f"schema-{version}.sql").read_text(),
        migrations=current_schema().migrations[: version - 1],
    )
    for version in range(1, current_schema().version)
}
"""What earlier releases made, by version."""
THREE = attrs.evolve(TWO, migrations=(*TWO.migrations, "UPDATE note SET text = 'x' || text;"))


@contextlib.contextmanager
def database(path: Path, schema: Schema) -> Iterator[sqlite3.Connection]:
    with contextlib.closing(open_database(path, schema)) as connection:
        yield connection


def pragma(connection: sqlite3.Connection, name: str) -> object:
    return connection.execute(f"PRAGMA {name}").fetchone()[0]


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def foreign(path: Path, *statements: str) -> None:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "test.db"


def test_a_new_database_is_ours_and_durable(path: Path) -> None:
    with database(path, ONE) as connection:
        assert pragma(connection, "application_id") == APPLICATION_ID
        assert pragma(connection, "user_version") == 1
        assert pragma(connection, "journal_mode") == "wal"
        assert pragma(connection, "synchronous") == 2
        assert pragma(connection, "foreign_keys") == 1


def test_the_schema_of_this_release_is_version_five(path: Path) -> None:
    """A change of schema.sql needs a migration, and this test a new number."""
    assert current_schema().version == 5


def columns(connection: sqlite3.Connection) -> set[tuple[object, ...]]:
    """Return what each table has, whatever the order: its name, then name, type, whether null, default, key."""
    tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    return {
        (table, *row[1:]) for table in tables for row in connection.execute(f"PRAGMA table_info({table})")
    }


@pytest.mark.parametrize("version", OLD)
def test_an_old_schema_is_migrated_to_the_schema_of_a_new_database(tmp_path: Path, version: int) -> None:
    with database(tmp_path / "old.db", OLD[version]) as connection:
        assert pragma(connection, "user_version") == version
    with (
        database(tmp_path / "old.db", current_schema()) as migrated,
        database(tmp_path / "new.db", current_schema()) as made,
    ):
        assert columns(migrated) == columns(made)


def test_an_old_state_opens_with_its_jobs_as_they_were(state: Path) -> None:
    """Accepted, interrupted, ended and released: as the first release wrote them."""
    with Store(state, LIMITS) as store:
        waiting, running = accepted(store), accepted(store)
        store.begin(running.row)[1].append(OutputStream.STDOUT, b"half")
        ended = finished(store, stdout=b"kept")
        released = store.release(finished(store).row)
    make_old(state / "plasmd.db")

    with Store(state, LIMITS) as store:
        recovery = store.recover()

        assert [job.row for job in recovery.queued] == [waiting.row, running.row]
        assert [job.interruptions for job in recovery.queued] == [0, 1]
        assert all(job.holder == NOBODY for job in recovery.queued)
        assert store.inputs(waiting) == INPUTS
        assert store.read_output(store.get(ended.row), OutputStream.STDOUT, 0, 10) == b"kept"
        assert store.get(released.row).gone is Gone.RELEASED
        assert store.totals().job_bytes > 0
        begun, spool = store.begin(waiting.row)
        spool.append(OutputStream.STDOUT, b"out")
        assert store.finish(begun.row, outcome=EXITED, envelope=b"{}").stdout.size_bytes == 3


def make_old(path: Path) -> None:
    """Write a new database as the first release would have."""
    new = path.with_suffix(".new")
    path.rename(new)
    with database(path, OLD[1]) as connection:
        names = ", ".join(str(row[1]) for row in connection.execute("PRAGMA table_info(job)"))
        connection.execute("ATTACH ? AS new", (str(new),))
        connection.execute(f"INSERT INTO job ({names}) SELECT {names} FROM new.job")
        small = connection.execute(
            "SELECT directory, id % 8, attempts, data FROM new.content JOIN job ON row = id / 8"
        ).fetchall()
        connection.execute("DETACH new")
        assert pragma(connection, "user_version") == 1
    new.unlink()
    for directory, number, attempt, data in small:  # all were files
        folder = path.parent / "jobs" / directory
        folder.mkdir(mode=0o700, exist_ok=True)
        name = ("args", "env", "stdin", f"stdout.{attempt}", f"stderr.{attempt}")[number]
        (folder / name).write_bytes(data)


def test_an_older_schema_is_migrated_with_what_it_holds(path: Path) -> None:
    with database(path, ONE) as connection:
        connection.execute("INSERT INTO note VALUES ('four')")

    with database(path, TWO) as connection:
        assert pragma(connection, "user_version") == 2
        assert connection.execute("SELECT * FROM note").fetchall() == [("four", 4)]


def test_two_versions_are_migrated_in_order(path: Path) -> None:
    with database(path, ONE) as connection:
        connection.execute("INSERT INTO note VALUES ('four')")

    with database(path, THREE) as connection:
        assert pragma(connection, "user_version") == 3
        assert connection.execute("SELECT * FROM note").fetchall() == [("xfour", 4)]


def test_a_migration_that_fails_changes_nothing(path: Path) -> None:
    with database(path, ONE) as connection:
        connection.execute("INSERT INTO note VALUES ('four')")
    broken = attrs.evolve(TWO, migrations=("ALTER TABLE note ADD COLUMN a; INSERT INTO nowhere VALUES (1);",))

    with pytest.raises(StorageError, match="no such table: nowhere"):
        open_database(path, broken)

    with database(path, ONE) as connection:
        assert connection.execute("SELECT * FROM note").fetchall() == [("four",)]
        assert pragma(connection, "user_version") == 1


def test_a_newer_schema_is_refused_and_not_touched(path: Path) -> None:
    with database(path, TWO):
        pass
    before = contents(path.parent)

    with pytest.raises(StorageError, match="schema 2, newer than the 1 that this release knows") as caught:
        open_database(path, ONE)

    assert contents(path.parent) == before
    assert caught.value.hint == "install the release that wrote it, or a later one"


def test_a_newer_schema_that_only_the_log_tells_of_is_refused(path: Path, tmp_path: Path) -> None:
    """As after a crash just after the migration."""
    with database(path, ONE):
        pass
    crashed = tmp_path / "crashed"
    crashed.mkdir()
    with database(path, TWO):
        for file in tmp_path.glob("test.db*"):
            shutil.copy(file, crashed)
    copy = crashed / path.name
    before = copy.read_bytes()
    assert before[60:64] == b"\0\0\0\1"

    with pytest.raises(StorageError, match="newer"):
        open_database(copy, ONE)

    assert copy.read_bytes() == before
    with database(copy, TWO) as connection:
        assert pragma(connection, "user_version") == 2


@pytest.mark.parametrize(
    "statements",
    [
        ("CREATE TABLE other (x)",),
        ("PRAGMA application_id = 77", "PRAGMA user_version = 1"),
        ("PRAGMA user_version = 1", "CREATE TABLE note (text)"),
        (f"PRAGMA application_id = {APPLICATION_ID}", "CREATE TABLE note (text)"),
    ],
    ids=["tables", "application", "unmarked", "without version"],
)
def test_another_programs_database_is_refused_and_not_touched(
    path: Path, statements: tuple[str, ...]
) -> None:
    foreign(path, *statements)
    before = contents(path.parent)

    with pytest.raises(StorageError, match="another program's database"):
        open_database(path, ONE)

    assert contents(path.parent) == before


def test_a_file_that_is_no_database_is_refused_and_not_touched(path: Path) -> None:
    path.write_bytes(b"a letter to a friend, some hundred bytes long" * 30)
    before = contents(path.parent)

    with pytest.raises(StorageError, match="is not a database"):
        open_database(path, ONE)

    assert contents(path.parent) == before


@pytest.mark.parametrize("statements", [(), ("PRAGMA journal_mode = WAL",)], ids=["empty", "log only"])
def test_a_start_cut_short_is_taken_up(path: Path, statements: tuple[str, ...]) -> None:
    path.touch()
    foreign(path, *statements)

    with database(path, TWO) as connection:
        assert pragma(connection, "user_version") == 2


def test_a_directory_in_its_place_is_an_error(path: Path) -> None:
    path.mkdir()

    with pytest.raises(StorageError, match="Is a directory"):
        open_database(path, ONE)


@pytest.mark.parametrize("damage", ["header", "middle", "cut"])
def test_a_damaged_database_is_an_error_and_not_touched(state: Path, damage: str) -> None:
    with Store(state, LIMITS) as store:
        for _ in range(10):
            accepted(store)
    path = state / "plasmd.db"
    content = bytearray(path.read_bytes())
    if damage == "header":
        content[100:200] = b"\xff" * 100
    elif damage == "middle":
        content[4096 * 2 : 4096 * 4] = b"\xa5" * 8192
    else:
        del content[len(content) // 2 :]
    path.write_bytes(content)

    with pytest.raises(StorageError, match="is damaged") as caught:
        Store(state, LIMITS)

    assert path.read_bytes() == content
    assert caught.value.hint is not None
    assert "backup" in caught.value.hint
