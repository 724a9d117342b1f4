"""`plasm address`: where others reach the node of this machine."""

from __future__ import annotations

import click
import trio

from plasm_core.background_tasks import sole
from plasm_core.cli import options, render
from plasm_core.client.daemon_health import ask_daemon
from plasm_core.client.daemon_query import ask
from plasm_core.config import Config
from plasm_core.errors import PeerUnreachableError
from plasm_core.protocol import CAPABILITIES_PROTOCOL
from plasm_core.records import Envelope
from plasm_core.records.capabilities import CapabilityRecord


@options.command()
@options.json_option
@options.configured(choices=())
def address(as_json: bool, settings: Config) -> None:
    """Print the addresses of this machine's node, as --peer and --bootstrap of other machines take them.

    They are the addresses that the node advertises. While it does not know whether others reach it, they are those
    that it listens on, and a line on stderr says so.
    """
    try:
        with sole():
            data = trio.run(ask, settings, CAPABILITIES_PROTOCOL)
    except PeerUnreachableError as exc:
        raise PeerUnreachableError(f"no daemon answers: {exc}", hint=exc.hint) from exc
    record = CapabilityRecord.from_json(Envelope.from_json(data).payload)
    found = [item for item in record.addresses if item.startswith("/")]
    is_advertised = bool(found)
    if not is_advertised:
        found = _listening(settings)
    if not found:
        raise PeerUnreachableError(
            "the daemon is on no network: it listens on its own socket only",
            hint="start it with: plasmd --transport libp2p",
        )
    whole = [item if "/p2p/" in item else f"{item}/p2p/{record.peer}" for item in found]
    if as_json:
        render.show_json({"peerId": record.peer, "addresses": whole, "advertised": is_advertised})
        return
    if not is_advertised:
        render.show_mark("!", "not known yet whether others reach these: see plasm doctor", stderr=True)
    for item in whole:
        click.echo(item)


def _listening(settings: Config) -> list[str]:
    """Return the addresses that the daemon's networks listen on."""
    return [
        item
        for check in ask_daemon(settings)
        if check.name.startswith("listening ")
        for item in check.found.split()
        if item.startswith("/")
    ]
