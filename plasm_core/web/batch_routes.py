"""The routes about batches: submit many jobs at once, follow them as one, and read what each left."""

from __future__ import annotations

import secrets
from contextlib import AsyncExitStack
from functools import partial
from typing import IO, Any

import attrs
import trio
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from plasm_core.config import Config
from plasm_core.records.batch_document import BatchDocument, read_batch_document
from plasm_core.records.output import OutputStream
from plasm_core.web import job_trees
from plasm_core.web.api_operations import ENVELOPE_TYPE
from plasm_core.web.batch_json import batch_job_json, batch_json
from plasm_core.web.batch_lookup import (
    BATCH_ID,
    batch_of,
    not_ended,
    opening,
    reading,
    row_of,
    row_with_receipt,
)
from plasm_core.web.batch_schemas import MAX_BATCH_JOBS_LISTED
from plasm_core.web.batch_storage import MAX_JOBS, MAX_JOBS_BYTES, ReceivedBatch
from plasm_core.web.bearer_tokens import READ, SUBMIT
from plasm_core.web.forms import FileField, received_form
from plasm_core.web.guard import check_still_valid, token_of
from plasm_core.web.problems import invalid
from plasm_core.web.reception import Reception, file_fields
from plasm_core.web.request_values import applied, preferred_wait, whole
from plasm_core.web.streamed import Start, Streamed
from plasm_core.web.web_batch import RECEIPT_FILE, WebBatch
from plasm_core.web.web_batches import WebBatches

_TEXTS = frozenset({"batchId", "name", "moduleDigest"}) | job_trees.TEXTS
_MAX_NAME_CHARACTERS = 256
_CHUNK_BYTES = 1 << 20


