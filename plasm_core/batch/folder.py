"""The folder of a batch: its module and one SQLite file with its jobs and their results.

What is needed to go on is on the disk before the first job is sent: the inputs of all jobs, and, before a job is sent,
its manifest and the secret of its handle. Sending the same manifest again is asking for the same job.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, TypeVar

import attrs

from plasm_core.batch.rows import (
    BatchJobResult,
    BatchJobState,
    Counts,
    JobRow,
    JobSummary,
    KeptOutputs,
    NewJob,
)
from plasm_core.batch.storage import connected, connected_to_read, storage_errors
from plasm_core.errors import PlasmError
from plasm_core.ownership import check_owner

T = TypeVar("T")

APPLICATION_ID = 0x504C4254
"""`PLBT`: what SQLite's header says that the file is."""
VERSION = 1
DATABASE, LOCK = "batch.sqlite", "lock"
_MODULE, _STDIN, _OUTPUTS = "module.wasm", "stdin", "outputs"
_LOCK_TRIES, _LOCK_PAUSE_S = 20, 0.01
_CHUNK_BYTES = 1 << 20
_SCHEMA = """
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE jobs (
    number INTEGER PRIMARY KEY,      -- from 0, in the order of the inputs
    label TEXT NOT NULL,             -- what the input is called in messages
    args BLOB NOT NULL,              -- the list encodings that the manifest's digests are of
    env BLOB NOT NULL,
    stdin BLOB,                      -- NULL: the file, or else the batch's own
    stdin_file TEXT,
    terms TEXT,                      -- JSON: where they differ from the batch's
    state TEXT NOT NULL,
    manifest BLOB,                   -- from here on: once it is about to be sent
    secret BLOB,                     -- of the handle: anybody with it can read and cancel the job; NULL if reused
    peer TEXT,                       -- the node that accepted it last
    outcome TEXT,                    -- JSON
    gas_used INTEGER,
    envelope BLOB,                   -- the receipt
    stdout BLOB,                     -- NULL: a file in outputs/
    stderr BLOB,
    error TEXT,
    error_kind TEXT,
    duration_ms INTEGER
) STRICT;
CREATE INDEX jobs_by_state ON jobs (state, number);
"""


class BatchFolderError(PlasmError):
    """A folder is no batch, is one of another format, or is in use."""


class BatchNotBegunError(BatchFolderError):
    """A batch was interrupted while it was being made: no job of it was sent."""


