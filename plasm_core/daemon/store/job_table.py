"""The table of jobs: each statement that reads or changes it."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime, timedelta, timezone
from typing import TypeVar

from plasm_core.daemon.store.database import Database, Row
from plasm_core.daemon.store.job import Gone, Job
from plasm_core.errors import JobEndedError
from plasm_core.fair_shares import NOBODY, Holder
from plasm_core.records import Manifest, Outcome
from plasm_core.records.converter import encode_json, structure
from plasm_core.records.job import JobState
from plasm_core.records.output import EMPTY_SHA256, OutputDigest

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_BATCH = 500

_SELECT = (
    "SELECT row, job_id, state, cancelling, attempts, spared, allowed_attempts, accepted_at, started_at, "
    "finished_at, expires_at, gone, stdout_bytes, stderr_bytes, stdout_digest, stderr_digest, outcome, "
    "envelope, manifest, module, directory, input_bytes, reserved_bytes, route, node, interruptions, holder, "
    "holder_is_own, tree, file_bytes FROM job "
)
_BURY = (
    "UPDATE job SET gone = ?, manifest = NULL, module = NULL, tree = NULL, directory = NULL, outcome = NULL, "
    "envelope = NULL, stdout_bytes = 0, stderr_bytes = 0, stdout_digest = NULL, stderr_digest = NULL, "
    "input_bytes = 0, reserved_bytes = 0, file_bytes = 0, holder = NULL WHERE row = ? AND gone IS NULL"
)
_INSERT = (
    "INSERT INTO job (job_id, token_hash, state, allowed_attempts, accepted_at, input_bytes, reserved_bytes, manifest, "
    "module, tree, directory, route, holder, holder_is_own) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) "
    "ON CONFLICT (job_id, token_hash) DO NOTHING"
)
_BEGIN = (
    "UPDATE job SET state = 'INITIALIZING', attempts = ?, spared = ?, started_at = ? "
    "WHERE row = ? AND finished_at IS NULL"
)
_REQUEUE = (
    "UPDATE job SET state = 'QUEUED', attempts = ?, spared = ?, started_at = ? "
    "WHERE row = ? AND finished_at IS NULL"
)
_FINISH = (
    "UPDATE job SET state = ?, attempts = ?, spared = ?, started_at = ?, finished_at = ?, expires_at = ?, outcome = ?, "
    "envelope = ?, stdout_bytes = ?, stdout_digest = ?, stderr_bytes = ?, stderr_digest = ?, file_bytes = ?, node = ? "
    "WHERE row = ? AND finished_at IS NULL"
)
_FORGET_CONTENT = "DELETE FROM content WHERE id BETWEEN ? AND ?"

_CONTENTS = 8
ARGS, ENV, STDIN, STDOUT, STDERR = range(5)
INPUTS, OUTPUTS = range(3), range(3, 5)

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]
"""Statements to be done as a `Change`, or a part of one."""


class JobTable:
    """The jobs in the database, with their small inputs and outputs.

    Methods whose names end in -ing return a function for `Change.work`; it raises `JobEndedError`, and changes
    nothing, if the job has ended. The other methods raise `StorageError`.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def find(self, job_id: str, token: bytes) -> Job | None:
        """Return the job with an id and a token; None if there is none."""
        found = self._read("WHERE job_id = ? AND token_hash = ?", bytes.fromhex(job_id), _hash(token))
        return found[0] if found else None

    def get(self, row: int) -> Job | None:
        """Return the job of a row, None if there is no such row."""
        found = self._read("WHERE row = ?", row)
        return found[0] if found else None

    def live(self) -> list[Job]:
        """Return the jobs without a result, in the order of acceptance."""
        return self._read("WHERE finished_at IS NULL ORDER BY row")

    def ended(self, count: int) -> list[Job]:
        """Return the latest accepted jobs that have a result and are not gone, the latest first."""
        return self._read("WHERE finished_at IS NOT NULL AND gone IS NULL ORDER BY row DESC LIMIT ?", count)

    def present(self) -> Iterator[Job]:
        """Yield all jobs that are not gone."""
        last = 0
        while found := self._read("WHERE row > ? AND gone IS NULL ORDER BY row LIMIT ?", last, _BATCH):
            yield from found
            last = found[-1].row

    def identities(self) -> Iterator[str]:
        """Yield the ids of all jobs, including those that are gone."""
        last = 0
        while found := self._database.query(
            "SELECT row, job_id FROM job WHERE row > ? ORDER BY row LIMIT ?", (last, 20 * _BATCH)
        ):
            for row, job_id in found:
                last = row
                yield job_id.hex()

    def due(self, moment: datetime) -> list[Job]:
        """Return some of the jobs that expire by a moment and are not gone; none if there are no more."""
        return self._read("WHERE expires_at <= ? AND gone IS NULL LIMIT ?", _microseconds(moment), _BATCH)

    def counts(self) -> list[tuple[JobState, bool, int]]:
        """Return the number of jobs by state, and by whether they are gone."""
        rows = self._database.query("SELECT state, gone IS NOT NULL, count(*) FROM job GROUP BY 1, 2")
        return [(JobState(state), bool(gone), count) for state, gone, count in rows]

    def accepting(
        self,
        manifest: Manifest,
        manifest_json: bytes,
        token: bytes,
        *,
        identity: str,
        accepted_at: datetime,
        input_bytes: int,
        contents: Mapping[int, bytes],
        reserved_bytes: int,
        directory: str,
        route: str,
        holder: Holder,
    ) -> Work[tuple[Job, bool]]:
        """Add a queued job, unless there is one with its manifest and token.

        Returns the job, and whether it is new.

        `contents`: the inputs to store in the database, by number (`ARGS`, `ENV`, `STDIN`).
        """
        tree = "" if manifest.files is None else manifest.files.tree
        columns = {
            "job_id": bytes.fromhex(identity),
            "token_hash": _hash(token),
            "state": JobState.QUEUED.value,
            "allowed_attempts": manifest.retry.attempts,
            "accepted_at": _microseconds(accepted_at),
            "input_bytes": input_bytes,
            "reserved_bytes": reserved_bytes,
            "manifest": manifest_json,
            "module": bytes.fromhex(manifest.module),
            "tree": bytes.fromhex(tree) or None,
            "directory": directory,
            "route": route,
            "holder": " ".join(holder.names) or None,
            "holder_is_own": int(holder.is_own),
        }
        values = tuple(columns.values())

        def insert(sql: sqlite3.Connection) -> tuple[Job, bool]:
            cursor = sql.execute(_INSERT, values)
            if cursor.rowcount == 0:
                found = sql.execute(_SELECT + "WHERE job_id = ? AND token_hash = ?", values[:2]).fetchone()
                return _job(found), False
            row = cursor.lastrowid
            assert row is not None
            _put(sql, row, contents)
            return (
                Job(
                    row=row,
                    job_id=identity,
                    state=JobState.QUEUED,
                    cancelling=False,
                    attempt=0,
                    counted_attempts=0,
                    allowed_attempts=manifest.retry.attempts,
                    interruptions=0,
                    holder=holder if holder.names else NOBODY,
                    accepted_at=_moment(_microseconds(accepted_at)),
                    started_at=None,
                    finished_at=None,
                    expires_at=None,
                    gone=None,
                    stdout=OutputDigest(),
                    stderr=OutputDigest(),
                    outcome=None,
                    envelope=None,
                    manifest_json=manifest_json,
                    module=manifest.module,
                    tree=tree,
                    directory=directory,
                    route=route,
                    node=None,
                    input_bytes=input_bytes,
                    reserved_bytes=reserved_bytes,
                ),
                True,
            )

        return insert

    def beginning(self, job: Job) -> Work[None]:
        """Record that an attempt at a job has begun."""
        values = (*_progress(job), job.row)

        def update(sql: sqlite3.Connection) -> None:
            sql.execute(_BEGIN, values)

        return update

    def requeuing(self, job: Job) -> Work[Job]:
        """Put a job back into the queue, with the values of `job`."""
        values = (*_progress(job), job.row)

        def update(sql: sqlite3.Connection) -> Job:
            if sql.execute(_REQUEUE, values).rowcount == 0:
                raise JobEndedError("cannot queue a job again: it has ended, or is not in that state")
            return job

        return update

    def cancelling(self, row: int) -> Work[bool]:
        """Record that a job is to be cancelled. Returns False if it has ended or does not exist."""

        def update(sql: sqlite3.Connection) -> bool:
            return (
                sql.execute(
                    "UPDATE job SET cancelling = 1 WHERE row = ? AND finished_at IS NULL", (row,)
                ).rowcount
                > 0
            )

        return update

    def finishing(self, job: Job, contents: Mapping[int, bytes]) -> Work[Job]:
        """Store a job's result, unless it has one. Its inputs are deleted; `contents` are its outputs."""
        assert job.outcome is not None
        assert job.finished_at is not None
        assert job.expires_at is not None
        values = (
            job.state.value,
            job.attempt,
            job.attempt - job.counted_attempts,
            None if job.started_at is None else _microseconds(job.started_at),
            _microseconds(job.finished_at),
            _microseconds(job.expires_at),
            encode_json(job.outcome).decode(),
            job.envelope,
            job.stdout.size_bytes,
            bytes.fromhex(job.stdout.sha256),
            job.stderr.size_bytes,
            bytes.fromhex(job.stderr.sha256),
            job.file_bytes,
            job.node,
            job.row,
        )

        def update(sql: sqlite3.Connection) -> Job:
            if sql.execute(_FINISH, values).rowcount == 0:
                raise JobEndedError("cannot keep a job's result: it has ended, or is not in that state")
            sql.execute(_FORGET_CONTENT, _range(job.row, INPUTS))
            _put(sql, job.row, contents)
            return job

        return update

    def contents(self, row: int, which: range) -> dict[int, bytes]:
        """Return a job's inputs (`INPUTS`) or outputs (`OUTPUTS`) that are in the database, by number."""
        found = self._database.query(
            "SELECT id, data FROM content WHERE id BETWEEN ? AND ?", _range(row, which)
        )
        return {number % _CONTENTS: data for number, data in found}

    def requeue_all(self) -> None:
        """Requeue the jobs that ran when the daemon died, except those without attempts left or with a requested
        cancellation.

        The store cannot know which of the running jobs killed the daemon, if any. So an attempt counts only if the
        job had been interrupted before and no other job ran beside it.
        """
        ran = "finished_at IS NULL AND state <> 'QUEUED'"

        def change(sql: sqlite3.Connection) -> None:
            (count,) = sql.execute(f"SELECT count(*) FROM job WHERE {ran} AND route = 'here'").fetchone()
            counted = "interruptions > 0 AND route = 'here'" if count == 1 else "FALSE"
            sql.execute(
                f"UPDATE job SET interruptions = interruptions + 1, spared = spared + NOT ({counted}) WHERE {ran}"
            )
            sql.execute(
                f"UPDATE job SET state = 'QUEUED', started_at = NULL WHERE {ran} AND cancelling = 0 "
                "AND attempts - spared < allowed_attempts"
            )

        self._database.commit("queue jobs again", change, essential=True)

    def bury(self, rows: Iterable[int], why: Gone) -> None:
        """Delete all of some ended jobs but their tombstones."""
        values = [(why.value, row) for row in rows]
        ranges = [_range(row, range(_CONTENTS)) for _, row in values]

        def change(sql: sqlite3.Connection) -> None:
            sql.executemany(_BURY, values)
            sql.executemany(_FORGET_CONTENT, ranges)

        self._database.commit("delete jobs", change, essential=True)

    def forget(self, moment: datetime) -> int:
        """Delete the tombstones that expired by a moment. Return their number."""
        statement, value = "DELETE FROM job WHERE expires_at <= ? AND gone IS NOT NULL", _microseconds(moment)
        return self._database.commit(
            "forget jobs", lambda sql: sql.execute(statement, (value,)).rowcount, essential=True
        )

    def _read(self, condition: str, *values: object) -> list[Job]:
        return [_job(row) for row in self._database.query(_SELECT + condition, values)]


