"""An internet of this machine's own: a backbone, public hosts on it, and homes behind routers.

Its addresses are ones that are public elsewhere, one /24 for each host or home; no packet leaves the machine.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from tests.lab.miniupnpd import Miniupnpd
from tests.lab.namespaces import Namespace
from tests.lab.nat import INSIDE, OUTSIDE, TABLE, Nat, rules

_TABLE = "cut"


class Host:
    """A machine: where it is, and what others see of it."""

    def __init__(self, namespace: Namespace, address: str, router: Router | None) -> None:
        self.namespace = namespace
        self.address = address
        self.router = router

    @property
    def public_address(self) -> str:
        """The address that the backbone knows."""
        return self.router.address if self.router else self.address


class Router:
    """A home's router."""

    def __init__(self, namespace: Namespace, nat: Nat, *, address: str, inside: str) -> None:
        self.namespace = namespace
        self.nat = nat
        self.address = address
        self.inside = inside
        self.forwarding: Miniupnpd | None = None
        """What forwards ports on request, if anything does."""

    def start(self) -> None:
        """Take up its work, knowing nobody."""
        self.namespace.nft(rules(self.nat, inside=self.inside, outside=self.address))

    def switch_off(self) -> None:
        """Forget every mapping, and let nothing through."""
        if self.forwarding is not None:
            self.forwarding.stop()
        # Entries of conntrack outlive the rules that made them; a namespace's go when its addresses do.
        self.namespace.ip([f"link set {OUTSIDE} down", f"link set {INSIDE} down"])
        self.stop()
        self.namespace.run("conntrack", "-F")

    def switch_on(self) -> None:
        """Work again."""
        self.start()
        self.namespace.ip([f"link set {INSIDE} up", f"link set {OUTSIDE} up"])
        self.namespace.ip([f"route replace default via {_gateway(self.address)}"])
        if self.forwarding is not None:
            self.forwarding.start()

    def reboot(self) -> None:
        """Forget every mapping, in a moment."""
        self.switch_off()
        self.switch_on()

    def stop(self) -> None:
        """Lay the work down."""
        self.namespace.nft(f"table ip {TABLE} {{ }}\ndelete table ip {TABLE}\n")


class Internet:
    """Makes hosts, and takes the cables out. Made by `open_internet`."""

    def __init__(self, backbone: Namespace, stack: ExitStack) -> None:
        self._backbone = backbone
        self._stack = stack
        self._numbers = itertools.count(1)
        self._cut: set[str] = set()
        self._ports: dict[Namespace, tuple[str, str]] = {}

    def host(self, label: str, nat: Nat = Nat.NONE) -> Host:
        """Make a host, at home behind a router of a kind, or on the backbone."""
        number = next(self._numbers)
        namespace = self._stack.enter_context(Namespace(label))
        public = f"11.0.{number}.2"
        if nat is Nat.NONE:
            self._connect(namespace, number, "eth0")
            return Host(namespace, public, None)
        outer = self._stack.enter_context(Namespace(f"{label}-router"))
        self._connect(outer, number, OUTSIDE)
        outer.run("sysctl", "-q", "-w", "net.ipv4.ip_forward=1")
        own, inside = f"192.168.{number}.1", f"192.168.{number}.2"
        outer.link(INSIDE, namespace, "eth0")
        outer.ip([f"address add {own}/24 dev {INSIDE}", f"link set {INSIDE} up"])
        namespace.ip(
            [f"address add {inside}/24 dev eth0", "link set eth0 up", f"route add default via {own}"]
        )
        router = Router(outer, nat, address=public, inside=inside)
        router.start()
        if nat is Nat.UPNP:
            router.forwarding = self._stack.enter_context(Miniupnpd(outer))
        return Host(namespace, inside, router)

    def _connect(self, namespace: Namespace, number: int, interface: str) -> None:
        port, address = f"port{number}", f"11.0.{number}.2"
        self._ports[namespace] = port, interface
        self._backbone.link(port, namespace, interface)
        self._backbone.ip([f"address add {_gateway(address)}/24 dev {port}", f"link set {port} up"])
        namespace.ip(
            [
                f"address add {address}/24 dev {interface}",
                f"link set {interface} up",
                f"route add default via {_gateway(address)}",
            ]
        )

    def readdress(self, host: Host) -> str:
        """Give a host, or the router before it, another public address. Return the one before."""
        outer = host.router.namespace if host.router else host.namespace
        port, interface = self._ports[outer]
        before, after = host.public_address, f"11.0.{next(self._numbers)}.2"
        self._backbone.ip(
            [f"address del {_gateway(before)}/24 dev {port}", f"address add {_gateway(after)}/24 dev {port}"]
        )
        outer.ip(
            [
                f"address del {before}/24 dev {interface}",
                f"address add {after}/24 dev {interface}",
                f"route replace default via {_gateway(after)}",
            ]
        )
        if host.router is None:
            host.address = after
        else:
            host.router.stop()
            outer.run("conntrack", "-F")
            host.router.address = after
            host.router.start()
        return before

    def cut(self, host: Host) -> None:
        """Let nothing through to a host or from it, and tell nobody."""
        self._cut.add(host.public_address)
        self._apply()

    def mend(self, host: Host) -> None:
        """Let everything through again."""
        self._cut.discard(host.public_address)
        self._apply()

    def _apply(self) -> None:
        dropped = "\n".join(f"ip saddr {item} drop\nip daddr {item} drop" for item in sorted(self._cut))
        chain = f"chain forward {{ type filter hook forward priority 0;\n{dropped}\n }}"
        table = f"table ip {_TABLE}"
        self._backbone.nft(f"{table} {{ }}\ndelete {table}\n{table} {{ {chain}\n }}\n")


def _gateway(address: str) -> str:
    return address.rpartition(".")[0] + ".1"


@contextmanager
def open_internet() -> Iterator[Internet]:
    """Make an internet, and take everything of it away at the end."""
    with ExitStack() as stack:
        backbone = stack.enter_context(Namespace("backbone"))
        backbone.run("sysctl", "-q", "-w", "net.ipv4.ip_forward=1")
        yield Internet(backbone, stack)