class BatchFolder:
    """One batch on the disk. Thread-safe; one process has it at a time."""

    def __init__(self, path: Path, lock: IO[bytes] | None, connection: sqlite3.Connection) -> None:
        self.path = path
        self._file = lock
        self._connection = connection
        self._using = threading.Lock()

    @classmethod
    def create(
        cls, path: Path, facts: dict[str, Any], copy_module: Callable[[IO[bytes]], None]
    ) -> BatchFolder:
        """Make the folder, which only this user may enter, with a copy of the module.

        Raises: `BatchFolderError` if there is something there; `StorageError`.
        """
        with storage_errors(path):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            _check_owner(path)
            if any(path.iterdir()):
                raise BatchFolderError(
                    f"{path} is not empty", hint=f"to go on with the batch in it: plasm map --resume {path}"
                )
            path.chmod(0o700)
            lock = _locked(path)
            try:
                with _private(path / _MODULE) as file:
                    copy_module(file)
                _private(path / DATABASE).close()
                connection = connected(path / DATABASE)
            except BaseException:
                lock.close()
                raise
        folder = cls(path, lock, connection)
        try:
            with folder._changed() as sql:
                sql.executescript(_SCHEMA)
                sql.execute(f"PRAGMA user_version = {VERSION}")
                sql.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            folder.note(**facts)
        except BaseException:
            folder.close()
            raise
        return folder

    @classmethod
    def open(cls, path: Path, *, to_read: bool = False) -> BatchFolder:
        """Open a batch, also one that another process works on if it is only `to_read`.

        Raises: `BatchFolderError`, `StorageError`.
        """
        database = path / DATABASE
        if not database.is_file():
            raise BatchFolderError(
                f"{path} has no batch in it", hint="begin one with: plasm map MODULE --batch DIR"
            )
        with storage_errors(path):
            if not to_read:
                _check_owner(path)
            lock = None if to_read else _locked(path)
            try:
                connection = connected_to_read(database) if to_read else connected(database)
                (kind,) = connection.execute("PRAGMA application_id").fetchone()
                (version,) = connection.execute("PRAGMA user_version").fetchone()
            except sqlite3.DatabaseError as exc:
                if lock is not None:
                    lock.close()
                if isinstance(exc, sqlite3.OperationalError):  # of the disk, and not of the file
                    raise
                raise BatchFolderError(f"{database} is no batch: {exc}") from exc
        if kind != APPLICATION_ID or version != VERSION:
            connection.close()
            if lock is not None:
                lock.close()
            if (kind, version) == (0, 0):
                raise not_begun(path)
            found = f"version {version}" if kind == APPLICATION_ID else "another program's database"
            raise BatchFolderError(
                f"{path} is a batch of another format ({found}; this is version {VERSION})"
            )
        return cls(path, lock, connection)

    def close(self) -> None:
        """Close it. Twice is harmless."""
        with self._using:
            self._connection.close()
            if self._file is not None:
                self._file.close()

    def __enter__(self) -> BatchFolder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def remove(self) -> None:
        """Delete the batch, results and all."""
        self.close()
        shutil.rmtree(self.path, ignore_errors=True)

    @property
    def module(self) -> Path:
        """The file that has the module."""
        return self.path / _MODULE

    @property
    def stdin(self) -> Path | None:
        """The file that has the standard input of jobs without one of their own, None if it is empty."""
        return found if (found := self.path / _STDIN).exists() else None

    def keep_stdin(self, copy: Callable[[IO[bytes]], None]) -> None:
        """Store the standard input of jobs without one of their own. Raises: `StorageError`."""
        with storage_errors(self.path), _private(self.path / _STDIN) as file:
            copy(file)

    def note(self, **facts: Any) -> None:
        """Store facts about the batch: JSON values by name."""
        with self._changed() as sql:
            sql.executemany(
                "INSERT OR REPLACE INTO facts VALUES (?, ?)",
                [(name, json.dumps(value)) for name, value in facts.items()],
            )

    def facts(self) -> dict[str, Any]:
        """Return the facts that were set for the batch, by name: values of JSON."""
        return {str(name): json.loads(value) for name, value in self._query("SELECT name, value FROM facts")}

    def add(self, first: int, jobs: Sequence[NewJob]) -> None:
        """Store jobs, numbered from `first` on."""
        with self._changed() as sql:
            sql.executemany(
                "INSERT INTO jobs (number, label, args, env, stdin, stdin_file, terms, state)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                [
                    (first + index, *attrs.astuple(job), BatchJobState.WAITING.value)
                    for index, job in enumerate(jobs)
                ],
            )

    def to_send(self, after: int, maximum: int) -> list[JobRow]:
        """Return jobs that have no result and whose number is greater, in order."""
        return self._rows(
            "WHERE state IN (?, ?) AND number > ? ORDER BY number LIMIT ?",
            (BatchJobState.WAITING.value, BatchJobState.SENT.value, after, maximum),
        )

    def sending(self, prepared: Iterable[tuple[int, bytes, bytes]]) -> None:
        """Store number, manifest and secret of jobs that are about to be sent. They are on the disk when it returns."""
        with self._changed() as sql:
            sql.executemany(
                f"UPDATE jobs SET manifest = ?, secret = ?, state = '{BatchJobState.SENT.value}' WHERE number = ?",
                [(manifest, secret, number) for number, manifest, secret in prepared],
            )

    def finish(self, results: Iterable[BatchJobResult], placed: Iterable[tuple[int, str]] = ()) -> None:
        """Store the ends of jobs, and which node accepted which. What one process has ended, no other can."""
        with self._changed() as sql:
            sql.executemany(
                "UPDATE jobs SET peer = ? WHERE number = ?", [(peer, number) for number, peer in placed]
            )
            sql.executemany(
                "UPDATE jobs SET state = ?, peer = coalesce(?, peer), outcome = ?, gas_used = ?, envelope = ?, stdout = ?,"
                " stderr = ?, error = ?, error_kind = ?, duration_ms = ?,"
                " manifest = coalesce(?, manifest), secret = CASE WHEN ? THEN NULL ELSE secret END WHERE number = ?",
                [item.as_row() for item in results],
            )

    def results(self, after: int, maximum: int) -> list[JobRow]:
        """Return jobs whose number is greater, in order, up to the first that has not ended."""
        found = self._rows("WHERE number > ? ORDER BY number LIMIT ?", (after, maximum))
        ready = []
        for row in found:
            if not row.state.has_ended:
                break
            ready.append(row)
        return ready

    def row(self, number: int) -> JobRow:
        """Return a job. Raises: `BatchFolderError` if there is none of that number."""
        found = self._rows("WHERE number = ?", (number,))
        if not found:
            raise BatchFolderError(f"the batch has no job {number}")
        return found[0]

    def rows(self, *states: BatchJobState) -> Iterator[JobRow]:
        """Yield all jobs, or those in some states, in order."""
        chosen = [state.value for state in states or BatchJobState]
        marks, after = ", ".join("?" * len(chosen)), -1
        while found := self._rows(
            f"WHERE state IN ({marks}) AND number > ? ORDER BY number LIMIT 100", (*chosen, after)
        ):
            yield from found
            after = found[-1].number

    def summaries(self, after: int, maximum: int) -> list[JobSummary]:
        """Return jobs whose number is greater, in order, without what is large."""
        found = self._query(
            f"SELECT {JobSummary.COLUMNS} FROM jobs WHERE number > ? ORDER BY number LIMIT ?",
            (after, maximum),
        )
        return [JobSummary.of(row) for row in found]

    def counts(self) -> Counts:
        """Return how many jobs are in which state."""
        found = dict(self._query("SELECT state, count(*) FROM jobs GROUP BY state"))
        return Counts(**{state.value: found.get(state.value, 0) for state in BatchJobState})

    def again(self) -> int:
        """Have jobs that failed run again, as new jobs. Return how many."""
        with self._changed() as sql:
            return sql.execute(
                "UPDATE jobs SET state = ?, manifest = NULL, secret = NULL, peer = NULL, outcome = NULL, gas_used = NULL,"
                " envelope = NULL, stdout = NULL, stderr = NULL, error = NULL, error_kind = NULL, duration_ms = NULL"
                " WHERE state IN (?, ?, ?)",
                (BatchJobState.WAITING.value, *(state.value for state in FAILED)),
            ).rowcount

    def cancelled(self) -> int:
        """Note that jobs without a result are not to be run. Return how many."""
        with self._changed() as sql:
            return sql.execute(
                "UPDATE jobs SET state = ?, error = 'cancelled by the user', error_kind = 'cancelled'"
                " WHERE state IN (?, ?)",
                (BatchJobState.CANCELLED.value, BatchJobState.WAITING.value, BatchJobState.SENT.value),
            ).rowcount

    def outputs(self, number: int) -> KeptOutputs:
        """Return the outputs of a job that has a receipt."""
        return KeptOutputs(self.path / _OUTPUTS, number)

    def _rows(self, where: str, values: Sequence[Any]) -> list[JobRow]:
        return [JobRow.of(row) for row in self._query(f"SELECT {JobRow.COLUMNS} FROM jobs {where}", values)]

    def _query(self, sql: str, values: Sequence[Any] = ()) -> list[Any]:
        with self._using, storage_errors(self.path):
            return self._connection.execute(sql, values).fetchall()

    @contextmanager
    def _changed(self) -> Iterator[sqlite3.Connection]:
        """Do some statements as one durable change, or none of them. Raises: `StorageFullError`, `StorageError`."""
        with self._using, storage_errors(self.path), self._connection as sql:
            yield sql


