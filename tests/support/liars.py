"""Nodes that lie, each with an identity of its own, in one process: `python -m tests.support.liars BOOTSTRAP KIND…`.

A kind is one of `tests.support.lying.LIES`, `record`, whose lie is what they say of themselves, or one of
`tests.support.lying_directory`, who lie about others and take no jobs. They are real nodes of libp2p that serve the directory and list themselves. When all are listed, `ready` is printed;
each lie is noted on standard error.
"""

from __future__ import annotations

import argparse
import functools
import sys
import tempfile
from collections.abc import Sequence
from contextlib import AsyncExitStack
from datetime import datetime, timedelta, timezone
from pathlib import Path

import attrs
import trio

from plasm_core.plugins.interfaces import Stream
from plasm_core.protocol import ANY_NODE, CAPABILITIES_PROTOCOL, JOB_PROTOCOL
from plasm_core.records import GAS_SCHEDULE, PROFILE
from plasm_core.records.capabilities import (
    CAPABILITIES_FORMAT,
    CapabilityRecord,
    EngineOffer,
    Load,
    OfferedLimits,
)
from plasm_core.signing import sign_record
from plasm_runtime_wasmtime.runtime import WasmtimeRuntime
from plasm_signer_ed25519 import Ed25519Signer
from plasm_transport_libp2p.discovery import Kademlia
from plasm_transport_libp2p.kad.directory import KademliaDirectory
from plasm_transport_libp2p.network import Libp2pNetwork
from plasm_transport_libp2p.transport import Libp2pTransport
from tests.support.lying import LIES, Liar, tell
from tests.support.lying_directory import DIRECTORY_LIES, lie_in

RECORDS = ("garbage", "another's", "expired", "endless", "boasting")
"""False capability records: no record, one that another key has signed, an old one, one without an end, and one of a
node that can all and then refuses."""
LISTED_S = 300.0
KINDS = (*LIES, "record", *DIRECTORY_LIES)


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
        if kind in DIRECTORY_LIES:
            assert isinstance(network, Libp2pNetwork)
            lie_in(directory, network, kind, self._nobody, note)
        directory.advertise((ANY_NODE,))  # the class in which clients look, and no others: that is quicker
        self._directories.append(directory)

    async def listed(self) -> None:
        """Wait until the last has told somebody of itself, so that clients find it."""
        with trio.fail_after(LISTED_S):
            while not self._directories[-1]._told:  # noqa: ASYNC110 - it counts, and tells nobody
                await trio.sleep(0.05)


async def serve(bootstrap: str, kinds: Sequence[str], prefix: str | None) -> None:
    """Lie until standard input ends. Each is at a /24 of its own, or all are at addresses of one."""
    async with AsyncExitStack() as stack:
        keys = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="liars-")))
        keys.chmod(0o700)
        liars = Liars(stack, bootstrap, keys)
        await liars.deafen()
        for number, kind in enumerate(kinds):
            host = f"127.{20 + number}.1.1" if prefix is None else f"{prefix}.{number + 1}"
            await liars.add(f"liar-{number}", kind, kinds[:number].count(kind), host)
            await liars.listed()  # one after the other: all in one process at once would miss their deadlines
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        await trio.to_thread.run_sync(sys.stdin.read)


def main() -> None:
    """Run."""
    parser = argparse.ArgumentParser()
    parser.add_argument("bootstrap")
    parser.add_argument("kinds", nargs="+", choices=KINDS)
    parser.add_argument("--prefix", help="three octets, such as 127.9.9: all are at addresses that begin so")
    options = parser.parse_args()
    trio.run(serve, options.bootstrap, options.kinds, options.prefix)


if __name__ == "__main__":
    main()
