"""One batch of this server: its state, and its folder in the state directory as it is read after a restart."""

from __future__ import annotations

import contextlib
import enum
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import attrs
import trio

from plasm_core.batch.folder import DATABASE, BatchFolder, not_begun
from plasm_core.batch.rows import Counts
from plasm_core.batch.storage import storage_errors
from plasm_core.errors import PlasmError, StorageError

RECEIPT_FILE = "batch.json"


class BatchState(enum.Enum):
    """How far a batch is. `FAILED`: it was given up, because of its `problem`."""

    WAITING = "waiting"
    RUNNING = "running"
    ENDED = "ended"
    CANCELLED = "cancelled"
    FAILED = "failed"

    @property
    def has_ended(self) -> bool:
        """Whether nothing more comes of it."""
        return self not in (BatchState.WAITING, BatchState.RUNNING)


@attrs.define(eq=False, kw_only=True)
class WebBatch:
    """One batch. `problem`: why it was given up, or why it does not get on now. `done` is set at its end."""

    batch_id: str
    owner: str
    name: str
    module: str
    created_at: datetime
    path: Path
    counts: Counts
    state: BatchState = BatchState.WAITING
    finished_at: datetime | None = None
    problem: str | None = None
    kept_bytes: int = 0
    is_cancelled: bool = False
    folder: BatchFolder | None = None
    scope: trio.CancelScope | None = None
    done: trio.Event = attrs.field(factory=trio.Event)

    def now(self) -> Counts:
        """Return how many jobs are in which state now. Blocks. Raises: `StorageError`."""
        with contextlib.suppress(StorageError):
            if self.folder is not None:
                self.counts = self.folder.counts()
        return self.counts

    @contextlib.contextmanager
    def reading(self) -> Iterator[BatchFolder]:
        """Open the folder to read. Blocks. Raises: `PlasmError`."""
        with BatchFolder.open(self.path, to_read=True) as folder:
            yield folder


def folder_size(path: Path) -> int:
    """Return the size of all files of a folder. Raises: `StorageError`."""
    with storage_errors(path):
        return sum(item.stat().st_size for item in path.rglob("*") if item.is_file())


def read_batch(path: Path) -> WebBatch:
    """Read a folder. Raises: `BatchNotBegunError` if it is not whole; other `PlasmError`s, KeyError, ValueError."""
    if not (path / DATABASE).is_file():
        raise not_begun(path)
    with BatchFolder.open(path, to_read=True) as folder:
        facts, counts = folder.facts(), folder.counts()
    if "planned" not in facts:
        raise not_begun(path)
    return _of_facts(path, facts, counts)


def _of_facts(path: Path, facts: dict[str, Any], counts: Counts) -> WebBatch:
    """Return the batch of a folder. Raises: KeyError, ValueError."""
    finished_at = facts.get("finished_at")
    batch = WebBatch(
        batch_id=facts["batch_id"],
        owner=facts["owner"],
        name=facts["module_name"],
        module=facts["module"],
        created_at=datetime.fromisoformat(facts["created_at"]),
        path=path,
        counts=counts,
        state=BatchState(facts.get("state", BatchState.WAITING.value)),
        finished_at=None if finished_at is None else datetime.fromisoformat(finished_at),
        problem=facts.get("problem"),
        kept_bytes=folder_size(path),
    )
    if batch.state.has_ended:
        batch.done.set()
    return batch


def note_failure(batch: WebBatch) -> None:
    """Record that a batch was given up, as far as the disk takes that."""
    assert batch.finished_at is not None
    with contextlib.suppress(PlasmError), BatchFolder.open(batch.path) as folder:
        batch.counts = folder.counts()
        folder.note(
            state=batch.state.value,
            problem=batch.problem,
            finished_at=batch.finished_at.isoformat(timespec="milliseconds"),
        )
