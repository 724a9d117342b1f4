"""A client's sessions with a node: submit a job, follow it, query its status."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Collection

import attrs
import trio

from plasm_core.client.connection import Link
from plasm_core.client.output import Sink, call_sink
from plasm_core.client.submission import Submission
from plasm_core.client.upload_sending import PROVE_FROM_BYTES as PROVE_FROM_BYTES
from plasm_core.client.upload_sending import uploading
from plasm_core.client.wait_limits import ANSWER_NAMED_S, Bounds, within
from plasm_core.client.watcher import Watcher, silent
from plasm_core.errors import ConnectionLostError, ProtocolError, RefusedError
from plasm_core.protocol.channels import OUTPUTS, Channel
from plasm_core.protocol.client_session import ClientPhase
from plasm_core.protocol.frames import Data
from plasm_core.protocol.messages import (
    NOTHING,
    Accepted,
    Attach,
    Attached,
    Fetch,
    Hello,
    Message,
    Offered,
    OutputContents,
    Outputs,
    Progress,
    Refused,
    Result,
    State,
    Status,
    StatusIs,
    Submit,
    withdraws_output,
)
from plasm_core.records.handle import Handle
from plasm_core.records.peer import PeerId

WINDOW_BYTES = 1 << 20
FILES = "files"
"""The feature of nodes that take jobs with files."""


async def greeted(link: Link) -> PeerId:
    """Receive `hello` and return the node's PeerId. Raises: `ConnectionLostError`, `ProtocolError`."""
    while True:
        message = await link.receive()
        if isinstance(message, Hello):
            try:
                return PeerId.parse(message.peer)
            except ValueError as exc:
                raise ProtocolError(f"the node has no proper identity: {exc}") from exc


def _refusal(message: Refused) -> RefusedError:
    return RefusedError(
        message.reason, message.message, hint=message.hint, retry_after_s=message.retry_after_s
    )


async def submit(
    link: Link,
    submission: Submission,
    peer: PeerId,
    *,
    follow: bool,
    route: str = "here",
    watch: Watcher = silent,
    bounds: Bounds | None = None,
    has_files: bool = False,
) -> Status:
    """Submit a job, and return its status once the node has stored it. With `follow`, its output comes next.

    `has_files`: the node may have the job's files, so that proving to have them too may spare sending them.

    Raises: `RefusedError`, `ConnectionLostError`, `NodeStalledError`, `ProtocolError`; OSError from a source.
    """
    if submission.pack is not None and FILES not in link.conversation.features:
        raise RefusedError("files_unsupported", "the node takes no jobs with files")
    credit = Outputs(stdout=WINDOW_BYTES, stderr=WINDOW_BYTES) if follow else NOTHING
    bounds, handle = bounds or Bounds(), submission.handle(peer)
    conversation = link.conversation
    request = Submit(
        manifest=submission.manifest_json.decode(),
        token=handle.token().hex(),
        sizes=submission.sizes,
        credit=credit,
        route=route,
        follow=False if conversation.keep_s is not None and not follow else None,
        keep=True if conversation.keep_s is not None else None,
    )
    await link.send(conversation.ask(request))
    with within(bounds.answer_s, peer, "offered to take the job or refused it"):
        message = await _answer(link, watch, (Offered, Accepted, Attached))
    if isinstance(message, Offered):
        with within(bounds.acceptance_s, peer, "accepted the job"):
            _must_be_about(handle.job_id, message.job_id)
            watch("uploading", None)
            async with uploading(link, submission.sources, message, watch, has_files=has_files):
                message = await _answer(link, watch, (Accepted, Attached))
    assert isinstance(message, (Accepted, Attached))
    _must_be_about(handle.job_id, message.job_id)
    bounds.accepted()
    return message.status


