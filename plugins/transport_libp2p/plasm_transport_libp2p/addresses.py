"""Multiaddrs: parsing, the rule for dialling on hearsay, and the /24 and /48 groups of addresses."""

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

from plasm_core.address_classes import (
    PUBLIC,
    IPAddress,
    Private,
    class_of_ip,
    embedded,
    is_permitted,
    ranges_of,
)
from plasm_core.errors import PeerUnreachableError, TransportError
from plasm_core.records.cid import parse_peer
from plasm_core.records.peer import PeerId, is_peer_id

MAX_ADDRESS_LENGTH = 1024
MAX_ADDRESS_BYTES = 384
"""Of a multiaddr in binary: the longest that can be dialled, a relay's behind a name of 253 bytes, has 350.

py-multiaddr takes as long to read three components of two bytes as a whole address of IPv4.
"""
_PORT = re.compile("[0-9]{1,5}")

Port = tuple[str, int]
"""A carrier, `tcp` or `quic`, and the number of one of its ports."""


def from_text(text: str) -> Multiaddr:
    """Parse a multiaddr. Raises: ValueError, also where py-multiaddr accepts what the PHP client refuses.

    py-multiaddr parses ports as `int` does, with signs, blanks and the digits of every script.
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
    """Split an address into multiaddr and peer id, either of which may be missing: `/ip4/…/tcp/…/p2p/…`.

    Raises: `PeerUnreachableError` if it is not a valid multiaddr.
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
    """Parse a multiaddr and all its parts, since py-multiaddr validates lazily. Raises: ValueError.

    It accepts protocols whose binary form it cannot decode again, such as ip6zone, and the errors of its codecs have
    no common base class.
    """
    if isinstance(given, bytes) and len(given) > MAX_ADDRESS_BYTES:
        raise ValueError(f"it is longer than {MAX_ADDRESS_BYTES} bytes")
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
    """Parse an address to listen on. Raises: `TransportError` unless it is TCP or QUIC on an IP address."""
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
    """Return whether an address is relayed (`/p2p-circuit`): its IP address is then the relay's."""
    return any(protocol.name == "p2p-circuit" for protocol in address.protocols())


def kind_of(address: Multiaddr) -> str | None:
    """Return `tcp` or `quic` for a direct address, `relay` for a relayed one, None for any other."""
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
    """Return the TCP or UDP port of an address, the relay's if it is relayed; 0 without one."""
    for protocol in address.protocols():
        if protocol.name in ("tcp", "udp"):
            return int(str(address.value_for_protocol(protocol.code)))
    return 0


def is_public(address: Multiaddr) -> bool:
    """Return whether the IP address is public. DNS names are not."""
    ip = ip_of(address)
    return ip is not None and class_of_ip(ip) == PUBLIC


def is_dialled_on_hearsay(address: Multiaddr, private: Private) -> bool:
    """Return whether an address that a stranger reports may be dialled, or its relay.

    DNS names and port 0 may not.
    """
    ip = ip_of(address)
    if ip is None or kind_of(address) is None or port_of(address) == 0:
        return False
    return is_permitted(ip, private)


def private_ranges(given: Iterable[str]) -> frozenset[str]:
    """Return the private ranges of the user's own multiaddrs. Texts that are not valid are skipped."""
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
    """Return the /24 of an IPv4 or the /48 of an IPv6 address."""
    ip = embedded(ip)
    return str(ipaddress.ip_network((ip, 24 if ip.version == 4 else 48), strict=False))


def wide_prefix_of(ip: IPAddress) -> str:
    """Return the /16 of an IPv4 or the /32 of an IPv6 address: a common size of one operator's network."""
    ip = embedded(ip)
    return str(ipaddress.ip_network((ip, 16 if ip.version == 4 else 32), strict=False))


def host_ip(host: str) -> IPAddress | None:
    """Parse the host of a socket address; IPv4-mapped IPv6 becomes IPv4. None if it is not an IP address."""
    try:
        ip = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
    return (ip.ipv4_mapped or ip) if isinstance(ip, ipaddress.IPv6Address) else ip


class AddressGroups:
    """Names networks by a keyed hash, so that quotas can count them and no client's address is stored.

    Without a secret, a random one is made for this process.
    """

    def __init__(self, secret: bytes | None = None) -> None:
        self._secret = secret or secrets.token_bytes(32)

    def of(self, remote: tuple[str, int] | None) -> str:
        """Return the group of a host and port: HMAC-SHA-256 of its /24 or /48, cut to 32 hexadecimal digits.

        All remotes without an IP address, None among them, are one group.
        """
        ip = host_ip(remote[0]) if remote else None
        text = prefix_of(ip) if ip else "none"
        return hmac.new(self._secret, text.encode(), hashlib.sha256).hexdigest()[:32]

    def counted(self, remote: tuple[str, int] | None) -> str | None:
        """Return the group of a host and port under which a quota counts it; None for loopback, which has no quota."""
        ip = host_ip(remote[0]) if remote else None
        return None if ip is not None and ip.is_loopback else self.of(remote)


def expand(address: Multiaddr) -> list[Multiaddr]:
    """Return the address, or for `0.0.0.0` and `::` one for each interface; loopback only if there is no other."""
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
