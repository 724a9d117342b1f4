"""The class of each IP address, and which classes may be dialled when a stranger reports them.

The table follows IANA's special-purpose address registries (RFC 6890 and its updates). It replaces
`ipaddress.is_global`, whose answers changed between patch releases of Python. The PHP client has the same table;
tests/vectors/addresses.json tests both.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

PUBLIC = "public"
TABLE: tuple[tuple[str, str], ...] = (
    ("0.0.0.0/0", PUBLIC),
    ("0.0.0.0/8", "unspecified"),
    ("10.0.0.0/8", "private-10"),
    ("100.64.0.0/10", "shared"),
    ("100.100.100.200/32", "metadata"),  # Alibaba Cloud
    ("127.0.0.0/8", "loopback"),
    ("168.63.129.16/32", "metadata"),  # Azure
    ("169.254.0.0/16", "link-local"),
    ("169.254.169.254/32", "metadata"),
    ("172.16.0.0/12", "private-172"),
    ("192.0.0.0/24", "reserved"),
    ("192.0.0.192/32", "metadata"),  # Oracle Cloud
    ("192.0.2.0/24", "documentation"),
    ("192.88.99.0/24", "translated"),  # 6to4 relay anycast, RFC 7526
    ("192.168.0.0/16", "private-192"),
    ("198.18.0.0/15", "benchmarking"),
    ("198.51.100.0/24", "documentation"),
    ("203.0.113.0/24", "documentation"),
    ("224.0.0.0/4", "multicast"),
    ("240.0.0.0/4", "reserved"),
    ("::/0", "reserved"),  # all that is not global unicast, 2000::/3
    ("::/128", "unspecified"),
    ("::1/128", "loopback"),
    ("::/96", "translated"),  # IPv4-compatible; the two above are more specific
    ("::ffff:0:0/96", "translated"),  # IPv4-mapped
    ("64:ff9b::/96", "nat64"),  # classified by the IPv4 address in it
    ("64:ff9b:1::/48", "translated"),  # RFC 8215
    ("2000::/3", PUBLIC),
    ("2001::/23", "reserved"),  # Teredo, benchmarking, ORCHID
    ("2001::/32", "translated"),  # Teredo
    ("2001:2::/48", "benchmarking"),
    ("2001:db8::/32", "documentation"),
    ("2002::/16", "translated"),  # 6to4
    ("3fff::/20", "documentation"),
    ("fc00::/7", "unique-local"),
    ("fd00:ec2::/32", "metadata"),  # AWS
    ("fd20:ce::254/128", "metadata"),  # Google Cloud
    ("fe80::/10", "link-local"),
    ("fec0::/10", "site-local"),
    ("ff00::/8", "multicast"),
)
RANGES = frozenset({"private-10", "private-172", "private-192", "shared", "unique-local", "loopback"})
"""The private ranges. A stranger's report is dialled if an address that the user gave is in the same range."""
LABORATORY = RANGES | {"documentation", "benchmarking"}
"""What `allow_private` adds to public addresses."""

Private = bool | frozenset[str]
"""Private ranges that may be dialled on a stranger's report: none (False), these, or all of `LABORATORY` (True)."""

_BY_LENGTH = {
    version: sorted(
        (
            (network, name)
            for text, name in TABLE
            for network in (ipaddress.ip_network(text),)
            if network.version == version
        ),
        key=lambda item: item[0].prefixlen,
        reverse=True,
    )
    for version in (4, 6)
}


def class_of_ip(ip: IPAddress) -> str:
    """Return an IP address's class: that of the longest matching prefix in `TABLE`.

    An address with a zone is link-local.
    """
    if isinstance(ip, ipaddress.IPv6Address) and ip.scope_id is not None:
        return "link-local"
    name = next(name for network, name in _BY_LENGTH[ip.version] if ip in network)
    if name != "nat64":
        return name
    return PUBLIC if class_of_ip(embedded(ip)) == PUBLIC else "translated"


def embedded(ip: IPAddress) -> IPAddress:
    """Return the IPv4 address in a NAT64 (RFC 6052, section 2.1) or IPv4-mapped address, else the address itself."""
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            return ip.ipv4_mapped
        if ip in ipaddress.ip_network("64:ff9b::/96"):
            return ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    return ip


def is_permitted(ip: IPAddress, private: Private) -> bool:
    """Return whether an address may be dialled on a stranger's report."""
    name = class_of_ip(ip)
    if name == PUBLIC:
        return True
    return name in (LABORATORY if private is True else private or ())


def ranges_of(given: Iterable[IPAddress]) -> frozenset[str]:
    """Return the private ranges of the addresses that the user gave."""
    return frozenset(map(class_of_ip, given)) & RANGES
