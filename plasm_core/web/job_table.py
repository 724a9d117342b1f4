"""The jobs that were submitted through this server, in SQLite: their handles, manifests and ends.

The file holds secrets: it is in a directory that only the server's user may enter. Its methods block.
"""

from __future__ import annotations

import contextlib
import enum
import json
import secrets
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import attrs

from plasm_core.errors import StorageError, StorageFullError
from plasm_core.paths import private_directory
from plasm_core.records import Handle, Manifest, PeerId, job_id

_VERSION = 1
_SCHEMA = """
CREATE TABLE job (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    owner TEXT NOT NULL,
    job_id TEXT NOT NULL,
    secret BLOB NOT NULL,
    manifest BLOB NOT NULL,
    name TEXT NOT NULL,
    submitted_at TEXT NOT NULL,
    peer TEXT,
    status TEXT,
    envelope TEXT,
    released INTEGER NOT NULL DEFAULT 0,
    ended_at REAL,
    UNIQUE (owner, job_id)
);
CREATE INDEX job_by_id ON job (job_id);
CREATE INDEX job_by_end ON job (ended_at);
CREATE TABLE module (
    owner TEXT NOT NULL,
    digest TEXT NOT NULL,
    PRIMARY KEY (owner, digest)
) WITHOUT ROWID;
CREATE TABLE webhook (
    job INTEGER PRIMARY KEY REFERENCES job (number) ON DELETE CASCADE,
    message TEXT NOT NULL,
    url TEXT NOT NULL,
    state TEXT NOT NULL DEFAULT 'waiting',
    attempts INTEGER NOT NULL DEFAULT 0,
    due_at REAL,
    problem TEXT
);
"""

_TREES = """
CREATE TABLE IF NOT EXISTS tree (
    owner TEXT NOT NULL,
    digest TEXT NOT NULL,
    PRIMARY KEY (owner, digest)
) WITHOUT ROWID
"""


@attrs.frozen(kw_only=True)
class Webhook:
    """The delivery of a job's end. `state`: waiting, delivered or failed. `message`: its id, the same in each attempt."""

    message: str
    url: str = attrs.field(repr=False)
    state: str
    attempts: int
    problem: str | None


@attrs.frozen(kw_only=True)
class WebJob:
    """A job that came through this server. `owner`: the identity of the token that it belongs to.

    `peer` is None until a node has accepted it. `status` (as JSON data) and `envelope` are there once its end was seen.
    """

    number: int
    owner: str
    job_id: str
    secret: bytes = attrs.field(repr=False)
    manifest_json: bytes = attrs.field(repr=False)
    name: str
    submitted_at: datetime
    peer: PeerId | None
    status: dict[str, Any] | None
    envelope: str | None = attrs.field(repr=False)
    released: bool
    webhook: Webhook | None = None

    @property
    def manifest(self) -> Manifest:
        """The manifest, parsed."""
        return Manifest.from_json(self.manifest_json)

    @property
    def handle(self) -> Handle:
        """The handle. Only of a job that a node has accepted."""
        assert self.peer is not None
        return Handle(job_id=self.job_id, secret=self.secret, peer=self.peer)


class SentKind(enum.Enum):
    """What tokens send once and name later, each kind with a table."""

    MODULE = "module"
    TREE = "tree"


