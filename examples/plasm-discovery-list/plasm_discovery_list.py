"""The discovery `list`: the nodes are those of the configuration, each with its address."""

from contextlib import asynccontextmanager

import attrs
import trio

from plasm_core import hookimpl
from plasm_core.errors import ConfigError
from plasm_core.plugins.interfaces import Directory, Discovery
from plasm_core.records import PeerId


@attrs.frozen(kw_only=True)
class Listed(Discovery):
    name = "list"

    nodes: tuple[str, ...] = ()

    def check(self):
        super().check()
        for address in self.nodes:
            _peer(address)

    def open(self, network):
        return self._open()

    @asynccontextmanager
    async def _open(self):
        await trio.lowlevel.checkpoint()
        yield List(self.nodes)


def _peer(address):
    try:
        return PeerId.parse(address.rpartition("/p2p/")[2])
    except ValueError as exc:
        raise ConfigError(
            f"discovery.list.nodes: {address}: expected an address that ends in /p2p/PEER"
        ) from exc


class List(Directory):
    """Knows what it was told, and tells nobody: `announce` and `advertise` have nobody to tell."""

    def __init__(self, nodes):
        self._nodes = [(_peer(address), (address,)) for address in nodes]

    @property
    def neighbours(self):
        return ()

    @property
    def bootstrap_nodes(self):
        return self._nodes

    async def bootstrap(self):
        await trio.lowlevel.checkpoint()
        return 0

    def announce(self, addresses):
        pass

    def advertise(self, classes):
        pass

    async def locate(self, peer):
        await trio.lowlevel.checkpoint()
        return tuple(address for found, addresses in self._nodes if found == peer for address in addresses)

    @asynccontextmanager
    async def find(self, node_class, limit):
        """Offer every node: the client reads each node's own record, and leaves out those of other classes."""
        send, receive = trio.open_memory_channel(limit)
        with send:
            for node in self._nodes[:limit]:
                send.send_nowait(node)
        async with receive:
            yield receive


@hookimpl
def plasm_discovery():
    return [Listed]
