"""`plasm key`: this user's key, with which receipts are signed."""

from __future__ import annotations

import click

from plasm_core.cli import exits, options, render
from plasm_core.cli.command_class import Command
from plasm_core.config import Config
from plasm_core.errors import KeyFileError
from plasm_core.local_node import LocalNode
from plasm_core.records import PeerId, key_id
from plasm_core.records.cid import parse_peer
from plasm_core.records.spki import public_key_pem


@click.group(epilog=exits.EPILOGUE)
def key() -> None:
    """Create or show the key that signs this machine's receipts."""


@key.command(cls=Command, epilog=exits.EPILOGUE)
@options.json_option
@options.configured(choices=("signer",))
def new(settings: Config, as_json: bool) -> None:
    """Create the key. An existing key is never replaced."""
    signer = LocalNode(settings).signer
    where = signer.create_key()
    if as_json:
        render.show_json({**_json(signer.peer_id), "file": where})
    else:
        render.show_mark("✓", f"made {where}")
        _show(signer.peer_id)


@key.command(cls=Command, epilog=exits.EPILOGUE)
@click.option("--pem", is_flag=True, help="Print the public key as PEM, as openssl and cosign read it.")
@options.json_option
@options.configured(choices=("signer",))
def show(settings: Config, as_json: bool, pem: bool) -> None:
    """Show the public key."""
    peer = LocalNode(settings).signer.existing_peer_id()
    if peer is None:
        raise KeyFileError("there is no key yet", hint="make one with: plasm key new")
    if pem:
        click.echo(public_key_pem(peer), nl=False)
    elif as_json:
        render.show_json(_json(peer))
    else:
        _show(peer)


@key.command(cls=Command, epilog=exits.EPILOGUE)
@click.argument("peer", required=False)
@options.configured(choices=("signer",))
def pem(settings: Config, peer: str | None) -> None:
    """Print the public key of PEER, a PeerId, as PEM, as openssl and cosign read it; this user's own by default.

    The PeerId of a node contains its public key: no network is asked.
    """
    if peer is None:
        found = LocalNode(settings).signer.existing_peer_id()
        if found is None:
            raise KeyFileError("there is no key yet", hint="make one with: plasm key new")
    else:
        try:
            found = parse_peer(peer.rpartition("/p2p/")[2])
        except ValueError as exc:
            raise click.BadParameter(f"{peer}: {exc}") from exc
    click.echo(public_key_pem(found), nl=False)


def _json(peer: PeerId) -> dict[str, str]:
    return {
        "peerId": str(peer),
        "publicKey": peer.public_key.hex(),
        "keyid": key_id(peer.public_key),
    }


def _show(peer: PeerId) -> None:
    values = _json(peer)
    render.show_fields(
        [("PeerId", values["peerId"]), ("public key", values["publicKey"]), ("keyid", values["keyid"])]
    )
