"""Where a peer is said to be, when servers do not agree: most of them count, and the first answers are waited for."""

from __future__ import annotations

from collections.abc import Callable

import pytest

pytest.importorskip("libp2p", reason="libp2p is not installed: pip install 'plasm[libp2p]'")

import trio
import trio.testing
from multiaddr import Multiaddr

from plasm_core.records.peer import PeerId
from plasm_transport_libp2p.kad.contact import Contact, capability_key
from plasm_transport_libp2p.kad.self_listing import self_listed_addresses

pytestmark = pytest.mark.trio

PEER, OTHER = PeerId(bytes([2]) * 32), PeerId(bytes(31) + b"\1")
OLD, NEW, FOREIGN = (Multiaddr(f"/ip4/11.0.{n}.2/tcp/4001") for n in range(3))


class Servers:
    """What is answered for each key, and after how many seconds."""

    def __init__(self, answers: dict[int, list[tuple[float, Contact]]]) -> None:
        self._answers = {capability_key("peer/x", shard): told for shard, told in answers.items()}

    def usable(self, addresses: tuple[Multiaddr, ...]) -> tuple[Multiaddr, ...]:
        return addresses

    async def find_providers(self, key: bytes, found: Callable[[Contact], None]) -> None:
        for after_s, contact in self._answers.get(key, []):
            await trio.sleep(after_s)
            found(contact)


async def located(servers: Servers) -> list[Multiaddr]:
    return await self_listed_addresses(servers, PEER, "peer/x")  # type: ignore[arg-type]  # of a node, what is asked of it


async def test_the_address_that_most_peers_report_comes_first(autojump_clock: trio.testing.MockClock) -> None:
    old, new = Contact(PEER, (OLD,)), Contact(PEER, (NEW,))

    assert await located(Servers({3: [(0.0, old), (0.1, new), (0.1, new)]})) == [NEW, OLD]


async def test_others_under_its_name_are_passed_over(autojump_clock: trio.testing.MockClock) -> None:
    assert await located(Servers({1: [(0.0, Contact(OTHER, (FOREIGN,)))]})) == []


async def test_slow_servers_are_not_waited_for_once_one_has_said_something(
    autojump_clock: trio.testing.MockClock,
) -> None:
    slow = [(1000.0, Contact(PEER, (OLD,)))]
    servers = Servers({0: [(2.0, Contact(PEER, (NEW,)))], 1: slow, 2: slow, 3: slow})
    started = trio.current_time()

    assert await located(servers) == [NEW]
    assert trio.current_time() - started < 10
