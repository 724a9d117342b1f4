"""What strangers tell steers neither a lookup nor a search alone. `benchmarks/directory_attacks.py` is the long form."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

pytest.importorskip("libp2p", reason="libp2p is not installed: pip install 'phase-plasm[libp2p]'")

import trio
import trio.testing
from multiaddr import Multiaddr

from plasm_core.errors import PeerUnreachableError
from plasm_core.records.peer import PeerId
from plasm_transport_libp2p.kad.contact import Contact, kad_id, merge_addresses
from plasm_transport_libp2p.kad.lookup import MAX_QUERIES, Lookup
from plasm_transport_libp2p.kad.search import ProviderSearch
from plasm_transport_libp2p.kad.table import RoutingTable
from tests.support import simulated_directory as simulated

pytestmark = pytest.mark.trio
RANDOM = random.Random(5)


def somebody(address: str = "/ip4/11.0.0.1/tcp/1") -> Contact:
    return Contact(PeerId(RANDOM.randbytes(32)), (Multiaddr(address),))


@pytest.mark.parametrize(("prefixes", "hidden"), [(1, False), (1, True), (3, False)])
async def test_identities_of_a_few_networks_hide_no_provider(
    prefixes: int, hidden: bool, autojump_clock: trio.testing.MockClock
) -> None:
    """Keys near to those of a class are ground in seconds; addresses are not free."""
    network = simulated.with_sybils(3, 40, 64, prefixes, hidden=hidden)

    assert (await network.measure(2, known=15)).found == 2


@pytest.mark.parametrize("lie", [simulated.kin, simulated.nobody, simulated.elsewhere])
async def test_a_third_of_the_servers_hides_no_provider(
    lie: simulated.Lie, autojump_clock: trio.testing.MockClock
) -> None:
    network = simulated.with_liars(3, 60, lie, 1 / 3)

    assert (await network.measure(3, known=20)).found == 3


async def test_a_peer_that_failed_is_asked_where_another_says_that_it_is(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Otherwise the first peer to answer could keep a lookup away from any server."""
    liar, honest, victim = (somebody(f"/ip4/11.{number}.0.1/tcp/1") for number in range(3))
    false = Contact(victim.peer, tuple(Multiaddr(f"/ip4/12.{n}.0.1/tcp/1") for n in range(8)))
    reached: list[PeerId] = []

    async def query(contact: Contact) -> list[Contact]:
        if contact.peer == liar.peer:
            return [false]
        if contact.peer == honest.peer:
            await trio.sleep(0.5)
            return [victim]
        if victim.addresses[0] not in contact.addresses:
            raise PeerUnreachableError("not here")
        reached.append(contact.peer)
        return []

    found = await Lookup(kad_id(b"key"), somebody().peer, query).run([liar, honest])

    assert reached == [victim.peer]
    assert victim.peer in {contact.peer for contact in found}


async def test_a_lookup_asks_few_nodes_that_a_liar_named(autojump_clock: trio.testing.MockClock) -> None:
    place = kad_id(b"key")
    liar, *sound = (somebody(f"/ip4/11.{number}.0.1/tcp/1") for number in range(12))
    asked: list[PeerId] = []

    async def query(contact: Contact) -> list[Contact]:
        asked.append(contact.peer)
        if contact.peer == liar.peer:
            drawn = [somebody(f"/ip4/12.{n % 250}.0.1/tcp/1") for n in range(400)]
            return sorted(drawn, key=lambda item: item.distance(place))[:20]
        if contact in sound:
            return sound
        raise PeerUnreachableError("nobody is there")

    found = await Lookup(place, somebody().peer, query).run([liar, *sound[:3]])

    assert len(asked) < 20 < MAX_QUERIES
    assert sum(contact in sound for contact in found[:10]) >= 6


async def test_the_closest_of_a_table_are_of_several_networks() -> None:
    own = somebody()
    table = RoutingTable(own.peer, lambda: 0.0)
    for number in range(200):
        table.add(somebody(), f"crowd {number % 3}" if number % 2 else f"{number}")

    closest = table.closest(own.place)
    crowd = [contact for contact in closest if (entry := table.get(contact.peer)) and entry in closest]

    assert len(crowd) == len(closest) == 20
    groups = [
        entry.group
        for bucket in table._buckets.values()
        for entry in bucket.values()
        if entry.contact in closest
    ]
    assert max(groups.count(f"crowd {number}") for number in range(3)) <= 2


