"""Flood a node from one network, kind by kind, and time what its own users wait: status questions on the local socket.

    python benchmarks/floods.py                      every kind; prints a table
    python benchmarks/floods.py --kind "yamux pings" --json
    python benchmarks/floods.py --before OTHER/.venv/bin/python    also the node of another checkout, by turns

The flooders run in processes of their own (`--connections` in all), reconnect when they are hung up on, and send as
fast as the node takes it. Each row has the unflooded answer just before, and the load of the machine (the average of
a minute, before the flood), which may have other work. It asks `--asks` questions, or as
many as are answered within 20 s. One that is not answered within 60 s is the last.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import select
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import trio
import trio.lowlevel

KINDS = (
    "yamux no credit",
    "yamux empty data",
    "yamux pings",
    "yamux pongs",
    "yamux frames of no stream",
    "yamux rapid reset",
    "yamux streams beyond the limit",
    "yamux goodbyes",
    "small noise messages",
    "noise handshakes",
    "connections that say junk",
    "multistream junk",
    "identify requests",
    "ping requests",
    "provider records",
    "job heartbeats",
    "job heartbeats of many values",
    "job one-byte chunks",
    "unread windows",
    "quic pings",
    "quic credit",
    "quic rapid reset",
    "quic first packets",
    "local heartbeats",
    "local questions",
)
JOB = "/phase/job/1.0.0"
HEADER = struct.Struct("!BBHII")
DATA, WINDOW, PING, GO_AWAY = range(4)
SYN, ACK, RST = 1, 2, 8


_ASK_S = 20.0
_begun: list[bool] = []


def begun() -> None:
    """Tell the benchmark, once, that this process is about to flood."""
    if not _begun:
        _begun.append(True)
        print("begun", flush=True)  # noqa: T201


def control(kind: str, **fields: Any) -> bytes:
    """Return a control frame of the job protocol."""
    body = json.dumps({"type": kind, **fields}).encode()
    return struct.pack(">IB", 1 + len(body), 0) + body


HEARTBEAT = control("heartbeat")


def frame(kind: int, flags: int, stream: int, length: int, payload: bytes = b"") -> bytes:
    """Return a frame of yamux."""
    return HEADER.pack(0, kind, flags, stream, length) + payload


def rapid(end: bytes) -> Iterator[bytes]:
    """Yield streams that are opened, and `end`ed with the same id."""
    from plasm_transport_libp2p import negotiation

    proposal = negotiation.proposal("/ipfs/id/1.0.0")
    number = 1
    while True:
        batch = bytearray()
        for _ in range(200):
            batch += frame(DATA, SYN, number, len(proposal), proposal)
            batch += frame(WINDOW, RST, number, 0) if end else b""
            number += 2
        yield bytes(batch)


def yamux_frames(kind: str) -> Iterator[bytes]:
    """Yield what a flooder sends on a secured connection, without end."""
    opened = frame(WINDOW, SYN, 1, 1 << 20)
    useless = {
        "yamux no credit": frame(WINDOW, 0, 1, 0),
        "yamux empty data": frame(DATA, 0, 1, 0),
        "yamux pings": frame(PING, SYN, 0, 7),
        "yamux pongs": frame(PING, ACK, 0, 7),
        "yamux frames of no stream": frame(WINDOW, 0, 99, 1),
        "small noise messages": frame(PING, ACK, 0, 7),
    }
    if kind in useless:
        yield opened
        while True:
            yield useless[kind] * (1 if kind == "small noise messages" else 5000)
    if kind == "yamux goodbyes":
        yield frame(GO_AWAY, 0, 0, 0) * 5000
        return
    yield from rapid(frame(WINDOW, RST, 1, 0) if kind == "yamux rapid reset" else b"")


class Raw:
    """A socket as the library's handshake reads it."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self.buffer = b""

    async def read(self, n: int | None = None) -> bytes:
        while len(self.buffer) < (1 if n is None else n):
            more = await self.stream.receive_some(65_536)
            if not more:
                raise EOFError
            self.buffer += more
        data = self.buffer if n is None else self.buffer[:n]
        self.buffer = self.buffer[len(data) :]
        return data

    async def write(self, data: bytes) -> None:
        await self.stream.send_all(data)

    async def close(self) -> None:
        await self.stream.aclose()

    def get_remote_address(self) -> tuple[str, int]:
        host, port, *_ = self.stream.socket.getpeername()
        return host, port


