"""Run several py-libp2p hosts that form one Kademlia table, until standard input ends.

Prints one JSON object: the hosts' addresses, the dead provider's and the key that is provided.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

import trio
from libp2p import new_host
from libp2p.abc import IHost, INetStream
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.crypto.x25519 import create_new_key_pair as create_x25519
from libp2p.custom_types import TProtocol
from libp2p.kad_dht import common, kad_dht, peer_routing, provider_store, value_store
from libp2p.kad_dht.kad_dht import DHTMode, KadDHT
from libp2p.peer.peerinfo import info_from_p2p_addr
from libp2p.security.noise.transport import PROTOCOL_ID as NOISE
from libp2p.security.noise.transport import Transport as Noise
from libp2p.stream_muxer.yamux.yamux import PROTOCOL_ID as YAMUX
from libp2p.stream_muxer.yamux.yamux import Yamux
from libp2p.tools.anyio_service import background_trio_service
from multiaddr import Multiaddr

KADEMLIA = TProtocol("/phase/kad/1.0.0")
KEY = b"\x12\x20" + hashlib.sha256(b"what the last host provides").digest()


async def read_exactly(stream: INetStream, count: int) -> bytes:
    data = bytearray()
    while len(data) < count:
        part = await stream.read(min(count - len(data), 1 << 20))
        if not part:
            raise EOFError
        data += part
    return bytes(data)


async def echo(stream: INetStream) -> None:
    size = int.from_bytes(await read_exactly(stream, 8), "big")
    while size:
        part = await stream.read(min(size, 1 << 16))
        await stream.write(part)
        size -= len(part)


async def sink(stream: INetStream) -> None:
    size = int.from_bytes(await read_exactly(stream, 8), "big")
    digest = hashlib.sha256()
    while size:
        part = await stream.read(min(size, 1 << 20))
        digest.update(part)
        size -= len(part)
    await stream.write(digest.digest())


async def source(stream: INetStream) -> None:
    size = int.from_bytes(await read_exactly(stream, 8), "big")
    for start in range(0, size, 1 << 18):
        await stream.write(bytes(min(size - start, 1 << 18)))


def ended(handler: Callable[[INetStream], Awaitable[None]]) -> Callable[[INetStream], Awaitable[None]]:
    async def handle(stream: INetStream) -> None:
        try:
            await handler(stream)
            await stream.close()
        except Exception:
            await stream.reset()

    return handle


async def start(stack: AsyncExitStack) -> IHost:
    pair = create_new_key_pair()
    host = new_host(
        key_pair=pair,
        sec_opt={NOISE: Noise(pair, noise_privkey=create_x25519().private_key)},
        muxer_opt={TProtocol(YAMUX): Yamux},
    )
    await stack.enter_async_context(host.run(listen_addrs=[Multiaddr("/ip4/127.0.0.1/tcp/0")]))
    for name, handler in {"echo": echo, "sink": sink, "source": source}.items():
        host.set_stream_handler(TProtocol(f"/test/{name}/1.0.0"), ended(handler))
    return host


async def serve(count: int) -> None:
    for module in (common, kad_dht, peer_routing, provider_store, value_store):
        module.PROTOCOL_ID = KADEMLIA  # type: ignore[attr-defined]
    async with AsyncExitStack() as stack:
        hosts: list[IHost] = []
        tables: list[KadDHT] = []
        for _ in range(count):
            host = await start(stack)
            table = KadDHT(host, DHTMode.SERVER)
            await stack.enter_async_context(background_trio_service(table))
            if hosts:
                neighbour = hosts[-1]
                await host.connect(info_from_p2p_addr(neighbour.get_addrs()[0]))
                await table.add_peer(neighbour.get_id(), skip_server_mode_check=True)
                await tables[-1].add_peer(host.get_id(), skip_server_mode_check=True)
            hosts.append(host)
            tables.append(table)
        await tables[-1].provide(KEY.hex())
        addresses = [str(host.get_addrs()[0]) for host in hosts]
        sys.stdout.write(json.dumps({"addresses": addresses, "key": KEY.hex()}) + "\n")
        sys.stdout.flush()
        await trio.to_thread.run_sync(sys.stdin.read, abandon_on_cancel=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hosts", type=int, default=1)
    trio.run(serve, parser.parse_args().hosts)


if __name__ == "__main__":
    main()
