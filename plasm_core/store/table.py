"""The table of jobs: each statement that reads or changes it."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta, timezone

from plasm_core.errors import JobEndedError
from plasm_core.records import Manifest, Outcome, job_id
from plasm_core.records.converter import encode_json, structure
from plasm_core.shares import NOBODY, Holder
from plasm_core.store.database import Database, Row
from plasm_core.store.job import EMPTY_DIGEST, Gone, Job, Output, State, Stream

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_BATCH = 500

_SELECT = (
    "SELECT row, job_id, state, cancelling, attempts, spared, allowed_attempts, accepted_at, started_at, "
    "finished_at, expires_at, gone, stdout_bytes, stderr_bytes, stdout_digest, stderr_digest, outcome, "
    "envelope, manifest, module, directory, input_bytes, reserved_bytes, route, node, interruptions, holder, "
    "holder_is_own FROM job "
)
_BURY = (
    "UPDATE job SET gone = ?, manifest = NULL, module = NULL, directory = NULL, outcome = NULL, "
    "envelope = NULL, stdout_bytes = 0, stderr_bytes = 0, stdout_digest = NULL, stderr_digest = NULL, "
    "input_bytes = 0, reserved_bytes = 0, holder = NULL WHERE row = ? AND gone IS NULL"
)


class JobTable:
    """The jobs in the database. Each change is a transaction of its own.

    All methods raise `StorageError`, and those that change one job `JobEndedError` if it has ended or is not in
    the state for it.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def find(self, job_id: str, token: bytes) -> Job | None:
        """Return the job of an id that a token opens."""
        found = self._read("WHERE job_id = ? AND token_hash = ?", bytes.fromhex(job_id), _hash(token))
        return found[0] if found else None

    def get(self, row: int) -> Job | None:
        """Return the job of a row."""
        found = self._read("WHERE row = ?", row)
        return found[0] if found else None

    def live(self) -> list[Job]:
        """Return the jobs without a result, in the order of acceptance."""
        return self._read("WHERE finished_at IS NULL ORDER BY row")

    def present(self) -> Iterator[Job]:
        """Go through all jobs that are not gone."""
        last = 0
        while found := self._read("WHERE row > ? AND gone IS NULL ORDER BY row LIMIT ?", last, _BATCH):
            yield from found
            last = found[-1].row

    def due(self, moment: datetime) -> list[Job]:
        """Return some jobs that expire by a moment and are not gone; none if there are none."""
        return self._read("WHERE expires_at <= ? AND gone IS NULL LIMIT ?", _microseconds(moment), _BATCH)

    def counts(self) -> list[tuple[State, bool, int]]:
        """Return the number of jobs by state, and by whether they are gone."""
        rows = self._database.query("SELECT state, gone IS NOT NULL, count(*) FROM job GROUP BY 1, 2")
        return [(State(state), bool(gone), count) for state, gone, count in rows]

    def accept(
        self,
        manifest: Manifest,
        manifest_json: bytes,
        token: bytes,
        *,
        accepted_at: datetime,
        input_bytes: int,
        reserved_bytes: int,
        directory: str,
        route: str,
        holder: Holder,
    ) -> Job:
        """Add a job, queued."""
        columns = {
            "job_id": bytes.fromhex(job_id(manifest_json)),
            "token_hash": _hash(token),
            "state": State.QUEUED.value,
            "allowed_attempts": manifest.retry.attempts,
            "accepted_at": _microseconds(accepted_at),
            "input_bytes": input_bytes,
            "reserved_bytes": reserved_bytes,
            "manifest": manifest_json,
            "module": bytes.fromhex(manifest.module),
            "directory": directory,
            "route": route,
            "holder": " ".join(holder.names) or None,
            "holder_is_own": int(holder.is_own),
        }
        names, marks = ", ".join(columns), ", ".join("?" * len(columns))

        def insert(sql: sqlite3.Connection) -> Job:
            row = sql.execute(
                f"INSERT INTO job ({names}) VALUES ({marks})", tuple(columns.values())
            ).lastrowid
            return _job(sql.execute(_SELECT + "WHERE row = ?", (row,)).fetchone())

        return self._database.commit("accept a job", insert)

    def begin(self, row: int, started_at: datetime) -> Job:
        """Count another attempt of a job: INITIALIZING."""
        change = "state = 'INITIALIZING', attempts = attempts + 1, started_at = ?"
        return self._changed(row, "start a job", change, _microseconds(started_at))

    def started(self, row: int) -> Job:
        """Note that an initializing job runs: RUNNING."""
        return self._changed(row, "start a job", "state = 'RUNNING'", only="state = 'INITIALIZING'")

    def requeue(self, row: int, *, counted: bool) -> Job:
        """Queue a job again: QUEUED. `counted` False takes its attempt back."""
        change = "state = 'QUEUED', started_at = NULL, spared = spared + ?"
        return self._changed(row, "queue a job again", change, 0 if counted else 1, essential=True)

    def cancel(self, row: int) -> Job | None:
        """Note that a job is to be cancelled; None if it has ended or is not there."""
        change, only = "cancelling = 1", "finished_at IS NULL"
        return self._change(row, "cancel a job", change, only=only, essential=True)

    def finish(
        self,
        row: int,
        *,
        outcome: Outcome,
        envelope: bytes,
        outputs: Mapping[Stream, Output],
        node: str | None,
        finished_at: datetime,
        expires_at: datetime,
    ) -> Job:
        """Give a job its result, unless it has one."""
        stdout, stderr = outputs[Stream.STDOUT], outputs[Stream.STDERR]
        return self._changed(
            row,
            "keep a job's result",
            "state = ?, finished_at = ?, expires_at = ?, outcome = ?, envelope = ?, "
            "stdout_bytes = ?, stdout_digest = ?, stderr_bytes = ?, stderr_digest = ?, node = ?",
            outcome.state,
            _microseconds(finished_at),
            _microseconds(expires_at),
            encode_json(outcome).decode(),
            envelope,
            stdout.size_bytes,
            bytes.fromhex(stdout.digest),
            stderr.size_bytes,
            bytes.fromhex(stderr.digest),
            node,
            only="finished_at IS NULL",
            essential=True,
        )

    def requeue_all(self) -> None:
        """Queue again what ran when the daemon died, unless its attempts are used up or it is to be cancelled.

        Which of the jobs that ran ended the daemon, if any, is not known: one counts an attempt only if it was
        interrupted before and no other ran beside it.
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
        """Leave only the tombstones of some jobs that have ended."""
        values = [(why.value, row) for row in rows]
        self._database.commit("delete jobs", lambda sql: sql.executemany(_BURY, values), essential=True)

    def forget(self, moment: datetime) -> int:
        """Delete the tombstones of jobs that expired by a moment. Returns how many."""
        statement, value = "DELETE FROM job WHERE expires_at <= ? AND gone IS NOT NULL", _microseconds(moment)
        return self._database.commit(
            "forget jobs", lambda sql: sql.execute(statement, (value,)).rowcount, essential=True
        )

    def _changed(
        self, row: int, doing: str, change: str, *values: object, only: str = "TRUE", essential: bool = False
    ) -> Job:
        job = self._change(row, doing, change, *values, only=only, essential=essential)
        if job is None:
            raise JobEndedError(f"cannot {doing}: it has ended, or is not in that state")
        return job

    def _change(
        self, row: int, doing: str, change: str, *values: object, only: str = "TRUE", essential: bool = False
    ) -> Job | None:
        """Change a job for which the condition `only` holds, and return it; None if there is none.

        `doing` and `essential`: see `Database.commit`.
        """

        def update(sql: sqlite3.Connection) -> Job | None:
            cursor = sql.execute(f"UPDATE job SET {change} WHERE row = ? AND {only}", (*values, row))
            if cursor.rowcount == 0:
                return None
            return _job(sql.execute(_SELECT + "WHERE row = ?", (row,)).fetchone())

        return self._database.commit(doing, update, essential=essential)

    def _read(self, condition: str, *values: object) -> list[Job]:
        return [_job(row) for row in self._database.query(_SELECT + condition, values)]


def _job(row: Row) -> Job:
    (
        number, job_id, state, cancelling, attempts, spared, allowed_attempts, accepted_at, started_at,
        finished_at, expires_at, gone, stdout_bytes, stderr_bytes, stdout_digest, stderr_digest, outcome,
        envelope, manifest, module, directory, input_bytes, reserved_bytes, route, node, interruptions, holder,
        holder_is_own,
    ) = row  # fmt: skip
    return Job(
        row=number,
        job_id=job_id.hex(),
        state=State(state),
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
        directory=directory or "",
        route=route,
        node=node,
        input_bytes=input_bytes,
        reserved_bytes=reserved_bytes,
        interruptions=interruptions,
        holder=Holder(names=tuple(holder.split()), is_own=bool(holder_is_own)) if holder else NOBODY,
    )


def _hash(token: bytes) -> bytes:
    """Return what is kept of a job's token: its SHA-256."""
    return hashlib.sha256(token).digest()


def _microseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1)


def _moment(microseconds: int) -> datetime:
    return _EPOCH + timedelta(microseconds=microseconds)


def _moment_or_none(microseconds: int | None) -> datetime | None:
    return None if microseconds is None else _moment(microseconds)


def _output(size_bytes: int, digest: bytes | None) -> Output:
    return Output(size_bytes=size_bytes, digest=digest.hex() if digest else EMPTY_DIGEST)
