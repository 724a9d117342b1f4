"""Strangers by the hundred at one daemon's libp2p port: `python -m tests.network.flood DIRECTORY [--quic]`.

First they come one after the other, under so many keys; then all at once, and stay, while others connect and say
nothing or a byte now and then, and break off in the middle of a message. In the midst of that, and after it,
a client has a job run. Printed is what the daemon holds at each stage: tasks, descriptors, memory.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

import attrs
import trio
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection

from plasm_core.client.daemon_query import told
from plasm_core.errors import PeerUnreachableError, StreamError
from plasm_core.plugins.interfaces import Network, Stream
from plasm_core.protocol import JOB_PROTOCOL, METRICS_PROTOCOL
from plasm_core.testing.claims import SeedSigner
from plasm_transport_libp2p.transport import Libp2pTransport
from plasm_transport_local.transport import LocalTransport
from tests.network.conftest import HELLO, LABORATORY, NETWORKED, address_of
from tests.support import processes
from tests.support.daemon import Daemon

CLIENT = Libp2pTransport(listen=())
OVER_QUIC = ("--set", 'transport.libp2p.listen=["/ip4/127.0.0.1/udp/0/quic-v1"]')
"""What is set last holds."""
DEADLINE_S = 120.0
SETTLE_S = 60.0
_AT_ONCE = 20
_OTHER_TASKS = 2  # that the daemon has for itself now and then
_HALF_A_FRAME = (1000).to_bytes(4, "big") + b"\0" + b'{"type":"submit",'


@attrs.frozen(kw_only=True)
class Held:
    """What the daemon's process holds."""

    stage: str
    seconds: float
    connections: int
    tasks: int
    descriptors: int
    memory_kib: int


