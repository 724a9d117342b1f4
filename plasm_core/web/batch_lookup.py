"""The batch and the job of it that a request's path names, and reading the batch's folder."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import trio
from starlette.requests import Request

from plasm_core.batch.folder import BatchFolder, BatchFolderError
from plasm_core.batch.rows import BatchJobState, JobRow
from plasm_core.errors import StorageError
from plasm_core.web.bearer_tokens import READ
from plasm_core.web.guard import token_of
from plasm_core.web.problems import ApiProblem, not_found
from plasm_core.web.web_batch import WebBatch
from plasm_core.web.web_batches import WebBatches

BATCH_ID = re.compile("[0-9a-f]{32}")
_NUMBER = re.compile("0|[1-9][0-9]{0,6}")


def batch_of(request: Request, batches: WebBatches, scope: str = READ) -> WebBatch:
    """Return the batch of a request whose path has `batchId`. Raises: `ApiProblem`."""
    token = token_of(request, scope)
    batch_id = request.path_params["batchId"]
    if not BATCH_ID.fullmatch(batch_id):
        raise not_found("such batch: a batch id is 32 hexadecimal digits")
    return batches.find(token, batch_id)


async def row_of(request: Request, batch: WebBatch) -> JobRow:
    """Return the job of a batch that a request's path names by `number`. Raises: `ApiProblem`."""
    number = request.path_params["number"]
    if not _NUMBER.fullmatch(number):
        raise not_found("such job: jobs of a batch are numbered from 0")

    def read() -> JobRow:
        with reading(batch) as folder:
            return folder.row(int(number))

    return await trio.to_thread.run_sync(read)


async def row_with_receipt(request: Request, batch: WebBatch) -> JobRow:
    """Return the same if the job has ended with a receipt. Raises: `ApiProblem`."""
    row = await row_of(request, batch)
    if not row.state.has_ended:
        raise not_ended("the job")
    if row.envelope is None:
        reason = row.reason or BatchJobState.ERROR.value
        raise ApiProblem(404, "no_receipt", f"job {row.number} ended without a receipt: {reason}")
    return row


@contextmanager
def reading(batch: WebBatch) -> Iterator[BatchFolder]:
    """Open a batch's folder to read. Blocks. Raises: `ApiProblem` if it was released, or has no job of that number."""
    with ExitStack() as stack:
        try:
            yield stack.enter_context(batch.reading())
        except BatchFolderError as exc:
            raise ApiProblem(404, "not_found", str(exc)) from exc


@contextmanager
def opening(batch: WebBatch, what: str) -> Iterator[None]:
    """Turn errors of opening a file of a batch into ours. `what`: the file, as a message names it.

    Raises: `ApiProblem` if the file is gone, as after a release; `StorageError` if it cannot be read.
    """
    try:
        yield
    except FileNotFoundError:
        raise not_found(what) from None
    except OSError as exc:
        raise StorageError(f"cannot read the batch in {batch.path}: {exc.strerror or exc}") from exc


def not_ended(what: str) -> ApiProblem:
    return ApiProblem(
        409,
        "not_ended",
        f"{what} has not ended",
        hint="wait for it with: GET /v1/batches/ID, Prefer: wait=60",
    )
