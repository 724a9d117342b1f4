"""Hole punching over QUIC (libp2p specification, "relay/DCUtR"): a direct connection for two peers on a circuit.

Each peer asks the relay (identify) at which address it sees the peer's UDP socket. The peer that was dialled sends
CONNECT, then SYNC, then datagrams that open its own NAT; the other peer dials at the same time, from the socket that
the relay saw. Where a NAT is symmetric (another port for each destination) or UDP is blocked, the circuit stays.
Streams that are open on the circuit stay on it; new streams use the direct connection.
"""

from __future__ import annotations

import logging
import os
from typing import Any, Protocol

import trio
from libp2p.network.connection.swarm_connection import SwarmConn
from libp2p.relay.circuit_v2.pb.dcutr_pb2 import HolePunch
from multiaddr import Multiaddr

from plasm_core.errors import PlasmError, StreamError
from plasm_core.plugins.interfaces import Stream
from plasm_core.records.peer import PeerId
from plasm_transport_libp2p import framing
from plasm_transport_libp2p.addresses import is_public, is_relayed, kind_of
from plasm_transport_libp2p.identify import identify
from plasm_transport_libp2p.identity import from_libp2p
from plasm_transport_libp2p.interfaces import PeerNetwork, PeerStream

log = logging.getLogger(__name__)

PROTOCOL = "/libp2p/dcutr"
MAX_BYTES = 1024
_CONNECT, _SYNC = 100, 300
_MAX_ADDRESSES = 2
_TALK_S = 15.0
_DATAGRAMS = 30
_BETWEEN_DATAGRAMS_S = 0.1
_DATAGRAM_BYTES = 32


class PunchingNetwork(PeerNetwork, Protocol):
    """A host that can dial a peer directly while it has a circuit to the peer."""

    async def open_on(self, conn: SwarmConn, protocol: str) -> PeerStream:
        """Open a stream on one connection. Raises: `PeerUnreachableError`."""

    async def connect_directly(self, where: Multiaddr, who: PeerId) -> None:
        """Dial a peer directly, unless there is a direct connection. Raises: `PeerUnreachableError`."""

    def send_datagram(self, where: Multiaddr, data: bytes) -> None:
        """Send one datagram from the UDP socket that QUIC dials from."""


class HolePuncher:
    """Tries for a direct connection to each peer that there is a circuit with."""

    def __init__(self, network: PunchingNetwork) -> None:
        self._network = network

    def serve(self) -> None:
        """Answer the CONNECT messages of peers that this node dialled through a relay."""
        self._network.handle(PROTOCOL, self._follow)

    async def propose(self, conn: SwarmConn) -> None:
        """Try for a direct connection to the peer that dialled this node through a relay. Failures are logged."""
        peer = from_libp2p(conn.muxed_conn.peer_id)
        started = trio.current_time()
        try:
            with trio.fail_after(_TALK_S):
                reason = await self._propose(conn, peer)
        except (PlasmError, trio.TooSlowError) as exc:
            reason = str(exc) or "it took too long"
        seconds = trio.current_time() - started
        if reason:
            log.info("hole not punched peer=%s seconds=%.1f reason=%s", peer, seconds, reason)
        else:
            log.info("hole punched peer=%s seconds=%.1f", peer, seconds)

    async def _propose(self, conn: SwarmConn, peer: PeerId) -> str:
        """Return why there is no direct connection, an empty text if there is one."""
        own = await self._observed(_relay_of(conn.get_transport_addresses()))
        if own is None:
            return "the relay does not tell this node's UDP address"
        stream = await self._network.open_on(conn, PROTOCOL)
        try:
            asked = trio.current_time()
            await stream.send_all(_encode(_CONNECT, own))
            addresses = _decode(await framing.read_one(stream, MAX_BYTES), _CONNECT)
            round_trip_s = trio.current_time() - asked
            if not addresses:
                return "the peer has no UDP address"
            await stream.send_all(_encode(_SYNC))
        finally:
            await stream.aclose()
        await trio.sleep(min(round_trip_s / 2, 1.0))
        for _ in range(_DATAGRAMS):
            if self._network.is_connected_directly(peer):
                return ""
            for address in addresses:
                # The fixed bit of QUIC is 0 (RFC 9000, section 17.2): a host that receives this discards it.
                self._network.send_datagram(address, b"\0" + os.urandom(_DATAGRAM_BYTES - 1))
            await trio.sleep(_BETWEEN_DATAGRAMS_S)
        return (
            ""
            if self._network.is_connected_directly(peer)
            else "hole punching failed: a NAT is symmetric, or UDP is blocked; using the relay"
        )

    async def _follow(self, stream: Stream) -> None:
        where = self._network.remote_address(stream)
        peer = stream.remote_peer
        if where is None or peer is None or not is_relayed(where):
            raise StreamError("a hole punching message that came over a direct connection")
        with trio.fail_after(_TALK_S):
            reader = framing.MessageReader(stream, MAX_BYTES)
            addresses = _decode(await reader.next() or b"", _CONNECT)
            own = await self._observed(_relay_of([where]))
            await stream.send_all(_encode(_CONNECT, own))
            if own is None or not addresses:
                return
            _decode(await reader.next() or b"", _SYNC)
        for address in addresses:
            try:
                await self._network.connect_directly(address, peer)
            except PlasmError as exc:
                log.debug("hole not punched peer=%s reason=%s", peer, exc)
            else:
                return

    async def _observed(self, relay: PeerId | None) -> Multiaddr | None:
        """Return this node's public QUIC address as a relay sees it; None if the relay does not tell one."""
        if relay is None:
            return None
        try:
            told = await identify.ask(self._network, relay)
            ways = [item for item in told.addresses if kind_of(item) == "quic" and is_public(item)]
            if not ways:
                return None
            seen = (await identify.ask_at(self._network, f"{ways[0]}/p2p/{relay}")).observed
        except PlasmError as exc:
            log.debug("udp address not observed reason=%s", exc)
            return None
        return seen if seen is not None and kind_of(seen) == "quic" and is_public(seen) else None


def _relay_of(addresses: list[Multiaddr]) -> PeerId | None:
    """Return the relay in a relayed address, None if no address is relayed."""
    for address in addresses:
        via, separator, _ = str(address).partition("/p2p-circuit")
        if separator:
            return PeerId.parse(via.rpartition("/p2p/")[2])
    return None


def _encode(kind: int, *addresses: Multiaddr | None) -> bytes:
    message: Any = HolePunch()
    message.type = kind
    message.ObsAddrs.extend(address.to_bytes() for address in addresses if address is not None)
    return framing.encode(message.SerializeToString())


def _decode(data: bytes, kind: int) -> list[Multiaddr]:
    """Return at most two public QUIC addresses of a message. Raises: `StreamError` if it is not of this kind."""
    message: Any = HolePunch()
    try:
        message.ParseFromString(data)
    except Exception as exc:  # protobuf's implementations raise errors of their own
        raise StreamError("a hole punching message cannot be decoded") from exc
    if message.type != kind:
        raise StreamError("a hole punching message came out of turn")
    found = [identify.multiaddr(raw) for raw in message.ObsAddrs[:16]]
    usable = [item for item in found if item is not None and kind_of(item) == "quic" and is_public(item)]
    return usable[:_MAX_ADDRESSES]
