"""Nodes of one local network find one another without a bootstrap, if they were told to."""

from __future__ import annotations

import threading

import pytest

pytest.importorskip("libp2p", reason="libp2p is not installed: pip install 'phase-plasm[libp2p]'")

import trio
from multiaddr import Multiaddr
from zeroconf import Zeroconf

from plasm_core.plugins.interfaces import Stream
from plasm_core.records.peer import PeerId
from plasm_transport_libp2p.discovery import DEFAULT_PROTOCOL
from plasm_transport_libp2p.kad.directory import KademliaDirectory, KademliaSettings, running
from plasm_transport_libp2p.kad.peer_cache import PeerCache
from plasm_transport_libp2p.mdns import SERVICE, LocalPeer, announced_by, contacts, encode, neighbourhood
from plasm_transport_libp2p.network import Libp2pNetwork
from plasm_transport_libp2p.transport import Libp2pTransport

PEER = PeerId(bytes(range(32)))


async def never(stream: Stream) -> None:
    raise AssertionError


@pytest.mark.trio
async def test_two_nodes_of_one_network_meet() -> None:
    transport = Libp2pTransport(listen=("/ip4/127.0.0.1/tcp/0",))
    settings = KademliaSettings(
        protocol=DEFAULT_PROTOCOL,
        bootstrap=(),
        server=True,
        allow_private=True,
        mdns=True,
        mdns_interfaces=("127.0.0.1",),
    )
    with trio.fail_after(30):
        async with (
            transport.open(None, {"/x": never}) as first,
            transport.open(None, {"/x": never}) as second,
        ):
            assert isinstance(first, Libp2pNetwork)
            assert isinstance(second, Libp2pNetwork)
            one = KademliaDirectory(first, settings, PeerCache(None))
            two = KademliaDirectory(second, settings, PeerCache(None))
            one.announce(first.addresses)
            two.announce(second.addresses)
            async with running(one), running(two):
                # Nodes of other programs on this machine may be neighbours too, and be found before.
                while first.peer_id not in two.neighbours or second.peer_id not in one.neighbours:  # noqa: ASYNC110
                    await trio.sleep(0.05)


@pytest.mark.trio
async def test_a_search_that_is_over_leaves_no_thread() -> None:
    """A program that opens one client after another would keep a thread of each."""
    before = set(threading.enumerate())
    with trio.fail_after(30):
        async with neighbourhood((), interfaces=["127.0.0.1"]):
            during = {thread.name for thread in set(threading.enumerate()) - before}

    assert any("ServiceBrowser" in name for name in during)
    after = {thread.name for thread in set(threading.enumerate()) - before}
    assert not any("zeroconf" in name for name in after), after


def test_an_announcement_that_is_looked_up_when_the_node_leaves_names_nobody() -> None:
    """The thread that looks it up outlasts the node, and ends with a traceback if anything is raised there."""
    zeroconf = Zeroconf(interfaces=["127.0.0.1"])
    zeroconf.close()

    assert announced_by(zeroconf, SERVICE, f"somebody.{SERVICE}") == []


def test_an_announcement_is_read_as_it_was_written() -> None:
    addresses = [f"/ip4/192.168.1.2/tcp/4001/p2p/{PEER}", f"/ip4/192.168.1.2/udp/4001/quic-v1/p2p/{PEER}"]

    (contact,) = contacts(encode(addresses))

    expected = (Multiaddr("/ip4/192.168.1.2/tcp/4001"), Multiaddr("/ip4/192.168.1.2/udp/4001/quic-v1"))
    assert contact == LocalPeer(PEER, expected)


@pytest.mark.parametrize(
    "record",
    [
        None,
        b"",
        b"\x00",
        b"\xff",
        b"\x05hello",
        b"\x10dnsaddr=/ip4/1.2",
        encode(["/ip4/192.168.1.2/tcp/4001"]),
        encode([f"/ip4/192.168.1.2/tcp/4001/http/p2p/{PEER}"]),
        encode([f"/p2p/{PEER}"]),
    ],
)
def test_an_announcement_that_makes_no_sense_names_nobody(record: bytes | None) -> None:
    assert contacts(record) == []