def not_begun(path: Path) -> BatchNotBegunError:
    """Return the error about a batch that was interrupted before its first job was sent."""
    return BatchNotBegunError(
        f"the batch in {path} was interrupted before its first job was sent",
        hint="delete the folder, and begin again",
    )


FAILED = (BatchJobState.FAILED, BatchJobState.ERROR, BatchJobState.CANCELLED)


def _check_owner(path: Path) -> None:
    """Refuse a folder in which another user could replace the module and the handles. Raises: `BatchFolderError`."""
    try:
        check_owner(path.stat(), path)
    except PermissionError as exc:
        raise BatchFolderError(
            f"cannot use {path}: {exc.strerror}", hint="name a folder of your own with --batch"
        ) from exc


def _private(path: Path) -> IO[bytes]:
    """Make a file that only its owner may read."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb")


def _locked(path: Path) -> IO[bytes]:
    """Return the file by which this process has the folder. Raises: `BatchFolderError` if another has it."""
    file = os.fdopen(os.open(path / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "rb+")
    for _ in range(_LOCK_TRIES):
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return file
        time.sleep(_LOCK_PAUSE_S)  # `is_in_use` in another process holds the lock for a moment
    file.close()
    raise BatchFolderError(f"another process works on the batch in {path}")


def is_in_use(path: Path) -> bool:
    """Return whether a process works on the batch in a folder now. Raises: OSError."""
    with open(path / LOCK, "rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
