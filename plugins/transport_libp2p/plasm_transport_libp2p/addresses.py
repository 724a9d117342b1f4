"""Multiaddrs: what can be dialled, where it leads, and which count together."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
import secrets
import socket
from collections.abc import Iterable

import psutil
from multiaddr import Multiaddr
from multiaddr.exceptions import Error as MultiaddrError

from plasm_core.errors import PeerUnreachableError, TransportError
from plasm_core.records.cid import parse_peer
from plasm_core.records.peer import PeerId, is_peer_id
from plasm_transport_libp2p.address_classes import (
    PUBLIC,
    IPAddress,
    Private,
    class_of_ip,
    embedded,
    is_permitted,
    ranges_of,
)

MAX_ADDRESS_LENGTH = 1024
_PORT = re.compile("[0-9]{1,5}")


def from_text(text: str) -> Multiaddr:
    """Read a multiaddr. Raises: ValueError, also where the library is laxer than PHP's client.

    The library reads ports as `int` does, with signs, blanks and the digits of every script.
    """
    if not text.startswith("/"):
        raise ValueError("it does not start with /")
    if text.split() != [text]:
        raise ValueError("it has white space in it")
    try:
        address = Multiaddr(text)
        protocols = list(address.protocols())
    except (MultiaddrError, ValueError, KeyError, TypeError) as exc:
        raise ValueError(str(exc)) from None
    words = iter(text[1:].split("/"))
    for protocol in protocols:
        if next(words, "") != protocol.name:
            raise ValueError("there is an empty part in it")
        value = next(words, "") if protocol.size else ""
        if protocol.name in ("tcp", "udp") and not _PORT.fullmatch(value):
            raise ValueError(f"a port has 1 to 5 digits: {value!r}")
    return address


def parse(text: str) -> tuple[Multiaddr | None, PeerId | None]:
    """Split an address into where and who: `/ip4/…/tcp/…/p2p/…`, either part alone too.

    Raises: `PeerUnreachableError` if it is no multiaddr that could be dialled.
    """
    if len(text) > MAX_ADDRESS_LENGTH:
        raise PeerUnreachableError("an address is too long to be one")
    text = text.replace("/ipfs/", "/p2p/")  # its name before 2018 (multiaddr specification, "/p2p")
    where, separator, who = text.rpartition("/p2p/")
    if not separator:
        where, who = text, ""
    try:
        peer = parse_peer(who.rstrip("/")) if separator else None
    except ValueError as exc:
        raise PeerUnreachableError(f"{text} names no peer: {exc}") from None
    if not where:
        return None, peer
    try:
        return understood(where), peer
    except ValueError as exc:
        raise PeerUnreachableError(f"{text} is not a multiaddr that can be dialled: {exc}") from None


def understood(given: str | bytes) -> Multiaddr:
    """Make a multiaddr, and read all of it: py-multiaddr finds out late what it cannot read. Raises: ValueError.

    It knows protocols by name whose binary form it cannot take apart again, such as ip6zone, and the errors of its
    codecs have no common ancestor.
    """
    try:
        address = from_text(given) if isinstance(given, str) else Multiaddr(given)
        _ = kind_of(address), ip_of(address), port_of(address), str(address), address.to_bytes()
    except Exception as exc:
        reason = str(exc) or type(exc).__name__
        if isinstance(given, str) and "/ip6zone/" in given:
            reason = "addresses with a zone (ip6zone) cannot be dialled; name a global one, or one of IPv4"
        raise ValueError(reason) from exc
    return address


def parse_listen(text: str) -> Multiaddr:
    """Read an address to listen on. Raises: `TransportError`."""
    try:
        address = understood(text)
    except ValueError as exc:
        raise TransportError(f"cannot listen on {text}, which is not a multiaddr: {exc}") from None
    if ip_of(address) is None or kind_of(address) not in ("tcp", "quic"):
        raise TransportError(
            f"cannot listen on {text}",
            hint="give addresses such as /ip4/0.0.0.0/tcp/4001 or /ip6/::/udp/4001/quic-v1",
        )
    return address


def is_relayed(address: Multiaddr) -> bool:
    """Return whether an address leads through a relay, so that its IP address is not the peer's."""
    return any(protocol.name == "p2p-circuit" for protocol in address.protocols())


