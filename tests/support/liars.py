"""Nodes that lie, each with an identity of its own, in one process: `python -m tests.support.liars BOOTSTRAP KIND…`.

A kind is one of `tests.support.lying.LIES`, or `record` or `addresses`, whose lie is what they say before.
They are real nodes of libp2p that serve the directory and list themselves. When all are listed, `ready` is printed;
each lie is noted on standard error.
"""

from __future__ import annotations

import argparse
import functools
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from datetime import datetime, timedelta, timezone
from pathlib import Path

import attrs
import trio
from multiaddr import Multiaddr

from plasm_core.abc import Stream
from plasm_core.capabilities import sign_record
from plasm_core.records import GAS_SCHEDULE, PROFILE
from plasm_core.records.capabilities import (
    CAPABILITIES_FORMAT,
    CapabilityRecord,
    EngineOffer,
    Load,
    OfferedLimits,
)
from plasm_core.records.peer import PeerId
from plasm_core.wire import CAPABILITIES_PROTOCOL, JOB_PROTOCOL
from plasm_runtime_wasmtime.runtime import WasmtimeRuntime
from plasm_signer_ed25519 import Ed25519Signer
from plasm_transport_libp2p.discovery import Kademlia
from plasm_transport_libp2p.kademlia.contact import Contact
from plasm_transport_libp2p.kademlia.directory import KademliaDirectory
from plasm_transport_libp2p.kademlia.message import Message
from plasm_transport_libp2p.transport import Libp2pTransport
from tests.support.lying import LIES, Liar, tell

RECORDS = ("garbage", "another's", "expired", "endless", "boasting")
"""False capability records: no record, one that another key has signed, an old one, one without an end, and one of a
node that can all and then refuses."""
ADDRESSES = "addresses"
"""Tells false addresses of others, where nobody is or somebody who says nothing."""
LISTED_S = 120.0
KINDS = (*LIES, "record", ADDRESSES)


def record_of(signer: Ed25519Signer, addresses: Sequence[str]) -> CapabilityRecord:
    """Return the record of a node that is idle and large."""
    runtime, now, most = WasmtimeRuntime(), datetime.now(timezone.utc), 1 << 50
    return CapabilityRecord(
        format=CAPABILITIES_FORMAT,
        peer=str(signer.peer_id),
        agent="plasm/1",
        profiles=(PROFILE,),
        gas_schedules=(GAS_SCHEDULE,),
        wasi=("preview1",),
        engines=(
            EngineOffer(
                name=runtime.name, version=runtime.version(), features=tuple(sorted(runtime.features))
            ),
        ),
        architecture="x86_64",
        cpu=1024,
        memory_bytes=most,
        limits=OfferedLimits(
            gas=most,
            memory_bytes=most,
            output_bytes=most,
            wall_time_s=most,
            cpu=1024,
            module_bytes=most,
            stdin_bytes=most,
        ),
        capabilities=(),
        lends=True,
        load=Load(running=0, waiting=0, capacity=1024),
        protocols=(JOB_PROTOCOL,),
        addresses=tuple(addresses),
        issued_at=now,
        expires_at=now + timedelta(minutes=30),
    )


def note(kind: str) -> None:
    """Write that a lie was told, for who counts them."""
    sys.stderr.write(f"lied kind={kind}\n")
    sys.stderr.flush()


async def claim(kind: str, signer: Ed25519Signer, other: Ed25519Signer, stream: Stream) -> None:
    """Answer who asks what a node can."""
    record = record_of(signer, ())
    if kind != "boasting":
        note("record")
    if kind == "endless":
        await stream.send_all((1 << 31).to_bytes(4, "big"))
        while True:
            await stream.send_all(bytes(65_536))
    if kind == "expired":
        old = record.issued_at - timedelta(days=1)
        record = attrs.evolve(record, issued_at=old, expires_at=old + timedelta(minutes=30))
    envelope = sign_record(record, other if kind == "another's" else signer).to_json()
    if kind == "garbage":
        envelope = b"\xff" * 1000
    await stream.send_all(len(envelope).to_bytes(4, "big") + envelope)
    await stream.aclose()


