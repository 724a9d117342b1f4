"""The routes about files that jobs of batches left, which this server has on its disk."""

from __future__ import annotations

import os
from typing import IO, Any

import attrs
import trio
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from plasm_core.batch.files import KeptFiles
from plasm_core.batch.rows import JobRow
from plasm_core.client.remote_files import LeftEntry
from plasm_core.records import Receipt
from plasm_core.web.batch_lookup import batch_of, reading, row_with_receipt
from plasm_core.web.byte_ranges import Wanted
from plasm_core.web.file_schemas import FILES_PER_PAGE, MAX_FILES_LISTED, MAX_LISTED_POSITION
from plasm_core.web.guard import check_still_valid
from plasm_core.web.guest_path import FILE_PATH
from plasm_core.web.job_json import receipt_of
from plasm_core.web.left_files import checked_file, file_headers, listing_json, no_file
from plasm_core.web.request_values import whole
from plasm_core.web.streamed import Start, Streamed
from plasm_core.web.web_batch import WebBatch
from plasm_core.web.web_batches import WebBatches

_CHUNK_BYTES = 1 << 20


@attrs.frozen(kw_only=True)
class BatchFileRoutes:
    """The routes about files of batches."""

    batches: WebBatches

    @property
    def routes(self) -> list[Route]:
        """All of them, for a router."""
        files = "/v1/batches/{batchId}/jobs/{number}/files"
        return [
            Route(files, self.list, methods=["GET"]),
            Route(f"{files}/{FILE_PATH}", self.file, methods=["GET"]),
        ]

    async def list(self, request: Request) -> Response:
        """List the files that a job of a batch left (`GET /v1/batches/{batchId}/jobs/{number}/files`)."""
        batch = batch_of(request, self.batches)
        limit = whole(request, "limit", 1, MAX_FILES_LISTED, FILES_PER_PAGE)
        after = whole(request, "after", 0, MAX_LISTED_POSITION, 0)
        assert limit is not None
        assert after is not None
        row = await row_with_receipt(request, batch)

        def read() -> dict[str, Any]:
            receipt = _receipt(row)
            return listing_json(receipt, _entries(batch, row, receipt), after, limit)

        return JSONResponse(await trio.to_thread.run_sync(read))

    async def file(self, request: Request) -> Response:
        """Send a file that a job of a batch left (`GET /v1/batches/{batchId}/jobs/{number}/files/{path}`)."""
        batch = batch_of(request, self.batches)
        row = await row_with_receipt(request, batch)
        path = request.path_params["path"]
        entry, file = await trio.to_thread.run_sync(_opened, batch, row, path)
        wanted = Wanted.of(request)

        async def produce(start: Start) -> None:
            with file:
                assert entry.size_bytes is not None
                assert entry.sha256 is not None
                part = wanted.part(entry.size_bytes, entry.sha256)
                headers = part.headers if part.code == 304 else {**file_headers(entry.path), **part.headers}
                write = await start(part.code, headers)
                for first in range(part.first, part.end, _CHUNK_BYTES):
                    check_still_valid(request)
                    count = min(_CHUNK_BYTES, part.end - first)
                    await write(
                        await trio.to_thread.run_sync(os.pread, file.fileno(), count, entry.offset + first)
                    )

        return Streamed(produce)


def _receipt(row: JobRow) -> Receipt:
    assert row.envelope is not None
    return receipt_of(row.envelope.decode())


def _entries(batch: WebBatch, row: JobRow, receipt: Receipt) -> list[LeftEntry]:
    with reading(batch) as folder:
        return KeptFiles(folder, row.number).entries(receipt)


def _opened(batch: WebBatch, row: JobRow, path: str) -> tuple[LeftEntry, IO[bytes]]:
    """Return a file that a job left, and the output that it lies in. Blocks. Raises: `ApiProblem`, `StorageError`."""
    receipt = _receipt(row)
    with reading(batch) as folder:
        kept = KeptFiles(folder, row.number)
        for entry in kept.entries(receipt):
            if entry.path == path:
                return checked_file(entry), kept.open_output(receipt, entry.product)
    raise no_file(path)
