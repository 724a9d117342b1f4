"""Real nodes on loopback find one another, and do not believe what they are told."""

from __future__ import annotations

import logging
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import NoReturn

import pytest

pytest.importorskip("libp2p", reason="libp2p is not installed: pip install 'phase-plasm[libp2p]'")

import trio
import trio.testing
from multiaddr import Multiaddr

from plasm_core.errors import PeerUnreachableError, StreamError
from plasm_core.plugins.interfaces import Directory, Network, Stream
from plasm_core.records.peer import PeerId
from plasm_core.token_bucket import TokenBuckets
from plasm_transport_libp2p import framing
from plasm_transport_libp2p.addresses import expand
from plasm_transport_libp2p.discovery import DEFAULT_PROTOCOL, Kademlia
from plasm_transport_libp2p.kad import directory as directories
from plasm_transport_libp2p.kad.contact import SHARDS, Contact, capability_key
from plasm_transport_libp2p.kad.directory import KademliaDirectory
from plasm_transport_libp2p.kad.message import ADD_PROVIDER, FIND_NODE, GET_PROVIDERS, KademliaMessage
from plasm_transport_libp2p.network import Libp2pNetwork
from plasm_transport_libp2p.transport import Libp2pTransport

pytestmark = pytest.mark.trio

JOB = "/test/job/1.0.0"
CLASS = "runtime/test"
PROTOCOL = DEFAULT_PROTOCOL
LOCAL = ("/ip4/127.0.0.1/tcp/0",)


async def never(stream: Stream) -> None:
    await stream.aclose()


@asynccontextmanager
async def joined(
    *bootstrap: str,
    client: bool = False,
    cache: Path | None = None,
    protocol: str = PROTOCOL,
    listen: tuple[str, ...] = LOCAL,
) -> AsyncIterator[tuple[Libp2pNetwork, KademliaDirectory]]:
    transport = Libp2pTransport(listen=listen)
    path = str(cache) if cache else ""
    discovery = Kademlia(bootstrap=bootstrap, allow_private=True, cache=path, protocol=protocol)
    async with transport.open(None, {} if client else {JOB: never}) as network:
        assert isinstance(network, Libp2pNetwork)
        async with discovery.open(network) as directory:
            assert isinstance(directory, KademliaDirectory)
            yield network, directory


async def first_found(directory: Directory, capability: str = CLASS) -> tuple[PeerId, tuple[str, ...]]:
    async with directory.find(capability, 1) as found:
        async for item in found:
            return item
    raise AssertionError("nobody was found")


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what other nodes do, which tells nobody when it is done."""
    while not condition():  # noqa: ASYNC110
        await trio.sleep(0.02)


async def settled(directories: list[KademliaDirectory], least: int) -> None:
    with trio.fail_after(60):
        await until(lambda: min(len(directory.neighbours) for directory in directories) >= least)


async def test_a_client_that_knows_only_a_third_node_finds_the_worker() -> None:
    with trio.fail_after(30):
        async with joined() as (third, hub), joined(third.addresses[0]) as (worker, listing):
            listing.advertise([CLASS])
            async with joined(third.addresses[0], client=True) as (_, asking):
                await until(lambda: len(hub.node.providers) >= 4)
                peer, addresses = await first_found(asking)

                assert str(peer) == worker.addresses[0].rpartition("/")[2]
                assert addresses == worker.addresses


async def test_a_node_is_located_by_its_name_whether_or_not_it_serves_the_directory() -> None:
    with trio.fail_after(30):
        async with joined() as (third, hub), joined(third.addresses[0]) as (worker, listing):
            listing.advertise([CLASS])
            name = PeerId.parse(worker.addresses[0].rpartition("/")[2])
            async with joined(third.addresses[0], client=True) as (_, asking):
                await until(lambda: len(hub.node.providers) >= 8)

                assert await asking.locate(name) == worker.addresses

                hub.node.table.remove(name)
                asking.node.table.remove(name)

                assert await asking.locate(name) == worker.addresses


async def test_a_single_node_is_found_through_itself() -> None:
    """There is no other node to which it could announce itself."""
    with trio.fail_after(30):
        async with joined() as (alone, listing), joined(alone.addresses[0], client=True) as (_, asking):
            listing.advertise([CLASS])
            found = await first_found(asking)
            listing.announce(())  # as when nobody reaches it any more
            request = KademliaMessage(kind=GET_PROVIDERS, key=next(iter(listing._keys())))

            assert found == (alone.peer_id, alone.addresses)
            assert listing.node._answer(alone.peer_id, request) == KademliaMessage(
                kind=GET_PROVIDERS, key=request.key
            )


async def test_few_neighbours_are_reported_once_and_again_when_their_number_changes(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network of three nodes has few neighbours for ever, which must not fill the log."""
    monkeypatch.setattr(directories, "_RETRY_S", (0.05, 0.05))
    monkeypatch.setattr(directories, "_LONGEST_ALONE_S", 0.05)
    tries = 0
    bootstrap = KademliaDirectory.bootstrap

    async def counted(directory: KademliaDirectory) -> int:
        nonlocal tries
        tries += 1
        return await bootstrap(directory)

    monkeypatch.setattr(KademliaDirectory, "bootstrap", counted)
    caplog.set_level(logging.INFO)
    with trio.fail_after(60):
        async with joined() as (first, _):
            await until(lambda: tries >= 3)
            alone = caplog.text.count("few neighbours count=0")
            async with joined(first.addresses[0]):
                await until(lambda: "few neighbours count=1" in caplog.text)

    assert alone == 1


