"""A connection of a Unix socket, and the line that agrees on its protocol (docs/protocol.md, "Carriers")."""

from __future__ import annotations

import contextlib
import os
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
PASSES_DESCRIPTORS = sys.platform == "linux"
"""Elsewhere a received descriptor cannot be closed on exec(2) from the start."""
_DESCRIPTOR = struct.Struct("i")
_MESSAGE_S = 200e-6
"""Seconds of the event loop that the daemon needs for one message, about."""
_TURN_BYTES, _LEAST_COST_BYTES = 256 << 10, 4 << 10
"""After so many bytes that the socket took at once, other tasks run; small writes count as more than they are."""


class LocalStream(Stream):
    """A stream over a Unix socket. The peer is identified by its user id only."""

    def __init__(self, sock: trio.SocketStream, user: int | None, turns: LoopTurns | None = None) -> None:
        self._stream = sock
        self._turns = turns
        self._group = f"user {user}" if user is not None else "local"
        self._ahead = b""
        self._descriptor: int | None = None
        self._accepts = False
        self._turn_bytes = _TURN_BYTES

    @property
    def remote_peer(self) -> PeerId | None:
        return None

    @property
    def remote_group(self) -> str:
        return self._group

    async def send_all(self, data: bytes) -> None:
        await trio.lowlevel.checkpoint_if_cancelled()
        try:
            # Most often the socket takes all of it at once: trio's stream would first let every other task run.
            sent = self._write(data)
            if sent < len(data):
                await self._stream.send_all(memoryview(data)[sent:])
                return
        except (OSError, trio.BrokenResourceError, trio.ClosedResourceError) as exc:
            raise StreamError("the other side is gone") from exc
        self._turn_bytes -= max(len(data), _LEAST_COST_BYTES)
        if self._turn_bytes <= 0:
            self._turn_bytes = _TURN_BYTES
            await trio.lowlevel.checkpoint()

    def _write(self, data: bytes) -> int:
        """Write what the socket has room for now. Return how many bytes. Raises: OSError."""
        try:
            return os.write(self._stream.socket.fileno(), data)
        except BlockingIOError:
            return 0

    async def _read(self, max_bytes: int) -> bytes:
        """Return what has come, or wait for it. Raises: OSError, `trio.ClosedResourceError`."""
        await trio.lowlevel.checkpoint_if_cancelled()
        while True:
            if self._accepts:
                return await self._read_with_descriptors(max_bytes)
            descriptor = self._stream.socket.fileno()
            with contextlib.suppress(BlockingIOError):
                return os.read(descriptor, max_bytes)
            await trio.lowlevel.wait_readable(descriptor)

    async def _read_with_descriptors(self, max_bytes: int) -> bytes:
        data, ancillary, _, _ = await self._stream.socket.recvmsg(
            max_bytes, socket.CMSG_SPACE(_DESCRIPTOR.size), socket.MSG_CMSG_CLOEXEC
        )
        for level, kind, packed in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                for (fd,) in _DESCRIPTOR.iter_unpack(
                    packed[: len(packed) // _DESCRIPTOR.size * _DESCRIPTOR.size]
                ):
                    self.close_descriptor()  # one at a time: what nobody asked for takes no more than that
                    self._descriptor = fd
        if not self._accepts:  # any more
            self.close_descriptor()
        return data

    @property
    def passes_descriptors(self) -> bool:
        return PASSES_DESCRIPTORS

    async def send_with(self, data: bytes, fd: int) -> None:
        passed = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, _DESCRIPTOR.pack(fd))]
        try:
            sent = await self._stream.socket.sendmsg([data], passed)
        except (OSError, trio.ClosedResourceError) as exc:
            raise StreamError("the other side is gone") from exc
        if sent < len(data):
            await self.send_all(data[sent:])

    def accept_descriptors(self, accept: bool) -> None:
        self._accepts = accept and self.passes_descriptors
        if not accept:
            self.close_descriptor()

    def take_descriptor(self) -> int | None:
        fd, self._descriptor = self._descriptor, None
        return fd

    def close_descriptor(self) -> None:
        """Close a descriptor that nobody took."""
        if (fd := self.take_descriptor()) is not None:
            os.close(fd)

    async def receive_some(self, max_bytes: int = 65_536) -> bytes:
        if self._ahead:
            data, self._ahead = self._ahead[:max_bytes], self._ahead[max_bytes:]
            return data
        try:
            self._ahead = await self._read(max_bytes)
        except (OSError, trio.ClosedResourceError) as exc:
            raise StreamError("the other side is gone") from exc
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
        self.close_descriptor()
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
