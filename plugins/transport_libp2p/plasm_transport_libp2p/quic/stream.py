"""One stream of a QUIC connection, as py-libp2p's swarm and hosts use it."""

from __future__ import annotations

from types import TracebackType
from typing import Protocol, cast

import trio
from libp2p.abc import IMuxedConn, IMuxedStream
from libp2p.stream_muxer.exceptions import MuxedStreamClosed, MuxedStreamEOF, MuxedStreamReset
from trio.lowlevel import ParkingLot

_WRITE_BYTES = 1 << 16
"""Bytes of one write to aioquic."""
_NO_ERROR = 0


class StreamConnection(Protocol):
    """The interface that a connection offers to its streams."""

    def get_remote_address(self) -> tuple[str, int] | None:
        """Return the peer's current IP address and UDP port; None before the first packet."""

    async def turn_to_read(self) -> None:
        """Wait for a turn on the event loop before received bytes are handed out."""

    def send_room(self, stream: QuicMuxedStream) -> int:
        """Return how many bytes the stream may send now."""

    def add_waiting_writer(self, stream: QuicMuxedStream) -> None:
        """Call `on_room` once the stream may send again."""

    def send(self, stream: QuicMuxedStream, data: bytes, *, end: bool = False) -> None:
        """Send bytes of the stream, and its FIN if `end`."""

    def stopped_with(self, stream: QuicMuxedStream) -> int | None:
        """Return the error code with which the peer has stopped the stream, None if it has not."""

    def flush(self) -> None:
        """Transmit the written bytes now, not only once the running tasks wait."""

    def reset_sending(self, stream: QuicMuxedStream, error_code: int) -> None:
        """Send RESET_STREAM (RFC 9000, section 19.4)."""

    def stop_receiving(self, stream_id: int, error_code: int) -> None:
        """Send STOP_SENDING (RFC 9000, section 19.5), unless the peer has ended the stream."""

    def stop_receiving_later(self, stream_id: int) -> None:
        """Send STOP_SENDING after a delay, unless the peer ends the stream first."""

    def on_stream_read(self, stream: QuicMuxedStream, count: int, consumed: int) -> None:
        """Grant credit for `count` bytes that were read, `consumed` of the stream in all."""

    def on_bytes_dropped(self, count: int) -> None:
        """Return to the connection the credit of bytes that will not be read."""

    def forget(self, stream: QuicMuxedStream) -> None:
        """Drop a stream of which nothing more is expected."""


