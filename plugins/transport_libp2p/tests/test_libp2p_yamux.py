"""The muxer against a peer that keeps the protocol and one that does not, on trio's clock."""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

pytest.importorskip("libp2p", reason="libp2p is not installed: pip install 'phase-plasm[libp2p]'")

import trio
import trio.testing
from libp2p.stream_muxer.exceptions import (
    MuxedConnUnavailable,
    MuxedStreamClosed,
    MuxedStreamEOF,
    MuxedStreamReset,
)

from plasm_transport_libp2p.limits import ConnectionLimits
from plasm_transport_libp2p.yamux.connection import YamuxConnection
from plasm_transport_libp2p.yamux.stream import INITIAL_WINDOW_BYTES, YamuxStream
from tests.support.yamux import (
    ACK,
    DATA,
    FIN,
    GO_AWAY,
    PEER,
    PING,
    RST,
    SYN,
    WINDOW,
    Pipe,
    closed,
    frame,
    stranger,
)

pytestmark = pytest.mark.trio


@asynccontextmanager
async def pair(
    limits: ConnectionLimits | None = None,
) -> AsyncIterator[tuple[YamuxConnection, YamuxConnection]]:
    ours, theirs = trio.testing.memory_stream_pair()
    limits = limits or ConnectionLimits()
    dialler = YamuxConnection(Pipe(ours, is_initiator=True), PEER, limits)  # type: ignore[arg-type]
    listener = YamuxConnection(Pipe(theirs, is_initiator=False), PEER, limits)  # type: ignore[arg-type]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(dialler.start)
        nursery.start_soon(listener.start)
        await dialler.event_started.wait()
        await listener.event_started.wait()
        yield dialler, listener
        nursery.cancel_scope.cancel()


async def read_to(stream: YamuxStream, end: type[Exception]) -> bytes:
    """Read up to the end that is expected."""
    received = b""
    try:
        while True:
            received += await stream.read(50_000)
    except end:
        return received


async def test_the_first_bytes_open_the_stream() -> None:
    """Header, proposal and request in one frame: no round trip is waited for."""
    async with pair() as (dialler, listener):
        stream = await dialler.open_stream()
        await stream.write(b"hello")
        accepted = await listener.accept_stream()
        assert await accepted.read(100) == b"hello"
        await accepted.write(b"hi")
        assert await stream.read(100) == b"hi"


async def test_an_end_a_reset_and_a_broken_connection_are_distinguished() -> None:
    async with pair() as (dialler, listener):
        streams = [await dialler.open_stream() for _ in range(3)]
        for stream in streams:
            await stream.write(b"x")
        accepted = [await listener.accept_stream() for _ in range(3)]
        await accepted[0].close()
        await accepted[1].reset()
        with pytest.raises(MuxedStreamEOF):
            await streams[0].read(1)
        with pytest.raises(MuxedStreamReset):
            await streams[1].read(1)
        await listener.secured_conn.close()
        await closed(dialler)
        with pytest.raises(MuxedStreamReset):
            await streams[2].read(1)
        with pytest.raises(MuxedConnUnavailable):
            await dialler.open_stream()
        with pytest.raises(MuxedConnUnavailable):
            await dialler.accept_stream()


async def test_data_sent_before_the_end_arrives() -> None:
    data = bytes(range(256)) * 4096
    async with pair() as (dialler, listener):
        stream = await dialler.open_stream()

        async def send() -> None:
            await stream.write(data)
            await stream.close()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            accepted = await listener.accept_stream()
            received = await read_to(accepted, MuxedStreamEOF)
        await accepted.close()
        assert received == data
        with pytest.raises(MuxedStreamClosed):
            await stream.write(b"more")
        await trio.testing.wait_all_tasks_blocked()
        assert dialler.streams == listener.streams == {}


