"""Floods over yamux and over streams, counted in frames, bytes and passes of the loop, never by the clock."""

from __future__ import annotations

from contextlib import suppress

import pytest

pytest.importorskip("libp2p", reason="libp2p is not installed: pip install 'phase-plasm[libp2p]'")

import trio
import trio.testing
from libp2p.stream_muxer.exceptions import MuxedStreamReset

from plasm_core.loop_fairness import LoopTurns
from plasm_core.plugins.interfaces import Stream
from plasm_transport_libp2p import framing, negotiation
from plasm_transport_libp2p.host_resources import CONNECTION_BYTES, FLOOR_BYTES, HostResources, UnreadMemory
from plasm_transport_libp2p.limits import ConnectionLimits
from plasm_transport_libp2p.yamux.connection import YamuxConnection
from plasm_transport_libp2p.yamux.stream import INITIAL_WINDOW_BYTES
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

USELESS = {
    "no credit": frame(WINDOW, 0, 1, 0),
    "a byte of credit": frame(WINDOW, 0, 1, 1),
    "empty data": frame(DATA, 0, 1, 0),
    "acknowledgements": frame(WINDOW, ACK, 1, 0),
    "pings": frame(PING, SYN, 0, 7),
    "pongs": frame(PING, ACK, 0, 7),
    "credit of no stream": frame(WINDOW, 0, 99, 1),
    "data of no stream": frame(DATA, 0, 99, 1, b"x"),
    "resets of no stream": frame(WINDOW, RST, 99, 0),
    "ends of no stream": frame(DATA, FIN, 99, 0),
}


@pytest.mark.parametrize("kind", USELESS)
async def test_frames_that_bring_nothing_end_the_connection(kind: str) -> None:
    async with stranger() as (conn, peer), trio.open_nursery() as nursery:
        nursery.start_soon(_drain, peer)
        await peer.write(frame(WINDOW, SYN, 1, 0))
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            for _ in range(100):
                await peer.write(USELESS[kind] * 500)
        await closed(conn)
        nursery.cancel_scope.cancel()


PROPOSAL = negotiation.proposal("/ipfs/id/1.0.0")


@pytest.mark.parametrize(
    ("how", "first"),
    [
        ("reset", b""),
        ("reset", PROPOSAL),
        ("more than may be open", b""),
        ("more than may be open", PROPOSAL),
        ("ended", b""),
    ],
    ids=["reset", "reset-proposal", "too-many", "too-many-proposals", "ended"],
)
async def test_streams_that_come_and_go_end_the_connection(how: str, first: bytes) -> None:
    """HTTP/2's rapid reset (CVE-2023-44487), on yamux."""
    async with stranger() as (conn, peer), trio.open_nursery() as nursery:
        nursery.start_soon(_drain, peer)
        nursery.start_soon(_accept_all, conn, how == "ended")
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            for number in range(1, 40_001, 2):
                end = {"reset": frame(WINDOW, RST, number, 0), "ended": frame(WINDOW, FIN, number, 0)}.get(
                    how, b""
                )
                await peer.write(frame(DATA, SYN, number, len(first), first) + end)
        await closed(conn)
        nursery.cancel_scope.cancel()


async def _drain(peer: Pipe) -> None:
    with suppress(ConnectionError, trio.BrokenResourceError, trio.ClosedResourceError):
        while True:
            await peer.read()


async def _accept_all(conn: YamuxConnection, end: bool) -> None:
    with suppress(Exception):
        while True:
            stream = await conn.accept_stream()
            if end:
                await stream.close()


async def test_an_honest_peer_may_give_as_much_credit_as_it_was_sent_bytes() -> None:
    """Credit for every kilobyte, ten thousand times, as from a peer with small buffers."""
    async with stranger() as (conn, peer), trio.open_nursery() as nursery:
        nursery.start_soon(_drain, peer)
        await peer.write(frame(WINDOW, SYN, 1, 0))
        stream = await conn.accept_stream()
        for _ in range(10_000):
            await stream.write(bytes(1024))
            await peer.write(frame(WINDOW, 0, 1, 1024))
        await trio.testing.wait_all_tasks_blocked()

        assert conn.is_established
        nursery.cancel_scope.cancel()


