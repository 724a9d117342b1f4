"""The parts of the directory, without a network: tables, provider records, lookups, the cache."""

from __future__ import annotations

import ipaddress
import os
import random
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

pytest.importorskip("libp2p", reason="libp2p is not installed: pip install 'phase-plasm[libp2p]'")

import trio
import trio.testing
from multiaddr import Multiaddr

from plasm_core import token_bucket
from plasm_core.errors import PeerUnreachableError, StreamError
from plasm_core.records.peer import PeerId
from plasm_core.token_bucket import TokenBuckets
from plasm_transport_libp2p.addresses import AddressGroups, is_public, prefix_of
from plasm_transport_libp2p.identify.identify import multiaddr
from plasm_transport_libp2p.kad import providers as records
from plasm_transport_libp2p.kad.contact import SHARDS, Contact, capability_key, kad_id
from plasm_transport_libp2p.kad.lookup import MAX_QUERIES, Lookup
from plasm_transport_libp2p.kad.message import (
    ADD_PROVIDER,
    FIND_NODE,
    GET_PROVIDERS,
    MAX_ADDRESSES,
    MAX_PEERS,
    KademliaMessage,
)
from plasm_transport_libp2p.kad.peer_cache import MAX_SERVERS, PeerCache
from plasm_transport_libp2p.kad.providers import ProviderStore
from plasm_transport_libp2p.kad.table import BUCKET, RoutingTable

NOW = datetime(2026, 11, 22, 12, tzinfo=timezone.utc)
SOMEWHERE = Multiaddr("/ip4/192.0.2.1/tcp/4001")


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def contacts(count: int, seed: int = 1) -> list[Contact]:
    generator = random.Random(seed)
    return [Contact(PeerId(generator.randbytes(32)), (SOMEWHERE,)) for _ in range(count)]


def test_capability_keys_are_what_the_protocol_says() -> None:
    """sha256("phase/cap/v1/" ‖ class ‖ "/" ‖ shard), as a multihash; the digest by sha256sum."""
    expected = "1220" + "7e2aef75f75e5ba9c0e133eb9b0cf9bcad89a03d656a5909617686db154fb2eb"
    keys = {capability_key("wasi/preview1", shard) for shard in range(SHARDS)}

    assert len(keys) == 16
    assert all(len(key) == 34 and key.startswith(b"\x12\x20") for key in keys)
    assert capability_key("wasi/preview1", 0).hex() == expected


def test_the_closest_come_first() -> None:
    own, *others = contacts(200)
    table = RoutingTable(own.peer, Clock())
    kept = [contact for contact in others if table.add(contact, None)]
    place = kad_id(b"key")

    found = table.closest(place, 5)

    assert found == sorted(kept, key=lambda contact: contact.place ^ place)[:5]
    assert len(table) == len(kept) < 200
    assert own.peer not in table


def test_a_full_bucket_keeps_those_of_long_standing() -> None:
    own, *others = contacts(400)
    table = RoutingTable(own.peer, Clock())
    half = [item for item in others if (item.place ^ own.place).bit_length() == 256]
    kept = [contact for contact in half if table.add(contact, None)]

    assert kept == half[:BUCKET]
    assert table.remove(kept[0].peer)
    assert table.add(half[-1], None)
    assert not table.remove(kept[0].peer)


def test_one_prefix_of_addresses_cannot_fill_the_table() -> None:
    own, *others = contacts(300)
    table = RoutingTable(own.peer, Clock())

    kept = [contact for contact in others if table.add(contact, "192.0.2.0/24")]

    assert len(kept) == len(table) <= 8
    for contact in kept:
        table.remove(contact.peer)
    assert table.add(others[-1], "192.0.2.0/24")


def test_the_peer_silent_for_longest_is_known() -> None:
    clock = Clock()
    own, first, second = contacts(3)
    table = RoutingTable(own.peer, clock)
    table.add(first, None)
    clock.now = 100
    table.add(second, None)

    assert table.unseen_since(50) == [first]
    table.add(first, None)
    assert table.unseen_since(50) == []


def test_places_to_refresh_are_at_the_distances_of_their_buckets() -> None:
    own, *others = contacts(300)
    table = RoutingTable(own.peer, Clock())
    for contact in others:
        table.add(contact, None)

    places = table.places_to_refresh(random.Random(1).getrandbits)

    assert [(place ^ own.place).bit_length() for place in places][:4] == [256, 255, 254, 253]
    assert len(places) <= 16


