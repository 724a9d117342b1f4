"""The interface of a port mapping protocol, such as NAT-PMP or UPnP IGD."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

import attrs
import trio

from plasm_core.records.port_mapping import PortMapping
from plasm_transport_libp2p.addresses import Port

LEASE_S = 3600
"""The lifetime requested for a mapping: what is left in the router after a crash is gone within the hour."""


@attrs.frozen(kw_only=True)
class MappingResult:
    """The mappings a router made. `refusals`: why others were not made. `renew_s`: seconds until they must be renewed."""

    mappings: tuple[PortMapping, ...]
    refusals: tuple[str, ...] = ()
    renew_s: float


class PortMappingProtocol(ABC):
    """One port-mapping protocol, and the mappings that it made."""

    name: str

    @abstractmethod
    async def map(self, ports: Mapping[Port, int]) -> MappingResult:
        """Make or renew mappings. `ports`: the wanted external port of each; the router may grant another.

        Raises: `TransportError` if no router answers.
        """

    @abstractmethod
    async def release(self) -> None:
        """Remove all mappings. A router's failures are logged, not raised."""

    async def until_forgotten(self) -> None:
        """Return once the router is known to have lost its mappings; by default never."""
        await trio.sleep_forever()