async def _answer(link: Link, watch: Watcher, answers: tuple[type[Message], ...]) -> Message:
    """Receive messages up to one of the given types. Raises: as `submit`."""
    while True:
        message = await link.receive()
        if isinstance(message, answers):
            return message
        if isinstance(message, Refused):
            raise _refusal(message)
        if isinstance(message, Progress):
            watch(message.phase, None)


def _must_be_about(asked: str, answered: str) -> None:
    if asked != answered:
        raise ProtocolError(f"the node answers about the job {answered}, not {asked}")


NEVER = -1
"""The attempt of one that has followed none: its sink begins with the first."""


@attrs.define
class Following:
    """How much of a job's output the client has received, so that another connection can continue there."""

    attempt: int = 0
    offsets: dict[Channel, int] = attrs.field(factory=lambda: dict.fromkeys(OUTPUTS, 0))


async def attach(
    link: Link,
    handle: Handle,
    following: Following,
    *,
    outputs: Collection[Channel] = OUTPUTS,
    answer_s: float = ANSWER_NAMED_S,
) -> Status:
    """Attach to an accepted job, to follow it from the position in `following`. Raises: as `submit`.

    `outputs`: those that the node may send.
    """
    offsets = {channel.label: following.offsets[channel] for channel in OUTPUTS}
    ends = {
        channel.label: following.offsets[channel] + (WINDOW_BYTES if channel in outputs else 0)
        for channel in OUTPUTS
    }
    request = Attach(
        job_id=handle.job_id,
        token=handle.token().hex(),
        credit=Outputs(**ends),
        offsets=Outputs(**offsets),
        attempt=following.attempt,
    )
    await link.send(link.conversation.ask(request))
    with within(answer_s, handle.peer, "told where the job stands"):
        while True:
            message = await link.receive()
            if isinstance(message, Refused):
                raise _refusal(message)
            if isinstance(message, Attached):
                _must_be_about(handle.job_id, message.job_id)
                return message.status


async def follow(
    link: Link,
    status: Status,
    following: Following,
    sink: Sink,
    *,
    watch: Watcher = silent,
    bounds: Bounds | None = None,
) -> Result:
    """Receive a job's output and its result. `status` is the status in `accepted` or `attached`.

    Raises: `ConnectionLostError`, after which `following` holds the position to continue at; `NodeStalledError`;
    `ProtocolError`, also for more output than the bounds allow; and what the sink raises.
    """
    bounds = bounds or Bounds(own=True)
    await _start(following, status.attempt, sink)
    bounds.is_in(status.state)
    watch(status.state, status)
    while True:
        message = link.said()
        if message is None:
            what = "run the job to its end" if bounds.running_at is not None else "started the job"
            with within(bounds.until(sum(following.offsets.values())) - trio.current_time(), None, what):
                message = await link.receive()
        if isinstance(message, Data):
            _check_room(message, bounds.output_bytes)
            began = trio.current_time()
            await _take(link, message, following, sink)
            bounds.excuse(trio.current_time() - began)
        elif isinstance(message, State):
            await _start(following, message.status.attempt, sink)
            bounds.is_in(message.status.state)
            watch(message.status.state, message.status)
        elif isinstance(message, Result):
            if withdraws_output(message.status) and any(following.offsets.values()):
                following.offsets = dict.fromkeys(OUTPUTS, 0)
                await call_sink(sink, sink.restart)
            return message


def _check_room(data: Data, maximum_bytes: int | None) -> None:
    end = data.offset + len(data.data)
    if maximum_bytes is not None and end > maximum_bytes:
        raise ProtocolError(
            f"{end} bytes of {data.channel.label}, of which the job may write {maximum_bytes}"
        )


