"""Circuits as a transport (libp2p specification, "relay/circuit-v2"): both ends of a relayed connection.

Noise and yamux run from end to end; the relay sees encrypted bytes.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence

import trio
from libp2p.abc import IListener, IRawConnection, ITransport
from libp2p.connection_types import ConnectionType
from libp2p.custom_types import THandler
from libp2p.io.abc import ReadWriteCloser
from libp2p.io.exceptions import ConnectionClosedError
from libp2p.network.connection.raw_connection import RawConnection
from libp2p.transport.exceptions import OpenConnectionError
from multiaddr import Multiaddr

from plasm_core.errors import PlasmError, StreamError
from plasm_core.plugins.interfaces import Stream
from plasm_core.records.peer import PeerId
from plasm_transport_libp2p import framing
from plasm_transport_libp2p.addresses import is_relayed
from plasm_transport_libp2p.circuit_relay import message as messages
from plasm_transport_libp2p.circuit_relay.message import HOP, MAX_BYTES, STOP, HopRequest, StopRequest
from plasm_transport_libp2p.exact_reads import ReadBuffer
from plasm_transport_libp2p.interfaces import PeerNetwork, StreamOpener

log = logging.getLogger(__name__)

_ANSWER_S = 10.0
_READ_BYTES = 65_536


class CircuitStream(ReadWriteCloser):
    """One end of a circuit. `read(n)` returns exactly n bytes."""

    def __init__(self, stream: Stream, first: bytes) -> None:
        self._stream = stream
        self._buffer = ReadBuffer(first)
        self.closed = trio.Event()

    async def read(self, n: int | None = None) -> bytes:
        """Return `n` bytes, or if None at least one. Raises: `ConnectionClosedError`."""
        return await self._buffer.read(n, self._receive)

    async def _receive(self) -> bytes:
        try:
            data = await self._stream.receive_some(_READ_BYTES)
        except StreamError as exc:
            raise ConnectionClosedError("the circuit broke", transport="relay") from exc
        if not data:
            raise ConnectionClosedError("the circuit ended", transport="relay")
        return data

    async def write(self, data: bytes) -> None:
        """Send all. Raises: `ConnectionClosedError`."""
        try:
            await self._stream.send_all(data)
        except StreamError as exc:
            raise ConnectionClosedError("the circuit broke", transport="relay") from exc

    async def close(self) -> None:
        """End the circuit."""
        self.closed.set()
        await self._stream.aclose()

    def get_remote_address(self) -> tuple[str, int] | None:
        """Return None: only the relay knows the peer's address."""
        return None


def _connection(stream: Stream, reader: framing.MessageReader, via: str, *, initiator: bool) -> RawConnection:
    return RawConnection(
        CircuitStream(stream, reader.rest()),
        initiator,
        connection_type=ConnectionType.RELAYED,
        addresses=[Multiaddr(f"{via}/p2p-circuit")],
    )


AcceptConnection = Callable[[IRawConnection, Multiaddr], Awaitable[None]]
"""Serves an inbound connection, not yet secured, to its end."""


class CircuitTransport(ITransport):
    """Dials `/…/p2p/RELAY/p2p-circuit/p2p/PEER`, and accepts circuits from the relays in `relays`.

    `accept` serves an inbound circuit to its end. `dialled` is called after each successful dial.
    """

    def __init__(
        self, network: PeerNetwork, *, accept: AcceptConnection, dialled: Callable[[], None]
    ) -> None:
        self._network = network
        self._accept = accept
        self._dialled = dialled
        self.relays: set[PeerId] = set()
        """The relays with a reservation of this node, the only ones that may open circuits to it."""

    def serve(self) -> None:
        """Accept circuits from now on."""
        self._network.handle(STOP, self._handle)

    async def dial(self, maddr: Multiaddr) -> IRawConnection:
        """Ask a relay to CONNECT this node to the peer of the address. Raises: `OpenConnectionError`."""
        via, _, rest = str(maddr).partition("/p2p-circuit")
        try:
            target = PeerId.parse(rest.removeprefix("/p2p/"))
        except ValueError:
            raise OpenConnectionError(f"{maddr} names no peer beyond the relay") from None
        try:
            stream = await self._network.dial(via, HOP)
        except PlasmError as exc:
            raise OpenConnectionError(f"cannot reach the relay: {exc}") from exc
        reader = framing.MessageReader(stream, MAX_BYTES)
        made = False
        try:
            await stream.send_all(HopRequest(kind=messages.CONNECT, peer=target).encode())
            HopRequest.decode(await reader.next() or b"").check()
            made = True
        except StreamError as exc:
            raise OpenConnectionError(str(exc)) from exc
        finally:
            if not made:
                await stream.abort()
        self._dialled()
        return _connection(stream, reader, via, initiator=True)

    async def _handle(self, stream: Stream) -> None:
        """Answer a relay's CONNECT on the stop protocol, and serve the circuit until it ends."""
        relay = stream.remote_peer
        where = self._network.remote_address(stream)
        reader = framing.MessageReader(stream, MAX_BYTES)
        with trio.fail_after(_ANSWER_S):
            call = StopRequest.decode(await reader.next() or b"")
            accepted = relay in self.relays and where is not None and call.kind == messages.STOP_CONNECT
            status = messages.OK if accepted else messages.PERMISSION_DENIED
            await stream.send_all(StopRequest(kind=messages.STOP_STATUS, status=status).encode())
        if not accepted:
            await stream.aclose()
            return
        via = f"{where}/p2p/{relay}"
        await self._accept(_connection(stream, reader, via, initiator=False), Multiaddr(via))

    def create_listener(self, handler_function: THandler) -> IListener:
        """Raise `NotImplementedError`: circuits arrive as streams on a relay's connection."""
        raise NotImplementedError("circuits are not listened for")

    def can_dial(self, maddr: Multiaddr) -> bool:
        """Return whether the address leads through a relay."""
        return is_relayed(maddr)

    def can_listen(self, maddr: Multiaddr) -> bool:
        """Return False."""
        return False

    def protocols(self) -> list[str]:
        """Return the name of the transport in multiaddrs."""
        return ["p2p-circuit"]


async def reserve(network: StreamOpener, relay: PeerId, addresses: Sequence[Multiaddr]) -> None:
    """RESERVE at a relay, dialled at `addresses` if there is no connection.

    Raises: `PlasmError`, `trio.TooSlowError`.
    """
    with trio.fail_after(_ANSWER_S):
        stream = await network.dial_peer(relay, addresses, HOP)
        try:
            await stream.send_all(HopRequest(kind=messages.RESERVE).encode())
            answer = HopRequest.decode(await framing.read_one(stream, MAX_BYTES))
        finally:
            await stream.aclose()
    answer.check()