class Liars:
    """All of them."""

    def __init__(self, stack: AsyncExitStack, bootstrap: str, keys: Path) -> None:
        self._stack = stack
        self._bootstrap = bootstrap
        self._keys = keys
        self._other = self._signer("other")
        self._nobody = ""
        self._directories: list[KademliaDirectory] = []

    def _signer(self, name: str) -> Ed25519Signer:
        return Ed25519Signer(key=str(self._keys / name))

    async def deafen(self) -> None:
        """Listen where false addresses point to, and say nothing there."""
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery = await self._stack.enter_async_context(trio.open_nursery())
        self._stack.callback(nursery.cancel_scope.cancel)

        async def ignore(_stream: trio.SocketStream) -> None:
            await trio.sleep_forever()

        nursery.start_soon(trio.serve_listeners, ignore, listeners)
        self._nobody = f"/ip4/127.0.0.1/tcp/{listeners[0].socket.getsockname()[1]}"

    async def add(self, name: str, kind: str, number: int, host: str) -> None:
        """Start one. `number`: its place among those of its kind."""
        signer = self._signer(name)
        liar = Liar(signer=signer)
        said = RECORDS[number % len(RECORDS)] if kind == "record" else "boasting"
        lie = kind if kind in LIES else "refusing"

        async def lying(stream: Stream) -> None:
            note(kind)
            await tell(liar, lie, stream)

        network = await self._stack.enter_async_context(
            Libp2pTransport(listen=(f"/ip4/{host}/tcp/0",), max_connections_per_peer=16).open(
                signer,
                {
                    JOB_PROTOCOL: lying,
                    CAPABILITIES_PROTOCOL: functools.partial(claim, said, signer, self._other),
                },
            )
        )
        discovery = Kademlia(bootstrap=(self._bootstrap,), allow_private=True, cache="", map_ports=False)
        directory = await self._stack.enter_async_context(discovery.open(network))
        assert isinstance(directory, KademliaDirectory)
        if kind == ADDRESSES:
            self._mislead(directory, signer)
        directory.advertise(record_of(signer, ()).classes)
        self._directories.append(directory)

    async def listed(self) -> None:
        """Wait until each has told all whom it tells of itself, so that clients find them."""
        with trio.fail_after(LISTED_S):
            for directory in self._directories:
                while not directory._neighbours_told:  # noqa: ASYNC110 - it counts, and tells nobody
                    await trio.sleep(0.05)

    def _mislead(self, directory: KademliaDirectory, signer: Ed25519Signer) -> None:
        """Have a directory answer with false addresses of everybody but itself."""
        node = directory.node
        answer: Callable[[PeerId, Message], Message | None] = node._answer
        false = (Multiaddr(self._nobody), Multiaddr("/ip4/127.0.0.1/tcp/9"))

        def misled(contacts: Sequence[Contact]) -> tuple[Contact, ...]:
            return tuple(
                item if item.peer == signer.peer_id else Contact(item.peer, false) for item in contacts
            )

        def lie(peer: PeerId, request: Message) -> Message | None:
            told = answer(peer, request)
            if told is None:
                return None
            note(ADDRESSES)
            return attrs.evolve(told, closer=misled(told.closer), providers=misled(told.providers))

        node._answer = lie  # type: ignore[method-assign]


async def serve(bootstrap: str, kinds: Sequence[str], host: str) -> None:
    """Lie until standard input ends."""
    async with AsyncExitStack() as stack:
        keys = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="liars-")))
        keys.chmod(0o700)
        liars = Liars(stack, bootstrap, keys)
        await liars.deafen()
        for number, kind in enumerate(kinds):
            await liars.add(f"liar-{number}", kind, kinds[:number].count(kind), host)
        await liars.listed()
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        await trio.to_thread.run_sync(sys.stdin.read)


def main() -> None:
    """Run."""
    parser = argparse.ArgumentParser()
    parser.add_argument("bootstrap")
    parser.add_argument("kinds", nargs="+", choices=KINDS)
    parser.add_argument("--host", default="127.0.0.1", help="an address of the loopback interface")
    options = parser.parse_args()
    trio.run(serve, options.bootstrap, options.kinds, options.host)


if __name__ == "__main__":
    main()
