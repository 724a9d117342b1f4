"""The file of the reputation store: its SQLite schema, and how it is created, opened and kept within its size."""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from plasm_core.errors import StorageError

MAX_FILE_BYTES = 256 << 20
_APPLICATION_ID = 0x506C5265  # "PlRe"
_VERSION = 1
_BUSY_S = 10.0
_PAGE_BYTES = 4096


_SCHEMA = """
CREATE TABLE nodes (
    peer BLOB PRIMARY KEY CHECK (length(peer) = 32),
    accepted INTEGER NOT NULL DEFAULT 0,
    checked INTEGER NOT NULL DEFAULT 0,
    failed INTEGER NOT NULL DEFAULT 0,
    trust REAL NOT NULL DEFAULT 0,
    trust_at INTEGER NOT NULL,
    convicted_at INTEGER,
    proof TEXT CHECK (length(proof) <= 4096),
    first_seen INTEGER NOT NULL,
    last_seen INTEGER NOT NULL,
    network TEXT CHECK (length(network) <= 128)
) WITHOUT ROWID;
CREATE INDEX nodes_by_network ON nodes (network);
CREATE TABLE results (
    id INTEGER PRIMARY KEY,
    peer BLOB NOT NULL CHECK (length(peer) = 32),
    job_id TEXT NOT NULL CHECK (length(job_id) = 64),
    received_at INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('unchecked', 'checked', 'wrong')),
    due_at INTEGER,
    manifest BLOB NOT NULL,
    envelope BLOB NOT NULL,
    UNIQUE (peer, job_id)
);
CREATE INDEX results_due ON results (due_at) WHERE due_at IS NOT NULL;
"""


@contextmanager
def alone(path: Path) -> Iterator[None]:
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def opened(path: Path) -> sqlite3.Connection:
    """Open the file, created if it is missing. Raises: sqlite3.Error, OSError, `StorageError`."""
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
    # Do not open the file to check it: closing a descriptor drops all locks of this process on the file (fcntl(2)).
    if not stat.S_ISREG(path.lstat().st_mode):
        raise StorageError(f"reputation: {path} is no regular file")
    connection = sqlite3.connect(
        path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False, cached_statements=64
    )
    try:
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA journal_size_limit = 4194304")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute(f"PRAGMA max_page_count = {MAX_FILE_BYTES // _PAGE_BYTES}")
        connection.execute("BEGIN IMMEDIATE")
        try:
            _created(connection, path)
            connection.execute("COMMIT")
        except BaseException:
            connection.execute("ROLLBACK")
            raise
    except BaseException:
        connection.close()
        raise
    return connection


def _created(connection: sqlite3.Connection, path: Path) -> None:
    owner = connection.execute("PRAGMA application_id").fetchone()[0]
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if not tables and not owner:
        for statement in _SCHEMA.split(";\n"):
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {_VERSION}")
    elif owner != _APPLICATION_ID:
        raise StorageError(f"reputation: {path} is a database of another program")
    elif version > _VERSION:
        raise StorageError(f"reputation: {path} is of a newer release (version {version})")