@attrs.define
class Flood:
    """One daemon, and who comes to it."""

    daemon: Daemon
    client: Daemon
    patient: bool = True
    """Whether to wait until the daemon has lost patience with half a message."""
    rows: list[Held] = attrs.field(factory=list)

    @property
    def address(self) -> str:
        """Where the daemon is reached."""
        return address_of(self.daemon)

    async def note(self, stage: str, started: float) -> Held:
        """Keep what the daemon holds now as a row."""
        assert self.daemon.process is not None
        pid = self.daemon.process.pid
        async with LocalTransport().open(None, {}) as network:
            page = (await told(network, f"unix:{self.daemon.socket}", METRICS_PROTOCOL)).decode()
        values = dict(line.split(" ") for line in page.splitlines() if not line.startswith("#"))
        held = Held(
            stage=stage,
            seconds=round(time.monotonic() - started, 1),
            connections=int(values["plasm_connections_open"]),
            tasks=int(values["plasm_tasks"]),
            descriptors=len(processes.descriptors(pid)),
            memory_kib=processes.resident_bytes(pid) >> 10,
        )
        self.rows.append(held)
        return held

    async def settle(self, stage: str, started: float) -> Held:
        """Wait until nobody is connected any more, nor in the midst of a handshake, and keep a row."""
        held = await self.note(stage, started)
        with trio.move_on_after(SETTLE_S):
            while held.connections or held.tasks > self.rows[0].tasks + _OTHER_TASKS:
                await trio.sleep(0.2)
                held = await self.note(stage, started)
                self.rows.pop(-2)
        return held

    async def run_job(self) -> None:
        """Have a client hand a job in over the network."""
        pinned = ("run", "--peer", self.address, *LABORATORY, str(HELLO))
        ran = await trio.to_thread.run_sync(lambda: self.client.plasm(*pinned, stdin=b"abc", check=False))
        assert ran.stdout == b"cba", ran.stderr.decode()

    async def come_by_turns(self, connections: int, keys: int) -> None:
        """Connect over and over, under so many keys, and hear the greeting each time."""
        signers = [SeedSigner(os.urandom(32)) for _ in range(keys)]
        for part in range(4):
            started = time.monotonic()
            for index in range(connections * part // 4, connections * (part + 1) // 4):
                async with CLIENT.open(signers[index % keys], {}) as network:
                    await (await self.greeted(network)).aclose()
            await self.settle(f"after {connections * (part + 1) // 4} connections", started)

    async def greeted(self, network: Network) -> Stream:
        """Open a stream and hear the greeting."""
        with trio.fail_after(DEADLINE_S):
            stream = await network.dial(self.address, JOB_PROTOCOL)
            assert b'"hello"' in await stream.receive_some()
        return stream

    async def come_at_once(self, peers: int, silent: int) -> None:
        """Be so many peers together, each with half a message said, and strangers that never say who they are."""
        started = time.monotonic()
        async with AsyncExitStack() as stack:
            networks = [await stack.enter_async_context(CLIENT.open(None, {})) for _ in range(peers)]
            places = trio.CapacityLimiter(_AT_ONCE)
            streams: list[Stream] = []

            async def stay(network: Network) -> None:
                async with places:
                    stream = await self.greeted(network)
                    await stream.send_all(_HALF_A_FRAME)
                    streams.append(stream)

            async with trio.open_nursery() as nursery:
                for network in networks:
                    nursery.start_soon(stay, network)
            await stack.enter_async_context(strangers(self.address, silent))
            await self.note(f"with {peers} peers and {silent} who say nothing", started)
            started = time.monotonic()
            await self.run_job()
            await self.note("and a job run in their midst", started)
            started = time.monotonic()
            if self.patient:
                for stream in streams:
                    await hear_the_end(stream)
        await self.settle("when they have gone", started)

    async def run(self, connections: int, keys: int, peers: int, silent: int) -> list[Held]:
        """Do it all. Raises: AssertionError, trio.TooSlowError if the daemon does not serve."""
        await self.run_job()
        await self.settle("at first", time.monotonic())
        await self.come_by_turns(connections, keys)
        await self.come_at_once(peers, silent)
        await self.run_job()
        await self.settle("after one more job", time.monotonic())
        return self.rows


async def hear_the_end(stream: Stream) -> None:
    """Wait until the daemon has lost patience with half a message."""
    with trio.fail_after(DEADLINE_S):
        try:
            while await stream.receive_some():
                pass
        except (StreamError, PeerUnreachableError):
            pass
        await stream.aclose()


@asynccontextmanager
async def strangers(address: str, count: int) -> AsyncIterator[None]:
    """Hold connections that say nothing, every other one a byte now and then."""
    _, _, host, carrier, port, *_ = address.split("/")
    if carrier == "udp":
        async with half_open((host, int(port)), count):
            yield
        return
    connections = [await trio.open_tcp_stream(host, int(port)) for _ in range(count)]

    async def dribble(connection: trio.SocketStream) -> None:
        try:
            while True:
                await connection.send_all(b"\x13")
                await trio.sleep(1)
        except trio.BrokenResourceError:  # the daemon has lost patience
            pass

    async with trio.open_nursery() as nursery:
        for connection in connections[::2]:
            nursery.start_soon(dribble, connection)
        yield
        nursery.cancel_scope.cancel()
    for connection in connections:
        await trio.aclose_forcefully(connection)


@asynccontextmanager
async def half_open(remote: tuple[str, int], count: int) -> AsyncIterator[None]:
    """Begin handshakes of QUIC and do not go on with them, every other one over and over."""
    first = [_first_datagrams(remote) for _ in range(count)]

    async def begin(sock: trio.socket.SocketType, datagrams: list[bytes], *, again: bool) -> None:
        while True:
            for datagram in datagrams:
                await sock.sendto(datagram, remote)
            if not again:
                return
            await trio.sleep(1)

    async with AsyncExitStack() as stack, trio.open_nursery() as nursery:
        for number, datagrams in enumerate(first):
            sock = trio.socket.socket(type=trio.socket.SOCK_DGRAM)
            stack.callback(sock.close)
            nursery.start_soon(partial(begin, sock, datagrams, again=number % 2 == 0))
        yield
        nursery.cancel_scope.cancel()


def _first_datagrams(remote: tuple[str, int]) -> list[bytes]:
    """Return what a client sends first."""
    client = QuicConnection(configuration=QuicConfiguration(is_client=True, alpn_protocols=["libp2p"]))
    client.connect(remote, now=0.0)
    return [datagram for datagram, _ in client.datagrams_to_send(now=0.0)]


def main() -> None:
    """Run."""
    parser = argparse.ArgumentParser()
    parser.add_argument("directory", type=Path)
    parser.add_argument("--connections", type=int, default=1000)
    parser.add_argument("--keys", type=int, default=100)
    parser.add_argument("--peers", type=int, default=300)
    parser.add_argument("--silent", type=int, default=100)
    parser.add_argument("--quic", action="store_true")
    options = parser.parse_args()
    options.directory.mkdir(parents=True, exist_ok=True)
    (options.directory / "node").mkdir()
    (options.directory / "client").mkdir()
    with (
        Daemon(
            options.directory / "node", *NETWORKED, *(OVER_QUIC if options.quic else ()), "--lend"
        ) as daemon,
        Daemon(options.directory / "client") as client,
    ):
        daemon.start(until=" ready peer=")
        flood = Flood(daemon, client)
        rows = trio.run(flood.run, options.connections, options.keys, options.peers, options.silent)
        assert "Traceback" not in daemon.log.read_text()
        assert daemon.terminate() == 0
    for row in rows:
        sys.stdout.write(json.dumps(attrs.asdict(row)) + "\n")


if __name__ == "__main__":
    main()
