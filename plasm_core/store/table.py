"""The table of jobs: each statement that reads or changes it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta, timezone
from typing import Any

from plasm_core.records import Outcome
from plasm_core.records.converter import structure
from plasm_core.store.database import Database, Row
from plasm_core.store.job import EMPTY_DIGEST, Gone, Job, Output, State

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_BATCH = 500

_SELECT = (
    "SELECT row, job_id, state, cancelling, attempts, spared, allowed_attempts, accepted_at, started_at, "
    "finished_at, expires_at, gone, stdout_bytes, stderr_bytes, stdout_digest, stderr_digest, outcome, "
    "envelope, manifest, module, directory, input_bytes, reserved_bytes, route, node FROM job "
)
_BURY = (
    "UPDATE job SET gone = ?, manifest = NULL, module = NULL, directory = NULL, outcome = NULL, "
    "envelope = NULL, stdout_bytes = 0, stderr_bytes = 0, stdout_digest = NULL, stderr_digest = NULL, "
    "input_bytes = 0, reserved_bytes = 0 WHERE row = ? AND gone IS NULL"
)


def microseconds(moment: datetime) -> int:
    """Return a moment as the table has it."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


class JobTable:
    """The jobs in the database. Each change is a transaction of its own. All methods raise `StorageError`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def find(self, job_id: str, token_hash: bytes) -> Job | None:
        """Return the job of a key."""
        found = self._read("WHERE job_id = ? AND token_hash = ?", bytes.fromhex(job_id), token_hash)
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
        return self._read("WHERE expires_at <= ? AND gone IS NULL LIMIT ?", microseconds(moment), _BATCH)

    def counts(self) -> list[tuple[State, bool, int]]:
        """Return the number of jobs by state, and by whether they are gone."""
        rows = self._database.query("SELECT state, gone IS NOT NULL, count(*) FROM job GROUP BY 1, 2")
        return [(State(state), bool(gone), count) for state, gone, count in rows]

    def insert(self, columns: Mapping[str, Any]) -> Job:
        """Add a job."""
        names, marks = ", ".join(columns), ", ".join("?" * len(columns))

        def insert(sql: sqlite3.Connection) -> Job:
            row = sql.execute(
                f"INSERT INTO job ({names}) VALUES ({marks})", tuple(columns.values())
            ).lastrowid
            return _job(sql.execute(_SELECT + "WHERE row = ?", (row,)).fetchone())

        return self._database.commit("accept a job", insert)

    def change(
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

    def requeue_all(self) -> None:
        """Queue again what ran, unless its attempts are used up or it is to be cancelled."""
        statement = (
            "UPDATE job SET state = 'QUEUED', started_at = NULL WHERE finished_at IS NULL AND cancelling = 0 "
            "AND state <> 'QUEUED' AND attempts - spared < allowed_attempts"
        )
        self._database.commit("queue jobs again", lambda sql: sql.execute(statement), essential=True)

    def bury(self, rows: Iterable[int], why: Gone) -> None:
        """Leave only the tombstones of some jobs that have ended."""
        values = [(why.value, row) for row in rows]
        self._database.commit("delete jobs", lambda sql: sql.executemany(_BURY, values), essential=True)

    def forget(self, moment: datetime) -> int:
        """Delete the tombstones of jobs that expired by a moment. Returns how many."""
        statement, value = "DELETE FROM job WHERE expires_at <= ? AND gone IS NOT NULL", microseconds(moment)
        return self._database.commit(
            "forget jobs", lambda sql: sql.execute(statement, (value,)).rowcount, essential=True
        )

    def _read(self, condition: str, *values: object) -> list[Job]:
        return [_job(row) for row in self._database.query(_SELECT + condition, values)]


def _job(row: Row) -> Job:
    (
        number, job_id, state, cancelling, attempts, spared, allowed_attempts, accepted_at, started_at,
        finished_at, expires_at, gone, stdout_bytes, stderr_bytes, stdout_digest, stderr_digest, outcome,
        envelope, manifest, module, directory, input_bytes, reserved_bytes, route, node,
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
    )


def _moment(microseconds: int) -> datetime:
    return _EPOCH + timedelta(microseconds=microseconds)


def _moment_or_none(microseconds: int | None) -> datetime | None:
    return None if microseconds is None else _moment(microseconds)


def _output(size_bytes: int, digest: bytes | None) -> Output:
    return Output(size_bytes=size_bytes, digest=digest.hex() if digest else EMPTY_DIGEST)
