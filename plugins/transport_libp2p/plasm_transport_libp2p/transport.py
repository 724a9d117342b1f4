"""The transport plugin `libp2p`: QUIC, and TCP with Noise and yamux, on IPv4 and IPv6."""

from __future__ import annotations

import logging
import secrets
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, ClassVar

import attrs

from plasm_core import hookimpl, paths
from plasm_core.errors import ConfigError, TransportError
from plasm_core.plugins.interfaces import Network, Signer, StreamHandler, Transport
from plasm_core.records.fields import constrained, integer
from plasm_transport_libp2p.limits import ConnectionLimits
from plasm_transport_libp2p.multiaddr_list import multiaddr_list

if TYPE_CHECKING:
    from libp2p.abc import ITransport

    from plasm_transport_libp2p.addresses import AddressGroups
    from plasm_transport_libp2p.network import Libp2pNetwork

log = logging.getLogger(__name__)

_TCP = ("/ip4/0.0.0.0/tcp/4001", "/ip6/::/tcp/4001")
_QUIC = ("/ip4/0.0.0.0/udp/4001/quic-v1", "/ip6/::/udp/4001/quic-v1")
DEFAULT_LISTEN = _TCP + (_QUIC if sys.version_info >= (3, 11) else ())  # aioquic 1.7 needs 3.11
_DEFAULTS = ConnectionLimits()


@attrs.frozen(kw_only=True)
class Libp2pTransport(Transport):
    """The libp2p transport. `listen`: multiaddrs, port 0 for any free port.

    The other fields limit what peers may use.
    """

    name: ClassVar[str] = "libp2p"
    requires: ClassVar[tuple[str, ...]] = ("libp2p", "aioquic")
    install: ClassVar[str | None] = "pip install 'phase-plasm[libp2p]'"
    newest_python: ClassVar[tuple[int, int] | None] = (3, 13)  # coincurve 21, which libp2p pins

    listen: tuple[str, ...] = constrained(multiaddr_list(), default=DEFAULT_LISTEN)
    max_connections: int = constrained(integer(1, 65_536), default=_DEFAULTS.max_connections)
    max_connections_per_peer: int = constrained(integer(1, 64), default=_DEFAULTS.max_connections_per_peer)
    max_connections_per_group: int = constrained(
        integer(1, 65_536), default=_DEFAULTS.max_connections_per_group
    )
    max_streams: int = constrained(integer(1, 4096), default=_DEFAULTS.max_streams)
    heartbeat_s: int = constrained(integer(1, 300), default=int(_DEFAULTS.heartbeat_s))
    dial_timeout_s: int = constrained(integer(1, 60), default=int(_DEFAULTS.dial_timeout_s))

    def check(self) -> None:
        """Raise `PluginMissingError` without libp2p; `ConfigError` for an address that nobody can listen at."""
        super().check()
        if self.listen == DEFAULT_LISTEN:
            return
        from plasm_transport_libp2p.addresses import parse_listen  # libp2p's addresses take a second to load

        for address in self.listen:
            try:
                parse_listen(address)
            except TransportError as exc:
                raise ConfigError(f"transport.libp2p.listen: {exc}", hint=exc.hint) from exc

    def limits(self) -> ConnectionLimits:
        """Return the limits of the configuration."""
        return ConnectionLimits(
            max_connections=self.max_connections,
            max_connections_per_peer=self.max_connections_per_peer,
            max_connections_per_group=self.max_connections_per_group,
            max_streams=self.max_streams,
            heartbeat_s=float(self.heartbeat_s),
            dial_timeout_s=float(self.dial_timeout_s),
        )

    def open(
        self, identity: Signer | None, handlers: Mapping[str, StreamHandler]
    ) -> AbstractAsyncContextManager[Network]:
        return self._open(identity, handlers)

    def try_listening(self) -> None:
        from plasm_transport_libp2p.addresses import parse_listen
        from plasm_transport_libp2p.port_trial import try_port

        for text in self.listen:
            try_port(parse_listen(text))

    @asynccontextmanager
    async def _open(
        self, identity: Signer | None, handlers: Mapping[str, StreamHandler]
    ) -> AsyncIterator[Libp2pNetwork]:
        # Importing py-libp2p takes a second: commands that do not open the transport must not wait for it.
        from plasm_transport_libp2p import ping
        from plasm_transport_libp2p.addresses import kind_of, parse_listen
        from plasm_transport_libp2p.host_resources import HostResources
        from plasm_transport_libp2p.identify import identify
        from plasm_transport_libp2p.identity import key_pair
        from plasm_transport_libp2p.network import open_network
        from plasm_transport_libp2p.quic import QuicLimits, QuicTransport
        from plasm_transport_libp2p.swarm import check_version
        from plasm_transport_libp2p.tcp import TcpTransport

        check_version()
        keys = key_pair(identity)
        addresses = [parse_listen(text) for text in self.listen] if handlers else []
        limits = self.limits()
        shares = HostResources()
        transports: list[ITransport] = [TcpTransport()]
        try:
            transports.append(
                QuicTransport(keys.private_key, limits=QuicLimits.within(limits), shares=shares)
            )
        except TransportError as exc:  # its version of aioquic cannot be had everywhere
            if any(kind_of(address) == "quic" for address in addresses):
                raise
            log.info("quic cannot be dialled reason=%s", exc)
        groups = _groups(is_client=not handlers)
        async with open_network(keys, transports, addresses, limits, groups, shares) as network:
            identify.serve(network)
            if handlers:
                ping.serve(network)
            for protocol, handler in handlers.items():
                network.handle(protocol, handler)
            yield network


_PROCESS_SECRET = secrets.token_bytes(32)


def _groups(*, is_client: bool) -> AddressGroups | None:
    """Return the names of networks: hashed under a stored key, None for a daemon without one.

    A client remembers nodes by their networks, and reaches the nodes of one job by several networks of its own: all have
    to give the same names.
    """
    from plasm_transport_libp2p.addresses import AddressGroups

    if not is_client:
        key = paths.owners_key()
        return AddressGroups(paths.secret(key)) if key.is_file() else None
    try:
        return AddressGroups(paths.secret(paths.networks_key()))
    except (OSError, ConfigError) as exc:
        log.info("key for the names of networks not stored reason=%s", exc)
        return AddressGroups(_PROCESS_SECRET)


@hookimpl
def plasm_transport() -> list[type[Transport]]:
    return [Libp2pTransport]
