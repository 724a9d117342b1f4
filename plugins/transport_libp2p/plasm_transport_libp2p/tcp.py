"""The TCP transport of the swarm.

It replaces py-libp2p's, which sets SO_REUSEPORT, so that another process can take connections of the same port,
does not know the remote address on IPv6, and fails on a message that arrives in more than 100 segments.
"""

from __future__ import annotations

import logging
import socket

import trio
from libp2p.abc import IListener, IRawConnection, ITransport
from libp2p.custom_types import THandler
from libp2p.io.abc import ReadWriteCloser
from libp2p.io.exceptions import ConnectionClosedError
from libp2p.network.connection.raw_connection import RawConnection
from libp2p.transport.exceptions import OpenConnectionError
from multiaddr import Multiaddr

from plasm_transport_libp2p.addresses import ip_of, kind_of
from plasm_transport_libp2p.exact_reads import ReadBuffer

log = logging.getLogger(__name__)

_BACKLOG = 128
_READ_BYTES = 64 * 1024


class TcpStream(ReadWriteCloser):
    """A connected socket. `read(n)` returns exactly n bytes."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._buffer = ReadBuffer()
        try:
            host, port, *_ = stream.socket.getpeername()
            self._remote: tuple[str, int] | None = (str(host), int(port))
        except OSError:  # ENOTCONN: the peer has closed already
            self._remote = None

    async def read(self, n: int | None = None) -> bytes:
        """Return `n` bytes, or if None at least one. Raises: `ConnectionClosedError`."""
        return await self._buffer.read(n, self._receive)

    async def _receive(self) -> bytes:
        try:
            data = bytes(await self._stream.receive_some(_READ_BYTES))
        except (trio.BrokenResourceError, trio.ClosedResourceError) as exc:
            raise ConnectionClosedError("the connection broke", transport="tcp") from exc
        if not data:
            raise ConnectionClosedError("the peer closed the connection", transport="tcp")
        return data

    async def write(self, data: bytes) -> None:
        """Send all. Raises: `ConnectionClosedError`."""
        try:
            await self._stream.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as exc:
            raise ConnectionClosedError("the connection broke", transport="tcp") from exc

    async def close(self) -> None:
        """Close the socket."""
        await self._stream.aclose()

    def get_remote_address(self) -> tuple[str, int] | None:
        """Return the peer's IP address and port; None if the peer had closed already."""
        return self._remote


class TcpListener(IListener):
    """Accepts connections until closed. The swarm sets `background_nursery`, in which they are served."""

    background_nursery: trio.Nursery

    def __init__(self, handler: THandler) -> None:
        self._handler = handler
        self._scope = trio.CancelScope()
        self._stopped = trio.Event()
        self._address: Multiaddr | None = None

    async def listen(self, maddr: Multiaddr) -> None:
        """Accept connections from now on. Raises: `OpenConnectionError`."""
        ip = ip_of(maddr)
        port = int(str(maddr.value_for_protocol("tcp")))
        if ip is None:
            raise OpenConnectionError(f"{maddr} has no IP address")
        family = socket.AF_INET if ip.version == 4 else socket.AF_INET6
        listening = trio.socket.socket(family, socket.SOCK_STREAM)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            await listening.bind((str(ip), port))
            listening.listen(_BACKLOG)
        except OSError as exc:
            listening.close()
            raise OpenConnectionError(exc.strerror or str(exc)) from exc
        host, bound, *_ = listening.getsockname()
        self._address = Multiaddr(f"/ip{ip.version}/{host}/tcp/{bound}")
        self.background_nursery.start_soon(self._serve, trio.SocketListener(listening))

    async def _serve(self, listener: trio.SocketListener) -> None:
        try:
            with self._scope:
                await trio.serve_listeners(self._accept, [listener], handler_nursery=self.background_nursery)
        finally:
            self._stopped.set()

    async def _accept(self, stream: trio.SocketStream) -> None:
        try:
            await self._handler(TcpStream(stream))
        except Exception:  # one connection's failure is not the listener's
            log.debug("connection refused", exc_info=True)
        finally:
            await trio.aclose_forcefully(stream)

    def get_addrs(self) -> tuple[Multiaddr, ...]:
        """Return the address that it listens on."""
        return (self._address,) if self._address else ()

    async def close(self) -> None:
        """Stop accepting. Accepted connections continue."""
        if self._address is not None:
            self._scope.cancel()
            await self._stopped.wait()


class TcpTransport(ITransport):
    """Dials and listens on `/ip4|ip6/…/tcp/…`; dials `/dns|dns4|dns6/…/tcp/…`, too."""

    async def dial(self, maddr: Multiaddr) -> IRawConnection:
        """Connect to an address. Raises: `OpenConnectionError`."""
        host = next(iter(maddr.values()))
        try:
            stream = await trio.open_tcp_stream(str(host), int(str(maddr.value_for_protocol("tcp"))))
        except OSError as exc:
            raise OpenConnectionError(exc.strerror or str(exc)) from exc
        return RawConnection(TcpStream(stream), True)

    def create_listener(self, handler_function: THandler) -> TcpListener:
        """Return a listener that hands its connections to a function."""
        return TcpListener(handler_function)

    def can_dial(self, maddr: Multiaddr) -> bool:
        """Return whether the address is plain TCP."""
        return kind_of(maddr) == "tcp"

    def can_listen(self, maddr: Multiaddr) -> bool:
        """Return whether the address is plain TCP on an IP address."""
        return self.can_dial(maddr) and ip_of(maddr) is not None

    def protocols(self) -> list[str]:
        """Return the name of the transport in multiaddrs."""
        return ["tcp"]
