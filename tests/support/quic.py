"""Transports on loopback, and a relay between them that loses, stops and moves."""

from __future__ import annotations

import contextlib
import os
import random
import socket
from collections.abc import AsyncIterator, Awaitable, Callable

import attrs
import trio
from libp2p.abc import IMuxedStream
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.peer.id import ID
from libp2p.stream_muxer.exceptions import MuxedConnUnavailable, MuxedStreamEOF, MuxedStreamReset
from multiaddr import Multiaddr

from plasm_transport_libp2p.quic import QuicLimits, QuicTransport
from plasm_transport_libp2p.quic.connection import QuicMuxedConnection
from plasm_transport_libp2p.quic.stream import QuicMuxedStream

DEADLINE_S = float(os.environ.get("PLASM_QUIC_DEADLINE_S", "60"))
LISTEN = "/ip4/127.0.0.1/udp/0/quic-v1"

PATIENT = QuicLimits(dial_timeout_s=30.0, handshake_timeout_s=30.0, open_stream_timeout_s=30.0)
"""A busy machine may leave a test's process alone for seconds."""

Serve = Callable[[QuicMuxedStream], Awaitable[None]]


@attrs.define(kw_only=True)
class Node:
    """A transport that runs, and the connections that it accepted."""

    transport: QuicTransport
    peer_id: ID
    addresses: list[Multiaddr] = attrs.field(factory=list)
    accepted: list[QuicMuxedConnection] = attrs.field(factory=list)
    changed: trio.Condition = attrs.field(factory=trio.Condition)

    @property
    def address(self) -> Multiaddr:
        return self.addresses[0]

    @property
    def port(self) -> int:
        return int(self.address.value_for_protocol("udp") or 0)

    def behind(self, port: int) -> Multiaddr:
        """Return this node's address with the port of a relay."""
        return Multiaddr(f"/ip4/127.0.0.1/udp/{port}/quic-v1/p2p/{self.peer_id}")


async def echo(stream: QuicMuxedStream) -> None:
    """Send back what comes, to the end."""
    async with stream:
        with contextlib.suppress(MuxedStreamEOF):
            while True:
                await stream.write(await stream.read(1 << 16))


async def read_all(stream: IMuxedStream) -> bytes:
    """Return everything up to the end of a stream."""
    received = bytearray()
    with contextlib.suppress(MuxedStreamEOF):
        while True:
            received += await stream.read(1 << 16)
    return bytes(received)


async def ask(connection: QuicMuxedConnection, data: bytes) -> bytes:
    """Send bytes on a stream of their own and return all that comes back."""
    answer = b""
    async with await connection.open_stream() as stream, trio.open_nursery() as nursery:

        async def send() -> None:
            await stream.write(data)
            await stream.close_write()

        nursery.start_soon(send)
        answer = await read_all(stream)
    return answer


@contextlib.asynccontextmanager
async def running(*listen: str, serve: Serve = echo, limits: QuicLimits | None = None) -> AsyncIterator[Node]:
    """Run a transport that listens on some addresses and serves every stream in one way."""
    key = create_new_key_pair().private_key
    node = Node(
        transport=QuicTransport(key, limits=limits or PATIENT),
        peer_id=ID.from_pubkey(key.get_public_key()),
    )

    async def serve_stream(stream: QuicMuxedStream) -> None:
        with contextlib.suppress(MuxedStreamReset):
            await serve(stream)

    async def handle(connection: QuicMuxedConnection) -> None:
        node.accepted.append(connection)
        async with node.changed:
            node.changed.notify_all()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(connection.start)
            with contextlib.suppress(MuxedConnUnavailable):
                while True:
                    nursery.start_soon(serve_stream, await connection.accept_stream())

    with trio.fail_after(DEADLINE_S):
        async with trio.open_nursery() as nursery:
            node.transport.set_background_nursery(nursery)
            for maddr in listen:
                listener = node.transport.create_listener(handle)
                await listener.listen(Multiaddr(maddr))
                node.addresses.append(Multiaddr(f"{listener.get_addrs()[0]}/p2p/{node.peer_id}"))
            yield node
            await node.transport.close()
            nursery.cancel_scope.cancel()


@contextlib.asynccontextmanager
async def pair(
    *, serve: Serve = echo, limits: QuicLimits | None = None
) -> AsyncIterator[tuple[Node, Node, QuicMuxedConnection]]:
    """Run a node, a client and a connection between them."""
    async with running(LISTEN, serve=serve, limits=limits) as node, running(limits=limits) as client:
        yield node, client, await client.transport.dial(node.address)


async def accepted(node: Node) -> QuicMuxedConnection:
    """Return the connection that a node accepted last, waiting for the first."""
    async with node.changed:
        while not node.accepted:
            await node.changed.wait()
    return node.accepted[-1]


async def until(condition: Callable[[], bool]) -> None:
    """Wait for a state that nothing announces."""
    with trio.fail_after(DEADLINE_S / 2):
        while not condition():  # noqa: ASYNC110
            await trio.sleep(0.005)


class Relay:
    """Passes datagrams between one client and one port, as a NAT and a bad line would."""

    def __init__(self, towards: int, *, loss: float = 0.0, first_only: bool = False) -> None:
        self.stopped = False
        self._first_only = first_only
        self.seen: list[bytes] = []
        self.dropped = 0
        self.answers = 0
        self._loss = loss
        self._random = random.Random(6)
        self._target = ("127.0.0.1", towards)
        self._client: tuple[str, int] | None = None
        self._inner = self._bound()
        self._outer = self._bound()
        self._moved = trio.CancelScope()

    @staticmethod
    def _bound() -> trio.socket.SocketType:
        sock = trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        return sock

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[int]:
        """Relay, and give the port for the client to dial."""
        await self._inner.bind(("127.0.0.1", 0))
        await self._outer.bind(("127.0.0.1", 0))
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._outwards)
                nursery.start_soon(self._inwards)
                yield int(self._inner.getsockname()[1])
                nursery.cancel_scope.cancel()
        finally:
            self._inner.close()
            self._outer.close()

    async def move(self) -> None:
        """Send from another port from now on, as a NAT does that forgot its mapping."""
        new = self._bound()
        await new.bind(("127.0.0.1", 0))
        old, self._outer = self._outer, new
        self._moved.cancel()
        old.close()

    def _passes(self) -> bool:
        passes = not self.stopped and self._random.random() >= self._loss
        self.dropped += not passes
        return passes

    async def _outwards(self) -> None:
        while True:
            datagram, self._client = await self._inner.recvfrom(2048)
            self.seen.append(datagram)
            if self._passes() and not (self._first_only and len(self.seen) > 1):
                await self._outer.sendto(datagram, self._target)

    async def _inwards(self) -> None:
        while True:
            with trio.CancelScope() as self._moved:
                while True:
                    datagram, _address = await self._outer.recvfrom(2048)
                    self.answers += 1
                    if self._client is not None and self._passes():
                        await self._inner.sendto(datagram, self._client)
