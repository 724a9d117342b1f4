"""Identify, `/ipfs/id/1.0.0` (libp2p specification, "identify").

py-libp2p asks every peer that connects and keeps the answer for hours. Here a peer is asked when a caller needs the
answer, and the caller decides whether to keep it.
"""

from __future__ import annotations

import attrs
import trio
from libp2p.crypto.ed25519 import Ed25519PublicKey
from libp2p.identity.identify.pb.identify_pb2 import Identify
from multiaddr import Multiaddr

from plasm_core.errors import PeerUnreachableError, StreamError
from plasm_core.plugins.interfaces import Stream
from plasm_core.records.peer import PeerId
from plasm_core.version import __version__
from plasm_transport_libp2p import framing
from plasm_transport_libp2p.addresses import is_public, kind_of, understood
from plasm_transport_libp2p.interfaces import PeerNetwork, StreamOpener

PROTOCOL = "/ipfs/id/1.0.0"
MAX_BYTES = 8192
MAX_ADDRESSES = 16
MAX_PROTOCOLS = 128
_TIMEOUT_S = 10.0


@attrs.frozen(kw_only=True)
class Identified:
    """A peer's claims about itself. None is proved but its peer id, which the connection's handshake has proved."""

    addresses: tuple[Multiaddr, ...]
    protocols: frozenset[str]
    agent: str
    observed: Multiaddr | None
    """The address of this node as the peer sees it; None if it tells none that can be read."""


def serve(network: PeerNetwork) -> None:
    """Answer identify requests. A peer at a public address receives only public addresses."""

    async def handler(stream: Stream) -> None:
        remote = network.remote_address(stream)
        listening = network.listening()
        if remote is not None and is_public(remote):
            listening = [address for address in listening if is_public(address)]
        answer = Identify(
            protocol_version="phase/1.0.0",
            agent_version=f"plasm/{__version__}",
            public_key=Ed25519PublicKey.from_bytes(network.peer_id.public_key).serialize(),
            listen_addrs=[address.to_bytes() for address in listening[:MAX_ADDRESSES]],
            observed_addr=remote.to_bytes() if remote is not None else b"",
            protocols=network.protocols,
        )
        with trio.move_on_after(_TIMEOUT_S):
            await stream.send_all(framing.encode(answer.SerializeToString()))
            await stream.aclose()

    network.handle(PROTOCOL, handler)


async def ask(network: StreamOpener, peer: PeerId) -> Identified:
    """Ask a connected or known peer. Raises: `PeerUnreachableError`, `StreamError`."""
    return await ask_at(network, f"/p2p/{peer}")


async def ask_at(network: StreamOpener, address: str) -> Identified:
    """Ask the peer at an address, as `dial` takes it. Raises: `PeerUnreachableError`, `StreamError`."""
    try:
        with trio.fail_after(_TIMEOUT_S):
            stream = await network.dial(address, PROTOCOL)
            try:
                data = await framing.read_one(stream, MAX_BYTES)
            finally:
                await stream.aclose()
    except trio.TooSlowError as exc:
        raise PeerUnreachableError("the peer does not answer identify") from exc
    return parse(data)


def parse(data: bytes) -> Identified:
    """Decode an answer, of at most 16 addresses and 128 protocols. Raises: `StreamError`."""
    answer = Identify()
    try:
        answer.ParseFromString(data)
    except Exception as exc:  # protobuf's implementations raise errors of their own
        raise StreamError("the peer's identify message cannot be decoded") from exc
    addresses = [multiaddr(raw) for raw in answer.listen_addrs[:MAX_ADDRESSES]]
    return Identified(
        addresses=tuple(item for item in addresses if item is not None and kind_of(item) is not None),
        protocols=frozenset(answer.protocols[:MAX_PROTOCOLS]),
        agent=answer.agent_version[:128],
        observed=multiaddr(answer.observed_addr),
    )


def multiaddr_of(text: str) -> Multiaddr | None:
    """Parse a multiaddr that a peer sent as text; None if it is not valid."""
    try:
        return understood(text)
    except ValueError:
        return None


def multiaddr(raw: bytes) -> Multiaddr | None:
    """Decode a multiaddr that a peer sent, without its last `/p2p/` part; None if it is not valid."""
    try:
        address = understood(raw)
    except ValueError:
        return None
    where, separator, who = str(address).rpartition("/p2p/")
    names_peer = separator and where and "/" not in who  # else it names a relay, followed by p2p-circuit
    return Multiaddr(where) if names_peer else address
