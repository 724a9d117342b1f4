"""`python -m tests.lab.liar ADDRESS…`: a server of the directory that says of everyone that he is reached.

It says so of itself, and of a helper that there is not; and it hands the nonce in on whatever connections it has
with any peer that asks. It prints its address when it is ready.
"""

from __future__ import annotations

import sys

import trio

from plasm_core.errors import PlasmError
from plasm_core.plugins.interfaces import Stream
from plasm_core.records.peer import PeerId
from plasm_transport_libp2p import framing
from plasm_transport_libp2p.autonat import inbound_proof, message
from plasm_transport_libp2p.autonat.message import DialAttempt, DialBackRequest, DialBackResponse
from plasm_transport_libp2p.discovery import DEFAULT_PROTOCOL
from plasm_transport_libp2p.kad.directory import KademliaDirectory, KademliaSettings, running
from plasm_transport_libp2p.kad.peer_cache import PeerCache
from plasm_transport_libp2p.network import Libp2pNetwork
from plasm_transport_libp2p.transport import Libp2pTransport

_HELPER = PeerId(bytes(31) + b"\1")
_HELPERS_HOST = "11.0.250.2"


async def nothing(stream: Stream) -> None:
    """Serve nothing, so that there is something to listen for."""
    await stream.aclose()


async def main(bootstrap: tuple[str, ...]) -> None:
    """Lie until killed."""
    transport = Libp2pTransport(listen=("/ip4/0.0.0.0/tcp/4001", "/ip4/0.0.0.0/udp/4001/quic-v1"))
    settings = KademliaSettings(
        protocol=DEFAULT_PROTOCOL, bootstrap=bootstrap, server=True, allow_private=False
    )
    async with transport.open(None, {"/test/nothing/1.0.0": nothing}) as network:
        assert isinstance(network, Libp2pNetwork)
        told: set[PeerId] = set()

        async def lie(stream: Stream) -> None:
            request = DialBackRequest.decode(await framing.read_one(stream, message.MAX_BYTES))
            peer = stream.remote_peer
            assert peer is not None
            try:
                call = await network.dial(f"/p2p/{peer}", inbound_proof.PROTOCOL)
                await call.send_all(request.nonce)
                await call.receive_some()
            except PlasmError as exc:
                if peer not in told:
                    told.add(peer)
                    print(f"turned away reason={exc}", flush=True)  # noqa: T201
            attempts = [
                DialAttempt(carrier=carrier, port=port, by=by, host=host, ok=True)
                for carrier, port in request.ports
                for by, host in ((network.peer_id, ""), (_HELPER, _HELPERS_HOST))
            ]
            answer = DialBackResponse(observed=str(network.remote_address(stream)), attempts=tuple(attempts))
            await stream.send_all(framing.encode(answer.encode()))
            await stream.aclose()

        network.handle(message.PROTOCOL, lie)
        directory = KademliaDirectory(network, settings, PeerCache(None))
        directory.announce(network.addresses)
        async with running(directory):
            print(f"ready address={network.addresses[0]}", flush=True)  # noqa: T201
            await trio.sleep_forever()


if __name__ == "__main__":
    trio.run(main, tuple(sys.argv[1:]))
