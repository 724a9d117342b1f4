"""Proof of a dial-back: the nonce that comes in on the dialled connection.

A node sends another nonce to each peer that it asks for a dial-back. The dialler opens a stream of the protocol below
on the connection that it has just made, and sends the nonce, which the node sends back. As in AutoNAT v2 (libp2p
specification, "autonat/autonat-v2"), a server's claim without the nonce proves nothing.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import attrs
import trio

from plasm_core.errors import StreamError
from plasm_core.plugins.interfaces import Stream
from plasm_core.records.peer import PeerId
from plasm_transport_libp2p import negotiation
from plasm_transport_libp2p.addresses import ip_of, is_public, kind_of
from plasm_transport_libp2p.interfaces import PeerNetwork

PROTOCOL = "/phase/reachability/dial-back/1.0.0"
NONCE_BYTES = 16
_READ_S = 5.0
_MOST_CALLS = 32
_MOST_EXPECTED = 16


@attrs.frozen(kw_only=True)
class NonceArrival:
    """An inbound connection that brought a nonce. `host`: its IP address. `peer` is proved by its handshake."""

    carrier: str
    peer: PeerId
    host: str


class NonceArrivals:
    """The connections that brought one nonce. Each proves one claim."""

    def __init__(self) -> None:
        self.nonce = secrets.token_bytes(NONCE_BYTES)
        self._came: list[NonceArrival] = []

    def add(self, call: NonceArrival) -> None:
        """Record a connection, up to 32."""
        if len(self._came) < _MOST_CALLS:
            self._came.append(call)

    def take(self, peer: PeerId, carrier: str) -> NonceArrival | None:
        """Remove and return a connection of a peer over `tcp` or `quic`; None if there is none."""
        for call in self._came:
            if (call.peer, call.carrier) == (peer, carrier):
                self._came.remove(call)
                return call
        return None


class _StreamOpener(Protocol):
    """The method that connections of TCP and QUIC share."""

    async def open_stream(self) -> Any: ...


class DialBackReceiver:
    """Serves the dial-back protocol for the nonces that are expected."""

    def __init__(self, network: PeerNetwork) -> None:
        self._network = network
        self._expected: dict[bytes, NonceArrivals] = {}

    def serve(self) -> None:
        """Accept nonces from now on."""
        self._network.handle(PROTOCOL, self._handle)

    @contextmanager
    def expect(self) -> Iterator[NonceArrivals]:
        """Accept a new nonce while the context lasts. Raises: `StreamError` if 16 are expected already."""
        if len(self._expected) >= _MOST_EXPECTED:
            raise StreamError("too many dial-backs are awaited")
        calls = NonceArrivals()
        self._expected[calls.nonce] = calls
        try:
            yield calls
        finally:
            del self._expected[calls.nonce]

    async def _handle(self, stream: Stream) -> None:
        call = self._call(stream)
        nonce = b""
        with trio.fail_after(_READ_S):
            while len(nonce) < NONCE_BYTES:
                data = await stream.receive_some(NONCE_BYTES - len(nonce))
                if not data:
                    raise StreamError("a nonce was cut short")
                nonce += data
            calls = self._expected.get(nonce)
            if calls is None:
                raise StreamError("a nonce that is not expected")
            calls.add(call)
            await stream.send_all(nonce)
            await stream.aclose()

    def _call(self, stream: Stream) -> NonceArrival:
        """Return the dialler. Raises: `StreamError` unless it dialled directly, from a public address."""
        address = self._network.remote_address(stream)
        carrier = kind_of(address) if address is not None else None
        if address is None or carrier not in ("tcp", "quic") or not is_public(address):
            raise StreamError("a nonce that did not come directly from a public address")
        if not self._network.was_dialled_by_peer(stream):
            raise StreamError("a nonce on an outbound connection of this node")
        assert stream.remote_peer is not None  # libp2p proves every identity
        return NonceArrival(carrier=carrier, peer=stream.remote_peer, host=str(ip_of(address)))


def nonce_sender(nonce: bytes) -> Callable[[_StreamOpener], Awaitable[None]]:
    """Return a function that sends a nonce on a new connection. It raises `StreamError` unless the peer echoes it."""

    async def call(connection: _StreamOpener) -> None:
        stream = await connection.open_stream()
        await stream.write(negotiation.proposal(PROTOCOL) + nonce)
        await negotiation.confirm(stream, PROTOCOL)
        if await negotiation.read_exactly(stream, NONCE_BYTES) != nonce:
            raise StreamError("the peer does not echo the nonce")

    return call
