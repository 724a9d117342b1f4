"""The interfaces of the host that the protocol packages use.

The packages named after libp2p specifications (identify, kad, circuit_relay, dcutr, autonat) receive a host and do
not import its implementation, `network.Libp2pNetwork`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Protocol

from multiaddr import Multiaddr

from plasm_core.plugins.interfaces import Stream, StreamHandler
from plasm_core.records.peer import PeerId
from plasm_transport_libp2p.address_book import AddressBook


class PeerStream(Stream):
    """A stream of a libp2p connection, whose handshake has proved the peer's identity."""

    @property
    @abstractmethod
    def remote_peer(self) -> PeerId:
        """The identity of the peer."""

    @abstractmethod
    async def abort(self) -> None:
        """Reset the stream, so that the peer does not take it for ended. Never raises `StreamError`."""


class ProtocolRegistrar(Protocol):
    """The protocols that a host serves. A protocol is named by its id, such as `/ipfs/id/1.0.0`."""

    @property
    def protocols(self) -> tuple[str, ...]:
        """The ids of the protocols served now."""

    def handle(self, protocol: str, handler: StreamHandler) -> None:
        """Serve a protocol from now on: `handler` is called with each inbound stream."""

    def unhandle(self, protocol: str) -> None:
        """Stop serving a protocol. Open streams continue."""


class ConnectionTable(Protocol):
    """The connections of a host, and the addresses at both ends."""

    @property
    def peer_id(self) -> PeerId:
        """The identity of this host."""

    @property
    def connected(self) -> tuple[PeerId, ...]:
        """The peers with at least one connection."""

    @property
    def addresses(self) -> tuple[str, ...]:
        """The listening addresses, each with `/p2p/` and this host's peer id."""

    def listening(self) -> list[Multiaddr]:
        """Return the listening addresses, one for each network interface."""

    def connection_address(self, peer: PeerId) -> Multiaddr | None:
        """Return the remote address of a peer's latest connection, a direct one if there is any; None without one."""

    def remote_address(self, stream: Stream) -> Multiaddr | None:
        """Return the remote address of the connection that carries a stream, None if it is not known."""

    def was_dialled_by_peer(self, stream: Stream) -> bool:
        """Return whether a stream is on an inbound connection."""

    def is_connected_directly(self, peer: PeerId) -> bool:
        """Return whether there is a connection to a peer that goes through no relay."""

    def group_of(self, address: Multiaddr) -> str:
        """Return the keyed hash of an address' /24 or /48, under which quotas count it."""


class StreamOpener(Protocol):
    """Opens streams. Each method raises `PeerUnreachableError`."""

    @property
    def book(self) -> AddressBook:
        """The addresses known of peers, which `dial` of a bare `/p2p/` address uses."""

    async def dial(self, address: str, protocol: str) -> PeerStream:
        """Open a stream to an address such as `/ip4/…/tcp/…/p2p/…`, or to a known peer, `/p2p/…`."""

    async def dial_peer(self, peer: PeerId, addresses: Sequence[Multiaddr], protocol: str) -> PeerStream:
        """Open a stream to a peer: on a connection that is open, else at one of these addresses."""

    async def dial_connected(self, peer: PeerId, protocol: str) -> PeerStream:
        """Open a stream on an open connection that goes through no relay."""


class PeerNetwork(ProtocolRegistrar, ConnectionTable, StreamOpener, Protocol):
    """The whole host: protocols, connections and dialling."""