@pytest.mark.parametrize("liars", [1, 3])
async def test_no_tellers_address_is_left_out(liars: int) -> None:
    true = Multiaddr("/ip4/8.8.8.8/tcp/1")
    same = [Multiaddr(f"/ip4/11.0.0.{number}/tcp/1") for number in range(60)]

    assert true in merge_addresses([*[same] * liars, [true]], 16)
    assert merge_addresses([same, [true], [true]], 8)[0] == true


class Told:
    """A node whose lookups tell what is given, by shard in the order asked."""

    def __init__(self, answers: Callable[[], list[Contact]]) -> None:
        self._answers = answers

    def usable(self, addresses: tuple[Multiaddr, ...]) -> tuple[Multiaddr, ...]:
        return addresses

    def group_of(self, addresses: tuple[Multiaddr, ...]) -> str:
        return str(addresses[0]).rpartition(".")[0]

    async def find_providers(self, key: bytes, found: Callable[[Contact], None]) -> None:
        await trio.sleep(0.05)
        for contact in self._answers():
            found(contact)


async def searched(answers: Callable[[], list[Contact]], limit: int = 64) -> dict[PeerId, tuple[str, ...]]:
    search = ProviderSearch(somebody().peer, Told(answers), limit)  # type: ignore[arg-type]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(search.run, "class")
        return {peer: addresses async for peer, addresses in search}


@pytest.mark.parametrize("reporters", [1, 4])
@pytest.mark.parametrize("limit", [8, 64])
async def test_nodes_that_are_made_up_do_not_fill_a_search(
    reporters: int, limit: int, autojump_clock: trio.testing.MockClock
) -> None:
    """Each liar names as many as an answer holds, of as many networks, and others under every key."""
    honest = somebody("/ip4/193.0.6.139/tcp/1")

    def answers() -> list[Contact]:
        made_up = [
            Contact(
                somebody().peer,
                (Multiaddr(f"/ip4/45.{n}.{reported_by}.7/tcp/1"),),
                reported_by=f"liar {reported_by}",
            )
            for reported_by in range(reporters)
            for n in range(64)
        ]
        return [*made_up, Contact(honest.peer, honest.addresses, reported_by="honest")]

    found = await searched(answers, limit)

    assert honest.peer in found
    assert len(found) <= limit


async def test_the_network_of_a_node_cannot_be_used_up_by_who_names_others_in_it(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Two made-up neighbours fill a /24; that more servers name the node itself lets it in."""
    honest = somebody("/ip4/8.8.8.8/tcp/1")
    crowd = [somebody(f"/ip4/8.8.8.{number}/tcp/1") for number in range(9, 15)]

    def answers() -> list[Contact]:
        told = [Contact(item.peer, item.addresses, reported_by="liar") for item in crowd]
        return [*told, *(Contact(honest.peer, honest.addresses, reported_by=f"sound {n}") for n in range(3))]

    assert honest.peer in await searched(answers)


@pytest.mark.parametrize("made_up_first", [True, False])
async def test_a_network_has_its_part_wherever_else_its_nodes_say_they_are(
    made_up_first: bool, autojump_clock: trio.testing.MockClock
) -> None:
    """Only the first address was counted, so that forty of one /24 passed for forty networks."""
    crowd = []
    for number in range(40):
        both = (Multiaddr(f"/ip4/45.{number}.0.7/tcp/1"), Multiaddr(f"/ip4/11.0.0.{number}/tcp/1"))
        crowd.append(Contact(somebody().peer, both if made_up_first else both[::-1]))
    honest = [somebody(f"/ip4/193.{number}.6.139/tcp/1") for number in range(20)]

    def answers() -> list[Contact]:
        told = RANDOM.sample([*crowd, *honest], 40)
        return [Contact(item.peer, item.addresses, reported_by=f"{RANDOM.random()}") for item in told]

    found = await searched(answers)

    assert {contact.peer for contact in honest} <= set(found)
    assert len(set(found) & {contact.peer for contact in crowd}) <= 4
