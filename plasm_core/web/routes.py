"""The routes of the HTTP API, each an operation of the OpenAPI document."""

from __future__ import annotations

from contextlib import AsyncExitStack
from functools import partial
from typing import Any

import attrs
import trio
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from plasm_core.config import Config
from plasm_core.protocol.channels import Channel
from plasm_core.records import Envelope
from plasm_core.records.sigstore import BUNDLE_TYPE, bundle
from plasm_core.web import api_document
from plasm_core.web.api_operations import ENVELOPE_TYPE
from plasm_core.web.bearer_tokens import READ, SUBMIT, BearerToken
from plasm_core.web.byte_ranges import range_of
from plasm_core.web.forms import FileField, Form, received_form
from plasm_core.web.guard import check_still_valid, token_of
from plasm_core.web.job_events import JobEvents, parse_event_id
from plasm_core.web.job_json import has_ended
from plasm_core.web.job_lookup import job_of
from plasm_core.web.job_output import JobOutput
from plasm_core.web.job_watch import JobWatch
from plasm_core.web.problems import ApiProblem, not_found
from plasm_core.web.reception import DIGEST, Reception, file_fields
from plasm_core.web.request_values import accepted, applied, preferred_wait, truth, whole
from plasm_core.web.schemas import MAX_LISTED
from plasm_core.web.streamed import Start, Streamed
from plasm_core.web.submissions import TEXTS, submission_of
from plasm_core.web.uploads import received_file
from plasm_core.web.web_jobs import WebJobs
from plasm_core.web.webhook_delivery import Allowed, WebhookUrlError
from plasm_core.web.webhooks import secret_text

_CHUNK_BYTES = 1 << 20


