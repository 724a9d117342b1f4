"""The database file: made, migrated, or refused untouched."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from importlib.resources import files
from pathlib import Path

import attrs

from plasm_core.daemon.store.disk import storage_errors
from plasm_core.errors import StorageError
from plasm_core.ownership import open_regular

APPLICATION_ID = 0x506C736D  # "Plsm"
_MAGIC = b"SQLite format 3\0"
_BUSY_S = 10.0
_CHECKPOINT_PAGES = 4000
"""How long the log gets, 16 MB: a checkpoint takes two syncs, and writes a page once however often it changed."""


@attrs.frozen(kw_only=True)
class Schema:
    """The newest schema as SQL, and the migration scripts: `migrations[i]` leads from version i+1 to i+2."""

    sql: str
    migrations: tuple[str, ...] = ()

    @property
    def version(self) -> int:
        """The version that `sql` makes."""
        return len(self.migrations) + 1


_VERSIONS_BEFORE = 4


def current_schema() -> Schema:
    """Return the schema of this release."""
    folder = files("plasm_core.daemon.store")
    return Schema(
        sql=folder.joinpath("schema.sql").read_text(encoding="utf-8"),
        migrations=tuple(
            folder.joinpath(f"migration-{version}.sql").read_text(encoding="utf-8")
            for version in range(1, _VERSIONS_BEFORE + 1)
        ),
    )


def open_database(path: Path, schema: Schema) -> sqlite3.Connection:
    """Open the state database, created or migrated if necessary, in autocommit mode and usable from any thread.

    Raises: `StorageError` if it belongs to another program or a newer release, or is damaged or unusable; the file
    is then unchanged.
    """
    with storage_errors("open the database", path):
        refuse_foreign(path, schema)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        connection = sqlite3.connect(
            path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False, cached_statements=64
        )
        try:
            _configure(connection)
            _upgrade(connection, schema)
            _check(connection)
        except BaseException:
            connection.close()
            raise
    return connection


def open_reader(path: Path) -> sqlite3.Connection:
    """Open a second connection, read-only, to a database that `open_database` opened. Raises: `StorageError`."""
    with storage_errors("open the database", path):
        connection = sqlite3.connect(
            path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False, cached_statements=64
        )
        try:
            connection.execute("PRAGMA trusted_schema = OFF")
            connection.execute("PRAGMA query_only = ON")
        except BaseException:
            connection.close()
            raise
        return connection


def refuse_foreign(path: Path, schema: Schema) -> None:
    """Refuse a database of another program or of a newer release, and change nothing. Raises: `StorageError`."""
    try:
        with open_regular(path) as file:
            magic = file.read(len(_MAGIC))
    except FileNotFoundError:
        return
    if not magic:  # a start that was cut short left it empty
        return
    if magic != _MAGIC:
        raise StorageError(f"{path} is not a database", hint="move it away, or choose another directory")
    log = path.with_name(path.name + "-wal")
    # Without a log to read there is no need of the files that go with one, and they would be left there.
    mode = "mode=ro" if log.exists() and log.stat().st_size else "mode=ro&immutable=1"
    uri = f"{path.absolute().as_uri()}?{mode}"
    with contextlib.closing(sqlite3.connect(uri, uri=True, timeout=_BUSY_S)) as connection:
        _refuse(connection, path, schema)


def _refuse(connection: sqlite3.Connection, path: Path, schema: Schema) -> None:
    application, version = _pragma(connection, "application_id"), _pragma(connection, "user_version")
    if (application, version) == (0, 0) and _is_empty(connection):
        return
    if application != APPLICATION_ID or version < 1:
        raise StorageError(
            f"{path} is another program's database", hint="move it away, or choose another directory"
        )
    if version > schema.version:
        raise StorageError(
            f"{path} has schema {version}, newer than the {schema.version} that this release knows",
            hint="install the release that wrote it, or a later one",
        )


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    (value,) = connection.execute(f"PRAGMA {name}").fetchone()
    return int(value)


def _is_empty(connection: sqlite3.Connection) -> bool:
    return connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone() is None


def _configure(connection: sqlite3.Connection) -> None:
    (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
    if mode != "wal":
        raise sqlite3.OperationalError(f"write-ahead logging is not possible there (journal mode {mode})")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA fullfsync = ON")
    connection.execute("PRAGMA checkpoint_fullfsync = ON")
    connection.execute("PRAGMA secure_delete = ON")
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")


def _upgrade(connection: sqlite3.Connection, schema: Schema) -> None:
    version = _pragma(connection, "user_version")
    if version == schema.version:
        return
    scripts = (schema.sql,) if version == 0 else schema.migrations[version - 1 :]
    try:
        # executescript would commit a transaction begun before it.
        connection.executescript(
            "BEGIN IMMEDIATE;\n"
            + "\n".join(scripts)
            + f"\nPRAGMA application_id = {APPLICATION_ID};\nPRAGMA user_version = {schema.version};\nCOMMIT;"
        )
    except sqlite3.Error:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _check(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA foreign_keys = ON")
    (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if found != "ok":
        raise sqlite3.DatabaseError("database disk image is malformed")
