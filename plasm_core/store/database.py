"""The connection to the database: one, behind a lock."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from plasm_core.errors import StorageFullError
from plasm_core.store.ballast import Ballast
from plasm_core.store.disk import storage_errors
from plasm_core.store.schema import Schema, open_database

T = TypeVar("T")

Row = Sequence[Any]
"""What SQLite gives: integers, text, bytes and None, by the types that schema.sql checks."""


class Database:
    """A database whose commits are on the disk when they return. Thread-safe."""

    def __init__(self, path: Path, schema: Schema, ballast: Ballast) -> None:
        """Open it. Raises: `StorageError`."""
        self._path = path
        self._ballast = ballast
        self._lock = threading.Lock()
        self._connection = open_database(path, schema)

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        """Return all rows of a query. Raises: `StorageError`."""
        with self._lock, storage_errors("read the database", self._path):
            return self._connection.execute(sql, parameters).fetchall()

    def commit(self, doing: str, work: Callable[[sqlite3.Connection], T], *, essential: bool = False) -> T:
        """Run some statements as one transaction, and return what they return.

        `doing` completes "cannot …". An essential transaction may use the space held back for it.

        Raises: `StorageFullError`, `StorageError`, or what `work` raises; then nothing has changed.
        """
        with self._lock:
            try:
                return self._attempt(doing, work)
            except StorageFullError:
                if not essential:
                    raise
                self._ballast.spend()
                return self._attempt(doing, work)

    def fold(self) -> None:
        """Fold the log into the database and empty it, where deleted rows would live on.

        Raises: `StorageError`.
        """
        with self._lock, storage_errors("fold the log in", self._path):
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()

    def close(self) -> None:
        """Close it, with its log folded in."""
        with self._lock:
            self._connection.close()

    def _attempt(self, doing: str, work: Callable[[sqlite3.Connection], T]) -> T:
        with storage_errors(doing, self._path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                result = work(self._connection)
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise
            return result
