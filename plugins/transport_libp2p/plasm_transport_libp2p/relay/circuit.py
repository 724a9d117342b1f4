"""Circuits as a transport: dialling through a relay, and being dialled. Noise and yamux run from end to end."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

import trio
from libp2p.abc import IListener, IRawConnection, ITransport
from libp2p.connection_types import ConnectionType
from libp2p.custom_types import THandler
from libp2p.io.abc import ReadWriteCloser
from libp2p.io.exceptions import ConnectionClosedError
from libp2p.network.connection.raw_connection import RawConnection
from libp2p.transport.exceptions import OpenConnectionError
from multiaddr import Multiaddr

from plasm_core.abc import Stream
from plasm_core.errors import PlasmError, StreamError
from plasm_core.records.peer import PeerId
from plasm_transport_libp2p import framing
from plasm_transport_libp2p.addresses import is_relayed
from plasm_transport_libp2p.relay import message as messages
from plasm_transport_libp2p.relay.message import HOP, MAX_BYTES, STOP, Hop, Stop

if TYPE_CHECKING:
    from plasm_transport_libp2p.network import Libp2pNetwork

log = logging.getLogger(__name__)

_ANSWER_S = 10.0
_READ_BYTES = 65_536


class CircuitStream(ReadWriteCloser):
    """One end of a circuit. Reads return just what was asked for."""

    def __init__(self, stream: Stream, first: bytes) -> None:
        self._stream = stream
        self._buffer = bytearray(first)
        self.closed = trio.Event()

    async def read(self, n: int | None = None) -> bytes:
        """Return `n` bytes, or what there is if None. Raises: `ConnectionClosedError`."""
        while len(self._buffer) < (1 if n is None else n):
            try:
                data = await self._stream.receive_some(_READ_BYTES)
            except StreamError as exc:
                raise ConnectionClosedError("the circuit broke", transport="relay") from exc
            if not data:
                raise ConnectionClosedError("the circuit ended", transport="relay")
            self._buffer += data
        taken = bytes(self._buffer[:n])
        del self._buffer[: len(taken)]
        return taken

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
        """Return None: where the peer is, only the relay knows."""
        return None


def _connection(stream: Stream, reader: framing.Reader, via: str, *, initiator: bool) -> RawConnection:
    return RawConnection(
        CircuitStream(stream, reader.rest()),
        initiator,
        connection_type=ConnectionType.RELAYED,
        addresses=[Multiaddr(f"{via}/p2p-circuit")],
    )


class Circuits(ITransport):
    """Dials `/…/p2p/RELAY/p2p-circuit`, and takes circuits from relays that have a reservation."""

    def __init__(self) -> None:
        self._network: Libp2pNetwork | None = None
        self.relays: set[PeerId] = set()
        """Those that may bring circuits here."""

    def attach(self, network: Libp2pNetwork) -> None:
        """Use a network, once it is open."""
        self._network = network

    def serve(self) -> None:
        """Take circuits from now on."""
        assert self._network is not None
        self._network.handle(STOP, self._handle)

    async def dial(self, maddr: Multiaddr) -> IRawConnection:
        """Have a relay make a circuit to the peer that the address names. Raises: `OpenConnectionError`."""
        if self._network is None:
            raise OpenConnectionError("the network is not open")
        via, _, rest = str(maddr).partition("/p2p-circuit")
        try:
            target = PeerId.parse(rest.removeprefix("/p2p/"))
        except ValueError:
            raise OpenConnectionError(f"{maddr} names no peer beyond the relay") from None
        try:
            stream = await self._network.dial(via, HOP)
        except PlasmError as exc:
            raise OpenConnectionError(f"the relay is not reached: {exc}") from exc
        reader = framing.Reader(stream, MAX_BYTES)
        made = False
        try:
            await stream.send_all(Hop(kind=messages.CONNECT, peer=target).encode())
            Hop.decode(await reader.next() or b"").check()
            made = True
        except StreamError as exc:
            raise OpenConnectionError(str(exc)) from exc
        finally:
            if not made:
                await stream.abort()
        self._network.look_for_straight_ways()
        return _connection(stream, reader, via, initiator=True)

    async def _handle(self, stream: Stream) -> None:
        """Take a circuit that a relay brings, and see it through to its end."""
        assert self._network is not None
        relay = stream.remote_peer
        where = self._network.remote_address(stream)
        reader = framing.Reader(stream, MAX_BYTES)
        with trio.fail_after(_ANSWER_S):
            call = Stop.decode(await reader.next() or b"")
            accepted = relay in self.relays and where is not None and call.kind == messages.STOP_CONNECT
            status = messages.OK if accepted else messages.PERMISSION_DENIED
            await stream.send_all(Stop(kind=messages.STOP_STATUS, status=status).encode())
        if not accepted:
            await stream.aclose()
            return
        via = f"{where}/p2p/{relay}"
        await self._network.accept(_connection(stream, reader, via, initiator=False), Multiaddr(via))

    def create_listener(self, handler_function: THandler) -> IListener:
        """Raise: circuits come on streams of a relay's connection."""
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


async def reserve(network: Libp2pNetwork, relay: PeerId, addresses: Sequence[Multiaddr]) -> None:
    """Ask a relay for a reservation, over a new connection if there is none.

    Raises: `PlasmError`, `trio.TooSlowError`.
    """
    with trio.fail_after(_ANSWER_S):
        stream = await network.dial_peer(relay, addresses, HOP)
        try:
            await stream.send_all(Hop(kind=messages.RESERVE).encode())
            answer = Hop.decode(await framing.read_one(stream, MAX_BYTES))
        finally:
            await stream.aclose()
    answer.check()
