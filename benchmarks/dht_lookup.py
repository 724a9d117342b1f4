"""How long it takes to find a worker in the directory, and how many messages.

    python benchmarks/dht_lookup.py                        30 real nodes on loopback, then simulated networks
    python benchmarks/dht_lookup.py --nodes 0 --sizes 30 100 1000 3000

real        nodes in this process over TCP; a client that knows only the bootstrap finds one of a few workers
simulated   the same lookups and routing tables, on messages that take 20 to 200 ms of a clock that jumps
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import attrs
import trio
import trio.testing

from plasm_core.abc import Stream
from plasm_core.errors import PeerUnreachableError
from plasm_core.records.peer import PeerId
from plasm_transport_libp2p.discovery import Kademlia
from plasm_transport_libp2p.kademlia.contact import SHARDS, Contact, capability_key, place_of
from plasm_transport_libp2p.kademlia.directory import SHARDS_PROVIDED, KademliaDirectory
from plasm_transport_libp2p.kademlia.lookup import Lookup
from plasm_transport_libp2p.kademlia.node import REPLICAS
from plasm_transport_libp2p.kademlia.table import RoutingTable
from plasm_transport_libp2p.transport import Libp2pTransport

CLASS = "engine/benchmark"
WORK = "/benchmark/work/1.0.0"
_SHARDS_AT_ONCE = 4
_LATENCY_S = (0.02, 0.2)
_REQUESTS = ("sent_2", "sent_3", "sent_4")


def _row(name: str, seconds: Sequence[float], messages: Sequence[int], failed: int) -> dict[str, Any]:
    ordered = sorted(seconds)
    return {
        "network": name,
        "lookups": len(seconds),
        "failed": failed,
        "median_s": round(statistics.median(ordered), 3),
        "p95_s": round(ordered[min(int(len(ordered) * 0.95), len(ordered) - 1)], 3),
        "messages_median": statistics.median(messages),
        "messages_p95": sorted(messages)[min(int(len(messages) * 0.95), len(messages) - 1)],
    }


async def _serve(stream: Stream) -> None:
    await stream.aclose()


@asynccontextmanager
async def _node(*bootstrap: str, client: bool = False) -> Any:
    transport = Libp2pTransport(listen=("/ip4/127.0.0.1/tcp/0",))
    discovery = Kademlia(bootstrap=bootstrap, allow_private=True, cache="")
    async with transport.open(None, {} if client else {WORK: _serve}) as network:  # noqa: SIM117
        async with discovery.open(network) as directory:
            assert isinstance(directory, KademliaDirectory)
            yield network, directory


async def real(nodes: int, workers: int, lookups: int) -> list[dict[str, Any]]:
    """Measure `lookups` fresh clients in a network of real nodes, before and after a third of it has gone."""
    rows = []
    async with AsyncExitStack() as stack:
        hub, _ = await stack.enter_async_context(_node())
        lasting = [
            await stack.enter_async_context(_node(hub.addresses[0])) for _ in range(nodes * 2 // 3 - 1)
        ]
        async with AsyncExitStack() as doomed:
            rest = nodes - len(lasting) - 1
            dying = [await doomed.enter_async_context(_node(hub.addresses[0])) for _ in range(rest)]
            everyone = [directory for _, directory in lasting + dying]
            while min(len(directory.neighbours) for directory in everyone) < min(4, nodes - 1):  # noqa: ASYNC110
                await trio.sleep(0.1)
            for directory in everyone[:workers]:
                directory.advertise([CLASS])
            while min(item.counters["sent_2"] for item in everyone[:workers]) < 2 * SHARDS_PROVIDED:  # noqa: ASYNC110
                await trio.sleep(0.1)
            rows.append(await _measure(f"{nodes} real nodes", hub.addresses[0], lookups))
        rows.append(await _measure(f"{nodes} real nodes, a third gone", hub.addresses[0], lookups))
    return rows


async def _measure(name: str, bootstrap: str, lookups: int) -> dict[str, Any]:
    seconds, messages, failed = [], [], 0
    for _ in range(lookups):
        started = time.perf_counter()
        async with _node(bootstrap, client=True) as (_, directory):
            async with directory.find(CLASS, 1) as found:
                with trio.move_on_after(10) as scope:
                    async for _peer in found:
                        break
                    else:
                        failed += 1
                failed += scope.cancelled_caught
            seconds.append(time.perf_counter() - started)
            messages.append(sum(directory.counters[kind] for kind in _REQUESTS))
    return _row(name, seconds, messages, failed)


@attrs.define(eq=False)
class _Simulated:
    """A server of a simulated network."""

    contact: Contact
    table: RoutingTable
    provided: dict[bytes, set[PeerId]] = attrs.field(factory=dict)
    alive: bool = True


class _Network:
    """Servers that ask one another by function calls, each taking its time on trio's clock."""

    def __init__(self, generator: random.Random) -> None:
        self.random = generator
        self.servers: dict[PeerId, _Simulated] = {}
        self.messages = 0

    def _make(self) -> _Simulated:
        contact = Contact(PeerId(self.random.randbytes(32)), ("somewhere",))  # type: ignore[arg-type]
        return _Simulated(contact, RoutingTable(contact.peer, trio.current_time))

    async def _reach(self, asking: _Simulated, contact: Contact, *, server: bool) -> _Simulated:
        self.messages += 1
        await trio.sleep(self.random.uniform(*_LATENCY_S))
        asked = self.servers[contact.peer]
        if not asked.alive:
            asking.table.remove(contact.peer)
            raise PeerUnreachableError("it has gone")
        asking.table.add(asked.contact, None)
        if server:
            asked.table.add(asking.contact, None)
        return asked

    async def lookup(
        self, asking: _Simulated, key: bytes, *, server: bool, found: set[PeerId]
    ) -> list[Contact]:
        place = place_of(key)

        async def query(contact: Contact) -> list[Contact]:
            asked = await self._reach(asking, contact, server=server)
            found.update(asked.provided.get(key, ()))
            return asked.table.closest(place)

        return await Lookup(place, asking.contact.peer, query).run(asking.table.closest(place))

    async def join(self) -> _Simulated:
        """Add a server, which knows one other and looks for itself, and for a few places at random."""
        joining = self._make()
        if self.servers:
            joining.table.add(self.random.choice(list(self.servers.values())).contact, None)
        self.servers[joining.contact.peer] = joining
        for key in (joining.contact.peer.multihash, *(self.random.randbytes(32) for _ in range(4))):
            await self.lookup(joining, key, server=True, found=set())
        return joining

    async def provide(self, provider: _Simulated) -> None:
        for shard in self.random.sample(range(SHARDS), SHARDS_PROVIDED):
            key = capability_key(CLASS, shard)
            for contact in (await self.lookup(provider, key, server=True, found=set()))[:REPLICAS]:
                self.servers[contact.peer].provided.setdefault(key, set()).add(provider.contact.peer)

    async def search(self) -> tuple[float, int, bool]:
        """Look for a worker as a new client that knows one server."""
        client = self._make()
        alive = [server for server in self.servers.values() if server.alive]
        client.table.add(self.random.choice(alive).contact, None)
        started, before = trio.current_time(), self.messages
        found: set[PeerId] = set()
        await self.lookup(client, client.contact.peer.multihash, server=False, found=set())
        limiter = trio.CapacityLimiter(_SHARDS_AT_ONCE)
        async with trio.open_nursery() as nursery:

            async def ask(shard: int) -> None:
                async with limiter:
                    await self.lookup(client, capability_key(CLASS, shard), server=False, found=found)
                    if any(self.servers[peer].alive for peer in found):
                        nursery.cancel_scope.cancel()

            for shard in self.random.sample(range(SHARDS), SHARDS):
                nursery.start_soon(ask, shard)
        return trio.current_time() - started, self.messages - before, bool(found)


