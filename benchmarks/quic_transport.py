"""Compare the QUIC transport with aioquic's own asyncio loop: `python benchmarks/quic_transport.py`.

Client and server are two processes on loopback. Each round takes the rows' requests by turns in short batches, then
one row's transfers after the other's, so that what else the machine does hits all alike; medians are shown and
written to benchmarks/results/quic-transport.txt. The exit code is 1 if a transfer is slower than aioquic's.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import datetime
import os
import platform
import ssl
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import attrs
import psutil
import trio
from aioquic.asyncio.client import connect
from aioquic.asyncio.server import serve
from aioquic.quic.configuration import QuicConfiguration
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.stream_muxer.exceptions import MuxedConnUnavailable, MuxedStreamEOF, MuxedStreamReset
from multiaddr import Multiaddr

ROOT = Path(__file__).resolve().parents[1]
for folder in (ROOT, ROOT / "plugins/transport_libp2p"):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))

from plasm_transport_libp2p.quic import QuicLimits, QuicTransport  # noqa: E402
from plasm_transport_libp2p.quic.connection import QuicMuxedConnection  # noqa: E402
from plasm_transport_libp2p.quic.identity import TlsIdentity  # noqa: E402
from plasm_transport_libp2p.quic.stream import QuicMuxedStream  # noqa: E402

RESULTS = ROOT / "benchmarks/results/quic-transport.txt"
CHUNK = bytes(1 << 16)
REQUEST = bytes(32)
BATCH = 50
UP, DOWN, PING = b"U", b"D", b"P"


@attrs.frozen(kw_only=True)
class Transfers:
    """What one round shows of one row's transfers."""

    up_mb_s: float
    down_mb_s: float
    cpu_s: float
    """Processor time of both processes for the two."""


@attrs.define(kw_only=True)
class Measured:
    """What all rounds show of one row."""

    requests_s: list[float] = attrs.field(factory=list)
    transfers: list[Transfers] = attrs.field(factory=list)

    def medians(self) -> tuple[float, float, float, float]:
        """Return a request in milliseconds, MB/s up and down, and seconds of processor time."""
        return (
            statistics.median(self.requests_s) * 1e3,
            statistics.median(one.up_mb_s for one in self.transfers),
            statistics.median(one.down_mb_s for one in self.transfers),
            statistics.median(one.cpu_s for one in self.transfers),
        )


@attrs.frozen(kw_only=True)
class Row:
    """A client and a server of one make."""

    name: str
    kind: str
    datagram_bytes: int


ROWS = (
    Row(name="aioquic on asyncio, as it comes (1200 B)", kind="raw", datagram_bytes=1200),
    Row(name="aioquic on asyncio, 1350 B", kind="raw", datagram_bytes=1350),
    Row(name="this transport, 1200 B", kind="own", datagram_bytes=1200),
    Row(name="this transport, as it comes (1350 B)", kind="own", datagram_bytes=1350),
    Row(name="this transport, 1452 B", kind="own", datagram_bytes=1452),
)
BASELINE, COMPARED = ROWS[0], ROWS[3]


def raw_configuration(datagram_bytes: int, *, is_client: bool) -> QuicConfiguration:
    configuration = QuicConfiguration(
        is_client=is_client,
        alpn_protocols=["bench"],
        max_datagram_size=datagram_bytes,
        verify_mode=ssl.CERT_NONE,
    )
    if not is_client:
        made = TlsIdentity(create_new_key_pair().private_key, QuicLimits()).configuration(is_client=False)
        configuration.certificate, configuration.private_key = made.certificate, made.private_key
    return configuration


