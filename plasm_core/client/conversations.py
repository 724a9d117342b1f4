"""The conversations a client has with a node: submit a job, follow it, ask about it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import TypeVar

import attrs
import trio

from plasm_core.alongside import alongside
from plasm_core.client.bounds import ANSWER_NAMED_S, Bounds, within
from plasm_core.client.link import Link
from plasm_core.client.sink import Sink
from plasm_core.client.source import Bytes, Source
from plasm_core.client.submission import Submission
from plasm_core.errors import ConnectionLostError, ProtocolError, RefusedError
from plasm_core.records.handle import Handle
from plasm_core.records.peer import PeerId
from plasm_core.wire.client import Phase
from plasm_core.wire.frames import OUTPUTS, Channel, Data
from plasm_core.wire.messages import (
    NOTHING,
    Accepted,
    Attach,
    Attached,
    Hello,
    Message,
    Offered,
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

T = TypeVar("T")

WINDOW_BYTES = 1 << 20
PROVE_FROM_BYTES = 256 << 10
"""A module that is smaller is sent at once: asking whether the node has it takes as long."""

Watcher = Callable[[str, Status | None], None]
"""Told what happens: a phase (`uploading`, `checking`, …) or a state, with the status where there is one."""


def silent(_phase: str, _status: Status | None) -> None:
    """Watch nothing."""


async def greeted(link: Link) -> PeerId:
    """Return who the node says it is. Raises: `ConnectionLostError`, `ProtocolError`."""
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
) -> Status:
    """Hand a job in and return its status once it is durable. With `follow`, its output comes next.

    Raises: `RefusedError`, `ConnectionLostError`, `NodeStalledError`, `ProtocolError`; OSError from a source.
    """
    credit = Outputs(stdout=WINDOW_BYTES, stderr=WINDOW_BYTES) if follow else NOTHING
    bounds = bounds or Bounds()
    conversation, ready = link.conversation, trio.Event()
    request = Submit(
        manifest=submission.manifest_json.decode(),
        token=submission.handle(peer).token(peer).hex(),
        sizes=submission.sizes,
        credit=credit,
        route=route,
    )
    await link.send(conversation.ask(request))

    async def upload() -> None:
        await ready.wait()
        try:
            await _upload(link, submission.sources)
        except ConnectionLostError:
            await trio.sleep_forever()  # whoever receives is told why

    async with alongside(upload):
        with within(bounds.answer_s, peer, "offered to take the job or refused it"):
            message = await link.receive()
        with within(bounds.acceptance_s, peer, "accepted the job"):
            while not isinstance(message, (Accepted, Attached)):
                if isinstance(message, Refused):
                    raise _refusal(message)
                if isinstance(message, Offered):
                    _must_be_about(submission.handle(peer).job_id, message.job_id)
                    watch("uploading", None)
                    module = submission.sources[Channel.MODULE]
                    if module.size_bytes >= PROVE_FROM_BYTES and message.received.module == 0:
                        proof = await _in_thread(module, module.proof, bytes.fromhex(message.challenge))
                        await link.send(conversation.prove(proof))
                    ready.set()
                elif isinstance(message, Progress):
                    watch(message.phase, None)
                message = await link.receive()
    _must_be_about(submission.handle(peer).job_id, message.job_id)
    bounds.accepted()
    return message.status


def _must_be_about(asked: str, answered: str) -> None:
    if asked != answered:
        raise ProtocolError(f"the node answers about the job {answered}, not {asked}")


async def _in_thread(source: Source, work: Callable[..., T], *args: object) -> T:
    if isinstance(source, Bytes):
        return work(*args)
    return await trio.to_thread.run_sync(lambda: work(*args))


async def _upload(link: Link, sources: dict[Channel, Source]) -> None:
    """Send what there is credit for, as long as there is anything to send."""
    while True:
        sent = False
        for channel, (position, room) in link.conversation.room.items():
            if room:
                source = sources[channel]
                data = await _in_thread(source, source.read, position, room)
                await link.send(link.conversation.upload(channel, data))
                sent = True
        if not sent:
            await link.heard.park()


NEVER = -1
"""The attempt of one that has followed none: its sink begins with the first."""


@attrs.define
class Following:
    """How far a job has been followed, so that another connection can go on there."""

    attempt: int = 0
    offsets: dict[Channel, int] = attrs.field(factory=lambda: dict.fromkeys(OUTPUTS, 0))


async def attach(
    link: Link,
    handle: Handle,
    following: Following,
    *,
    outputs: bool = True,
    answer_s: float = ANSWER_NAMED_S,
) -> Status:
    """Find a job again, to follow it from where one was. Raises: as `submit`."""
    window = WINDOW_BYTES if outputs else 0
    offsets = {channel.label: following.offsets[channel] for channel in OUTPUTS}
    request = Attach(
        job_id=handle.job_id,
        token=handle.token().hex(),
        credit=Outputs(**{label: offset + window for label, offset in offsets.items()}),
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
    """Take a job's output until its result has come. `status` is what it was accepted or attached with.

    Raises: `ConnectionLostError`, after which `following` says where to go on; `NodeStalledError`;
    `ProtocolError`, also of output beyond what the bounds allow; and what the sink raises.
    """
    bounds = bounds or Bounds(own=True)
    await _start(following, status.attempt, sink)
    bounds.is_in(status.state)
    watch(status.state, status)
    while True:
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
                await trio.to_thread.run_sync(sink.restart)
            return message


def _check_room(data: Data, maximum_bytes: int | None) -> None:
    end = data.offset + len(data.data)
    if maximum_bytes is not None and end > maximum_bytes:
        raise ProtocolError(
            f"{end} bytes of {data.channel.label}, of which the job may write {maximum_bytes}"
        )


async def catch_up(
    link: Link, status: Status, following: Following, sink: Sink, *, output_bytes: int | None = None
) -> None:
    """Take what there was of a job's output at `status`. Raises: as `follow`."""
    await _start(following, status.attempt, sink)
    wanted = {Channel.STDOUT: status.stdout_bytes, Channel.STDERR: status.stderr_bytes}
    while any(following.offsets[channel] < size for channel, size in wanted.items()):
        message = await link.receive()
        if isinstance(message, Data):
            _check_room(message, output_bytes)
            await _take(link, message, following, sink)
        elif isinstance(message, Result) or (
            isinstance(message, State) and message.status.attempt != following.attempt
        ):
            return


