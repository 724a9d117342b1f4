"""One task sends the heartbeats of all conversations of a client."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
import trio.testing

from plasm_core.client.connection import Link, open_link
from plasm_core.client.heartbeats import HEARTBEAT_S, Heartbeats
from plasm_core.errors import StreamError
from plasm_core.plugins.interfaces import Stream
from plasm_core.protocol.client_session import ClientConversation
from plasm_core.protocol.messages import AskCapabilities, Hello
from plasm_core.protocol.node_session import NodeConversation
from plasm_core.records import PeerId

pytestmark = pytest.mark.trio


class _Conversation:
    """A conversation that notes when it sent heartbeats. `is_stuck`: its node takes nothing."""

    def __init__(self, *, is_stuck: bool = False) -> None:
        self.sent_at = trio.current_time()
        self.beats: list[float] = []
        self._is_stuck = is_stuck

    async def send_heartbeat(self) -> None:
        self.beats.append(trio.current_time())
        if self._is_stuck:
            await trio.sleep_forever()
        self.sent_at = trio.current_time()


async def test_each_silent_conversation_beats_in_its_own_time(
    autojump_clock: Any, nursery: trio.Nursery
) -> None:
    heartbeats, began = Heartbeats(), trio.current_time()
    nursery.start_soon(heartbeats.run)
    first = _Conversation()
    heartbeats.add(first)
    await trio.sleep(4)
    second = _Conversation()
    heartbeats.add(second)
    await trio.sleep(21)

    assert [round(moment - began) for moment in first.beats] == [HEARTBEAT_S, 2 * HEARTBEAT_S]
    assert [round(moment - began) for moment in second.beats] == [4 + HEARTBEAT_S, 4 + 2 * HEARTBEAT_S]


async def test_a_node_that_takes_nothing_does_not_hold_up_the_others(
    autojump_clock: Any, nursery: trio.Nursery
) -> None:
    heartbeats = Heartbeats()
    nursery.start_soon(heartbeats.run)
    stuck, other = _Conversation(is_stuck=True), _Conversation()
    heartbeats.add(stuck)
    heartbeats.add(other)
    await trio.sleep(5 * HEARTBEAT_S + 1)

    assert len(stuck.beats) == 1
    assert len(other.beats) == 5


async def test_a_conversation_that_is_over_sends_none(autojump_clock: Any, nursery: trio.Nursery) -> None:
    heartbeats = Heartbeats()
    nursery.start_soon(heartbeats.run)
    over = _Conversation()
    heartbeats.add(over)
    await trio.sleep(HEARTBEAT_S - 1)
    heartbeats.remove(over)
    await trio.sleep(3 * HEARTBEAT_S)
    late = _Conversation()
    heartbeats.add(late)
    await trio.sleep(HEARTBEAT_S + 1)

    assert over.beats == []
    assert len(late.beats) == 1


class _Broken(Stream):
    """A stream whose other side is gone, which only those who send find out."""

    def __init__(self) -> None:
        self.sent = 0

    @property
    def remote_peer(self) -> PeerId | None:
        return None

    @property
    def remote_group(self) -> str:
        return "here"

    async def send_all(self, data: bytes) -> None:
        self.sent += 1
        assert self.sent < 100, "it is tried again and again"
        raise StreamError("the other side is gone")

    async def receive_some(self, max_bytes: int = 65_536) -> bytes:
        return await trio.sleep_forever()

    async def aclose(self) -> None:
        """Nothing is open."""


@pytest.mark.parametrize("of_all", [True, False], ids=["one task for all", "a task of its own"])
async def test_a_heartbeat_that_cannot_be_sent_is_not_tried_again_at_once(
    autojump_clock: Any, nursery: trio.Nursery, of_all: bool
) -> None:
    """A caller that processes what has come may find out late: the loop had no time for it, nor for anything else."""
    heartbeats, stream = Heartbeats(), _Broken()
    if of_all:
        nursery.start_soon(heartbeats.run)
        await trio.testing.wait_all_tasks_blocked()
    async with open_link(stream, heartbeats=heartbeats):
        await trio.sleep(5 * HEARTBEAT_S + 1)

    assert stream.sent == 5


class _Scripted(_Broken):
    """A stream that gives what the node sends at once, and does something whenever the client sends."""

    def __init__(self, during: Callable[[], Awaitable[object]], *sends: bytes) -> None:
        super().__init__()
        self._sends, self._during = list(sends), during

    async def send_all(self, data: bytes) -> None:
        await self._during()

    async def receive_some(self, max_bytes: int = 65_536) -> bytes:
        return self._sends.pop(0)


async def test_a_stream_on_which_a_heartbeat_waits_to_be_sent_is_not_kept(nursery: trio.Nursery) -> None:
    """It would be sent amid what the next conversation on the stream sends."""
    node = NodeConversation()
    hello = node.hello(Hello(peer=str(PeerId(bytes(31) + b"\1")), agent="test/1", keep_s=5))
    asking = ClientConversation(keep_s=5).ask(AskCapabilities())
    assert list(node.receive(asking))
    answer = node.capabilities("{}")

    async def beat_meanwhile() -> None:
        nursery.start_soon(link.send_heartbeat)
        await trio.testing.wait_all_tasks_blocked()

    link = Link(_Scripted(beat_meanwhile, hello, answer))
    await link.receive()
    await link.send(link.conversation.ask(AskCapabilities()))
    await link.receive()

    assert link.conversation.is_kept
    assert not link.is_over
    nursery.cancel_scope.cancel()