@attrs.frozen(kw_only=True)
class BatchRoutes:
    """The routes about batches."""

    batches: WebBatches
    settings: Config
    reception: Reception

    @property
    def routes(self) -> list[Route]:
        """All of them, for a router."""
        batch = "/v1/batches/{batchId}"
        job = f"{batch}/jobs/{{number}}"
        return [
            Route("/v1/batches", self.submit, methods=["POST"]),
            Route("/v1/batches", self.list, methods=["GET"]),
            Route(batch, self.show, methods=["GET"]),
            Route(batch, self.cancel, methods=["DELETE"]),
            Route(f"{batch}/release", self.release, methods=["POST"]),
            Route(f"{batch}/receipt", self.receipt, methods=["GET"]),
            Route(f"{batch}/jobs", self.jobs, methods=["GET"]),
            Route(f"{job}/stdout", partial(self.output, stream=OutputStream.STDOUT), methods=["GET"]),
            Route(f"{job}/stderr", partial(self.output, stream=OutputStream.STDERR), methods=["GET"]),
            Route(f"{job}/receipt", self.job_receipt, methods=["GET"]),
            Route(f"{job}/manifest", self.job_manifest, methods=["GET"]),
            Route(f"{job}/proof", self.job_proof, methods=["GET"]),
        ]

    async def submit(self, request: Request) -> Response:
        """Start a batch: many jobs of one module, which this server runs (`POST /v1/batches`)."""
        token = token_of(request, SUBMIT)
        async with AsyncExitStack() as stack:
            stack.enter_context(self.reception.place(token))
            place = stack.enter_context(self.reception.room.place(token, self.settings.limits.tree_bytes))
            fields = {
                "module": FileField(maximum=self.settings.admission.module_bytes),
                "jobs": FileField(maximum=MAX_JOBS_BYTES),
                **file_fields(place),
            }
            form = await stack.enter_async_context(received_form(request, texts=_TEXTS, files=fields))
            check_still_valid(request)
            jobs = form.files.get("jobs")
            if jobs is None:
                raise invalid("jobs", "send the jobs, a JSON object a line")
            given = form.one("batchId")
            batch_id = secrets.token_hex(16) if given is None else given.decode("ascii", "replace")
            if not BATCH_ID.fullmatch(batch_id):
                raise invalid("batchId", "expected 32 hexadecimal digits")
            name = (form.one("name") or b"").decode("utf-8", "replace") or form.file_names.get("module", "")
            if len(name) > _MAX_NAME_CHARACTERS:
                raise invalid("name", f"expected at most {_MAX_NAME_CHARACTERS} characters")
            module = await self.reception.module(stack, token, form)
            received = ReceivedBatch(
                batch_id=batch_id,
                name=name or "module.wasm",
                module=module,
                jobs=jobs,
                tree=await self.reception.tree(stack, token, form, place),
            )
            batch, _ = await self.batches.create(token, received, self.reception.parsed)
        return await self._told(request, batch, is_new=True)

    async def list(self, request: Request) -> Response:
        """List the token's batches, the latest first (`GET /v1/batches`)."""
        found = self.batches.listed(token_of(request, READ))
        told = await trio.to_thread.run_sync(lambda: [batch_json(batch) for batch in found])
        return JSONResponse({"batches": told})

    async def show(self, request: Request) -> Response:
        """Show a batch (`GET /v1/batches/{batchId}`)."""
        return await self._told(request, batch_of(request, self.batches))

    async def _told(self, request: Request, batch: WebBatch, *, is_new: bool = False) -> Response:
        seconds = preferred_wait(request)
        if seconds:
            with trio.move_on_after(seconds):
                await batch.done.wait()
        headers = {**applied(seconds)}
        code = 200
        if is_new:
            headers["Location"] = f"/v1/batches/{batch.batch_id}"
            code = 200 if seconds and batch.state.has_ended else 202
        return JSONResponse(await trio.to_thread.run_sync(batch_json, batch), code, headers)

    async def cancel(self, request: Request) -> Response:
        """Cancel the jobs of a batch that have no result (`DELETE /v1/batches/{batchId}`)."""
        batch = batch_of(request, self.batches, SUBMIT)
        await self.batches.cancel(batch)
        return JSONResponse(await trio.to_thread.run_sync(batch_json, batch))

    async def release(self, request: Request) -> Response:
        """Delete an ended batch with its results on this server (`POST /v1/batches/{batchId}/release`)."""
        batch = batch_of(request, self.batches, SUBMIT)
        await self.batches.release(batch)
        return JSONResponse(await trio.to_thread.run_sync(partial(batch_json, batch, released=True)))

    async def receipt(self, request: Request) -> Response:
        """Send the receipt of an ended batch (`GET /v1/batches/{batchId}/receipt`)."""
        batch = batch_of(request, self.batches)

        if not batch.state.has_ended:
            raise not_ended("the batch")
        body = await trio.to_thread.run_sync(_document, batch)
        return Response(body, headers={"Content-Type": "application/json"})

    async def jobs(self, request: Request) -> Response:
        """List the jobs of a batch, in order (`GET /v1/batches/{batchId}/jobs`)."""
        batch = batch_of(request, self.batches)
        limit = whole(request, "limit", 1, MAX_BATCH_JOBS_LISTED, 100)
        after = whole(request, "after", 0, MAX_JOBS, None)
        assert limit is not None

        def read() -> dict[str, Any]:
            with reading(batch) as folder:
                found = folder.summaries(-1 if after is None else after, limit)
            answer: dict[str, Any] = {"jobs": [batch_job_json(job) for job in found]}
            if len(found) == limit:
                answer["next"] = str(found[-1].number)
            return answer

        return JSONResponse(await trio.to_thread.run_sync(read))

    async def output(self, request: Request, stream: OutputStream) -> Response:
        """Send a job's stdout or stderr (`GET /v1/batches/{batchId}/jobs/{number}/stdout`)."""
        batch = batch_of(request, self.batches)
        row = await row_with_receipt(request, batch)
        inline = row.stdout if stream is OutputStream.STDOUT else row.stderr
        headers = {"Content-Type": "application/octet-stream"}
        if inline is not None:
            return Response(inline, headers=headers)

        def opened() -> IO[bytes]:
            with reading(batch) as folder, opening(batch, f"{stream.label} of this job"):
                return folder.outputs(row.number).file(stream).open("rb")

        file = await trio.to_thread.run_sync(opened)
        return _file_answer(request, file, headers)

    async def job_receipt(self, request: Request) -> Response:
        """Send a job's receipt (`GET /v1/batches/{batchId}/jobs/{number}/receipt`)."""
        row = await row_with_receipt(request, batch_of(request, self.batches))
        return Response(row.envelope, headers={"Content-Type": ENVELOPE_TYPE})

    async def job_manifest(self, request: Request) -> Response:
        """Send a job's manifest (`GET /v1/batches/{batchId}/jobs/{number}/manifest`)."""
        row = await row_of(request, batch_of(request, self.batches))
        if row.manifest is None:
            raise not_ended("the job was not sent yet: it")
        return Response(row.manifest, headers={"Content-Type": "application/json"})

    async def job_proof(self, request: Request) -> Response:
        """Send the proof that a job belongs to the batch.

        `GET /v1/batches/{batchId}/jobs/{number}/proof`.
        """
        batch = batch_of(request, self.batches)
        row = await row_of(request, batch)
        if not batch.state.has_ended:
            raise not_ended("the batch")

        def made() -> bytes:
            document = read_batch_document(_document(batch))
            assert isinstance(document, BatchDocument)
            return document.proof(row.number, row.envelope).to_json()

        body = await trio.to_thread.run_sync(made, limiter=self.reception.parsed)
        return Response(body, headers={"Content-Type": "application/json"})


def _document(batch: WebBatch) -> bytes:
    """Return the receipt of a batch. Blocks. Raises: `ApiProblem`, `StorageError`."""
    with opening(batch, "receipt of this batch"):
        return (batch.path / RECEIPT_FILE).read_bytes()


def _file_answer(request: Request, file: IO[bytes], headers: dict[str, str]) -> Response:
    async def produce(start: Start) -> None:
        with file:
            write = await start(200, headers)
            while request.method != "HEAD":
                data = await trio.to_thread.run_sync(file.read, _CHUNK_BYTES)
                check_still_valid(request)
                if not data:
                    return
                await write(data)

    return Streamed(produce)