async def test_a_reader_that_waits_holds_no_more_than_its_window(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A writer waits as long as it takes: the library gives up after five seconds."""
    async with pair() as (dialler, listener):
        stream = await dialler.open_stream()
        sent = 0

        async def flood() -> None:
            nonlocal sent
            for _ in range(100):
                await stream.write(bytes(16_384))
                sent += 16_384

        async with trio.open_nursery() as nursery:
            nursery.start_soon(flood)
            accepted = await listener.accept_stream()
            await trio.sleep(300)
            assert sent <= INITIAL_WINDOW_BYTES
            assert len(accepted._received) == INITIAL_WINDOW_BYTES
            other = await dialler.open_stream()
            await other.write(b"meanwhile")
            assert await (await listener.accept_stream()).read(9) == b"meanwhile"
            received = 0
            while received < 100 * 16_384:
                received += len(await accepted.read(65_536))


async def test_cancelling_a_writer_does_not_affect_others() -> None:
    """The library stops in the middle of a frame, and the connection is lost."""
    async with pair() as (dialler, listener):
        stuck = await dialler.open_stream()
        with trio.move_on_after(0.1):
            await stuck.write(bytes(4 << 20))
        await stuck.reset()
        other = await dialler.open_stream()
        await other.write(b"still sound")
        first = await listener.accept_stream()
        second = await listener.accept_stream()
        assert await second.read(100) == b"still sound"
        await read_to(first, MuxedStreamReset)


async def test_a_silent_peer_is_given_up(autojump_clock: trio.testing.MockClock) -> None:
    """As one that is stopped, whose kernel keeps the connection up."""
    async with stranger(ConnectionLimits(heartbeat_s=10)) as (conn, _):
        started = trio.current_time()
        await closed(conn)

        assert 20 <= trio.current_time() - started <= 40


async def test_a_peer_that_answers_is_kept(autojump_clock: trio.testing.MockClock) -> None:
    async with pair(ConnectionLimits(heartbeat_s=10)) as (dialler, listener):
        await trio.sleep(600)

        assert dialler.is_established
        assert listener.is_established
        assert dialler.round_trip_s is not None


async def test_a_stream_that_the_peer_does_not_end_is_reset(autojump_clock: trio.testing.MockClock) -> None:
    async with pair() as (dialler, listener):
        stream = await dialler.open_stream()
        await stream.write(b"x")
        accepted = await listener.accept_stream()
        await accepted.close()
        assert len(listener.streams) == 1
        await trio.sleep(120)

        assert listener.streams == dialler.streams == {}


@pytest.mark.parametrize(
    "frames",
    [
        struct.pack("!BBHII", 1, DATA, 0, 0, 0),
        struct.pack("!BBHII", 0, 9, 0, 0, 0),
        frame(DATA, SYN, 2, 0),
        frame(DATA, SYN, 0, 0),
        frame(DATA, SYN, 1, 0) * 2,
        frame(DATA, SYN, 1, 0xFFFFFFFF),
        frame(DATA, SYN, 1, INITIAL_WINDOW_BYTES + 1, bytes(INITIAL_WINDOW_BYTES + 1)),
        frame(DATA, SYN | FIN, 1, 1, b"x") + frame(DATA, 0, 1, 1, b"x"),
    ],
    ids=["version", "type", "parity", "zero", "twice", "huge", "beyond-window", "after-end"],
)
async def test_a_peer_that_violates_the_protocol_is_disconnected(frames: bytes) -> None:
    async with stranger() as (conn, peer):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_send_ignoring_hangup, peer, frames)
            await closed(conn)

        assert conn.streams == {}


async def _send_ignoring_hangup(peer: Pipe, frames: bytes) -> None:
    with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
        await peer.write(frames)


async def test_a_peer_that_does_not_read_its_answers_is_disconnected() -> None:
    ours, theirs = trio.testing.lockstep_stream_pair()  # a write waits until it is read
    conn = YamuxConnection(Pipe(ours, is_initiator=False), PEER, ConnectionLimits())  # type: ignore[arg-type]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(conn.start)
        nursery.start_soon(
            _send_ignoring_hangup, Pipe(theirs, is_initiator=True), frame(PING, SYN, 0, 7) * 10_000
        )
        await closed(conn)


async def test_streams_beyond_the_limit_are_reset_one_by_one() -> None:
    async with stranger(ConnectionLimits(max_streams=2)) as (conn, peer):
        await peer.write(b"".join(frame(DATA, SYN, 2 * index + 1, 1, b"x") for index in range(4)))
        for _ in range(2):
            await conn.accept_stream()
        answers = [struct.unpack("!BBHII", await peer.read(12)) for _ in range(4)]

        assert [(flags, stream) for _, _, flags, stream, _ in answers] == [
            (ACK, 1),
            (ACK, 3),
            (RST, 5),
            (RST, 7),
        ]
        assert conn.is_established


async def test_frames_of_streams_that_are_gone_are_dropped() -> None:
    async with stranger() as (conn, peer):
        await peer.write(frame(DATA, SYN, 1, 1, b"x"))
        accepted = await conn.accept_stream()
        await accepted.reset()
        await peer.write(
            frame(DATA, 0, 1, 4, b"late") + frame(WINDOW, 0, 1, 100) + frame(DATA, SYN, 3, 2, b"ok")
        )

        assert await (await conn.accept_stream()).read(2) == b"ok"


async def test_closing_sends_queued_data_and_a_go_away_frame() -> None:
    async with stranger() as (conn, peer):
        await peer.write(frame(DATA, SYN, 1, 1, b"x"))
        accepted = await conn.accept_stream()
        await accepted.write(b"last words")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(conn.close)
            received = b""
            while not received.endswith(frame(GO_AWAY, 0, 0, 0)):
                received += await peer.read(1)

        assert b"last words" in received
        await closed(conn)
