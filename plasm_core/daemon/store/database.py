"""The database: one connection that writes, in its own thread, and one that reads."""

from __future__ import annotations

import collections
import contextlib
import logging
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Generic, TypeVar

import attrs

from plasm_core.daemon.store.ballast import Ballast
from plasm_core.daemon.store.disk import storage_errors
from plasm_core.daemon.store.schema import Schema, open_database, open_reader
from plasm_core.errors import PlasmError, StorageError, StorageFullError

log = logging.getLogger(__name__)

T = TypeVar("T")

Row = Sequence[Any]
"""What SQLite gives: integers, text, bytes and None, by the types that schema.sql checks."""

LATER_S = 0.01
_WATCHED_ROUNDS = 50
"""How often the writer looks for changes that may wait before it sleeps, and has to be woken for them."""
_LARGEST_GROUP = 256


@attrs.define(eq=False, kw_only=True)
class Change(Generic[T]):
    """Statements that are committed together or not at all. They may be executed again if their group fails.

    `work` may raise a `PlasmError`, but only before its first change. `committed` is called with the result of `work`
    once it is on the disk, and returns the result of the future; `failed` is called if the change failed. Both run
    before the caller is told, in the order of the changes, in the writer's thread: they must be quick. An `essential`
    change may use the reserved disk space. A change that is not `durable` does not wait for a sync: it survives the
    end of the process, and a power cut once a durable change after it does. A change that `may_wait` is committed
    together with the next one, or after `LATER_S`: no later change overtakes it. It must not depend on an earlier
    change that is not committed.
    """

    doing: str
    work: Callable[[sqlite3.Connection], T]
    committed: Callable[[T], T] = lambda result: result
    failed: Callable[[], None] = lambda: None
    essential: bool = False
    durable: bool = True
    may_wait: bool = False
    future: Future[T] = attrs.field(factory=Future)


