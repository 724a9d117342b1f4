"""Answering `/ipfs/ping/1.0.0`, so that directories in other languages keep this node."""

from __future__ import annotations

import pytest

pytest.importorskip("libp2p", reason="libp2p is not installed: pip install 'phase-plasm[libp2p]'")

import trio

from plasm_core.errors import StreamError
from plasm_core.plugins.interfaces import Stream
from plasm_core.testing.transport_contract import PROTOCOL as WORK
from plasm_transport_libp2p import ping
from plasm_transport_libp2p.transport import Libp2pTransport

pytestmark = pytest.mark.trio

NODE = Libp2pTransport(listen=("/ip4/127.0.0.1/tcp/0",))
CLIENT = Libp2pTransport(listen=())


async def ignore(_stream: Stream) -> None:
    pass


async def receive(stream: Stream, count: int) -> bytes:
    received = b""
    while len(received) < count and (data := await stream.receive_some()):
        received += data
    return received


async def test_a_ping_is_echoed_unchanged_in_any_pieces() -> None:
    async with NODE.open(None, {WORK: ignore}) as node, CLIENT.open(None, {}) as client:
        with trio.fail_after(10):
            stream = await client.dial(node.addresses[0], ping.PROTOCOL)
            for number in range(3):
                sent = bytes([number]) * ping.PING_BYTES
                await stream.send_all(sent[:5])
                await stream.send_all(sent[5:])
                received = await receive(stream, ping.PING_BYTES)
                assert received == sent
            await stream.send_all(b"less")
            await stream.aclose()


async def test_an_endless_ping_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ping, "_MAX_PINGS", 2)
    async with NODE.open(None, {WORK: ignore}) as node, CLIENT.open(None, {}) as client:
        with trio.fail_after(10):
            stream = await client.dial(node.addresses[0], ping.PROTOCOL)
            await stream.send_all(bytes(3 * ping.PING_BYTES))
            try:
                received = await receive(stream, 3 * ping.PING_BYTES)
            except StreamError:
                received = b""
            await stream.aclose()

    assert len(received) <= 2 * ping.PING_BYTES


async def test_a_host_that_serves_nothing_answers_no_ping() -> None:
    async with CLIENT.open(None, {}) as client:
        assert ping.PROTOCOL not in client.protocols  # type: ignore[attr-defined]
