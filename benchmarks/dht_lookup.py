"""How long it takes to find a worker in directories of many sizes, and how many messages.

    python benchmarks/dht_lookup.py --sizes 30 100 1000 3000

The networks are simulated: the real lookups and routing tables, on messages that take 20 to 200 ms of a clock that
jumps. Servers have IPv4 addresses, half of them in 20 /16s as those of hosting companies, and lookups spread over
these networks; `--ungrouped` measures without. `python -m tests.network.fleet` measures thirty real nodes.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
from collections.abc import Sequence
from functools import partial
from typing import Any

import attrs
import trio
import trio.testing

from plasm_core.errors import PeerUnreachableError
from plasm_core.records.peer import PeerId
from plasm_transport_libp2p.kad.contact import SHARDS, Contact, capability_key, kad_id
from plasm_transport_libp2p.kad.directory import SHARDS_PROVIDED
from plasm_transport_libp2p.kad.lookup import Lookup
from plasm_transport_libp2p.kad.node import REPLICAS
from plasm_transport_libp2p.kad.table import RoutingTable

CLASS = "engine/benchmark"
_SHARDS_AT_ONCE = 4
_LATENCY_S = (0.02, 0.2)
_HOSTING_COMPANIES = 20


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


@attrs.define(eq=False)
class _Simulated:
    """A server of a simulated network."""

    contact: Contact
    table: RoutingTable
    prefixes: tuple[str, str]  # its /24 and its /16
    provided: dict[bytes, set[PeerId]] = attrs.field(factory=dict)
    alive: bool = True


class _Network:
    """Servers that ask one another by function calls, each taking its time on trio's clock."""

    def __init__(self, generator: random.Random, *, grouped: bool) -> None:
        self.random = generator
        self.grouped = grouped
        self._hosts = random.Random(2)  # of its own: both ways of measuring see the same network
        self._made: dict[PeerId, _Simulated] = {}
        self.servers: dict[PeerId, _Simulated] = {}
        self.messages = 0

    def _make(self) -> _Simulated:
        contact = Contact(PeerId(self.random.randbytes(32)), ("somewhere",))  # type: ignore[arg-type]
        hosts = self._hosts
        first = hosts.choice((20, hosts.randrange(30, 100)))
        second = hosts.randrange(_HOSTING_COMPANIES if first == 20 else 256)
        wide = f"{first}.{second}"
        prefixes = (f"{wide}.{hosts.randrange(256)}.0/24", f"{wide}.0.0/16")
        made = _Simulated(contact, RoutingTable(contact.peer, trio.current_time), prefixes)
        self._made[contact.peer] = made
        return made

    def _group(self, server: _Simulated) -> str | None:
        return server.prefixes[0] if self.grouped else None

    def _groups(self, contact: Contact) -> frozenset[str]:
        return frozenset(self._made[contact.peer].prefixes if self.grouped else ())

    async def _reach(self, asking: _Simulated, contact: Contact, *, server: bool) -> _Simulated:
        self.messages += 1
        await trio.sleep(self.random.uniform(*_LATENCY_S))
        asked = self.servers[contact.peer]
        if not asked.alive:
            asking.table.remove(contact.peer)
            raise PeerUnreachableError("it has gone")
        asking.table.add(asked.contact, self._group(asked))
        if server:
            asked.table.add(asking.contact, self._group(asking))
        return asked

    async def lookup(
        self, asking: _Simulated, key: bytes, *, server: bool, found: set[PeerId]
    ) -> list[Contact]:
        place = kad_id(key)

        async def query(contact: Contact) -> list[Contact]:
            asked = await self._reach(asking, contact, server=server)
            found.update(asked.provided.get(key, ()))
            return asked.table.closest(place)

        lookup = Lookup(place, asking.contact.peer, query, groups=self._groups)
        return await lookup.run(asking.table.closest(place))

    async def join(self) -> _Simulated:
        """Add a server, which knows one other and looks for itself, and for a few places at random."""
        joining = self._make()
        if self.servers:
            first = self.random.choice(list(self.servers.values()))
            joining.table.add(first.contact, self._group(first))
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
        first = self.random.choice(alive)
        client.table.add(first.contact, self._group(first))
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


async def simulated(
    size: int, workers: int, lookups: int, seed: int, *, grouped: bool = True
) -> list[dict[str, Any]]:
    """Measure lookups in a simulated network, before and after a third of its servers have gone."""
    network = _Network(random.Random(seed), grouped=grouped)
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
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--lookups", type=int, default=20)
    parser.add_argument("--sizes", type=int, nargs="*", default=[30, 100, 300, 1000, 3000])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--ungrouped", action="store_true", help="count no networks, as on a private network")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    rows: list[dict[str, Any]] = []
    for size in options.sizes:
        clock = trio.testing.MockClock(autojump_threshold=0)
        run = partial(simulated, grouped=not options.ungrouped)
        rows += trio.run(run, size, options.workers, options.lookups, options.seed, clock=clock)
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
