"""One of the streams on a connection: its windows, its ends, and what has been received."""

from __future__ import annotations

from abc import abstractmethod

import trio
from libp2p.abc import IMuxedConn, IMuxedStream
from libp2p.stream_muxer.exceptions import MuxedStreamClosed, MuxedStreamEOF, MuxedStreamReset

from plasm_transport_libp2p.limits import Limits
from plasm_transport_libp2p.shares import Share
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

INITIAL_WINDOW_BYTES = 256 * 1024  # fixed by the specification
_MAX_SEND_WINDOW_BYTES = 2**32 - 1
_QUEUED_BYTES = 256 * 1024  # writers wait while more is queued


class Carrier(IMuxedConn):
    """What a stream asks of its connection."""

    limits: Limits
    share: Share
    streams: dict[int, YamuxStream]
    queued_bytes: int

    @abstractmethod
    def is_ours(self, stream_id: int) -> bool:
        """Return whether this side opens streams of that parity."""

    @abstractmethod
    def send(self, kind: int, flags: int, stream_id: int, length: int, payload: bytes = b"") -> None:
        """Queue a frame."""

    @abstractmethod
    async def wait_until_drained(self) -> None:
        """Wait until something of the queue was sent."""

    @abstractmethod
    async def turn_to_read(self) -> None:
        """Wait for a turn on the event loop to work off what was received."""

    @abstractmethod
    def linger(self, stream: YamuxStream) -> None:
        """Reset a stream later, if its peer has not ended it by then."""

    @abstractmethod
    def forget(self, stream: YamuxStream) -> None:
        """Take a stream off the account."""

    @abstractmethod
    def get_remote_address(self) -> tuple[str, int] | None:
        """Return the peer's host and port, if the transport knows them."""


class YamuxStream(IMuxedStream):
    """One stream. One task reads and one writes at a time."""

    def __init__(self, conn: Carrier, stream_id: int) -> None:
        self.muxed_conn = conn
        self._conn = conn
        self.stream_id = stream_id
        self._announced = False  # whether a frame with SYN (ours) or ACK (theirs) has been queued
        self._send_window = INITIAL_WINDOW_BYTES
        self._window = INITIAL_WINDOW_BYTES  # what the peer may send when all was read
        self._allowance = INITIAL_WINDOW_BYTES  # what it may send now
        self._received = bytearray()
        self._finished_by_peer = False
        self._finished_by_us = False
        self._abandoned = False
        self._broken = False
        self._changed = trio.lowlevel.ParkingLot()

    @property
    def unread_bytes(self) -> int:
        """How much has arrived and was not read."""
        return len(self._received)

    @property
    def is_untouched(self) -> bool:
        """Whether no byte has come on it yet."""
        return self._allowance == INITIAL_WINDOW_BYTES == self._window

    @property
    def is_open(self) -> bool:
        """Whether the connection still keeps account of it."""
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
                # Before the bytes are taken, so that a reader that is cancelled here has lost none. A reset that
                # comes meanwhile takes them away.
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
        """End this side. The other may go on."""
        self._finish()
        await trio.lowlevel.checkpoint()

    async def close(self) -> None:
        """End this side and discard what the other still sends; reset the stream if it does not end too."""
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
        """Break the stream at once."""
        self.reset_now()
        await trio.lowlevel.checkpoint()

    def reset_now(self) -> None:
        """Break the stream, without waiting."""
        if self.is_open and not self._broken:
            if self._announced or not self._conn.is_ours(self.stream_id):
                self._send(WINDOW, 0, flags=RST)
            self.break_off()

    def break_off(self) -> None:
        """Take note that the stream is broken: by a reset, or with its connection."""
        self._broken = True
        self._drop_received()
        self._conn.forget(self)
        self._changed.unpark_all()

    def _drop_received(self) -> None:
        self._conn.share.take(-len(self._received))
        self._received.clear()

    def check_window(self, length: int) -> None:
        """Refuse a frame of so many bytes that the peer may not send. Raises: `YamuxError`."""
        if length > self._allowance or self._finished_by_peer:
            raise YamuxError(f"{length} bytes beyond the window")

    def take(self, kind: int, flags: int, length: int, payload: bytes) -> None:
        """Take a frame from the peer. Raises: `YamuxError`."""
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
        """Let the peer send more, once it is worth a frame. A reader that keeps up gets a larger window."""
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
        """Tell the peer that the stream it opened is taken."""
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
        """Raise: deadlines are the caller's."""
        raise NotImplementedError("use a cancel scope")

    def get_remote_address(self) -> tuple[str, int] | None:
        """Return the peer's host and port, if its connection knows them."""
        return self._conn.get_remote_address()

    async def __aenter__(self) -> YamuxStream:
        return self
