import pytest
from plasm_discovery_list import Listed

from plasm_core.errors import ConfigError
from plasm_core.plugins import loading
from plasm_core.records import PeerId

PEER = "12D3KooWA4Xop1JaT3MHxwYMkCepYsv4iPVopMXwCz5iHYdBfeSB"
ADDRESS = f"/ip4/192.0.2.1/tcp/4002/tls/p2p/{PEER}"


def test_it_is_installed_under_its_name():
    assert loading.load("discovery", "list") is Listed


@pytest.mark.trio
async def test_the_nodes_of_the_configuration_are_found():
    async with Listed(nodes=(ADDRESS,)).open(None) as directory:
        async with directory.find("wasi/preview1", 5) as nodes:
            found = [node async for node in nodes]

        assert found == [(PeerId.parse(PEER), (ADDRESS,))]
        assert await directory.locate(PeerId.parse(PEER)) == (ADDRESS,)


def test_an_address_without_a_node_is_refused():
    with pytest.raises(ConfigError, match="ends in /p2p/PEER"):
        Listed(nodes=("/ip4/192.0.2.1/tcp/4002/tls",)).check()
