"""A connection that carries streams: one task reads frames, one writes them, one watches the peer."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

import trio
from libp2p.abc import ISecureConn
from libp2p.connection_types import ConnectionType
from libp2p.peer.id import ID
from libp2p.stream_muxer.exceptions import MuxedConnUnavailable
from multiaddr import Multiaddr

from plasm_transport_libp2p.limits import Limits
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
    YamuxError,
)
from plasm_transport_libp2p.yamux.stream import Carrier, YamuxStream

log = logging.getLogger(__name__)

PROTOCOL = "/yamux/1.0.0"

_QUEUED_REPLIES = 4096  # frames that the peer makes us send, such as pongs
_LINGER_S = 30.0  # how long a closed stream waits for the end of the other side
_FLUSH_S = 1.0


class Yamux(Carrier):
    """One connection. The swarm runs `start`, which lasts as long as the connection."""

    def __init__(self, secured: ISecureConn, peer_id: ID, limits: Limits) -> None:
        self.secured_conn = secured
        self.peer_id = peer_id
        self.limits = limits
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
        """Whether it has ended."""
        return self.event_closed.is_set()

    def is_ours(self, stream_id: int) -> bool:
        return stream_id % 2 == self._next_id % 2

    async def open_stream(self) -> YamuxStream:
        """Open a stream. Nothing is sent before its first frame. Raises: `MuxedConnUnavailable`."""
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
        """Run the connection until it ends. Never raises but when cancelled."""
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
            log.debug("connection ended peer=%s reason=%r", self.peer_id, exc)
        self._scope.cancel()

    async def _end(self) -> None:
        """Break the streams that are open and give the connection back."""
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
        """Send what is queued, say goodbye, and end."""
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
        self._queue.append(frame)
        self.queued_bytes += len(frame)
        self._queue_filled.unpark_all()

    def _reply(self, kind: int, flags: int, stream_id: int, length: int) -> None:
        """Queue a frame that answers one. Raises: `YamuxError` if the peer asks faster than it reads."""
        self._replies += 1
        if self._replies > _QUEUED_REPLIES:
            raise YamuxError("it does not read the answers it asks for")
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
            await self.secured_conn.write(bytes(batch))
            self.queued_bytes -= len(batch)
            if not self._queue:
                self._replies = 0
            self._queue_drained.unpark_all()

    async def _read_frames(self) -> None:
        while True:
            version, kind, flags, stream_id, length = HEADER.unpack(await self._read(HEADER.size))
            self._heard_at = trio.current_time()
            if version != 0 or kind > GO_AWAY:
                raise YamuxError(f"version {version}, frame type {kind}")
            if kind == GO_AWAY:
                return
            if kind == PING:
                self._take_ping(flags, length)
                continue
            stream = self._stream_of(stream_id, flags)
            payload = b""
            if kind == DATA:
                if length > self.limits.max_window_bytes:
                    raise YamuxError(f"a frame of {length} bytes")
                payload = await self._read(length)
            if stream is not None:
                stream.take(kind, flags, length, payload)

    async def _read(self, count: int) -> bytes:
        data = await self.secured_conn.read(count)
        if len(data) != count:
            raise YamuxError("the connection ended within a frame")
        return data

    def _take_ping(self, flags: int, value: int) -> None:
        if flags & SYN:
            self._reply(PING, ACK, 0, value)
        elif self._ping_sent_at is not None:
            self.round_trip_s = trio.current_time() - self._ping_sent_at
            self._ping_sent_at = None

    def _stream_of(self, stream_id: int, flags: int) -> YamuxStream | None:
        """Return the stream of a frame, opened if it is new and may be; None if the frame is to be dropped."""
        if not flags & SYN:
            return self.streams.get(stream_id)  # None: of a stream that was reset here
        # Ids need not come in order: a stream is announced by its first frame.
        if stream_id == 0 or self.is_ours(stream_id) or stream_id in self.streams:
            raise YamuxError(f"it opened stream {stream_id}")
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
        """Ping the peer, end the connection of one that is silent, reset streams that were left half open."""
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
