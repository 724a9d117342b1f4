"""The discovery plugin `kademlia`: finds nodes by capability class through a Kademlia DHT."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import ClassVar

import attrs

from plasm_core import hookimpl
from plasm_core.errors import ConfigError, PeerUnreachableError, TransportError
from plasm_core.paths import state_directory
from plasm_core.plugins.interfaces import Directory, Discovery, Network
from plasm_core.records.fields import boolean, constrained, integer, one_of, text
from plasm_transport_libp2p.circuit_relay.limits import RelayLimits
from plasm_transport_libp2p.multiaddr_list import multiaddr_list

_RELAY = RelayLimits()
DEFAULT_PROTOCOL = "/phase/kad/1.0.0"


@attrs.frozen(kw_only=True)
class Kademlia(Discovery):
    """A node that listens serves the directory, unless `mode` is `client`; other nodes only query it.

    `bootstrap`: multiaddrs of bootstrap nodes. `protocol`: the directory's protocol name, which separates networks.
    `allow_private`: dial private and loopback addresses on hearsay, for test networks.
    `map_ports`: ask the router to forward the ports, by NAT-PMP or UPnP. `reachability_s`: seconds between requests to
    dial back. `relay`: serve as a relay for nodes that are not reachable; `relay_circuits` at once, each with at most
    `relay_circuit_bytes` and `relay_circuit_s`.
    `mdns`: announce this node on the local network by multicast DNS, and find other nodes there.
    `cache`: the file that stores servers for seven days; empty for none.
    """

    name: ClassVar[str] = "kademlia"
    transports: ClassVar[tuple[str, ...]] = ("libp2p",)
    requires: ClassVar[tuple[str, ...]] = ("libp2p",)
    install: ClassVar[str | None] = "pip install 'phase-plasm[libp2p]'"
    newest_python: ClassVar[tuple[int, int] | None] = (3, 13)  # coincurve 21, which libp2p pins

    bootstrap: tuple[str, ...] = constrained(multiaddr_list(), default=())
    protocol: str = constrained(text(pattern=r"/[!-~]+", maximum=128), default=DEFAULT_PROTOCOL)
    mode: str = constrained(one_of("auto", "client"), default="auto")
    allow_private: bool = constrained(boolean(), default=False)
    mdns: bool = constrained(boolean(), default=False)
    map_ports: bool = constrained(boolean(), default=True)
    reachability_s: int = constrained(integer(5, 86_400), default=300)
    relay: bool = constrained(boolean(), default=False)
    relay_circuits: int = constrained(integer(1, 65_536), default=_RELAY.circuits)
    relay_circuit_bytes: int = constrained(integer(1 << 16), default=_RELAY.circuit_bytes)
    relay_circuit_s: int = constrained(integer(10, 86_400), default=_RELAY.circuit_s)
    cache: str = constrained(
        text(maximum=4096, pattern=r"[^\x00]*"),
        default=attrs.Factory(lambda: str(state_directory() / "peers.json")),
    )

    def check(self) -> None:
        """Raise `PluginMissingError` without libp2p; `ConfigError` for an address that cannot be dialled."""
        super().check()
        if not self.bootstrap:
            return
        from plasm_transport_libp2p.addresses import parse  # libp2p's addresses take a second to load

        for address in self.bootstrap:
            try:
                where, _ = parse(address)
            except PeerUnreachableError as exc:
                raise ConfigError(f"discovery.kademlia.bootstrap: {exc}") from exc
            if where is None:
                raise ConfigError(
                    f"discovery.kademlia.bootstrap: {address} has a PeerId, but no place to dial"
                )

    def open(self, network: Network) -> AbstractAsyncContextManager[Directory]:
        return self._open(network)

    @asynccontextmanager
    async def _open(self, network: Network) -> AsyncIterator[Directory]:
        # Importing py-libp2p takes a second: commands that do not open the discovery must not wait for it.
        from plasm_transport_libp2p.kad.directory import KademliaDirectory, KademliaSettings, running
        from plasm_transport_libp2p.kad.peer_cache import PeerCache
        from plasm_transport_libp2p.network import Libp2pNetwork
        from plasm_transport_libp2p.reachability.service import ReachabilityService

        if not isinstance(network, Libp2pNetwork):
            raise TransportError("the discovery kademlia needs the transport libp2p")
        settings = KademliaSettings(
            protocol=self.protocol,
            bootstrap=self.bootstrap,
            server=self.mode == "auto",
            allow_private=self.allow_private,
            mdns=self.mdns,
        )
        directory = KademliaDirectory(network, settings, PeerCache(Path(self.cache) if self.cache else None))
        directory.announce(network.addresses)
        others = []
        if network.addresses:
            keeper = ReachabilityService(
                network,
                directory,
                network.circuits,
                limits=self._relaying(),
                local=self._local(),
                map_ports=self.map_ports,
                steady_s=float(self.reachability_s),
            )
            others.append(keeper.run)
        async with running(directory, *others):
            yield directory

    def _relaying(self) -> RelayLimits | None:
        if not self.relay:
            return None
        return RelayLimits(
            circuits=self.relay_circuits,
            circuit_bytes=self.relay_circuit_bytes,
            circuit_s=self.relay_circuit_s,
        )

    def _local(self) -> bool:
        return self.allow_private or self.mdns


@hookimpl
def plasm_discovery() -> list[type[Discovery]]:
    return [Kademlia]
