"""Who has really called: a claim to have dialled this node back is worth what came in with its nonce.

A node that asks to be dialled back gives each peer that it asks a nonce of its own. Whoever dials, at that peer's
own or another's request, opens a stream of the protocol below on the connection that it has just made and hands
the nonce in. The protocol is libp2p's AutoNAT v2 in this respect: there as here, a server's word proves nothing.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import attrs
import trio

from plasm_core.abc import Stream
from plasm_core.errors import StreamError
from plasm_core.records.peer import PeerId
from plasm_transport_libp2p import negotiation
from plasm_transport_libp2p.addresses import ip_of, is_public, kind_of
from plasm_transport_libp2p.network import Libp2pNetwork

PROTOCOL = "/phase/reachability/dial-back/1.0.0"
NONCE_BYTES = 16
_READ_S = 5.0
_MOST_CALLS = 32
_MOST_EXPECTED = 16


@attrs.frozen(kw_only=True)
class Call:
    """A connection that came in with a nonce: over what, from whom, proved by its handshake, and from which IP."""

    carrier: str
    peer: PeerId
    host: str


class Calls:
    """Those that came with one nonce. Each serves as proof of one claim."""

    def __init__(self) -> None:
        self.nonce = secrets.token_bytes(NONCE_BYTES)
        self._came: list[Call] = []

    def add(self, call: Call) -> None:
        """Take note of one, within bounds."""
        if len(self._came) < _MOST_CALLS:
            self._came.append(call)

    def take(self, peer: PeerId, carrier: str) -> Call | None:
        """Return the proof that a peer dialled over a carrier, and use it up; None if there is none."""
        for call in self._came:
            if (call.peer, call.carrier) == (peer, carrier):
                self._came.remove(call)
                return call
        return None


class _Opener(Protocol):
    """What connections of TCP and of QUIC have in common."""

    async def open_stream(self) -> Any: ...


class Callers:
    """Serves the protocol, for nonces that are expected."""

    def __init__(self, network: Libp2pNetwork) -> None:
        self._network = network
        self._expected: dict[bytes, Calls] = {}

    def serve(self) -> None:
        """Take calls from now on."""
        self._network.handle(PROTOCOL, self._handle)

    @contextmanager
    def expect(self) -> Iterator[Calls]:
        """Take calls with a new nonce while the context lasts. Raises: `StreamError` if too many are expected."""
        if len(self._expected) >= _MOST_EXPECTED:
            raise StreamError("too many dial-backs are awaited")
        calls = Calls()
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
                    raise StreamError("a nonce that is cut off")
                nonce += data
            calls = self._expected.get(nonce)
            if calls is None:
                raise StreamError("a nonce that nobody expects")
            calls.add(call)
            await stream.send_all(nonce)
            await stream.aclose()

    def _call(self, stream: Stream) -> Call:
        """Return who calls. Raises: `StreamError` unless it dialled, straight and from a public address."""
        address = self._network.remote_address(stream)
        carrier = kind_of(address) if address is not None else None
        if address is None or carrier not in ("tcp", "quic") or not is_public(address):
            raise StreamError("a call that does not come straight from a public address")
        if not self._network.was_dialled_by_peer(stream):
            raise StreamError("a call on a connection that this node made itself")
        assert stream.remote_peer is not None  # libp2p proves every identity
        return Call(carrier=carrier, peer=stream.remote_peer, host=str(ip_of(address)))


def call_with(nonce: bytes) -> Callable[[_Opener], Awaitable[None]]:
    """Return what hands a nonce in on a connection that was just made. It raises unless the nonce was taken."""

    async def call(connection: _Opener) -> None:
        stream = await connection.open_stream()
        await stream.write(negotiation.proposal(PROTOCOL) + nonce)
        await negotiation.confirm(stream, PROTOCOL)
        if await negotiation.read_exactly(stream, NONCE_BYTES) != nonce:
            raise StreamError("the peer does not take the call")

    return call