def test_a_provider_that_does_not_repeat_itself_is_forgotten() -> None:
    clock = Clock()
    first, second = contacts(2)
    listed = ProviderStore(clock)
    listed.add(b"key", first, None)
    clock.now = records.LIFETIME_S / 2
    listed.add(b"key", second, None)
    clock.now = records.LIFETIME_S + 1

    assert listed.get(b"key") == [second]
    assert len(listed) == 1


def test_providers_are_capped_per_key_prefix_and_peer() -> None:
    listed = ProviderStore(Clock())
    people = contacts(60)

    of_one_prefix = [listed.add(b"a", contact, "192.0.2.0/24") for contact in people]
    of_any = [listed.add(b"b", contact, None) for contact in people]
    of_one_peer = [listed.add(bytes([number]) * 4, people[0], None) for number in range(200)]

    assert sum(of_one_prefix) == records.MAX_PER_KEY_AND_GROUP
    assert sum(of_any) == records.MAX_PER_KEY
    assert sum(of_one_peer) == records.MAX_PER_PEER - 2
    assert listed.add(b"b", people[0], None)  # who is there may repeat himself


@pytest.mark.parametrize(
    "networks",
    [
        lambda number: ["198.18.0.0/16", f"198.18.{number // 3}.0/24"],  # many /24s of one /16
        lambda number: [f"11.{number // 8}.0.0/16", f"11.{number // 8}.{number % 8 // 3}.0/24"],  # a few /16s
        lambda number: ["10.0.0.66"],  # one host of a private network
    ],
)
def test_early_providers_do_not_exclude_later_ones_from_a_key(networks: Callable[[int], list[str]]) -> None:
    """New identities cost nothing, and 14 /24s were enough to take all 40 places under a key for good."""
    listed = ProviderStore(Clock())
    people, crowd = (everybody := contacts(80))[:20], everybody[20:]
    for number, contact in enumerate(crowd):
        listed.add(b"key", contact, None, networks(number))

    taken = [
        listed.add(b"key", contact, None, [f"20.{number}.0.0/16", f"20.{number}.0.0/24"])
        for number, contact in enumerate(people)
    ]
    for number, contact in enumerate(crowd):
        listed.add(b"key", contact, None, networks(number))

    assert all(taken)
    assert set(people) <= set(listed.get(b"key"))
    assert len(listed) == records.MAX_PER_KEY


def test_early_providers_do_not_exclude_later_ones_from_a_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "MAX_RECORDS", 10)
    listed = ProviderStore(Clock())
    person, *others = contacts(30)
    for item in others[:10]:
        listed.add(item.peer.public_key, item, "11.0.0.0/24")

    assert listed.add(b"key", person, "20.0.0.0/24")
    for item in others:
        listed.add(item.peer.public_key, item, "11.0.0.0/24")
    assert listed.get(b"key") == [person]
    assert len(listed) == 10


def test_networks_with_one_record_each_keep_theirs() -> None:
    listed = ProviderStore(Clock())
    people = contacts(60)

    taken = [listed.add(b"key", item, None, [f"20.{place}.0.0/16"]) for place, item in enumerate(people)]

    assert taken == [True] * records.MAX_PER_KEY + [False] * 20


def test_provider_records_are_capped_in_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "MAX_RECORDS", 10)
    listed = ProviderStore(Clock())

    assert sum(listed.add(item.peer.public_key, item, None) for item in contacts(30)) == 10


def test_a_peer_that_asks_too_often_waits_and_others_do_not() -> None:
    clock = Clock()
    allowed = TokenBuckets(capacity=10, per_s=2.0, clock=clock)

    at_once = [allowed.spend("one") for _ in range(12)]
    other = allowed.spend("another")
    clock.now = 1.5
    later = [allowed.spend("one") for _ in range(5)]

    assert at_once == [True] * 10 + [False] * 2
    assert other is True
    assert later == [True] * 3 + [False] * 2
    assert allowed.refused("one") == 4
    clock.now = 100
    assert allowed.refused("one") == 0
    assert [allowed.spend("one") for _ in range(12)] == at_once


def test_the_peer_silent_for_longest_is_forgotten_first() -> None:
    allowed = TokenBuckets(capacity=1, per_s=1.0, clock=Clock())
    allowed.spend("first")
    for number in range(token_bucket.MAX_NAMES - 1):
        allowed.spend(str(number))
        assert not allowed.spend("first")

    assert len(allowed) == token_bucket.MAX_NAMES
    allowed.spend("last")
    assert len(allowed) == token_bucket.MAX_NAMES
    assert allowed.refused("first") == token_bucket.MAX_NAMES - 1
    assert allowed.refused("0") == 0  # it was forgotten


