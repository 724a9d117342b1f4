"""The networks of a daemon: its open transports, its discoveries, and the reachability of the node."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import AsyncExitStack

from plasm_core.errors import TransportError
from plasm_core.plugins.interfaces import (
    Directory,
    Discovery,
    Network,
    Signer,
    StreamHandler,
    Transport,
)

log = logging.getLogger(__name__)


class Networks:
    """The open transports and directories, by name.

    They are closed by the exit stack that the constructor is given.

    The object is made before the service, which reads its addresses. The transports are opened later, because their
    handlers need the service.
    """

    def __init__(self, stack: AsyncExitStack) -> None:
        self._stack = stack
        self._networks: dict[str, Network] = {}
        self._directories: dict[str, Directory] = {}

    @property
    def networks(self) -> Mapping[str, Network]:
        """The open transports, by name."""
        return self._networks

    @property
    def directories(self) -> Mapping[str, Directory]:
        """The open discoveries, by name."""
        return self._directories

    async def listen(
        self, transport: Transport, signer: Signer, handlers: Mapping[str, StreamHandler]
    ) -> None:
        """Open a transport under the node's identity. Raises: `TransportError`."""
        network = await self._stack.enter_async_context(transport.open(signer, handlers))
        log.info("listening transport=%s addresses=%s", transport.name, ",".join(network.addresses))
        self._networks[transport.name] = network

    async def discover(self, discovery: Discovery) -> Directory:
        """Open a discovery on a network that it supports. Raises: `TransportError` if it supports none."""
        problem = TransportError(f"the discovery {discovery.name} has no transport")
        for network in self._networks.values():
            try:
                directory = await self._stack.enter_async_context(discovery.open(network))
            except TransportError as exc:
                problem = exc
                continue
            log.info("discovery opened discovery=%s neighbours=%d", discovery.name, len(directory.neighbours))
            self._directories[discovery.name] = directory
            return directory
        raise problem

    def advertised(self) -> tuple[str, ...]:
        """Return the addresses that this node advertises."""
        if self._directories:
            found = [item for each in self._directories.values() for item in each.reachability.advertised]
        else:
            found = [item for network in self._networks.values() for item in network.addresses]
        return tuple(dict.fromkeys(address for address in found if address.startswith("/")))
