"""One conversation over one stream: heartbeats both ways, and a deadline on every silence."""

from __future__ import annotations

import collections
import contextlib
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from plasm_core.abc import Stream
from plasm_core.alongside import alongside
from plasm_core.errors import ConnectionLostError, ProtocolError, StreamError
from plasm_core.wire.client import ClientConversation
from plasm_core.wire.frames import Data
from plasm_core.wire.messages import Error, Message

log = logging.getLogger(__name__)

HEARTBEAT_S = 10.0
SILENCE_S = 30.0
_CLOSE_S = 1.0
TALK_BURST, TALK_PER_S = 1000, 200.0
"""So many heartbeats, `progress`, `state` and credits of hardly a byte may come at once, and so many a second on top."""


class Link:
    """A stream with its conversation. One task receives; any may send."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.conversation = ClientConversation()
        self._said: collections.deque[Message | Data] = collections.deque()
        self.heard = trio.lowlevel.ParkingLot()
        """Wakes whenever bytes came: there may be new credit."""
        self._sending = trio.Lock()
        self._sent_at = self._began = trio.current_time()

    async def send(self, frames: bytes) -> None:
        """Send what the conversation said. Raises: `ConnectionLostError`."""
        if not frames:
            return
        async with self._sending:
            try:
                with trio.fail_after(SILENCE_S):
                    await self.stream.send_all(frames)
            except StreamError as exc:
                raise ConnectionLostError(f"the connection broke while sending: {exc}") from exc
            except trio.TooSlowError:
                raise ConnectionLostError(
                    f"the node took nothing of what was sent for {SILENCE_S:.0f} s"
                ) from None
            self._sent_at = trio.current_time()

    async def receive(self) -> Message | Data:
        """Return what the node said next.

        Raises: `ConnectionLostError` if it broke, ended or stayed silent; `ProtocolError`.
        """
        while not self._said:
            self._said += await self._read()
        said = self._said.popleft()
        if isinstance(said, Error):
            raise _error(said)
        return said

    async def _read(self) -> list[Message | Data]:
        waiting_for = self.conversation.phase.value
        data = b""
        with trio.move_on_after(SILENCE_S) as scope:
            try:
                data = await self.stream.receive_some()
            except StreamError as exc:
                raise ConnectionLostError(f"the connection broke while {waiting_for}: {exc}") from exc
        if scope.cancelled_caught:
            raise ConnectionLostError(f"heard nothing for {SILENCE_S:.0f} s while {waiting_for}")
        if not data:
            raise ConnectionLostError(f"the node closed the connection while {waiting_for}")
        try:
            said = []
            for item in self.conversation.receive(data):
                said.append(item)
                self._check_talk()
            self._check_talk()
            return said
        except ProtocolError as exc:
            await self._complain(str(exc))
            raise
        finally:
            self.heard.unpark_all()

    def _check_talk(self) -> None:
        """Refuse to listen to who talks without end: it costs this side more than the other, and other jobs their time."""
        allowed = TALK_BURST + TALK_PER_S * (trio.current_time() - self._began)
        if self.conversation.talk > allowed:
            raise ProtocolError(f"the node has sent {self.conversation.talk} messages that say little")

    async def _complain(self, message: str) -> None:
        with trio.move_on_after(_CLOSE_S), contextlib.suppress(ConnectionLostError):
            await self.send(self.conversation.error("protocol", message[:500]))

    async def beat(self) -> None:
        """Send a heartbeat whenever nothing else was sent for a while, as long as there is a connection."""
        with contextlib.suppress(ConnectionLostError):  # whoever receives is told
            while True:
                due = self._sent_at + HEARTBEAT_S
                if trio.current_time() < due:
                    await trio.sleep_until(due)
                else:
                    await self.send(self.conversation.heartbeat())


def _error(message: Error) -> Exception:
    if message.code == "protocol":
        return ProtocolError(f"the node says that we broke the protocol: {message.message}")
    return ConnectionLostError(f"the node closes: {message.message} ({message.code})")


@asynccontextmanager
async def open_link(stream: Stream) -> AsyncIterator[Link]:
    """Converse over a stream until the context ends; then it is closed."""
    link = Link(stream)
    try:
        async with alongside(link.beat):
            yield link
    finally:
        with trio.move_on_after(_CLOSE_S) as scope:
            scope.shield = True
            await stream.aclose()
