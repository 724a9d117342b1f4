"""A connection of a Unix socket, and the line that agrees on its protocol (docs/protocol.md, "Carriers")."""

from __future__ import annotations

import select
import socket
import struct
import sys

import trio

from plasm_core.errors import StreamError
from plasm_core.loop_fairness import LoopTurns
from plasm_core.plugins.interfaces import Stream
from plasm_core.records.peer import PeerId

MAX_LINE_BYTES = 64
REFUSAL = "na"
_MESSAGE_S = 200e-6
"""Seconds of the event loop that the daemon needs for one message, about."""


class LocalStream(Stream):
    """A stream over a Unix socket. The peer is identified by its user id only."""

    def __init__(self, sock: trio.SocketStream, user: int | None, turns: LoopTurns | None = None) -> None:
        self._stream = sock
        self._turns = turns
        self._group = f"user {user}" if user is not None else "local"
        self._ahead = b""

    @property
    def remote_peer(self) -> PeerId | None:
        return None

    @property
    def remote_group(self) -> str:
        return self._group

    async def send_all(self, data: bytes) -> None:
        try:
            await self._stream.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as exc:
            raise StreamError("the other side is gone") from exc

    async def receive_some(self, max_bytes: int = 65_536) -> bytes:
        if self._ahead:
            data, self._ahead = self._ahead[:max_bytes], self._ahead[max_bytes:]
            return data
        try:
            self._ahead = bytes(await self._stream.receive_some(max_bytes))
        except (trio.BrokenResourceError, trio.ClosedResourceError) as exc:
            raise StreamError("the other side is gone") from exc
        if self._turns is not None:
            await self.pause()  # if the caller is cancelled here, the next call returns the bytes
        data, self._ahead = self._ahead, b""
        return data

    def is_silent(self) -> bool:
        descriptor = self._stream.socket.fileno()
        if self._ahead or descriptor < 0:
            return False
        events = select.poll()
        events.register(descriptor, select.POLLIN)
        return not events.poll(0)

    async def pause(self) -> None:
        if self._turns is None:
            await trio.lowlevel.checkpoint()
        else:
            await self._turns.turn(self._group, self, _MESSAGE_S)

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def send_line(self, line: str) -> None:
        """Send a protocol's name, or a refusal."""
        await self.send_all(line.encode() + b"\n")

    async def receive_line(self) -> str:
        """Return the first line of the stream. Raises: `StreamError` if there is none."""
        line = b""
        while b"\n" not in line:
            more = await self.receive_some(4096)
            if not more:
                raise StreamError("the other side closed before it named a protocol")
            line += more
            if len(line.partition(b"\n")[0]) > MAX_LINE_BYTES:
                raise StreamError("the other side names no protocol")
        line, _, self._ahead = line.partition(b"\n")
        return line.decode("ascii", "replace")


def user_of(sock: trio.socket.SocketType) -> int | None:
    """Return the user id of the peer's process; None if the platform does not report it."""
    if sys.platform == "linux":
        credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        return int(struct.unpack("3i", credentials)[1])
    return None
