"""How fast a module of 50 MB reaches a daemon, beside a bare py-libp2p stream: `python benchmarks/module_upload.py`.

bare py-libp2p   the library's own TCP, Noise and yamux, as it comes: bytes that are read and thrown away
bare transport   the same over this project's transport
plasmd           the job protocol with its credit, from `offered` until the node has read, hashed and stored the
                 module; and with the question whether it is there already, which the client asks first

Rows take turns, round by round, each with a process of its own at the other side; rates are medians. The exit code is
1 if a module crosses TCP at less than half the rate of the bare py-libp2p stream.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import os
import platform
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import trio
from libp2p import new_host
from libp2p.abc import IHost
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.crypto.x25519 import create_new_key_pair as create_noise_key_pair
from libp2p.custom_types import TProtocol
from libp2p.peer.peerinfo import info_from_p2p_addr
from libp2p.security.noise.transport import Transport as Noise
from libp2p.stream_muxer.yamux import yamux
from multiaddr import Multiaddr

ROOT = Path(__file__).resolve().parents[1]
for folder in (ROOT, ROOT / "plugins/transport_libp2p"):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))

from plasm_core.client import Submission, session  # noqa: E402
from plasm_core.client.connection import open_link  # noqa: E402
from plasm_core.plugins.interfaces import Stream  # noqa: E402
from plasm_core.protocol import JOB_PROTOCOL  # noqa: E402
from plasm_core.records import Limits  # noqa: E402
from plasm_transport_libp2p.transport import Libp2pTransport  # noqa: E402
from tests.network.conftest import LABORATORY  # noqa: E402
from tests.support.daemon import Daemon  # noqa: E402
from tests.support.large import heavy  # noqa: E402
from tests.support.wat import padded  # noqa: E402

RESULTS = ROOT / "benchmarks/results/module-upload.txt"
SINK = "/benchmark/sink/1.0.0"
LISTEN = {"TCP": "/ip4/127.0.0.1/tcp/0", "QUIC": "/ip4/127.0.0.1/udp/0/quic-v1"}
CHUNK_BYTES = 1 << 16
TIMEOUT_S = 120
WORTH = 0.5
LIMITS = Limits(gas=10**12, memory_bytes=256 << 20, output_bytes=1 << 10)

Transfer = Callable[[str, bytes], Awaitable[float]]
"""Carry bytes to an address, and return how many seconds that took."""


def library_host() -> IHost:
    """Return a host of the library's own, that speaks nothing in the clear."""
    keys = create_new_key_pair()
    noise = Noise(keys, noise_privkey=create_noise_key_pair().private_key)
    return new_host(key_pair=keys, sec_opt={"/noise": noise}, muxer_opt={yamux.PROTOCOL_ID: yamux.Yamux})  # type: ignore[dict-item]


async def serve_library(size: int) -> None:
    """Take bytes over the library's own stack, until standard input ends."""
    host = library_host()

    async def sink(stream: object) -> None:
        left = size
        while left:
            left -= len(await stream.read(min(left, CHUNK_BYTES)))  # type: ignore[attr-defined]
        await stream.write(b"!")  # type: ignore[attr-defined]
        await stream.close()  # type: ignore[attr-defined]

    async with host.run([Multiaddr(LISTEN["TCP"])]):
        host.set_stream_handler(TProtocol(SINK), sink)  # type: ignore[arg-type]
        print(host.get_addrs()[0], flush=True)  # noqa: T201
        await trio.to_thread.run_sync(sys.stdin.read, abandon_on_cancel=True)
        os._exit(0)


async def serve_transport(size: int, carrier: str) -> None:
    """Take bytes over this project's transport, until standard input ends."""

    async def sink(stream: Stream) -> None:
        left = size
        while left:
            left -= len(await stream.receive_some(min(left, CHUNK_BYTES)))
        await stream.send_all(b"!")
        await stream.aclose()

    async with Libp2pTransport(listen=(LISTEN[carrier],)).open(None, {SINK: sink}) as network:
        print(network.addresses[0], flush=True)  # noqa: T201
        await trio.to_thread.run_sync(sys.stdin.read)


async def over_library(address: str, data: bytes) -> float:
    """Send bytes over the library's own stack."""
    host = library_host()
    async with host.run([]):
        peer = info_from_p2p_addr(Multiaddr(address))
        await host.connect(peer)
        stream = await host.new_stream(peer.peer_id, [TProtocol(SINK)])
        began = time.perf_counter()
        for offset in range(0, len(data), CHUNK_BYTES):
            await stream.write(data[offset : offset + CHUNK_BYTES])
        await stream.read(1)
        took = time.perf_counter() - began
        await host.close()
    return took


