"""A job's stdout or stderr as the body of a response: all so far, a range, or also what is still to come."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

import attrs

from plasm_core.client import session
from plasm_core.client.connection import Link
from plasm_core.client.session import WINDOW_BYTES, Following
from plasm_core.errors import ConnectionLostError
from plasm_core.protocol.channels import Channel
from plasm_core.protocol.client_session import ClientPhase
from plasm_core.protocol.frames import Data
from plasm_core.protocol.messages import Result, State, Status, withdraws_output
from plasm_core.records.job import JobState
from plasm_core.web.byte_ranges import matches, parse_range
from plasm_core.web.job_json import UNKNOWN, receipt_of
from plasm_core.web.job_table import WebJob
from plasm_core.web.problems import ApiProblem
from plasm_core.web.streamed import Start, Write
from plasm_core.web.web_jobs import WebJobs, gone, telling_gone


@attrs.define
class JobOutput:
    """Writes one output of one job. `range_header`, `if_range`, `if_none_match`: of the request.

    `check_token`: raises `ApiProblem` once the token may not read it any more.
    """

    jobs: WebJobs
    job: WebJob
    channel: Channel
    follow: bool
    range_header: str | None
    if_range: str | None
    if_none_match: str | None
    check_token: Callable[[], None]
    is_head: bool = False

    async def produce(self, start: Start) -> None:
        """Write the output. Raises: `ApiProblem`, and what the client of the daemon raises."""
        status = await self.jobs.status(self.job)
        if self.job.released or status["state"] == UNKNOWN:
            raise gone(self.job)
        ended = not JobState(status["state"]).live
        headers = await self._headers(status, ended=ended)
        etag = headers.get("ETag")
        if etag is not None and self.if_none_match is not None and matches(self.if_none_match, etag):
            await start(304, {"ETag": etag})
            return
        size = status[f"{self.channel.label}Bytes"]
        goes_on = self.follow and not ended  # the length is unknown, so no range can be served
        is_same = self.if_range is None or self.if_range.strip() == etag
        part = parse_range(self.range_header, size) if is_same and not goes_on else None
        first, end = part or (0, size)
        if part is None:
            code = 200
        else:
            code = 206
            headers["Content-Range"] = f"bytes {first}-{end - 1}/{size if ended else '*'}"
        if not goes_on:
            headers["Content-Length"] = str(end - first)
        if self.is_head or (first == end and not goes_on):
            await start(code, headers)
            return
        await self._send(start, code, headers, first, None if goes_on else end, status["attempt"])

    async def _headers(self, status: Mapping[str, Any], *, ended: bool) -> dict[str, str]:
        headers = {
            "Content-Type": "application/octet-stream",
            "Accept-Ranges": "bytes",
            "Phase-Attempt": str(status["attempt"]),
        }
        if ended and (envelope := await self.jobs.envelope(self.job)) is not None:
            headers["ETag"] = f'"{receipt_of(envelope).output(self.channel.output).sha256}"'
        return headers

    async def _send(
        self, start: Start, code: int, headers: Mapping[str, str], first: int, end: int | None, attempt: int
    ) -> None:
        offsets = {Channel.STDOUT: 0, Channel.STDERR: 0, self.channel: first}
        following = Following(attempt=attempt, offsets=offsets)
        async with (
            telling_gone(self.job),
            self.jobs.client.dialler.converse(self.job.handle.peer) as (link, _),
        ):
            status = await session.attach(link, self.job.handle, following, outputs=(self.channel,))
            if status.attempt != attempt:
                raise ApiProblem(503, "restarted", "the job was started again", retry_after_s=1)
            write = await start(code, headers)
            if end is None:
                await self._follow(link, write, status)
            else:
                await self._copy(link, write, first, end, attempt)

    async def _copy(self, link: Link, write: Write, position: int, end: int, attempt: int) -> None:
        while position < end:
            message = await link.receive()
            self.check_token()
            if isinstance(message, Data) and message.channel is self.channel:
                await write(message.data[: end - position])
                position += len(message.data)
                await self._give_credit(link, position)
            elif isinstance(message, (State, Result)):
                _check_same(attempt, message.status)

    async def _follow(self, link: Link, write: Write, status: Status) -> None:
        position, attempt = 0, status.attempt
        while not (status.has_ended and position >= status.output_bytes(self.channel.output)):
            message = await link.receive()
            self.check_token()
            if isinstance(message, Data) and message.channel is self.channel:
                await write(message.data)
                position += len(message.data)
                await self._give_credit(link, position)
            elif isinstance(message, (State, Result)):
                _check_same(attempt, message.status)
                status = message.status

    async def _give_credit(self, link: Link, position: int) -> None:
        conversation = link.conversation
        if conversation.phase is ClientPhase.FOLLOWING:
            with contextlib.suppress(
                ConnectionLostError
            ):  # the node may have sent everything; if not, receiving raises the error
                await link.send(conversation.credit(self.channel, WINDOW_BYTES, position))


def _check_same(attempt: int, status: Status) -> None:
    """Break off if what was sent is not valid any more: the response has begun, and cannot say so otherwise."""
    if withdraws_output(status) or status.attempt != attempt:
        raise ConnectionLostError("the output that was sent is withdrawn")
