"""A port of a router's that leads to this node, because the router was asked for it."""

from __future__ import annotations

from ipaddress import IPv4Address

import attrs


@attrs.frozen(kw_only=True)
class PortMapping:
    """A port that a router forwards. `carrier`: `tcp` or `quic`. `way`: the protocol by which the router was asked."""

    carrier: str
    port: int
    external_ip: IPv4Address
    external_port: int
    way: str

    @property
    def is_public(self) -> bool:
        """Whether the router's external address is public: not itself behind another router."""
        return self.external_ip.is_global

    def __str__(self) -> str:
        return f"{self.way}: {self.carrier} {self.external_ip}:{self.external_port} leads to port {self.port}"
