"""Hole punching (libp2p specification, "DCUtR"): two peers on a circuit find a straight way over QUIC.

Each learns from the relay where its UDP socket is seen. The peer that was dialled proposes, and sends datagrams
that open its own router to the other, which dials at the same time. Both use the socket that the relay saw. Where
a router gives each destination another port, or lets no UDP through, the circuit stays; in either case streams
that are open on it go on undisturbed, and only new ones take the straight way.
"""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Any

import trio
from libp2p.network.connection.swarm_connection import SwarmConn
from libp2p.relay.circuit_v2.pb.dcutr_pb2 import HolePunch
from multiaddr import Multiaddr

from plasm_core.abc import Stream
from plasm_core.errors import PlasmError, StreamError
from plasm_core.records.peer import PeerId
from plasm_transport_libp2p import framing, identify
from plasm_transport_libp2p.addresses import is_public, is_relayed, kind_of
from plasm_transport_libp2p.identity import from_libp2p

if TYPE_CHECKING:
    from plasm_transport_libp2p.network import Libp2pNetwork

log = logging.getLogger(__name__)

PROTOCOL = "/libp2p/dcutr"
MAX_BYTES = 1024
_CONNECT, _SYNC = 100, 300
_MAX_ADDRESSES = 2
_TALK_S = 15.0
_DATAGRAMS = 30
_BETWEEN_DATAGRAMS_S = 0.1
_DATAGRAM_BYTES = 32


class Puncher:
    """Looks for a straight way to whomever there is a circuit with."""

    def __init__(self, network: Libp2pNetwork) -> None:
        self._network = network

    def serve(self) -> None:
        """Follow the proposals of peers that were dialled through relays."""
        self._network.handle(PROTOCOL, self._follow)

    async def propose(self, conn: SwarmConn) -> None:
        """Look for a straight way to the peer that dialled this node through a relay. It never raises."""
        peer = from_libp2p(conn.muxed_conn.peer_id)
        started = trio.current_time()
        try:
            with trio.fail_after(_TALK_S):
                reason = await self._propose(conn, peer)
        except (PlasmError, trio.TooSlowError) as exc:
            reason = str(exc) or "it took too long"
        seconds = trio.current_time() - started
        if reason:
            log.info("no straight way peer=%s seconds=%.1f reason=%s", peer, seconds, reason)
        else:
            log.info("hole punched peer=%s seconds=%.1f", peer, seconds)

    async def _propose(self, conn: SwarmConn, peer: PeerId) -> str:
        """Return why there is no straight way, nothing if there is."""
        own = await self._observed(_relay_of(conn.get_transport_addresses()))
        if own is None:
            return "no peer tells where this node's UDP socket is"
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
            if self._network.is_connected_straight(peer):
                return ""
            for address in addresses:
                # No packet of QUIC has a first byte of 0: whoever gets it throws it away.
                self._network.send_datagram(address, b"\0" + os.urandom(_DATAGRAM_BYTES - 1))
            await trio.sleep(_BETWEEN_DATAGRAMS_S)
        return "" if self._network.is_connected_straight(peer) else "the routers do not let it be"

    async def _follow(self, stream: Stream) -> None:
        where = self._network.remote_address(stream)
        peer = stream.remote_peer
        if where is None or peer is None or not is_relayed(where):
            raise StreamError("a proposal to punch holes that did not come through a relay")
        with trio.fail_after(_TALK_S):
            reader = framing.Reader(stream, MAX_BYTES)
            addresses = _decode(await reader.next() or b"", _CONNECT)
            own = await self._observed(_relay_of([where]))
            await stream.send_all(_encode(_CONNECT, own))
            if own is None or not addresses:
                return
            _decode(await reader.next() or b"", _SYNC)
        for address in addresses:
            try:
                await self._network.connect_straight(address, peer)
            except PlasmError as exc:
                log.debug("no straight way peer=%s reason=%s", peer, exc)
            else:
                return

    async def _observed(self, relay: PeerId | None) -> Multiaddr | None:
        """Return where a relay sees the UDP socket of this node; None if it cannot be had."""
        if relay is None:
            return None
        try:
            told = await identify.ask(self._network, relay)
            ways = [item for item in told.addresses if kind_of(item) == "quic" and is_public(item)]
            if not ways:
                return None
            seen = (await identify.ask_at(self._network, f"{ways[0]}/p2p/{relay}")).observed
        except PlasmError as exc:
            log.debug("udp address not learned reason=%s", exc)
            return None
        return seen if seen is not None and kind_of(seen) == "quic" and is_public(seen) else None


def _relay_of(addresses: list[Multiaddr]) -> PeerId | None:
    """Return the relay that a circuit's address leads through."""
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
    """Return the public QUIC addresses in a message that must be of a kind. Raises: `StreamError`."""
    message: Any = HolePunch()
    try:
        message.ParseFromString(data)
    except Exception as exc:  # protobuf's implementations raise errors of their own
        raise StreamError("a message about hole punching cannot be read") from exc
    if message.type != kind:
        raise StreamError("a message about hole punching came out of turn")
    found = [identify.multiaddr(raw) for raw in message.ObsAddrs[:16]]
    usable = [item for item in found if item is not None and kind_of(item) == "quic" and is_public(item)]
    return usable[:_MAX_ADDRESSES]