async def over_transport(address: str, data: bytes) -> float:
    """Send bytes over this project's transport."""
    async with Libp2pTransport(listen=()).open(None, {}) as network:
        stream = await network.dial(address, SINK)
        began = time.perf_counter()
        for offset in range(0, len(data), CHUNK_BYTES):
            await stream.send_all(data[offset : offset + CHUNK_BYTES])
        await stream.receive_some(1)
        took = time.perf_counter() - began
        await stream.aclose()
    return took


async def as_job(address: str, data: bytes) -> float:
    """Hand a module in, whose bytes the daemon has not had before."""
    moments: dict[str, float] = {}

    def watch(phase: str, _status: object) -> None:
        moments.setdefault(phase, time.perf_counter())

    with Submission.of(padded(data, 0) + b"\0\x12\x01n" + secrets.token_bytes(16), limits=LIMITS) as job:
        async with (
            Libp2pTransport(listen=()).open(None, {}) as network,
            open_link(await network.dial(address, JOB_PROTOCOL)) as link,
        ):
            await session.submit(link, job, await session.greeted(link), follow=False, watch=watch)
    return moments["checking"] - moments["uploading"]


@contextlib.contextmanager
def serving(*arguments: str) -> Iterator[str]:
    """Have a process take bytes, and yield where."""
    command = [sys.executable, __file__, *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.communicate("")


@contextlib.contextmanager
def daemon(carrier: str) -> Iterator[str]:
    """Have a daemon that lends, and yield where."""
    listen = ("--transport", "libp2p", "--set", f'transport.libp2p.listen=["{LISTEN[carrier]}"]')
    with (
        tempfile.TemporaryDirectory() as home,
        Daemon(
            Path(home), *listen, *LABORATORY, "--lend", "--set", "clients.upload_bytes_per_hour=0"
        ) as made,
    ):
        made.start(until=" ready peer=")
        line = next(
            text for text in made.log.read_text().splitlines() if "listening transport=libp2p" in text
        )
        yield line.partition("addresses=")[2].split(",")[0]
        assert made.terminate() == 0


@contextlib.asynccontextmanager
async def rows(size: int) -> AsyncIterator[dict[str, tuple[Transfer, str]]]:
    """Start all that takes bytes, and yield by name how it is sent there."""
    with contextlib.ExitStack() as stack:
        found = {"bare py-libp2p, TCP": (over_library, stack.enter_context(serving("--library", str(size))))}
        for carrier in LISTEN:
            address = stack.enter_context(serving("--carrier", carrier, str(size)))
            found[f"bare transport, {carrier}"] = over_transport, address
            found[f"plasmd, {carrier}"] = as_job, stack.enter_context(daemon(carrier))
        yield found  # type: ignore[misc]


async def measure(module: bytes, rounds: int) -> dict[str, float]:
    """Return each row's median rate, in MB/s."""
    rates: dict[str, list[float]] = {}
    async with rows(len(module)) as found:
        for _ in range(rounds):
            for name, (transfer, address) in found.items():
                with trio.fail_after(TIMEOUT_S):
                    took = await transfer(address, module)
                rates.setdefault(name, []).append(len(module) / took / 1e6)
    return {name: statistics.median(values) for name, values in rates.items()}


def main() -> int:
    """Run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--mib", type=int, default=48, help="the module's size; 48 MiB are 50 MB")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--library", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--carrier", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.library:
        trio.run(serve_library, options.library)
    if options.carrier:
        trio.run(serve_transport, int(options.carrier[1]), options.carrier[0])
        return 0
    module = heavy(options.mib << 20)
    rates = trio.run(measure, module, options.rounds)
    bare = rates["bare py-libp2p, TCP"]
    lines = [
        f"{datetime.datetime.now(datetime.timezone.utc):%Y-%m-%d}  {platform.platform()}  Python {platform.python_version()}",
        f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f} at the end",
        f"a module of {len(module)} bytes, medians of {options.rounds} rounds by turns; client and node are two processes on loopback",
        "",
        f"{'':24}{'MB/s':>8}  ÷ bare py-libp2p",
        *(f"{name:24}{rate:>8.1f}  {rate / bare:>6.2f}" for name, rate in rates.items()),
    ]
    text = "\n".join(lines) + "\n"
    sys.stdout.write(text)
    RESULTS.write_text(text)
    return 0 if rates["plasmd, TCP"] >= WORTH * bare else 1


if __name__ == "__main__":
    sys.exit(main())