class Database:
    """A database with group commit. A durable change is on the disk when its future is done. Thread-safe.

    Changes that arrive while the disk syncs, or within `gather_s` of the first, are committed together by the next
    sync, in their order. A group that
    fails, for example because the disk is full, is rolled back, and each of its changes is tried alone.
    """

    def __init__(
        self, path: Path, schema: Schema, ballast: Ballast, *, gather_s: Callable[[], float] = lambda: 0.0
    ) -> None:
        """Open it. `gather_s`: for how many seconds a commit may wait for others to share its sync.

        Raises: `StorageError`.
        """
        self._gather_s = gather_s
        self._path = path
        self._ballast = ballast
        self._reading = threading.Lock()
        self._waiting: queue.SimpleQueue[Change[Any] | None] = queue.SimpleQueue()
        self._later: collections.deque[Change[Any]] = collections.deque()
        self._is_watching = False
        self._closing = threading.Lock()
        self._is_closed = False
        self._connection = open_database(path, schema)
        self._is_durable = True
        try:
            self._reader = open_reader(path)
        except BaseException:
            self._connection.close()
            raise
        self._writer = threading.Thread(target=self._write, name="plasm-store", daemon=True)
        self._writer.start()

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        """Return all rows of a query. Raises: `StorageError`."""
        with self._reading, storage_errors("read the database", self._path):
            return self._reader.execute(sql, parameters).fetchall()

    def submit(self, change: Change[T]) -> Future[T]:
        """Hand a change to the writer thread. Its future has the result once it is committed, or the error."""
        with self._closing:
            if not self._is_closed:
                if not change.may_wait:
                    self._waiting.put(change)
                    return change.future
                self._later.append(change)
                if not self._is_watching:
                    self._waiting.put(_LOOK)
                return change.future
        change.failed()
        change.future.set_exception(StorageError("the database is closed"))
        return change.future

    def commit(self, doing: str, work: Callable[[sqlite3.Connection], T], *, essential: bool = False) -> T:
        """Run statements as one durable change, wait for it, and return their result.

        `doing` completes "cannot …" in errors.

        Raises: `StorageFullError`, `StorageError`, or what `work` raises; then nothing has changed.
        """
        return self.submit(Change(doing=doing, work=work, essential=essential)).result()

    def fold(self) -> None:
        """Move the write-ahead log into the database file and empty it: deleted rows would live on in it.

        Raises: `StorageError`.
        """
        folded: Future[None] = Future()
        self.submit(_Fold(doing="fold the log in", work=lambda _sql: None, future=folded))
        folded.result()

    def close(self) -> None:
        """Commit the waiting changes, empty the log, and close the database. Calling this twice is harmless."""
        with self._closing:
            if self._is_closed:
                return
            self._is_closed = True
            self._waiting.put(None)
        self._writer.join()
        with self._reading:
            self._reader.close()
        self._connection.close()

    def _write(self) -> None:
        """Commit group after group, until closed."""
        is_open = True
        while is_open:
            group: list[Change[Any]] = []
            change = self._next()
            if change is not None and not isinstance(change, _Look) and (pause_s := self._gather_s()) > 0:
                time.sleep(pause_s)
            with contextlib.suppress(queue.Empty):
                while True:
                    # What was handed in before `change`, which must not overtake it. After the end nothing more comes.
                    while self._later:
                        group.append(self._later.popleft())
                    if change is None or isinstance(change, _Fold):
                        break
                    if not isinstance(change, _Look):
                        group.append(change)
                    if len(group) >= _LARGEST_GROUP:
                        break
                    change = self._waiting.get_nowait()
            try:
                self._commit_group(group)
                if isinstance(change, _Fold):
                    self._fold(change)
            except BaseException:  # a bug: the waiting callers must get an error
                log.exception("the writer failed")
                for item in group:
                    if not item.future.done():
                        item.future.set_exception(StorageError("the store failed"))
            is_open = change is not None

    def _next(self) -> Change[Any] | None:
        """Return the next change; a `_Look` if only changes that may wait are there, None at the end."""
        self._is_watching = True
        for _ in range(_WATCHED_ROUNDS):
            with contextlib.suppress(queue.Empty):
                return self._waiting.get(timeout=LATER_S)
            if self._later:
                return _LOOK
        self._is_watching = False
        # A change that was added before that could be seen is found here.
        return _LOOK if self._later else self._waiting.get()

    def _commit_group(self, group: list[Change[Any]]) -> None:
        if not group:
            return
        if len(group) > 1:
            try:
                self._settle(self._attempt(group))
                return
            except Exception as exc:
                log.info(
                    "a group of changes failed and is tried one by one changes=%d reason=%s", len(group), exc
                )
        for change in group:
            try:
                try:
                    done = self._attempt([change])
                except StorageFullError:
                    if not change.essential:
                        raise
                    self._ballast.spend()
                    done = self._attempt([change])
            except Exception as exc:
                change.failed()
                change.future.set_exception(exc)
            else:
                self._settle(done)

    def _attempt(self, group: list[Change[Any]]) -> list[tuple[Change[Any], Any, PlasmError | None]]:
        """Commit a group, and return each change with its result, or with the error for which it changed nothing.

        Raises: any other error, such as `StorageError`, after which nothing has changed.
        """
        done: list[tuple[Change[Any], Any, PlasmError | None]] = []
        with storage_errors(group[0].doing, self._path):
            self._sync(any(change.durable for change in group))
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                for change in group:
                    try:
                        done.append((change, change.work(self._connection), None))
                    except PlasmError as exc:
                        done.append((change, None, exc))
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise
        return done

    def _settle(self, done: list[tuple[Change[Any], Any, PlasmError | None]]) -> None:
        """Report committed changes: first call `committed` for all of them, then set their futures."""
        told: list[Any] = []
        for change, result, problem in done:
            if problem is None:
                told.append(change.committed(result))
            else:
                change.failed()
                told.append(None)
        for (change, _, problem), result in zip(done, told, strict=True):
            if problem is None:
                change.future.set_result(result)
            else:
                change.future.set_exception(problem)

    def _sync(self, is_durable: bool) -> None:
        """Have the next commit wait for the disk or not (in WAL mode, NORMAL syncs at checkpoints only)."""
        if is_durable != self._is_durable:
            self._connection.execute(f"PRAGMA synchronous = {'FULL' if is_durable else 'NORMAL'}")
            self._is_durable = is_durable

    def _fold(self, fold: Change[None]) -> None:
        try:
            with storage_errors(fold.doing, self._path):
                self._sync(True)
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        except Exception as exc:
            fold.future.set_exception(exc)
        else:
            fold.future.set_result(None)


class _Fold(Change[None]):
    pass


class _Look(Change[None]):
    """Nothing to commit, but there are changes that may wait."""


_LOOK = _Look(doing="look for changes", work=lambda _sql: None)
