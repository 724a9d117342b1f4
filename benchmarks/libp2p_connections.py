"""Connect to a node over and over, and from many peers at once; print what it holds: tasks, descriptors, memory.

    python benchmarks/libp2p_connections.py                     1,000 connections of 100 keys, then 300 peers at once
    python benchmarks/libp2p_connections.py --quic --json

The node runs in a process of its own, so that the numbers are its alone.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import trio

from plasm_core.plugins.interfaces import Network, Stream
from plasm_core.testing.claims import SeedSigner
from plasm_transport_libp2p.transport import Libp2pTransport

ECHO = "/benchmark/echo/1.0.0"
HELD = "/benchmark/held/1.0.0"


async def _echo(stream: Stream) -> None:
    while data := await stream.receive_some():
        await stream.send_all(data)


def _held() -> dict[str, int]:
    """Return what this process holds."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return {
        "tasks": trio.lowlevel.current_statistics().tasks_living,
        "descriptors": len(os.listdir("/proc/self/fd")),
        "memory_kib": pages * resource.getpagesize() // 1024,
    }


async def _tell(stream: Stream) -> None:
    await stream.send_all(json.dumps(_held()).encode())


async def serve(listen: str) -> None:
    """Be the node: print the address, and serve until standard input ends."""
    transport = Libp2pTransport(listen=(listen,), max_connections=1024, max_connections_per_group=1024)
    async with transport.open(SeedSigner(os.urandom(32)), {ECHO: _echo, HELD: _tell}) as network:
        print(network.addresses[0], flush=True)  # noqa: T201
        await trio.to_thread.run_sync(sys.stdin.read)


async def _talk(network: Network, address: str) -> None:
    with trio.fail_after(60):
        stream = await network.dial(address, ECHO)
        await stream.send_all(b"hello")
        if await stream.receive_some() != b"hello":
            raise RuntimeError("the node answered wrongly")
        await stream.aclose()


async def _ask(address: str) -> dict[str, int]:
    """Ask the node what it holds, over a connection of its own."""
    async with Libp2pTransport(listen=()).open(None, {}) as network:
        with trio.fail_after(60):
            stream = await network.dial(address, HELD)
            answer: dict[str, int] = json.loads(await stream.receive_some())
            await stream.aclose()
    return answer


async def _settled(address: str) -> dict[str, int]:
    """Ask until what ended is gone: closing takes a moment."""
    held = await _ask(address)
    for _ in range(50):
        await trio.sleep(0.2)
        again = await _ask(address)
        if again["tasks"] >= held["tasks"] and again["descriptors"] >= held["descriptors"]:
            break
        held = again
    return held


async def run(address: str, *, connections: int, keys: int, peers: int) -> list[dict[str, Any]]:
    """Return a row for each stage: what was done, how long it took, what the node holds."""
    rows: list[dict[str, Any]] = []
    signers = [SeedSigner(os.urandom(32)) for _ in range(keys)]
    transport = Libp2pTransport(listen=())
    await _ask(address)

    def note(stage: str, started: float, held: dict[str, int]) -> None:
        rows.append({"stage": stage, "seconds": round(time.perf_counter() - started, 1), **held})

    note("at first", time.perf_counter(), await _settled(address))
    for part in range(4):
        started = time.perf_counter()
        for index in range(connections * part // 4, connections * (part + 1) // 4):
            async with transport.open(signers[index % keys], {}) as network:
                await _talk(network, address)
        note(f"after {connections * (part + 1) // 4} connections", started, await _settled(address))
    started = time.perf_counter()
    async with AsyncExitStack() as stack:
        networks = [await stack.enter_async_context(transport.open(None, {})) for _ in range(peers)]
        limiter = trio.CapacityLimiter(20)

        async def talk(network: Network) -> None:
            async with limiter:
                await _talk(network, address)

        for stage in ("connected", "and all talking again"):
            async with trio.open_nursery() as nursery:
                for network in networks:
                    nursery.start_soon(talk, network)
            note(f"with {peers} peers {stage}", started, await _ask(address))
            started = time.perf_counter()
    note("when they have gone", started, await _settled(address))
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    """Start a node and measure it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--connections", type=int, default=1000)
    parser.add_argument("--keys", type=int, default=100)
    parser.add_argument("--peers", type=int, default=300)
    parser.add_argument("--quic", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--serve", metavar="ADDRESS", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.serve:
        trio.run(serve, options.serve)
        return
    listen = "/ip4/127.0.0.1/udp/0/quic-v1" if options.quic else "/ip4/127.0.0.1/tcp/0"
    command = [sys.executable, __file__, "--serve", listen]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as node:
        assert node.stdout is not None
        address = node.stdout.readline().strip()

        async def measure() -> list[dict[str, Any]]:
            return await run(address, connections=options.connections, keys=options.keys, peers=options.peers)

        rows = trio.run(measure)
        node.communicate("")
    if options.json:
        print(json.dumps(rows))  # noqa: T201
        return
    print(f"{'':34} {'s':>7} {'tasks':>6} {'descriptors':>12} {'MiB':>7}")  # noqa: T201
    for row in rows:
        print(  # noqa: T201
            f"{row['stage']:34} {row['seconds']:7} {row['tasks']:6} {row['descriptors']:12} "
            f"{row['memory_kib'] / 1024:7.1f}"
        )


if __name__ == "__main__":
    main()
