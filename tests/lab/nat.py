"""What home routers do to packets, as rules of nftables.

Outbound ports are kept where they are free, as by the cheapest routers and the dearest, so that all but the
symmetric kind have one mapping for every destination. What nobody asked for is dropped, not refused.
"""

from __future__ import annotations

from enum import Enum

OUTSIDE, INSIDE = "wan", "lan"
MAPPED_TIMEOUT_S = 120
TABLE = "router"


class Nat(Enum):
    """A router's kind, named after RFC 3489, section 5."""

    NONE = "none"
    """No router at all: a public address."""
    FULL_CONE = "full-cone"
    """Every port is forwarded to the one host inside."""
    ADDRESS_RESTRICTED = "address-restricted"
    """A host that was sent a packet may send to any port."""
    PORT_RESTRICTED = "port-restricted"
    """A host that was sent a packet may answer."""
    SYMMETRIC = "symmetric"
    """As before, and each destination sees another port."""
    UDP_BLOCKED = "udp-blocked"
    """Port-restricted for TCP, and no UDP."""
    UPNP = "upnp"
    """Port-restricted, and forwards the ports that it is asked to."""


def rules(nat: Nat, *, inside: str, outside: str) -> str:
    """Return the rules of a router with an outer address and one host inside."""
    dnat = learn = udp = ""
    source = f"snat to {outside}"
    if nat is Nat.FULL_CONE:
        dnat = f"iifname {OUTSIDE} meta l4proto {{ tcp, udp }} dnat to {inside}"
    elif nat is Nat.ADDRESS_RESTRICTED:
        dnat = f"iifname {OUTSIDE} ip saddr @known meta l4proto {{ tcp, udp }} dnat to {inside}"
        learn = f"iifname {INSIDE} update @known {{ ip daddr }}"
    elif nat is Nat.SYMMETRIC:
        source = "masquerade fully-random"
    elif nat is Nat.UDP_BLOCKED:
        udp = "meta l4proto udp drop"
    return f"""
    table ip {TABLE} {{
        set known {{
            type ipv4_addr
            flags dynamic, timeout
            timeout {MAPPED_TIMEOUT_S}s
            size 1024
        }}
        chain input {{
            type filter hook input priority 0; policy drop;
            ct state established, related accept
            iifname {{ lo, {INSIDE} }} accept
        }}
        chain forward {{
            type filter hook forward priority 0; policy drop;
            {udp}
            {learn}
            iifname {INSIDE} accept
            ct state established, related accept
            ct status dnat accept
        }}
        chain prerouting {{
            type nat hook prerouting priority -100;
            {dnat}
        }}
        chain postrouting {{
            type nat hook postrouting priority 100;
            oifname {OUTSIDE} {source}
        }}
    }}
    """
