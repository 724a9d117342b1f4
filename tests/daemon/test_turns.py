"""Frames that came at once are worked off in turns, also those that bring nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import trio

from plasm_core.client import connection
from plasm_core.client.connection import Link
from plasm_core.daemon.session import Session
from plasm_core.errors import StreamError
from plasm_core.plugins.interfaces import Stream
from plasm_core.protocol.frames import Data, FrameReader, control_frame
from plasm_core.protocol.messages import FROM_NODE, Heartbeat, Hello, Message
from plasm_core.records import PeerId
from tests.daemon.test_policy import serving

pytestmark = pytest.mark.trio

PEER = PeerId(bytes([1]) * 32)
HELLO = control_frame(Hello(peer=str(PEER)))


def parsed(frame: bytes) -> Message | Data:
    [message] = FrameReader(FROM_NODE).feed(frame)
    return message


class AtOnce(Stream):
    """A stream on which everything came at once, and that counts what it is made to wait."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.pauses = 0
        self.paused: Callable[[], None] = lambda: None

    @property
    def remote_peer(self) -> PeerId | None:
        return PEER

    @property
    def remote_group(self) -> str:
        return "there"

    async def send_all(self, data: bytes) -> None:
        pass

    async def receive_some(self, max_bytes: int = 65_536) -> bytes:
        data, self._data = self._data[:max_bytes], self._data[max_bytes:]
        if not data:
            raise StreamError("nothing more")
        return data

    async def pause(self) -> None:
        self.pauses += 1
        self.paused()
        await trio.lowlevel.checkpoint()

    async def aclose(self) -> None:
        pass


async def test_a_session_pauses_between_heartbeats_that_arrived_together(homes: Path) -> None:
    """Hundreds in one read, on hundreds of streams, would keep the loop from everybody else."""
    stream = AtOnce(control_frame(Heartbeat()) * 500)

    async with serving(homes) as service:
        await Session(service, stream).serve()

    assert stream.pauses == 500


async def test_a_client_pauses_between_frames_of_a_node_that_came_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A gateway is a client that has other users."""
    monkeypatch.setattr(connection, "_TURN_S", 0.0)
    stream = AtOnce(HELLO + control_frame(Heartbeat()) * 300)

    assert await Link(stream).receive() == parsed(HELLO)
    assert stream.pauses == 301


async def test_a_client_does_not_pause_within_its_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "_TURN_S", 3600.0)
    stream = AtOnce(HELLO + control_frame(Heartbeat()) * 300)

    assert await Link(stream).receive() == parsed(HELLO)
    assert stream.pauses == 0


async def test_a_client_that_is_interrupted_between_frames_loses_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connection, "_TURN_S", 0.0)
    stream = AtOnce(control_frame(Heartbeat()) * 100 + HELLO)
    link = Link(stream)

    with trio.CancelScope() as scope:
        stream.paused = lambda: scope.cancel() if stream.pauses == 50 else None
        await link.receive()

    assert (stream.pauses, scope.cancelled_caught) == (50, True)
    assert await link.receive() == parsed(HELLO)
