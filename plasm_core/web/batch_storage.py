"""Storing a batch that was received, before any job of it is sent: module, files and jobs in a new folder."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import IO, Any

import attrs

from plasm_core.batch.files import keep_tree
from plasm_core.batch.folder import BatchFolder
from plasm_core.batch.inputs import BatchInput, described, lines_in
from plasm_core.batch.plan import BatchTerms, Templates, add_jobs
from plasm_core.batch.rows import Counts
from plasm_core.batch.template import BatchInputError
from plasm_core.client.upload import Source
from plasm_core.web.job_trees import JobTree
from plasm_core.web.problems import ApiProblem
from plasm_core.web.web_batch import WebBatch, folder_size

MAX_JOBS = 100_000
MAX_JOBS_BYTES = 256 << 20
_CHUNK_BYTES = 1 << 20


@attrs.frozen(kw_only=True)
class ReceivedBatch:
    """A batch as its form describes it. `jobs`: a description a line; `tree`: the files that every job has."""

    batch_id: str
    name: str
    module: Source
    jobs: Source
    tree: JobTree | None = None


def store_batch(directory: Path, owner: str, received: ReceivedBatch) -> WebBatch:
    """Store a batch of a token. Blocks. Nothing of it is left if that fails.

    Raises: `ApiProblem` if a line of the jobs is wrong; `StorageFullError`, `StorageError`.
    """
    path = directory / f"{owner}-{received.batch_id}"
    created_at = datetime.now(timezone.utc)
    facts: dict[str, Any] = {
        "owner": owner,
        "batch_id": received.batch_id,
        "created_at": created_at.isoformat(timespec="milliseconds"),
        "module": received.module.digest,
        "module_name": received.name,
        "terms": BatchTerms().to_json(),
    }
    shutil.rmtree(path, ignore_errors=True)  # a batch that was being created when the server ended
    try:
        count = _fill(path, facts, received)
        kept_bytes = folder_size(path)
    except BatchInputError as exc:
        shutil.rmtree(path, ignore_errors=True)
        problem = ("jobs", str(exc))
        raise ApiProblem(422, "invalid_request", f"jobs: {exc}", errors=[problem]) from exc
    except BaseException:
        shutil.rmtree(path, ignore_errors=True)
        raise
    return WebBatch(
        batch_id=received.batch_id,
        owner=owner,
        name=received.name,
        module=received.module.digest,
        created_at=created_at,
        path=path,
        counts=Counts(waiting=count),
        kept_bytes=kept_bytes,
    )


def _fill(path: Path, facts: dict[str, Any], received: ReceivedBatch) -> int:
    """Write the folder. Return how many jobs it has. Raises: `BatchInputError`, `StorageError`."""

    def copy(file: IO[bytes]) -> None:
        with file:
            for chunk in _chunks(received.module):
                file.write(chunk)

    count = 0
    with BatchFolder.create(path, facts, copy) as folder:
        if received.tree is not None:
            keep_tree(folder, received.tree.pack, received.tree.asked)
        for count in add_jobs(folder, _inputs(received.jobs), Templates(), BatchTerms()):
            if count > MAX_JOBS:
                raise BatchInputError(f"a batch has at most {MAX_JOBS:,} jobs")
    return count


def _inputs(jobs: Source) -> Iterator[BatchInput]:
    for label, found in described(lines_in(_chunks(jobs), "jobs"), "jobs"):
        if found.stdin_file is not None:
            raise BatchInputError(
                f"{label}: the server opens no file that a request names: give stdin or stdin_base64"
            )
        yield BatchInput(label=label, values={}, stdin=found.stdin_bytes() or b"", description=found)


def _chunks(source: Source) -> Iterator[bytes]:
    for offset in range(0, source.size_bytes, _CHUNK_BYTES):
        yield source.read(offset, _CHUNK_BYTES)