async def serve_raw(datagram_bytes: int, size: int) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        kind = await reader.readexactly(1)
        if kind == UP:
            total = 0
            while data := await reader.read(1 << 16):
                total += len(data)
            writer.write(b"%d" % total)
        elif kind == DOWN:
            for _ in range(size // len(CHUNK)):
                writer.write(CHUNK)
                await writer.drain()
        else:
            writer.write(await reader.readexactly(len(REQUEST)))
        writer.write_eof()

    tasks: set[asyncio.Task[None]] = set()

    def on_stream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(answer(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    configuration = raw_configuration(datagram_bytes, is_client=False)
    server = await serve("127.0.0.1", 0, configuration=configuration, stream_handler=on_stream)
    transport: Any = server._transport  # aioquic says nowhere else which port it got
    tell(str(transport.get_extra_info("sockname")[1]))
    await asyncio.Event().wait()


async def requests_raw(port: str, datagram_bytes: int, count: int) -> list[float]:
    configuration = raw_configuration(datagram_bytes, is_client=True)
    latencies = []
    async with connect("127.0.0.1", int(port), configuration=configuration) as client:
        for _ in range(count):
            started = time.perf_counter()
            reader, writer = await client.create_stream()
            writer.write(PING + REQUEST)
            writer.write_eof()
            check(await reader.read(-1), REQUEST)
            latencies.append(time.perf_counter() - started)
    return latencies


async def transfers_raw(port: str, datagram_bytes: int, size: int) -> tuple[float, float]:
    configuration = raw_configuration(datagram_bytes, is_client=True)
    async with connect("127.0.0.1", int(port), configuration=configuration) as client:
        started = time.perf_counter()
        reader, writer = await client.create_stream()
        writer.write(UP)
        for _ in range(size // len(CHUNK)):
            writer.write(CHUNK)
            await writer.drain()
        writer.write_eof()
        check(await reader.read(-1), b"%d" % size)
        up_s = time.perf_counter() - started
        started = time.perf_counter()
        reader, writer = await client.create_stream()
        writer.write(DOWN)
        writer.write_eof()
        received = 0
        while data := await reader.read(1 << 16):
            received += len(data)
        check(received, size)
        return up_s, time.perf_counter() - started


async def read_all(stream: QuicMuxedStream) -> bytes:
    received = bytearray()
    with contextlib.suppress(MuxedStreamEOF):
        while True:
            received += await stream.read(1 << 16)
    return bytes(received)


async def count_all(stream: QuicMuxedStream) -> int:
    total = 0
    with contextlib.suppress(MuxedStreamEOF):
        while True:
            total += len(await stream.read(1 << 16))
    return total


async def serve_own(datagram_bytes: int, size: int) -> None:
    async def answer(stream: QuicMuxedStream) -> None:
        with contextlib.suppress(MuxedStreamReset):
            async with stream:
                kind = await stream.read(1)
                if kind == UP:
                    await stream.write(b"%d" % await count_all(stream))
                elif kind == DOWN:
                    for _ in range(size // len(CHUNK)):
                        await stream.write(CHUNK)
                else:
                    await stream.write(await read_all(stream))

    async def handle(connection: Any) -> None:  # py-libp2p's type for it is that of its own transport
        async with trio.open_nursery() as streams:
            with contextlib.suppress(MuxedConnUnavailable):
                while True:
                    streams.start_soon(answer, await connection.accept_stream())

    key = create_new_key_pair().private_key
    transport = QuicTransport(key, limits=QuicLimits(datagram_bytes=datagram_bytes))
    async with trio.open_nursery() as nursery:
        transport.set_background_nursery(nursery)
        listener = transport.create_listener(handle)
        await listener.listen(Multiaddr("/ip4/127.0.0.1/udp/0/quic-v1"))
        peer = TlsIdentity(key, QuicLimits()).peer_id
        tell(f"{listener.get_addrs()[0]}/p2p/{peer}")


@contextlib.asynccontextmanager
async def connected(address: str, datagram_bytes: int) -> AsyncIterator[QuicMuxedConnection]:
    limits = QuicLimits(datagram_bytes=datagram_bytes)
    transport = QuicTransport(create_new_key_pair().private_key, limits=limits)
    async with trio.open_nursery() as nursery:
        transport.set_background_nursery(nursery)
        connection = await transport.dial(Multiaddr(address))
        yield connection
        await connection.close()
        nursery.cancel_scope.cancel()


async def requests_own(address: str, datagram_bytes: int, count: int) -> list[float]:
    latencies = []
    async with connected(address, datagram_bytes) as connection:
        for _ in range(count):
            started = time.perf_counter()
            async with await connection.open_stream() as stream:
                await stream.write(PING + REQUEST)
                await stream.close_write()
                check(await read_all(stream), REQUEST)
            latencies.append(time.perf_counter() - started)
    return latencies


async def transfers_own(address: str, datagram_bytes: int, size: int) -> tuple[float, float]:
    async with connected(address, datagram_bytes) as connection:
        started = time.perf_counter()
        async with await connection.open_stream() as stream:
            await stream.write(UP)
            for _ in range(size // len(CHUNK)):
                await stream.write(CHUNK)
            await stream.close_write()
            check(await read_all(stream), b"%d" % size)
        up_s = time.perf_counter() - started
        started = time.perf_counter()
        async with await connection.open_stream() as stream:
            await stream.write(DOWN)
            await stream.close_write()
            check(await count_all(stream), size)
        return up_s, time.perf_counter() - started


def check(got: object, wanted: object) -> None:
    if got != wanted:
        raise SystemExit(f"got {got!r} instead of {wanted!r}")


def tell(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


@contextlib.contextmanager
def server(row: Row, size: int) -> Iterator[tuple[str, psutil.Process]]:
    command = [sys.executable, __file__, "--serve", row.kind, "--datagram", str(row.datagram_bytes)]
    with subprocess.Popen([*command, "--bytes", str(size)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip(), psutil.Process(process.pid)
        finally:
            process.kill()


def requests(row: Row, address: str, count: int) -> list[float]:
    if row.kind == "raw":
        return asyncio.run(requests_raw(address, row.datagram_bytes, count))
    return trio.run(requests_own, address, row.datagram_bytes, count)


def transfers(row: Row, address: str, process: psutil.Process, size: int) -> Transfers:
    both = (process, psutil.Process())
    before = sum(cpu_s(one) for one in both)
    if row.kind == "raw":
        up_s, down_s = asyncio.run(transfers_raw(address, row.datagram_bytes, size))
    else:
        up_s, down_s = trio.run(transfers_own, address, row.datagram_bytes, size)
    return Transfers(
        up_mb_s=size / 1e6 / up_s,
        down_mb_s=size / 1e6 / down_s,
        cpu_s=sum(cpu_s(one) for one in both) - before,
    )


def measure_round(measured: dict[Row, Measured], size: int, count: int) -> None:
    with contextlib.ExitStack() as stack:
        servers = {row: stack.enter_context(server(row, size)) for row in measured}
        for _ in range(count // BATCH):
            for row, (address, _process) in servers.items():
                measured[row].requests_s += requests(row, address, BATCH)
        for row, (address, process) in servers.items():
            measured[row].transfers.append(transfers(row, address, process, size))


def cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def render(measured: dict[Row, Measured], size: int) -> tuple[str, bool]:
    medians = {row: one.medians() for row, one in measured.items()}
    base, own = medians[BASELINE], medians[COMPARED]
    ratios = (base[0] / own[0], own[1] / base[1], own[2] / base[2], base[3] / own[3])
    lines = [
        f"{datetime.datetime.now(datetime.timezone.utc):%Y-%m-%d}  {platform.platform()}  "
        f"Python {platform.python_version()}  aioquic {version('aioquic')}",
        f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f} at the end",
        f"medians of {len(measured[BASELINE].requests_s)} requests of 32 bytes on streams of their own, and of "
        f"{len(measured[BASELINE].transfers)} transfers of {size / 1e6:.1f} MB each way;",
        "two processes on loopback; processor time is that of both, for a transfer each way",
        "",
        f"{'':42}{'request p50':>12}{'up':>12}{'down':>12}{'processor':>12}",
    ]
    lines += [
        f"{row.name:42}{ms:>9.2f} ms{up:>7.1f} MB/s{down:>7.1f} MB/s{cpu:>10.2f} s"
        for row, (ms, up, down, cpu) in medians.items()
    ]
    lines += [
        "",
        f"{'as it comes / aioquic as it comes':42}" + "".join(f"{ratio:>10.1f} x" for ratio in ratios),
    ]
    return "\n".join(lines) + "\n", min(ratios[1:3]) >= 1


def main() -> int:
    parser = argparse.ArgumentParser(description="Compare the QUIC transport with raw aioquic.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=500)
    parser.add_argument("--bytes", type=int, default=763 * len(CHUNK), help="of a transfer; 50 MB")
    parser.add_argument("--serve", choices=["raw", "own"], help=argparse.SUPPRESS)
    parser.add_argument("--datagram", type=int, default=1200, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve == "raw":
        asyncio.run(serve_raw(arguments.datagram, arguments.bytes))
    elif arguments.serve == "own":
        trio.run(serve_own, arguments.datagram, arguments.bytes)
    measured = {row: Measured() for row in ROWS}
    for _ in range(arguments.rounds):
        measure_round(measured, arguments.bytes, arguments.requests)
    text, faster = render(measured, arguments.bytes)
    tell(text)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(text)
    return 0 if faster else 1


if __name__ == "__main__":
    sys.exit(main())