class WebJobTable:
    """The table of jobs. Raises `StorageError` from every method."""

    def __init__(self, directory: Path) -> None:
        path = directory / "jobs.sqlite"
        self._lock = threading.Lock()
        try:
            private_directory(directory)
            self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            path.chmod(0o600)
        except (OSError, sqlite3.Error) as exc:
            raise StorageError(f"cannot open {path}: {exc}") from exc
        with self._storing() as connection:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute("PRAGMA foreign_keys=ON")
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version == 0:
                connection.executescript(f"BEGIN;{_SCHEMA}PRAGMA user_version={_VERSION};COMMIT;")
            elif version != _VERSION:
                raise StorageError(
                    f"{path} is of another version of plasm web",
                    hint="use that version, or move the file away",
                )
            connection.execute(_TREES)  # releases before it left the table out, and do not mind it

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    def add(
        self, owner: str, manifest_json: bytes, name: str, webhook: str | None = None
    ) -> tuple[WebJob, bool]:
        """Remember a job before it is submitted. Return it, and whether it was not known before.

        `webhook`: the URL that gets a message when the job ends, unless the job has one already.
        """
        identity = job_id(manifest_json)
        with self._storing() as connection:
            made = connection.execute(
                "INSERT OR IGNORE INTO job (owner, job_id, secret, manifest, name, submitted_at)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                (owner, identity, secrets.token_bytes(32), manifest_json, name, _now()),
            ).rowcount
            if webhook is not None:
                connection.execute(
                    "INSERT OR IGNORE INTO webhook (job, message, url)"
                    " SELECT number, ?, ? FROM job WHERE owner=? AND job_id=?",
                    (f"msg_{secrets.token_hex(16)}", webhook, owner, identity),
                )
            row = connection.execute(
                f"SELECT {_COLUMNS} FROM {_JOBS} WHERE owner=? AND job_id=?", (owner, identity)
            ).fetchone()
        return _job(row), bool(made)

    def placed(self, job: WebJob, peer: PeerId) -> WebJob:
        """Record that a node has accepted a job. Return the job with that node."""
        with self._storing() as connection:
            connection.execute("UPDATE job SET peer=? WHERE number=?", (str(peer), job.number))
        return attrs.evolve(job, peer=peer)

    def unplaced(self, before: datetime, *, limit: int) -> list[WebJob]:
        """Return jobs that were submitted before a moment and that no node is known to have accepted, the oldest first."""
        with self._storing() as connection:
            rows = connection.execute(
                f"SELECT {_COLUMNS} FROM {_JOBS} WHERE peer IS NULL AND submitted_at < ? ORDER BY number LIMIT ?",
                (before.isoformat(timespec="milliseconds"), limit),
            ).fetchall()
        return [_job(row) for row in rows]

    def forget(self, job: WebJob) -> None:
        """Forget a job that no node has accepted."""
        with self._storing() as connection:
            connection.execute("DELETE FROM job WHERE number=? AND peer IS NULL", (job.number,))

    def ended(self, job: WebJob, status: dict[str, Any], envelope: str | None) -> tuple[WebJob, bool]:
        """Record a job's end. Return the job, and whether its end was not known before."""
        with self._storing() as connection:
            is_new = connection.execute(
                "UPDATE job SET status=?, envelope=?, ended_at=? WHERE number=? AND status IS NULL",
                (json.dumps(status), envelope, time.time(), job.number),
            ).rowcount
        return attrs.evolve(job, status=status, envelope=envelope), bool(is_new)

    def release(self, job: WebJob) -> WebJob:
        """Record that a job was released."""
        with self._storing() as connection:
            connection.execute("UPDATE job SET released=1 WHERE number=?", (job.number,))
        return attrs.evolve(job, released=True)

    def find(self, owner: str | None, identity: str) -> WebJob | None:
        """Return a job of an owner, or of any if `owner` is None: one that has not ended, if there is one.

        The same manifest is a job of each token that has sent it: the end of one does not hide another that runs.
        """
        with self._storing() as connection:
            row = connection.execute(
                f"SELECT {_COLUMNS} FROM {_JOBS} WHERE job_id=? AND (owner=? OR ? IS NULL)"
                " AND peer IS NOT NULL ORDER BY status IS NULL DESC, number DESC LIMIT 1",
                (identity, owner, owner),
            ).fetchone()
        return None if row is None else _job(row)

    def numbered(self, number: int) -> WebJob | None:
        """Return the job with a number, None if there is none."""
        with self._storing() as connection:
            row = connection.execute(f"SELECT {_COLUMNS} FROM {_JOBS} WHERE number=?", (number,)).fetchone()
        return None if row is None else _job(row)

    def listed(self, owner: str | None, *, limit: int, before: int | None) -> list[WebJob]:
        """Return jobs of an owner, or of all, the latest first. `before`: the number to go on at."""
        with self._storing() as connection:
            rows = connection.execute(
                f"SELECT {_COLUMNS} FROM {_JOBS} WHERE (owner=? OR ? IS NULL) AND peer IS NOT NULL"
                " AND number < ? ORDER BY number DESC LIMIT ?",
                (owner, owner, before if before is not None else 2**62, limit),
            ).fetchall()
        return [_job(row) for row in rows]

    def live(self, owner: str | None, *, limit: int) -> list[WebJob]:
        """Return the jobs of an owner, or of all, whose end was not seen, the latest first."""
        with self._storing() as connection:
            rows = connection.execute(
                f"SELECT {_COLUMNS} FROM {_JOBS} WHERE (owner=? OR ? IS NULL) AND peer IS NOT NULL"
                " AND status IS NULL ORDER BY number DESC LIMIT ?",
                (owner, owner, limit),
            ).fetchall()
        return [_job(row) for row in rows]

    def ended_since(self, owner: str | None, moment: float, *, limit: int) -> list[WebJob]:
        """Return the jobs whose end was seen at a moment (seconds since 1970) or later, the latest first."""
        with self._storing() as connection:
            rows = connection.execute(
                f"SELECT {_COLUMNS} FROM {_JOBS} WHERE ended_at >= ? AND (owner=? OR ? IS NULL)"
                " ORDER BY ended_at DESC LIMIT ?",
                (moment, owner, owner, limit),
            ).fetchall()
        return [_job(row) for row in rows]

    def awaited(self, *, limit: int) -> list[WebJob]:
        """Return the jobs whose end was not seen and is to be told to a URL: the oldest of each owner, then the next."""
        with self._storing() as connection:
            rows = connection.execute(
                f"SELECT {_COLUMNS} FROM {_JOBS} WHERE status IS NULL AND peer IS NOT NULL"
                f" AND message IS NOT NULL ORDER BY {_TURN % 'number'}, number LIMIT ?",
                (limit,),
            ).fetchall()
        return [_job(row) for row in rows]

    def due_webhooks(self, now: float, limit: int) -> list[tuple[int, str]]:
        """Return numbers and owners of ended jobs whose URL is to be told now (`now`: seconds since 1970).

        The longest due of each owner comes first, then the next of each.
        """
        with self._storing() as connection:
            return connection.execute(
                "SELECT number, owner FROM job JOIN webhook ON webhook.job = job.number WHERE status IS NOT NULL"
                " AND webhook.state = 'waiting' AND (due_at IS NULL OR due_at <= ?)"
                f" ORDER BY {_TURN % 'due_at, number'}, due_at, number LIMIT ?",
                (now, limit),
            ).fetchall()

    def webhook_done(self, number: int, attempts: int, problem: str | None) -> None:
        """Record that a URL was told, or that it will not be because of a problem."""
        state = "delivered" if problem is None else "failed"
        with self._storing() as connection:
            connection.execute(
                "UPDATE webhook SET state=?, attempts=?, problem=?, due_at=NULL WHERE job=?",
                (state, attempts, problem, number),
            )

    def webhook_again(self, number: int, attempts: int, due_at: float, problem: str) -> None:
        """Record that telling a URL failed, and when to try again (seconds since 1970)."""
        with self._storing() as connection:
            connection.execute(
                "UPDATE webhook SET attempts=?, due_at=?, problem=? WHERE job=?",
                (attempts, due_at, problem, number),
            )

    def add_sent(self, kind: SentKind, owner: str, digest: str) -> bool:
        """Remember that a token, named by `owner`, has sent the bytes with a digest. Return whether that is new."""
        with self._storing() as connection:
            return bool(
                connection.execute(
                    f"INSERT OR IGNORE INTO {kind.value} (owner, digest) VALUES (?, ?)", (owner, digest)
                ).rowcount
            )

    def has_sent(self, kind: SentKind, owner: str, digest: str) -> bool:
        """Return whether a token, named by `owner`, has sent the bytes with a digest."""
        with self._storing() as connection:
            found = connection.execute(
                f"SELECT 1 FROM {kind.value} WHERE owner=? AND digest=?", (owner, digest)
            ).fetchone()
        return found is not None

    def all_sent(self, kind: SentKind) -> list[tuple[str, str]]:
        """Return which tokens have sent what: owner and digest."""
        with self._storing() as connection:
            return connection.execute(f"SELECT owner, digest FROM {kind.value}").fetchall()

    def forget_sent(self, kind: SentKind, owner: str, digest: str) -> None:
        """Forget that a token, named by `owner`, has sent the bytes with a digest."""
        with self._storing() as connection:
            connection.execute(f"DELETE FROM {kind.value} WHERE owner=? AND digest=?", (owner, digest))

    @contextmanager
    def _storing(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                yield self._connection
            except sqlite3.Error as exc:
                with contextlib.suppress(sqlite3.Error):
                    self._connection.rollback()
                full = getattr(exc, "sqlite_errorcode", None) == _SQLITE_FULL
                kind = StorageFullError if full else StorageError
                raise kind(f"the table of web jobs failed: {exc}") from exc


_SQLITE_FULL = 13
_TURN = "row_number() OVER (PARTITION BY owner ORDER BY %s)"
"""Sorts by turns of owners: however many rows one of them has, the first of another one is among the first."""
_COLUMNS = (
    "number, owner, job_id, secret, manifest, name, submitted_at, peer, status, envelope, released,"
    " message, url, webhook.state, webhook.attempts, webhook.problem"
)
_JOBS = "job LEFT JOIN webhook ON webhook.job = job.number"


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")


def _job(row: tuple[Any, ...]) -> WebJob:
    number, owner, identity, secret, manifest, name, submitted_at, peer, status, envelope, released = row[:11]
    message, url, state, attempts, problem = row[11:]
    return WebJob(
        number=number,
        owner=owner,
        job_id=identity,
        secret=secret,
        manifest_json=manifest,
        name=name,
        submitted_at=datetime.fromisoformat(submitted_at),
        peer=None if peer is None else PeerId.parse(peer),
        status=None if status is None else json.loads(status),
        envelope=envelope,
        released=bool(released),
        webhook=None
        if message is None
        else Webhook(message=message, url=url, state=state, attempts=attempts, problem=problem),
    )