async def _take(link: Link, data: Data, following: Following, sink: Sink) -> None:
    """Pass output on, and give credit for as much more: the window moves with what is out of the way."""
    await trio.to_thread.run_sync(sink.write, data.channel, data.data)
    following.offsets[data.channel] += len(data.data)
    conversation = link.conversation
    if conversation.phase is Phase.FOLLOWING and conversation.attempt == following.attempt:
        consumed = following.offsets[data.channel]
        with contextlib.suppress(ConnectionLostError):  # the node may have said all; if not, receiving tells
            await link.send(conversation.credit(data.channel, WINDOW_BYTES, consumed))


async def _start(following: Following, attempt: int, sink: Sink) -> None:
    if attempt != following.attempt:
        following.attempt = attempt
        following.offsets = dict.fromkeys(OUTPUTS, 0)
        await trio.to_thread.run_sync(sink.restart)


async def ended(link: Link, status: Status, *, watch: Watcher = silent) -> Status:
    """Wait, without its output, until a job that was attached to has ended. Raises: as `follow`."""
    while not status.has_ended:
        message = await link.receive()
        if isinstance(message, (State, Result)):
            status = message.status
            watch(status.state, status)
    return status


async def ask(link: Link, question: Message) -> Message:
    """Ask a question that has one answer. Raises: as `submit`."""
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
