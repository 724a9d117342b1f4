"""A QUIC listener for py-libp2p's swarm."""

from __future__ import annotations

from collections.abc import Callable

from libp2p.abc import IListener
from libp2p.transport.exceptions import OpenConnectionError
from multiaddr import Multiaddr

from plasm_transport_libp2p.quic.address import multiaddr, socket_address
from plasm_transport_libp2p.quic.endpoint import ConnectionHandler, Endpoint

OpenEndpoint = Callable[[Multiaddr], Endpoint]


class QuicListener(IListener):
    """Hands each connection whose peer has proven its identity to a handler."""

    def __init__(self, handler: ConnectionHandler, open_endpoint: OpenEndpoint) -> None:
        self._handler = handler
        self._open_endpoint = open_endpoint
        self._endpoints: list[Endpoint] = []

    async def listen(self, maddr: Multiaddr) -> None:
        """Listen on an address; port 0 is any. Raises: `OpenConnectionError`."""
        try:
            socket_address(maddr)
        except ValueError as exc:
            raise OpenConnectionError(str(exc)) from exc
        try:
            endpoint = self._open_endpoint(maddr)
        except OSError as exc:
            raise OpenConnectionError(f"cannot listen on {maddr}: {exc.strerror}") from exc
        endpoint.handler = self._handler
        self._endpoints.append(endpoint)

    def get_addrs(self) -> tuple[Multiaddr, ...]:
        return tuple(multiaddr(endpoint.address) for endpoint in self._endpoints)

    async def close(self) -> None:
        """Close the sockets and every connection on them, those dialled over them too."""
        while self._endpoints:
            await self._endpoints.pop().close()
