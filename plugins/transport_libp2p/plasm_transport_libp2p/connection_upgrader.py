"""The upgrade of a raw connection: Noise secures it, and yamux multiplexes it (libp2p specifications "noise", "yamux").

It takes the place of py-libp2p's upgrader, which speaks plaintext, secio and mplex unless each is left out.
"""

from __future__ import annotations

from libp2p.abc import IMuxedConn, IRawConnection, ISecureConn
from libp2p.connection_types import ConnectionType
from libp2p.crypto.keys import KeyPair
from libp2p.crypto.x25519 import create_new_key_pair as create_noise_key_pair
from libp2p.network.exceptions import SwarmException
from libp2p.peer.id import ID
from libp2p.security.noise.transport import Transport as Noise
from libp2p.transport.upgrader import TransportUpgrader
from multiaddr import Multiaddr

from plasm_transport_libp2p import negotiation
from plasm_transport_libp2p.host_resources import ConnectionResources, HostResources
from plasm_transport_libp2p.identity import from_libp2p
from plasm_transport_libp2p.limits import ConnectionLimits
from plasm_transport_libp2p.yamux.connection import PROTOCOL as YAMUX
from plasm_transport_libp2p.yamux.connection import YamuxConnection

NOISE = "/noise"
_HANDSHAKE_S = 1e-3
"""Seconds of the event loop that one Noise handshake message takes: two key exchanges and a signature."""


class ConnectionUpgrader(TransportUpgrader):
    """Secures raw connections with Noise and multiplexes them with yamux; it offers no other protocol."""

    def __init__(self, keys: KeyPair, limits: ConnectionLimits, shares: HostResources | None = None) -> None:
        super().__init__({}, {})
        self._shares = shares or HostResources()
        self._noise = Noise(keys, noise_privkey=create_noise_key_pair().private_key)
        self._limits = limits

    async def upgrade_security(
        self, raw_conn: IRawConnection, is_initiator: bool, peer_id: ID | None = None
    ) -> ISecureConn:
        """Run the Noise handshake (libp2p specification, "noise").

        `peer_id`: the identity that the peer must prove.

        Raises: `SwarmException`, also if the peer's key is not Ed25519 or is of small order.
        """
        raw_conn = _PacedHandshake(raw_conn, self._shares)
        try:
            return await self._secured(raw_conn, is_initiator, peer_id)
        finally:
            raw_conn.is_shaking_hands = False

    async def _secured(
        self, raw_conn: IRawConnection, is_initiator: bool, peer_id: ID | None = None
    ) -> ISecureConn:
        if not is_initiator:
            await negotiation.answer(raw_conn, (NOISE,))
            return _with_identity(await self._noise.secure_inbound(raw_conn))
        await raw_conn.write(negotiation.proposal(NOISE))
        await negotiation.confirm(raw_conn, NOISE)
        # py-libp2p accepts None here, and returns the peer id of the handshake; its annotation does not say so.
        secured = _with_identity(await self._noise.secure_outbound(raw_conn, peer_id))  # type: ignore[arg-type]
        if peer_id is not None and secured.get_remote_peer() != peer_id:
            raise SwarmException(f"the peer is {secured.get_remote_peer()}, not {peer_id}")
        return secured

    async def upgrade_connection(self, conn: ISecureConn, peer_id: ID) -> IMuxedConn:
        """Negotiate yamux and return the multiplexed connection."""
        if conn.is_initiator:
            await conn.write(negotiation.proposal(YAMUX))
            await negotiation.confirm(conn, YAMUX)
        else:
            await negotiation.answer(conn, (YAMUX,))
        return YamuxConnection(conn, peer_id, self._limits, self._shares)


class _PacedHandshake(IRawConnection):
    """A connection whose handshake messages wait for a turn on the event loop before they are processed."""

    def __init__(self, raw: IRawConnection, shares: HostResources) -> None:
        self._raw = raw
        self._share = ConnectionResources(shares, raw.get_remote_address())
        self.is_initiator = raw.is_initiator
        self.is_shaking_hands = True

    async def read(self, n: int | None = None) -> bytes:
        data = await self._raw.read(n)
        # Noise reads the two-byte length first, which costs nothing, then the message.
        if self.is_shaking_hands and len(data) > 2:
            await self._share.turn(self, _HANDSHAKE_S)
        return data

    async def write(self, data: bytes) -> None:
        await self._raw.write(data)

    async def close(self) -> None:
        await self._raw.close()

    def get_remote_address(self) -> tuple[str, int] | None:
        return self._raw.get_remote_address()

    def get_transport_addresses(self) -> list[Multiaddr]:
        return self._raw.get_transport_addresses()

    def get_connection_type(self) -> ConnectionType:
        return self._raw.get_connection_type()


def _with_identity(secured: ISecureConn) -> ISecureConn:
    """Return the connection if its peer's key can identify it. Raises: `SwarmException`.

    Under a public key of small order anyone can make a valid signature.
    """
    try:
        from_libp2p(secured.get_remote_peer())
    except ValueError as exc:
        raise SwarmException(f"the peer has no identity: {exc}") from exc
    return secured