@pytest.mark.trio
async def test_a_lookup_finds_the_closest_of_a_thousand(autojump_clock: trio.testing.MockClock) -> None:
    own, *others = contacts(1000)
    place = kad_id(b"key")
    closest = min(others, key=lambda contact: contact.distance(place))
    generator = random.Random(2)

    async def query(contact: Contact) -> Sequence[Contact]:
        await trio.sleep(0.1)
        near = [item for item in others if item.distance(place) < contact.distance(place)]
        return generator.sample(near, min(len(near), 4))

    lookup = Lookup(place, own.peer, query)
    found = await lookup.run(others[:3])

    assert found[0] == closest
    assert lookup.queries < 60
    assert own not in found


@pytest.mark.trio
async def test_those_who_do_not_answer_hold_a_lookup_up_for_a_second(
    autojump_clock: trio.testing.MockClock,
) -> None:
    own, *others = contacts(40)
    place = kad_id(b"key")
    silent = set(sorted(others, key=lambda contact: contact.distance(place))[:4])

    async def query(contact: Contact) -> Sequence[Contact]:
        if contact in silent:
            await trio.sleep(60)
            raise PeerUnreachableError("silent")
        return others

    started = trio.current_time()
    await Lookup(place, own.peer, query).run(others[:5])

    assert trio.current_time() - started < 5


@pytest.mark.trio
async def test_liars_who_always_know_somebody_closer_do_not_keep_a_lookup_going(
    autojump_clock: trio.testing.MockClock,
) -> None:
    own, first = contacts(2)
    generator = random.Random(3)

    async def query(contact: Contact) -> Sequence[Contact]:
        return [Contact(PeerId(generator.randbytes(32)), (SOMEWHERE,)) for _ in range(BUCKET)]

    lookup = Lookup(kad_id(b"key"), own.peer, query)
    await lookup.run([first])

    assert lookup.queries <= MAX_QUERIES


@pytest.mark.trio
async def test_a_lookup_without_anyone_ends() -> None:
    async def query(contact: Contact) -> Sequence[Contact]:
        raise AssertionError

    assert await Lookup(1, contacts(1)[0].peer, query).run([]) == []


@pytest.mark.trio
async def test_messages_are_bounded_and_come_back_as_they_were() -> None:
    crowd = tuple(Contact(item.peer, (SOMEWHERE,) * 20) for item in contacts(200))
    message = KademliaMessage(kind=FIND_NODE, key=b"k", closer=crowd)

    decoded = await KademliaMessage.decode(message.encode())

    assert (decoded.kind, decoded.key, len(decoded.closer)) == (FIND_NODE, b"k", MAX_PEERS)
    assert decoded.closer[0] == Contact(crowd[0].peer, (SOMEWHERE,) * MAX_ADDRESSES)


@pytest.mark.trio
@pytest.mark.parametrize("data", [b"\xff", b"\x0a\xff\xff\xff\xff\x0f", b"\x12" * 7])
async def test_bytes_that_are_no_message_are_refused(data: bytes) -> None:
    with pytest.raises(StreamError):
        await KademliaMessage.decode(data)
    with pytest.raises(StreamError):
        KademliaMessage.decode_request(data, contacts(1)[0].peer)


@pytest.mark.parametrize("kind", [FIND_NODE, GET_PROVIDERS, ADD_PROVIDER])
def test_of_a_requests_contacts_only_the_senders_own_record_is_read(kind: int) -> None:
    """Reading 512 addresses takes a server's loop 0.05 s, through relays 0.25 s."""
    sender, *others = contacts(MAX_PEERS)
    crowd = (*others, sender, sender)[-MAX_PEERS:]
    data = KademliaMessage(kind=kind, key=b"k", closer=crowd, providers=crowd).encode()

    request = KademliaMessage.decode_request(data, sender.peer)

    assert (request.kind, request.key, request.closer) == (kind, b"k", ())
    assert request.providers == ((sender,) if kind == ADD_PROVIDER else ())


@pytest.mark.trio
async def test_others_have_their_turn_between_the_contacts_of_an_answer() -> None:
    data = KademliaMessage(kind=FIND_NODE, key=b"k", closer=tuple(contacts(MAX_PEERS))).encode()
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(count)
        await KademliaMessage.decode(data)
        nursery.cancel_scope.cancel()

    assert turns > MAX_PEERS // 2  # trio runs the tasks of a batch in random order


