"""A daemon looks for others in the Kademlia directory only if it has the transport that the directory needs."""

from __future__ import annotations

import pytest

from plasm_core import config
from plasm_core.daemon.main import chosen_discoveries


@pytest.mark.parametrize(
    ("transport", "discovery", "chosen"),
    [
        (["local"], [], ()),
        (["local", "libp2p"], [], ("kademlia",)),
        (["local", "tls"], [], ()),
        (["tls", "libp2p"], [], ("kademlia",)),
        (["local", "tls"], ["list"], ("list",)),
    ],
)
def test_the_directory_goes_with_its_transport(
    transport: list[str], discovery: list[str], chosen: tuple[str, ...]
) -> None:
    settings = config.load(environ={}, overrides={"plasm.transport": transport, "plasm.discovery": discovery})

    assert chosen_discoveries(settings) == chosen
