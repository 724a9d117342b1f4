"""The discovery `kademlia`: finds nodes by what they can do, with no registry and no account."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import ClassVar

import attrs

from plasm_core import hookimpl
from plasm_core.abc import Directory, Discovery, Network
from plasm_core.errors import TransportError
from plasm_core.paths import state_directory
from plasm_core.records.fields import boolean, constrained, integer, names, one_of, text
from plasm_transport_libp2p.relay.limits import RelayLimits

_RELAY = RelayLimits()
DEFAULT_PROTOCOL = "/phase/kad/1.0.0"


@attrs.frozen(kw_only=True)
class Kademlia(Discovery):
    """Nodes that listen serve the directory, unless told otherwise; others only ask.

    `bootstrap`: multiaddrs of nodes to start from. `protocol` names the network: who speaks another is not in it.
    `allow_private`: dial private and loopback addresses that strangers tell of, as in a laboratory.
    `map_ports`: have the router forward the ports, by NAT-PMP or UPnP. `reachability_s`: how often others are asked
    to dial back. `relay`: bring circuits to nodes that nobody reaches straight, so many at once, with so many bytes
    and seconds each.
    `mdns`: tell the local network of this node, and listen who else is there.
    `cache`: where servers are remembered for seven days; empty for nowhere.
    """

    name: ClassVar[str] = "kademlia"
    requires: ClassVar[tuple[str, ...]] = ("libp2p",)
    install: ClassVar[str | None] = "pip install 'phase-plasm[libp2p]'"

    bootstrap: tuple[str, ...] = constrained(names(r"/[!-~]+", 256), default=())
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

    def open(self, network: Network) -> AbstractAsyncContextManager[Directory]:
        return self._open(network)

    @asynccontextmanager
    async def _open(self, network: Network) -> AsyncIterator[Directory]:
        # libp2p takes a second to load: only whoever opens the discovery pays for it.
        from plasm_transport_libp2p.kademlia.cache import Cache
        from plasm_transport_libp2p.kademlia.directory import KademliaDirectory, Settings, running
        from plasm_transport_libp2p.network import Libp2pNetwork
        from plasm_transport_libp2p.reachability.keeper import Keeper

        if not isinstance(network, Libp2pNetwork):
            raise TransportError("the discovery kademlia needs the transport libp2p")
        settings = Settings(
            protocol=self.protocol,
            bootstrap=self.bootstrap,
            server=self.mode == "auto",
            allow_private=self.allow_private,
            mdns=self.mdns,
        )
        directory = KademliaDirectory(network, settings, Cache(Path(self.cache) if self.cache else None))
        directory.announce(network.addresses)
        others = []
        if network.addresses:
            keeper = Keeper(
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