@attrs.frozen(kw_only=True)
class JobRoutes:
    """The routes about jobs."""

    jobs: WebJobs
    watch: JobWatch
    settings: Config
    allowed: Allowed
    reception: Reception

    @property
    def routes(self) -> list[Route]:
        """All of them, for a router."""
        job = "/v1/jobs/{jobId}"
        return [
            Route("/v1/jobs", self.submit, methods=["POST"]),
            Route("/v1/jobs", self.list, methods=["GET"]),
            Route(job, self.show, methods=["GET"]),
            Route(job, self.cancel, methods=["DELETE"]),
            Route(f"{job}/release", self.release, methods=["POST"]),
            Route(f"{job}/events", self.events, methods=["GET"]),
            Route(f"{job}/stdout", partial(self.output, channel=Channel.STDOUT), methods=["GET"]),
            Route(f"{job}/stderr", partial(self.output, channel=Channel.STDERR), methods=["GET"]),
            Route(f"{job}/receipt", self.receipt, methods=["GET"]),
            Route(f"{job}/manifest", self.manifest, methods=["GET"]),
            Route(f"{job}/handle", self.handle, methods=["GET"]),
            Route("/v1/webhook-secret", self.webhook_secret, methods=["GET"]),
            Route("/v1/events", self.all_events, methods=["GET"]),
            Route("/v1/modules/{digest}", self.put_module, methods=["PUT"]),
            Route("/v1/modules/{digest}", self.get_module, methods=["GET"]),
        ]

    async def submit(self, request: Request) -> Response:
        """Submit a job (`POST /v1/jobs`)."""
        token = token_of(request, SUBMIT)
        seconds = preferred_wait(request)
        async with AsyncExitStack() as stack:
            stack.enter_context(self.reception.place(token))
            place = stack.enter_context(self.reception.room.place(token, self.settings.limits.tree_bytes))
            fields = {
                "module": FileField(maximum=self.settings.admission.module_bytes),
                "stdin": FileField(maximum=self.settings.limits.stdin_bytes),
                **file_fields(place),
            }
            form = await stack.enter_async_context(received_form(request, texts=TEXTS, files=fields))
            check_still_valid(request)
            module = await self.reception.module(stack, token, form)
            webhook = self._webhook(form)
            tree = await self.reception.tree(stack, token, form, place)
            submission, name = await trio.to_thread.run_sync(
                submission_of, form, module, tree, limiter=self.reception.parsed
            )
            job, status = await self.jobs.submit(token, submission, name, webhook)
        if seconds:
            status = await self.jobs.wait(job, seconds)
        headers = {"Location": f"/v1/jobs/{job.job_id}", **applied(seconds)}
        code = 200 if seconds and has_ended(status) else 202
        return JSONResponse(self.jobs.told(job, status), code, headers)

    def _webhook(self, form: Form) -> str | None:
        given = form.one("webhook")
        if given is None:
            return None
        url = given.decode("utf-8", "replace")
        try:
            self.allowed.check(url)
        except WebhookUrlError as exc:
            raise ApiProblem(
                422, "webhook_refused", str(exc), hint=exc.hint, errors=[("webhook", str(exc))]
            ) from exc
        return url

    async def webhook_secret(self, request: Request) -> Response:
        """Show the secret by which messages about the token's jobs are signed (`GET /v1/webhook-secret`)."""
        token = token_of(request, SUBMIT)
        return JSONResponse({"secret": await trio.to_thread.run_sync(secret_text, token.identity)})

    async def put_module(self, request: Request) -> Response:
        """Keep a module, for jobs that name it by its digest (`PUT /v1/modules/{digest}`)."""
        token, digest = token_of(request, SUBMIT), self._digest(request)
        maximum = self.settings.admission.module_bytes
        with self.reception.place(token):
            return await self._received_module(request, token, digest, maximum)

    async def _received_module(
        self, request: Request, token: BearerToken, digest: str, maximum: int
    ) -> Response:
        async with received_file(request, "the module", maximum) as module:
            if module.digest != digest:
                raise ApiProblem(422, "digest_mismatch", f"the body's SHA-256 is {module.digest}")
            check_still_valid(request)
            created = await self.jobs.keep_module(token, module)
            answer = {"digest": digest, "sizeBytes": module.size_bytes}
        return JSONResponse(answer, 201 if created else 200)

    async def get_module(self, request: Request) -> Response:
        """Send a module that the token has sent before (`GET /v1/modules/{digest}`)."""
        token, digest = token_of(request, READ), self._digest(request)
        module = await self.jobs.module(token, digest)

        async def produce(start: Start) -> None:
            try:
                headers = {"Content-Type": "application/wasm", "ETag": f'"{digest}"'}
                write = await start(200, {**headers, "Content-Length": str(module.size_bytes)})
                if request.method != "HEAD":
                    for offset in range(0, module.size_bytes, _CHUNK_BYTES):
                        check_still_valid(request)
                        await write(await trio.to_thread.run_sync(module.read, offset, _CHUNK_BYTES))
            finally:
                module.close()

        return Streamed(produce)

    def _digest(self, request: Request) -> str:
        digest: str = request.path_params["digest"]
        if not DIGEST.fullmatch(digest):
            raise not_found("such module: a digest is 64 hexadecimal digits")
        return digest

    async def list(self, request: Request) -> Response:
        """List the token's jobs, the latest first (`GET /v1/jobs`)."""
        token = token_of(request, READ)
        limit = whole(request, "limit", 1, MAX_LISTED, 100)
        before = whole(request, "before", 0, 2**53, None)
        assert limit is not None
        found = await self.jobs.listed(token, limit=limit, before=before)
        answer: dict[str, Any] = {"jobs": [self.jobs.told(job, status) for job, status in found]}
        if len(found) == limit:
            answer["next"] = str(found[-1][0].number)
        return JSONResponse(answer)

    async def show(self, request: Request) -> Response:
        """Show a job (`GET /v1/jobs/{jobId}`)."""
        job = await job_of(request, self.jobs)
        seconds = preferred_wait(request)
        status = await self.jobs.wait(job, seconds)
        return JSONResponse(self.jobs.told(job, status), headers=applied(seconds))

    async def cancel(self, request: Request) -> Response:
        """Cancel a job, and wait for its end (`DELETE /v1/jobs/{jobId}`)."""
        job = await job_of(request, self.jobs, SUBMIT)
        return JSONResponse(self.jobs.told(job, await self.jobs.cancel(job)))

    async def release(self, request: Request) -> Response:
        """Delete an ended job's inputs, outputs and receipt on its node (`POST /v1/jobs/{jobId}/release`)."""
        job = await job_of(request, self.jobs, SUBMIT)
        status = await self.jobs.status(job)
        if not has_ended(status):
            raise ApiProblem(
                409, "not_ended", "the job has not ended", hint="cancel it first", job_id=job.job_id
            )
        return JSONResponse(self.jobs.told(await self.jobs.release(job), status))

    async def events(self, request: Request) -> Response:
        """Follow a job: server-sent events (`GET /v1/jobs/{jobId}/events`)."""
        job = await job_of(request, self.jobs)
        outputs = truth(request, "output", default=True)
        following = parse_event_id(request.headers.get("last-event-id"))
        if following is None:
            return Response(status_code=204)
        events = JobEvents(self.jobs, job, following, outputs, partial(check_still_valid, request))
        return Streamed(events.produce)

    async def all_events(self, request: Request) -> Response:
        """Follow all of the token's jobs: server-sent events (`GET /v1/events`)."""
        token = token_of(request, READ)
        last_id = request.headers.get("last-event-id") or None
        return Streamed(self.watch.stream(token, last_id, partial(check_still_valid, request)).produce)

    async def output(self, request: Request, channel: Channel) -> Response:
        """Send a job's stdout or stderr, or a range of it (`GET /v1/jobs/{jobId}/stdout`)."""
        job = await job_of(request, self.jobs)
        found = JobOutput(
            jobs=self.jobs,
            job=job,
            channel=channel,
            follow=truth(request, "follow", default=False),
            range_header=range_of(request),
            if_range=request.headers.get("if-range"),
            if_none_match=request.headers.get("if-none-match"),
            is_head=request.method == "HEAD",
            check_token=partial(check_still_valid, request),
        )
        return Streamed(found.produce)

    async def receipt(self, request: Request) -> Response:
        """Send a job's receipt, signed by its node (`GET /v1/jobs/{jobId}/receipt`)."""
        job = await job_of(request, self.jobs)
        media_type = accepted(request, (ENVELOPE_TYPE, "application/json", BUNDLE_TYPE))
        envelope = await self.jobs.ended_envelope(job)
        body = envelope.encode()
        if media_type == BUNDLE_TYPE:
            body = bundle(Envelope.from_json(body))
        return Response(body, headers={"Content-Type": media_type, "Vary": "Accept"})

    async def manifest(self, request: Request) -> Response:
        """Send the exact bytes of a job's manifest (`GET /v1/jobs/{jobId}/manifest`)."""
        job = await job_of(request, self.jobs)
        return Response(job.manifest_json, headers={"Content-Type": "application/json"})

    async def handle(self, request: Request) -> Response:
        """Show a job's handle, a secret (`GET /v1/jobs/{jobId}/handle`)."""
        job = await job_of(request, self.jobs, SUBMIT)
        return JSONResponse({"jobId": job.job_id, "handle": str(job.handle)})


async def serve_document(_request: Request) -> Response:
    """Send the OpenAPI document (`GET /v1/openapi.json`)."""
    return JSONResponse(api_document.document())
