"""The options that say where a command finds nodes: on this machine, or over a network."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import attrs
import click

from plasm_core import config
from plasm_core.cli import completion
from plasm_core.cli.options import renamed
from plasm_core.protocol import ANY_NODE

if TYPE_CHECKING:
    from plasm_core.client.client import Client

F = TypeVar("F", bound=Callable[..., Any])


@attrs.frozen(kw_only=True)
class Reach:
    """Where a command finds nodes: the daemon of this machine, or the network."""

    remote: bool
    peer: str | None
    bootstrap: tuple[str, ...]
    node_class: str
    gateway: bool = False

    @property
    def transport(self) -> str:
        """The name of the transport."""
        return REMOTE_TRANSPORT if self.remote or self.peer is not None or self.bootstrap else "local"

    def check(self) -> None:
        """Refuse options that would have no effect. Raises: `click.UsageError`."""
        if self.transport == "local" and self.node_class != ANY_NODE:
            raise click.UsageError("--node-class looks for a node of the network: it needs --remote")
        if self.transport != "local" and self.gateway:
            raise click.UsageError("--gateway and --remote (--peer, --bootstrap) exclude each other")

    def client(self, settings: config.Config, *, transport: str | None = None) -> Client:
        """Return a client. `transport`: the transport of the job's node, if known."""
        from plasm_core.client.client import Client
        from plasm_core.client.opening import DEFAULT_DISCOVERY

        if self.bootstrap:
            settings = config.with_table(
                settings, "discovery", DEFAULT_DISCOVERY[0], {"bootstrap": list(self.bootstrap)}
            )
        chosen = transport if self.transport == "local" and transport else self.transport
        return Client(
            settings,
            transport=chosen,
            peer=self.peer,
            node_class=self.node_class,
            gateway=self.gateway and chosen == "local",
        )


REMOTE_TRANSPORT = "libp2p"


def reach(command: F) -> F:
    """Give a command `--remote`, `--peer`, `--bootstrap` and `--node-class`; it receives `reach: Reach`."""

    @functools.wraps(command)
    def wrapped(
        *args: Any,
        remote: bool,
        peer: str | None,
        bootstrap: tuple[str, ...],
        node_class: str,
        gateway: bool,
        **values: Any,
    ) -> Any:
        found = Reach(remote=remote, peer=peer, bootstrap=bootstrap, node_class=node_class, gateway=gateway)
        found.check()
        return command(*args, reach=found, **values)

    decorated: Any = wrapped
    for option in reversed(_REACH_OPTIONS):
        decorated = option(decorated)
    return decorated  # type: ignore[no-any-return]


_REACH_OPTIONS = (
    click.option("--remote", is_flag=True, help="Use a node of the network, not the daemon on this machine."),
    click.option(
        "--gateway",
        is_flag=True,
        help="Let the daemon on this machine submit the job to a node of the network.",
    ),
    click.option(
        "--peer",
        metavar="PEER",
        help="Use only this node: its PeerId, or an address that ends in it (--remote).",
        shell_complete=completion.peers,
    ),
    click.option(
        "--bootstrap",
        multiple=True,
        metavar="ADDRESS",
        help="A node to start the search from, as in /ip4/192.0.2.1/tcp/4001/p2p/12D3KooW… (--remote).",
    ),
    click.option(
        "--node-class",
        metavar="CLASS",
        default=ANY_NODE,
        help="Look for nodes of this class, as in engine/wasm3 or architecture/aarch64.",
    ),
    renamed("--class", "--node-class"),
)
