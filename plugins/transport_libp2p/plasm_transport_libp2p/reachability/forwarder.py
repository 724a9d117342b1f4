"""How a router is asked to forward ports: what every such protocol has to do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

import attrs
import trio

from plasm_core.records.port_mapping import PortMapping
from plasm_transport_libp2p.reachability.message import Port

LEASE_S = 3600
"""How long a router is asked to keep a mapping that is not renewed, as after a crash."""


@attrs.frozen(kw_only=True)
class Granted:
    """What a router did. `refusals`: why it did no more. `renew_s`: when it is to be asked again."""

    mappings: tuple[PortMapping, ...]
    refusals: tuple[str, ...] = ()
    renew_s: float


class Forwarder(ABC):
    """A protocol to ask a router by, and what the router was asked for."""

    name: str

    @abstractmethod
    async def map(self, ports: Mapping[Port, int]) -> Granted:
        """Have ports forwarded, or renewed, each from the port of the router's that is named for it, if it is free.

        Raises: `TransportError` if nothing was forwarded because no router could be asked.
        """

    @abstractmethod
    async def release(self) -> None:
        """Have the router forward none of them any more. It raises nothing that routers are to blame for."""

    async def until_forgotten(self) -> None:
        """Wait until the router is known to have forgotten its mappings; for ever by default."""
        await trio.sleep_forever()
