"""One conversation over one stream: heartbeats both ways, and a deadline on every silence."""

from __future__ import annotations

import collections
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager

import trio

from plasm_core.background_tasks import alongside
from plasm_core.client.heartbeats import HEARTBEAT_S, Heartbeats
from plasm_core.errors import ConnectionLostError, ProtocolError, StreamError
from plasm_core.plugins.interfaces import Stream
from plasm_core.protocol.client_session import ClientConversation
from plasm_core.protocol.frames import MAX_DATA_BYTES, Data
from plasm_core.protocol.messages import Error, Message

log = logging.getLogger(__name__)

SILENCE_S = 30.0
_PIECE_BYTES = MAX_DATA_BYTES + 1024
"""Somewhat more than a frame of data. A node may take `SILENCE_S` for each piece of so many bytes."""
_TURN_S = 0.5e-3
"""For so long messages that have come are processed before other tasks run."""
_CLOSE_S = 1.0
TALK_BURST, TALK_PER_S = 1000, 200.0
"""How many heartbeats, `progress`, `state` and tiny `credit` messages may come at once, and how many more each second."""


class Link:
    """A stream to a node with the state of one conversation. One task receives; any task may send."""

    def __init__(self, stream: Stream, *, keep_s: int | None = None, features: tuple[str, ...] = ()) -> None:
        """`keep_s`, `features`: as of `ClientConversation`."""
        self.stream = stream
        self.conversation = ClientConversation(keep_s=keep_s, features=features)
        self._said: collections.deque[Message | Data] = collections.deque()
        self._unread: Iterator[Message | Data | None] | None = None
        self.heard = trio.lowlevel.ParkingLot()
        """Wakes whenever bytes came: there may be new credit."""
        self._sending = trio.Lock()
        self.sent_at = self._began = trio.current_time()
        self._is_amid_frame = False
        self.keep: Callable[[], bool] = lambda: False
        """Takes the stream over when all is said, and returns whether it did; otherwise it is closed."""

    @property
    def is_over(self) -> bool:
        """Whether the conversation has ended, so that another may begin on the stream."""
        conversation = self.conversation
        return (
            conversation.is_kept
            and conversation.is_between_frames
            and not (self._is_amid_frame or self._said or self._unread)
            and not self._sending.locked()  # by a heartbeat that is about to be sent
        )

    async def send(self, frames: bytes, *, fd: int | None = None) -> None:
        """Send encoded frames, with a copy of a descriptor if one is given. Raises: `ConnectionLostError`."""
        if not frames:
            return
        try:
            self._sending.acquire_nowait()  # `acquire` would let other tasks run first
        except trio.WouldBlock:
            await self._sending.acquire()
        try:
            self._is_amid_frame = True
            for start in range(0, len(frames), _PIECE_BYTES):
                piece = frames[start : start + _PIECE_BYTES]
                with trio.fail_after(SILENCE_S):
                    if fd is None or start:
                        await self.stream.send_all(piece)
                    else:
                        await self.stream.send_with(piece, fd)
            self._is_amid_frame = False
        except StreamError as exc:
            raise ConnectionLostError(f"the connection broke while sending: {exc}") from exc
        except trio.TooSlowError:
            raise ConnectionLostError(
                f"the node read nothing of the data sent for {SILENCE_S:.0f} s"
            ) from None
        finally:
            self._sending.release()
            # Also after an error: a heartbeat that cannot be sent would be tried again at once, and for ever.
            self.sent_at = trio.current_time()

    async def receive(self) -> Message | Data:
        """Return the next message or data from the node.

        Raises: `ConnectionLostError` if the stream broke, ended or stayed silent; `ProtocolError`.
        """
        while (said := self.said()) is None:
            await self._read()
        return said

    def said(self) -> Message | Data | None:
        """Return the next message or data if it was read by now, else None. Raises: as `receive`."""
        if not self._said:
            return None
        said = self._said.popleft()
        if isinstance(said, Error):
            raise _error(said)
        return said

    async def _read(self) -> None:
        """Read the messages that have arrived, or wait for some. Yield to other tasks when that takes long.

        The next call continues a cancelled one.
        """
        if self._unread is None:
            self._unread = self.conversation.receive(await self._receive_some())
        until = time.perf_counter() + _TURN_S
        try:
            for item in self._unread:
                if item is not None:
                    self._said.append(item)
                self._check_talk()
                if time.perf_counter() >= until:
                    await self.stream.pause()
                    until = time.perf_counter() + _TURN_S
            self._unread = None
        except ProtocolError as exc:
            await self._complain(str(exc))
            raise
        finally:
            self.heard.unpark_all()

    async def _receive_some(self) -> bytes:
        waiting_for = self.conversation.phase.value
        data = b""
        with trio.move_on_after(SILENCE_S) as scope:
            try:
                data = await self.stream.receive_some()
            except StreamError as exc:
                raise ConnectionLostError(f"the connection broke while {waiting_for}: {exc}") from exc
        if scope.cancelled_caught:
            raise ConnectionLostError(f"received nothing for {SILENCE_S:.0f} s while {waiting_for}")
        if not data:
            raise ConnectionLostError(f"the node closed the connection while {waiting_for}")
        return data

    def _check_talk(self) -> None:
        """Refuse to listen to who talks without end: it costs this side more than the other, and other jobs their time."""
        allowed = TALK_BURST + TALK_PER_S * (trio.current_time() - self._began)
        if self.conversation.talk > allowed:
            raise ProtocolError(f"the node has sent {self.conversation.talk} messages without progress")

    async def _complain(self, message: str) -> None:
        with trio.move_on_after(_CLOSE_S), contextlib.suppress(ConnectionLostError):
            await self.send(self.conversation.error("protocol", message[:500]))

    async def send_heartbeat(self) -> None:
        """Send a heartbeat."""
        with contextlib.suppress(ConnectionLostError):  # the receiving task raises the error
            await self.send(self.conversation.heartbeat())

    async def beat(self) -> None:
        """Send a heartbeat whenever nothing else was sent for the heartbeat interval, until the connection ends."""
        while True:
            due = self.sent_at + HEARTBEAT_S
            if trio.current_time() < due:
                await trio.sleep_until(due)
            else:
                await self.send_heartbeat()


def _error(message: Error) -> Exception:
    if message.code == "protocol":
        return ProtocolError(f"the node says that we broke the protocol: {message.message}")
    return ConnectionLostError(f"the node closes: {message.message} ({message.code})")


@asynccontextmanager
async def open_link(
    stream: Stream,
    *,
    keep_s: int | None = None,
    features: tuple[str, ...] = (),
    heartbeats: Heartbeats | None = None,
) -> AsyncIterator[Link]:
    """Converse over a stream until the context ends; then it is closed, unless `Link.keep` takes it over.

    `keep_s`, `features`: as of `ClientConversation`. `heartbeats`: sends this conversation's too, if it is running;
    otherwise a task is started that does.
    """
    link, is_kept = Link(stream, keep_s=keep_s, features=features), False
    try:
        if heartbeats is not None and heartbeats.is_running:
            heartbeats.add(link)
            try:
                yield link
            finally:
                heartbeats.remove(link)
        else:
            async with alongside(link.beat):
                yield link
        is_kept = link.is_over and link.keep()
    finally:
        if not is_kept:
            with trio.move_on_after(_CLOSE_S) as scope:
                scope.shield = True
                await stream.aclose()