async def test_the_notified_servers_are_counted(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with trio.fail_after(30):
        async with joined() as (third, hub), joined(third.addresses[0]) as (_, other):
            await settled([hub, other], 1)
            async with joined(third.addresses[0]) as (worker, listing):
                await settled([listing], 2)
                listing.advertise([CLASS])
                # Its class and its name, each in four shards, at both servers.
                await until(lambda: "advertised classes=2 servers=16" in caplog.text)
                await until(lambda: len(hub.node.providers) == len(other.node.providers) == 8)

                assert {contact.peer for contact in hub.node.providers.get(listing._keys()[0])} == {
                    worker.peer_id
                }


async def test_nobody_knows_where_a_stranger_is() -> None:
    with trio.fail_after(30):
        async with joined() as (third, _), joined(third.addresses[0], client=True) as (_, asking):
            nobody = PeerId.parse("12D3KooWA4Xop1JaT3MHxwYMkCepYsv4iPVopMXwCz5iHYdBfeSB")

            assert await asking.locate(nobody) == ()


async def test_clients_are_in_no_routing_table() -> None:
    """A client that only asks cannot answer: the library would take it for a server."""
    with trio.fail_after(30):
        async with joined() as (third, hub), joined(third.addresses[0]) as (_, other):
            await settled([hub, other], 1)
            async with joined(third.addresses[0], client=True) as (client, asking):
                await settled([asking], 2)
                await until(lambda: hub.counters["answered_4"] >= 3)
                for _ in range(3):
                    await asking.bootstrap()

                assert client.peer_id not in hub.neighbours + other.neighbours
                assert client.protocols == ("/ipfs/id/1.0.0",)


async def test_another_protocol_is_another_network() -> None:
    with trio.fail_after(30):
        async with joined(protocol="/other/kad/1.0.0") as (third, _):
            async with joined(third.addresses[0]) as (_, stranger):
                assert await stranger.bootstrap() == 0
            async with joined(third.addresses[0], protocol="/other/kad/1.0.0") as (_, friend):
                assert await friend.bootstrap() == 1


def behind(relay: str) -> Contact:
    """Return somebody who says that a relay brings him."""
    name = PeerId(secrets.token_bytes(32))
    through = f"/ip4/{relay}/tcp/4001/p2p/12D3KooWA4Xop1JaT3MHxwYMkCepYsv4iPVopMXwCz5iHYdBfeSB/p2p-circuit"
    return Contact(name, (Multiaddr(through),))


async def test_most_nodes_behind_one_relay_are_listed_after_all_others() -> None:
    """Those who make up nodes behind a relay come last; of one network's own nodes two are enough."""
    crowd = [behind("8.8.8.8") for _ in range(30)]
    some = [behind(f"9.9.{number}.9") for number in range(5)]
    straight = [
        Contact(behind("8.8.8.8").peer, (Multiaddr(f"/ip4/1.1.1.{number}/tcp/4001"),)) for number in range(5)
    ]
    with trio.fail_after(30):
        async with joined() as (third, hub), joined(third.addresses[0], client=True) as (_, asking):
            for number, contact in enumerate(crowd + some + straight):
                hub.node.providers.add(capability_key(CLASS, number % SHARDS), contact, None)
            async with asking.find(CLASS, 64) as found:
                peers = [peer async for peer, _ in found]

    first, last = peers[:-14], peers[-14:]
    names = {contact.peer for contact in crowd}
    assert len(set(peers)) == len(peers)
    assert sum(peer in names for peer in first) == 2
    assert set(last) < names
    assert {contact.peer for contact in some} < set(first)
    assert len(first) == 2 + 5 + 2


async def test_providers_are_counted_by_where_they_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many nodes share a relay's address; an invented one belongs to none."""
    key = capability_key(CLASS, 0)
    seen: dict[PeerId, Multiaddr] = {}
    async with joined() as (third, hub):
        # The addresses of this machine are not public, so that they are counted nowhere.
        monkeypatch.setattr(third, "connection_address", lambda peer: seen[peer])

        def kept(contacts: list[Contact], where: str) -> int:
            before = len(hub.node.providers)
            for number, contact in enumerate(contacts):
                seen[contact.peer] = Multiaddr(where.format(number))
                hub.node._answer(
                    contact.peer, KademliaMessage(kind=ADD_PROVIDER, key=key, providers=(contact,))
                )
            return len(hub.node.providers) - before

        assert kept([behind("8.8.8.8") for _ in range(10)], "/ip4/1.1.{}.1/tcp/1") == 10
        assert kept([behind(f"9.9.{number}.9") for number in range(10)], "/ip4/8.8.4.{}/tcp/1") == 3


@pytest.mark.parametrize(
    ("is_ip", "peers"),
    [
        (True, ()),
        (False, ()),
        (False, ("/ip4/127.0.0.7/tcp/9",)),
        (False, ("/ip4/10.0.0.1/tcp/9",)),
        (False, ("/dns4/localhost/tcp/9",)),
    ],
)
async def test_private_addresses_on_hearsay_are_dialled_in_the_range_of_one_that_is_named(
    is_ip: bool, peers: tuple[str, ...]
) -> None:
    """A name could stand for any address, so that a node that is named by one permits no range."""
    is_permitted = is_ip or peers == ("/ip4/127.0.0.7/tcp/9",)
    with trio.fail_after(30):
        async with joined() as (third, hub), joined(third.addresses[0]) as (worker, listing):
            listing.advertise([CLASS])
            await until(lambda: len(hub.node.providers) >= 4)
            transport = Libp2pTransport(listen=LOCAL)
            bootstrap = third.addresses[0]
            if not is_ip:
                bootstrap = bootstrap.replace("/ip4/127.0.0.1/", "/dns4/localhost/")
            strict = Kademlia(bootstrap=(bootstrap,), cache="", map_ports=False)
            async with transport.open(None, {}) as client, strict.open(client) as asking:
                assert isinstance(client, Libp2pNetwork)
                asking.permit([f"{address}/p2p/{third.peer_id}" for address in peers])
                assert await asking.bootstrap() == (2 if is_permitted else 1)  # it is configured, not hearsay
                async with asking.find(CLASS, 1) as found:
                    assert [peer async for peer, _ in found] == ([worker.peer_id] if is_permitted else [])
                assert set(client.connected) == {third.peer_id, *([worker.peer_id] if is_permitted else [])}


async def test_nobody_is_listed_by_another() -> None:
    """A provider record is taken from its provider alone."""
    with trio.fail_after(30):
        async with joined() as (third, hub), joined(third.addresses[0]) as (_, honest):  # noqa: SIM117
            async with joined(third.addresses[0]) as (_, liar):
                await settled([hub, honest, liar], 1)
                key = capability_key(CLASS, 0)
                victim = Contact(honest.node._network.peer_id, liar._announced)
                to = next(contact for contact in liar.node.table if contact.peer == third.peer_id)
                await liar.node.ask(to, KademliaMessage(kind=ADD_PROVIDER, key=key, providers=(victim,)))
                await until(lambda: hub.counters["answered_2"] > 0)

                assert hub.node.providers.get(key) == []


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"\x00",
        b"\x03abc",
        b"\xff\xff\xff\xff\x7f",
        framing.encode(KademliaMessage(kind=FIND_NODE).encode()),
        framing.encode(KademliaMessage(kind=0, key=b"k").encode()),
        framing.encode(KademliaMessage(kind=FIND_NODE, key=b"k" * 81).encode()),
        framing.encode(b"x" * 65_537),
    ],
)
async def test_an_invalid_request_breaks_only_its_stream(request_bytes: bytes) -> None:
    with trio.fail_after(20):
        async with joined() as (third, hub), joined(client=True) as (client, _):
            stream = await client.dial(third.addresses[0], hub._settings.protocol)
            await stream.send_all(request_bytes)
            with pytest.raises(StreamError):
                await stream.receive_some()
            await stream.aclose()
            sound = await client.dial(third.addresses[0], hub._settings.protocol)
            await sound.send_all(framing.encode(KademliaMessage(kind=FIND_NODE, key=b"key").encode()))
            answer = await KademliaMessage.decode(await framing.read_one(sound, 65_536))
            await sound.aclose()

            assert answer.kind == FIND_NODE


