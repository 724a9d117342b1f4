"""A yamux stream: flow control, half-close and reset, and the receive buffer."""

from __future__ import annotations

from abc import abstractmethod

import trio
from libp2p.abc import IMuxedConn, IMuxedStream
from libp2p.stream_muxer.exceptions import MuxedStreamClosed, MuxedStreamEOF, MuxedStreamReset

from plasm_transport_libp2p.host_resources import ConnectionResources
from plasm_transport_libp2p.limits import ConnectionLimits
from plasm_transport_libp2p.yamux.frame import (
    ACK,
    DATA,
    FIN,
    MAX_PAYLOAD_BYTES,
    RST,
    SYN,
    WINDOW,
    YamuxError,
)

INITIAL_WINDOW_BYTES = 256 * 1024  # fixed by the specification (spec.md, "Flow Control")
_MAX_SEND_WINDOW_BYTES = 2**32 - 1
_QUEUED_BYTES = 256 * 1024  # writers wait while more is queued


class StreamCarrier(IMuxedConn):
    """The interface of the connection that a stream uses."""

    limits: ConnectionLimits
    share: ConnectionResources
    streams: dict[int, YamuxStream]
    queued_bytes: int

    @abstractmethod
    def is_ours(self, stream_id: int) -> bool:
        """Return whether this side opened the stream: the dialler's ids are odd."""

    @abstractmethod
    def send(self, kind: int, flags: int, stream_id: int, length: int, payload: bytes = b"") -> None:
        """Queue a frame."""

    @abstractmethod
    async def wait_until_drained(self) -> None:
        """Wait until frames of the queue were written."""

    @abstractmethod
    async def turn_to_read(self) -> None:
        """Wait for a turn on the event loop before received bytes are handed out."""

    @abstractmethod
    def linger(self, stream: YamuxStream) -> None:
        """Reset a stream after 30 seconds, unless the peer has sent FIN."""

    @abstractmethod
    def forget(self, stream: YamuxStream) -> None:
        """Drop a stream that has ended."""

    @abstractmethod
    def get_remote_address(self) -> tuple[str, int] | None:
        """Return the peer's host and port, if the transport knows them."""


