"""The transport `libp2p`: QUIC, and TCP with Noise and yamux, on IPv4 and IPv6."""

from __future__ import annotations

import logging
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, ClassVar

import attrs

from plasm_core import hookimpl, paths
from plasm_core.abc import Network, Signer, StreamHandler, Transport
from plasm_core.errors import TransportError
from plasm_core.records.fields import constrained, integer, names
from plasm_transport_libp2p.limits import Limits

if TYPE_CHECKING:
    from libp2p.abc import ITransport

    from plasm_transport_libp2p.network import Libp2pNetwork

log = logging.getLogger(__name__)

_TCP = ("/ip4/0.0.0.0/tcp/4001", "/ip6/::/tcp/4001")
_QUIC = ("/ip4/0.0.0.0/udp/4001/quic-v1", "/ip6/::/udp/4001/quic-v1")
DEFAULT_LISTEN = _TCP + (_QUIC if sys.version_info >= (3, 11) else ())  # aioquic 1.7 needs 3.11
_DEFAULTS = Limits()


@attrs.frozen(kw_only=True)
class Libp2pTransport(Transport):
    """`listen`: multiaddrs; port 0 stands for any that is free. The rest are limits on what peers may take."""

    name: ClassVar[str] = "libp2p"
    requires: ClassVar[tuple[str, ...]] = ("libp2p", "aioquic")
    install: ClassVar[str | None] = "pip install 'phase-plasm[libp2p]'"

    listen: tuple[str, ...] = constrained(names(r"/[!-~]+", 256), default=DEFAULT_LISTEN)
    max_connections: int = constrained(integer(1, 65_536), default=_DEFAULTS.max_connections)
    max_connections_per_peer: int = constrained(integer(1, 64), default=_DEFAULTS.max_connections_per_peer)
    max_connections_per_group: int = constrained(
        integer(1, 65_536), default=_DEFAULTS.max_connections_per_group
    )
    max_streams: int = constrained(integer(1, 4096), default=_DEFAULTS.max_streams)
    heartbeat_s: int = constrained(integer(1, 300), default=int(_DEFAULTS.heartbeat_s))
    dial_timeout_s: int = constrained(integer(1, 60), default=int(_DEFAULTS.dial_timeout_s))

    def limits(self) -> Limits:
        """Return what peers may take."""
        return Limits(
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

    @asynccontextmanager
    async def _open(
        self, identity: Signer | None, handlers: Mapping[str, StreamHandler]
    ) -> AsyncIterator[Libp2pNetwork]:
        # The library takes a second to load: only whoever opens the transport pays for it.
        from plasm_transport_libp2p import identify, ping
        from plasm_transport_libp2p.addresses import Groups, kind_of, parse_listen
        from plasm_transport_libp2p.identity import key_pair
        from plasm_transport_libp2p.network import open_network
        from plasm_transport_libp2p.quic import QuicTransport
        from plasm_transport_libp2p.shares import Shares
        from plasm_transport_libp2p.tcp import Tcp
        from plasm_transport_libp2p.workarounds import check_version

        check_version()
        keys = key_pair(identity)
        addresses = [parse_listen(text) for text in self.listen] if handlers else []
        limits = self.limits()
        shares = Shares()
        transports: list[ITransport] = [Tcp()]
        try:
            transports.append(QuicTransport(keys.private_key, limits=limits.of_quic(), shares=shares))
        except TransportError as exc:  # its version of aioquic cannot be had everywhere
            if any(kind_of(address) == "quic" for address in addresses):
                raise
            log.info("quic cannot be dialled reason=%s", exc)
        # A daemon has a key that names clients; who only dials names nobody.
        key = paths.owners_key()
        groups = Groups(paths.secret(key)) if handlers and key.is_file() else None
        async with open_network(keys, transports, addresses, limits, groups, shares) as network:
            identify.serve(network)
            if handlers:
                ping.serve(network)
            for protocol, handler in handlers.items():
                network.handle(protocol, handler)
            yield network


@hookimpl
def plasm_transport() -> list[type[Transport]]:
    return [Libp2pTransport]
