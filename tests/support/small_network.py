"""A network within a test: nodes that are found, dialled and spoken to as on a real one, but no sockets."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import datetime, timedelta, timezone

import attrs
import trio
import trio.testing

from plasm_core.errors import PeerUnreachableError, StreamError
from plasm_core.plugins.interfaces import Directory, Network, Stream
from plasm_core.protocol import CAPABILITIES_PROTOCOL
from plasm_core.records import PeerId
from plasm_core.records.capabilities import CapabilityRecord, EngineOffer, Load, OfferedLimits
from plasm_core.records.manifest import GAS_SCHEDULES
from plasm_core.signing import sign_record
from plasm_core.testing.claims import SeedSigner
from tests.support.lying_node import LyingNode, Script

_MOST = 1 << 40


class PipeStream(Stream):
    """One end of a pipe in memory."""

    def __init__(
        self, pipe: trio.abc.HalfCloseableStream, peer: PeerId | None, *, group: str = "memory"
    ) -> None:
        self._pipe = pipe
        self._peer = peer
        self._group = group

    @property
    def remote_peer(self) -> PeerId | None:
        return self._peer

    @property
    def remote_group(self) -> str:
        return self._group

    async def send_all(self, data: bytes) -> None:
        try:
            await self._pipe.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as exc:
            raise StreamError("the other side is gone") from exc

    async def receive_some(self, max_bytes: int = 65_536) -> bytes:
        try:
            return bytes(await self._pipe.receive_some(max_bytes))
        except (trio.BrokenResourceError, trio.ClosedResourceError) as exc:
            raise StreamError("the other side is gone") from exc

    async def aclose(self) -> None:
        await self._pipe.aclose()


def record_of(peer: PeerId, *, waiting: int) -> CapabilityRecord:
    """Return what a node says of itself that takes any job, and at which so many wait."""
    now = datetime.now(timezone.utc).replace(microsecond=0)
    return CapabilityRecord(
        format="phase.capabilities/v0",
        peer=str(peer),
        agent="liar/1",
        profiles=tuple(GAS_SCHEDULES),
        gas_schedules=tuple(GAS_SCHEDULES.values()),
        wasi=("preview1",),
        engines=(EngineOffer(name="wasmtime", version="50.0.1", features=("files",)),),
        architecture="x86_64",
        cpu=1,
        memory_bytes=_MOST,
        limits=OfferedLimits(
            gas=10**15,
            memory_bytes=_MOST,
            output_bytes=_MOST,
            wall_time_s=86_400,
            cpu=1,
            module_bytes=_MOST,
            stdin_bytes=_MOST,
            tree_bytes=_MOST,
        ),
        capabilities=(),
        lends=True,
        load=Load(running=0, waiting=waiting, capacity=1000),
        protocols=("/phase/job/1.0.0",),
        addresses=(),
        issued_at=now - timedelta(minutes=1),
        expires_at=now + timedelta(minutes=30),
    )


class SmallNetwork(Network, Directory):
    """Nodes by their PeerIds, the likeliest to be chosen first. They run in a nursery of the test's.

    `apart`: how many more jobs wait at each node than at the one before. `groups`: the network of each node, as
    `Stream.remote_group`; by default all are in one.
    """

    def __init__(
        self, nursery: trio.Nursery, *scripts: Script, apart: int = 50, groups: Sequence[str] = ()
    ) -> None:
        self._nursery = nursery
        self._apart = apart
        self._groups = groups or ("memory",) * len(scripts)
        self.nodes = [
            LyingNode(script, SeedSigner(bytes([number + 1]) * 32)) for number, script in enumerate(scripts)
        ]

    @property
    def addresses(self) -> tuple[str, ...]:
        return ()

    async def dial(self, address: str, protocol: str) -> Stream:
        for number, node in enumerate(self.nodes):
            if str(node.signer.peer_id) == address.rpartition("/")[2]:
                here, there = trio.testing.memory_stream_pair()
                stream = PipeStream(there, None)
                if protocol == CAPABILITIES_PROTOCOL:
                    self._nursery.start_soon(_tell, node, stream, self._apart * number)
                else:
                    self._nursery.start_soon(node.serve, stream)
                return PipeStream(here, node.signer.peer_id, group=self._groups[number])
        raise PeerUnreachableError("nobody is there")

    @property
    def neighbours(self) -> tuple[PeerId, ...]:
        return tuple(node.signer.peer_id for node in self.nodes)

    @property
    def metrics(self) -> Mapping[str, float]:
        return {}

    async def bootstrap(self) -> int:
        return len(self.nodes)

    def announce(self, addresses: Sequence[str]) -> None:
        pass

    def advertise(self, classes: Collection[str]) -> None:
        pass

    async def locate(self, peer: PeerId) -> tuple[str, ...]:
        return (f"/p2p/{peer}",)

    def find(
        self, node_class: str, limit: int
    ) -> AbstractAsyncContextManager[AsyncIterator[tuple[PeerId, tuple[str, ...]]]]:
        return self._find()

    @asynccontextmanager
    async def _find(self) -> AsyncIterator[AsyncIterator[tuple[PeerId, tuple[str, ...]]]]:
        async def told() -> AsyncIterator[tuple[PeerId, tuple[str, ...]]]:
            for node in self.nodes:
                yield node.signer.peer_id, (f"/p2p/{node.signer.peer_id}",)

        yield told()


async def _tell(node: LyingNode, stream: Stream, waiting: int) -> None:
    await trio.sleep(node.script.told_after_s)
    record = sign_record(record_of(node.signer.peer_id, waiting=waiting), node.signer).to_json()
    with contextlib.suppress(StreamError):  # the peer that asked may have gone
        await stream.send_all(len(record).to_bytes(4, "big") + record)
    await stream.aclose()


@attrs.frozen
class Elapsed:
    """How much of trio's time has passed since it was made."""

    began: float = attrs.field(factory=trio.current_time)

    @property
    def seconds(self) -> float:
        """So much."""
        return trio.current_time() - self.began