class YamuxStream(IMuxedStream):
    """One stream. At most one task reads and one writes at a time."""

    def __init__(self, conn: StreamCarrier, stream_id: int) -> None:
        self.muxed_conn = conn
        self._conn = conn
        self.stream_id = stream_id
        self._announced = False  # whether a frame with SYN (ours) or ACK (theirs) has been queued
        self._send_window = INITIAL_WINDOW_BYTES
        self._window = INITIAL_WINDOW_BYTES  # the peer's credit when everything was read
        self._allowance = INITIAL_WINDOW_BYTES  # the peer's credit now
        self._received = bytearray()
        self._finished_by_peer = False
        self._finished_by_us = False
        self._abandoned = False
        self._broken = False
        self._changed = trio.lowlevel.ParkingLot()

    @property
    def unread_bytes(self) -> int:
        """Bytes received and not read."""
        return len(self._received)

    @property
    def is_silent(self) -> bool:
        """Whether both sides may send, and no byte waits to be read."""
        ended = self._received or self._finished_by_peer or self._finished_by_us or self._broken
        return self.is_open and not ended

    @property
    def is_untouched(self) -> bool:
        """Whether no byte was received yet."""
        return self._allowance == INITIAL_WINDOW_BYTES == self._window

    @property
    def is_open(self) -> bool:
        """Whether the connection still has the stream."""
        return self.stream_id in self._conn.streams

    async def read(self, n: int | None = None) -> bytes:
        """Return at least one byte, at most `n`. Raises: `MuxedStreamEOF`, `MuxedStreamReset`."""
        if n == 0:
            return b""
        if not self._announced:
            self._send(WINDOW, 0)
        has_turn = False
        while not (self._received and has_turn):
            if self._received:
                # The turn comes before the bytes are taken: a reader cancelled while it waits must not lose any. An RST
                # that arrives meanwhile drops them.
                await self._conn.turn_to_read()
                has_turn = True
                continue
            if self._broken:
                raise MuxedStreamReset(f"stream {self.stream_id} was reset")
            if self._finished_by_peer:
                raise MuxedStreamEOF(f"stream {self.stream_id} has ended")
            await self._changed.park()
        data = bytes(self._received[:n])
        del self._received[: len(data)]
        self._conn.share.take(-len(data))
        self._grant()
        return data

    async def write(self, data: bytes) -> None:
        """Queue all bytes, waiting for the window. Raises: `MuxedStreamClosed`, `MuxedStreamReset`."""
        view = memoryview(data)
        while view:
            self._check_writable()
            if self._send_window == 0:
                await self._changed.park()
                continue
            if self._conn.queued_bytes > _QUEUED_BYTES:
                await self._conn.wait_until_drained()
                continue
            chunk = view[: min(self._send_window, MAX_PAYLOAD_BYTES)]
            self._send_window -= len(chunk)
            self._send(DATA, len(chunk), payload=bytes(chunk))
            view = view[len(chunk) :]
        await trio.lowlevel.checkpoint()

    def _check_writable(self) -> None:
        if self._broken:
            raise MuxedStreamReset(f"stream {self.stream_id} was reset")
        if self._finished_by_us:
            raise MuxedStreamClosed(f"stream {self.stream_id} is closed for writing")

    async def close_write(self) -> None:
        """Send FIN. The peer may continue to send."""
        self._finish()
        await trio.lowlevel.checkpoint()

    async def close(self) -> None:
        """Send FIN and drop the bytes that the peer still sends; reset the stream after 30 seconds without its FIN."""
        self._finish()
        if self.is_open and not self._abandoned:
            self._abandoned = True
            self._drop_received()
            self._conn.linger(self)
        await trio.lowlevel.checkpoint()

    def _finish(self) -> None:
        if not (self._broken or self._finished_by_us):
            self._finished_by_us = True
            self._send(WINDOW, 0, flags=FIN)
            self._forget_if_done()

    async def reset(self) -> None:
        """Send RST, and drop the received bytes."""
        self.reset_now()
        await trio.lowlevel.checkpoint()

    def reset_now(self) -> None:
        """As `reset`, without a checkpoint."""
        if self.is_open and not self._broken:
            if self._announced or not self._conn.is_ours(self.stream_id):
                self._send(WINDOW, 0, flags=RST)
            self.break_off()

    def break_off(self) -> None:
        """Mark the stream as reset by the peer, or broken with its connection, and wake its tasks."""
        self._broken = True
        self._drop_received()
        self._conn.forget(self)
        self._changed.unpark_all()

    def _drop_received(self) -> None:
        self._conn.share.take(-len(self._received))
        self._received.clear()

    def check_window(self, length: int) -> None:
        """Raise `YamuxError` if the peer may not send that many bytes: beyond its window, or after FIN."""
        if length > self._allowance or self._finished_by_peer:
            raise YamuxError(f"{length} bytes beyond the window")

    def take(self, kind: int, flags: int, length: int, payload: bytes) -> None:
        """Process a frame of the peer. Raises: `YamuxError`."""
        if flags & RST:
            self.break_off()
            return
        if kind == WINDOW:
            self._send_window = min(self._send_window + length, _MAX_SEND_WINDOW_BYTES)
        elif length:
            self.check_window(length)
            self._allowance -= length
            if not self._abandoned:
                self._received += payload
                self._conn.share.take(len(payload))
        if flags & FIN:
            self._finished_by_peer = True
            self._forget_if_done()
        self._changed.unpark_all()

    def _grant(self) -> None:
        """Send a window update once half of the window was read. The window doubles for a reader that keeps up."""
        if self._broken or self._finished_by_peer or self._abandoned:
            return
        credit = self._window - self._allowance - len(self._received)
        if credit >= self._window // 2:
            larger = min(self._window * 2, self._conn.limits.max_window_bytes)
            credit += max(larger - self._window, 0)
            self._window = max(larger, self._window)
            self._allowance += credit
            self._send(WINDOW, credit)

    def acknowledge(self) -> None:
        """Send ACK for a stream that the peer opened."""
        self._send(WINDOW, 0)

    def _send(self, kind: int, length: int, *, flags: int = 0, payload: bytes = b"") -> None:
        if not self._announced:
            self._announced = True
            flags |= SYN if self._conn.is_ours(self.stream_id) else ACK
        self._conn.send(kind, flags, self.stream_id, length, payload)

    def _forget_if_done(self) -> None:
        if self._finished_by_us and self._finished_by_peer:
            self._conn.forget(self)

    def set_deadline(self, ttl: int) -> None:
        """Raise `NotImplementedError`: callers use cancel scopes."""
        raise NotImplementedError("use a cancel scope")

    def get_remote_address(self) -> tuple[str, int] | None:
        """Return the peer's host and port, if its connection knows them."""
        return self._conn.get_remote_address()

    async def __aenter__(self) -> YamuxStream:
        return self
