"""A socket that takes no more keeps the order and loses nothing."""

from __future__ import annotations

import random
import socket
from pathlib import Path
from typing import Any, cast

import pytest

pytest.importorskip("libp2p", reason="libp2p is not installed: pip install 'phase-plasm[libp2p]'")
pytest.importorskip("aioquic", minversion="1.7", reason="aioquic 1.7 is not installed")

import trio

from plasm_transport_libp2p.quic.address import SocketAddress
from plasm_transport_libp2p.quic.udp import UdpSocket
from tests.support.quic import LISTEN, ask, running

pytestmark = pytest.mark.trio


async def test_datagrams_that_the_socket_did_not_take_follow_in_order(tmp_path: Path) -> None:
    """Datagrams of the Unix domain fill the receiver's queue, which those of UDP on loopback never do."""
    path = str(tmp_path / "receiver")
    sent = [b"%d" % number for number in range(2000)]
    received: list[bytes] = []
    unblocked = trio.Event()
    sender = UdpSocket(cast(Any, socket.AF_UNIX), cast(SocketAddress, str(tmp_path / "sender")))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as plain:
        plain.bind(path)
        receiver = trio.socket.from_stdlib_socket(plain)
        for datagram in sent:
            sender.send(datagram, cast(SocketAddress, path))
        was_blocked = sender.is_blocked
        async with trio.open_nursery() as nursery:

            async def send() -> None:
                await sender.send_kept()
                unblocked.set()

            nursery.start_soon(send)
            with trio.fail_after(30):
                while len(received) < len(sent):
                    received.append(await receiver.recv(100))
                await unblocked.wait()
    sender.close()

    assert was_blocked
    assert received == sent
    assert not sender.is_blocked


class OftenFull:
    """A socket that says, as a full one does, that it takes nothing now: each fifth time."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._calls = 0
        self.refused = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)

    def sendto(self, datagram: bytes, remote: SocketAddress) -> int:
        self._calls += 1
        if self._calls % 5 == 0:
            self.refused += 1
            raise BlockingIOError
        return self._socket.sendto(datagram, remote)


async def test_a_transfer_over_a_socket_that_is_often_full_is_exact() -> None:
    data = random.Random(9).randbytes(1_000_000)
    async with running(LISTEN) as node, running(LISTEN) as client:
        full = []
        for one in (node, client):
            (endpoint,) = one.transport._listening
            full.append(OftenFull(endpoint._socket._socket))
            endpoint._socket._socket = cast(Any, full[-1])
        connection = await client.transport.dial(node.address)

        assert await ask(connection, data) == data
        assert all(sock.refused > 100 for sock in full)


async def test_an_address_without_a_route_loses_the_datagram_and_nothing_else() -> None:
    sock = UdpSocket(socket.AF_INET, ("127.0.0.1", 0))
    sock.send(b"x", ("192.0.2.1", 9))  # from loopback: EINVAL
    sock.send(bytes(70_000), sock.address)  # EMSGSIZE
    sock.send(b"y", sock.address)
    with trio.fail_after(5):
        await sock.wait_readable()

    assert [datagram for datagram, _address in sock.receive_batch()] == [b"y"]
    sock.close()


async def test_a_batch_is_bounded_so_that_others_get_their_turn() -> None:
    sock = UdpSocket(socket.AF_INET, ("127.0.0.1", 0))
    for _ in range(100):
        sock.send(b"x", sock.address)

    assert [len(list(sock.receive_batch())) for _ in range(3)] == [64, 36, 0]
    sock.close()
