"""The SQLite file of a batch: opening it, and errors of the disk as errors of ours."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from plasm_core.errors import StorageError, StorageFullError
from plasm_core.resource_hint import resource_hint

_BUSY_S = 10.0


def connected(path: Path) -> sqlite3.Connection:
    """Open the database. Raises: sqlite3.Error."""
    connection = sqlite3.connect(path, timeout=_BUSY_S, check_same_thread=False)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
    except BaseException:
        connection.close()
        raise
    return connection


def connected_to_read(path: Path) -> sqlite3.Connection:
    """Open the database to read, also on a full disk. Raises: sqlite3.Error.

    SQLite reads a database with a write-ahead log by a shared memory file, for which a full disk has no room. Without
    a log nobody has the database open to write, and it is read as a file that does not change.
    """
    try:
        return connected(path)
    except sqlite3.OperationalError:
        log = path.with_name(f"{path.name}-wal")
        if log.exists() and log.stat().st_size:
            raise
        uri = f"file:{quote(str(path))}?mode=ro&immutable=1"
        return sqlite3.connect(uri, uri=True, timeout=_BUSY_S, check_same_thread=False)


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn errors of the disk and of SQLite into ours. Raises: `StorageFullError`, `StorageError`."""
    try:
        yield
    except sqlite3.OperationalError as exc:
        full = getattr(exc, "sqlite_errorname", "") == "SQLITE_FULL" or "is full" in str(exc)
        raise _storage_error(path, str(exc), full) from exc
    except OSError as exc:
        full = resource_hint(exc) is not None
        raise _storage_error(path, exc.strerror or str(exc), full) from exc


def _storage_error(path: Path, problem: str, full: bool) -> StorageError:
    kind = StorageFullError if full else StorageError
    hint = f"what was stored is kept: make room, and go on with: plasm map --resume {path}"
    return kind(f"cannot write the batch in {path}: {problem}", hint=hint)
