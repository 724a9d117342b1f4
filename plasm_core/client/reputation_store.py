"""The reputation store: the records of this user's clients about nodes, in SQLite under the state directory.

All processes of the user share it. Each method is one transaction, which a killed process leaves complete or undone.
The records that hostile nodes can add are bounded (`MAX_NODES`, `MAX_CONVICTED`, `MAX_RESULTS`, `MAX_FILE_BYTES`).
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import attrs

from plasm_core.client.reputation_database import alone, opened
from plasm_core.errors import StorageError
from plasm_core.paths import private_directory, state_directory
from plasm_core.records.history import NodeHistory
from plasm_core.records.peer import PeerId

MAX_NODES = 10_000
"""Nodes that are not convicted. Beyond it the store forgets the least known, the longest unseen first."""
MAX_CONVICTED = 100_000
"""Each costs its owner a key and this client a check. Beyond it the longest unseen are forgotten."""
MAX_RESULTS = 10_000
MAX_RESULT_BYTES = 64 << 10
"""The longest receipt and manifest that are kept with a result."""
MAX_RESULTS_BYTES = 64 << 20
HALF_LIFE_S = 30 * 86_400
_EVICT_EVERY = 64
_MAX_TEXT = 4096


@attrs.frozen(kw_only=True)
class Lesson:
    """The counts of one judgement for one node: its accepted, confirmed and rejected results."""

    peer: PeerId
    accepted: int = 0
    checked: int = 0
    failed: int = 0
    network: str | None = None


@attrs.frozen(kw_only=True)
class AcceptedResult:
    """A result that was accepted: who gave it, its manifest and receipt. `due_at`: when it is to be checked, if it is.

    `state`: unchecked, checked or wrong.
    """

    peer: PeerId
    job_id: str
    received_at: datetime
    state: str
    due_at: datetime | None
    manifest_json: bytes = attrs.field(repr=False)
    envelope_json: bytes = attrs.field(repr=False)


def default_path() -> Path:
    """Return the path of the store of this user."""
    return state_directory() / "reputation" / "reputation.db"


class ReputationStore:
    """The store. Thread-safe; several processes may use one file. Each method raises `StorageError`."""

    def __init__(self, path: Path | None = None, *, clock: Callable[[], float] = time.time) -> None:
        """Open or create it. `clock` returns seconds since 1970. Raises: `StorageError`."""
        self.path = path or default_path()
        self._clock = clock
        self._lock = threading.Lock()
        self._writes = 0
        with self._errors("open"):
            private_directory(self.path.parent)
            # SQLite does not wait for another process that turns on the write-ahead log at the same time.
            with alone(self.path.with_suffix(".lock")):
                self._connection = opened(self.path)

    def now(self) -> datetime:
        """Return the present moment, in UTC, by the clock that all moments in the store are read from."""
        return datetime.fromtimestamp(self._clock(), timezone.utc)

    def close(self) -> None:
        """Close it. Calling this twice is harmless."""
        with self._lock:
            self._connection.close()

    def __enter__(self) -> ReputationStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- nodes

    def find(self, peer: PeerId) -> NodeHistory:
        """Return the history of a node, an empty one if nothing is known."""
        rows = self._query("SELECT * FROM nodes WHERE peer = ?", (peer.public_key,))
        return self._history(rows[0]) if rows else NodeHistory(peer=peer)

    def nodes(self) -> list[NodeHistory]:
        """Return all histories: convicted nodes first, then those with the most checks."""
        rows = self._query(
            "SELECT * FROM nodes ORDER BY convicted_at IS NULL, checked DESC, last_seen DESC, peer"
        )
        networks = {name: (nodes, convicted) for name, nodes, convicted in self._query(_NETWORKS)}
        return [self._history(row, networks) for row in rows]

    def network(self, name: str | None) -> tuple[int, int]:
        """Return how many nodes of a network are known, and how many of them are convicted."""
        if name is None:
            return 0, 0
        rows = self._query("SELECT count(*), count(convicted_at) FROM nodes WHERE network = ?", (name,))
        return int(rows[0][0]), int(rows[0][1])

    def learn(self, lessons: Iterable[Lesson], results: Iterable[AcceptedResult] = ()) -> None:
        """Store the lessons of a judgement and the accepted results, in one transaction."""
        with self._changing("note what was learnt") as connection:
            self._bound(connection)
            for lesson in lessons:
                self._learn(connection, lesson)
            for result in results:
                _keep(connection, result)

    def _learn(self, connection: sqlite3.Connection, lesson: Lesson) -> None:
        now = int(self._clock())
        key = lesson.peer.public_key
        connection.execute(_SEEN, (key, now, now, now, _short(lesson.network)))
        trust, at = connection.execute("SELECT trust, trust_at FROM nodes WHERE peer = ?", (key,)).fetchone()
        trust = 0.0 if lesson.failed else _decayed(trust, at, now) + lesson.checked
        connection.execute(
            "UPDATE nodes SET accepted = accepted + ?, checked = checked + ?, failed = failed + ?, trust = ?,"
            " trust_at = ? WHERE peer = ?",
            (lesson.accepted, lesson.checked, lesson.failed, trust, now, key),
        )

    def convict(self, peer: PeerId, proof: Path, *, network: str | None = None) -> None:
        """Record that a verified fraud proof convicts a node.

        The record is permanent; a second proof changes nothing. It is durable when this returns.
        """
        now, path = int(self._clock()), str(proof)
        if len(path) > _MAX_TEXT:
            raise StorageError(f"the path of the proof is too long: {len(path)} characters")
        with self._changing("note a conviction", durable=True) as connection:
            self._bound(connection)
            connection.execute(_SEEN, (peer.public_key, now, now, now, _short(network)))
            connection.execute(
                "UPDATE nodes SET convicted_at = ?, proof = ?, trust = 0, failed = max(failed, 1)"
                " WHERE peer = ? AND convicted_at IS NULL",
                (now, path, peer.public_key),
            )

    def forget(self, peers: Sequence[PeerId] | None = None) -> int:
        """Forget nodes with their results; None: all that are not convicted. Return how many nodes were known."""
        with self._changing("forget nodes") as connection:
            if peers is None:
                connection.execute("DELETE FROM results")
                return connection.execute("DELETE FROM nodes WHERE convicted_at IS NULL").rowcount
            count = 0
            for peer in peers:
                connection.execute("DELETE FROM results WHERE peer = ?", (peer.public_key,))
                count += connection.execute("DELETE FROM nodes WHERE peer = ?", (peer.public_key,)).rowcount
            return count

    # -- results

    def doubtful(self) -> list[AcceptedResult]:
        """Return the accepted results of convicted nodes that nothing has confirmed, the oldest first."""
        return self._results(
            "SELECT results.* FROM results JOIN nodes USING (peer)"
            " WHERE convicted_at IS NOT NULL AND state != 'checked' ORDER BY id"
        )

    def due(self, *, limit: int = 16) -> list[AcceptedResult]:
        """Return the results whose audit is due, the longest overdue first."""
        return self._results(
            "SELECT * FROM results WHERE due_at <= ? ORDER BY due_at LIMIT ?", (int(self._clock()), limit)
        )

    def next_due(self) -> float | None:
        """Return the seconds until the next audit is due, 0 if one is; None if there is none."""
        rows = self._query("SELECT min(due_at) FROM results WHERE due_at IS NOT NULL")
        return None if rows[0][0] is None else max(0.0, rows[0][0] - self._clock())

    def claim_audit(self, result: AcceptedResult, *, again_at: datetime | None) -> bool:
        """Take a due audit for this process: return False if another process has taken it.

        `again_at`: when it is due again if this process does not settle it; None: never.
        """
        with self._changing("take an audit") as connection:
            return (
                connection.execute(
                    "UPDATE results SET due_at = ? WHERE peer = ? AND job_id = ? AND due_at = ?",
                    (_seconds(again_at), result.peer.public_key, result.job_id, _seconds(result.due_at)),
                ).rowcount
                > 0
            )

    def settle(self, peer: PeerId, job_id: str, *, is_right: bool) -> None:
        """Store the finding of the check of an accepted result."""
        with self._changing("note a check") as connection:
            connection.execute(
                "UPDATE results SET state = ?, due_at = NULL WHERE peer = ? AND job_id = ?",
                ("checked" if is_right else "wrong", peer.public_key, job_id),
            )

    # -- underneath

    def _results(self, sql: str, parameters: Sequence[Any] = ()) -> list[AcceptedResult]:
        return [
            AcceptedResult(
                peer=PeerId(row[1]),
                job_id=row[2],
                received_at=_moment(row[3]),
                state=row[4],
                due_at=None if row[5] is None else _moment(row[5]),
                manifest_json=row[6],
                envelope_json=row[7],
            )
            for row in self._query(sql, parameters)
        ]

    def _history(
        self, row: Sequence[Any], networks: Mapping[str, tuple[int, int]] | None = None
    ) -> NodeHistory:
        peer, accepted, checked, failed, trust, trust_at, convicted, proof, first, last, network = row
        nodes, of_them = self.network(network) if networks is None else networks.get(network, (0, 0))
        return NodeHistory(
            peer=PeerId(peer),
            accepted=accepted,
            checked=checked,
            failed=failed,
            trust=_decayed(trust, trust_at, int(self._clock())),
            convicted_at=None if convicted is None else _moment(convicted),
            proof=None if proof is None else Path(proof),
            first_seen=_moment(first),
            last_seen=_moment(last),
            network=network,
            network_nodes=nodes,
            network_convicted=of_them,
        )

    def _bound(self, connection: sqlite3.Connection) -> None:
        """Forget what exceeds the bounds. Counting takes time: done at the first write, at every 64th, and after a failure.

        Before something is added: a file that is full makes room first.
        """
        self._writes += 1
        if self._writes % _EVICT_EVERY != 1:
            return
        connection.execute(_EVICT_NODES, (MAX_NODES,))
        connection.execute(_EVICT_CONVICTED, (MAX_CONVICTED,))
        connection.execute(_EVICT_RESULTS, (MAX_RESULTS,))
        connection.execute(_EVICT_BYTES, (MAX_RESULTS_BYTES,))

    def _query(self, sql: str, parameters: Sequence[Any] = ()) -> list[Any]:
        with self._lock, self._errors("read"):
            return self._connection.execute(sql, parameters).fetchall()

    @contextmanager
    def _changing(self, doing: str, *, durable: bool = False) -> Iterator[sqlite3.Connection]:
        with self._lock, self._errors(doing):
            connection = self._connection
            if durable:
                connection.execute("PRAGMA synchronous = FULL")
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                self._writes = 0
                with contextlib.suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
                raise
            finally:
                if durable:
                    connection.execute("PRAGMA synchronous = NORMAL")

    @contextmanager
    def _errors(self, doing: str) -> Iterator[None]:
        hint = None
        try:
            yield
        except sqlite3.DatabaseError as exc:
            if not isinstance(exc, (sqlite3.OperationalError, sqlite3.IntegrityError)):
                hint = (
                    f"it is damaged, or of another program: move it away with its -wal and -shm: {self.path}"
                )
            raise StorageError(f"reputation: cannot {doing}: {self.path}: {exc}", hint=hint) from exc
        except OSError as exc:
            raise StorageError(f"reputation: cannot {doing}: {self.path}: {exc.strerror or exc}") from exc


_SEEN = (
    "INSERT INTO nodes (peer, first_seen, last_seen, trust_at, network) VALUES (?, ?, ?, ?, ?)"
    " ON CONFLICT (peer) DO UPDATE SET last_seen = max(last_seen, excluded.last_seen),"
    " network = coalesce(excluded.network, network)"
)
_NETWORKS = (
    "SELECT network, count(*), count(convicted_at) FROM nodes WHERE network IS NOT NULL GROUP BY network"
)
_EVICT_NODES = (
    "DELETE FROM nodes WHERE peer IN (SELECT peer FROM nodes WHERE convicted_at IS NULL"
    " ORDER BY trust DESC, last_seen DESC LIMIT -1 OFFSET ?)"
)
_EVICT_CONVICTED = (
    "DELETE FROM nodes WHERE peer IN (SELECT peer FROM nodes WHERE convicted_at IS NOT NULL"
    " ORDER BY last_seen DESC LIMIT -1 OFFSET ?)"
)
_EVICT_RESULTS = "DELETE FROM results WHERE id IN (SELECT id FROM results ORDER BY id DESC LIMIT -1 OFFSET ?)"
_EVICT_BYTES = (
    "DELETE FROM results WHERE id IN (SELECT id FROM (SELECT id, sum(length(manifest) + length(envelope))"
    " OVER (ORDER BY id DESC) AS total FROM results) WHERE total > ?)"
)


def _keep(connection: sqlite3.Connection, result: AcceptedResult) -> None:
    if max(len(result.manifest_json), len(result.envelope_json)) > MAX_RESULT_BYTES:
        return  # a real receipt has a few kilobytes: an inflated one must not grow the file
    connection.execute(
        "INSERT OR REPLACE INTO results (peer, job_id, received_at, state, due_at, manifest, envelope)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            *(result.peer.public_key, result.job_id, _seconds(result.received_at), result.state),
            *(_seconds(result.due_at), result.manifest_json, result.envelope_json),
        ),
    )


def _decayed(trust: float, at: int, now: int) -> float:
    return float(trust * 0.5 ** (max(0, now - at) / HALF_LIFE_S))


def _short(text: str | None) -> str | None:
    return None if text is None else text[:128]


def _seconds(moment: datetime | None) -> int | None:
    return None if moment is None else int(moment.timestamp())


def _moment(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, timezone.utc)