def kind_of(address: Multiaddr) -> str | None:
    """Return `tcp` or `quic` for an address that leads straight to a peer, `relay` for a circuit, else None."""
    if is_relayed(address):
        text, _, rest = str(address).partition("/p2p-circuit")
        straight, _, relay = text.rpartition("/p2p/")
        known = bool(straight) and kind_of(Multiaddr(straight)) in ("tcp", "quic")
        return "relay" if known and is_peer_id(relay) and not rest else None
    names = [protocol.name for protocol in address.protocols()]
    if len(names) < 2 or names[0] not in ("ip4", "ip6", "dns", "dns4", "dns6"):
        return None
    return {("tcp",): "tcp", ("udp", "quic-v1"): "quic"}.get(tuple(names[1:]))


def ip_of(address: Multiaddr) -> IPAddress | None:
    """Return the IP address at the head of a multiaddr, if there is one."""
    first = next(iter(address.protocols()), None)
    if first is None or first.name not in ("ip4", "ip6"):
        return None
    return ipaddress.ip_address(str(address.value_for_protocol(first.code)))


def port_of(address: Multiaddr) -> int:
    """Return the port of an address that leads straight to a peer, 0 if it has none."""
    for protocol in address.protocols():
        if protocol.name in ("tcp", "udp"):
            return int(str(address.value_for_protocol(protocol.code)))
    return 0


def is_public(address: Multiaddr) -> bool:
    """Return whether it leads to a host that anyone on the Internet could reach. Names do not count."""
    ip = ip_of(address)
    return ip is not None and class_of_ip(ip) == PUBLIC


def is_dialled_on_hearsay(address: Multiaddr, private: Private) -> bool:
    """Return whether to dial an address, or the relay at its head, that a stranger names. Names are not dialled."""
    ip = ip_of(address)
    return ip is not None and kind_of(address) is not None and is_permitted(ip, private)


def private_ranges(given: Iterable[str]) -> frozenset[str]:
    """Return the private ranges that the user's own multiaddrs are in; what is no multiaddr is in none."""
    found = []
    for text in given:
        try:
            where, _ = parse(text)
        except PeerUnreachableError:
            continue
        ip = ip_of(where) if where is not None else None
        if ip is not None:
            found.append(ip)
    return ranges_of(found)


def prefix_of(ip: IPAddress) -> str:
    """Return the /24 or /48 that an address lies in."""
    ip = embedded(ip)
    return str(ipaddress.ip_network((ip, 24 if ip.version == 4 else 48), strict=False))


def wide_prefix_of(ip: IPAddress) -> str:
    """Return the /16 or /32 that an address lies in: what one network operator commonly has."""
    ip = embedded(ip)
    return str(ipaddress.ip_network((ip, 16 if ip.version == 4 else 32), strict=False))


def host_ip(host: str) -> IPAddress | None:
    """Read the host part of a socket's address."""
    try:
        ip = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
    return (ip.ipv4_mapped or ip) if isinstance(ip, ipaddress.IPv6Address) else ip


class Groups:
    """Names groups of addresses, so that quotas can count them and nobody can read where a client is.

    The secret is of this process, unless there is one that outlives it, and never leaves the machine.
    """

    def __init__(self, secret: bytes | None = None) -> None:
        self._secret = secret or secrets.token_bytes(32)

    def of(self, remote: tuple[str, int] | None) -> str:
        """Return the group of a peer's host and port; those without any are one group."""
        ip = host_ip(remote[0]) if remote else None
        text = prefix_of(ip) if ip else "none"
        return hmac.new(self._secret, text.encode(), hashlib.sha256).hexdigest()[:32]

    def counted(self, remote: tuple[str, int] | None) -> str | None:
        """Return the group that a connection is counted in, None for this machine's own addresses."""
        ip = host_ip(remote[0]) if remote else None
        return None if ip is not None and ip.is_loopback else self.of(remote)


def expand(address: Multiaddr) -> list[Multiaddr]:
    """Return the addresses that one stands for: those of the interfaces, if it is the unspecified one."""
    ip = ip_of(address)
    if ip is None or not ip.is_unspecified:
        return [address]
    family = socket.AF_INET if ip.version == 4 else socket.AF_INET6
    rest = str(address).split("/", 3)[3]
    found = [
        host_ip(entry.address)
        for entries in psutil.net_if_addrs().values()
        for entry in entries
        if entry.family == family
    ]
    usable = [item for item in found if item is not None and not item.is_link_local]
    beyond = [item for item in usable if not item.is_loopback]
    return [Multiaddr(f"/ip{ip.version}/{item}/{rest}") for item in (beyond or usable)]
