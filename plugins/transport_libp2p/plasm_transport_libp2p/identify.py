"""Telling who one is: `/ipfs/id/1.0.0` (libp2p specification, "identify").

Written anew because the library asks everyone who connects, and remembers for hours what it was told.
Here a peer is asked when somebody wants to know, and the answer is the caller's to keep or drop.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import trio
from libp2p.crypto.ed25519 import Ed25519PublicKey
from libp2p.identity.identify.pb.identify_pb2 import Identify
from multiaddr import Multiaddr

import plasm_core
from plasm_core.abc import Stream
from plasm_core.errors import PeerUnreachableError, StreamError
from plasm_core.records.peer import PeerId
from plasm_transport_libp2p import framing
from plasm_transport_libp2p.addresses import is_public, kind_of, understood

if TYPE_CHECKING:
    from plasm_transport_libp2p.network import Libp2pNetwork

PROTOCOL = "/ipfs/id/1.0.0"
MAX_BYTES = 8192
MAX_ADDRESSES = 16
MAX_PROTOCOLS = 128
_TIMEOUT_S = 10.0


@attrs.frozen(kw_only=True)
class Identified:
    """What a peer says of itself. Only its identity is proved."""

    addresses: tuple[Multiaddr, ...]
    protocols: frozenset[str]
    agent: str
    observed: Multiaddr | None
    """Where it sees this node."""


def serve(network: Libp2pNetwork) -> None:
    """Answer whoever asks. Private addresses are told to those who come from one."""

    async def handler(stream: Stream) -> None:
        remote = network.remote_address(stream)
        listening = network.listening()
        if remote is not None and is_public(remote):
            listening = [address for address in listening if is_public(address)]
        answer = Identify(
            protocol_version="phase/1.0.0",
            agent_version=f"plasm/{plasm_core.__version__}",
            public_key=Ed25519PublicKey.from_bytes(network.peer_id.public_key).serialize(),
            listen_addrs=[address.to_bytes() for address in listening[:MAX_ADDRESSES]],
            observed_addr=remote.to_bytes() if remote is not None else b"",
            protocols=network.protocols,
        )
        with trio.move_on_after(_TIMEOUT_S):
            await stream.send_all(framing.encode(answer.SerializeToString()))
            await stream.aclose()

    network.handle(PROTOCOL, handler)


async def ask(network: Libp2pNetwork, peer: PeerId) -> Identified:
    """Ask a peer. Raises: `PeerUnreachableError`, `StreamError`."""
    return await ask_at(network, f"/p2p/{peer}")


async def ask_at(network: Libp2pNetwork, address: str) -> Identified:
    """Ask the peer at an address. Raises: `PeerUnreachableError`, `StreamError`."""
    try:
        with trio.fail_after(_TIMEOUT_S):
            stream = await network.dial(address, PROTOCOL)
            try:
                data = await framing.read_one(stream, MAX_BYTES)
            finally:
                await stream.aclose()
    except trio.TooSlowError as exc:
        raise PeerUnreachableError("the peer does not identify itself") from exc
    return parse(data)


def parse(data: bytes) -> Identified:
    """Read an answer. Raises: `StreamError`."""
    answer = Identify()
    try:
        answer.ParseFromString(data)
    except Exception as exc:  # protobuf's implementations raise errors of their own
        raise StreamError("the peer's identification cannot be read") from exc
    addresses = [multiaddr(raw) for raw in answer.listen_addrs[:MAX_ADDRESSES]]
    return Identified(
        addresses=tuple(item for item in addresses if item is not None and kind_of(item) is not None),
        protocols=frozenset(answer.protocols[:MAX_PROTOCOLS]),
        agent=answer.agent_version[:128],
        observed=multiaddr(answer.observed_addr),
    )


def multiaddr_of(text: str) -> Multiaddr | None:
    """Read the text of a multiaddr that a peer sent; None if it is none."""
    try:
        return understood(text)
    except ValueError:
        return None


def multiaddr(raw: bytes) -> Multiaddr | None:
    """Read a multiaddr that a peer sent, without its `/p2p/` part; None if it is none."""
    try:
        address = understood(raw)
    except ValueError:
        return None
    where, separator, who = str(address).rpartition("/p2p/")
    names_peer = separator and where and "/" not in who  # not a relay, which a circuit goes on from
    return Multiaddr(where) if names_peer else address
