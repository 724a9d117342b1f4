"""A node that talks without end costs a client no more than a thousand messages."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import trio
import trio.testing

from plasm_core.background_tasks import alongside
from plasm_core.client import Submission, session
from plasm_core.client.connection import TALK_BURST, open_link
from plasm_core.client.output import Nowhere
from plasm_core.client.session import Following
from plasm_core.client.wait_limits import Bounds
from plasm_core.errors import ProtocolError, StreamError
from plasm_core.plugins.interfaces import Stream
from plasm_core.protocol.messages import Heartbeat, Message, Progress, State
from plasm_core.records import Outcome, PeerId
from plasm_signer_ed25519 import Ed25519Signer
from tests.support.lying import LIES, Liar, Talk, status

WHOLE_S = 8.0
"""Less than a client waits for any answer."""


class _Pipe(Stream):
    """One end of a connection in memory."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream

    @property
    def remote_peer(self) -> PeerId | None:
        return None

    @property
    def remote_group(self) -> str:
        return "here"

    async def send_all(self, data: bytes) -> None:
        try:
            await self._stream.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as exc:
            raise StreamError("closed") from exc

    async def receive_some(self, max_bytes: int = 65_536) -> bytes:
        try:
            return bytes(await self._stream.receive_some(max_bytes))
        except (trio.BrokenResourceError, trio.ClosedResourceError) as exc:
            raise StreamError("closed") from exc

    async def aclose(self) -> None:
        await self._stream.aclose()


@pytest.fixture
def signer(tmp_path: Path) -> Ed25519Signer:
    """A key of its own."""
    tmp_path.chmod(0o700)
    return Ed25519Signer(key=str(tmp_path / "key"))


async def _run(liar: Liar, lie: Callable[[Talk], Awaitable[None]]) -> None:
    """Hand a job in to a node that does as it likes, and follow it to its end."""
    here, there = trio.testing.memory_stream_pair()
    job = Submission.of(b"\0asm\1\0\0\0", stdin=b"in", wall_time_s=60)
    bounds = Bounds.of(job, replaceable=True, own=False)

    async def answer() -> None:
        try:
            await lie(Talk(liar, _Pipe(there)))
        except StreamError:
            return

    async with alongside(answer), open_link(_Pipe(here)) as link:
        peer = await session.greeted(link)
        accepted = await session.submit(link, job, peer, follow=True, bounds=bounds)
        await session.follow(link, accepted, Following(), Nowhere(), bounds=bounds)


@pytest.mark.parametrize("kind", ["heartbeats", "progress", "states", "credits"])
def test_a_node_that_sends_endless_messages_is_left_at_once(kind: str, signer: Ed25519Signer) -> None:
    async def watched() -> None:
        with trio.fail_after(WHOLE_S), pytest.raises(ProtocolError, match="messages without progress"):
            await _run(Liar(signer=signer), LIES[kind])

    trio.run(watched)


@pytest.mark.parametrize(
    "message",
    [Heartbeat(), Progress(phase="checking"), State(status=status("QUEUED"))],
    ids=lambda message: str(message.type),
)
def test_a_node_that_sends_many_messages_and_then_the_result_is_accepted(
    message: Message, signer: Ed25519Signer
) -> None:
    many = (message,) * (TALK_BURST - 10)

    async def much(talk: Talk) -> None:
        early = isinstance(message, Progress)
        job = await talk.take(before=many if early else ())
        await talk.say(*(() if early else many))
        await talk.end(job, Outcome(kind="exited", code=0))

    async def watched() -> None:
        with trio.fail_after(WHOLE_S):
            await _run(Liar(signer=signer), much)

    trio.run(watched)
