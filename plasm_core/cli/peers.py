"""`plasm peers`: who is there."""

from __future__ import annotations

import click

from plasm_core.cli import exits, node_options, option_values, options, render
from plasm_core.cli.reputation import history_json
from plasm_core.client.known_nodes import Candidate
from plasm_core.config import Config
from plasm_core.records.converter import unstructure
from plasm_core.records.credibility import error_text, node_error
from plasm_core.records.history import NodeHistory


@options.command()
@node_options.reach
@click.option("--timeout", metavar="DURATION", default="5s", help="The time to search. [default: 5s]")
@options.json_option
@options.configured(choices=())
def peers(reach: node_options.Reach, timeout: str, as_json: bool, settings: Config) -> None:
    """List the nodes of the network that answer, the best first, with their capability records.

    CHECKED, FAILED and ERROR are what your own clients have learnt: results that were confirmed of those accepted,
    results that were rejected, and the estimated probability that the node's next result is wrong.
    """
    if reach.gateway:
        raise click.UsageError("--gateway has no meaning here: this command asks the network itself")
    remote = node_options.Reach(
        remote=True, peer=reach.peer, bootstrap=reach.bootstrap, node_class=reach.node_class
    )
    with render.phases() as progress:
        progress("looking for nodes")
        found = remote.client(settings).peers(settle_s=option_values.seconds(timeout, what="--timeout"))
    if as_json:
        render.show_json([_json(item) for item in found])
    elif found:
        render.show_rows(
            (
                *("PEER", "ENGINE", "ARCHITECTURE", "CPU", "MEMORY", "LOAD", "LATENCY", "CARRIER"),
                *("CHECKED", "FAILED", "ERROR"),
            ),
            [_row(item) for item in found],
        )
    else:
        render.show_error(
            "no node was found", "name a node to begin at with: --bootstrap /ip4/…/tcp/4001/p2p/12D3KooW…"
        )
        raise SystemExit(exits.UNREACHABLE)


def _row(item: Candidate) -> tuple[str, ...]:
    record, load = item.record, item.record.load
    return (
        str(item.peer),
        ", ".join(f"{engine.name} {engine.version}" for engine in record.engines),
        record.architecture,
        str(record.cpu),
        f"{record.memory_bytes / 2**30:.1f} GiB",
        f"{load.running} + {load.waiting}",
        f"{item.latency_s * 1000:.0f} ms",
        _carrier(item.addresses[0]) if item.addresses else "",
        *_known(item.history),
    )


def _known(history: NodeHistory | None) -> tuple[str, str, str]:
    """Return a node's counts of checked, accepted and rejected results, and its estimated error, as cells of the
    table.
    """
    if history is None:
        return "", "", ""
    checked = f"{history.checked} of {history.accepted}" if history.accepted else ""
    error = "convicted" if history.is_convicted else f"≤ {error_text(node_error(history))}"
    return checked, str(history.failed or ""), error


def _carrier(address: str) -> str:
    carrier = "quic" if "/quic" in address else "tcp"
    return f"{carrier}, relayed" if "/p2p-circuit" in address else carrier


def _json(item: Candidate) -> dict[str, object]:
    return {
        "peerId": str(item.peer),
        "addresses": list(item.addresses),
        "latencyS": round(item.latency_s, 4),
        "history": None if item.history is None else history_json(item.history),
        "capabilities": unstructure(item.record),
    }
