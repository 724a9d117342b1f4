"""Routers that forward ports when they are asked to, by one protocol, the other or both, or that refuse."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from plasm_core.diagnostics import WARNING
from tests.lab.internet import Host, Internet
from tests.lab.jobs import HELLO
from tests.lab.miniupnpd import Forwarded, Miniupnpd
from tests.lab.nat import Nat
from tests.lab.node import PORT, Client, Node, eventually, has_miniupnpd

OFTEN = ("--set", "discovery.kademlia.reachability_s=10")
RECOVERY_S = 120.0
"""A verdict each 10 s and as many for the router to start, or a look at its clock each 30 s."""


class Home:
    """A node behind a router of its own."""

    def __init__(self, host: Host, node: Node, daemon: Miniupnpd) -> None:
        self.host = host
        self.node = node
        self.daemon = daemon

    @property
    def both(self) -> set[Forwarded]:
        """What the router is to forward: once each."""
        return {(protocol, PORT, self.host.address, PORT) for protocol in ("tcp", "udp")}

    def is_forwarded(self) -> bool:
        return self.daemon.forwarded() == self.both

    def is_public(self) -> bool:
        return self.node.health()["reachability"].found.startswith("public")


class Town:
    """A public node to begin at, which relays nothing, a client, and homes. A peer that can be reached is reached directly."""

    def __init__(self, internet: Internet, begin: Node, client: Client, homes: Path) -> None:
        self.internet = internet
        self.begin = begin
        self.client = client
        self.homes = homes

    @contextmanager
    def home(
        self, label: str, *arguments: str, upnp: bool = True, natpmp: bool = True, deny: bool = False
    ) -> Iterator[Home]:
        """Start a node behind a router that speaks this or that, and end both."""
        host = self.internet.host(label, Nat.PORT_RESTRICTED)
        assert host.router is not None
        with ExitStack() as stack:
            daemon = Miniupnpd(host.router.namespace, upnp=upnp, natpmp=natpmp, deny=deny)
            stack.enter_context(daemon)
            where = self.homes / label
            node = Node(host, where, "--lend", *OFTEN, *arguments, bootstrap=self.begin.address)
            stack.enter_context(node)
            node.launch()
            yield Home(host, node, daemon)

    def runs_a_job_on(self, home: Home) -> bool:
        done = self.client.plasm(
            *("run", "--bootstrap", self.begin.address, "--peer", home.node.peer),
            *("--verifier", "signature", str(HELLO)),
            stdin=b"Hello, world",
        )
        return done.stdout == b"dlrow ,olleH"


@pytest.fixture(scope="module")
def town(internet: Internet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    if not has_miniupnpd():
        pytest.skip("miniupnpd is not installed (Debian: apt install miniupnpd-nftables)")
    homes = tmp_path_factory.mktemp("town")
    with (
        Node(internet.host("begin"), homes / "begin", *OFTEN) as begin,
        Client(internet.host("client"), homes / "client") as client,
    ):
        begin.start()
        yield Town(internet, begin, client, homes)


def mapped(node: Node) -> dict[str, str]:
    """Return what a node says of its mappings, by the names of the checks."""
    return {name: check.found for name, check in node.health().items() if name.startswith("mapping")}


def expected(home: Home, way: str) -> dict[str, str]:
    where = f"{home.host.public_address}:{PORT}"
    return {f"mapping {carrier} {PORT}": f"by {way}: {where} leads here" for carrier in ("tcp", "quic")}


def test_a_node_is_reached_through_its_router_by_nat_pmp_and_by_upnp_as_long_as_it_runs(town: Town) -> None:
    with (
        town.home("natpmp", upnp=False) as by_natpmp,
        town.home("upnp", natpmp=False) as by_upnp,
    ):
        ways = {by_natpmp: "NAT-PMP", by_upnp: "UPnP"}
        for home, way in ways.items():
            eventually(home.is_forwarded, f"ports forwarded by {way}")
            eventually(home.is_public, "the verdict")

            assert mapped(home.node) == expected(home, way)
            assert town.runs_a_job_on(home)

        for home in ways:
            home.daemon.stop()
            home.daemon.start()
        for home, way in ways.items():
            eventually(home.is_forwarded, f"ports forwarded again by {way}", deadline_s=RECOVERY_S)
            assert mapped(home.node) == expected(home, way)

        for home in ways:
            assert home.node.terminate() == 0
            assert home.daemon.forwarded() == set()


def test_a_router_that_speaks_both_forwards_each_port_once(town: Town) -> None:
    with town.home("both") as home:
        eventually(home.is_forwarded, "ports to be forwarded")
        eventually(lambda: len(mapped(home.node)) == 2, "the node to know")

        assert mapped(home.node) == expected(home, "NAT-PMP")
        assert home.node.terminate() == 0
        assert home.daemon.forwarded() == set()


NAT_PMP_UNSPOKEN = "NAT-PMP: the router does not speak NAT-PMP"


@pytest.mark.parametrize(
    ("upnp", "deny", "reasons"),
    [
        (True, True, [NAT_PMP_UNSPOKEN, "UPnP: tcp 4001: the router refuses", "UPnP: quic 4001: the router"]),
        (False, False, [NAT_PMP_UNSPOKEN, "UPnP: no router on this network speaks UPnP IGD"]),
    ],
    ids=["refused", "unspoken"],
)
def test_the_doctor_says_why_no_port_is_forwarded(
    town: Town, upnp: bool, deny: bool, reasons: list[str]
) -> None:
    with town.home(f"deny-{deny}", upnp=upnp, natpmp=False, deny=deny) as home:
        eventually(lambda: bool(mapped(home.node)), "the router to be asked")

        check = home.node.doctor()["mapping"]

        assert check["status"] == WARNING
        assert check["found"].startswith("none: ")
        assert [reason for reason in reasons if reason not in check["found"]] == []
        assert "NAT-PMP" in check["hint"]


def test_a_router_is_not_asked_if_the_settings_forbid_it(town: Town) -> None:
    with town.home("alone", "--set", "discovery.kademlia.map_ports=false") as home:
        home.node.wait_log(r" ready peer=")

        assert mapped(home.node) == {"mapping": "none: switched off by discovery.kademlia.map_ports"}
        assert home.node.terminate() == 0
        assert "request received" not in home.daemon.log