def _range(row: int, which: range) -> tuple[int, int]:
    """Return the first and last id of a job's contents."""
    return row * _CONTENTS + which[0], row * _CONTENTS + which[-1]


def _put(sql: sqlite3.Connection, row: int, contents: Mapping[int, bytes]) -> None:
    for number, data in contents.items():
        sql.execute("INSERT INTO content (id, data) VALUES (?, ?)", (row * _CONTENTS + number, data))


def _progress(job: Job) -> tuple[int, int, int | None]:
    """Return how often a job was started, how many of those starts do not count, and the last of them."""
    started = None if job.started_at is None else _microseconds(job.started_at)
    return job.attempt, job.attempt - job.counted_attempts, started


def _job(row: Row) -> Job:
    (
        number, job_id, state, cancelling, attempts, spared, allowed_attempts, accepted_at, started_at,
        finished_at, expires_at, gone, stdout_bytes, stderr_bytes, stdout_digest, stderr_digest, outcome,
        envelope, manifest, module, directory, input_bytes, reserved_bytes, route, node, interruptions, holder,
        holder_is_own, tree, file_bytes,
    ) = row  # fmt: skip
    return Job(
        row=number,
        job_id=job_id.hex(),
        state=JobState(state),
        cancelling=bool(cancelling),
        attempt=attempts,
        counted_attempts=attempts - spared,
        allowed_attempts=allowed_attempts,
        accepted_at=_moment(accepted_at),
        started_at=_moment_or_none(started_at),
        finished_at=_moment_or_none(finished_at),
        expires_at=_moment_or_none(expires_at),
        gone=Gone(gone) if gone else None,
        stdout=_output(stdout_bytes, stdout_digest),
        stderr=_output(stderr_bytes, stderr_digest),
        outcome=structure(json.loads(outcome), Outcome, record="outcome") if outcome else None,
        envelope=envelope,
        manifest_json=manifest or b"",
        module=module.hex() if module else "",
        tree=tree.hex() if tree else "",
        file_bytes=file_bytes,
        directory=directory or "",
        route=route,
        node=node,
        input_bytes=input_bytes,
        reserved_bytes=reserved_bytes,
        interruptions=interruptions,
        holder=Holder(names=tuple(holder.split()), is_own=bool(holder_is_own)) if holder else NOBODY,
    )


def _hash(token: bytes) -> bytes:
    """Return the SHA-256 of a job's token, which is stored in place of the token."""
    return hashlib.sha256(token).digest()


def _microseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1)


def _moment(microseconds: int) -> datetime:
    return _EPOCH + timedelta(microseconds=microseconds)


def _moment_or_none(microseconds: int | None) -> datetime | None:
    return None if microseconds is None else _moment(microseconds)


def _output(size_bytes: int, digest: bytes | None) -> OutputDigest:
    return OutputDigest(size_bytes=size_bytes, sha256=digest.hex() if digest else EMPTY_SHA256)
