"""A non-blocking UDP socket, read and written in batches."""

from __future__ import annotations

import logging
import socket
from collections import deque
from collections.abc import Iterator

import trio

from plasm_transport_libp2p.quic.address import SocketAddress

log = logging.getLogger(__name__)

_BATCH_DATAGRAMS = 64
_LARGEST_DATAGRAM_BYTES = 2048
"""Of a received datagram: Internet paths carry about 1,500 bytes."""
_BUFFER_BYTES = 4 << 20
"""Requested from the kernel: one connection's batch must not push out another's datagrams."""


class UdpSocket:
    """A bound socket of one family. Raises: `OSError` if it cannot be bound."""

    def __init__(self, family: socket.AddressFamily, address: SocketAddress) -> None:
        self.family = family
        self._unsent: deque[tuple[bytes, SocketAddress]] = deque()
        self._socket = socket.socket(family, socket.SOCK_DGRAM)
        try:
            self._socket.setblocking(False)
            if family == socket.AF_INET6:
                self._socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
                self._socket.setsockopt(socket.SOL_SOCKET, option, _BUFFER_BYTES)
            self._socket.bind(address)
        except OSError:
            self._socket.close()
            raise
        self.address: SocketAddress = self._socket.getsockname()

    def close(self) -> None:
        """Close the socket. Datagrams that wait are dropped."""
        self._unsent.clear()
        self._socket.close()

    async def wait_readable(self) -> None:
        """Wait until a datagram can be read."""
        await trio.lowlevel.wait_readable(self._socket.fileno())

    def receive_batch(self) -> Iterator[tuple[bytes, SocketAddress]]:
        """Yield up to 64 received datagrams, so that other tasks get their turn."""
        receive = self._socket.recvfrom
        for _ in range(_BATCH_DATAGRAMS):
            try:
                yield receive(_LARGEST_DATAGRAM_BYTES)
            except BlockingIOError:
                return
            except OSError as exc:
                # An ICMP error for an earlier datagram. It can be forged: the connection's idle timeout decides.
                log.debug("socket_error errno=%s", exc.errno)

    @property
    def is_blocked(self) -> bool:
        """Whether the socket takes no datagrams for now."""
        return bool(self._unsent)

    def send(self, datagram: bytes, remote: SocketAddress) -> None:
        """Send a datagram, or keep it until the socket takes it."""
        if self._unsent or not self._try_send(datagram, remote):
            # Bounded by one batch a connection, since none sends while the socket is blocked.
            self._unsent.append((datagram, remote))

    def _try_send(self, datagram: bytes, remote: SocketAddress) -> bool:
        try:
            self._socket.sendto(datagram, remote)
        except BlockingIOError:
            return False
        except OSError as exc:
            # No route, or too large for the path: lost, as any datagram may be.
            log.debug("datagram_lost errno=%s", exc.errno)
        return True

    async def send_kept(self) -> None:
        """Send the datagrams that wait, as the socket takes them."""
        while self._unsent:
            await trio.lowlevel.wait_writable(self._socket.fileno())
            while self._unsent and self._try_send(*self._unsent[0]):
                self._unsent.popleft()