async def flood_raw(address: str, kind: str) -> None:
    """Be one connection of TCP, up to its end."""
    from libp2p.network.connection.raw_connection import RawConnection

    from plasm_transport_libp2p import negotiation
    from plasm_transport_libp2p.connection_upgrader import ConnectionUpgrader
    from plasm_transport_libp2p.identity import key_pair
    from plasm_transport_libp2p.limits import ConnectionLimits

    _, _, host, _, port, *_ = address.split("/")
    async with await trio.open_tcp_stream(host, int(port)) as stream:
        if kind in ("connections that say junk", "noise handshakes"):
            begun()
        if kind == "connections that say junk":
            await stream.send_all(negotiation.proposal("/nothing/1.0.0") + negotiation.message("/x") * 5000)
            return
        connection = RawConnection(Raw(stream), True)  # type: ignore[arg-type]  # has what is used
        secured = await ConnectionUpgrader(key_pair(None), ConnectionLimits()).upgrade_security(
            connection, True
        )
        if kind == "noise handshakes":
            return
        await secured.write(negotiation.proposal("/yamux/1.0.0"))
        await negotiation.confirm(secured, "/yamux/1.0.0")
        async with trio.open_nursery() as nursery:

            async def drain() -> None:
                while await stream.receive_some(65_536):
                    pass
                raise EOFError

            nursery.start_soon(drain)
            begun()
            for data in yamux_frames(kind):
                await secured.write(data)
            await trio.sleep(1)
            nursery.cancel_scope.cancel()


def _provider_record() -> bytes:
    """Return a request to add providers that names 64 with as many addresses as a server takes."""
    from multiaddr import Multiaddr

    from plasm_core.records.peer import PeerId
    from plasm_transport_libp2p import framing
    from plasm_transport_libp2p.kad.contact import Contact
    from plasm_transport_libp2p.kad.message import ADD_PROVIDER, MAX_ADDRESSES, MAX_PEERS, KademliaMessage

    peer = PeerId(os.urandom(32))
    relayed = Multiaddr(f"/ip4/192.0.2.1/tcp/4001/p2p/{peer}/p2p-circuit")
    providers = (Contact(peer, (relayed,) * MAX_ADDRESSES),) * MAX_PEERS
    return framing.encode(KademliaMessage(kind=ADD_PROVIDER, key=b"k", providers=providers).encode())


async def flood_streams(address: str, kind: str) -> None:
    """Be one connection that keeps the muxer's protocol, and misuses what is spoken on its streams."""
    from plasm_transport_libp2p.discovery import DEFAULT_PROTOCOL
    from plasm_transport_libp2p.transport import Libp2pTransport

    protocol, what, streams = {
        "multistream junk": ("/nothing/1.0.0", b"", 16),
        "identify requests": ("/ipfs/id/1.0.0", b"", 32),
        "ping requests": ("/ipfs/ping/1.0.0", bytes(65_536), 32),
        "provider records": (DEFAULT_PROTOCOL, _provider_record(), 16),
        "job heartbeats": (JOB, HEARTBEAT * 2000, 16),
        "job heartbeats of many values": (JOB, control("heartbeat", x=[{}] * 32_000), 16),
        "job one-byte chunks": (JOB, struct.pack(">IBBQ", 11, 1, 1, 0) + b"x", 16),
        "unread windows": ("/ipfs/ping/1.0.0", bytes(65_536), 60),
    }[kind]

    async with Libp2pTransport(listen=()).open(None, {}) as network, trio.open_nursery() as nursery:

        async def one() -> None:
            while True:
                try:
                    try:
                        stream = await network.dial(address, protocol)
                    finally:
                        begun()  # where a dial is refused, dials are the flood
                    if not what:
                        await stream.receive_some()
                        await stream.aclose()
                        continue
                    if kind == "unread windows":
                        while True:
                            await stream.send_all(what)
                    async with trio.open_nursery() as both:

                        async def read(
                            stream: Any = stream, cancel: Callable[[], None] = both.cancel_scope.cancel
                        ) -> None:
                            try:
                                while await stream.receive_some():
                                    pass
                            finally:
                                cancel()

                        both.start_soon(read)
                        while True:
                            await stream.send_all(what)
                except Exception:  # hung up on: again
                    await trio.sleep(0.01)

        for _ in range(streams):
            nursery.start_soon(one)


