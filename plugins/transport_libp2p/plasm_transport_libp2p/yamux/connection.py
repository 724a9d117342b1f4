"""A yamux connection: one task reads frames, one writes them, one pings the peer."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

import trio
from libp2p.abc import ISecureConn
from libp2p.connection_types import ConnectionType
from libp2p.peer.id import ID
from libp2p.stream_muxer.exceptions import MuxedConnUnavailable
from multiaddr import Multiaddr

from plasm_core.token_bucket import TokenBucket
from plasm_transport_libp2p.host_resources import ConnectionResources, HostResources
from plasm_transport_libp2p.limits import ConnectionLimits
from plasm_transport_libp2p.yamux.frame import (
    ACK,
    DATA,
    GO_AWAY,
    HEADER,
    MAX_PAYLOAD_BYTES,
    NORMAL,
    PING,
    RST,
    SYN,
    WINDOW,
    FloodError,
    YamuxError,
)
from plasm_transport_libp2p.yamux.stream import StreamCarrier, YamuxStream

log = logging.getLogger(__name__)

PROTOCOL = "/yamux/1.0.0"

_QUEUED_REPLIES = 4096  # frames queued in answer to the peer's, such as pongs
_LINGER_S = 30.0  # how long a closed stream waits for the peer's FIN
_FLUSH_S = 1.0
_PAUSE_S = 5.0  # how long reading stops before the stream with the most unread bytes is reset

# Frames that cost their sender nothing: a bucket of 2,000, refilled with 200 a second. An honest peer sends a few
# window updates, pongs and resets a second, and payload and streams refill the bucket, too.
_USELESS_FRAMES = 2000.0
_USELESS_FRAMES_PER_S = 200.0
_EARNING_BYTES = 1024
_STREAM_EARNS = 4.0  # credited with its first bytes, for its SYN, FIN and window updates
_RESET_COSTS = (
    5.0  # RST of a stream that the peer opened: more than the stream has earned (rapid reset, CVE-2023-44487)
)

# Costs on the event loop, measured on one core of a small virtual machine.
_MESSAGE_S = 60e-6  # reading and decrypting a message of Noise
_BYTE_S = 4e-9
_STREAM_S = 300e-6  # the task that serves a stream, and naming its protocol
_READ_S = 30e-6  # what a task does with what it read
_SLICE_S = 500e-6  # of frames of one connection, before the next one's turn


class YamuxConnection(StreamCarrier):
    """One connection. The swarm runs `start`, which returns when the connection has closed."""

    def __init__(
        self, secured: ISecureConn, peer_id: ID, limits: ConnectionLimits, shares: HostResources | None = None
    ) -> None:
        self.secured_conn = secured
        self.peer_id = peer_id
        self.limits = limits
        self.share = ConnectionResources(shares or HostResources(), _remote_of(secured))
        self.streams: dict[int, YamuxStream] = {}
        self.event_started = trio.Event()
        self.event_closed = trio.Event()
        self.on_close: Callable[[], Awaitable[Any]] | None = None
        self.round_trip_s: float | None = None
        self.queued_bytes = 0
        self._replies = 0
        self._queue: deque[bytes] = deque()
        self._queue_filled = trio.lowlevel.ParkingLot()
        self._queue_drained = trio.lowlevel.ParkingLot()
        self._next_id = 1 if secured.is_initiator else 2
        self._from_peer, self._accepted = trio.open_memory_channel[YamuxStream](limits.max_streams)
        self._heard_at = trio.current_time()
        self._ping_sent_at: float | None = None
        self._lingering: deque[tuple[float, YamuxStream]] = deque()
        self._closing = False
        self._scope = trio.CancelScope()
        self._useless = TokenBucket(
            capacity=_USELESS_FRAMES, per_s=_USELESS_FRAMES_PER_S, clock=trio.current_time
        )
        self._payload_stream: YamuxStream | None = None
        self._payload_left = 0
        self._payload_flags = 0
        self._has_heard_goodbye = False

    @property
    def is_initiator(self) -> bool:
        """Whether this side dialled."""
        return self.secured_conn.is_initiator

    @property
    def is_established(self) -> bool:
        """Whether streams can be opened."""
        return self.event_started.is_set() and not self._closing

    @property
    def is_closed(self) -> bool:
        """Whether it has closed."""
        return self.event_closed.is_set()

    def is_ours(self, stream_id: int) -> bool:
        return stream_id % 2 == self._next_id % 2

    async def open_stream(self) -> YamuxStream:
        """Open a stream. SYN leaves with its first frame. Raises: `MuxedConnUnavailable`."""
        if self._closing:
            raise MuxedConnUnavailable("the connection has ended")
        if len(self.streams) >= 2 * self.limits.max_streams:
            raise MuxedConnUnavailable(f"{len(self.streams)} streams are open")
        stream = YamuxStream(self, self._next_id)
        self._next_id += 2
        self.streams[stream.stream_id] = stream
        await trio.lowlevel.checkpoint()
        return stream

    async def accept_stream(self) -> YamuxStream:
        """Return the next stream that the peer opened. Raises: `MuxedConnUnavailable`."""
        try:
            return await self._accepted.receive()
        except trio.EndOfChannel:
            raise MuxedConnUnavailable("the connection has ended") from None

    async def start(self) -> None:
        """Run the connection until it closes. Errors are logged, not raised."""
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._run, self._write_frames)
                    nursery.start_soon(self._run, self._watch)
                    self.event_started.set()
                    await self._run(self._read_frames)
        finally:
            with trio.CancelScope(shield=True):
                await self._end()

    async def _run(self, task: Callable[[], Awaitable[None]]) -> None:
        try:
            await task()
        except Exception as exc:  # the library's, the socket's and the cipher's errors have no common root
            if isinstance(exc, FloodError):
                self.share.note_flood()
            log.debug("connection ended peer=%s reason=%r", self.peer_id, exc)
        self._scope.cancel()

    async def _end(self) -> None:
        """Reset the open streams, close the secured connection, and call `on_close`."""
        self._closing = True
        for stream in list(self.streams.values()):
            stream.break_off()
        self._from_peer.close()
        self._queue_drained.unpark_all()
        try:
            await self.secured_conn.close()
        except Exception as exc:
            log.debug("connection not closed cleanly peer=%s reason=%r", self.peer_id, exc)
        if not self.event_closed.is_set():
            self.event_closed.set()
            if self.on_close is not None:
                await self.on_close()

    async def close(self) -> None:
        """Flush the queue and GO_AWAY within a second, then close."""
        if not self._closing:
            self._closing = True
            self.send(GO_AWAY, 0, 0, NORMAL)
            with trio.move_on_after(_FLUSH_S):
                while self.queued_bytes and not self.is_closed:
                    await self._queue_drained.park()
        self._scope.cancel()
        if not self.event_started.is_set():
            await self._end()

    def send(self, kind: int, flags: int, stream_id: int, length: int, payload: bytes = b"") -> None:
        frame = HEADER.pack(0, kind, flags, stream_id, length) + payload
        if payload:  # the peer answers these bytes with credit
            self._useless.earn(1 + len(payload) / _EARNING_BYTES)
        self._queue.append(frame)
        self.queued_bytes += len(frame)
        self._queue_filled.unpark_all()

    def _reply(self, kind: int, flags: int, stream_id: int, length: int) -> None:
        """Queue an answer. Raises: `YamuxError` if 4,096 answers wait because the peer does not read."""
        self._replies += 1
        if self._replies > _QUEUED_REPLIES:
            raise YamuxError("the peer does not read the answers to its frames")
        self.send(kind, flags, stream_id, length)

    async def wait_until_drained(self) -> None:
        await self._queue_drained.park()

    async def _write_frames(self) -> None:
        while True:
            while not self._queue:
                await self._queue_filled.park()
            batch = bytearray(self._queue.popleft())
            while self._queue and len(batch) + len(self._queue[0]) <= MAX_PAYLOAD_BYTES:
                batch += self._queue.popleft()
            await self.share.turn(self, _MESSAGE_S + _BYTE_S * len(batch))
            await self.secured_conn.write(bytes(batch))
            self.queued_bytes -= len(batch)
            if not self._queue:
                self._replies = 0
            self._queue_drained.unpark_all()

    async def _read_frames(self) -> None:
        buffer = bytearray()
        while not self._has_heard_goodbye:
            if not self.share.has_room:
                await self._make_room()
            data = await self.secured_conn.read()
            if not data:
                raise YamuxError("the connection ended")
            self._heard_at = trio.current_time()
            await self.share.turn(self, _MESSAGE_S + _BYTE_S * len(data))
            buffer += data
            await self._work_off(buffer)

    async def _work_off(self, buffer: bytearray) -> None:
        """Process the buffered frames in slices of 500 µs: one message can hold thousands."""
        started, beyond_s = time.perf_counter(), 0.0
        while not self._has_heard_goodbye:
            cost_s = self._take_next(buffer)
            if cost_s is None:
                break
            beyond_s += cost_s
            spent_s = time.perf_counter() - started + beyond_s
            if spent_s > _SLICE_S:
                await self.share.turn(self, spent_s)
                started, beyond_s = time.perf_counter(), 0.0
        self.share.charge(time.perf_counter() - started + beyond_s)

    def _take_next(self, buffer: bytearray) -> float | None:
        """Process one frame, or a part of its payload. Return None if more bytes are needed first.

        Else return the seconds of the event loop that it will cost later. Raises: `YamuxError`.
        """
        if self._payload_left:
            return self._take_payload(buffer)
        if len(buffer) < HEADER.size:
            return None
        version, kind, flags, stream_id, length = HEADER.unpack_from(buffer)
        del buffer[: HEADER.size]
        if version != 0 or kind > GO_AWAY:
            raise YamuxError(f"version {version}, frame type {kind}")
        if kind == GO_AWAY:
            self._has_heard_goodbye = True
            return 0.0
        if kind == PING:
            self._take_ping(flags, length)
            return 0.0
        opened = len(self.streams)
        stream = self._stream_of(stream_id, flags)
        cost_s = _STREAM_S if len(self.streams) > opened else 0.0
        if kind == DATA and length:
            if length > self.limits.max_window_bytes:
                raise YamuxError(f"a frame of {length} bytes")
            if stream is not None:
                stream.check_window(length)
            else:
                self.spend()
            self._payload_stream, self._payload_left, self._payload_flags = stream, length, flags
            return cost_s
        if not flags & SYN:
            # A window update, FIN, RST or an empty frame costs its sender nothing.
            self.spend(_RESET_COSTS if flags & RST and not self.is_ours(stream_id) else 1.0)
        if stream is not None:
            stream.take(kind, flags, length, b"")
        return cost_s

    def _take_payload(self, buffer: bytearray) -> float | None:
        """Deliver the buffered part of a payload: a frame is not held until it is complete."""
        if not buffer:
            return None
        count = min(len(buffer), self._payload_left)
        self._payload_left -= count
        stream = self._payload_stream
        if stream is not None and stream.is_open:
            payload = bytes(memoryview(buffer)[:count])
            flags = 0 if self._payload_left else self._payload_flags
            self._useless.earn(_STREAM_EARNS * stream.is_untouched + count / _EARNING_BYTES)
            stream.take(DATA, flags, count, payload)
        else:  # it was on its way when this side reset the stream
            self._useless.earn(count / _EARNING_BYTES)
        if not self._payload_left:
            self._payload_stream = None
        del buffer[:count]
        return 0.0

    async def _make_room(self) -> None:
        """Stop reading from the connection until streams were read; after five seconds reset the largest."""
        with trio.move_on_after(min(_PAUSE_S, self.limits.heartbeat_s)):
            while not self.share.has_room:
                await self.share.wait_for_room()
        self._heard_at = trio.current_time()
        while not self.share.has_room:
            largest = max(self.streams.values(), key=lambda stream: stream.unread_bytes)
            log.debug("stream reset reason=unread peer=%s bytes=%d", self.peer_id, largest.unread_bytes)
            largest.reset_now()

    def spend(self, cost: float = 1.0) -> None:
        """Take the cost of useless frames out of the bucket. Raises: `FloodError` if it is empty."""
        if not self._useless.spend(cost):
            raise FloodError("the peer sends too many useless frames")

    def blame(self, cost: float) -> None:
        """As `spend`, from another task: close the connection if the bucket is empty."""
        try:
            self.spend(cost)
        except FloodError as exc:
            log.debug("connection ended peer=%s reason=%r", self.peer_id, exc)
            self.share.note_flood()
            self._scope.cancel()

    async def turn_to_read(self) -> None:
        await self.share.turn(self, _READ_S)

    def _take_ping(self, flags: int, value: int) -> None:
        self.spend()
        if flags & SYN:
            self._reply(PING, ACK, 0, value)
        elif self._ping_sent_at is not None:
            self.round_trip_s = trio.current_time() - self._ping_sent_at
            self._ping_sent_at = None

    def _stream_of(self, stream_id: int, flags: int) -> YamuxStream | None:
        """Return the stream of a frame, opened by SYN; None if the frame is to be dropped."""
        if not flags & SYN:
            return self.streams.get(stream_id)  # None if this side has reset it
        # Ids need not come in order: SYN leaves with the first frame of a stream, not when it is opened.
        if stream_id == 0 or self.is_ours(stream_id) or stream_id in self.streams:
            raise YamuxError(f"the peer opened stream {stream_id}")
        self.spend()  # credited again with the first bytes
        theirs = sum(not self.is_ours(number) for number in self.streams)
        if theirs >= self.limits.max_streams or self._closing:
            self._reply(WINDOW, RST, stream_id, 0)
            return None
        stream = YamuxStream(self, stream_id)
        try:
            self._from_peer.send_nowait(stream)
        except trio.WouldBlock:
            self._reply(WINDOW, RST, stream_id, 0)
            return None
        self.streams[stream_id] = stream
        stream.acknowledge()
        return stream

    async def _watch(self) -> None:
        """Ping the peer, close the connection if it is silent for 2.5 intervals, and reset streams left half open."""
        interval_s = self.limits.heartbeat_s
        while True:
            await trio.sleep(interval_s)
            now = trio.current_time()
            if now - self._heard_at > 2.5 * interval_s:
                raise YamuxError("the peer is silent")
            if self._ping_sent_at is None:
                self._ping_sent_at = now
                self.send(PING, SYN, 0, 0)
            while self._lingering and self._lingering[0][0] < now:
                self._lingering.popleft()[1].reset_now()

    def linger(self, stream: YamuxStream) -> None:
        self._lingering.append((trio.current_time() + _LINGER_S, stream))

    def forget(self, stream: YamuxStream) -> None:
        self.streams.pop(stream.stream_id, None)

    def get_remote_address(self) -> tuple[str, int] | None:
        return self.secured_conn.get_remote_address()

    def get_transport_addresses(self) -> list[Multiaddr]:
        """Return the peer's addresses on this connection."""
        return self.secured_conn.get_transport_addresses()

    def get_connection_type(self) -> ConnectionType:
        """Return whether it is direct or relayed."""
        return self.secured_conn.get_connection_type()


def _remote_of(secured: ISecureConn) -> tuple[str, int] | None:
    """Return the host and port of a connection, None if it does not know them."""
    return secured.get_remote_address() if hasattr(secured, "get_remote_address") else None
