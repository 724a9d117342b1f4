"""In py-libp2p's hosts, and with py-libp2p's own QUIC on the other side."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable

import pytest

pytest.importorskip("libp2p", reason="libp2p is not installed: pip install 'phase-plasm[libp2p]'")
pytest.importorskip("aioquic", minversion="1.7", reason="aioquic 1.7 is not installed")

import trio
from libp2p import new_host
from libp2p.abc import IHost, INetStream, ITransport
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.crypto.keys import PrivateKey
from libp2p.custom_types import TProtocol
from libp2p.network.exceptions import SwarmException
from libp2p.network.stream.exceptions import StreamEOF
from libp2p.peer.id import ID
from libp2p.peer.peerinfo import info_from_p2p_addr
from libp2p.transport.quic.config import QUICTransportConfig
from libp2p.transport.quic.transport import QUICTransport
from multiaddr import Multiaddr

from plasm_transport_libp2p.quic import QuicTransport
from tests.support.quic import DEADLINE_S, LISTEN

pytestmark = pytest.mark.trio

ECHO = TProtocol("/plasm-test/echo/1.0.0")
SIZE = 200_000

Make = Callable[[PrivateKey], ITransport]


def own(key: PrivateKey) -> ITransport:
    return QuicTransport(key)


def theirs(key: PrivateKey) -> ITransport:
    return QUICTransport(key, config=QUICTransportConfig(idle_timeout=30.0))


async def echo(stream: INetStream) -> None:
    # Of a fixed length, for py-libp2p's own loses the tail when it reads to the end.
    received = b""
    while len(received) < SIZE:
        received += await stream.read(SIZE - len(received))
    await stream.write(received)
    with contextlib.suppress(StreamEOF):
        await stream.read(1)
    await stream.close()


@contextlib.asynccontextmanager
async def host(make: Make) -> AsyncIterator[IHost]:
    key = create_new_key_pair()
    made = new_host(key_pair=key, transports=[make(key.private_key)])
    made.set_stream_handler(ECHO, echo)
    with trio.fail_after(DEADLINE_S):
        async with made.run([Multiaddr(LISTEN)]):
            try:
                yield made
            finally:
                await made.close()


@pytest.mark.parametrize(
    ("dialler", "listener"),
    [(own, own), (own, theirs), (theirs, own)],
    ids=["own", "to theirs", "from theirs"],
)
async def test_hosts_of_either_transport_speak_with_each_other(dialler: Make, listener: Make) -> None:
    async with host(listener) as node, host(dialler) as client:
        await client.connect(info_from_p2p_addr(node.get_addrs()[0]))
        for number in range(3):
            data = bytes([number]) * SIZE
            stream = await client.new_stream(node.get_id(), [ECHO])
            await stream.write(data)
            received = b""
            while len(received) < SIZE:
                received += await stream.read(SIZE - len(received))
            await stream.close()

            assert received == data


@pytest.mark.parametrize("dialler", [own, theirs])
async def test_another_peer_than_the_one_that_was_named_is_refused(dialler: Make) -> None:
    stranger = ID.from_pubkey(create_new_key_pair().public_key)
    async with host(own) as node, host(dialler) as client:
        wrong = Multiaddr(str(node.get_addrs()[0]).replace(str(node.get_id()), str(stranger)))

        with pytest.raises(SwarmException):
            await client.connect(info_from_p2p_addr(wrong))


async def test_a_swarm_notices_that_its_peer_is_gone() -> None:
    async with host(own) as node:
        async with host(own) as client:
            await client.connect(info_from_p2p_addr(node.get_addrs()[0]))
            while not node.get_connected_peers():
                await trio.lowlevel.checkpoint()
        with trio.fail_after(10):
            while node.get_connected_peers():
                await trio.lowlevel.checkpoint()

        assert node.get_connected_peers() == []
