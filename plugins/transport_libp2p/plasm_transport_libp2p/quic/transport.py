"""The QUIC transport of the swarm, on aioquic; it replaces py-libp2p's, which is ten times slower and loses data."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable
from typing import Any

import trio
from aioquic.quic.packet import QuicErrorCode
from libp2p.abc import ITransport
from libp2p.crypto.keys import PrivateKey
from libp2p.transport.exceptions import OpenConnectionError
from multiaddr import Multiaddr

from plasm_transport_libp2p.host_resources import HostResources
from plasm_transport_libp2p.quic import sansio
from plasm_transport_libp2p.quic.address import (
    SocketAddress,
    is_loopback,
    is_quic,
    is_wildcard,
    peer_id,
    socket_address,
)
from plasm_transport_libp2p.quic.admission import HandshakeAdmission
from plasm_transport_libp2p.quic.connection import QuicMuxedConnection
from plasm_transport_libp2p.quic.endpoint import ConnectionHandler, Endpoint
from plasm_transport_libp2p.quic.identity import TlsIdentity
from plasm_transport_libp2p.quic.limits import QuicLimits
from plasm_transport_libp2p.quic.listener import QuicListener
from plasm_transport_libp2p.quic.udp import UdpSocket

_ANY: dict[socket.AddressFamily, SocketAddress] = {
    socket.AF_INET: ("0.0.0.0", 0),
    socket.AF_INET6: ("::", 0, 0, 0),
}


class QuicTransport(ITransport):
    """Dials and listens on `/ip4|ip6/…/udp/…/quic-v1`.

    Both sides prove their libp2p identity. A dial goes out from the socket of a listener of its family, if there
    is one that can reach the address, so that peers and NATs see one port.

    Raises: `TransportError` if the aioquic that is installed is not one that it knows.
    """

    provides_native_muxing = True

    def __init__(
        self,
        private_key: PrivateKey,
        *,
        limits: QuicLimits | None = None,
        shares: HostResources | None = None,
    ) -> None:
        self._shares = shares or HostResources()
        sansio.check_version()
        self._limits = limits or QuicLimits()
        self._identity = TlsIdentity(private_key, self._limits)
        self._admission = HandshakeAdmission(self._limits)
        self._nursery: trio.Nursery | None = None
        self._listening: list[Endpoint] = []
        self._dial_locks: dict[socket.AddressFamily, Endpoint] = {}

    def set_background_nursery(self, nursery: trio.Nursery) -> None:
        """Set the swarm's nursery, in which the sockets' loops run."""
        self._nursery = nursery

    def set_swarm(self, swarm: Any) -> None:
        """Do nothing: py-libp2p calls it, and this transport does not need the swarm."""

    async def dial(self, maddr: Multiaddr) -> QuicMuxedConnection:  # type: ignore[override]  # as py-libp2p's own
        """Connect to the peer that the address names. Raises: `OpenConnectionError`."""
        return await self._dial(maddr, self._endpoint_towards)

    async def try_dial(
        self, maddr: Multiaddr, talk: Callable[[QuicMuxedConnection], Awaitable[None]]
    ) -> None:
        """Dial from a fresh socket, call `talk` with the connection, and close both.

        Raises: `OpenConnectionError`, and what `talk` raises.
        """
        endpoints: list[Endpoint] = []

        def fresh(family: socket.AddressFamily, _remote: SocketAddress) -> Endpoint:
            endpoints.append(self._open(family, _ANY[family]))
            return endpoints[0]

        try:
            await talk(await self._dial(maddr, fresh))
        finally:
            with trio.CancelScope(shield=True):
                for endpoint in endpoints:
                    await endpoint.close()

    def send_datagram(self, maddr: Multiaddr, data: bytes) -> None:
        """Send a datagram that is not QUIC from the socket that would dial an address. Failures are ignored."""
        try:
            family, remote = socket_address(maddr)
            self._endpoint_towards(family, remote).send(data, remote)
        except (ValueError, OSError, OpenConnectionError):
            return

    async def _dial(
        self, maddr: Multiaddr, choose: Callable[[socket.AddressFamily, SocketAddress], Endpoint]
    ) -> QuicMuxedConnection:
        expected = peer_id(maddr)
        if expected is None:
            raise OpenConnectionError(f"{maddr} names no peer, whose identity must be known to dial it")
        try:
            family, remote = socket_address(maddr)
            connection = choose(family, remote).dial(remote, expected)
        except ValueError as exc:
            raise OpenConnectionError(str(exc)) from exc
        except OSError as exc:
            raise OpenConnectionError(f"cannot dial {maddr}: {exc.strerror}") from exc
        try:
            with trio.move_on_after(self._limits.dial_timeout_s):
                await connection.wait_handshake()
            if not connection.is_established:
                reason = connection.close_reason or f"no answer in {self._limits.dial_timeout_s:g} s"
                raise OpenConnectionError(f"cannot dial {maddr}: {reason}")
        except BaseException:
            connection.abort(QuicErrorCode.NO_ERROR, "the dial was given up")
            raise
        return connection

    def create_listener(self, handler_function: ConnectionHandler) -> QuicListener:  # type: ignore[override]
        return QuicListener(handler_function, self._listen)

    def can_dial(self, maddr: Multiaddr) -> bool:
        return is_quic(maddr)

    def can_listen(self, maddr: Multiaddr) -> bool:
        return is_quic(maddr)

    def protocols(self) -> list[str]:
        return ["quic-v1"]

    def listen_order(self) -> int:
        """Return the transport's priority for listening, as in go-libp2p: 1 is after the default of 0."""
        return 1

    async def close(self) -> None:
        """Close every socket and connection."""
        endpoints = [*self._listening, *self._dial_locks.values()]
        self._listening.clear()
        self._dial_locks.clear()
        for endpoint in endpoints:
            await endpoint.close()

    def _listen(self, maddr: Multiaddr) -> Endpoint:
        family, address = socket_address(maddr)
        endpoint = self._open(family, address)
        self._listening = [other for other in self._listening if other.is_open] + [endpoint]
        return endpoint

    def _open(self, family: socket.AddressFamily, address: SocketAddress) -> Endpoint:
        if self._nursery is None:
            raise OpenConnectionError("the transport has no nursery: its swarm is not running")
        endpoint = Endpoint(
            UdpSocket(family, address),
            identity=self._identity,
            limits=self._limits,
            admission=self._admission,
            shares=self._shares,
        )
        self._nursery.start_soon(endpoint.run)
        return endpoint

    def _endpoint_towards(self, family: socket.AddressFamily, remote: SocketAddress) -> Endpoint:
        for endpoint in self._listening:
            own = endpoint.address
            reaches = is_wildcard(own) or is_loopback(own) == is_loopback(remote)
            if endpoint.is_open and endpoint.family == family and reaches:
                return endpoint
        endpoint_or_none = self._dial_locks.get(family)
        if endpoint_or_none is None or not endpoint_or_none.is_open:
            endpoint_or_none = self._dial_locks[family] = self._open(family, _ANY[family])
        return endpoint_or_none
