"""The routes about files that jobs left, and trees of files that tokens have sent."""

from __future__ import annotations

from functools import partial

import attrs
import trio
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from plasm_core.web.bearer_tokens import READ
from plasm_core.web.byte_ranges import Wanted
from plasm_core.web.file_schemas import FILES_PER_PAGE, MAX_FILES_LISTED, MAX_LISTED_POSITION
from plasm_core.web.guard import check_still_valid, token_of
from plasm_core.web.guest_path import FILE_PATH
from plasm_core.web.job_lookup import job_of
from plasm_core.web.left_files import FileBody, LeftFiles, RecentListings, file_headers, listing_json
from plasm_core.web.problems import invalid
from plasm_core.web.request_values import whole
from plasm_core.web.streamed import Streamed
from plasm_core.web.web_jobs import WebJobs

_PACK = {"Content-Type": "application/octet-stream", "Content-Disposition": "attachment"}


@attrs.frozen(kw_only=True)
class FileRoutes:
    """The routes about files."""

    jobs: WebJobs
    recent: RecentListings = attrs.field(factory=RecentListings)

    @property
    def routes(self) -> list[Route]:
        """All of them, for a router."""
        job = "/v1/jobs/{jobId}"
        return [
            Route(f"{job}/files", self.list, methods=["GET"]),
            Route(f"{job}/files/{FILE_PATH}", self.file, methods=["GET"]),
            Route(f"{job}/output", self.output, methods=["GET"]),
            Route("/v1/trees/{digest}", self.tree, methods=["GET"]),
        ]

    async def list(self, request: Request) -> Response:
        """List the files that a job left (`GET /v1/jobs/{jobId}/files`)."""
        job = await job_of(request, self.jobs)
        limit = whole(request, "limit", 1, MAX_FILES_LISTED, FILES_PER_PAGE)
        after = whole(request, "after", 0, MAX_LISTED_POSITION, 0)
        assert limit is not None
        assert after is not None
        left = await LeftFiles.of(self.jobs, job, self.recent)
        return JSONResponse(listing_json(left.receipt, await left.entries(), after, limit))

    async def file(self, request: Request) -> Response:
        """Send a file that a job left (`GET /v1/jobs/{jobId}/files/{path}`)."""
        job = await job_of(request, self.jobs)
        entry = await (await LeftFiles.of(self.jobs, job, self.recent)).file(request.path_params["path"])
        assert entry.size_bytes is not None
        assert entry.sha256 is not None
        body = FileBody(
            jobs=self.jobs,
            job=job,
            product=entry.product,
            offset=entry.offset,
            size=entry.size_bytes,
            sha256=entry.sha256,
            headers=file_headers(entry.path),
            wanted=Wanted.of(request),
            check_token=partial(check_still_valid, request),
        )
        return Streamed(body.produce)

    async def output(self, request: Request) -> Response:
        """Send an output as its node sends it: the bytes of a file, or the pack of a directory.

        `GET /v1/jobs/{jobId}/output`.
        """
        job = await job_of(request, self.jobs)
        given = request.query_params.getlist("path")
        if len(given) != 1:
            raise invalid("path", "name one of the manifest's outputs")
        product, size = await (await LeftFiles.of(self.jobs, job, self.recent)).output(given[0])
        body = FileBody(
            jobs=self.jobs,
            job=job,
            product=product,
            offset=0,
            size=size,
            sha256=product.sha256,
            headers={**_PACK, "Phase-Kind": product.kind},
            wanted=Wanted.of(request),
            check_token=partial(check_still_valid, request),
        )
        return Streamed(body.produce)

    async def tree(self, request: Request) -> Response:
        """Answer whether a job may name a tree that the token has sent (`GET /v1/trees/{digest}`)."""
        token, digest = token_of(request, READ), request.path_params["digest"]
        with await trio.to_thread.run_sync(self.jobs.open_tree, token, digest) as found:
            return JSONResponse({"digest": found.digest, "sizeBytes": found.size_bytes})
