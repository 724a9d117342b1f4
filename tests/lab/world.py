"""A world: two relays on the backbone, and a node that lends at home behind a router of each kind."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import attrs

from tests.lab.internet import Host, Internet
from tests.lab.nat import Nat
from tests.lab.node import Client, Node, eventually

TRUTH = {
    Nat.NONE: "public",
    Nat.FULL_CONE: "public",
    Nat.ADDRESS_RESTRICTED: "private",
    Nat.PORT_RESTRICTED: "private",
    Nat.SYMMETRIC: "private",
    Nat.UDP_BLOCKED: "private",
    Nat.UPNP: "public",
}
"""Whether a stranger's packets get in."""

RELAYS = ("--set", "discovery.kademlia.relay=true")
OFTEN = ("--set", "discovery.kademlia.reachability_s=20")


@attrs.frozen(kw_only=True)
class World:
    """Nodes that run, and hosts for clients."""

    begin: Node
    other: Node
    lenders: dict[Nat, Node]
    clients: dict[Nat, Client]

    @property
    def relays(self) -> tuple[Node, Node]:
        """The two that relay."""
        return self.begin, self.other

    def settle(self, nats: tuple[Nat, ...]) -> None:
        """Wait until nodes know the truth, and those that nobody reaches have both relays."""
        for nat in nats:
            node = self.lenders[nat]
            try:
                eventually(partial(is_settled, node, nat), f"the node behind {nat.value}")
            except AssertionError as exc:
                found = "\n".join(f"{check.name}: {check.found}" for check in node.health().values())
                raise AssertionError(f"{exc}, which says:\n{found}\n{node.log.read_text()}") from None


def is_settled(node: Node, nat: Nat) -> bool:
    """Return whether a node knows the truth and is reached, as far as it says itself."""
    checks = node.health()
    reachability = checks.get("reachability")
    if reachability is None or not reachability.found.startswith(TRUTH[nat]):
        return False
    relays = [name for name in checks if name.startswith("relay ")]
    return TRUTH[nat] == "public" or len(relays) == 2


@contextmanager
def open_world(
    internet: Internet, homes: Path, *, lenders: tuple[Nat, ...], clients: tuple[Nat, ...]
) -> Iterator[World]:
    """Start a world's nodes, and end them."""
    with ExitStack() as stack:
        begin = stack.enter_context(Node(internet.host("begin"), homes / "begin", *RELAYS, *OFTEN))
        begin.start()

        def node(host: Host, name: str, *arguments: str) -> Node:
            made = stack.enter_context(Node(host, homes / name, *arguments, *OFTEN, bootstrap=begin.address))
            made.launch()
            return made

        other = node(internet.host("other"), "other", *RELAYS)
        made = {nat: node(internet.host(nat.value, nat), f"node-{nat.value}", "--lend") for nat in lenders}
        homes_of_clients = {
            nat: stack.enter_context(
                Client(internet.host(f"c-{nat.value}", nat), homes / f"client-{nat.value}")
            )
            for nat in clients
        }
        for each in (other, *made.values()):
            each.wait_log(r" ready peer=")
        yield World(begin=begin, other=other, lenders=made, clients=homes_of_clients)