def test_an_address_of_thousands_of_components_is_not_read() -> None:
    """One of 60,000 bytes took a third of a second, and a message may hold it."""
    component = b"\xa2\x02"  # p2p-circuit
    name = b"a." * 126 + b"b"
    relayed = Multiaddr(f"/dns4/{name.decode()}/udp/4001/quic-v1/p2p/{contacts(1)[0].peer}/p2p-circuit")

    assert multiaddr(component * 30_000) is None
    assert multiaddr(SOMEWHERE.to_bytes() + component * 200) is None
    assert multiaddr(relayed.to_bytes()) == relayed


def test_the_cache_forgets_after_seven_days(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "peers.json"
    first, second = contacts(2)
    PeerCache(path).save([first], NOW - timedelta(days=8))
    cache = PeerCache(path)
    cache.load(NOW - timedelta(days=8))
    cache.save([second], NOW)

    assert PeerCache(path).load(NOW + timedelta(seconds=1)) == [second]
    assert PeerCache(path).load(NOW + timedelta(days=7, seconds=1)) == []


def test_the_cache_is_bounded(tmp_path: Path) -> None:
    path = tmp_path / "peers.json"
    PeerCache(path).save(contacts(MAX_SERVERS + 100), NOW)

    assert len(PeerCache(path).load(NOW + timedelta(seconds=1))) == MAX_SERVERS
    assert list(tmp_path.iterdir()) == [path]


def test_a_cache_that_is_no_regular_file_is_not_replaced(tmp_path: Path) -> None:
    """As root, `cache = "/dev/null"` would make an ordinary file of the device."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    PeerCache(path).save(contacts(2), NOW)

    assert path.is_fifo()
    assert list(tmp_path.iterdir()) == [path]


def test_a_cache_that_is_a_link_is_written_where_it_leads(tmp_path: Path) -> None:
    path, target = tmp_path / "link", tmp_path / "peers.json"
    path.symlink_to(target)
    target.touch()
    PeerCache(path).save(contacts(2), NOW)

    assert path.is_symlink()
    assert len(PeerCache(target).load(NOW + timedelta(seconds=1))) == 2


@pytest.mark.parametrize(
    "content",
    [b"", b"{}", b"[]", b'{"servers": [{"peer": "x"}]}', b"\xff" * 10, b"0" * (2 << 20)],
    ids=["empty", "object", "list", "wrong", "binary", "huge"],
)
def test_a_cache_that_cannot_be_read_is_empty(
    tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "peers.json"
    path.write_bytes(content)

    assert PeerCache(path).load(NOW) == []
    assert "peer cache not read" in caplog.text


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("/ip4/8.8.8.8/tcp/4001", True),
        ("/ip6/2001:4860::1/udp/4001/quic-v1", True),
        ("/ip4/127.0.0.1/tcp/4001", False),
        ("/ip4/10.0.0.1/tcp/4001", False),
        ("/ip4/192.168.1.1/tcp/4001", False),
        ("/ip4/169.254.169.254/tcp/80", False),
        ("/ip4/100.64.0.1/tcp/4001", False),
        ("/ip4/0.0.0.0/tcp/4001", False),
        ("/ip4/224.0.0.1/tcp/4001", False),
        ("/ip6/::1/tcp/4001", False),
        ("/ip6/fe80::1/tcp/4001", False),
        ("/ip6/fd00::1/tcp/4001", False),
        ("/ip6/::ffff:127.0.0.1/tcp/4001", False),
        ("/dns4/example.com/tcp/4001", False),
    ],
)
def test_only_what_anyone_can_reach_is_public(address: str, public: bool) -> None:
    assert is_public(Multiaddr(address)) is public


def test_groups_are_prefixes_and_tell_nothing() -> None:
    groups, others = AddressGroups(), AddressGroups()

    assert groups.of(("192.0.2.1", 1)) == groups.of(("192.0.2.200", 2)) == groups.of(("::ffff:192.0.2.3", 3))
    assert groups.of(("192.0.2.1", 1)) != groups.of(("192.0.3.1", 1))
    assert groups.of(("2001:db8:1::1", 1)) == groups.of(("2001:db8:1:ffff::1", 1))
    assert groups.of(("2001:db8:1::1", 1)) != groups.of(("2001:db8:2::1", 1))
    assert groups.of(("192.0.2.1", 1)) != others.of(("192.0.2.1", 1))
    assert groups.counted(("127.0.0.1", 1)) is None
    assert groups.counted(("192.0.2.1", 1)) == groups.of(("192.0.2.1", 1))
    assert prefix_of(ipaddress.ip_address("192.0.2.77")) == "192.0.2.0/24"
