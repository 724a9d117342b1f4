"""`plasm address`: where others reach the node of this machine."""

from __future__ import annotations

import click
import trio

from plasm_core import starting
from plasm_core.background_tasks import sole
from plasm_core.cli import options, render
from plasm_core.client.daemon_health import ask_health
from plasm_core.client.daemon_query import ask
from plasm_core.config import Config
from plasm_core.diagnostics import OPENING
from plasm_core.errors import NodeStalledError, PeerUnreachableError
from plasm_core.protocol import CAPABILITIES_PROTOCOL
from plasm_core.records import Envelope
from plasm_core.records.capabilities import CapabilityRecord


@options.command()
@options.json_option
@options.configured(choices=())
def address(as_json: bool, settings: Config) -> None:
    """Print the addresses of this machine's node, as --peer and --bootstrap of other machines take them.

    They are the addresses that the node advertises. While it does not know whether others reach it, they are those
    that it listens on, and a line on stderr says so. A daemon that has just started opens its network after its own
    socket: the command waits for it for up to 15 s.
    """
    with sole():
        record, found, is_advertised = trio.run(_addresses, settings)
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


async def _addresses(settings: Config) -> tuple[CapabilityRecord, list[str], bool]:
    """Return the node's capability record, its addresses, and whether it advertises them."""
    deadline = trio.current_time() + starting.PATIENCE_S
    while True:
        is_last = trio.current_time() >= deadline
        try:
            data = await ask(settings, CAPABILITIES_PROTOCOL)
            checks = [item for item in await ask_health(settings) if item.name.startswith("listening ")]
        except PeerUnreachableError as exc:
            # The daemon does not answer while it loads the code of its network: seconds, on a busy machine.
            if isinstance(exc, NodeStalledError) and not is_last:
                continue
            raise PeerUnreachableError(f"no daemon answers: {exc}", hint=exc.hint) from exc
        record = CapabilityRecord.from_json(Envelope.from_json(data).payload)
        advertised = [item for item in record.addresses if item.startswith("/")]
        if advertised:
            return record, advertised, True
        listening = [item for check in checks for item in check.found.split() if item.startswith("/")]
        if listening or all(check.found != OPENING for check in checks):
            return record, listening, False
        if is_last:
            raise PeerUnreachableError(
                "the daemon has started and does not listen on its network yet",
                hint="ask again in a moment: plasm doctor tells when it listens",
            )
        await trio.sleep(starting.PAUSE_S)
