"""Reaching other machines, and other processes by sockets."""

from __future__ import annotations

import errno
import os
import socket
import struct
from ctypes import create_string_buffer
from typing import Any

from tests.support.attempts.questions import MAX_FD, kind_of
from tests.support.attempts.trying import ATTEMPTS, Action, Attempt, Whereabouts, attempt, raw


def _making_socket(family: int, kind: int, protocol: int = 0) -> Action:
    def act(_where: Whereabouts) -> object:
        with socket.socket(family, kind, protocol):
            return True

    return act


for _name, _family, _kind, _protocol, _control in (
    ("socket_tcp", socket.AF_INET, socket.SOCK_STREAM, 0, "anyone"),
    ("socket_udp", socket.AF_INET, socket.SOCK_DGRAM, 0, "anyone"),
    ("socket_tcp6", socket.AF_INET6, socket.SOCK_STREAM, 0, "none"),
    ("socket_unix", socket.AF_UNIX, socket.SOCK_STREAM, 0, "anyone"),
    ("socket_netlink", getattr(socket, "AF_NETLINK", 16), socket.SOCK_RAW, 0, "anyone"),
    ("socket_packet", getattr(socket, "AF_PACKET", 17), socket.SOCK_RAW, 0, "none"),
    ("socket_vsock", getattr(socket, "AF_VSOCK", 40), socket.SOCK_STREAM, 0, "none"),
    ("socket_alg", getattr(socket, "AF_ALG", 38), socket.SOCK_SEQPACKET, 0, "none"),
):
    ATTEMPTS[_name] = Attempt(_making_socket(_family, _kind, _protocol), _control)


@attempt()
def socket_pair(_where: Whereabouts) -> object:
    socket.socketpair()
    return True


@attempt()
def connect_tcp(_where: Whereabouts) -> object:
    """Reach this machine's own network: being refused by it is reaching it."""
    with socket.socket() as sock:
        error = sock.connect_ex(("127.0.0.1", 9))
        if error not in (0, errno.ECONNREFUSED):
            raise OSError(error, os.strerror(error))
    return True


@attempt()
def bind_tcp(_where: Whereabouts) -> object:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
    return True


@attempt()
def connect_an_abstract_unix_socket(_where: Whereabouts) -> object:
    with socket.socket(socket.AF_UNIX) as sock:
        error = sock.connect_ex(b"\0plasm-hostile")
        if error != errno.ECONNREFUSED:  # nobody listens, but it may ask
            raise OSError(error, os.strerror(error))
    return True


_SOCKET_CALLS: dict[str, tuple[Any, ...]] = {
    "connect": (struct.pack("<HH4s8x", socket.AF_INET, 9, bytes([127, 0, 0, 1])), 16),
    "bind": (struct.pack("<HH4s8x", socket.AF_INET, 0, bytes(4)), 16),
    "listen": (1,),
    "accept4": (None, None, 0),
    "getsockname": (None, None),
    "getpeername": (None, None),
    "getsockopt": (1, 17, create_string_buffer(12), create_string_buffer(4)),
    "setsockopt": (1, 16, b"\1\0\0\0", 4),
    "sendmsg": (create_string_buffer(56), 0),
    "shutdown": (99,),
}


def _on_socket(name: str, arguments: tuple[Any, ...]) -> Action:
    """Put the worker's own socket to another use."""
    return lambda _where: raw(name, next(fd for fd in range(MAX_FD) if kind_of(fd) == "socket"), *arguments)


for _name, _arguments in _SOCKET_CALLS.items():
    ATTEMPTS[f"{_name}_on_own_socket"] = Attempt(_on_socket(_name, _arguments), "none")
