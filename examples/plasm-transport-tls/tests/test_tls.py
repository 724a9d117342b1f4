from contextlib import asynccontextmanager

import pytest
import trio
from plasm_transport_tls import Tls

from plasm_core.errors import PeerUnreachableError
from plasm_core.records import PeerId
from plasm_core.testing.claims import SIGNER
from plasm_core.testing.transport_contract import PROTOCOL, TransportContract


class Identified(Tls):
    """Listens with an identity, where the contract names none."""

    def open(self, identity, handlers):
        return super().open(identity or SIGNER, handlers)


class TestTls(TransportContract):
    @pytest.fixture
    def transport(self):
        return Identified(port=0)


@asynccontextmanager
async def listening():
    async with Tls(port=0).open(SIGNER, {PROTOCOL: lambda stream: stream.send_all(b"hello")}) as network:
        yield network


@pytest.mark.trio
async def test_a_node_proves_who_it_is():
    async with listening() as network:
        with trio.fail_after(30):
            stream = await network.dial(network.addresses[0], PROTOCOL)
            assert (stream.remote_peer, await stream.receive_some()) == (SIGNER.peer_id, b"hello")
            await stream.aclose()


@pytest.mark.trio
async def test_another_node_at_the_address_is_not_taken():
    async with listening() as network:
        address = f"{network.addresses[0].rpartition('/')[0]}/{PeerId(bytes(32))}"
        with pytest.raises(PeerUnreachableError, match="is another node"), trio.fail_after(30):
            await network.dial(address, PROTOCOL)