async def catch_up(
    link: Link,
    status: Status,
    following: Following,
    sink: Sink,
    *,
    output_bytes: int | None = None,
    came: Callable[[], None] = lambda: None,
) -> None:
    """Receive the output that existed at `status`, then return. `came` is called after each piece.

    Raises: as `follow`.
    """
    await _start(following, status.attempt, sink)
    wanted = {channel: status.output_bytes(channel.output) for channel in OUTPUTS}
    while any(following.offsets[channel] < size for channel, size in wanted.items()):
        message = await link.receive()
        if isinstance(message, Data):
            _check_room(message, output_bytes)
            await _take(link, message, following, sink)
            came()
        elif isinstance(message, Result) or (
            isinstance(message, State) and message.status.attempt != following.attempt
        ):
            return


async def fetch(
    link: Link,
    handle: Handle,
    path: str,
    *,
    offset: int,
    length: int,
    begin: Callable[[OutputContents], None],
    take: Callable[[bytes], Awaitable[None]],
    answer_s: float = ANSWER_NAMED_S,
) -> None:
    """Fetch bytes of an output of an ended job.

    `begin` is called with the kind and size of the output, `take` with bytes.

    Raises: as `submit`; what `begin` and `take` raise.
    """
    conversation = link.conversation
    request = Fetch(
        job_id=handle.job_id,
        token=handle.token().hex(),
        path=path,
        offset=offset,
        length=length,
        credit=offset + WINDOW_BYTES,
    )
    await link.send(conversation.ask(request))
    with within(answer_s, handle.peer, "told what there is of a file"):
        message = await link.receive()
        while isinstance(message, Hello):
            message = await link.receive()
    if isinstance(message, Refused):
        raise _refusal(message)
    if not isinstance(message, OutputContents):
        raise ProtocolError(f"expected contents, got {'data' if isinstance(message, Data) else message.type}")
    _must_be_about(handle.job_id, message.job_id)
    begin(message)
    taken, end = offset, min(offset + length, message.size)
    while taken < end:
        data = await link.receive()
        if isinstance(data, Refused):
            raise _refusal(data)
        if not isinstance(data, Data):
            raise ProtocolError(f"expected data, got {data.type}")
        await take(data.data)
        taken += len(data.data)
        if conversation.phase is ClientPhase.FETCHING:
            with contextlib.suppress(ConnectionLostError):  # as in `_take`
                await link.send(conversation.credit(Channel.CONTENTS, WINDOW_BYTES, taken))


async def _take(link: Link, data: Data, following: Following, sink: Sink) -> None:
    """Pass output on, and grant credit for as many bytes."""
    await call_sink(sink, sink.write, data.channel.output, data.data)
    following.offsets[data.channel] += len(data.data)
    conversation = link.conversation
    if conversation.phase is ClientPhase.FOLLOWING and conversation.attempt == following.attempt:
        consumed = following.offsets[data.channel]
        # the node may have sent everything; if not, receiving raises the error
        with contextlib.suppress(ConnectionLostError):
            await link.send(conversation.credit(data.channel, WINDOW_BYTES, consumed))


async def _start(following: Following, attempt: int, sink: Sink) -> None:
    if attempt != following.attempt:
        following.attempt = attempt
        following.offsets = dict.fromkeys(OUTPUTS, 0)
        await call_sink(sink, sink.restart)


async def ended(link: Link, status: Status, *, watch: Watcher = silent) -> Status:
    """Wait until an attached job has ended; no output is received. Raises: as `follow`."""
    while not status.has_ended:
        message = await link.receive()
        if isinstance(message, (State, Result)):
            status = message.status
            watch(status.state, status)
    return status


async def ask(link: Link, question: Message) -> Message:
    """Send a question, and return its one answer. Raises: as `submit`."""
    await link.send(link.conversation.ask(question))
    while True:
        message = await link.receive()
        if isinstance(message, Refused):
            raise _refusal(message)
        if not isinstance(message, (Hello, Data)):
            return message


def status_of(message: Message) -> Status:
    """Return the status in an answer. Raises: `ProtocolError` if there is none."""
    if not isinstance(message, StatusIs):
        raise ProtocolError(f"expected a status, got {message.type}")
    return message.status