async def asked(network: Network, address: str) -> bool:
    """Send a request on a stream of its own, and return whether it was answered."""
    stream = await network.dial(address, PROTOCOL)
    try:
        await stream.send_all(framing.encode(KademliaMessage(kind=FIND_NODE, key=b"key").encode()))
        answer = await KademliaMessage.decode(await framing.read_one(stream, 65_536))
        return answer.kind == FIND_NODE
    except StreamError:
        return False
    finally:
        await stream.aclose()


async def test_a_peer_that_floods_a_node_is_refused_and_others_are_served(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    answers = {True: 0, False: 0}
    with trio.fail_after(60):
        async with AsyncExitStack() as stack:
            node, hub = await stack.enter_async_context(joined())
            hub.node.peer_rates = TokenBuckets(capacity=20, per_s=2.0, clock=trio.current_time)
            flooding, honest = [
                await stack.enter_async_context(Libp2pTransport(listen=()).open(None, {})) for _ in range(2)
            ]
            started = trio.current_time()

            async def flood() -> None:
                while True:
                    answers[await asked(flooding, node.addresses[0])] += 1

            async with trio.open_nursery() as nursery:
                for _ in range(16):
                    nursery.start_soon(flood)
                await until(lambda: answers[False] > 50)
                served = [await asked(honest, node.addresses[0]) for _ in range(10)]
                most = 20 + 2.0 * (trio.current_time() - started)
                nursery.cancel_scope.cancel()

        assert served == [True] * 10
        assert answers[True] <= most
        assert 20 <= hub.counters["answered_4"] - len(served) <= most
        assert hub.metrics["directory_requests_refused_total"] >= answers[False]
        assert caplog.text.count("directory requests refused") == 1


async def test_fresh_keys_do_not_help_who_floods_a_node() -> None:
    """Its network is counted too, unless it is this machine."""
    where = next(
        (str(item) for item in expand(Multiaddr("/ip4/0.0.0.0/tcp/0")) if "127.0.0.1" not in str(item)), None
    )
    if where is None:
        pytest.skip("this machine has no address but loopback")
    with trio.fail_after(60):
        async with joined(listen=(where,)) as (node, hub):
            hub.node.group_rates = TokenBuckets(capacity=2, per_s=0.001, clock=trio.current_time)
            served = []
            for _ in range(3):
                async with Libp2pTransport(listen=()).open(None, {}) as fresh:
                    served.append(await asked(fresh, node.addresses[0]))

            assert served == [True, True, False]


async def test_servers_are_remembered_across_a_restart_and_clients_are_not(tmp_path: Path) -> None:
    cache = tmp_path / "peers.json"
    with trio.fail_after(30):
        async with joined() as (third, hub), joined(third.addresses[0]) as (_, other):
            await settled([hub, other], 1)
            async with joined(third.addresses[0], cache=cache) as (_, first):
                await settled([first], 2)
                async with joined(third.addresses[0], client=True) as (client, _):
                    await settled([first], 2)
                    outsider = str(client.peer_id)
            stored = cache.read_text()
            async with joined(cache=cache) as (_, again):  # it knows no bootstrap
                await settled([again], 2)

            assert str(third.peer_id) in stored
            assert outsider not in stored
            assert cache.stat().st_mode & 0o777 == 0o600


async def test_leaving_a_search_ends_it() -> None:
    with trio.fail_after(30):
        async with joined() as (third, _), joined(third.addresses[0], client=True) as (_, asking):
            await settled([asking], 1)
            with pytest.raises(KeyError):
                async with asking.find(CLASS, 3):
                    raise KeyError("as it is, not in a group")


async def test_a_server_that_becomes_unreachable_stops_answering_and_may_return() -> None:
    with trio.fail_after(30):
        async with joined() as (third, hub):
            addresses = third.addresses
            hub.announce(())
            async with joined(addresses[0]) as (_, other):
                assert await other.bootstrap() == 0
                hub.announce(addresses)
                assert await other.bootstrap() == 1


async def test_a_node_whose_network_has_changed_asks_at_once_those_that_it_knew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Not in steps that grow: its timers would run out only after the test. And not its bootstrap nodes alone."""
    monkeypatch.setattr(directories, "_RETRY_S", (1000.0, 1000.0))
    monkeypatch.setattr(directories, "_LONGEST_ALONE_S", 1000.0)
    gone = PeerUnreachableError("the network is gone")

    async def cut(*_args: object) -> NoReturn:
        raise gone

    with trio.fail_after(20):
        async with joined() as (third, hub), joined(third.addresses[0]) as (other, second):
            await settled([hub, second], 1)
            async with joined(third.addresses[0]) as (network, moving):
                await settled([moving], 2)
                await until(lambda: moving._bootstrapped.is_set())
                with monkeypatch.context() as during:
                    during.setattr(network, "dial_peer", cut)
                    during.setattr(network, "dial", cut)
                    for contact in list(moving.node.table):
                        with pytest.raises(PeerUnreachableError):
                            await moving.node.ask(contact, KademliaMessage(kind=FIND_NODE, key=b"key"))
                    await until(lambda: not moving._reached.get(third.addresses[0], True))
                    await trio.testing.wait_all_tasks_blocked(0.05)
                    assert moving.neighbours == ()
                during_outage = {contact.peer for contact in moving.node.lately_lost}
                monkeypatch.setattr(network, "dial", cut)  # the bootstrap node stays away
                moving.look_again()
                await until(lambda: other.peer_id in moving.neighbours)

                assert during_outage == {third.peer_id, other.peer_id}


async def test_a_neighbour_is_not_dropped_for_an_address_from_another_peer() -> None:
    nowhere = (Multiaddr("/ip4/127.0.0.1/tcp/1"), Multiaddr("/ip4/127.0.0.1/tcp/2"))
    with trio.fail_after(30):
        async with joined() as (third, _), joined(third.addresses[0]) as (network, node):
            await settled([node], 1)
            for connection in list(network._swarm.get_connections()):
                await connection.close()
            where = Multiaddr(third.addresses[0].rpartition("/p2p/")[0])
            node.node.table.add(Contact(third.peer_id, (where,)), None)
            await node.node.ask(Contact(third.peer_id, nowhere), KademliaMessage(kind=FIND_NODE, key=b"key"))

            assert node.neighbours == (third.peer_id,)


@pytest.mark.parametrize("count", [1, 8, 60])
async def test_a_false_address_of_a_node_does_not_hide_its_true_one(count: int) -> None:
    """The lookup returns the addresses of both servers, even if the liar invents many."""
    false = tuple(Multiaddr(f"/ip4/127.0.0.1/tcp/{number}") for number in range(1, count + 1))
    with trio.fail_after(60):
        async with joined() as (third, hub), joined(third.addresses[0]) as (worker, listing):  # noqa: SIM117
            async with joined(third.addresses[0]) as (liar, lying):
                listing.advertise([CLASS])
                await settled([lying, hub], 2)
                await until(lambda: len(hub.node.providers) >= 8)
                victim = Contact(worker.peer_id, false)
                lying.node._providers_of = lambda key: [victim]  # type: ignore[method-assign]
                async with joined(third.addresses[0], liar.addresses[0], client=True) as (_, asking):
                    addresses: set[str] = set()
                    async with asking.find(CLASS, 8) as found:
                        async for _, told in found:  # again when a slower server tells other addresses
                            addresses.update(told)
                    located = await asking.locate(worker.peer_id)

                assert worker.addresses[0] in addresses
                assert worker.addresses[0] in located