async def test_an_honest_peer_may_open_and_end_streams_as_it_asks() -> None:
    async with stranger() as (conn, peer), trio.open_nursery() as nursery:
        nursery.start_soon(_drain, peer)
        nursery.start_soon(_accept_all, conn, True)
        for number in range(1, 20_001, 2):
            await peer.write(frame(DATA, SYN, number, 3, b"ask") + frame(WINDOW, FIN, number, 0))
            if number % 64 == 1:  # no more than may be open at once
                await trio.testing.wait_all_tasks_blocked()
        await trio.testing.wait_all_tasks_blocked()

        assert conn.is_established
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("kind", ["pings", "data of no stream", "no credit"])
async def test_a_message_of_thousands_of_frames_leaves_others_their_passes(kind: str) -> None:
    """Also outbound: a bootstrap node that floods the nodes that dial it."""
    shares = HostResources()
    shares.turns = LoopTurns(pass_s=1e-5)  # far less than a slice of frames costs
    ours, theirs = trio.testing.memory_stream_pair()
    conn = YamuxConnection(Pipe(ours, is_initiator=True), PEER, ConnectionLimits(), shares)  # type: ignore[arg-type]
    conn._useless._capacity = conn._useless._left = 1e9  # so that the budget does not end it

    async with trio.open_nursery() as nursery:
        nursery.start_soon(shares.turns.run)
        nursery.start_soon(conn.start)
        await conn.event_started.wait()
        peer = Pipe(theirs, is_initiator=False)
        nursery.start_soon(_drain, peer)
        passes = shares.turns.passes
        await peer.write(USELESS[kind] * 20_000)  # which take a fast machine more than five slices as well
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()

    assert shares.turns.passes - passes >= 5


async def test_a_close_between_garbage_ends_the_connection() -> None:
    async with stranger() as (conn, peer):
        await peer.write(frame(GO_AWAY, 0, 0, 0) + b"\xff" * 5000)
        await closed(conn)


async def test_windows_that_nobody_reads_are_bounded_for_a_connection(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """64 streams of 256 KiB each: those that hold most are reset, and the others go on."""
    limits = ConnectionLimits(max_streams=64)
    async with stranger(limits) as (conn, peer), trio.open_nursery() as nursery:
        nursery.start_soon(_drain, peer)
        held = 0
        for number in range(1, 129, 2):
            part = frame(DATA, SYN, number, INITIAL_WINDOW_BYTES, bytes(INITIAL_WINDOW_BYTES))
            await peer.write(part)
            held = max(held, conn.share.held_bytes)
        await trio.sleep(60)

        assert conn.is_established
        assert max(held, conn.share.held_bytes) <= CONNECTION_BYTES + INITIAL_WINDOW_BYTES
        assert conn.share.held_bytes == sum(stream.unread_bytes for stream in conn.streams.values())
        nursery.cancel_scope.cancel()


async def test_a_reader_that_starts_before_the_deadline_loses_nothing(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The peer is only not read from for a moment."""
    async with stranger() as (conn, peer), trio.open_nursery() as nursery:
        nursery.start_soon(_drain, peer)
        for number in range(1, 129, 2):
            part = frame(DATA, SYN, number, INITIAL_WINDOW_BYTES, bytes(INITIAL_WINDOW_BYTES))
            nursery.start_soon(peer.write, part) if number > 127 else await peer.write(part)
            if conn.share.room_bytes <= 0:
                break
        received = 0

        async def read() -> None:
            nonlocal received
            while True:
                stream = await conn.accept_stream()
                with suppress(MuxedStreamReset):
                    count = 0
                    while count < INITIAL_WINDOW_BYTES:
                        count += len(await stream.read(65_536))
                    received += 1

        nursery.start_soon(read)
        await trio.sleep(1)

        assert received >= 30
        assert conn.share.held_bytes == 0
        nursery.cancel_scope.cancel()


async def test_the_peer_that_holds_most_is_stopped_first_and_others_always_fit() -> None:
    unread = UnreadMemory(total_bytes=64 << 20)
    held = dict.fromkeys(range(500), 0)
    for connection in held:
        while unread.allowed("flood", held[connection]) > held[connection]:
            unread.take("flood", 1 << 16)
            held[connection] += 1 << 16

    assert unread.held_bytes <= (32 << 20) + 500 * FLOOR_BYTES + (1 << 20)
    assert unread.allowed("another", 0) >= FLOOR_BYTES
    assert held[499] >= FLOOR_BYTES


async def test_bytes_of_groups_together_stay_within_the_total_and_the_floors() -> None:
    unread = UnreadMemory(total_bytes=64 << 20)
    for connection in range(512):
        held, group = 0, str(connection // 8)
        while unread.allowed(group, held) > held:
            unread.take(group, 1 << 16)
            held += 1 << 16

    assert unread.held_bytes <= (64 << 20) + 512 * FLOOR_BYTES


class _Read(Stream):
    """A stream on which everything came at once."""

    remote_peer = None
    remote_group = "test"

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.pauses = 0

    async def send_all(self, data: bytes) -> None:
        raise AssertionError("nothing is sent")

    async def receive_some(self, max_bytes: int = 65_536) -> bytes:
        data, self.data = self.data, b""
        return data

    async def pause(self) -> None:
        self.pauses += 1
        await trio.lowlevel.checkpoint()

    async def aclose(self) -> None:
        pass


async def test_messages_that_came_at_once_are_paused_between() -> None:
    stream = _Read(framing.encode(b"question") * 100)
    reader = framing.MessageReader(stream, 64)
    messages = 0
    while await reader.next() is not None:
        messages += 1

    assert messages == 100
    assert stream.pauses == 99
