"""A job's life as server-sent events, which go on at the event that was received last.

https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

import base64
import contextlib
import json
import re
from collections.abc import Callable
from typing import Any

import attrs
import trio

from plasm_core.client import session
from plasm_core.client.connection import Link
from plasm_core.client.session import WINDOW_BYTES, Following
from plasm_core.errors import ConnectionLostError, PlasmError
from plasm_core.protocol.channels import OUTPUTS, Channel
from plasm_core.protocol.client_session import ClientPhase
from plasm_core.protocol.frames import Data
from plasm_core.protocol.messages import Result, State, Status
from plasm_core.web.api_operations import EVENTS_TYPE
from plasm_core.web.job_json import status_json
from plasm_core.web.job_table import WebJob
from plasm_core.web.problems import ApiProblem, problem_of
from plasm_core.web.streamed import Start, Write
from plasm_core.web.web_jobs import WebJobs, gone, telling_gone

END_ID = "end"
BEAT_S = 15.0
"""A comment is sent when nothing else was for so long, so that a client or proxy sees that the stream is alive."""
RETRY_MS = 1000
_HEADERS = {"Content-Type": EVENTS_TYPE, "X-Accel-Buffering": "no"}


def event(name: str, data: Any, identity: str | None = None) -> bytes:
    """Return one event in the form of the stream."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    head = f"id: {identity}\n" if identity is not None else ""
    return f"{head}event: {name}\ndata: {text}\n\n".encode()


def parse_event_id(text: str | None) -> Following | None:
    """Return the position in the outputs that an event's id encodes; None for `end`. Raises: `ApiProblem`."""
    if text is None or text == "":
        return Following()
    if text == END_ID:
        return None
    if not (found := re.fullmatch(r"([0-9]{1,3})\.([0-9]{1,15})\.([0-9]{1,15})", text)):
        raise ApiProblem(400, "bad_event_id", "Last-Event-ID is not an id that this server gave")
    attempt, stdout, stderr = map(int, found.groups())
    return Following(attempt=attempt, offsets={Channel.STDOUT: stdout, Channel.STDERR: stderr})


@attrs.define
class JobEvents:
    """Writes one job's events. `check_token`: raises `ApiProblem` once the token may not read them any more."""

    jobs: WebJobs
    job: WebJob
    following: Following
    outputs: bool
    check_token: Callable[[], None]
    _write: Write | None = None

    async def produce(self, start: Start) -> None:
        """Write the events from the position on, until the job ends."""
        if self.job.released:
            raise gone(self.job)
        channels = OUTPUTS if self.outputs else ()
        try:
            async with (
                telling_gone(self.job),
                self.jobs.client.dialler.converse(self.job.handle.peer) as (link, _),
            ):
                status = await session.attach(link, self.job.handle, self.following, outputs=channels)
                self._check(status)
                self._write = await start(200, _HEADERS)
                await self._write(f"retry: {RETRY_MS}\n\n".encode())
                await self._restart(status.attempt)
                await self._tell("status", status)
                if status.has_ended and not self.outputs:
                    await self._end(self.job, await self.jobs.status(self.job))
                    return
                await self._follow(link)
        except PlasmError as exc:
            if self._write is None:
                raise
            await self._write(event("problem", problem_of(exc).to_json()))

    def _check(self, status: Status) -> None:
        if status.attempt == self.following.attempt and any(
            self.following.offsets[channel] > status.output_bytes(channel.output) for channel in OUTPUTS
        ):
            raise ApiProblem(400, "bad_event_id", "Last-Event-ID is beyond the output")

    async def _follow(self, link: Link) -> None:
        assert self._write is not None
        while True:
            message = None
            with trio.move_on_after(BEAT_S):
                message = await link.receive()
            self.check_token()
            if message is None:
                await self._write(b": beat\n\n")
            elif isinstance(message, Data):
                await self._take(link, message)
            elif isinstance(message, State):
                await self._restart(message.status.attempt)
                await self._tell("status", message.status)
                if message.status.has_ended and not self.outputs:
                    await self._end(self.job, await self.jobs.status(self.job))
                    return
            elif isinstance(message, Result):
                job, status = await self.jobs.ended(
                    self.job, status_json(message.status, message.envelope), message.envelope
                )
                await self._end(job, status)
                return

    async def _take(self, link: Link, data: Data) -> None:
        assert self._write is not None
        self.following.offsets[data.channel] = data.offset + len(data.data)
        said = {
            "stream": data.channel.label,
            "attempt": self.following.attempt,
            "offset": data.offset,
            "data": base64.b64encode(data.data).decode(),
        }
        await self._write(event("output", said, self._id()))
        conversation = link.conversation
        if conversation.phase is ClientPhase.FOLLOWING and conversation.attempt == self.following.attempt:
            with contextlib.suppress(
                ConnectionLostError
            ):  # the node may have sent everything; if not, receiving raises the error
                await link.send(
                    conversation.credit(data.channel, WINDOW_BYTES, self.following.offsets[data.channel])
                )

    async def _restart(self, attempt: int) -> None:
        assert self._write is not None
        if attempt != self.following.attempt:
            is_first = not any(self.following.offsets.values())
            self.following.attempt = attempt
            self.following.offsets = dict.fromkeys(OUTPUTS, 0)
            if not is_first:
                await self._write(event("restart", {"attempt": attempt}, self._id()))

    async def _tell(self, name: str, status: Status) -> None:
        assert self._write is not None
        told = self.jobs.told(self.job, status_json(status, None))
        await self._write(event(name, told, self._id()))

    async def _end(self, job: WebJob, status: dict[str, Any]) -> None:
        assert self._write is not None
        await self._write(event("end", self.jobs.told(job, status), END_ID))

    def _id(self) -> str:
        stdout, stderr = (self.following.offsets[channel] for channel in (Channel.STDOUT, Channel.STDERR))
        return f"{self.following.attempt}.{stdout}.{stderr}"