async def flood_quic(address: str, kind: str) -> None:
    """Be one connection of QUIC that says frames over and over, or only begins connections."""
    from aioquic.quic.configuration import QuicConfiguration
    from aioquic.quic.connection import QuicConnection
    from libp2p.crypto.ed25519 import create_new_key_pair
    from multiaddr import Multiaddr

    from plasm_transport_libp2p.quic.transport import QuicTransport

    _, _, host, _, port, *_ = address.split("/")
    if kind == "quic first packets":
        with socket.socket(type=socket.SOCK_DGRAM) as sock:
            for _ in range(200):
                client = QuicConnection(
                    configuration=QuicConfiguration(is_client=True, alpn_protocols=["libp2p"])
                )
                client.connect((host, int(port)), now=0.0)
                begun()
                for datagram, _remote in client.datagrams_to_send(now=0.0):
                    sock.sendto(datagram, (host, int(port)))
                await trio.lowlevel.checkpoint()
        return
    async with trio.open_nursery() as nursery:
        transport = QuicTransport(create_new_key_pair().private_key)
        transport.set_background_nursery(nursery)
        connection = await transport.dial(Multiaddr(address))
        protocol: Any = connection._protocol
        sent = 0

        def write(builder: Any, space: Any) -> None:
            room = builder.remaining_flight_space - 40
            if room < 200:
                return
            buffer = builder.start_frame(0x01, capacity=room)
            junk = (
                bytes([0x01])
                if kind == "quic pings"
                else bytes([0x10]) + struct.pack("!Q", (3 << 62) | 1 << 40)
            )
            buffer.push_bytes(junk * ((room - 20) // len(junk)))

        if kind != "quic rapid reset":
            protocol._write_connection_limits = write
        begun()
        while connection.is_established:
            if kind == "quic rapid reset":
                try:
                    with trio.fail_after(1):
                        stream = await connection.open_stream()
                    await stream.write(b"x")
                    await stream.reset()
                except Exception:
                    break
            else:
                protocol.send_ping(sent)
            connection._endpoint.flush_soon(connection)
            sent += 1
            await trio.sleep(0 if sent % 16 else 0.001)
        await transport.close()
        nursery.cancel_scope.cancel()


async def flood_local(path: str, kind: str) -> None:
    """Be one connection of a local user."""
    async with await trio.open_unix_socket(path) as stream:
        await stream.send_all(JOB.encode() + b"\n")
        begun()
        if kind == "local questions":
            await stream.send_all(control("capabilities"))
            while await stream.receive_some(65_536):
                pass
            return
        while True:
            await stream.send_all(HEARTBEAT * 2000)


async def flooder(address: str, path: str, kind: str, connections: int) -> None:
    """Flood over so many connections, made again whenever they end."""
    if kind.startswith("local"):
        flood: Callable[[str, str], Awaitable[None]] = flood_local
    elif kind.startswith("quic"):
        flood = flood_quic
    elif kind.startswith(("yamux", "noise", "small", "connections")):
        flood = flood_raw
    else:
        flood = flood_streams
    target = path if kind.startswith("local") else address

    async def again() -> None:
        while True:
            try:
                await flood(target, kind)
            except Exception:  # hung up on, which is what the node is to do
                await trio.sleep(0.02)

    async with trio.open_nursery() as nursery:
        for _ in range(connections):
            nursery.start_soon(again)


def ask(path: str, count: int) -> list[float]:
    """Ask for the node's capabilities over its socket so often, or for as long as `_ASK_S`.

    Returns milliseconds, infinite without an answer.
    """
    waited = []
    until = time.monotonic() + _ASK_S
    for _ in range(count):
        if time.monotonic() > until:
            break
        started = time.monotonic()
        try:
            answered = ask_once(path)
        except OSError:
            answered = False
        if not answered:
            return [*waited, math.inf]
        waited.append(1000 * (time.monotonic() - started))
        time.sleep(0.02)
    return waited


def ask_once(path: str) -> bool:
    """Ask one question. Return whether it was answered."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(60)
        sock.connect(path)
        sock.sendall(JOB.encode() + b"\n" + control("capabilities"))
        received = b""
        while b"envelope" not in received:
            more = sock.recv(65_536)
            if not more:
                return False
            received += more
    return True


def wait_begun(process: subprocess.Popen[bytes]) -> None:
    """Wait until a process floods. Raises: RuntimeError if it does not within a minute."""
    assert process.stdout is not None
    readable, _, _ = select.select([process.stdout], [], [], 60)
    if not readable or not process.stdout.readline():
        raise RuntimeError("a flooder did not begin")


def used_s(pid: int) -> float:
    """Return the processor time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_mib(pid: int) -> float:
    """Return the resident set of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


def measure(kind: str, connections: int, asks: int, python: str) -> dict[str, Any]:
    """Run a node by an interpreter, flood it in one way, and return what its users waited."""
    load = os.getloadavg()[0]
    listen = f"/ip4/127.0.0.1/{'udp/0/quic-v1' if kind.startswith('quic') else 'tcp/0'}"
    with tempfile.TemporaryDirectory() as directory:
        path, log = f"{directory}/s", Path(directory, "log")
        settings = [
            f"transport.local.socket={json.dumps(path)}",
            f"transport.libp2p.listen={json.dumps([listen])}",
            "discovery.kademlia.allow_private=true",
            "discovery.kademlia.map_ports=false",
        ]
        environ = {
            **os.environ,
            **{f"XDG_{name}_HOME": directory for name in ("CONFIG", "STATE", "CACHE", "DATA")},
            "HOME": directory,
        }
        arguments = [item for setting in settings for item in ("--set", setting)]
        command = [python, "-m", "plasm_core.daemon", "--lend", "--transport", "libp2p", *arguments]
        with log.open("wb") as output:
            daemon = subprocess.Popen(command, env=environ, stdout=output, stderr=output, cwd=directory)
        flooders: list[subprocess.Popen[bytes]] = []
        try:
            until = time.monotonic() + 60
            while "/p2p/" not in log.read_text() or not Path(path).exists():
                if daemon.poll() is not None or time.monotonic() > until:
                    raise RuntimeError(log.read_text())
                time.sleep(0.05)
            address = next(word for word in log.read_text().replace(",", " ").split() if "/p2p/" in word)
            address = address[address.index("/ip4") :].strip("'\"]")
            idle, rss = ask(path, asks), resident_mib(daemon.pid)
            share = [connections // 2, connections - connections // 2]
            for number in filter(None, share):
                me = [sys.executable, __file__, "--flood", address, path, "--kind", kind]
                command = [*me, "--connections", str(number)]
                flooders.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL))
            for process in flooders:
                wait_begun(process)
            time.sleep(1)
            started, before = time.monotonic(), used_s(daemon.pid)
            waited = ask(path, asks)
            core = (used_s(daemon.pid) - before) / (time.monotonic() - started)
            held = resident_mib(daemon.pid) - rss
        finally:
            for process in (*flooders, daemon):
                process.kill()
                process.wait()
    return {
        "kind": kind,
        "load": round(load, 1),
        "idle_ms": [round(statistics.median(idle), 1), round(max(idle), 1)],
        "flooded_ms": [round(statistics.median(waited), 1), round(max(waited), 1)],
        "daemon_cores": round(core, 2),
        "more_mib": round(held, 1),
    }


def main() -> None:
    """Run."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--kind", action="append", choices=KINDS)
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--asks", type=int, default=40)
    parser.add_argument("--before", metavar="PYTHON", help="the interpreter of another checkout")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--flood", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.flood:
        trio.run(flooder, *options.flood, options.kind[0], options.connections)
        return
    nodes = {"before": options.before, "after": sys.executable} if options.before else {"": sys.executable}
    if not options.json:
        print(f"{'':40}{'load':>6}{'idle ms':>16}{'flooded ms':>20}{'cores':>8}{'MiB':>8}")  # noqa: T201
    for kind in options.kind or KINDS:
        for node, python in nodes.items():
            row = measure(kind, options.connections, options.asks, python)
            if options.json:
                print(json.dumps({"node": node, **row}), flush=True)  # noqa: T201
                continue
            idle, flooded = ("/".join(map(str, row[name])) for name in ("idle_ms", "flooded_ms"))
            numbers = f"{row['load']:>6}{idle:>16}{flooded:>20}{row['daemon_cores']:>8}{row['more_mib']:>8}"
            print(f"{kind:32}{node:8}{numbers}", flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
