"""Multiaddrs of QUIC version 1, socket addresses, and the prefixes that limits count by."""

from __future__ import annotations

import ipaddress
import socket

from libp2p.peer.id import ID
from multiaddr import Multiaddr

SocketAddress = tuple[str, int] | tuple[str, int, int, int]
"""Host and port, as `recvfrom` returns them; for IPv6 with flow info and scope id."""

_IPV4_PREFIX_BITS = 24
_IPV6_PREFIX_BITS = 48


def is_quic(maddr: Multiaddr) -> bool:
    """Return whether an address is `/ip4|ip6/…/udp/…/quic-v1`, with or without `/p2p/…`."""
    names = [protocol.name for protocol in maddr.protocols()]
    return names[:3] in (["ip4", "udp", "quic-v1"], ["ip6", "udp", "quic-v1"]) and names[3:] in ([], ["p2p"])


def socket_address(maddr: Multiaddr) -> tuple[socket.AddressFamily, SocketAddress]:
    """Return the family and the address of the socket that a QUIC multiaddr names. Raises: `ValueError`."""
    if not is_quic(maddr):
        raise ValueError(f"{maddr} is not the address of a QUIC listener")
    port = int(maddr.value_for_protocol("udp") or 0)
    if maddr.protocols()[0].name == "ip4":
        return socket.AF_INET, (str(maddr.value_for_protocol("ip4")), port)
    host = str(ipaddress.IPv6Address(str(maddr.value_for_protocol("ip6"))))
    return socket.AF_INET6, (host, port, 0, 0)


def peer_id(maddr: Multiaddr) -> ID | None:
    """Return the peer id in an address, None if there is none."""
    text = maddr.get_peer_id()
    return ID.from_string(text) if text else None


def multiaddr(address: SocketAddress) -> Multiaddr:
    """Return the QUIC multiaddr of a socket address."""
    host = address[0].partition("%")[0]
    return Multiaddr(f"/ip{ipaddress.ip_address(host).version}/{host}/udp/{address[1]}/quic-v1")


def prefix(address: SocketAddress) -> bytes:
    """Return the network that counts as one client: the packed /24 or /48."""
    host = ipaddress.ip_address(address[0].partition("%")[0])
    bits = _IPV4_PREFIX_BITS if host.version == 4 else _IPV6_PREFIX_BITS
    return host.packed[: bits // 8]


def is_loopback(address: SocketAddress) -> bool:
    """Return whether an address is a loopback address."""
    return ipaddress.ip_address(address[0].partition("%")[0]).is_loopback


def is_wildcard(address: SocketAddress) -> bool:
    """Return whether an address is unspecified, `0.0.0.0` or `::`."""
    return ipaddress.ip_address(address[0].partition("%")[0]).is_unspecified
