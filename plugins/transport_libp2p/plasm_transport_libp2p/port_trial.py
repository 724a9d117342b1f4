"""Finding out whether an address could be listened on, without staying there."""

from __future__ import annotations

import socket

from multiaddr import Multiaddr

from plasm_core.errors import TransportError
from plasm_transport_libp2p.addresses import ip_of, kind_of, port_of


def try_port(address: Multiaddr) -> None:
    """Bind a socket to an address, and close it. Raises: `TransportError` if that fails."""
    ip = ip_of(address)
    kind = socket.SOCK_STREAM if kind_of(address) == "tcp" else socket.SOCK_DGRAM
    family = socket.AF_INET6 if ip is not None and ip.version == 6 else socket.AF_INET
    try:
        with socket.socket(family, kind) as sock:
            if kind is socket.SOCK_STREAM:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family is socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind((str(ip), port_of(address)))
            if kind is socket.SOCK_STREAM:
                sock.listen()
    except OSError as exc:
        raise TransportError(f"cannot listen on {address}: {exc.strerror}") from exc
