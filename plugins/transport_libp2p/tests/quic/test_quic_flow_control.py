"""A window moves when the application reads, and not before."""

from __future__ import annotations

import random

import pytest

pytest.importorskip("libp2p", reason="libp2p is not installed: pip install 'phase-plasm[libp2p]'")
pytest.importorskip("aioquic", minversion="1.7", reason="aioquic 1.7 is not installed")

import trio

from plasm_transport_libp2p.quic import QuicLimits
from plasm_transport_libp2p.quic.stream import QuicMuxedStream
from tests.support.quic import accepted, ask, echo, pair, read_all, until

pytestmark = pytest.mark.trio

WINDOW = 1 << 20
LIMITS = QuicLimits(stream_window_bytes=WINDOW, connection_window_bytes=4 * WINDOW, send_buffer_bytes=1 << 18)


def unread(stream: QuicMuxedStream) -> int:
    return stream.unread_bytes


async def test_a_paused_reader_holds_its_window_while_another_stream_is_served() -> None:
    data = random.Random(3).randbytes(3 * WINDOW)
    paused: list[QuicMuxedStream] = []
    resume, received = trio.Event(), trio.Event()
    got: list[bytes] = []

    async def pause(stream: QuicMuxedStream) -> None:
        if await stream.read(1) != b"p":
            await echo(stream)
            return
        paused.append(stream)
        await resume.wait()
        got.append(await read_all(stream))
        received.set()

    async with pair(serve=pause, limits=LIMITS) as (_node, _client, connection):
        stream = await connection.open_stream()

        async def send() -> None:
            await stream.write(b"p" + data)
            await stream.close_write()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            await until(lambda: bool(paused) and paused[0].unread_bytes >= WINDOW - 1)
            for _ in range(50):
                assert await ask(connection, b"xyz" * 1000) == (b"xyz" * 1000)[1:]
            held = paused[0].unread_bytes
            resume.set()
            await received.wait()

    # The byte that was read gave back too little to be worth a frame.
    assert held == WINDOW - 1
    assert got == [data]


async def test_a_connection_keeps_its_window_while_readers_pause() -> None:
    paused: list[QuicMuxedStream] = []

    async def pause(stream: QuicMuxedStream) -> None:
        paused.append(stream)
        await trio.sleep_forever()

    async with (
        pair(serve=pause, limits=LIMITS) as (_node, _client, connection),
        trio.open_nursery() as nursery,
    ):
        for _ in range(8):
            stream = await connection.open_stream()
            nursery.start_soon(stream.write, bytes(WINDOW * 2))
        await until(lambda: len(connection._writers) == 8 and sum(map(unread, paused)) >= 4 * WINDOW)
        held = sum(map(unread, paused))
        nursery.cancel_scope.cancel()

    assert held == 4 * WINDOW


async def test_a_reader_with_little_credit_left_is_not_starved() -> None:
    """Seven readers hold seven eighths of the connection's window; the last must go on through the rest."""
    size = 1 << 16
    limits = QuicLimits(stream_window_bytes=size, connection_window_bytes=8 * size, send_buffer_bytes=size)
    data = random.Random(4).randbytes(20 * size)

    async def pause_or_echo(stream: QuicMuxedStream) -> None:
        if await stream.read(1) == b"e":
            await echo(stream)
        await trio.sleep_forever()

    async with (
        pair(serve=pause_or_echo, limits=limits) as (node, _client, connection),
        trio.open_nursery() as nursery,
    ):
        for _ in range(7):
            stream = await connection.open_stream()
            nursery.start_soon(stream.write, bytes(2 * size))
        inbound = await accepted(node)
        await until(lambda: sum(map(unread, inbound._streams.values())) >= 7 * (size - 1))

        assert await ask(connection, b"e" + data) == data
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("how", ["close_read", "reset by the reader", "reset by the writer"])
async def test_unread_data_of_a_closed_stream_returns_its_credit(how: str) -> None:
    """Otherwise each stream that is broken off takes its bytes out of the connection's window for ever."""
    limits = QuicLimits(
        stream_window_bytes=1 << 16, connection_window_bytes=1 << 17, send_buffer_bytes=1 << 16
    )

    async def leave(stream: QuicMuxedStream) -> None:
        if await stream.read(1) == b"e":
            await echo(stream)
            return
        await until(lambda: stream.unread_bytes > 50_000)
        if how == "close_read":
            await stream.close_read()
        elif how == "reset by the reader":
            await stream.reset()
        else:
            await stream.write(b"go")
            await trio.sleep_forever()

    async with pair(serve=leave, limits=limits) as (_node, _client, connection):
        for _ in range(20):
            stream = await connection.open_stream()
            await stream.write(b"p" + bytes(60_000))
            if how == "reset by the writer":
                await stream.read(2)
            await stream.reset()

        assert await ask(connection, b"e" + bytes(300_000)) == bytes(300_000)


async def test_a_writer_runs_no_further_ahead_than_its_buffer() -> None:
    most = WINDOW + LIMITS.send_buffer_bytes
    taken = 0
    paused: list[QuicMuxedStream] = []

    async def never_read(stream: QuicMuxedStream) -> None:
        paused.append(stream)
        await trio.sleep_forever()

    async with pair(serve=never_read, limits=LIMITS) as (_node, _client, connection):
        stream = await connection.open_stream()

        async def write() -> None:
            nonlocal taken
            while True:
                await stream.write(bytes(1 << 14))
                taken += 1 << 14

        async with trio.open_nursery() as nursery:
            nursery.start_soon(write)
            # The last bytes of the window may arrive before the writer knows, and goes on.
            await until(
                lambda: (
                    stream in connection._writers
                    and connection._protocol._streams[stream.stream_id].sender._buffer_start == WINDOW
                )
            )
            nursery.cancel_scope.cancel()

    assert sum(map(unread, paused)) == WINDOW
    assert WINDOW < taken <= most


async def test_reading_a_limited_count_leaves_the_rest() -> None:
    async with pair() as (_node, _client, connection):
        stream = await connection.open_stream()
        await stream.write(b"abcdef")
        await stream.close_write()
        parts = [await stream.read(2), await stream.read(0)]
        rest = await read_all(stream)

    assert [*parts, rest] == [b"ab", b"", b"cdef"]