class QuicMuxedStream(IMuxedStream):
    """A stream with two directions, each of which ends on its own.

    One task reads at a time. Concurrent writes are sent one after the other.
    """

    def __init__(self, connection: StreamConnection, stream_id: int) -> None:
        self._connection = connection
        self.muxed_conn = cast(IMuxedConn, connection)
        self.stream_id = stream_id
        self._received = bytearray()
        self._consumed = 0
        self._readable = ParkingLot()
        self._writable = ParkingLot()
        self._write_lock = trio.Lock()
        self._deadline_s = float("inf")
        self._at_end = False
        self._read_error: str | None = None
        self._reading_stopped = False
        self._write_error: str | None = None
        self._write_ended = False

    @property
    def unread_bytes(self) -> int:
        """Bytes received and not read."""
        return len(self._received)

    @property
    def is_silent(self) -> bool:
        """Whether both sides may send, and no byte waits to be read."""
        reads = not (self._received or self._at_end or self._reading_stopped or self._read_error)
        return reads and not (self._write_ended or self._write_error)

    async def read(self, n: int | None = None) -> bytes:
        """Return between 1 and `n` of the received bytes; wait for the first.

        Raises: `MuxedStreamEOF` after the last byte that the peer sent; `MuxedStreamReset` if the stream broke.
        Received bytes are returned before that, unless the peer reset the stream.
        """
        if n == 0:
            await trio.lowlevel.checkpoint()
            return b""
        await trio.lowlevel.checkpoint_if_cancelled()
        has_turn = False
        while not (self._received and has_turn):
            if self._received:
                # Yield before taking the bytes: a reset that arrives meanwhile drops them.
                await self._connection.turn_to_read()
                has_turn = True
                continue
            self._connection.flush()
            if self._deadline_s == float("inf"):
                await self._wait_readable()
            else:
                with trio.fail_after(self._deadline_s):
                    await self._wait_readable()
        if n is None or n < 0 or n >= len(self._received):
            data = bytes(self._received)
            self._received.clear()
        else:
            data = bytes(self._received[:n])
            del self._received[:n]
        self._consumed += len(data)
        self._connection.on_stream_read(self, len(data), self._consumed)
        return data

    async def _wait_readable(self) -> None:
        while not self._received:
            if self._reading_stopped:
                raise MuxedStreamReset("the stream is closed for reading")
            if self._at_end:
                raise MuxedStreamEOF("the peer ended the stream")
            if self._read_error is not None:
                raise MuxedStreamReset(self._read_error)
            await self._readable.park()

    async def write(self, data: bytes) -> None:
        """Send bytes, waiting while more than the limit is unacknowledged.

        Raises: `MuxedStreamClosed` after `close_write`, `MuxedStreamReset` if the peer takes no more.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        if len(data) <= self._connection.send_room(self) and not self._write_lock.locked():
            # The data of several writes is sent together once the task waits.
            self._check_writable()
            self._send(memoryview(data))
            return
        with trio.fail_after(self._deadline_s):
            async with self._write_lock:
                self._check_writable()
                view = memoryview(data)
                while view:
                    room = self._connection.send_room(self)
                    if room > 0:
                        self._send(view[:room])
                        view = view[room:]
                    else:
                        self._connection.add_waiting_writer(self)
                        await self._writable.park()
                        self._check_writable()

    def _send(self, view: memoryview) -> None:
        for start in range(0, len(view), _WRITE_BYTES):
            self._connection.send(self, bytes(view[start : start + _WRITE_BYTES]))

    def _note_stop(self) -> None:
        """Record a STOP_SENDING that has arrived before its event is handled.

        The endpoint may handle events a few passes of the loop later, and tasks run in between.
        """
        if self._write_error is None and not self._write_ended:
            error_code = self._connection.stopped_with(self)
            if error_code is not None:
                self.on_stop_sending(error_code)

    def _check_writable(self) -> None:
        self._note_stop()
        if self._write_error is not None:
            raise MuxedStreamReset(self._write_error)
        if self._write_ended:
            raise MuxedStreamClosed("the stream is closed for writing")

    async def close_write(self) -> None:
        """Send FIN: the peer reads the written bytes, then the end of the stream."""
        # No checkpoint that yields: FIN then shares a datagram with the last bytes.
        await trio.lowlevel.checkpoint_if_cancelled()
        if self._write_lock.locked():
            async with self._write_lock:
                self._end_sending()
        else:
            self._end_sending()

    def _end_sending(self) -> None:
        self._note_stop()
        if self._write_error is None and not self._write_ended:
            self._write_ended = True
            self._connection.send(self, b"", end=True)
            self._forget_when_done()

    async def close_read(self) -> None:
        """Drop the received bytes and send STOP_SENDING (RFC 9000, section 19.5)."""
        await trio.lowlevel.checkpoint()
        self._stop_reading()

    async def close(self) -> None:
        """Send FIN, and drop the bytes that the peer still sends."""
        try:
            await self.close_write()
        finally:
            # A close that was cancelled breaks the stream: an end would tell the peer that it has everything.
            self._break_sending("the stream was abandoned")
            self._stop_reading(at_once=self._write_error is not None)
            self._connection.flush()

    async def reset(self) -> None:
        """Reset both directions. Bytes that are not acknowledged may be lost."""
        # No checkpoint: a cancelled task must be able to reset the stream.
        if self._write_ended and self._write_error is None:
            self._write_error = "the stream was reset"
            self._connection.reset_sending(self, _NO_ERROR)
        self._break_sending("the stream was reset")
        self._stop_reading()

    def _break_sending(self, reason: str) -> None:
        self._note_stop()
        if self._write_error is None and not self._write_ended:
            self._write_error = reason
            self._connection.reset_sending(self, _NO_ERROR)
            self._wake()

    def _stop_reading(self, *, at_once: bool = True) -> None:
        if self._reading_stopped:
            return
        self._reading_stopped = True
        self._drop_received()
        if not self._at_end and self._read_error is None:
            if at_once:
                self._connection.stop_receiving(self.stream_id, _NO_ERROR)
            else:
                self._connection.stop_receiving_later(self.stream_id)
        self._wake()
        self._forget_when_done()

    def _drop_received(self) -> None:
        count = len(self._received)
        self._received.clear()
        self._connection.on_bytes_dropped(count)

    def on_data(self, data: bytes, end: bool) -> None:
        """Process received bytes, which are in order."""
        if self._reading_stopped:
            self._connection.on_bytes_dropped(len(data))
        else:
            self._received += data
        if end:
            self._at_end = True
            self._forget_when_done()
        self._readable.unpark_all()

    def on_reset(self, error_code: int) -> None:
        """Record that the peer has reset its direction."""
        self._read_error = f"the peer reset the stream with error {error_code:#x}"
        self._drop_received()
        self._readable.unpark_all()
        self._forget_when_done()

    def on_stop_sending(self, error_code: int) -> None:
        """Record that the peer accepts no more bytes."""
        if self._write_error is None:
            self._write_error = f"the peer stopped the stream with error {error_code:#x}"
        self._writable.unpark_all()
        self._forget_when_done()

    def on_room(self) -> None:
        """Record that the peer has acknowledged sent bytes."""
        self._writable.unpark_all()

    def on_connection_lost(self, reason: str) -> None:
        """Record that the connection has closed: nothing can be sent or received."""
        self._read_error = self._read_error or reason
        self._write_error = self._write_error or reason
        self._wake()

    def _wake(self) -> None:
        self._readable.unpark_all()
        self._writable.unpark_all()

    def _forget_when_done(self) -> None:
        if (self._write_ended or self._write_error is not None) and (
            self._at_end or self._read_error is not None or self._reading_stopped
        ):
            self._connection.forget(self)

    def is_closed(self) -> bool:
        """Return whether both directions have ended."""
        return (self._write_ended or self._write_error is not None) and (
            self._reading_stopped or (not self._received and (self._at_end or self._read_error is not None))
        )

    def set_deadline(self, ttl: int) -> None:
        """Let each read and write take `ttl` seconds at most; they raise `trio.TooSlowError` then."""
        if ttl < 0:
            raise ValueError(f"a deadline of {ttl} seconds is in the past")
        self._deadline_s = float(ttl)

    def get_remote_address(self) -> tuple[str, int] | None:
        """Return the peer's current IP address and UDP port; None before the first packet."""
        return self._connection.get_remote_address()

    async def __aenter__(self) -> QuicMuxedStream:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        await self.close()