async def simulated(size: int, workers: int, lookups: int, seed: int) -> list[dict[str, Any]]:
    """Measure lookups in a simulated network, before and after a third of its servers have gone."""
    network = _Network(random.Random(seed))
    joined = [await network.join() for _ in range(size)]
    providing = network.random.sample(joined, workers)
    for provider in providing:
        await network.provide(provider)
    rows = []
    for name in (f"{size} simulated", f"{size} simulated, a third gone"):
        results = [await network.search() for _ in range(lookups)]
        rows.append(
            _row(name, [r[0] for r in results], [r[1] for r in results], sum(not r[2] for r in results))
        )
        for server in network.random.sample(joined, size // 3):
            if server is not providing[0]:
                server.alive = False
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--nodes", type=int, default=30, help="real nodes; 0 for none")
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--lookups", type=int, default=20)
    parser.add_argument("--sizes", type=int, nargs="*", default=[30, 100, 300, 1000, 3000])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    rows = trio.run(real, options.nodes, options.workers, options.lookups) if options.nodes else []
    for size in options.sizes:
        clock = trio.testing.MockClock(autojump_threshold=0)
        rows += trio.run(simulated, size, options.workers, options.lookups, options.seed, clock=clock)
    if options.json:
        print(json.dumps(rows))  # noqa: T201
        return
    print(f"{'':34} {'lookups':>8} {'failed':>7} {'median s':>9} {'p95 s':>7} {'messages':>9} {'p95':>5}")  # noqa: T201
    for row in rows:
        print(  # noqa: T201
            f"{row['network']:34} {row['lookups']:8} {row['failed']:7} {row['median_s']:9} {row['p95_s']:7} "
            f"{row['messages_median']:9} {row['messages_p95']:5}"
        )


if __name__ == "__main__":
    main()
