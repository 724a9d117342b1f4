"""Whom a client holds it against that a node is not where others say it is."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
import trio.testing

from plasm_core.client.node_choice import RemoteDialler
from plasm_core.errors import PeerUnreachableError
from plasm_core.plugins.interfaces import Directory, Network, Stream, StreamHandler
from plasm_core.records.peer import PeerId
from plasm_core.signing import sign_record
from plasm_signer_ed25519 import Ed25519Signer
from tests.support.liars import record_of

pytestmark = pytest.mark.trio
TRUE, FALSE, VICTIMS = "/ip4/11.0.0.1/tcp/1", "/ip4/12.0.0.1/tcp/1", "/ip4/13.0.0.1/tcp/1"


class _Answer(Stream):
    """A stream on which a node tells its capabilities."""

    def __init__(self, data: bytes, peer: PeerId, group: str) -> None:
        self._data = len(data).to_bytes(4, "big") + data
        self._peer = peer
        self._group = group

    @property
    def remote_peer(self) -> PeerId:
        return self._peer

    @property
    def remote_group(self) -> str:
        return self._group

    async def send_all(self, data: bytes) -> None:
        raise AssertionError("nothing is sent")

    async def receive_some(self, max_bytes: int = 65_536) -> bytes:
        await trio.lowlevel.checkpoint()
        data, self._data = self._data[:max_bytes], self._data[max_bytes:]
        return data

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()


class _Internet(Network):
    """Nodes at their own addresses; nobody answers at others."""

    def __init__(self, nodes: dict[str, Ed25519Signer]) -> None:
        self.nodes = nodes
        self.dialled: list[str] = []

    @property
    def addresses(self) -> tuple[str, ...]:
        return ()

    def handle(self, protocol: str, handler: StreamHandler) -> None:
        raise AssertionError("clients serve nothing")

    async def dial(self, address: str, protocol: str) -> Stream:
        await trio.lowlevel.checkpoint()
        self.dialled.append(address)
        signer = self.nodes.get(address)
        if signer is None:
            raise PeerUnreachableError(f"nobody answers at {address}")
        envelope = sign_record(record_of(signer, (address,)), signer)
        return _Answer(envelope.to_json(), signer.peer_id, address.split("/")[2].rpartition(".")[0])


class _Rumours(Directory):
    """A directory that tells what it is given."""

    def __init__(self) -> None:
        self.told: list[tuple[PeerId, tuple[str, ...]]] = []

    @property
    def neighbours(self) -> tuple[PeerId, ...]:
        return ()

    async def bootstrap(self) -> int:
        return 0

    def announce(self, addresses: Iterable[str]) -> None: ...

    def advertise(self, classes: Iterable[str]) -> None: ...

    async def locate(self, peer: PeerId) -> tuple[str, ...]:
        return ()

    @asynccontextmanager
    async def find(
        self, node_class: str, limit: int
    ) -> AsyncIterator[AsyncIterator[tuple[PeerId, tuple[str, ...]]]]:
        async def tell() -> AsyncIterator[tuple[PeerId, tuple[str, ...]]]:
            for item in self.told:
                await trio.lowlevel.checkpoint()
                yield item

        yield tell()


class _World:
    """A client and two nodes, of which others tell."""

    def __init__(self, directory: Path) -> None:
        self.node, self.other = (
            Ed25519Signer(key=str(directory / f"{name}.key")) for name in ("node", "other")
        )
        self.internet = _Internet({TRUE: self.node})
        self.rumours = _Rumours()
        self.client = RemoteDialler(self.internet, self.rumours)

    async def search(self, *told: tuple[Ed25519Signer, tuple[str, ...]]) -> list[PeerId]:
        self.rumours.told = [(signer.peer_id, addresses) for signer, addresses in told]
        return [candidate.peer for candidate in await self.client.search.candidates(settle_s=5.0)]

    def failures(self, signer: Ed25519Signer) -> float:
        return self.client._nodes.failures(signer.peer_id)


@pytest.fixture
def world(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> _World:
    return _World(tmp_path)


@pytest.mark.parametrize("false", [(FALSE,), tuple(f"/ip4/12.0.{n}.1/tcp/1" for n in range(16))])
async def test_false_addresses_of_a_node_are_not_its_failure(world: _World, false: tuple[str, ...]) -> None:
    for _ in range(4):
        assert await world.search((world.node, false)) == []

    assert world.failures(world.node) == 0.0
    assert await world.search((world.node, (*false[:2], TRUE))) == [world.node.peer_id]


async def test_a_node_that_answered_is_found_though_others_tell_false_addresses(world: _World) -> None:
    await world.search((world.node, (TRUE,)))

    assert await world.search((world.node, (FALSE,))) == [world.node.peer_id]
    assert world.failures(world.node) == 0.0


async def test_a_node_that_answered_and_is_gone_has_failed(world: _World) -> None:
    await world.search((world.node, (TRUE,)))
    del world.internet.nodes[TRUE]
    await world.search((world.node, (FALSE,)))

    assert world.failures(world.node) > 0.0


@pytest.mark.parametrize("told", [(VICTIMS, TRUE), (VICTIMS,)], ids=["it is there too", "nobody is there"])
async def test_a_liar_blames_no_network_that_it_says_it_is_in(world: _World, told: tuple[str, ...]) -> None:
    """The victim's nodes share the failures of their /24: of those that were seen there."""
    near = VICTIMS.replace("0.1", "0.2")
    world.internet.nodes[near] = world.other
    await world.search((world.other, (near,)))

    for _ in range(4):
        await world.search((world.node, told))
        world.client.failed(world.node.peer_id, lied=True)

    assert world.failures(world.node) > 0.0
    assert world.failures(world.other) == 0.0


async def test_lists_of_addresses_without_end_are_cut(world: _World) -> None:
    crowd = tuple(f"/ip4/12.{n // 250}.{n % 250}.1/tcp/1" for n in range(2000))

    await world.search((world.node, crowd))

    assert len(world.internet.dialled) == 16
