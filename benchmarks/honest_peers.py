"""What peers that flood nobody get of a node: requests, transfers and connections, over TCP and QUIC, and their cost.

    python benchmarks/honest_peers.py
    python benchmarks/honest_peers.py --before OTHER/.venv/bin/python    also the node of another checkout, by turns

Node and peer are two processes of one checkout on loopback. Processor time is that of both: on a machine that has
other work it says more than the clock. Medians of `--rounds` rounds; the checkouts take turns within each.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import trio

KINDS = {"tcp": "/ip4/127.0.0.1/tcp/0", "quic": "/ip4/127.0.0.1/udp/0/quic-v1"}
ECHO, SINK, SOURCE = "/benchmark/echo/1.0.0", "/benchmark/sink/1.0.0", "/benchmark/source/1.0.0"
CHUNK = bytes(1 << 16)
CHUNKS = 400
REQUESTS, CONNECTIONS = 300, 30
FIGURES = {
    "request_ms": "request p50, ms",
    "request_cpu_ms": "  processor, ms",
    "up_mb_s": "up, MB/s",
    "up_cpu_s": "  processor, s",
    "down_mb_s": "down, MB/s",
    "down_cpu_s": "  processor, s",
    "connection_ms": "connection p50, ms",
    "connection_cpu_ms": "  processor, ms",
}


async def serve(listen: str) -> None:
    """Be the node: print the address, and serve until standard input ends."""
    from plasm_core.testing.claims import SeedSigner
    from plasm_transport_libp2p.transport import Libp2pTransport

    async def echo(stream: Any) -> None:
        await stream.send_all(await stream.receive_some())

    async def sink(stream: Any) -> None:
        left = CHUNKS * len(CHUNK)
        while left > 0 and (data := await stream.receive_some()):
            left -= len(data)
        await stream.send_all(b"!")

    async def source(stream: Any) -> None:
        await stream.receive_some()
        for _ in range(CHUNKS):
            await stream.send_all(CHUNK)

    transport = Libp2pTransport(listen=(listen,), max_connections=1024)
    handlers = {ECHO: echo, SINK: sink, SOURCE: source}
    async with transport.open(SeedSigner(os.urandom(32)), handlers) as network:
        print(network.addresses[0], flush=True)  # noqa: T201
        await trio.to_thread.run_sync(sys.stdin.read)


async def peer(address: str, node: int) -> dict[str, float]:
    """Be the peer, and return its figures."""
    from plasm_transport_libp2p.transport import Libp2pTransport

    def cpu_s() -> float:
        own = resource.getrusage(resource.RUSAGE_SELF)
        fields = Path(f"/proc/{node}/stat").read_text().rpartition(")")[2].split()
        theirs = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        return own.ru_utime + own.ru_stime + theirs

    figures = {}
    async with Libp2pTransport(listen=()).open(None, {}) as network:
        stream = await network.dial(address, ECHO)
        await stream.send_all(b"x")
        await stream.receive_some()
        await stream.aclose()
        waited, before = [], cpu_s()
        for _ in range(REQUESTS):
            started = time.perf_counter()
            stream = await network.dial(address, ECHO)
            await stream.send_all(bytes(32))
            await stream.receive_some()
            waited.append(time.perf_counter() - started)
            await stream.aclose()
        figures["request_ms"] = 1e3 * statistics.median(waited)
        figures["request_cpu_ms"] = 1e3 * (cpu_s() - before) / REQUESTS

        started, before = time.perf_counter(), cpu_s()
        stream = await network.dial(address, SINK)
        for _ in range(CHUNKS):
            await stream.send_all(CHUNK)
        await stream.receive_some()
        await stream.aclose()
        figures["up_mb_s"] = CHUNKS * len(CHUNK) / 1e6 / (time.perf_counter() - started)
        figures["up_cpu_s"] = cpu_s() - before

        started, before = time.perf_counter(), cpu_s()
        stream = await network.dial(address, SOURCE)
        await stream.send_all(b"x")
        left = CHUNKS * len(CHUNK)
        while left > 0 and (data := await stream.receive_some()):
            left -= len(data)
        await stream.aclose()
        figures["down_mb_s"] = CHUNKS * len(CHUNK) / 1e6 / (time.perf_counter() - started)
        figures["down_cpu_s"] = cpu_s() - before

    waited, before = [], cpu_s()
    for _ in range(CONNECTIONS):
        async with Libp2pTransport(listen=()).open(None, {}) as network:
            started = time.perf_counter()
            stream = await network.dial(address, ECHO)
            await stream.send_all(b"x")
            await stream.receive_some()
            waited.append(time.perf_counter() - started)
            await stream.aclose()
    figures["connection_ms"] = 1e3 * statistics.median(waited)
    figures["connection_cpu_ms"] = 1e3 * (cpu_s() - before) / CONNECTIONS
    return figures


def measure(kind: str) -> dict[str, float]:
    """Start a node and be its peer."""
    command = [sys.executable, __file__, "--serve", KINDS[kind]]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as node:
        assert node.stdout is not None
        address = node.stdout.readline().strip()
        try:
            return trio.run(peer, address, node.pid)
        finally:
            node.kill()


def main() -> None:
    """Run."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--before", metavar="PYTHON", help="the interpreter of another checkout")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--measure", choices=KINDS, help=argparse.SUPPRESS)
    parser.add_argument("--serve", metavar="ADDRESS", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        trio.run(serve, options.serve)
        return
    if options.measure:
        print(json.dumps(measure(options.measure)))  # noqa: T201
        return
    checkouts = (
        {"before": options.before, "after": sys.executable} if options.before else {"": sys.executable}
    )
    seen: dict[tuple[str, str], list[dict[str, float]]] = {}
    for _ in range(options.rounds):
        for kind in KINDS:
            for name, python in checkouts.items():
                done = subprocess.run(
                    [python, __file__, "--measure", kind], capture_output=True, text=True, check=True
                )
                seen.setdefault((kind, name), []).append(json.loads(done.stdout))
    head = "".join(f"{f'{kind} {name}'.strip():>14}" for kind, name in seen)
    print(f"{'':24}{head}{'':6}load {os.getloadavg()[0]:.1f}")  # noqa: T201
    for figure, words in FIGURES.items():
        medians = [statistics.median(row[figure] for row in rows) for rows in seen.values()]
        print(f"{words:24}" + "".join(f"{value:14.2f}" for value in medians))  # noqa: T201


if __name__ == "__main__":
    main()
