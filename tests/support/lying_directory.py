"""How a server of the directory lies: about where others are, about who is there, and as a relay that drops."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import attrs
import trio
from multiaddr import Multiaddr

from plasm_core.errors import StreamError
from plasm_core.plugins.interfaces import Stream
from plasm_core.records.peer import PeerId
from plasm_transport_libp2p import framing
from plasm_transport_libp2p.addresses import ip_of, kind_of, port_of
from plasm_transport_libp2p.circuit_relay.message import CONNECT, HOP, MAX_BYTES, OK, STATUS, HopRequest
from plasm_transport_libp2p.kad import message as messages
from plasm_transport_libp2p.kad.contact import Contact
from plasm_transport_libp2p.kad.directory import KademliaDirectory
from plasm_transport_libp2p.kad.message import KademliaMessage
from plasm_transport_libp2p.network import Libp2pNetwork

ADDRESSES = "addresses"
"""Names everybody else at addresses where nobody is, or somebody who says nothing."""
PROVIDERS = "providers"
"""Keeps no provider record, and names providers and servers that do not exist."""
RELAY = "relay"
"""Names everybody else behind itself, and drops what it relays."""
DIRECTORY_LIES = (ADDRESSES, PROVIDERS, RELAY)
MADE_UP = 32
_HANDSHAKE_BYTES, _JOB_BYTES = 4_000, 32_000
"""After so many bytes a circuit breaks: in the handshake, or while the job is handed in or runs."""
_CHUNK_BYTES = 65_536

Note = Callable[[str], None]
Answer = Callable[[PeerId, KademliaMessage], KademliaMessage | None]


def lie_in(directory: KademliaDirectory, network: Libp2pNetwork, kind: str, nobody: str, note: Note) -> None:
    """Have a directory lie in one way. `nobody`: an address where somebody listens who says nothing."""
    node = directory.node
    honest: Answer = node._answer
    liar: Any = {ADDRESSES: Misleading, PROVIDERS: Inventing, RELAY: Relaying}[kind](network, nobody)

    def answer(peer: PeerId, request: KademliaMessage) -> KademliaMessage | None:
        told = liar.answer(honest, peer, request)
        if told is not None:
            note(kind)
        return told  # type: ignore[no-any-return]

    node._answer = answer  # type: ignore[method-assign]
    if kind == RELAY:

        async def drop(stream: Stream) -> None:
            note(kind)
            await liar.drop(stream)

        network.handle(HOP, drop)


@attrs.define
class Misleading:
    """Names everybody else somewhere else."""

    network: Libp2pNetwork
    nobody: str

    def answer(self, honest: Answer, peer: PeerId, request: KademliaMessage) -> KademliaMessage | None:
        """Answer with others' names and false addresses."""
        told = honest(peer, request)
        if told is None:
            return None
        return attrs.evolve(told, closer=self.misled(told.closer), providers=self.misled(told.providers))

    def misled(self, contacts: Sequence[Contact]) -> tuple[Contact, ...]:
        """Return them at false addresses, and oneself where one is."""
        own = self.network.peer_id
        return tuple(
            item if item.peer == own else Contact(item.peer, self.instead(item)) for item in contacts
        )

    def instead(self, _contact: Contact) -> tuple[Multiaddr, ...]:
        """Return false addresses of a node."""
        return Multiaddr(self.nobody), Multiaddr("/ip4/127.0.0.1/tcp/9")


@attrs.define
class Inventing:
    """Names nodes that do not exist, and forgets those that do."""

    network: Libp2pNetwork
    nobody: str
    numbers: itertools.count[int] = attrs.field(factory=itertools.count)

    def answer(self, honest: Answer, peer: PeerId, request: KademliaMessage) -> KademliaMessage | None:
        """Answer with names that are made up."""
        if request.kind == messages.ADD_PROVIDER:
            return None
        told = honest(peer, request)
        if told is None:
            return None
        providers = self.made_up() if request.kind == messages.GET_PROVIDERS else ()
        return attrs.evolve(told, closer=self.made_up(), providers=providers)

    def made_up(self) -> tuple[Contact, ...]:
        """Return contacts, half of them where somebody listens and the others where nobody does."""
        where = (Multiaddr(self.nobody), Multiaddr("/ip4/127.0.0.1/tcp/9"))
        drawn = (next(self.numbers) for _ in range(MADE_UP))
        return tuple(Contact(PeerId(number.to_bytes(32, "big")), (where[number % 2],)) for number in drawn)


@attrs.define
class Relaying(Misleading):
    """Names everybody else behind itself. Circuits break off in the handshake, after a while, or say nothing.

    It needs no reservation: it is in the middle, and passes on what it gets to where it knows the node to be.
    """

    where: dict[PeerId, tuple[str, int]] = attrs.field(factory=dict)
    turns: itertools.count[int] = attrs.field(factory=itertools.count)

    def instead(self, contact: Contact) -> tuple[Multiaddr, ...]:
        for address in contact.addresses:
            if kind_of(address) == "tcp":
                self.where[contact.peer] = str(ip_of(address)), port_of(address)
        return tuple(Multiaddr(f"{own}/p2p-circuit") for own in self.network.addresses)

    async def drop(self, stream: Stream) -> None:
        """Make a circuit, and let it break."""
        reader = framing.MessageReader(stream, MAX_BYTES)
        request = HopRequest.decode(await reader.next() or b"")
        target = self.where.get(request.peer) if request.peer is not None else None
        if request.kind != CONNECT or target is None:
            raise StreamError("no circuit")
        await stream.send_all(HopRequest(kind=STATUS, status=OK).encode())
        turn = next(self.turns) % 3
        if turn == 0:
            await trio.sleep_forever()
        onward = await trio.open_tcp_stream(*target)
        await onward.send_all(reader.rest())
        await self._pump(stream, onward, _HANDSHAKE_BYTES if turn == 1 else _JOB_BYTES)
        raise StreamError("dropped")

    async def _pump(self, stream: Stream, onward: trio.SocketStream, most: int) -> None:
        passed = 0
        both = trio.CancelScope()

        async def passing(
            receive: Callable[[int], Awaitable[bytes | bytearray]], send: Callable[[bytes], Awaitable[None]]
        ) -> None:
            nonlocal passed
            try:
                while passed < most and (data := bytes(await receive(_CHUNK_BYTES))):
                    passed += len(data)
                    await send(data)
            except (StreamError, trio.BrokenResourceError):
                pass
            both.cancel()

        with both:
            async with onward, trio.open_nursery() as nursery:
                nursery.start_soon(passing, stream.receive_some, onward.send_all)
                nursery.start_soon(passing, onward.receive_some, stream.send_all)
